"""The scenes of the drawn images: what an image shows tells the type of the entity.

`SCENES` lists them by entity type. A scene function draws with a pen and takes all variation from a
random state.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

from .pen import BLACK, GREY, HAIR, SKIN, SOFT, VIVID, WHITE, Color, Pen, Point, ring, shade, star

# People -------------------------------------------------------------------------------------------


def _head(
    pen: Pen, x: float, y: float, r: float, random: Random, *, singing: bool = False
) -> Color:
    """A face of half-width `r` with hair, eyes, brows, nose and mouth; the colour of its skin."""
    skin, hair = random.choice(SKIN), random.choice(HAIR)
    style = random.randrange(4)
    if style == 0:  # long
        pen.ellipse(x, y - 0.05 * r, 1.3 * r, 1.35 * r, hair)
        pen.box(x - 1.3 * r, y - 0.05 * r, x + 1.3 * r, y + 1.7 * r, hair, 0.4 * r)
    elif style == 1:  # curls
        for cx, cy in ring(x, y - 0.35 * r, 1.05 * r, 11):
            pen.ellipse(cx, cy, 0.45 * r, 0.45 * r, hair)
    elif style == 2:  # bun
        pen.ellipse(x, y - 1.5 * r, 0.5 * r, 0.45 * r, hair)
    pen.ellipse(x - r, y + 0.1 * r, 0.2 * r, 0.28 * r, shade(skin, 0.9))
    pen.ellipse(x + r, y + 0.1 * r, 0.2 * r, 0.28 * r, shade(skin, 0.9))
    pen.ellipse(x, y, r, 1.25 * r, skin)
    pen.slice(x, y - 0.2 * r, 1.06 * r, 1.12 * r, 180, 360, hair)
    pen.ellipse(x + 0.1 * r, y - 0.12 * r, 0.82 * r, 0.42 * r, skin)
    for side in (-1, 1):
        eye = x + side * 0.4 * r
        pen.ellipse(eye, y + 0.02 * r, 0.2 * r, 0.13 * r, WHITE)
        pen.ellipse(eye, y + 0.02 * r, 0.1 * r, 0.11 * r, BLACK)
        brow = [(eye - 0.22 * r, y - 0.24 * r), (eye + 0.22 * r, y - 0.27 * r)]
        pen.line(brow, shade(hair, 0.8), 0.09 * r)
    nose = [(x, y + 0.08 * r), (x - 0.1 * r, y + 0.4 * r), (x + 0.06 * r, y + 0.42 * r)]
    pen.line(nose, shade(skin, 0.78), 0.07 * r)
    if singing:
        pen.ellipse(x, y + 0.78 * r, 0.24 * r, 0.26 * r, (110, 20, 30))
        pen.box(x - 0.16 * r, y + 0.55 * r, x + 0.16 * r, y + 0.64 * r, WHITE)
    else:
        pen.slice(x, y + 0.62 * r, 0.38 * r, 0.28 * r, 10, 170, (170, 40, 50))
        if random.random() < 0.3:
            for side in (-1, 1):
                glass = (x + side * 0.4 * r, y + 0.02 * r, 0.3 * r, 0.26 * r)
                pen.arc(*glass, 0, 360, BLACK, 0.07 * r)
            pen.line([(x - 0.1 * r, y), (x + 0.1 * r, y)], BLACK, 0.07 * r)
    return skin


def _stage(pen: Pen, random: Random) -> None:
    with pen.backdrop():
        pen.box(-200, -100, 300, 200, (34, 22, 52, 215))
        for x in (-30, 12, 80, 125):
            color = (*random.choice(VIVID), 90)
            target = x + random.uniform(-25, 45)
            pen.polygon([(x, -60), (x + 6, -60), (target + 20, 92), (target - 16, 92)], color)
        pen.box(-200, 90, 300, 200, (70, 44, 34))


def _crowd(pen: Pen, random: Random) -> None:
    with pen.backdrop():
        for x in range(-70, 180, 13):
            top = 96 + random.uniform(-3, 4)
            pen.ellipse(x, top, 6, 7, BLACK)
            if random.random() < 0.5:
                pen.line([(x + 6, 104), (x + 8, top - 12)], BLACK, 3)


def _singer(pen: Pen, random: Random) -> None:
    _stage(pen, random)
    top, trousers = random.choice(VIVID), random.choice(((30, 34, 60), (60, 50, 50), BLACK))
    pen.line([(45, 62), (42, 92)], trousers, 9)
    pen.line([(55, 62), (59, 92)], trousers, 9)
    pen.polygon([(35, 37), (65, 37), (61, 66), (39, 66)], top)
    pen.line([(37, 40), (17, 28 + random.uniform(-8, 10))], top, 7)
    skin = _head(pen, 50, 20, 11, random, singing=True)
    pen.line([(64, 41), (74, 52)], top, 7)
    pen.line([(74, 52), (63, 36)], skin, 5.5)
    pen.line([(67, 42), (58, 32)], BLACK, 3.6)
    pen.ellipse(57, 30.5, 4.6, 4.6, GREY)
    for offset in (-2, 0, 2):
        pen.line([(54, 30.5 + offset), (60, 30.5 + offset)], BLACK, 0.5)
    _crowd(pen, random)


def _guitarist(pen: Pen, random: Random) -> None:
    _stage(pen, random)
    top, wood = random.choice(VIVID), random.choice(((170, 90, 40), (200, 40, 40), (60, 40, 30)))
    pen.line([(45, 64), (41, 94)], (40, 50, 90), 10)
    pen.line([(55, 64), (60, 94)], (40, 50, 90), 10)
    pen.polygon([(34, 38), (66, 38), (62, 70), (38, 70)], top)
    skin = _head(pen, 50, 20, 11.5, random)
    pen.line([(60, 58), (96, 36)], shade(wood, 0.6), 4)
    pen.line([(94, 37), (101, 32)], BLACK, 6)
    pen.ellipse(40, 70, 13, 12, wood)
    pen.ellipse(55, 61, 10.5, 10, wood)
    pen.ellipse(50, 64, 4.6, 4.6, BLACK)
    for offset in (-1, 0.2, 1.4):
        pen.line([(40, 70 + offset), (95, 36 + offset)], WHITE, 0.4)
    pen.line([(35, 42), (27, 58)], top, 7)
    pen.line([(27, 58), (43, 66)], skin, 6)
    pen.line([(65, 42), (78, 56)], top, 7)
    pen.line([(78, 56), (82, 45)], skin, 6)
    _crowd(pen, random)


def _portrait(pen: Pen, random: Random) -> None:
    cloth = random.choice(VIVID)
    pen.ellipse(50, 110, 47, 42, cloth)
    collar = [(36, 72), (50, 86), (64, 72), (72, 80), (50, 101), (28, 80)]
    before = random.getstate()
    skin = _head(pen, 50, 38, 22, random)
    pen.box(40, 56, 60, 80, shade(skin, 0.88), 6)
    pen.polygon(collar, shade(cloth, 0.75))
    random.setstate(before)  # the same head again, in front of its neck
    _head(pen, 50, 38, 22, random)


def _speaker(pen: Pen, random: Random) -> None:
    suit, tie = random.choice(((40, 44, 66), (70, 70, 78), (110, 60, 60))), random.choice(VIVID)
    pen.polygon([(28, 48), (72, 48), (80, 100), (20, 100)], suit)
    pen.polygon([(43, 46), (57, 46), (50, 72)], WHITE)
    pen.polygon([(48, 48), (52, 48), (54, 66), (50, 71), (46, 66)], tie)
    skin = _head(pen, 50, 25, 14, random)
    pen.line([(71, 53), (88, 42)], suit, 9)
    pen.line([(88, 42), (91, 26)], suit, 8)
    pen.ellipse(91, 21, 4.5, 5.5, skin)
    pen.polygon([(16, 76), (84, 76), (76, 110), (24, 110)], (150, 100, 60))
    pen.box(12, 72, 88, 79, (178, 126, 80), 1)
    for x, lean in ((38, -4), (62, 4)):
        pen.line([(x + lean, 72), (x, 58)], BLACK, 1.6)
        pen.ellipse(x, 56, 3, 4.4, BLACK)


# Places -------------------------------------------------------------------------------------------


def _sky(pen: Pen, random: Random) -> None:
    with pen.backdrop():
        if random.random() < 0.5:
            pen.ellipse(random.uniform(-10, 110), random.uniform(4, 18), 9, 9, (255, 214, 80))
        for _ in range(random.randrange(3)):
            x, y = random.uniform(-20, 110), random.uniform(4, 24)
            for dx, r in ((-8, 5), (0, 7), (8, 5)):
                pen.ellipse(x + dx, y, r + 3, r, (255, 255, 255, 210))


def _tree(pen: Pen, x: float, ground: float, size: float) -> None:
    pen.box(x - size * 0.08, ground - size * 0.5, x + size * 0.08, ground, (100, 70, 45))
    for dx, dy in ((-0.22, 0.55), (0.22, 0.55), (0, 0.8)):
        pen.ellipse(x + dx * size, ground - dy * size, 0.27 * size, 0.27 * size, (50, 130, 70))


def _house(pen: Pen, x: float, ground: float, wide: float, high: float, random: Random) -> None:
    walls = ((240, 220, 180), (226, 160, 120), (200, 210, 220), (235, 200, 90), (190, 90, 70))
    wall, roof = random.choice(walls), random.choice(((150, 60, 45), (90, 70, 70), (60, 70, 90)))
    eaves = ground - high
    pen.box(x + wide * 0.7, eaves - wide * 0.5, x + wide * 0.82, eaves, shade(roof, 0.7))
    peak = (x + wide / 2, eaves - wide * 0.52)
    pen.polygon([(x - wide * 0.07, eaves), peak, (x + wide * 1.07, eaves)], roof)
    pen.box(x, eaves, x + wide, ground, wall)
    pen.box(x + wide * 0.4, ground - high * 0.4, x + wide * 0.62, ground, (90, 50, 35))
    for column in (0.12, 0.68):
        for row in (0.16, 0.62):
            left, top = x + column * wide, eaves + row * high
            pen.box(left - 0.6, top - 0.6, left + 0.2 * wide + 0.6, top + 0.2 * high + 0.6, WHITE)
            pen.box(left, top, left + 0.2 * wide, top + 0.2 * high, (110, 160, 200))
            pen.line([(left + 0.1 * wide, top), (left + 0.1 * wide, top + 0.2 * high)], WHITE, 0.7)


def _street(pen: Pen, random: Random) -> None:
    _sky(pen, random)
    pen.box(-200, 76, 300, 200, (150, 150, 152))
    pen.box(-200, 82, 300, 200, (76, 78, 84))
    for stripe in range(-80, 180, 18):
        pen.box(stripe, 90, stripe + 9, 92, WHITE)
    x = -62.0
    while x < 160:
        wide = random.uniform(22, 30)
        _house(pen, x, 76, wide, random.uniform(26, 44), random)
        x += wide + 2.5
    _tree(pen, random.uniform(0, 100), 80, 26)
    lamp = random.uniform(10, 90)
    pen.line([(lamp, 84), (lamp, 40), (lamp + 7, 38)], BLACK, 1.5)
    pen.ellipse(lamp + 8, 39, 3, 2, (255, 236, 150))


def _skyline(pen: Pen, random: Random) -> None:
    _sky(pen, random)
    x = -70.0
    while x < 165:
        wide, high = random.uniform(13, 20), random.uniform(28, 70)
        tone = shade((90, 105, 135), random.uniform(0.55, 1.2))
        pen.box(x, 78 - high, x + wide, 78, tone)
        if random.random() < 0.4:
            pen.line([(x + wide / 2, 78 - high), (x + wide / 2, 66 - high)], tone, 1.2)
        for row in range(int(high // 7)):
            for column in range(int(wide // 4.5)):
                light = (255, 226, 130) if random.random() < 0.6 else shade(tone, 0.7)
                left, top = x + 2 + column * 4.5, 81 - high + row * 7
                pen.box(left, top, left + 2.4, top + 3.8, light)
        x += wide + random.choice((0, 1.5, 4))
    pen.box(-200, 78, 300, 200, (50, 96, 140))
    for _ in range(26):
        x, y = random.uniform(-70, 170), random.uniform(80, 110)
        pen.line([(x, y), (x + random.uniform(5, 14), y)], (190, 215, 235, 150), 0.8)


def _village(pen: Pen, random: Random) -> None:
    _sky(pen, random)
    for x, y, r in ((-20, 92, 50), (60, 96, 58), (130, 94, 52)):
        pen.ellipse(x, y, r * 1.3, r, shade((110, 165, 90), random.uniform(0.8, 1.1)))
    pen.box(-200, 82, 300, 200, (120, 175, 90))
    pen.polygon([(44, 82), (54, 82), (80, 125), (24, 125)], (214, 190, 140))
    pen.box(40, 34, 54, 80, (236, 228, 212))
    pen.polygon([(38, 34), (47, 6), (56, 34)], (110, 66, 60))
    pen.line([(47, 7), (47, -2)], BLACK, 1)
    pen.line([(44.5, 1), (49.5, 1)], BLACK, 1)
    pen.ellipse(47, 42, 4, 4, WHITE)
    pen.line([(47, 42), (47, 39.5)], BLACK, 0.7)
    pen.line([(47, 42), (49, 43)], BLACK, 0.7)
    pen.polygon([(52, 56), (72, 44), (92, 56)], (140, 66, 50))
    pen.box(54, 56, 90, 80, (236, 228, 212))
    for x in (60, 70, 80):
        pen.box(x, 62, x + 4, 74, (110, 150, 190), 2)
    for x in (-42, 6, 98, 132):
        _house(pen, x + random.uniform(-4, 4), 84, 22, random.uniform(15, 20), random)
    _tree(pen, random.uniform(-30, 20), 90, 24)


def _map(pen: Pen, random: Random) -> None:
    pen.box(-200, -200, 300, 300, (236, 232, 220))
    pen.polygon([(-90, 8), (24, -40), (40, 22), (-60, 52)], (188, 222, 170))
    river = [(-90, 88), (0, 74), (40, 90), (100, 78), (190, 96)]
    pen.line(river, (150, 200, 235), 11)
    roads: list[list[Point]] = [[(-90, y), (190, y + random.uniform(-34, 34))] for y in (4, 38, 64)]
    roads += [[(x, -60), (x + random.uniform(-34, 34), 170)] for x in (-30, 22, 56, 92, 130)]
    for width, color in ((6.4, (200, 196, 186)), (4.6, WHITE)):
        for road in roads:
            pen.line(road, color, width)
    pen.line([(-90, 110), (50, 60), (190, 20)], (246, 206, 100), 6)
    for _ in range(9):
        x, y = random.uniform(-60, 150), random.uniform(-20, 110)
        pen.box(x, y, x + 9, y + 6, (214, 206, 194))
    x, y = random.uniform(38, 62), random.uniform(60, 74)
    color = random.choice(VIVID)
    pen.ellipse(x, y, 9, 3, (0, 0, 0, 70))
    pen.polygon([(x - 14.5, y - 29), (x + 14.5, y - 29), (x, y)], color)
    pen.ellipse(x, y - 34, 16, 16, color)
    pen.ellipse(x, y - 34, 7, 7, WHITE)


# Clubs and companies ------------------------------------------------------------------------------


def _ball(pen: Pen, x: float, y: float, r: float, turn: float) -> None:
    def at(radius: float, angle: float) -> Point:
        return ring(x, y, r * radius, 1, turn + angle)[0]

    fifth = 2 * math.pi / 5
    pen.ellipse(x, y, r * 1.03, r * 1.03, BLACK)
    pen.ellipse(x, y, r * 0.97, r * 0.97, WHITE)
    pen.polygon(ring(x, y, r * 0.36, 5, turn), BLACK)
    for angle in (step * fifth for step in range(5)):
        pen.line([at(0.36, angle), at(0.68, angle)], BLACK, r * 0.06)
        rim = [at(0.96, angle - 0.3), at(0.96, angle), at(0.96, angle + 0.3)]
        pen.polygon([*rim, at(0.76, angle + 0.24), at(0.68, angle), at(0.76, angle - 0.24)], BLACK)
        seam = [at(0.76, angle + 0.24), at(0.8, angle + fifth / 2), at(0.76, angle + fifth - 0.24)]
        pen.line(seam, BLACK, r * 0.05)


def _crest(pen: Pen, random: Random) -> None:
    first, second = random.sample(VIVID, 2)
    shield = [(18, 12), (82, 12), (82, 52), (74, 74), (50, 94), (26, 74), (18, 52)]
    inner = [(50 + (x - 50) * 0.9, 52 + (y - 52) * 0.9) for x, y in shield]
    pen.polygon([(x + 2, y + 3) for x, y in shield], (0, 0, 0, 70))
    pen.polygon(shield, WHITE)
    pen.polygon(inner, first)
    if random.random() < 0.5:
        for x in (27, 45, 63):
            low = {27: 74.5, 45: 89, 63: 80}[x]
            pen.polygon([(x, 16), (x + 9, 16), (x + 9, low), (x, low - 2)], second)
    else:
        pen.polygon([(50, 16), (78.8, 16), (78.8, 52), (50, 52)], second)
        pen.polygon([(21.2, 52), (50, 52), (50, 89.8), (28.4, 72)], second)
    _ball(pen, 50, 58, 17, random.uniform(0, 1))
    pen.polygon([(12, 26), (88, 26), (94, 33), (88, 40), (12, 40), (6, 33)], (245, 230, 190))
    pen.text(50, 33, f"SINCE {random.randrange(1880, 1970)}", 9, BLACK)
    for x in (36, 50, 64):
        star(pen, x, 4, 5, (245, 190, 40))


def _stadium(pen: Pen, random: Random) -> None:
    for x in (-28, 128):
        pen.line([(x, 52), (x, -2)], GREY, 2)
        pen.box(x - 9, -10, x + 9, 2, (70, 74, 84))
        for row in (-8, -3):
            for column in (-7, -2.5, 2, 6.5):
                pen.ellipse(x + column, row + 1, 1.8, 1.8, (255, 250, 205))
    pen.polygon([(-70, 18), (170, 18), (170, 12), (-70, 12)], (86, 92, 104))
    pen.polygon([(-70, 18), (170, 18), (170, 54), (-70, 54)], (120, 124, 136))
    fans = [*random.sample(VIVID, 2), WHITE]
    for row in range(6):
        for column in range(62):
            color = shade(random.choice(fans), random.uniform(0.7, 1))
            pen.ellipse(-68 + column * 4, 21.5 + row * 5.4, 1.6, 1.9, color)
    pen.polygon([(-70, 54), (170, 54), (210, 130), (-110, 130)], (70, 150, 60))
    for band in range(-4, 6, 2):
        left, right = 50 + band * 22, 50 + (band + 1) * 22
        outer = (50 + (left - 50) * 1.6, 50 + (right - 50) * 1.6)
        pen.polygon([(left, 54), (right, 54), (outer[1], 130), (outer[0], 130)], (86, 168, 72))
    pen.line([(-60, 58), (160, 58)], WHITE, 1)
    pen.line([(50, 58), (50, 130)], WHITE, 1)
    pen.arc(50, 84, 24, 11, 0, 360, WHITE, 1)
    for x in (-14, 96):
        pen.line([(x, 64), (x, 47), (x + 20, 47), (x + 20, 64)], WHITE, 1.4)
        for step in range(1, 5):
            pen.line([(x + step * 4, 47), (x + step * 4, 63)], (255, 255, 255, 120), 0.4)
    _ball(pen, random.uniform(34, 66), 90, 7, random.uniform(0, 1))


def _pennant(pen: Pen, random: Random) -> None:
    first, second = random.sample(VIVID, 2)
    pen.line([(8, 6), (60, 6)], (150, 110, 60), 2.5)
    pen.polygon([(12, 7), (56, 7), (34, 82)], first)
    pen.polygon([(22, 7), (31, 7), (34, 40), (34, 82)], second)
    pen.polygon([(37, 7), (46, 7), (34, 82), (34, 40)], second)
    star(pen, 34, 24, 11, WHITE)
    for step in range(8):
        x, y = 12 + step * 2.75, 7 + step * 9.4
        pen.line([(x, y), (x - 3, y + 3)], (245, 200, 80), 0.9)
        pen.line([(68 - x, y), (71 - x, y + 3)], (245, 200, 80), 0.9)
    pen.ellipse(71, 95, 24, 4, (0, 0, 0, 80))
    _ball(pen, 71, 71, 24, random.uniform(0, 1))


def _van(pen: Pen, random: Random) -> None:
    """A company's delivery van, its sign on the side."""
    body, sign = random.sample(VIVID, 2)
    with pen.backdrop():
        pen.box(-200, 86, 300, 200, (96, 98, 104))
        pen.box(-200, 84, 300, 87, (170, 170, 168))
    pen.ellipse(50, 92, 56, 4, (0, 0, 0, 90))
    pen.box(-4, 26, 68, 84, WHITE, 3)
    pen.box(-4, 66, 68, 74, body)
    pen.polygon([(68, 40), (84, 40), (97, 60), (104, 64), (104, 84), (68, 84)], body)
    pen.polygon([(73, 45), (82, 45), (91, 60), (73, 60)], (176, 214, 236))
    pen.line([(71, 44), (71, 82)], shade(body, 0.7), 0.9)
    pen.line([(75, 66), (80, 66)], BLACK, 1.4)
    pen.ellipse(102, 70, 2.6, 3.4, (255, 236, 150))
    pen.box(-6, 80, 106, 86, GREY, 2)
    for x in (14, 86):
        pen.ellipse(x, 86, 11, 11, BLACK)
        pen.ellipse(x, 86, 5.5, 5.5, (190, 192, 198))
    pen.polygon(ring(20, 46, 14, random.choice((4, 6, 8))), sign)
    pen.ellipse(20, 46, 7, 7, WHITE)
    pen.text(49, 42, "& Co", 11, body)
    for row in range(2):
        pen.box(38, 50 + row * 5, 60 - row * 8, 52.4 + row * 5, GREY)


