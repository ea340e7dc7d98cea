"""What a kind of part gets and what it gives: results of trainings in, a section of the page out.

A kind is a module of this package with one function:

    def section(part: Part, results: Results) -> Section: ...

and, if it needs more than the runs themselves, a module of the same name in `training_2mner.study`
with `measure(trained, options)`, whose JSON is then each result's `measured`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..charts import Chart
from ..runs import Run

__all__ = ["Heat", "Part", "Result", "Results", "Section", "Table"]


@dataclass(frozen=True)
class Part:
    """A part of a study, as its plan says.

    Attributes:
        name: in the plan.
        kind: which experiment.
        cells: the names of its cells, in their order.
        baseline: the cell that the others are compared with.
        options: those of its kind, with their defaults.
        titles: what to call each cell.
    """

    name: str
    kind: str
    cells: tuple[str, ...]
    baseline: str
    options: Mapping[str, Any]
    titles: Mapping[str, str]


@dataclass(frozen=True)
class Result:
    """One training of a cell.

    Attributes:
        seed: which.
        run: its folder, read.
        measured: what the kind's `measure` gave; None if it has none.
    """

    seed: int
    run: Run
    measured: Any = None


Results = Mapping[str, Sequence[Result]]
"""The results of a part by the names of its cells, in the plan's order, each cell's by ascending
seeds. A cell without any result, because all its trainings failed, is not among them."""


@dataclass(frozen=True)
class Heat:
    """A figure whose field in a table is the darker the larger its `share`, in [0, 1]."""

    text: str
    share: float


@dataclass(frozen=True)
class Table:
    """A table of the page; the first field of a row names it.

    Attributes:
        caption: what it shows, and in which unit.
        head: of each column.
        rows: as many fields each.
        spare: the numbers of columns that a narrow screen leaves out.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str | Heat]]
    spare: frozenset[int] = frozenset()

    @property
    def is_matrix(self) -> bool:
        """Whether it is a heat map."""
        return any(isinstance(value, Heat) for row in self.rows for value in row)


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        title: its heading.
        question: what is measured, in a sentence or two.
        findings: sentences computed from the figures, the most important first.
        tables, charts: in their order. A chart's name begins with the part's name.
        notes: how the figures came about, and what they do not say.
        figures: the same figures for `study.json`, as fractions.
    """

    title: str
    question: str
    findings: Sequence[str] = ()
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()
    notes: Sequence[str] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
