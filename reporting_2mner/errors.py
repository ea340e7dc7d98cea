"""The wrong predictions with the highest scores, and thumbnails of their images.

    for mistake in surest_mistakes(records):
        mistake.row, mistake.entity["label"], mistake.entity["score"], mistake.kind

The thumbnails are stored in the run's folder, so that the report can be written again without the
data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from PIL import Image

from dataset_mmnerd.files import write_bytes
from dataset_mmnerd.image_lists import images_of_row
from dataset_mmnerd.images import ImageError, load_image

from .marked_text import Mark, word_offsets
from .runs import Record, percent, spans_of
from .small_images import side_by_side, small_jpeg

__all__ = [
    "MOST_MISTAKES",
    "Mistake",
    "marks_of",
    "surest_mistakes",
    "thumbnail_path",
    "write_thumbnails",
]

MOST_MISTAKES = 50
SIDE = 256
"""The longer side of a thumbnail, in pixels; twice as long with several images."""

MOST_BYTES = 20_000
"""Of one thumbnail: fifty are at most a megabyte."""


@dataclass(frozen=True)
class Mistake:
    """An entity that was predicted and is not there.

    Attributes:
        row: the place of its sentence among the records.
        entity: as predicted.
        kind: "wrong type" of an entity, "wrong boundaries" (it shares words with one), "spurious".
        gold: the entities it shares words with.
    """

    row: int
    entity: dict[str, Any]
    kind: str
    gold: list[dict[str, Any]]


def surest_mistakes(records: Sequence[Record]) -> list[Mistake]:
    """At most `MOST_MISTAKES` wrong predictions with the highest scores, the surest first."""
    mistakes = []
    for row, record in enumerate(records):
        gold = set(spans_of(record, "gold"))
        for entity, span in zip(record["predicted"], spans_of(record), strict=True):
            if span not in gold:
                mistakes.append(_mistake(row, entity, record["gold"]))
    return sorted(mistakes, key=lambda mistake: -mistake.entity["score"])[:MOST_MISTAKES]


def _mistake(row: int, entity: dict[str, Any], gold: Sequence[dict[str, Any]]) -> Mistake:
    start, end = entity["start"], entity["end"]
    touched = [other for other in gold if other["start"] < end and start < other["end"]]
    kind = "wrong boundaries" if touched else "spurious"
    if any((other["start"], other["end"]) == (start, end) for other in touched):
        kind = "wrong type"
    return Mistake(row, entity, kind, touched)


def marks_of(record: Record) -> list[Mark]:
    """What was predicted in a sentence, and what is there in its place: characters of its words
    joined by spaces.
    """
    places = word_offsets(record["tokens"])
    gold, predicted = set(spans_of(record, "gold")), set(spans_of(record))
    marks = []
    for entity, span in zip(record["predicted"], spans_of(record), strict=True):
        note = f"{percent(entity['score'])} %" + (", right" if span in gold else "")
        marks.append(Mark(places[span[0]][0], places[span[1] - 1][1], span[2], note))
    for start, end, label in sorted(gold - predicted):
        marks.append(Mark(places[start][0], places[end - 1][1], label, "gold", is_gold=True))
    return marks


# Images -----------------------------------------------------------------------------------------


def thumbnail_path(run: Path, row: int) -> Path:
    """Where the image of a sentence lies, if there is one; `row` is its place in
    `predictions.jsonl`."""
    return run / "report" / "images" / f"{row}.jpg"


def write_thumbnails(run: Path, rows: Dataset, records: Sequence[Record]) -> None:
    """Store small copies of the images that belong to the surest mistakes.

    Args:
        run: the run's folder; thumbnails of an earlier evaluation go.
        rows: the data set that was predicted, `image` undecoded.
        records: what was predicted, in the order of the rows.
    """
    folder = thumbnail_path(run, 0).parent
    folder.mkdir(parents=True, exist_ok=True)
    images = rows.select_columns("image") if "image" in rows.column_names else None
    written = set()
    for row in {mistake.row for mistake in surest_mistakes(records)}:
        sources = [] if images is None else images_of_row(images[row]["image"])
        shown = [image for image in map(_readable, sources) if image is not None]
        if not shown:
            continue
        content = small_jpeg(side_by_side(shown, SIDE), SIDE * min(len(shown), 2), MOST_BYTES)
        written.add(thumbnail_path(run, row))
        write_bytes(thumbnail_path(run, row), content)
    for old in {*folder.glob("*.jpg")} - written:
        old.unlink()


def _readable(source: Any) -> Image.Image | None:
    """An image; None if there is none, or it cannot be read, which the processor has logged."""
    try:
        return None if source is None else load_image(source)
    except ImageError:
        return None
