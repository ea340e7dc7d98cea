"""The trainer: rates by part, exact losses, rows in order, folders that load."""

import pytest
import torch
from torch.utils.data import SequentialSampler

from modeling_2mner import TwoMNERForTokenClassification
from training_2mner.arguments import RecipeError
from training_2mner.run_record import describe_training
from training_2mner.trainer import freeze_parameters, part_of


def gradient_of_one_step(trainer) -> torch.Tensor:
    """The whole gradient with which the optimizer makes its first step."""
    gradients = []

    class Keep(torch.optim.SGD):
        def step(self, closure=None):
            parameters = [p for group in self.param_groups for p in group["params"]]
            found = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
            gradients.append(torch.cat([gradient.flatten() for gradient in found]))

    trainer.optimizer = Keep(trainer.model.parameters(), lr=0.0)
    trainer.model.eval()
    trainer.model.train = lambda mode=True: trainer.model  # no dropout: runs can be compared
    trainer.train()
    return gradients[0]


@pytest.mark.parametrize(("batch", "accumulate"), [(2, 3), (4, 2), (1, 6)])
def test_accumulation_changes_neither_loss_nor_gradient(trainer_for, rows, batch, accumulate):
    """The micro-batches of 4 and 2 sentences weigh as the batch of 6 does."""
    figures = []
    for size, steps in ((6, 1), (batch, accumulate)):
        torch.manual_seed(0)
        trainer = trainer_for(
            per_device_train_batch_size=size,
            gradient_accumulation_steps=steps,
            model_config={"alignment_level": "none"},
            max_grad_norm=0.0,
            max_steps=1,
            logging_steps=1,
            eval_strategy="no",
        )
        gradient = gradient_of_one_step(trainer)
        figures.append((trainer.state.log_history[0], gradient))
    (whole, expected), (parts, found) = figures
    assert parts["loss"] == pytest.approx(whole["loss"], rel=1e-5)
    assert parts["loss_nll"] == pytest.approx(whole["loss_nll"], rel=1e-5)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_the_model_leaves_the_division_to_the_trainer():
    """With `accepts_loss_kwargs` true, `Trainer` would multiply the loss by the accumulation."""
    assert TwoMNERForTokenClassification.accepts_loss_kwargs is False


def test_the_parts_of_the_loss_are_logged_and_add_up(trainer_for):
    trainer = trainer_for(
        max_steps=4, logging_steps=2, eval_strategy="no", model_config={"alpha": 0.6}
    )
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(logged) == 2
    for entry in logged:
        total = 0.6 * entry["loss_nll"] + 0.4 * entry["loss_alignment"]
        assert entry["loss"] == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("model.text_model.encoder.layer.0.output.dense.weight", "encoders"),
        ("model.vision_model.embeddings.patch_embedding.weight", "encoders"),
        ("model.global_vision_model.encoder.weight", "encoders"),
        ("model.fusion.gates.0.weight", "new_parts"),
        ("model.alignment.text.0.weight", "new_parts"),
        ("classifier.weight", "classifier"),
        ("base_model.model.classifier.modules_to_save.default.weight", "classifier"),
        ("crf.transitions", "crf"),
        ("base_model.model.crf.transitions", "crf"),
    ],
)
def test_every_parameter_belongs_to_a_part(name, part):
    assert part_of(name) == part


def test_rates_are_by_part_and_only_weights_decay(trainer_for):
    trainer = trainer_for(
        learning_rate=1e-5,
        new_parts_learning_rate=1e-3,
        classifier_learning_rate=5e-3,
        crf_learning_rate=1e-2,
        weight_decay=0.1,
        eval_strategy="no",
    )
    freeze_parameters(trainer.model, ["vision_model"])
    groups = trainer.create_optimizer().param_groups
    rate_of = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    parameters = dict(trainer.model.named_parameters())
    rates = {"encoders": 1e-5, "new_parts": 1e-3, "classifier": 5e-3, "crf": 1e-2}
    for name, parameter in parameters.items():
        if ".vision_model." in name:
            assert id(parameter) not in rate_of
        else:
            decay = 0.0 if "bias" in name or "norm" in name.lower() else 0.1
            assert rate_of[id(parameter)] == (rates[part_of(name)], decay), name
    assert set(map(part_of, parameters)) == set(rates)


