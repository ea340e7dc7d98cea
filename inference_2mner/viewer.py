"""What was found in a text, to be looked at: one HTML fragment, which needs nothing else.

    View.of(ner, "I finally saw Valdora!", image="photo.jpg")      # in a notebook: shows itself
    html = render(ner("Angela Merkel besucht Paris."), "Angela Merkel besucht Paris.")

The fragment has the text with its entities marked, the probability of each, and what the options
of the pipeline add: other types, and whether it was typed from the text or the image. An image is
shown as a small copy. Where the pipeline gave the attention of the words, a word is chosen by a
click or the arrow keys, and a heat map over the image shows what it attended to. This works
without scripts, so that it works wherever HTML is shown. Colours follow the page, light or dark.
"""

from __future__ import annotations

import io
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from dataset_mmnerd.quoting import quoted
from modeling_2mner import MultimodalNERPipeline
from modeling_2mner.images_2mner import ImageSource, load_image
from reporting_2mner.marked_text import (
    MOST_LAYERS,
    STYLE,
    Choice,
    Mark,
    colour_of,
    drawn,
    in_html,
    marked_text,
)
from reporting_2mner.runs import percent
from reporting_2mner.small_images import data_uri, small_jpeg

__all__ = ["View", "render"]

SIDE, MOST_BYTES = 720, 100_000
"""The longer side of an embedded image in pixels, and its size."""

HEAT_SIDE = 32
"""The longer side of a heat map in pixels, at least; a browser enlarges it smoothly."""

RAMP = ("#1b0c41", "#5c1a7c", "#a62c6d", "#e05a3a", "#fca516", "#fcf3a1")
"""The colours from no attention to the most: those of `.mner-ramp`."""

FAINT, STRONG = 100, 205
"""The opacity of the first colour and of the last, of 255."""

_NAME = re.compile(r"[A-Za-z][\w-]*", re.ASCII)
_SOURCES = {
    "text": "typed from the text",
    "image": "typed from the image",
    "disagree": "text and image disagree on the type",
}
_KINDS: dict[str, tuple[type, ...]] = {
    "start": (int,),
    "end": (int,),
    "score": (int, float),
    "score_without_image": (int, float),
    "typed_from": (str,),
}


def render(
    entities: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    text: str,
    image: ImageSource | None = None,
    *,
    lang: str | None = None,
    name: str | None = None,
    with_style: bool = True,
) -> str:
    """An HTML fragment that shows the entities of a text.

    Args:
        entities: as the pipeline gives them, or the details of `return_details=True`. Of each
            `label`, `start` and `end` are needed, characters `[start, end)` of the text. Entities
            may overlap.
        text: the text; of an input of words, the words joined by spaces.
        image: its image in any form (see `load_image`). Of several, one; it is shown without heat
            maps.
        lang: the language of the text, by its code.
        name: what the ids in the fragment begin with, different for each fragment of a page; by
            default drawn at random.
        with_style: False leaves out the rules of `reporting_2mner.marked_text.STYLE`, for a page
            that has them.

    Raises:
        ValueError: if an entity lacks a field, or has a wrong one; an `ImageError` if the image
            cannot be read.
        TypeError: if the text is no string, or the image is of another type.
    """
    if not isinstance(text, str):
        raise TypeError(f"text is {quoted(text)}, expected a string")
    name = f"mner-{secrets.token_hex(4)}" if name is None else name
    if not _NAME.fullmatch(name):
        raise ValueError(f"name is {quoted(name)}, expected a letter and then letters and digits")
    details: Mapping[str, Any] = (
        entities if isinstance(entities, Mapping) else {"entities": entities}
    )
    found = [
        _checked(entity, number, len(text)) for number, entity in enumerate(details["entities"])
    ]
    attention = details.get("attention") if image is not None else None
    if attention is not None and "box" not in attention:
        attention = None  # that of several images, which does not say whose `image` is
    words = attention["words"] if attention else []
    for number, word in enumerate(words):
        _check_place(word, f"attention['words'][{number}]", len(text))
    chosen = _first_chosen(words, found)
    marks = [
        Mark(one["start"], one["end"], one["label"], _percentage(one.get("score"))) for one in found
    ]
    choices = [
        Choice(word["start"], word["end"], f"{name}-w{number}") for number, word in enumerate(words)
    ]
    parts = {
        "name": name,
        "style": Markup("<style>{}</style>").format(STYLE) if with_style else "",
        "choices": _choices(name, len(words), chosen) if words else "",
        "text": marked_text(text, marks, choices, lang),
        "list": _listed(found, text) if found else Markup('<p class="mner-note">No entity.</p>'),
        "left_out": _left_out(len(marks) - len(drawn(marks))),
        "figure": "" if image is None else _figure(name, image, attention, text),
    }
    return str(_FRAGMENT.format(**parts))


