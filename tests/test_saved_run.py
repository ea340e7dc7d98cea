"""A run that version 0.1 trained and saved loads, and gives the same entities and tables.

`saved_run/` holds the files of such a run: a tiny model, its processor and figures, and the
sentences and images that it was tested on. That version said `picture` where this one says `image`.
"""

import json
from pathlib import Path

import pytest

from dataset_mmnerd import dataset_from_files
from modeling_2mner import (
    MultimodalNERPipeline,
    TwoMNERForTokenClassification,
    TwoMNERProcessor,
)
from reporting_2mner.comparison import compare_runs
from reporting_2mner.html_report import write_report
from reporting_2mner.model_card import write_card
from reporting_2mner.runs import read_run
from reporting_2mner.tables import comparison_table, score_table
from tests.published import SAVED, write_published
from training_2mner.arguments import RecipeError
from training_2mner.data import load_data
from training_2mner.new_language import old_rows


def copy_of(files: list[str], folder: Path) -> Path:
    folder.mkdir()
    for name in files:
        (folder / name).write_bytes((SAVED / name).read_bytes())
    return folder


@pytest.fixture
def recorded() -> list[list[dict]]:
    """The entities that version 0.1 predicted for each test sentence."""
    lines = (SAVED / "predictions.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["predicted"] for line in lines]


@pytest.fixture
def sentences() -> list[dict]:
    rows = dataset_from_files(SAVED / "test.jsonl", SAVED).to_list()
    return [
        {
            "words": row["tokens"],
            "image": row["image"] and row["image"]["path"],
            "objects": row["objects"],
            "ocr": row["ocr"],
        }
        for row in rows
    ]


def entities(found: list[list[dict]], words: str) -> list[list[tuple]]:
    return [[(one["label"], one[words], round(one["score"], 3)) for one in row] for row in found]


def test_it_gives_the_same_entities_by_the_installed_package(sentences, recorded):
    model = TwoMNERForTokenClassification.from_pretrained(SAVED)
    processor = TwoMNERProcessor.from_pretrained(SAVED)
    assert processor.reads_images
    ner = MultimodalNERPipeline(model=model, processor=processor)
    assert entities(ner(sentences), "word") == entities(recorded, "text")


def test_it_gives_the_same_entities_by_remote_code(sentences, recorded, tmp_path, client):
    """The files of that version beside the code of this one, in a process that has no project."""
    folder = write_published(tmp_path / "model")
    found = client(
        f"""
        import json
        from transformers import pipeline
        ner = pipeline("multimodal-ner", model={str(folder)!r}, trust_remote_code=True)
        print(json.dumps(ner(json.loads({json.dumps(sentences)!r}))))
        """,
        stranger=True,
    )
    assert entities(json.loads(found.stdout), "word") == entities(recorded, "text")


def test_its_reading_of_images_is_saved_under_the_present_name(tmp_path):
    TwoMNERProcessor.from_pretrained(SAVED).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "processor_config.json").read_text("utf-8"))
    assert saved["reads_images"] is True
    assert "reads_pictures" not in saved


def test_its_figures_are_read(tmp_path):
    table = score_table(read_run(SAVED).results)
    assert "with image               100.0   100.0  100.0" in table
    assert "5 of 5" in table
    folder = copy_of(["metrics.json", "processor_config.json"], tmp_path / "run")
    write_card(folder)
    assert "| with image | 100.0 |" in (folder / "README.md").read_text("utf-8")


def test_its_report_is_written(tmp_path):
    names = ["metrics.json", "predictions.jsonl", "trainer_state.json"]
    folder = copy_of(names, tmp_path / "run")
    write_report(folder)
    page = (folder / "report.html").read_text("utf-8")
    assert "with image" in page
    assert "picture" not in page
    charts = {path.name for path in (folder / "report").iterdir()}
    assert {"loss.png", "validation.png", "scores.png", "calibration.png"} <= charts


def test_it_is_compared_with_a_run_of_this_version(tmp_path):
    """Whose files have the present names."""
    folder = copy_of(["predictions.jsonl"], tmp_path / "new")
    results = json.dumps(read_run(SAVED).results)
    assert "picture" not in results
    (folder / "metrics.json").write_text(results, "utf-8")
    table = comparison_table(compare_runs([read_run(SAVED), read_run(folder)]))
    assert table.startswith(f"A: {SAVED}\nB: {folder}")
    for row in ("overall", "with image", "another's image", "mean of both views"):
        (line,) = [line for line in table.splitlines() if line.startswith(f"{row} ")]
        assert "+0.0" in line


def test_a_new_language_finds_the_sentences_that_it_was_trained_on(tmp_path, monkeypatch):
    folder = copy_of(["metrics.json", "test.jsonl"], tmp_path / "run")
    copy_of(["red.png", "blue.png"], folder / "images")
    monkeypatch.chdir(folder)
    rows, source = old_rows(str(folder), None, ("test", "validation"), load_data)
    assert source == "test.jsonl"
    expected = [json.loads(line) for line in (SAVED / "predictions.jsonl").read_text().splitlines()]
    assert rows["tokens"][:] == [record["tokens"] for record in expected]
    assert sum(row["image"] is not None for row in rows) == 5

    (folder / "metrics.json").write_text('{"recipe": 5}')
    with pytest.raises(RecipeError, match=r"metrics\.json: found a missing or wrong figure"):
        old_rows(str(folder), None, ("test", "validation"), load_data)
