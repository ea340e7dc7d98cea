"""`report.html`: a run's scores, errors and training as one self-contained page.

    write_report(Path("runs/demo"))

The page is written from the files in the run's folder. It loads no script, font or image from
elsewhere. Charts are SVG in the colours of the page, light or dark, and PNG files in `report/`.
Text from the data is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from dataset_mmnerd.files import write_bytes, write_text
from dataset_mmnerd.images import ImageError, read_image
from dataset_mmnerd.schema import LANGUAGES, UNKNOWN_LANGUAGE

from .charts import (
    Chart,
    calibration_chart,
    confusion_chart,
    curve_chart,
    interval_chart,
    line_chart,
)
from .comparison import Score, bootstrap_scores
from .errors import MOST_MISTAKES, Mistake, marks_of, surest_mistakes, thumbnail_path
from .image_gain import ImageGain, image_gain
from .marked_text import STYLE, marked_text
from .pages import page_template
from .runs import (
    CONTROL_NAMES,
    Record,
    Run,
    figures_of,
    is_tested_on_sample,
    percent,
    read_run,
    recipe_as_yaml,
    source_of,
    spans_of,
    training_in_words,
)
from .small_images import data_uri
from .statistics import (
    BINS,
    LEVEL,
    RESAMPLES,
    Calibration,
    Confusion,
    Interval,
    calibrate,
    confuse,
)

__all__ = ["report_page", "write_report"]

TEMPLATE = "report_template.html"
MOST_POINTS = 400
"""Longer logs are drawn as means over equal stretches."""

LOSS_NAMES = {
    "loss": "total",
    "loss_nll": "likelihood",
    "loss_nll_text": "likelihood, text view",
    "loss_alignment": "alignment",
    "loss_cross_view": "cross-view",
    "eval_loss": "validation",
}
VIEW_NAMES = {"eval_f1_text_view": "text view", "eval_f1_both_views": "both views"}


def write_report(folder: Path) -> None:
    """Write `report.html` into a run's folder, and its charts as PNG into `report/`. Charts of an
    earlier report that this one lacks are deleted last.

    Raises:
        RunError: if the folder is no finished run, or a file in it is damaged.
        OSError: if a file cannot be written; those of the earlier report are then still there.
    """
    run = read_run(folder)
    measured = measure(run.records) if run.records else None
    with figures_of(folder / "metrics.json"):
        charts = run_charts(run, measured)
        page = report_page(run, measured, charts)
    images = folder / "report"
    images.mkdir(exist_ok=True)
    for chart in charts:
        write_bytes(images / f"{chart.name}.png", chart.png)
    write_text(folder / "report.html", f"{page}\n")
    for old in {*images.glob("*.png")} - {images / f"{chart.name}.png" for chart in charts}:
        old.unlink()


# Figures ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """What is computed from the records of a run.

    Attributes:
        scores: groups of scores by name.
        gain: F1 with the sentences' own images and under the controls; None without controls.
        confusion: which types are taken for which.
        calibration: of the predicted entities' scores.
        mistakes: the wrong predictions with the highest scores.
    """

    scores: list[dict[str, Score]]
    gain: ImageGain | None
    confusion: Confusion
    calibration: Calibration
    mistakes: list[Mistake]


def measure(records: Sequence[Record]) -> Measured:
    """Compute all figures of a page from a run's records."""
    gold = [spans_of(record, "gold") for record in records]
    predicted = [spans_of(record) for record in records]
    sure = [entity["score"] for record in records for entity in record["predicted"]]
    right = [
        span in wanted for spans, wanted in zip(predicted, gold, strict=True) for span in spans
    ]
    return Measured(
        scores=bootstrap_scores(records, [predicted]),
        gain=image_gain(records),
        confusion=confuse(gold, predicted),
        calibration=calibrate(sure, right),
        mistakes=surest_mistakes(records),
    )


# Charts -------------------------------------------------------------------------------------------


