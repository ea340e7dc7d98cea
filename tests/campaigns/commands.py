"""A command line run as a function or as a process, and how its end is judged."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from cli_2mner import UNEXPECTED
from tests.campaigns.cases import ACCEPTED, REFUSED, WARNED, Outcome, check, check_line

ROOT = Path(__file__).parents[2]

_PROGRESS = re.compile(r".*\[.*(it|examples)/s\]\s*|.*%\|.*|\s*")
"""A line of a progress bar, or an empty one."""


@dataclass(frozen=True)
class Finished:
    """What a command ended with."""

    status: int
    output: str
    errors: str


def call(main: Callable[[Sequence[str]], int | None], arguments: Sequence[str]) -> Finished:
    """Run a command's `main` in this process. What it raises beyond `SystemExit` passes."""
    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors):
        try:
            status = main(arguments) or 0
        except SystemExit as stop:
            status = stop.code or 0
            if isinstance(status, str):
                errors.write(f"{status}\n")
                status = 1
    return Finished(status, output.getvalue(), errors.getvalue())


def start(
    arguments: Sequence[str], *, environment: dict[str, str] | None = None, seconds: int = 120
) -> Finished:
    """Run `python ...` as a user does, from the project's folder."""
    settings = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    finished = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | settings | (environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="backslashreplace",
        timeout=seconds,
    )
    return Finished(finished.returncode, finished.stdout, finished.stderr)


def judged_command(
    finished: Finished, names: Iterable[str], root: Path, *, in_process: bool = True
) -> Outcome:
    """The outcome of a command: it did its work, or ended with one line on the error stream.

    A command that ends with status 1 and nothing on the error stream has told its findings (audit).
    A process also logs to the error stream, where the last line is then the one that counts.
    """
    lines = [line for line in finished.errors.splitlines() if not _PROGRESS.fullmatch(line)]
    traces = [line for line in lines if line.startswith("Traceback (most recent call last)")]
    check(not traces, f"a traceback: {lines[-1:]}")
    check(UNEXPECTED not in finished.errors, f"an unexpected error: {lines[-1:]}")
    check(finished.status in (0, 1, 2), f"status {finished.status}: {lines[-1:]}")
    if finished.status == 0:
        return Outcome(ACCEPTED)
    if finished.status == 1 and not lines:
        check(bool(finished.output), "status 1 without a word")
        return Outcome(WARNED)
    usage = finished.status == 2  # argparse says how the command is to be used, then what is wrong
    check(usage or not in_process or len(lines) == 1, f"not one line: {lines}")
    check_line(lines[-1], names, root)
    return Outcome(REFUSED)
