"""Frames and names are divided among the splits, so that none of one split occurs in another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import TypeVar

from dataset_mmnerd.schema import SPLITS

from .words import REGISTERS, Frame, Frames, Language, Names, Section

Shares = Mapping[str, float]
"""The share of each split, by its name; 0 if it has none."""

SENTENCE_SHARES: Shares = dict(zip(SPLITS, (0.70, 0.13, 0.17), strict=True))
"""Of the sentences of the embedded sample."""

_WORD_SHARES = (0.80, 0.08, 0.12)  # of frames and names: most are there to be learned from

_Item = TypeVar("_Item")


def word_shares(shares: Shares) -> Shares:
    """The shares of frames and names. A split without sentences gets none."""
    usual = dict(zip(SPLITS, _WORD_SHARES, strict=True))
    taken = {split: usual[split] if shares[split] else 0.0 for split in SPLITS}
    return {split: share / sum(taken.values()) for split, share in taken.items()}


def divided(items: Sequence[_Item], random: Random, shares: Shares) -> dict[str, list[_Item]]:
    """The items in random order, divided among the splits. Each with a share gets at least one.

    Raises:
        ValueError: if there are fewer items than splits.
    """
    present = [split for split in SPLITS if shares[split]]
    if len(items) < len(present):
        raise ValueError(f"found {len(items)}, expected at least {len(present)}")
    shuffled = random.sample(items, len(items))
    parts: dict[str, list[_Item]] = {split: [] for split in SPLITS}
    start = 0
    for split in reversed(present[1:]):  # the first one takes the rest
        stop = start + max(1, round(shares[split] * len(items)))
        parts[split] = shuffled[start:stop]
        start = stop
    parts[present[0]] = shuffled[start:]
    return parts


def language_of_split(language: Language, split: str, seed: int, shares: Shares) -> Language:
    """The frames and names of one split. Names of sections that are not invented are in each.

    Raises:
        WordsError: if a section has fewer lines than there are splits.
    """
    taken = word_shares(shares)
    lang = language.lang
    frames = Frames(
        _frames(language.frames.image_decides, f"{seed} {lang} image", split, taken),
        _frames(language.frames.words_decide, f"{seed} {lang} words", split, taken),
        _frames(language.frames.no_entity, f"{seed} {lang} none", split, taken),
        language.frames.tails,
        language.frames.boards,
    )
    sections = {
        kind: _section(section, f"{seed} {lang} {kind}", split, taken)
        if section.invented
        else section
        for kind, section in language.names.sections.items()
    }
    return Language(lang, frames, Names(sections, language.names.joins))


def _frames(frames: Sequence[Frame], key: str, split: str, shares: Shares) -> list[Frame]:
    """The frames of a split, of each register a share."""
    found: list[Frame] = []
    for register in REGISTERS:
        of_one = [frame for frame in frames if frame.register == register]
        if of_one:
            found += _divided(of_one, f"{key} {register}", split, shares, of_one[0])
    return found


def _section(section: Section, key: str, split: str, shares: Shares) -> Section:
    names = _divided(section.names, key, split, shares, section)
    return replace(section, names=tuple(names))


def _divided(
    items: Sequence[_Item], key: str, split: str, shares: Shares, first: Frame | Section
) -> list[_Item]:
    try:
        return divided(items, Random(key), shares)[split]
    except ValueError:
        what = "names" if isinstance(first, Section) else f"frames of {first.register}"
        present = sum(map(bool, shares.values()))
        expected = f"at least {present}, which are divided among as many splits"
        raise first.place.fault(f"{len(items)} {what}", expected) from None


__all__ = ["SENTENCE_SHARES", "Shares", "divided", "language_of_split", "word_shares"]
