"""What models are worth on data sets that they were not made for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ..runs import percent
from ..statistics import Interval
from .scores import (
    Seeds,
    View,
    between,
    compare_cells,
    difference_cells,
    figures_of_comparison,
    points,
    score_of_cell,
)
from .sections import Part, Results, Section, Table

__all__ = ["section"]

NO_DATA = (
    "No other data set was named. Name some by --transfer, such as "
    "`--transfer conll2003=eng.testb wikigold=wikigold.conll.txt`, or in the plan."
)


def section(part: Part, results: Results) -> Section:
    """F1 of each cell on each data set, beside F1 on the cell's own test part."""
    title = "What the models are worth elsewhere"
    question = (
        "The same models on data sets that they were not trained for. Types are compared that both "
        "have; entities of other types count as no entity."
    )
    names = list(part.options["data"])
    if not names:
        return Section(title, question, findings=[NO_DATA])
    own = {cell: _own(found) for cell, found in results.items()}
    figures: dict[str, dict[str, Any]] = {}
    findings: list[str] = []
    tables = [_data_table(names, results)]
    rows = []
    for name in names:
        records = _records(name, results)
        for cell, seeds in records.items():
            scored = score_of_cell(seeds, View())
            limits = score_of_cell(seeds, View(boundaries=True))
            compared = None
            if cell != part.baseline and part.baseline in records:
                score = compare_cells(records[part.baseline], seeds, View())
                compared = None if score is None else score.comparison(0, 1)
            rows.append(
                [
                    name,
                    part.titles[cell],
                    percent(scored.value),
                    between(scored),
                    percent(limits.value),
                    *difference_cells(compared),
                ]
            )
            findings.append(_finding(part, name, cell, scored, limits, own[cell]))
            if compared is not None:
                findings[-1] += (
                    f" Against “{part.titles[part.baseline]}”: {points(compared.difference)}."
                )
            figures.setdefault(name, {})[cell] = {
                "f1": asdict(scored),
                "boundaries": asdict(limits),
                "difference": figures_of_comparison(compared),
            }
    head = ("data set", "cell", "F1", "95 % interval", "boundaries", "difference", "its interval")
    caption = "F1 in percent; the difference is from the first cell, on the same sentences."
    tables.append(Table(caption, (*head, "p"), rows, spare=frozenset({3, 6, 7})))
    return Section(title, question, findings, tables, figures=figures)


def _records(name: str, results: Results) -> dict[str, Seeds]:
    """The records of a data set by cell and seed; all have the order of its files."""
    return {
        cell: {result.seed: result.measured[name]["records"] for result in found}
        for cell, found in results.items()
    }


def _own(found: Any) -> float | None:
    """The mean F1 over seeds on the run's own test part."""
    scores = [result.run.results["test"]["overall"]["f1"] for result in found]
    return sum(scores) / len(scores) if scores else None


def _finding(
    part: Part, name: str, cell: str, scored: Interval, limits: Interval, own: float | None
) -> str:
    there = f", {percent(own)} on its own test part" if own is not None else ""
    return (
        f"“{part.titles[cell]}” has an F1 of {percent(scored.value)} ({between(scored)}) on {name}"
        f"{there}; boundaries alone {percent(limits.value)}."
    )


def _data_table(names: list[str], results: Results) -> Table:
    """What each data set is, and what of it is not compared."""
    first = next(iter(results.values()))[0].measured
    rows = []
    for name in names:
        measured: Mapping[str, Any] = first[name]
        gold = sum(len(record["gold"]) for record in measured["records"])
        languages = sorted({record["lang"] for record in measured["records"]})
        dropped = [f"{label} {count:,}" for label, count in measured["dropped"].items()]
        rows.append(
            [
                name,
                ", ".join(languages),
                f"{len(measured['records']):,}",
                f"{gold:,}",
                ", ".join(measured["types"]),
                ", ".join(dropped) or "none",
            ]
        )
    head = ("data set", "languages", "sentences", "entities", "types compared", "others, as O")
    return Table("The data sets, and which of their entities are compared.", head, rows)
