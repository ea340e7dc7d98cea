"""Writing, finding and checking checkpoints; saving before a stop; the lock of a run's folder.

    trainer.train(resume_from_checkpoint=checkpoint_to_resume(arguments))

A run that was killed continues from its last checkpoint and ends with the same weights as a run
that was not stopped. A checkpoint is written under another name and renamed when it is complete.
Ctrl-C and SIGTERM save at the end of the step, or after the evaluation if the step was the last of
its epoch. A checkpoint holds a fingerprint of model and training data, which is compared on resume.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from dataset_mmnerd import locks
from dataset_mmnerd.files import recover_folder, replace_folder

from .arguments import RecipeError, difference

__all__ = [
    "FINGERPRINT",
    "LOCK",
    "LOSS_SUMS",
    "UNFINISHED",
    "KeepPlace",
    "RunStopped",
    "SaveBeforeStopping",
    "checkpoint_to_resume",
    "finish_checkpoint",
    "finish_files",
    "last_checkpoint",
    "locked",
    "missing_parts",
    "recover_checkpoints",
    "writing",
    "writing_checkpoint",
]

logger = logging.getLogger(__name__)

LOCK = ".lock"
"""The file in a run's folder that a training locks. It names the process."""

LOSS_SUMS = "loss_sums.json"
"""The parts of the loss since the last line of the log, in a checkpoint."""

FINGERPRINT = "taught.json"
"""The fingerprint of model and training data, in a checkpoint."""

UNFINISHED = ".unfinished"
"""The folder in a run's folder in which a checkpoint is written."""

LAST = ("last", "true")
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "adapter_model.safetensors",
)
STATE = ("trainer_state.json", LOSS_SUMS, "optimizer.pt", "scheduler.pt")


# Writing ------------------------------------------------------------------------------------------


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold a run's folder, which is made if need be, for this process alone.

    Raises:
        RecipeError: if another process holds it; it names process, machine and time.
        OSError: if the folder cannot be written.
    """
    run.mkdir(parents=True, exist_ok=True)
    try:
        with locks.locked(run / LOCK):
            yield
    except locks.LockedError as error:
        raise RecipeError(
            f"{run}: another training writes into it ({error.holder}): wait for its end, or name "
            "another output_dir"
        ) from error


@contextmanager
def writing(place: Path | str) -> Iterator[None]:
    """Turn the errors of libraries that cannot write a file, as on a full disk, into one kind.

    Raises:
        OSError: one line that names `place`.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"{place} cannot be written: {reason}") from error
    except SafetensorError as error:
        raise OSError(f"{place} cannot be written: {error}") from error
    except RuntimeError as error:
        if "inline_container.cc" not in str(error):  # the file in which torch writes its own
            raise
        raise OSError(f"{place} cannot be written whole: is the disk full?") from error


@contextmanager
def writing_checkpoint(run: Path, name: str) -> Iterator[Path]:
    """The folder in which the block writes a checkpoint or the model, before it is moved. If
    writing fails, the folder is deleted and the earlier files stay.

    Raises:
        OSError: if it cannot be written; says which checkpoint is the last whole one.
    """
    try:
        with writing(f"{run}: {name}"):
            yield run / UNFINISHED / name
    except OSError as error:
        shutil.rmtree(run / UNFINISHED, ignore_errors=True)
        last = last_checkpoint(run)
        rest = "no checkpoint was saved before it"
        if last is not None:
            rest = f"the same command with --resume_from_checkpoint last goes on from {last.name}"
        raise OSError(f"{error}; {rest}") from error


def finish_checkpoint(written: Path, place: Path) -> None:
    """Move a complete checkpoint to its place; an older one there is deleted last.

    Args:
        written: the folder as it was written, on the same file system, in a folder of its own that
            is deleted.
        place: where it belongs. An older one is replaced by two renames; if the process is killed
            between them, `recover_checkpoints` brings the older one back.
    """
    _sync(written)
    replace_folder(written, place)
    shutil.rmtree(written.parent)


