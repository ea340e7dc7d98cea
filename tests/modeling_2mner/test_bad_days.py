"""Damaged folders: each gives a clear error or the documented default."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForTokenClassification

from modeling_2mner import (
    MultimodalNERPipeline,
    TwoMNERConfig,
    TwoMNERForTokenClassification,
    TwoMNERProcessor,
)

LABELS = ["O", "B-PER", "I-PER"]


@pytest.fixture(scope="module")
def whole(text_encoder, tmp_path_factory) -> Path:
    """A model and its processor, as they were saved."""
    folder = tmp_path_factory.mktemp("models") / "whole"
    TwoMNERForTokenClassification.from_text_vision_pretrained(
        text_encoder(), labels=LABELS
    ).save_pretrained(folder)
    TwoMNERProcessor.from_text_vision_pretrained(text_encoder(), labels=LABELS).save_pretrained(
        folder
    )
    return folder


@pytest.fixture
def saved(whole, tmp_path) -> Path:
    """A copy of it, for a test to damage."""
    return Path(shutil.copytree(whole, tmp_path / "saved"))


def rewrite_config(folder: Path, **changes) -> None:
    """Set keys of the configuration; None removes one."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def load(folder: Path) -> TwoMNERForTokenClassification:
    return AutoModelForTokenClassification.from_pretrained(folder)


# Weights


@pytest.mark.parametrize(
    "harm",
    [
        lambda content: b"",
        lambda content: content[:-1000],
        lambda content: b"\xff" * 8 + content[8:],
        lambda content: content[:8] + b"x" * 100 + content[108:],
    ],
    ids=["empty", "cut short", "header too long", "header overwritten"],
)
def test_broken_weights_are_refused_with_the_name_of_the_model(saved, harm):
    weights = saved / "model.safetensors"
    weights.write_bytes(harm(weights.read_bytes()))
    with pytest.raises(OSError, match=r"saved: the weights \(safetensors\) are broken or cut shor"):
        load(saved)


def test_pickled_weights_are_not_read(saved):
    (saved / "model.safetensors").unlink()
    torch.save({"classifier.bias": torch.zeros(3)}, saved / "pytorch_model.bin")
    with pytest.raises(OSError, match=r"no file named model\.safetensors"):
        load(saved)


# Configuration


def test_keys_of_a_newer_version_are_kept_and_named_in_the_log(saved, caplog):
    rewrite_config(saved, telepathy=True)
    with caplog.at_level(logging.WARNING):
        model = load(saved)
    assert model.config.telepathy is True
    assert "keys that this version of 2M-NER does not know" in caplog.text
    assert "telepathy" in caplog.text


def test_an_ordinary_folder_is_loaded_without_a_warning(saved, caplog):
    with caplog.at_level(logging.WARNING):
        load(saved)
    assert caplog.text == ""


def test_a_value_of_a_newer_version_is_refused_by_the_name_of_its_key(saved):
    rewrite_config(saved, fusion="telepathic")
    with pytest.raises(Exception, match=r"'fusion' expected one of .*, got telepathic"):
        load(saved)


def test_keys_that_an_older_version_did_not_write_get_their_defaults(saved):
    words = [["Ana", "Bo"]]
    batch = TwoMNERProcessor.from_pretrained(saved)(words)
    with torch.no_grad():
        before = load(saved)(**batch).logits
        missing = ("alpha", "fusion", "constrain_transitions", "auto_map", "label2id")
        rewrite_config(saved, **dict.fromkeys(missing))
        model = load(saved)
        torch.testing.assert_close(model(**batch).logits, before)
    default = TwoMNERConfig()
    assert (model.config.alpha, model.config.fusion) == (default.alpha, default.fusion)
    assert model.config.auto_map == default.auto_map
    assert model.config.label2id == {"O": 0, "B-PER": 1, "I-PER": 2}


# Labels


def test_labels_that_do_not_match_the_head_are_refused(saved):
    rewrite_config(saved, id2label={"0": "O", "1": "B-LOC"})
    with pytest.raises(RuntimeError, match=r"saved: the weights listed above have other shapes"):
        load(saved)


def test_a_head_may_start_anew_with_other_labels(saved):
    rewrite_config(saved, id2label={"0": "O", "1": "B-LOC"})
    model = AutoModelForTokenClassification.from_pretrained(saved, ignore_mismatched_sizes=True)
    assert model.classifier.weight.shape == (2, 32)
    assert torch.isfinite(model.crf.transitions).all()


def test_labels_that_are_numbered_with_gaps_are_refused(saved):
    rewrite_config(saved, id2label={"0": "O", "2": "B-LOC", "3": "I-LOC"})
    with pytest.raises(Exception, match="id2label must number its labels from 0"):
        load(saved)


def test_what_a_label_is_numbered_follows_from_the_numbers_names(saved):
    rewrite_config(saved, label2id={"O": 2, "B-PER": 1, "I-PER": 0})
    assert load(saved).config.label2id == {"O": 0, "B-PER": 1, "I-PER": 2}


def test_a_processor_with_other_labels_than_the_model_is_refused(saved):
    processor = TwoMNERProcessor.from_pretrained(saved)
    model = load(saved)
    processor.labels = ["O", "B-LOC", "I-LOC"]
    with pytest.raises(ValueError, match="the processor's labels are O, B-LOC, I-LOC, expected"):
        MultimodalNERPipeline(model=model, processor=processor)
    processor.labels = ["O", "B-\x1b[31m"]
    with pytest.raises(ValueError, match=r"labels are O, B-\\x1b\[31m, expected the model's"):
        MultimodalNERPipeline(model=model, processor=processor)
    processor.labels = ["O", "B-PER"]
    words = [["Ana"]]
    with pytest.raises(ValueError, match="the model has 3 labels, the processor 2"):
        processor.post_process_entities(model(**processor(words)), words)


def test_a_tokenizer_with_more_pieces_than_the_model_knows_is_refused(saved):
    processor = TwoMNERProcessor.from_pretrained(saved)
    processor.tokenizer.add_tokens(["xyzzy"])
    with pytest.raises(ValueError, match=r"tokenizer numbers 'xyzzy' \d+, expected numbers below"):
        MultimodalNERPipeline(model=load(saved), processor=processor)


@pytest.mark.parametrize(
    ("key", "value"), [("attention_probs_dropout_prob", 101.0), ("num_attention_heads", 12)]
)
def test_what_an_encoder_cannot_be_built_with_is_refused_by_its_configuration(saved, key, value):
    text = json.loads((saved / "config.json").read_text())["text_config"]
    rewrite_config(saved, text_config=text | {key: value})
    with pytest.raises(ValueError, match=r"text_config: .*\d"):
        load(saved)
