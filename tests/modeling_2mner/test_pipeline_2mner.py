"""Raw text and images in, entities with character offsets out."""

import http.server
import socket
import threading
from functools import partial

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset

from modeling_2mner import (
    MultimodalNERPipeline,
    TwoMNERForTokenClassification,
    TwoMNERProcessor,
)
from modeling_2mner.images_2mner import ImageError
from modeling_2mner.words_2mner import WORD_RULES, split_into_words

TEXT = "Angela Merkel's visit: l'Élysée, 東京 👩🏽‍🚀 cafe\u0301."


@pytest.fixture(scope="module")
def ner(text_encoder, vision_encoder):
    """A pipeline of random weights that finds plenty of entities."""
    torch.manual_seed(1)
    encoders = [text_encoder(), vision_encoder()]
    model = TwoMNERForTokenClassification.from_text_vision_pretrained(*encoders)
    torch.nn.init.normal_(model.classifier.weight)
    return MultimodalNERPipeline(
        model=model, processor=TwoMNERProcessor.from_text_vision_pretrained(*encoders)
    )


class Rows(Dataset):
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


def images():
    red, blue = (Image.new("RGB", (30, 20), colour) for colour in ("red", "blue"))
    return red, blue


def test_the_installed_package_builds_a_pipeline_without_remote_code(ner, tmp_path):
    ner.model.save_pretrained(tmp_path)
    ner.processor.save_pretrained(tmp_path)
    loaded = pipeline("multimodal-ner", model=str(tmp_path), pipeline_class=MultimodalNERPipeline)
    assert type(loaded) is MultimodalNERPipeline
    assert type(loaded.model) is TwoMNERForTokenClassification
    assert loaded(TEXT) == ner(TEXT)


def test_offsets_are_those_of_the_users_own_string(ner):
    found = ner(TEXT)
    assert found
    words = {TEXT[start:end] for start, end in split_into_words(TEXT)}
    for entity in found:
        assert set(entity) == {"label", "score", "word", "start", "end"}
        assert TEXT[entity["start"] : entity["end"]] == entity["word"]
        assert 0 < entity["score"] <= 1
        assert any(entity["word"].startswith(word) for word in words)


def test_a_text_and_its_words_give_the_same_entities(ner):
    words = [TEXT[start:end] for start, end in split_into_words(TEXT)]
    by_text, by_words = ner(TEXT), ner({"words": words})
    assert [(entity["label"], entity["score"]) for entity in by_text] == [
        (entity["label"], pytest.approx(entity["score"])) for entity in by_words
    ]
    joined = " ".join(words)
    assert all(joined[entity["start"] : entity["end"]] == entity["word"] for entity in by_words)
    assert ner(words, is_split_into_words=True) == by_words
    assert ner({"tokens": words, "ner_tags": [0] * len(words)}) == by_words


def test_the_pipeline_splits_by_the_processors_word_rules(ner, monkeypatch):
    monkeypatch.setattr(ner.processor, "word_rules", WORD_RULES + 1)
    with pytest.raises(ValueError, match="word_rules is 2"):
        ner(TEXT)


def test_a_text_of_many_apostrophes_is_read(ner):
    text = "l'" * 1500 + "Oréal"
    assert all(text[one["start"] : one["end"]] == one["word"] for one in ner(text))


def test_an_image_counts_and_may_come_in_any_form(ner, tmp_path):
    red, blue = images()
    path = tmp_path / "red.png"
    red.save(path)
    with_red = ner({"text": TEXT, "image": red})
    assert with_red != ner(TEXT)
    assert with_red != ner({"text": TEXT, "image": blue})
    for image in (path, str(path), path.read_bytes()):
        assert ner({"text": TEXT, "image": image}) == with_red
    assert ner({"text": TEXT, "image": None}) == ner(TEXT)


