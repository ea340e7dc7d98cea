"""What models are worth on data sets that they were not made for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from ..runs import percent
from ..statistics import Comparison, Interval
from .scores import (
    Seeds,
    View,
    adjusted,
    between,
    compare_cells,
    difference_cells,
    figures_of_comparison,
    points,
    records_of,
    score_of_cell,
)
from .sections import Part, Result, Results, Section, Table

__all__ = ["section"]

NO_DATA = (
    "No other data set was named. Name some by --transfer, such as "
    "`--transfer conll2003=eng.testb wikigold=wikigold.conll.txt`, or in the plan."
)


def section(part: Part, results: Results) -> Section:
    """F1 of each cell on each data set, also those that only an earlier command has named, beside
    F1 on the cell's own test part."""
    title = "What the models are worth elsewhere"
    question = (
        "The same models on data sets that they were not trained for. Types are compared that both "
        "have; entities of other types count as no entity."
    )
    measured = {name for found in results.values() for one in found for name in one.measured}
    names = [name for name in part.options["data"] if name in measured]
    names += sorted(measured.difference(names))
    if not names:
        return Section(title, question, findings=[NO_DATA])
    own = {cell: _own(found) for cell, found in results.items()}
    figures: dict[str, dict[str, Any]] = {}
    findings: list[str] = []
    tables = [_data_table(names, results)]
    rows = []
    records = {name: _records(name, results) for name in names}
    differences = _differences(part.baseline, records)
    for name, cells in records.items():
        for cell, seeds in cells.items():
            scored = score_of_cell(seeds, View())
            limits = score_of_cell(seeds, View(boundaries=True))
            compared = differences.get((name, cell))
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
    note = (
        "Differences are paired, sentences and seeds resampled together; p is adjusted for the "
        "number of comparisons by Holm’s method."
    )
    return Section(title, question, findings, tables, notes=[note], figures=figures)


def _records(name: str, results: Results) -> Mapping[str, Seeds]:
    """The records of a data set by cell and seed, of those that were measured on it.

    Raises:
        RunError: if they were not measured on the same sentences.
    """
    return records_of(
        {
            cell: [
                replace(result, run=replace(result.run, records=result.measured[name]["records"]))
                for result in found
                if name in result.measured
            ]
            for cell, found in results.items()
        }
    )


def _differences(
    baseline: str, records: Mapping[str, Mapping[str, Seeds]]
) -> dict[tuple[str, str], Comparison]:
    """How each cell differs from the baseline, by data set and cell, with adjusted p-values."""
    found = {}
    for name, cells in records.items():
        for cell, seeds in cells.items():
            if cell == baseline or baseline not in cells:
                continue
            score = compare_cells(cells[baseline], seeds, View())
            if score is not None:
                found[name, cell] = score.comparison(0, 1)
    return adjusted(found)


def _own(found: Sequence[Result]) -> float | None:
    """The mean F1 over seeds on the run's own test part; None without one."""
    tests = [result.run.results["test"] for result in found if "test" in result.run.results]
    return sum(test["overall"]["f1"] for test in tests) / len(tests) if tests else None


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
    rows = []
    for name in names:
        each = (one.measured for found in results.values() for one in found)
        measured: Mapping[str, Any] = next(one[name] for one in each if name in one)
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