_FRAGMENT = Markup(
    '<div class="mner mner-view" id="{name}" lang="en" dir="ltr">{style}{choices}'
    '<div class="mner-columns"><div class="mner-main">{text}{list}{left_out}</div>{figure}</div>'
    "</div>\n"
)


class View:
    """A result that shows itself in a notebook.

    Args:
        entities, text, image, options: see `render`.
    """

    def __init__(
        self,
        entities: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        text: str,
        image: ImageSource | None = None,
        **options: Any,
    ) -> None:
        self.html = render(entities, text, image, **options)
        self._found = entities["entities"] if isinstance(entities, Mapping) else entities

    @classmethod
    def of(
        cls,
        ner: MultimodalNERPipeline,
        text: str,
        image: ImageSource | None = None,
        **options: Any,
    ) -> View:
        """Find the entities of a text and show all that can be told of them.

        Args:
            ner: the pipeline.
            text: the text.
            image: its image. It is opened here: an address is not fetched.
            options: of the pipeline's call, such as `threshold`.

        Raises:
            TypeError, ValueError: as `render` and the pipeline do.
        """
        given = None if image is None else load_image(image)
        wanted = {"return_details": True, "attention": True, "explain": True, "top_k": 3}
        found = ner({"text": text, "image": given}, **{**wanted, **options})
        return cls(found, text, given)

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{one['label']} [{one['start']}, {one['end']})" for one in self._found[:20]
        )
        return f"View({shown}{', ...' if len(self._found) > 20 else ''})"

    def _repr_html_(self) -> str:
        return self.html


# The parts ----------------------------------------------------------------------------------------


def _check_place(given: Mapping[str, Any], what: str, length: int) -> None:
    for key, kinds in _KINDS.items():
        value = given.get(key)
        if (value is None and key not in ("start", "end")) or type(value) in kinds:
            continue
        expected = " or ".join(
            {int: "a whole number", float: "a float", str: "a string"}[k] for k in kinds
        )
        raise ValueError(f"{what}: {key} is {quoted(value)}, expected {expected}")
    start, end = given["start"], given["end"]
    if not 0 <= start < end <= length:
        raise ValueError(
            f"{what}: found characters [{start}, {end}), expected 0 <= start < end <= {length}, "
            "the length of the text"
        )


def _checked(entity: Any, number: int, length: int) -> dict[str, Any]:
    """An entity with all that is shown of it."""
    what = f"entities[{number}]"
    if not isinstance(entity, Mapping):
        raise ValueError(f"{what}: found {quoted(entity)}, expected a dictionary")
    label = entity.get("label", entity.get("entity"))
    if not isinstance(label, str):
        raise ValueError(f"{what}: label is {quoted(label)}, expected a string")
    _check_place(entity, what, length)
    return {**entity, "label": label}


def _percentage(score: float | None) -> str:
    return "" if score is None else f"{percent(score)} %"


def _listed(entities: Sequence[Mapping[str, Any]], text: str) -> Markup:
    """The list of the entities, with other types and what they were typed from."""
    rows = []
    for entity in entities:
        own = {"label": entity["label"], "score": entity.get("score")}
        others = [one for one in entity.get("alternatives", ()) if one["label"] != own["label"]]
        types = Markup("").join(
            Markup("<li>{} {}</li>").format(in_html(one["label"]), _percentage(one.get("score")))
            for one in (own, *others)
        )
        source = ""
        if "typed_from" in entity:
            said = _SOURCES.get(entity["typed_from"], entity["typed_from"])
            without = _percentage(entity.get("score_without_image"))
            source = Markup('<div class="mner-source">{}{}</div>').format(
                in_html(said), f"; without the image {without}" if without else ""
            )
        rows.append(
            Markup(
                '<li class="mner-c{}"><bdi dir="auto">{}</bdi><ul class="mner-types">{}</ul>{}</li>'
            ).format(
                colour_of(entity["label"]),
                in_html(text[entity["start"] : entity["end"]]),
                types,
                source,
            )
        )
    return Markup('<ol class="mner-list" aria-label="Entities">{}</ol>').format(
        Markup("").join(rows)
    )


def _left_out(count: int) -> Markup | str:
    if not count:
        return ""
    return Markup(
        '<p class="mner-note">{} of them are not marked in the text: more than {} overlap.</p>'
    ).format(f"{count:,}", MOST_LAYERS)


def _first_chosen(
    words: Sequence[Mapping[str, Any]], entities: Sequence[Mapping[str, Any]]
) -> int | None:
    """The word whose attention is shown first: the first one of the first entity."""
    start = min((entity["start"] for entity in entities), default=None)
    if start is None:
        return None
    return next((n for n, word in enumerate(words) if word["start"] <= start < word["end"]), None)


