"""How rows become batches: the collator, and the order in which sentences of like length meet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers import ProcessorMixin

from .vision_cache import VisionCache

__all__ = ["LengthGroupedSampler", "WordCollator"]


@dataclass
class WordCollator:
    """Rows of a data set -> one padded batch, by way of the model's processor.

    Of each row it reads `tokens`, the words; `ner_tags`, their labels as ids into `label_names`;
    `image`, which may be missing, None, a path, or undecoded as {"bytes", "path"}; and, for a
    processor that reads visual context, `objects`, `captions` and `ocr`, which may be missing or
    None. An image that cannot be read costs its mask, not the batch: that is the processor's
    business.

    Args:
        processor: the model's; it knows the model's labels.
        label_names: the labels of the data set in the order of their ids, in BIO or BIOES,
            whichever of the two the model speaks.
        features: the cached features of the images, which are then not decoded.
    """

    processor: ProcessorMixin
    label_names: Sequence[str]
    features: VisionCache | None = None

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        images = [row.get("image") for row in rows]
        cached = None if self.features is None else self.features.of(images)
        context = None
        if self.processor.reads_context:
            context = [{key: row.get(key) for key in self.processor.context_fields} for row in rows]
        batch = self.processor(
            [row["tokens"] for row in rows],
            images=images if cached is None else None,
            labels=[[self.label_names[tag] for tag in row["ner_tags"]] for row in rows],
            context=context,
        )
        batch = dict(batch)
        if cached is not None:
            del batch["pixel_values"]
            batch["vision_features"], batch["image_mask"] = cached
        return batch


class LengthGroupedSampler(Sampler[int]):
    """A random order in which neighbours are of like length, so that batches carry little padding.

    All sentences are shuffled, cut into pools of `pool` batches, sorted inside each pool, cut into
    batches, and the batches shuffled: every epoch meets other batches, long ones at any time. The
    order depends on `seed` and the epoch alone: every process draws the same, and a resumed run
    goes on in the order in which it was stopped.

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
