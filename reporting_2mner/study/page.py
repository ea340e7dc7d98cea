"""`study.html` and `study.json`: the sections of a study, and what was trained for them.

    write_study(folder, Study("study_small", "sample", sections, trainings))

The page is self-contained, in the look of `report.html`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from dataset_mmnerd.files import write_json, write_text

from ..pages import page_template
from .sections import Part, Section

__all__ = ["Study", "TrainingRecord", "study_page", "write_study"]

TEMPLATE = Path(__file__).with_name("study_template.html")


@dataclass(frozen=True)
class TrainingRecord:
    """What is said of a training.

    Attributes:
        cell: the name of its cell.
        title: what the page calls the cell.
        seed: of the training.
        command: what repeats it; its path begins in the study's folder.
        f1: on the test part; None if it has failed, or has no test part.
        seconds: that training and scoring took; None if it has failed.
        error: why it failed.
    """

    cell: str
    title: str
    seed: int
    command: str
    f1: float | None = None
    seconds: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Study:
    """All that is on the page.

    Attributes:
        name: of the plan.
        source: the name of the data.
        made_up: whether the data is the embedded sample.
        sections: the parts and what they show.
        trainings: all of them.
        failures: the errors of measures, by part and training, and of sections, by part.
    """

    name: str
    source: str
    made_up: bool
    sections: Sequence[tuple[Part, Section]]
    trainings: Sequence[TrainingRecord]
    failures: Mapping[str, str]


def write_study(folder: Path, study: Study) -> None:
    """Write `study.html` and `study.json` into the study's folder.

    Raises:
        OSError: if they cannot be written.
    """
    write_json(folder / "study.json", study_figures(study))
    write_text(folder / "study.html", f"{study_page(study)}\n")


def study_figures(study: Study) -> dict[str, Any]:
    """The content of `study.json`."""
    return {
        "study": study.name,
        "data": study.source,
        "parts": {
            part.name: {
                "kind": part.kind,
                "title": section.title,
                "cells": list(part.cells),
                "findings": list(section.findings),
                "figures": section.figures,
            }
            for part, section in study.sections
        },
        "trainings": [vars(training) for training in study.trainings],
        "failures": dict(study.failures),
    }


def study_page(study: Study) -> str:
    """The page as HTML."""
    sections = [
        {
            "id": part.name,
            "section": section,
            # matplotlib has escaped what is in them.
            "charts": [(Markup(chart.svg), chart.description) for chart in section.charts],
            "trainings": [one for one in study.trainings if one.cell in part.cells],
        }
        for part, section in study.sections
    ]
    return page_template(TEMPLATE).render(
        study=study,
        sections=sections,
        finished=sum(training.error is None for training in study.trainings),
        failed=[training for training in study.trainings if training.error is not None],
        minutes=sum(training.seconds or 0 for training in study.trainings) / 60,
    )
