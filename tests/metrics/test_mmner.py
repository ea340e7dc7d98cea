"""The `evaluate` module gives the scores of training, and needs nothing of the project."""

import random
from pathlib import Path

import evaluate
import pytest

from modeling_2mner.labels_2mner import spans_from_labels
from training_2mner.metrics import score

FOLDER = Path(__file__).parents[2] / "metrics" / "mmner"
LABELS = ["O", "O", "B-PER", "I-PER", "B-LOC", "I-LOC", "S-ORG", "E-PER"]


@pytest.fixture(scope="module")
def mmner():
    return evaluate.load(str(FOLDER))


def test_it_gives_the_scores_of_training(mmner):
    generator = random.Random(0)
    lengths = [generator.randint(0, 12) for _ in range(100)]
    gold, predicted = (
        [generator.choices(LABELS, k=length) for length in lengths] for _ in range(2)
    )
    columns = {
        "languages": generator.choices(["en", "de", "fr"], k=100),
        "has_image": generator.choices([True, False], k=100),
        "decidable_from_text": generator.choices([True, False], k=100),
    }
    spans = [[spans_from_labels(labels) for labels in side] for side in (gold, predicted)]
    expected = score(*spans, **columns)
    assert expected["overall"]["correct"] > 0
    assert mmner.compute(predictions=predicted, references=gold, **columns) == expected
    plain = mmner.compute(predictions=predicted, references=gold)
    assert plain == score(*spans)


def test_both_views_are_scored_side_by_side(mmner):
    columns = {"references": [["B-PER", "O"], ["B-LOC"]], "languages": ["en", "de"]}
    own, alone = [["B-PER", "O"], ["B-LOC"]], [["B-PER", "O"], ["B-PER"]]
    scores = mmner.compute(predictions=own, text_view=alone, **columns)
    assert scores["overall"]["f1"] == 1.0
    assert scores["text_view"] == mmner.compute(predictions=alone, **columns)
    assert scores["f1_both_views"] == 0.75


def test_it_gathers_batches(mmner):
    mmner.add_batch(predictions=[["B-PER"], ["O"]], references=[["B-PER"], ["B-LOC"]])
    mmner.add(prediction=["B-LOC"], reference=["B-ORG"])
    overall = mmner.compute()["overall"]
    assert (overall["correct"], overall["predicted"], overall["gold"]) == (1, 2, 3)


@pytest.mark.parametrize(
    ("predicted", "gold", "columns", "message"),
    [
        ([["O"], ["O"]], [["O"], ["O", "O"]], {}, "sentence 1 has 1 predicted labels, expected 2"),
        ([["PER"]], [["O"]], {}, "'PER' is not a label"),
        ([["O"]], [["O"]], {"languages": []}, "`languages` has 0 entries, expected one for each"),
        ([["O"]], [["O"]], {"text_view": []}, "labels of 0 sentences, expected 1"),
    ],
)
def test_what_cannot_be_scored_is_refused(mmner, predicted, gold, columns, message):
    with pytest.raises(ValueError, match=message):
        mmner.compute(predictions=predicted, references=gold, **columns)


def test_its_scores_are_the_files_that_model_and_training_use():
    root = FOLDER.parents[1]
    assert (FOLDER / "metrics.py").resolve() == root / "training_2mner" / "metrics.py"
    assert (FOLDER / "labels_2mner.py").resolve() == root / "modeling_2mner" / "labels_2mner.py"
