"""What damaged and wrong images do to a model, and whether its gate closes for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..charts import Chart, line_chart
from ..comparison import SEED, Score, bootstrap_seeds
from ..pages import signed
from ..runs import percent
from ..statistics import Interval
from .ratios import bootstrap_means
from .scores import points
from .sections import Part, Results, Section, Table

__all__ = ["EXCHANGE", "section"]

EXCHANGE = "exchange"
"""The kind of condition that is no damage: other images."""

NAMES = {
    "noise": "noise",
    "blur": "blur",
    "jpeg": "JPEG",
    "occlusion": "occlusion",
    "grey": "loss of colour",
    EXCHANGE: "exchanged images",
}

Measured = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """The scores of a cell.

    Attributes:
        conditions: kind, strength and amount of each.
        f1: of the systems `real`, `text_view` and then the conditions, all sentences.
        decided: the same of the sentences whose types only the image tells, if there are any.
        entities, others: the mean gate of the words in entities and of the other words, of `real`
            and then the conditions; None without gates.
    """

    conditions: Sequence[Measured]
    f1: Score
    decided: Score | None
    entities: Score | None
    others: Score | None

    def change(self, place: int) -> Interval:
        """How a condition's F1 differs from that with the images as they are."""
        return self.f1.comparison(0, place + 2).difference

    def strongest(self) -> dict[str, int]:
        """The place of the strongest condition of each kind."""
        return {condition["kind"]: place for place, condition in enumerate(self.conditions)}


def section(part: Part, results: Results) -> Section:
    """F1 and gate of each cell under each kind and strength."""
    cells = {name: _cell([result.measured for result in found]) for name, found in results.items()}
    tables = [_table(part.titles[name], cell) for name, cell in cells.items()]
    charts = [
        chart
        for place, (name, cell) in enumerate(cells.items())
        for chart in _charts(f"{part.name}-{place}", part.titles[name], cell)
    ]
    return Section(
        title="What damaged and wrong images do",
        question=(
            "The same models on the same sentences, with images that are damaged at growing "
            "strength, or exchanged for those of other sentences. With a useless image a model "
            "should predict what it predicts without any; its gate should close."
        ),
        findings=[
            finding
            for name, cell in cells.items()
            for finding in _findings(part.titles[name], cell)
        ],
        tables=tables,
        charts=charts,
        notes=[
            "Differences are paired: the same sentences and seeds, resampled together. An interval "
            "stands by itself, not corrected for the number of conditions. The gate of a word is "
            "the mean over its channels: 0 keeps the word as the text encoder gives it, 1 puts in "
            "its place what it attends to. It says how much is let in, not what comes of it. "
            "Exchanged images are those of other sentences, with another content. Visual context "
            "stays as it is when an image is damaged, and moves with an exchanged one.",
        ],
        figures={name: _figures(cell) for name, cell in cells.items()},
    )


def _cell(measured: Sequence[Measured]) -> Cell:
    """The scores of the seeds of a cell."""
    conditions = measured[0]["conditions"]
    ways = [[seed["real"], seed["text_view"], *seed["conditions"]] for seed in measured]
    counts = np.array([[way["counts"] for way in seed] for seed in ways])  # [M, S, n, 3]
    generator = np.random.default_rng(SEED)
    decided = np.array(measured[0].get("image_decided", []), dtype=bool)
    gated = [[way for way in seed if "gate_entities" in way] for seed in ways]
    entities, others = (
        bootstrap_means([[way[key] for way in seed] for seed in gated]) if gated[0] else None
        for key in ("gate_entities", "gate_others")
    )
    return Cell(
        conditions=conditions,
        f1=bootstrap_seeds(counts, generator),
        decided=bootstrap_seeds(counts[:, :, decided], generator) if decided.any() else None,
        entities=entities,
        others=others,
    )


# Tables and charts --------------------------------------------------------------------------------


def _table(title: str, cell: Cell) -> Table:
    rows = [
        _row("as they are", "", cell, 0, None, 0),
        _row("no image", "", cell, 1, cell.f1.comparison(0, 1).difference, None),
    ]
    for place, condition in enumerate(cell.conditions):
        name = NAMES[condition["kind"]]
        rows.append(_row(name, condition["amount"], cell, place + 2, cell.change(place), place + 1))
    head = ["images", "strength", "F1", "change", "its 95 % interval"]
    head += ["decided by the image"] if cell.decided is not None else []
    head += ["gate, entities", "other words"] if cell.entities is not None else []
    caption = f"“{title}”: F1 in percent, and the mean gate."
    return Table(caption, head, rows, spare=frozenset({4}))


def _row(
    name: str, amount: str, cell: Cell, place: int, change: Interval | None, gate: int | None
) -> list[str]:
    row = [name, amount, percent(cell.f1.values[place])]
    if change is None:
        row += ["", ""]
    else:
        row += [signed(change.value), f"{signed(change.low)} to {signed(change.high)}"]
    if cell.decided is not None:
        row.append(percent(cell.decided.values[place]))
    for score in (cell.entities, cell.others):
        if score is not None:
            row.append("" if gate is None else f"{score.values[gate]:.3f}")
    return row