# Works --------------------------------------------------------------------------------------------


def _clapper(pen: Pen, random: Random) -> None:
    pen.polygon([(10, 35), (87, 12), (90, 22), (13, 45)], BLACK)
    for step in range(5):
        x = 15 + step * 16
        y = 35 - 0.3 * (x - 10)
        stripe = [(x, y), (x + 7, y - 2.1), (x + 12, y + 6.2), (x + 5, y + 8.3)]
        pen.polygon(stripe, WHITE)
    pen.box(10, 42, 92, 94, BLACK, 2)
    pen.box(10, 42, 92, 53, (60, 60, 66))
    for step in range(5):
        x = 16 + step * 16
        pen.polygon([(x, 42), (x + 8, 42), (x + 2, 53), (x - 6, 53)], WHITE)
    for y in (67, 80):
        pen.line([(14, y), (88, y)], WHITE, 0.9)
    for x in (39, 63):
        pen.line([(x, 67), (x, 91)], WHITE, 0.9)
    pen.text(51, 60.5, "FILM", 10, WHITE)
    for x in (26, 51, 76):
        pen.text(x, 73.5, str(random.randrange(1, 40)), 9, WHITE)
        pen.text(x, 86.5, str(random.randrange(1, 40)), 9, WHITE)
    pen.ellipse(14, 40, 3.5, 3.5, GREY)


