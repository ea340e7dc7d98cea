"""Frames and names are divided among the splits, so that none of one split occurs in another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from types import MappingProxyType

from dataset_mmnerd.schema import SPLITS

from .language import REGISTERS, Frame, Language, Names, Pattern, Section

Shares = Mapping[str, float]
"""The share of each split, by its name; 0 if it has none."""

SENTENCE_SHARES: Shares = dict(zip(SPLITS, (0.70, 0.13, 0.17), strict=True))
"""Of the sentences of the embedded sample."""

_WORD_SHARES = (0.80, 0.08, 0.12)  # of frames and names: most are there to be learned from


def word_shares(shares: Shares) -> Shares:
    """The shares of frames and names. A split without sentences gets none."""
    usual = dict(zip(SPLITS, _WORD_SHARES, strict=True))
    taken = {split: usual[split] if shares[split] else 0.0 for split in SPLITS}
    return {split: share / sum(taken.values()) for split, share in taken.items()}


def divided(
    items: Sequence[str],
    random: Random,
    shares: Shares,
    placed: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, list[str]]:
    """The items in random order, divided among the splits. Each with a share gets at least one.

    Args:
        items: different texts.
        random: the source of the order.
        shares: of the splits.
        placed: the splits of items that have one already, which they keep.

    Raises:
        ValueError: if there are too few items.
    """
    present = [split for split in SPLITS if shares[split]]
    shuffled = random.sample(items, len(items))
    parts = {split: [one for one in shuffled if placed.get(one) == split] for split in SPLITS}
    free = [one for one in shuffled if one not in placed]
    for split in reversed(present[1:]):  # the first one takes the rest
        missing = max(0, max(1, round(shares[split] * len(items))) - len(parts[split]))
        parts[split] += free[:missing]
        free = free[missing:]
    parts[present[0]] += free
    if not all(parts[split] for split in present):
        raise ValueError(f"found {len(items)}, expected at least {len(present)}")
    return parts


@dataclass(frozen=True)
class Division:
    """A language, and the frames and names that each split has of it."""

    language: Language
    of_split: Mapping[str, Language]


@dataclass(frozen=True)
class _Group:
    """Lines of one language that are divided together: a kind of frames, or a section of names."""

    key: tuple[str, ...]
    lines: Sequence[Pattern]
    what: str


_Parts = dict[tuple[str, ...], dict[str, list[str]]]
"""The texts of each split, by the key of their group."""


def divide(languages: Sequence[Language], seed: int, shares: Shares) -> list[Division]:
    """Divide frames and invented names among the splits; all other names are in each.

    What occurs in several languages or sections is in the same split of all.

    Args:
        languages: the languages of one data set.
        seed: the same seed gives the same division of the same languages.
        shares: of the sentences of each split.

    Raises:
        WordsError: if there are fewer lines of a kind than splits.
    """
    groups = [group for language in languages for group in _groups(language)]
    taken = word_shares(shares)
    placed: dict[str, str] = {}
    parts: _Parts = {}
    for group in sorted(groups, key=lambda group: len(group.lines)):  # large ones can make way
        random = Random(f"{seed} {' '.join(group.key)}")
        parts[group.key] = found = _divided(group, random, taken, placed)
        placed |= {text: split for split in SPLITS for text in found[split]}
    return [
        Division(language, {split: _of_split(language, split, parts) for split in SPLITS})
        for language in languages
    ]


def _groups(language: Language) -> Iterator[_Group]:
    for kind, title, frames in (
        ("image", "image decides", language.frames.image_decides),
        ("words", "words decide", language.frames.words_decide),
        ("none", "no entity", language.frames.no_entity),
    ):
        for register in REGISTERS:
            if found := [frame for frame in frames if frame.register == register]:
                what = f"frames [{title}] of {register}"
                yield _Group((language.lang, kind, register), found, what)
    for section in language.names.sections.values():
        if section.invented:
            what = f"names [{section.kind}]"
            yield _Group((language.lang, section.kind), section.names, what)


def _divided(
    group: _Group, random: Random, shares: Shares, placed: Mapping[str, str]
) -> dict[str, list[str]]:
    try:
        return divided([line.text for line in group.lines], random, shares, placed)
    except ValueError:
        present = sum(map(bool, shares.values()))
        expected = f"at least {present}, which are divided among as many splits"
        elsewhere = sum(line.text in placed for line in group.lines)
        if elsewhere:
            expected += f" (other sections have {elsewhere} of them, too)"
        raise group.lines[0].place.fault(f"{len(group.lines)} {group.what}", expected) from None


def _of_split(language: Language, split: str, parts: _Parts) -> Language:
    lang, every = language.lang, language.frames

    def frames(kind: str, of: Sequence[Frame]) -> list[Frame]:
        by_text = {frame.text: frame for frame in of}
        keys = [key for key in ((lang, kind, register) for register in REGISTERS) if key in parts]
        return [by_text[text] for key in keys for text in parts[key][split]]

    def names(section: Section) -> Section:
        by_text = {name.text: name for name in section.names}
        texts = parts[lang, section.kind][split]
        return replace(section, names=tuple(by_text[text] for text in texts))

    return Language(
        lang,
        replace(
            every,
            image_decides=frames("image", every.image_decides),
            words_decide=frames("words", every.words_decide),
            no_entity=frames("none", every.no_entity),
        ),
        Names(
            {
                kind: names(section) if section.invented else section
                for kind, section in language.names.sections.items()
            },
            language.names.joins,
        ),
    )


__all__ = ["SENTENCE_SHARES", "Division", "Shares", "divide", "divided", "word_shares"]
