"""Scoring keeps the rows apart and in order, and the controls show what the images do."""

import numpy as np
import pytest

from training_2mner.controls import CONTROLS
from training_2mner.evaluation import evaluate, predict, spans_from_predictions


def nearly(entities: list[dict]) -> list[dict]:
    """The same entities, with scores that are equal but for rounding."""
    return [{**each, "score": pytest.approx(each["score"], abs=1e-4)} for each in entities]


def test_predictions_stand_in_the_order_of_the_rows(trainer_for, rows):
    trainer = trainer_for(per_device_eval_batch_size=2, vision=None)
    together = predict(trainer, rows)["image_text"]
    for index in range(len(rows)):
        alone = predict(trainer, rows.select([index]))["image_text"]
        assert alone.spans[0] == together.spans[index]
        assert alone.scores[0] == pytest.approx(together.scores[index], abs=1e-4)


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


def test_a_context_stands_for_an_image_that_is_missing_or_broken(trainer_for, context_rows):
    results, records = evaluate(trainer_for(context_budget=16), context_rows, True, seed=0)
    assert results["test"]["images"] == {"given": 6, "read": 6, "unreadable": 0}
    assert all("controls" in record for record in records)
    results, _ = evaluate(trainer_for(), context_rows, True, seed=0)  # reads images alone
    assert results["test"]["images"] == {"given": 5, "read": 4, "unreadable": 1}
