"""Which languages help which: cells trained on some languages, each tested on all.

What a cell was trained on is read from its run. A cell of one language gives that language's own
figure, and zero-shot transfer to the others; a cell of several shows what more languages give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from dataset_mmnerd.schema import LANGUAGES

from ..image_gain import SIGNIFICANT
from ..runs import controls_of, percent
from ..statistics import Comparison
from .scores import (
    Seeds,
    View,
    adjusted,
    compare_cells,
    difference_cells,
    figures_of_comparison,
    join,
    points,
    records_of,
    score_of_cell,
)
from .sections import Heat, Part, Results, Section, Table

__all__ = ["section"]

Matrix = dict[str, dict[str, float]]
"""F1 by cell and test language."""


def section(part: Part, results: Results) -> Section:
    """The matrix of train and test languages, zero-shot transfer, and the gain of all languages."""
    records = records_of(results)
    trained = {name: _trained_on(found[0].run.results) for name, found in results.items()}
    first = next(iter(next(iter(records.values())).values()))
    tested = sorted({record["lang"] for record in first})
    views = {"image_text": ("each sentence with its image", "predicted")}
    if any(controls_of(found) for cell in records.values() for found in cell.values()):
        views["text"] = ("the words alone (text view)", "none")
    matrices = {name: _matrix(records, tested, way) for name, (_, way) in views.items()}
    alone = {trained[name][0]: name for name in records if len(trained[name]) == 1}
    together = next((name for name in records if set(trained[name]) >= set(tested)), None)
    gains = _gains(records, alone, together, tested)
    main = matrices["image_text"]
    tables = [
        _matrix_table(part, matrix, tested, f"F1 in percent, {views[name][0]}.", trained)
        for name, matrix in matrices.items()
    ]
    if gains:
        tables.append(_gain_table(gains))
    pairs = {name: trained[name] for name in records if len(trained[name]) == 2}
    if pairs:
        tables.append(_pair_table(pairs, main, alone, tested))
    return Section(
        title="Which languages help which",
        question=(
            "Each row of the matrix is a model trained on some languages alone, each column a test "
            "language. Where the model has not seen the test language, that is zero-shot transfer."
        ),
        findings=[
            *_gain_findings(gains),
            *_transfer_findings(main, alone, tested),
            *_pair_findings(pairs, main, alone),
        ],
        tables=tables,
        notes=[
            "The best checkpoint, where one is chosen, is chosen on validation sentences of the "
            "training languages alone. Cells with more languages have more sentences and take more "
            "steps; what is due to more sentences and what to more languages is not told apart.",
        ],
        figures={
            "f1": matrices,
            "trained_on": {name: list(codes) for name, codes in trained.items()},
            "together_over_alone": {
                code: figures_of_comparison(gain) for code, gain in gains.items()
            },
        },
    )


def _trained_on(results: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(sorted(results["data"]["train"]["by_language"]))


def _name(code: str) -> str:
    return LANGUAGES.get(code, code)


def _matrix(records: Mapping[str, Seeds], tested: Sequence[str], way: str) -> Matrix:
    return {
        name: {code: score_of_cell(cell, View(way, language=code)).value for code in tested}
        for name, cell in records.items()
    }


def _mean(values: Mapping[str, float]) -> float:
    return float(np.mean(list(values.values())))


def _matrix_table(
    part: Part,
    matrix: Matrix,
    tested: Sequence[str],
    caption: str,
    trained: Mapping[str, Sequence[str]],
) -> Table:
    values = list(chain.from_iterable(row.values() for row in matrix.values()))
    low, span = min(values), max(max(values) - min(values), 1e-9)
    rows: list[list[str | Heat]] = []
    for name, row in matrix.items():
        heats = [
            Heat(
                f"{percent(row[code])}{'' if code in trained[name] else ' *'}",
                (row[code] - low) / span,
            )
            for code in tested
        ]
        rows.append([_languages(trained[name]), *heats, percent(_mean(row))])
    head = ["trained on", *tested, "mean"]
    return Table(f"{caption} *: a language that the model has not seen.", head, rows)


def _languages(codes: Sequence[str]) -> str:
    return ", ".join(codes)


# All together against each alone ------------------------------------------------------------------


def _gains(
    records: Mapping[str, Seeds],
    alone: Mapping[str, str],
    together: str | None,
    tested: Sequence[str],
) -> dict[str, Comparison]:
    """How the cell of all languages differs from each language's own, with adjusted p-values."""
    if together is None or together in alone.values():
        return {}
    gains = {}
    for code in (code for code in tested if code in alone):
        score = compare_cells(records[alone[code]], records[together], View(language=code))
        if score is not None:
            gains[code] = score.comparison(0, 1)
    return adjusted(gains)


