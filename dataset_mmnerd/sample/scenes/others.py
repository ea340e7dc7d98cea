"""Things that are no entity."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

from ..pen import BLACK, SOFT, VIVID, WHITE, Pen, ring, shade


def _coffee(pen: Pen, random: Random) -> None:
    cup = random.choice((*VIVID, WHITE))
    pen.ellipse(50, 86, 44, 9, (225, 222, 216))
    pen.ellipse(50, 84, 30, 5, (190, 186, 180))
    pen.arc(80, 58, 13, 14, 0, 360, cup, 5)
    pen.polygon([(22, 40), (78, 40), (69, 84), (31, 84)], cup)
    pen.ellipse(50, 40, 28, 7, shade(cup, 0.85))
    pen.ellipse(50, 41, 24, 5, (74, 44, 26))
    for x in (38, 50, 62):
        steam = [(x, 30), (x + 4, 22), (x - 3, 14), (x + 2, 5)]
        pen.line(steam, (255, 255, 255, 170), 2.4)


def _pizza(pen: Pen, random: Random) -> None:
    pen.ellipse(50, 52, 47, 47, (226, 226, 230))
    pen.ellipse(50, 50, 42, 42, (206, 142, 66))
    pen.ellipse(50, 50, 37, 37, (206, 62, 36))
    pen.ellipse(50, 50, 35, 35, (248, 208, 98))
    for x, y in (*ring(50, 50, 25, 7, random.random()), (50, 50), (44, 60)):
        pen.ellipse(x, y, 5.5, 5.5, (176, 40, 34))
        pen.ellipse(x - 1, y - 1, 2, 2, (206, 84, 70))
    for x, y in ring(50, 50, 15, 6, random.random()):
        pen.ellipse(x, y, 3.4, 1.7, (50, 130, 60))
    for angle in range(4):
        near, far = ring(50, 50, 42, 2, angle * math.pi / 4)
        pen.line([near, far], (180, 120, 50), 0.9)


def _cat(pen: Pen, random: Random) -> None:
    fur = random.choice(((226, 150, 70), (90, 88, 92), (50, 44, 44), (236, 226, 206)))
    dark = shade(fur, 0.72)
    pen.line([(74, 88), (96, 80), (92, 56)], fur, 7)
    pen.ellipse(50, 78, 30, 24, fur)
    for side in (-1, 1):
        pen.polygon([(50 + side * 27, 34), (50 + side * 25, 3), (50 + side * 6, 20)], fur)
        pen.polygon(
            [(50 + side * 23, 27), (50 + side * 22, 11), (50 + side * 12, 20)], (236, 160, 160)
        )
    pen.ellipse(50, 40, 28, 24, fur)
    for x in (41, 50, 59):
        pen.line([(x, 18), (x, 27)], dark, 2.4)
    for side in (-1, 1):
        pen.ellipse(50 + side * 11, 38, 6, 6.4, (190, 214, 90))
        pen.ellipse(50 + side * 11, 38, 2, 5.6, BLACK)
        for rise in (-3, 0, 3):
            pen.line(
                [(50 + side * 9, 50 + rise / 2), (50 + side * 34, 48 + rise * 1.6)], WHITE, 0.8
            )
        pen.arc(50 + side * 4, 51, 4, 4, 0, 180, BLACK, 1.2)
        pen.ellipse(50 + side * 13, 98, 9, 6, fur)
    pen.polygon([(46, 46), (54, 46), (50, 51)], (214, 110, 110))


def _umbrella(pen: Pen, random: Random) -> None:
    first, second = random.sample(VIVID, 2)
    with pen.backdrop():
        pen.box(-200, -100, 300, 200, (130, 146, 164, 190))
        for _ in range(90):
            x, y = random.uniform(-70, 170), random.uniform(-30, 115)
            pen.line([(x, y), (x - 2, y + 7)], (215, 230, 245, 200), 0.9)
    pen.line([(50, 18), (50, 84)], (90, 60, 40), 2.6)
    pen.arc(43, 84, 7, 8, 0, 180, (90, 60, 40), 2.6)
    for part in range(6):
        color = first if part % 2 else second
        pen.slice(50, 50, 44, 38, 180 + part * 30, 210 + part * 30, color)
    for part in range(6):
        pen.line([(50, 12), (50, 8)], BLACK, 1.6)
        x = 50 - 44 * math.cos(math.pi * (part + 0.5) / 6)
        pen.ellipse(x, 51, 6, 3.4, (130, 146, 164))


def _plant(pen: Pen, random: Random) -> None:
    petal = random.choice(VIVID)
    pen.polygon([(30, 66), (70, 66), (64, 98), (36, 98)], (186, 98, 62))
    pen.box(27, 60, 73, 69, (204, 114, 74), 1)
    for x, y in ((50, 22), (26, 36), (74, 34)):
        pen.line([(50, 62), (x, y)], (60, 130, 60), 2.4)
        for px, py in ring(x, y, 8.5, 7, random.random()):
            pen.ellipse(px, py, 5, 5, petal)
        pen.ellipse(x, y, 5.6, 5.6, (250, 210, 70))
    for x, y in ((38, 52), (62, 54)):
        pen.ellipse(x, y, 10, 4, (76, 156, 76))


def _abstract(pen: Pen, random: Random) -> None:
    for _ in range(14):
        color = (*random.choice(VIVID + SOFT), random.randrange(120, 230))
        x, y, r = random.uniform(-20, 120), random.uniform(-5, 105), random.uniform(6, 24)
        shape = random.randrange(3)
        if shape == 0:
            pen.ellipse(x, y, r, r, color)
        elif shape == 1:
            pen.polygon(ring(x, y, r, random.choice((3, 4, 6)), random.random()), color)
        else:
            pen.line([(x - r, y), (x, y - r), (x + r, y), (x, y + r)], color, r / 5)


def _cake(pen: Pen, random: Random) -> None:
    icing, base = random.choice(VIVID), (236, 206, 150)
    pen.ellipse(50, 90, 44, 7, (226, 226, 230))
    for top, half in ((58, 36), (34, 25)):
        pen.box(50 - half, top, 50 + half, top + 28, base)
        pen.box(50 - half, top, 50 + half, top + 9, icing)
        for step in range(int(half * 2 // 8)):
            pen.ellipse(50 - half + 4 + step * 8, top + 9, 4, 4 + random.uniform(0, 3), icing)
    for x in (34, 42, 50, 58, 66):
        pen.box(x - 1.2, 18, x + 1.2, 34, random.choice(VIVID))
        pen.ellipse(x, 14, 1.8, 3.4, (255, 190, 60))


def _shoe(pen: Pen, random: Random) -> None:
    leather, lace = random.choice(VIVID), random.choice((WHITE, BLACK))
    pen.ellipse(50, 84, 48, 5, (0, 0, 0, 70))
    pen.polygon([(8, 30), (30, 28), (44, 48), (74, 56), (94, 66), (96, 76), (8, 76)], leather)
    pen.box(4, 74, 98, 83, WHITE, 4)
    pen.slice(86, 76, 12, 13, 180, 360, shade(leather, 0.7))
    pen.polygon([(8, 30), (30, 28), (28, 38), (9, 40)], shade(leather, 0.6))
    for step in range(5):
        x, y = 34 + step * 7, 38 + step * 4
        pen.line([(x - 5, y + 5), (x + 4, y - 1)], lace, 2)
    pen.line([(14, 68), (40, 56), (62, 68)], WHITE, 3)


def _chair(pen: Pen, random: Random) -> None:
    with pen.backdrop():
        pen.box(-200, 84, 300, 200, (170, 130, 90, 190))
    wood, cushion = (
        random.choice(((140, 90, 50), (80, 56, 40), (200, 160, 110))),
        random.choice(VIVID),
    )
    for x in (30, 70):
        pen.line([(x, 4), (x, 54)], wood, 5)
        pen.line([(x - 3 if x < 50 else x + 3, 58), (x - 7 if x < 50 else x + 7, 96)], wood, 5)
    for y in (12, 26, 40):
        pen.line([(30, y), (70, y)], shade(wood, 0.9), 4)
    pen.polygon([(26, 52), (74, 52), (80, 64), (20, 64)], wood)
    pen.polygon([(30, 50), (70, 50), (74, 58), (26, 58)], cushion)
    pen.line([(24, 80), (76, 80)], wood, 2.6)


def _fish(pen: Pen, random: Random) -> None:
    scales, fin = random.sample(VIVID, 2)
    with pen.backdrop():
        pen.box(-200, -100, 300, 200, (60, 150, 190, 160))
        for _ in range(10):
            x, y, r = random.uniform(-40, 140), random.uniform(-10, 110), random.uniform(1, 3)
            pen.arc(x, y, r, r, 0, 360, WHITE, 0.7)
    pen.polygon([(72, 50), (96, 28), (90, 50), (96, 74)], fin)
    pen.polygon([(34, 34), (54, 14), (62, 34)], fin)
    pen.polygon([(40, 66), (54, 82), (58, 64)], fin)
    pen.ellipse(44, 50, 36, 21, scales)
    for column in range(4):
        for row in (-9, 0, 9):
            pen.arc(40 + column * 9, 50 + row, 5, 5, 270, 90, shade(scales, 0.7), 0.9)
    pen.ellipse(22, 44, 4.4, 4.4, WHITE)
    pen.ellipse(21, 44, 2.2, 2.2, BLACK)
    pen.line([(9, 56), (18, 58)], BLACK, 1.2)


def _balloons(pen: Pen, random: Random) -> None:
    for x, y in ((28, 30), (52, 18), (74, 34), (44, 46)):
        color = random.choice(VIVID)
        pen.line([(x, y + 20), (50, 96)], (90, 90, 96), 0.8)
        pen.ellipse(x, y, 15, 18, color)
        pen.polygon([(x, y + 17), (x - 3, y + 22), (x + 3, y + 22)], color)
        pen.ellipse(x - 5, y - 7, 3, 5, (255, 255, 255, 150))


def _apple(pen: Pen, random: Random) -> None:
    skin = random.choice(((210, 40, 44), (120, 180, 60), (240, 190, 60)))
    pen.ellipse(50, 92, 34, 5, (0, 0, 0, 70))
    for x in (38, 62):
        pen.ellipse(x, 56, 25, 33, skin)
    pen.ellipse(50, 28, 10, 5, shade(skin, 0.75))
    pen.line([(50, 30), (52, 18), (58, 10)], (100, 70, 40), 3)
    pen.ellipse(68, 16, 11, 5, (80, 150, 70))
    pen.ellipse(32, 46, 5, 10, (255, 255, 255, 120))


SCENES: dict[str, Callable[[Pen, Random], None]] = {
    "coffee": _coffee,
    "pizza": _pizza,
    "cat": _cat,
    "umbrella": _umbrella,
    "plant": _plant,
    "abstract": _abstract,
    "cake": _cake,
    "shoe": _shoe,
    "chair": _chair,
    "fish": _fish,
    "balloons": _balloons,
    "apple": _apple,
}


__all__ = ["SCENES"]
