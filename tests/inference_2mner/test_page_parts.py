"""The page follows the model: what it does not read is not shown; and what a visitor may send."""

import base64

import pytest
import torch
from PIL import Image

from dataset_mmnerd.sample.examples import sample_examples, written
from inference_2mner.page.blocks import build
from inference_2mner.page.examples import examples_of, gallery, read_examples, to_json
from inference_2mner.page.inputs import (
    MAX_CHARACTERS,
    MAX_IMAGE_BYTES,
    VisitorError,
    data_url,
    read_context,
    read_image,
    read_text,
)
from inference_2mner.page.reader import Reader
from modeling_2mner import (
    MultimodalNERPipeline,
    TwoMNERForTokenClassification,
    TwoMNERProcessor,
)

EXAMPLE = {"text": "Ana lives here", "lang": "en", "image": ""}


@pytest.fixture
def reader(text_encoder, vision_encoder):
    """A function that makes the reader of a model of random weights."""

    def make(images: bool, **options: int) -> Reader:
        encoders = [text_encoder(), *[vision_encoder()] * images]
        torch.manual_seed(3)
        model = TwoMNERForTokenClassification.from_text_vision_pretrained(*encoders)
        torch.nn.init.normal_(model.classifier.weight)
        processor = TwoMNERProcessor.from_text_vision_pretrained(*encoders, **options)
        return Reader(MultimodalNERPipeline(model=model, processor=processor), "me/tiny")

    return make


def shown(page) -> set[str]:
    """The labels of what a visitor sees."""
    components = page.get_config_file()["components"]
    parts = [one["props"] for one in components if one["type"] != "api"]
    return {one["label"] for one in parts if one.get("label") and one.get("visible", True)}


@pytest.mark.parametrize(
    ("images", "options", "labels", "parameters"),
    [
        (False, {}, set(), []),
        (True, {}, {"Image", "Read the image"}, ["image"]),
        (
            False,
            {"context_budget": 10, "context_fields": ["objects", "ocr"]},
            {"Objects", "Text on the image"},
            ["objects", "ocr"],
        ),
    ],
)
def test_only_what_the_model_reads_is_shown(reader, images, options, labels, parameters):
    page = build(reader(images, **options), [EXAMPLE])
    assert shown(page) == {"Sentence", "Threshold"} | labels
    (endpoint,) = page.get_api_info()["named_endpoints"].items()
    names = [one["parameter_name"] for one in endpoint[1]["parameters"]]
    assert (endpoint[0], names) == ("/entities", ["text", *parameters, "threshold"])


def test_the_answer_is_the_pipelines_with_the_context_and_without(reader):
    own = reader(False, context_budget=10)
    answer = own.answer("Ana lives here", "", {"objects": "cat\n\ndog", "ocr": ["Rome"]})
    given = {"text": "Ana lives here", "objects": ["cat", "dog"], "ocr": ["Rome"]}
    options = {"return_details": True, "top_k": len(own.types)}
    assert answer.read["entities"] == own._ner(given, explain=True, **options)["entities"]
    assert answer.alone["entities"] == own._ner("Ana lives here", **options)["entities"]
    assert own.answer("Ana lives here", "", {}).alone is None


def test_an_image_that_is_none_is_an_error_of_the_visitor(reader):
    with pytest.raises(VisitorError, match="found an unknown or damaged format"):
        reader(True).answer("Ana", base64.b64encode(b"no image").decode(), {})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: read_text(" "), "There is no sentence"),
        (lambda: read_text(None), "There is no sentence"),
        (lambda: read_text("a" * (MAX_CHARACTERS + 1)), "has 4,001 characters, and at most 4,000"),
        (lambda: read_image({"path": "a.png"}), "The image is dict, expected the content"),
        (lambda: read_image("https://example.org/a.png"), "The image is not encoded"),
        (lambda: read_image("/etc/passwd?"), "The image is not encoded"),
        (lambda: read_image("A" * 2 * MAX_IMAGE_BYTES), "more than 4 MiB"),
        (lambda: read_context(["ocr"], {"ocr": "a" * 5000}), "The field ocr has 5,000 characters"),
        (lambda: read_context(["ocr"], {"ocr": [1]}), "ocr has items that are no text"),
    ],
)
def test_what_a_visitor_may_not_send_is_a_sentence(call, message):
    with pytest.raises(VisitorError, match=message):
        call()


def test_images_come_as_data_urls_or_base64_and_go_as_data_urls(tmp_path):
    Image.new("RGB", (4, 3), "red").save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    url = data_url(content)
    assert url.startswith("data:image/png;base64,")
    assert read_image(url) == read_image(url.partition(",")[2]) == content
    assert (read_image(""), read_image(None), data_url(b"II*\0")) == (None, None, "")


def test_examples_are_written_to_a_file_and_read_again(tmp_path):
    examples = examples_of(sample_examples())
    assert [one["lang"] for one in examples] == ["en", "fr", "de", "es"] * 2
    assert all(one["image"].startswith("data:image/jpeg;base64,") for one in examples)
    (tmp_path / "examples.json").write_bytes(to_json(examples))
    assert read_examples(tmp_path / "examples.json") == examples
    assert read_examples(tmp_path / "none.json") == []


def test_examples_are_shown_as_text_and_without_images_where_none_are_read():
    hostile = {"text": "<script>'\"", "lang": "en", "image": data_url(b"GIF8")}
    assert "&lt;script&gt;&#39;&#34;" in gallery([hostile], images=True)
    assert "<script" not in gallery([hostile], images=True)
    assert "<img" in gallery([hostile], images=True)
    assert "<img" not in gallery([hostile], images=False)


def test_words_are_written_as_people_write_them():
    words = ["Voilà", ",", "c'", "est", "dit", "!"]
    assert written(words, "fr") == "Voilà, c'est dit !"
    assert (
        written(["Words", "ca", "n't", "do", "it", ".", "¿", "Y", "tú", "?"], "en")
        == "Words can't do it. ¿Y tú?"
    )
    words = ["A", "hit", ",", '"', "Aber", '"', "(", "2003", ")", "."]
    assert written(words, "es") == 'A hit, "Aber" (2003).'
