"""How an image becomes numbers, as data: the steps of the usual image processors, without them.

steps = ImageSteps(size=[224, 224], resample=3, slope=[2 / 255] * 3, offset=[-1.0] * 3)
pixels = steps.pixels_of(Image.open("photo.jpg").convert("RGB"))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from modeling_2mner.images_2mner import crop_strip

__all__ = ["ImageSteps"]


@dataclass(frozen=True)
class ImageSteps:
    """The steps, in this order.

    Attributes:
        size: resize to height and width, or so that the short side has one number of pixels; None
            leaves it.
        resample: how, by Pillow's number.
        crop: then keep the middle, height and width; what is missing becomes 0.
        slope, offset: then multiply and add, for each channel.
    """

    size: list[int] | int | None = None
    resample: int = Image.Resampling.BILINEAR
    crop: list[int] | None = None
    slope: Sequence[float] = (1.0, 1.0, 1.0)
    offset: Sequence[float] = (0.0, 0.0, 0.0)

    def pixels_of(self, image: Image.Image) -> np.ndarray:
        """An RGB image as `[3, h, w]`, float32."""
        image = crop_strip(image)
        wide, high = image.size
        if isinstance(self.size, int):
            short = min(wide, high)
            wide, high = (int(self.size * side / short) for side in (wide, high))
        elif self.size is not None:
            high, wide = self.size
        if (wide, high) != image.size:
            image = image.resize((wide, high), Image.Resampling(self.resample))
        values: Any = np.asarray(image)
        if self.crop is not None:
            values = _middle(values, *self.crop)
        normalised = values * np.array(self.slope) + np.array(self.offset)
        return np.ascontiguousarray(normalised.transpose(2, 0, 1), np.float32)


def _middle(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle of `[h, w, 3]`."""
    for axis, wanted in enumerate((height, width)):
        missing = wanted - values.shape[axis]
        if missing > 0:
            margin = [(0, 0)] * 3
            margin[axis] = (-(-missing // 2), missing // 2)
            values = np.pad(values, margin)
        start = (values.shape[axis] - wanted) // 2
        values = values.take(range(start, start + wanted), axis)
    return values