def _cinema(pen: Pen, random: Random) -> None:
    pen.box(-200, -200, 300, 300, (30, 20, 34))
    pen.box(8, 6, 92, 56, (252, 250, 236))
    sky, hill = random.choice(SOFT[:6]), random.choice(VIVID)
    pen.box(10, 8, 90, 54, sky)
    pen.ellipse(random.uniform(25, 75), 24, 8, 8, (255, 220, 110))
    pen.polygon([(10, 54), (34, 28), (52, 46), (68, 32), (90, 54)], shade(hill, 0.7))
    curtain = random.choice(((170, 26, 38), (130, 20, 50), (40, 50, 120)))
    for left in (-72, 96):
        for fold in range(10):
            edge = left + fold * 8
            pen.box(edge, -60, edge + 8, 66, shade(curtain, 0.75 + 0.35 * (fold % 2)))
    pen.polygon([(-72, -60), (172, -60), (172, 0), (-72, 0)], shade(curtain, 0.9))
    for row, (y, size) in enumerate(((74, 6), (92, 8.5))):
        for step in range(18):
            x = -78 + step * size * 2.4 + row * 9
            pen.box(x - size, y + 2, x + size, y + 24, (96, 24, 34), 3)
            if random.random() < 0.75:
                pen.ellipse(x, y - size * 0.3, size * 0.62, size * 0.75, BLACK)
    pen.polygon([(10, 56), (90, 56), (130, 130), (-30, 130)], (255, 250, 220, 26))


