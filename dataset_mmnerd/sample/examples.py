"""Sentences of the sample to show a model: a few of each language, written as people write them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from dataset_mmnerd.schema import Row

from .embedded import SAMPLE_LANGUAGES
from .rows import sample_rows

__all__ = ["sample_examples", "written"]


def sample_examples() -> list[dict[str, Any]]:
    """Two sentences of the test part in each language, which no training has seen.

    Returns:
        Dictionaries of `text`, `lang` and `image` (an encoded image). First of each language a
        sentence whose entity only the image can type, of a different type in each; then one whose
        words decide, with two entities.
    """
    rows = list(sample_rows("test"))
    return [
        {"text": written(row["tokens"], lang), "lang": lang, "image": row["image"]["bytes"]}
        for row, lang in zip(_chosen(rows), (*SAMPLE_LANGUAGES, *SAMPLE_LANGUAGES), strict=True)
    ]


def _chosen(rows: Sequence[Row]) -> Iterator[Row]:
    used: set[str] = set()
    for lang in SAMPLE_LANGUAGES:
        row = next(
            row
            for row in rows
            if row["lang"] == lang
            and not row["decidable_from_text"]
            and used.isdisjoint(_types(row))
        )
        used.update(_types(row))
        yield row
    for lang in SAMPLE_LANGUAGES:
        yield next(
            row
            for row in rows
            if row["lang"] == lang
            and row["decidable_from_text"]
            and row["image"] is not None
            and len(_types(row)) == 2
        )


def _types(row: Row) -> list[str]:
    """The types of a row's entities, in their order."""
    return [tag[2:] for tag in row["ner_tags"] if tag.startswith("B-")]


def written(words: Sequence[str], lang: str) -> str:
    """Words as a line of text, with the spaces that the language has around punctuation."""
    closing = r"[.,…]+" if lang == "fr" else r"[.,!?:;…]+"
    text = re.sub(rf" ({closing})(?= |$)", r"\1", " ".join(words))
    text = re.sub(r"([¿¡(]) ", r"\1", text).replace(" )", ")")
    text = re.sub(r'" ([^"]+) "', r'"\1"', text)
    text = re.sub(r" (n't|'s)(?!\w)", r"\1", text)
    return re.sub(r"(\w['’]) (?=\w)", r"\1", text) if lang == "fr" else text
