"""Under which settings does the contrastive loss align sentences with images?

    python benchmarks/alignment.py --data DATA --text backbones/text --vision backbones/vision

The encoders are frozen and run once; only the two projectors are trained, which takes seconds, so
that many settings can be compared. Real pairs: `DATA` is as for `linked_images.py`, sentences with
an image of one of their entities. Trained on sentences of `val`, measured on sentences of the
validation part with as many different images: the cosine of matched and of other pairs; recall of
a sentence's own image among all (at 1 and 5, and at 5 for images that training has not had); and
how often the nearest image is of the same kind (portrait, logo, flag).

NT-Xent whose vectors are all the same is ln(2B - 1), InfoNCE ln(B). A second table compares
negatives that may have an equal image with those of other images alone.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from linked_images import split
from runner import mean
from torch import Tensor

from dataset_mmnerd import markdown
from modeling_2mner import TwoMNERForTokenClassification, TwoMNERProcessor
from modeling_2mner.alignment_2mner import Alignment
from training_2mner.study.contrastive import measure_pairs

BATCH = 32
"""Sentences or images that are encoded at once."""

SIZE = 256
"""Of the alignment space."""

VECTORS = ("first", "mean")


@dataclass(frozen=True)
class Setting:
    """Of a training, as in a model's configuration; and sentences of a step."""

    vector: str
    objective: str
    temperature: float
    batch: int


@dataclass(frozen=True)
class Pairs:
    """Encoded sentences and their images.

    Attributes:
        sentences: `[n, H]` by the kind of sentence vector.
        images: `[n, C]`.
        ids: `[n]`, the number of each image.
        kinds: what each image shows.
    """

    sentences: dict[str, Tensor]
    images: Tensor
    ids: Tensor
    kinds: list[str]


