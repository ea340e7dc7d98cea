"""The configuration of the 2M-NER models: the configurations of the encoders, and all options.

The configuration holds the whole `auto_map` and the pipeline, so that every `Auto` class and
`pipeline` load a saved folder with `trust_remote_code=True`, whichever class saved it.
"""

from .requirements_2mner import LEAST_TRANSFORMERS  # noqa: F401 -- first: it checks the version

# isort: split

import os
from collections.abc import Mapping
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec
from transformers.utils import logging

from .checks_2mner import (
    check_labels,
    check_normalisation,
    check_number,
    check_sizes,
    check_whole,
)
from .labels_2mner import scheme_labels
from .quoting_2mner import quoted, shorten

__all__ = ["TwoMNERConfig"]

logger = logging.get_logger(__name__)

AUTO_MAP = {
    "AutoConfig": "configuration_2mner.TwoMNERConfig",
    "AutoModel": "modeling_2mner.TwoMNERModel",
    "AutoModelForTokenClassification": "modeling_2mner.TwoMNERForTokenClassification",
    "AutoProcessor": "processing_2mner.TwoMNERProcessor",
}

CUSTOM_PIPELINES = {
    "multimodal-ner": {
        "impl": "pipeline_2mner.MultimodalNERPipeline",
        "pt": ["AutoModelForTokenClassification"],
    }
}

UNDECLARED = ("auto_map", "custom_pipelines", "quantization_config", "tie_word_embeddings")
"""Keys that `transformers` reads in any configuration, although no class declares them."""

ENCODERS = ("text_config", "vision_config", "global_vision_config")

