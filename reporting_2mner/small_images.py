"""Images for pages: small copies, without what a camera wrote into them, as data URIs."""

from __future__ import annotations

import base64
import io

from PIL import Image

__all__ = ["data_uri", "small_jpeg"]


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
