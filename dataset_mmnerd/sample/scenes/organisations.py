"""Clubs and companies: what an image shows of an entity of type ORG."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

from ..pen import BLACK, GREY, HAIR, SKIN, VIVID, WHITE, Color, Pen, Point, ring, shade, star


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


def _emblem(
    pen: Pen, x: float, y: float, r: float, random: Random, color: Color, inner: Color
) -> None:
    """A company's sign: a plain figure in a disc, a square or a hexagon."""
    ground = random.randrange(3)
    if ground == 0:
        pen.ellipse(x, y, r, r, color)
    elif ground == 1:
        pen.box(x - r * 0.9, y - r * 0.9, x + r * 0.9, y + r * 0.9, color, r * 0.3)
    else:
        pen.polygon(ring(x, y, r, 6), color)
    figure = random.randrange(4)
    if figure == 0:
        star(pen, x, y, r * 0.6, inner)
    elif figure == 1:
        pen.arc(x, y, r * 0.5, r * 0.5, 30, 330, inner, r * 0.22)
    elif figure == 2:
        points = [(-0.5, 0.4), (-0.5, -0.4), (0, 0.2), (0.5, -0.4), (0.5, 0.4)]
        pen.line([(x + dx * r, y + dy * r) for dx, dy in points], inner, r * 0.2)
    else:
        for step in range(3):
            left = x - 0.5 * r + step * 0.38 * r
            pen.box(left, y + (0.2 - 0.3 * step) * r, left + 0.26 * r, y + 0.5 * r, inner)


def _headquarters(pen: Pen, random: Random) -> None:
    """An office tower with the company's sign on its roof."""
    with pen.backdrop():
        pen.box(-200, 88, 300, 200, (150, 152, 150))
    glass, sign = (
        random.choice(((120, 170, 200), (140, 190, 190), (110, 130, 160))),
        random.choice(VIVID),
    )
    pen.box(24, 24, 76, 90, shade(glass, 0.7))
    for row in range(9):
        for column in range(6):
            tone = shade(glass, random.uniform(0.85, 1.2))
            left, top = 26 + column * 8.2, 26 + row * 6.6
            pen.box(left, top, left + 7, top + 5.4, tone)
    pen.box(20, 86, 80, 90, GREY)
    pen.box(42, 78, 58, 90, (50, 60, 76))
    pen.line([(50, 78), (50, 90)], WHITE, 0.8)
    pen.box(30, 20, 70, 25, GREY)
    _emblem(pen, 50, 9, 13, random, sign, WHITE)
    for x in (8, 92):
        pen.line([(x, 90), (x, 52)], GREY, 1)
        pen.box(x, 52, x + 11, 60, sign)


def _factory(pen: Pen, random: Random) -> None:
    with pen.backdrop():
        pen.box(-200, 86, 300, 200, (120, 124, 112))
    wall, sign = (
        random.choice(((170, 90, 70), (180, 176, 168), (150, 110, 90))),
        random.choice(VIVID),
    )
    for x in (14, 28):
        pen.polygon([(x - 4, 88), (x - 2.6, 14), (x + 2.6, 14), (x + 4, 88)], shade(wall, 0.8))
        pen.box(x - 2.8, 18, x + 2.8, 22, WHITE)
        for step in range(4):
            drift = random.uniform(2, 6) * (step + 1)
            pen.ellipse(x + drift, 10 - step * 7, 5 + step * 2, 4 + step, (210, 210, 214, 200))
    for step in range(4):
        left = 38 + step * 16
        pen.polygon(
            [(left, 46), (left + 14, 32), (left + 16, 32), (left + 16, 50), (left, 50)],
            shade(wall, 0.9),
        )
        pen.polygon([(left + 3, 45), (left + 13, 35), (left + 13, 45)], (176, 214, 236))
    pen.box(6, 48, 102, 88, wall)
    for x in range(10, 46, 9):
        pen.box(x, 72, x + 6, 80, (90, 110, 130))
    pen.box(80, 66, 98, 88, (70, 74, 84))
    for y in range(68, 88, 4):
        pen.line([(80, y), (98, y)], GREY, 0.6)
    pen.box(12, 52, 74, 68, WHITE, 1)
    _emblem(pen, 22, 60, 6.5, random, sign, WHITE)
    pen.text(51, 60, random.choice(("WORKS", "& SONS", "INC.", "GROUP", "CO.")), 11, sign)


