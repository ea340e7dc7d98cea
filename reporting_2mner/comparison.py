"""F1 of systems and comparisons of runs on the same test sentences, with bootstrap intervals.

    compared = compare_runs([read_run(Path("runs/text")), read_run(Path("runs/images"))])
    compared.groups[0]["overall"].comparison(0, 1).p

Runs may name different data files if the sentences are the same by their ids, words and gold
entities. Anything else is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataset_mmnerd.labels import Span

from .runs import CONTROL_NAMES, Record, Run, RunError, controls_of, spans_of
from .statistics import (
    Comparison,
    Interval,
    compare,
    f1,
    interval,
    over_seeds,
    resampled_f1,
    sentence_counts,
)

__all__ = [
    "SEED",
    "RunComparison",
    "Score",
    "bootstrap_score",
    "bootstrap_scores",
    "bootstrap_seeds",
    "compare_runs",
    "paired_records",
]

SEED = 0
"""Of the resampling: a report that is made anew shows the same intervals."""

Predicted = Sequence[Sequence[Span]]


# Scores -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Score:
    """An F1 of each of `S` systems on the same sentences.

    Attributes:
        values: `[S]`.
        samples: `[R, S]`, the same on `R` resamples of the sentences.
        counts: `[S, 3]`: entities that are right, predicted, and to be found. None for a mean.
    """

    values: np.ndarray
    samples: np.ndarray
    counts: np.ndarray | None = None

    def interval(self, system: int = 0) -> Interval:
        """A system's score with its interval."""
        return interval(self.values[system], self.samples[:, system])

    def comparison(self, first: int, second: int) -> Comparison:
        """How the second system differs from the first."""
        return compare(self.values[first], self.values[second], self.samples[:, [first, second]])


def bootstrap_score(
    gold: Predicted, systems: Sequence[Predicted], generator: np.random.Generator
) -> Score:
    """The F1 of systems on the same sentences, with its resamples."""
    counts = [sentence_counts(gold, predicted) for predicted in systems]
    sums = np.stack([part.sum(axis=0) for part in counts])
    return Score(f1(sums), resampled_f1(np.hstack(counts), generator), sums)


def bootstrap_seeds(counts: np.ndarray, generator: np.random.Generator) -> Score:
    """The mean F1 over seeds of systems on the same sentences, sentences and seeds resampled.

    Args:
        counts: `[M, S, n, 3]`: for each seed, system and sentence the entities that are right,
            predicted, and to be found, as `sentence_counts` gives them.
        generator: of the resampling.
    """
    seeds, systems, sentences, _ = counts.shape
    side_by_side = counts.transpose(2, 0, 1, 3).reshape(sentences, seeds * systems * 3)
    samples = resampled_f1(side_by_side, generator).reshape(-1, seeds, systems)
    return Score(f1(counts.sum(axis=2)).mean(axis=0), over_seeds(samples, generator))


def bootstrap_scores(
    records: Sequence[Record], systems: Sequence[Predicted]
) -> list[dict[str, Score]]:
    """The F1 of systems, overall and in parts, each with its resamples.

    Args:
        records: the sentences; what was predicted in them is not read.
        systems: what each system predicts for each of them.

    Returns:
        Groups of scores by name: overall and boundaries; each language and, if there are several,
        their mean, for which each language is resampled by itself; each type; with and without an
        image, if there are both and controls.
    """
    generator = np.random.default_rng(SEED)
    gold = [spans_of(record, "gold") for record in records]

    def scored(
        chosen: Iterable[int] | None = None, change: Callable[[Sequence[Span]], list[Span]] = list
    ) -> Score:
        rows = range(len(gold)) if chosen is None else list(chosen)
        return bootstrap_score(
            [change(gold[row]) for row in rows],
            [[change(predicted[row]) for row in rows] for predicted in systems],
            generator,
        )

    groups = [{"overall": scored(), "boundaries alone": scored(change=_without_types)}]
    by_language = _places(record["lang"] for record in records)
    parts = {language: scored(rows) for language, rows in sorted(by_language.items())}
    if len(parts) > 1:
        values = np.mean([part.values for part in parts.values()], axis=0)
        samples = np.mean([part.samples for part in parts.values()], axis=0)
        parts["mean over languages"] = Score(values, samples)
    groups.append(parts)
    types = {span[2] for part in (gold, *systems) for spans in part for span in spans}
    groups.append({label: scored(change=_only(label)) for label in sorted(types)})
    by_image = _places("controls" in record for record in records)
    if len(by_image) > 1:
        groups.append(
            {
                "with image": scored(by_image[True]),
                "without image": scored(by_image[False]),
            }
        )
    return [group for group in groups if group]


