"""The 2M-NER models: words and patches into fused words, fused words into labels (2M-NER, section
3; arXiv 2404.17122), and cross-view alignment, by which the words alone come to say what words and
image say together (ITA, section 2.3; arXiv 2112.06482).

    words      X     [B, W, H]   the text encoder's last hidden states at each word's first sub-word
    patches    R     [B, P, C]   a vision encoder's patches or map cells
    fused      F     [B, W, H]   collaboration; equal to X where there is no image
    emissions  E     [B, W, K]   a linear layer over F
    labels                       a linear-chain CRF over E

What is unusual: the encoders may be any encoders that `AutoModel` knows. Batch normalisation in a
vision encoder always uses its stored statistics, so that no image changes how another one is read.
Images that are missing are not run.

A sentence has two *views*: `image_text`, with its image and the visual context behind its words,
and `text`, without them, exactly as if there were none.

Shapes: `B` sentences, `N` >= `B` windows of `L` sub-words, `W` words, `K` labels, `P` patches, `C`
a vision encoder's feature size, `H` hidden size, `D` the space of the alignment.
"""

from .requirements_2mner import LEAST_TRANSFORMERS  # noqa: F401 -- first: it checks the version

# isort: split

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import ModelOutput, logging

from .alignment_2mner import Alignment, cross_view_divergence
from .checks_2mner import check_labels
from .collaboration_2mner import Collaboration, ConcatFusion, GatedFusion
from .configuration_2mner import BROKEN, TwoMNERConfig
from .crf_2mner import UNKNOWN, LinearChainCRF, shared_places
from .labels_2mner import is_bioes

# What is imported is saved along: a model that is pushed by itself brings all the code it names.
from .pipeline_2mner import MultimodalNERPipeline  # noqa: F401
from .processing_2mner import TwoMNERProcessor  # noqa: F401
from .quoting_2mner import shorten
from .weights_2mner import check_finite, check_missing

__all__ = [
    "LabelChange",
    "TwoMNERForTokenClassification",
    "TwoMNERModel",
    "TwoMNERModelOutput",
    "TwoMNERPreTrainedModel",
    "TwoMNERTokenClassifierOutput",
    "illustrated",
]

logger = logging.get_logger(__name__)

VIEWS = ("image_text", "text")
OF_WINDOWS = ("input_ids", "attention_mask", "context_mask", "inputs_embeds")


@dataclass
class TwoMNERModelOutput(ModelOutput):
    """What [`TwoMNERModel`] gives.

    Attributes:
        last_hidden_state: `[B, W, H]` the fused words.
        word_states: `[B, W, H]` the words before fusion.
        patch_states: `[B, P, C]` the first encoder's patches; zeros where there is no image.
        text_embeds: `[B, D]` the sentences in the space of the alignment, unit vectors.
        image_embeds: `[B, D]` the images in the same space, unit vectors; zeros where there is no
            image.
        patch_attentions: one `[B, heads, W, P]` an encoder, with `output_attentions`: what each
            word looked at.
        attentions, hidden_states: the text encoder's, over `[N, L]`, when asked for.
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
    """What [`TwoMNERForTokenClassification`] gives.

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


@dataclass
class LabelChange:
    """What became of the labels of a model that was given another set of them.

    Attributes:
        kept: in both sets; the model goes on with what it knows of them.
        new: to be learned.
        dropped: forgotten.
    """

    kept: list[str]
    new: list[str]
    dropped: list[str]

    def __str__(self) -> str:
        parts = (f"{name} {', '.join(labels)}" for name, labels in vars(self).items() if labels)
        return "; ".join(parts)


def _without_pooler(model_class: type[PreTrainedModel]) -> dict[str, bool]:
    """The argument that leaves out a pooler, which nothing here would train, if there is one."""
    accepted = inspect.signature(model_class.__init__).parameters
    return {"add_pooling_layer": False} if "add_pooling_layer" in accepted else {}


