"""An adapter trains little, learns with the project's trainer, and loads as PEFT users expect."""

import pytest
import torch
from peft import AutoPeftModelForTokenClassification, PeftModel
from transformers import AutoModelForTokenClassification

from modeling_2mner import TwoMNERForTokenClassification, TwoMNERProcessor
from training_2mner.evaluation import evaluate
from training_2mner.lora import add_lora


def trained_names(model: torch.nn.Module) -> set[str]:
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize("text", ["xlm-roberta", "bert", "distilbert", "deberta-v2"])
def test_every_text_encoders_queries_and_values_are_adapted(text_tower, text):
    model = TwoMNERForTokenClassification.from_towers(text_tower(text))
    names = trained_names(add_lora(model, rank=2))
    assert len([name for name in names if "text_model" in name]) == 2 * 2 * 2  # layers, q/v, A/B


@pytest.mark.parametrize(
    ("vision", "layers"),
    [("clip", 2), ("siglip", 2), ("vit", 2), ("dinov2", 1), ("resnet", 0), ("efficientnet", 0)],
)
def test_every_vision_tower_with_attention_is_adapted(text_tower, vision_tower, vision, layers):
    model = TwoMNERForTokenClassification.from_towers(text_tower(), vision_tower(vision))
    names = trained_names(add_lora(model, rank=2))
    assert len([name for name in names if "vision_model" in name]) == layers * 2 * 2


def test_new_parts_and_crf_are_trained_whole_and_nothing_else_is(text_tower, vision_tower):
    towers = text_tower(), vision_tower(), vision_tower("resnet")
    model = TwoMNERForTokenClassification.from_towers(*towers)
    new = {name for name, _ in model.named_parameters() if "_model." not in name}
    names = trained_names(add_lora(model, rank=2))
    whole = {
        name.removeprefix("base_model.model.").replace("modules_to_save.default.", "")
        for name in names
        if "lora_" not in name
    }
    assert whole == new
    assert {name.split(".")[1] for name in new if name.startswith("model.")} == {
        "collaborations",
        "fusion",
        "alignment",
    }


@pytest.fixture
def base(towers, labels, tmp_path) -> str:
    """A saved model, which an adapter can name as its base."""
    folder = tmp_path / "base"
    torch.manual_seed(0)
    options = {"labels": labels, "collaboration_heads": 4}
    TwoMNERForTokenClassification.from_towers(*towers, **options).save_pretrained(folder)
    TwoMNERProcessor.from_towers(*towers, labels=labels).save_pretrained(folder)
    return str(folder)


def test_the_trainer_teaches_and_saves_an_adapter_that_loads_in_every_way(
    base, rows, trainer_of, tmp_path
):
    model = TwoMNERForTokenClassification.from_pretrained(base)
    processor = TwoMNERProcessor.from_pretrained(base)
    frozen = model.get_parameter("model.text_model.embeddings.word_embeddings.weight")
    before = frozen.detach().clone()
    trainer = trainer_of(
        add_lora(model, rank=2),
        processor,
        max_steps=2,
        logging_steps=1,
        learning_rate=1e-2,
        gradient_accumulation_steps=2,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        load_best_model_at_end=True,
    )
    trainer.train()
    trainer.save_model()
    history = trainer.state.log_history
    assert {"loss", "loss_nll", "loss_alignment"} <= set(history[0])
    assert any("eval_f1_de" in entry for entry in history)
    assert torch.equal(frozen, before)
    results, _ = evaluate(trainer, rows, with_controls=True, seed=0)
    assert set(results["controls"]) == {"real", "none", "shuffled", "blank"}

    folder = tmp_path / "run"
    assert not (folder / "model.safetensors").exists()
    assert not (folder / "config.json").exists()
    batch = trainer.data_collator([rows[index] for index in range(3)])

    def logits(model: torch.nn.Module) -> torch.Tensor:
        with torch.no_grad():
            return model.eval()(**batch).logits

    expected = logits(trainer.model)
    loaded = TwoMNERForTokenClassification.from_pretrained(base)
    assert not torch.allclose(logits(loaded), expected)
    assert torch.equal(logits(PeftModel.from_pretrained(loaded, folder)), expected)
    at_once = AutoModelForTokenClassification.from_pretrained(folder)
    assert torch.equal(logits(at_once), expected)
    by_peft = AutoPeftModelForTokenClassification.from_pretrained(folder)
    assert torch.equal(logits(by_peft), expected)
    merged = by_peft.merge_and_unload()
    assert torch.allclose(logits(merged), expected, atol=1e-5)
