"""Weights that are incomplete or not finite are refused by the names of their tensors."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModel, AutoModelForTokenClassification

from modeling_2mner import TwoMNERForTokenClassification, TwoMNERModel
from modeling_2mner.weights_2mner import check_finite

TENSORS = ["classifier.weight", "classifier.bias", "crf.transitions", "crf.end_transitions"]
LABELS = ["O", "B-PER", "I-PER"]
EMBEDDINGS = "model.text_model.embeddings.word_embeddings.weight"
PATCHES = "model.vision_model.embeddings.patch_embedding.weight"


@pytest.fixture(scope="module")
def whole(text_encoder, vision_encoder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "whole"
    model = TwoMNERForTokenClassification.from_text_vision_pretrained(
        text_encoder(), vision_encoder(), labels=LABELS
    )
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def saved(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "saved"))


def change(folder: Path, harm: Callable[[dict[str, Tensor]], object]) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    harm(weights)
    save_file(weights, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    "tensor",
    [
        "classifier.weight",
        "classifier.bias",
        "crf.transitions",
        "crf.end_transitions",
        "model.fusion.gates.0.weight",
        EMBEDDINGS,
        PATCHES,
    ],
)
@pytest.mark.parametrize("options", [{}, {"ignore_mismatched_sizes": True}], ids=["", "ignore"])
def test_a_missing_tensor_is_refused_by_its_name(saved, tensor, options):
    change(saved, lambda weights: weights.pop(tensor))
    with pytest.raises(OSError, match=rf"saved: the weights lack {tensor}; they are incomplete"):
        AutoModelForTokenClassification.from_pretrained(saved, **options)


def test_of_many_missing_tensors_some_are_named(saved):
    change(saved, lambda weights: [weights.pop(key) for key in list(weights) if "crf" not in key])
    with pytest.raises(OSError, match=r"the weights lack (\S+, ){4}\S+ and \d+ more; they"):
        AutoModelForTokenClassification.from_pretrained(saved)


def test_a_head_that_is_missing_as_a_whole_is_refused_too(saved):
    heads = ("classifier.", "crf.")
    change(saved, lambda weights: [weights.pop(k) for k in list(weights) if k.startswith(heads)])
    with pytest.raises(OSError, match=r"lack classifier\.bias, classifier\.weight, crf"):
        AutoModelForTokenClassification.from_pretrained(saved)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -3e38])
@pytest.mark.parametrize("tensor", ["classifier.bias", "crf.transitions", EMBEDDINGS, PATCHES])
@pytest.mark.parametrize("dtype", [None, torch.float16, torch.bfloat16])
def test_a_value_that_is_not_finite_is_refused_by_its_tensor(saved, tensor, value, dtype):
    change(saved, lambda weights: weights[tensor].view(-1)[-1:].fill_(value))
    message = rf"saved: the weights have NaN, infinity or numbers beyond 1e\+18 in {tensor} \("
    with pytest.raises(OSError, match=message):
        AutoModelForTokenClassification.from_pretrained(saved, dtype=dtype)


def test_a_value_that_float16_does_not_hold_is_refused_where_it_is_loaded_so(saved):
    change(saved, lambda weights: weights[EMBEDDINGS].view(-1)[:1].fill_(1e5))
    AutoModelForTokenClassification.from_pretrained(saved)
    with pytest.raises(OSError, match=rf"numbers beyond 1e\+18 in {EMBEDDINGS} \(float16\)"):
        AutoModelForTokenClassification.from_pretrained(saved, dtype=torch.float16)


@pytest.mark.parametrize("harm", ["missing", "nan"])
def test_sharded_weights_are_checked(whole, tmp_path, harm):
    model = TwoMNERForTokenClassification.from_pretrained(whole)
    model.save_pretrained(tmp_path, max_shard_size="50KB")
    index = tmp_path / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    shard = tmp_path / content["weight_map"]["crf.transitions"]
    weights = load_file(shard)
    if harm == "missing":
        del weights["crf.transitions"], content["weight_map"]["crf.transitions"]
        index.write_text(json.dumps(content))
    else:
        weights["crf.transitions"].fill_(float("nan"))
    save_file(weights, shard, metadata={"format": "pt"})
    with pytest.raises(OSError, match=r"crf\.transitions"):
        TwoMNERForTokenClassification.from_pretrained(tmp_path)


@pytest.mark.parametrize("options", [{"device_map": "cpu"}, {"dtype": "auto"}])
def test_other_ways_to_load_are_checked(saved, options):
    assert TwoMNERForTokenClassification.from_pretrained(saved, **options)
    change(saved, lambda weights: weights["crf.transitions"].fill_(float("nan")))
    with pytest.raises(OSError, match=r"crf\.transitions"):
        TwoMNERForTokenClassification.from_pretrained(saved, **options)


def test_the_loading_report_is_given_on_demand(saved):
    model, report = TwoMNERForTokenClassification.from_pretrained(saved, output_loading_info=True)
    assert model.config.labels == LABELS
    assert not report["missing_keys"]


# With a head and without one


def test_a_model_without_a_head_is_loaded_of_one_with_a_head(saved, caplog):
    with caplog.at_level(logging.WARNING):
        AutoModel.from_pretrained(saved)
    assert caplog.text == ""


def test_a_new_head_on_a_model_without_one_is_said_in_the_log(saved, tmp_path, caplog):
    """As with every model of `transformers`: the way to train a head on such a model."""
    TwoMNERModel.from_pretrained(saved).save_pretrained(tmp_path / "base")
    with caplog.at_level(logging.WARNING):
        model = AutoModelForTokenClassification.from_pretrained(tmp_path / "base")
    assert "crf.transitions" in caplog.text and "MISSING" in caplog.text
    assert torch.isfinite(model.crf.transitions).all()


def test_a_model_without_a_head_lacks_nothing_else(saved, tmp_path):
    TwoMNERModel.from_pretrained(saved).save_pretrained(tmp_path / "base")
    name = EMBEDDINGS.removeprefix("model.")
    change(tmp_path / "base", lambda weights: weights.pop(name))
    for auto in (AutoModel, AutoModelForTokenClassification):
        with pytest.raises(OSError, match=name):
            auto.from_pretrained(tmp_path / "base")


# Encoders


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda weights: weights.pop("encoder.layer.1.output.dense.bias"), "the weights lack enco"),
        (lambda weights: weights["encoder.layer.1.output.dense.bias"].fill_(torch.nan), "NaN, "),
    ],
    ids=["missing", "nan"],
)
def test_an_encoder_to_start_from_is_checked(text_encoder, tmp_path, harm, message):
    folder = Path(shutil.copytree(text_encoder(), tmp_path / "encoder"))
    change(folder, harm)
    with pytest.raises(OSError, match=rf"encoder: .*{message}.*layer\.1\.output\.dense\.bias"):
        TwoMNERForTokenClassification.from_text_vision_pretrained(str(folder))


def test_what_is_not_in_memory_or_no_float_is_left_out():
    check_finite(
        "a model",
        {
            "on no device": torch.full((2,), torch.nan, device="meta"),
            "empty": torch.empty(0),
            "numbers": torch.arange(3),
            "eight bits": torch.ones(2).to(torch.float8_e4m3fn),
        },
    )
    with pytest.raises(OSError, match=r"eight bits \(float8_e4m3fn\)"):
        check_finite("a model", {"eight bits": torch.tensor([torch.nan]).to(torch.float8_e4m3fn)})