def _encoder_class(config: PreTrainedConfig) -> type[PreTrainedModel]:
    return AutoModel._model_mapping[type(config)]


def _encoder_from_config(config: PreTrainedConfig) -> PreTrainedModel:
    model_class = _encoder_class(config)
    return model_class._from_config(config, **_without_pooler(model_class))


def _encoder_from_pretrained(name: str, part: str) -> PreTrainedModel:
    """Load one encoder; of a model that has several, such as CLIP, the `part` ("text_config" or
    "vision_config").

    Raises:
        OSError: if it cannot be loaded, lacks a tensor, or has a value that is not finite.
        ValueError: if `AutoModel` cannot load it.
    """
    config = AutoConfig.from_pretrained(name)
    config = getattr(config, part, config)
    if type(config) not in AutoModel._model_mapping:
        raise ValueError(
            f"{name} is of model type {config.model_type!r}, which AutoModel cannot load"
        )
    model_class = _encoder_class(config)
    encoder, report = model_class.from_pretrained(
        name,
        config=config,
        dtype=torch.float32,
        output_loading_info=True,
        **_without_pooler(model_class),
    )
    check_missing(name, report["missing_keys"])
    check_finite(name, encoder)
    return encoder


def _feature_size(config: PreTrainedConfig) -> int:
    """`C`: the size of a vision encoder's features, whatever its family calls it."""
    if getattr(config, "hidden_sizes", None):  # a stage each: ResNet, ConvNeXt
        return config.hidden_sizes[-1]
    return (
        config.hidden_dim if hasattr(config, "hidden_dim") else config.hidden_size
    )  # EfficientNet; transformers


