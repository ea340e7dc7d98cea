"""How well is text on images read, and how fast: Tesseract and PP-OCR against each other.

    python scripts/offline_backbones.py --also ppocr
    python benchmarks/ocr.py

* Boards: drawn as the embedded sample draws them, over each kind of scene, without accents, for its
  font has none. Half of the images have no board; the scenes of some have text of their own.
* Signs: the first words of the sample's sentences with their accents, in another font, tilted by up
  to 6 degrees, blurred and noisy.

Of each language: the share of characters that are right (1 - edit distance / length of the most
similar line that was read), lines that are exactly right, images without a board on which something
is read, and the seconds an image of one process.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from dataset_mmnerd import markdown
from dataset_mmnerd.extractors import Extractor, TesseractReader
from dataset_mmnerd.images import load_image
from dataset_mmnerd.ppocr import PPOCRReader
from dataset_mmnerd.sample import SAMPLE_LANGUAGES, sample_rows
from dataset_mmnerd.sample.drawings import draw_image
from dataset_mmnerd.sample.scenes import SCENES

SCENE_NAMES = sorted(name for scenes in SCENES.values() for name in scenes)
FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
MOST_CHARACTERS = 22  # of a line


@dataclass(frozen=True)
class Sign:
    """An image, what is written on it, and in which language."""

    image: Image.Image
    lines: list[str]
    lang: str


def phrases(lang: str, count: int, ascii_only: bool) -> list[list[str]]:
    """Two lines of words a sign: an entity's sentence begins so, and an entity is named so."""
    found: dict[tuple[str, str], None] = {}
    for row in sample_rows("train", languages=[lang]):
        words = [word for word in row["tokens"] if any(map(str.isalnum, word))]
        first = " ".join(words[:4])[:MOST_CHARACTERS].rpartition(" ")[0]
        second = " ".join(words[4:7])[:MOST_CHARACTERS].strip()
        if first and second and (not ascii_only or (first + second).isascii()):
            found.setdefault((first, second))
    return [list(lines) for lines in list(found)[:count]]


def boards(lang: str, count: int) -> Iterator[Sign]:
    """Images with a board, and as many without."""
    random = Random(f"boards {lang}")
    for lines in phrases(lang, count, ascii_only=True):
        for shown in (lines, []):
            drawn = draw_image(random.choice(SCENE_NAMES), random, shown)
            yield Sign(load_image(drawn.jpeg), shown, lang)


def signs(lang: str, count: int) -> Iterator[Sign]:
    """Two lines of text on a plain background, as a poor photo shows them."""
    random = Random(f"signs {lang}")
    noise = np.random.default_rng(0)
    for lines in phrases(lang, count, ascii_only=False):
        font = ImageFont.truetype(str(FONT), random.randrange(18, 40))
        paper = tuple(random.randrange(150, 256) for _ in range(3))
        ink = tuple(random.randrange(0, 90) for _ in range(3))
        if random.random() < 0.3:
            paper, ink = ink, paper
        width = max(font.getlength(line) for line in lines)
        image = Image.new("RGB", (int(width) + 80, int(font.size * 4.5)), paper)
        draw = ImageDraw.Draw(image)
        for place, line in enumerate(lines):
            at = (image.width / 2, font.size * (1.4 + 1.6 * place))
            draw.text(at, line, fill=ink, font=font, anchor="mm")
        image = image.rotate(
            random.uniform(-6, 6), Image.Resampling.BICUBIC, expand=True, fillcolor=paper
        )
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0, 1.2)))
        values = np.asarray(image) + noise.normal(0, random.uniform(0, 18), (*image.size[::-1], 3))
        yield Sign(Image.fromarray(values.clip(0, 255).astype(np.uint8)), lines, lang)


def distance(one: str, other: str) -> int:
    """The least number of characters that are inserted, deleted or replaced (Levenshtein)."""
    above = list(range(len(other) + 1))
    for row, a in enumerate(one, 1):
        left = [row]
        for column, b in enumerate(other, 1):
            replaced = above[column - 1] + (a != b)
            left.append(min(replaced, above[column] + 1, left[-1] + 1))
        above = left
    return above[-1]


def measure(reader: Extractor, shown: Sequence[Sign]) -> list[str]:
    """The cells of a reader's line."""
    started = time.perf_counter()
    read = [reader.read([sign.image], sign.lang)[0] for sign in shown]
    seconds = (time.perf_counter() - started) / len(shown)
    wrong = characters = exact = lines = 0
    for sign, found in zip(shown, read, strict=True):
        for line in sign.lines:
            nearest = min((distance(line, text) for text in found), default=len(line))
            wrong += min(nearest, len(line))
            exact += nearest == 0
            characters += len(line)
            lines += 1
    without = [found for sign, found in zip(shown, read, strict=True) if not sign.lines]
    return [
        f"{100 * (1 - wrong / characters):.1f}",
        f"{exact} of {lines}",
        f"{sum(map(bool, without))} of {len(without)}" if without else "",
        f"{seconds:.3f}",
    ]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ppocr", type=Path, default=Path("backbones/ppocr"), metavar="FOLDER")
    parser.add_argument("--count", type=int, default=40, help="images with text a language")
    arguments = parser.parse_args(argv)
    readers: dict[str, Extractor] = {
        "Tesseract": TesseractReader(SAMPLE_LANGUAGES),
        "PP-OCRv6 tiny": PPOCRReader(arguments.ppocr),
    }
    lines = []
    for kind, make in (("boards", boards), ("signs", signs)):
        for lang in SAMPLE_LANGUAGES:
            shown = list(make(lang, arguments.count))
            lines += [
                [kind, lang, name, *measure(reader, shown)] for name, reader in readers.items()
            ]
    head = ["images", "language", "reader", "characters right", "lines exactly right"]
    head += ["read where there is no board", "seconds an image"]
    sys.stdout.write(f"{markdown.table(head, lines)}\n")


if __name__ == "__main__":
    main()