def _gain_table(gains: Mapping[str, Comparison]) -> Table:
    rows = [[_name(code), *difference_cells(gain)] for code, gain in gains.items()]
    caption = "All languages together against the language alone: difference in points of F1."
    return Table(caption, ("test language", "difference", "95 % interval", "p"), rows)


def _gain_findings(gains: Mapping[str, Comparison]) -> list[str]:
    if not gains:
        return []
    groups: dict[str, list[str]] = {"helps": [], "harms": [], "is not settled for": []}
    for code, gain in gains.items():
        if gain.p >= SIGNIFICANT:
            groups["is not settled for"].append(code)
        else:
            groups["helps" if gain.difference.value > 0 else "harms"].append(code)
    texts = [f"{verb} {', '.join(map(_name, codes))}" for verb, codes in groups.items() if codes]
    mean = 100 * float(np.mean([gain.difference.value for gain in gains.values()]))
    details = "; ".join(f"{_name(code)} {points(gain.difference)}" for code, gain in gains.items())
    return [
        f"Training on all languages together changes F1 by {mean:+.1f} points on average against "
        f"each alone; it {'; it '.join(texts)}.",
        f"By language: {details}.",
    ]


# Zero-shot transfer and pairs ---------------------------------------------------------------------


def _transfer_findings(
    matrix: Matrix, alone: Mapping[str, str], tested: Sequence[str]
) -> list[str]:
    """What a model of one language is worth in the others, against these languages' own models."""
    findings = []
    shares = {}
    for code, name in alone.items():
        others = [other for other in tested if other != code and other in alone]
        if not others:
            continue
        own = float(np.mean([matrix[alone[other]][other] for other in others]))
        there = float(np.mean([matrix[name][other] for other in others]))
        shares[code] = (there, own)
    for code, (there, own) in shares.items():
        worth = "" if not own else f", {percent(there / own)} % of what models of these reach"
        findings.append(
            f"Trained on {_name(code)} alone, F1 on the other languages is {percent(there)} on "
            f"average{worth}."
        )
    return findings


def _pair_rows(
    pairs: Mapping[str, Sequence[str]], matrix: Matrix, alone: Mapping[str, str]
) -> dict[str, list[float]]:
    """By pair: what it gives each of its two languages over the language alone."""
    return {
        name: [matrix[name][code] - matrix[alone[code]][code] for code in codes]
        for name, codes in pairs.items()
        if all(code in alone and code in matrix[name] for code in codes)
    }


def _pair_table(
    pairs: Mapping[str, Sequence[str]],
    matrix: Matrix,
    alone: Mapping[str, str],
    tested: Sequence[str],
) -> Table:
    rows = []
    gains = _pair_rows(pairs, matrix, alone)
    for name, codes in pairs.items():
        both = [f"{100 * gain:+.1f}" for gain in gains.get(name, [])] or ["", ""]
        others = {code: matrix[name][code] for code in tested if code not in codes}
        rows.append([_languages(codes), *both, percent(_mean(others)) if others else ""])
    caption = "Pairs: what the second language adds to each alone, in points of F1."
    return Table(caption, ("pair", "first", "second", "F1 on the others"), rows)


def _pair_findings(
    pairs: Mapping[str, Sequence[str]], matrix: Matrix, alone: Mapping[str, str]
) -> list[str]:
    gains = _pair_rows(pairs, matrix, alone)
    if len(gains) < 2:
        return []
    means = {name: float(np.mean(found)) for name, found in gains.items()}
    best, worst = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    texts = [
        f"{join([' and '.join(map(_name, pairs[name]))])} ({100 * means[name]:+.1f} points)"
        for name in (best, worst)
    ]
    return [
        f"Of the pairs, {texts[0]} gives its languages most over each alone, {texts[1]} least; "
        "these differences have no interval and may be chance."
    ]
