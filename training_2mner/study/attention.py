"""What words attend to in their image: how spread out the attention is, and how much of it falls on
the object that the image shows, where the data says where that is (`object_box`).

The attention is that of the first vision encoder, the mean over its heads. Special patches, such as
a class token, are left out, and the rest adds up to 1. Attention that is the same for all patches
has entropy 1, and its mass on a box is the share of the image that the box covers.

Shapes: `W` words, `P` patches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from datasets import Dataset

from modeling_2mner.attention_2mner import patch_grid, seen_part
from modeling_2mner.images_2mner import load_image

from ..arguments import RecipeError
from ..data import gold_spans, longest_first
from .trained import Trained

__all__ = ["BOX", "covered_patches", "measure", "measure_words"]

BOX = "object_box"
"""The column of boxes: left, top, right and bottom, 0 to 1."""

Box = Sequence[float]


def measure(trained: Trained, options: Mapping[str, Any]) -> dict[str, Any]:
    """Measure the attention of the words of the test part's sentences with an image; of several
    images all patches together.

    Returns:
        Lists with one entry for each sentence that has words and whose image is read: `entities`
        and `others`, each the mean of its words of `entropy`, `mass` and `area` (the last two
        without a box None), or None where there are no such words; and `image_decided`, if the data
        says so.

    Raises:
        RecipeError: if the model attends to no image.
    """
    model = trained.model
    if model.config.vision_config is None:
        raise RecipeError(f"attention: {trained.folder} reads no images, expected one that does")
    rows = trained.rows.select(longest_first(trained.rows), keep_in_memory=True)
    gold = gold_spans(rows)
    boxes = rows[BOX][:] if BOX in rows.column_names else [None] * len(rows)
    patch_size = getattr(model.config.vision_config, "patch_size", None)
    areas = _CoveredPatches(trained, rows)
    found: dict[str, Any] = {"entities": [], "others": []}
    read: list[int] = []
    row = -1
    for inputs, outputs in trained.outputs(rows, attention=True):
        height, width = inputs["pixel_values"].shape[-2:]
        for place, words in enumerate(inputs["word_mask"].sum(1).tolist()):
            row += 1
            images = inputs["image_mask"][place].flatten().cpu().numpy()  # one or several
            if not words or outputs.patch_attentions is None or not images.any():
                continue
            attention = outputs.patch_attentions[0][place, :, :words].double().mean(0)
            weights = attention.cpu().numpy().reshape(words, len(images), -1)[:, images]
            special, *grid = patch_grid(patch_size, weights.shape[-1], height, width)
            weights = weights[..., special:].reshape(words, -1)  # [W, P]
            weights /= weights.sum(1, keepdims=True)
            covered = areas.of(row, boxes[row], grid) if images.sum() == 1 else None
            inside, outside = measure_words(weights, covered, gold[row])
            found["entities"].append(inside)
            found["others"].append(outside)
            read.append(row)
    if "decidable_from_text" in rows.column_names:
        decidable = rows["decidable_from_text"][:]
        found["image_decided"] = [not decidable[row] for row in read]
    if not read:
        raise RecipeError(f"attention: {trained.folder}: no test sentence has an image")
    return found


class _CoveredPatches:
    """How much of each patch a box covers, for the images of some rows."""

    def __init__(self, trained: Trained, rows: Dataset) -> None:
        self.processor, self.rows = trained.processor, rows
        self.seen: dict[tuple[int, int], tuple[float, float, float, float]] = {}

    def of(self, row: int, box: Box | None, grid: Sequence[int]) -> np.ndarray | None:
        """`[P]`, as `covered_patches`; None without a box, or if the row has a list of images."""
        image = self.rows[row]["image"]
        if box is None or isinstance(image, list):
            return None
        size = load_image(image).size
        if size not in self.seen:
            self.seen[size] = seen_part(self.processor, size)
        return covered_patches(box, self.seen[size], grid)


def covered_patches(box: Box, seen: Box, grid: Sequence[int]) -> np.ndarray:
    """How much of each patch a box covers: `[P]`, 0 to 1.

    Args:
        box: left, top, right and bottom, as fractions of the image.
        seen: the same of the part of the image that the patches tile.
        grid: rows and columns of the patches.
    """

    def covered(low: float, high: float, start: float, end: float, count: int) -> np.ndarray:
        """`[count]`, along one axis."""
        edges = start + (end - start) * np.arange(count + 1) / count
        overlap = np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)
        return np.maximum(overlap, 0) / (end - start) * count

    across = covered(box[0], box[2], seen[0], seen[2], grid[1])
    along = covered(box[1], box[3], seen[1], seen[3], grid[0])
    return np.outer(along, across).ravel()


def measure_words(
    weights: np.ndarray, covered: np.ndarray | None, entities: Sequence[tuple[int, int, str]]
) -> tuple[dict[str, float | None] | None, dict[str, float | None] | None]:
    """The attention of a sentence's words in entities, and of its other words.

    Args:
        weights: `[W, P]`, each row of which sums to 1.
        covered: `[P]`, how much of each patch the box covers; None without a box.
        entities: the sentence's.

    Returns:
        Of each group None if it has no words, else the means over its words of `entropy`, as a
        fraction of that of equal weights; `mass`, the weight on the box; and `area`, the mass that
        equal weights would have. The last two are None without a box.
    """
    count = weights.shape[1]
    logs = np.log(np.where(weights > 0, weights, 1))
    entropy = -(weights * logs).sum(1) / math.log(count) if count > 1 else np.ones(len(weights))
    inside = np.zeros(len(weights), dtype=bool)
    for start, end, _ in entities:
        inside[start:end] = True

    def means(chosen: np.ndarray) -> dict[str, float | None] | None:
        if not chosen.any():
            return None
        found: dict[str, float | None] = {"entropy": float(entropy[chosen].mean())}
        found |= {"mass": None, "area": None}
        if covered is not None:
            found["mass"] = float((weights[chosen] @ covered).mean())
            found["area"] = float(covered.mean())
        return {name: None if value is None else round(value, 6) for name, value in found.items()}

    return means(inside), means(~inside)
