"""What a build wrote, counted by language and split, and its warnings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from .audit import AuditReport
from .quoting import shorten
from .schema import Row
from .shards import Written

_EXAMPLES = 24


@dataclass
class PartSummary:
    """The counts of one language and split. `images` is the number of sentences with an image."""

    written: Written = field(default_factory=Written)
    words: int = 0
    entities: Counter[str] = field(default_factory=Counter)
    images: int = 0


@dataclass
class BuildReport:
    """The counts of a build.

    Attributes:
        labels: the label names, in the order of their ids.
        parts: by language and split.
        warnings: the number of each kind of warning.
        first: the first example of each kind of warning.
        examples: rows with their images, of different languages and entity types, for the card.
        audit: the audit's findings; None without an audit.
    """

    labels: list[str]
    parts: dict[tuple[str, str], PartSummary] = field(default_factory=dict)
    warnings: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    examples: list[tuple[Row, bytes]] = field(default_factory=list)
    audit: AuditReport | None = None

    def warn(self, kind: str, example: str) -> None:
        """Count a warning."""
        self.warnings[kind] += 1
        self.first.setdefault(kind, shorten(example))

    def count(self, split: str, row: Row, images: Sequence[bytes | None]) -> None:
        """Count a row and its images. An example has the first of them."""
        image = next((one for one in images if one is not None), None)
        part = self.parts.setdefault((row["lang"], split), PartSummary())
        tags = row["ner_tags"]
        types = [tag[2:] for tag in tags if tag.startswith("B-")]
        part.words += len(tags)
        part.entities.update(types)
        part.images += image is not None
        if not tags:
            self.warn("sentences are empty", row["id"])
        if row.get("repaired"):
            self.warn("sentences have I- labels that continue nothing, read as B-", row["id"])
        if image is not None and types and len(self.examples) < _EXAMPLES:
            self._add_example(row, image, types)

    def _add_example(self, row: Row, image: bytes, types: list[str]) -> None:
        """Keep a row if its image is new, and so is one of its entity types in its language."""
        if any(image == seen for _, seen in self.examples):
            return
        shown = {(seen["lang"], tag) for seen, _ in self.examples for tag in seen["ner_tags"]}
        if any((row["lang"], f"B-{name}") not in shown for name in types):
            self.examples.append((row, image))

    def warnings_in_words(self) -> str:
        """The warnings on one line, each with its number and its first example."""
        kinds = [f"{count} {kind} ({self.first[kind]})" for kind, count in self.warnings.items()]
        return "; ".join(kinds)


__all__ = ["BuildReport", "PartSummary"]
