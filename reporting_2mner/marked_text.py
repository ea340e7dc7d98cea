"""A text with its entities marked, as HTML.

    marks = [Mark(0, 13, "PER", "98.1 %"), Mark(22, 27, "LOC", "gold", is_gold=True)]
    marked_text("Angela Merkel besucht Paris.", marks)

The text stays whole: without the tags of the entities, which have the class `mner-tag`, the text
content of the element is the text. Marks may overlap: one that lies in another is drawn in it, and
one that reaches beyond another is drawn in pieces, with its tag behind the last. A text is set from
right to left if its first letter is; a mark does not change the order of the letters around it.

`STYLE` has all rules for this markup and for that of `inference_2mner.viewer`. Everything that
comes from data is escaped.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

from markupsafe import Markup, escape

__all__ = [
    "MOST_LAYERS",
    "STYLE",
    "Choice",
    "Mark",
    "colour_of",
    "drawn",
    "in_html",
    "marked_text",
    "word_offsets",
]

STYLE = Markup(Path(__file__).with_name("marked_text.css").read_text("utf-8"))

MOST_LAYERS = 4
"""Marks that are drawn over one character."""

COLOURS = 8
_OWN_COLOURS = {"PER": 0, "LOC": 1, "ORG": 2, "MISC": 3, "OTHER": 3}
_UNSAYABLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True)
class Mark:
    """An entity in a text.

    Attributes:
        start, end: its characters `[start, end)`.
        label: its type.
        note: what stands behind the label, such as its probability.
        is_gold: whether it is there, in place of predicted.
    """

    start: int
    end: int
    label: str
    note: str = ""
    is_gold: bool = False


@dataclass(frozen=True)
class Choice:
    """A word that can be chosen.

    Attributes:
        start, end: its characters `[start, end)`.
        of: the id of the input that chooses it.
    """

    start: int
    end: int
    of: str


def word_offsets(words: Iterable[str]) -> list[tuple[int, int]]:
    """The characters `[start, end)` of each word among the words joined by spaces."""
    ends = list(accumulate(len(word) + 1 for word in words))
    return [(start, end - 1) for start, end in pairwise([0, *ends])]


def in_html(text: str) -> Markup:
    """Any string as HTML, character by character.

    A carriage return would become a line feed if it were not written by its number. HTML and UTF-8
    have no NUL and no half of a surrogate pair: they become U+FFFD.
    """
    return Markup(str(escape(_UNSAYABLE.sub("\ufffd", text))).replace("\r", "&#13;"))


def colour_of(label: str) -> int:
    """The number of a type's colour, the same on every page."""
    found = _OWN_COLOURS.get(label)
    return zlib.crc32(label.encode("utf-8", "replace")) % COLOURS if found is None else found


def drawn(marks: Iterable[Mark]) -> list[Mark]:
    """The marks that are drawn, in the order of the text: at most `MOST_LAYERS` over a character.
    Of two marks the first one goes before, and of those that begin together the longer one.
    """
    kept: list[Mark] = []
    ends: list[int] = []
    for mark in sorted(marks, key=lambda mark: (mark.start, -mark.end)):
        ends = [end for end in ends if end > mark.start]
        if len(ends) < MOST_LAYERS:
            ends.append(mark.end)
            kept.append(mark)
    return kept


def marked_text(
    text: str,
    marks: Iterable[Mark],
    choices: Sequence[Choice] = (),
    lang: str | None = None,
) -> Markup:
    """A paragraph.

    Args:
        text: the whole text.
        marks: its entities.
        choices: words that can be chosen, none of which overlap.
        lang: the language of the text, by its code.
    """
    pieces: list[Mark | Choice] = [*drawn(marks), *choices]
    # What is outside comes first: what begins first, then what is longer, then an entity.
    pieces.sort(key=lambda one: (one.start, -one.end, isinstance(one, Choice)))
    cuts = sorted({0, len(text), *(c for one in pieces for c in (one.start, one.end))})
    html: list[Markup] = []
    opened: list[Mark | Choice] = []
    waiting = 0
    for number, start in enumerate(cuts):
        same = next(
            (n for n, one in enumerate(opened) if one.end <= start),
            len(opened),
        )
        reopened = [one for one in opened[same:] if one.end > start]
        for one in reversed(opened[same:]):
            if isinstance(one, Mark) and one.end <= start:
                html.append(_tag(one))
            html.append(_CLOSED[type(one)])
        del opened[same:]
        following = reopened
        while waiting < len(pieces) and pieces[waiting].start <= start:
            following.append(pieces[waiting])
            waiting += 1
        for one in following:
            html.append(_opened(one))
            opened.append(one)
        if number + 1 < len(cuts):
            html.append(in_html(text[start : cuts[number + 1]]))
    shown = Markup("").join(html)
    language = "" if lang is None else Markup(' lang="{}"').format(lang)
    return Markup('<p class="mner-text" dir="auto"{}>{}</p>').format(language, shown)


_CLOSED = {Mark: Markup("</span>"), Choice: Markup("</label>")}


def _opened(one: Mark | Choice) -> Markup:
    if isinstance(one, Choice):
        return Markup('<label class="mner-word" for="{}">').format(one.of)
    kind = " mner-gold" if one.is_gold else ""
    return Markup('<span class="mner-mark mner-c{}{}">').format(colour_of(one.label), kind)


def _tag(mark: Mark) -> Markup:
    note = Markup(" <small>{}</small>").format(in_html(mark.note)) if mark.note else ""
    tag = Markup('<span class="mner-tag"><bdi>{}{}</bdi></span>')
    return tag.format(in_html(mark.label), note)
