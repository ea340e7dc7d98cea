"""Real images decide: portraits, logos and flags of which no training has seen any.

    python benchmarks/real_images.py --data DATA --out runs/real_images --seeds 19 20 21

`DATA` holds `images.tsv` (`image`, `kind`, `key`) and its images. The sentences are those of the
embedded sample's frames. Where the image decides ("I finally saw Valdora!"), the entity has an
invented name, and the image is a portrait (PER), a logo (ORG) or a flag (LOC). Each name has every
type equally often in each part, so that the words alone give a third of the types. There is no
image for MISC: it occurs only where the words decide. Those sentences have a fitting image, another
one or none, as in the sample.

No name and no image of one part occurs in another. Images go to one part together if they have the
same pixels, nearly the same (two flags of three stripes), or the same owner (`google`,
`googlemaps`).

For each recipe and control: how many of the image-decided entities of the test part were found with
both ends and the type. Intervals: sentences and seeds resampled. Options for `train.py` go behind
`--`. A run that is there is not repeated.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from linked_images import majority_accuracy, write_parts
from runner import (
    CONTROLS,
    Setting,
    between,
    check_sentences,
    figures_of,
    flags,
    mean,
    records_of,
    said,
    train_once,
    typed_right,
)

from dataset_mmnerd import markdown
from dataset_mmnerd.images import load_image
from dataset_mmnerd.sample import SAMPLE_LANGUAGES, sample_sentences
from dataset_mmnerd.sample.scenes import SCENES
from dataset_mmnerd.schema import SPLITS
from reporting_2mner.comparison import SEED
from reporting_2mner.statistics import interval, over_seeds, resample

TYPES = {"portrait": "PER", "logo": "ORG", "flag": "LOC", "subflag": "LOC"}
"""The type of the entity that each kind of image shows."""
SHOWN = {scene: label for label, scenes in SCENES.items() for scene in scenes}
SETTINGS = {
    name: Setting(name)
    for name in ("text_only_offline", "2mner_offline", "ita_offline", "2mner_ita_offline")
}
STEPS = {
    "num_train_epochs": "2",
    "per_device_train_batch_size": "4",
    "logging_steps": "50",
    "save_only_model": "true",
}
"""The same for all recipes."""
HELD_OUT = 0.2  # of the images for validation, and as many for the test
SMALL = 32  # pixels: images are compared as squares of this size
ALIKE = 0.95  # correlation of two images from which they count as the same
FAINT = 5.0  # of 255: an image whose channels all vary less shows nothing (white on white)

Images = dict[str, list[str]]
"""The images of a part by the type that they show."""
Row = dict[str, Any]


# Images -------------------------------------------------------------------------------------------


def read_images(data: Path) -> dict[str, list[list[str]]]:
    """The images by type, in groups that show the same; those that show nothing are left out."""
    with (data / "images.tsv").open(encoding="utf-8", newline="") as file:
        listed = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    found = {row["image"]: small(data / row["image"]) for row in listed}
    listed = [row for row in listed if found[row["image"]].std(axis=(0, 1)).max() >= FAINT]
    groups: dict[str, list[list[str]]] = {}
    for label in dict.fromkeys(TYPES.values()):
        rows = [row for row in listed if TYPES[row["kind"]] == label]
        owners = [f"{row['kind']} {row['key'].partition('|')[0]}" for row in rows]
        pixels = np.stack([found[row["image"]].ravel() for row in rows])
        same = np.corrcoef(pixels) >= ALIKE
        same |= np.array([[one.startswith(other) for other in owners] for one in owners])
        groups[label] = [
            [rows[place]["image"] for place in members] for members in connected(same | same.T)
        ]
    return groups


def small(path: Path) -> np.ndarray:
    """An image as `[SMALL, SMALL, 3]` numbers from 0 to 255."""
    return np.asarray(load_image(path).resize((SMALL, SMALL)), dtype=float)


def connected(linked: np.ndarray) -> Iterator[list[int]]:
    """The connected parts of a graph, `[n, n]` bool and symmetric."""
    left = set(range(len(linked)))
    while left:
        part, edge = set(), {min(left)}
        while edge:
            part |= edge
            edge = set(np.flatnonzero(linked[sorted(edge)].any(axis=0)).tolist()) - part
        left -= part
        yield sorted(part)


def divide(groups: dict[str, list[list[str]]], seed: int) -> dict[str, Images]:
    """The images of each part: whole groups, in random order."""
    parts: dict[str, Images] = {part: {} for part in SPLITS}
    for label, of_one in groups.items():
        held_out = HELD_OUT * sum(map(len, of_one))
        for part in SPLITS:
            parts[part][label] = []
        for group in Random(f"{seed} {label}").sample(of_one, len(of_one)):
            open_ = [part for part in SPLITS[1:] if len(parts[part][label]) < held_out]
            parts[open_[0] if open_ else SPLITS[0]][label] += group
    return parts


# Sentences ----------------------------------------------------------------------------------------


def write_sentences(part: str, images: Images, size: int, seed: int) -> list[Row]:
    """The sample's sentences of a part, with real images in place of the drawn ones.

    Args:
        part: its name.
        images: its images.
        size: sentences a language of the sample of which the part is a share.
        seed: of sentences and images.
    """
    random = Random(f"{seed} {part}")
    # Sentences that the image decides, and others, use each image of a type equally often.
    supply = {
        (decided, label): cycle(random.sample(paths, len(paths)))
        for decided in (False, True)
        for label, paths in images.items()
    }
    rows = []
    for row in sample_sentences(part, seed=seed, sentences=size, types=sorted(images)):
        shown = SHOWN.get(row.pop("scene"))
        del row["board"]
        decided = not row["decidable_from_text"]
        row["image"] = next(supply[decided, shown]) if shown in images else None
        rows.append(row)
    return rows


def decided_by_image(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if not row["decidable_from_text"]]


def type_of(row: Row) -> str:
    """The type of a row's only entity."""
    return next(tag[2:] for tag in row["ner_tags"] if tag != "O")


