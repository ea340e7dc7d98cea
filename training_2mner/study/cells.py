"""The trainings of a study: one process after the other, each in a folder of its own.

    trainings = trainings_of(plan, plan.chosen)
    failures = train_all(trainings)    # {"full-seed19": "2mner train: ..."}

A training is an ordinary run of `2mner train` on the `recipe.yaml` that is written into its folder,
beside its `log.txt`. It is finished when `metrics.json` is there. A finished one is not repeated,
one that was stopped goes on from its last checkpoint, one that failed is tried again by the next
command. Several processes, on one machine or on several that share the folder, train one study
together: a lock beside each training's folder says who has it.
"""

from __future__ import annotations

import json
import logging
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_mmnerd.files import write_json, write_text
from dataset_mmnerd.locks import LockedError, locked
from dataset_mmnerd.quoting import shorten
from reporting_2mner.runs import percent, read_results
from reporting_2mner.study.sections import Part
from reporting_2mner.yaml12 import read_yaml, written_as_yaml

from ..arguments import difference
from ..checkpoints import LOCK, last_checkpoint
from .plan import Cell, Plan, PlanError

__all__ = [
    "Training",
    "claimed",
    "refuse_other_recipes",
    "stopping",
    "train_all",
    "trainings_of",
]

logger = logging.getLogger(__name__)

POLL_SECONDS = 2.0
"""Between two looks at trainings that other processes have."""

FAILURE = "failed.json"
"""In the folder of a training that failed: its error."""

PLACES = ("output_dir", "vision_cache_dir")
"""Keys of a recipe that change no result."""


@dataclass(frozen=True)
class Training:
    """One training of a study.

    Attributes:
        cell: what is trained.
        seed: with which seed.
        root: the study's folder.
    """

    cell: Cell
    seed: int
    root: Path

    @property
    def name(self) -> str:
        """What it is called in messages, and its folder."""
        return f"{self.cell.name}-seed{self.seed}"

    @property
    def folder(self) -> Path:
        """Where the run is."""
        return self.root / "cells" / self.name

    @property
    def recipe_file(self) -> Path:
        """The recipe that `2mner train` is given."""
        return self.folder / "recipe.yaml"

    @property
    def command(self) -> str:
        """What trains it by hand; the path begins in the study's folder."""
        return f"2mner train {self.recipe_file.relative_to(self.root)}"

    def recipe(self) -> dict[str, Any]:
        """The values of its recipe. All trainings of a study share their vision features."""
        values = {"output_dir": str(self.folder), **self.cell.recipe, "seed": self.seed}
        values.setdefault("disable_tqdm", True)
        if values.get("cache_vision_features"):
            values.setdefault("vision_cache_dir", str(self.root / "vision_features"))
        return values

    def is_finished(self) -> bool:
        """Whether its figures are there."""
        return (self.folder / "metrics.json").is_file()

    def other_recipe(self) -> str | None:
        """How the recipe in its folder differs from the plan's; None without any, or if they are
        the same.

        Raises:
            PlanError: if it cannot be read.
        """
        if not self.recipe_file.is_file():
            return None
        try:
            found, _ = read_yaml(self.recipe_file)
        except (OSError, ValueError) as error:
            raise PlanError(f"{error}; take {self.folder} away") from error
        values = json.loads(json.dumps(self.recipe()))
        for key in PLACES:
            found.pop(key, None), values.pop(key, None)
        return difference(found, values)

    def refusal(self) -> str | None:
        """Why the plan's recipe cannot be trained in its folder: another one is finished there, or
        has a checkpoint. None if it can be.

        Raises:
            PlanError: if the recipe there cannot be read.
        """
        other = self.other_recipe()
        if other is None or not (self.is_finished() or last_checkpoint(self.folder)):
            return None
        return f"{self.folder} was made with {other}; take it away, or name another output_dir"

    def failure(self) -> str | None:
        """The error of its last try; None unless that failed."""
        path = self.folder / FAILURE
        return str(json.loads(path.read_text("utf-8"))["error"]) if path.is_file() else None


def trainings_of(plan: Plan, parts: Iterable[Part]) -> list[Training]:
    """The trainings that parts of a plan need, in the order of parts and cells: one seed of all
    cells first."""
    cells = [plan.cells[name] for name in dict.fromkeys(n for part in parts for n in part.cells)]
    most = max((len(cell.seeds) for cell in cells), default=0)
    return [
        Training(cell, cell.seeds[place], plan.output_dir)
        for place in range(most)
        for cell in cells
        if place < len(cell.seeds)
    ]


