"""A file that one process at a time holds."""

import os

import pytest

from dataset_mmnerd.locks import LockedError, locked


def in_another_process(path) -> int:
    """How another process fares with a lock: 0 if it gets it, 3 if not."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with locked(path):
                status = 0
        except LockedError:
            status = 3
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_one_process_at_a_time_holds_a_file_and_the_file_says_which(tmp_path):
    path = tmp_path / "lock"
    with locked(path):
        assert in_another_process(path) == 3
        assert path.read_text().startswith(f"process {os.getpid()} on ")
    assert in_another_process(path) == 0


def test_a_lock_that_is_deleted_while_it_is_taken_is_not_held(tmp_path, monkeypatch):
    """Its holder has ended, and the next process locks another file at the same path."""
    path = tmp_path / "lock"
    monkeypatch.setattr("fcntl.lockf", lambda *_: path.unlink())
    with pytest.raises(LockedError, match="has just deleted it"), locked(path):
        pass
