"""Words and images into tensors, and scores back into entities."""

import io
import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from modeling_2mner import TwoMNERProcessor
from modeling_2mner.images_2mner import MAX_ASPECT
from modeling_2mner.labels_2mner import repair_labels, scheme_labels
from modeling_2mner.words_2mner import WORD_RULES

WORDS = ["Angela", "Merkel", "besucht", "Paris", "."]


@pytest.fixture(scope="module")
def processor(text_encoder, vision_encoder):
    return TwoMNERProcessor.from_text_vision_pretrained(text_encoder(), vision_encoder())


def encoded(image, image_format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


# Words


def test_word_index_points_at_each_words_first_subword(processor):
    sentences = [WORDS, ["Bonjour", "Paris"]]
    batch = processor(sentences)
    flat = batch["input_ids"].flatten()
    for row, sentence in enumerate(sentences):
        for number, word in enumerate(sentence):
            place = batch["word_index"][row, number]
            pieces = flat[place : place + len(word) + 1].tolist()
            assert processor.tokenizer.convert_ids_to_tokens(pieces) == ["▁", *word]
    assert batch["word_mask"].tolist() == [[True] * 5, [True, True, False, False, False]]


def test_a_single_sentence_is_a_batch_of_one(processor):
    one, batch = processor(WORDS, labels=["O"] * 5), processor([WORDS], labels=[["O"] * 5])
    assert one.keys() == batch.keys()
    assert all(torch.equal(one[key], batch[key]) for key in one)


def test_a_long_sentence_becomes_windows_and_every_word_is_in_one(processor):
    sentence = [f"w{number}" for number in range(100)]
    batch = processor([["short"], sentence])
    windows, length = batch["input_ids"].shape
    assert windows > 3
    assert length <= processor.max_length
    assert batch["word_mask"][1].all()
    flat = batch["input_ids"].flatten()
    for number, word in enumerate(sentence):
        place = batch["word_index"][1, number]
        tokens = processor.tokenizer.convert_ids_to_tokens(flat[place : place + len(word) + 1])
        assert tokens == ["▁", *word]


@pytest.mark.parametrize("word", ["\u00ad", "\ufffd", "\u200b", "", " ", "\x00", "🦊", "語"])
def test_a_word_that_the_tokenizer_knows_nothing_of_still_has_a_place(processor, word):
    batch = processor([["a", word, "b"]])
    places = batch["word_index"][0].tolist()
    assert batch["word_mask"].tolist() == [[True] * 3]
    assert len(set(places)) == 3
    assert batch["attention_mask"].flatten()[places].all()


def test_a_word_longer_than_a_window_is_cut_and_keeps_its_place(processor):
    batch = processor([["a", "x" * 1000, "b"]])
    assert batch["word_mask"].tolist() == [[True] * 3]
    assert batch["input_ids"].shape[1] <= processor.max_length


def test_an_empty_sentence_has_a_window_and_no_words(processor):
    batch = processor([["a", "b"], []])
    assert batch["input_ids"].shape[0] == 2
    assert batch["word_mask"].tolist() == [[True, True], [False, False]]
    assert batch["word_index"][1].tolist() == [batch["input_ids"].shape[1]] * 2


@pytest.mark.parametrize("kind", ["bert", "distilbert", "deberta-v2"])
def test_wordpiece_tokenizers_work_alike(text_encoder, kind):
    processor = TwoMNERProcessor.from_text_vision_pretrained(text_encoder(kind))
    batch = processor([WORDS])
    assert processor.tokenizer.convert_ids_to_tokens(
        batch["input_ids"].flatten()[batch["word_index"][0]]
    ) == [word[0] if word != "." else "." for word in WORDS]


# Labels


def test_labels_by_name_and_by_number_are_the_same(processor):
    names = ["B-PER", "I-PER", "O", "B-LOC", "O"]
    ids = [processor.labels.index(name) for name in names]
    by_name = processor([WORDS], labels=[names])["labels"]
    assert by_name.tolist() == [ids]
    assert torch.equal(by_name, processor([WORDS], labels=[ids])["labels"])


def test_names_are_changed_into_the_models_scheme(text_encoder):
    bioes = TwoMNERProcessor.from_text_vision_pretrained(
        text_encoder(), labels=["O", "B-X", "I-X", "E-X", "S-X"]
    )
    batch = bioes([["a", "b", "c"]], labels=[["B-X", "I-X", "B-X"]])
    assert [bioes.labels[label] for label in batch["labels"][0]] == ["B-X", "E-X", "S-X"]
    bio = TwoMNERProcessor.from_text_vision_pretrained(text_encoder(), labels=["O", "B-X", "I-X"])
    batch = bio([["a", "b", "c"]], labels=[["B-X", "E-X", "S-X"]])
    assert [bio.labels[label] for label in batch["labels"][0]] == ["B-X", "I-X", "B-X"]


@pytest.mark.parametrize("by_id", [False, True])
@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
def test_invalid_iob2_is_repaired_and_counted_by_name_and_by_number(
    text_encoder, caplog, by_id, scheme
):
    names = scheme_labels(["PER", "LOC"], scheme)
    processor = TwoMNERProcessor.from_text_vision_pretrained(text_encoder(), labels=names)
    given = [["I-PER", "I-PER", "I-LOC"], ["O"]]
    if by_id:
        given = [[names.index(name) for name in row] for row in given]
    batch = processor([["Ana", "Ruiz", "Lima"], ["a"]], labels=given)
    expected = repair_labels(["B-PER", "I-PER", "B-LOC"], scheme)
    assert [names[index] for index in batch["labels"][0]] == expected
    assert "labels: repaired in 1 of 2 sentences" in caplog.text
    caplog.clear()
    processor([["Ana", "Ruiz"]], labels=[["B-PER", "I-PER"]])
    assert caplog.text == ""


def test_unknown_labels_stay_unknown_and_their_neighbours_as_they_are(text_encoder):
    processor = TwoMNERProcessor.from_text_vision_pretrained(
        text_encoder(), labels=["O", "B-X", "I-X"]
    )
    batch = processor([["a", "b", "c"]], labels=[[-100, 2, 2]])
    assert batch["labels"].tolist() == [[-100, 2, 2]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": [["B-PER"]]}, "sentence 0 has 5 words and 1 labels"),
        ({"labels": []}, "labels has 0 items for 1 sentences"),
        ({"labels": [["O", "B-DOG", "O", "O", "O"]]}, "sentence 0, word 1: label 'B-DOG' is not"),
        ({"labels": [[0, 99, 0, 0, 0]]}, "sentence 0, word 1: label 99 is not one of O, B-PER"),
        ({"images": [None, None]}, "images has 2 items for 1 sentences"),
        ({"return_tensors": "np"}, r"return_tensors is 'np' \(str\), expected 'pt'"),
    ],
)
def test_what_does_not_fit_together_is_refused(processor, arguments, message):
    with pytest.raises(ValueError, match=message):
        processor([WORDS], **arguments)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("Angela Merkel", r"words is 'Angela Merkel' \(str\), expected a list of words"),
        (None, r"words is None \(NoneType\), expected a list of words"),
        (b"ab", r"words is b'ab' \(bytes\), expected a list of words"),
        ({"a": 1}, r"words is \{'a': 1\} \(dict\), expected a list of words"),
        (iter("ab"), r"words is <str_.*, expected a list of words"),
        ([["a"], "bc"], r"words\[1\] is 'bc' \(str\), expected a list of strings"),
        ([["a"], None], r"words\[1\] is None \(NoneType\), expected a list of strings"),
        ([7], r"words\[0\] is 7 \(int\), expected a list of strings"),
        (["a", ["b"]], r"words\[1\] is \['b'\] \(list\), expected a string"),
        (["a", 7], r"words\[1\] is 7 \(int\), expected a string"),
        ([["a"], ["b", None]], r"words\[1\]\[1\] is None \(NoneType\), expected a string"),
    ],
)
def test_words_of_another_type_are_refused(processor, words, message):
    with pytest.raises(TypeError, match=message):
        processor(words)


