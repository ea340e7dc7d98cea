"""Which parts of a system help: cells that lack one part each, against a baseline that has all.

The difference of a cell from the baseline is over the seeds that both have, sentences and seeds
resampled together. It counts as settled if its p-value, adjusted for the number of cells, is below
0.05.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..image_gain import SIGNIFICANT, image_gain
from ..pages import p_in_words
from ..runs import CONTROL_NAMES, controls_of, percent
from ..statistics import Comparison
from .scores import (
    Seeds,
    View,
    adjusted,
    between,
    compare_cells,
    difference_cells,
    figures_of_comparison,
    join,
    points,
    records_of,
    score_of_cell,
)
from .sections import Part, Result, Results, Section, Table

__all__ = ["section"]

VIEWS = {
    "image_text": ("each sentence with its image", View()),
    "text": ("the words alone (text view)", View("none")),
    "boundaries": ("boundaries alone, types ignored", View(boundaries=True)),
}


def section(part: Part, results: Results) -> Section:
    """Compare each cell with the baseline."""
    records = records_of(results)
    read = any(controls_of(found) for cell in records.values() for found in cell.values())
    views = {name: view for name, view in VIEWS.items() if read or name != "text"}
    compared = {
        name: _differences(part.baseline, records, view) for name, (_, view) in views.items()
    }
    tables = [
        _table(part, records, view, f"F1 in percent, {caption}.", compared[name])
        for name, (caption, view) in views.items()
    ]
    if read:
        tables.append(_controls(part, results, records))
    return Section(
        title="Which parts help",
        question=(
            f"Each cell is “{part.titles[part.baseline]}” with one part left out or exchanged. A "
            "part helps if the cell without it is worse, and interferes if it is better."
        ),
        findings=(
            [
                *_findings(part, compared["image_text"]),
                *_other_views(part, compared, views),
                *_images(part, records),
            ]
            if part.baseline in records
            else [f"No training of “{part.titles[part.baseline]}” is finished: nothing to compare."]
        ),
        tables=tables,
        notes=[
            "Differences are paired: the same sentences and the same seeds for both cells, 5,000 "
            "resamples of both. p is that of the paired bootstrap test, two-sided, adjusted for "
            "the number of comparisons by Holm’s method. With few seeds the interval understates "
            "what another seed would change; with one seed it leaves that out.",
        ],
        figures={
            name: _figures(records, view, compared[name]) for name, (_, view) in views.items()
        },
    )


def _differences(
    baseline: str, records: Mapping[str, Seeds], view: View
) -> dict[str, Comparison | None]:
    """How each cell differs from the baseline, with adjusted p-values; None if they have no seed in
    common."""
    found: dict[str, Comparison | None] = {}
    for name, cell in records.items():
        if name != baseline:
            score = compare_cells(records[baseline], cell, view) if baseline in records else None
            found[name] = None if score is None else score.comparison(0, 1)
    return found | adjusted({name: one for name, one in found.items() if one is not None})


def _table(
    part: Part,
    records: Mapping[str, Seeds],
    view: View,
    caption: str,
    compared: Mapping[str, Comparison | None],
) -> Table:
    rows = []
    for name, cell in records.items():
        score = score_of_cell(cell, view)
        seeds = str(len(cell))
        difference = difference_cells(compared.get(name))
        rows.append([part.titles[name], percent(score.value), between(score), *difference, seeds])
    head = ("cell", "F1", "95 % interval", "difference", "its interval", "p", "seeds")
    return Table(caption, head, rows, spare=frozenset({2, 5, 6}))


def _controls(part: Part, results: Results, records: Mapping[str, Seeds]) -> Table:
    """F1 of each cell under the controls, and the accuracy on entities that only an image types."""
    tried = [controls_of(found) for cell in records.values() for found in cell.values()]
    ways = list(dict.fromkeys(way for controls in tried for way in controls))
    decided = any(_decided(found) is not None for found in results.values())
    head = ["each sentence with", CONTROL_NAMES["real"]]
    head += [CONTROL_NAMES.get(way, way) for way in ways]
    rows = []
    for name, cell in records.items():
        row = [part.titles[name], percent(score_of_cell(cell, View()).value)]
        has = {way for found in cell.values() for way in controls_of(found)}
        for way in ways:
            row.append(percent(score_of_cell(cell, View(way)).value) if way in has else "")
        if decided:
            accuracy = _decided(results[name])
            row.append("" if accuracy is None else percent(accuracy))
        rows.append(row)
    if decided:
        head.append("type told by the image alone")
    caption = "The same models with other images: F1 in percent, means over seeds."
    return Table(caption, head, rows)


def _decided(results: Sequence[Result]) -> float | None:
    """The mean over seeds of the accuracy on entities that only their image can type."""
    tests = [result.run.results.get("test", {}).get("image_decided") for result in results]
    found = [figures["accuracy"] for figures in tests if figures is not None]
    return sum(found) / len(found) if found else None


# In words -----------------------------------------------------------------------------------------


def _settled(compared: Mapping[str, Comparison | None]) -> tuple[list[str], list[str], list[str]]:
    """The cells that are worse than the baseline, better, and not told apart from it."""
    worse: list[str] = []
    better: list[str] = []
    same: list[str] = []
    for name, one in compared.items():
        if one is None:
            continue
        if one.p >= SIGNIFICANT:
            same.append(name)
        else:
            (worse if one.difference.value < 0 else better).append(name)
    return worse, better, same


def _findings(part: Part, compared: Mapping[str, Comparison | None]) -> list[str]:
    worse, better, same = _settled(compared)
    findings = []
    for names, meaning in ((worse, "helps"), (better, "interferes")):
        for name in names:
            one = compared[name]
            assert one is not None  # `_settled` leaves them out
            findings.append(
                f"“{part.titles[name]}” changes F1 by {points(one.difference)}, "
                f"{p_in_words(one.p)}: what it leaves out or exchanges {meaning}."
            )
    if same:
        listed = join([part.titles[name] for name in same])
        verb = "is" if len(same) == 1 else "are"
        findings.append(
            f"{listed} {verb} not told apart from “{part.titles[part.baseline]}” by these "
            "sentences and seeds: whether what is left out helps is not settled."
        )
    return findings


def _other_views(
    part: Part,
    compared: Mapping[str, Mapping[str, Comparison | None]],
    views: Mapping[str, tuple[str, View]],
) -> list[str]:
    """What is settled in the other views."""
    findings = []
    for view in list(views)[1:]:
        worse, better, _ = _settled(compared[view])
        texts = [
            f"{join([part.titles[name] for name in names])} {'is' if len(names) == 1 else 'are'} "
            f"{kind}"
            for names, kind in ((worse, "worse"), (better, "better"))
            if names
        ]
        found = " and ".join(texts) or "no cell differs from it beyond chance"
        findings.append(f"With {views[view][0]}: {found}.")
    return findings


def _images(part: Part, records: Mapping[str, Seeds]) -> list[str]:
    """Whether the images help the baseline, by the rule of the report."""
    gain = image_gain(*records[part.baseline].values())
    if gain is None:
        return []
    change = gain.comparison
    verdict = {"yes": "Yes", "no": "No", "not settled": "That is not settled"}[gain.verdict]
    return [
        f"Do the images help “{part.titles[part.baseline]}”? {verdict}: against "
        f"“{CONTROL_NAMES.get(gain.best, gain.best)}”, the best of the controls, a sentence’s own "
        f"image changes F1 by {points(change.difference)}, {p_in_words(change.p)}."
    ]


def _figures(
    records: Mapping[str, Seeds], view: View, compared: Mapping[str, Comparison | None]
) -> dict[str, Any]:
    return {
        name: {
            "f1": asdict(score_of_cell(cell, view)),
            "difference": figures_of_comparison(compared.get(name)),
            "seeds": sorted(cell),
        }
        for name, cell in records.items()
    }
