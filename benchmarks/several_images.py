"""One of three images decides: what a model finds with all three, with the first, with controls.

    python benchmarks/several_images.py --out runs/several_images --seeds 19 20

The data is the embedded sample with three images a sentence, of which two show no entity; the place
of the third is random (`load_sample(several_images=True)`). The recipe `demo` is trained on it with
all three images, with the first alone, and with the deciding one alone, which is a bound for the
other two. The table has the F1 of the entities that only an image can type, means over the seeds:
with the images of the training, under the controls, and for the model of three images also with the
first alone. At the end stands the share of the words' attention that goes to the deciding image;
33 % would be chance. A run that is there is not repeated.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from runner import CONTROLS, Setting, mean, records_of, said, train_once

from dataset_mmnerd import markdown
from dataset_mmnerd.image_lists import undecoded
from dataset_mmnerd.sample import load_sample
from modeling_2mner import MultimodalNERPipeline
from training_2mner.arguments import DataArguments
from training_2mner.data import gold_spans, load_data
from training_2mner.evaluation import predict
from training_2mner.metrics import count_matches
from training_2mner.study.trained import Trained

KEPT: dict[str, Callable[[list[Any], int], list[Any]]] = {
    "all three": lambda images, place: images,
    "the first": lambda images, place: images[:1],
    "the deciding one": lambda images, place: images[place : place + 1],
}
"""The images of a sentence that are kept, of all three and the number of the deciding one."""


def folder_of(data: Path, kept: str) -> Path:
    """The data set with some of the images."""
    return data / kept.replace(" ", "_")


def write_data(data: Path, sentences: int) -> None:
    """Write the data sets as Parquet, unless they are there."""
    if data.exists():
        return
    for split, rows in load_sample(sentences=sentences, several_images=True).items():
        rows = undecoded(rows)
        for kept, choose in KEPT.items():
            folder_of(data, kept).mkdir(parents=True, exist_ok=True)
            images = [
                row["image"] and choose(row["image"], row["object_image"])
                for row in rows.select_columns(["image", "object_image"])
            ]
            feature = rows.features["image"]
            chosen = rows.remove_columns("image").add_column("image", images, feature=feature)
            chosen.to_parquet(folder_of(data, kept) / f"{split}.parquet")


def test_rows(data: Path, kept: str) -> Dataset:
    """The test sentences with some of their images, undecoded."""
    return load_data(DataArguments(dataset_name=str(folder_of(data, kept))))["test"]


def decided_f1(rows: Dataset, predicted: Sequence[Sequence[tuple[int, int, str]]]) -> float:
    """F1 of the sentences whose entity only an image can type."""
    found = zip(gold_spans(rows), predicted, rows["decidable_from_text"], strict=True)
    matches = [count_matches(gold, spans) for gold, spans, decidable in found if not decidable]
    return sum(matches, count_matches((), ())).f1


def attention_shares(run: Path, rows: Dataset) -> Iterator[float]:
    """For each entity that only an image can type, the share of the deciding image in the attention
    of its words.
    """
    trained = Trained(run)
    ner = MultimodalNERPipeline(model=trained.model, processor=trained.processor)
    chosen = [row for row, own in enumerate(rows["decidable_from_text"]) if not own]
    asked = (
        {
            "words": rows[row]["tokens"],
            "image": rows[row]["image"],
            "spans": [span[:2] for span in spans],
        }
        for row, spans in zip(chosen, gold_spans(rows.select(chosen)), strict=True)
    )
    for row, entities in zip(chosen, ner(asked, explain=True), strict=True):
        for entity in entities:
            yield entity["images"][rows[row]["object_image"]]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--seeds", nargs="+", type=int, default=[19])
    parser.add_argument("--sentences", type=int, default=600, help="of each language, all splits")
    parser.add_argument("options", nargs="*", help="more for train.py, behind --")
    arguments = parser.parse_args(argv)

    out = arguments.out.resolve()
    data = out / f"data-{arguments.sentences}"
    write_data(data, arguments.sentences)
    rows = {kept: test_rows(data, kept) for kept in KEPT}
    count = sum(not own for own in rows["all three"]["decidable_from_text"])
    if not count:
        parser.error("--sentences: too few, no test sentence is one whose image decides")
    lines = []
    for kept in KEPT:
        options = ["--dataset_name", str(folder_of(data, kept))]
        options += ["--vision_cache_dir", str(out / "vision_features"), *arguments.options]
        name = kept.replace(" ", "_")
        runs = [
            train_once(Setting("demo"), out / f"{name}-{seed}", [*options, "--seed", str(seed)])
            for seed in arguments.seeds
        ]
        for control in CONTROLS:
            scores = [
                decided_f1(rows[kept], [said(record, control) for record in records_of(run)])
                for run in runs
            ]
            shown = kept if control == "real" else f"{kept}, {control}"
            lines.append([kept, shown, f"{100 * mean(scores):.1f}"])
        if kept == "all three":
            scores = []
            for run in runs:
                found = predict(Trained(run).trainer, rows["the first"])["image_text"].spans
                scores.append(decided_f1(rows["the first"], found))
            lines.append([kept, "the first", f"{100 * mean(scores):.1f}"])
            share = mean(mean(attention_shares(run, rows[kept])) for run in runs)
    sys.stdout.write(
        f"{markdown.table(['trained with', 'tested with', 'F1'], lines)}\n\n{count} test sentences "
        f"whose entity only an image can type. Means over {len(arguments.seeds)} seed(s). The "
        f"deciding image has {100 * share:.1f} % of the attention of its entity's words.\n"
    )


if __name__ == "__main__":
    main()
