"""What a case is, and what its outcome is judged by.

A surface is one way into the project, such as the files that the readers read. Its cases begin with
a valid input, to which a few edits are made. All of it follows from the seed, the surface's name
and the number of the case; each edit has its own random numbers, so that a case can be repeated
with fewer edits.

A case ends in one of three ways that are right: the input is accepted, accepted with a counted
warning, or refused with one line that names what is wrong. Anything else is a finding.
"""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, ClassVar

ACCEPTED, WARNED, REFUSED, FINDING = "accepted", "warned", "refused", "finding"
LONGEST_MESSAGE = 600


@dataclass(frozen=True)
class Case:
    """One case of a surface; `edits` are the numbers of the edits that are made to its input."""

    surface: str
    seed: int
    number: int
    edits: tuple[int, ...]

    def random(self, purpose: str | int = "input") -> Random:
        """The random numbers for one purpose, or for the edit of that number."""
        return Random(f"{self.seed} {self.surface} {self.number} {purpose}")

    def edit_randoms(self) -> list[Random]:
        """The random numbers of each edit."""
        return [self.random(edit) for edit in self.edits]

    @classmethod
    def numbered(cls, surface: str, seed: int, number: int) -> Case:
        """A case with all its edits: most have one or two, a few have none, a few have ten. Of a
        surface of killed processes most have one kill, some have two.
        """
        counts = (1, 1, 1, 2) if surface.startswith("killed") else (0, 1, 1, 1, 1, 2, 2, 3, 5, 10)
        count = Random(f"{seed} {surface} {number} edits").choice(counts)
        return cls(surface, seed, number, tuple(range(count)))


@dataclass(frozen=True)
class Outcome:
    """How a case ended, and for a finding what was wrong."""

    kind: str
    detail: str = ""


class Fault(AssertionError):  # noqa: N818 -- it is the project's fault, not an error of the harness
    """A finding: what the project did that it should not do."""


def check(holds: bool, found: str, *values: Any) -> None:
    """Raise a `Fault` unless something holds; the values are shown behind what was found."""
    if not holds:
        raise Fault(" ".join([found, *map(shown, values)]))


def check_line(message: str, names: Iterable[str], root: Path | None = None) -> None:
    """A message is one line of bounded length that names at least one of `names`.

    Args:
        message: of an error or a warning.
        names: of files, fields or arguments that the message may be about; none: any will do.
        root: the case's folder; its own path counts for no name.
    """
    shown = message[:300]
    check(len(message.splitlines()) == 1, f"the message is not one line: {shown!r}")
    check(len(message) <= LONGEST_MESSAGE, f"the message has {len(message):,} characters: {shown}")
    check(message.isprintable(), f"the message has control characters: {shown!r}")
    names = [name for name in names if name]
    told = message if root is None else message.replace(str(root), "")
    check(
        not names or any(name in told for name in names),
        f"the message names nothing of the input: {shown!r}",
    )


def judged(
    error: Exception,
    documented: tuple[type[Exception], ...],
    names: Iterable[str],
    root: Path | None = None,
) -> Outcome:
    """The outcome of a call that raised: refused, if the error is a documented one that says what
    is wrong.

    Raises:
        Fault: if it is not.
    """
    if not isinstance(error, documented):
        raise error
    check_line(str(error), names, root)
    return Outcome(REFUSED)


@dataclass
class Warnings(logging.Handler):
    """What is logged as a warning or worse while a case lasts."""

    messages: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())

    def __hash__(self) -> int:  # handlers are kept in sets
        return id(self)


class Surface(ABC):
    """One way into the project. The class is made once in a process, with a folder for what its
    cases share; `run` is called for each case, with an empty folder.
    """

    name: ClassVar[str]
    seconds: ClassVar[int] = 30
    """The longest that a case may take."""
    forbidden: ClassVar[tuple[str, ...]] = (
        *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"),
        *("socket.connect", "pickle.find_class"),
    )
    """Audit events that no input of the surface may cause."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def run(self, case: Case, folder: Path) -> Outcome:
        """Run a case.

        Returns:
            accepted or refused; accepted becomes warned if something was logged.

        Raises:
            Fault: if the outcome is a finding; any other exception is one, too.
        """


def shown(value: Any, longest: int = 200) -> str:
    """A value for a message, cut to a length."""
    text = re.sub(r"\s+", " ", repr(value))
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