def test_no_sentences_are_refused(processor):
    with pytest.raises(ValueError, match="words has no sentences"):
        processor([])


def test_words_may_come_as_tuples_and_arrays(processor):
    expected = processor([["a", "b"]])["input_ids"]
    for words in (("a", "b"), np.array(["a", "b"]), [("a", "b")], np.array([["a", "b"]])):
        assert torch.equal(processor(words)["input_ids"], expected)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([["O", "O"], "OO"], r"labels\[1\] is 'OO' \(str\), expected a list of labels"),
        ([["O", "O"], {"O", "B-PER"}], r"labels\[1\] is \{.*\(set\), expected a list of labels"),
        ([["O", "O"], None], r"labels\[1\] is None \(NoneType\), expected a list of labels"),
        ("OO", r"labels is 'OO' \(str\), expected a list: for each sentence a list of labels"),
        ({0: "O", 1: "O"}, r"labels is \{.*\(dict\), expected a list: for each sentence"),
        ([[0, 0], [0, 1.7]], r"labels\[1\]\[1\] is 1.7 \(float\), expected .* all integers"),
        ([[0, 0], [0, True]], r"labels\[1\]\[1\] is True \(bool\), expected .* all integers"),
        ([[0, 0], [float("nan"), 0]], r"labels\[1\]\[0\] is nan \(float\), expected"),
        ([[0, 0], [0, "O"]], r"labels\[1\]\[1\] is 'O' \(str\), expected all labels of a sent"),
        ([[0, 0], [0, None]], r"labels\[1\]\[1\] is None \(NoneType\), expected"),
        (np.zeros((2, 2)), r"labels\[0\]\[0\] is 0.0 \(float\), expected"),
        (torch.zeros(2, 2, dtype=torch.bool), r"labels\[0\]\[0\] is False \(bool\), expected"),
    ],
)
def test_labels_of_another_type_are_refused(processor, labels, message):
    with pytest.raises(TypeError, match=message):
        processor([["a", "b"], ["c", "d"]], labels=labels)


