"""Which sentences share a step, and which of them are whose: for rows that lie there and for rows
that stream in.

What is unusual: each process takes its share of the same order, and no sentence is seen twice to
fill a batch up. The last sentences of an epoch are spread evenly, and where there are fewer of them
than processes, they join the batches before.

Shapes: a *group* is the sentences of one micro-batch of all processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from datasets import IterableDataset as Stream
from torch.utils.data import IterableDataset, Sampler

from .arguments import RecipeError

__all__ = ["SharedBatches", "StreamedBatches", "groups_of", "share_of"]

Item = TypeVar("Item")


def groups_of(items: Iterable[Item], size: int, processes: int) -> Iterator[list[Item]]:
    """Cut items into groups of `size`, a multiple of `processes`. The last one may be smaller, or
    larger by less than `processes`: none has fewer items than there are processes.

    Raises:
        RecipeError: if there are fewer items than processes: one of them would have none.
    """
    group: list[Item] = []
    held: list[Item] | None = None
    for item in items:
        group.append(item)
        if len(group) == size:
            if held is not None:
                yield held
            held, group = group, []
    if len(group) < processes:
        group, held = (held or []) + group, None
        if 0 < len(group) < processes:
            raise RecipeError(
                f"found {len(group)} sentence(s) to train on, expected at least one for each of "
                f"the {processes} processes"
            )
    if held is not None:
        yield held
    if group:
        yield group


def share_of(group: Sequence[Item], process: int, processes: int) -> list[Item]:
    """One process's items of a group: neighbours, and as many as the others have, or one more."""
    bounds = [len(group) * index // processes for index in (process, process + 1)]
    return list(group[bounds[0] : bounds[1]])


class SharedBatches(Sampler[list[int]]):
    """The batches of one process, in the order of a sampler that all processes draw alike.

    Args:
        sampler: the order of the rows; its `set_epoch` is called.
        batch_size: sentences of a batch of one process.
        process, processes: whose batches, of how many.
    """

    def __init__(
        self, sampler: Sampler[int], batch_size: int, process: int = 0, processes: int = 1
    ) -> None:
        self.sampler = sampler
        self.batch_size = batch_size
        self.process = process
        self.processes = processes

    def set_epoch(self, epoch: int) -> None:
        self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        whole, rest = divmod(len(self.sampler), self.batch_size * self.processes)
        return whole + (rest >= self.processes or (rest > 0 and whole == 0))

    def __iter__(self) -> Iterator[list[int]]:
        for group in groups_of(self.sampler, self.batch_size * self.processes, self.processes):
            yield share_of(group, self.process, self.processes)


class StreamedBatches(IterableDataset):
    """The batches of one process out of a stream of rows, epoch after epoch, as many as are asked
    for.

    Every process reads the whole stream in the same order and keeps its own rows: so no row is seen
    twice an epoch, whatever the number of shards, and only who keeps a row decodes its image. In
    the workers of a loader it cannot be read: there `datasets` would give each its own shards.

    Args:
        rows: the stream, shuffled or not; its epoch is set here.
        count: the batches that are needed.
        batch_size, process, processes: as in `SharedBatches`.

    Raises:
        RecipeError: when it is read and has no row.
    """

    def __init__(
        self, rows: Stream, count: int, batch_size: int, process: int = 0, processes: int = 1
    ) -> None:
        self.rows = rows
        self.count = count
        self.batch_size = batch_size
        self.process = process
        self.processes = processes

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        for group in islice(self._groups(), self.count):
            yield share_of(group, self.process, self.processes)

    def _groups(self) -> Iterator[list[dict[str, Any]]]:
        epoch = 0
        while True:
            self.rows.set_epoch(epoch)
            found = False
            for group in groups_of(self.rows, self.batch_size * self.processes, self.processes):
                found = True
                yield group
            if not found:
                raise RecipeError("no sentence to train on: the stream is empty")
            epoch += 1
