"""F1 of the cells of a study, over sentences and seeds, and differences between cells.

records = records_of(results)
compared = compare_cells(records["full"], records["no_alignment"], View("predicted"))
compared.interval(1), compared.comparison(0, 1)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np

from dataset_mmnerd.labels import Span

from ..comparison import SEED, Score, bootstrap_seeds, paired_records
from ..pages import p_value, signed
from ..runs import Record, percent, spans_of
from ..statistics import Comparison, Interval, holm, sentence_counts
from .sections import Results

__all__ = [
    "Seeds",
    "View",
    "adjusted",
    "between",
    "compare_cells",
    "difference_cells",
    "figures_of_comparison",
    "join",
    "points",
    "records_of",
    "score_of_cell",
]

Key = TypeVar("Key")

Seeds = Mapping[int, Sequence[Record]]
"""The test records of a cell's trainings, by seed, all in the same order of sentences."""


@dataclass(frozen=True)
class View:
    """What is scored of each record.

    Attributes:
        way: `predicted`, with each sentence's own image; or a control, of which `none` is the text
            view. A run without images has identical predictions under every control.
        boundaries: whether types are ignored.
        language: only sentences of this language.
    """

    way: str = "predicted"
    boundaries: bool = False
    language: str | None = None

    def counts(self, records: Sequence[Record]) -> np.ndarray:
        """`[n, 3]` of the sentences that are scored, as `sentence_counts` gives them."""
        chosen = [
            record for record in records if self.language is None or record["lang"] == self.language
        ]
        return sentence_counts(
            [self._spans(record, "gold") for record in chosen],
            [self._spans(record, self.way) for record in chosen],
        )

    def _spans(self, record: Record, way: str) -> list[Span]:
        spans = spans_of(record, way)
        return [(start, end, "") for start, end, _ in spans] if self.boundaries else spans


def records_of(results: Results) -> dict[str, dict[int, list[Record]]]:
    """The test records of each cell by seed, all in one order.

    Raises:
        RunError: if the cells were not tested on the same sentences.
    """
    places = [(cell, result) for cell, found in results.items() for result in found]
    paired = paired_records([result.run for _, result in places])
    records: dict[str, dict[int, list[Record]]] = {}
    for (cell, result), found in zip(places, paired, strict=True):
        records.setdefault(cell, {})[result.seed] = found
    return records


def score_of_cell(cell: Seeds, view: View) -> Interval:
    """The mean F1 of a cell's seeds, with its interval."""
    counts = np.array([[view.counts(records)] for records in cell.values()])
    return bootstrap_seeds(counts, np.random.default_rng(SEED)).interval()


def compare_cells(first: Seeds, second: Seeds, view: View) -> Score | None:
    """The F1 of two cells, means over the seeds that both have, on the same resamples of sentences
    and seeds; None if they have no seed in common."""
    seeds = [seed for seed in first if seed in second]
    if not seeds:
        return None
    counts = [[view.counts(cell[seed]) for cell in (first, second)] for seed in seeds]
    return bootstrap_seeds(np.array(counts), np.random.default_rng(SEED))


def adjusted(compared: Mapping[Key, Comparison]) -> dict[Key, Comparison]:
    """The comparisons of a table, their p-values adjusted for how many there are (Holm)."""
    values = holm([one.p for one in compared.values()])
    return {key: replace(one, p=p) for (key, one), p in zip(compared.items(), values, strict=True)}


# In words -----------------------------------------------------------------------------------------


def between(interval: Interval) -> str:
    """81.2 to 84.0"""
    return f"{percent(interval.low)} to {percent(interval.high)}"


def points(difference: Interval) -> str:
    """+1.2 points (+0.3 to +2.1)"""
    low, high = signed(difference.low), signed(difference.high)
    return f"{signed(difference.value)} points ({low} to {high})"


def difference_cells(compared: Comparison | None) -> list[str]:
    """The fields of a table for a difference: its size, its interval and its p-value."""
    if compared is None:
        return ["", "", ""]
    gain = compared.difference
    between_low_and_high = f"{signed(gain.low)} to {signed(gain.high)}"
    return [signed(gain.value), between_low_and_high, p_value(compared.p)]


def figures_of_comparison(compared: Comparison | None) -> dict[str, Any] | None:
    """The same for `study.json`."""
    return None if compared is None else {**asdict(compared.difference), "p": compared.p}


def join(names: Sequence[str]) -> str:
    """Names in a sentence: “a”, “b” and “c”."""
    quoted = [f"“{name}”" for name in names]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)
