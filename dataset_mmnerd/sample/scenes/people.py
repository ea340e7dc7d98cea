"""People: what an image shows of an entity of type PER."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from ..pen import BLACK, GREY, HAIR, SKIN, VIVID, WHITE, Color, Pen, ring, shade


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


def _body(pen: Pen, random: Random, top: Color, *, high: float = 100) -> Color:
    """Head, shoulders and chest of a person who faces us; the colour of the skin."""
    pen.polygon([(34, 44), (66, 44), (78, 56), (80, high), (20, high), (22, 56)], top)
    before = random.getstate()
    skin = _head(pen, 50, 26, 14, random)
    pen.box(44, 38, 56, 50, shade(skin, 0.88), 4)
    random.setstate(before)  # the same head again, in front of its neck
    return _head(pen, 50, 26, 14, random)


def _chef(pen: Pen, random: Random) -> None:
    skin = _body(pen, random, WHITE)
    for x in (38, 50, 62):
        pen.ellipse(x, 3, 9, 8, WHITE)
    pen.box(37, 4, 63, 15, (236, 236, 240))
    for y in (60, 70, 80):
        for x in (45, 55):
            pen.ellipse(x, y, 1.6, 1.6, BLACK)
    scarf = random.choice(VIVID)
    pen.polygon([(40, 46), (60, 46), (50, 56)], scarf)
    pen.line([(76, 60), (88, 72)], WHITE, 10)
    pen.ellipse(89, 73, 5, 5, skin)
    pen.line([(89, 76), (94, 44)], (150, 110, 70), 3)
    pen.ellipse(95, 38, 5, 7, (150, 110, 70))
    pen.box(24, 84, 76, 100, GREY, 2)
    pen.box(20, 81, 80, 86, shade(GREY, 0.7), 1)
    for x in (38, 52, 64):
        pen.line([(x, 79), (x + 3, 72), (x - 2, 66)], (255, 255, 255, 150), 2)


def _painter(pen: Pen, random: Random) -> None:
    smock, beret = random.sample(VIVID, 2)
    skin = _body(pen, random, smock)
    pen.ellipse(46, 11, 18, 7, beret)
    pen.line([(46, 5), (47, 1)], beret, 2)
    pen.line([(75, 60), (84, 76)], smock, 9)
    pen.ellipse(76, 82, 19, 11, (186, 138, 90))
    pen.ellipse(68, 86, 3.4, 3, WHITE)
    for (x, y), color in zip(
        ((64, 78), (72, 75), (81, 75), (89, 79), (88, 86)), VIVID, strict=False
    ):
        pen.ellipse(x, y, 3.2, 2.6, color)
    pen.line([(25, 60), (16, 44)], smock, 9)
    pen.ellipse(15, 40, 5, 5, skin)
    pen.line([(12, 52), (20, 18)], (150, 100, 60), 2)
    pen.polygon([(18, 19), (22, 19), (22, 9)], random.choice(VIVID))


def _runner(pen: Pen, random: Random) -> None:
    with pen.backdrop():
        pen.box(-200, 74, 300, 200, (196, 84, 60))
        for y in (80, 88, 98):
            pen.line([(-100, y), (200, y)], WHITE, 1)
    shirt, shorts = random.sample(VIVID, 2)
    look = random.getstate()
    skin = random.choice(SKIN)  # as of the head below
    pen.line([(50, 60), (36, 72), (18, 66)], skin, 8)
    pen.line([(52, 60), (68, 70), (66, 90)], skin, 8)
    pen.line([(18, 66), (14, 72)], BLACK, 6)
    pen.line([(64, 91), (74, 91)], BLACK, 6)
    pen.line([(44, 38), (28, 50), (34, 60)], skin, 6.5)
    pen.polygon([(42, 34), (62, 34), (60, 60), (40, 60)], shirt)
    pen.polygon([(39, 56), (62, 56), (64, 66), (36, 68)], shorts)
    pen.line([(60, 38), (74, 48), (82, 38)], skin, 6.5)
    pen.box(43, 42, 59, 53, WHITE)
    pen.text(51, 47.5, str(random.randrange(10, 99)), 9, BLACK)
    random.setstate(look)
    _head(pen, 54, 20, 10, random)


def _queen(pen: Pen, random: Random) -> None:
    robe = random.choice(((150, 20, 50), (60, 30, 120), (20, 60, 130)))
    _body(pen, random, robe)
    for x in range(24, 80, 8):
        pen.ellipse(x, 56 + abs(x - 50) / 6, 6, 5, WHITE)
        pen.ellipse(x, 57 + abs(x - 50) / 6, 1.2, 1.8, BLACK)
    gold = (245, 196, 60)
    pen.polygon([(35, 14), (33, -4), (42, 5), (50, -8), (58, 5), (67, -4), (65, 14)], gold)
    for x, y in ((33, -4), (50, -8), (67, -4)):
        pen.ellipse(x, y, 2.6, 2.6, random.choice(VIVID))
    pen.box(35, 10, 65, 14, shade(gold, 0.8))
    pen.line([(82, 100), (88, 40)], gold, 3)
    pen.ellipse(88.5, 36, 5, 5, gold)


def _astronaut(pen: Pen, random: Random) -> None:
    with pen.backdrop():
        pen.box(-200, -100, 300, 200, (16, 18, 44, 235))
        for _ in range(60):
            pen.ellipse(random.uniform(-70, 170), random.uniform(-30, 120), 0.7, 0.7, WHITE)
    suit = (228, 230, 236)
    pen.box(26, 44, 74, 100, shade(suit, 0.75), 8)
    pen.polygon([(32, 48), (68, 48), (76, 100), (24, 100)], suit)
    pen.line([(32, 54), (16, 72), (22, 90)], suit, 12)
    pen.line([(68, 54), (86, 68), (88, 46)], suit, 12)
    pen.ellipse(88, 40, 7, 7, GREY)
    pen.ellipse(50, 28, 25, 25, suit)
    _head(pen, 50, 28, 13, random)
    pen.arc(50, 28, 22, 22, 0, 360, random.choice(VIVID), 3)
    pen.arc(50, 28, 19, 19, 200, 290, (255, 255, 255, 150), 3)
    pen.box(38, 66, 62, 82, GREY, 2)
    for x in (43, 50, 57):
        pen.ellipse(x, 74, 2.2, 2.2, random.choice(VIVID))


def _scientist(pen: Pen, random: Random) -> None:
    skin = _body(pen, random, (240, 242, 246))
    pen.polygon([(43, 48), (57, 48), (50, 78)], random.choice(VIVID))
    pen.line([(43, 48), (50, 78), (57, 48)], GREY, 1)
    for side in (-1, 1):
        pen.arc(50 + side * 6, 26, 5, 4.4, 0, 360, BLACK, 1.2)
    pen.line([(24, 62), (12, 52), (16, 38)], (240, 242, 246), 9)
    pen.ellipse(16, 35, 4.5, 4.5, skin)
    liquid = random.choice(VIVID)
    pen.polygon([(13, 8), (19, 8), (19, 18), (30, 36), (2, 36), (13, 18)], (220, 236, 245, 190))
    pen.polygon([(10, 24), (22, 24), (30, 36), (2, 36)], liquid)
    for x, y in ((14, 29), (19, 32), (11, 33)):
        pen.ellipse(x, y, 1.4, 1.4, WHITE)


def _cyclist(pen: Pen, random: Random) -> None:
    with pen.backdrop():
        pen.box(-200, 90, 300, 200, (110, 112, 118))
    jersey, frame = random.sample(VIVID, 2)
    look = random.getstate()
    skin = random.choice(SKIN)  # as of the head below
    for x in (22, 78):
        pen.arc(x, 74, 19, 19, 0, 360, BLACK, 2.6)
        for spoke in ring(x, 74, 18, 8):
            pen.line([(x, 74), spoke], GREY, 0.5)
    pen.line([(22, 74), (38, 50), (70, 48), (78, 74)], frame, 2.6)
    pen.line([(38, 50), (48, 76), (70, 48)], frame, 2.6)
    pen.line([(22, 74), (48, 76)], frame, 2.6)
    pen.line([(70, 48), (72, 40), (79, 42)], BLACK, 2)
    pen.line([(36, 46), (56, 60), (48, 80)], skin, 6.5)
    pen.line([(36, 46), (60, 26)], jersey, 14)
    pen.line([(61, 28), (70, 40), (78, 42)], skin, 5)
    pen.line([(34, 46), (46, 53)], BLACK, 8)
    random.setstate(look)
    _head(pen, 67, 16, 8, random)
    pen.slice(67, 12, 11, 10, 180, 360, random.choice(VIVID))


def _teacher(pen: Pen, random: Random) -> None:
    with pen.backdrop():
        pen.box(-60, -10, 160, 66, (150, 104, 60))
        pen.box(-56, -6, 156, 62, (36, 84, 66))
        for row in range(4):
            start = random.uniform(-50, -20)
            pen.line(
                [(start, 6 + row * 14), (start + random.uniform(20, 42), 6 + row * 14)], WHITE, 1
            )
        pen.text(112, 16, f"{random.randrange(2, 9)} x {random.randrange(2, 9)}", 14, WHITE)
        pen.line([(92, 34), (132, 34), (112, 54), (92, 34)], WHITE, 1)
    top = random.choice(VIVID)
    skin = _body(pen, random, top)
    pen.line([(76, 60), (90, 48), (92, 30)], top, 9)
    pen.ellipse(92, 26, 4.5, 4.5, skin)
    pen.line([(92, 25), (100, 10)], WHITE, 2)


SCENES: dict[str, Callable[[Pen, Random], None]] = {
    "singer": _singer,
    "guitarist": _guitarist,
    "portrait": _portrait,
    "speaker": _speaker,
    "chef": _chef,
    "painter": _painter,
    "runner": _runner,
    "queen": _queen,
    "astronaut": _astronaut,
    "scientist": _scientist,
    "cyclist": _cyclist,
    "teacher": _teacher,
}


__all__ = ["SCENES"]