def _shop(pen: Pen, random: Random) -> None:
    with pen.backdrop():
        pen.box(-200, 88, 300, 200, (160, 156, 150))
    front, sign = random.sample(VIVID, 2)
    pen.box(4, 6, 96, 90, (226, 210, 190))
    pen.box(4, 20, 96, 90, shade(front, 0.6))
    pen.box(4, 8, 96, 24, front)
    _emblem(pen, 18, 16, 7, random, WHITE, front)
    pen.text(
        58, 16, random.choice(("OPEN 24 H", "SINCE 1962", "SALE", "& CO", "BEST PRICE")), 10, WHITE
    )
    for step in range(10):
        color = sign if step % 2 else WHITE
        left = 4 + step * 9.2
        pen.box(left, 24, left + 9.2, 36, color)
        pen.ellipse(left + 4.6, 36, 4.6, 3.4, color)
    pen.box(10, 44, 56, 80, (190, 220, 235))
    for row in (58, 76):
        pen.line([(10, row), (56, row)], (110, 80, 60), 1.6)
        for x in range(14, 54, 8):
            pen.box(x, row - random.uniform(5, 11), x + 5, row, random.choice(VIVID))
    pen.box(64, 42, 88, 90, shade(front, 0.8))
    pen.box(67, 46, 85, 78, (170, 205, 225))
    pen.ellipse(84, 66, 1.6, 1.6, (245, 200, 80))


def _aeroplane(pen: Pen, random: Random) -> None:
    """An airline's aeroplane, with its sign on the tail."""
    with pen.backdrop():
        for _ in range(6):
            x, y = random.uniform(-40, 140), random.uniform(0, 100)
            pen.ellipse(x, y, 14, 5, (255, 255, 255, 190))
    tail = random.choice(VIVID)
    pen.polygon([(8, 16), (22, 16), (38, 46), (14, 50)], tail)
    pen.polygon([(6, 52), (22, 50), (10, 62), (2, 62)], shade(tail, 0.8))
    pen.polygon([(10, 44), (84, 42), (98, 52), (90, 60), (20, 60), (8, 50)], WHITE)
    pen.polygon([(10, 55), (95, 55), (90, 60), (20, 60)], tail)
    pen.polygon([(84, 43), (92, 47), (84, 48)], (70, 90, 110))
    for x in range(26, 82, 4):
        pen.ellipse(x, 49, 1.1, 1.4, (90, 120, 150))
    pen.polygon([(44, 56), (62, 56), (34, 84), (24, 84)], (176, 180, 188))
    pen.ellipse(44, 70, 7, 4, GREY)
    pen.polygon([(48, 44), (60, 43), (44, 30), (38, 30)], (150, 154, 164))
    _emblem(pen, 20, 30, 7, random, WHITE, tail)


def _lawn(pen: Pen, top: float) -> None:
    """A pitch of mown stripes, below a height."""
    pen.box(-200, top, 300, 300, (74, 150, 66))
    for x in range(-184, 300, 26):
        pen.polygon([(x, top), (x + 13, top), (x + 18, 300), (x - 2, 300)], (88, 166, 76))


def _shirt(pen: Pen, random: Random) -> None:
    """A club's shirt with a number or a crest, on its pitch."""
    cloth, stripe = random.sample(VIVID, 2)
    with pen.backdrop():
        _lawn(pen, -200)
    outline = [
        (34, 10),
        (66, 10),
        (94, 28),
        (82, 48),
        (74, 42),
        (74, 94),
        (26, 94),
        (26, 42),
        (18, 48),
        (6, 28),
    ]
    pen.polygon([(x + 2, y + 2) for x, y in outline], (0, 0, 0, 70))
    pen.polygon(outline, cloth)
    style = random.randrange(3)
    if style == 0:
        for x in (32, 46, 60):
            pen.box(x, 12, x + 7, 94, stripe)
    elif style == 1:
        for y in (24, 44, 64, 84):
            pen.box(26, y, 74, y + 9, stripe)
    pen.polygon([(6, 28), (18, 48), (22, 45), (10, 26)], stripe)
    pen.polygon([(94, 28), (82, 48), (78, 45), (90, 26)], stripe)
    pen.slice(50, 9, 12, 8, 0, 180, shade(cloth, 0.6))
    if random.random() < 0.5:
        pen.box(34, 30, 66, 74, cloth)
        pen.text(50, 52, str(random.randrange(1, 23)), 38, WHITE)
    else:
        pen.polygon([(58, 26), (70, 26), (70, 34), (64, 42), (58, 34)], WHITE)
        _ball(pen, 64, 32, 4, 0)


