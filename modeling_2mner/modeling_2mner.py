"""The 2M-NER models (2M-NER, section 3; arXiv 2404.17122), with cross-view alignment (ITA, section
2.3; arXiv 2112.06482).

    words      X     [B, W, H]   the text encoder's last hidden states at each word's first sub-word
    patches    R     [B, P, C]   the output of a vision encoder; several images side by side
    fused      F     [B, W, H]   collaboration; equal to X where there is no image
    emissions  E     [B, W, K]   a linear layer over F
    labels                       a linear-chain CRF over E

The encoders may be any that `AutoModel` knows. Batch normalisation in a vision encoder always uses
its stored statistics, so that no image changes the features of another. Only images that are there
are run.

A sentence has two *views*: `image_text`, with its image and visual context, and `text`, which is
exactly the sentence without them.

Shapes: `B` sentences, `N` >= `B` windows of `L` sub-words, `W` words, `K` labels, `P` patches, `C`
the feature size of a vision encoder, `H` hidden size, `D` the alignment space.
"""

from .requirements_2mner import LEAST_TRANSFORMERS  # noqa: F401 -- first: it checks the version

# isort: split

from collections.abc import Sequence
from typing import Any, Self, Unpack

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import logging

from .alignment_2mner import Alignment, content_ids, cross_view_divergence
from .checks_2mner import check_labels
from .collaboration_2mner import AddFusion, Collaboration, ConcatFusion, GatedFusion
from .configuration_2mner import TwoMNERConfig
from .crf_2mner import UNKNOWN, LinearChainCRF, shared_places
from .encoders_2mner import (
    ENCODERS,
    VisionFeatures,
    build_encoder,
    encode_images,
    feature_size,
    map_features,
)
from .image_sets_2mner import (
    has_image,
    mask_of_images,
    patch_mask_of,
    side_by_side,
    spread_to_places,
)
from .labels_2mner import LabelChange, compare_labels
from .outputs_2mner import TwoMNERInputs, TwoMNERModelOutput, TwoMNERTokenClassifierOutput

# What is imported is saved along: a model that is pushed by itself brings all the code it names.
from .pipeline_2mner import MultimodalNERPipeline  # noqa: F401
from .pretrained_2mner import TwoMNERPreTrainedModel
from .processing_2mner import TwoMNERProcessor  # noqa: F401
from .views_2mner import (
    VIEWS,
    illustrated,
    parts_of_sentence,
    select_sentences,
    text_view,
)

__all__ = ["TwoMNERForTokenClassification", "TwoMNERModel"]

logger = logging.get_logger(__name__)


