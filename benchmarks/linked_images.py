"""Do images help? Recipes against each other on the same real sentences, steps and seeds.

    python benchmarks/linked_images.py --data DATA --out runs/linked_images \\
        --seeds 19 20 --train 4000 --test 2000

`DATA` holds `{language}_{val,test}.jsonl` (`id`, `tokens`, `ner_tags`, `image`, `image_kind`,
`linked_mention`, `sent_index`) and the images: Wikipedia sentences, each linked to a flag, logo
or portrait of *one of its gold entities*. The kind of image therefore gives that entity's type
away. So the table holds, beside the scores with real, no, shuffled and blank images, what knowing
the kind of image alone is worth, and the share of linked entities that each model finds and
types.

Both views and all controls of each recipe stand in one table, means over the seeds; then whether
the images help, by the rule of the reports; and how much better or worse both views of each are
than the text-only recipe trained as long. Intervals: sentences and seeds resampled.

Train: `val`. Validation: even `sent_index` of `test`. Test: odd. `--train` and `--test` take evenly
spread parts, the same for all recipes. Visual context and vision features are read once. A run that
is there is not repeated.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from runner import (
    CONTROLS,
    Setting,
    between,
    check_sentences,
    figures_of,
    mean,
    records_of,
    said,
    train_once,
)

from dataset_mmnerd import markdown
from dataset_mmnerd.context_store import visual_context
from dataset_mmnerd.extractors import Extractor, ObjectTagger, TesseractReader
from dataset_mmnerd.files import write_lines
from reporting_2mner.comparison import SEED, Score, bootstrap_seeds
from reporting_2mner.image_gain import image_gain
from reporting_2mner.runs import spans_of
from reporting_2mner.statistics import sentence_counts

LANGUAGES = ("en", "fr", "de", "es")
SETTINGS = {
    "text_only_offline": Setting("text_only_offline"),
    "2mner_offline": Setting("2mner_offline"),
    "2mner_offline, no alignment": Setting("2mner_offline", {"alignment_level": "none"}),
    "2mner_offline, both views": Setting("2mner_offline", {"cross_view_weight": 0.1}),
    "ita_offline": Setting("ita_offline"),
    "2mner_ita_offline": Setting("2mner_ita_offline"),
}
YARDSTICK = "text_only_offline"
VIEWS = {"real": "real", "none": "none (text view)"}
COLUMNS = ("id", "tokens", "ner_tags", "image", "lang")


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


def some(rows: list[dict[str, Any]], count: int | None) -> list[dict[str, Any]]:
    """So many rows, evenly spread over the languages and the file; all of them if None."""
    if count is None or count >= len(rows):
        return rows
    return [rows[place * len(rows) // count] for place in range(count)]


def write_parts(
    parts: dict[str, list[dict[str, Any]]], data: Path, tagger: str, folder: Path
) -> None:
    """Write the parts with their visual context, unless the same sentences are there already.

    Args:
        parts: rows by the part's name; `image` is a path in `data`, or None.
        data: the folder of the images.
        tagger: image classifier, a folder.
        folder: where the parts are written, as `{part}.jsonl`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    extractors: list[Extractor] = [ObjectTagger(tagger), TesseractReader()]
    for name, whole in parts.items():
        path = folder / f"{name}.jsonl"
        rows = [{key: row[key] for key in COLUMNS} for row in whole]
        if path.exists():
            with path.open(encoding="utf-8") as lines:
                there = [json.loads(line) for line in lines]
            if [{key: row[key] for key in COLUMNS} for row in there] == rows:
                continue
        context = visual_context(
            [row["image"] and data / row["image"] for row in rows],
            [row["lang"] for row in rows],
            extractors,
        )
        write_lines(
            path,
            (
                row | {column: values[index] for column, values in context.items()}
                for index, row in enumerate(rows)
            ),
        )


def linked_accuracy(rows: Iterable[dict[str, Any]], run: Path, control: str) -> float:
    """Share of linked entities that the run found with both ends and the type."""
    linked = {row["id"]: row["linked_mention"] for row in rows}
    return mean(
        tuple(linked[record["id"]][key] for key in ("start", "end", "type"))
        in said(record, control)
        for record in records_of(run)
    )


def majority_accuracy(
    train: Iterable[tuple[Hashable, str]], test: Iterable[tuple[Hashable, str]]
) -> float:
    """How often a fact names an entity's type: the commonest type with this fact in training.

    Args:
        train: facts, such as the kind of image, with the types of the entities.
        test: the same. A fact that training does not have names no type.
    """
    types: dict[Hashable, Counter[str]] = defaultdict(Counter)
    for fact, label in train:
        types[fact][label] += 1
    usual = {fact: counts.most_common(1)[0][0] for fact, counts in types.items()}
    return mean(usual.get(fact) == label for fact, label in test)


