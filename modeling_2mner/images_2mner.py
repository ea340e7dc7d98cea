"""Read an image of any kind as upright 8-bit RGB, within bounds.

    load_image("photo.jpg"), load_image(content), load_image({"bytes": None, "path": "photo.jpg"})
    load_image(Image.open("photo.jpg")), load_image(array), load_image(tensor)

This is the only code of the project that decodes an image or converts it to RGB, so that OCR,
objects, captions, audit and model have the same pixels. `dataset_mmnerd/images.py` is a link to
this file, which needs the standard library, Pillow and NumPy only.

* A file is a regular file of at most `MAX_BYTES`, in one of `FORMATS`: Pillow would run Ghostscript
  on an EPS file, whatever the file's name. Its size in pixels is checked before it is decoded.
* Of several frames the first is read. It is rotated by its EXIF orientation.
* Transparent pixels become white.
* 16-bit greyscale is divided by 257. Values of 32 bits have no agreed range: see `_eight_bits`.
"""

import base64
import binascii
import io
import os
import re
import stat
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

__all__ = [
    "FORMATS",
    "MAX_ASPECT",
    "MAX_BYTES",
    "MAX_PIXELS",
    "ImageError",
    "ImageSource",
    "bytes_of_base64",
    "crop_strip",
    "images_of",
    "load_image",
    "read_image",
]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""The formats that are decoded, by their names in Pillow."""

MAX_BYTES = 64 * 2**20
"""The most bytes of an encoded image."""

MAX_PIXELS = 50_000_000
"""The most pixels of an image: 50 megapixels are 150 MB of RGB."""

MAX_ASPECT = 32
"""Longer images are cropped to this ratio: resizing their short side would make them enormous."""

ImageSource = str | os.PathLike | bytes | bytearray | memoryview | Mapping[str, Any] | Image.Image
"""The sources of `load_image`, without arrays and tensors, which have no common type."""

EXPECTED_SOURCE = (
    "a path, bytes, {'bytes', 'path'}, a PIL image, or an array or tensor of numbers (HxW, HxWx3, "
    "HxWx4 or CxHxW)"
)
EXPECTED_FILE = f"a whole image file of {', '.join(FORMATS)}"

DECODING_ERRORS = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError),
    *(RuntimeError, SyntaxError, TypeError, ValueError, Warning, struct.error, zlib.error),
)
"""The errors of Pillow on damaged files (`Warning` where warnings are errors)."""

_LONGEST_NAME = 200


class ImageError(ValueError):
    """An image that cannot be read, or is too large; the message names it.

    Attributes:
        kind: `broken`, or `enormous`.
        reason: the message without the image's name.
    """

    def __init__(self, name: str, found: str, expected: str, kind: str = "broken") -> None:
        self.kind, self.reason = kind, f"found {found}, expected {expected}"
        super().__init__(f"{name}: {self.reason}")


def images_of(given: Any, name: str, most: int) -> list[Any]:
    """The images of a sentence: a list or tuple is several, None is none, anything else is one.

    Args:
        given: as the user gives it.
        name: its name in messages.
        most: images of a sentence.

    Raises:
        TypeError: if there is a list in the list.
        ValueError: if there are more than `most`.
    """
    if not isinstance(given, list | tuple):
        return [] if given is None else [given]
    if len(given) > most:
        raise ValueError(f"{name}: found {len(given)} images, expected at most {most}")
    for place, image in enumerate(given):
        if isinstance(image, list | tuple):
            found = type(image).__name__
            raise TypeError(f"{name}[{place}]: found {found}, expected an image or None")
    return list(given)


# Reading ------------------------------------------------------------------------------------------


def read_image(path: str | os.PathLike) -> bytes:
    """The content of an image file, not decoded.

    Args:
        path: a regular file, or a link to one.

    Raises:
        ImageError: if there is no such file, it cannot be read, it is not a regular file (a FIFO
            would block, a device may have no end), or it has more than `MAX_BYTES`.
    """
    name = _shown(path)
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ImageError(name, "no regular file", "an image file")
            if status.st_size > MAX_BYTES:
                raise _too_many_bytes(name, status.st_size)
            content = file.read(MAX_BYTES + 1)  # it may grow while it is read
    except ImageError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL or a surrogate in the path
        found = getattr(error, "strerror", None) or str(error)
        raise ImageError(name, f"no readable file ({found})", "an image file") from error
    if len(content) > MAX_BYTES:
        raise _too_many_bytes(name, len(content))
    return content


def bytes_of_base64(text: str, *, name: str = "an image") -> bytes:
    """The content of an image file that is given as base64, or as a `data:` address of such. It is
    never taken for a path or for an address to fetch.

    Args:
        text: standard base64, padded.
        name: the name of the image in messages.

    Raises:
        ImageError: if it is something else, or has more than `MAX_BYTES`.
    """
    encoded = re.sub(r"^data:image/[\w.+-]{1,40};base64,", "", text[:80]) + text[80:]
    if len(encoded) > 4 * (MAX_BYTES // 3 + 1):
        raise _too_many_bytes(name, len(encoded) * 3 // 4)
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:  # ValueError: characters beyond ASCII
        found = f"{encoded[:20]!r}, which is no base64 ({error})"
        raise ImageError(name, found, "an image file as base64") from error


def _open_at_once(path: str, flags: int) -> int:
    """Open a file, without waiting if it is a FIFO."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _too_many_bytes(name: str, size: int) -> ImageError:
    return ImageError(name, f"{size:,} bytes", f"at most {MAX_BYTES:,}", "enormous")


