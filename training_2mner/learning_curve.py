"""The learning curve: F1 by the number of training sentences of a new language.

    curve = LearningCurve.open(Path("runs/pt/learning_curve.json"), settings)
    curve.add({"sentences": 200, "steps": 100, "seconds": 61.0, "new": scores, "old": None})
    print(curve_table(curve.points))

The JSON file and a PNG beside it are written after each size. A curve that is opened again keeps
its points, if the settings are the same.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataset_mmnerd.files import write_bytes, write_json
from reporting_2mner.charts import curve_chart

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
        write_bytes(self.path.with_suffix(".png"), curve_chart(self.points).png)