def _choices(name: str, words: int, chosen: int | None) -> Markup:
    """An input for each word, whose labels are the words of the text; and what they switch."""
    numbers: list[int | None] = [None, *range(words)]
    inputs = Markup("").join(
        Markup('<input type="radio" name="{}" id="{}"{}>').format(
            name, _input(name, number), Markup(" checked") if number == chosen else ""
        )
        for number in numbers
    )
    rules = "".join(
        f"#{name}:has(#{of}:checked) .mner-of-{number}{{display:block}}"
        f"#{name}:has(#{of}:checked) [for={of}]{{background:var(--mner-ink);"
        "color:var(--mner-paper);text-decoration:none;box-shadow:0 0 0 .15em var(--mner-ink)}"
        f"#{name}:has(#{of}:focus-visible) [for={of}]"
        "{outline:2px solid var(--mner-accent);outline-offset:.25em}"
        for number, of in ((number, _input(name, number)) for number in range(words))
    )
    alone = _input(name, None)
    rules += (
        f"#{name}:has(#{alone}:focus-visible) [for={alone}]"
        "{outline:2px solid var(--mner-accent);outline-offset:.15em}"
    )
    return Markup(
        '<style>{}</style><div class="mner-choices" role="radiogroup" '
        'aria-label="Word whose attention is shown on the image">{}</div>'
    ).format(Markup(rules), inputs)


def _input(name: str, number: int | None) -> str:
    return f"{name}-alone" if number is None else f"{name}-w{number}"


def _figure(
    name: str, image: ImageSource, attention: Mapping[str, Any] | None, text: str
) -> Markup:
    """The image, with a heat map for each word."""
    decoded = load_image(image)
    source = data_uri(small_jpeg(decoded, SIDE, MOST_BYTES))
    shown = Markup('<img src="{}" width="{}" height="{}" alt="Image of this text">').format(
        source, *decoded.size
    )
    if not attention or not attention["words"]:
        return _FIGURE.format(shown, "")
    left, top, right, bottom = (100 * edge for edge in attention["box"])
    place = f"left:{left:.2f}%;top:{top:.2f}%;width:{right - left:.2f}%;height:{bottom - top:.2f}%"
    heat, legends = [], []
    for number, word in enumerate(attention["words"]):
        grid = np.asarray(word["patches"], dtype=np.float32)
        heat.append(
            Markup('<img class="mner-heat mner-of-{}" style="{}" src="{}" alt="">').format(
                number, place, data_uri(_heat_map(grid), "png")
            )
        )
        legends.append(
            _LEGEND.format(
                number, in_html(text[word["start"] : word["end"]]), percent(float(grid.max()))
            )
        )
    legends.append(
        Markup('<label class="mner-alone" for="{}">image alone</label>').format(_input(name, None))
    )
    caption = Markup('<figcaption aria-live="polite">{}</figcaption>').format(
        Markup("").join(legends)
    )
    return _FIGURE.format(shown + Markup("").join(heat), caption)


_FIGURE = Markup('<figure class="mner-figure"><div class="mner-canvas">{}</div>{}</figure>')
_LEGEND = Markup(
    '<div class="mner-legend mner-of-{}">What <bdi dir="auto">{}</bdi> attended to, by patch'
    '<div class="mner-scale"><span>0 %</span><span class="mner-ramp"></span><span>{} %</span></div>'
    "</div>"
)


def _heat_map(grid: np.ndarray) -> bytes:
    """The attention of a word, `[rows, columns]`, as a PNG: colours from none to its largest
    weight, smooth, and transparent enough to see the image.
    """
    scale = -(-HEAT_SIDE // max(grid.shape))
    size = (grid.shape[1] * scale, grid.shape[0] * scale)
    levels = Image.fromarray(grid / max(float(grid.max()), 1e-12)).resize(
        size, Image.Resampling.BICUBIC
    )
    indices = np.rint(np.asarray(levels).clip(0, 1) * 255).astype(np.uint8)
    heat = Image.fromarray(indices)
    heat.putpalette(_PALETTE, "RGBA")
    buffer = io.BytesIO()
    heat.save(buffer, "png", optimize=True)
    return buffer.getvalue()


def _palette() -> bytes:
    """256 colours of the ramp with their opacity."""
    stops = np.array([[int(one[place : place + 2], 16) for place in (1, 3, 5)] for one in RAMP])
    places = np.linspace(0, len(RAMP) - 1, 256)
    channels = [np.interp(places, range(len(RAMP)), stops[:, channel]) for channel in range(3)]
    channels.append(np.linspace(FAINT, STRONG, 256))
    return np.rint(np.stack(channels, 1)).astype(np.uint8).tobytes()


_PALETTE = _palette()