def _read_images(encoder: PreTrainedModel, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
    """Run a vision encoder: `[B, 3, h, w]` -> patches `[B, P, C]` and the image vector `[B, C]`."""
    # Channels last: convolutions are faster so, on processors and on GPUs.
    pixel_values = pixel_values.to(encoder.dtype, memory_format=torch.channels_last)
    outputs = encoder(pixel_values=pixel_values, return_dict=True)
    patches = outputs.last_hidden_state
    if patches.ndim == 4:  # [B, C, h', w'] -> [B, h' * w', C]
        patches = patches.flatten(2).transpose(1, 2)
    pooled = getattr(outputs, "pooler_output", None)
    return patches, patches.mean(1) if pooled is None else pooled.flatten(1)


def _text_view(
    input_ids: Tensor | None,
    attention_mask: Tensor,
    word_index: Tensor,
    context_mask: Tensor,
    inputs_embeds: Tensor | None,
    padding: int,
) -> tuple[Tensor | None, Tensor, Tensor, Tensor | None]:
    """A batch without its visual context: to the last bit the one that the processor makes of the
    same sentences without any.

    Returns:
        `input_ids`, `attention_mask`, `word_index`, `inputs_embeds`, the windows cut to the longest
        that is left.
    """
    attention_mask = attention_mask.masked_fill(context_mask, 0)
    before, after = attention_mask.shape[1], int(attention_mask.sum(1).max())
    if input_ids is not None:
        input_ids = input_ids.masked_fill(context_mask, padding)[:, :after]
    if inputs_embeds is not None:
        inputs_embeds = inputs_embeds[:, :after]
    word_index = word_index // before * after + word_index % before
    return input_ids, attention_mask[:, :after], word_index, inputs_embeds


def illustrated(
    word_index: Tensor, image_mask: Tensor | None, context_mask: Tensor | None
) -> Tensor:
    """`[B]` bool: the sentences of a batch that have an image or visual context.

    Args:
        word_index, image_mask, context_mask: as in [`TwoMNERModel`]; None is nowhere.
    """
    found = torch.zeros_like(word_index[:, 0], dtype=torch.bool)
    if image_mask is not None:
        found = found | image_mask
    if context_mask is not None:
        # Every window of a sentence carries the context, so its first one tells.
        first_window = word_index[:, 0] // context_mask.shape[1]
        found = found | context_mask[first_window].any(1)
    return found


def _select_sentences(sentences: dict[str, Tensor | None], chosen: Tensor) -> dict[str, Tensor]:
    """Some sentences of a batch, with their windows and no others.

    Args:
        sentences: `OF_WINDOWS` `[N, ...]`, the others `[B, ...]`; any may be None.
        chosen: the numbers of the sentences, in order.
    """
    word_index = sentences["word_index"]
    windows, length = sentences["attention_mask"].shape
    first = word_index[:, 0] // length  # a sentence's first word is read in its first window
    numbers = torch.arange(windows, device=first.device)
    owner = torch.bucketize(numbers, first, right=True) - 1  # [N] the sentence of each window
    kept = torch.isin(owner, chosen)
    moved = kept.cumsum(0) - 1
    selected = {
        name: values[kept if name in OF_WINDOWS else chosen]
        for name, values in sentences.items()
        if values is not None
    }
    place = selected["word_index"]
    selected["word_index"] = moved[place // length] * length + place % length
    return {"input_ids": None, **selected}


class TwoMNERPreTrainedModel(PreTrainedModel):
    """What the models of the family share: how they are built, initialised and loaded."""

    config_class = TwoMNERConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _keep_in_fp32_modules_strict = ["crf"]  # noqa: RUF012 -- the base class declares it so

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initialise the new parts; the encoders initialise their own.

        | part | weights | biases |
        | --- | --- | --- |
        | every new linear layer | normal, `initializer_range` | 0 |
        | layer norm | 1 | 0 |
        | CRF | uniform in +-0.1, and what the label scheme forbids written again | |
        """
        super()._init_weights(module)
        if isinstance(module, LinearChainCRF):
            module.reset_parameters()

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str, *model_args, **kwargs
    ) -> "TwoMNERPreTrainedModel":
        """As every `from_pretrained`, but no pickle is read, only safetensors, and no tensor starts
        at random unasked: with `ignore_mismatched_sizes=True` those do that have another shape, and
        the head does where the folder is that of a model without one (`TwoMNERModel`), as the log
        says.

        Raises:
            OSError: if there are no weights, a file of them is broken, a tensor is missing, or a
                value is not finite; the message names the tensor.
            RuntimeError: if they have other shapes than the configuration says; with other labels,
                for instance.
        """
        kwargs.setdefault("use_safetensors", True)
        with_report = kwargs.pop("output_loading_info", False)
        try:
            model, report = super().from_pretrained(
                pretrained_model_name_or_path, *model_args, output_loading_info=True, **kwargs
            )
        except SafetensorError as error:
            raise OSError(
                f"{pretrained_model_name_or_path}: the weights (safetensors) are broken or cut "
                f"short, fetch them again: {error}"
            ) from error
        except RuntimeError as error:
            if "ignore_mismatched_sizes" not in str(error):
                raise
            raise RuntimeError(
                f"{pretrained_model_name_or_path}: the weights listed above have other shapes than "
                "the configuration says. For other labels than it was trained with, pass "
                "ignore_mismatched_sizes=True: their part then starts untrained"
            ) from error
        name = str(pretrained_model_name_or_path)
        missing = set(report["missing_keys"])
        head = {key for key in model.state_dict() if key.startswith(("classifier.", "crf."))}
        if head <= missing and "TwoMNERModel" in (model.config.architectures or ()):
            missing -= head
        check_missing(name, missing)
        check_finite(name, model)
        return (model, report) if with_report else model

    @classmethod
    def from_text_vision_pretrained(
        cls,
        text: str,
        vision: str | None = None,
        global_vision: str | None = None,
        **config,
    ) -> "TwoMNERPreTrainedModel":
        """Put pretrained encoders together, in evaluation mode; everything else is newly
        initialised, and the log says what.

            model = TwoMNERForTokenClassification.from_text_vision_pretrained(
                "xlm-roberta-base", "openai/clip-vit-base-patch32", labels=["O", "B-PER", "I-PER"]
            )

        Args:
            text: name or folder of a text encoder.
            vision: name or folder of the vision encoder that gives patches; None makes a text-only
                tagger.
            global_vision: name or folder of a second vision encoder, which gives one vector a
                image.
            config: further fields of [`TwoMNERConfig`].

        Raises:
            ValueError: if `AutoModel` cannot load one of them as an encoder, or a field of the
                configuration is wrong.
        """
        encoders = {"text": _encoder_from_pretrained(text, "text_config")}
        for part, name, prefix in (
            ("vision", vision, ""),
            ("global_vision", global_vision, "global_"),
        ):
            if name is not None:
                encoders[part] = _encoder_from_pretrained(name, "vision_config")
                normalisation = AutoImageProcessor.from_pretrained(name, backend="pil")
                config[f"{prefix}image_mean"] = list(normalisation.image_mean)
                config[f"{prefix}image_std"] = list(normalisation.image_std)
        for part, encoder in encoders.items():
            config[f"{part}_config"] = encoder.config
            encoder.config._name_or_path = ""  # where it lay on this machine is nobody's business
            for module in encoder.modules():
                module._is_hf_initialized = True  # what is loaded stays as it is
        # Each encoder keeps the attention that it was loaded with: not all of them have sdpa.
        attention = {
            f"{part}_config": encoder.config._attn_implementation
            for part, encoder in encoders.items()
        }
        config = TwoMNERConfig(**config, attn_implementation=attention)
        model = cls(config, encoders=encoders)
        new = dict.fromkeys(
            ".".join(name.split(".")[: 2 if name.startswith("model.") else 1])
            for name, _ in model.named_parameters()
            if not name.removeprefix("model.").startswith(
                tuple(f"{part}_model." for part in encoders)
            )
        )
        logger.warning(f"Newly initialised, to be trained: {', '.join(new) or 'nothing'}")
        return model.eval()


class TwoMNERModel(TwoMNERPreTrainedModel):
    """Words and patches into fused words, and sentence and image into one space.

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
        for part in ("text", "vision", "global_vision"):
            encoder_config = getattr(config, f"{part}_config")
            if part not in encoders and encoder_config is not None:
                try:
                    encoders[part] = _encoder_from_config(encoder_config)
                except BROKEN as error:
                    raise ValueError(f"{part}_config: {shorten(str(error), 300)}") from error
        self.text_model = encoders["text"]
        self.vision_model = encoders.get("vision")
        self.global_vision_model = encoders.get("global_vision")

        vision_configs = [
            encoder
            for encoder in (config.vision_config, config.global_vision_config)
            if encoder is not None
        ]
        self.collaborations = nn.ModuleList(
            Collaboration(
                _feature_size(encoder),
                config.hidden_size,
                config.collaboration_heads,
                config.collaboration_dropout,
            )
            for encoder in vision_configs
        )
        fusion = {"gated": GatedFusion, "concat": ConcatFusion}[config.fusion]
        self.fusion = fusion(config.hidden_size, len(vision_configs)) if vision_configs else None
        self.alignment = None
        if config.has_alignment:
            self.alignment = Alignment(
                config.hidden_size,
                _feature_size(config.vision_config),
                config.alignment_size,
                config.alignment_temperature,
                config.alignment_objective,
            )
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.text_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.text_model.set_input_embeddings(value)

    def train(self, mode: bool = True) -> "TwoMNERModel":
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
        patches: Tensor | None = None,
        image_vectors: Tensor | None = None,
        global_vectors: Tensor | None = None,
        view: str = "image_text",
        dropped_words: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        max_tokens: int | None = None,
        return_dict: bool | None = None,
    ) -> TwoMNERModelOutput | tuple:
        """Encode a batch as the processor makes it.

        Args:
            input_ids, attention_mask: `[N, L]` windows of sub-words, those of a sentence in its
                order.
            word_index: `[B, W]` where each word's first sub-word lies among the `N * L` positions;
                a sentence without words points at the first position of its window.
            word_mask: `[B, W]` bool, true on words.
            pixel_values: `[B, 3, h, w]` images; what stands in the rows of missing ones does not
                matter.
            image_mask: `[B]` bool, true where there is an image; by default everywhere.
            context_mask: `[N, L]` bool, true on visual context and what closes it; by default
                nowhere.
            patches, image_vectors, global_vectors: what `read_images` gave of the images, in
                place of `pixel_values`: `[B, P, C]`, `[B, C]` and, for a second encoder, its
                `[B, C]`.
            view: "image_text", or "text": as if there were no images and no visual context.
            dropped_words: `[B, W]` bool, words that are read as nothing: their vectors are zero.
            inputs_embeds: `[N, L, H]` what the sub-words are embedded as, in place of `input_ids`.
            output_attentions: also give the text encoder's attention and that from words to
                patches.
            output_hidden_states: also give the text encoder's layers.
            max_tokens: sub-words, padding included, that the text encoder reads at once, but at
                least one window; by default all. It bounds the memory that a long text needs, and
                changes nothing else. Where attentions or layers are asked for, all are read at
                once.
            return_dict: False gives a plain tuple.

        Raises:
            ValueError: if a window is longer than the text encoder can read, images come to a
                text-only model, there is not one of `input_ids` and `inputs_embeds`, not all
                vectors beside `patches`, or no such view.
            RuntimeError: under `torch.nn.DataParallel`, which cuts each tensor by its rows:
                `word_index` would point into the windows of other sentences.
        """
        if getattr(self, "_is_replica", False):
            raise RuntimeError(
                "torch.nn.DataParallel was found, which cannot split a batch of windows and words: "
                "expected one process for each GPU, as `accelerate launch` starts them, or one GPU"
            )
        return_dict = self.config.return_dict if return_dict is None else return_dict
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("expected one of input_ids and inputs_embeds")
        length = (inputs_embeds if input_ids is None else input_ids).shape[1]
        if length > self.config.max_positions:
            raise ValueError(
                f"the batch has windows of {length} sub-words, but the text encoder reads at most "
                f"{self.config.max_positions}: the processor's max_length must not be larger"
            )
        if view not in VIEWS:
            raise ValueError(f"view is {view!r}, expected one of {', '.join(VIEWS)}")
        has_images = pixel_values is not None or patches is not None
        if has_images and self.vision_model is None:
            raise ValueError("images were given to a model without a vision encoder")
        if view == "text":
            has_images = False
            if context_mask is not None:
                input_ids, attention_mask, word_index, inputs_embeds = _text_view(
                    input_ids,
                    attention_mask,
                    word_index,
                    context_mask,
                    inputs_embeds,
                    self.config.text_config.pad_token_id or 0,
                )
                length = attention_mask.shape[1]

        encoded = self._read_windows(
            {
                "input_ids": input_ids,
                "inputs_embeds": inputs_embeds,
                "attention_mask": attention_mask,
            },
            max_tokens,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        positions = encoded.last_hidden_state.flatten(0, 1)  # [N * L, H]
        words = positions[word_index]  # X [B, W, H]
        if dropped_words is not None:
            words = words.masked_fill(dropped_words[..., None], 0.0)

        fused, attentions, seen = words, None, {}
        if has_images:
            if image_mask is None:
                image_mask = torch.ones(len(words), dtype=torch.bool, device=words.device)
            if pixel_values is not None:
                seen = self._see(pixel_values, image_mask)
            else:
                seen = self._seen_before(patches, image_vectors, global_vectors, image_mask)
        if seen:
            encoders = [seen["patches"]]
            if "global_vectors" in seen:
                encoders.append(seen["global_vectors"][:, None])
            fused, attentions = self._collaborate(words, encoders, image_mask, output_attentions)

        text_embeds = image_embeds = None
        if self.alignment is not None:
            text_embeds = self.alignment.embed_text(
                self._sentence_vectors(positions, words, word_index, word_mask, length)
            )
            if seen:
                image_embeds = (
                    self.alignment.embed_image(seen["image_vectors"]) * image_mask[:, None]
                )

        output = TwoMNERModelOutput(
            last_hidden_state=fused,
            word_states=words,
            patch_states=seen.get("patches"),
            text_embeds=text_embeds,
            image_embeds=image_embeds,
            patch_attentions=attentions,
            attentions=encoded.attentions,
            hidden_states=encoded.hidden_states,
        )
        return output if return_dict else output.to_tuple()

    def _read_windows(
        self, windows: dict[str, Tensor | None], max_tokens: int | None, **options: bool | None
    ) -> BaseModelOutput:
        """Run the text encoder, over parts of the windows if they are more than `max_tokens`."""
        count, length = windows["attention_mask"].shape
        most = count if max_tokens is None else max(1, max_tokens // length)
        if count <= most or any(options.values()):
            return self.text_model(**windows, **options, return_dict=True)
        states = [
            self.text_model(
                **{
                    name: None if values is None else values[first : first + most]
                    for name, values in windows.items()
                },
                return_dict=True,
            ).last_hidden_state
            for first in range(0, count, most)
        ]
        return BaseModelOutput(last_hidden_state=torch.cat(states))

    def read_images(self, pixel_values: Tensor) -> dict[str, Tensor]:
        """Run the vision encoders: what they give may be kept, and given to `forward` in place of
        the images for as long as the encoders are not trained.

        Args:
            pixel_values: `[n, 3, h, w]`, n > 0.

        Returns:
            `patches` `[n, P, C]` and `image_vectors` `[n, C]` of the first encoder;
            `global_vectors` `[n, C]` of the second, if there is one.
        """
        patches, vectors = _read_images(self.vision_model, pixel_values)
        seen = {"patches": patches, "image_vectors": vectors}
        if self.global_vision_model is not None:
            _, seen["global_vectors"] = _read_images(
                self.global_vision_model, self._renormalise(pixel_values)
            )
        return seen

    def _see(self, pixel_values: Tensor, image_mask: Tensor) -> dict[str, Tensor]:
        """Run the encoders on the images that are there: as `read_images`, but of all `B`
        sentences; nothing, if none of them has an image.
        """
        present = image_mask.nonzero()[:, 0]
        if len(present) == 0:
            if not self.training:
                return {}
            # In training each parameter takes part in each step, or data-parallel processes wait
            # for one another.
            present = image_mask.new_zeros(1, dtype=torch.long)
        return {
            name: states.new_zeros(len(image_mask), *states.shape[1:]).index_copy(
                0, present, states
            )
            for name, states in self.read_images(pixel_values[present]).items()
        }

    def _seen_before(
        self,
        patches: Tensor,
        image_vectors: Tensor | None,
        global_vectors: Tensor | None,
        image_mask: Tensor,
    ) -> dict[str, Tensor]:
        """What was read off the images earlier, as `_see` gives it."""
        seen = {"patches": patches, "image_vectors": image_vectors}
        if self.global_vision_model is not None:
            seen["global_vectors"] = global_vectors
        for name, states in seen.items():
            if states is None:
                raise ValueError(f"patches were given without {name}")
            missing = ~image_mask.view(-1, *[1] * (states.ndim - 1))
            seen[name] = states.to(self.vision_model.dtype).masked_fill(missing, 0.0)
        return seen

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
        encoders: list[Tensor],
        image_mask: Tensor,
        output_attentions: bool | None,
    ) -> tuple[Tensor, tuple[Tensor, ...] | None]:
        """Let the words read each encoder, and fuse: `F` `[B, W, H]`, and its attention."""
        eager = bool(output_attentions) or self.config._attn_implementation == "eager"
        read, weights = zip(
            *(
                collaboration(words, patches, eager)
                for collaboration, patches in zip(self.collaborations, encoders, strict=True)
            ),
            strict=True,
        )
        return self.fusion(words, list(read), image_mask), weights if output_attentions else None

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

    # The loss is a mean over the sentences of a batch: the `Trainer` divides by the steps that it
    # accumulates.
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
        input_ids: Tensor | None,
        attention_mask: Tensor,
        word_index: Tensor,
        word_mask: Tensor,
        pixel_values: Tensor | None = None,
        image_mask: Tensor | None = None,
        context_mask: Tensor | None = None,
        patches: Tensor | None = None,
        image_vectors: Tensor | None = None,
        global_vectors: Tensor | None = None,
        view: str = "image_text",
        labels: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        max_tokens: int | None = None,
        return_dict: bool | None = None,
    ) -> TwoMNERTokenClassifierOutput | tuple:
        """Score, learn and (in evaluation mode) label a batch as the processor makes it.

        Args:
            input_ids, attention_mask, word_index, word_mask, pixel_values, image_mask,
                context_mask, patches, image_vectors, global_vectors, view: as in [`TwoMNERModel`].
                In training with cross-view alignment the view "image_text" reads the other one as
                well.
            labels: `[B, W]` long; -100 under `word_mask` is an unknown label, over which the
                likelihood sums.
            inputs_embeds, output_attentions, output_hidden_states, max_tokens, return_dict: as in
                [`TwoMNERModel`].

        Raises:
            ValueError: as [`TwoMNERModel`] does.
        """
        return_dict = self.config.return_dict if return_dict is None else return_dict
        sentences = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "word_index": word_index,
            "word_mask": word_mask,
            "context_mask": context_mask,
            "inputs_embeds": inputs_embeds,
        }
        if self.training and self.config.word_dropout > 0:
            # Both views do without the same words, or the one could not say what the other says.
            chance = torch.rand(word_mask.shape, device=word_mask.device)
            sentences["dropped_words"] = chance < self.config.word_dropout
        encoded = self.model(
            **sentences,
            pixel_values=pixel_values,
            image_mask=image_mask,
            patches=patches,
            image_vectors=image_vectors,
            global_vectors=global_vectors,
            view=view,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            max_tokens=max_tokens,
            return_dict=True,
        )
        emissions = self.classifier(self.dropout(encoded.last_hidden_state))  # E [B, W, K]

        loss = losses = None
        if labels is not None:
            nll = -self.crf(emissions, labels, word_mask)  # [B]
            losses = {"nll": nll.mean()}
            loss = losses["nll"]
            if self.training and self.config.cross_view_weight > 0 and view == "image_text":
                imaged = None
                if pixel_values is not None or patches is not None:
                    everywhere = torch.ones_like(word_index[:, 0], dtype=torch.bool)
                    imaged = everywhere if image_mask is None else image_mask
                chosen = illustrated(word_index, imaged, context_mask).nonzero()[:, 0]
                losses |= self._cross_view_losses(sentences, labels, chosen, nll, emissions)
                loss = (losses["nll"] + losses["nll_text"]) / 2
            if self.config.has_alignment:
                losses["alignment"] = self._alignment_loss(encoded, labels, word_mask, image_mask)
                loss = self.config.alpha * loss + (1 - self.config.alpha) * losses["alignment"]
            if "cross_view" in losses:
                loss = loss + self.config.cross_view_weight * losses["cross_view"]
        decoding = None if self.training else self.crf.decode(emissions, word_mask)

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
        return output if return_dict else output.to_tuple()

    @torch.no_grad()
    def resize_labels(self, labels: Sequence[str]) -> LabelChange:
        """Give the model another label set, in place. What it knows of the labels in both sets
        stays, to the last bit: their rows of the classifier and their transitions in the CRF.
        What is new is newly initialised, to be trained.

            change = model.resize_labels(["O", "B-PER", "I-PER", "B-DRUG", "I-DRUG"])
            processor.labels = model.config.labels

        Args:
            labels: the new label names in the order of the emissions, in the model's own scheme,
                BIO or BIOES.

        Returns:
            Which labels were kept, which are new and which were dropped; the log says so too.

        Raises:
            ValueError: if a name is not a label, comes twice, "O" is not among them, or the scheme
                is another one: a `B-PER` of BIOES, which never stands alone, is not that of BIO.
        """
        old = self.config.labels
        check_labels(labels)
        labels = list(labels)
        if any(label != "O" for label in labels) and is_bioes(labels) != is_bioes(old):
            schemes = ["BIOES" if is_bioes(names) else "BIO" for names in (labels, old)]
            raise ValueError(f"the labels are {schemes[0]}, expected the model's {schemes[1]}")
        change = LabelChange(
            kept=[label for label in labels if label in old],
            new=[label for label in labels if label not in old],
            dropped=[label for label in old if label not in labels],
        )
        classifier = nn.Linear(self.config.hidden_size, len(labels)).to(self.classifier.weight)
        self._init_weights(classifier)
        before, after = shared_places(old, labels)
        classifier.weight[after] = self.classifier.weight[before]
        classifier.bias[after] = self.classifier.bias[before]
        crf = self.crf.with_labels(labels)  # refuses what is no label: nothing is changed before
        self.classifier = classifier.train(self.training)
        self.crf = crf
        self.config.id2label = dict(enumerate(labels))
        self.config.label2id = {label: index for index, label in enumerate(labels)}
        logger.warning(f"Other labels: {change}")
        return change

    def _cross_view_losses(
        self,
        sentences: dict[str, Tensor | None],
        labels: Tensor,
        chosen: Tensor,
        nll: Tensor,
        emissions: Tensor,
    ) -> dict[str, Tensor]:
        """Read the text view of the sentences that have another one, and hold it against that.

        Args:
            sentences: the words and contexts of the batch, by the arguments' names.
            labels: `[B, W]`.
            chosen: the numbers of the sentences whose views differ, in order.
            nll, emissions: `[B]`, `[B, W, K]` of the view with the images.

        Returns:
            Scalars, both means over all `B` sentences: `nll_text`, to which a sentence that is not
            chosen brings its `nll`; and `cross_view`, to which it brings nothing.
        """
        if len(chosen) == 0:
            return {"nll_text": nll.mean(), "cross_view": nll.new_zeros(())}
        encoded = self.model(**_select_sentences(sentences, chosen), view="text", return_dict=True)
        text_emissions = self.classifier(self.dropout(encoded.last_hidden_state))
        word_mask = sentences["word_mask"][chosen]
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
        encoded: TwoMNERModelOutput,
        labels: Tensor,
        word_mask: Tensor,
        image_mask: Tensor | None,
    ) -> Tensor:
        """The contrastive loss at the configured level: a scalar.

        Other processes may have images where this one has none, and gather them: it takes part.
        """
        pairs, alignment = word_mask.any(1), self.model.alignment
        if encoded.image_embeds is None:
            pairs = torch.zeros_like(pairs)
        elif image_mask is not None:
            pairs = pairs & image_mask
        if self.config.alignment_level == "sentence":
            return alignment.sentence_loss(encoded.text_embeds, encoded.image_embeds, pairs)
        outside = self.config.label2id["O"]
        known = labels.masked_fill(labels == UNKNOWN, outside)
        entity_index = torch.where(known == outside, -1, self.crf.begins[known].cumsum(1) - 1)
        return alignment.entity_loss(encoded.word_states, encoded.patch_states, entity_index, pairs)
