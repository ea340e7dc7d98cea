"""The kinds of parts that a study may have.

A kind is a module of this name in `reporting_2mner.study` with `section`, which makes a section of
the page; and, if `measures` says so, one in this package with `measure`, which is run once for each
training of the part's cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from reporting_2mner.study.sections import Part, Results, Section

from . import corruption, transfer
from .trained import Trained

__all__ = ["KINDS", "Kind", "measure_of", "section_of"]


@dataclass(frozen=True)
class Kind:
    """A kind of part.

    Attributes:
        options: the keys that a part of it may have beside `cells` and `baseline`, with their
            defaults.
        measures: whether it runs the trained models anew.
        prepare: checks the options of a part and completes them, given the plan's folder.
        grows: the option that names what is measured one by one. What an earlier command has
            measured under other names stays.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    measures: bool = False
    prepare: Callable[[Mapping[str, Any], Path], Mapping[str, Any]] = lambda options, _: options
    grows: str | None = None


KINDS = {
    "ablation": Kind(),
    "contrastive": Kind(measures=True),
    "languages": Kind(),
    "corruption": Kind(corruption.OPTIONS, measures=True, prepare=corruption.prepare_options),
    "transfer": Kind({"data": {}}, measures=True, prepare=transfer.prepare_options, grows="data"),
    "attention": Kind(measures=True),
    "selection": Kind(measures=True),
}


def measure_of(kind: str) -> Callable[[Trained, Mapping[str, Any]], dict[str, Any]]:
    """What measures a trained model for a part of a kind that does so; the result is JSON."""
    measure: Callable[..., dict[str, Any]] = import_module(f"{__package__}.{kind}").measure
    return measure


def section_of(kind: str) -> Callable[[Part, Results], Section]:
    """What makes the section of the page for a part of a kind."""
    section: Callable[..., Section] = import_module(f"reporting_2mner.study.{kind}").section
    return section
