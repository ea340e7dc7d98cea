"""Parts of a model that are left out or stored smaller, in place: rows of the table of word
embeddings, layers of the text encoder, and half of each weight's bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from modeling_2mner import TwoMNERForTokenClassification

__all__ = ["ShrinkError", "even_layers", "keep_layers", "keep_rows", "special_pieces", "store_as"]


class ShrinkError(ValueError):
    """A model that cannot be made smaller as told."""


def keep_rows(model: TwoMNERForTokenClassification, kept: Sequence[int]) -> None:
    """Keep some rows of the table of word embeddings, in place, and number the special pieces of
    the configuration as they are now."""
    table: Any = model.get_input_embeddings()
    before: nn.Parameter = table.weight
    rows = nn.Parameter(before.detach()[list(kept)].clone(), requires_grad=before.requires_grad)
    for module in model.modules():  # the table may be tied to others
        for name, parameter in [*module.named_parameters(recurse=False, remove_duplicate=False)]:
            if parameter is before:
                setattr(module, name, rows)
    table.num_embeddings = len(kept)
    moved = {number: place for place, number in enumerate(kept)}
    config: Any = model.config.text_config
    for name in special_pieces(config):
        setattr(config, name, moved[getattr(config, name)])
    config.vocab_size = len(kept)


def special_pieces(config: Any) -> list[str]:
    """The fields that number a piece of the vocabulary."""
    return [
        name
        for name, value in config.to_dict().items()
        if name.endswith("_token_id") and isinstance(value, int) and 0 <= value < config.vocab_size
    ]


def even_layers(layers: int, count: int) -> list[int]:
    """Some of a number of layers, evenly spaced, the first and the last among them.

    >>> even_layers(12, 6)
    [0, 2, 4, 7, 9, 11]
    """
    if count == 1:
        return [0]
    return [round(place * (layers - 1) / (count - 1)) for place in range(count)]


def keep_layers(model: TwoMNERForTokenClassification, count: int) -> None:
    """Keep some layers of the text encoder, in place.

    Raises:
        ShrinkError: if it has fewer of them, or they are not found.
    """
    encoder: nn.Module = model.model.text_model
    config: Any = model.config.text_config
    layers = config.num_hidden_layers
    if not 1 <= count <= layers:
        raise ShrinkError(f"--layers is {count}, expected a number from 1 to {layers}")
    lists = {
        name: module
        for name, module in encoder.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == layers
    }
    if not lists:
        raise ShrinkError(
            f"--layers: found no list of {layers} layers in the text encoder, a "
            f"{type(encoder).__name__}, whose layers may share their weights"
        )

    def weight(name: str) -> int:
        return sum(parameter.numel() for parameter in lists[name].parameters())

    name, places = max(lists, key=weight), even_layers(layers, count)
    encoder.set_submodule(name, nn.ModuleList(lists[name][place] for place in places))
    for field_name, value in config.to_dict().items():
        if "layer" in field_name and isinstance(value, list) and len(value) == layers:
            setattr(config, field_name, [value[place] for place in places])
    config.num_hidden_layers = count


def store_as(model: TwoMNERForTokenClassification, dtype: str) -> None:
    """Give the matrices of all parts but the CRF 16 bits, in place.

    Raises:
        ShrinkError: if a value is beyond the range of the type.
    """
    target = getattr(torch, dtype)
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2 or not parameter.is_floating_point() or name.startswith("crf."):
            continue
        stored = parameter.data.to(target)
        if not stored.isfinite().all():
            largest = parameter.abs().max().item()
            raise ShrinkError(
                f"--dtype {dtype}: {name} has a value of {largest:g}, expected at most "
                f"{torch.finfo(target).max:g}"
            )
        parameter.data = stored
