"""Images for pages: small copies, without what a camera wrote into them, as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from PIL import Image

__all__ = ["data_uri", "side_by_side", "small_jpeg"]


def side_by_side(images: Sequence[Image.Image], side: int) -> Image.Image:
    """Several images in a row, each at most `side` pixels high; one is returned as it is."""
    if len(images) == 1:
        return images[0]
    high = min(side, *(image.height for image in images))
    shown = [image.resize((max(1, image.width * high // image.height), high)) for image in images]
    row = Image.new("RGB", (sum(image.width for image in shown), high))
    left = 0
    for image in shown:
        row.paste(image, (left, 0))
        left += image.width
    return row


def small_jpeg(image: Image.Image, side: int, most_bytes: int) -> bytes:
    """A small copy of an image, as a JPEG without metadata.

    Args:
        image: RGB; it is not changed.
        side: its longer side, at most, in pixels.
        most_bytes: it is compressed until it has no more, or the quality is 20.
    """
    image = image.copy()
    image.thumbnail((side, side))
    image.info.clear()
    content = b""
    for quality in (78, 60, 40, 20):
        buffer = io.BytesIO()
        image.save(buffer, "jpeg", quality=quality, optimize=True)
        content = buffer.getvalue()
        if len(content) <= most_bytes:
            break
    return content


def data_uri(content: bytes, kind: str = "jpeg") -> str:
    """An encoded image as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
