"""Drawn images for the embedded sample: what they show tells the type of the entity.

Each entity type has several scenes (`scenes.py`). All other properties are random and the same for
all types: size, colours, background, place and size of the scene, mirroring, rotation, occlusion,
grain, and a board with text. So only the kind of scene tells the type.

An image is drawn at twice its size and reduced, which smooths its edges. The same random state
gives the same bytes for one version of Pillow and its JPEG library.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from PIL import Image, ImageDraw, ImageOps

from .pen import BLACK, SKIN, SOFT, VIVID, WHITE, Pen, Point, font_of
from .scenes import SCENES

_OVERSAMPLING = 2
_TURN = 9.0  # degrees, at most
_ROTATION_MARGIN = 1.24  # an image this much larger still fills its frame when it is turned
_QUALITY = 82

_SCENES = {name: draw for scenes in SCENES.values() for name, draw in scenes.items()}


def _background(size: tuple[int, int], random: Random) -> Image.Image:
    first, second = random.sample(SOFT, 2)
    shade = Image.linear_gradient("L").rotate(random.choice((0, 90, 180, 270)))
    image = ImageOps.colorize(shade, first, second).resize(size)
    draw = ImageDraw.Draw(image, "RGBA")
    wide, high = size
    for _ in range(2):
        draw.ellipse(_circle(size, random, wide / 5, wide / 2), fill=(*random.choice(SOFT), 130))
    pattern = random.randrange(4)
    tint = (*random.choice(SOFT), 90)
    step = max(24, wide // random.randrange(6, 14))
    if pattern == 0:
        for x in range(-high, wide, step):
            draw.line([(x, 0), (x + high, high)], fill=tint, width=step // 3)
    elif pattern == 1:
        for x in range(0, wide, step):
            for y in range(0, high, step):
                draw.ellipse([x, y, x + step // 2, y + step // 2], fill=tint)
    elif pattern == 2:
        for _ in range(8):
            draw.ellipse(_circle(size, random, 20, 90), fill=tint)
    return image


def _circle(size: tuple[int, int], random: Random, smallest: float, largest: float) -> list[float]:
    """The box of a circle whose centre is anywhere in an image."""
    x, y = random.uniform(0, size[0]), random.uniform(0, size[1])
    r = random.uniform(smallest, largest)
    return [x - r, y - r, x + r, y + r]


def _occlude(image: Image.Image, random: Random) -> None:
    """A finger on the lens, a strip of tape or a few specks, at the edge of the image."""
    draw = ImageDraw.Draw(image, "RGBA")
    wide, high = image.size
    kind = random.randrange(4)
    if kind == 0:
        x, r = random.choice((0, wide)), high * random.uniform(0.1, 0.18)
        draw.ellipse([x - r, high - r, x + r, high + r], fill=(*random.choice(SKIN), 235))
    elif kind == 1:
        y = random.choice((0.06, 0.94)) * high
        draw.line([(0, y), (wide, y + 8)], fill=(*random.choice(VIVID), 220), width=high // 22)
    elif kind == 2:
        for _ in range(12):
            circle = _circle(image.size, random, 2, 7)
            draw.ellipse(circle, fill=(*random.choice(VIVID), 200))


def _with_board(
    image: Image.Image, lines: Sequence[str], random: Random
) -> tuple[Image.Image, int]:
    """The image with a plain board above or below it that holds the lines, large and level; and how
    many pixels it is moved down by the board."""
    wide, high = image.size
    size = max(22, high // 8)
    widest = max(font_of(size).getlength(line) for line in lines)
    size = min(size, int(size * wide * 0.92 / widest))
    boards = ((WHITE, BLACK), ((250, 226, 90), BLACK), ((20, 60, 130), WHITE))
    paper, ink = random.choice(boards)
    board = Image.new("RGB", (wide, int(size * (1.35 * len(lines) + 0.5))), paper)
    draw = ImageDraw.Draw(board)
    for row, line in enumerate(lines):
        at = (wide / 2, size * (0.93 + 1.35 * row))
        draw.text(at, line, fill=ink, font=font_of(size), anchor="mm")
    above = random.random() < 0.5
    whole = Image.new("RGB", (wide, high + board.height), paper)
    down = board.height if above else 0
    whole.paste(board, (0, 0 if above else high))
    whole.paste(image, (0, down))
    return whole, down


def _turned(points: Sequence[Point], degrees: float, size: tuple[int, int]) -> list[Point]:
    """Where points of an image of a size lie after `Image.rotate`."""
    x0, y0 = size[0] / 2, size[1] / 2
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [
        (x0 + (x - x0) * cos + (y - y0) * sin, y0 - (x - x0) * sin + (y - y0) * cos)
        for x, y in points
    ]


@dataclass(frozen=True)
class Drawing:
    """A drawn image.

    Attributes:
        jpeg: the encoded image, 160 to 340 pixels on its longer side.
        box: where the object lies that the image shows: left, top, right and bottom as fractions of
            the image's width and height. A street, a map or a stadium fills the image.
    """

    jpeg: bytes
    box: tuple[float, float, float, float]


def draw_image(scene: str, random: Random, lines: Sequence[str] = ()) -> Drawing:
    """Draw an image of a scene.

    Args:
        scene: one of the names in `SCENES`.
        random: the source of all variation.
        lines: the text on it, in ASCII (Pillow's own font has no accents).
    """
    longer = random.randrange(250 if lines else 160, 321)
    shorter = round(longer * random.uniform(0.62, 0.8 if lines else 1.0))
    upright = not lines and random.random() < 0.3
    wide, high = (shorter, longer) if upright else (longer, shorter)
    frame = (wide * _OVERSAMPLING, high * _OVERSAMPLING)

    canvas = (round(frame[0] * _ROTATION_MARGIN), round(frame[1] * _ROTATION_MARGIN))
    image = _background(canvas, random)
    size = min(frame) * random.uniform(0.7, 0.98)
    left = canvas[0] / 2 - size / 2 + random.uniform(-0.5, 0.5) * (frame[0] - size)
    top = canvas[1] / 2 - size / 2 + random.uniform(-0.5, 0.5) * (frame[1] - size)
    pen = Pen(image, left, top, size, mirrored=random.random() < 0.5)
    _SCENES[scene](pen, random)
    degrees = random.uniform(-_TURN, _TURN)
    image = image.rotate(degrees)
    x, y = (canvas[0] - frame[0]) // 2, (canvas[1] - frame[1]) // 2
    image = image.crop((x, y, x + frame[0], y + frame[1]))
    _occlude(image, random)
    image = image.reduce(_OVERSAMPLING)
    grain = Image.frombytes("L", (wide, high), random.randbytes(wide * high)).convert("RGB")
    image = Image.blend(image, grain, random.uniform(0, 0.1))
    down = 0
    if lines:
        image, down = _with_board(image, lines, random)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)

    outline = _turned(pen.outline, degrees, canvas)
    across = [min(max((at - x) / frame[0], 0), 1) for at, _ in outline]
    along = [min(max((at - y) / frame[1], 0), 1) for _, at in outline]
    top, bottom = ((down + at * high) / image.height for at in (min(along), max(along)))
    box = (min(across), top, max(across), bottom)
    left, top, right, bottom = (round(side, 4) for side in box)
    return Drawing(file.getvalue(), (left, top, right, bottom))


__all__ = ["Drawing", "draw_image"]
