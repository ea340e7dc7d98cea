"""Sentences as a user gives them: words, labels and visual context, checked.

All messages name the argument and the place in it, as in `words[2][0]`.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from .labels_2mner import UNKNOWN, is_bioes, repair_labels
from .quoting_2mner import described, quoted, shorten

__all__ = [
    "CONTEXT_FIELDS",
    "VisualContext",
    "as_sentences",
    "check_context",
    "check_strings",
    "is_listing",
    "is_sentence",
    "label_ids",
    "one_each",
]

logger = logging.getLogger(__name__)

CONTEXT_FIELDS = ("objects", "captions", "ocr")

VisualContext = Mapping[str, Sequence[str] | None]
"""Text made from an image, by the fields in `CONTEXT_FIELDS`."""


def is_listing(value: Any) -> bool:
    """Whether this is a list, tuple, array or the like, and not a string, dictionary or stream."""
    if isinstance(value, str | bytes | bytearray | memoryview):
        return False
    return isinstance(value, Sequence) or getattr(value, "ndim", 0) > 0


def is_sentence(words: Any) -> bool:
    """Whether a list is one sentence, a list of words, and not a list of sentences."""
    return len(words) > 0 and isinstance(words[0], str)


def check_strings(strings: Any, name: str) -> None:
    """Check a list of strings.

    Args:
        strings: any value.
        name: its name in the message.

    Raises:
        TypeError: if it is something else.
    """
    if not is_listing(strings):
        raise TypeError(f"{name} is {described(strings)}, expected a list of strings")
    for place, string in enumerate(strings):
        if not isinstance(string, str):
            raise TypeError(f"{name}[{place}] is {described(string)}, expected a string")


def as_sentences(words: Any, name: str = "words") -> list[list[str]]:
    """Check one sentence or several.

    Args:
        words: a sentence as a list of words, or a list of sentences.
        name: its name in the message.

    Returns:
        The list of sentences; one sentence is a list of one.

    Raises:
        TypeError: if it is something else.
    """
    if not is_listing(words):
        raise TypeError(
            f"{name} is {described(words)}, expected a list of words, or a list of sentences that "
            "are such lists"
        )
    if is_sentence(words):
        check_strings(words, name)
        return [list(words)]
    for number, sentence in enumerate(words):
        check_strings(sentence, f"{name}[{number}]")
    return [list(sentence) for sentence in words]


def check_context(context: Any, name: str = "context") -> None:
    """Check one sentence's visual context.

    Args:
        context: None, or lists of strings by field.
        name: its name in the message.

    Raises:
        TypeError: if it, or a value in it, is of another type.
        ValueError: if it has an unknown field.
    """
    if not isinstance(context, Mapping | None):
        raise TypeError(
            f"{name} is {described(context)}, expected a dictionary of lists of strings, or None"
        )
    for field, strings in (context or {}).items():
        if field not in CONTEXT_FIELDS:
            raise ValueError(
                f"{name} has the field {described(field)}, expected some of "
                f"{', '.join(CONTEXT_FIELDS)}"
            )
        if strings is not None:
            check_strings(strings, f"{name}[{field!r}]")


def one_each(values: Any, count: int, name: str, kind: str) -> list[Any]:
    """Check that a list has one item for each sentence.

    Args:
        values: any value.
        count: the number of sentences.
        name: its name in the message.
        kind: an item's name in the message.

    Raises:
        TypeError: if it is no list.
        ValueError: if it has another length.
    """
    if not is_listing(values):
        raise TypeError(f"{name} is {described(values)}, expected a list: for each sentence {kind}")
    if len(values) != count:
        raise ValueError(f"{name} has {len(values)} items for {count} sentences")
    return list(values)


def label_ids(
    sentences: Sequence[Sequence[str]], labels: Sequence[Any], known: Sequence[str]
) -> list[list[int]]:
    """Check gold labels, repair them, and spell them in the scheme of the model.

    Args:
        sentences: the words of each sentence.
        labels: for each sentence a label for each word, by name in BIO or BIOES, or by number; -100
            is unknown.
        known: the label names in the order of the emissions.

    Returns:
        For each sentence the numbers of its labels.

    Raises:
        TypeError: if the labels of a sentence are no list, or a label is neither a name nor an
            integer.
        ValueError: if the numbers of words and labels differ, or a label is not known.
    """
    ids, repaired = [], []
    for number, (sentence, row) in enumerate(zip(sentences, labels, strict=True)):
        row = row.tolist() if hasattr(row, "tolist") else row
        if not is_listing(row):
            raise TypeError(f"labels[{number}] is {described(row)}, expected a list of labels")
        if len(row) != len(sentence):
            raise ValueError(f"sentence {number} has {len(sentence)} words and {len(row)} labels")
        names = _label_names(number, row, known)
        ids.append(_ids_of_names(number, names, known))
        if names not in (repair_labels(names, "BIO"), repair_labels(names, "BIOES")):
            repaired.append(number)
    if repaired:
        logger.warning(
            "labels: repaired in %d of %d sentences (such as an I- that continues nothing), "
            "the first is sentence %d",
            len(repaired),
            len(sentences),
            repaired[0],
        )
    return ids


def _label_names(number: int, labels: Sequence[Any], known: Sequence[str]) -> list[str | None]:
    """One sentence's labels as names, None where the label is unknown."""
    if all(isinstance(label, str) for label in labels):
        return list(labels)
    names: list[str | None] = []
    for word, label in enumerate(labels):
        index = label.item() if getattr(label, "ndim", None) == 0 else label
        if isinstance(index, bool) or not isinstance(index, int):
            raise TypeError(
                f"labels[{number}][{word}] is {described(label)}, expected all labels of a "
                "sentence to be names, or all integers"
            )
        if index != UNKNOWN and not 0 <= index < len(known):
            raise _not_a_label(number, word, label, known)
        names.append(None if index == UNKNOWN else known[index])
    return names


def _ids_of_names(number: int, labels: Sequence[str | None], known: Sequence[str]) -> list[int]:
    """One sentence's labels as numbers, repaired and spelled in the scheme of the known ones."""
    ids: dict[str | None, int] = {label: index for index, label in enumerate(known)}
    ids[None] = UNKNOWN
    try:
        names = repair_labels(labels, "BIOES" if is_bioes(known) else "BIO")
    except ValueError as error:
        raise ValueError(f"sentence {number}: {error}") from None
    for word, name in enumerate(names):
        if name not in ids:
            raise _not_a_label(number, word, labels[word], known)
    return [ids[name] for name in names]


def _not_a_label(number: int, word: int, label: Any, known: Sequence[str]) -> ValueError:
    return ValueError(
        f"sentence {number}, word {word}: label {quoted(label)} is not one of "
        f"{shorten(', '.join(known))}"
    )