def load_image(
    source: ImageSource, *, name: str | None = None, smallest_side: int | None = None
) -> Image.Image:
    """Read an image of any kind as upright RGB. The result is always a new image.

    Args:
        source: a path; an encoded image as bytes; `datasets`' undecoded {"bytes", "path"}; a PIL
            image; or an array or tensor of shape HxW, HxWxC or CxHxW with 1, 3 or 4 channels. If
            both the first and the last dimension could be channels, the first is. Numbers are
            booleans, uint8, uint16, or of another type and 0 to 255, or floats of 0 to 1.
        name: the name in messages of an image that has no path.
        smallest_side: decode an encoded JPEG at a fraction of its size, which saves time, with at
            least so many pixels on both sides. Other kinds are decoded whole.

    Raises:
        ImageError: if it cannot be read, is damaged, has no pixels, or exceeds the bounds.
        TypeError: if it is something else.
    """
    if isinstance(source, Mapping):
        content, path = _parts(source, name)
        name = path or name
        source = path if content is None else content
    if isinstance(source, str | os.PathLike):
        name = os.fspath(source)
        source = read_image(source)
    if isinstance(source, bytes | bytearray | memoryview):
        name = _shown(name or "an image given as bytes")
        return _decode(bytes(source), name, smallest_side)
    name = _shown(name or "an image")
    if not isinstance(source, Image.Image):
        source = _from_array(_as_array(source, name), name)
    elif getattr(source, "tile", None) and source.format not in (*FORMATS, "MPO"):
        # An image file that is not decoded yet. (A JPEG with several frames is called MPO.)
        raise ImageError(name, f"format {source.format}", f"one of {', '.join(FORMATS)}")
    _check_size(source.size, name)
    with _explained(name):
        return _to_rgb(source, name)


def _parts(source: Mapping[str, Any], name: str | None) -> tuple[Any, Any]:
    """Content and path of {"bytes", "path"}; one of them may be missing or None."""
    content, path = source.get("bytes"), source.get("path")
    known = {"bytes", "path"}.intersection(source)
    right_types = isinstance(content, bytes | bytearray | memoryview | None) and isinstance(
        path, str | os.PathLike | None
    )
    if not known or not right_types:
        found = {str(key)[:20]: type(value).__name__ for key, value in list(source.items())[:5]}
        name = _shown(name or "an image")
        raise TypeError(f"{name}: found a dict {found}, expected {EXPECTED_SOURCE}")
    if content is None and path is None:
        raise ImageError(_shown(name or "an image"), "neither bytes nor path", "one of them")
    return content, path


def _decode(content: bytes, name: str, smallest_side: int | None) -> Image.Image:
    if len(content) > MAX_BYTES:
        raise _too_many_bytes(name, len(content))
    with _explained(name), Image.open(io.BytesIO(content), formats=FORMATS) as image:
        _check_size(image.size, name)
        if smallest_side is not None:
            image.draft(None, (smallest_side, smallest_side))
        return _to_rgb(image, name)


