"""Portuguese and Dutch for an English, French, German and Spanish model: by how many sentences, and
at what price?

    python benchmarks/new_language.py --data DATA --out runs/new_language
    python benchmarks/new_language.py --data DATA --out runs/new_language --base runs/wikineural

`DATA` holds `{language}/{val,test}.conllu` (WikiNEuRal). The model learns the first 1,500 sentences
of each old language's `val` by `configs/text_only_offline.yaml`, unless a ready one is given. Then
each new language is added by `configs/new_language.yaml`, once by full fine-tuning and once by
LoRA, on 50, 200, 1,000 and 4,000 sentences of its `val`: nested subsets, drawn by the seed.
`--methods` names others that forget less.

All tests are a part of the last quarter of `test`, in the file's order. The recipe's rates and
LoRA's rank were chosen on sentences of the third quarter, the first model's checkpoint on the first
ones. A run that is there is not repeated, and one that was interrupted goes on with the sizes that
are missing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from runner import Setting, mean, train_once

from dataset_mmnerd import markdown

OLD = ("en", "fr", "de", "es")
NEW = ("pt", "nl")
SIZES = (50, 200, 1000, 4000)
METHODS = {
    "full": ("full fine-tuning", []),
    "lora": ("LoRA", ["--lora"]),
    "replay": ("full, as many old sentences mixed in", ["--replay", "1"]),
    "frozen": (
        "upper half alone",
        ["--freeze", "text_model.embeddings", "text_model.encoder.layer.[0-5]"],
    ),
}
BASELINE = "full"

Points = list[dict[str, Any]]
Curves = dict[tuple[str, str], list[Points]]
"""From language and method to each seed's learning curve."""


def last_quarter(data: Path, languages: Iterable[str], percent: int) -> list[str]:
    """So much of each `test` file, from its last quarter on."""
    return [f"{data / language}/test.conllu[75%:{75 + percent}%]" for language in languages]


def train_base(data: Path, out: Path, seed: int) -> Path:
    """The model of the old languages."""
    files = [f"{data / language}/val.conllu[:1500]" for language in OLD]
    validation = [f"{data / language}/test.conllu[:2%]" for language in OLD]
    options = ["--train_files", *files, "--validation_files", *validation, "--seed", str(seed)]
    return train_once(Setting("text_only_offline"), out / "base", options)


def points_of(run: Path) -> Points:
    """The points of a run's learning curve, from none to the most sentences."""
    return json.loads((run / "learning_curve.json").read_text(encoding="utf-8"))["points"]


def saved_size(run: Path) -> int:
    """Bytes of the weights that a run left: a whole model's, or an adapter's."""
    return sum(path.stat().st_size for path in run.glob("*.safetensors"))


def f1(point: dict[str, Any], part: str) -> float:
    return 100 * point[part]["overall"]["f1"]


def figure(values: Sequence[float]) -> str:
    """The mean over the seeds, and with several of them how far apart they are."""
    apart = f" ({min(values):.1f}-{max(values):.1f})" if len(values) > 1 else ""
    return f"{mean(values):.1f}{apart}"


def table(curves: Curves, bytes_of: dict[str, int]) -> str:
    """A Markdown table: for each language and method F1 on the new language, and F1 on the old ones
    together, by the number of new sentences; the seeds' means."""
    sizes = [point["sentences"] for point in next(iter(curves.values()))[0]]
    counts = [f"{size:,} sentences" for size in sizes[1:]]
    lines = []
    for (language, method), seeds in curves.items():
        for part, name in (("new", language), ("old", "old ones")):
            cells = [
                figure([f1(points[place], part) for points in seeds]) for place in range(len(sizes))
            ]
            saved = f"{bytes_of[method] / 1e6:,.1f} MB" if part == "new" else ""
            lines.append([language, METHODS[method][0], name, *cells, saved])
    return markdown.table(["new", "by", "F1 on", "zero-shot", *counts, "saved"], lines)


def verdicts(curves: Curves, size: int) -> list[str]:
    """What each method is worth against full fine-tuning with so many sentences, by language."""
    found = []
    for language in dict.fromkeys(language for language, _ in curves):
        new, lost = {}, {}
        for (where, method), seeds in curves.items():
            if where == language:
                place = [point["sentences"] for point in seeds[0]].index(size)
                new[method] = mean(f1(points[place], "new") for points in seeds)
                lost[method] = mean(
                    f1(points[0], "old") - f1(points[place], "old") for points in seeds
                )
        found += [
            f"{language}, {size} sentences: {METHODS[method][0]} reaches "
            f"{100 * new[method] / new[BASELINE]:.1f} % of {METHODS[BASELINE][0]}'s F1 and loses "
            f"{lost[method]:.1f} points in the old languages ({lost[BASELINE]:.1f})."
            for method in new
            if method != BASELINE and BASELINE in new
        ]
    return found


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the languages")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--base", type=Path, help="a trained model of the old languages")
    parser.add_argument("--languages", nargs="+", default=NEW, help="new ones")
    parser.add_argument("--methods", nargs="+", default=("full", "lora"), choices=METHODS)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, help="of the curve")
    parser.add_argument("--seeds", nargs="+", type=int, default=[19])
    parser.add_argument(
        "--test_percent", type=int, default=10, help="of a new language's test file, up to 25"
    )
    parser.add_argument(
        "--old_test_percent", type=int, default=4, help="of each old language's, up to 25"
    )
    parser.add_argument("options", nargs="*", help="more for train.py, behind --")
    arguments = parser.parse_args(argv)

    data, out = arguments.data.resolve(), arguments.out.resolve()
    base = arguments.base.resolve() if arguments.base else train_base(data, out, 19)
    old = last_quarter(data, OLD, arguments.old_test_percent)
    sizes = ",".join(map(str, arguments.sizes))
    curves: Curves = {}
    bytes_of: dict[str, int] = {}
    for language in arguments.languages:
        for method in arguments.methods:
            for seed in arguments.seeds:
                options = [
                    *("--model_name_or_path", str(base), "--seed", str(seed)),
                    *("--train_files", f"{data / language}/val.conllu"),
                    *("--test_files", *last_quarter(data, [language], arguments.test_percent)),
                    *("--old_test_files", *old, "--learning_curve", sizes),
                    *(*METHODS[method][1], *arguments.options),
                ]
                run = out / f"{language}-{method}-{seed}"
                train_once(Setting("new_language"), run, options)
                curves.setdefault((language, method), []).append(points_of(run))
                bytes_of[method] = saved_size(run)
    lines = [table(curves, bytes_of), ""]
    for size in arguments.sizes:
        lines += verdicts(curves, size)
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
