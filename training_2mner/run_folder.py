"""A run's folder: one training at a time writes into it, and what cannot be written is said.

with locked(Path("runs/demo")):
    with writing(Path("runs/demo/checkpoint-4")):
        torch.save(state, "runs/demo/checkpoint-4/optimizer.pt")
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from dataset_mmnerd import locks

from .arguments import RecipeError

__all__ = ["LOCK", "locked", "writing"]

LOCK = ".lock"
"""The file in a run's folder that a training locks, with a line that says who it is."""


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
    """Whatever the library inside the block raises where a file cannot be written, on a full disk
    for instance, becomes an `OSError` of one line that names `place`.

    Raises:
        OSError: in place of such an error.
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
