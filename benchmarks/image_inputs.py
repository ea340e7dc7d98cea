"""What else may the vision encoder give? Image inputs against each other on frozen features.

    python benchmarks/image_inputs.py --data DATA --out runs/image_inputs --seeds 19 20 21

Data, sentences and parts are those of `real_images.py`. The encoders are frozen and run once; what
they give is kept in `--out`. Only the new parts are trained: collaboration, gate, classifier, CRF.
An input is one or more branches, each with a collaboration module of its own, and a branch reads
one or more of these as its patches:

* patches: of the vision encoder; large patches: of `--vision_large`;
* mean: of all patches of an image, one vector;
* class names: a vector of the text encoder's space, one for an image: the image classifier's
  probabilities times the text encoder's vectors of the names of its classes;
* permuted names: the same, but each class has the name of another one, with each seed another
  order. What class names give beyond it is due to their meaning.

The table: of the image-decided entities of the test part, how many are found with both ends and the
type, with own, no and shuffled images; and the difference that each input makes to the patches
alone, and class names to permuted ones. Intervals: sentences and seeds resampled. The learning rate
of each input is the best one on the validation part, means over the seeds.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from linked_images import between, some
from real_images import decided_by_image, divide, interval_of, read_images, write_sentences
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    get_linear_schedule_with_warmup,
)

from dataset_mmnerd import markdown
from dataset_mmnerd.images import load_image
from dataset_mmnerd.schema import SPLITS
from modeling_2mner import TwoMNERConfig, TwoMNERProcessor
from modeling_2mner.collaboration_2mner import Collaboration, GatedFusion
from modeling_2mner.crf_2mner import UNKNOWN, LinearChainCRF
from modeling_2mner.encoders_2mner import encode_images, load_encoders
from modeling_2mner.labels_2mner import scheme_labels, spans_from_labels
from reporting_2mner.comparison import SEED
from reporting_2mner.statistics import compare, over_seeds, resample
from training_2mner.controls import derangement

INPUTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "words alone": (),
    "patches": (("patches",),),
    "mean": (("mean",),),
    "class names": (("class names",),),
    "permuted names": (("permuted names",),),
    "patches + mean": (("patches", "mean"),),
    "patches, mean in a branch": (("patches",), ("mean",)),
    "patches + class names": (("patches", "class names"),),
    "patches + permuted names": (("patches", "permuted names"),),
    "large patches": (("large patches",),),
}
"""What the branches of an input read; `+` joins patches of one branch."""
BASE = "patches"
LABELS = scheme_labels(("PER", "ORG", "LOC", "MISC"))
CONTROLS = ("own", "no", "shuffled")
BATCH = 16
"""Sentences of a step, and sentences or images that are encoded at once."""

Row = dict[str, Any]
Features = dict[str, Tensor]
"""`[I, P, C]` by the kind of patch: what the encoders say of `I` images."""


# Encoding -----------------------------------------------------------------------------------------


@torch.no_grad()
def read_words(encoder: Any, processor: TwoMNERProcessor, sentences: Sequence[list[str]]) -> Tensor:
    """The text encoder's vectors of all words, one sentence after the other: `[n, H]`."""
    found = []
    for start in range(0, len(sentences), BATCH):
        batch = processor(sentences[start : start + BATCH])
        states = encoder(batch["input_ids"], attention_mask=batch["attention_mask"])
        words = states.last_hidden_state.flatten(0, 1)[batch["word_index"]]
        found.append(words[batch["word_mask"]])
    return torch.cat(found)


