"""What the words of a sentence attended to, as grids over the part of each image that is seen.

The attention is that of the first vision encoder, whose patches tile the image; a second encoder
gives one vector for the whole image.

Shapes: `W` words, `I` images, `P` patches, `h`, `w` the size of the images that the encoders read.
"""

from .requirements_2mner import LEAST_TRANSFORMERS  # noqa: F401 -- first: it checks the version

# isort: split

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from .inputs_2mner import Sentence
from .processing_2mner import TwoMNERProcessor

__all__ = ["MOST_WORDS", "attention_of", "patch_grid", "seen_part"]

MOST_WORDS = 512
"""The words of a text, at most, that are given with their attention: its first ones."""

DIGITS, BOX_DIGITS = 6, 3

MOST_PIXELS = 1024
"""The longer side of the gradients that are resized."""

DARKEST = 64
"""Where a gradient begins, so that black pixels are those of a margin."""


def patch_grid(
    patch_size: int | Sequence[int] | None, count: int, height: int, width: int
) -> tuple[int, int, int]:
    """How patches tile an image.

    Args:
        patch_size: that of the encoder's configuration, in pixels; one number, or height and width.
        count: `P`, special patches such as a class token included.
        height, width: `h`, `w`.

    Returns:
        The special patches, which come first, and the rows and columns of the others, which follow
        row by row. An encoder without a patch size, or with fewer patches than fit (a convolutional
        or hierarchical one), has no special ones: its rows and columns have the ratio of the
        image's sides.
    """
    if patch_size is not None:
        high, wide = patch_size if isinstance(patch_size, Sequence) else (patch_size, patch_size)
        rows, columns = height // high, width // wide
        if 0 < rows * columns <= count:
            return count - rows * columns, rows, columns
    divisors = (rows for rows in range(1, count + 1) if count % rows == 0)
    rows = min(divisors, key=lambda rows: abs(np.log(rows * rows / count * width / height)))
    return 0, rows, count // rows


def seen_part(
    processor: TwoMNERProcessor, size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """The part of an image that is left after it is resized and cropped, whatever the image
    processor does. It is found by trying: a gradient from side to side is processed, and a line is
    fitted to the places that its pixels came from.

    Args:
        processor: prepares the images.
        size: width and height of the image.

    Returns:
        Left, top, right and bottom, as fractions of width and height; beyond 0 and 1 where a margin
        is added.
    """
    pixels_of = processor.pixels_of
    if getattr(processor.image_processor, "do_resize", False):  # only the ratio of sides matters
        scale = min(1, MOST_PIXELS / max(size))
        size = max(1, round(scale * size[0])), max(1, round(scale * size[1]))
    black, white = (
        pixels[:, pixels.shape[1] // 2, pixels.shape[2] // 2, None, None]
        for pixels in (pixels_of(Image.new("RGB", (32, 32), name)) for name in ("black", "white"))
    )

    def ends(count: int, across: int) -> tuple[float, float]:
        """The ends of one axis of an image: its pixels along it are shaded from dark to white."""
        shades = DARKEST + (255 - DARKEST) * (np.arange(count) + 0.5) / count
        shades = np.rint(shades).astype(np.uint8)
        gradient = shades[None, :] if across == 0 else shades[:, None]
        image = Image.fromarray(np.broadcast_to(gradient, size[::-1]).copy()).convert("RGB")
        # [n]: along the axis; a margin on the other axis is black.
        line = ((pixels_of(image) - black) / (white - black)).mean(0).amax(across).numpy() * 255
        # Beyond the middle of the outermost pixels there is nothing to interpolate.
        inner = np.flatnonzero((line > shades[0] + 0.5) & (line < shades[-1] - 0.5))
        inner = inner[len(inner) // 10 : len(inner) - len(inner) // 10]
        if len(inner) < 2:
            return 0.0, 1.0
        places = (line[inner] - DARKEST) / (255 - DARKEST)
        slope, start = np.polyfit(inner + 0.5, places, 1)
        return float(start), float(start + slope * len(line))

    (left, right), (top, bottom) = ends(size[0], 0), ends(size[1], 1)
    return left, top, right, bottom


def attention_of(
    sentence: Sentence,
    weights: Tensor,
    grid: tuple[int, int, int],
    boxes: Sequence[tuple[float, float, float, float] | None],
) -> dict[str, Any]:
    """The attention of a sentence's words, as the pipeline gives it.

    Args:
        sentence: which.
        weights: `[W, I, P]`, or that of the first words; that of a word sums to 1.
        grid: see `patch_grid`.
        boxes: of each image, see `seen_part`; None for one that could not be read.
    """
    special, rows, columns = grid
    places = sentence.words[: len(weights)]
    weights = weights[: len(places)]
    grids = weights[..., special:].unflatten(-1, (rows, columns)).tolist()
    found: dict[str, Any] = {
        "boxes": [box and [round(edge, BOX_DIGITS) for edge in box] for box in boxes],
        "words": [
            {
                "word": sentence.text[start:end],
                "start": start,
                "end": end,
                "images": [round(share, DIGITS) for share in shares],
                "patches": [
                    box and [[round(value, DIGITS) for value in row] for row in patches]
                    for box, patches in zip(boxes, own, strict=True)
                ],
            }
            for (start, end), shares, own in zip(
                places, weights.sum(2).tolist(), grids, strict=True
            )
        ],
    }
    if len(boxes) > 1:
        return found
    (box,) = found["boxes"]
    words = [{**word, "patches": word["patches"][0]} for word in found["words"]]
    for word in words:
        del word["images"]
    return {"box": box, "words": words}
