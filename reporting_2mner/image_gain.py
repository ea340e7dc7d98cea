"""Do the images help? One rule, for the model card, the report and the study.

    gain = image_gain(read_run(Path("runs/demo")).records)
    gain.verdict, gain.best, gain.comparison.difference.value

The sentences that have an image are scored with their own image and under each control. The images
help if F1 with their own is higher than under the best control, and a paired bootstrap test over
the sentences has p < 0.05.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .comparison import SEED, Score, bootstrap_seeds
from .runs import Record, controls_of, spans_of
from .statistics import Comparison, sentence_counts

__all__ = ["ImageGain", "image_gain"]

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class ImageGain:
    """What the images of some sentences are worth.

    Attributes:
        names: `real`, and the controls.
        score: F1 under each of them, in this order, from the same resamples.
        sentences: how many have an image.
    """

    names: list[str]
    score: Score
    sentences: int

    @property
    def best(self) -> str:
        """The control with the highest F1."""
        return self.names[1 + int(np.argmax(self.score.values[1:]))]

    @property
    def comparison(self) -> Comparison:
        """How the sentences' own images differ from the best control."""
        return self.score.comparison(self.names.index(self.best), 0)

    @property
    def verdict(self) -> Literal["yes", "no", "not settled"]:
        """Whether the images help."""
        if self.comparison.difference.value <= 0:
            return "no"
        return "yes" if self.comparison.p < SIGNIFICANT else "not settled"


def image_gain(*runs: Sequence[Record]) -> ImageGain | None:
    """Compare the sentences' own images with the controls; None if there are no controls.

    Args:
        runs: the records of a run; or those of several seeds, each in the same order, which are
            resampled too.
    """
    imaged = [[record for record in records if "controls" in record] for records in runs]
    controls = controls_of(imaged[0])
    if not controls:
        return None
    counts = [
        [
            sentence_counts(
                [spans_of(record, "gold") for record in records],
                [spans_of(record, way) for record in records],
            )
            for way in ("predicted", *controls)
        ]
        for records in imaged
    ]
    score = bootstrap_seeds(np.array(counts), np.random.default_rng(SEED))
    return ImageGain(["real", *controls], score, len(imaged[0]))
