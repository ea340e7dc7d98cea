"""Read the text on images with PP-OCR: two small networks, which ONNX Runtime runs.

>>> from dataset_mmnerd.ppocr import PPOCRReader
>>> PPOCRReader("backbones/ppocr").read([Image.open("sign.png").convert("RGB")])

1. *Detection* gives for each pixel the probability that it lies in the core of a line of text
   (differentiable binarisation, arXiv 1911.08947). Connected pixels above a threshold are a line.
   Its place is the rectangle of least area around them, grown to the full height of the letters.
2. Each rectangle is cut out, levelled and scaled to 48 pixels of height.
3. *Recognition* gives for each column of it the probabilities of the characters. CTC decoding
   takes the most probable one, merges repetitions and removes blanks.

One model reads the languages of the Latin alphabet, so the strings do not depend on `lang`. Places
are continuous: pixel (x, y) covers x to x + 1 and y to y + 1.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .extractors import ContextError
from .files import check_size
from .quoting import shorten
from .schema import UNKNOWN_LANGUAGE

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

FILES = ("detection.onnx", "recognition.onnx", "characters.txt")
"""The files of a model. A line of `characters.txt` is a character. The first class of recognition
is the blank, the last one the space; both are not in the file."""

_MAX_BYTES = 256 * 2**20  # of a file
_EXPECTED = "expected a folder that `python scripts/offline_backbones.py --also ppocr` makes"

# Detection. The probabilities and the growth are those that come with the model.
_SHORT_SIDE, _LONG_SIDE = 480, 1472  # pixels; a smaller image is enlarged towards the first
_STRIDE = 32  # the network halves the sides five times
_DETECTION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and deviation, blue first
_PIXEL = 0.2  # the least probability of a line's pixel
_LINE = 0.4  # the least mean probability of a line's pixels
_GROWTH = 1.4
_THINNEST = 3  # pixels of a line's core
_MOST_LINES = 200  # of an image
_UPRIGHT = 1.5  # a rectangle so many times as high as wide holds a line from top to bottom

# Recognition.
_HEIGHT, _LEAST_WIDTH, _MOST_WIDTH = 48, 320, 3200
_SAMPLED_HEIGHT = 4 * _HEIGHT  # of a line that is cut out before it is scaled down
_RECOGNITION = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
_CONFIDENCE = 0.8  # the least mean probability of a line's characters


@dataclass(frozen=True)
class Rectangle:
    """A rotated rectangle in pixels.

    Attributes:
        x, y: of its centre.
        along: the unit vector of the reading direction.
        width: along it.
        height: across it.
    """

    x: float
    y: float
    along: tuple[float, float]
    width: float
    height: float

    def grown(self) -> Rectangle:
        """With the margin that training took away: area * `_GROWTH` / perimeter on each side."""
        margin = self.width * self.height * _GROWTH / (self.width + self.height)
        return Rectangle(self.x, self.y, self.along, self.width + margin, self.height + margin)

    def scaled(self, x: float, y: float) -> Rectangle:
        """The same place in an image whose sides are `x` and `y` times as long; both are about
        equal."""
        return Rectangle(self.x * x, self.y * y, self.along, self.width * x, self.height * y)


# Detection ----------------------------------------------------------------------------------------


def connected(mask: np.ndarray) -> list[np.ndarray]:
    """The groups of True pixels that touch, diagonally too.

    Args:
        mask: bool [h, w].

    Returns:
        Each group as runs of pixels in one row: int [runs, 3] of row, start and stop.
    """
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    _, stops = np.nonzero(edges == -1)
    # On one axis, where a row is longer than the image is wide: runs of rows that follow each
    # other touch if, one row's length apart, neither ends before the other starts.
    length = mask.shape[1] + 2
    begin, end = rows * length + starts, rows * length + stops
    first = np.searchsorted(end, begin - length, side="left")
    last = np.searchsorted(begin, end - length, side="right")
    neighbours = last - first
    below = np.repeat(np.arange(len(rows)), neighbours)
    above = np.arange(len(below)) + np.repeat(
        first - np.cumsum(neighbours) + neighbours, neighbours
    )
    # Groups that touch take the smaller number of both, until none touch.
    group = np.arange(len(rows))
    while True:
        smallest = np.minimum(group[below], group[above])
        merged = group.copy()
        np.minimum.at(merged, group[below], smallest)
        np.minimum.at(merged, group[above], smallest)
        merged = merged[merged]
        if np.array_equal(merged, group):
            break
        group = merged
    runs = np.stack([rows, starts, stops], axis=1)
    order = np.argsort(group, kind="stable")
    _, sizes = np.unique(group, return_counts=True)
    return np.split(runs[order], np.cumsum(sizes)[:-1]) if len(runs) else []


def _hull(points: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The corners of the convex hull in order, by Andrew's monotone chain."""

    def half(ordered: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        chain: list[tuple[int, int]] = []
        for x, y in ordered:
            while len(chain) > 1:
                (ax, ay), (bx, by) = chain[-2:]
                if (bx - ax) * (y - ay) > (by - ay) * (x - ax):
                    break
                chain.pop()
            chain.append((x, y))
        return chain[:-1]

    ordered = sorted(set(points))
    return half(ordered) + half(ordered[::-1])


def smallest_rectangle(runs: np.ndarray) -> Rectangle:
    """The rectangle of least area around runs [runs, 3].

    One of its sides lies on a side of the convex hull. A line is read along the sides that are
    nearer to level, or downwards if the rectangle is `_UPRIGHT` times as high as wide.
    """
    row, start, stop = runs.T
    corners = [(start, row), (start, row + 1), (stop, row), (stop, row + 1)]
    points = np.concatenate([np.stack(corner, axis=1) for corner in corners])
    hull = np.array(_hull([tuple(point) for point in points.tolist()]), dtype=float)
    sides = np.roll(hull, -1, axis=0) - hull
    angles = np.arctan2(sides[:, 1], sides[:, 0])
    angles = (angles + math.pi / 4) % (math.pi / 2) - math.pi / 4  # of the sides nearer to level
    along = np.stack([np.cos(angles), np.sin(angles)])  # [2, sides]
    across = np.stack([-along[1], along[0]])
    places = np.stack([hull @ along, hull @ across])  # [2, corners, sides]
    low, high = places.min(axis=1), places.max(axis=1)
    best = int(np.argmin(np.prod(high - low, axis=0)))
    width, height = (high - low)[:, best].tolist()
    middle = (high + low)[:, best] / 2
    x, y = (middle[0] * along[:, best] + middle[1] * across[:, best]).tolist()
    right, down = along[:, best].tolist()
    if height >= _UPRIGHT * width:
        return Rectangle(x, y, (-down, right), height, width)
    return Rectangle(x, y, (right, down), width, height)


def find_lines(probabilities: np.ndarray) -> list[Rectangle]:
    """The lines of text, at most `_MOST_LINES`, without order.

    Args:
        probabilities: [h, w], of the cores of lines.
    """
    groups = connected(probabilities >= _PIXEL)
    groups.sort(key=lambda runs: -int((runs[:, 2] - runs[:, 1]).sum()))
    lines = []
    for runs in groups[:_MOST_LINES]:
        pixels = np.concatenate([probabilities[row, start:stop] for row, start, stop in runs])
        rectangle = smallest_rectangle(runs)
        if pixels.mean() >= _LINE and min(rectangle.width, rectangle.height) >= _THINNEST:
            lines.append(rectangle.grown())
    return lines


def in_reading_order(lines: Sequence[Rectangle]) -> list[list[Rectangle]]:
    """Rows from top to bottom, each from left to right.

    A line belongs to the row above it if its centre is less than half a height below that of the
    row's first line.
    """
    rows: list[list[Rectangle]] = []
    for line in sorted(lines, key=lambda line: line.y):
        if rows and line.y - rows[-1][0].y < min(line.height, rows[-1][0].height) / 2:
            rows[-1].append(line)
        else:
            rows.append([line])
    return [sorted(row, key=lambda line: line.x) for row in rows]


# Recognition --------------------------------------------------------------------------------------


def cut_out(pixels: np.ndarray, line: Rectangle) -> Image.Image:
    """A line as a level image of `_HEIGHT` pixels. Beyond the edge the edge is repeated.

    Args:
        pixels: uint8 [h, w, 3].
    """
    step = max(1.0, line.height / _SAMPLED_HEIGHT)
    wide, high = (max(1, round(side / step)) for side in (line.width, line.height))
    right, down = line.along
    u = step * (np.arange(wide) + 0.5 - wide / 2)[None, :]
    v = step * (np.arange(high) + 0.5 - high / 2)[:, None]
    x = np.clip(line.x + u * right - v * down - 0.5, 0, pixels.shape[1] - 1)
    y = np.clip(line.y + u * down + v * right - 0.5, 0, pixels.shape[0] - 1)
    left, top = x.astype(int), y.astype(int)
    x, y = (x - left)[..., None].astype(np.float32), (y - top)[..., None].astype(np.float32)
    next_left = np.minimum(left + 1, pixels.shape[1] - 1)
    next_top = np.minimum(top + 1, pixels.shape[0] - 1)
    upper = pixels[top, left] * (1 - x) + pixels[top, next_left] * x
    lower = pixels[next_top, left] * (1 - x) + pixels[next_top, next_left] * x
    level = Image.fromarray((upper * (1 - y) + lower * y).round().astype(np.uint8))
    width = min(_MOST_WIDTH, max(1, math.ceil(_HEIGHT * wide / high)))
    return level.resize((width, _HEIGHT), Image.Resampling.BILINEAR)


def ctc_text(probabilities: np.ndarray, characters: Sequence[str]) -> tuple[str, float]:
    """The most probable characters and their mean probability (0 without a character).

    Args:
        probabilities: [columns, classes].
        characters: of the classes; the first is the blank.
    """
    classes = probabilities.argmax(axis=1)
    changes = np.concatenate([[True], classes[1:] != classes[:-1]]) & (classes != 0)
    text = "".join(characters[index] for index in classes[changes])
    return text, float(probabilities.max(axis=1)[changes].mean()) if text else 0.0


def _network_input(
    image: Image.Image, mean: Sequence[float], deviation: Sequence[float]
) -> np.ndarray:
    """float32 [1, 3, h, w], blue first."""
    values = np.asarray(image, dtype=np.float32)[..., ::-1] / 255
    values = (values - np.array(mean, np.float32)) / np.array(deviation, np.float32)
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])


