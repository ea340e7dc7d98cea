"""A damaged saved processor gives one error, which names the file."""

import json
import shutil
from pathlib import Path

import pytest

from modeling_2mner import TwoMNERProcessor

FILES = ("processor_config.json", "tokenizer_config.json", "tokenizer.json")
HUGE = 10**18
CLIP = {"image_processor_type": "CLIPImageProcessor"}
BROKEN = {
    "empty": b"",
    "cut": None,
    "binary": b"\xff\xfe\x00\x01",
    "list": b"[]",
    "number": b"5",
    "deep": b"[" * 10**5,
}


@pytest.fixture(scope="module")
def whole(text_encoder, vision_encoder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("processors") / "whole"
    TwoMNERProcessor.from_text_vision_pretrained(text_encoder(), vision_encoder()).save_pretrained(
        folder
    )
    return folder


@pytest.fixture
def saved(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "saved"))


def test_the_saved_processor_loads(saved):
    assert TwoMNERProcessor.from_pretrained(saved)(["Ana"])


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_named(saved, file):
    """Without `tokenizer.json` every word would be read as unknown, without a warning."""
    (saved / file).unlink()
    with pytest.raises(OSError, match=rf"saved: no file named {file}, which a saved processor has"):
        TwoMNERProcessor.from_pretrained(saved)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("harm", BROKEN)
def test_a_broken_file_is_named(saved, file, harm):
    path = saved / file
    content = BROKEN[harm]
    path.write_bytes(path.read_bytes()[:-50] if content is None else content)
    with pytest.raises(OSError, match=rf"saved/{file} is broken: ") as error:
        TwoMNERProcessor.from_pretrained(saved)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("file", "field", "value", "message"),
    [
        ("processor_config.json", field, value, message)
        for field, value, message in (
            ("labels", 5, "labels is 5, expected a list of label names"),
            ("labels", "OBI", "labels is 'OBI', expected a list"),
            ("labels", ["B-PER"], "labels lack 'O'"),
            ("labels", ["O", 5], "labels has 5, expected strings"),
            ("max_length", "64", "max_length is '64', expected a whole number"),
            ("max_length", 0, "max_length is 0, expected a whole number"),
            ("max_length", 2, "max_length is 2, expected more than 2"),
            ("max_length", HUGE, "max_length is 10000"),
            ("max_length", None, "max_length is None"),
            ("window_overlap", -1, "window_overlap is -1"),
            ("window_overlap", "x", "window_overlap is 'x'"),
            ("reads_images", "no", "reads_images is 'no', expected true or false"),
            ("context_fields", "ocr", "context_fields is 'ocr', expected a list"),
            ("context_fields", ["smell"], "context_fields has 'smell'"),
            ("context_separator", 5, "context_separator is 5, expected a string"),
            ("context_budget", "1", "context_budget is '1'"),
            ("context_budget", -1, "context_budget is -1"),
            ("image_processor", 5, "image_processor is 5, expected an object"),
            ("image_processor", {}, "image_processor_type"),
            ("image_processor", {**CLIP, "size": "x"}, "size"),
            ("image_processor", {**CLIP, "size": HUGE}, "size.height is 10000"),
            ("image_processor", {**CLIP, "crop_size": {"height": HUGE}}, "crop_size.height is 1"),
            ("image_processor", {**CLIP, "size": {"shortest_edge": HUGE}}, "shortest_edge is 1000"),
            ("image_processor", {**CLIP, "image_mean": [1]}, "image_mean is .* three numbers"),
            ("image_processor", {**CLIP, "rescale_factor": float("nan")}, "finite values"),
        )
    ]
    + [
        ("tokenizer_config.json", field, value, message)
        for field, value, message in (
            ("tokenizer_class", 5, "tokenizer_class is 5, expected the name of a class"),
            ("tokenizer_class", None, "tokenizer_class is None"),
            ("model_max_length", "x", "str"),
            ("unk_token", 5, "unk_token"),
            ("pad_token", None, "pad_token is null"),
        )
    ],
)
def test_a_wrong_field_is_one_line_that_names_its_file(saved, file, field, value, message):
    path = saved / file
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(ValueError, match=rf"saved/{file}: .*{message}") as error:
        TwoMNERProcessor.from_pretrained(saved)
    assert "\n" not in str(error.value)


def test_a_vocabulary_of_the_wrong_form_is_named(saved):
    path = saved / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["vocab"] = 5
    path.write_text(json.dumps(content))
    with pytest.raises(OSError, match=r"saved/tokenizer\.json is broken: "):
        TwoMNERProcessor.from_pretrained(saved)
