"""Under which settings does the contrastive loss align sentences with images?

    python benchmarks/alignment.py --data DATA --text backbones/text --vision backbones/vision

The encoders are frozen and run once; only the two projectors are trained, which takes seconds, so
that many settings can be compared. Real pairs: `DATA` is as for `linked_images.py`, sentences with
an image of one of their entities. Trained on sentences of `val`, measured on sentences of the
validation part with as many different images: the cosine of matched and of other pairs; recall of
a sentence's own image among all (at 1 and 5, and at 5 for images that training has not had); and
how often the nearest image is of the same kind (portrait, logo, flag).

NT-Xent whose vectors are all the same is ln(2B - 1), InfoNCE ln(B).
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from linked_images import split
from torch import Tensor, nn

from dataset_mmnerd import markdown
from modeling_2mner import TwoMNERForTokenClassification, TwoMNERProcessor
from modeling_2mner.alignment_2mner import Alignment

BATCH = 32
"""Sentences or images that are encoded at once."""


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
    pairs: Pairs, vector: str, objective: str, temperature: float, size: int, options: Any
) -> tuple[nn.Module, float]:
    """Train two projectors; also the mean loss of the last tenth of the steps."""
    torch.manual_seed(options.seed)
    texts = pairs.sentences[vector]
    alignment = Alignment(texts.shape[1], pairs.images.shape[1], 256, temperature, objective)
    optimizer = torch.optim.AdamW(alignment.parameters(), lr=options.rate, weight_decay=0.01)
    losses = []
    for _ in range(options.steps):
        rows = torch.randperm(len(texts))[:size]
        loss = alignment.sentence_loss(
            alignment.embed_text(texts[rows]),
            alignment.embed_image(pairs.images[rows]),
            torch.ones(size, dtype=torch.bool),
            pairs.ids[rows, None],
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    last = losses[-max(1, len(losses) // 10) :]
    return alignment, sum(last) / len(last)


@torch.no_grad()
def measure(alignment: Any, pairs: Pairs, vector: str, known: Tensor) -> list[str]:
    """The cells of a table: cosines, recalls, and whether the nearest image is of the same kind."""
    texts = alignment.embed_text(pairs.sentences[vector])
    cosines = texts @ alignment.embed_image(pairs.images).T
    own = cosines.diagonal()
    others = cosines[~torch.eye(len(own), dtype=torch.bool)]
    rank = (cosines > own[:, None]).sum(1)
    new = ~torch.isin(pairs.ids, known)
    nearest = [pairs.kinds[place] for place in cosines.argmax(1).tolist()]
    alike = sum(map(str.__eq__, nearest, pairs.kinds)) / len(nearest)
    shares = [(rank < 1).float().mean(), (rank < 5).float().mean(), (rank[new] < 5).float().mean()]
    return [
        f"{own.mean():.2f}",
        f"{others.mean():.2f}",
        *(f"{100 * share:.1f}" for share in shares),
        f"{100 * alike:.0f}",
    ]


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
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    parts, shuffled = split(options.data), random.Random(options.seed)
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
    table = []
    settings = product(("first", "mean"), (("nt_xent", 0.5), ("nt_xent", 0.1), ("info_nce", 0.1)))
    for (vector, (objective, temperature)), size in product(settings, options.batches):
        alignment, loss = train(learned, vector, objective, temperature, size, options)
        same = math.log(2 * size - 1 if objective == "nt_xent" else size)
        cells = [vector, objective, f"{temperature:g}", str(size), f"{same:.2f}", f"{loss:.2f}"]
        table.append((*cells, *measure(alignment, pairs, vector, learned.ids)))
    head = ["sentence vector", "objective", "temperature", "batch", "loss of equal vectors", "loss"]
    head += ["cosine, own", "others", "recall at 1", "at 5", "at 5, new images", "same kind"]
    sys.stdout.write(f"{markdown.table(head, table)}\n")


if __name__ == "__main__":
    main()