def test_freezing_matches_whole_pieces_of_names(trainer_for):
    model = trainer_for(eval_strategy="no").model
    frozen = freeze_parameters(model, ["text_model.embeddings", r"layer\.[1-9]"])
    assert frozen
    for name, parameter in model.named_parameters():
        expected = "text_model.embeddings." in name or ".encoder.layer.1." in name
        assert parameter.requires_grad is not expected, name
        assert (name in frozen) is expected


def test_a_pattern_is_not_found_inside_a_longer_piece():
    model = torch.nn.ModuleDict(
        {"vision_model": torch.nn.Linear(1, 1), "global_vision_model": torch.nn.Linear(1, 1)}
    )
    assert freeze_parameters(model, ["vision_model"]) == [
        "vision_model.weight",
        "vision_model.bias",
    ]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("text_encoder", "matches no parameter; there are"), ("layer.[", "no regular expression")],
)
def test_a_pattern_that_freezes_nothing_is_an_error(trainer_for, pattern, message):
    model = trainer_for(eval_strategy="no").model
    with pytest.raises(RecipeError, match=message):
        freeze_parameters(model, [pattern])


def test_evaluation_keeps_the_order_of_the_rows(trainer_for, rows):
    """`Trainer` alone would group the evaluation by length as it does the training."""
    trainer = trainer_for(per_device_eval_batch_size=2, train_sampling_strategy="group_by_length")
    assert isinstance(trainer._get_eval_sampler(rows), SequentialSampler)
    labels = trainer.predict(rows).label_ids
    found = [[label for label in row.tolist() if label >= 0] for row in labels]
    assert found == rows["ner_tags"][:]


def test_every_evaluation_is_scored_overall_and_by_language(trainer_for):
    metrics = trainer_for().evaluate()
    assert {"eval_loss", "eval_f1", "eval_f1_en", "eval_f1_de"} <= set(metrics)
    assert "eval_image_decided_accuracy" in metrics


def test_a_model_that_reads_images_is_evaluated_in_both_views(trainer_for, rows):
    trainer = trainer_for()
    metrics = trainer.evaluate()
    alone = trainer.evaluate(rows.remove_columns("image"))
    assert metrics["eval_f1_text_view"] == alone["eval_f1"] == alone["eval_f1_text_view"]
    mean = (metrics["eval_f1"] + metrics["eval_f1_text_view"]) / 2
    assert metrics["eval_f1_both_views"] == pytest.approx(mean)


def test_a_text_only_model_has_one_view(trainer_for):
    metrics = trainer_for(vision=None).evaluate()
    assert "eval_f1_text_view" not in metrics
    assert metrics["eval_f1_both_views"] == metrics["eval_f1"]


def test_each_batch_is_collated_once_for_both_views(trainer_for, rows):
    trainer = trainer_for(per_device_eval_batch_size=2)
    collate, sizes = trainer.data_collator, []
    trainer.data_collator = lambda batch: sizes.append(len(batch)) or collate(batch)
    trainer.evaluate()
    assert sizes == [2, 2, 2]


@pytest.mark.parametrize("frozen", [[], ["vision_model"]])
def test_training_leaves_the_statistics_of_images_alone(trainer_for, frozen):
    """A batch that batch normalisation learnt from would change how other images are read."""
    trainer = trainer_for(vision="resnet", max_steps=3, learning_rate=1e-2, eval_strategy="no")
    freeze_parameters(trainer.model, frozen)
    before = {name: value.clone() for name, value in trainer.model.named_buffers()}
    trainer.train()
    assert any("running_mean" in name for name in before)
    for name, value in trainer.model.named_buffers():
        assert torch.equal(value, before[name]), name


