"""How many sentences does a language need? F1 against the sentences that a model was taught.

    curve = LearningCurve.open(Path("runs/pt/learning_curve.json"), settings)
    curve.add({"sentences": 200, "steps": 100, "seconds": 61.0, "new": scores, "old": None})
    print(curve.table())

The file is written after each size, and the same as a picture beside it. A curve that is opened
again goes on where it was stopped, if it is of the same settings.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import RecipeError, difference
from .evaluation import write_json
from .plots import Chart, chart, label_lines, line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LearningCurve"]

Point = dict[str, Any]


@dataclass
class LearningCurve:
    """The points of a curve, ascending, and their file.

    Attributes:
        path: of the JSON file; the picture beside it has the same name.
        settings: what must be the same for points to belong to one curve.
        points: each with the number of `sentences`, `steps`, `seconds`, and the scores of `new` and
            `old` test sentences; 0 sentences is the model as it was (zero-shot).
    """

    path: Path
    settings: dict[str, Any]
    points: list[Point] = field(default_factory=list)

    @classmethod
    def open(cls, path: Path, settings: dict[str, Any]) -> LearningCurve:
        """The curve of a file, or a new one.

        Raises:
            RecipeError: if the file's points were made with other settings.
        """
        settings = json.loads(json.dumps(settings))
        if not path.is_file():
            return cls(path, settings)
        found = json.loads(path.read_text("utf-8"))
        other = difference(found["settings"], settings)
        if other is not None:
            raise RecipeError(
                f"{path} holds sizes that were made with {other}; take it away, or name another "
                "output_dir"
            )
        return cls(path, settings, found["points"])

    def sizes(self) -> set[int]:
        """The sizes that are there."""
        return {point["sentences"] for point in self.points}

    def at(self, sentences: int) -> Point:
        """The point of a size."""
        return next(point for point in self.points if point["sentences"] == sentences)

    def add(self, point: Point) -> None:
        """Put in a point, in place of one of the same size."""
        others = [old for old in self.points if old["sentences"] != point["sentences"]]
        self.points = sorted([*others, point], key=lambda point: point["sentences"])

    def write(self) -> None:
        """Write the points, and draw them in a PNG beside them."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, {"settings": self.settings, "points": self.points})
        self.path.with_suffix(".png").write_bytes(self.chart().png)

    def chart(self) -> Chart:
        """F1 against the number of sentences: a line for each new language, and one for the old
        ones together."""
        sizes = [point["sentences"] for point in self.points]
        lines = {name: [point["new"] for point in self.points] for name in self._languages()}
        if self.points[0]["old"] is not None:
            lines["old ones"] = [point["old"] for point in self.points]

        def draw(axes: Axes) -> None:
            for place, (name, scores) in enumerate(lines.items()):
                figures = [found["by_language"].get(name, found["overall"]) for found in scores]
                line(axes, sizes, [100 * values["f1"] for values in figures], name, place)
            # Logarithmic, and yet with a place for none at all.
            axes.set_xscale("symlog", linthresh=max(1, *sizes[:2]))
            axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
            axes.set(xlabel="new sentences")
            axes.set_title("F1, %", loc="left", fontsize=9.5)
            label_lines(axes)

        return chart("learning-curve", "F1 against the number of new sentences", draw)

    def _languages(self) -> list[str]:
        return list(self.points[0]["new"]["by_language"])

    def table(self) -> str:
        """F1 in percent by size, for the terminal."""
        languages = self._languages()
        head = [*(f"new: {name}" for name in languages), "old: all"]
        lines = ["sentences" + _cells(["steps", *head])]
        for point in self.points:
            figures = [_percent(point["new"]["by_language"].get(name)) for name in languages]
            old = _percent(point["old"] and point["old"]["overall"])
            lines.append(f"{point['sentences']:>9}" + _cells([point["steps"], *figures, old]))
        return "\n".join(lines)


def _cells(values: Iterable[Any]) -> str:
    return "".join(f"{value:>11}" for value in values)


def _percent(figures: dict[str, float] | None) -> str:
    return "" if figures is None else f"{100 * figures['f1']:.1f}"
