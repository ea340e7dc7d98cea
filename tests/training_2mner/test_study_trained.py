"""A finished run is opened as it was trained: its data, its model, its predictions."""

import json

import pytest

from tests.published import SAVED
from training_2mner.arguments import RecipeError
from training_2mner.evaluation import predict
from training_2mner.study.trained import Trained


def test_it_predicts_what_the_run_recorded(saved):
    records = [json.loads(line) for line in (SAVED / "predictions.jsonl").open(encoding="utf-8")]
    found = predict(saved.trainer, saved.rows)["image_text"]
    for place, record in enumerate(records):
        expected = [(one["label"], one["start"], one["end"]) for one in record["predicted"]]
        assert [(label, start, end) for start, end, label in found.spans[place]] == expected
        scores = [one["score"] for one in record["predicted"]]
        assert found.scores[place] == pytest.approx(scores, abs=1e-3)
    assert saved.rows["id"][:] == [record["id"] for record in records]
    assert len(saved.validation) == 12
    assert saved.recipe["training"]["seed"] == 1
    assert not saved.model.training


def test_what_is_no_finished_run_is_one_line(saved, tmp_path):
    with pytest.raises(RecipeError, match=r"no .*metrics\.json: the run is not finished"):
        Trained(tmp_path).recipe  # noqa: B018
    metrics = json.loads((saved.folder / "metrics.json").read_text("utf-8"))
    metrics["recipe"]["data"] |= {"test_files": None, "later": 1}
    (saved.folder / "metrics.json").write_text(json.dumps(metrics), "utf-8")
    with pytest.raises(RecipeError, match=r"metrics\.json: recipe: .*'later'"):
        Trained(saved.folder).data  # noqa: B018
    del metrics["recipe"]["data"]["later"]
    (saved.folder / "metrics.json").write_text(json.dumps(metrics), "utf-8")
    with pytest.raises(RecipeError, match="expected a run with a test part, found none"):
        Trained(saved.folder).rows  # noqa: B018
