"""When to read the image: never, always, or where the words alone leave the model in doubt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..charts import Chart, line_chart
from ..comparison import SEED, Score, bootstrap_seeds
from ..pages import p_in_words
from ..runs import percent
from ..statistics import RESAMPLES, Comparison, over_seeds
from .scores import adjusted, between, difference_cells, figures_of_comparison, points
from .sections import Part, Results, Section, Table

__all__ = ["risk_at", "section"]

WAYS = {"text": "words alone", "image": "image always", "gate": "image gate"}

COVERAGE = 0.8
SHARE = f"{100 * COVERAGE:g} %"
"""The table has the risk of so large a share of the predicted entities, the surest."""

STEPS = 40
"""Points of a curve."""

Measured = Mapping[str, Any]

Ranked = tuple[np.ndarray, np.ndarray]
"""Of `E` entities, the surest first: `[E]` whether each is wrong, and `[E]` its sentence."""


@dataclass(frozen=True)
class Cell:
    """The ways of a cell; a system each.

    Attributes:
        ways: some of `WAYS`.
        f1: of each way.
        risk: of each way, of the surest entities (`COVERAGE`).
        curves: from each way to its coverages and risks, means over seeds.
        read: the share of the images that each way reads.
    """

    ways: Sequence[str]
    f1: Score
    risk: Score
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]]
    read: Mapping[str, float]


def section(part: Part, results: Results) -> Section:
    """F1, risk and the share of images read of each way of each cell."""
    cells = {name: _cell([result.measured for result in found]) for name, found in results.items()}
    gains = adjusted(
        {
            name: cell.f1.comparison(cell.ways.index("image"), cell.ways.index("gate"))
            for name, cell in cells.items()
            if "gate" in cell.ways
        }
    )
    return Section(
        title="When to read the image",
        question=(
            "Three ways of using the same model: from the words alone; always with the image; and "
            "with the image only where the model is not sure of its prediction from the words. The "
            "threshold for that is chosen on the validation part."
        ),
        findings=[
            finding
            for name, cell in cells.items()
            for finding in _findings(part.titles[name], cell, gains.get(name))
        ],
        tables=[_table(part, cells, gains)],
        charts=[
            _chart(f"{part.name}-{place}", part.titles[name], cell)
            for place, (name, cell) in enumerate(cells.items())
        ],
        notes=[
            "How sure the model is of a sentence: the least probability of its predicted entities "
            "and, for words outside of them, of no entity. Risk is the share of wrong ones among "
            "the predicted entities that are kept, the surest first; coverage is the share that is "
            "kept. Entities that are missed count in F1, not in the risk. Differences are paired, "
            "sentences and seeds resampled together; p is adjusted for the number of cells by "
            "Holm’s method.",
        ],
        figures={name: _figures(cell, gains.get(name)) for name, cell in cells.items()},
    )


def _cell(measured: Sequence[Measured]) -> Cell:
    ways = [way for way in WAYS if way in measured[0]]
    counts = np.array([[seed[way]["counts"] for way in ways] for seed in measured])
    coverages = np.arange(1, STEPS + 1) / STEPS
    entities = [[_ranked(seed[way]["entities"]) for way in ways] for seed in measured]
    curves = {
        way: (coverages, np.mean([_risk(seed[place], coverages) for seed in entities], axis=0))
        for place, way in enumerate(ways)
    }
    read = {"text": 0.0, "image": 1.0}
    if "gate" in ways:
        shares = [sum(seed["read"]) / max(sum(seed["has_image"]), 1) for seed in measured]
        read["gate"] = float(np.mean(shares))
    return Cell(
        ways,
        bootstrap_seeds(counts, np.random.default_rng(SEED)),
        _risks(entities, counts.shape[2]),
        curves,
        {way: read[way] for way in ways},
    )


def _ranked(entities: Sequence[Sequence[Sequence[Any]]]) -> Ranked:
    """All entities, the surest first, from those of each sentence with their probabilities."""
    found = [
        (score, not right, sentence)
        for sentence, own in enumerate(entities)
        for score, right in own
    ]
    found.sort(key=lambda one: -one[0])
    wrong = np.array([one[1] for one in found], dtype=float)
    return wrong, np.array([one[2] for one in found], dtype=int)


def _risk(ranked: Ranked, coverages: np.ndarray) -> np.ndarray:
    """`[C]`, the risk at coverages, each entity counted once."""
    wrong, _ = ranked
    return risk_at(wrong, np.ones((1, len(wrong))), coverages)[0]


def risk_at(wrong: np.ndarray, weights: np.ndarray, coverages: np.ndarray) -> np.ndarray:
    """The share of wrong entities among the surest.

    Args:
        wrong: `[E]`, whether each entity is wrong, the surest first.
        weights: `[R, E]`, how often each counts.
        coverages: `[C]`, shares of all entities that are kept.

    Returns:
        `[R, C]`; 0 where none is kept.
    """
    kept = np.cumsum(weights, axis=1)
    failed = np.cumsum(weights * wrong, axis=1)
    found = np.zeros((len(weights), len(coverages)))
    for row, (counts, failures) in enumerate(zip(kept, failed, strict=True)):
        if not len(counts) or not counts[-1]:
            continue
        # The first entity at which the share is reached.
        places = np.searchsorted(counts, coverages * counts[-1] - 1e-9)
        found[row] = failures[places] / counts[places]
    return found


def _risks(entities: Sequence[Sequence[Ranked]], sentences: int) -> Score:
    """The risk at `COVERAGE` of each way, sentences and seeds resampled."""
    generator = np.random.default_rng(SEED)
    at = np.array([COVERAGE])
    values = np.array([[_risk(way, at)[0] for way in seed] for seed in entities])
    samples = np.empty((RESAMPLES, *values.shape))  # [R, M, S]
    chances = np.full(sentences, 1 / sentences)
    for first in range(0, RESAMPLES, 250):
        draws = generator.multinomial(sentences, chances, size=250)
        for seed, ways in enumerate(entities):
            for place, (wrong, sentence) in enumerate(ways):
                found = risk_at(wrong, draws[:, sentence], at)
                samples[first : first + 250, seed, place] = found[:, 0]
    return Score(values.mean(axis=0), over_seeds(samples, generator))


# Tables and charts --------------------------------------------------------------------------------


def _table(part: Part, cells: Mapping[str, Cell], gains: Mapping[str, Comparison]) -> Table:
    rows = []
    for name, cell in cells.items():
        for place, way in enumerate(cell.ways):
            rows.append(
                [
                    part.titles[name],
                    WAYS[way],
                    percent(cell.read[way]),
                    percent(cell.f1.values[place]),
                    between(cell.f1.interval(place)),
                    *difference_cells(gains.get(name) if way == "gate" else None),
                    percent(cell.risk.values[place]),
                ]
            )
    head = ["cell", "way", "images read", "F1", "95 % interval", "gate − always", "its interval"]
    head += ["p", f"risk at {SHARE}"]
    return Table("In percent; means over seeds.", head, rows, spare=frozenset({4, 6}))


def _chart(name: str, title: str, cell: Cell) -> Chart:
    lines = {
        WAYS[way]: (list(100 * coverages), list(risks))
        for way, (coverages, risks) in cell.curves.items()
    }
    words = "; ".join(f"{way} {percent(y[-1])}" for way, (_, y) in lines.items())
    return line_chart(
        f"{name}-risk",
        f"“{title}”: risk by coverage, in percent; of all predicted entities {words}.",
        lines,
        xlabel=f"coverage, %, “{title}”",
        ylabel="risk, %",
        percent=True,
    )


# In words -----------------------------------------------------------------------------------------


def _findings(title: str, cell: Cell, always: Comparison | None) -> list[str]:
    """Of the gate, whose gain over reading the image always is given."""
    places = {way: place for place, way in enumerate(cell.ways)}
    own = percent(cell.f1.values[places["text"]])
    if always is None:
        return [f"“{title}” reads words alone: F1 {own}."]
    never = cell.f1.comparison(places["text"], places["gate"]).difference
    if always.difference.low > 0:
        meaning = "which is better than reading all of them"
    elif always.difference.high < 0:
        meaning = "which is worse than reading all of them"
    else:
        meaning = "which is not told apart from reading all of them"
    findings = [
        f"“{title}”: the gate reads {percent(cell.read['gate'])} % of the images and has an F1 of "
        f"{percent(cell.f1.values[places['gate']])}, {meaning} "
        f"({percent(cell.f1.values[places['image']])}): {points(always.difference)}, "
        f"{p_in_words(always.p)}."
    ]
    if never.low > 0:
        findings.append(f"Against the words alone ({own}) it gains {points(never)}.")
    else:
        findings.append(
            f"It is not shown to be better than the words alone ({own}): {points(never)}."
        )
    risk = cell.risk.comparison(places["image"], places["gate"]).difference
    kept = f"Of the surest {SHARE} of the predicted entities"
    wrong = [percent(cell.risk.values[places[way]]) for way in WAYS]
    findings.append(
        f"{kept} {wrong[0]} % are wrong from the words alone, {wrong[1]} % with the image always, "
        f"{wrong[2]} % with the gate; gate and always "
        + ("differ." if risk.low > 0 or risk.high < 0 else "are not told apart.")
    )
    return findings


def _figures(cell: Cell, always: Comparison | None) -> dict[str, Any]:
    places = {way: place for place, way in enumerate(cell.ways)}
    found: dict[str, Any] = {
        way: {
            "f1": asdict(cell.f1.interval(place)),
            "risk": asdict(cell.risk.interval(place)),
            "images_read": cell.read[way],
            "curve": [list(map(float, points)) for points in cell.curves[way]],
        }
        for way, place in places.items()
    }
    if always is not None:
        found["gate_over_image"] = figures_of_comparison(always)
    return found