def test_visual_context_counts_and_may_come_with_the_input_or_the_row(text_encoder):
    torch.manual_seed(1)
    model = TwoMNERForTokenClassification.from_text_vision_pretrained(text_encoder())
    torch.nn.init.normal_(model.classifier.weight)
    processor = TwoMNERProcessor.from_text_vision_pretrained(text_encoder(), context_budget=10)
    ner = MultimodalNERPipeline(model=model, processor=processor)
    words = ["Who", "is", "it"]
    bare, read = ner({"words": words}), ner({"words": words, "ocr": ["LIVE"], "objects": None})
    assert bare != read
    assert ner({"tokens": words, "ocr": ["LIVE"], "lang": "en"}) == read
    together = ner([{"words": words, "ocr": ["LIVE"]}, {"words": words}], batch_size=2)
    assert all(close(one, two) for one, two in zip([read, bare], together, strict=True))


def test_an_image_is_fetched_from_the_address_that_the_user_gives(ner, tmp_path):
    red, _ = images()
    red.save(tmp_path / "red.png")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/red.png"
        found = ner({"text": TEXT, "image": address})
        words = [TEXT[start:end] for start, end in split_into_words(TEXT)]
        found_in_a_row = ner({"tokens": words, "image": address})
        server.shutdown()
    assert found == ner({"text": TEXT, "image": red})
    assert found_in_a_row == ner({"tokens": words})  # an address in a data set is not fetched


