"""Do pictures help? Recipes against each other on the same real sentences, steps and seeds.

    python benchmarks/linked_images.py --data DATA --out runs/linked_images \\
        --recipes text_only_offline 2mner_offline --seeds 19

`DATA` holds `{language}_{val,test}.jsonl` (`id`, `tokens`, `ner_tags`, `image`, `image_kind`,
`linked_mention`, `sent_index`) and the pictures: Wikipedia sentences, each linked to a flag, logo
or portrait of *one of its gold entities*. The kind of picture therefore gives that entity's type
away. So the table holds, beside the scores with real, no, shuffled and blank pictures, what knowing
the kind of picture alone is worth, and the share of linked entities that each model finds and
types.

Train: `val`. Validation: even `sent_index` of `test`. Test: odd. A run that is there is not
repeated.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LANGUAGES = ("en", "fr", "de", "es")
CONTROLS = ("real", "none", "shuffled", "blank")


def read_rows(data: Path, part: str) -> list[dict[str, Any]]:
    """All languages' rows of one file's part, with `lang`."""
    rows = []
    for language in LANGUAGES:
        with (data / f"{language}_{part}.jsonl").open(encoding="utf-8") as lines:
            rows += [{**json.loads(line), "lang": language} for line in lines]
    return rows


def split(data: Path) -> dict[str, list[dict[str, Any]]]:
    """The three parts that everybody uses, so that figures can be compared."""
    test = read_rows(data, "test")
    return {
        "train": read_rows(data, "val"),
        "validation": [row for row in test if row["sent_index"] % 2 == 0],
        "test": [row for row in test if row["sent_index"] % 2],
    }


def write_parts(parts: dict[str, list[dict[str, Any]]], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in parts.items():
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for row in rows:
                kept = {key: row[key] for key in ("id", "tokens", "ner_tags", "image", "lang")}
                file.write(json.dumps(kept, ensure_ascii=False) + "\n")


def train(recipe: str, seed: int, data: Path, out: Path, options: Sequence[str]) -> Path:
    """Run `train.py` unless its figures are there already; return the run's folder."""
    run = out / f"{recipe}-{seed}"
    if not (run / "metrics.json").exists():
        files = [
            argument
            for part in ("train", "validation", "test")
            for argument in (f"--{part}_files", str(out / "data" / f"{part}.jsonl"))
        ]
        subprocess.run(
            [
                *(sys.executable, "train.py", f"configs/{recipe}.yaml", *files),
                *("--image_dir", str(data.resolve()), "--output_dir", str(run.resolve())),
                *("--seed", str(seed), *options),
            ],
            cwd=ROOT,
            check=True,
        )
    return run


def linked_accuracy(rows: Iterable[dict[str, Any]], run: Path) -> dict[str, float]:
    """Share of linked entities that the run found with both ends and the type, for each control."""
    linked = {row["id"]: row["linked_mention"] for row in rows}
    found: dict[str, list[bool]] = defaultdict(list)
    with (run / "predictions.jsonl").open(encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            gold = linked[record["id"]]
            ways = {"real": record["predicted"], **record.get("controls", {})}
            for way, entities in ways.items():
                found[way].append(
                    any(
                        (entity["start"], entity["end"], entity["label"])
                        == (gold["start"], gold["end"], gold["type"])
                        for entity in entities
                    )
                )
    return {way: sum(hits) / len(hits) for way, hits in found.items()}


def kind_baseline(parts: dict[str, list[dict[str, Any]]]) -> float:
    """How often the kind of picture alone (flag, logo, portrait) names the linked entity's type."""
    types: dict[str, Counter[str]] = defaultdict(Counter)
    for row in parts["train"]:
        types[row["image_kind"]][row["linked_mention"]["type"]] += 1
    right = [
        types[row["image_kind"]].most_common(1)[0][0] == row["linked_mention"]["type"]
        for row in parts["test"]
    ]
    return sum(right) / len(right)


def table(runs: dict[tuple[str, int], Path], rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table: test F1 by control and language, and the linked entities found."""
    lines = [
        "| recipe | seed | pictures | F1 | " + " | ".join(LANGUAGES) + " | linked entities found |",
        "| --- | --- | --- | --- | " + "--- | " * len(LANGUAGES) + "--- |",
    ]
    for (recipe, seed), run in runs.items():
        results = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        linked = linked_accuracy(rows, run)
        for way, scores in results.get("controls", {"real": results["test"]}).items():
            by_language = (scores["by_language"][language]["f1"] for language in LANGUAGES)
            figures = [scores["overall"]["f1"], *by_language, linked[way]]
            pictures = way if "controls" in results else "not read"
            lines.append(
                f"| {recipe} | {seed} | {pictures} | "
                + " | ".join(f"{100 * figure:.2f}" for figure in figures)
                + " |"
            )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the linked sentences")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument(
        "--recipes", nargs="+", default=["text_only_offline", "2mner_offline"], help="of configs/"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[19])
    parser.add_argument("options", nargs="*", help="more for train.py, behind --")
    arguments = parser.parse_args(argv)

    parts = split(arguments.data)
    out = arguments.out.resolve()
    write_parts(parts, out / "data")
    runs = {
        (recipe, seed): train(recipe, seed, arguments.data, out, arguments.options)
        for recipe in arguments.recipes
        for seed in arguments.seeds
    }
    sizes = ", ".join(f"{len(rows):,} {name}" for name, rows in parts.items())
    sys.stdout.write(
        f"{table(runs, parts['test'])}\n\nSentences: {sizes}. The kind of picture alone names "
        f"the type of {100 * kind_baseline(parts):.1f} % of the test part's linked entities.\n"
    )


if __name__ == "__main__":
    main()
