"""Cases in processes of their own, each within bounds of time and memory.

A worker is a fresh Python process that runs one case after the other. A case that hangs, takes too
much memory or ends the process is a finding; the next case gets a new worker.
"""

from __future__ import annotations

import faulthandler
import importlib
import logging
import multiprocessing
import os
import resource
import shutil
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.campaigns.cases import (
    ACCEPTED,
    FINDING,
    WARNED,
    Case,
    Fault,
    Outcome,
    Surface,
    Warnings,
    check,
    check_line,
)

MEMORY = 3 * 2**30
"""The bytes of address space that a case may take beyond what its worker has."""

_TRACEBACK_LINES = 25


class _Watch:
    """Which audit events have happened that a surface forbids."""

    def __init__(self) -> None:
        self.forbidden: tuple[str, ...] = ()
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple) -> None:
        if event in self.forbidden:
            self.seen.append(f"{event} {arguments!r:.300}")


def surface_class(name: str) -> type[Surface]:
    """The class `module:Class`."""
    module, _, kind = name.partition(":")
    return getattr(importlib.import_module(module), kind)


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@contextmanager
def _bounded(seconds: int) -> Iterator[None]:
    """Bounds of time and memory, beyond which the process ends or an allocation fails."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, hard))
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def run_case(surface: Surface, case: Case, watch: _Watch) -> Outcome:
    """Run one case of a surface, in this process."""
    folder = surface.folder / "case"
    folder.mkdir()
    heard = Warnings()
    logging.getLogger().addHandler(heard)
    watch.seen = []
    try:
        with _bounded(surface.seconds), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            watch.forbidden = surface.forbidden
            outcome = surface.run(case, folder)
            watch.forbidden = ()
            check(not watch.seen, f"an input caused {watch.seen[:1]}")
            for message in heard.messages:
                check_line(message, ())
        if outcome.kind == ACCEPTED and heard.messages:
            return Outcome(WARNED)
        return outcome
    except Fault as fault:
        return Outcome(FINDING, _printable(str(fault)))
    except BaseException:
        lines = traceback.format_exc().splitlines()[-_TRACEBACK_LINES:]
        return Outcome(FINDING, _printable("\n".join(line[:500] for line in lines)))
    finally:
        watch.forbidden = ()
        logging.getLogger().removeHandler(heard)
        shutil.rmtree(folder, ignore_errors=True)


def _serve(connection: Connection, surfaces: Mapping[str, str], folder: Path, errors: Path) -> None:
    """The worker: take cases and give their outcomes."""
    stream = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"}
    os.environ |= {"HF_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
    faulthandler.enable()
    watch = _Watch()
    made: dict[str, Surface] = {}
    while (case := connection.recv()) is not None:
        if case.surface not in made:
            place = folder / case.surface.replace(" ", "-")
            place.mkdir(parents=True)
            try:
                made[case.surface] = surface_class(surfaces[case.surface])(place)
            except Exception:
                connection.send(traceback.format_exc())
                continue
        connection.send(run_case(made[case.surface], case, watch))


class Worker:
    """A process that runs cases.

    Args:
        surfaces: `module:Class` of each surface by name; made at their first case.
        folder: for their files; what is in it goes when the worker is closed.
    """

    def __init__(self, surfaces: Mapping[str, str], folder: Path) -> None:
        self._surfaces, self._folder = dict(surfaces), folder
        self._process: Any = None

    def _start(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._errors = self._folder / "errors.txt"
        self._errors.touch()
        self._connection, theirs = multiprocessing.Pipe()
        arguments = (theirs, self._surfaces, self._folder / "files", self._errors)
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def run(self, case: Case) -> Outcome:
        """The outcome of one case; a process that ends in it is a finding.

        Raises:
            RuntimeError: if its surface cannot be made.
        """
        if self._process is None:
            self._start()
        os.truncate(self._errors, 0)
        try:
            self._connection.send(case)
            outcome = self._connection.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            told = self._errors.read_text(errors="replace").splitlines()[-_TRACEBACK_LINES:]
            found = f"the process ended with status {self._process.exitcode}"
            self._process = None
            return Outcome(FINDING, "\n".join([found, *told]))
        if isinstance(outcome, str):
            raise RuntimeError(f"the surface {case.surface} cannot be made:\n{outcome}")
        return outcome

    def close(self) -> None:
        if self._process is not None:
            self._connection.send(None)
            self._process.join()
            self._process = None
        shutil.rmtree(self._folder, ignore_errors=True)