def _check_size(size: tuple[int, int], name: str) -> None:
    wide, high = size
    if wide * high == 0:
        raise ImageError(name, f"{wide} x {high} pixels", "at least 1 x 1")
    if wide * high > MAX_PIXELS:
        found, expected = f"{wide} x {high} pixels", f"at most {MAX_PIXELS:,} pixels"
        raise ImageError(name, found, expected, "enormous")


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn the errors of Pillow into an `ImageError`."""
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError as error:  # its own message holds an object's address
        raise ImageError(name, "an unknown or damaged format", EXPECTED_FILE) from error
    except Image.DecompressionBombError as error:
        found, expected = str(error).partition(" exceeds")[0], f"at most {MAX_PIXELS:,} pixels"
        raise ImageError(name, found.lower(), expected, "enormous") from error
    except DECODING_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(name, reason[:_LONGEST_NAME], EXPECTED_FILE) from error


def _shown(name: str | os.PathLike) -> str:
    """A name as part of a message of one line, at most 200 characters of it."""
    text = os.fsdecode(name)
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 3]}..."


# Converting ---------------------------------------------------------------------------------------


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    """Any mode of Pillow -> RGB, upright; see the module's docstring."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)
        pixels = _eight_bits(values, name, stretched=True)
        invisible = image.info.get("transparency")
        if isinstance(invisible, int):
            pixels[values == invisible] = 255
        image = Image.fromarray(pixels)
    if image.has_transparency_data:
        image = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _eight_bits(values: np.ndarray, name: str, *, stretched: bool = False) -> np.ndarray:
    """Numbers of any type -> uint8.

    Booleans become 0 and 255; 16-bit integers are divided by 257. For other types the values
    determine the range: floats of 0 to 1 are multiplied by 255, numbers of 0 to 255 stay, integers
    of 0 to 65,535 are divided by 257.

    Args:
        values: of any shape, not empty.
        name: the name of the image in messages.
        stretched: map other ranges linearly to 0 to 255, instead of refusing them. Files may have
            such ranges; an array with one is probably normalised for a model already.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values * np.uint8(255)
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        return (values // 257).astype(np.uint8)
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError(name, "values that are no finite numbers", "finite numbers")
    is_float = values.dtype.kind == "f"
    if low >= 0 and high <= 1 and is_float:
        values = values * 255
    elif low >= 0 and 255 < high <= 65_535 and not is_float:
        values = values // 257
    elif not (low >= 0 and high <= 255):
        if not stretched:
            raise ImageError(name, f"values of {low} to {high}", "0 to 255, or floats of 0 to 1")
        low, high = float(low), float(high)
        values = (values.astype(np.float32) - low) * (255 / (high - low or 1))
    return np.rint(values).astype(np.uint8)


def _as_array(source: Any, name: str) -> np.ndarray:
    """An array or a tensor of numbers as an array of NumPy.

    Raises:
        TypeError: if it is something else.
    """
    if not hasattr(source, "__array__"):
        raise TypeError(f"{name}: found {type(source).__name__}, expected {EXPECTED_SOURCE}")
    try:
        if hasattr(source, "detach"):  # a tensor, perhaps on an accelerator, with a gradient, or of
            source = source.detach().cpu()  # a type that NumPy does not know
            source = source.float() if source.is_floating_point() else source
        array = np.asarray(source)
    except (RuntimeError, TypeError, ValueError) as error:  # a tensor without values, or sparse
        found = f"{type(source).__name__} that gives no array"
        raise TypeError(f"{name}: found {found}, expected {EXPECTED_SOURCE}") from error
    if array.dtype.kind not in "buif" or array.ndim not in (2, 3):
        found = f"an array of shape {array.shape} and type {array.dtype}"
        raise TypeError(f"{name}: found {found}, expected {EXPECTED_SOURCE}")
    return array


def _from_array(array: np.ndarray, name: str) -> Image.Image:
    """HxW, HxWxC or CxHxW -> a PIL image of mode L, RGB or RGBA."""
    if array.ndim == 3:
        first, last = array.shape[0], array.shape[2]
        if first in (3, 4) or (first == 1 and last not in (3, 4)):
            array = np.moveaxis(array, 0, 2)
        elif last not in (1, 3, 4):
            found = f"an array of shape {array.shape}"
            raise TypeError(f"{name}: found {found}, expected {EXPECTED_SOURCE}")
        array = array[:, :, 0] if array.shape[2] == 1 else array
    _check_size((array.shape[1], array.shape[0]), name)
    return Image.fromarray(np.ascontiguousarray(_eight_bits(array, name)))


def crop_strip(image: Image.Image) -> Image.Image:
    """Keep the middle of an image that is longer than `MAX_ASPECT` times its short side."""
    longest = MAX_ASPECT * min(image.size)
    if max(image.size) <= longest:
        return image
    return ImageOps.fit(image, (min(image.width, longest), min(image.height, longest)))
