"""What was read of a corpus and found in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Summary"]

LISTED = 1000
"""Rows that a summary lists of each kind, at most; all are counted."""

SHOWN = 10


@dataclass
class Summary:
    """What was read and found.

    Attributes:
        sentences: how many were annotated.
        entities: how many of each type.
        images: how many were read.
        long_texts: sentences that were read in several windows.
        unreadable_images: how many, missing files among them; and the first of them.
        unreadable_rows: how many; and the first of them.
    """

    sentences: int = 0
    entities: Counter[str] = field(default_factory=Counter)
    images: int = 0
    long_texts: int = 0
    unreadable_images: int = 0
    unreadable_rows: int = 0
    listed_images: list[str] = field(default_factory=list)
    listed_rows: list[str] = field(default_factory=list)

    def add(self, line: Mapping[str, Any]) -> None:
        """Take in a line of a part."""
        if "fault" in line:
            self.unreadable_rows += 1
            self.listed_rows += [line["fault"]] if len(self.listed_rows) < LISTED else []
            return
        record = line["record"]
        self.sentences += 1
        self.entities.update(entity["label"] for entity in record["entities"])
        self.long_texts += record["windows"] > 1
        self.images += record.get("image_read", False)
        if "image_error" in line:
            self.unreadable_images += 1
            found = f"{record['id']}: {line['image_error']}"
            self.listed_images += [found] if len(self.listed_images) < LISTED else []

    def __str__(self) -> str:
        types = sorted(self.entities.items(), key=lambda pair: (-pair[1], pair[0]))
        lines = [
            f"{self.sentences:,} sentences, {self.entities.total():,} entities"
            + (f" ({', '.join(f'{name} {count:,}' for name, count in types)})" if types else ""),
            f"{self.images:,} images read, {self.unreadable_images:,} not readable",
            *_first(self.listed_images, self.unreadable_images),
            f"{self.long_texts:,} texts read in several windows",
            f"{self.unreadable_rows:,} rows not readable, which are left out",
            *_first(self.listed_rows, self.unreadable_rows),
        ]
        return "\n".join(lines)


def _first(listed: Sequence[str], count: int) -> list[str]:
    shown = [f"  {line}" for line in listed[:SHOWN]]
    return [*shown, f"  ... and {count - SHOWN:,} more"] if count > SHOWN else shown
