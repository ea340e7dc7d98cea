"""A run's folder: one training at a time writes into it, and what cannot be written is said.

with locked(Path("runs/demo")):
    with writing(Path("runs/demo/checkpoint-4")):
        torch.save(state, "runs/demo/checkpoint-4/optimizer.pt")
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from safetensors import SafetensorError

from .arguments import RecipeError
from .messages import QUOTED

__all__ = ["LOCK", "locked", "writing"]

logger = logging.getLogger(__name__)

LOCK = ".lock"
"""The file in a run's folder that a training locks, with a line that says who it is."""

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold a run's folder, which is made if need be, for this process alone.

    The kernel releases the lock when the process ends, however it ends: the file stays and does not
    matter. The processes that this one forks do not hold it. (It is a POSIX record lock. This
    process must not open the file a second time: closing it would release the lock.)

    Raises:
        RecipeError: if another process holds it; it names process, machine and time.
        OSError: if the folder cannot be written.
    """
    run.mkdir(parents=True, exist_ok=True)
    with (run / LOCK).open("a+", encoding="utf-8") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            file.seek(0)
            holder = file.read(QUOTED).strip() or "another process"
            raise RecipeError(
                f"{run}: another training writes into it ({holder}): wait for its end, or name "
                "another output_dir"
            ) from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            logger.warning("%s: no lock (%s); start one training at a time in it", run, error)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with writing(run / LOCK):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}, since {now}\n")
            file.flush()
        yield


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