def _charts(name: str, title: str, cell: Cell) -> list[Chart]:
    """F1 by strength, of all entities and of those that the image decides."""
    charts = []
    for key, what, score in (
        ("all", "F1", cell.f1),
        ("decided", "F1 of entities that the image decides", cell.decided),
    ):
        if score is None:
            continue
        lines: dict[str, tuple[list[float], list[float]]] = {}
        for place, condition in enumerate(cell.conditions):
            kind = NAMES[condition["kind"]]
            x, y = lines.setdefault(kind, ([0], [float(score.values[0])]))
            x.append(condition["strength"])
            y.append(float(score.values[place + 2]))
        words = "; ".join(f"{kind} {percent(y[-1])}" for kind, (_, y) in lines.items())
        charts.append(
            line_chart(
                f"{name}-{key}",
                f"“{title}”: {what}, in percent, by strength; at the largest {words}.",
                lines,
                xlabel=f"strength, “{title}”",
                ylabel=f"{what}, %",
                percent=True,
            )
        )
    return charts


# In words -----------------------------------------------------------------------------------------


def _findings(title: str, cell: Cell) -> list[str]:
    findings = []
    strongest = cell.strongest()
    if EXCHANGE in strongest:
        findings.append(_exchange_finding(title, cell, strongest[EXCHANGE]))
    damages = {kind: place for kind, place in strongest.items() if kind != EXCHANGE}
    if damages:
        findings.append(_damage_finding(title, cell, damages))
    if cell.entities is not None and strongest:
        findings.append(_gate_finding(title, cell, strongest))
    return findings


def _exchange_finding(title: str, cell: Cell, place: int) -> str:
    own = cell.f1.values[0]
    amount = cell.conditions[place]["amount"]
    wrong = percent(cell.f1.values[place + 2])
    text = (
        f"“{title}”: with {amount} of the images exchanged F1 is {wrong} in place of "
        f"{percent(own)}, {points(cell.change(place))}."
    )
    against = cell.f1.comparison(1, place + 2).difference
    if against.high < 0:
        meaning = "That is worse than without any image: wrong images mislead it"
    elif against.low > 0:
        meaning = "That is better than without any image"
    else:
        meaning = "That is not told apart from F1 without any image"
    text += f" {meaning} ({percent(cell.f1.values[1])})."
    if cell.decided is not None:
        first, last = cell.decided.values[[0, place + 2]]
        text += (
            f" Of entities that only the image decides F1 is {percent(last)} in place of "
            f"{percent(first)}."
        )
    return text


def _damage_finding(title: str, cell: Cell, damages: Mapping[str, int]) -> str:
    """Which damage costs most at full strength, and at which strengths each one changes F1."""
    full = {kind: cell.change(place) for kind, place in damages.items()}
    falls = {kind: _amounts(cell, kind, lambda change: change.high < 0) for kind in damages}
    rises = {kind: _amounts(cell, kind, lambda change: change.low > 0) for kind in damages}
    if not any(falls.values()) and not any(rises.values()):
        return f"“{title}”: no damage changes F1 beyond chance, at any strength that was tried."
    sentences = []
    worst = min(full, key=lambda kind: full[kind].value)
    if full[worst].high < 0:
        costs = f"costs most at full strength, {points(full[worst])}"
        sentences.append(f"of the damages {NAMES[worst]} {costs}")
    for verb, found in (("falls", falls), ("rises", rises)):
        listed = [f"{NAMES[kind]} {amounts}" for kind, amounts in found.items() if amounts]
        if listed:
            sentences.append(f"F1 {verb} beyond chance with {', '.join(listed)}")
    unchanged = [NAMES[kind] for kind in damages if not falls[kind] and not rises[kind]]
    end = f"; it does not change with {', '.join(unchanged)}." if unchanged else "."
    return f"“{title}”: {'. '.join(sentences)}{end}"


def _amounts(cell: Cell, kind: str, holds: Callable[[Interval], bool]) -> str:
    """The strengths of a kind at which something holds of the change of F1; empty if at none."""
    places = [place for place, one in enumerate(cell.conditions) if one["kind"] == kind]
    held = [place for place in places if holds(cell.change(place))]
    amounts = [cell.conditions[place]["amount"] for place in held]
    if held and held == places[-len(held) :]:
        return f"from {amounts[0]} on"
    return f"at {' and '.join(amounts)}" if amounts else ""


def _gate_finding(title: str, cell: Cell, strongest: Mapping[str, int]) -> str:
    """Whether the gate closes for images that are wrong or destroyed."""
    score = cell.entities
    assert score is not None  # the caller has checked that there are gates
    changes = {kind: score.comparison(0, place + 1).difference for kind, place in strongest.items()}
    listed = ", ".join(
        f"{NAMES[kind]} {score.values[place + 1]:.3f}" for kind, place in strongest.items()
    )
    closes = [NAMES[kind] for kind, change in changes.items() if change.high < 0]
    if not closes:
        verdict = "It closes for none of them: no less of a useless image is let in."
    elif len(closes) == len(changes):
        verdict = "It closes for all of them."
    else:
        verdict = f"It closes for {', '.join(closes)} alone."
    return (
        f"“{title}”: the mean gate of words in entities is {score.values[0]:.3f} with the images "
        f"as they are, and at the largest strength: {listed}. {verdict}"
    )


def _figures(cell: Cell) -> dict[str, Any]:
    names = [{"kind": "real"}, {"kind": "text_view"}]
    names += [
        {key: condition[key] for key in ("kind", "strength", "amount")}
        for condition in cell.conditions
    ]
    found = []
    for place, name in enumerate(names):
        figures: dict[str, Any] = {**name, "f1": asdict(cell.f1.interval(place))}
        if cell.decided is not None:
            figures["image_decided_f1"] = asdict(cell.decided.interval(place))
        gate = max(place - 1, 0) if place != 1 else None
        for key, score in (("gate_entities", cell.entities), ("gate_others", cell.others)):
            if score is not None and gate is not None:
                figures[key] = asdict(score.interval(gate))
        found.append(figures)
    return {"conditions": found}
