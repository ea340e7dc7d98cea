"""Distillation: posteriors read once, whatever reads them; unlabelled sentences; one loss."""

import copy
import json
import re
from pathlib import Path

import pytest
import torch

from cli_2mner import main
from modeling_2mner import TwoMNERForTokenClassification, TwoMNERProcessor
from training_2mner import distillation
from training_2mner.arguments import DataArguments, ModelArguments, RecipeError
from training_2mner.batching import WordCollator
from training_2mner.building import load_teacher, new_trainer
from training_2mner.data import LABELLED, load_data
from training_2mner.distillation import TEACHER, ask_teacher, number_rows

FIXED = {"eval_strategy": "no", "max_steps": 3, "logging_steps": 1, "learning_rate": 1e-3}


@pytest.fixture
def teacher(trainer_for):
    """A tiny model with more decided emissions than an untrained one has, and its collator."""
    trainer = trainer_for(**FIXED)
    with torch.no_grad():
        trainer.model.classifier.weight.mul_(20)
    return trainer.model.eval(), trainer.data_collator, trainer.args


@pytest.fixture
def teacher_folder(teacher, tmp_path):
    model, collate, _ = teacher
    folder = tmp_path / "teacher"
    model.save_pretrained(folder)
    collate.processor.save_pretrained(folder)
    return folder


@pytest.fixture
def conll(tmp_path):
    """Two sentences in a file, with labels that may be given."""

    def write(name="posts.conll", labels=("O", "O", "O", "O")):
        words = ["Ana", "sings", "in", "Bern"]
        lines = [f"{word}\t{label}" for word, label in zip(words, labels, strict=True)]
        path = tmp_path / name
        path.write_text("\n".join([*lines[:2], "", *lines[2:], ""]), encoding="utf-8")
        return path

    return write


def test_posteriors_are_those_of_single_sentences_with_their_images(teacher, rows, monkeypatch):
    """Several files, and batches sorted by length, change nothing."""
    monkeypatch.setattr(distillation, "PART", 4)
    model, collate, arguments = teacher
    found = ask_teacher(model, collate, number_rows(rows), arguments)
    for number in range(len(rows)):
        batch = collate([rows[number]])
        del batch["labels"]
        with torch.no_grad():
            emissions = model(**batch).logits
            expected = model.crf.log_marginals(emissions, batch["word_mask"], 2.0)
        got = found.of([number])
        assert got.shape == expected.shape
        torch.testing.assert_close(got.exp(), expected.exp(), atol=1e-5, rtol=0)
    together = found.of([1, 2, 5])
    torch.testing.assert_close(together[1, :1], found.of([2])[0])
    assert together.shape[1] == len(rows[1]["tokens"]) and not together[1, 1:].any()


def test_an_image_changes_the_posteriors(teacher, rows):
    model, collate, arguments = teacher
    with_image = ask_teacher(model, collate, rows, arguments).of([0])
    without = rows.remove_columns("image")
    assert not torch.equal(ask_teacher(model, collate, without, arguments).of([0]), with_image)


def test_what_was_computed_is_not_computed_again(teacher, rows, monkeypatch):
    """After a kill, the parts that are missing; with another temperature, all."""
    monkeypatch.setattr(distillation, "PART", 2)
    model, collate, arguments = teacher
    read = []

    def counting(batch):
        read.extend(" ".join(row["tokens"]) for row in batch)
        return collate(batch)

    counting.processor = collate.processor
    before = ask_teacher(model, counting, rows, arguments).of(range(len(rows)))
    assert len(read) == len(rows)
    (folder,) = (tmp for tmp in _folder(arguments).iterdir())
    distillation.part_path(folder, 1).unlink()
    read.clear()
    after = ask_teacher(model, counting, rows, arguments).of(range(len(rows)))
    assert sorted(read) == sorted(" ".join(tokens) for tokens in rows["tokens"][2:4])
    assert torch.equal(before, after)
    read.clear()
    warmer = copy.copy(arguments)
    warmer.distillation_temperature = 4.0
    ask_teacher(model, counting, rows, warmer)
    assert len(read) == len(rows)


def test_two_processes_share_the_parts(teacher, rows, monkeypatch):
    """Each writes its own; with those of both, nothing is missing."""
    monkeypatch.setattr(distillation, "PART", 2)
    model, collate, arguments = teacher
    alone = copy.copy(arguments)
    alone.output_dir = f"{arguments.output_dir}-alone"
    expected = ask_teacher(model, collate, rows, alone).of(range(len(rows)))
    with pytest.raises(FileNotFoundError, match="00001"):  # nobody has written the second's
        ask_teacher(model, collate, rows, arguments, process=0, processes=2)
    found = ask_teacher(model, collate, rows, arguments, process=1, processes=2)
    (folder,) = _folder(arguments).iterdir()
    assert len(list(folder.iterdir())) == 3
    torch.testing.assert_close(found.of(range(len(rows))), expected)


