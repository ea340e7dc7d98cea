"""What the benchmarks share: a run of `train.py` that is there is not repeated."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training_2mner.recipes import read_recipe

ROOT = Path(__file__).resolve().parent.parent
CONTROLS = ("real", "none", "shuffled", "blank")


@dataclass(frozen=True)
class Setting:
    """A recipe of `configs/`, and what is changed in its two mappings."""

    recipe: str
    model_config: dict[str, Any] = field(default_factory=dict)
    processor_config: dict[str, Any] = field(default_factory=dict)

    def arguments(self) -> list[str]:
        """The recipe and its changes as `train.py` takes them."""
        path = str(ROOT / "configs" / f"{self.recipe}.yaml")
        given = [path]
        changes = {"model_config": self.model_config, "processor_config": self.processor_config}
        if any(changes.values()):
            _, model, _, _ = read_recipe([path])
            for key, changed in changes.items():
                if changed:
                    merged = {**(getattr(model, key) or {}), **changed}
                    given += [f"--{key}", json.dumps(merged)]
        return given


def train_once(setting: Setting, run: Path, options: Sequence[str]) -> Path:
    """Run `train.py` unless its figures are there already; return the run's folder."""
    if not (run / "metrics.json").exists():
        command = [sys.executable, "train.py", *setting.arguments()]
        command += ["--output_dir", str(run.resolve()), *options]
        subprocess.run(command, cwd=ROOT, check=True)
    return run


def figures_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "metrics.json").read_text(encoding="utf-8"))


def records_of(run: Path) -> list[dict[str, Any]]:
    """The test sentences with what was predicted, in the order of the test part."""
    with (run / "predictions.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def said(record: dict[str, Any], control: str) -> list[tuple[int, int, str]]:
    """The entities predicted of a sentence under a control; those of a sentence that has nothing to
    change, or of a model that reads words alone, are always the same."""
    entities = record["predicted"]
    if control != "real":
        entities = record.get("controls", {}).get(control, entities)
    return [(entity["start"], entity["end"], entity["label"]) for entity in entities]


def typed_right(run: Path, ids: Container[str], control: str = "real") -> list[bool]:
    """Of each gold entity of some test sentences, whether it was found with both ends and type."""
    return [
        (entity["start"], entity["end"], entity["label"]) in said(record, control)
        for record in records_of(run)
        if record["id"] in ids
        for entity in record["gold"]
    ]


def mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)