@pytest.fixture
def dead_address():
    """Nobody listens there any more."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"http://127.0.0.1:{port}/red.png?token=secret"


def test_an_address_that_is_dead_costs_its_image_and_not_the_batch(ner, dead_address, caplog):
    red, _ = images()
    inputs = [{"text": TEXT, "image": image} for image in (red, dead_address, b"no image")]
    expected = [ner(inputs[0]), ner(TEXT), ner(TEXT)]
    for given, size in (
        (inputs, 1),
        (inputs, 3),
        (Rows(inputs), 2),
        ((item for item in inputs), 2),
    ):
        caplog.clear()
        found = list(ner(given, batch_size=size))
        assert all(close(one, two) for one, two in zip(expected, found, strict=True))
        shown = dead_address.removesuffix("token=secret") + "..."
        assert "secret" not in caplog.text
        assert len(caplog.messages) == 2
        assert caplog.messages[0].startswith(f"Read without its image: {shown}: cannot be fetched")
        assert caplog.messages[1].startswith("Read without its image: an image given as bytes: ")


def test_an_image_that_cannot_be_had_is_an_error_where_an_input_is_given_alone(
    ner, dead_address, tmp_path
):
    with pytest.raises(OSError, match=r"red\.png\?\.\.\.: cannot be fetched"):
        ner({"text": TEXT, "image": dead_address})
    with pytest.raises(ImageError, match=r"nowhere\.png: found no readable file"):
        ner({"words": ["a"], "image": tmp_path / "nowhere.png"})
    assert ner({"tokens": ["a"], "image": "nowhere.png"}) == ner({"words": ["a"]})


def close(one, two):
    return [{**entity, "score": pytest.approx(entity["score"], abs=1e-5)} for entity in one] == two


def test_lists_batches_and_generators_give_what_single_calls_give(ner):
    red, blue = images()
    inputs = [
        {"text": TEXT, "image": red},
        "Hola",
        {"words": ["Je", "suis", "là"], "image": blue},
        {"text": " ".join(f"w{number}" for number in range(60)), "image": red},  # windows
        "",
    ]
    alone = [ner(item) for item in inputs]
    assert alone[-1] == []
    for found in (
        ner(inputs),
        ner(inputs, batch_size=3),
        list(ner(item for item in inputs)),
        list(ner((item for item in inputs), batch_size=2)),
    ):
        assert all(close(one, two) for one, two in zip(alone, found, strict=True))


@pytest.mark.parametrize(
    "nothing",
    [[], (), Rows([]), KeyDataset(Rows([]), "text"), datasets.Dataset.from_dict({"tokens": []})],
    ids=lambda nothing: type(nothing).__name__,
)
@pytest.mark.parametrize("options", [{}, {"batch_size": 2}, {"is_split_into_words": True}])
def test_no_inputs_give_no_answers(ner, nothing, options):
    assert list(ner(nothing, **options)) == []
    assert list(ner((one for one in nothing), **options)) == []


@pytest.mark.parametrize("text", ["", " \n", "\u200b", "\0", "a \ud800 b"])
def test_a_text_without_a_word_or_with_what_no_tokenizer_takes_is_read(ner, text):
    found = ner(text)
    assert all(text[one["start"] : one["end"]] == one["word"] for one in found)
    assert [] in ner([text, ""])
    assert ner({"words": []}) == []


def test_a_data_set_of_any_kind_gives_what_its_rows_give(ner):
    rows = [{"tokens": ["Ana", "lives"], "lang": "en"}, {"tokens": ["Bo"], "lang": "en"}]
    expected = [ner(row) for row in rows]
    data = datasets.Dataset.from_list(rows)
    several = [
        Rows(rows),
        tuple(rows),
        data,
        data.to_iterable_dataset(),
        iter(rows),
        map(dict, rows),
    ]
    for given in several:
        assert list(ner(given)) == expected
    assert list(ner(data["tokens"], is_split_into_words=True)) == expected
    assert list(ner(KeyDataset(data, "tokens"), is_split_into_words=True)) == expected


def test_sentences_that_are_split_into_words_may_come_in_any_form(ner):
    one, two = ["Ana", "lives"], ["Bo"]
    expected = [ner({"words": one}), ner({"words": two})]
    split = partial(ner, is_split_into_words=True)
    assert [split(one), split(tuple(two))] == expected
    assert [split({"words": one}), split({"text": "Bo"})] == expected
    assert split(np.array(one)) == expected[0]
    assert split([one, tuple(two)]) == expected
    assert split([{"words": one}, two]) == expected
    assert list(split(sentence for sentence in [one, {"tokens": two}])) == expected
    assert split([[]]) == [[]]
    always = MultimodalNERPipeline(
        model=ner.model, processor=ner.processor, is_split_into_words=True
    )
    assert [always(one), always(two)] == always([one, two]) == expected
    assert always("Bo", is_split_into_words=False) == expected[1]


def test_none_gives_every_labelled_word_with_its_marginal(ner):
    words = ner(TEXT, aggregation_strategy="none")
    entities = ner(TEXT)
    spans = split_into_words(TEXT)
    for word in words:
        assert set(word) == {"entity", "score", "index", "word", "start", "end"}
        assert spans[word["index"]] == (word["start"], word["end"])
    starts = [word["start"] for word in words if word["entity"].startswith("B-")]
    assert starts == [entity["start"] for entity in entities]
    assert ner(TEXT, aggregation_strategy="max") == entities


def test_it_labels_without_an_image_encoder_too(text_encoder, dead_address):
    model = TwoMNERForTokenClassification.from_text_vision_pretrained(text_encoder())
    processor = TwoMNERProcessor.from_text_vision_pretrained(text_encoder())
    ner = MultimodalNERPipeline(model=model, processor=processor)
    for image in (images()[0], dead_address, b"no image"):  # not read, and not fetched
        assert ner({"text": TEXT, "image": image}) == ner(TEXT)


SPLIT = {"is_split_into_words": True}


@pytest.mark.parametrize(
    ("inputs", "options", "error", "message"),
    [
        ({"text": "a", "img": None}, {}, ValueError, "keys 'text', 'img', expected 'text' or"),
        ({"text": "a", "words": ["a"]}, {}, ValueError, "keys 'text', 'words', expected 'text' or"),
        ({"image": None}, {}, ValueError, "keys 'image', expected 'text' or 'words'"),
        ({}, {}, ValueError, "the keys , expected 'text' or"),
        ({"text": "a", 7: 1, "x": 2}, {}, ValueError, "the keys 'text', 7, 'x', expected"),
        ({"text": ["a"]}, {}, TypeError, r"'text' is \['a'\] \(list\), expected a string"),
        ({"text": None}, {}, TypeError, r"'text' is None \(NoneType\), expected a string"),
        ({"words": "a b"}, {}, TypeError, r"'words' is 'a b' \(str\), expected a list of strings"),
        ({"words": b"a b"}, {}, TypeError, r"'words' is b'a b' \(bytes\), expected a list of str"),
        ({"words": None}, {}, TypeError, r"'words' is None \(NoneType\), expected a list of str"),
        ({"words": {"a": 1}}, {}, TypeError, r"'words' is \{'a': 1\} \(dict\), expected a list"),
        ({"words": iter("ab")}, {}, TypeError, r"'words' is <str_.*, expected a list of strings"),
        ({"tokens": ["a", 7]}, {}, TypeError, r"'tokens'\[1\] is 7 \(int\), expected a string"),
        ({"words": [["a"]]}, {}, TypeError, r"'words'\[0\] is \['a'\] \(list\), expected a string"),
        ({"text": "a", "image": 7}, {}, TypeError, "an image: found int, expected a path"),
        ({"text": "a", "ocr": "b"}, {}, TypeError, r"\['ocr'\] is 'b' \(str\), expected a list of"),
        ({"text": "a", "ocr": [7]}, {}, TypeError, r"\['ocr'\]\[0\] is 7 \(int\), expected a str"),
        (7, {}, TypeError, r"an input is 7 \(int\), expected a text"),
        (None, {}, TypeError, r"an input is None \(NoneType\), expected a text"),
        (b"a", {}, TypeError, r"an input is b'a' \(bytes\), expected a text"),
        ({"a"}, {}, TypeError, r"an input is \{'a'\} \(set\), expected a text"),
        (["a", 7], {}, TypeError, r"an input is 7 \(int\), expected a text"),
        ([None], {}, TypeError, r"an input is None \(NoneType\), expected a text"),
        ([["a", "b"]], {}, TypeError, r"an input is \['a', 'b'\] \(list\), expected a text"),
        ("a b", SPLIT, TypeError, r"an input is 'a b' \(str\), expected a list of words"),
        (["a", 7], SPLIT, TypeError, r"'words'\[1\] is 7 \(int\), expected a string"),
        ([["a"], 7], SPLIT, TypeError, r"an input is 7 \(int\), expected a list of words"),
        ("a", {"is_split_into_words": "no"}, TypeError, r"is_split_into_words is 'no' \(str\)"),
        (["a"], {"is_split_into_words": torch.ones(2)}, TypeError, "is_split_into_words is tensor"),
        (np.array(7), {}, TypeError, r"an input is 7 \(int\), expected a text"),
        (torch.tensor(7), {}, TypeError, r"an input is 7 \(int\), expected a text"),
        ("a", {"aggregation_strategy": np.ones(2)}, ValueError, "aggregation_strategy is array"),
        ("a", {"aggregation_strategy": "best"}, ValueError, "aggregation_strategy is 'best'"),
        ("a", {"aggregation_strategy": 7}, ValueError, r"aggregation_strategy is 7 \(int\)"),
        (
            "a",
            {"strategy": "max"},
            TypeError,
            "there is no option 'strategy', expected aggregation",
        ),
        ("a", {"batch_size": "2"}, TypeError, r"batch_size is '2' \(str\), expected an integer"),
        (["a"], {"num_workers": 1.5}, TypeError, r"num_workers is 1.5 \(float\), expected an int"),
        ("x" * 9999, SPLIT, TypeError, r"^an input is '.{20,200}' \(str\), expected a list of w"),
    ],
)
def test_what_is_no_input_is_refused(ner, inputs, options, error, message):
    with pytest.raises(error, match=message):
        ner(inputs, **options)
