"""Distributed batching for map-style and streaming data sets, and the collator.

All processes draw the same order and take their share of it. No sentence is repeated to fill a
batch. The last sentences of an epoch are spread evenly; if there are fewer of them than processes,
they join the batches before.

Shapes: a *group* is the sentences of one micro-batch of all processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import torch
from datasets import IterableDataset as Stream
from torch.utils.data import IterableDataset, Sampler

from modeling_2mner import TwoMNERProcessor
from modeling_2mner.crf_2mner import UNKNOWN

from .arguments import RecipeError
from .data import LABELLED
from .distillation import ROW, TEACHER, TeacherPosteriors
from .vision_cache import VisionCache

__all__ = [
    "LengthGroupedSampler",
    "SharedBatches",
    "StreamedBatches",
    "WordCollator",
    "groups_of",
    "share_of",
]

Item = TypeVar("Item")


# One batch ----------------------------------------------------------------------------------------


@dataclass
class WordCollator:
    """Rows of a data set -> one padded batch, by way of the model's processor.

    Of each row it reads `tokens`, the words; `ner_tags`, their labels as ids into `label_names`,
    which are unknown where `labelled` is False; `image`, which may be missing, None, a path,
    undecoded as {"bytes", "path"}, or a list of such; and, for a processor that reads visual
    context, `objects`, `captions` and `ocr`, which may be missing or None. The processor masks an
    image that cannot be read.

    Args:
        processor: the model's, with its labels.
        label_names: the labels of the data set in the order of their ids, in BIO or BIOES,
            independent of the model's scheme.
        features: the cached features of the images, which are then not decoded.
        teacher: the posteriors of numbered rows (`distillation.number_rows`), for the batch.
    """

    processor: TwoMNERProcessor
    label_names: Sequence[str]
    features: VisionCache | None = None
    teacher: TeacherPosteriors | None = None

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        images = [row.get("image") for row in rows]
        cached = None if self.features is None else self.features.of(images)
        context = None
        if self.processor.reads_context:
            context = [{key: row.get(key) for key in self.processor.context_fields} for row in rows]
        inputs = self.processor(
            [row["tokens"] for row in rows],
            images=images if cached is None else None,
            labels=[self._labels_of(row) for row in rows],
            context=context,
        )
        batch = dict(inputs)
        if cached is not None:
            del batch["pixel_values"]
            batch |= cached
        if self.teacher is not None and ROW in rows[0]:
            batch[TEACHER] = self.teacher.of([row[ROW] for row in rows])
        return batch

    def _labels_of(self, row: dict[str, Any]) -> list[str] | list[int]:
        if not row.get(LABELLED, True):
            return [UNKNOWN] * len(row["tokens"])
        return [self.label_names[tag] for tag in row["ner_tags"]]


# The order of rows --------------------------------------------------------------------------------


class LengthGroupedSampler(Sampler[int]):
    """A random order in which neighbours have similar lengths, so that batches have little padding.

    All sentences are shuffled, cut into pools of `pool` batches, sorted inside each pool, cut into
    batches, and the batches are shuffled: each epoch has other batches, and long ones come at any
    time. The order depends on `seed` and the epoch alone, so that all processes draw the same order
    and a resumed run continues in it.

    Args:
        lengths: words of each sentence.
        batch_size: sentences that share a step, over all processes.
        seed: of the order.
        pool: batches that are sorted together.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, pool: int = 20) -> None:
        self.lengths = list(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.pool = pool
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self), generator=generator).tolist()
        batches: list[list[int]] = []
        for first in range(0, len(order), self.pool * self.batch_size):
            pool = order[first : first + self.pool * self.batch_size]
            pool.sort(key=self.lengths.__getitem__)
            starts = range(0, len(pool), self.batch_size)
            batches += [pool[start : start + self.batch_size] for start in starts]
        # A batch that is not full goes last: elsewhere it would shift the borders of the others.
        full = [batch for batch in batches if len(batch) == self.batch_size]
        partial = [batch for batch in batches if len(batch) < self.batch_size]
        for index in torch.randperm(len(full), generator=generator).tolist():
            yield from full[index]
        for batch in partial:
            yield from batch


# The batches of each process ----------------------------------------------------------------------


def groups_of(items: Iterable[Item], size: int, processes: int) -> Iterator[list[Item]]:
    """Cut items into groups of `size`, a multiple of `processes`. The last group may be smaller, or
    larger by less than `processes`. Each group has at least as many items as there are processes.

    Raises:
        RecipeError: if there are fewer items than processes.
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
    """The items of one process: consecutive, and as many as of each other process or one more."""
    bounds = [len(group) * index // processes for index in (process, process + 1)]
    return list(group[bounds[0] : bounds[1]])


class SharedBatches(Sampler[list[int]]):
    """The batches of one process, in the order of a sampler that is the same in all processes.

    Args:
        sampler: the order of the rows; its `set_epoch` is called.
        batch_size: sentences of a batch of one process.
        process, processes: the index of the process, and their number.
    """

    def __init__(
        self, sampler: LengthGroupedSampler, batch_size: int, process: int = 0, processes: int = 1
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
    """`count` batches of one process from a stream of rows, over as many epochs as that takes.

    Every process reads the whole stream in the same order and keeps its own rows. So each row is
    seen once an epoch, whatever the number of shards, and only the process that keeps a row decodes
    its image. It cannot be read in the workers of a loader, to each of which `datasets` would give
    its own shards.

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
