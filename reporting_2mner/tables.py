"""Scores of a run and comparisons of runs as text tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any

from dataset_mmnerd.markdown import text_table

from .comparison import RunComparison, Score
from .runs import CONTROL_NAMES, percent

__all__ = ["TEXT_VIEW", "comparison_table", "curve_table", "score_table", "transfer_table"]

COLUMNS = ("precision", "recall", "F1", "entities")
TEXT_VIEW = "text view F1"
CONTROL_COLUMNS = ("F1", "boundaries", "image-decided", "images read")


def score_table(results: dict[str, Any]) -> str:
    """Lay out the scores of a test part and of its controls; percentages, under 100 columns wide.

    Args:
        results: `test` and, if there are any, `text_view` and `controls`, as `evaluation.evaluate`
            gives them.
    """
    test = results["test"]
    blocks = [
        [_score_row(name, figures) for name, figures in group.items()] for group in _groups(test)
    ]
    head: tuple[str, ...] = COLUMNS
    if "text_view" in results:
        *scores, entities = COLUMNS
        head = (*scores, TEXT_VIEW, entities)
        for rows, group in zip(blocks, _groups(results["text_view"]), strict=True):
            alone = [percent(group.get(name, {"f1": 0.0})["f1"]) for name, *_ in rows]
            rows[:] = [(*row[:-1], f1, row[-1]) for row, f1 in zip(rows, alone, strict=True)]
    text = text_table(("test", *head), [rows for rows in blocks if rows])
    if "image_decided" in test:
        decided = test["image_decided"]
        text += (
            f"\n\nOf {decided['entities']} entities that only their image can type, "
            f"{percent(decided['accuracy'])} % were found and typed right."
        )
    if "controls" in results:
        rows = [_control_row(name, scores) for name, scores in results["controls"].items()]
        text += "\n\n" + text_table(("each sentence with", *CONTROL_COLUMNS), [rows])
    return text


def _groups(scores: dict[str, Any]) -> list[dict[str, Any]]:
    """The scores that make the table's blocks, some of them empty, by the names of their rows."""
    groups = [
        {"overall": scores["overall"], "boundaries alone": scores["boundaries"]},
        _named(scores.get("by_language", {})),
        _named(scores["by_type"]),
        _named(scores.get("by_image", {}), suffix=" image"),
    ]
    if len(scores.get("by_language", {})) > 1:
        groups[1] = {**groups[1], "mean over languages": scores["mean_over_languages"]}
    return groups


def _named(figures: dict[str, Any], suffix: str = "") -> dict[str, Any]:
    return {f"{name}{suffix}": values for name, values in figures.items()}


def _score_row(name: str, figures: dict[str, Any]) -> tuple[str, ...]:
    scores = (percent(figures[key]) for key in ("precision", "recall", "f1"))
    return (name, *scores, str(figures.get("gold", "")))


def _control_row(name: str, scores: dict[str, Any]) -> tuple[str, ...]:
    decided = scores.get("image_decided")
    images = scores["images"]
    return (
        CONTROL_NAMES[name],
        percent(scores["overall"]["f1"]),
        percent(scores["boundaries"]["f1"]),
        "" if decided is None else percent(decided["accuracy"]),
        f"{images['read']} of {images['given']}",
    )


def comparison_table(compared: RunComparison) -> str:
    """Lay out the F1 of runs, and by how much each differs from the first; percentages."""
    letters = ascii_uppercase[: len(compared.folders)]
    names = zip(letters, compared.folders, strict=True)
    head = ["F1", letters[0]]
    for letter in letters[1:]:
        head += [letter, f"{letter} - {letters[0]}", "95 % interval", "p"]
    blocks = [
        [_comparison_row(name, score) for name, score in group.items()] for group in compared.groups
    ]
    return "\n".join(
        [
            *(f"{letter}: {folder}" for letter, folder in names),
            f"\nOn the same {compared.sentences:,} test sentences:\n",
            text_table(head, blocks),
        ]
    )


def _comparison_row(name: str, score: Score) -> tuple[str, ...]:
    cells = [name, percent(score.values[0])]
    for run in range(1, len(score.values)):
        found = score.comparison(0, run)
        gain = found.difference
        cells += [
            percent(score.values[run]),
            f"{100 * gain.value:+.1f}",
            f"{100 * gain.low:+.1f} to {100 * gain.high:+.1f}",
            f"{found.p:.4f}",
        ]
    return tuple(cells)


# A new language -----------------------------------------------------------------------------------


def transfer_table(transfer: dict[str, Any]) -> str:
    """F1 before and after a new language was learned, on new and on old sentences, in percent.

    Args:
        transfer: as in `metrics.json`.
    """
    blocks, notes = [], []
    for part, (better, worse) in {
        "new": ("gained", "lost"),
        "old": ("not forgotten", "forgotten"),
    }.items():
        before, after = transfer[part]["before"], transfer[part]["after"]
        if before is None:
            notes.append(f"{part}: not measured, {transfer[part]['source']}")
            continue
        figures = {
            f"{part}: {name}": (scores["f1"], after["by_language"][name]["f1"])
            for name, scores in before["by_language"].items()
        }
        if len(figures) > 1:
            figures[f"{part}: together"] = (before["overall"]["f1"], after["overall"]["f1"])
        rows = [
            [name, percent(first), percent(last), f"{100 * (last - first):+.1f}", ""]
            for name, (first, last) in figures.items()
        ]
        rows[-1][-1] = worse if transfer[part]["change"] < 0 else better
        blocks.append(rows)
    return "\n".join([text_table(("F1", "before", "after", "change", ""), blocks), *notes])


def curve_table(points: Sequence[dict[str, Any]]) -> str:
    """The learning curve: F1 by the number of new sentences, in percent.

    Args:
        points: as in `learning_curve.json`.
    """
    languages = list(points[0]["new"]["by_language"])
    head = ["sentences", "steps", *(f"new: {name}" for name in languages), "old: all"]
    rows = []
    for point in points:
        scores = [point["new"]["by_language"].get(name) for name in languages]
        scores.append(point["old"] and point["old"]["overall"])
        cells = ["" if figures is None else percent(figures["f1"]) for figures in scores]
        rows.append([str(point["sentences"]), str(point["steps"]), *cells])
    return text_table(head, [rows])
