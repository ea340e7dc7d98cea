"""Small data sets on disk: MMNERD's own layout, and built ones from rows."""

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from PIL import Image, ImageDraw

from dataset_mmnerd.build import build

SENTENCES = {
    "en": (["Ana", "sings", "in", "Leeds"], ["B-PER", "O", "O", "B-LOC"]),
    "fr": (["J'", "adore", "Le", "Bal"], ["O", "O", "B-MISC", "I-MISC"]),
    "de": (["Müller", "wechselt", "zu", "Union"], ["B-PER", "O", "O", "B-ORG"]),
    "es": (["¡", "Viva", "Cádiz", "!"], ["O", "O", "B-LOC", "O"]),
}


def image_bytes(seed: int = 0, format: str = "PNG", size: tuple[int, int] = (64, 48)) -> bytes:
    """An image whose shapes depend on the seed."""
    random = Random(seed)
    image = Image.new("RGB", (64, 48), "white")
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y, radius = random.randrange(64), random.randrange(48), random.randrange(6, 20)
        color = tuple(random.randrange(256) for _ in range(3))
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=color)
    file = io.BytesIO()
    image.resize(size, Image.Resampling.BICUBIC).save(file, format)
    return file.getvalue()


def enormous_png() -> bytes:
    """A PNG of a few bytes that says it is 30,000 by 30,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"")), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def conll(*sentences: tuple[str | None, list[str], list[str]]) -> str:
    """(image id, tokens, tags) as `IMGID:` CoNLL."""
    lines = []
    for image_id, tokens, tags in sentences:
        lines += [] if image_id is None else [f"IMGID:{image_id}"]
        lines += [f"{token}\t{tag}" for token, tag in zip(tokens, tags, strict=True)]
        lines.append("")
    return "\n".join(lines)


@pytest.fixture
def mmnerd_folder(tmp_path) -> Path:
    """MMNERD's own layout in four languages: two sentences with one image, one with another."""
    root = tmp_path / "MMNERD"
    images = root / "twitter_and_image_caption_images"
    images.mkdir(parents=True)
    for number, (lang, (tokens, tags)) in enumerate(SENTENCES.items()):
        folder = root / "train_valid_test" / f"train_valid_test_{lang}"
        folder.mkdir(parents=True)
        for place, split in enumerate(("train", "valid", "test")):
            name = f"{lang}_{split}"
            (images / f"{name}.jpg").write_bytes(image_bytes(number * 3 + place, "JPEG"))
            sentences = [
                (name, [*tokens, split], [*tags, "O"]),
                (name, [split, *tokens], ["O", *tags]),
            ]
            text = conll(*sentences).rstrip("\n")  # the last blank line is missing, as it may be
            (folder / f"{split}_conll_format.txt").write_text(text, encoding="utf-8")
    return root


@pytest.fixture
def built(tmp_path) -> Callable[..., Path]:
    """Build a data set from rows: `built(name, train=[...], test=[...], images={...})`.

    A row is (tokens, tags) or (tokens, tags, more fields); `images` are contents by file name.
    """

    def make(
        name: str = "set", images: dict[str, bytes] | None = None, **splits: list[tuple]
    ) -> Path:
        source = tmp_path / f"{name}-files"
        source.mkdir()
        for file_name, content in (images or {}).items():
            (source / file_name).write_bytes(content)
        for split, rows in splits.items():
            lines = []
            for row in rows:
                tokens, tags, more = (*row, {})[:3]
                tokens = tokens.split() if isinstance(tokens, str) else tokens
                tags = tags.split() if isinstance(tags, str) else tags
                lines.append(json.dumps({"tokens": tokens, "ner_tags": tags} | more))
            (source / f"{split}_en.jsonl").write_text("\n".join(lines), encoding="utf-8")
        build("jsonl", source, tmp_path / name, with_audit=False)
        return tmp_path / name

    return make