def _folder(arguments):
    return Path(arguments.output_dir) / "teacher_posteriors"


def test_a_model_does_not_diverge_from_itself(teacher, rows, trainer_of):
    model, collate, _ = teacher
    student = copy.deepcopy(model)
    numbered = number_rows(rows)
    trainer = trainer_of(student, collate.processor, numbered, **FIXED)
    trainer.data_collator.teacher = ask_teacher(model, collate, numbered, trainer.args)
    for module in student.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    student.train()
    outputs = _outputs(trainer, [numbered[0], numbered[3]])
    assert outputs.losses["distillation"].item() < 1e-4
    assert outputs.loss.item() == pytest.approx(0.5 * outputs.losses["nll"].item(), rel=0.3)


def _outputs(trainer, rows):
    batch = trainer.data_collator(rows)
    _, outputs = trainer.compute_loss(trainer.model, batch, return_outputs=True)
    return outputs


def test_the_loss_is_a_mean_of_both_by_their_weight(teacher, rows, trainer_of, trainer_for):
    model, collate, _ = teacher
    numbered = number_rows(rows)
    student = trainer_for(**FIXED).model
    for weight in (0.25, 1.0):
        trainer = trainer_of(
            student, collate.processor, numbered, distillation_weight=weight, **FIXED
        )
        trainer.data_collator.teacher = ask_teacher(model, collate, numbered, trainer.args)
        torch.manual_seed(0)
        plain = student(
            **{
                key: value
                for key, value in trainer.data_collator([numbered[1]]).items()
                if key != TEACHER
            }
        )
        torch.manual_seed(0)
        outputs = _outputs(trainer, [numbered[1]])
        divergence = outputs.losses["distillation"]
        assert divergence.item() > 0.1
        expected = (1 - weight) * plain.loss + weight * divergence
        torch.testing.assert_close(outputs.loss, expected)


def test_labels_of_unlabelled_sentences_are_not_used(
    teacher_folder, conll, rows, tmp_path, trainer_of
):
    """Two trainings on other labels give the same weights; none but the teacher's says anything."""
    trained = []
    for name, labels in (("none.conll", "O O O O"), ("all.conll", "B-PER B-ORG I-ORG B-LOC")):
        data_arguments = DataArguments(
            train_files=[str(conll("train.conll", ["B-PER", "O", "O", "B-LOC"]))],
            unlabelled_files=[str(conll(name, labels.split()))],
        )
        model_arguments = ModelArguments(
            model_name_or_path=str(teacher_folder), teacher=str(teacher_folder)
        )
        processor = TwoMNERProcessor.from_pretrained(teacher_folder)
        data = load_data(data_arguments, processor.labels)
        assert data["train"][LABELLED][:] == [True, True, False, False]
        arguments = trainer_of(
            TwoMNERForTokenClassification.from_pretrained(teacher_folder),
            processor,
            **FIXED | {"output_dir": str(tmp_path / f"run-{name}")},
        ).args
        torch.manual_seed(0)
        trainer = new_trainer(model_arguments, processor, data, arguments)
        batch = trainer.data_collator([trainer.train_dataset[row] for row in (1, 2)])
        assert (batch["labels"][1] == -100).all() and (batch["labels"][0] >= 0).any()
        trainer.train()
        assert "loss_distillation" in trainer.state.log_history[0]
        trained.append({key: value.clone() for key, value in trainer.model.state_dict().items()})
    one, other = trained
    for key in one:
        torch.testing.assert_close(one[key], other[key], rtol=0, atol=0)


def test_an_unlabelled_sentence_has_no_likelihood(teacher, rows):
    model, collate, _ = teacher
    batch = WordCollator(collate.processor, collate.label_names)(
        [{**rows[0], LABELLED: False}, {**rows[2], LABELLED: False}]
    )
    model.train()
    outputs = model(**batch)
    outputs.losses["nll"].backward()
    assert outputs.losses["nll"].item() == 0
    assert all(
        parameter.grad is None or parameter.grad.abs().max() < 1e-6
        for parameter in model.parameters()
    )


