"""Which sentences a new language is taught and measured on, and what is said of it."""

import dataclasses
import json

import pytest
from datasets import Dataset, DatasetDict, concatenate_datasets

from dataset_mmnerd.schema import bio_labels, features
from reporting_2mner.charts import curve_chart
from reporting_2mner.tables import curve_table, transfer_table
from training_2mner.arguments import DataArguments, RecipeError
from training_2mner.building import with_min_steps
from training_2mner.data import gold_spans, relabelled
from training_2mner.learning_curve import LearningCurve
from training_2mner.new_language import (
    complete_parts,
    mixed,
    nested_subset,
    old_rows,
)


def numbered(count: int, words: str = "Ana {}") -> Dataset:
    """So many sentences that tell each other apart."""
    table = {
        "id": [str(number) for number in range(count)],
        "tokens": [words.format(number).split() for number in range(count)],
        "ner_tags": [[1, 0]] * count,
        "lang": ["pt"] * count,
    }
    columns = {name: features(bio_labels())[name] for name in table}
    return Dataset.from_dict(table, features=type(features(bio_labels()))(columns))


def ids(rows: Dataset) -> list[str]:
    return rows["id"][:]


# Parts --------------------------------------------------------------------------------------------


def test_a_lone_file_gives_a_tenth_to_each_part_that_is_missing():
    rows = numbered(200)
    parts = complete_parts(DatasetDict(train=rows), ["validation", "test"])
    assert {split: len(part) for split, part in parts.items()} == {
        "train": 160,
        "validation": 20,
        "test": 20,
    }
    assert sorted(name for part in parts.values() for name in ids(part)) == sorted(ids(rows))
    alone = complete_parts(DatasetDict(train=rows), ["test"])
    assert [len(alone["train"]), len(alone["test"])] == [180, 20]


def test_which_sentences_are_held_out_does_not_depend_on_their_order():
    rows = numbered(50)
    turned = rows.select(range(49, -1, -1))
    one, other = (complete_parts(DatasetDict(train=part), ["test"]) for part in (rows, turned))
    assert set(ids(one["test"])) == set(ids(other["test"]))


def test_equal_sentences_never_stand_on_both_sides():
    rows = concatenate_datasets([numbered(30)] * 3)
    parts = complete_parts(DatasetDict(train=rows), ["validation", "test"])
    words = [{tuple(tokens) for tokens in part["tokens"]} for part in parts.values()]
    assert sum(map(len, words)) == 30
    assert [len(part) for part in parts.values()] == [72, 9, 9]


def test_parts_that_are_there_stay_as_they_are():
    data = DatasetDict(train=numbered(3), test=numbered(2))
    assert complete_parts(data, ["test"]) is data


def test_too_few_sentences_to_hold_one_out_are_refused():
    with pytest.raises(RecipeError, match=r"2 different sentences are too few .* validation and"):
        complete_parts(DatasetDict(train=numbered(2)), ["validation", "test"])


def test_smaller_sizes_of_a_seed_are_the_beginning_of_larger_ones():
    rows = numbered(40)
    small, large = (ids(nested_subset(rows, size, 3)) for size in (5, 20))
    assert large[:5] == small
    assert small != ids(rows)[:5]
    assert ids(nested_subset(rows, 5, 4)) != small


# Labels -------------------------------------------------------------------------------------------


def test_entities_of_types_that_the_other_labels_lack_are_outside(rows):
    assert gold_spans(relabelled(rows, bio_labels(("LOC", "DRUG")))) == [
        [span for span in spans if span[2] == "LOC"] for spans in gold_spans(rows)
    ]


def test_labels_change_their_scheme_and_their_order_and_nothing_else(rows):
    bioes = ["O", *(f"{prefix}-{name}" for name in ("LOC", "PER") for prefix in "BIES")]
    other = relabelled(rows, bioes)
    assert other.features["ner_tags"].feature.names == bioes
    assert gold_spans(other) == gold_spans(rows)
    assert other["tokens"][:] == rows["tokens"][:]
    assert relabelled(rows, rows.features["ner_tags"].feature.names) is rows


def test_old_sentences_bring_their_images_along(rows):
    """Into a data set that has none, of other labels and of fewer columns."""
    both = mixed(numbered(2), rows)
    assert ids(both) == ["0", "1", *ids(rows)]
    assert both["image"][:2] == [None, None]
    assert both["image"][2:] == rows["image"][:]
    assert gold_spans(both)[2:] == gold_spans(rows)
    assert mixed(rows, numbered(2))["image"][-2:] == [None, None]


# Steps --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"min_steps": 100}, 100),
        ({"min_steps": 50}, -1),  # the epochs come to 50 by themselves
        ({"min_steps": 100, "gradient_accumulation_steps": 2}, 100),
        ({"min_steps": 100, "max_steps": 7}, 7),
        ({}, -1),
    ],
)
def test_few_sentences_get_a_least_number_of_steps(trainer_for, settings, steps):
    arguments = trainer_for(vision=None, num_train_epochs=2).args
    arguments = dataclasses.replace(arguments, **settings)
    assert with_min_steps(arguments, 50).max_steps == steps


# What is said -------------------------------------------------------------------------------------


def scores(**f1: float) -> dict:
    by_language = {language: {"f1": value} for language, value in f1.items()}
    return {"overall": {"f1": sum(f1.values()) / len(f1)}, "by_language": by_language}


