"""What words attend to in their image, and whether the boundaries of entities are found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..comparison import Score
from ..runs import CONTROL_NAMES, controls_of, percent
from ..statistics import Interval
from .ratios import bootstrap_means, bootstrap_ratios
from .scores import Seeds, View, between, points, records_of
from .sections import Part, Results, Section, Table

__all__ = ["section"]

Measured = Mapping[str, Any]

ENTITIES, OTHERS = "entities", "other words"
BY_WORDS, BY_IMAGE = "entities typed by the words", "entities typed by the image"


@dataclass(frozen=True)
class Attention:
    """The attention of a group of words.

    Attributes:
        sentences: that have such words.
        entropy: 1 if all patches have the same weight.
        mass, area, ratio: on the object's box; None without boxes. `area` is the mass that equal
            weights have, `ratio` that of mass to area.
    """

    sentences: int
    entropy: Interval
    mass: Interval | None = None
    area: Interval | None = None
    ratio: Interval | None = None


def section(part: Part, results: Results) -> Section:
    """Entropy and mass of the attention by group of words, and scores of the boundaries."""
    measured = {name: [result.measured for result in found] for name, found in results.items()}
    groups = {name: _groups(found) for name, found in measured.items()}
    contrasts = {name: _contrast(found) for name, found in measured.items()}
    boundaries = {name: _boundaries(cell) for name, cell in records_of(results).items()}
    boxes = any(one.ratio is not None for by_group in groups.values() for one in by_group.values())
    return Section(
        title="What words attend to",
        question=(
            "How spread out is the attention of a word over the patches of its image, and how much "
            "of it falls on the object that the image shows?"
        ),
        findings=[
            *(
                finding
                for name in groups
                for finding in _findings(part.titles[name], groups[name], contrasts[name])
            ),
            *(_boundary_finding(part.titles[name], one) for name, one in boundaries.items()),
        ],
        tables=[
            _attention_table(part, groups, boxes),
            _boundary_table(part, boundaries),
        ],
        notes=[
            "The attention is that of the first vision encoder, the mean over its heads, without "
            "special patches. Entropy is relative to that of equal weights, which have 1. "
            + (
                "The ratio is the mass on the object by the share of the image that its box "
                "covers: equal weights have 1. Some images are filled by what they show. "
                if boxes
                else "The data does not say where an object lies, so that the mass on it is left "
                "out. "
            )
            + "Attention shows where values come from, not what they change.",
        ],
        figures={
            name: {
                "attention": {group: asdict(one) for group, one in by_group.items()},
                "boundaries": _boundary_figures(boundaries[name]),
            }
            for name, by_group in groups.items()
        },
    )


# Attention ----------------------------------------------------------------------------------------


def _groups(measured: Sequence[Measured]) -> dict[str, Attention]:
    """The attention of each group of words, over the seeds of a cell."""
    decided = measured[0].get("image_decided")
    everywhere = [True] * len(measured[0]["entities"])
    chosen = {ENTITIES: ("entities", everywhere), OTHERS: ("others", everywhere)}
    if decided is not None and any(decided):
        chosen[BY_WORDS] = ("entities", [not value for value in decided])
        chosen[BY_IMAGE] = ("entities", decided)
    groups = {name: _attention(measured, *which) for name, which in chosen.items()}
    return {name: one for name, one in groups.items() if one is not None}


def _values(
    measured: Sequence[Measured], key: str, kept: Sequence[bool], figure: str
) -> list[list[float | None]]:
    """A figure of each sentence, by seed; None where the group has no word or is not kept."""
    return [
        [
            one[figure] if one is not None and keep else None
            for one, keep in zip(seed[key], kept, strict=True)
        ]
        for seed in measured
    ]


def _attention(measured: Sequence[Measured], key: str, kept: Sequence[bool]) -> Attention | None:
    entropy = _values(measured, key, kept, "entropy")
    sentences = sum(value is not None for value in entropy[0])
    if not sentences:
        return None
    found = Attention(sentences, bootstrap_means([[row] for row in entropy]).interval())
    mass, area = (
        np.array(_values(measured, key, kept, figure), dtype=float)[:, None]
        for figure in ("mass", "area")
    )
    there = ~np.isnan(mass)  # [M, 1, n]
    if not there.any():
        return found
    mass, area = np.nan_to_num(mass), np.nan_to_num(area)
    return Attention(
        sentences,
        found.entropy,
        mass=bootstrap_ratios(mass, there.astype(float)).interval(),
        area=bootstrap_ratios(area, there.astype(float)).interval(),
        ratio=bootstrap_ratios(mass, area).interval(),
    )


def _contrast(measured: Sequence[Measured]) -> Score:
    """The entropy of words in entities and of other words, on the same resamples."""
    everywhere = [True] * len(measured[0]["entities"])
    inside, outside = (
        _values(measured, key, everywhere, "entropy") for key in ("entities", "others")
    )
    return bootstrap_means([list(pair) for pair in zip(inside, outside, strict=True)])


def _attention_table(
    part: Part, groups: Mapping[str, Mapping[str, Attention]], boxes: bool
) -> Table:
    rows = []
    for name, by_group in groups.items():
        for group, one in by_group.items():
            row = [part.titles[name], group, f"{one.sentences:,}", *_figure(one.entropy, 3)]
            if boxes:
                row += ["", "", "", ""]
            if one.mass is not None and one.area is not None and one.ratio is not None:
                row[-4:] = [
                    percent(one.mass.value),
                    percent(one.area.value),
                    *_figure(one.ratio, 2),
                ]
            rows.append(row)
    head = ["cell", "words", "sentences", "entropy", "95 % interval"]
    if boxes:
        head += ["on the object", "area", "ratio", "its interval"]
    caption = "The attention to patches: entropy" + (
        "; the share on the object and the share of the image that it covers, in percent."
        if boxes
        else "."
    )
    return Table(caption, head, rows, spare=frozenset({2, 4}))


def _figure(interval: Interval, digits: int) -> tuple[str, str]:
    value, low, high = (
        f"{number:.{digits}f}" for number in (interval.value, interval.low, interval.high)
    )
    return value, f"{low} to {high}"


def _findings(title: str, groups: Mapping[str, Attention], contrast: Score) -> list[str]:
    findings = []
    for group in (ENTITIES, BY_IMAGE, BY_WORDS):
        one = groups.get(group)
        if one is None or one.mass is None or one.area is None or one.ratio is None:
            continue
        if one.ratio.low > 1:
            meaning = "more than equal weights would"
        elif one.ratio.high < 1:
            meaning = "less than equal weights would"
        else:
            meaning = "not told apart from equal weights"
        ratio, low_to_high = _figure(one.ratio, 2)
        findings.append(
            f"“{title}”: words of {group} put {percent(one.mass.value)} % of their attention on "
            f"the object, which covers {percent(one.area.value)} % of the image. That is "
            f"{meaning} (ratio {ratio}, {low_to_high})."
        )
    if ENTITIES in groups and OTHERS in groups:
        difference = contrast.comparison(1, 0).difference
        inside, outside = contrast.values
        if difference.high < 0:
            meaning = "attend to fewer patches than other words"
        elif difference.low > 0:
            meaning = "attend to more patches than other words"
        else:
            meaning = "are not told apart from other words by how spread out their attention is"
        findings.append(
            f"“{title}”: words of entities {meaning} (entropy {inside:.3f} against {outside:.3f})."
        )
    return findings


# Boundaries ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Boundaries:
    """Scores of the boundaries of a cell, types ignored: of each of `ways` a system."""

    ways: Sequence[str]
    figures: Mapping[str, Score]


def _boundaries(cell: Seeds) -> Boundaries:
    """Precision, recall and F1 with the images, and without if that was tried."""
    tried = {way for records in cell.values() for way in controls_of(records)}
    ways = ["predicted", *({"none"} & tried)]
    counts = np.array(
        [[View(way, boundaries=True).counts(records) for way in ways] for records in cell.values()]
    )
    right, said, gold = (counts[..., column].astype(float) for column in range(3))  # [M, S, n]
    parts = {"precision": (right, said), "recall": (right, gold), "F1": (2 * right, said + gold)}
    return Boundaries(
        [CONTROL_NAMES["real" if way == "predicted" else way] for way in ways],
        {name: bootstrap_ratios(*sums) for name, sums in parts.items()},
    )


def _boundary_table(part: Part, boundaries: Mapping[str, Boundaries]) -> Table:
    rows = []
    for name, one in boundaries.items():
        for place, way in enumerate(one.ways):
            row = [part.titles[name], way]
            for score in one.figures.values():
                interval = score.interval(place)
                row += [percent(interval.value), between(interval)]
            rows.append(row)
    head = ["cell", "each sentence with"]
    for figure in ("precision", "recall", "F1"):
        head += [figure, "95 % interval"]
    caption = "Boundaries of entities, types ignored, in percent."
    return Table(caption, head, rows, spare=frozenset({3, 5, 7}))


def _boundary_finding(title: str, one: Boundaries) -> str:
    score = one.figures["F1"]
    found = f"“{title}” finds boundaries with an F1 of {percent(score.values[0])}."
    if len(one.ways) == 1:
        return found
    difference = score.comparison(1, 0).difference
    if difference.low > 0:
        meaning = "Images help to find where entities begin and end"
    elif difference.high < 0:
        meaning = "Images harm the boundaries"
    else:
        meaning = "Whether images change the boundaries is not settled"
    return f"{found} {meaning}: {points(difference)}."


def _boundary_figures(one: Boundaries) -> dict[str, Any]:
    return {
        way: {name: asdict(score.interval(place)) for name, score in one.figures.items()}
        for place, way in enumerate(one.ways)
    }