@pytest.mark.parametrize("lora", [False, True])
def test_a_student_comes_nearer_to_its_teacher_by_the_command(
    teacher_folder, conll, tmp_path, capsys, lora
):
    """Another student than the teacher, without labels of its own but two sentences'; also as an
    adapter."""
    start = tmp_path / "start"
    student = TwoMNERForTokenClassification.from_pretrained(teacher_folder)
    torch.manual_seed(1)
    with torch.no_grad():
        student.classifier.weight.add_(torch.randn_like(student.classifier.weight))
    student.save_pretrained(start)
    TwoMNERProcessor.from_pretrained(teacher_folder).save_pretrained(start)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        json.dumps(
            {
                "output_dir": str(tmp_path / "student"),
                "teacher": str(teacher_folder),
                "model_name_or_path": str(start),
                "lora": lora,
                "train_files": [str(conll("train.conll", ["B-PER", "O", "O", "B-LOC"]))],
                "unlabelled_files": [str(conll())],
                "learning_rate": 1e-2,
                "distillation_weight": 0.9,
                "max_steps": 20,
                "logging_steps": 5,
                "eval_strategy": "no",
                "save_strategy": "no",
                "load_best_model_at_end": False,
                "report_to": "none",
            }
        )
    )
    assert main(["train", str(recipe)]) == 0
    state = json.loads((tmp_path / "student" / "trainer_state.json").read_text())
    divergences = [
        line["loss_distillation"] for line in state["log_history"] if "loss_distillation" in line
    ]
    assert divergences[-1] < divergences[0] / 2
    figures = json.loads((tmp_path / "student" / "metrics.json").read_text())
    assert figures["data"]["train"]["unlabelled"] == 2
    card = (tmp_path / "student" / "README.md").read_text("utf-8")
    assert "/teacher says of the words, also of 2 sentences without labels" in card
    assert str(tmp_path) not in card


# Errors -------------------------------------------------------------------------------------------


def test_unlabelled_sentences_need_a_teacher(teacher_folder, conll):
    data = load_data(
        DataArguments(
            train_files=[str(conll("train.conll", ["B-PER", "O", "O", "O"]))],
            unlabelled_files=[str(conll())],
        )
    )
    with pytest.raises(RecipeError, match="unlabelled_files: expected a teacher"):
        load_teacher(ModelArguments(model_name_or_path=str(teacher_folder)), data)


def test_an_adapter_is_no_teacher(teacher_folder, conll, tmp_path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "me/base"}')
    data = load_data(DataArguments(train_files=[str(conll(labels=["B-PER", "O", "O", "O"]))]))
    names = ModelArguments(model_name_or_path=str(teacher_folder), teacher=str(adapter))
    with pytest.raises(RecipeError, match=r"^teacher: .* is an adapter of me/base"):
        load_teacher(names, data)


def test_a_teacher_with_other_labels_is_refused(teacher_folder, conll, trainer_of):
    data = load_data(DataArguments(train_files=[str(conll(labels=["B-DRUG", "O", "O", "O"]))]))
    processor = TwoMNERProcessor.from_pretrained(teacher_folder)
    model = TwoMNERForTokenClassification.from_pretrained(teacher_folder)
    names = ModelArguments(model_name_or_path=str(teacher_folder), teacher=str(teacher_folder))
    with pytest.raises(RecipeError, match=r"teacher: its labels are O, B-PER.*B-DRUG"):
        new_trainer(names, processor, data, trainer_of(model, processor, **FIXED).args)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teacher": "nowhere/at-all"}, "teacher nowhere/at-all cannot be loaded"),
        ({"distillation_weight": 0}, "distillation_weight is 0.0, expected a share"),
        ({"distillation_temperature": 0.5}, "distillation_temperature is 0.5, expected at least 1"),
        ({"new_language": True}, "unlabelled_files: cannot be mixed into .* new_language"),
    ],
)
def test_a_wrong_setting_is_one_line(teacher_folder, conll, tmp_path, capsys, change, message):
    recipe = tmp_path / "recipe.yaml"
    settings = {
        "output_dir": str(tmp_path / "student"),
        "teacher": str(teacher_folder),
        "model_name_or_path": str(teacher_folder),
        "train_files": [str(conll("train.conll", ["B-PER", "O", "O", "B-LOC"]))],
        "unlabelled_files": [str(conll())],
        "eval_strategy": "no",
        "load_best_model_at_end": False,
    }
    recipe.write_text(json.dumps(settings | change))
    assert main(["train", str(recipe)]) == 1
    assert re.search(message, capsys.readouterr().err)