def _scarf(pen: Pen, random: Random) -> None:
    """A supporter's scarf in a club's colours, held up over a crowd."""
    first, second = random.sample(VIVID, 2)
    with pen.backdrop():
        for x in range(-60, 170, 15):
            y = 88 + random.uniform(-4, 4)
            pen.ellipse(x, y, 7, 8, shade(random.choice(SKIN), 0.7))
            pen.box(x - 9, y + 7, x + 9, 130, shade(random.choice((first, second)), 0.6), 4)
    for x, skin in ((6, random.choice(SKIN)), (94, random.choice(SKIN))):
        pen.line([(x, 100), (x, 48)], shade(skin, 0.9), 7)
        pen.ellipse(x, 44, 6, 6, skin)
    for step in range(8):
        left = 2 + step * 12
        color = first if step % 2 else second
        sag = [8 - abs(edge - 50) / 6.2 for edge in (left, left + 12)]
        pen.polygon(
            [
                (left, 24 + sag[0]),
                (left + 12, 24 + sag[1]),
                (left + 12, 48 + sag[1]),
                (left, 48 + sag[0]),
            ],
            color,
        )
    for side in (0, 100):
        for y in range(26, 50, 4):
            pen.line([(side, y), (side - 6 if side == 0 else side + 6, y + 2)], WHITE, 1)
    pen.box(30, 32, 70, 52, WHITE, 1)
    _ball(pen, 50, 42, 8, random.uniform(0, 1))
    for x in (37, 63):
        star(pen, x, 42, 5, (245, 190, 40))


def _logo(pen: Pen, random: Random) -> None:
    """A company's sign and words on white."""
    color, second = random.sample(VIVID, 2)
    with pen.backdrop():
        pen.box(-200, -200, 300, 300, WHITE)
    _emblem(pen, 50, 38, 24, random, color, WHITE)
    words = random.choice(("GROUP", "& PARTNERS", "ENERGY", "TECH", "HOLDING", "LOGISTICS", "BANK"))
    pen.text(50, 74, words, 13 if len(words) < 8 else 10, color)
    pen.box(20, 84, 80, 86, second)


def _team(pen: Pen, random: Random) -> None:
    """The players of a club in a row, in one colour, with a ball."""
    with pen.backdrop():
        _lawn(pen, 74)
    shirt, shorts = random.sample([*VIVID, WHITE], 2)
    for number, x in enumerate((2, 18, 34, 50, 66, 82, 98)):
        skin, hair = random.choice(SKIN), random.choice(HAIR)
        high = random.uniform(-2, 2)
        for leg in (-3, 3):
            pen.line([(x + leg, 68), (x + leg, 88)], skin, 3.6)
            pen.line([(x + leg, 80), (x + leg, 88)], shirt, 3.8)
        pen.box(x - 6, 60, x + 6, 72, shorts)
        pen.box(x - 7, 38 + high, x + 7, 62, shirt, 2)
        pen.ellipse(x, 30 + high, 5, 6, skin)
        pen.slice(x, 28 + high, 5.4, 5.4, 180, 360, hair)
        pen.text(x, 48 + high, str(number + 2), 8, WHITE if shirt != WHITE else BLACK)
    _ball(pen, 50, 92, 8, random.uniform(0, 1))


SCENES: dict[str, Callable[[Pen, Random], None]] = {
    "crest": _crest,
    "stadium": _stadium,
    "pennant": _pennant,
    "van": _van,
    "headquarters": _headquarters,
    "factory": _factory,
    "shop": _shop,
    "aeroplane": _aeroplane,
    "shirt": _shirt,
    "scarf": _scarf,
    "logo": _logo,
    "team": _team,
}


__all__ = ["SCENES"]