def finish_files(written: Path, folder: Path) -> None:
    """Move complete files to their place, each in one step.

    Args:
        written: the folder with all of them, as for `finish_checkpoint`.
        folder: where they belong; other files in it stay.
    """
    _sync(written)
    for path in sorted(path for path in written.rglob("*") if path.is_file()):
        place = folder / path.relative_to(written)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
    shutil.rmtree(written.parent)


def _sync(written: Path) -> None:
    # Without it, a power cut after the rename could leave empty files.
    for path in written.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def recover_checkpoints(run: Path) -> None:
    """Clean up after a training that was killed while it saved: an older checkpoint gets its name
    back, an incomplete one is deleted. No other training may write into the folder meanwhile."""
    for aside in run.glob(f".{PREFIX_CHECKPOINT_DIR}-*"):
        recover_folder(run / aside.name.split(".")[1])
    shutil.rmtree(run / UNFINISHED, ignore_errors=True)


# Reading ------------------------------------------------------------------------------------------


def missing_parts(checkpoint: Path) -> list[str]:
    """The files that a checkpoint lacks to be resumed; empty if it is complete."""
    missing = [] if any((checkpoint / name).is_file() for name in WEIGHTS) else [WEIGHTS[0]]
    if any(checkpoint.glob("pytorch_model_fsdp*")):  # FSDP writes weights and optimizer its own way
        missing = []
        needed = [name for name in STATE if name != "optimizer.pt"]
    else:
        needed = list(STATE)
    missing += [name for name in needed if not (checkpoint / name).is_file()]
    if not any(checkpoint.glob("rng_state*.pth")):
        missing.append("rng_state.pth")
    return missing


def last_checkpoint(run: Path) -> Path | None:
    """The newest complete checkpoint of a run's folder; None if there is none."""
    whole = [
        (path.joinpath("trainer_state.json").stat().st_mtime_ns, int(number), path)
        for path in run.glob(f"{PREFIX_CHECKPOINT_DIR}-*")
        if (number := path.name.rpartition("-")[2]).isdecimal() and not missing_parts(path)
    ]
    return max(whole)[2] if whole else None


def checkpoint_to_resume(
    arguments: TrainingArguments, fingerprint: dict[str, Any] | None = None
) -> str | None:
    """Recover the run's checkpoints, and find the one that `resume_from_checkpoint` means.

    It is a folder, or `last` (or `true`) for the last complete checkpoint of the run's folder. None
    starts from the beginning. So does `last` if there is no checkpoint, with a warning in the log.

    Args:
        arguments: of the training.
        fingerprint: of model and training data (`run_record.fingerprint_of`); None compares
            nothing.

    Raises:
        RecipeError: if there is no such folder, it is incomplete or holds weights only, or the last
            checkpoint has another fingerprint. For a checkpoint that is named, another fingerprint
            is a warning in the log.
    """
    run, wish = Path(str(arguments.output_dir)), arguments.resume_from_checkpoint
    with arguments.main_process_first(local=False, desc="recovering checkpoints"):
        if arguments.should_save:
            recover_checkpoints(run)
    if wish is None:
        return None
    is_named = wish.lower() not in LAST
    checkpoint = Path(wish)
    if not is_named:
        # Where none is whole, the message below says what the last one lacks.
        whole = last_checkpoint(run)
        found = sorted(run.glob(f"{PREFIX_CHECKPOINT_DIR}-*")) if whole is None else [whole]
        if not found:
            logger.warning("no checkpoint in %s: training starts from the beginning", run)
            return None
        checkpoint = found[-1]
    if not checkpoint.is_dir():
        raise RecipeError(f"resume_from_checkpoint: {checkpoint} is no folder")
    missing = missing_parts(checkpoint)
    if missing:
        raise RecipeError(
            f"resume_from_checkpoint: {checkpoint} lacks {', '.join(missing)}: expected a "
            "checkpoint of a run with save_only_model: false"
        )
    other = None if fingerprint is None else _other_than(fingerprint, checkpoint)
    if other is not None:
        message = f"{checkpoint} is of a run with {other}"
        if not is_named:
            raise RecipeError(
                f"resume_from_checkpoint: {message}; name another output_dir, or this checkpoint "
                "in place of last to go on from it all the same"
            )
        logger.warning("%s", message)
    states = list(checkpoint.glob("rng_state*.pth"))
    if len(states) != arguments.world_size:
        logger.warning(
            "%s was written by %d process(es), now there are %d: the run goes on, but its batches "
            "and its dropout are not those of the run that was stopped",
            checkpoint,
            len(states),
            arguments.world_size,
        )
    logger.info("going on from %s", checkpoint)
    return str(checkpoint)


