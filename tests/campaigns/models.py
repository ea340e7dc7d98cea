"""Small models with their processors, and the surface of damaged ones."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import torch
from transformers import CLIPImageProcessorPil

from modeling_2mner import (
    MultimodalNERPipeline,
    TwoMNERConfig,
    TwoMNERForTokenClassification,
    TwoMNERProcessor,
)
from tests.campaigns.cases import ACCEPTED, Case, Outcome, Surface, check, judged
from tests.campaigns.mutators import edit_bytes, edit_json
from tests.conftest import TEXT_CONFIGS, VISION_CONFIGS, write_encoder, write_tokenizer
from tests.dataset_mmnerd.conftest import image_bytes

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
FILES = (
    "config.json",
    "model.safetensors",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)


def write_encoders(folder: Path) -> tuple[str, str]:
    """Write a tiny text encoder and a tiny vision encoder; return their folders."""
    text, vision = folder / "text", folder / "vision"
    size = {"height": 32, "width": 32}
    pieces = write_tokenizer(text, "xlm-roberta")
    write_encoder(text, TEXT_CONFIGS["xlm-roberta"](pieces))
    processor = CLIPImageProcessorPil(size=size, crop_size=size, do_center_crop=False)
    processor.save_pretrained(vision)
    write_encoder(vision, VISION_CONFIGS["clip"]())
    return str(text), str(vision)


def write_model(folder: Path, text: str, vision: str | None = None, **options: int) -> None:
    """Write a tiny 2M-NER with its processor. `options` are the processor's."""
    torch.manual_seed(0)
    model = TwoMNERForTokenClassification.from_text_vision_pretrained(
        text, vision, labels=LABELS, collaboration_heads=4
    )
    model.save_pretrained(folder)
    processor = TwoMNERProcessor.from_text_vision_pretrained(text, vision, labels=LABELS, **options)
    processor.save_pretrained(folder)


def edit_weights(content: bytes, random: Random) -> bytes:
    """A safetensors file with some bytes changed, or its header, or numbers that are none."""
    action = random.randrange(3)
    if action == 0 or len(content) < 16:
        return edit_bytes(content, random)
    length = struct.unpack("<Q", content[:8])[0]
    if length > len(content) - 8:
        return edit_bytes(content, random)
    header, numbers = content[8 : 8 + length], content[8 + length :]
    if action == 1:
        header = edit_json(header, random)
        return struct.pack("<Q", len(header)) + header + numbers
    place = random.randrange(max(1, len(numbers) // 4)) * 4
    number = np.float32(random.choice((np.nan, np.inf, -np.inf, 3e38, 0))).tobytes()
    return content[: 8 + length] + numbers[:place] + number + numbers[place + 4 :]


class Models(Surface):
    """A saved model with one of its files damaged."""

    name = "models"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        text, vision = write_encoders(folder)
        write_model(folder / "whole-text", text)
        write_model(folder / "whole-both", text, vision, context_budget=8)
        self.image = image_bytes(1)

    def run(self, case: Case, folder: Path) -> Outcome:
        random = case.random()
        whole = self.folder / random.choice(("whole-text", "whole-both"))
        saved = folder / "saved"
        shutil.copytree(whole, saved)
        name = random.choice(FILES)
        path = saved / name
        if case.edits and random.random() < 0.03:
            path.unlink()
        else:
            edit: Callable[[bytes, Random], bytes] = edit_json
            if name == "model.safetensors":
                edit = edit_weights
            content = path.read_bytes()
            for edit_random in case.edit_randoms():
                content = edit(content, edit_random)
            path.write_bytes(content)
        try:
            model = TwoMNERForTokenClassification.from_pretrained(saved)
            processor = TwoMNERProcessor.from_pretrained(saved)
            ner = MultimodalNERPipeline(model=model, processor=processor)
        except Exception as error:
            fields = [*TwoMNERConfig.__annotations__, "saved", "tokenizer", "labels", *FILES]
            return judged(error, (OSError, ValueError, RuntimeError), fields, folder)
        found = ner({"text": "Ana lives in Rome.", "image": self.image})
        check(all(0 <= entity["score"] <= 1.0001 for entity in found), "scores:", found)
        with torch.no_grad():
            logits = model(**processor(["Ana", "lives"])).logits
        check(bool(torch.isfinite(logits).all()), "emissions are not finite")
        return Outcome(ACCEPTED)
