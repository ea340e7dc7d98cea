"""Films, books, music, games and other works: what an image shows of an entity of type MISC."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from ..pen import BLACK, GREY, HAIR, SKIN, SOFT, VIVID, WHITE, Color, Pen, shade, star


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


_CURTAINS = ((170, 26, 38), (130, 20, 50), (40, 50, 120))


def _curtain(pen: Pen, left: float, folds: int, color: Color, bottom: float) -> None:
    """A curtain's folds, side by side."""
    for fold in range(folds):
        edge = left + fold * 8
        pen.box(edge, -60, edge + 8, bottom, shade(color, 0.75 + 0.35 * (fold % 2)))


def _cinema(pen: Pen, random: Random) -> None:
    pen.box(-200, -200, 300, 300, (30, 20, 34))
    pen.box(8, 6, 92, 56, (252, 250, 236))
    sky, hill = random.choice(SOFT), random.choice(VIVID)
    pen.box(10, 8, 90, 54, sky)
    if random.random() < 0.5:
        radius = random.uniform(5, 12)
        pen.ellipse(random.uniform(25, 75), 24, radius, radius, (255, 220, 110))
        peaks = [(x, random.uniform(20, 50)) for x in (28, 46, 64)]
        pen.polygon([(10, 54), *peaks, (90, random.uniform(24, 54)), (90, 54)], shade(hill, 0.7))
    else:
        face = random.uniform(26, 74)
        pen.ellipse(face, 30, 11, 14, random.choice(SKIN))
        pen.slice(face, 26, 12, 11, 180, 360, random.choice(HAIR))
        pen.slice(face, 56, 20, 14, 180, 360, hill)
    curtain = random.choice(_CURTAINS)
    for left in (-72, 96):
        _curtain(pen, left, 10, curtain, 66)
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


