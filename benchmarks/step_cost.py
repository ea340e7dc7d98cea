"""What a training step costs, as ratios within one run.

    python benchmarks/step_cost.py                        # the encoders of backbones/
    python benchmarks/step_cost.py --steps 5 --only cache parts
    python benchmarks/step_cost.py --device cuda          # XLM-R-base and CLIP ViT-B/32, random

Claims, each on the same sentences, threads and precision:

* `cache`: with cached vision features a 2M-NER step takes at most 1.15 times the text-only step of
  the same encoder; without the cache the table says what it costs.
* `parts`: alignment, collaboration and CRF add at most 10 % to the encoders' forward and backward
  pass, at 32 sentences of 32 words, no encoder frozen.
* `plain`: a text-only step is at least as fast as one of the plain `Trainer` with
  `AutoModelForTokenClassification`; and what frozen embeddings, length grouping and bf16 each give.
* `views`: what a step costs that reads both views of a sentence with images and visual context.
* `memory`: peak of a step against batch size and length, a process each.

The rows of a comparison take turns, step by step, so that other programs on the machine slow all of
them alike; a figure is the ratio of medians.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from pathlib import Path
from statistics import median

import torch
from accelerate.utils import send_to_device
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForTokenClassification,
    AutoTokenizer,
    CLIPVisionConfig,
    DataCollatorForTokenClassification,
    XLMRobertaConfig,
)

from dataset_mmnerd.sample import load_sample
from dataset_mmnerd.schema import bio_labels
from modeling_2mner import (
    TwoMNERConfig,
    TwoMNERForTokenClassification,
    TwoMNERProcessor,
)
from training_2mner.batching import LengthGroupedSampler, WordCollator
from training_2mner.trainer import freeze_parameters
from training_2mner.vision_cache import read_images_once

ROOT = Path(__file__).parents[1]
TEXT, VISION = str(ROOT / "backbones" / "text"), str(ROOT / "backbones" / "vision")
LABELS = bio_labels()
COMPARISONS = ("cache", "parts", "plain", "views", "memory")
MATRIX = 8192

Step = Callable[[], object]


# Timing -------------------------------------------------------------------------------------------


def compare(ways: dict[str, Step], steps: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each way; they take turns, in an order that changes."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    order = list(ways)
    for number in range(steps + 2):
        random.Random(number).shuffle(order)
        for name in order:
            if device.type == "cuda":
                torch.cuda.synchronize()
            started = time.perf_counter()
            ways[name]()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if number >= 2:  # the first ones warm up
                seconds[name].append(time.perf_counter() - started)
    return {name: median(times) for name, times in seconds.items()}


def training_step(
    model: nn.Module, batches: Iterator[dict[str, Tensor]], bf16: bool, device: torch.device
) -> Step:
    """One step as `Trainer` makes it: collate, forward, backward, clip, update."""
    model.to(device).train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=True)

    def step() -> None:
        batch = send_to_device(next(batches), device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = model(**batch).loss
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def endless(collate: Callable, rows, order: Sequence[int], size: int) -> Iterator[dict]:
    """Batches of rows in a given order, over and over."""
    while True:
        for first in range(0, len(order) - size + 1, size):
            yield dict(collate([rows[index] for index in order[first : first + size]]))


def table(title: str, seconds: dict[str, float], base: str) -> None:
    sys.stdout.write(f"\n{title}\n\n| | ms a step | ratio |\n| --- | --- | --- |\n")
    for name, value in seconds.items():
        ratio = value / seconds[base]
        sys.stdout.write(f"| {name} | {value * 1000:.1f} | {ratio:.2f} |\n")
    sys.stdout.flush()


# What is compared ---------------------------------------------------------------------------------


def tagger(
    images: bool, frozen: Sequence[str], **config
) -> tuple[TwoMNERForTokenClassification, TwoMNERProcessor]:
    vision = VISION if images else None
    model = TwoMNERForTokenClassification.from_text_vision_pretrained(
        TEXT, vision, labels=LABELS, **config
    )
    freeze_parameters(model, frozen)
    return model, TwoMNERProcessor.from_text_vision_pretrained(TEXT, vision, labels=LABELS)


def compare_cache(options: argparse.Namespace) -> None:
    rows = load_sample()["train"]
    rows = rows.select(range(min(len(rows), 16 * options.batch_size)))
    names = rows.features["ner_tags"].feature.names
    order = list(LengthGroupedSampler([len(row) for row in rows["tokens"]], options.batch_size, 1))
    ways = {}
    for name, images in (("text only", False), ("2M-NER, cached", True), ("2M-NER", True)):
        frozen = ["text_model.embeddings", *(["vision_model"] if images else [])]
        model, processor = tagger(images, frozen)
        collate = WordCollator(processor, names)
        if name == "2M-NER, cached":
            folder = ROOT / "runs" / "step_cost_features"
            collate.features = read_images_once(
                model.model, processor, [rows["image"]], folder, batch_size=32
            )
        batches = endless(collate, rows, order, options.batch_size)
        ways[name] = training_step(model, batches, options.bf16, options.device)
    seconds = compare(ways, options.steps, options.device)
    table(f"Frozen encoders, batches of {options.batch_size}", seconds, "text only")


def made_up(
    model: TwoMNERForTokenClassification, sentences: int, words: int, device: torch.device
) -> dict:
    """A batch of a given size: every word one sub-word, every sentence an image."""
    generator = torch.Generator().manual_seed(1)
    config = model.config
    ids = torch.randint(10, 1000, (sentences, words + 2), generator=generator)
    index = torch.arange(sentences)[:, None] * (words + 2) + torch.arange(1, words + 1)
    entity, outside = LABELS.index("B-PER"), LABELS.index("O")
    labels = torch.where(torch.arange(words) % 8 == 3, entity, outside)
    batch = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "word_index": index,
        "word_mask": torch.ones(sentences, words, dtype=torch.bool),
        "labels": labels.expand(sentences, -1),
    }
    if config.vision_config is not None:
        size = getattr(config.vision_config, "image_size", 224)
        batch["pixel_values"] = torch.randn(sentences, 3, size, size, generator=generator)
        batch["image_mask"] = torch.ones(sentences, dtype=torch.bool)
    return send_to_device(batch, device)


def whole_and_encoders(
    model: TwoMNERForTokenClassification, batch: dict, bf16: bool
) -> dict[str, Step]:
    """Forward and backward of the model, and of its encoders alone."""
    device = batch["input_ids"].device
    model.to(device).train()

    def whole() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = model(**batch).loss
        loss.backward()
        model.zero_grad()

    def encoders() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            text = model.model.text_model(batch["input_ids"], batch["attention_mask"])
            loss = text.last_hidden_state.float().mean()
            seen = model.model.read_images(batch["pixel_values"])
            loss = loss + sum(states.float().mean() for states in seen.values())
        loss.backward()
        model.zero_grad()

    return {"encoders": encoders, "whole model": whole}


def compare_parts(options: argparse.Namespace) -> None:
    model, _ = tagger(True, [])
    batch = made_up(model, options.sentences, options.words, options.device)
    seconds = compare(whole_and_encoders(model, batch, options.bf16), options.steps, options.device)
    title = f"Forward and backward, {options.sentences} sentences of {options.words} words"
    table(title, seconds, "encoders")


def compare_plain(options: argparse.Namespace) -> None:
    rows = load_sample()["train"]
    names = rows.features["ner_tags"].feature.names
    lengths = [len(tokens) for tokens in rows["tokens"]]
    grouped = list(LengthGroupedSampler(lengths, options.batch_size, 1))
    mixed = torch.randperm(len(rows), generator=torch.Generator().manual_seed(1)).tolist()
    tokenizer = AutoTokenizer.from_pretrained(TEXT)
    pad = DataCollatorForTokenClassification(tokenizer)

    def plain_rows(batch: list[dict]) -> dict:
        encoded = tokenizer([row["tokens"] for row in batch], is_split_into_words=True)
        features = []
        for number, row in enumerate(batch):
            before, labels = None, []
            for word in encoded.word_ids(number):
                new = word is not None and word != before
                labels.append(row["ner_tags"][word] if new else -100)
                before = word
            ids = encoded["input_ids"][number]
            features.append({"input_ids": ids, "labels": labels})
        return pad(features)

    def plain(frozen: bool, order: list[int], bf16: bool) -> Step:
        config = AutoConfig.from_pretrained(TEXT, num_labels=len(names))
        model = AutoModelForTokenClassification.from_pretrained(TEXT, config=config)
        if frozen:
            freeze_parameters(model, [r"roberta\.embeddings"])
        batches = endless(plain_rows, rows, order, options.batch_size)
        return training_step(model, batches, bf16, options.device)

    def ours(frozen: bool, order: list[int], bf16: bool) -> Step:
        model, processor = tagger(False, ["text_model.embeddings"] if frozen else [])
        batches = endless(WordCollator(processor, names), rows, order, options.batch_size)
        return training_step(model, batches, bf16, options.device)

    ways = {
        "plain Trainer": plain(False, mixed, False),
        "text only": ours(False, mixed, False),
        "plain, frozen embeddings": plain(True, mixed, False),
        "text only, frozen embeddings": ours(True, mixed, False),
        "text only, frozen, grouped": ours(True, grouped, False),
    }
    if options.bf16:
        ways |= {
            "plain Trainer, bf16": plain(False, mixed, True),
            "text only, frozen, grouped, bf16": ours(True, grouped, True),
            "plain, frozen, grouped, bf16": plain(True, grouped, True),
        }
    seconds = compare(ways, options.steps, options.device)
    table(f"Against the plain Trainer, batches of {options.batch_size}", seconds, "plain Trainer")


def compare_views(options: argparse.Namespace) -> None:
    """Of sentences that all have an image: of another one the second view is not read."""
    rows = load_sample()["train"]
    rows = rows.filter(lambda image_id: image_id is not None, input_columns="image_id")
    names = rows.features["ner_tags"].feature.names
    context = {"objects": ["stage", "guitar", "microphone", "front curtain", "comic book"]}
    for kind, images in (("ITA", False), ("2M-NER and ITA", True)):
        processor = TwoMNERProcessor.from_text_vision_pretrained(
            TEXT, VISION if images else None, labels=LABELS, context_budget=64
        )
        collate = WordCollator(processor, names)
        frozen = ["text_model.embeddings", *(["vision_model"] if images else [])]
        ways = {}
        for name, weight in (("one view", 0.0), ("both views", 0.5)):
            model, _ = tagger(images, frozen, cross_view_weight=weight)
            batches = endless(
                lambda batch, collate=collate: collate([{**row, **context} for row in batch]),
                rows,
                range(len(rows)),
                options.batch_size,
            )
            ways[name] = training_step(model, batches, options.bf16, options.device)
        seconds = compare(ways, options.steps, options.device)
        table(f"{kind}, batches of {options.batch_size}", seconds, "one view")


def compare_memory(options: argparse.Namespace) -> None:
    lengths, sizes = (16, 32, 64, 128), (1, 8, 16, 32)
    sys.stdout.write("\nPeak memory of a step, MiB (the process, its model included)\n\n")
    sys.stdout.write("| sentences | " + " | ".join(f"{n} words" for n in lengths) + " |\n")
    sys.stdout.write("| --- " * (len(lengths) + 1) + "|\n")
    for size in sizes:
        cells = []
        for words in lengths:
            command = [sys.executable, __file__, "--cell", str(size), str(words)]
            command += ["--bf16" if options.bf16 else "--no-bf16", "--device", str(options.device)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            cells.append(str(json.loads(done.stdout.splitlines()[-1])))
        sys.stdout.write(f"| {size} | {' | '.join(cells)} |\n")
        sys.stdout.flush()


def memory_cell(sentences: int, words: int, options: argparse.Namespace) -> None:
    """Two training steps; then the peak, in MiB."""
    model, _ = tagger(True, ["text_model.embeddings", "vision_model"])
    batch = made_up(model, sentences, words, options.device)
    step = training_step(model, iter([batch, batch]), options.bf16, options.device)
    step()
    step()
    if options.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated()
    else:
        # Not `ru_maxrss`: that of a new process begins with its parent's.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    sys.stdout.write(f"{json.dumps(round(peak / 2**20))}\n")


# A GPU --------------------------------------------------------------------------------------------


def base_size(images: bool) -> TwoMNERForTokenClassification:
    """XLM-R-base, and CLIP ViT-B/32, with random weights."""
    text = XLMRobertaConfig(vocab_size=250_002, max_position_embeddings=514, type_vocab_size=1)
    vision = CLIPVisionConfig(patch_size=32) if images else None
    ids = dict(enumerate(LABELS))
    return TwoMNERForTokenClassification(
        TwoMNERConfig(
            text_config=text,
            vision_config=vision,
            id2label=ids,
            label2id={name: index for index, name in ids.items()},
        )
    )


def matrix_peak(device: torch.device) -> float:
    """Floating point operations a second of one large bf16 matrix product: what the card can do."""
    left, right = (
        torch.randn(MATRIX, MATRIX, device=device, dtype=torch.bfloat16) for _ in range(2)
    )
    seconds = compare({"product": lambda: left @ right}, 20, device)["product"]
    return 2 * MATRIX**3 / seconds


def operations(model: TwoMNERForTokenClassification, batch: dict) -> float:
    """Floating point operations of the encoders' matrix products in a step: a weight takes 2 at
    every position forward, and 4 backward if it is trained. Attention's own and those of the new
    parts are left out, so what is said of the peak is rather too little."""
    positions = {model.model.text_model: batch["input_ids"].numel()}
    if "pixel_values" in batch:
        encoder = model.model.vision_model
        config = encoder.config
        patches = (config.image_size // config.patch_size) ** 2 + 1
        positions[encoder] = len(batch["pixel_values"]) * patches
    return float(
        sum(
            count * weight.numel() * (6 if weight.requires_grad else 2)
            for encoder, count in positions.items()
            for name, weight in encoder.named_parameters()
            if weight.ndim == 2 and "embedding" not in name
        )
    )


def measure_gpu(options: argparse.Namespace) -> None:
    """The same comparisons at the size that people use, in bf16, on made-up batches."""
    device, steps = options.device, options.steps
    sys.stdout.write(f"\n{torch.cuda.get_device_name(device)}\n")
    sizes = (options.sentences, options.words)
    text, cached, full, plain = base_size(False), base_size(True), base_size(True), None
    for model in (cached, full):
        freeze_parameters(model, ["vision_model"])
    batches = {"text only": made_up(text, *sizes, device), "2M-NER": made_up(full, *sizes, device)}
    kept = dict(batches["2M-NER"])
    cached.to(device)
    with torch.no_grad():
        seen = cached.model.read_images(kept.pop("pixel_values"))
    kept["vision_features"] = {name: states.half() for name, states in seen.items()}
    batches["2M-NER, cached"] = kept
    plain = AutoModelForTokenClassification.from_config(text.config.text_config)
    labels = torch.zeros_like(kept["input_ids"])
    batches["plain Trainer"] = {
        "input_ids": kept["input_ids"],
        "attention_mask": kept["attention_mask"],
        "labels": labels,
    }
    models = {"text only": text, "2M-NER, cached": cached, "2M-NER": full, "plain Trainer": plain}
    ways = {
        name: training_step(model, repeat(batches[name]), True, device)
        for name, model in models.items()
    }
    seconds = compare(ways, steps, device)
    table(f"{sizes[0]} sentences of {sizes[1]} words, bf16", seconds, "text only")
    peak = matrix_peak(device)
    for name in ("text only", "2M-NER"):
        reached = operations(models[name], batches[name]) / seconds[name] / peak
        sys.stdout.write(f"{name}: {100 * reached:.0f} % of {peak / 1e12:.0f} TFLOP/s\n")
    whole = base_size(True)
    parts = whole_and_encoders(whole, made_up(whole, *sizes, device), True)
    table("Forward and backward, no encoder frozen", compare(parts, steps, device), "encoders")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=COMPARISONS, default=COMPARISONS)
    parser.add_argument("--steps", type=int, default=20, help="Steps of each way.")
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--sentences", type=int, default=32, help="Of the made-up batch.")
    parser.add_argument("--words", type=int, default=32, help="Of a made-up sentence.")
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--cell", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    torch.manual_seed(1)
    if options.cell is not None:
        sentences, words = options.cell
        memory_cell(sentences, words, options)
    elif options.device.type == "cuda":
        measure_gpu(options)
    else:
        with contextlib.suppress(KeyboardInterrupt):
            for name in options.only:
                globals()[f"compare_{name}"](options)


if __name__ == "__main__":
    main()
