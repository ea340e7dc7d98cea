"""Reading characters with two networks: places of lines, their order, decoding; tiny networks that
find dark bars and read colours as letters."""

import io
import math
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from datasets import load_dataset
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw

from dataset_mmnerd import ppocr
from dataset_mmnerd.commands import main
from dataset_mmnerd.extractors import ContextError
from dataset_mmnerd.ppocr import PPOCRReader, Rectangle

# Detection ----------------------------------------------------------------------------------------


def flooded(mask: np.ndarray) -> set[frozenset[tuple[int, int]]]:
    """The groups of touching pixels, found one pixel after the other."""
    left = set(zip(*(axis.tolist() for axis in np.nonzero(mask)), strict=True))
    groups = set()
    while left:
        group, edge = set(), {left.pop()}
        while edge:
            row, column = edge.pop()
            group.add((row, column))
            around = {(row + y, column + x) for y in (-1, 0, 1) for x in (-1, 0, 1)}
            edge |= around & left
            left -= around
        groups.add(frozenset(group))
    return groups


@pytest.mark.parametrize("density", [0.0, 0.2, 0.4, 0.6, 1.0])
def test_pixels_that_touch_are_one_group(density):
    for seed in range(20):
        generator = np.random.default_rng(seed)
        mask = generator.random(generator.integers(1, 24, 2)) < density
        groups = [
            [(row, x) for row, start, stop in runs.tolist() for x in range(start, stop)]
            for runs in ppocr.connected(mask)
        ]
        assert {frozenset(group) for group in groups} == flooded(mask)
        assert sum(map(len, groups)) == mask.sum()


def bar(rectangle: Rectangle, size: tuple[int, int] = (400, 300)) -> np.ndarray:
    """A mask of a filled rectangle."""
    u, v = np.array(rectangle.along), np.array([-rectangle.along[1], rectangle.along[0]])
    corners = [
        np.array([rectangle.x, rectangle.y]) + x * rectangle.width * u + y * rectangle.height * v
        for x, y in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))
    ]
    image = Image.new("1", size)
    ImageDraw.Draw(image).polygon([tuple(corner) for corner in corners], fill=1)
    return np.asarray(image)


@pytest.mark.parametrize("degrees", [-40, -5, 0, 12, 90])
def test_the_place_and_direction_of_a_line_are_found(degrees):
    radians = math.radians(degrees)
    drawn = Rectangle(200, 150, (math.cos(radians), math.sin(radians)), 180, 30)
    (runs,) = ppocr.connected(bar(drawn))
    found = ppocr.smallest_rectangle(runs)
    assert (found.x, found.y) == pytest.approx((200, 150), abs=1)
    assert (found.width, found.height) == pytest.approx((180, 30), abs=3)
    assert found.along == pytest.approx(drawn.along, abs=0.02)


def test_faint_and_thin_groups_are_no_lines_and_others_grow():
    probabilities = np.zeros((100, 200), dtype=np.float32)
    probabilities[10:20, 20:100] = 0.9
    probabilities[40:50, 20:100] = 0.3  # seen, but not sure
    probabilities[70:72, 20:100] = 0.9  # two pixels high
    (line,) = ppocr.find_lines(probabilities)
    margin = 1.4 * 10 * 80 / (2 * (10 + 80))
    assert (line.x, line.y, line.along) == (60, 15, (1, 0))
    assert (line.width, line.height) == pytest.approx((80 + 2 * margin, 10 + 2 * margin))


def test_lines_are_read_row_by_row():
    def line(x: float, y: float) -> Rectangle:
        return Rectangle(x, y, (1, 0), 50, 20)

    right, left, second, third = line(90, 14), line(20, 10), line(20, 40), line(20, 60)
    rows = ppocr.in_reading_order([third, right, second, left])
    assert rows == [[left, right], [second], [third]]


# Recognition --------------------------------------------------------------------------------------


def test_a_tilted_line_is_cut_out_level_and_its_edge_repeated():
    radians = math.radians(30)
    line = Rectangle(200, 150, (math.cos(radians), math.sin(radians)), 160, 40)
    pixels = np.repeat(bar(line)[..., None] * np.uint8(255), 3, axis=2)
    cut = np.asarray(ppocr.cut_out(pixels, line))
    assert cut.shape == (48, 192, 3)
    assert (cut[3:-3, 3:-3] == 255).all()
    corner = Rectangle(0, 0, (1, 0), 40, 20)
    pixels[:10, :20] = 77
    assert (np.asarray(ppocr.cut_out(pixels, corner)) == 77).all()


def test_repetitions_are_one_character_unless_a_blank_parts_them():
    characters = ["", "a", "b", " "]
    path = [0, 1, 1, 0, 1, 2, 2, 3, 1, 0]
    probabilities = np.full((len(path), 4), 0.1)
    probabilities[np.arange(len(path)), path] = 0.7
    probabilities[5, 2] = 0.9
    text, confidence = ppocr.ctc_text(probabilities, characters)
    assert text == "aab a"
    assert confidence == pytest.approx((4 * 0.7 + 0.9) / 5)
    assert ppocr.ctc_text(probabilities[:1], characters) == ("", 0.0)


# The reader ---------------------------------------------------------------------------------------


