"""What a call of the pipeline may ask for: batches, thresholds, alternatives, candidates."""

import json
import logging
from itertools import count, islice

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from PIL import Image
from torch.utils.data import Dataset
from transformers import AutoModelForTokenClassification

from modeling_2mner import (
    MultimodalNERPipeline,
    TwoMNERForTokenClassification,
    TwoMNERProcessor,
    pipeline_2mner,
)
from modeling_2mner.crf_2mner import fingerprint_of
from modeling_2mner.tagging_2mner import BUFFER

TEXT = "Angela Merkel's visit: l'Élysée, Paris."
RED, BLUE = (Image.new("RGB", (30, 20), colour) for colour in ("red", "blue"))


def build(text_encoder, vision_encoder, **options):
    encoders = [text_encoder(), vision_encoder and vision_encoder()]
    torch.manual_seed(1)
    model = TwoMNERForTokenClassification.from_text_vision_pretrained(*encoders)
    torch.nn.init.normal_(model.classifier.weight, std=0.4)
    torch.nn.init.normal_(model.crf.transitions)
    processor = TwoMNERProcessor.from_text_vision_pretrained(*encoders)
    return MultimodalNERPipeline(model=model, processor=processor, **options)


@pytest.fixture(scope="module")
def ner(text_encoder, vision_encoder):
    """A pipeline of random weights that finds plenty of entities."""
    return build(text_encoder, vision_encoder)


@pytest.fixture
def read(ner):
    """The sizes `(windows, sub-words)` of all that the text encoder reads."""
    sizes = []
    hook = ner.model.model.text_model.register_forward_pre_hook(
        lambda _, __, given: sizes.append(tuple(given["attention_mask"].shape)), with_kwargs=True
    )
    yield sizes
    hook.remove()


class Numbers(Dataset):
    def __len__(self):
        return 5

    def __getitem__(self, number):
        if number >= len(self):
            raise IndexError(number)
        return f"number {number}"


def close(one, two):
    """The same entities, their scores within 1e-5."""
    return [{**entity, "score": pytest.approx(entity["score"], abs=1e-5)} for entity in one] == two


# Batches


def mixed(size):
    """Inputs of many lengths, some with an image, some of several windows, some empty."""
    return [
        {
            "text": " ".join(f"w{word}" for word in range(number * 37 % 50)),
            "image": [None, RED, BLUE][number % 3],
        }
        for number in range(size)
    ]


@pytest.mark.parametrize("options", [{}, {"max_tokens": 90}, {"batch_size": 3}, {"num_workers": 0}])
def test_neither_batch_mates_nor_order_change_an_answer(ner, options):
    inputs = mixed(20)
    alone = [ner(one) for one in inputs]
    found = ner(inputs, **options)
    assert all(close(one, two) for one, two in zip(alone, found, strict=True))
    back = ner(inputs[::-1], **options)[::-1]
    assert all(close(one, two) for one, two in zip(alone, back, strict=True))


def test_a_batch_holds_no_more_sub_words_than_it_may(ner, read):
    inputs = mixed(30)
    ner(inputs, max_tokens=150)
    assert all(windows == 1 or windows * length <= 150 for windows, length in read)
    assert max(windows for windows, _ in read) > 1  # short ones together, and parts of long ones
    del read[:]
    ner([one["text"] for one in inputs], batch_size=2)
    assert len(read) == 15


def test_images_count_in_a_batch(ner, read):
    ner([{"text": "a", "image": RED}] * 8, max_tokens=3 * 70)
    assert [windows for windows, _ in read] == [3, 3, 2]


def test_a_text_of_many_windows_is_read_in_parts(ner, read):
    text = " ".join(f"w{number}" for number in range(3000))
    found = ner(text, max_tokens=640, return_details=True)
    assert found["windows"] == sum(windows for windows, _ in read) > 100
    assert all(windows * length <= 640 for windows, length in read)
    assert close(found["entities"], ner(text, max_tokens=10**6))


