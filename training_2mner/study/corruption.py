"""F1 under damaged and exchanged images, and how far the gate opens for them.

The model reads the test part as it is, without images, and under each kind and strength of
`corruptions`. The gate of a word is the mean over its channels (and over the vision encoders) of
`GatedFusion`'s gate: 0 keeps the word as the text encoder gives it, 1 replaces it by what it
attended to. It says how much of the image is let in, not that this is right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor

from dataset_mmnerd.quoting import quoted
from modeling_2mner.collaboration_2mner import GatedFusion
from modeling_2mner.labels_2mner import Span
from reporting_2mner.statistics import sentence_counts
from reporting_2mner.study.corruption import EXCHANGE

from ..arguments import RecipeError
from ..controls import OtherImages
from ..data import gold_spans, longest_first
from ..evaluation import keys_of_what_is_read, spans_from_predictions
from .corruptions import DAMAGES, LEVELS, DamagedImages, amount, exchanged
from .trained import Trained

__all__ = ["OPTIONS", "measure", "prepare_options", "read_gates"]

OPTIONS: Mapping[str, Any] = {"kinds": [*DAMAGES, EXCHANGE], "strengths": LEVELS, "seed": 0}
"""The defaults. `strengths`: so many of the five, evenly spaced, the strongest among them."""


def prepare_options(options: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """Check the options of a part.

    Args:
        options: see `OPTIONS`.
        folder: of the plan.

    Raises:
        RecipeError: if one is wrong.
    """
    kinds, strengths, seed = (options[name] for name in OPTIONS)
    known = OPTIONS["kinds"]
    if not isinstance(kinds, list) or not kinds or any(kind not in known for kind in kinds):
        raise RecipeError(f"kinds is {quoted(kinds)}, expected some of {', '.join(known)}")
    if type(strengths) is not int or not 1 <= strengths <= LEVELS:
        raise RecipeError(f"strengths is {quoted(strengths)}, expected 1 to {LEVELS}")
    if type(seed) is not int or seed < 0:
        raise RecipeError(f"seed is {quoted(seed)}, expected a whole number from 0 on")
    return options


def measure(trained: Trained, options: Mapping[str, Any]) -> dict[str, Any]:
    """Score the test part under every kind and strength.

    Args:
        trained: the model.
        options: see `OPTIONS`.

    Returns:
        `real` and `text_view`, and for each condition (`kind`, `strength`, `amount` in words) the
        same: `counts`, of each sentence the entities that are right, predicted, and to be found;
        and, of a gated model, `gate_entities` and `gate_others`, of each sentence the mean gate of
        its gold entities' words and of the other words, None where there are no such words or no
        image is read. `image_decided`: which sentences' types only the image tells, if the data
        says so. Sentences are ordered by length. Images are damaged only for a model that reads
        images; one that reads visual context alone has exchanges.

    Raises:
        RecipeError: if the model reads neither images nor visual context.
    """
    processor = trained.processor
    if not (processor.reads_images or processor.reads_context):
        raise RecipeError(f"corruption: {trained.folder} reads no images, expected one that does")
    rows = trained.rows.select(longest_first(trained.rows), keep_in_memory=True)
    keys = keys_of_what_is_read(processor, rows)
    seed = options["seed"]
    score = partial(_score, trained, gold_spans(rows))
    found: dict[str, Any] = {"real": score(rows), "text_view": score(rows, view="text")}
    if "decidable_from_text" in rows.column_names:
        found["image_decided"] = [not decidable for decidable in rows["decidable_from_text"]]
    found["conditions"] = conditions = []
    for kind in options["kinds"]:
        for strength in _strengths(options["strengths"]):
            share = strength / LEVELS
            if kind == EXCHANGE:
                words, damaged = f"{100 * share:g} %", exchanged(rows, keys, share, seed)
            elif processor.reads_images:
                words = amount(kind, strength)
                damaged = DamagedImages(rows, kind, strength, seed)
            else:
                continue
            condition = {"kind": kind, "strength": strength, "amount": words}
            conditions.append({**condition, **score(damaged)})
    return found


def _strengths(wanted: int) -> list[int]:
    """So many of the strengths, evenly spaced, the strongest among them."""
    return [round(LEVELS * step / wanted) for step in range(1, wanted + 1)]


def _score(
    trained: Trained,
    gold: Sequence[Sequence[Span]],
    rows: Dataset | OtherImages,
    view: str = "image_text",
) -> dict[str, Any]:
    """Counts, and the gate's values, of each sentence."""
    predicted: list[list[Span]] = []
    gates: list[tuple[float | None, float | None]] = []
    with read_gates(trained.model) as passes:
        for inputs, outputs in trained.outputs(rows, view):
            labels = outputs.predictions.cpu().numpy()
            predicted += spans_from_predictions(labels, trained.processor.labels)
            # [B, W], the mean over the encoders; there is none where the batch has no image.
            values = torch.stack(passes).mean(0) if passes else None
            passes.clear()
            for row, words in enumerate(inputs["word_mask"].sum(1).tolist()):
                own = None
                if values is not None and inputs["image_mask"][row].any():
                    own = values[row, :words].tolist()
                gates.append(_means(own, gold[len(gates)]))
    found: dict[str, Any] = {"counts": sentence_counts(gold, predicted).tolist()}
    if isinstance(trained.model.model.fusion, GatedFusion) and view == "image_text":
        entities, others = zip(*gates, strict=True)
        found |= {"gate_entities": list(entities), "gate_others": list(others)}
    return found


def _means(
    values: Sequence[float] | None, entities: Sequence[Span]
) -> tuple[float | None, float | None]:
    """The means of the values of the words in entities, and of the other words."""
    if values is None:
        return None, None
    inside = {word for start, end, _ in entities for word in range(start, end)}
    groups: tuple[list[float], list[float]] = ([], [])
    for word, value in enumerate(values):
        groups[word not in inside].append(value)
    first, second = (round(sum(part) / len(part), 5) if part else None for part in groups)
    return first, second


@contextmanager
def read_gates(model: Any) -> Iterator[list[Tensor]]:
    """The values of a model's gates, each pass of a gate a tensor `[B, W]`, the mean over the
    channels; none of a model without gates. The list is the reader's to clear."""
    passes: list[Tensor] = []
    fusion = model.model.fusion
    gates = fusion.gates if isinstance(fusion, GatedFusion) else ()
    hooks = [
        gate.register_forward_hook(
            lambda gate, given, result: passes.append(result.detach().sigmoid().mean(-1))
        )
        for gate in gates
    ]
    try:
        yield passes
    finally:
        for hook in hooks:
            hook.remove()