def run_charts(run: Run, measured: Measured | None) -> list[Chart]:
    """The charts of a run; a chart without data is left out."""
    kept = run.results["training"]["kept_step"]
    charts = []
    losses = loss_lines(run.history)
    if losses:
        charts.append(
            line_chart(
                "loss",
                f"Line chart. The loss a sentence by training step: {_in_words(losses)}.",
                {name: _thinned(*points) for name, points in losses.items()},
                xlabel="step",
                ylabel="loss a sentence",
                mark=kept,
            )
        )
    scores = score_lines(run.history, run.results["data"].get("validation", {}))
    if scores:
        percentages = {name: (x, [100 * value for value in y]) for name, (x, y) in scores.items()}
        charts.append(
            line_chart(
                "validation",
                "Line chart. F1 on the validation part, in percent, by training step: "
                f"{_in_words(percentages)}.",
                scores,
                xlabel="step",
                ylabel="F1, %",
                mark=kept,
                percent=True,
            )
        )
    # The file of an earlier run in the same folder is none of this one.
    if run.curve and run.results["recipe"]["data"].get("learning_curve"):
        with figures_of(run.folder / "learning_curve.json"):
            charts.append(curve_chart(run.curve))
    if measured is not None:
        intervals = [
            {LANGUAGES.get(name, name): score.interval() for name, score in group.items()}
            for group in measured.scores
        ]
        charts.append(interval_chart("scores", "F1 with its intervals", intervals))
        if measured.confusion.types:
            charts.append(
                confusion_chart("confusion", "Predicted against gold types", measured.confusion)
            )
        if math.isfinite(measured.calibration.error):
            filled = [part for part in measured.calibration.bins if part.count]
            words = "; ".join(
                f"at a confidence of {percent(part.confidence)} {percent(part.accuracy)} are right"
                for part in filled
            )
            charts.append(
                calibration_chart(
                    "calibration",
                    f"Reliability diagram, in percent: {words}.",
                    measured.calibration,
                )
            )
    return charts


Points = tuple[list[float], list[float]]


def loss_lines(history: Sequence[dict[str, float]]) -> dict[str, Points]:
    """The parts of the loss by name: steps and values. A part that is all of it is left out."""
    keys = dict.fromkeys(key for entry in history for key in entry)
    parts = [key for key in keys if key.startswith("loss_")]
    lines = {
        LOSS_NAMES.get(key, key.removeprefix("loss_").replace("_", " ")): _logged(history, key)
        for key in ("loss", *sorted(parts, key=_place), "eval_loss")
    }
    total = lines["total"]
    return {
        name: points
        for name, points in lines.items()
        if points[0] and (name == "total" or not _same(points, total))
    }


def _place(key: str) -> int:
    known = list(LOSS_NAMES)
    return known.index(key) if key in known else len(known)


def _same(points: Points, others: Points) -> bool:
    return points[0] == others[0] and np.allclose(points[1], others[1], rtol=1e-4)


def score_lines(
    history: Sequence[dict[str, float]], validation: dict[str, Any]
) -> dict[str, Points]:
    """F1 on the validation part by name: overall, by view, and by language if there are several."""
    names = {"eval_f1": "all", **VIEW_NAMES}
    languages = validation.get("by_language", {})
    if len(languages) > 1:
        names |= {f"eval_f1_{code}": LANGUAGES.get(code, code) for code in languages}
    lines = {name: _logged(history, key) for key, name in names.items()}
    total = lines["all"]
    return {
        name: points
        for name, points in lines.items()
        if points[0] and (name not in VIEW_NAMES.values() or points != total)
    }


def _logged(history: Sequence[dict[str, float]], key: str) -> Points:
    entries = [entry for entry in history if _is_finite(entry.get(key))]
    return [entry["step"] for entry in entries], [entry[key] for entry in entries]


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _thinned(x: Sequence[float], y: Sequence[float]) -> Points:
    """Means over equal stretches of a long log."""
    if len(x) <= MOST_POINTS:
        return list(x), list(y)
    stretches = [np.array_split(np.asarray(values), MOST_POINTS) for values in (x, y)]
    x, y = ([float(part.mean()) for part in parts] for parts in stretches)
    return x, y


def _in_words(lines: dict[str, Points]) -> str:
    return "; ".join(
        f"{name} {y[0]:.3g} at step {x[0]}, {y[-1]:.3g} at step {x[-1]}"
        for name, (x, y) in lines.items()
    )


# The page -----------------------------------------------------------------------------------------


def report_page(run: Run, measured: Measured | None, charts: Sequence[Chart]) -> str:
    """The page of a run as HTML."""
    template = page_template(Path(__file__).with_name(TEMPLATE))
    results = run.results
    data = results["recipe"]["data"]
    rows, scale = ([], (0, 100)) if measured is None else _score_rows(measured.scores)
    return template.render(
        mark_style=STYLE,
        name=run.folder.resolve().name,
        source=source_of(data),
        made_up=is_tested_on_sample(data),
        sentences=len(run.records),
        # matplotlib has escaped what is in them.
        charts={chart.name: Markup(chart.svg) for chart in charts},
        measured=measured,
        groups=rows,
        scale=scale,
        decided=results.get("test", {}).get("image_decided"),
        text_view=results["text_view"]["overall"]["f1"] if "text_view" in results else None,
        both_views=results.get("f1_both_views"),
        ways=None if measured is None else _way_rows(measured.gain, results.get("controls", {})),
        confusion=None if measured is None else _confusion_rows(measured.confusion),
        surest=[] if measured is None else _mistake_cards(run, measured.mistakes),
        most_mistakes=MOST_MISTAKES,
        transfer=_transfer(results.get("transfer")),
        parts=results["data"],
        languages=LANGUAGES,
        training=training_in_words(results),
        kept_step=results["training"]["kept_step"],
        recipe=recipe_as_yaml(results["recipe"]),
        level=round(100 * LEVEL),
        resamples=RESAMPLES,
        bins=BINS,
    )