def network(path: Path, nodes: list, constants: dict[str, np.ndarray], output: list) -> None:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3, None, None])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A line is what is not white; red is read as "a", green as "é", anything else as blank."""
    folder = tmp_path_factory.mktemp("tiny")
    nodes = [
        helper.make_node("ReduceMin", ["x"], ["darkest"], axes=[1]),
        helper.make_node("Less", ["darkest", "threshold"], ["dark"]),
        helper.make_node("Cast", ["dark"], ["y"], to=TensorProto.FLOAT),
    ]
    constants = {"threshold": np.float32(0)}
    network(folder / ppocr.FILES[0], nodes, constants, [None, 1, None, None])
    # The mean colour (blue, green, red) of 48 x 8 pixels, and the scores of blank, a, é and space.
    colours = np.array([[0, -90, -90, 0], [0, -90, 90, 0], [0, 90, -90, 0]], dtype=np.float32)
    nodes = [
        helper.make_node("AveragePool", ["x"], ["mean"], kernel_shape=[48, 8], strides=[48, 8]),
        helper.make_node("Squeeze", ["mean", "second"], ["columns"]),
        helper.make_node("Transpose", ["columns"], ["in_order"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["in_order", "colours"], ["products"]),
        helper.make_node("Add", ["products", "bias"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["y"], axis=-1),
    ]
    constants = {"second": np.array([2]), "colours": colours}
    constants["bias"] = np.array([50, 0, 0, -999], dtype=np.float32)
    network(folder / ppocr.FILES[1], nodes, constants, [None, None, 4])
    (folder / ppocr.FILES[2]).write_bytes("a\r\né\r\n".encode())
    return folder


COLOURS = {"a": (255, 0, 0), "é": (0, 255, 0), ".": (0, 0, 255)}


def sign(*lines: tuple[int, int, str], size: tuple[int, int] = (200, 120)) -> Image.Image:
    """An image with bars: letters of 30 by 20 pixels from (x, y) on."""
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for x, y, text in lines:
        for place, letter in enumerate(text):
            left = x + 30 * place
            draw.rectangle([left, y, left + 29, y + 19], fill=COLOURS[letter])
    return image


def test_an_image_is_read_row_by_row(tiny):
    reader = PPOCRReader(tiny)
    image = sign((100, 12, "éa"), (10, 10, "aé"), (40, 80, "a.a"), (160, 80, "."))
    expected = ["aé éa", "aa"]
    assert reader.read([image, Image.new("RGB", (30, 1000), "white")]) == [expected, []]
    assert reader.read([image.resize((1600, 960))], "de") == [expected]
    assert reader.read([image.rotate(8, expand=True, fillcolor="white")]) == [expected]
    turned = sign((40, 80, "a.é")).transpose(Image.Transpose.ROTATE_270)  # from top to bottom
    assert reader.read([turned]) == [["aé"]]


def test_an_image_of_any_shape_is_read_in_a_bounded_size(tiny, monkeypatch):
    seen = []
    find = ppocr.find_lines
    monkeypatch.setattr(ppocr, "find_lines", lambda found: seen.append(found.shape) or find(found))
    for size in ((1, 1), (9000, 3), (3, 9000), (3000, 2500)):
        PPOCRReader(tiny).read([Image.new("RGB", size, "red")])
    assert all(side % 32 == 0 and side <= 1472 for shape in seen for side in shape)


def test_what_is_read_depends_on_the_files(tiny, tmp_path):
    for name in ppocr.FILES:
        (tmp_path / name).write_bytes((tiny / name).read_bytes())
    assert PPOCRReader(tmp_path).key == PPOCRReader(tiny).key
    (tmp_path / ppocr.FILES[2]).write_text("b\nc\n")
    assert PPOCRReader(tmp_path).key != PPOCRReader(tiny).key
    assert PPOCRReader(tmp_path).read([sign((40, 40, "aé"))]) == [["bc"]]


def test_a_missing_or_damaged_model_is_named_with_what_makes_it(tiny, tmp_path):
    with pytest.raises(ContextError, match=r"detection\.onnx: found no such file, .*--also ppocr"):
        PPOCRReader(tmp_path)
    for name in ppocr.FILES:
        (tmp_path / name).write_bytes((tiny / name).read_bytes())
    (tmp_path / ppocr.FILES[2]).write_text("a\né\nü\n")
    with pytest.raises(ContextError, match=r"characters\.txt: found 3 char.* the 4 classes"):
        PPOCRReader(tmp_path)
    (tmp_path / ppocr.FILES[2]).write_bytes(b"a\n\xe9\n")
    with pytest.raises(ContextError, match=r"characters\.txt: found 'utf-8' codec .*--also ppocr"):
        PPOCRReader(tmp_path)
    (tmp_path / ppocr.FILES[1]).write_bytes(b"no network")
    with pytest.raises(ContextError, match=r"recognition\.onnx: found .*--also ppocr") as error:
        PPOCRReader(tmp_path)
    assert "\n" not in str(error.value)


def test_a_missing_onnxruntime_says_what_to_install(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ContextError, match=r"no package onnxruntime.*pip install '2mner\[ocr"):
        PPOCRReader(tiny)


def test_the_command_fills_the_column(tiny, built, capsys):
    file = io.BytesIO()
    sign((10, 10, "aé"), (40, 80, "éa")).save(file, "PNG")
    folder = built(images={"a.png": file.getvalue()}, train=[("x", "O", {"image": "a.png"})])
    command = ["context", str(folder), "--ocr", "ppocr", "--ocr-model", str(tiny)]
    assert main(command) == 0
    assert load_dataset(str(folder), split="train")["ocr"] == [["aé", "éa"]]
    assert f"by {tiny.name} (lines of at least 80%)" in capsys.readouterr().out
