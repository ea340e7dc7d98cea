"""What frames and names are made of: slots, patterns, sections and contractions.

`words.py` reads them from files and says how these are written.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

REGISTERS = ("encyclopaedia", "news", "posts", "chat")
IMAGE, NUMBER, CHOICE, AGAIN, LAST, NAME = "image", "number", "choice", "again", "last", "name"


class WordsError(ValueError):
    """A fault of frames or names: file, line, what was found, what was expected."""


@dataclass(frozen=True)
class Place:
    """A line of a file, for messages."""

    file: str
    line: int

    def fault(self, found: str, expected: str) -> WordsError:
        return WordsError(f"{self.file}, line {self.line}: found {found}, expected {expected}")


@dataclass(frozen=True)
class Slot:
    """One `{...}`.

    Attributes:
        does: one of `IMAGE`, `NUMBER`, `CHOICE`, `AGAIN`, `LAST`, `NAME`.
        kind: the section's name or its beginning (`LOC.city`), of `AGAIN`, `LAST` and `NAME`.
        choices: the texts of `CHOICE`; the bounds of `NUMBER`, both included.
    """

    does: str
    kind: str = ""
    choices: tuple[str, ...] = ()
    bounds: tuple[int, int] = (0, 0)

    @property
    def entity_type(self) -> str | None:
        """The type of its words; None if they are no entity or the image tells it."""
        return type_of(self.kind) if self.kind else None


Chunk = tuple[str | Slot, ...]
"""Text and slots that touch each other: one word, or a name of several."""


@dataclass(frozen=True)
class Pattern:
    """A frame or a name, split into words and slots."""

    chunks: tuple[Chunk, ...]
    place: Place
    text: str

    def slots(self) -> Iterator[Slot]:
        return (part for chunk in self.chunks for part in chunk if isinstance(part, Slot))

    def has_slots(self) -> bool:
        return next(self.slots(), None) is not None


@dataclass(frozen=True)
class Frame(Pattern):
    """A sentence with slots, and its register."""

    register: str = REGISTERS[0]


@dataclass
class Frames:
    """The frames of a language by what decides the type, and the texts on images by scene."""

    image_decides: list[Frame] = field(default_factory=list)
    words_decide: list[Frame] = field(default_factory=list)
    no_entity: list[Frame] = field(default_factory=list)
    tails: list[str] = field(default_factory=list)
    boards: dict[str, str] = field(default_factory=dict)

    def every(self) -> list[Frame]:
        """The frames of all kinds."""
        return [*self.image_decides, *self.words_decide, *self.no_entity]


@dataclass(frozen=True)
class Join:
    """A contraction of a word and the name behind it: `before` and the name become `words`.

    `after` is one of three:

    * `V`: the name begins with a vowel.
    * `I*`: the name begins with `I`.
    * The name's first word, which is then part of `words`. If `words` ends with it, it stays the
      name's first word: `de Haïti -> d' Haïti`.
    """

    before: str
    after: str
    words: tuple[str, ...]

    def meets(self, name: Sequence[str]) -> bool:
        """Whether a name, by its words, is contracted with `before`."""
        if self.after == "V":
            return begins_with_vowel(name[0])
        if self.after.endswith("*"):
            return name[0].startswith(self.after[:-1])
        return name[0] == self.after and (len(name) > 1 or self.words[-1] == self.after)

    def takes_up(self) -> bool:
        """Whether the name's first word becomes part of `words`."""
        return self.after != "V" and not self.after.endswith("*") and self.words[-1] != self.after


@dataclass(frozen=True)
class Section:
    """The names of one kind; `invented` ones are divided among the splits."""

    kind: str
    names: tuple[Pattern, ...]
    place: Place
    invented: bool = False


@dataclass(frozen=True)
class Names:
    """The names of a language by section, and its contractions."""

    sections: dict[str, Section]
    joins: tuple[Join, ...] = ()

    def matching(self, kind: str) -> list[Section]:
        """The sections whose name is `kind` or begins with it and a dot."""
        return [section for name, section in self.sections.items() if is_within(name, kind)]

    def below(self, pattern: Pattern) -> Iterator[Section]:
        """The sections that fill the slots of a frame or a name."""
        for slot in pattern.slots():
            if slot.does == NAME:
                yield from self.matching(slot.kind)

    def reached(self, sections: Iterable[Section]) -> Iterator[Section]:
        """Some sections and those that their names are made of, each once."""
        left, seen = list(sections), set()
        while left:
            section = left.pop()
            if section.kind not in seen:
                seen.add(section.kind)
                yield section
                left += (below for name in section.names for below in self.below(name))


def type_of(kind: str) -> str | None:
    """The entity type of a section: the part before the first dot, if it is in capitals."""
    first = kind.partition(".")[0]
    return first if first.isupper() else None


def is_within(kind: str, of: str) -> bool:
    """Whether a section is `of`, or its name begins with `of` and a dot."""
    return kind == of or kind.startswith(f"{of}.")


def begins_with_vowel(word: str) -> bool:
    """Whether a word begins with a, e, i, o or u, whatever its accents and case."""
    return unicodedata.normalize("NFD", word[:1])[:1].lower() in set("aeiouœæ")


@dataclass(frozen=True)
class Language:
    """The frames and names of a language."""

    lang: str
    frames: Frames
    names: Names

    def entity_types(self) -> list[str]:
        """The types of the frames' slots, in the order of their first use."""
        kinds = (slot.entity_type for frame in self.frames.words_decide for slot in frame.slots())
        return list(dict.fromkeys(kind for kind in kinds if kind))


__all__ = [
    "AGAIN",
    "CHOICE",
    "IMAGE",
    "LAST",
    "NAME",
    "NUMBER",
    "REGISTERS",
    "Chunk",
    "Frame",
    "Frames",
    "Join",
    "Language",
    "Names",
    "Pattern",
    "Place",
    "Section",
    "Slot",
    "WordsError",
    "begins_with_vowel",
    "is_within",
    "type_of",
]