def _score_rows(
    groups: Sequence[dict[str, Score]],
) -> tuple[list[list[dict[str, Any]]], tuple[int, int]]:
    """The rows of the table of scores, with places for its drawn intervals, and these' scale."""
    found = [[(name, score, score.interval()) for name, score in g.items()] for g in groups]
    left = math.floor(10 * min(score.low for group in found for _, _, score in group)) * 10
    right = math.ceil(10 * max(score.high for group in found for _, _, score in group)) * 10
    right = max(right, left + 10)
    rows = [
        [
            {
                "name": name,
                "f1": interval,
                "counts": None if score.counts is None else _fractions(score.counts[0]),
                "track": _track(interval, left / 100, right / 100),
            }
            for name, score, interval in group
        ]
        for group in found
    ]
    return rows, (left, right)


def _fractions(counts: np.ndarray) -> dict[str, float | int]:
    correct, predicted, gold = (int(count) for count in counts)
    return {
        "precision": correct / max(predicted, 1),
        "recall": correct / max(gold, 1),
        "gold": gold,
    }


def _track(interval: Interval, left: float, right: float) -> dict[str, str]:
    places = [
        100 * (value - left) / (right - left)
        for value in (interval.low, interval.value, interval.high)
    ]
    return {
        "low": f"{places[0]:.1f}",
        "value": f"{places[1]:.1f}",
        "width": f"{places[2] - places[0]:.1f}",
    }


def _way_rows(gain: ImageGain | None, controls: dict[str, Any]) -> dict[str, Any] | None:
    """The table of controls, and what the images are worth."""
    if gain is None:
        return None
    rows = [
        {
            "name": CONTROL_NAMES.get(name, name),
            "f1": gain.score.interval(place),
            "loss": gain.score.comparison(0, place) if place else None,
            "decided": controls.get(name, {}).get("image_decided"),
        }
        for place, name in enumerate(gain.names)
    ]
    return {"rows": rows, "best": CONTROL_NAMES.get(gain.best, gain.best), "gain": gain}


def _transfer(transfer: dict[str, Any] | None) -> dict[str, Any] | None:
    """F1 before and after training on a new language, on `new` and on `old` sentences; None without
    such a training."""
    if transfer is None:
        return None
    parts = []
    for part in ("new", "old"):
        before, after = transfer[part]["before"], transfer[part]["after"]
        rows = []
        if before is not None:
            rows = [
                (
                    f"{part}: {LANGUAGES.get(code, code)}",
                    figures["f1"],
                    after["by_language"][code]["f1"],
                )
                for code, figures in before["by_language"].items()
            ]
            if len(rows) > 1:
                rows.append((f"{part}: together", before["overall"]["f1"], after["overall"]["f1"]))
        parts.append(rows)
    return {"sentences": transfer["sentences"], "parts": parts}


def _confusion_rows(confusion: Confusion) -> dict[str, Any]:
    matrix, shares = confusion.matrix, confusion.shares
    names = (*confusion.types, "spurious")
    rows = [
        (name, list(zip(counts.tolist(), part.tolist(), strict=True)))
        for name, counts, part in zip(names, matrix, shares, strict=True)
    ]
    rows[-1][1].pop()  # There is no counting what is neither there nor predicted.
    return {
        "types": confusion.types,
        "rows": rows,
        "missed": int(matrix[:-1, -1].sum()),
        "overlapping": confusion.overlapping,
    }


def _mistake_cards(run: Run, mistakes: Sequence[Mistake]) -> list[dict[str, Any]]:
    """One card for each sentence of the mistakes that are shown."""
    cards: dict[int, dict[str, Any]] = {}
    for mistake in mistakes:
        record = run.records[mistake.row]
        if mistake.row not in cards:
            cards[mistake.row] = {
                "sentence": marked_text(
                    " ".join(record["tokens"]),
                    marks_of(record),
                    lang=None if record["lang"] == UNKNOWN_LANGUAGE else record["lang"],
                ),
                "image": _data_uri(thumbnail_path(run.folder, mistake.row), run.folder),
                "mistakes": [],
            }
        cards[mistake.row]["mistakes"].append(mistake)
    return list(cards.values())


def _data_uri(image: Path, run: Path) -> str | None:
    """A thumbnail of a run's folder as a data URI; None if there is none, or a link leads out of
    the folder."""
    if not image.resolve().is_relative_to(run.resolve()):
        return None
    try:
        content = read_image(image)
    except ImageError:
        return None
    return data_uri(content)
