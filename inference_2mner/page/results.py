"""What the page shows of an answer, as HTML; `assets/results.js` acts on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from ..viewer import render
from .reader import Answer

__all__ = ["problem", "results"]

_VIEW = Markup(
    '<section class="view" data-entities="{}" aria-labelledby="title-{}">'
    '<h2 id="title-{}">{}</h2>{}</section>'
)
_VERDICT = Markup('<p class="verdict" role="status" data-verdict></p>')
_HINT = Markup('<p class="hint">Choose a word to see what it attended to in the image.</p>')


def problem(message: str) -> str:
    """An error, as a sentence."""
    return str(Markup('<p class="problem" role="alert">{}</p>').format(message))


def results(answer: Answer) -> str:
    """The sentence with its entities, and beside it the same from its words alone."""
    if answer.image is not None:
        title = "With the image"
    else:
        title = "From the words" if answer.alone is None else "With the visual context"
    views = _view("read", title, answer.text, answer.read, answer.image)
    if answer.alone is not None:
        views += _view("alone", "From the words alone", answer.text, answer.alone, None)
    verdict = _VERDICT if answer.alone is not None else Markup("")
    hint = _HINT if answer.read.get("attention") else Markup("")
    return str(Markup('{}{}<div class="views">{}</div>').format(verdict, hint, views))


def _view(
    name: str, title: str, text: str, details: Mapping[str, Any], image: bytes | None
) -> Markup:
    fields = ("start", "end", "label", "score")
    entities = [{field: one[field] for field in fields} for one in details["entities"]]
    fragment = Markup(render(details, text, image, name=name, with_style=False))
    return _VIEW.format(json.dumps(entities), name, name, title, fragment)
