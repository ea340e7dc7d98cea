"""An exported model gives the answers of the pipeline, in an environment without torch."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib import import_module, util
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw
from transformers import CLIPImageProcessorPil

import cli_2mner
from dataset_mmnerd.sample import sample_rows
from inference_2mner.bundle import BundleError, bundled
from inference_2mner.export import ExportError, export_model, image_steps, main
from inference_2mner.extras import MissingExtraError
from inference_2mner.models import ModelError, load_pipeline
from inference_2mner.tagger import LIBRARIES, Tagger
from modeling_2mner import TwoMNERForTokenClassification, TwoMNERProcessor
from modeling_2mner.crf_2mner import fingerprint_of
from modeling_2mner.images_2mner import ImageError
from tests.published import ROOT
from training_2mner.push import ONNX_FILES, _fits

TEXTS = [
    "",
    " \u200b\n",
    "Angela Merkel besucht Paris.",
    "Merkel's l'Élysée, #Paris @angela 1.000,50 U.S.A. https://example.org/a",
    "زار أحمد القاهرة مع سارة",
    "אנגלה מרקל ביקרה בפריז",
    "安倍晋三は東京で生まれた。김철수는 서울에",
    "ภาษาไทยไม่มีช่องว่าง 👩‍👩‍👧 🇩🇪 \ud800 </s> <s>",
    "Ana " * 300,
]
FILES = {"README.md", "requirements.txt", "tagger.json", "tagger.py", "text.onnx", "tokenizer.json"}


def photo() -> Image.Image:
    image = Image.new("RGB", (90, 50), "navy")
    ImageDraw.Draw(image).ellipse((10, 5, 60, 45), fill="orange")
    return image


@pytest.fixture(scope="module")
def seeing(model, tmp_path_factory) -> Path:
    """The tiny model that reads images, with thresholds."""
    folder = tmp_path_factory.mktemp("seeing") / "model"
    shutil.copytree(model, folder)
    thresholds = {
        "version": 1,
        "weights": fingerprint_of(TwoMNERForTokenClassification.from_pretrained(model).crf),
        "views": ["image_text", "text"],
        "temperature": {"": 1.5},
        "precision": {"0.9": {"": 0.4, "PER": 0.2}},
        "risk": {"0.1": {"": 0.5}, "0.01": None},
    }
    (folder / "thresholds.json").write_text(json.dumps(thresholds), "utf-8")
    return folder


@pytest.fixture(scope="module")
def exported(seeing) -> Path:
    """The same, exported by the command."""
    folder = seeing.parent / "exported"
    assert cli_2mner.main(["export", str(seeing), "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def pair(seeing, exported):
    """The pipeline, and what is exported of it."""
    return load_pipeline(seeing, device="cpu"), Tagger(exported)


@pytest.fixture(scope="module")
def text_only(tmp_path_factory, text_encoder) -> Path:
    """A model that reads visual context and no images, and what is exported of it in 8 bits."""
    torch.manual_seed(5)
    made = TwoMNERForTokenClassification.from_text_vision_pretrained(text_encoder("bert"))
    torch.nn.init.normal_(made.classifier.weight)
    folder = tmp_path_factory.mktemp("text_only")
    made.save_pretrained(folder / "model")
    TwoMNERProcessor.from_text_vision_pretrained(
        text_encoder("bert"), context_budget=20
    ).save_pretrained(folder / "model")
    return folder


def assert_same(found, expected) -> None:
    """The same structure, words and labels; numbers within 1e-4."""
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_same(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1e-4)
    else:
        assert found == expected


def sample_inputs() -> list[dict]:
    """The sample's test part: with its images, and without."""
    rows = list(sample_rows("test", sentences=40))
    assert any(row["image"] for row in rows)
    inputs = [{"words": row["tokens"], "image": row["image"]} for row in rows]
    return inputs + [{"words": row["tokens"]} for row in rows]


# Parity -------------------------------------------------------------------------------------------


def test_the_folder_holds_graphs_settings_and_code(exported):
    of_images = {"image_text.onnx", "vision.onnx"}
    assert {path.name for path in exported.iterdir()} == FILES | of_images | {"thresholds.json"}
    assert all(_fits(f"onnx/{path.name}", ONNX_FILES) for path in exported.iterdir())
    pins = (exported / "requirements.txt").read_text("utf-8").split()
    assert [pin.partition("==")[0] for pin in pins] == list(LIBRARIES)


def test_the_samples_test_part_is_labelled_alike(pair):
    ner, tagger = pair
    inputs = sample_inputs()
    expected = ner(inputs, return_details=True, top_k=2, explain=True)
    assert_same(tagger(inputs, return_details=True, top_k=2, explain=True), expected)
    assert sum(len(answer["entities"]) for answer in expected) > len(inputs)
    assert {answer["image"] for answer in expected} == {"read", "none"}


