"""Sentences that a visitor can choose: in a Space a file beside the page, here the sample's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from .inputs import data_url

__all__ = ["Example", "examples_of", "gallery", "read_examples", "to_json"]

Example = dict[str, Any]
"""`text`, `lang`, `image` (a `data:` URL, or "")."""

LANGUAGES = {"de": "Deutsch", "en": "English", "es": "Español", "fr": "Français"}


def examples_of(rows: Iterable[Mapping[str, Any]]) -> list[Example]:
    """Examples of rows with `text`, `lang` and `image`, an encoded one or None."""
    return [{**row, "image": data_url(row["image"]) if row["image"] else ""} for row in rows]


def to_json(examples: Iterable[Example]) -> bytes:
    """The file of `read_examples`."""
    return json.dumps(list(examples), ensure_ascii=False, indent=1).encode()


def read_examples(path: Path) -> list[Example]:
    """The examples of a file that `to_json` made; none if there is no file."""
    if not path.is_file():
        return []
    examples: list[Example] = json.loads(path.read_bytes())
    return examples


def gallery(examples: Iterable[Example], images: bool) -> str:
    """The examples as buttons.

    Args:
        examples: which.
        images: show their images, too.
    """
    buttons = []
    for number, example in enumerate(examples):
        lang: str = example["lang"]
        image = example["image"] if images else ""
        shown = Markup('<img src="{}" alt="">').format(image) if image else ""
        name = LANGUAGES.get(lang, lang)
        buttons.append(_BUTTON.format(number, shown, lang, name, lang, example["text"]))
    return str(Markup('<div class="examples">{}</div>').format(Markup("").join(buttons)))


_BUTTON = Markup(
    '<button type="button" data-example="{}">{}<span><span class="language" lang="{}">{}</span> '
    '<span lang="{}">{}</span></span></button>'
)
