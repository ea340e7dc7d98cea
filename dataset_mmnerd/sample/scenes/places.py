"""Places: what an image shows of an entity of type LOC."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from ..pen import BLACK, GREY, VIVID, WHITE, Pen, Point, ring, shade


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


def _beach(pen: Pen, random: Random) -> None:
    _sky(pen, random)
    pen.box(-200, 46, 300, 72, (40, 130, 180))
    for _ in range(14):
        x, y = random.uniform(-60, 150), random.uniform(49, 69)
        pen.line([(x, y), (x + 9, y)], (210, 235, 245), 0.9)
    pen.polygon([(-200, 70), (40, 66), (300, 74), (300, 200), (-200, 200)], (240, 216, 160))
    palm = random.uniform(14, 30)
    pen.line([(palm, 92), (palm + 3, 60), (palm + 10, 30)], (130, 90, 50), 3.4)
    for dx, dy in ((-20, 2), (-14, -12), (2, -16), (16, -10), (22, 4), (12, 12)):
        tip = (palm + 10 + dx, 30 + dy)
        pen.line([(palm + 10, 30), (palm + 10 + dx * 0.6, 26 + dy * 0.6), tip], (40, 120, 60), 3)
    shade_of, stripe = random.sample(VIVID, 2)
    pen.line([(70, 92), (66, 60)], GREY, 1.6)
    for part in range(4):
        color = stripe if part % 2 else shade_of
        pen.slice(66, 62, 18, 14, 180 + part * 45, 225 + part * 45, color)
    pen.polygon([(74, 94), (96, 90), (98, 94), (78, 98)], shade_of)


def _mountains(pen: Pen, random: Random) -> None:
    _sky(pen, random)
    for x, peak, wide in ((-18, 30, 46), (112, 26, 52), (50, 8 + random.uniform(-4, 8), 58)):
        rock = shade((110, 116, 130), random.uniform(0.8, 1.1))
        pen.polygon([(x - wide, 76), (x, peak), (x + wide, 76)], rock)
        pen.polygon([(x, peak), (x + wide, 76), (x + wide * 0.1, 76)], shade(rock, 0.78))
        cap = [(x - wide * 0.3, peak + 20), (x, peak), (x + wide * 0.3, peak + 20)]
        cap += [(x + wide * 0.12, peak + 16), (x, peak + 24), (x - wide * 0.14, peak + 16)]
        pen.polygon(cap, WHITE)
    pen.box(-200, 74, 300, 200, (84, 140, 84))
    pen.ellipse(50, 88, 44, 9, (70, 140, 190))
    pen.ellipse(50, 86, 30, 3, (130, 190, 225))
    for x in (2, 10, 86, 94, 102):
        foot = 80 + random.uniform(-2, 4)
        for level in range(3):
            top, reach = foot - 18 + level * 5, 3 + level * 1.5
            pen.polygon([(x - reach, top + 8), (x, top), (x + reach, top + 8)], (30, 84, 58))


def _lighthouse(pen: Pen, random: Random) -> None:
    _sky(pen, random)
    pen.box(-200, 66, 300, 200, (50, 110, 160))
    for _ in range(24):
        x, y = random.uniform(-70, 160), random.uniform(70, 108)
        pen.line([(x, y), (x + 6, y - 2), (x + 12, y)], (190, 220, 238), 0.9)
    pen.polygon([(24, 84), (36, 70), (72, 68), (90, 86), (76, 98), (34, 98)], (96, 90, 86))
    stripe = random.choice(((200, 40, 40), (30, 50, 110), (30, 30, 34)))
    for level in range(5):
        top, half = 18 + level * 11, 6.5 + level
        color = stripe if level % 2 == 0 else WHITE
        pen.polygon(
            [(50 - half, top), (50 + half, top), (51 + half, top + 11), (49 - half, top + 11)],
            color,
        )
    pen.box(41, 14, 59, 18, BLACK)
    pen.box(44, 5, 56, 14, (255, 240, 150))
    pen.polygon([(42, 5), (58, 5), (50, -3)], stripe)
    for side in (-1, 1):
        pen.polygon([(50, 9), (50 + side * 80, -6), (50 + side * 80, 20)], (255, 244, 170, 90))


def _bridge(pen: Pen, random: Random) -> None:
    _sky(pen, random)
    pen.box(-200, 68, 300, 200, (60, 120, 160))
    for side in (-70, 128):
        pen.ellipse(side, 72, 40, 16, (80, 130, 80))
    steel = random.choice(((190, 70, 50), (90, 100, 116), (70, 120, 110)))
    for left, right in ((-46, 20), (20, 80), (80, 146)):
        middle = (left + right) / 2
        drop = 30 if left == 20 else 40
        cable = [(left, 14), ((left + middle) / 2, 14 + drop * 0.75), (middle, 14 + drop)]
        cable += [((right + middle) / 2, 14 + drop * 0.75), (right, 14)]
        pen.line(cable, steel, 1.6)
        for step in range(1, 8):
            x = left + (right - left) * step / 8
            sag = 1 - abs(x - middle) / (right - left) * 2
            pen.line([(x, 14 + drop * sag), (x, 58)], steel, 0.6)
    pen.box(-200, 57, 300, 62, shade(steel, 0.8))
    for x in (20, 80):
        pen.box(x - 5, 8, x - 2, 80, steel)
        pen.box(x + 2, 8, x + 5, 80, steel)
        for y in (14, 34, 50):
            pen.box(x - 5, y, x + 5, y + 3, steel)
        pen.box(x - 9, 78, x + 9, 86, GREY)
    for _ in range(5):
        x = random.uniform(-50, 140)
        pen.box(x, 53.5, x + 5, 57, random.choice(VIVID), 1)


def _castle(pen: Pen, random: Random) -> None:
    _sky(pen, random)
    pen.ellipse(50, 104, 96, 38, (96, 146, 90))
    stone, roof = (
        random.choice(((206, 196, 180), (186, 180, 186), (214, 190, 160))),
        random.choice(VIVID),
    )

    def tower(x: float, top: float, wide: float) -> None:
        pen.box(x - wide, top, x + wide, 80, shade(stone, 0.92))
        for step in (-1, 0, 1):
            middle = x + step * wide * 0.75
            pen.box(middle - wide * 0.22, top - 4, middle + wide * 0.22, top, shade(stone, 0.92))
        pen.box(x - 1.4, top + 8, x + 1.4, top + 15, (50, 46, 60))

    pen.box(22, 48, 78, 82, stone)
    for x in range(24, 76, 8):
        pen.box(x, 44, x + 4, 48, stone)
    tower(22, 34, 8)
    tower(78, 34, 8)
    tower(50, 22, 9)
    pen.polygon([(39, 19), (61, 19), (50, -2)], roof)
    pen.line([(50, -2), (50, -12)], BLACK, 1)
    pen.polygon([(50, -12), (62, -9), (50, -5)], random.choice(VIVID))
    pen.slice(50, 72, 8, 10, 180, 360, (80, 54, 40))
    pen.box(42, 72, 58, 82, (80, 54, 40))


def _desert(pen: Pen, random: Random) -> None:
    with pen.backdrop():
        pen.ellipse(random.uniform(10, 90), 10, 9, 9, (255, 226, 120))
    pen.polygon(
        [(-200, 70), (-20, 62), (60, 70), (160, 60), (300, 72), (300, 200), (-200, 200)],
        (232, 196, 130),
    )
    for x, top, wide in ((84, 40, 30), (26, 22 + random.uniform(-4, 6), 44)):
        pen.polygon([(x - wide, 76), (x, top), (x + wide, 76)], (222, 178, 110))
        pen.polygon([(x, top), (x + wide, 76), (x + wide * 0.25, 76)], (186, 142, 84))
        for level in range(1, 6):
            y = top + (76 - top) * level / 6
            reach = wide * level / 6
            pen.line([(x - reach, y), (x + reach * 0.25, y)], (200, 156, 96), 0.5)
    for start in (66, 84):
        pen.ellipse(start, 84, 8, 4, (150, 104, 60))
        pen.ellipse(start - 1, 80, 3, 4, (150, 104, 60))
        pen.line([(start + 7, 84), (start + 11, 76)], (150, 104, 60), 2)
        pen.ellipse(start + 12, 75.5, 2.6, 1.6, (150, 104, 60))
        for leg in (-5, -2, 4, 7):
            pen.line([(start + leg, 86), (start + leg, 94)], (150, 104, 60), 1.2)


def _canal(pen: Pen, random: Random) -> None:
    _sky(pen, random)
    x = -66.0
    while x < 160:
        wide = random.uniform(13, 18)
        wall = random.choice(
            ((176, 84, 70), (226, 186, 130), (120, 70, 60), (200, 150, 140), (230, 220, 200))
        )
        top = random.uniform(16, 32)
        pen.box(x, top, x + wide, 66, wall)
        middle = x + wide / 2
        for step in range(4):
            reach = wide / 2 * (1 - step / 4)
            pen.box(
                middle - reach,
                top - 3 * (step + 1),
                middle + reach,
                top - 3 * step,
                shade(wall, 0.9),
            )
        for row in range(3):
            for left in (x + wide * 0.16, x + wide * 0.58):
                y = top + 5 + row * 11
                pen.box(left, y, left + wide * 0.26, y + 6, WHITE)
                pen.box(left + 0.5, y + 0.5, left + wide * 0.26 - 0.5, y + 5.5, (90, 120, 150))
        x += wide
    pen.box(-200, 66, 300, 70, (150, 146, 140))
    pen.box(-200, 70, 300, 200, (64, 104, 112))
    for _ in range(20):
        left, y = random.uniform(-70, 160), random.uniform(74, 108)
        pen.line([(left, y), (left + 10, y)], (120, 160, 165), 0.8)
    boat = random.choice(VIVID)
    pen.polygon([(24, 80), (78, 80), (70, 92), (32, 92)], boat)
    pen.box(36, 73, 64, 80, WHITE, 1)


def _island(pen: Pen, random: Random) -> None:
    pen.box(-200, -100, 300, 200, (40, 140, 186))
    for _ in range(40):
        x, y = random.uniform(-70, 170), random.uniform(-20, 115)
        pen.line([(x, y), (x + 4, y - 1.5), (x + 8, y)], (130, 200, 225), 0.8)
    shape = [(x, y) for x, y in ring(50, 52, 40, 12, random.random())]
    shape = [
        (50 + (x - 50) * random.uniform(0.7, 1), 52 + (y - 52) * random.uniform(0.6, 0.9))
        for x, y in shape
    ]
    for factor, color in ((1.12, (120, 210, 214)), (1.0, (240, 220, 160)), (0.84, (86, 160, 84))):
        pen.polygon([(50 + (x - 50) * factor, 52 + (y - 52) * factor) for x, y in shape], color)
    pen.ellipse(46, 46, 13, 9, (110, 130, 90))
    pen.ellipse(46, 45, 6, 4, (150, 150, 140))
    for _ in range(9):
        x, y = random.uniform(32, 68), random.uniform(40, 66)
        pen.ellipse(x, y, 3, 2.6, (40, 110, 60))
    for x, y in ((60, 58), (64, 60), (61, 63)):
        pen.box(x, y, x + 3, y + 3, (200, 80, 60))


SCENES: dict[str, Callable[[Pen, Random], None]] = {
    "street": _street,
    "skyline": _skyline,
    "village": _village,
    "map": _map,
    "beach": _beach,
    "mountains": _mountains,
    "lighthouse": _lighthouse,
    "bridge": _bridge,
    "castle": _castle,
    "desert": _desert,
    "canal": _canal,
    "island": _island,
}


__all__ = ["SCENES"]