@torch.no_grad()
def encode(
    model: Any, processor: TwoMNERProcessor, rows: Sequence[dict[str, Any]], vectors: dict
) -> Pairs:
    """Run the text encoder, and look up the images' vectors."""
    first, mean = [], []
    for start in range(0, len(rows), BATCH):
        batch = processor([row["tokens"] for row in rows[start : start + BATCH]])
        words = batch["word_mask"][..., None]
        encoded = model.text_model(batch["input_ids"], attention_mask=batch["attention_mask"])
        states = encoded.last_hidden_state.flatten(0, 1)
        length = batch["input_ids"].shape[1]
        first.append(states[batch["word_index"][:, 0] // length * length])
        mean.append((states[batch["word_index"]] * words).sum(1) / words.sum(1))
    names = list(vectors)
    return Pairs(
        {"first": torch.cat(first), "mean": torch.cat(mean)},
        torch.stack([vectors[row["image"]] for row in rows]),
        torch.tensor([names.index(row["image"]) + 1 for row in rows]),
        [row["image_kind"] for row in rows],
    )


@torch.no_grad()
def image_vectors(
    model: Any, processor: TwoMNERProcessor, data: Path, names: Sequence[str]
) -> dict[str, Tensor]:
    vectors: dict[str, Tensor] = {}
    for start in range(0, len(names), BATCH):
        own = names[start : start + BATCH]
        batch = processor([["."]] * len(own), images=[data / name for name in own])
        found = model.read_images(batch["pixel_values"])["image_vectors"]
        vectors |= dict(zip(own, found, strict=True))
    return vectors


def train(
    pairs: Pairs, setting: Setting, ids: Tensor, options: argparse.Namespace, seed: int
) -> tuple[Alignment, float]:
    """Train two projectors; also the mean loss of the last tenth of the steps.

    Args:
        pairs: to learn from.
        setting: how.
        ids: `[n]` numbers of the images; those of equal numbers are no negatives.
        options: of the command line.
        seed: of the weights and of the batches.
    """
    torch.manual_seed(seed)
    texts, images = pairs.sentences[setting.vector], pairs.images
    alignment = Alignment(
        texts.shape[1], images.shape[1], SIZE, setting.temperature, setting.objective
    )
    optimizer = torch.optim.AdamW(alignment.parameters(), lr=options.rate, weight_decay=0.01)
    losses = []
    for _ in range(options.steps):
        rows = torch.randperm(len(texts))[: setting.batch]
        loss = alignment.sentence_loss(
            alignment.embed_text(texts[rows]),
            alignment.embed_image(images[rows]),
            torch.ones(len(rows), dtype=torch.bool),
            ids[rows, None],
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    last = losses[-max(1, len(losses) // 10) :]
    return alignment, mean(last)


@torch.no_grad()
def measure(alignment: Alignment, pairs: Pairs, vector: str, known: Tensor) -> list[float]:
    """Cosines of own and of other images; recall in percent at 1, at 5, and at 5 of new images; and
    how often the nearest image is of the same kind."""
    texts = alignment.embed_text(pairs.sentences[vector])
    images = alignment.embed_image(pairs.images)
    found = measure_pairs(texts, images, ["all"] * len(texts))
    new = (~torch.isin(pairs.ids, known)).tolist()
    nearest = (texts @ images.T).argmax(1).tolist()
    return [
        mean(found["matched"]),
        mean(found["mismatched"]),
        100 * mean(found["image_at_1"]),
        100 * mean(found["image_at_5"]),
        100 * mean(compress(found["image_at_5"], new)),
        100 * mean(pairs.kinds[row] == pairs.kinds[at] for row, at in enumerate(nearest)),
    ]


def settings_table(learned: Pairs, pairs: Pairs, options: argparse.Namespace) -> str:
    """A table of all settings, means over the seeds."""
    lines = []
    losses = (("nt_xent", 0.5), ("nt_xent", 0.1), ("info_nce", 0.1))
    for vector, (objective, temperature), batch in product(VECTORS, losses, options.batches):
        setting = Setting(vector, objective, temperature, batch)
        figures = []
        for seed in options.seeds:
            alignment, loss = train(learned, setting, learned.ids, options, seed)
            figures.append([loss, *measure(alignment, pairs, vector, learned.ids)])
        equal = math.log(2 * batch - 1 if objective == "nt_xent" else batch)
        loss, own, others, *shares = np.mean(figures, axis=0)
        cells = [vector, objective.replace("_", "-"), f"{temperature:g}", str(batch)]
        cells += [f"{value:.2f}" for value in (equal, loss, own, others)]
        lines.append([*cells, *(f"{share:.1f}" for share in shares)])
    head = ["sentence vector", "objective", "temperature", "batch", "loss of equal vectors", "loss"]
    head += ["cosine, own", "others", "recall at 1", "at 5", "at 5, new images", "same kind"]
    return markdown.table(head, lines)


def negatives_table(learned: Pairs, pairs: Pairs, options: argparse.Namespace) -> str:
    """What it changes that equal images are no negatives, seed by seed."""
    lines = []
    for batch, seed in product(options.batches, options.seeds):
        setting = Setting("mean", "info_nce", 0.1, batch)
        cells = [str(batch), str(seed)]
        for ids in (torch.arange(1, len(learned.ids) + 1), learned.ids):
            alignment, _ = train(learned, setting, ids, options, seed)
            _, _, first, five, *_ = measure(alignment, pairs, "mean", learned.ids)
            cells += [f"{first:.1f}", f"{five:.1f}"]
        lines.append(cells)
    head = ["batch", "seed", "equal images negatives: recall at 1", "at 5", "masked: at 1", "at 5"]
    return markdown.table(head, lines)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--text", required=True, help="text encoder")
    parser.add_argument("--vision", required=True, help="vision encoder")
    parser.add_argument("--train", type=int, default=2400, help="sentences (2,400)")
    parser.add_argument("--pairs", type=int, default=300, help="to be measured on (300)")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate (1e-3)")
    parser.add_argument("--batches", type=int, nargs="+", default=(8, 16, 64))
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    options = parser.parse_args(argv)
    parts, shuffled = split(options.data), random.Random(0)
    rows = shuffled.sample(parts["train"], min(options.train, len(parts["train"])))
    shuffled.shuffle(parts["validation"])
    held_out = list({row["image"]: row for row in parts["validation"]}.values())[: options.pairs]
    labels = ["O", "B-PER", "I-PER"]
    whole = TwoMNERForTokenClassification.from_text_vision_pretrained(
        options.text, options.vision, labels=labels
    ).eval()
    processor = TwoMNERProcessor.from_text_vision_pretrained(
        options.text, options.vision, labels=labels
    )
    names = sorted({row["image"] for row in (*rows, *held_out)})
    vectors = image_vectors(whole.model, processor, options.data, names)
    learned = encode(whole.model, processor, rows, vectors)
    pairs = encode(whole.model, processor, held_out, vectors)
    new = int((~torch.isin(pairs.ids, learned.ids)).sum())
    sys.stdout.write(
        f"{len(pairs.ids)} held-out pairs, {new} of them with images that training has not had; "
        f"chance: recall at 5 {500 / len(pairs.ids):.1f}\n\n"
    )
    sys.stdout.write(f"{settings_table(learned, pairs, options)}\n\n")
    sys.stdout.write(f"{negatives_table(learned, pairs, options)}\n")


if __name__ == "__main__":
    main()