def refuse_other_recipes(trainings: Iterable[Training]) -> None:
    """Check that what is finished, or has a checkpoint, was made by the plan's recipes.

    Raises:
        PlanError: which names the folder and the first difference.
    """
    for training in trainings:
        refusal = training.refusal()
        if refusal is not None:
            raise PlanError(refusal)


# Training -----------------------------------------------------------------------------------------


def train_all(trainings: Sequence[Training]) -> dict[str, str]:
    """Train what is not finished. A training that another process has is waited for.

    Returns:
        The errors of those that failed, by their names.
    """
    began = time.time()
    failures: dict[str, str] = {}
    pending = [training for training in trainings if not training.is_finished()]
    if len(pending) < len(trainings):
        found = len(trainings) - len(pending)
        logger.info("%d of %d trainings are finished already", found, len(trainings))
    waited_for: set[str] = set()
    while pending:
        others = []
        for training in pending:
            try:
                with claimed(training):
                    error = _finish(training, began, _progress(training, trainings, failures))
            except LockedError as error:
                if training.name not in waited_for:
                    waited_for.add(training.name)
                    logger.info("%s: is trained by %s", training.name, error.holder)
                others.append(training)
                continue
            if error is not None:
                failures[training.name] = error
        pending = others
        if pending:
            time.sleep(POLL_SECONDS)
    return failures


def _progress(training: Training, trainings: Sequence[Training], failures: dict[str, str]) -> str:
    done = sum(one.is_finished() for one in trainings) + len(failures)
    return f"{training.name} ({done + 1} of {len(trainings)})"


@contextmanager
def claimed(training: Training) -> Iterator[None]:
    """Hold a training for this process alone.

    Raises:
        LockedError: if another process of the study has it, or a training still runs in its folder:
            one whose study was killed.
    """
    folder = training.folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f"{training.name}.lock")):
        if (folder / LOCK).exists():
            with locked(folder / LOCK):
                pass
        yield


def _finish(training: Training, began: float, label: str) -> str | None:
    """Bring a training to its end, unless another process has done so since; its error, if any."""
    failure = training.folder / FAILURE
    if training.is_finished():
        return None
    if failure.is_file() and failure.stat().st_mtime > began:
        return training.failure()
    if (refusal := training.refusal()) is not None:
        return refusal  # another process has trained another plan there since
    if (other := training.other_recipe()) is not None:
        logger.info("%s: starts anew, what was there had %s", training.name, other)
        shutil.rmtree(training.folder)
    training.folder.mkdir(exist_ok=True)
    failure.unlink(missing_ok=True)
    header = f"# {training.cell.title}, seed {training.seed}: a training of a study."
    write_text(training.recipe_file, f"{header}\n{written_as_yaml(training.recipe())}\n")
    checkpoint = last_checkpoint(training.folder)
    goes_on = "" if checkpoint is None else f", goes on from {checkpoint.name}"
    logger.info("%s%s", label, goes_on)
    started = time.perf_counter()
    error = _train(training, resume=checkpoint is not None)
    if error is None and not training.is_finished():
        error = "it ended without metrics.json"
    if error is not None:
        write_json(failure, {"error": error})
        logger.warning("%s: failed: %s (%s)", training.name, error, training.folder / "log.txt")
        return error
    scores = read_results(training.folder).get("test")
    score = "no test part" if scores is None else f"F1 {percent(scores['overall']['f1'])}"
    logger.info("%s: %s, %.0f s", training.name, score, time.perf_counter() - started)
    return None


def _train(training: Training, resume: bool) -> str | None:
    """Run `2mner train` in a process of its own; the last line of its log if it failed."""
    command = [sys.executable, "-m", "cli_2mner", "train", str(training.recipe_file)]
    command += ["--resume_from_checkpoint", "last"] * resume
    log = training.folder / "log.txt"
    with (
        log.open("wb") as file,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            status = process.wait()
        except BaseException:
            process.terminate()  # it saves a checkpoint first
            process.wait()
            raise
    if status == 0:
        return None
    lines = log.read_text("utf-8", errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "no message")
    if status < 0:
        name = signal.Signals(-status).name
        return f"killed by {name}; the last line of its log: {shorten(last, 300)}"
    return shorten(last, 400)


@contextmanager
def stopping() -> Iterator[None]:
    """Let SIGTERM end this process by an exception, so that a training that it has started is
    stopped too."""

    def stop(number: int, frame: Any) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