@torch.no_grad()
def encode(rows: Sequence[Row], images: Sequence[Path], options: Any) -> Features:
    """Run every encoder: `words` `[n, H]`, `names` `[classes, H]` and, by image, the classifier's
    `probabilities` and the patches of the vision encoders."""
    encoders, _ = load_encoders(options.text, options.vision, options.vision_large)
    classifier = AutoModelForImageClassification.from_pretrained(options.tagger).eval()
    processor = TwoMNERProcessor.from_text_vision_pretrained(
        options.text, options.vision, labels=LABELS
    )
    text = encoders["text"].eval()
    names = [name.split() for _, name in sorted(classifier.config.id2label.items())]
    vectors = read_words(text, processor, names).split([len(name) for name in names])
    features = {
        "words": read_words(text, processor, [row["tokens"] for row in rows]),
        "names": torch.stack([vector.mean(0) for vector in vectors]),
    }
    readers: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
        "probabilities": (options.tagger, lambda pixels: classifier(pixels).logits.softmax(-1)),
        "patches": (options.vision, partial(patches_of, encoders["vision"].eval())),
    }
    if options.vision_large:
        large = partial(patches_of, encoders["global_vision"].eval())
        readers["large patches"] = (options.vision_large, large)
    for kind, (folder, read) in readers.items():
        prepare, found = AutoImageProcessor.from_pretrained(folder), []
        for start in range(0, len(images), BATCH):
            loaded = [load_image(path) for path in images[start : start + BATCH]]
            found.append(read(prepare(loaded, return_tensors="pt")["pixel_values"]))
        features[kind] = torch.cat(found)
    return features


def patches_of(encoder: Any, pixels: Tensor) -> Tensor:
    """`[B, 3, h, w]` -> `[B, P, C]`, in 16 bits to be kept."""
    return encode_images(encoder, pixels)[0].half().contiguous()


def encode_once(rows: Sequence[Row], images: Sequence[str], options: Any) -> Features:
    """`encode`, or what an earlier call with the same sentences, images and encoders kept."""
    folders = [options.text, options.vision, options.vision_large, options.tagger]
    asked = {"of": json.dumps([[row["tokens"] for row in rows], list(images), folders])}
    path = options.out / "features.safetensors"
    kept = None
    if path.exists():
        with safe_open(path, "pt") as file:
            kept = file.metadata()
    if kept != asked:
        options.out.mkdir(parents=True, exist_ok=True)
        save_file(encode(rows, [options.data / name for name in images], options), path, asked)
    return {kind: values.float() for kind, values in load_file(path).items()}


def image_features(features: Features, seed: int) -> Features:
    """What a branch may read, by its name in `INPUTS`. Names are centred, and every name vector is
    scaled by the same number so that class names are as long as patches."""
    names = features["names"] - features["names"].mean(0)
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))
    found = {kind: values for kind, values in features.items() if kind.endswith("patches")}
    found["mean"] = found["patches"].mean(1, keepdim=True)
    length = found["patches"].norm(dim=-1).mean()
    for kind, vectors in (("class names", names), ("permuted names", names[order])):
        vectors = features["probabilities"] @ vectors
        found[kind] = (vectors * length / vectors.norm(dim=-1).mean())[:, None]
    return found


# Training -----------------------------------------------------------------------------------------