@pytest.mark.parametrize("image", [None, "whole", "broken"])
def test_texts_of_all_kinds_are_labelled_alike(pair, image):
    ner, tagger = pair
    images = {None: None, "whole": photo(), "broken": b"\x89PNG\r\n"}
    inputs = [{"text": text, "image": images[image]} for text in TEXTS]
    options = {"return_details": True, "explain": True, "top_k": 9}
    expected = ner(inputs, **options)
    assert_same(tagger(inputs, **options), expected)
    assert_same(list(tagger(iter(inputs), batch_size=1, **options)), expected)
    states = {None: "none", "whole": "read", "broken": "unreadable"}
    assert {answer["image"] for answer in expected} == {states[image]}
    assert expected[-1]["windows"] > 1


@pytest.mark.parametrize(
    "options",
    [
        {"aggregation_strategy": "none"},
        {"threshold": 0.5},
        {"threshold": {"PER": 0.3, "LOC": 1.0}},
        {"spans": [(0, 13), (22, 27)], "top_k": 4},
        {"max_tokens": 3},
    ],
    ids=str,
)
def test_the_options_of_a_call_do_the_same(pair, options):
    ner, tagger = pair
    for image in (None, photo()):
        given = {"text": "Angela Merkel besucht Paris.", "image": image}
        assert_same(tagger(given, **options), ner(given, **options))
    words = ["Angela", "Merkel"]
    options = {"is_split_into_words": True}
    assert_same(tagger(words, **options), ner(words, **options))


def test_stored_thresholds_go_along(pair, exported, tmp_path):
    """They are for the same weights, and used by precision and by risk."""
    ner, tagger = pair
    text = "Angela Merkel besucht Paris und Rom"
    for options in ({"threshold": "precision=0.9"}, {"risk": 0.1}):
        assert_same(tagger(text, **options), ner(text, **options))
    with pytest.raises(ValueError, match="no threshold reaches risk"):
        tagger("Rom", risk=0.01)
    folder = tmp_path / "without"
    shutil.copytree(exported, folder)
    (folder / "thresholds.json").unlink()
    with pytest.raises(ValueError, match=r"needs thresholds.json"):
        Tagger(folder)("Rom", risk=0.1)


@pytest.mark.parametrize(
    "given, options",
    [
        (7, {}),
        ({"text": "a", "txt": "b"}, {}),
        ({"text": "a", "image": 3.5}, {}),
        ({"text": "a", "image": "no/such.png"}, {}),
        ("a b", {"spans": [(1, 2)]}),
        ("a", {"top_k": 0}),
        ("a", {"threshold": 2}),
        ("a", {"colour": "red"}),
        ("a", {"threshold": 0.5, "risk": 0.1}),
    ],
    ids=str,
)
def test_wrong_input_gets_the_error_of_the_pipeline(pair, given, options):
    messages = []
    for tagger in pair:
        with pytest.raises((TypeError, ValueError)) as caught:
            tagger(given, **options)
        messages.append((type(caught.value), str(caught.value).replace(", attention", "")))
    assert messages[0] == messages[1]


def test_an_exported_model_reads_one_image(pair):
    _, tagger = pair
    images = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    with pytest.raises(ValueError, match=r"^'image': found 2 images, expected at most 1$"):
        tagger({"text": "Ana", "image": images})
    one = {"text": "Ana", "image": images[:1]}
    assert tagger(one) == tagger({"text": "Ana", "image": images[0]})


def test_nothing_is_fetched(pair):
    _, tagger = pair
    with pytest.raises(ImageError, match=r"http://localhost:1/a.png.*fetches nothing"):
        tagger({"text": "a", "image": "http://localhost:1/a.png"})
    (answer,) = tagger([{"text": "a", "image": "http://localhost:1/a.png"}], return_details=True)
    assert answer["image"] == "unreadable"


def test_two_vision_encoders_are_exported(text_encoder, vision_encoder, tmp_path):
    """With the fusion and the encoders of the published system."""
    torch.manual_seed(6)
    encoders = [text_encoder("distilbert"), vision_encoder("vit"), vision_encoder("resnet")]
    model = TwoMNERForTokenClassification.from_text_vision_pretrained(*encoders, fusion="concat")
    torch.nn.init.normal_(model.classifier.weight)
    model.save_pretrained(tmp_path / "model")
    processor = TwoMNERProcessor.from_text_vision_pretrained(*encoders[:2])
    processor.save_pretrained(tmp_path / "model")
    export_model(tmp_path / "model", tmp_path / "out")
    ner, tagger = load_pipeline(tmp_path / "model", device="cpu"), Tagger(tmp_path / "out")
    inputs = [{"text": text, "image": photo() if text else None} for text in TEXTS]
    assert_same(tagger(inputs, explain=True), ner(inputs, explain=True))


