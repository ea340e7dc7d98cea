"""Scoring keeps the rows apart and in order, and the controls show what the images do."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training_2mner import evaluation
from training_2mner.evaluation import (
    CONTROLS,
    context_keys,
    controls,
    derangement,
    evaluate,
    have_images,
    image_keys,
    longest_first,
    predict,
    spans_from_predictions,
)


def nearly(entities: list[dict]) -> list[dict]:
    """The same entities, with scores that are equal but for rounding."""
    return [{**each, "score": pytest.approx(each["score"], abs=1e-4)} for each in entities]


@given(st.lists(st.sampled_from([None, "a", "b", "c", "d", "e"]), max_size=30), st.integers(0, 5))
def test_shuffled_images_are_all_used_and_none_stays_where_it_was(keys, seed):
    source = derangement(keys, seed)
    given_to = Counter(row for row in source if row is not None)
    assert given_to == Counter(row for row, key in enumerate(keys) if key is not None)
    assert all((row is None) == (key is None) for row, key in zip(source, keys, strict=True))
    counts = Counter(key for key in keys if key is not None)
    if counts and 2 * max(counts.values()) <= sum(counts.values()):
        moved = [keys[row] != key for row, key in zip(source, keys, strict=True) if row is not None]
        assert all(moved)


def test_shuffling_depends_on_the_seed_alone():
    keys = [str(row) for row in range(50)]
    assert derangement(keys, 1) == derangement(keys, 1)
    assert derangement(keys, 1) != derangement(keys, 2)


def test_equal_images_are_recognised_by_their_bytes(rows):
    keys = image_keys(rows)
    assert keys[0] == keys[4] != keys[1]
    assert keys[3] is None
    assert image_keys(rows.remove_columns("image")) == [None] * len(rows)


def test_rows_with_a_image_are_told_without_reading_it(rows, monkeypatch):
    monkeypatch.setattr(evaluation, "image_digest", None)
    assert have_images(rows) == [True, True, True, False, True, True]
    assert have_images(rows.remove_columns("image")) == [False] * len(rows)


@pytest.fixture
def rows_of_files(rows, tmp_path):
    """Six sentences with six files of two contents, one of them beside a file that is not there."""
    contents = [row["image"]["bytes"] for row in rows.select([0, 1])]
    images = []
    for number in range(6):
        path = tmp_path / f"{number}.png"
        if number < 5:
            path.write_bytes(contents[number % 2])
        images.append({"bytes": None, "path": str(path)})
    feature = rows.features["image"]
    return rows.remove_columns("image").add_column("image", images, feature=feature)


def content_of(row):
    path = Path(row["image"]["path"])
    return path.read_bytes() if path.exists() else None


def test_images_in_files_are_told_apart_by_their_content(rows_of_files):
    keys = image_keys(rows_of_files)
    assert keys[0] == keys[2] == keys[4] != keys[1] == keys[3]
    assert keys[5] == rows_of_files[5]["image"]["path"]  # there is no such file


def test_no_row_keeps_its_image_under_another_path(rows_of_files):
    shuffled = controls(rows_of_files, image_keys(rows_of_files), seed=0)["shuffled"]
    for own, other in zip(rows_of_files, shuffled, strict=True):
        assert content_of(own) != content_of(other)


def test_the_controls_change_images_and_nothing_else(rows):
    ways = controls(rows, image_keys(rows), seed=0)
    assert tuple(ways) == ("real", "shuffled", "blank")
    for index, row in enumerate(rows):
        for way in ways.values():
            assert {**way[index], "image": None} == {**row, "image": None}
        assert ways["real"][index]["image"] == row["image"]
        if row["image"] is None:
            assert ways["shuffled"][index]["image"] is None
            assert ways["blank"][index]["image"] is None
        else:
            assert ways["shuffled"][index]["image"]["bytes"] != row["image"]["bytes"]
            assert ways["blank"][index]["image"].getcolors() == [(224 * 224, (128, 128, 128))]


def test_the_visual_context_goes_where_its_image_goes(context_rows):
    keys = image_keys(context_rows)
    ways = controls(context_rows, keys, seed=0)
    images = {row["image"]["bytes"]: row["objects"] for row in context_rows if row["image"]}
    for index, row in enumerate(context_rows):
        for name in ("objects", "captions", "ocr"):
            assert ways["blank"][index][name] is None
        if row["image"] is not None:
            shuffled = ways["shuffled"][index]
            assert shuffled["objects"] == images[shuffled["image"]["bytes"]]
        assert ways["shuffled"][index]["tokens"] == row["tokens"]


def test_equal_contexts_are_recognised_and_empty_ones_are_none(context_rows):
    keys = context_keys(context_rows)
    assert keys[0] == keys[4] != keys[1]
    assert [key is None for key in keys] == [False, False, True, False, False, False]
    assert [key is None for key in context_keys(context_rows, ["ocr"])] == [True] * 5 + [False]
    assert context_keys(context_rows.select_columns(["id"])) == [None] * len(context_rows)


def test_too_few_images_to_shuffle_are_counted_in_the_log(rows, caplog):
    few = rows.select([0, 4, 1])
    controls(few, image_keys(few), seed=0)
    assert "1 rows keep their image" in caplog.text


def test_predictions_stand_in_the_order_of_the_rows(trainer_for, rows):
    trainer = trainer_for(per_device_eval_batch_size=2, vision=None)
    together = predict(trainer, rows)["image_text"]
    for index in range(len(rows)):
        alone = predict(trainer, rows.select([index]))["image_text"]
        assert alone.spans[0] == together.spans[index]
        assert alone.scores[0] == pytest.approx(together.scores[index], abs=1e-4)


def test_the_longest_sentences_come_first(rows):
    assert longest_first(rows) == [3, 1, 0, 2, 4, 5]


def test_words_beyond_a_sentence_are_no_entities():
    predictions = np.array([[1, 2, -100], [0, 3, 4]])
    labels = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    assert spans_from_predictions(predictions, labels) == [[(0, 2, "PER")], [(1, 3, "LOC")]]


def test_a_model_with_images_is_scored_under_every_control(trainer_for, rows):
    results, records = evaluate(trainer_for(), rows, with_controls=True, seed=0)
    assert tuple(results["controls"]) == CONTROLS
    assert results["controls"]["real"] == results["test"]
    assert set(results["test"]["by_language"]) == {"en", "de"}
    assert set(results["test"]["by_image"]) == {"with", "without"}
    assert results["test"]["image_decided"]["entities"] == 2
    counted = {name: scores["images"] for name, scores in results["controls"].items()}
    assert counted["real"] == {"given": 5, "read": 4, "unreadable": 1}
    assert counted["none"] == {"given": 0, "read": 0, "unreadable": 0}
    assert counted["shuffled"] == {"given": 5, "read": 4, "unreadable": 1}
    assert counted["blank"] == {"given": 5, "read": 5, "unreadable": 0}
    assert [record["id"] for record in records] == rows["id"][:]
    assert [record["tokens"] for record in records] == rows["tokens"][:]
    assert records[3]["gold"] == [
        {"label": "PER", "start": 0, "end": 2, "text": "Ana Bo"},
        {"label": "LOC", "start": 4, "end": 5, "text": "Rom"},
        {"label": "LOC", "start": 8, "end": 9, "text": "Bern"},
    ]
    assert "controls" not in records[3]
    assert set(records[0]["controls"]) == {"none", "shuffled", "blank"}


def test_records_agree_with_what_the_model_says_by_itself(trainer_for, rows):
    trainer = trainer_for()
    _, records = evaluate(trainer, rows, with_controls=True, seed=0)
    assert any(record["predicted"] for record in records)
    processor, model = trainer.processing_class, trainer.model.eval()
    for row, record in zip(rows, records, strict=True):
        for image, said in (
            (row["image"], record["predicted"]),
            (None, record.get("controls", {}).get("none")),
        ):
            if said is not None:
                outputs = model(**processor([row["tokens"]], images=[image]))
                expected = processor.post_process_entities(outputs, [row["tokens"]])[0]
                assert said == nearly(expected)


@pytest.mark.parametrize("case", ["switched off", "text-only model", "no images"])
def test_without_images_to_change_there_are_no_controls(trainer_for, rows, case):
    trainer = trainer_for(vision=None if case == "text-only model" else "clip")
    rows = rows.remove_columns("image") if case == "no images" else rows
    results, records = evaluate(trainer, rows, with_controls=case != "switched off", seed=0)
    assert "controls" not in results
    assert not any("controls" in record for record in records)
    views = {"text_view", "f1_both_views"} if case != "text-only model" else set()
    assert set(results) == {"test", *views}
    assert ("images" in results["test"]) is (case != "text-only model")


def test_the_control_without_images_is_the_text_view(trainer_for, context_rows):
    """It says what the same model says of rows that never had an image."""
    trainer = trainer_for(context_budget=16)
    results, records = evaluate(trainer, context_rows, with_controls=True, seed=0)
    assert results["text_view"] == results["controls"]["none"]
    images = ["image", "objects", "captions", "ocr"]
    _, bare = evaluate(trainer, context_rows.remove_columns(images), False, seed=0)
    assert any(record["predicted"] for record in bare)
    for record, alone in zip(records, bare, strict=True):
        assert record["controls"]["none"] == nearly(alone["predicted"])
    f1 = [results[view]["overall"]["f1"] for view in ("test", "text_view")]
    assert results["f1_both_views"] == pytest.approx(sum(f1) / 2)


def test_a_model_that_reads_context_alone_has_its_controls_too(trainer_for, context_rows):
    trainer = trainer_for(vision=None, context_budget=16)
    results, records = evaluate(trainer, context_rows, with_controls=True, seed=0)
    assert tuple(results["controls"]) == CONTROLS
    counted = {name: scores["images"] for name, scores in results["controls"].items()}
    assert counted["real"] == {"given": 5, "read": 5, "unreadable": 0}
    assert counted["none"] == {"given": 0, "read": 0, "unreadable": 0}
    assert counted["shuffled"] == {"given": 5, "read": 5, "unreadable": 0}
    assert counted["blank"] == {"given": 5, "read": 0, "unreadable": 5}
    assert "controls" not in records[2]  # an image, and nothing that this model reads of it
    for record in records[3:]:
        assert record["controls"]["blank"] == nearly(record["controls"]["none"])


def test_a_context_stands_for_a_image_that_is_missing_or_broken(trainer_for, context_rows):
    results, records = evaluate(trainer_for(context_budget=16), context_rows, True, seed=0)
    assert results["test"]["images"] == {"given": 6, "read": 6, "unreadable": 0}
    assert all("controls" in record for record in records)
    results, _ = evaluate(trainer_for(), context_rows, True, seed=0)  # reads images alone
    assert results["test"]["images"] == {"given": 5, "read": 4, "unreadable": 1}