def test_a_few_sentences_can_be_learnt_by_heart(trainer_for, rows):
    trainer = trainer_for(
        max_steps=80, learning_rate=5e-3, per_device_train_batch_size=6, eval_strategy="no"
    )
    trainer.train()
    assert trainer.evaluate()["eval_f1"] == 1.0


def test_the_best_checkpoint_by_both_views_is_the_one_that_is_kept(trainer_for, tmp_path):
    trainer = trainer_for(
        context_budget=8,
        model_config={"cross_view_weight": 0.5},
        max_steps=30,
        learning_rate=5e-3,
        per_device_train_batch_size=6,
        eval_strategy="steps",
        eval_steps=10,
        save_strategy="steps",
        save_steps=10,
        load_best_model_at_end=True,
    )
    trainer.train()
    scores = [
        entry["eval_f1_both_views"] for entry in trainer.state.log_history if "eval_f1" in entry
    ]
    assert len(scores) == 3
    assert trainer.state.best_metric == max(scores)
    assert trainer.evaluate()["eval_f1_both_views"] == max(scores)


def test_no_pickle_lies_beside_the_weights(trainer_for, tmp_path):
    trainer = trainer_for(eval_strategy="no", save_strategy="steps", save_steps=1, max_steps=1)
    trainer.train()
    trainer.save_model()
    folders = [tmp_path / "run", tmp_path / "run" / "checkpoint-1"]
    for folder in folders:
        assert (folder / "model.safetensors").is_file()
        assert not (folder / "training_args.bin").exists()


def test_a_model_saved_over_another_deletes_the_thresholds_of_that_one(trainer_for, tmp_path):
    trainer = trainer_for()
    trainer.save_model()
    thresholds = tmp_path / "run" / "thresholds.json"
    thresholds.write_text("{}")
    trainer.save_model()
    assert not thresholds.exists()


def test_a_resumed_run_meets_the_sentences_in_the_same_order(trainer_for):
    def orders(trainer, **arguments):
        met = []
        collate = trainer.data_collator

        def keep(batch):
            met.append([row["id"] for row in batch])
            return collate(batch)

        trainer.data_collator = keep
        trainer.train(**arguments)
        return met

    arguments = {"max_steps": 6, "eval_strategy": "no", "save_strategy": "steps", "save_steps": 2}
    arguments["save_total_limit"] = None
    whole = orders(trainer_for(**arguments))
    checkpoint = trainer_for().args.output_dir + "/checkpoint-4"
    resumed = orders(trainer_for(**arguments), resume_from_checkpoint=checkpoint)
    assert resumed[-2:] == whole[-2:]
    assert whole[:3] != whole[3:]


def test_tensorboard_is_told_every_part_of_the_loss_and_every_language(
    trainer_for, tmp_path, monkeypatch
):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "events"))
    trainer = trainer_for(report_to="tensorboard", logging_steps=1, max_steps=2)
    trainer.train()
    trainer.evaluate()
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    known = set(events.Tags()["scalars"])
    assert {"train/loss", "train/loss_nll", "train/loss_alignment"} <= known
    assert {"eval/f1", "eval/f1_de", "eval/f1_en"} <= known
    logged = [entry for entry in trainer.state.log_history if "loss_nll" in entry]
    shown = [(event.step, event.value) for event in events.Scalars("train/loss_nll")]
    assert shown == [(entry["step"], pytest.approx(entry["loss_nll"])) for entry in logged]


def test_a_run_records_precision_threads_and_processor(trainer_for):
    trainer = trainer_for(max_steps=1, eval_strategy="no")
    trainer.train()
    record = describe_training(trainer, seconds=1.0)
    assert record["precision"] == "fp32"
    assert record["weights"] == "float32"
    assert record["threads"] == torch.get_num_threads()
    assert isinstance(record["processor"], str) and record["processor"]
