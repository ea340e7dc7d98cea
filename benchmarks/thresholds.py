"""Do thresholds keep what they promise? Chosen on a part of the sentences, measured on the rest.

    python benchmarks/thresholds.py runs/wikineural/predictions.jsonl
    python benchmarks/thresholds.py runs/wikineural/predictions.jsonl --share 0.2 --alpha 0.05

`predictions.jsonl` is what a run leaves: sentences that the model was not trained on, with `gold`
and `predicted` entities and their scores. The sentences are divided at random, again and again. On
one part temperatures and thresholds are fitted, on the rest is counted:

* risk: the share of wrong entities among those returned; how often it is above alpha; and how often
  a threshold was certified at all.
* precision: the mean, and how often it reaches the wanted one (about half of the times it should).
* recall: what is kept of what all predicted entities find.
* expected calibration error before and after.

The guarantee is about the risk on all sentences there could be. The rest is a sample of these, and
its own noise carries some of its measurements over alpha. "At most" is what this leaves of
`1 - confidence`: for a fitted share s, `Phi(Phi^-1(1 - confidence) / sqrt(1 + s / (1 - s)))`, which
is 0.18 for halves and a confidence of 0.9. The parts come from one set of sentences and overlap, so
that the figures of different divisions are not independent.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from dataset_mmnerd.markdown import table
from inference_2mner.calibration import (
    ALPHAS,
    CONFIDENCE,
    PRECISIONS,
    Scored,
    calibrate,
    expected_calibration_error,
    fit_thresholds,
    returned,
)

Record = dict[str, Any]


@dataclass
class Measured:
    """What a threshold did on the rest, each time that one was found.

    Attributes:
        wrong: the share of wrong entities among those returned.
        kept: the share of the right entities that were returned.
    """

    wrong: list[float] = field(default_factory=list)
    kept: list[float] = field(default_factory=list)

    def add(self, scored: Scored, chosen: np.ndarray) -> None:
        right = scored.right[chosen]
        self.wrong.append(float(1 - right.mean()) if len(right) else 0.0)
        self.kept.append(float(right.sum() / max(1, scored.right.sum())))


def records_of(paths: Sequence[Path]) -> list[Record]:
    """The sentences of some runs, those with the same `id` and words once."""
    records: dict[tuple[str, ...], Record] = {}
    for path in paths:
        with path.open(encoding="utf-8", newline="\n") as lines:
            for record in map(json.loads, lines):
                records.setdefault((record["id"], *record["tokens"]), record)
    return list(records.values())


def divided(
    records: Sequence[Record], times: int, share: float, seed: int
) -> Iterator[tuple[Scored, Scored]]:
    """Random parts of the sentences: a share to fit on, the rest to measure on."""
    generator = np.random.default_rng(seed)
    for _ in range(times):
        parts = np.split(generator.permutation(len(records)), [int(share * len(records))])
        fitting, rest = (Scored.of(records[row] for row in part) for part in parts)
        yield fitting, rest


def largest_share_above(confidence: float, share: float) -> float:
    """How often the measured risk is above alpha, at most: see the module."""
    normal = NormalDist()
    return normal.cdf(normal.inv_cdf(1 - confidence) / math.sqrt(1 + share / (1 - share)))


def measure(
    records: Sequence[Record],
    *,
    times: int,
    share: float,
    precisions: Sequence[float],
    alphas: Sequence[float],
    confidence: float,
    seed: int,
) -> tuple[dict[tuple[str, str], Measured], np.ndarray]:
    """Fit on a share and measure on the rest, so many times.

    Returns:
        What each threshold did, by kind and level; and the expected calibration error before and
        after, `[times, 2]`.
    """
    measured: dict[tuple[str, str], Measured] = {}
    errors = []
    for fitting, rest in divided(records, times, share, seed):
        fitted = fit_thresholds(
            fitting, precisions=precisions, alphas=alphas, confidence=confidence
        )
        after = calibrate(rest.score, rest.label, fitted["temperature"])
        errors.append(
            [expected_calibration_error(scores, rest.right) for scores in (rest.score, after)]
        )
        for kind in ("precision", "risk"):
            for level, thresholds in fitted[kind].items():
                own = measured.setdefault((kind, level), Measured())
                if thresholds is not None:
                    own.add(rest, returned(rest, fitted, thresholds))
    return measured, np.array(errors)


def report(measured: Mapping[tuple[str, str], Measured], errors: np.ndarray, at_most: float) -> str:
    """The figures as two tables."""
    risk: list[list[str]] = []
    precision: list[list[str]] = []
    for (kind, level), found in measured.items():
        wrong, times = np.array(found.wrong), f"{len(found.wrong)} of {len(errors)}"
        if not len(wrong):
            row = [level, times, "-", "-", "-"]
        elif kind == "risk":
            above = f"{np.mean(wrong > float(level)):.2f}"
            row = [level, times, f"{wrong.mean():.4f}", above, f"{np.mean(found.kept):.3f}"]
        else:
            reached = f"{np.mean(1 - wrong >= float(level)):.2f}"
            shown = f"{1 - wrong.mean():.4f}"
            row = [level, times, shown, reached, f"{np.mean(found.kept):.3f}"]
        (risk if kind == "risk" else precision).append(row)
    before, after = errors.mean(axis=0)
    over = f"above alpha (at most {at_most:.2f})"
    return "\n".join(
        [
            table(["alpha", "a threshold in", "risk", over, "recall kept"], risk),
            "",
            table(["precision", "a threshold in", "mean", "reached", "recall kept"], precision),
            "",
            f"Expected calibration error: {before:.4f} before, {after:.4f} after.",
        ]
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("predictions", nargs="+", type=Path, help="predictions.jsonl of runs")
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--share", type=float, default=0.5, help="of the sentences, to fit on")
    parser.add_argument("--alpha", nargs="+", type=float, default=ALPHAS)
    parser.add_argument("--precision", nargs="+", type=float, default=PRECISIONS)
    parser.add_argument("--confidence", type=float, default=CONFIDENCE)
    parser.add_argument("--seed", type=int, default=19)
    given = parser.parse_args(argv)
    records = records_of(given.predictions)
    measured, errors = measure(
        records,
        times=given.times,
        share=given.share,
        precisions=given.precision,
        alphas=given.alpha,
        confidence=given.confidence,
        seed=given.seed,
    )
    at_most = largest_share_above(given.confidence, given.share)
    entities = sum(len(record["predicted"]) for record in records)
    sys.stdout.write(f"{len(records):,} sentences, {entities:,} predicted entities\n\n")
    sys.stdout.write(f"{report(measured, errors, at_most)}\n")


if __name__ == "__main__":
    main()
