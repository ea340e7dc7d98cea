"""The parts of an output that is being made: a hidden folder beside it, and what is in it.

A part is made as a whole or not at all. What the parts are parts of, the plan, is written first:
a command that goes on with another plan is refused.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dataset_mmnerd.files import replaced, write_json
from dataset_mmnerd.locks import LockedError, locked
from dataset_mmnerd.processes import Processes
from dataset_mmnerd.quoting import quoted

__all__ = ["CorpusError", "MissingParts", "Parts"]


class CorpusError(ValueError):
    """A corpus that cannot be annotated as told, in one line."""


class Parts:
    """The hidden folder beside an output: the parts that are there, and what they are parts of.

    A line of a part is a row: `{"record": ..., "image_error": ...}` or `{"fault": ...}`.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.folder = output.with_name(f".{output.name}.parts")
        self.plan = self.folder / "plan.json"
        self.lock = self.folder / "lock"
        self.unfinished = self.folder / "output"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder, which is made if need be, for this command alone. It is deleted if
        nothing was begun in it.

        Raises:
            CorpusError: if another command holds it.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.lock):
                try:
                    yield
                finally:
                    if self.folder.is_dir() and not self.plan.is_file():
                        self.delete()
        except LockedError as error:
            raise CorpusError(
                f"{self.output}: another command writes it ({error.holder}): wait for its end, or "
                "name another output"
            ) from error

    def delete(self) -> None:
        shutil.rmtree(self.folder)

    def path(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}.jsonl"

    def is_there(self, number: int) -> bool:
        return self.path(number).is_file()

    def write(self, number: int, lines: Iterable[Mapping[str, Any]]) -> None:
        """Write a part: it is on the disk as a whole when it has its name."""
        with (
            replaced(self.path(number)) as unfinished,
            unfinished.open("w", encoding="utf-8") as file,
        ):
            file.writelines(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())

    def lines(self, number: int) -> Iterator[dict[str, Any]]:
        with self.path(number).open(encoding="utf-8", newline="\n") as file:
            yield from map(json.loads, file)

    def numbers(self) -> Iterator[int]:
        """The parts, in order, up to the first that is not there."""
        number = 0
        while self.is_there(number):
            yield number
            number += 1

    def begin(self, fingerprint: Any, *, overwrite: bool) -> None:
        """Begin parts of something, or go on with those that are there.

        Raises:
            CorpusError: if those that are there are of something else.
        """
        for path in self.folder.iterdir() if overwrite else ():
            if path != self.lock:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if not self.plan.is_file():
            write_json(self.plan, fingerprint)
            return
        changed = _changed(self.plan.read_text("utf-8"), fingerprint)
        if changed is not None:
            raise CorpusError(
                f"{self.folder}: found parts made with another {changed}, expected the same; "
                "--overwrite starts anew"
            )


def _changed(plan: str, fingerprint: Mapping[str, Any]) -> str | None:
    """The first thing that is not as a plan says."""
    now = json.loads(json.dumps(fingerprint))
    try:
        planned = json.loads(plan)
    except ValueError:
        planned = None
    if not isinstance(planned, dict):
        return "plan"
    different = (name for name in now if planned.get(name) != now[name])
    name = next(different, None)
    if name != "options":
        return name
    then = planned.get("options") or {}
    option = next(key for key in {**then, **now[name]} if then.get(key) != now[name].get(key))
    return f"{option} ({quoted(then.get(option))}, now {quoted(now[name].get(option))})"


class MissingParts:
    """The parts that this process is to make: each is looked for once as its rows pass."""

    def __init__(self, parts: Parts, processes: Processes) -> None:
        self._parts, self._processes = parts, processes
        self._number, self._is_missing = -1, False

    def __contains__(self, number: int) -> bool:
        if number != self._number:
            self._is_missing = self._processes.own(number) and not self._parts.is_there(number)
            self._number = number
        return self._is_missing