def _book(pen: Pen, random: Random) -> None:
    cover, ribbon = random.sample(VIVID, 2)
    pen.ellipse(50, 88, 50, 7, (0, 0, 0, 70))
    pen.polygon([(2, 26), (50, 34), (98, 26), (98, 86), (50, 92), (2, 86)], cover)
    for side in (-1, 1):
        for sheet in (0, 1.5, 3):
            page = [(0, 30 - sheet), (22, 22 - sheet), (44 - sheet / 2, 22), (44 - sheet / 2, 80)]
            page += [(22, 79), (0, 87)]
            tone = shade((255, 250, 236), 0.94 + sheet / 50)
            pen.polygon([(50 + side * x, y) for x, y in page], tone)
        for row in range(9):
            y = 32 + row * 5.4
            end = 39 if random.random() < 0.75 else random.uniform(18, 34)
            points = [(50 + side * x, y + drop) for x, drop in ((5, 2), (20, -3), (end, -3))]
            pen.line(points, (110, 106, 100), 1.1)
    pen.line([(50, 28), (50, 90)], (170, 160, 140), 1.4)
    pen.polygon([(52, 30), (57, 29), (57, 97), (54.5, 93), (52, 98)], ribbon)


def _record(pen: Pen, random: Random) -> None:
    sleeve, shape = random.sample(VIVID, 2)
    pen.ellipse(66, 50, 33, 33, BLACK)
    for radius in (30, 27, 24, 21, 18, 15):
        pen.arc(66, 50, radius, radius, 0, 360, (74, 74, 80), 0.6)
    pen.arc(66, 50, 25, 25, 290, 330, (180, 180, 190, 160), 6)
    pen.ellipse(66, 50, 11, 11, shape)
    pen.ellipse(66, 50, 2, 2, WHITE)
    pen.box(1, 16, 67, 84, (0, 0, 0, 60), 1)
    pen.box(0, 14, 65, 82, sleeve, 1)
    pen.ellipse(32, 44, 18, 18, shape)
    note = WHITE
    pen.line([(27, 54), (27, 33), (42, 29), (42, 50)], note, 2.6)
    pen.ellipse(23.5, 54, 4.6, 3.6, note)
    pen.ellipse(38.5, 50, 4.6, 3.6, note)
    for row in range(2):
        pen.box(8, 69 + row * 5, 40 - row * 10, 71.5 + row * 5, WHITE)


# No entity ----------------------------------------------------------------------------------------


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


SCENES: dict[str, dict[str, Callable[[Pen, Random], None]]] = {
    "PER": {
        "singer": _singer,
        "guitarist": _guitarist,
        "portrait": _portrait,
        "speaker": _speaker,
    },
    "LOC": {"street": _street, "skyline": _skyline, "village": _village, "map": _map},
    "ORG": {"crest": _crest, "stadium": _stadium, "pennant": _pennant, "van": _van},
    "MISC": {"clapper": _clapper, "cinema": _cinema, "book": _book, "record": _record},
    "O": {
        "coffee": _coffee,
        "pizza": _pizza,
        "cat": _cat,
        "umbrella": _umbrella,
        "plant": _plant,
        "abstract": _abstract,
    },
}
"""The scenes of each entity type. Those of `O` show no entity."""

SCENES_OF_KIND = {"ORG.club": ("crest", "pennant", "stadium"), "ORG.firm": ("van",)}
"""The scenes that fit a kind of names."""


__all__ = ["SCENES", "SCENES_OF_KIND"]