def test_visual_context_and_8_bits(text_only):
    """In 8 bits most labels stay, and the numbers are near."""
    ner = load_pipeline(text_only / "model", device="cpu")
    exported = export_model(text_only / "model", text_only / "whole")
    inputs = [{"text": text, "ocr": ["LIVE"], "objects": ["a", "b"]} for text in TEXTS]
    options = {"explain": True, "return_details": True}
    assert_same(Tagger(text_only / "whole")(inputs, **options), ner(inputs, **options))
    small = export_model(text_only / "model", text_only / "small", int8=True)
    assert 0 < small.difference < 0.2
    assert exported.difference < 1e-5
    assert small.files["text.onnx"] < exported.files["text.onnx"]
    assert {path.name for path in (text_only / "small").iterdir()} == FILES
    found = Tagger(text_only / "small")(inputs, **options)
    assert len(found) == len(inputs)


# An empty environment -----------------------------------------------------------------------------

STRANGER = """
import json, sys
sys.path.insert(0, sys.argv[1])
from tagger import Tagger
ner = Tagger(sys.argv[1])
inputs = [json.loads(line) for line in sys.stdin]
for answer in ner(iter(inputs), return_details=True, top_k=2, explain=True):
    print(json.dumps(answer))
for name in ("torch", "transformers", "modeling_2mner", "inference_2mner", "dataset_mmnerd"):
    assert name not in sys.modules, name
"""


@pytest.fixture(scope="module")
def four_libraries(tmp_path_factory) -> Path:
    """A folder of packages with what `requirements.txt` names and what that imports, no more."""
    folder = tmp_path_factory.mktemp("packages")
    for name in ("numpy", "onnxruntime", "PIL", "tokenizers"):
        package = Path(import_module(name).__file__).parent
        (folder / name).symlink_to(package)
        if (package.parent / f"{name}.libs").exists():
            (folder / f"{name}.libs").symlink_to(package.parent / f"{name}.libs")
    libraries = Path(import_module("PIL").__file__).parents[1] / "pillow.libs"
    if libraries.exists():
        (folder / "pillow.libs").symlink_to(libraries)
    return folder


def run_alone(
    packages: Path, *arguments: str, given: str = "", folder: Path | None = None
) -> subprocess.CompletedProcess:
    """A Python that has these packages and the standard library."""
    code = f"import sys; sys.path.append({str(packages)!r}); sys.argv = sys.argv[1:]; "
    code += "import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, *arguments],
        input=given,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"},
        cwd=folder,
        timeout=120,
    )


def test_a_copied_folder_labels_the_sample_without_torch(pair, four_libraries, exported, tmp_path):
    ner, _ = pair
    folder = tmp_path / "copied"
    shutil.copytree(exported, folder)
    inputs = sample_inputs()
    for number, one in enumerate(inputs):
        if one.get("image"):
            path = tmp_path / f"{number}.png"
            path.write_bytes(one["image"]["bytes"])
            one["image"] = str(path)
    (tmp_path / "stranger.py").write_text(STRANGER, "utf-8")
    given = "".join(f"{json.dumps(one)}\n" for one in inputs)
    done = run_alone(four_libraries, str(tmp_path / "stranger.py"), str(folder), given=given)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert_same(found, ner(inputs, return_details=True, top_k=2, explain=True))


def test_the_file_labels_lines_from_the_command_line(pair, four_libraries, exported):
    ner, _ = pair
    done = run_alone(four_libraries, str(exported / "tagger.py"), "Ana in Rom", "Paris")
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert_same(found, ner(["Ana in Rom", "Paris"]))
    done = run_alone(four_libraries, str(exported / "tagger.py"), given="Ana\n\nRom\n")
    assert len(done.stdout.splitlines()) == 3


def test_the_example_of_the_documentation_runs_in_the_folder(four_libraries, exported, tmp_path):
    page = (ROOT / "docs" / "deploying.md").read_text("utf-8")
    section = page.split("## Without torch")[1].split("\n## ")[0]
    (code,) = re.findall(r"^```python\n(.*?)^```", section, re.M | re.S)
    folder = tmp_path / "copied"
    shutil.copytree(exported, folder)
    photo().save(folder / "photo.jpg")
    (folder / "example.py").write_text(f"import sys; sys.path.insert(0, '.')\n{code}", "utf-8")
    done = run_alone(four_libraries, "example.py", folder=folder)
    assert done.returncode == 0, done.stderr[-3000:]


# The code -----------------------------------------------------------------------------------------


