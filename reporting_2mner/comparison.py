"""Runs side by side on the same test sentences, each difference with how sure it is.

    compared = compare_runs([read_run(Path("runs/text")), read_run(Path("runs/images"))])
    compared.groups[0]["overall"].comparison(0, 1).p

What is unusual: runs may name different data files as long as the sentences are the same, by their
ids, words and gold entities; anything else is refused, for a difference between scores on different
sentences says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .runs import (
    SEED,
    Record,
    Run,
    RunError,
    Score,
    bootstrap_score,
    bootstrap_scores,
    controls_of,
    spans_of,
)
from .tables import CONTROL_NAMES

__all__ = ["RunComparison", "compare_runs", "paired_records"]


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
    """The records by id; those that share one are told apart by their order."""
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
    """The F1 of runs, the difference of each to the first, and how sure it is.

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
    all of them have; to a run that reads no images all ways of giving one are the same.

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
