"""The images of a sentence: one, or several in a row of their own.

A batch has one image for each sentence, with an `image_mask` `[B]`; or, where some sentence has
several, `I` places for each, with an `image_mask` `[B, I]`. The features of the images of a
sentence stand side by side, so that its words attend to the patches of all. Nothing depends on the
order of the images.

Shapes: `B` sentences, `I` places for images, `P` patches of an image, `C` the feature size of a
vision encoder.
"""

from .requirements_2mner import LEAST_TRANSFORMERS  # noqa: F401 -- first: it checks the version

# isort: split

import torch
from torch import Tensor

from .encoders_2mner import VisionFeatures

__all__ = [
    "has_image",
    "mask_of_images",
    "patch_mask_of",
    "side_by_side",
    "spread_to_places",
]


def has_image(image_mask: Tensor) -> Tensor:
    """Whether each sentence has an image: `[B]` or `[B, I]` bool -> `[B]`."""
    return image_mask if image_mask.ndim == 1 else image_mask.any(1)


def mask_of_images(
    word_index: Tensor,
    pixel_values: Tensor | None,
    vision_features: VisionFeatures | None,
    image_mask: Tensor | None,
) -> Tensor:
    """Which images are there: `image_mask`, by default true everywhere, `[B]` or `[B, I]`.

    Args:
        word_index, pixel_values, vision_features, image_mask: see `TwoMNERInputs`.

    Raises:
        ValueError: if the images have other places than the mask.
    """
    name, values, one = "pixel_values", pixel_values, 3
    if values is None and vision_features is not None:
        name, values, one = "patches", vision_features["patches"], 2
    if values is None:
        everywhere = torch.ones_like(word_index[:, 0], dtype=torch.bool)
        return everywhere if image_mask is None else image_mask
    places = values.shape[: values.ndim - one]
    if image_mask is None:
        return torch.ones(places, dtype=torch.bool, device=values.device)
    if places != image_mask.shape:
        raise ValueError(
            f"{name} has the shape {tuple(values.shape)}, images for {tuple(places)}, expected "
            f"those of image_mask, {tuple(image_mask.shape)}: [B], or [B, I] with several images"
        )
    return image_mask


def spread_to_places(values: Tensor, present: Tensor, image_mask: Tensor) -> Tensor:
    """What belongs to some images, at their places: `[n, ...]` -> `[B, ...]` or `[B, I, ...]`,
    zeros elsewhere.

    Args:
        values: `[n, ...]`.
        present: `[n]` the numbers of the images among all places.
        image_mask: `[B]` or `[B, I]`.
    """
    zeros = values.new_zeros(image_mask.numel(), *values.shape[1:])
    return zeros.index_copy(0, present, values).unflatten(0, image_mask.shape)


def patch_mask_of(image_mask: Tensor, count: int) -> Tensor | None:
    """Which patches, side by side, are those of an image: `[B, I]` -> `[B, I * P]`; None for one
    image a sentence.

    Args:
        image_mask: `[B]` or `[B, I]`.
        count: `P`.
    """
    return None if image_mask.ndim == 1 else image_mask.repeat_interleave(count, 1)


def side_by_side(features: VisionFeatures, image_mask: Tensor) -> VisionFeatures:
    """The features of a sentence's images, as those of one.

    Args:
        features: of images, one for each sentence, or `I`; zeros where there is none.
        image_mask: `[B]` or `[B, I]` bool.

    Returns:
        `patches` `[B, I * P, C]`; `image_vectors` `[B, C]`, the mean of the images that are there;
        `global_vectors` `[B, I, C]`. With one image for each sentence `I` is 1.
    """
    if image_mask.ndim == 1:
        merged: VisionFeatures = {
            "patches": features["patches"],
            "image_vectors": features["image_vectors"],
        }
    else:
        count = image_mask.sum(1, keepdim=True).clamp(min=1)
        merged = {
            "patches": features["patches"].flatten(1, 2),
            "image_vectors": features["image_vectors"].sum(1) / count,
        }
    if "global_vectors" in features:
        vectors = features["global_vectors"]
        merged["global_vectors"] = vectors[:, None] if image_mask.ndim == 1 else vectors
    return merged
