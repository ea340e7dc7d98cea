"""The data card's images: a chart of entities by type and language, and a strip of examples."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw, ImageFont, ImageOps

from .images import load_image

_COLORS = ("#0b6ec0", "#e0a526", "#199a5b", "#c9444d", "#7a4cc2", "#3aa6b0", "#a15f0b", "#d46fa8")
_OTHER_COLOR = "#8a8d93"
_MOST_TYPES = 30
_MOST_NAMED = len(_COLORS)
_LONGEST_NAME = 24
_STRIP_HEIGHT = 200  # pixels


def label_chart(counts: Mapping[str, Mapping[str, int]], types: Sequence[str]) -> bytes:
    """A stacked bar chart as PNG: a bar for each entity type, a colour for each language.

    At most 30 bars and 9 colours are drawn. The rarest types, and the smallest languages, are
    summed up in the last one.

    Args:
        counts: the number of entities by language and type.
        types: the entity types, in the order of the bars.
    """
    total = {name: sum(each.get(name, 0) for each in counts.values()) for name in types}
    shown = list(types)
    if len(types) > _MOST_TYPES:
        common = sorted(types, key=total.__getitem__, reverse=True)[: _MOST_TYPES - 1]
        shown = [name for name in types if name in set(common)]
    rest = [name for name in types if name not in set(shown)]
    size = {lang: sum(each.values()) for lang, each in counts.items()}
    named = sorted(size, key=size.__getitem__, reverse=True)
    if len(named) > _MOST_NAMED + 1:
        named = named[:_MOST_NAMED]
    others = [lang for lang in counts if lang not in named]

    def bars(langs: Sequence[str]) -> list[int]:
        each = [sum(counts[lang].get(name, 0) for lang in langs) for name in shown]
        return each + [sum(counts[lang].get(name, 0) for lang in langs for name in rest)] * bool(
            rest
        )

    labels = [_printable(name) for name in shown] + [f"{len(rest)} other types"] * bool(rest)
    colors = (*_COLORS, _OTHER_COLOR)
    series = [(lang, [lang], colors[place]) for place, lang in enumerate(named)]
    if others:
        series.append((f"{len(others)} others", others, _OTHER_COLOR))
    # A dollar sign in a name does not begin a formula.
    with rc_context({"text.parse_math": False, "font.family": "sans-serif", "font.size": 10}):
        figure = Figure(figsize=(9, 1.2 + 0.3 * max(3, len(labels))), layout="constrained")
        axes = figure.subplots()
        left = [0] * len(labels)
        for name, langs, color in series:
            width = bars(langs)
            axes.barh(range(len(labels)), width, left=left, color=color, label=name, height=0.7)
            left = [a + b for a, b in zip(left, width, strict=True)]
        axes.set_yticks(range(len(labels)), labels)
        axes.invert_yaxis()
        axes.set_xlabel("entities")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        if series:
            axes.legend(frameon=False, ncols=3, loc="best")
        file = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*[Gg]lyph")  # the font lacks some scripts
            figure.savefig(file, format="png", dpi=100, metadata={"Software": None})
    return file.getvalue()


def _printable(name: str) -> str:
    """A name without characters that cannot be shown, cut if it is long."""
    name = "".join(letter if letter.isprintable() else "?" for letter in name)
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def image_strip(images: Sequence[bytes]) -> Image.Image:
    """Numbered images of one height, side by side."""
    shown = []
    for content in images:
        upright = load_image(content, smallest_side=2 * _STRIP_HEIGHT)
        wide = max(20, min(2 * _STRIP_HEIGHT, upright.width * _STRIP_HEIGHT // upright.height))
        shown.append(ImageOps.pad(upright, (wide, _STRIP_HEIGHT), color="white"))
    gap = 8
    size = (sum(image.width + gap for image in shown) - gap, _STRIP_HEIGHT)
    strip = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(18)
    x = 0
    for number, image in enumerate(shown, start=1):
        strip.paste(image, (x, 0))
        draw.rounded_rectangle([x + 5, 5, x + 31, 31], 6, fill="white", outline="#444444")
        draw.text((x + 18, 18), str(number), fill="black", font=font, anchor="mm")
        x += image.width + gap
    return strip


__all__ = ["image_strip", "label_chart"]