def kind_baseline(parts: dict[str, list[dict[str, Any]]]) -> float:
    """How often the kind of image alone (flag, logo, portrait) names the linked entity's type."""
    return majority_accuracy(
        *(
            [(row["image_kind"], row["linked_mention"]["type"]) for row in parts[part]]
            for part in ("train", "test")
        )
    )


def table(runs: dict[str, list[Path]], rows: Sequence[dict[str, Any]]) -> str:
    """Three Markdown tables: test F1 by control and language, and the linked entities found; what
    the images of each recipe are worth; and how both views compare with the yardstick."""
    lines, gains, compared = [], [], []
    records = {recipe: [records_of(run) for run in seeds] for recipe, seeds in runs.items()}
    for recipe, seeds in runs.items():
        figures = [figures_of(run) for run in seeds]
        ways = CONTROLS if "controls" in figures[0] else ("real",)
        for way in ways:
            total = over_both((records[recipe], way))
            scores = [each["controls"][way] if len(ways) > 1 else each["test"] for each in figures]
            cells = [
                *(mean(score["by_language"][lang]["f1"] for score in scores) for lang in LANGUAGES),
                mean(linked_accuracy(rows, run, way) for run in seeds),
            ]
            images = VIEWS.get(way, way) if len(ways) > 1 else "not read"
            f1 = between(total.interval())
            lines.append([recipe, images, f1, *(f"{100 * cell:.1f}" for cell in cells)])
            if YARDSTICK in runs and recipe != YARDSTICK and way in VIEWS:
                change = over_both((records[YARDSTICK], "real"), (records[recipe], way))
                difference = change.comparison(0, 1)
                shown = between(difference.difference, "{:+.1f}")
                compared.append([recipe, images, shown, f"{difference.p:.3f}"])
        gain = image_gain(*records[recipe])
        if gain is not None:
            worth = between(gain.comparison.difference, "{:+.1f}")
            gains.append([recipe, gain.best, worth, f"{gain.comparison.p:.3f}", gain.verdict])
    head = ["recipe", "images", "F1", *LANGUAGES, "linked entities found"]
    text = markdown.table(head, lines)
    if gains:
        head = ["recipe", "best control", "own images against it", "p", "do the images help?"]
        text += f"\n\n{markdown.table(head, gains)}"
    if compared:
        head = ["recipe", "images", f"F1 against {YARDSTICK}", "p"]
        text += f"\n\n{markdown.table(head, compared)}"
    return text


def over_both(*systems: tuple[list[list[dict[str, Any]]], str]) -> Score:
    """The mean F1 over seeds of some systems, sentences and seeds resampled; each is given by its
    records, seed by seed, and the control that is looked at."""
    counts = [
        [
            sentence_counts(
                [spans_of(record, "gold") for record in records[seed]],
                [said(record, way) for record in records[seed]],
            )
            for records, way in systems
        ]
        for seed in range(len(systems[0][0]))
    ]
    return bootstrap_seeds(np.array(counts), np.random.default_rng(SEED))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the linked sentences")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--recipes", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[19])
    parser.add_argument("--train", type=int, help="train on so many sentences")
    parser.add_argument("--test", type=int, help="test on so many sentences")
    parser.add_argument("--tagger", default="backbones/tagger", help="image classifier")
    parser.add_argument("options", nargs="*", help="more for train.py, behind --")
    arguments = parser.parse_args(argv)

    parts = split(arguments.data)
    quarter = arguments.test and arguments.test // 4
    counts = {"train": arguments.train, "validation": quarter, "test": arguments.test}
    parts = {name: some(rows, counts[name]) for name, rows in parts.items()}
    out = arguments.out.resolve()
    write_parts(parts, arguments.data.resolve(), arguments.tagger, out / "data")
    options = [f"--{part}_files={out / 'data' / part}.jsonl" for part in parts]
    options += ["--image_dir", str(arguments.data.resolve())]
    options += ["--vision_cache_dir", str(out / "vision_features"), *arguments.options]
    runs = {
        recipe: [
            train_once(SETTINGS[recipe], out / f"{recipe}-{seed}", [*options, "--seed", str(seed)])
            for seed in arguments.seeds
        ]
        for recipe in arguments.recipes
    }
    for run in (run for seeds in runs.values() for run in seeds):
        check_sentences(run, parts)
    sizes = ", ".join(f"{len(rows):,} {name}" for name, rows in parts.items())
    sys.stdout.write(
        f"{table(runs, parts['test'])}\n\nSentences: {sizes}. Means over {len(arguments.seeds)} "
        "seed(s). The kind of image alone names the type of "
        f"{100 * kind_baseline(parts):.1f} % of the test part's linked entities.\n"
    )


if __name__ == "__main__":
    main()