def test_labels_may_be_integers_of_numpy_and_torch(processor):
    expected = torch.tensor([[1, 2]])
    for labels in (
        np.array([[1, 2]]),
        torch.tensor([[1, 2]]),
        [np.array([1, 2], np.uint8)],
        [[np.int16(1), torch.tensor(2)]],
    ):
        assert torch.equal(processor([["a", "b"]], labels=labels)["labels"], expected)


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({"ocr": ["a"]}, r"context is \{'ocr': \['a'\]\} \(dict\), expected a list: for each sent"),
        ("a", r"context is 'a' \(str\), expected a list: for each sentence a dictionary or None"),
        (["a"], r"context\[0\] is 'a' \(str\), expected a dictionary of lists of strings, or None"),
        ([{"ocr": "a"}], r"context\[0\]\['ocr'\] is 'a' \(str\), expected a list of strings"),
        ([{"ocr": 7}], r"context\[0\]\['ocr'\] is 7 \(int\), expected a list of strings"),
        ([{"ocr": {"a": 1}}], r"context\[0\]\['ocr'\] is .*\(dict\), expected a list of strings"),
        (
            [{"ocr": ["a", None]}],
            r"context\[0\]\['ocr'\]\[1\] is None \(NoneType\), expected a str",
        ),
    ],
)
def test_visual_context_of_another_type_is_refused(processor, context, message):
    with pytest.raises(TypeError, match=message):
        processor([["a"]], context=context)


