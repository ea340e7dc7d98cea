"""Image controls: the same sentences with their own, shuffled and blank images.

    for name, rows in controls(dataset, image_keys(dataset), seed=19).items():
        predict(trainer, rows)

`real` is each sentence with its own image, `none` without one (the text view, which needs no data
set of its own), `shuffled` with the image of another sentence, `blank` with a grey image. A model
that uses its images scores best with `real`. The images of a sentence with several move together,
to a sentence that has none of them.

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
MOST_TRIES = 200
"""Rows, drawn at random, that a row may exchange with if it would get one of its own images."""


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
    Of rows with several images, equal ones have the same set; a row that got another set with one
    of its own images in it exchanges with a row that has none of these.
    Every image is used as often as before.

    Args:
        keys: a key for each row's image (`data.image_keys`); None without an image.
        seed: of the order.

    Returns:
        For each row, the row whose image it gets; None where `keys` is None. If one image is
        among those of more than half of the rows, some of them keep it.
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
    if any("\n" in key for key in groups):
        _part_sets(source, keys, order, generator)
    return source


def _part_sets(
    source: list[int | None],
    keys: Sequence[str | None],
    order: Sequence[int],
    generator: random.Random,
) -> None:
    """Exchange what rows get that would get one of their own images, where both then get none."""
    for row in order:
        if not _share_an_image(keys, row, source[row]):
            continue
        for other in generator.sample(order, min(len(order), MOST_TRIES)):
            if not (
                _share_an_image(keys, row, source[other])
                or _share_an_image(keys, other, source[row])
            ):
                source[row], source[other] = source[other], source[row]
                break


def _share_an_image(keys: Sequence[str | None], row: int, other: int | None) -> bool:
    """Whether an image of one row is one of the other's, by their keys (`data.image_keys`)."""
    own, given = keys[row], None if other is None else keys[other]
    if own is None or given is None:
        return False
    return not set(own.split("\n")).isdisjoint(given.split("\n"))


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
    kept = sum(_share_an_image(keys, row, source) for row, source in enumerate(shuffled))
    if kept:
        logger.warning("control `shuffled`: %d rows keep their image, too few others", kept)
    own = [None if key is None else row for row, key in enumerate(keys)]
    return {
        "real": rows,
        "shuffled": OtherImages(rows, shuffled),
        "blank": OtherImages(rows, own, blank=blank_image()),
    }
