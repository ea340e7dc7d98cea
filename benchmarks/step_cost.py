"""What does a training step cost? Steps of two settings in turn, and the ratio of their medians.

    python benchmarks/step_cost.py --steps 12

One function a row: it gives the row's name and two ways to make a step, which see the same batches
one after the other, so that whatever else runs on the machine slows both.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from time import perf_counter

import torch
from runs import markdown

from dataset_mmnerd.sample import load_sample
from modeling_2mner import TwoMNERForTokenClassification, TwoMNERProcessor
from training_2mner.collator import WordCollator

TOWERS = ("backbones/text", "backbones/vision")
BATCH = 16
BUDGET = 64

Step = Callable[[dict[str, torch.Tensor]], None]


def batches(processor: TwoMNERProcessor) -> Iterator[dict[str, torch.Tensor]]:
    """Batches of the sample, over and over; every picture comes with some visual context."""
    rows = load_sample()["train"]
    collate = WordCollator(processor, rows.features["ner_tags"].feature.names)
    while True:
        for start in range(0, len(rows) - BATCH + 1, BATCH):
            chosen = [rows[index] for index in range(start, start + BATCH)]
            for row in chosen:
                row["objects"] = row["image"] and ["stage", "guitar", "microphone"]
            yield collate(chosen)


def step_of(model: TwoMNERForTokenClassification) -> Step:
    """A whole training step: forward, backward, update."""
    model.train()
    model.model.text_model.embeddings.requires_grad_(False)
    model.model.vision_model.requires_grad_(False)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5)

    def step(batch: dict[str, torch.Tensor]) -> None:
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def both_views() -> tuple[str, Step, Step]:
    """A step that reads both views against one that reads the picture view, all else equal."""
    models = [
        TwoMNERForTokenClassification.from_towers(*TOWERS, cross_view_weight=weight)
        for weight in (0.5, 0.0)
    ]
    return "both views against one", step_of(models[0]), step_of(models[1])


ROWS = (both_views,)


def seconds(step: Step, batch: dict[str, torch.Tensor]) -> float:
    started = perf_counter()
    step(batch)
    return perf_counter() - started


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=20, help="measured steps of each setting")
    steps = parser.parse_args(argv).steps
    processor = TwoMNERProcessor.from_towers(*TOWERS, context_budget=BUDGET)
    lines = []
    for row in ROWS:
        name, *ways = row()
        times: list[list[float]] = [[], []]
        for number, batch in zip(range(-2, steps), batches(processor), strict=False):
            for way, found in zip(ways, times, strict=True):
                taken = seconds(way, batch)
                if number >= 0:  # the first two warm up
                    found.append(taken)
        first, second = map(median, times)
        lines.append([name, f"{first:.3f} s", f"{second:.3f} s", f"{first / second:.2f}"])
    table = markdown(["training step", "with", "without", "ratio of medians"], lines)
    sys.stdout.write(f"{table}\n")


if __name__ == "__main__":
    main()
