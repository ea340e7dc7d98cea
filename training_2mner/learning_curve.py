"""How many sentences does a language need? F1 against the sentences that a model was taught.

    curve = LearningCurve.open(Path("runs/pt/learning_curve.json"), settings)
    curve.add({"sentences": 200, "steps": 100, "seconds": 61.0, "new": scores, "old": None})
    print(curve.table())

The file is written after each size, and the same as an image beside it. A curve that is opened
again goes on where it was stopped, if it is of the same settings.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataset_mmnerd.files import write_bytes, write_json
from dataset_mmnerd.schema import LANGUAGES
from reporting_2mner.charts import Chart, size_chart

from .arguments import RecipeError, difference

__all__ = ["LearningCurve"]

Point = dict[str, Any]


@dataclass
class LearningCurve:
    """The points of a curve, ascending, and their file.

    Attributes:
        path: of the JSON file; the image beside it has the same name.
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
        write_bytes(self.path.with_suffix(".png"), self.chart().png)

    def chart(self) -> Chart:
        """F1 against the number of sentences: a line for each new language, and one for the old
        ones together."""
        sizes = [point["sentences"] for point in self.points]
        lines = {
            LANGUAGES.get(code, code): [
                point["new"]["by_language"][code]["f1"] for point in self.points
            ]
            for code in self._languages()
        }
        if self.points[0]["old"] is not None:
            lines["old ones"] = [point["old"]["overall"]["f1"] for point in self.points]
        words = "; ".join(
            f"{name} "
            + ", ".join(
                f"{100 * f1:.1f} after {size:,}" for size, f1 in zip(sizes, scores, strict=True)
            )
            for name, scores in lines.items()
        )
        return size_chart(
            "learning-curve",
            f"Line chart. F1, in percent, by the number of new sentences: {words}.",
            sizes,
            lines,
            xlabel="new sentences",
            ylabel="F1, %",
        )

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