def _other_than(fingerprint: dict[str, Any], checkpoint: Path) -> str | None:
    """How a checkpoint's fingerprint differs; None if it does not, or the checkpoint has none."""
    path = checkpoint / FINGERPRINT
    if not path.is_file():
        return None
    return difference(json.loads(path.read_text("utf-8")), json.loads(json.dumps(fingerprint)))


class KeepPlace(TrainerCallback):
    """Set the sampler's epoch, which `Trainer` does only for a wrapped batch sampler."""

    def on_epoch_begin(self, args, state, control, train_dataloader=None, **kwargs):
        if hasattr(train_dataloader.batch_sampler, "set_epoch"):
            train_dataloader.batch_sampler.set_epoch(int(state.epoch))


# Stopping -----------------------------------------------------------------------------------------


def _several_processes() -> bool:
    return dist.is_available() and dist.is_initialized()


class RunStopped(SystemExit):
    """The run got a signal to stop and has saved. Ends the program with the status of the signal.

    Attributes:
        checkpoint: the folder that was saved.
    """

    def __init__(self, number: int, checkpoint: Path) -> None:
        super().__init__(128 + number)
        self.checkpoint = checkpoint


class SaveBeforeStopping(TrainerCallback):
    """On SIGTERM or Ctrl-C: save at the end of the step, then leave training by `RunStopped`.

        callback = SaveBeforeStopping()
        trainer.add_callback(callback)
        with callback.listening():
            trainer.train()

    Such a checkpoint can be resumed also with `save_only_model`. Several processes stop at the same
    step, whichever of them got the signal.
    """

    def __init__(self) -> None:
        self.told: signal.Signals | None = None
        self._agreed: signal.Signals | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals inside the block. A signal that comes too late to save ends the
        program after the block."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("signals are heard in the main thread only")
        before = {
            number: signal.signal(number, self._hear) for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self.told is not None:
            signal.raise_signal(self.told)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.told is signal.SIGINT and number == signal.SIGINT and not _several_processes():
            # With several processes a second SIGINT may be the launcher's copy of the first.
            raise KeyboardInterrupt
        self.told = signal.Signals(number)
        logger.warning("%s: saving at the end of this step, then stopping", self.told.name)

    def _agree(self, device: torch.device) -> None:
        number = int(self.told or 0)
        if _several_processes():
            heard = torch.tensor(number, device=device)
            dist.all_reduce(heard, dist.ReduceOp.MAX)
            number = int(heard)
        self._agreed = signal.Signals(number) if number else None

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs,
    ) -> None:
        self._agree(args.device)
        # The last step of an epoch or of the run is followed by an evaluation: saved after that.
        is_last = float(state.epoch).is_integer() or state.global_step >= state.max_steps
        if self._agreed is not None and not is_last:
            args.save_only_model = False
            control.should_save = True

    def on_epoch_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs,
    ) -> None:
        if self._agreed is not None:
            args.save_only_model = False
            control.should_save = True

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs,
    ) -> None:
        if self._agreed is None:
            return
        checkpoint = Path(str(args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
        if args.should_save:
            logger.warning(
                "%s: saved %s; the same command with --resume_from_checkpoint last goes on",
                self._agreed.name,
                checkpoint,
            )
        raise RunStopped(self._agreed, checkpoint)
