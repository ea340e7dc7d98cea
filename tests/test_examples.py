"""The examples run from a published model's folder, one of them without the project."""

from pathlib import Path

import nbformat
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from nbclient import NotebookClient

from tests.published import ROOT, write_published

EXAMPLES = ROOT / "examples"


@pytest.fixture
def published(tmp_path) -> Path:
    """A small trained model with its code, as a push leaves it."""
    return write_published(tmp_path / "model")


def test_a_published_model_is_fine_tuned_without_the_project(published, tmp_path, client):
    names = ["O", "B-PER", "I-PER", "B-DRUG", "I-DRUG"]
    features = {"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=names))}
    table = {
        "tokens": [["Ana", "lives", "here"], ["take", "Aspirin"], ["nothing"]] * 4,
        "ner_tags": [[1, 0, 0], [0, 3], [0]] * 4,
    }
    (tmp_path / "tweets").mkdir()
    for split in ("train", "validation"):
        rows = Dataset.from_dict(table, features=Features(features))
        rows.to_parquet(tmp_path / "tweets" / f"{split}.parquet")
    out = tmp_path / "tuned"
    arguments = [str(published), str(tmp_path / "tweets"), "--out", str(out)]
    arguments += ["--epochs", "12", "--learning_rate", "2e-2", "--batch_size", "4"]
    result = client(
        f"""
        import runpy, sys
        sys.argv = ["finetune.py", *{arguments!r}]
        runpy.run_path({str(EXAMPLES / "finetune.py")!r}, run_name="__main__")
        from transformers import pipeline
        ner = pipeline("multimodal-ner", model={str(out)!r}, trust_remote_code=True)
        print("LABELS", ner.model.config.labels)
        """,
        stranger=True,
    )
    assert "F1 100.0 on 12 sentences" in result.stdout
    assert f"LABELS {names}" in result.stdout


def test_the_notebook_runs(published, tmp_path, monkeypatch):
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "HF_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home" / name))
    notebook = nbformat.read(EXAMPLES / "quickstart.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)
    place = next(cell for cell in notebook.cells if cell.source.startswith("MODEL ="))
    place.source = f"MODEL = {str(published)!r}"
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=str(tmp_path))
    told = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("typed_from" in str(output) or "text/plain" in str(output) for output in told)
    assert any("mner-heat" in output.get("data", {}).get("text/html", "") for output in told)