def _places(keys: Iterable[Any]) -> dict[Any, list[int]]:
    """The places of each key."""
    places: dict[Any, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    return places


def _without_types(spans: Sequence[Span]) -> list[Span]:
    return [(start, end, "") for start, end, _ in spans]


def _only(label: str) -> Callable[[Sequence[Span]], list[Span]]:
    return lambda spans: [span for span in spans if span[2] == label]


# Runs ---------------------------------------------------------------------------------------------


def paired_records(runs: Sequence[Run]) -> list[list[Record]]:
    """The records of each run, in the order of the first.

    Raises:
        RunError: if a run has no test part, or not the same test sentences as the first; it says
            how they differ.
    """
    for run in runs:
        if not run.records:
            raise RunError(f"{run.folder}: no test sentences, so there is nothing to compare")
    first, *others = runs
    wanted = _by_id(first)
    return [first.records, *(_in_order(run, _by_id(run), first, wanted) for run in others)]


def _by_id(run: Run) -> dict[tuple[str, int], Record]:
    """The records by id and, for equal ids, a running number."""
    times: dict[str, int] = {}
    records = {}
    for record in run.records:
        time = times[record["id"]] = times.get(record["id"], -1) + 1
        records[record["id"], time] = record
    return records


def _in_order(
    run: Run,
    found: dict[tuple[str, int], Record],
    first: Run,
    wanted: dict[tuple[str, int], Record],
) -> list[Record]:
    only_first = [key for key in wanted if key not in found]
    only_other = [key for key in found if key not in wanted]
    if only_first or only_other:
        parts = [
            f"{len(keys):,} only in {which} (the first: {keys[0][0]!r})"
            for which, keys in ((first.folder, only_first), (run.folder, only_other))
            if keys
        ]
        shared = len(found) - len(only_other)
        raise RunError(
            f"{first.folder} and {run.folder} were tested on different sentences: of their ids "
            f"{shared:,} are the same, {' and '.join(parts)}; expected the same test part"
        )
    for key, record in wanted.items():
        other = found[key]
        for what, same in (
            ("words", record["tokens"] == other["tokens"]),
            ("gold entities", set(spans_of(record, "gold")) == set(spans_of(other, "gold"))),
        ):
            if not same:
                raise RunError(
                    f"test sentence {key[0]!r} has other {what} in {run.folder} than in "
                    f"{first.folder}: expected the same test part"
                )
    return [found[key] for key in wanted]


@dataclass(frozen=True)
class RunComparison:
    """The F1 of runs, with resamples for their differences.

    Attributes:
        folders: of the runs.
        sentences: how many there are in the test part that they share.
        groups: scores by name; in each, the runs are the systems.
    """

    folders: list[Path]
    sentences: int
    groups: list[dict[str, Score]]


def compare_runs(runs: Sequence[Run]) -> RunComparison:
    """Score runs on the test sentences that they share, as they are and under the controls that
    all of them have; a text-only run has identical predictions under every control.

    Raises:
        RunError: if the runs cannot be compared.
    """
    paired = paired_records(runs)
    groups = bootstrap_scores(
        paired[0], [[spans_of(record) for record in records] for records in paired]
    )
    return RunComparison(
        [run.folder for run in runs], len(paired[0]), [*groups, *_controls(runs, paired)]
    )


def _controls(runs: Sequence[Run], paired: Sequence[Sequence[Record]]) -> list[dict[str, Score]]:
    """Each control that was tried with every run that reads images, and the mean of both views:
    with each sentence's own image, and from its words alone."""
    readers = [
        records
        for run, records in zip(runs, paired, strict=True)
        if "images" in run.results.get("test", {})
    ]
    if not readers:
        return []
    tried = [controls_of(records) for records in readers]
    generator = np.random.default_rng(SEED)
    gold = [spans_of(record, "gold") for record in paired[0]]
    group = {}
    for way in (way for way in tried[0] if all(way in others for others in tried)):
        # The runs as they are, and then once more under the control: all on the same resamples.
        systems = [
            [spans_of(record, kind) for record in records]
            for kind in ("predicted", way)
            for records in paired
        ]
        score = bootstrap_score(gold, systems, generator)
        own, other = slice(None, len(runs)), slice(len(runs), None)
        group[CONTROL_NAMES[way]] = Score(score.values[other], score.samples[:, other])
        if way == "none":
            group["mean of both views"] = Score(
                (score.values[own] + score.values[other]) / 2,
                (score.samples[:, own] + score.samples[:, other]) / 2,
            )
    return [group] if group else []
