"""A model as it is before training."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from modeling_2mner import TwoMNERForTokenClassification, TwoMNERProcessor
from training_2mner.arguments import ModelArguments, RecipeError
from training_2mner.building import load_model


@pytest.fixture
def saved_in_bfloat16(encoders, labels, tmp_path) -> Path:
    folder = tmp_path / "bf16"
    model = TwoMNERForTokenClassification.from_text_vision_pretrained(*encoders, labels=labels)
    model.to(torch.bfloat16).save_pretrained(folder)
    TwoMNERProcessor.from_text_vision_pretrained(*encoders, labels=labels).save_pretrained(folder)
    return folder


def test_a_model_saved_in_bfloat16_is_trained_with_float32_weights(
    saved_in_bfloat16, labels, rows, trainer_of, tmp_path
):
    folder = str(saved_in_bfloat16)
    assert TwoMNERForTokenClassification.from_pretrained(folder).dtype == torch.bfloat16
    processor = TwoMNERProcessor.from_pretrained(folder)
    arguments = ModelArguments(model_name_or_path=folder)
    model, processor = load_model(arguments, processor, labels)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    trainer = trainer_of(model, processor, max_steps=1, learning_rate=1e-6, eval_strategy="no")
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    trainer.train()
    moved = sum((before[name] != weight).sum() for name, weight in model.named_parameters())
    # So small a step is rounded away in bfloat16, which has 8 bits.
    rounded = sum(
        (before[name].bfloat16() != weight.bfloat16()).sum()
        for name, weight in model.named_parameters()
    )
    assert moved > 10 * rounded
    trainer.save_model()
    weights = load_file(tmp_path / "run" / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ({"id2label": {"0": "B-PER"}}, "config.json: labels lack 'O'"),
        ({"text_config": {"model_type": "bert", "num_hidden_layers": 10**18}}, "num_hidden_layers"),
    ],
)
def test_a_saved_model_with_a_wrong_field_is_one_line(saved_in_bfloat16, labels, harm, message):
    processor = TwoMNERProcessor.from_pretrained(saved_in_bfloat16)
    path = saved_in_bfloat16 / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | harm))
    arguments = ModelArguments(model_name_or_path=str(saved_in_bfloat16))
    with pytest.raises(RecipeError, match=rf"^model \S+ cannot be loaded.*{message}"):
        load_model(arguments, processor, labels)
