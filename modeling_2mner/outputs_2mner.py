"""What the models take and give.

Shapes: `B` sentences, `N` >= `B` windows of `L` sub-words, `W` words, `K` labels, `I` places for
images, `P` patches, `C` the feature size of a vision encoder, `H` hidden size, `D` the alignment
space.
"""

from .requirements_2mner import LEAST_TRANSFORMERS  # noqa: F401 -- first: it checks the version

# isort: split

from dataclasses import dataclass
from typing import NotRequired, TypedDict

from torch import Tensor
from transformers.utils import ModelOutput

from .encoders_2mner import VisionFeatures

__all__ = ["TwoMNERInputs", "TwoMNERModelOutput", "TwoMNERTokenClassifierOutput"]


class TwoMNERInputs(TypedDict):
    """A batch as the processor makes it, and how it is read.

    Attributes:
        input_ids, attention_mask: `[N, L]` windows of sub-words, those of a sentence in its order.
        word_index: `[B, W]` where each word's first sub-word is among the `N * L` positions; a
            sentence without words has the first position of its window.
        word_mask: `[B, W]` bool, true on words.
        pixel_values: `[B, 3, h, w]` images, or `[B, I, 3, h, w]` with several for a sentence; the
            rows of missing ones may hold anything.
        image_mask: `[B]` or `[B, I]` bool, true where there is an image; by default everywhere.
        context_mask: `[N, L]` bool, true on visual context and the special sub-words that close it;
            by default nowhere.
        vision_features: the result of `read_images`, in place of `pixel_values`; with several
            images for a sentence each tensor is `[B, I, ...]`.
        view: "image_text", or "text", which ignores images and visual context.
        dropped_words: `[B, W]` bool, words whose hidden state is zeroed.
        inputs_embeds: `[N, L, H]` the embedded sub-words, in place of `input_ids`, which is then
            None.
        output_attentions: also give the attention of the text encoder and that from words to
            patches.
        output_hidden_states: also give the layers of the text encoder.
        attending_words: also give the attention to patches of the first so many words of each
            sentence. It changes no other result, and the text encoder's attention is not computed.
        max_tokens: sub-words, padding included, that the text encoder reads at once, but at least
            one window; by default all. It bounds the memory that a long text needs, and changes no
            prediction. A single sentence that is longer is read in parts, and its `text_embeds` and
            `image_embeds` are not given. With attentions or layers all are read at once.
    """

    input_ids: Tensor | None
    attention_mask: Tensor
    word_index: Tensor
    word_mask: Tensor
    pixel_values: NotRequired[Tensor | None]
    image_mask: NotRequired[Tensor | None]
    context_mask: NotRequired[Tensor | None]
    vision_features: NotRequired[VisionFeatures | None]
    view: NotRequired[str]
    dropped_words: NotRequired[Tensor | None]
    inputs_embeds: NotRequired[Tensor | None]
    output_attentions: NotRequired[bool | None]
    output_hidden_states: NotRequired[bool | None]
    attending_words: NotRequired[int | None]
    max_tokens: NotRequired[int | None]


@dataclass
class TwoMNERModelOutput(ModelOutput):
    """The output of [`TwoMNERModel`].

    Attributes:
        last_hidden_state: `[B, W, H]` the fused words.
        word_states: `[B, W, H]` the words before fusion.
        patch_states: `[B, P, C]` the patches of the first vision encoder; zeros where there is no
            image. Here and below those of several images stand side by side, in their order, `P`
            of each: `[B, I * P, C]`.
        text_embeds: `[B, D]` the sentences in the alignment space, unit vectors.
        image_embeds: `[B, D]` the images in the alignment space, unit vectors; zeros where there is
            no image. That of several is made from the mean of their vectors.
        patch_attentions: with `output_attentions`, for each vision encoder `[B, heads, W, P]`, the
            attention from words to patches; with `attending_words` that of the first words.
        attentions, hidden_states: those of the text encoder, over `[N, L]`, when asked for.
    """

    last_hidden_state: Tensor | None = None
    word_states: Tensor | None = None
    patch_states: Tensor | None = None
    text_embeds: Tensor | None = None
    image_embeds: Tensor | None = None
    patch_attentions: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    hidden_states: tuple[Tensor, ...] | None = None


@dataclass
class TwoMNERTokenClassifierOutput(ModelOutput):
    """The output of [`TwoMNERForTokenClassification`].

    Attributes:
        loss: scalar, with labels: the weighted sum of `losses`.
        losses: the parts of the loss by name, unweighted: `nll`; `alignment` where the model has
            one; in training with cross-view alignment `nll_text`, of the text view, and
            `cross_view`.
        logits: `[B, W, K]` the emissions.
        predictions: `[B, W]` the best label sequence; -100 outside `word_mask`. In evaluation mode,
            like the next two.
        marginals: `[B, W, K]` the probability of each label of each word.
        entity_scores: `[B, W]` at the first word of each predicted entity, the probability of
            exactly that entity.
        text_embeds, image_embeds, patch_attentions, attentions, hidden_states: as in
            [`TwoMNERModelOutput`].
    """

    loss: Tensor | None = None
    losses: dict[str, Tensor] | None = None
    logits: Tensor | None = None
    predictions: Tensor | None = None
    marginals: Tensor | None = None
    entity_scores: Tensor | None = None
    text_embeds: Tensor | None = None
    image_embeds: Tensor | None = None
    patch_attentions: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    hidden_states: tuple[Tensor, ...] | None = None