def _poster(pen: Pen, random: Random) -> None:
    """A film poster on a wall."""
    ground, hero = random.sample(VIVID, 2)
    with pen.backdrop():
        for y in range(-96, 200, 8):
            for x in range(-162, 260, 18):
                shift = 9 if (y // 8) % 2 else 0
                pen.box(x + shift, y, x + shift + 17, y + 7, (176, 104, 84, 120))
    pen.box(19, -3, 83, 101, (0, 0, 0, 70))
    pen.box(16, -6, 84, 98, (40, 40, 46))
    pen.box(20, -2, 80, 94, shade(ground, 0.7))
    pen.ellipse(50, 40, 26, 26, (255, 214, 120))
    pen.polygon([(38, 72), (44, 38), (56, 38), (62, 72)], hero)
    pen.ellipse(50, 30, 7, 8, BLACK)
    pen.line([(44, 44), (30, 34)], BLACK, 4)
    pen.line([(56, 44), (70, 54)], BLACK, 4)
    pen.polygon([(20, 72), (34, 62), (50, 70), (68, 60), (80, 70), (80, 94), (20, 94)], BLACK)
    for x in (38, 44, 50, 56, 62):
        star(pen, x, 79, 2.6, (245, 200, 60))
    pen.box(30, 84, 70, 86, WHITE)
    pen.box(36, 88, 64, 89.6, GREY)
    pen.text(50, 4, random.choice(("A FILM BY", "COMING SOON", "PREMIERE", "PART II")), 7, WHITE)


def _gamepad(pen: Pen, random: Random) -> None:
    """A game pad in front of its game on a screen."""
    body = random.choice((*VIVID, (60, 62, 70), (232, 232, 236)))
    with pen.backdrop():
        pen.box(-200, -200, 300, 300, (30, 20, 34))
        pen.box(-30, -14, 130, 60, random.choice(SOFT))
        for step in range(16):
            high = random.randrange(0, 5) * 7
            pen.box(-30 + step * 10, 60 - high, -20 + step * 10, 60, random.choice(VIVID))
    pen.ellipse(50, 90, 44, 5, (0, 0, 0, 80))
    pen.line([(50, 34), (50, 14), (66, 6), (90, 8)], BLACK, 1.8)
    for x in (20, 80):
        pen.ellipse(x, 64, 19, 24, shade(body, 0.85))
    pen.box(12, 34, 88, 70, body, 16)
    for x in (22, 78):
        pen.box(x - 10, 29, x + 10, 36, shade(body, 0.6), 3)
    pen.box(22, 47, 38, 53, BLACK, 1)
    pen.box(27, 42, 33, 58, BLACK, 1)
    for (x, y), color in zip(
        ((72, 42), (80, 50), (72, 58), (64, 50)), random.sample(VIVID, 4), strict=True
    ):
        pen.ellipse(x, y, 4, 4, shade(color, 0.9))
    for x in (40, 60):
        pen.ellipse(x, 66, 8, 8, shade(body, 0.5))
        pen.ellipse(x, 65, 5, 5, GREY)
    pen.box(44, 44, 48, 47, GREY, 1)
    pen.box(52, 44, 56, 47, GREY, 1)


def _ticket(pen: Pen, random: Random) -> None:
    paper = random.choice(((250, 214, 120), (240, 170, 160), (180, 214, 240), (214, 236, 190)))
    ink = shade(paper, 0.35)
    with pen.backdrop():
        _curtain(pen, -80, 34, random.choice(_CURTAINS), 200)
    for shift, tone in ((9, 0.8), (0, 1.0)):
        pen.polygon(
            [
                (2 + shift, 40 - shift),
                (90 + shift, 24 - shift),
                (98 + shift, 60 - shift),
                (10 + shift, 76 - shift),
            ],
            shade(paper, tone),
        )
    for step in range(6):
        x, y = 72 + step * 1.3, 28 + step * 6.4
        pen.ellipse(x, y, 1, 1, ink)
    for x, y in ((6, 58), (94, 42)):
        pen.ellipse(x, y, 4, 4, (120, 120, 130))
    pen.line([(12, 45), (66, 35)], ink, 1)
    pen.line([(16, 67), (70, 57)], ink, 1)
    pen.text(42, 51, random.choice(("ADMIT ONE", "CINEMA", "SHOW 8 PM", "FESTIVAL")), 9, ink)
    pen.text(84, 44, str(random.randrange(1, 99)), 11, ink)
    pen.polygon([(30, 80), (62, 80), (58, 104), (34, 104)], (214, 40, 40))
    for x in (34, 42, 50, 58):
        pen.ellipse(x, 79, 5, 5, (255, 246, 210))


def _painting(pen: Pen, random: Random) -> None:
    """A painting in a golden frame, in a museum."""
    with pen.backdrop():
        pen.box(-200, 88, 300, 200, (140, 96, 60))
        pen.line([(-100, 88), (200, 88)], WHITE, 2)
    gold = (206, 160, 60)
    pen.box(8, 2, 92, 74, shade(gold, 0.7))
    pen.box(10, 4, 90, 72, gold)
    pen.box(15, 9, 85, 67, shade(gold, 0.6))
    sky, field = random.choice(SOFT), random.choice(VIVID)
    pen.box(17, 11, 83, 65, sky)
    if random.random() < 0.5:
        for _ in range(5):
            x, y, r = random.uniform(22, 78), random.uniform(16, 34), random.uniform(3, 6)
            pen.arc(x, y, r, r, 0, 360, WHITE, 1.4)
            pen.arc(x, y, r * 0.5, r * 0.5, 0, 360, (250, 220, 90), 1.6)
        pen.polygon([(17, 65), (17, 46), (40, 38), (60, 50), (83, 40), (83, 65)], shade(field, 0.6))
        pen.polygon([(26, 65), (32, 24), (38, 65)], (30, 60, 46))
    else:
        pen.box(17, 52, 83, 65, shade(field, 0.7))
        for x, fruit in zip((36, 48, 60, 54), random.sample(VIVID, 4), strict=True):
            pen.ellipse(x, 50, 6.5, 6.5, fruit)
        pen.polygon([(64, 52), (74, 52), (71, 26), (67, 26)], (120, 140, 150))
    pen.box(42, 78, 58, 84, WHITE)
    pen.line([(45, 80), (55, 80)], BLACK, 0.7)
    for x in (24, 76):
        pen.line([(x, 106), (x, 84)], (200, 170, 80), 2)
    pen.line([(24, 88), (50, 96), (76, 88)], (150, 30, 40), 2)


def _television(pen: Pen, random: Random) -> None:
    wood, tint = random.choice(((120, 80, 50), (50, 50, 56), (150, 60, 50))), random.choice(VIVID)
    pen.line([(50, 18), (32, -4)], GREY, 1.4)
    pen.line([(50, 18), (70, -6)], GREY, 1.4)
    for x in (26, 74):
        pen.line([(x, 82), (x - 6 if x < 50 else x + 6, 98)], wood, 4)
    pen.box(6, 16, 94, 86, wood, 6)
    pen.box(12, 22, 74, 80, BLACK, 8)
    pen.box(14, 24, 72, 78, shade(tint, 0.9), 8)
    pen.ellipse(43, 44, 9, 11, random.choice(SKIN))
    pen.slice(43, 40, 10, 10, 180, 360, random.choice(HAIR))
    pen.polygon([(28, 74), (34, 58), (52, 58), (58, 74)], random.choice(VIVID))
    pen.box(18, 66, 68, 75, (20, 30, 60, 220))
    pen.text(43, 70.5, f"S{random.randrange(1, 9)} E{random.randrange(1, 20)}", 7, WHITE)
    for y in (32, 46):
        pen.ellipse(84, y, 5, 5, (214, 206, 190))
        pen.line([(84, y), (84, y - 4)], BLACK, 1)
    for y in range(58, 78, 4):
        pen.line([(79, y), (89, y)], GREY, 1.2)


def _score(pen: Pen, random: Random) -> None:
    """Sheet music on a stand."""
    pen.line([(50, 78), (50, 104)], GREY, 3)
    pen.box(4, 76, 96, 80, (60, 60, 66))
    for left, right in ((6, 49), (51, 94)):
        pen.box(left, 4, right, 76, (252, 248, 236))
        for staff in range(4):
            top = 12 + staff * 16
            for row in range(5):
                pen.line([(left + 3, top + row * 2), (right - 3, top + row * 2)], (90, 90, 96), 0.4)
            pen.arc(left + 6, top + 4, 1.8, 4, 0, 300, BLACK, 0.8)
            for step in range(5):
                x, y = left + 12 + step * 6, top + random.choice((0, 1, 2, 3, 4, 5, 6, 7))
                pen.ellipse(x, y, 1.8, 1.3, BLACK)
                pen.line([(x + 1.6, y), (x + 1.6, y - 7)], BLACK, 0.7)
                if random.random() < 0.4:
                    pen.line([(x + 1.6, y - 7), (x + 4, y - 4)], BLACK, 0.9)
    pen.line([(50, 4), (50, 76)], (190, 184, 170), 1.2)


def _masks(pen: Pen, random: Random) -> None:
    """The laughing and the weeping mask of the theatre, before a curtain."""
    curtain = random.choice(((160, 26, 40), (60, 40, 110), (30, 90, 80)))
    with pen.backdrop():
        for fold in range(-16, 28):
            pen.box(fold * 9, -120, fold * 9 + 9, 220, shade(curtain, 0.75 + 0.35 * (fold % 2)))
        light = random.uniform(-20, 120)
        pen.ellipse(light, random.uniform(-20, 120), 55, 55, (255, 240, 200, 80))
    low = random.uniform(30, 58)
    for x, y, happy in ((68, 88 - low, False), (34, low, True)):
        face = (250, 240, 214) if happy else random.choice(((214, 190, 120), (170, 200, 220)))
        pen.polygon(
            [
                (x - 26, y - 28),
                (x, y - 33),
                (x + 26, y - 28),
                (x + 24, y + 8),
                (x, y + 34),
                (x - 24, y + 8),
            ],
            face,
        )
        for side in (-1, 1):
            eye = x + side * 11
            pen.slice(eye, y - 8, 6.5, 6, 180 if happy else 0, 360 if happy else 180, BLACK)
            brow = [
                (eye - 6, y - 20 + (0 if happy else side * 3)),
                (eye + 6, y - 20 - (0 if happy else side * 3)),
            ]
            pen.line(brow, BLACK, 1.4)
        pen.line([(x, y - 6), (x - 3, y + 6), (x + 2, y + 6)], shade(face, 0.7), 1.4)
        if happy:
            pen.slice(x, y + 10, 15, 13, 0, 180, BLACK)
        else:
            pen.slice(x, y + 22, 13, 11, 180, 360, BLACK)
            pen.ellipse(x + 11, y + 4, 2, 3.4, (90, 150, 220))


def _award(pen: Pen, random: Random) -> None:
    """A golden statuette on a plinth, in spotlights."""
    with pen.backdrop():
        pen.box(-200, -100, 300, 200, (40, 24, 50, 200))
        for x in (-10, 110):
            pen.polygon([(x - 3, -40), (x + 3, -40), (72, 100), (28, 100)], (255, 240, 180, 70))
        for _ in range(24):
            star(pen, random.uniform(-60, 160), random.uniform(-10, 100), 1.6, (255, 236, 150))
    gold = (236, 186, 60)
    pen.box(30, 82, 70, 98, (40, 36, 40), 2)
    pen.box(36, 76, 64, 84, (60, 54, 58), 1)
    pen.box(38, 87, 62, 93, gold)
    if random.random() < 0.5:
        pen.polygon([(45, 76), (43, 46), (57, 46), (55, 76)], gold)
        pen.polygon([(38, 28), (62, 28), (58, 50), (42, 50)], gold)
        pen.line([(39, 30), (44, 44), (50, 46)], shade(gold, 0.8), 4)
        pen.line([(61, 30), (56, 44), (50, 46)], shade(gold, 0.8), 4)
        pen.ellipse(50, 18, 6.5, 8, gold)
        pen.line([(50, 74), (50, 44)], shade(gold, 0.7), 1.6)
    else:
        pen.box(47, 58, 53, 78, shade(gold, 0.85))
        star(pen, 50, 36, 27, gold)
        star(pen, 50, 36, 15, shade(gold, 0.8))


SCENES: dict[str, Callable[[Pen, Random], None]] = {
    "clapper": _clapper,
    "cinema": _cinema,
    "book": _book,
    "record": _record,
    "poster": _poster,
    "gamepad": _gamepad,
    "ticket": _ticket,
    "painting": _painting,
    "television": _television,
    "score": _score,
    "masks": _masks,
    "award": _award,
}


__all__ = ["SCENES"]