def test_an_endless_stream_is_read_as_its_answers_are_asked_for(ner):
    taken = 0

    def inputs():
        nonlocal taken
        for number in count():
            taken += 1
            yield f"number {number}"

    answers = ner(inputs())
    assert taken == 0
    for given, (answer, expected) in enumerate(
        zip(islice(answers, 5), ner([f"number {number}" for number in range(5)]), strict=True)
    ):
        assert close(answer, expected)
        assert taken <= given + 2 * BUFFER
    answers.close()


def test_with_batches_of_one_a_stream_may_wait_for_each_answer(ner):
    waiting = []
    answers = ner(iter(waiting.pop, None), batch_size=1)
    for text in ("Ana", "Bo lives", "c"):
        waiting.append(text)
        assert next(answers) == ner(text)


def test_a_data_sets_answers_have_its_length_and_can_be_read_twice(ner):
    answers = ner(Numbers())
    assert len(answers) == 5
    assert list(answers) == list(answers) == ner([f"number {number}" for number in range(5)])


def test_what_is_no_input_is_an_error_in_its_place(ner):
    answers = ner(one for one in ["a", {"text": "b", "image": 7}, "c", 7])
    assert next(answers) == ner("a")
    with pytest.raises(TypeError, match="found int, expected a path"):
        next(answers)


# Thresholds, alternatives, candidates


def store_thresholds(folder, ner, **levels):
    """Write `thresholds.json` for the weights of a pipeline."""
    file = folder / "thresholds.json"
    weights = fingerprint_of(ner.model.crf)
    file.write_text(json.dumps({"version": 1, "weights": weights, **levels}))
    return file