# The reader ---------------------------------------------------------------------------------------


class PPOCRReader:
    """The text on an image, one string a row, from top to bottom.

    Lines of low confidence are left out, and so are lines without a letter or digit.

    Args:
        folder: with `FILES`. `python scripts/offline_backbones.py --also ppocr` makes one.

    Raises:
        ContextError: if onnxruntime is not installed, or the folder is no such model.
    """

    column = "ocr"
    by_language = False
    batch_size = 16

    def __init__(self, folder: str | Path) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ContextError(
                "found no package onnxruntime, expected it: pip install '2mner[ocr]'"
            ) from error
        contents = []
        for name in FILES:
            path = Path(folder) / name
            if not path.is_file():
                raise ContextError(f"{path}: found no such file, {_EXPECTED}")
            check_size(path, _MAX_BYTES)
            contents.append(path.read_bytes())
        detection, recognition, characters = contents
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # images are read in parallel
        options.log_severity_level = 3

        def session(name: str, content: bytes) -> InferenceSession:
            try:
                return onnxruntime.InferenceSession(
                    content, options, providers=["CPUExecutionProvider"]
                )
            except Exception as error:  # onnxruntime's errors have no class in common
                raise ContextError(
                    f"{Path(folder) / name}: found {shorten(str(error))}, {_EXPECTED}"
                ) from error

        self._detection = session(FILES[0], detection)
        self._recognition = session(FILES[1], recognition)
        try:
            lines = characters.decode("utf-8").removesuffix("\n").split("\n")
        except UnicodeDecodeError as error:
            raise ContextError(f"{Path(folder) / FILES[2]}: found {error}, {_EXPECTED}") from error
        self._characters = ["", *(line.removesuffix("\r") for line in lines), " "]
        classes = self._recognition.get_outputs()[0].shape[-1]
        if classes != len(self._characters):
            raise ContextError(
                f"{Path(folder) / FILES[2]}: found {len(lines)} characters, expected as many as "
                f"the {classes} classes of {FILES[1]} without blank and space"
            )
        digest = hashlib.blake2b(b"".join(contents), digest_size=8).hexdigest()
        settings = f"lines of at least {_CONFIDENCE:.0%}"
        self.name = f"{Path(folder).name} ({settings})"
        self.key = f"ocr ppocr@{digest} {settings}, {_SHORT_SIDE}"

    def read(self, images: Sequence[Image.Image], lang: str = UNKNOWN_LANGUAGE) -> list[list[str]]:
        """The rows of each RGB image.

        As many images are read at once as there are processors.
        """
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            return list(pool.map(self._rows, images))

    def _rows(self, image: Image.Image) -> list[str]:
        scale = max(1.0, _SHORT_SIDE / min(image.size))
        scale = min(scale, _LONG_SIDE / max(image.size))
        wide, high = (_STRIDE * max(1, round(side * scale / _STRIDE)) for side in image.size)
        resized = image.resize((wide, high), Image.Resampling.BILINEAR)
        (probabilities,) = self._detection.run(
            None, {self._detection.get_inputs()[0].name: _network_input(resized, *_DETECTION)}
        )
        x, y = image.width / wide, image.height / high
        lines = [line.scaled(x, y) for line in find_lines(probabilities[0, 0])]
        pixels = np.asarray(image)
        rows = ([self._text(pixels, line) for line in row] for row in in_reading_order(lines))
        return [text for row in rows if (text := " ".join(filter(None, row)))]

    def _text(self, pixels: np.ndarray, line: Rectangle) -> str:
        """The text of a line; empty if it is not sure, or has no letter or digit."""
        values = _network_input(cut_out(pixels, line), *_RECOGNITION)
        missing = max(0, _LEAST_WIDTH - values.shape[-1])
        values = np.pad(values, ((0, 0), (0, 0), (0, 0), (0, missing)))
        (probabilities,) = self._recognition.run(
            None, {self._recognition.get_inputs()[0].name: values}
        )
        text, confidence = ctc_text(probabilities[0], self._characters)
        text = " ".join(text.split())
        return text if confidence >= _CONFIDENCE and any(map(str.isalnum, text)) else ""


__all__ = [
    "FILES",
    "PPOCRReader",
    "Rectangle",
    "connected",
    "ctc_text",
    "cut_out",
    "find_lines",
    "in_reading_order",
    "smallest_rectangle",
]