class Head(nn.Module):
    """The new parts of a model with one collaboration module a branch; `sizes` are the branches'
    feature sizes."""

    def __init__(self, hidden_size: int, sizes: Sequence[int]):
        super().__init__()
        usual = TwoMNERConfig
        self.collaborations = nn.ModuleList(
            Collaboration(size, hidden_size, usual.collaboration_heads, usual.collaboration_dropout)
            for size in sizes
        )
        self.fusion = GatedFusion(hidden_size, len(sizes))
        self.dropout = nn.Dropout(usual.classifier_dropout)
        self.classifier = nn.Linear(hidden_size, len(LABELS))
        self.crf = LinearChainCRF(LABELS)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=usual.initializer_range)
                nn.init.zeros_(module.bias)

    def forward(self, words: Tensor, branches: Sequence[Tensor], image_mask: Tensor) -> Tensor:
        """`[B, W, H]`, for each branch `[I, P, C]` of the `I` sentences with an image, and `[B]`
        bool -> emissions `[B, W, K]`."""
        if branches and image_mask.any():
            own = words[image_mask]
            read = zip(self.collaborations, branches, strict=True)
            attended = [collaboration(own, patches)[0] for collaboration, patches in read]
            present = image_mask[image_mask]
            words = words.index_put((image_mask,), self.fusion(own, attended, present))
        return self.classifier(self.dropout(words))


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Patches of several kinds as those of one branch: `[I, P, C]` each -> `[I, sum of P, C]`.
    Kinds of another size have channels, and so a projection, of their own."""
    sizes = list(dict.fromkeys(part.shape[-1] for part in parts))
    before = {size: sum(sizes[:place]) for place, size in enumerate(sizes)}
    padded = [
        F.pad(part, (before[size := part.shape[-1]], sum(sizes) - before[size] - size))
        for part in parts
    ]
    return torch.cat(padded, 1)


def batches(
    rows: Sequence[Row], features: Features, branches: Sequence[tuple[str, ...]]
) -> Iterator[tuple[Tensor, list[Tensor], Tensor, Tensor]]:
    """Words `[B, W, H]`, the branches' patches, the image mask `[B]` and the labels `[B, W]`."""
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        image_mask = torch.tensor([row["number"] is not None for row in part])
        images = [row["number"] for row in part if row["number"] is not None]
        words, labels = (
            nn.utils.rnn.pad_sequence([row[key] for row in part], True, fill)
            for key, fill in (("vectors", 0.0), ("labels", UNKNOWN))
        )
        read = [joined([features[kind][images] for kind in kinds]) for kinds in branches]
        yield words, read, image_mask, labels


