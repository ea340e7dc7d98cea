"""A lock file that one process at a time holds.

with locked(Path("runs/demo/.lock")):
    ...
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

from .files import written_for
from .quoting import LONGEST_QUOTE

logger = logging.getLogger(__name__)

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class LockedError(OSError):
    """A lock that another process holds. `holder` names its number, host and time."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f"{path}: found it held by {holder}, expected it to be free")
        self.holder = holder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file. It is made if it does not exist, and names its holder.

    It is a POSIX record lock. The kernel releases it when the process ends for any reason, so a
    file that stays has no effect. Forked processes do not hold it. This process must not open the
    file a second time: closing it would release the lock.

    Raises:
        LockedError: if another process holds it.
        OSError: if the file cannot be written.
    """
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            file.seek(0)
            raise LockedError(path, file.read(LONGEST_QUOTE).strip() or "a process") from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            logger.warning("%s: no lock (%s); start one command at a time for it", path, error)
        if not _is_at(path, file.fileno()):
            raise LockedError(path, "a process that has just deleted it")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with written_for(path, path):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}, since {now}\n")
            file.flush()
        yield


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether an open file is still the one at a path."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


__all__ = ["LockedError", "locked"]