def test_the_file_is_the_same_each_time_and_holds_each_name_once(exported):
    source = (exported / "tagger.py").read_text("utf-8")
    title = source.partition('"""')[2].partition("\n\n")[0]
    assert bundled("inference_2mner.tagger", title) == source
    lines = source.splitlines()
    defined = [line for line in lines if line.startswith(("def ", "class "))]
    assert len(defined) == len(set(defined)) > 50
    assert not [line for line in lines if "import torch" in line or "import transformers" in line]
    unused = ("def fetch(", "def repair_labels(", "def label_ids(")
    assert not [line for line in defined if line.startswith(unused)]


def test_modules_that_share_a_name_are_not_joined(tmp_path, monkeypatch):
    package = tmp_path / "inference_2mner"
    package.mkdir()
    (package / "__init__.py").write_text("", "utf-8")
    (package / "first.py").write_text("SIZE = 1\n", "utf-8")
    (package / "second.py").write_text("from .first import SIZE\n\nTWICE = 2 * SIZE\n", "utf-8")
    (package / "third.py").write_text("from .first import SIZE as LENGTH\n", "utf-8")
    (package / "fourth.py").write_text("from .second import TWICE\n\nSIZE = TWICE\n", "utf-8")

    def find(name: str):
        path = package / f"{name.rpartition('.')[2]}.py"
        return util.spec_from_file_location(name, path)

    monkeypatch.setattr("inference_2mner.bundle.find_spec", find)
    assert "TWICE = 2 * SIZE" in bundled("inference_2mner.second", "Title.")
    with pytest.raises(BundleError, match=r"third imports SIZE under another name"):
        bundled("inference_2mner.third", "Title.")
    with pytest.raises(BundleError, match=r"fourth defines SIZE, as another module does"):
        bundled("inference_2mner.fourth", "Title.")


# What goes wrong ----------------------------------------------------------------------------------


def test_wrong_commands_are_one_line(model, exported, tmp_path, monkeypatch):
    with pytest.raises(ExportError, match=r"is there already, expected nothing or an empty"):
        export_model(model, exported)
    with pytest.raises(ModelError, match="no model can be read there"):
        export_model(tmp_path / "none", tmp_path / "out")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}", "utf-8")
    with pytest.raises(ExportError, match=r"is an adapter, expected a model: `2mner lora merge"):
        export_model(adapter, tmp_path / "out")
    with pytest.raises(ExportError, match=r"--opset is 3, expected a number from"):
        main([str(model), "--out", str(tmp_path / "out"), "--opset", "3"])
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r'pip install "2mner\[onnx\]"'):
        export_model(model, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"size": {"longest_edge": 40}}, "size is .*longest_edge.*expected height and width"),
        ({"size": {"shortest_edge": 24}, "do_center_crop": False}, "expected one shape"),
    ],
)
def test_image_processors_that_cannot_be_told_as_data(text_encoder, settings, message):
    images = CLIPImageProcessorPil(**settings)
    processor = TwoMNERProcessor.from_text_vision_pretrained(text_encoder())
    processor.image_processor = images
    with pytest.raises(ExportError, match=message):
        image_steps(processor)


@pytest.mark.parametrize("size", [{"shortest_edge": 24}, {"height": 40, "width": 20}])
@pytest.mark.parametrize("crop", [{"height": 20, "width": 22}, {"height": 41, "width": 47}])
def test_the_steps_of_an_image_are_those_of_its_processor(text_encoder, size, crop):
    """Smaller and larger crops, of any image; `image_steps` compares them."""
    processor = TwoMNERProcessor.from_text_vision_pretrained(text_encoder())
    processor.image_processor = CLIPImageProcessorPil(size=size, crop_size=crop)
    steps = image_steps(processor)
    found, expected = steps.pixels_of(photo()), processor.pixels_of(photo())
    assert abs(found - expected.numpy()).max() < 1e-5


@pytest.mark.parametrize(
    "name, content, error, message",
    [
        ("tagger.json", None, OSError, r"tagger.json"),
        ("tagger.json", b"{", ValueError, r"tagger.json: no JSON"),
        ("tagger.json", b'{"version": 9}', ValueError, r"tagger.json: version is 9, expected 1"),
        ("tagger.json", b'{"version": 1}', ValueError, r"tagger.json: KeyError.*2mner export"),
        ("text.onnx", None, OSError, r"text.onnx: there is no such file"),
        ("text.onnx", b"no graph", ValueError, r"text.onnx: found .*expected a graph"),
        ("tokenizer.json", None, OSError, r"tokenizer.json: there is no such file"),
    ],
)
def test_a_damaged_folder_is_one_line(exported, tmp_path, name, content, error, message):
    folder = tmp_path / "damaged"
    folder.mkdir()
    for path in exported.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(error, match=message) as caught:
        Tagger(folder)
    assert "\n" not in str(caught.value)
