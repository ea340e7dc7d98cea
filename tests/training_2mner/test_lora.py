"""An adapter trains little, learns with the project's trainer, and loads as PEFT users expect."""

from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForTokenClassification, PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForTokenClassification

from cli_2mner import main
from modeling_2mner import TwoMNERForTokenClassification, TwoMNERProcessor
from training_2mner.arguments import RecipeError
from training_2mner.evaluation import evaluate
from training_2mner.lora import add_lora, load_adapter, merge_adapter, refuse_adapter


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def trained_names(model: torch.nn.Module) -> set[str]:
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize("text", ["xlm-roberta", "bert", "distilbert", "deberta-v2"])
def test_every_text_encoders_queries_and_values_are_adapted(text_encoder, text):
    model = TwoMNERForTokenClassification.from_text_vision_pretrained(text_encoder(text))
    names = trained_names(add_lora(model, rank=2))
    assert len([name for name in names if "text_model" in name]) == 2 * 2 * 2  # layers, q/v, A/B


@pytest.mark.parametrize(
    ("vision", "layers"),
    [("clip", 2), ("siglip", 2), ("vit", 2), ("dinov2", 1), ("resnet", 0), ("efficientnet", 0)],
)
def test_every_vision_encoder_with_attention_is_adapted(
    text_encoder, vision_encoder, vision, layers
):
    model = TwoMNERForTokenClassification.from_text_vision_pretrained(
        text_encoder(), vision_encoder(vision)
    )
    names = trained_names(add_lora(model, rank=2))
    assert len([name for name in names if "vision_model" in name]) == layers * 2 * 2


def test_new_parts_and_crf_are_trained_whole_and_nothing_else_is(text_encoder, vision_encoder):
    encoders = text_encoder(), vision_encoder(), vision_encoder("resnet")
    model = TwoMNERForTokenClassification.from_text_vision_pretrained(*encoders)
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
def base(encoders, labels, tmp_path) -> str:
    """A saved model, which an adapter can name as its base."""
    folder = tmp_path / "base"
    torch.manual_seed(0)
    options = {"labels": labels, "collaboration_heads": 4}
    TwoMNERForTokenClassification.from_text_vision_pretrained(*encoders, **options).save_pretrained(
        folder
    )
    TwoMNERProcessor.from_text_vision_pretrained(*encoders, labels=labels).save_pretrained(folder)
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
    close(logits(PeftModel.from_pretrained(loaded, folder)), expected)
    at_once = AutoModelForTokenClassification.from_pretrained(folder)
    close(logits(at_once), expected)
    by_peft = AutoPeftModelForTokenClassification.from_pretrained(folder)
    close(logits(by_peft), expected)
    merged = by_peft.merge_and_unload()
    close(logits(merged), expected)


# Several adapters, other labels, merging ----------------------------------------------------------


