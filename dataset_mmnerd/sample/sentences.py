"""Sentences from frames and names: slots are filled, words contracted, some sentences altered.

Registers differ in what is altered, and the rates are `VARIANTS`: of the sentences of posts, 15 %
are in small letters, 3 % in capitals, and 10 % have one typing error, never in an entity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from .language import (
    AGAIN,
    CHOICE,
    IMAGE,
    LAST,
    NAME,
    NUMBER,
    Chunk,
    Frame,
    Join,
    Language,
    Pattern,
    Section,
    Slot,
    is_within,
    type_of,
)

_TEMPLATE_WEIGHT = 30
"""A name with slots is taken as often as so many others of its section."""

_TRIES = 8
_SHORTEST_TYPO = 4


@dataclass(frozen=True)
class Variants:
    """The shares of a register's sentences that are altered, each from 0 to 1.

    Attributes:
        lower: in small letters.
        upper: in capitals.
        typo: with one letter dropped, doubled or exchanged with the next.
    """

    lower: float = 0.0
    upper: float = 0.0
    typo: float = 0.0


VARIANTS: Mapping[str, Variants] = {
    "encyclopaedia": Variants(),
    "news": Variants(upper=0.03),
    "posts": Variants(lower=0.15, upper=0.03, typo=0.10),
    "chat": Variants(lower=0.20, upper=0.01, typo=0.12),
}


@dataclass
class Sentence:
    """Words with their labels.

    Attributes:
        tokens: the words.
        tags: an IOB2 label for each.
        slots: (section, name) of each entity; the section of a `{?}` is its type.
        texts: what the slots of sections that are no entities were filled with.
    """

    tokens: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    slots: list[tuple[str, str]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


class Filler:
    """Fills the frames of a language.

    Args:
        language: frames and names.
        random: the source of all choices.
    """

    def __init__(self, language: Language, random: Random) -> None:
        self._names, self._random = language.names, random
        self._joins: dict[str, list[Join]] = {}
        for join in language.names.joins:
            self._joins.setdefault(join.before, []).append(join)
        self._pools: dict[str, list[tuple[str, Pattern]]] = {}

    def fill(self, frame: Frame, name: str = "", entity_type: str = "") -> Sentence:
        """A frame as a sentence.

        Args:
            frame: the frame.
            name: the name of its slot `{?}`.
            entity_type: the type of that name.
        """
        sentence = Sentence()
        for chunk in frame.chunks:
            self._add(chunk, sentence, name, entity_type)
        return sentence

    def altered(self, sentence: Sentence, register: str) -> Sentence:
        """The sentence, or at the rates of its register a variant of it."""
        rates, random = VARIANTS[register], self._random
        tokens = sentence.tokens
        if random.random() < rates.typo:
            tokens = self._with_typo(tokens, sentence.tags)
        drawn = random.random()
        if drawn < rates.lower:
            tokens = [token.lower() for token in tokens]
        elif drawn < rates.lower + rates.upper:
            tokens = [token.upper() for token in tokens]
        return sentence if tokens is sentence.tokens else replace(sentence, tokens=tokens)

    def _add(self, chunk: Chunk, sentence: Sentence, name: str, entity_type: str) -> None:
        if len(chunk) == 1 and isinstance(chunk[0], str):
            sentence.tokens.append(chunk[0])
            sentence.tags.append("O")
            return
        text = ""
        label: str | None = None
        for part in chunk:
            if isinstance(part, str):
                text += part
                continue
            own = part.entity_type
            if part.does == IMAGE:
                kind, found, own = entity_type, name, entity_type
            else:
                kind, found = self._slot(part, sentence)
                if part.does == NAME and own is None:
                    sentence.texts.append(found)
            text += found.replace(" ", "") if text.endswith("#") else found
            if own is not None:
                sentence.slots.append((kind, found))
                label = own
        words = text.split()
        if not words:
            return
        words = self._joined(words, sentence)
        sentence.tokens += words
        if label is None:
            sentence.tags += ["O"] * len(words)
        else:
            sentence.tags += [f"B-{label}"] + [f"I-{label}"] * (len(words) - 1)

    def _slot(self, slot: Slot, sentence: Sentence) -> tuple[str, str]:
        """(section, text) of a slot."""
        if slot.does == NUMBER:
            return "", str(self._random.randint(*slot.bounds))
        if slot.does == CHOICE:
            return "", self._random.choice(slot.choices)
        if slot.does in (AGAIN, LAST):
            kind, text = self._used(slot, sentence)
            return kind, text if slot.does == AGAIN else text.split()[-1]
        used = [*sentence.texts, *(text for _, text in sentence.slots)]
        for _ in range(_TRIES):  # another name or text than before, if there are enough
            kind, text = self._name(slot.kind)
            if text not in used:
                break
        return kind, text

    def _used(self, slot: Slot, sentence: Sentence) -> tuple[str, str]:
        """(section, name) of the last name of a kind, else of its type."""
        of_type = [one for one in sentence.slots if type_of(one[0]) == slot.entity_type]
        return next((one for one in reversed(of_type) if is_within(one[0], slot.kind)), of_type[-1])

    def _name(self, kind: str) -> tuple[str, str]:
        """(section, name) of a kind."""
        if kind not in self._pools:
            self._pools[kind] = _pool(self._names.matching(kind))
        section, pattern = self._random.choice(self._pools[kind])
        if not pattern.has_slots():
            return section, pattern.text
        words = Sentence()
        for chunk in pattern.chunks:
            self._add(chunk, words, "", "")
        return section, " ".join(words.tokens)

    def _joined(self, words: list[str], sentence: Sentence) -> list[str]:
        """The words of a slot after the contraction with the word before them."""
        if not sentence.tokens or sentence.tags[-1] != "O":
            return words
        before = sentence.tokens[-1]
        join = next((one for one in self._joins.get(before.lower(), ()) if one.meets(words)), None)
        if join is None:
            return words
        made = list(join.words)
        if before[0].isupper():
            made[0] = made[0][0].upper() + made[0][1:]
        if made[-1] == join.after:
            made.pop()
        sentence.tokens[-1:] = made
        sentence.tags[-1:] = ["O"] * len(made)
        return words[1:] if join.takes_up() else words

    def _with_typo(self, tokens: Sequence[str], tags: Sequence[str]) -> list[str]:
        """The words with an error in one that is no entity, if one is long enough."""
        changed = list(tokens)
        places = [
            place
            for place, (token, tag) in enumerate(zip(tokens, tags, strict=True))
            if tag == "O" and len(token) >= _SHORTEST_TYPO and token.isalpha()
        ]
        if not places:
            return changed
        place = self._random.choice(places)
        word = changed[place]
        at = self._random.randrange(1, len(word) - 1)
        changed[place] = self._random.choice(
            (
                word[:at] + word[at + 1 :],
                word[:at] + word[at] + word[at:],
                word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            )
        )
        return changed


def _pool(sections: Sequence[Section]) -> list[tuple[str, Pattern]]:
    """(section, name) of each name, those with slots repeated."""
    return [
        (section.kind, name)
        for section in sections
        for name in section.names
        for _ in range(_TEMPLATE_WEIGHT if name.has_slots() else 1)
    ]


__all__ = ["VARIANTS", "Filler", "Sentence", "Variants"]
