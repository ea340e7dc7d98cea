"""The label schemes BIO and BIOES, for the model and the metrics.

A label is `O`, or a prefix and an entity type as in `B-PER`. A set of labels is BIOES if one of
them begins with `E-` or `S-`. Entities are decoded strictly, as by `seqeval` with `mode="strict"`:
an `I-` that continues nothing is no entity. Gold labels are therefore repaired before they are
decoded (`repair_labels`); predictions never are.

This file needs the standard library alone: other packages have links to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "UNKNOWN",
    "LabelChange",
    "Span",
    "begins_entity",
    "compare_labels",
    "continues_entity",
    "entity_types",
    "is_bioes",
    "labels_from_spans",
    "may_end",
    "may_follow",
    "may_start",
    "repair_labels",
    "scheme_labels",
    "spans_from_labels",
    "split_label",
]

UNKNOWN = -100
"""The number in place of a label for padding, and for words whose label nobody knows."""

Span = tuple[int, int, str]
"""Words `[start, end)` and the entity type."""


def split_label(label: str) -> tuple[str, str]:
    """Split `B-PER` into `("B", "PER")` and `O` into `("O", "")`.

    Raises:
        ValueError: if the label is neither `O` nor one of the prefixes B, I, E, S, a hyphen and a
            type.
    """
    if label == "O":
        return "O", ""
    prefix, hyphen, entity_type = label.partition("-")
    if prefix not in ("B", "I", "E", "S") or not hyphen or not entity_type:
        raise ValueError(
            f"{label!r:.200} is not a label: expected 'O', or B-, I-, E- or S- and a type"
        )
    return prefix, entity_type


def scheme_labels(entity_types: Sequence[str], scheme: str = "BIO") -> list[str]:
    """All labels of some entity types: `O` first, then the types in the order given.

    Raises:
        ValueError: if the scheme is not "BIO" or "BIOES".
    """
    if scheme not in ("BIO", "BIOES"):
        raise ValueError(f"Unknown label scheme {scheme!r}: expected 'BIO' or 'BIOES'")
    prefixes = "BI" if scheme == "BIO" else "BIES"
    return ["O"] + [f"{prefix}-{name}" for name in entity_types for prefix in prefixes]


def entity_types(labels: Sequence[str]) -> list[str]:
    """The types of some labels, in order of their first label."""
    return list(dict.fromkeys(split_label(label)[1] for label in labels if label != "O"))


def is_bioes(labels: Sequence[str]) -> bool:
    """Whether a set of labels is BIOES."""
    return any(split_label(label)[0] in "ES" for label in labels)


def begins_entity(label: str) -> bool:
    """Whether a word with this label is the first of an entity."""
    return split_label(label)[0] in "BS"


def continues_entity(previous: str, label: str) -> bool:
    """Whether `label` continues the entity of the word before it, whose label is `previous`."""
    previous_prefix, previous_type = split_label(previous)
    prefix, entity_type = split_label(label)
    return prefix in "IE" and previous_prefix in "BI" and previous_type == entity_type


def may_start(label: str) -> bool:
    """Whether a sentence may begin with this label."""
    return split_label(label)[0] in "OBS"


def may_end(label: str, bioes: bool) -> bool:
    """Whether a sentence may end with this label."""
    return not bioes or split_label(label)[0] in "OES"


def may_follow(previous: str, label: str, bioes: bool) -> bool:
    """Whether `label` may follow `previous` on the next word."""
    return continues_entity(previous, label) or (may_end(previous, bioes) and may_start(label))


def spans_from_labels(labels: Sequence[str]) -> list[Span]:
    """The entities of one sentence from its labels, in order.

    Raises:
        ValueError: if one of them is not a label.
    """
    spans: list[Span] = []
    previous = "O"
    for position, label in enumerate(labels):
        if begins_entity(label):
            spans.append((position, position + 1, split_label(label)[1]))
        elif spans and spans[-1][1] == position and continues_entity(previous, label):
            start, _, entity_type = spans[-1]
            spans[-1] = (start, position + 1, entity_type)
        previous = label
    return spans


def labels_from_spans(spans: Sequence[Span], length: int, scheme: str = "BIO") -> list[str]:
    """The labels of a sentence of `length` words from its entities."""
    labels = ["O"] * length
    for start, end, entity_type in spans:
        labels[start:end] = [f"I-{entity_type}"] * (end - start)
        labels[start] = f"B-{entity_type}"
        if scheme == "BIOES":
            labels[end - 1] = f"{'E' if end - start > 1 else 'S'}-{entity_type}"
    return labels


def repair_labels(labels: Sequence[str | None], scheme: str = "BIO") -> list[str | None]:
    """Convert one sentence's labels to well-formed labels of `scheme`. Entity types stay.

    The labels may be IOB1, BIO or BIOES, and may be ill-formed: an `I-` or `E-` that continues no
    entity of its type begins one. Well-formed labels of the scheme are returned unchanged.

    Args:
        labels: one for each word; None where the label is not known. Such a word may belong to the
            entity beside it, so that the labels beside it are not repaired.
        scheme: "BIO" or "BIOES".

    Raises:
        ValueError: if one of them is not a label.

    >>> repair_labels(["I-PER", "I-PER", "O", "I-LOC"])
    ['B-PER', 'I-PER', 'O', 'B-LOC']
    """
    repaired: list[str | None] = []
    before: Sequence[str | None] = ["O", *labels]
    behind: Sequence[str | None] = [*labels[1:], "O"]
    for previous, label, following in zip(before, labels, behind, strict=False):
        if label is None or label == "O":
            repaired.append(label)
            continue
        prefix, entity_type = split_label(label)
        begins = prefix in "BS" if previous is None else not continues_entity(previous, label)
        ends = prefix in "ES" if following is None else not continues_entity(label, following)
        name = "BI"[not begins] if scheme == "BIO" else ("IE", "BS")[begins][ends]
        repaired.append(f"{name}-{entity_type}")
    return repaired


@dataclass(frozen=True)
class LabelChange:
    """How a new label set differs from the old one.

    Attributes:
        kept: in both sets.
        new: in the new set alone.
        dropped: in the old set alone.
    """

    kept: list[str]
    new: list[str]
    dropped: list[str]

    def __str__(self) -> str:
        parts = (f"{name} {', '.join(labels)}" for name, labels in vars(self).items() if labels)
        return "; ".join(parts)


def compare_labels(old: Sequence[str], new: Sequence[str]) -> LabelChange:
    """Compare two label sets of the same scheme.

    Raises:
        ValueError: if one is in BIO and the other in BIOES; "O" alone is in both.
    """
    if any(label != "O" for label in new) and is_bioes(new) != is_bioes(old):
        schemes = ["BIOES" if is_bioes(labels) else "BIO" for labels in (new, old)]
        raise ValueError(f"the labels are {schemes[0]}, expected the model's {schemes[1]}")
    return LabelChange(
        kept=[label for label in new if label in old],
        new=[label for label in new if label not in old],
        dropped=[label for label in old if label not in new],
    )
