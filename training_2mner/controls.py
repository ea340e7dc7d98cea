"""Image controls: the same sentences with their own, shuffled and blank images.

    for name, rows in controls(dataset, image_keys(dataset), seed=19).items():
        predict(trainer, rows)

`real` is each sentence with its own image, `none` without one (the text view, which needs no data
set of its own), `shuffled` with the image of another sentence, `blank` with a grey image. A model
that uses its images scores best with `real`. The images of a sentence with several move together.

The visual context moves with the image it was made from; a blank image has none. A sentence with
visual context but without an image counts as one with an image.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from PIL import Image
from torch.utils.data import Dataset as TorchDataset

from dataset_mmnerd.schema import CONTEXT_COLUMNS

__all__ = ["CONTROLS", "OtherImages", "blank_image", "controls", "derangement"]

logger = logging.getLogger(__name__)

CONTROLS = ("real", "none", "shuffled", "blank")
BLANK_GREY = 128
BLANK_SIZE = (224, 224)


class OtherImages(TorchDataset):
    """A data set with other images and their visual context; the rows are not copied.

    Args:
        rows: the data set, `image` undecoded.
        source: for each row, the number of the row whose image it gets, or None for no image.
        blank: the image that all of these rows get in place of each of their own, without context.
    """

    def __init__(
        self, rows: Dataset, source: Sequence[int | None], blank: Image.Image | None = None
    ) -> None:
        self.rows = rows
        columns = ("image", *CONTEXT_COLUMNS)
        self.images = rows.select_columns([key for key in columns if key in rows.column_names])
        self.source = source
        self.blank = blank

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        source = self.source[index]
        image = dict.fromkeys(self.images.column_names)
        if source is not None and self.blank is not None:
            own = self.images[source].get("image")
            image["image"] = [self.blank] * len(own) if isinstance(own, list) else self.blank
        elif source is not None:
            image = self.images[source]
        return {**self.rows[index], **image}


def blank_image() -> Image.Image:
    """A grey surface."""
    return Image.new("RGB", BLANK_SIZE, (BLANK_GREY,) * 3)


def derangement(keys: Sequence[str | None], seed: int) -> list[int | None]:
    """Give every row the image of another row, and never an equal image.

    The rows with an image are put in a random order in which equal images stand together, and
    every row takes the image from as many places further on as the commonest image has rows.
    Every image is used as often as before.

    Args:
        keys: a key for each row's image (`data.image_keys`); None without an image.
        seed: of the order.

    Returns:
        For each row, the row whose image it gets; None where `keys` is None. If one image is
        that of more than half of the rows, some of them keep it.
    """
    generator = random.Random(seed)
    groups: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        if key is not None:
            groups.setdefault(key, []).append(row)
    shuffled = list(groups.values())
    generator.shuffle(shuffled)
    order = [row for group in shuffled for row in generator.sample(group, len(group))]
    shift = max(map(len, shuffled), default=0)
    source: list[int | None] = [None] * len(keys)
    for place, row in enumerate(order):
        source[row] = order[(place + shift) % len(order)]
    return source


def controls(
    rows: Dataset, keys: Sequence[str | None], seed: int
) -> dict[str, Dataset | OtherImages]:
    """The data set itself as `real`, and with other images as `shuffled` and as `blank`.

    Args:
        rows: the data set, `image` undecoded.
        keys: a key for each row's image (`data.image_keys`); None without an image.
        seed: of the shuffling.
    """
    shuffled = derangement(keys, seed)
    kept = sum(
        source is not None and keys[source] == key
        for source, key in zip(shuffled, keys, strict=True)
    )
    if kept:
        logger.warning("control `shuffled`: %d rows keep their image, too few others", kept)
    own = [None if key is None else row for row, key in enumerate(keys)]
    return {
        "real": rows,
        "shuffled": OtherImages(rows, shuffled),
        "blank": OtherImages(rows, own, blank=blank_image()),
    }