def test_the_table_says_what_was_gained_and_what_was_forgotten():
    table = transfer_table(
        {
            "new": {"before": scores(pt=0.7), "after": scores(pt=0.8), "change": 0.1},
            "old": {
                "source": "old.txt",
                "before": scores(de=0.9, en=0.8),
                "after": scores(de=0.86, en=0.8),
                "change": -0.02,
            },
        }
    )
    lines = [line.split() for line in table.splitlines() if not line.startswith("---")]
    assert lines == [
        ["F1", "before", "after", "change"],
        ["new:", "pt", "70.0", "80.0", "+10.0", "gained"],
        ["old:", "de", "90.0", "86.0", "-4.0"],
        ["old:", "en", "80.0", "80.0", "+0.0"],
        ["old:", "together", "85.0", "83.0", "-2.0", "forgotten"],
    ]


def test_the_table_says_why_forgetting_was_not_measured():
    nothing = {"source": "none: no such run", "before": None, "after": None, "change": None}
    before = scores(pt=0.7)
    new = {"before": before, "after": before, "change": 0.0}
    assert "not measured, none: no such run" in transfer_table({"new": new, "old": nothing})


def point(sentences: int, f1: float) -> dict:
    return {"sentences": sentences, "steps": 5, "new": scores(pt=f1), "old": None}


def test_a_curve_goes_on_where_it_was_stopped(tmp_path):
    path = tmp_path / "learning_curve.json"
    curve = LearningCurve.open(path, {"seed": 1})
    curve.add(point(200, 0.8))
    curve.add(point(0, 0.6))
    curve.write()
    again = LearningCurve.open(path, {"seed": 1})
    assert again.sizes() == {0, 200}
    again.add(point(200, 0.9))
    assert [p["sentences"] for p in again.points] == [0, 200]
    assert again.at(200)["new"]["overall"]["f1"] == 0.9
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    for shown in ("Portuguese", "200", "new sentences"):
        assert shown in curve_chart(again.points).svg
    assert [line.split()[:3] for line in curve_table(again.points).splitlines()][2:] == [
        ["0", "5", "60.0"],
        ["200", "5", "90.0"],
    ]


def test_a_curve_of_other_settings_is_not_continued(tmp_path):
    path = tmp_path / "learning_curve.json"
    curve = LearningCurve(path, {"training": {"seed": 1, "learning_rate": 1e-4}})
    curve.add(point(0, 0.6))
    curve.write()
    with pytest.raises(RecipeError, match=r"made with learning_rate 0\.0001, now it is 0\.002"):
        LearningCurve.open(path, {"training": {"seed": 1, "learning_rate": 2e-3}})


# What is old --------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    """A function that writes what a run says it was trained on, and returns its folder."""

    def write(**data) -> str:
        keys = ("train_files", "validation_files", "test_files", "dataset_name", "dataset_config")
        recorded = dict.fromkeys((*keys, "image_dir", "languages")) | data
        metrics = {"recipe": {"data": recorded}}
        (tmp_path / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
        return str(tmp_path)

    return write


@pytest.fixture
def asked() -> list[DataArguments]:
    """What was loaded."""
    return []


@pytest.fixture
def load(asked):
    """Loads two parts of any data set, and of files one."""

    def load(arguments: DataArguments) -> DatasetDict:
        asked.append(arguments)
        parts = DatasetDict(train=numbered(3))
        return parts if arguments.train_files else DatasetDict(parts, validation=numbered(2))

    return load


@pytest.mark.parametrize(
    ("data", "files"),
    [
        ({"train_files": ["a"], "validation_files": ["b"], "test_files": ["c"]}, ["c"]),
        ({"train_files": ["a"], "validation_files": ["b"]}, ["b"]),
        ({"dataset_name": "sample", "test_files": ["c"]}, ["c"]),
    ],
)
def test_forgetting_is_measured_on_what_the_run_was_tested_on(run, load, asked, data, files):
    rows, source = old_rows(run(**data, image_dir="images"), None, ("test", "validation"), load)
    assert asked[0].train_files == files
    assert asked[0].image_dir == "images"
    assert (len(rows), source) == (3, files[0])


def test_what_is_old_may_be_a_part_of_a_data_set(run, load, asked):
    base = run(dataset_name="me/tweets", dataset_config="de")
    rows, source = old_rows(base, None, ("test", "validation"), load)
    assert (asked[0].dataset_name, asked[0].dataset_config) == ("me/tweets", "de")
    assert (len(rows), source) == (2, "me/tweets")
    assert len(old_rows(base, None, ("train",), load)[0]) == 3
    sample = run(dataset_name="sample", sample_sentences=40, test_files=["c"])
    old_rows(sample, None, ("train",), load)
    assert (asked[-1].dataset_name, asked[-1].sample_sentences) == ("sample", 40)


def test_files_that_are_named_win(run, load, asked):
    base = run(train_files=["a"], test_files=["c"])
    assert old_rows(base, ["d", "e"], ("test",), load)[1] == "d, e"
    assert asked[0].train_files == ["d", "e"]


def test_a_run_that_does_not_say_what_is_old_is_named(run, load, tmp_path):
    with pytest.raises(RecipeError, match=r"does not say what it was trained on: .* no metrics"):
        old_rows(str(tmp_path / "elsewhere"), None, ("test",), load)
    with pytest.raises(RecipeError, match="its run had no test part"):
        old_rows(run(train_files=["a"]), None, ("test",), load)
    with pytest.raises(RecipeError, match="me/tweets has no part test"):
        old_rows(run(dataset_name="me/tweets"), None, ("test",), load)
