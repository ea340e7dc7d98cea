"""Data sets whose sentences have several images: `image` and `image_id` are lists.

A sentence has one image (`Image()`) in one data set, and any number of them (`List(Image())`) in
another. All images of a sentence are in the order of its source; a missing one is null in `image`,
and named in `image_id`.
"""

from __future__ import annotations

from typing import Any, TypeVar

from datasets import Dataset, Features, Image, IterableDataset, LargeList, List

Rows = TypeVar("Rows", Dataset, IterableDataset)


def images_of_row(image: Any) -> list[Any]:
    """The value of `image` or `image_id`, one or a list, as a list; empty without any."""
    if isinstance(image, list):
        return image
    return [] if image is None else [image]


def has_image_lists(columns: Features | None) -> bool:
    """Whether the column `image` is one of lists."""
    return isinstance((columns or {}).get("image"), List | LargeList)


def undecoded(rows: Rows) -> Rows:
    """The same rows; all columns of images, and of lists of images, are left undecoded."""
    for column, feature in (rows.features or {}).items():
        if isinstance(feature, Image):
            rows = rows.cast_column(column, Image(decode=False))
        elif isinstance(feature, List | LargeList) and isinstance(feature.feature, Image):
            rows = rows.cast_column(column, type(feature)(Image(decode=False)))
    return rows


def with_image_lists(rows: Dataset) -> Dataset:
    """The same rows, with lists in `image` and `image_id`; null stays null."""
    rows = undecoded(rows)
    for column in ("image", "image_id"):
        feature = rows.features.get(column)
        if feature is not None and not isinstance(feature, List | LargeList):
            values = [None if value is None else [value] for value in rows[column]]
            rows = rows.remove_columns(column).add_column(column, values, feature=List(feature))
    return rows


__all__ = ["has_image_lists", "images_of_row", "undecoded", "with_image_lists"]
