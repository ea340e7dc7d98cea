"""One training at a time in a run's folder, and one line where it cannot be written."""

import os
import signal
import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from training_2mner.arguments import RecipeError
from training_2mner.checkpoints import locked, writing


def holder_of(run: Path, work=signal.pause) -> int:
    """A process that holds a run's folder, and does some work in it."""
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with locked(run):
                os.write(told, b".")
                work()
        finally:
            os._exit(0)
    os.close(told)
    assert os.read(ready, 1) == b"."
    os.close(ready)
    return child


def end(child: int, number: int = signal.SIGKILL) -> None:
    os.kill(child, number)
    os.waitpid(child, 0)


def test_a_second_training_is_told_who_holds_the_folder(tmp_path):
    holder = holder_of(tmp_path / "run")
    who = rf"\(process {holder} on {socket.gethostname()}, since 20\d\d-.*\+00:00\)"
    expected = pytest.raises(RecipeError, match=rf"run: another training writes into it {who}")
    with expected, locked(tmp_path / "run"):
        pass
    end(holder)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_training_holds_nothing(tmp_path, number):
    end(holder_of(tmp_path / "run"), number)
    with locked(tmp_path / "run"):
        assert f"process {os.getpid()} " in (tmp_path / "run" / ".lock").read_text()


def test_the_workers_of_a_killed_training_hold_nothing(tmp_path):
    ready, told = os.pipe()

    def work():
        worker = os.fork()
        if worker:
            os.write(told, str(worker).encode())
        signal.pause()

    holder = holder_of(tmp_path / "run", work)
    worker = int(os.read(ready, 20))
    end(holder)
    try:
        with locked(tmp_path / "run"):
            os.kill(worker, 0)  # it is there still
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_training_that_is_over_holds_nothing(tmp_path):
    with locked(tmp_path / "run"):
        pass
    end(holder_of(tmp_path / "run"))


@pytest.mark.parametrize("folder", ["/sys/run", "/dev/null/run"])
def test_a_folder_that_cannot_be_written_is_named(folder):
    with pytest.raises(OSError, match=folder.rpartition("/")[0]), locked(Path(folder)):
        pass


@pytest.mark.parametrize(
    "write",
    [
        lambda: torch.save(torch.zeros(9999), "/dev/full"),
        lambda: save_file({"a": torch.zeros(9)}, "/dev/null/weights"),
        lambda: Path("/dev/full").write_text("a"),
    ],
    ids=["torch", "safetensors", "python"],
)
def test_a_full_disk_is_one_line(write):
    expected = pytest.raises(OSError, match=r"^runs/x: checkpoint-4 cannot be written[^\n]*$")
    with expected, writing("runs/x: checkpoint-4"):
        write()


def test_other_errors_are_not_taken_for_a_full_disk():
    with pytest.raises(RuntimeError, match="shapes"), writing("runs/x"):
        raise RuntimeError("shapes")
