"""A view, some sentences, or parts of a long one, of a batch that `windows_2mner` has laid out.

Shapes: `B` sentences, `N` >= `B` windows of `L` sub-words, `W` words, `H` hidden size.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from .image_sets_2mner import has_image

__all__ = ["VIEWS", "illustrated", "parts_of_sentence", "select_sentences", "text_view"]

VIEWS = ("image_text", "text")

OF_WINDOWS = ("input_ids", "attention_mask", "context_mask", "inputs_embeds")
"""The tensors whose rows are windows; the rows of all others are sentences."""


def text_view(
    input_ids: Tensor | None,
    attention_mask: Tensor,
    word_index: Tensor,
    context_mask: Tensor,
    inputs_embeds: Tensor | None,
    pad_token: int,
) -> tuple[Tensor | None, Tensor, Tensor, Tensor | None]:
    """A batch without its visual context: exactly what `pad_windows` makes of the same sentences
    without context.

    Args:
        input_ids, attention_mask, context_mask: `[N, L]`.
        word_index: `[B, W]`.
        inputs_embeds: `[N, L, H]`, where there are no `input_ids`.
        pad_token: the sub-word that replaces the context.

    Returns:
        `input_ids`, `attention_mask`, `word_index`, `inputs_embeds`, the windows cut to the length
        of the longest without context.
    """
    attention_mask = attention_mask.masked_fill(context_mask, 0)
    before, after = attention_mask.shape[1], int(attention_mask.sum(1).max())
    if input_ids is not None:
        input_ids = input_ids.masked_fill(context_mask, pad_token)[:, :after]
    if inputs_embeds is not None:
        inputs_embeds = inputs_embeds[:, :after]
    word_index = word_index // before * after + word_index % before
    return input_ids, attention_mask[:, :after], word_index, inputs_embeds


def illustrated(
    word_index: Tensor, image_mask: Tensor | None, context_mask: Tensor | None
) -> Tensor:
    """The sentences that have an image or visual context, whose two views therefore differ.

    Args:
        word_index: `[B, W]`.
        image_mask: `[B]` or `[B, I]` bool; None where no sentence has an image.
        context_mask: `[N, L]` bool; None where no sentence has visual context.

    Returns:
        `[B]` bool.
    """
    found = torch.zeros_like(word_index[:, 0], dtype=torch.bool)
    if image_mask is not None:
        found = found | has_image(image_mask)
    if context_mask is not None:
        # A sentence with context has it in its first window.
        first_window = word_index[:, 0] // context_mask.shape[1]
        found = found | context_mask[first_window].any(1)
    return found


def select_sentences(
    attention_mask: Tensor, word_index: Tensor, chosen: Tensor, **others: Tensor | None
) -> dict[str, Tensor | None]:
    """Some sentences of a batch, with their windows.

    Args:
        attention_mask: `[N, L]`.
        word_index: `[B, W]`.
        chosen: `[n]` the numbers of the sentences, in ascending order.
        others: further tensors of the batch by name: `[N, ...]` those of windows, the others
            `[B, ...]`.

    Returns:
        All tensors by name; None stays None.
    """
    windows, length = attention_mask.shape
    first = word_index[:, 0] // length  # [B] the first window of each sentence
    numbers = torch.arange(windows, device=first.device)
    owner = torch.bucketize(numbers, first, right=True) - 1  # [N] the sentence of each window
    kept = torch.isin(owner, chosen)
    moved = kept.cumsum(0) - 1  # [N] the new number of each window that is kept
    places = word_index[chosen]
    selected = {
        name: None if values is None else values[kept if name in OF_WINDOWS else chosen]
        for name, values in {"attention_mask": attention_mask, **others}.items()
    }
    return {**selected, "word_index": moved[places // length] * length + places % length}


def parts_of_sentence(inputs: Mapping[str, Any], windows: int) -> Iterator[dict[str, Any]]:
    """The batch of one sentence as several, each some of its windows with the words that stand in
    them. The words of all parts, one after the other, are those of the sentence.

    Args:
        inputs: the batch, with whatever else is given to the model.
        windows: of a part, at most.
    """
    count, length = inputs["attention_mask"].shape
    window_of = inputs["word_index"][0] // length  # [W], ascending
    for first in range(0, count, windows):
        bounds = window_of.new_tensor([first, first + windows])
        start, stop = torch.searchsorted(window_of, bounds).tolist()
        if start == stop:
            continue
        part = dict(inputs)
        for name in OF_WINDOWS:
            if inputs.get(name) is not None:
                part[name] = inputs[name][first : first + windows]
        part["word_index"] = inputs["word_index"][:, start:stop] - first * length
        part["word_mask"] = inputs["word_mask"][:, start:stop]
        yield part