def change_everything(model: torch.nn.Module, seed: int) -> None:
    """As if it had been trained: every parameter that would be is another one."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))


@pytest.fixture
def adapter(base, tmp_path):
    """A function from a name and labels to the folder of a trained adapter of the base."""

    def build(name: str, labels: list[str] | None = None) -> str:
        model = TwoMNERForTokenClassification.from_pretrained(base)
        processor = TwoMNERProcessor.from_pretrained(base)
        if labels:
            model.resize_labels(labels)
            processor.labels = labels
        adapted = add_lora(model, rank=2)
        change_everything(adapted, seed=len(name))
        adapted.save_pretrained(tmp_path / name)
        processor.save_pretrained(tmp_path / name)
        return str(tmp_path / name)

    return build


@pytest.fixture
def outputs(base, rows):
    """A function from a model to its logits and its CRF's marginals on a few sentences."""
    processor = TwoMNERProcessor.from_pretrained(base)
    batch = processor(rows["tokens"][:3], images=[row["image"] for row in rows.select(range(3))])

    def read(model: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            found = model.eval()(**batch)
        return found.logits, found.marginals

    return read


def same(one: tuple[torch.Tensor, ...], other: tuple[torch.Tensor, ...]) -> bool:
    return all(torch.allclose(*pair, atol=1e-5) for pair in zip(one, other, strict=True))


def test_one_base_has_several_adapters_and_changes_between_them(base, adapter, outputs):
    """The classifier and the CRF change along: the marginals are those of each alone."""
    pt, nl = adapter("pt"), adapter("dutch")
    alone = {name: outputs(load_adapter(folder)) for name, folder in (("pt", pt), ("nl", nl))}
    plain = outputs(TwoMNERForTokenClassification.from_pretrained(base))
    both = load_adapter(pt, name="pt")
    both.load_adapter(nl, "nl")
    assert same(outputs(both), alone["pt"])
    both.set_adapter("nl")
    assert same(outputs(both), alone["nl"])
    both.set_adapter("pt")
    assert same(outputs(both), alone["pt"])
    with both.disable_adapter():
        assert same(outputs(both), plain)
    assert not same(alone["pt"], alone["nl"])
    assert not same(alone["pt"], plain)


def test_a_merged_adapter_is_a_model_by_itself(adapter, outputs, tmp_path, capsys):
    folder = adapter("pt")
    expected = outputs(load_adapter(folder))
    main(["lora", "merge", folder, "--out", str(tmp_path / "merged")])
    assert str(tmp_path / "merged") in capsys.readouterr().out
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "merged")
    assert type(model) is TwoMNERForTokenClassification
    assert same(outputs(model), expected)
    words = AutoModel.from_pretrained(tmp_path / "merged").state_dict()
    assert all(torch.equal(words[key], model.state_dict()[f"model.{key}"]) for key in words)
    assert TwoMNERProcessor.from_pretrained(tmp_path / "merged").labels == model.config.labels


def test_an_adapter_may_speak_other_labels_than_its_base(base, adapter, outputs, tmp_path):
    labels = ["O", "B-DRUG", "I-DRUG", "B-PER", "I-PER"]
    folder = adapter("drugs", labels)
    adapted = load_adapter(folder)
    logits, _ = outputs(adapted)
    assert logits.shape[-1] == len(labels)
    by_hand = TwoMNERForTokenClassification.from_pretrained(base)
    by_hand.resize_labels(labels)
    assert same(outputs(PeftModel.from_pretrained(by_hand, folder)), outputs(adapted))
    merge_adapter(folder, tmp_path / "merged")
    merged = TwoMNERForTokenClassification.from_pretrained(tmp_path / "merged")
    assert merged.config.labels == merged.crf.labels == labels
    close(outputs(merged)[1], outputs(adapted)[1])


def test_an_adapter_whose_base_has_moved_is_told_where_it_is(base, adapter, outputs, tmp_path):
    folder = adapter("pt")
    expected = outputs(load_adapter(folder))
    moved = Path(base).rename(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="base"):
        load_adapter(folder)
    assert same(outputs(load_adapter(folder, base=str(moved))), expected)


def test_what_cannot_be_merged_is_said_in_one_line(base, adapter, tmp_path, capsys):
    assert main(["lora", "merge", base, "--out", str(tmp_path / "merged")]) == 1
    line = capsys.readouterr().err
    assert line.startswith("2mner lora: ") and line.count("\n") == 1
    assert "base holds no adapter" in line
    assert main(["lora", "merge", adapter("pt"), "--out", base]) == 1
    assert "is not empty" in capsys.readouterr().err


def test_an_adapter_is_not_trained_further_as_if_it_were_a_model(base, adapter):
    folder = adapter("pt")
    with pytest.raises(RecipeError, match=r"is an adapter of .*base; .* merge"):
        refuse_adapter(folder)
    refuse_adapter(base)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda weights: weights.popitem(), "the adapter is incomplete: .*missing adapter keys"),
        (lambda weights: next(iter(weights.values())).fill_(float("nan")), "have NaN, infinity or"),
    ],
    ids=["a tensor is missing", "NaN"],
)
def test_an_adapter_that_lacks_a_tensor_or_has_nan_is_refused(adapter, harm, message):
    folder = adapter("pt")
    path = Path(folder) / "adapter_model.safetensors"
    weights = load_file(path)
    harm(weights)
    save_file(weights, path)
    with pytest.raises(OSError, match=rf"^{folder}: .*{message}"):
        load_adapter(folder)


def test_an_adapter_that_is_cut_short_is_refused(adapter):
    folder = adapter("pt")
    path = Path(folder) / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(OSError, match=rf"^{folder}: the adapter's weights are broken"):
        load_adapter(folder)
