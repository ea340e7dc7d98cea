"""What the benchmarks share: a run of `train.py` that is there is not repeated. One that was made
by another recipe, with other options or of other sentences is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from dataset_mmnerd.quoting import shorten
from reporting_2mner.runs import spans_of
from reporting_2mner.statistics import Interval
from training_2mner.arguments import DataArguments, ModelArguments, TwoMNERTrainingArguments
from training_2mner.recipes import read_recipe
from training_2mner.run_record import describe_recipe

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


def flags(values: Mapping[str, str]) -> list[str]:
    """Values of a recipe as options for `train.py`."""
    return [text for key, value in values.items() for text in (f"--{key}", value)]


def train_once(setting: Setting, run: Path, options: Sequence[str]) -> Path:
    """Run `train.py` unless its figures are there already; return the run's folder.

    Raises:
        SystemExit: if they are there, of another recipe or of other options.
    """
    arguments = [*setting.arguments(), "--output_dir", str(run.resolve()), *options]
    if (run / "metrics.json").exists():
        check_recipe(run, arguments)
    else:
        subprocess.run([sys.executable, "train.py", *arguments], cwd=ROOT, check=True)
    return run


def check_recipe(run: Path, arguments: Sequence[str]) -> None:
    """Stop unless a finished run has the values of a recipe and its options. The recipe's own path
    does not count; a value that the run did not record is the default."""
    made, wanted = figures_of(run)["recipe"], describe_recipe(*read_recipe(arguments))
    usual = {
        "model": {each.name: each.default for each in fields(ModelArguments)},
        "data": {each.name: each.default for each in fields(DataArguments)},
        "training": TwoMNERTrainingArguments().to_dict(),
    }
    for kind, values in usual.items():
        for key, value in values.items():
            found, expected = (json.dumps(each[kind].get(key, value)) for each in (made, wanted))
            if found != expected and key != "output_dir":
                raise SystemExit(
                    f"{run}: found a run with {key} {shorten(found)}, expected "
                    f"{shorten(expected)}; give another --out"
                )


def check_sentences(run: Path, parts: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Stop unless a run was tested on the sentences of a test part, and made of as many as the
    other parts have: it may be of an earlier call."""
    counts = {part: rows["sentences"] for part, rows in figures_of(run)["data"].items()}
    tested = [(record["id"], record["tokens"]) for record in records_of(run)]
    if counts != {part: len(rows) for part, rows in parts.items()} or tested != [
        (row["id"], row["tokens"]) for row in parts["test"]
    ]:
        raise SystemExit(
            f"{run}: found a run on other sentences, expected these; give another --out"
        )


def figures_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "metrics.json").read_text(encoding="utf-8"))


def records_of(run: Path) -> list[dict[str, Any]]:
    """The test sentences with what was predicted, in the order of the test part."""
    with (run / "predictions.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def said(record: dict[str, Any], control: str) -> list[tuple[int, int, str]]:
    """The entities predicted of a sentence under a control; those of a sentence that has nothing to
    change, or of a model that reads words alone, are always the same."""
    return spans_of(record, "predicted" if control == "real" else control)


def between(found: Interval, form: str = "{:.1f}") -> str:
    """A score and its interval, in percent."""
    value, low, high = (form.format(100 * part) for part in (found.value, found.low, found.high))
    return f"{value} ({low} to {high})"


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
