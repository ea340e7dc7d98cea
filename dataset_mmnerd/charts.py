"""The data card's chart: how many entities of each type in each language."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure

_COLORS = ("#0b6ec0", "#e0a526", "#199a5b", "#c9444d", "#7a4cc2", "#3aa6b0", "#a15f0b", "#d46fa8")
_OTHER_COLOR = "#8a8d93"
_MOST_TYPES = 30
_MOST_NAMED = len(_COLORS)
_LONGEST_NAME = 24


def label_chart(counts: Mapping[str, Mapping[str, int]], types: Sequence[str]) -> bytes:
    """A bar for each entity type, a part of it for each language, as PNG.

    The 30 commonest types have a bar, and the 8 largest languages a colour; the rest is summed up.

    Args:
        counts: by language and type.
        types: in the order of the bars.
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
    # Names are shown as they are: a dollar sign begins no formula.
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
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
        if series:
            axes.legend(frameon=False, ncols=3, loc="best")
        file = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*[Gg]lyph")  # its font has not all scripts
            figure.savefig(file, format="png", dpi=100, metadata={"Software": None})
    return file.getvalue()


def _printable(name: str) -> str:
    """A name without characters that cannot be shown, cut if it is long."""
    name = "".join(letter if letter.isprintable() else "?" for letter in name)
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


__all__ = ["label_chart"]