class TwoMNERModel(TwoMNERPreTrainedModel):
    """Words and patches into fused words; sentence and image into the alignment space.

        model = AutoModel.from_pretrained(folder, trust_remote_code=True)
        outputs = model(**processor(["Angela", "Merkel"], images="photo.jpg"))
        outputs.last_hidden_state, outputs.text_embeds, outputs.image_embeds

    Args:
        config: the configuration.
        encoders: ready encoders under "text", "vision", "global_vision"; by default they are built
            from `config`.
    """

    # Saved with a head, loaded without one.
    _keys_to_ignore_on_load_unexpected = [r"^classifier\.", r"^crf\."]  # noqa: RUF012

    def __init__(self, config: TwoMNERConfig, encoders: dict[str, PreTrainedModel] | None = None):
        super().__init__(config)
        encoders = dict(encoders or {})
        for part in ENCODERS:
            encoder_config = getattr(config, f"{part}_config")
            if part not in encoders and encoder_config is not None:
                encoders[part] = build_encoder(encoder_config, f"{part}_config")
        self.text_model = encoders["text"]
        self.vision_model = encoders.get("vision")
        self.global_vision_model = encoders.get("global_vision")

        sizes = [feature_size(encoders[part].config) for part in ENCODERS[1:] if part in encoders]
        self.collaborations = nn.ModuleList(
            Collaboration(
                size,
                config.hidden_size,
                config.collaboration_heads,
                config.collaboration_dropout,
                config.collaboration,
            )
            for size in sizes
        )
        self.fusion = None
        if sizes:
            shape = config.hidden_size, len(sizes)
            fusions = {"gated": GatedFusion, "concat": ConcatFusion}
            self.fusion = AddFusion() if config.fusion == "add" else fusions[config.fusion](*shape)
        self.alignment = None
        if config.has_alignment:
            self.alignment = Alignment(
                config.hidden_size,
                sizes[0],
                config.alignment_size,
                config.alignment_temperature,
                config.alignment_objective,
            )
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.text_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.text_model.set_input_embeddings(value)

    def train(self, mode: bool = True) -> Self:
        """Switch the mode; batch normalisation uses its stored statistics in both."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def forward(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor,
        word_index: Tensor,
        word_mask: Tensor,
        pixel_values: Tensor | None = None,
        image_mask: Tensor | None = None,
        context_mask: Tensor | None = None,
        vision_features: VisionFeatures | None = None,
        view: str = "image_text",
        dropped_words: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        attending_words: int | None = None,
        max_tokens: int | None = None,
        return_dict: bool | None = None,
    ) -> TwoMNERModelOutput | tuple:
        """Encode a batch as the processor makes it.

        Args:
            input_ids, attention_mask, word_index, word_mask, pixel_values, image_mask,
                context_mask, vision_features, view, dropped_words, inputs_embeds,
                output_attentions, output_hidden_states, attending_words, max_tokens: see
                [`TwoMNERInputs`].
            return_dict: False gives a plain tuple.

        Raises:
            ValueError: if a window is longer than the text encoder can read, a text-only model is
                given images, not exactly one of `input_ids` and `inputs_embeds` is given,
                `vision_features` lacks a field, or there is no such view.
            RuntimeError: under `torch.nn.DataParallel`, which cuts each tensor by its rows:
                `word_index` would point into the windows of other sentences.
        """
        self._check_inputs(input_ids, inputs_embeds, pixel_values, vision_features, view)
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        image_mask = mask_of_images(word_index, pixel_values, vision_features, image_mask)
        if view == "text":
            pixel_values = vision_features = None
            if context_mask is not None:
                pad_token = self.text_model.config.pad_token_id or 0
                input_ids, attention_mask, word_index, inputs_embeds = text_view(
                    input_ids, attention_mask, word_index, context_mask, inputs_embeds, pad_token
                )

        encoded = self._encode_windows(
            attention_mask,
            input_ids,
            inputs_embeds,
            max_tokens,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        positions = encoded.last_hidden_state.flatten(0, 1)  # [N * L, H]
        words = positions[word_index]  # X [B, W, H]
        if dropped_words is not None:
            words = words.masked_fill(dropped_words[..., None], 0.0)
        features = self._vision_features(pixel_values, vision_features, image_mask)  # R
        fused, patch_attentions = self._collaborate(  # F [B, W, H]
            words, features, image_mask, output_attentions, attending_words
        )

        text_embeds = image_embeds = None
        if self.alignment is not None:
            length = attention_mask.shape[1]
            sentences = self._sentence_vectors(positions, words, word_index, word_mask, length)
            text_embeds = self.alignment.embed_text(sentences)  # [B, D]
            if features is not None:
                image_embeds = self.alignment.embed_image(features["image_vectors"])
                image_embeds = image_embeds * has_image(image_mask)[:, None]

        output = TwoMNERModelOutput(
            last_hidden_state=fused,
            word_states=words,
            patch_states=None if features is None else features["patches"],
            text_embeds=text_embeds,
            image_embeds=image_embeds,
            patch_attentions=patch_attentions,
            attentions=encoded.attentions,
            hidden_states=encoded.hidden_states,
        )
        return_dict = self.config.return_dict if return_dict is None else return_dict
        return output if return_dict else output.to_tuple()

    def _check_inputs(
        self,
        input_ids: Tensor | None,
        inputs_embeds: Tensor | None,
        pixel_values: Tensor | None,
        vision_features: VisionFeatures | None,
        view: str,
    ) -> None:
        """Raise what `forward` raises."""
        if getattr(self, "_is_replica", False):
            raise RuntimeError(
                "torch.nn.DataParallel was found, which cannot split a batch of windows and words: "
                "expected one process for each GPU, as `accelerate launch` starts them, or one GPU"
            )
        given = [tensor for tensor in (input_ids, inputs_embeds) if tensor is not None]
        if len(given) != 1:
            raise ValueError("expected one of input_ids and inputs_embeds")
        if given[0].shape[1] > self.config.max_positions:
            raise ValueError(
                f"the batch has windows of {given[0].shape[1]} sub-words, but the text encoder "
                f"reads at most {self.config.max_positions}: the processor's max_length must not "
                "be larger"
            )
        if view not in VIEWS:
            raise ValueError(f"view is {view!r}, expected one of {', '.join(VIEWS)}")
        if self.vision_model is None and (pixel_values is not None or vision_features is not None):
            raise ValueError("images were given to a model without a vision encoder")
        if vision_features is not None and pixel_values is None:
            expected = ["patches", "image_vectors"]
            expected += ["global_vectors"] if self.global_vision_model is not None else []
            missing = [name for name in expected if vision_features.get(name) is None]
            if missing:
                raise ValueError(
                    f"vision_features lacks {missing[0]}, expected {', '.join(expected)}"
                )

    def _encode_windows(
        self,
        attention_mask: Tensor,
        input_ids: Tensor | None,
        inputs_embeds: Tensor | None,
        max_tokens: int | None,
        **options: bool | None,
    ) -> Any:
        """Run the text encoder, on some of the windows at a time if they are more than
        `max_tokens`; its output.
        """
        parts = [slice(None)]
        if max_tokens is not None and not any(options.values()):
            count, length = attention_mask.shape
            most = max(1, max_tokens // length)
            parts = [slice(first, first + most) for first in range(0, count, most)]
        states: Tensor | None = None  # [N, L, H]; held once, also while it is put together
        for part in parts:
            output = self.text_model(
                attention_mask=attention_mask[part],
                input_ids=None if input_ids is None else input_ids[part],
                inputs_embeds=None if inputs_embeds is None else inputs_embeds[part],
                **options,
                return_dict=True,
            )
            if len(parts) == 1:
                return output
            if states is None:
                shape = (len(attention_mask), *output.last_hidden_state.shape[1:])
                states = output.last_hidden_state.new_empty(shape)
            states[part] = output.last_hidden_state
        return BaseModelOutput(last_hidden_state=states)

    def read_images(self, pixel_values: Tensor) -> VisionFeatures:
        """Run the vision encoders. While they are not trained the result may be kept, and passed to
        `forward` as `vision_features` in place of `pixel_values`.

        Args:
            pixel_values: `[B, 3, h, w]`, `B` > 0.

        Raises:
            ValueError: if there is no vision encoder.
        """
        if self.vision_model is None:
            raise ValueError("images were given to a model without a vision encoder")
        patches, vectors = encode_images(self.vision_model, pixel_values)
        features: VisionFeatures = {"patches": patches, "image_vectors": vectors}
        if self.global_vision_model is not None:
            _, features["global_vectors"] = encode_images(
                self.global_vision_model, self._renormalise(pixel_values)
            )
        return features

    def _vision_features(
        self,
        pixel_values: Tensor | None,
        vision_features: VisionFeatures | None,
        image_mask: Tensor,
    ) -> VisionFeatures | None:
        """The vision features of all `B` sentences, those of several images side by side, zeros
        where there is no image; None if no sentence has one.
        """
        if self.vision_model is None:
            return None
        if pixel_values is not None:
            vision_features = self.read_present_images(pixel_values, image_mask)
        if vision_features is None:
            return None
        dtype = self.vision_model.dtype

        def masked(values: Tensor) -> Tensor:
            missing = ~image_mask.view(*image_mask.shape, *[1] * (values.ndim - image_mask.ndim))
            return values.to(dtype).masked_fill(missing, 0.0)

        if pixel_values is None:
            vision_features = map_features(masked, vision_features)
        return side_by_side(vision_features, image_mask)

    def read_present_images(
        self, pixel_values: Tensor, image_mask: Tensor
    ) -> VisionFeatures | None:
        """Run the vision encoders on the images that are there.

        Args:
            pixel_values: `[B, 3, h, w]` or `[B, I, 3, h, w]`.
            image_mask: `[B]` or `[B, I]` bool.

        Returns:
            The features, with the leading shape of `image_mask`, zeros where there is no image;
            None if there is none.
        """
        present = image_mask.flatten().nonzero()[:, 0]
        if len(present) == 0:
            if not self.training:
                return None
            # In training each parameter takes part in each step, or data-parallel processes
            # wait for one another.
            present = present.new_zeros(1)
        images = pixel_values.flatten(0, image_mask.ndim - 1)[present]
        features = self.read_images(images)
        return map_features(lambda values: spread_to_places(values, present, image_mask), features)

    def _renormalise(self, pixel_values: Tensor) -> Tensor:
        """From the first encoder's normalisation to the second's."""
        config = self.config
        mean, std, global_mean, global_std = (
            torch.tensor(values, device=pixel_values.device)[:, None, None]
            for values in (
                config.image_mean,
                config.image_std,
                config.global_image_mean,
                config.global_image_std,
            )
        )
        return (pixel_values * std + mean - global_mean) / global_std

    def _collaborate(
        self,
        words: Tensor,
        features: VisionFeatures | None,
        image_mask: Tensor,
        output_attentions: bool | None,
        attending_words: int | None,
    ) -> tuple[Tensor, tuple[Tensor, ...] | None]:
        """Attend from the words to the features of each encoder, and fuse: `F` `[B, W, H]`, equal
        to the words without features; and the attention if it is wanted, of all words or of the
        first.
        """
        if features is None or self.fusion is None:
            return words, None
        encoders = [features["patches"]]
        if self.global_vision_model is not None:
            encoders.append(features["global_vectors"])
        present = has_image(image_mask)
        masks: list[Tensor | None] = [None] * len(encoders)
        if image_mask.ndim > 1:
            # A sentence without an image attends to zeros: no word may have nothing to attend to.
            places = image_mask | ~present[:, None]
            masks = [patch_mask_of(places, e.shape[1] // places.shape[1]) for e in encoders]
        eager = bool(output_attentions) or self.config._attn_implementation == "eager"
        parts: list[Any] = list(zip(self.collaborations, encoders, masks, strict=True))
        attended, weights = zip(
            *(collaboration(words, patches, eager, mask) for collaboration, patches, mask in parts),
            strict=True,
        )
        fused = self.fusion(words, list(attended), present)
        if output_attentions:
            return fused, weights
        if attending_words is None:
            return fused, None
        first = words[:, :attending_words]
        return fused, tuple(
            collaboration.weights(first, patches, mask) for collaboration, patches, mask in parts
        )

    def _sentence_vectors(
        self, positions: Tensor, words: Tensor, word_index: Tensor, word_mask: Tensor, length: int
    ) -> Tensor:
        """`[B, H]`: each sentence's first position in its first window, or its words' mean."""
        if self.config.sentence_vector == "first":
            return positions[word_index[:, 0] // length * length]
        mask = word_mask[..., None].to(words.dtype)
        return (words * mask).sum(1) / mask.sum(1).clamp(min=1)


class TwoMNERForTokenClassification(TwoMNERPreTrainedModel):
    """A label for each word, from the sentence and its image, through a CRF.

        model = AutoModelForTokenClassification.from_pretrained(folder, trust_remote_code=True)
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
        words = ["Angela", "Merkel", "besucht", "Paris"]
        outputs = model(**processor(words, images="photo.jpg"))
        processor.post_process_entities(outputs, words)

    Args:
        config: the configuration.
        encoders: ready encoders, as in [`TwoMNERModel`].
    """

    # The loss is a mean over the sentences of a batch, so that the `Trainer` divides it by the
    # accumulated steps. Without this it would take `**inputs` for arguments of the loss.
    accepts_loss_kwargs = False

    def __init__(self, config: TwoMNERConfig, encoders: dict[str, PreTrainedModel] | None = None):
        super().__init__(config)
        self.model = TwoMNERModel(config, encoders)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, len(config.labels))
        self.crf = LinearChainCRF(config.labels, config.constrain_transitions)
        self.post_init()

    def forward(
        self,
        *,
        labels: Tensor | None = None,
        image_ids: Tensor | None = None,
        return_dict: bool | None = None,
        **inputs: Unpack[TwoMNERInputs],
    ) -> TwoMNERTokenClassifierOutput | tuple:
        """Score a batch as the processor makes it; with labels compute the loss, in evaluation mode
        decode.

        Args:
            labels: `[B, W]` long; -100 under `word_mask` is an unknown label, over which the
                likelihood sums.
            image_ids: `[B]` or `[B, I]` long, a number for the content of each image, 0 for none:
                sentences with equal ones are not each other's negatives. By default they are made
                from the pixels, or else from `vision_features`.
            return_dict: False gives a plain tuple.
            inputs: the arguments of [`TwoMNERModel`], see [`TwoMNERInputs`]. In training with
                cross-view alignment the view "image_text" also reads the view "text".

        Raises:
            ValueError, RuntimeError: as [`TwoMNERModel`] does.
        """
        word_mask = inputs["word_mask"]
        if self.training and self.config.word_dropout > 0:
            # Both views drop the same words: they differ in the image alone.
            chance = torch.rand(word_mask.shape, device=word_mask.device)
            inputs["dropped_words"] = chance < self.config.word_dropout
        if labels is None and (windows := self._windows_of_a_part(inputs)) is not None:
            encoded, emissions = self._read_in_parts(inputs, windows)
        else:
            encoded = self.model(**inputs, return_dict=True)
            emissions = self.classifier(self.dropout(encoded.last_hidden_state))  # E [B, W, K]
        loss = losses = decoding = None
        if labels is not None:
            loss, losses = self._loss(inputs, labels, image_ids, encoded, emissions)
        if not self.training:
            decoding = self.crf.decode(emissions, word_mask)

        output = TwoMNERTokenClassifierOutput(
            loss=loss,
            losses=losses,
            logits=emissions,
            predictions=None if decoding is None else decoding.labels,
            marginals=None if decoding is None else decoding.marginals,
            entity_scores=None if decoding is None else decoding.entity_scores,
            text_embeds=encoded.text_embeds,
            image_embeds=encoded.image_embeds,
            patch_attentions=encoded.patch_attentions,
            attentions=encoded.attentions,
            hidden_states=encoded.hidden_states,
        )
        return_dict = self.config.return_dict if return_dict is None else return_dict
        return output if return_dict else output.to_tuple()

    def _windows_of_a_part(self, inputs: TwoMNERInputs) -> int | None:
        """How many windows are read at once of a single sentence that has more than `max_tokens`
        sub-words; None if the batch is read as a whole.
        """
        most = inputs.get("max_tokens")
        if most is None or self.training or len(inputs["word_mask"]) != 1:
            return None
        names = ("output_attentions", "output_hidden_states")
        if any(inputs.get(name) or getattr(self.config, name) for name in names):
            return None
        count, length = inputs["attention_mask"].shape
        windows = max(1, most // length)
        return windows if windows < count else None

    def _read_in_parts(
        self, inputs: TwoMNERInputs, windows: int
    ) -> tuple[TwoMNERModelOutput, Tensor]:
        """Read a long sentence in parts, of which nothing but the emissions is kept.

        Args:
            inputs: of one sentence.
            windows: of a part.

        Returns:
            The attention to patches, if asked for, and nothing else of the base model; and the
            emissions `[1, W, K]`.
        """
        pixel_values, image_mask = inputs.get("pixel_values"), inputs.get("image_mask")
        if pixel_values is not None and inputs.get("view", "image_text") == "image_text":
            if image_mask is None:
                image_mask = torch.ones_like(pixel_values[..., 0, 0, 0], dtype=torch.bool)
                inputs["image_mask"] = image_mask
            inputs["vision_features"] = self.model.read_present_images(pixel_values, image_mask)
            inputs["pixel_values"] = None
        emissions, weights = [], []
        attending = inputs.get("attending_words") or 0
        for part in parts_of_sentence(inputs, windows):
            part["attending_words"] = attending or None
            encoded = self.model(**part, return_dict=True)
            emissions.append(self.classifier(encoded.last_hidden_state))
            if encoded.patch_attentions is not None:
                weights.append(encoded.patch_attentions)
                attending -= weights[-1][0].shape[2]
        attentions = tuple(torch.cat(parts, 2) for parts in zip(*weights, strict=True)) or None
        return TwoMNERModelOutput(patch_attentions=attentions), torch.cat(emissions, 1)

    @torch.no_grad()
    def resize_labels(self, labels: Sequence[str]) -> LabelChange:
        """Give the model another label set, in place. The weights of the labels in both sets stay
        exactly as they are: their rows of the classifier and their transitions in the CRF. The
        weights of new labels are newly initialised.

            change = model.resize_labels(["O", "B-PER", "I-PER", "B-DRUG", "I-DRUG"])
            processor.labels = model.config.labels

        Args:
            labels: the new label names in the order of the emissions, in the scheme of the model,
                BIO or BIOES.

        Returns:
            Which labels were kept, which are new and which were dropped; the log says so too.

        Raises:
            ValueError: if a name is not a label, comes twice, "O" is not among them, or the scheme
                is another one: `B-PER` never labels a single word in BIOES, and does in BIO.
        """
        old = self.config.labels
        check_labels(labels)
        labels = list(labels)
        change = compare_labels(old, labels)
        classifier = nn.Linear(self.config.hidden_size, len(labels)).to(self.classifier.weight)
        self._init_weights(classifier)
        before, after = shared_places(old, labels)
        classifier.weight[after] = self.classifier.weight[before]
        classifier.bias[after] = self.classifier.bias[before]
        crf = self.crf.with_labels(labels)
        # The model is changed only now, when nothing can raise any more.
        self.classifier = classifier.train(self.training)
        self.crf = crf
        self.config.id2label = dict(enumerate(labels))
        self.config.label2id = {label: index for index, label in enumerate(labels)}
        logger.warning(f"Other labels: {change}")
        return change

    def _loss(
        self,
        inputs: TwoMNERInputs,
        labels: Tensor,
        image_ids: Tensor | None,
        encoded: TwoMNERModelOutput,
        emissions: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, `alpha * NLL + (1 - alpha) * alignment + mu * cross_view`, and its parts by
        name.
        """
        nll = -self.crf(emissions, labels, inputs["word_mask"])  # [B]
        losses = {"nll": nll.mean()}
        loss = losses["nll"]
        both_views = self.training and self.config.cross_view_weight > 0
        if both_views and inputs.get("view", "image_text") == "image_text":
            losses |= self._cross_view_losses(inputs, labels, nll, emissions)
            loss = (losses["nll"] + losses["nll_text"]) / 2
        if self.config.has_alignment:
            losses["alignment"] = self._alignment_loss(inputs, labels, image_ids, encoded)
            loss = self.config.alpha * loss + (1 - self.config.alpha) * losses["alignment"]
        if "cross_view" in losses:
            loss = loss + self.config.cross_view_weight * losses["cross_view"]
        return loss, losses

    def _cross_view_losses(
        self, inputs: TwoMNERInputs, labels: Tensor, nll: Tensor, emissions: Tensor
    ) -> dict[str, Tensor]:
        """Read the text view of the sentences whose views differ, and compare it with the view with
        the image.

        Args:
            inputs: the batch.
            labels: `[B, W]`.
            nll, emissions: `[B]`, `[B, W, K]` of the view with the image.

        Returns:
            Scalars, both means over all `B` sentences: `nll_text`, to which a sentence whose views
            are the same adds its `nll`; and `cross_view`, to which it adds 0.
        """
        image_mask = inputs.get("image_mask")
        if inputs.get("pixel_values") is None and inputs.get("vision_features") is None:
            image_mask = None
        elif image_mask is None:
            image_mask = torch.ones_like(nll, dtype=torch.bool)
        differ = illustrated(inputs["word_index"], image_mask, inputs.get("context_mask"))
        chosen = differ.nonzero()[:, 0]
        if len(chosen) == 0:
            return {"nll_text": nll.mean(), "cross_view": nll.new_zeros(())}

        text_inputs = select_sentences(
            inputs["attention_mask"],
            inputs["word_index"],
            chosen,
            word_mask=inputs["word_mask"],
            input_ids=inputs["input_ids"],
            inputs_embeds=inputs.get("inputs_embeds"),
            context_mask=inputs.get("context_mask"),
            dropped_words=inputs.get("dropped_words"),
        )
        encoded = self.model(**text_inputs, view="text", return_dict=True)
        text_emissions = self.classifier(self.dropout(encoded.last_hidden_state))
        word_mask = inputs["word_mask"][chosen]
        text_nll = -self.crf(text_emissions, labels[chosen], word_mask)
        temperature = self.config.cross_view_temperature
        with torch.no_grad():
            teacher = self.crf.log_marginals(emissions[chosen], word_mask, temperature)
        student = self.crf.log_marginals(text_emissions, word_mask, temperature)
        divergence = cross_view_divergence(teacher, student, word_mask, temperature)
        return {
            "nll_text": nll.index_copy(0, chosen, text_nll).mean(),
            "cross_view": divergence.sum() / len(nll),
        }

    def _alignment_loss(
        self,
        inputs: TwoMNERInputs,
        labels: Tensor,
        image_ids: Tensor | None,
        encoded: TwoMNERModelOutput,
    ) -> Tensor:
        """The contrastive loss at the configured level: a scalar. It is also computed without
        images, because other processes may have some, and wait for this one.
        """
        pairs, alignment = inputs["word_mask"].any(1), self.model.alignment
        image_mask = inputs.get("image_mask")
        if encoded.image_embeds is None:
            pairs = torch.zeros_like(pairs)
        elif image_mask is not None:
            pairs = pairs & has_image(image_mask)
        ids = self._image_ids(inputs, pairs) if image_ids is None else image_ids
        ids = ids.view(len(pairs), -1)
        if self.config.alignment_level == "sentence":
            return alignment.sentence_loss(encoded.text_embeds, encoded.image_embeds, pairs, ids)
        outside = self.config.labels.index("O")
        known = labels.masked_fill(labels == UNKNOWN, outside)
        entity_index = torch.where(known == outside, -1, self.crf.begins[known].cumsum(1) - 1)
        patch_mask = None
        if encoded.patch_states is not None and image_mask is not None and image_mask.ndim > 1:
            count = encoded.patch_states.shape[1] // image_mask.shape[1]
            patch_mask = patch_mask_of(image_mask, count)
        return alignment.entity_loss(
            encoded.word_states, encoded.patch_states, entity_index, pairs, ids, patch_mask
        )

    def _image_ids(self, inputs: TwoMNERInputs, pairs: Tensor) -> Tensor:
        """A number for the content of each image of a batch, 0 for none: `[B, I]`, or `[B, 1]`."""
        # Of what the encoder is given: its output may differ in the last bits.
        images, one = inputs.get("pixel_values"), 3
        if images is None and (features := inputs.get("vision_features")) is not None:
            images, one = features["image_vectors"], 1
        if images is None:
            return torch.zeros_like(pairs[:, None], dtype=torch.long)
        places = images.shape[: images.ndim - one]
        ids = content_ids(images.flatten(0, len(places) - 1)).view(len(pairs), -1)
        image_mask = inputs.get("image_mask")
        return ids if image_mask is None else ids * image_mask.view_as(ids)
