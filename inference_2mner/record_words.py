"""The words of a record (see `outputs.py`), and its entities as words."""

from __future__ import annotations

from typing import Any

from dataset_mmnerd.quoting import quoted
from modeling_2mner.words_2mner import split_into_words

from .parts import CorpusError

__all__ = ["not_words", "words_of"]

Record = dict[str, Any]


def words_of(record: Record, word_rules: int) -> tuple[list[str], list[tuple[int, int, str]]]:
    """A record's words, and its entities as words `[start, end)` and type.

    Raises:
        CorpusError: if an entity of a text does not consist of words.
    """
    entities = [(one["start"], one["end"], one["label"]) for one in record["entities"]]
    if "tokens" in record:
        return record["tokens"], entities
    text = record["text"]
    places = split_into_words(text, word_rules)
    first = {start: number for number, (start, _) in enumerate(places)}
    last = {end: number for number, (_, end) in enumerate(places, 1)}
    for start, end, _ in entities:
        if start not in first or end not in last:
            raise not_words(record, start, end, word_rules)
    words = [text[start:end] for start, end in places]
    return words, [(first[start], last[end], label) for start, end, label in entities]


def not_words(record: Record, start: int, end: int, word_rules: int) -> CorpusError:
    """The error about an entity that does not consist of words."""
    return CorpusError(
        f"{record['id']}: found the entity {quoted(record['text'][start:end])}, expected whole "
        f"words by version {word_rules} of the model's rules"
    )