@pytest.mark.parametrize("images", ["ab", b"ab", Image.new("RGB", (2, 2)), {"path": "a"}])
def test_images_of_several_sentences_are_a_list(processor, images):
    with pytest.raises(TypeError, match=r"images is .*, expected a list: for each sentence an ima"):
        processor([["a"], ["b"]], images=images)


def test_half_of_a_utf_16_pair_is_read_as_unknown(processor):
    places = processor([["a", "\ud800", "b\udfff"]], context=[{"ocr": ["\ud800"]}])
    assert torch.equal(places["input_ids"], processor([["a", "\ufffd", "b\ufffd"]])["input_ids"])


# Images

GRADIENT = np.linspace(0, 255, 8 * 6 * 3).reshape(6, 8, 3).astype(np.uint8)


def test_one_image_is_the_same_in_every_form(tmp_path, processor):
    image = Image.fromarray(GRADIENT)
    path = tmp_path / "image.png"
    image.save(path)
    data = path.read_bytes()
    sources = [path, str(path), data, bytearray(data), memoryview(data), image]
    sources += [{"bytes": data, "path": None}, {"bytes": None, "path": str(path)}]
    sources += [GRADIENT, GRADIENT.transpose(2, 0, 1), torch.tensor(GRADIENT).permute(2, 0, 1)]
    batch = processor([["a"]] * len(sources), images=sources)
    assert batch["image_mask"].all()
    assert all(torch.equal(pixels, batch["pixel_values"][0]) for pixels in batch["pixel_values"])


def test_a_batch_of_images_may_be_one_array_or_tensor(processor):
    images = np.stack([GRADIENT, 255 - GRADIENT])
    batch = processor([["a"], ["b"]], images=images)
    assert batch["image_mask"].all()
    again = processor([["a"], ["b"]], images=torch.tensor(images))
    assert torch.equal(batch["pixel_values"], again["pixel_values"])
    assert torch.equal(
        processor(["a"], images=images[1])["pixel_values"][0], batch["pixel_values"][1]
    )


@pytest.mark.parametrize("size", [(1, 1), (500, 1), (1, 4000), (3, 3)])
def test_images_of_odd_sizes_are_read(processor, size):
    batch = processor([["a"]], images=[Image.new("RGB", size, "red")])
    assert batch["image_mask"].all()
    assert batch["pixel_values"].isfinite().all()


