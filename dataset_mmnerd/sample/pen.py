"""A pen that draws in units of a square scene, colours, and shapes that several scenes share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, ...]  # red, green, blue, and alpha if it has one; 0 to 255
Point = tuple[float, float]


BLACK, WHITE, GREY = (24, 24, 28), (250, 250, 248), (128, 130, 136)
SKIN = ((255, 219, 185), (236, 188, 145), (198, 134, 92), (141, 85, 54), (92, 58, 40))
HAIR = (
    (34, 26, 24),
    (92, 58, 34),
    (170, 110, 52),
    (226, 190, 110),
    (150, 150, 154),
    (150, 50, 30),
)
VIVID = (
    (214, 48, 49),
    (9, 110, 190),
    (16, 150, 90),
    (245, 190, 40),
    (120, 60, 160),
    (240, 120, 40),
    (20, 160, 170),
    (220, 80, 140),
    (30, 50, 100),
)
SOFT = (
    (190, 220, 240),
    (250, 225, 190),
    (215, 235, 205),
    (235, 210, 230),
    (200, 205, 220),
    (245, 240, 200),
    (120, 150, 190),
    (70, 80, 120),
    (90, 120, 100),
    (160, 110, 120),
)


class Pen:
    """Draws in units of a square scene: x and y from 0 to 100, y downwards. Colours may have alpha.

    A mirrored pen exchanges left and right, but not in text.

    Attributes:
        outline: points in pixels, between which everything lies that was drawn, but the backdrop,
            and but text, which stands on something that was drawn.
    """

    def __init__(
        self, image: Image.Image, left: float, top: float, size: float, *, mirrored: bool
    ) -> None:
        self._draw = ImageDraw.Draw(image, "RGBA")
        self._left, self._top, self._unit, self._mirrored = left, top, size / 100, mirrored
        self.outline: list[Point] = []
        self._in_backdrop = False

    @contextmanager
    def backdrop(self) -> Iterator[None]:
        """What is drawn in this context is not the object that the image shows."""
        self._in_backdrop = True
        yield
        self._in_backdrop = False

    def _mark(self, points: Sequence[Point], margin: float = 0) -> None:
        """Extend the outline by points, and by so many pixels around each of them."""
        if self._in_backdrop:
            return
        sides = (-margin, margin) if margin else (0,)
        self.outline += [(x + dx, y + dy) for x, y in points for dx in sides for dy in sides]

    def _mark_ellipse(self, box: Sequence[float], start: float = 0, end: float = 360) -> None:
        """Extend the outline by a part of an ellipse, from angle to angle as Pillow has them."""
        left, top, right, bottom = box
        angles = (math.radians(start + (end - start) * step / 16) for step in range(17))
        rays = ((0.5 + math.cos(angle) / 2, 0.5 + math.sin(angle) / 2) for angle in angles)
        self._mark([(left + x * (right - left), top + y * (bottom - top)) for x, y in rays])

    def _at(self, points: Sequence[Point]) -> list[Point]:
        if self._mirrored:
            points = [(100 - x, y) for x, y in points]
        return [(self._left + x * self._unit, self._top + y * self._unit) for x, y in points]

    def _around(self, x: float, y: float, rx: float, ry: float) -> list[float]:
        ((x, y),) = self._at([(x, y)])
        rx, ry = rx * self._unit, ry * self._unit
        return [x - rx, y - ry, x + rx, y + ry]

    def _angles(self, start: float, end: float) -> tuple[float, float]:
        return (180 - end, 180 - start) if self._mirrored else (start, end)

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Color) -> None:
        around = self._around(x, y, rx, ry)
        self._mark_ellipse(around)
        self._draw.ellipse(around, fill=fill)

    def box(
        self, x0: float, y0: float, x1: float, y1: float, fill: Color, radius: float = 0
    ) -> None:
        x0, x1 = (100 - x1, 100 - x0) if self._mirrored else (x0, x1)
        corners = [
            self._left + x0 * self._unit,
            self._top + y0 * self._unit,
            self._left + x1 * self._unit,
            self._top + y1 * self._unit,
        ]
        self._mark([(x, y) for x in corners[::2] for y in corners[1::2]])
        if radius:
            self._draw.rounded_rectangle(corners, radius * self._unit, fill=fill)
        else:
            self._draw.rectangle(corners, fill=fill)

    def polygon(self, points: Sequence[Point], fill: Color) -> None:
        at = self._at(points)
        self._mark(at)
        self._draw.polygon(at, fill=fill)

    def line(self, points: Sequence[Point], fill: Color, width: float) -> None:
        thickness = max(1, round(width * self._unit))
        at = self._at(points)
        self._mark(at, thickness / 2)
        self._draw.line(at, fill=fill, width=thickness, joint="curve")
        if thickness > 4:
            half = thickness / 2
            for x, y in (at[0], at[-1]):
                self._draw.ellipse([x - half, y - half, x + half, y + half], fill=fill)

    def arc(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        start: float,
        end: float,
        fill: Color,
        width: float,
    ) -> None:
        thickness = max(1, round(width * self._unit))
        around, angles = self._around(x, y, rx, ry), self._angles(start, end)
        self._mark_ellipse(around, *angles)
        self._draw.arc(around, *angles, fill=fill, width=thickness)

    def slice(
        self, x: float, y: float, rx: float, ry: float, start: float, end: float, fill: Color
    ) -> None:
        around, angles = self._around(x, y, rx, ry), self._angles(start, end)
        self._mark(self._at([(x, y)]))
        self._mark_ellipse(around, *angles)
        self._draw.pieslice(around, *angles, fill=fill)

    def text(self, x: float, y: float, text: str, size: float, fill: Color) -> None:
        font = font_of(max(8, round(size * self._unit)))
        self._draw.text(self._at([(x, y)])[0], text, fill=fill, font=font, anchor="mm")


@lru_cache(maxsize=256)
def font_of(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font."""
    return ImageFont.load_default(size)


def shade(color: Color, factor: float) -> Color:
    return tuple(min(255, round(part * factor)) for part in color[:3])


def ring(x: float, y: float, radius: float, count: int, turn: float = 0) -> list[Point]:
    """`count` points evenly on a circle, the first at angle `turn` (radians, 0 is upwards)."""
    angles = (turn + 2 * math.pi * step / count for step in range(count))
    return [(x + radius * math.sin(angle), y - radius * math.cos(angle)) for angle in angles]


def star(pen: Pen, x: float, y: float, radius: float, fill: Color) -> None:
    outer, inner = ring(x, y, radius, 5), ring(x, y, radius * 0.42, 5, math.pi / 5)
    pen.polygon([point for pair in zip(outer, inner, strict=True) for point in pair], fill)


__all__ = [
    "BLACK",
    "GREY",
    "HAIR",
    "SKIN",
    "SOFT",
    "VIVID",
    "WHITE",
    "Color",
    "Pen",
    "Point",
    "font_of",
    "ring",
    "shade",
    "star",
]