def train(
    rows: Sequence[Row], features: Features, branches: Any, rate: float, seed: int, passes: int
) -> Head:
    torch.manual_seed(seed)
    sizes = [joined([features[kind][:1] for kind in kinds]).shape[-1] for kinds in branches]
    head = Head(rows[0]["vectors"].shape[-1], sizes).train()
    optimizer = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=0.01)
    steps = passes * -(-len(rows) // BATCH)
    schedule = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    for _ in range(passes):
        order = [rows[place] for place in torch.randperm(len(rows)).tolist()]
        for words, read, image_mask, labels in batches(order, features, branches):
            emissions = head(words, read, image_mask)
            loss = -head.crf(emissions, labels, labels != UNKNOWN).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return head.eval()


@torch.no_grad()
def typed_right(
    head: Head, rows: Sequence[Row], features: Features, branches: Any, control: str = "own"
) -> list[bool]:
    """Whether the entity of each sentence is found with both ends and the type."""
    if control == "no":
        rows = [row | {"number": None} for row in rows]
    if control == "shuffled":
        others: Any = derangement([row["image"] for row in rows], SEED)
        numbers = [rows[other]["number"] for other in others]
        rows = [row | {"number": number} for row, number in zip(rows, numbers, strict=True)]
    found = []
    for words, read, image_mask, labels in batches(rows, features, branches):
        decoded = head.crf.decode(head(words, read, image_mask), labels != UNKNOWN).labels
        for gold, said in zip(labels.tolist(), decoded.tolist(), strict=True):
            wanted, spans = (
                spans_from_labels([LABELS[label] for label in each if label != UNKNOWN])
                for each in (gold, said)
            )
            found.append(set(wanted) <= set(spans))
    return found


# Figures ------------------------------------------------------------------------------------------


def measure(
    branches: Any, parts: dict[str, list[Row]], features: Sequence[Features], options: Any
) -> tuple[float, dict[str, np.ndarray]]:
    """The learning rate that is best on the validation part, and by control `[M, n]` bool: whether
    the entities of the test part are found, with each seed."""
    learned, validation, test = (parts[part] for part in SPLITS)
    heads = {
        rate: [
            (train(learned, read, branches, rate, seed, options.passes), read)
            for seed, read in zip(options.seeds, features, strict=True)
        ]
        for rate in options.rates
    }

    def right(rate: float, rows: Sequence[Row], control: str = "own") -> np.ndarray:
        trained = heads[rate]
        return np.array(
            [typed_right(head, rows, read, branches, control) for head, read in trained]
        )

    best = max(heads, key=lambda rate: right(rate, validation).mean())
    return best, {control: right(best, test, control) for control in CONTROLS}


def difference(first: np.ndarray, second: np.ndarray) -> str:
    """How much more the second of two `[M, n]` finds, in percent, with its interval."""
    right = np.stack([first, second], -1)  # [M, n, 2]
    generator = np.random.default_rng(SEED)
    sums = resample(np.concatenate(right.astype(int), 1), generator)  # [R, M * 2]
    scores = over_seeds(sums.reshape(len(sums), -1, 2) / right.shape[1], generator)
    return between(compare(first.mean(), second.mean(), scores).difference, "{:+.1f}")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of images.tsv")
    parser.add_argument("--out", type=Path, required=True, help="folder of the features")
    parser.add_argument("--text", default="backbones/text", help="text encoder")
    parser.add_argument("--vision", default="backbones/vision", help="vision encoder")
    parser.add_argument("--vision_large", help="another one (optional)")
    parser.add_argument("--tagger", default="backbones/tagger", help="image classifier")
    parser.add_argument("--inputs", nargs="+", choices=list(INPUTS), help="by default all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[19])
    parser.add_argument("--split_seed", type=int, default=19, help="of images, names, sentences")
    parser.add_argument("--size", type=int, default=600, help="sample size of a language")
    parser.add_argument("--test_size", type=int, default=1200, help="of validation and test")
    parser.add_argument("--train", type=int, help="train on so many sentences")
    parser.add_argument("--passes", type=int, default=2, help="over the training part")
    parser.add_argument("--rates", nargs="+", type=float, default=[3e-3, 1e-2], help="to choose of")
    options = parser.parse_args(argv)
    options.inputs = options.inputs or [
        name for name in INPUTS if options.vision_large or not name.startswith("large")
    ]
    if options.vision_large is None and any("large" in name for name in options.inputs):
        parser.error("--inputs: large patches need --vision_large")

    images = divide(read_images(options.data), options.split_seed)
    parts = {
        part: write_sentences(
            part,
            images[part],
            options.size if part == SPLITS[0] else options.test_size,
            options.split_seed,
        )
        for part in SPLITS
    }
    parts |= {part: decided_by_image(parts[part]) for part in SPLITS[1:]}
    if not all(parts.values()):
        parser.error("--test_size: too small, a part has no sentence that the image decides")
    rows = [row for part in SPLITS for row in parts[part]]
    names = sorted({row["image"] for row in rows if row["image"]})
    features = encode_once(rows, names, options)
    vectors = features["words"].split([len(row["tokens"]) for row in rows])
    for row, words in zip(rows, vectors, strict=True):
        row["vectors"] = words
        row["labels"] = torch.tensor([LABELS.index(tag) for tag in row["ner_tags"]])
        row["number"] = names.index(row["image"]) if row["image"] else None
    parts[SPLITS[0]] = some(parts[SPLITS[0]], options.train)
    by_seed = [image_features(features, seed) for seed in options.seeds]

    lines: list[list[str]] = []
    found: dict[str, np.ndarray] = {}
    for name in options.inputs:
        rate, right = measure(INPUTS[name], parts, by_seed, options)
        found[name] = right["own"]
        lines.append(
            [name, f"{rate:g}", *(interval_of(each.astype(int)) for each in right.values())]
        )
    for line, name in zip(lines, found, strict=True):
        for other in (BASE, name.replace("class names", "permuted names")):
            known = other != name and other in found
            line.append(difference(found[other], found[name]) if known else "")
    head = ["input", "rate", *(f"{control} image" for control in CONTROLS)]
    head += [f"against {BASE}", "against permuted names"]
    sizes = ", ".join(
        f"{len(decided_by_image(rows))} of {len(rows):,} {part}" for part, rows in parts.items()
    )
    sys.stdout.write(
        f"{markdown.table(head, lines)}\n\nSentences that the image decides: {sizes}. "
        f"{options.passes} pass(es), {len(options.seeds)} seed(s).\n"
    )


if __name__ == "__main__":
    main()