def test_a_strip_is_cropped_and_not_blown_up(processor):
    """A resize of the short side would make 7 megapixels of this one."""
    strip = np.zeros((3, 30_000, 3), np.uint8)
    middle = slice(15_000 - 3 * MAX_ASPECT // 2, 15_000 + 3 * MAX_ASPECT // 2)
    strip[:, middle] = np.random.default_rng(0).integers(0, 256, (3, 3 * MAX_ASPECT, 3))
    batch = processor([["a"]] * 2, images=[strip, np.ascontiguousarray(strip[:, middle])])
    assert torch.equal(*batch["pixel_values"])


UNREADABLE = {
    "not an image": (b"hello", "images[1]: found an unknown or damaged format"),
    "damaged": (
        {"bytes": b"hello", "path": "cut.png"},
        "cut.png: found an unknown or damaged format",
    ),
    "not there": ("nowhere/it.jpg", "nowhere/it.jpg: found no readable file (No such file"),
    "an address": (
        "https://example.com/a.jpg",
        "https://example.com/a.jpg: found no readable file",
    ),
    "nothing": ({"bytes": None, "path": None}, "images[1]: found neither bytes nor path"),
    "no pixels": (np.zeros((0, 0, 3), np.uint8), "images[1]: found 0 x 0 pixels"),
    "enormous": (Image.new("1", (10_000, 6_000)), "images[1]: found 10000 x 6000 pixels, expected"),
}


@pytest.mark.parametrize(("source", "message"), UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_image_is_a_mask_and_the_log_says_which(processor, source, message, caplog):
    logging.Logger.warning_once.cache_clear()
    batch = processor([["a"]] * 3, images=[Image.fromarray(GRADIENT), source, None])
    assert batch["image_mask"].tolist() == [True, False, False]
    assert (batch["pixel_values"][1:] == 0).all()
    (logged,) = caplog.messages
    assert logged.startswith(f"Read without its image: {message}")


def test_what_is_no_image_is_refused_and_its_place_is_named(processor):
    with pytest.raises(TypeError, match=r"^images\[1\]: found int, expected a path, bytes, "):
        processor([["a"]] * 2, images=[None, 7])


def test_a_text_only_processor_leaves_images_aside(text_encoder):
    processor = TwoMNERProcessor.from_text_vision_pretrained(text_encoder())
    batch = processor([["a"]], images=["nowhere.jpg"])
    assert set(batch) == set(processor.model_input_names)
    assert "pixel_values" not in batch


def test_every_image_processor_is_asked_for_its_own_size(text_encoder, vision_encoder):
    processor = TwoMNERProcessor.from_text_vision_pretrained(text_encoder(), vision_encoder())
    assert processor([["a"]])["pixel_values"].shape == (1, 3, 32, 32)


# Entities


def test_entities_are_read_off_labels_and_scores(processor):
    ids = [processor.labels.index(name) for name in ("B-PER", "I-PER", "O", "B-LOC", "O")]
    outputs = SimpleNamespace(
        logits=torch.zeros(2, 5, len(processor.labels)),
        predictions=torch.tensor([ids, [-100] * 5]),
        entity_scores=torch.tensor([[0.75, 0, 0, 0.5, 0], [0] * 5]),
    )
    assert processor.post_process_entities(outputs, [WORDS, []]) == [
        [
            {"label": "PER", "start": 0, "end": 2, "text": "Angela Merkel", "score": 0.75},
            {"label": "LOC", "start": 3, "end": 4, "text": "Paris", "score": 0.5},
        ],
        [],
    ]


def test_entities_need_a_model_in_evaluation_mode(processor):
    with pytest.raises(ValueError, match=r"put it into evaluation mode with model\.eval"):
        processor.post_process_entities(SimpleNamespace(predictions=None), [WORDS])
    logits = torch.zeros(2, 1, len(processor.labels))
    outputs = SimpleNamespace(logits=logits, predictions=torch.zeros(2, 1))
    with pytest.raises(ValueError, match="words has 1 sentences, the model's output 2"):
        processor.post_process_entities(outputs, [WORDS])


# Saving


def test_the_version_of_the_word_rules_is_saved(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    path = tmp_path / "processor_config.json"
    saved = json.loads(path.read_text())
    assert saved.pop("word_rules") == WORD_RULES
    path.write_text(json.dumps(saved))
    assert TwoMNERProcessor.from_pretrained(tmp_path).word_rules == 1
    path.write_text(json.dumps({**saved, "word_rules": WORD_RULES + 1}))
    with pytest.raises(ValueError, match=r"word_rules is 2, the newest .* is 1: .* update it"):
        TwoMNERProcessor.from_pretrained(tmp_path)


def test_a_saved_processor_loads_and_gives_the_same(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    again = TwoMNERProcessor.from_pretrained(tmp_path)
    assert again.labels == processor.labels
    image = ImageOps.mirror(Image.fromarray(GRADIENT))
    one, two = processor([WORDS], images=[image]), again([WORDS], images=[image])
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_long_text_has_at_most_twice_the_windows_that_it_fills(text_encoder):
    processor = TwoMNERProcessor.from_text_vision_pretrained(text_encoder(), window_overlap=1000)
    words = ["abc"] * 1000  # 4 sub-words each
    batch = processor(words)
    assert len(batch["input_ids"]) <= 2 * 1000 * 4 / (processor.max_length - 2) + 1
    assert batch["word_mask"].sum() == 1000