def baselines(parts: dict[str, list[Row]], data: Path) -> dict[str, float]:
    """How often one fact about a sentence names the type, with what training says of that fact."""

    def shape(row: Row) -> int:
        wide, high = load_image(data / row["image"]).size
        return (wide > high) - (wide < high)

    facts = {
        "the kind of image": lambda row: Path(row["image"]).parent.name.removeprefix("sub"),
        "the image's shape (upright, square, wide)": shape,
        "the image's first tag": lambda row: (row["objects"] or [None])[0],
        "whether text was read on the image": lambda row: bool(row["ocr"]),
        "the language": lambda row: row["lang"],
    }
    train, test = (decided_by_image(parts[part]) for part in (SPLITS[0], SPLITS[2]))
    found = {
        name: majority_accuracy(
            *([(fact(row), type_of(row)) for row in rows] for rows in (train, test))
        )
        for name, fact in facts.items()
    }
    return {**found, "the image's tags, by naive Bayes": tags_accuracy(train, test)}


def tags_accuracy(train: Sequence[Row], test: Sequence[Row]) -> float:
    """How often the tags of an image name the type: naive Bayes over the tags that it has."""
    rows: Counter[str] = Counter(map(type_of, train))
    counts = Counter((type_of(row), tag) for row in train for tag in row["objects"] or ())

    def likely(row: Row) -> str:
        def score(label: str) -> float:
            tags = row["objects"] or ()
            return sum(math.log((counts[label, tag] + 1) / (rows[label] + 2)) for tag in tags)

        return max(rows, key=score)

    return mean(likely(row) == type_of(row) for row in test)


# Figures ------------------------------------------------------------------------------------------


def interval_of(right: np.ndarray) -> str:
    """The mean of `[M, n]`, seeds and sentences, and its interval, both resampled, in percent."""
    generator = np.random.default_rng(SEED)
    scores = resample(right.T, generator) / right.shape[1]  # [R, M]
    found = interval(right.mean(), over_seeds(scores[..., None], generator)[:, 0])
    return between(found)


