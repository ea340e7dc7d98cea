"""Damaged images, at five strengths: a data set whose images are changed when they are read.

    DamagedImages(rows, "blur", strength=3, seed=0)[0]["image"]
    exchanged(rows, image_keys(rows), share=0.4, seed=0)

An image is reduced to `LONGEST_SIDE` before, so that a strength means the same for all. Visual
context, which was made from the image as it was, stays as it is; it moves with an image that is
exchanged.
"""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from PIL import Image, ImageFilter, ImageOps

from modeling_2mner.images_2mner import ImageError, load_image

from ..controls import BLANK_GREY, OtherImages, derangement

__all__ = ["DAMAGES", "LEVELS", "DamagedImages", "amount", "damage", "exchanged"]

LEVELS = 5
"""The strengths are 1 to so many."""

LONGEST_SIDE = 512

NOISE = (0.05, 0.1, 0.2, 0.35, 0.5)
"""Standard deviation of the noise on each channel, as a share of its range."""

BLUR = (0.005, 0.01, 0.02, 0.04, 0.08)
"""Radius of the Gaussian blur, as a share of the short side."""

JPEG = (40, 20, 10, 5, 1)
"""Quality of the JPEG file."""

OCCLUSION = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Share of the area that a grey rectangle covers, of the image's shape, anywhere in it."""

GREY = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Share of the colour that is taken away."""

Damage = Callable[[Image.Image, int, np.random.Generator], Image.Image]


def _noise(image: Image.Image, level: int, generator: np.random.Generator) -> Image.Image:
    values = np.asarray(image, dtype=np.float32)
    values = values + 255 * NOISE[level] * generator.standard_normal(values.shape, np.float32)
    return Image.fromarray(np.rint(values).clip(0, 255).astype(np.uint8))


def _blur(image: Image.Image, level: int, generator: np.random.Generator) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(BLUR[level] * min(image.size)))


def _jpeg(image: Image.Image, level: int, generator: np.random.Generator) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=JPEG[level])
    return load_image(file.getvalue())


def _occlusion(image: Image.Image, level: int, generator: np.random.Generator) -> Image.Image:
    size = [max(1, round(side * math.sqrt(OCCLUSION[level]))) for side in image.size]
    left, top = (
        int(generator.integers(side - part + 1))
        for side, part in zip(image.size, size, strict=True)
    )
    image.paste((BLANK_GREY,) * 3, (left, top, left + size[0], top + size[1]))
    return image


def _grey(image: Image.Image, level: int, generator: np.random.Generator) -> Image.Image:
    return Image.blend(image, ImageOps.grayscale(image).convert("RGB"), GREY[level])


DAMAGES: dict[str, Damage] = {
    "noise": _noise,
    "blur": _blur,
    "jpeg": _jpeg,
    "occlusion": _occlusion,
    "grey": _grey,
}


def amount(kind: str, strength: int) -> str:
    """A strength of a damage in words."""
    level = strength - 1
    return {
        "noise": f"deviation {100 * NOISE[level]:g} %",
        "blur": f"radius {100 * BLUR[level]:g} %",
        "jpeg": f"quality {JPEG[level]}",
        "occlusion": f"{100 * OCCLUSION[level]:g} % covered",
        "grey": f"{100 * GREY[level]:g} % of the colour",
    }[kind]


def damage(
    image: Image.Image, kind: str, strength: int, generator: np.random.Generator
) -> Image.Image:
    """A damaged copy of an RGB image.

    Args:
        image: of any size.
        kind: one of `DAMAGES`.
        strength: 1 to `LEVELS`.
        generator: of noise and places.
    """
    image = image.copy()
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return DAMAGES[kind](image, strength - 1, generator)


class DamagedImages(OtherImages):
    """A data set with damaged images. The damage of a row depends on its number and the seed alone,
    and is none where its image cannot be read.

    Args:
        rows: the data set, `image` undecoded.
        kind: one of `DAMAGES`.
        strength: 1 to `LEVELS`.
        seed: of noise and places.
    """

    def __init__(self, rows: Dataset, kind: str, strength: int, seed: int) -> None:
        super().__init__(rows, range(len(rows)))
        self.kind, self.strength, self.seed = kind, strength, seed

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = super().__getitem__(index)
        generator = np.random.default_rng([self.seed, index])
        found = row["image"]
        several = isinstance(found, list)
        images = [self._damaged(image, generator) for image in (found if several else [found])]
        return {**row, "image": images if several else images[0]}

    def _damaged(self, source: Any, generator: np.random.Generator) -> Any:
        """An image, damaged; as it is if it is missing or cannot be read."""
        if source is None:
            return None
        try:
            image = load_image(source)
        except ImageError:
            return source
        return damage(image, self.kind, self.strength, generator)


def exchanged(rows: Dataset, keys: Sequence[str | None], share: float, seed: int) -> OtherImages:
    """A data set in which a share of the images is exchanged for those of other rows, as the
    control `shuffled` exchanges all. The rows of a smaller share are among those of a larger one.

    Args:
        rows: the data set, `image` undecoded.
        keys: a key for each row's image (`data.image_keys`); None without an image.
        share: of the rows with an image, 0 to 1.
        seed: of the choice and the exchange.
    """
    others = derangement(keys, seed)
    own: list[int | None] = [None if key is None else row for row, key in enumerate(keys)]
    with_image = [row for row in own if row is not None]
    order = random.Random(seed).sample(with_image, len(with_image))
    for row in order[: round(share * len(order))]:
        own[row] = others[row]
    return OtherImages(rows, own)
