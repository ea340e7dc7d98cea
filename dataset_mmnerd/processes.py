"""The processes that `accelerate launch` started, which share the work."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn

_WORLD_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE")
_LONGEST_WAIT = timedelta(days=7)  # for the slowest process


class ProcessesError(RuntimeError):
    """Several processes that were started without a common process group."""


@dataclass(frozen=True)
class Processes:
    """This process among those that share the work.

    Attributes:
        index: the number of this process, from 0.
        count: the number of processes.
        device: the device of this process; None for any.
        wait: returns when all processes have called it.
    """

    index: int = 0
    count: int = 1
    device: str | None = None
    wait: Callable[[], None] = lambda: None

    @classmethod
    def launched(cls) -> Processes:
        """The processes of `accelerate launch`, or this process alone.

        torch and accelerate are imported only if there are several processes.

        Raises:
            ProcessesError: if there are several without a common process group.
        """
        launched = max(int(os.environ.get(name) or 1) for name in _WORLD_SIZES)
        if launched == 1:
            return cls()
        import torch
        from accelerate import PartialState

        state = PartialState(cpu=not torch.accelerator.is_available(), timeout=_LONGEST_WAIT)
        if state.num_processes != launched:
            raise ProcessesError(
                f"found {launched} processes, each of which would do all the work, expected "
                "processes that share it: see accelerate_config.yaml"
            )
        return cls(state.process_index, launched, str(state.device), state.wait_for_everyone)

    def own(self, number: int) -> bool:
        """Whether this process does the piece of work with this number."""
        return number % self.count == self.index


def end_together(status: int) -> NoReturn:
    """End this process; after a success, when all processes of the launch have called this.

    A launcher stops all processes when one of them fails, which can be after its work: a library's
    threads can abort or hang while the interpreter shuts down. So none ends before the first one
    has written everything, and all leave their process group.

    Args:
        status: the exit status.

    Raises:
        SystemExit: with that status.
    """
    distributed = sys.modules.get("torch.distributed")
    if status == 0 and distributed and distributed.is_available() and distributed.is_initialized():
        # The group of a training waits half an hour only. NCCL would keep the GPUs busy.
        waiting = distributed.new_group(backend="gloo", timeout=_LONGEST_WAIT)
        distributed.barrier(waiting)
        distributed.destroy_process_group()
    sys.exit(status)


__all__ = ["Processes", "ProcessesError", "end_together"]
