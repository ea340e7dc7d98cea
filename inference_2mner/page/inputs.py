"""What a visitor sends: a text, an image as a `data:` URL, lines of visual context; all bounded."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence

__all__ = [
    "MAX_CHARACTERS",
    "MAX_IMAGE_BYTES",
    "VisitorError",
    "data_url",
    "read_context",
    "read_image",
    "read_text",
]

MAX_CHARACTERS = 4000
"""The characters of a text, and those of a field of visual context, at most."""

MAX_IMAGE_BYTES = 4 * 2**20
"""The bytes of an image, at most. The page sends smaller versions of large images."""

SIGNATURES = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG": "image/png",
    b"RIFF": "image/webp",
    b"GIF8": "image/gif",
}
"""The first bytes of the formats that browsers show."""


class VisitorError(ValueError):
    """What is wrong with the input, in a sentence for the visitor."""


def read_text(text: object) -> str:
    """A sentence.

    Raises:
        VisitorError: if it is empty or too long.
    """
    if not isinstance(text, str) or not text.strip():
        raise VisitorError("There is no sentence: type one, or choose an example.")
    return _bounded(text, "The sentence")


def _bounded(text: str, name: str) -> str:
    if len(text) > MAX_CHARACTERS:
        raise VisitorError(
            f"{name} has {len(text):,} characters, and at most {MAX_CHARACTERS:,} are read here."
        )
    return text


def read_image(image: object) -> bytes | None:
    """The encoded image of a `data:` URL, or of base64 alone; None if there is none.

    Addresses are refused: the server fetches nothing.

    Raises:
        VisitorError: if it is anything else, or too large.
    """
    if image is None or image == "":
        return None
    expected = "expected the content of an image file, in base64"
    if not isinstance(image, str):
        raise VisitorError(f"The image is {type(image).__name__}, {expected}.")
    if len(image) > MAX_IMAGE_BYTES * 4 // 3 + 100:
        raise VisitorError(f"The image has more than {MAX_IMAGE_BYTES // 2**20} MiB.")
    content = image.partition(";base64,")[2] if image.startswith("data:") else image
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise VisitorError(f"The image is not encoded, {expected}.") from None


def data_url(image: bytes) -> str:
    """An encoded image as an address that holds its content; empty if no browser shows it."""
    kind = next((kind for start, kind in SIGNATURES.items() if image.startswith(start)), None)
    return f"data:{kind};base64,{base64.b64encode(image).decode()}" if kind else ""


def read_context(fields: Sequence[str], given: Mapping[str, object]) -> dict[str, list[str]]:
    """Visual context, one item a line or a list of items, by field; without empty ones.

    Raises:
        VisitorError: if there is too much, or it is no text.
    """
    context: dict[str, list[str]] = {}
    for name in fields:
        value = given.get(name) or ""
        items = value if isinstance(value, list) else str(value).splitlines()
        if not all(isinstance(item, str) for item in items):
            raise VisitorError(f"{name} has items that are no text.")
        _bounded("\n".join(items), f"The field {name}")
        items = [item.strip() for item in items if item.strip()]
        if items:
            context[name] = items
    return context
