"""Text and vision encoders of any kind that `AutoModel` knows: build, load and run them.

Shapes: `B` images, `P` patches, `C` the feature size of a vision encoder.
"""

from .requirements_2mner import LEAST_TRANSFORMERS  # noqa: F401 -- first: it checks the version

# isort: split

import inspect
from collections.abc import Callable
from typing import Any, NotRequired, TypedDict, cast

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    PreTrainedConfig,
    PreTrainedModel,
)

from .configuration_2mner import BROKEN
from .quoting_2mner import shorten
from .weights_2mner import check_finite, check_missing

__all__ = [
    "ENCODERS",
    "VisionFeatures",
    "build_encoder",
    "encode_images",
    "feature_size",
    "load_encoders",
    "map_features",
]

ENCODERS = ("text", "vision", "global_vision")
"""The encoders of a model: of words, of patches, and of one vector for an image."""


class VisionFeatures(TypedDict):
    """The output of the vision encoders, for a batch of images.

    At run time it is a plain dictionary, which every data loader and process group can move to a
    device, pin in memory and split.

    Attributes:
        patches: `[B, P, C]` the patches of the first encoder.
        image_vectors: `[B, C]` the image vectors of the first encoder.
        global_vectors: `[B, C]` the image vectors of the second encoder, if there is one.
    """

    patches: Tensor
    image_vectors: Tensor
    global_vectors: NotRequired[Tensor]


def map_features(change: Callable[[Tensor], Tensor], features: VisionFeatures) -> VisionFeatures:
    """Apply a function to each tensor of the features."""
    tensors = cast(dict[str, Tensor], features)
    return cast(VisionFeatures, {name: change(values) for name, values in tensors.items()})


def _encoder_class(config: PreTrainedConfig) -> type[PreTrainedModel]:
    """The class that `AutoModel` has for a configuration.

    Raises:
        ValueError: if it has none.
    """
    classes: Any = AutoModel._model_mapping
    if type(config) not in classes:
        raise ValueError(f"AutoModel has no encoder of model type {config.model_type!r}")
    return classes[type(config)]


def _without_pooler(model_class: type[PreTrainedModel]) -> dict[str, Any]:
    """The argument that leaves out a pooler, which no loss would train, where the class has it."""
    accepted = inspect.signature(model_class.__init__).parameters
    return {"add_pooling_layer": False} if "add_pooling_layer" in accepted else {}


def build_encoder(config: PreTrainedConfig, name: str) -> PreTrainedModel:
    """Build an encoder, newly initialised.

    Args:
        config: its configuration.
        name: the name of the configuration in the message, such as "text_config".

    Raises:
        ValueError: if it cannot be built from this configuration.
    """
    try:
        model_class = _encoder_class(config)
        return model_class._from_config(config, **_without_pooler(model_class))
    except BROKEN as error:
        raise ValueError(f"{name}: {shorten(str(error), 300)}") from error


def _load_encoder(name: str, part: str) -> PreTrainedModel:
    """Load one encoder; of a model that has several, such as CLIP, the `part` ("text_config" or
    "vision_config").

    Raises:
        OSError: if it cannot be loaded, lacks a tensor, or has a value that is not finite.
        ValueError: if `AutoModel` cannot load it.
    """
    config = AutoConfig.from_pretrained(name)
    config = getattr(config, part, config)
    try:
        model_class = _encoder_class(config)
    except ValueError as error:
        raise ValueError(
            f"{name} is of model type {config.model_type!r}, which AutoModel cannot load"
        ) from error
    loaded: Any = model_class.from_pretrained(
        name,
        config=config,
        dtype=torch.float32,
        output_loading_info=True,
        **_without_pooler(model_class),
    )
    encoder, report = loaded
    check_missing(name, report["missing_keys"])
    check_finite(name, encoder)
    return encoder


def load_encoders(
    text: str, vision: str | None = None, global_vision: str | None = None
) -> tuple[dict[str, PreTrainedModel], dict[str, Any]]:
    """Load pretrained encoders in float32.

    Args:
        text, vision, global_vision: names or folders; None for an encoder that is not wanted.

    Returns:
        The encoders by the names in `ENCODERS`, and the fields of `TwoMNERConfig` that describe
        them.

    Raises:
        OSError: if one cannot be loaded, lacks a tensor, or has a value that is not finite.
        ValueError: if `AutoModel` cannot load one.
    """
    encoders: dict[str, PreTrainedModel] = {}
    fields: dict[str, Any] = {}
    attention: dict[str, str | None] = {}
    for part, name in zip(ENCODERS, (text, vision, global_vision), strict=True):
        if name is None:
            continue
        encoder = _load_encoder(name, "text_config" if part == "text" else "vision_config")
        if part != "text":
            normalisation = AutoImageProcessor.from_pretrained(name, backend="pil")
            prefix = part.removesuffix("vision")
            fields[f"{prefix}image_mean"] = list(normalisation.image_mean)
            fields[f"{prefix}image_std"] = list(normalisation.image_std)
        encoder.config._name_or_path = ""  # a saved configuration names no local folder
        for module in encoder.modules():
            module._is_hf_initialized = True  # type: ignore[assignment]  # keep the loaded weights
        encoders[part] = encoder
        fields[f"{part}_config"] = encoder.config
        attention[f"{part}_config"] = encoder.config._attn_implementation
    # Each encoder keeps its own kind of attention: not every encoder has sdpa.
    return encoders, {**fields, "attn_implementation": attention}


def feature_size(config: PreTrainedConfig) -> int:
    """`C`, the size of a vision encoder's features."""
    if getattr(config, "hidden_sizes", None):  # one for each stage: ResNet, ConvNeXt
        return config.hidden_sizes[-1]
    if hasattr(config, "hidden_dim"):  # EfficientNet
        return config.hidden_dim
    return config.hidden_size


def encode_images(encoder: PreTrainedModel, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
    """Run a vision encoder.

    Args:
        encoder: any kind; it gives patches `[B, P, C]` or a feature map `[B, C, h', w']`.
        pixel_values: `[B, 3, h, w]`.

    Returns:
        The patches `[B, P, C]` and the image vectors `[B, C]`: the pooled output where the encoder
        has one, the mean of the patches elsewhere.
    """
    # Convolutions are faster in this format, on processors and on GPUs.
    pixel_values = pixel_values.to(encoder.dtype, memory_format=torch.channels_last)
    outputs = encoder(pixel_values=pixel_values, return_dict=True)
    patches = outputs.last_hidden_state
    if patches.ndim == 4:  # [B, C, h', w'] -> [B, h' * w', C]
        patches = patches.flatten(2).transpose(1, 2)
    pooled = getattr(outputs, "pooler_output", None)
    return patches, patches.mean(1) if pooled is None else pooled.flatten(1)