def table(runs: dict[str, list[Path]], rows: Sequence[Row]) -> str:
    """Two Markdown tables: image-decided entities by control, and with their own images by type
    and language."""
    decided = decided_by_image(rows)
    groups = {
        label: [row for row in decided if label in (type_of(row), row["lang"])]
        for label in (*dict.fromkeys(TYPES.values()), *SAMPLE_LANGUAGES)
    }
    controls, parts = [], []
    for recipe, seeds in runs.items():

        def right(rows: Sequence[Row], control: str = "real", seeds: list[Path] = seeds) -> Any:
            ids = {row["id"] for row in rows}
            return np.array([typed_right(run, ids, control) for run in seeds], dtype=int)

        f1 = mean(figures_of(run)["test"]["overall"]["f1"] for run in seeds)
        cells = [interval_of(right(decided, control)) for control in CONTROLS]
        controls.append([recipe, f"{100 * f1:.1f}", *cells])
        shares = (right(group).mean() for group in groups.values())
        parts.append([recipe, *(f"{100 * share:.1f}" for share in shares)])
    head = ["recipe", "F1", "own image", "no image", "another's", "blank"]
    return "\n\n".join(
        (
            markdown.table(head, controls),
            markdown.table(["own image", *groups], parts),
        )
    )


def mistakes(runs: dict[str, list[Path]], rows: Sequence[Row], most: int = 12) -> str:
    """A Markdown table: the images that were most often read wrong, and as what."""
    decided = {row["id"]: row for row in decided_by_image(rows)}
    wrong: Counter[tuple[str, str, str]] = Counter()
    for recipe, seeds in runs.items():
        for record in (record for run in seeds for record in records_of(run)):
            row = decided.get(record["id"])
            labels = sorted({label for _, _, label in said(record, "real")})
            if row is not None and labels != [type_of(row)]:
                wrong[recipe, row["image"], ", ".join(labels) or "nothing"] += 1
    lines = [[*key, count] for key, count in wrong.most_common(most)]
    return markdown.table(["recipe", "image", "read as", "times"], lines)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of images.tsv")
    parser.add_argument("--out", type=Path, required=True, help="folder for data and runs")
    parser.add_argument("--recipes", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[19])
    parser.add_argument("--split_seed", type=int, default=19, help="of images, names, sentences")
    parser.add_argument("--size", type=int, default=600, help="sample size of a language")
    parser.add_argument("--test_size", type=int, default=1200, help="the same, for the test part")
    parser.add_argument("--tagger", default="backbones/tagger", help="image classifier")
    parser.add_argument("options", nargs="*", help="more for train.py, behind --")
    arguments = parser.parse_args(argv)

    data, out = arguments.data.resolve(), arguments.out.resolve()
    images = divide(read_images(data), arguments.split_seed)
    parts = {
        part: write_sentences(
            part,
            images[part],
            arguments.test_size if part == "test" else arguments.size,
            arguments.split_seed,
        )
        for part in SPLITS
    }
    write_parts(parts, data, arguments.tagger, out / "data")
    for part, rows in parts.items():  # with their visual context
        lines = (out / "data" / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()
        parts[part] = [row | json.loads(line) for row, line in zip(rows, lines, strict=True)]
    options = [f"--{part}_files={out / 'data' / part}.jsonl" for part in SPLITS]
    options += ["--image_dir", str(data), "--vision_cache_dir", str(out / "vision_features")]
    options += flags(STEPS)
    runs = {
        recipe: [
            train_once(
                SETTINGS[recipe],
                out / f"{recipe}-{seed}",
                [*options, "--seed", str(seed), *arguments.options],
            )
            for seed in arguments.seeds
        ]
        for recipe in arguments.recipes
    }
    for run in (run for seeds in runs.values() for run in seeds):
        check_sentences(run, parts)
    sizes = markdown.table(
        ["part", "sentences", "image decides", *(f"images: {label}" for label in images["test"])],
        [
            [part, len(rows), len(decided_by_image(rows)), *map(len, images[part].values())]
            for part, rows in parts.items()
        ],
    )
    facts = markdown.table(
        ["with nothing but", "typed right"],
        [[name, f"{100 * share:.1f}"] for name, share in baselines(parts, data).items()],
    )
    tables = (sizes, facts, table(runs, parts["test"]), mistakes(runs, parts["test"]))
    sys.stdout.write("\n\n".join(tables) + "\n")


if __name__ == "__main__":
    main()