def test_a_threshold_leaves_out_what_scores_lower(ner):
    found = ner(TEXT)
    middle = sorted(entity["score"] for entity in found)[len(found) // 2]
    kept = [entity for entity in found if entity["score"] >= middle]
    assert 0 < len(kept) < len(found)
    assert ner(TEXT, threshold=middle) == kept
    label = found[0]["label"]
    others = [entity for entity in found if entity["label"] != label]
    assert ner(TEXT, threshold={label: 1.0}) == others
    assert ner([TEXT], threshold=0) == [found]


def test_thresholds_that_are_stored_with_the_model_are_used_by_their_name(ner, tmp_path):
    ner.model.save_pretrained(tmp_path)
    ner.processor.save_pretrained(tmp_path)
    again = MultimodalNERPipeline(
        model=TwoMNERForTokenClassification.from_pretrained(tmp_path),
        processor=TwoMNERProcessor.from_pretrained(tmp_path),
    )
    missing = rf"precision=0\.95 needs thresholds\.json .*`2mner thresholds {tmp_path} --validation"
    with pytest.raises(ValueError, match=missing):
        again(TEXT, threshold="precision=0.95")
    with pytest.raises(ValueError, match="`2mner thresholds MODEL --validation_files FILES`"):
        ner(TEXT, risk=0.05)
    scores = sorted(1 / (1 + (1 / entity["score"] - 1) ** 0.5) for entity in ner(TEXT))
    least = (scores[0] + scores[1]) / 2
    stored = {"temperature": {"": 2.0}, "risk": {"0.05": {"": least}}}
    store_thresholds(tmp_path, ner, **stored)
    for option in ({"risk": 0.05}, {"threshold": "risk=0.05"}):
        found = sorted(entity["score"] for entity in again(TEXT, **option))
        assert found == pytest.approx(scores[1:])
    always = MultimodalNERPipeline(model=again.model, processor=again.processor, risk=0.05)
    assert always(TEXT) == again(TEXT, risk=0.05)
    assert always(TEXT, threshold=0.0) == ner(TEXT)


def saved_pipeline(folder, **options):
    model = TwoMNERForTokenClassification.from_pretrained(folder, **options)
    return MultimodalNERPipeline(
        model=model, processor=TwoMNERProcessor.from_pretrained(folder), device="cpu"
    )


@pytest.mark.parametrize("options", [{}, {"dtype": torch.bfloat16}, {"dtype": torch.float16}])
def test_thresholds_hold_in_every_precision_and_no_longer_after_a_step_of_training(
    ner, tmp_path, options
):
    ner.model.save_pretrained(tmp_path)
    ner.processor.save_pretrained(tmp_path)
    store_thresholds(tmp_path, ner, risk={"0.05": {"": 0.0}})
    again = saved_pipeline(tmp_path, **options)
    assert again(TEXT, risk=0.05)
    int8 = MultimodalNERPipeline(
        model=again.model, processor=again.processor, device="cpu", precision="int8"
    )
    assert int8(TEXT, risk=0.05)

    model = TwoMNERForTokenClassification.from_pretrained(tmp_path)
    batch = ner.processor([["Ana", "Bo"]], labels=[["B-PER", "O"]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
    model.train()(**batch).loss.backward()
    optimizer.step()
    model.save_pretrained(tmp_path)
    trained = saved_pipeline(tmp_path, **options)
    assert trained(TEXT)
    with pytest.raises(ValueError, match=r"thresholds\.json was made for other weights"):
        trained(TEXT, risk=0.05)


def test_an_adapter_does_not_use_the_thresholds_of_its_base(ner, tmp_path):
    ner.model.save_pretrained(tmp_path)
    ner.processor.save_pretrained(tmp_path)
    store_thresholds(tmp_path, ner, risk={"0.05": {"": 0.0}})
    base = TwoMNERForTokenClassification.from_pretrained(tmp_path)
    adapted = get_peft_model(base, LoraConfig(target_modules=["query"], init_lora_weights=False))
    adapted.save_pretrained(tmp_path / "adapter")
    ner.processor.save_pretrained(tmp_path / "adapter")
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "adapter")
    again = MultimodalNERPipeline(model=model, processor=ner.processor)
    assert again(TEXT)
    with pytest.raises(
        ValueError, match=r"risk=0\.05 .* an adapter, .* `2mner lora merge` makes one"
    ):
        again(TEXT, risk=0.05)


def test_a_repository_is_asked_for_its_thresholds_once(ner, tmp_path, monkeypatch):
    ner.model.save_pretrained(tmp_path)
    file = store_thresholds(tmp_path, ner, temperature={"": 2.0}, risk={"0.05": {"": 0.0}})
    again = MultimodalNERPipeline(
        model=TwoMNERForTokenClassification.from_pretrained(tmp_path), processor=ner.processor
    )
    asked = []
    find = pipeline_2mner.cached_file

    def counted(name, *given, **more):
        asked.append(name)
        return find(name, *given, **more)

    monkeypatch.setattr(pipeline_2mner, "cached_file", counted)
    assert again(TEXT, risk=0.05) == again(TEXT, risk=0.05)
    assert len(asked) == 1
    file.unlink()
    with pytest.raises(ValueError, match=r"risk=0\.05 needs thresholds\.json"):
        again(TEXT, risk=0.05)


def test_alternatives_are_the_most_probable_types_over_the_same_words(ner):
    types = ner.model.crf.types
    for entity, plain in zip(ner(TEXT, top_k=9), ner(TEXT), strict=True):
        alternatives = entity.pop("alternatives")
        assert entity == plain
        scores = [one["score"] for one in alternatives]
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) <= 1 + 1e-6
        assert sorted(one["label"] for one in alternatives) == sorted(types)
        assert {"label": entity["label"], "score": pytest.approx(entity["score"])} in alternatives
    assert all(len(entity["alternatives"]) == 2 for entity in ner([TEXT], top_k=2)[0])


def test_candidates_are_scored_in_place_of_finding_entities(ner):
    found = ner(TEXT, top_k=1)
    spans = [(entity["start"], entity["end"]) for entity in found]
    scored = ner(TEXT, spans=[(0, 6), *spans[::-1]])
    assert scored[0]["word"] == "Angela"
    assert [(one["start"], one["end"]) for one in scored[1:]] == spans[::-1]
    for one, entity in zip(scored[1:], found[::-1], strict=True):
        best = entity["alternatives"][0]
        assert (one["label"], one["score"]) == (best["label"], pytest.approx(best["score"]))
    words = ner({"words": ["Angela", "Merkel"], "spans": [(1, 2)]})
    assert [(one["word"], one["start"]) for one in words] == [("Merkel", 7)]
    several = ner([{"text": TEXT, "spans": [(0, 13)]}, TEXT, {"text": TEXT, "spans": []}])
    assert (len(several[0]), len(several[2])) == (1, 0)
    assert close(several[1], ner(TEXT))
    assert ner({"tokens": ["Ana"], "spans": "a column of the data set"}) == ner({"words": ["Ana"]})


# What was read, and what decided


def test_details_say_what_was_read(ner, caplog):
    long = " ".join(f"w{number}" for number in range(60))
    inputs = ["", {"text": long, "image": RED}, {"text": TEXT, "image": b"no image"}]
    empty, illustrated, unreadable = ner(inputs, return_details=True)
    assert empty == {"entities": [], "windows": 1, "image": "none", "image_error": None}
    assert (illustrated["windows"] > 1, illustrated["image"]) == (True, "read")
    assert close(illustrated["entities"], ner(inputs[1]))
    assert unreadable["image"] == "unreadable"
    assert unreadable["image_error"].startswith("an image given as bytes")
    assert f"Read without its image: {unreadable['image_error']}" in caplog.messages


def test_each_entity_of_a_sentence_with_an_image_is_compared_with_the_text_view(ner):
    inputs = [{"text": TEXT, "image": RED}, TEXT]
    seen, bare = ner(inputs, explain=True)
    assert close(bare, ner(TEXT))
    spans = [(entity["start"], entity["end"]) for entity in seen]
    in_text = ner(TEXT, spans=spans, top_k=9)
    for entity, text in zip(seen, in_text, strict=True):
        scores = {one["label"]: one["score"] for one in text["alternatives"]}
        assert entity["score_without_image"] == pytest.approx(scores[entity["label"]], abs=1e-5)
        best = max(scores, key=scores.get)
        expected = "text" if best == entity["label"] else "disagree"
        assert entity["typed_from"] == (expected if scores[best] >= 0.5 else "image")
    plain = [
        {key: entity[key] for key in ("label", "score", "word", "start", "end")} for entity in seen
    ]
    assert close(plain, ner(inputs[0]))


def test_all_three_reasons_are_given(ner, monkeypatch):
    """The text view is made to be sure of the type, of another type, and of none."""
    entity = ner({"text": TEXT, "image": RED})[0]
    types = ner.model.crf.types
    own = types.index(entity["label"])
    other = (own + 1) % len(types)
    for scores, expected in (
        ({own: 0.6}, "text"),
        ({other: 0.6}, "disagree"),
        ({own: 0.4}, "image"),
    ):
        row = [scores.get(number, 0.1) for number in range(len(types))]
        monkeypatch.setattr(
            ner,
            "_span_scores",
            lambda emissions, lengths, spans, row=row: np.array([row] * len(spans)),
        )
        found = ner({"text": TEXT, "image": RED}, explain=True)[0]
        assert found["typed_from"] == expected
        assert found["score_without_image"] == pytest.approx(row[own])


def test_visual_context_is_compared_with_the_text_view_too(text_encoder):
    torch.manual_seed(1)
    model = TwoMNERForTokenClassification.from_text_vision_pretrained(text_encoder())
    torch.nn.init.normal_(model.classifier.weight)
    processor = TwoMNERProcessor.from_text_vision_pretrained(text_encoder(), context_budget=10)
    ner = MultimodalNERPipeline(model=model, processor=processor, explain=True)
    assert all("typed_from" in entity for entity in ner({"text": TEXT, "ocr": ["LIVE"]}))
    assert all("typed_from" not in entity for entity in ner({"text": TEXT, "ocr": []}))


# Precision


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16", "int8"])
def test_every_precision_gives_nearly_the_same(text_encoder, vision_encoder, ner, precision):
    other = build(text_encoder, vision_encoder, precision=precision)
    given = {"text": TEXT, "image": RED}
    spans = [(0, 13), (33, 38)]
    for one, two in zip(other(given, spans=spans), ner(given, spans=spans), strict=True):
        assert one["score"] == pytest.approx(two["score"], abs=0.2)
    if precision == "float32":
        assert other(given) == ner(given)


def test_the_log_states_precision_and_threads_once(text_encoder, caplog):
    with caplog.at_level(logging.INFO, "modeling_2mner.pipeline_2mner"):
        ner = build(text_encoder, None, precision="bfloat16", device="cpu")
        ner([TEXT, "a"])
    threads = torch.get_num_threads()
    stated = [message for message in caplog.messages if message.startswith("Inference")]
    assert stated == [f"Inference on cpu: bfloat16, {threads} threads"]


# Refusals


@pytest.mark.parametrize(
    ("inputs", "options", "error", "message"),
    [
        ("a", {"max_tokens": 0}, ValueError, "max_tokens is 0, expected at least 1"),
        ("a", {"max_tokens": 1.5}, TypeError, r"max_tokens is 1\.5 \(float\), expected an integer"),
        ("a", {"batch_size": 0}, ValueError, "batch_size is 0, expected at least 1"),
        ("a", {"num_workers": -1}, ValueError, "num_workers is -1, expected at least 0"),
        ("a", {"top_k": True}, TypeError, r"top_k is True \(bool\), expected an integer"),
        ("a", {"explain": "yes"}, TypeError, r"explain is 'yes' \(str\), expected True or False"),
        ("a", {"return_details": 1}, TypeError, r"return_details is 1 \(int\), expected True or"),
        ("a", {"threshold": 1.5}, ValueError, "threshold is 1.5, expected a number from 0 to 1"),
        ("a", {"threshold": [0.5]}, TypeError, r"threshold is \[0.5\] \(list\), expected a number"),
        ("a", {"threshold": {"X": 0}}, ValueError, "the type 'X', expected some of PER, "),
        ("a", {"threshold": {"PER": "high"}}, TypeError, r"threshold\['PER'\] is 'high' \(str\)"),
        ("a", {"threshold": "high"}, ValueError, "threshold is 'high', expected a number from 0"),
        ("a", {"risk": 5}, ValueError, r"risk is 5 \(int\), expected a number between 0 and 1"),
        ("a", {"risk": 0.1, "threshold": 0.1}, ValueError, "threshold and risk were given, expec"),
        ("a", {"spans": (0, 1)}, TypeError, r"'spans'\[0\] is 0 \(int\), expected \(start, end\)"),
        ("a", {"spans": 7}, TypeError, r"'spans' is 7 \(int\), expected a list of"),
        (
            "a bc",
            {"spans": [(0, 1), (2, 3)]},
            ValueError,
            r"'spans'\[1\] is \(2, 3\), characters 'b'",
        ),
        (
            "a bc",
            {"spans": [(2, 1)]},
            ValueError,
            r"is \(2, 1\), characters '', expected the",
        ),
        (
            {"words": ["a"], "spans": [(0, 2)]},
            {},
            ValueError,
            r"is \(0, 2\), expected words 0",
        ),
        (
            ["a"],
            {"spans": [[(0, 1)]]},
            ValueError,
            "spans were given with several inputs",
        ),
        (
            "a",
            {"aggregation_strategy": "none", "top_k": 1},
            ValueError,
            "top_k was given with agg",
        ),
        ("a", {"aggregation_strategy": "none", "risk": 0.1}, ValueError, "risk=0.1 needs thresh"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(ner, inputs, options, error, message):
    with pytest.raises(error, match=message):
        ner(inputs, **options)


@pytest.mark.parametrize("precision", ["half", 16])
def test_an_unknown_precision_is_refused(text_encoder, precision):
    with pytest.raises(ValueError, match=r"precision is .*, expected 'auto', 'float32', 'bfl"):
        build(text_encoder, None, precision=precision)