BROKEN = (StrictDataclassError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""The errors of the configurations of `transformers` on values that they do not expect."""

COUNTS_FROM_TWO = ("camembert", "roberta", "xlm-roberta", "xlm-roberta-xl", "xmod")
"""Text encoders whose first position has the number 2."""


@strict
class TwoMNERConfig(PreTrainedConfig):
    r"""Configuration of [`TwoMNERModel`] and [`TwoMNERForTokenClassification`].

    A key that a saved configuration lacks has its default. An unknown key, perhaps of a newer
    version, is kept, named in the log, and does nothing.

        config = TwoMNERConfig(
            text_config={"model_type": "xlm-roberta"},
            vision_config={"model_type": "clip_vision_model"},
            labels=["O", "B-PER", "I-PER", "B-LOC", "I-LOC"],
        )

    Args:
        text_config (`dict` or `PreTrainedConfig`):
            The text encoder, of any kind that `AutoModel` knows; XLM-R by default.
        vision_config (`dict` or `PreTrainedConfig`, *optional*): The vision encoder that gives
            patches. None makes a text-only tagger.
        global_vision_config (`dict` or `PreTrainedConfig`, *optional*): A second vision encoder
            that gives one vector for the whole image (2M-NER, section 3.2).
        labels (`list[str]`, *optional*): The label names in BIO or BIOES. By default MMNERD's PER,
            LOC, ORG, MISC in BIO, unless `id2label` is given.
        image_mean, image_std (`list[float]`): The normalisation of `pixel_values`.
        global_image_mean, global_image_std (`list[float]`, *optional*): The normalisation that the
            second vision encoder expects; the model converts `pixel_values` to it.
        collaboration (`str`): What a word takes from the patches: `"attention"`, which each word
            pays to them by itself; or `"mean"`, their mean, the same for every word.
        fusion (`str`): `"gated"`, a gate for each channel of each word between the word and its
            attention output; `"add"`, the same without the gate, as if it were 1; or `"concat"`,
            one linear layer over the attention outputs, which the published system uses.
        collaboration_heads (`int`): Heads of the attention from words to patches. Must divide the
            text encoder's hidden size.
        collaboration_dropout (`float`): Dropout of the attention weights and the attention output.
        alignment_level (`str`): The pairs of the contrastive loss: `"sentence"` and image,
            `"entity"` and the patches that it attends to, or `"none"`.
        alignment_objective (`str`): At sentence level `"nt_xent"` (2B vectors, which the published
            system uses) or `"info_nce"` (that of CLIP).
        alignment_temperature (`float`): `tau` of the contrastive loss.
        alignment_size (`int`): `D`, the size of the alignment space.
        sentence_vector (`str`): `"first"`, the hidden state at the first position of the sentence;
            or `"mean"`, the mean over its words.
        alpha (`float`): Loss = `alpha` NLL + (1 - `alpha`) alignment; the NLL alone where there is
            no alignment.
        cross_view_weight (`float`): `mu` of cross-view alignment (ITA, section 2.3). Above 0, each
            training step also reads the text view; `mu` times the divergence of its label
            probabilities from those of the view with the image is added to the loss, and the NLL is
            the mean over both views.
        cross_view_temperature (`float`): `T`, the temperature of the label probabilities in that
            divergence. The paper has 4 for Twitter-2015 and 2 for Twitter-2017.
        word_dropout (`float`): The probability that, in training, the hidden state of a word is
            zeroed.
        classifier_dropout (`float`): Dropout before the emissions.
        constrain_transitions (`bool`): Whether the CRF forbids transitions that the label scheme
            does not have.
        initializer_range (`float`): Standard deviation of the initial weights of new linear layers.

    Raises:
        ValueError or StrictDataclassError: if a field has the wrong type, a size is below 1 or far
            beyond every published encoder's, or the labels are not distinct labels with "O" among
            them; the message names the field, of the encoders' configurations too.
    """

    model_type = "2mner"
    sub_configs_defaults = {  # noqa: RUF012 -- the base class declares it so
        "text_config": SubConfigSpec(AutoConfig, model_type="xlm-roberta"),
        "vision_config": SubConfigSpec(AutoConfig, model_type="clip_vision_model", optional=True),
        "global_vision_config": SubConfigSpec(AutoConfig, model_type="resnet", optional=True),
    }

    text_config: dict | PreTrainedConfig | None = None
    vision_config: dict | PreTrainedConfig | None = None
    global_vision_config: dict | PreTrainedConfig | None = None
    image_mean: list[float] | tuple[float, ...] = (0.5, 0.5, 0.5)
    image_std: list[float] | tuple[float, ...] = (0.5, 0.5, 0.5)
    global_image_mean: list[float] | tuple[float, ...] | None = None
    global_image_std: list[float] | tuple[float, ...] | None = None
    collaboration: Literal["attention", "mean"] = "attention"
    fusion: Literal["gated", "add", "concat"] = "gated"
    collaboration_heads: int = 8
    collaboration_dropout: float | int = 0.1
    alignment_level: Literal["none", "sentence", "entity"] = "sentence"
    alignment_objective: Literal["nt_xent", "info_nce"] = "nt_xent"
    alignment_temperature: float | int = 0.5
    alignment_size: int = 256
    sentence_vector: Literal["first", "mean"] = "first"
    alpha: float | int = 0.8
    cross_view_weight: float | int = 0.0
    cross_view_temperature: float | int = 2.0
    word_dropout: float | int = 0.0
    classifier_dropout: float | int = 0.1
    constrain_transitions: bool = True
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs):
        labels = kwargs.pop("labels", None)
        if labels is None and self.id2label is None:
            labels = scheme_labels(("PER", "LOC", "ORG", "MISC"))
        if labels is not None:
            check_labels(labels)
            self.id2label = dict(enumerate(labels))
        self._check_id2label()
        for part in ENCODERS:
            config = getattr(self, part)
            if isinstance(config, Mapping):  # before the encoder makes a list of so many layers
                check_sizes(part, config)
        unknown = sorted(key for key in kwargs if not self._has(key))
        if unknown:
            logger.warning_once(
                "The configuration has keys that this version of 2M-NER does not know; they are "
                f"kept and do nothing: {shorten(', '.join(unknown))}"
            )
        kwargs.setdefault("auto_map", AUTO_MAP)
        kwargs.setdefault("custom_pipelines", CUSTOM_PIPELINES)
        super().__post_init__(**kwargs)
        self.label2id = {label: index for index, label in enumerate(self.labels)}

    @classmethod
    def _has(cls, key: str) -> bool:
        """Whether the library uses a key that is not a field: the class declares an attribute of
        this name, perhaps with an underscore before it or without the old prefix `torch_`.
        """
        name = key.removeprefix("torch_").removeprefix("_")
        return key in UNDECLARED or hasattr(cls, name) or hasattr(cls, f"_{name}")

    def _check_id2label(self) -> None:
        """Check `id2label` before the base class turns its keys into numbers, with a message that
        names the field.
        """
        numbers = self.id2label
        if numbers is None:
            return
        if not isinstance(numbers, Mapping):
            raise ValueError(f"id2label is {quoted(numbers)}, expected an object")
        if {str(number) for number in numbers} != {str(number) for number in range(len(numbers))}:
            raise ValueError(f"id2label must number its labels from 0, found {quoted(numbers)}")
        check_labels(list(numbers.values()))

    @classmethod
    def get_config_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """As every `get_config_dict`.

        Raises:
            OSError: if the file is not there, or holds no JSON object.
        """
        name = pretrained_model_name_or_path
        try:
            config, kwargs = super().get_config_dict(name, **kwargs)
        except (TypeError, ValueError, RecursionError) as error:
            raise OSError(f"{name}: config.json is broken: {shorten(str(error))}") from error
        if not isinstance(config, dict):
            raise OSError(
                f"{name}: config.json is broken: it holds {quoted(config)}, expected an object"
            )
        return config, kwargs

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As every `from_dict`.

        Raises:
            ValueError: which names the field in one line, and the folder where that is known.
        """
        name = kwargs.get("name_or_path")
        try:
            return super().from_dict(config_dict, **kwargs)
        except BROKEN as error:
            cause = error.__cause__ if isinstance(error, StrictDataclassError) else error
            place = f"{name}: config.json: " if name else "config.json: "
            raise ValueError(f"{place}{shorten(str(cause), 300)}") from error

    def validate_architecture(self):
        """Part of `@strict`: check the bounds of the fields, and fields against each other."""
        check_labels(self.labels)
        for part in ENCODERS:
            encoder = getattr(self, part)
            if encoder is not None:
                check_sizes(part, encoder.to_dict(), encoder.attribute_map)
        positions = getattr(self.text_config, "max_position_embeddings", -1)
        if positions != -1:  # XLNet has -1 for any number
            check_whole("text_config.max_position_embeddings", positions, 1, 2**24)
        check_whole("collaboration_heads", self.collaboration_heads, 1, 1024)
        check_whole("alignment_size", self.alignment_size, 1, 2**17)
        if self.hidden_size % self.collaboration_heads:
            raise ValueError(
                f"collaboration_heads ({self.collaboration_heads}) must divide the text encoder's "
                f"hidden size ({self.hidden_size})"
            )
        for rate in ("collaboration_dropout", "word_dropout", "classifier_dropout"):
            value = getattr(self, rate)
            check_number(rate, value, 0, 1)
            if value == 1:
                raise ValueError(f"{rate} is {value}, expected a number in [0, 1)")
        check_number("alpha", self.alpha, 0, 1, open_below=True)
        for temperature in ("alignment_temperature", "cross_view_temperature"):
            check_number(temperature, getattr(self, temperature), 0, 1e6, open_below=True)
        check_number("cross_view_weight", self.cross_view_weight, 0, 1e6)
        check_number("initializer_range", self.initializer_range, 0, 1e3)
        check_normalisation("image", self.image_mean, self.image_std)
        if self.global_image_mean is not None or self.global_image_std is not None:
            check_normalisation("global_image", self.global_image_mean, self.global_image_std)
        if self.global_vision_config is not None and self.vision_config is None:
            raise ValueError(
                "global_vision_config is a second encoder: it needs vision_config, the first one"
            )

    @property
    def labels(self) -> list[str]:
        """The `K` label names in the order of the emissions."""
        names: dict[Any, str] = self.id2label or {}
        return [names[index] for index in range(len(names))]

    @property
    def hidden_size(self) -> int:
        """`H`, the hidden size of the text encoder, of the words and of the fused words."""
        return self.get_text_config().hidden_size

    @property
    def max_positions(self) -> int:
        """The most sub-words of a window, special ones included."""
        encoder = self.get_text_config()
        positions = encoder.max_position_embeddings
        # These number the positions from behind the padding index, which is 1.
        return positions - 2 if encoder.model_type in COUNTS_FROM_TWO else positions

    @property
    def has_alignment(self) -> bool:
        """Whether there is a contrastive loss between sentence and image."""
        return self.vision_config is not None and self.alignment_level != "none"
