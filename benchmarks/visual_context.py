"""What does text from images give? Recipes against each other on the embedded sample.

    python benchmarks/visual_context.py --out runs/visual_context

Builds the sample with its visual context (ImageNet tagger, Tesseract), trains each recipe on it and
prints one table: F1 in both views, and how many of the entities that only their image can type
were found and typed right: under each control, where the image carries readable text, and where
an object was recognised on it. A run that is there is not repeated. Options for `train.py` go
behind `--`, such as `-- --max_steps 3`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from datasets import load_dataset
from runner import CONTROLS, ROOT, Setting, figures_of, flags, mean, train_once, typed_right

from dataset_mmnerd import markdown

SETTINGS = {
    "text-only": Setting("text_only_offline"),
    "ITA, objects": Setting("ita_offline", {}, {"context_fields": ["objects"]}),
    "ITA, OCR": Setting("ita_offline", {}, {"context_fields": ["ocr"]}),
    "ITA, both": Setting("ita_offline"),
    "ITA, both, no alignment": Setting("ita_offline", {"cross_view_weight": 0}),
    "2M-NER": Setting("2mner_offline"),
    "2M-NER and ITA": Setting("2mner_ita_offline"),
}
STEPS = {
    "num_train_epochs": "6",
    "per_device_train_batch_size": "4",
    "learning_rate": "1e-4",
    "logging_steps": "50",
}
"""The same for all recipes: ita_offline's."""


def build(folder: Path, tagger: str) -> None:
    """The sample as a folder with `objects` and `ocr`, by the commands that a user types."""
    command = [sys.executable, "-m", "dataset_mmnerd"]
    if not (folder / "README.md").exists():
        build = [*command, "build", "--source", "sample", "--out", str(folder)]
        subprocess.run(build, cwd=ROOT, check=True)
    fill = [*command, "context", str(folder), "--objects", tagger, "--ocr", "tesseract"]
    subprocess.run(fill, cwd=ROOT, check=True)


def accuracy(
    rows: Sequence[dict[str, Any]],
    run: Path,
    control: str = "real",
    where: Callable[[dict[str, Any]], bool] = lambda row: True,
) -> float:
    """Share of the image-decided entities that were found and typed right."""
    ids = {row["id"] for row in rows if not row["decidable_from_text"] and where(row)}
    right = typed_right(run, ids, control)
    return mean(right) if right else float("nan")


def table(runs: dict[str, list[Path]], rows: Sequence[dict[str, Any]]) -> str:
    lines = []
    for name, seeds in runs.items():
        figures = [figures_of(run) for run in seeds]
        both = [(each["test"], each.get("text_view", each["test"])) for each in figures]
        cells = [mean(view[index]["overall"]["f1"] for view in both) for index in (0, 1)]
        cells += [mean(accuracy(rows, run, control) for run in seeds) for control in CONTROLS]
        for column in ("ocr", "objects"):
            cells.append(
                mean(accuracy(rows, run, where=lambda row: bool(row[column])) for run in seeds)  # noqa: B023
            )
        lines.append([name, *(f"{100 * cell:.1f}" for cell in cells)])
    head = ["recipe", "F1", "text view F1", "own image", "no image", "another's", "blank"]
    return markdown.table([*head, "image with text", "object recognised"], lines)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for data and runs")
    parser.add_argument("--tagger", default="backbones/tagger", help="image classifier")
    parser.add_argument("--seeds", nargs="+", type=int, default=[19])
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("options", nargs="*", help="more for train.py, behind --")
    arguments = parser.parse_args(argv)
    out = arguments.out.resolve()
    folder = out / "sample"
    build(folder, arguments.tagger)
    usual = ["--dataset_name", str(folder)]
    usual += flags(STEPS)
    runs = {
        name: [
            train_once(
                setting,
                out / f"{name.lower().replace(', ', '_').replace(' ', '_')}-{seed}",
                [*usual, "--seed", str(seed), *arguments.options],
            )
            for seed in arguments.seeds
        ]
        for name, setting in SETTINGS.items()
        if name in arguments.settings
    }
    columns = ["id", "decidable_from_text", "objects", "ocr"]
    rows = load_dataset(str(folder), split="test").select_columns(columns).to_list()
    decided = [row for row in rows if not row["decidable_from_text"]]
    counts = {name: sum(bool(row[name]) for row in decided) for name in ("ocr", "objects")}
    sys.stdout.write(
        f"{table(runs, rows)}\n\n{len(decided)} entities that only their image can type, "
        f"{counts['ocr']} of them with text that was read on it, {counts['objects']} with an "
        "object that was recognised.\n"
    )


if __name__ == "__main__":
    main()
