"""A study as a user runs it: real trainings of tiny encoders, one of which fails."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

import cli_2mner
from reporting_2mner.yaml12 import written_as_yaml
from tests.browser import open_page, violations

SENTENCES = "IMGID:red\nAna\tB-PER\nlives\tO\nin\tO\nRome\tB-LOC\n\n"
SENTENCES += "IMGID:blue\nBern\tB-LOC\nis\tO\nfar\tO\n\n"
ELSEWHERE = "-DOCSTART- -X- O O\n\nBo NNP B-NP B-PERSON\nmet VB O O\nAna NNP B-NP B-PERSON\n"
ELSEWHERE += "in IN O O\nMay NNP B-NP B-DATE\n"


@pytest.fixture(scope="module")
def plan(tmp_path_factory, text_encoder, vision_encoder) -> Path:
    """A plan with a cell that trains and one that cannot, in a folder of its own."""
    folder = tmp_path_factory.mktemp("study")
    for name in ("train_en.txt", "train_de.txt", "test_en.txt", "test_de.txt"):
        (folder / name).write_text(SENTENCES, "utf-8")
    (folder / "eng.testb").write_text(ELSEWHERE, "utf-8")
    for colour in ("red", "blue"):
        Image.new("RGB", (40, 30), colour).save(folder / f"{colour}.jpg")
    recipe = {
        "text_model": text_encoder("xlm-roberta"),
        "vision_model": vision_encoder("clip"),
        "model_config": {"collaboration_heads": 4, "alpha": 0.9},
        "train_files": [f"{folder}/train_en.txt", f"{folder}/train_de.txt"],
        "test_files": [f"{folder}/test_en.txt", f"{folder}/test_de.txt"],
        "eval_strategy": "no",
        "save_strategy": "no",
        "load_best_model_at_end": False,
        "num_train_epochs": 1,
        "use_cpu": True,
        "bf16": "no",
    }
    (folder / "tiny.yaml").write_text(written_as_yaml(recipe), "utf-8")
    values = {
        "output_dir": f"{folder}/out",
        "recipe": f"{folder}/tiny.yaml",
        "options": {"per_device_train_batch_size": 2},
        "seeds": [3],
        "cells": {
            "full": {},
            "broken": {"title": "no encoder", "text_model": f"{folder}/nothing"},
        },
        "parts": {
            "ablation": {"cells": ["full", "broken"]},
            "languages": {"cells": ["full"]},
            "contrastive": {"cells": ["full"]},
            "corruption": {"cells": ["full"], "kinds": ["grey", "exchange"], "strengths": 1},
            "attention": {"cells": ["full"]},
            "selection": {"cells": ["full"]},
            "transfer": {
                "cells": ["full"],
                "data": {"conll2003": {"files": ["eng.testb"], "rename": {"PERSON": "PER"}}},
            },
        },
    }
    path = folder / "small.yaml"
    path.write_text(written_as_yaml(values), "utf-8")
    return path


@pytest.fixture(scope="module")
def study(plan) -> Path:
    """The folder of that study, which was stopped in its first training and then went on."""
    folder = plan.parent / "out"
    first = folder / "cells" / "full-seed3"
    command = [sys.executable, "-m", "cli_2mner", "study", str(plan)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not (first / "log.txt").is_file():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert not (first / "metrics.json").exists()
    assert cli_2mner.main(["study", str(plan)]) == 1
    shutil.copy(folder / "study.html", folder / "whole.html")  # a test writes it anew
    return folder


def test_a_cell_is_an_ordinary_run_beside_its_recipe(study):
    run = study / "cells" / "full-seed3"
    for name in ("README.md", "report.html", "log.txt", "model.safetensors"):
        assert (run / name).is_file()
    recipe = (run / "recipe.yaml").read_text("utf-8")
    metrics = json.loads((run / "metrics.json").read_text("utf-8"))
    assert recipe.startswith("# full, seed 3: a training of a study.\n")
    assert metrics["recipe"]["file"] == str(run / "recipe.yaml")
    assert metrics["recipe"]["model"]["model_config"] == {"collaboration_heads": 4, "alpha": 0.9}
    assert metrics["recipe"]["training"]["per_device_train_batch_size"] == 2
    assert metrics["seed"] == 3


def test_a_failed_cell_is_reported_and_the_others_are_not_stopped(study):
    figures = json.loads((study / "study.json").read_text("utf-8"))
    full, broken = figures["trainings"]
    assert full["error"] is None
    assert full["f1"] is not None
    assert "nothing cannot be loaded" in broken["error"] or "an encoder" in broken["error"]
    assert broken["command"] == "2mner train cells/broken-seed3/recipe.yaml"
    assert list(figures["parts"]["ablation"]["figures"]["image_text"]) == ["full"]
    page = (study / "whole.html").read_text("utf-8")
    assert "no encoder, seed 3: 2mner train: " in page
    assert full["command"] in page
    assert str(study.parent) not in page + json.dumps(figures)


def test_models_are_measured_and_a_failed_measure_does_not_stop_the_others(study):
    figures = json.loads((study / "study.json").read_text("utf-8"))
    expected = "cells/full-seed3: expected a run with a validation part, found none"
    assert figures["failures"] == {"selection: full-seed3": expected}
    parts = figures["parts"]
    assert parts["contrastive"]["figures"]["full"]["pairs"] == 2
    kinds = [one["kind"] for one in parts["corruption"]["figures"]["full"]["conditions"]]
    assert kinds == ["real", "text_view", "grey", "exchange"]
    assert set(parts["attention"]["figures"]["full"]["attention"]) == {"entities", "other words"}
    assert all(parts[name]["findings"] for name in ("contrastive", "corruption", "attention"))


def test_what_is_done_is_not_repeated(study, plan, capsys):
    run = study / "cells" / "full-seed3"
    files = [run / "metrics.json", run / "measures" / "transfer.json"]
    before = [file.stat().st_mtime_ns for file in files]
    only = ["--only", "transfer", "languages"]
    assert cli_2mner.main(["study", str(plan), *only]) == 0  # `broken` is in neither part
    assert [file.stat().st_mtime_ns for file in files] == before
    assert "languages: Which languages help which" in capsys.readouterr().out
    page = (study / "study.html").read_text("utf-8")
    assert 'id="languages"' in page
    assert 'id="ablation"' in page  # an earlier command has done it, but for a cell that failed
    assert 'id="selection"' not in page  # nothing of it was measured


def test_a_data_set_that_was_named_once_stays(study, plan, tmp_path):
    measures = study / "cells" / "full-seed3" / "measures" / "transfer.json"
    only = ["study", str(plan), "--only", "transfer"]
    other = tmp_path / "other.txt"

    def shown(*more: str) -> dict[str, float]:
        assert cli_2mner.main([*only, *more]) == 0
        parts = json.loads((study / "study.json").read_text("utf-8"))["parts"]
        assert "ablation" in parts
        return parts["transfer"]["figures"]

    other.write_text(SENTENCES, "utf-8")
    assert list(shown("--transfer", f"other={other}")) == ["conll2003", "other"]
    before = measures.read_text("utf-8")
    assert list(shown()) == ["conll2003", "other"]
    assert measures.read_text("utf-8") == before
    other.write_text("Ana\tB-PER\n", "utf-8")
    shown("--transfer", f"other={other}")
    measured = json.loads(measures.read_text("utf-8"))["measured"]
    assert [record["tokens"] for record in measured["other"]["records"]] == [["Ana"]]
    assert len(measured["conll2003"]["records"]) == 1


def test_a_section_that_cannot_be_made_leaves_the_others(study, plan, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(study, out)
    run = out / "cells" / "broken-seed3"  # as if it had been trained, and tested on less
    shutil.copytree(
        out / "cells" / "full-seed3", run, ignore=lambda *_: ["recipe.yaml"], dirs_exist_ok=True
    )
    lines = (run / "predictions.jsonl").read_text("utf-8").splitlines(keepends=True)
    (run / "predictions.jsonl").write_text("".join(lines[1:]), "utf-8")
    command = ["study", str(plan), "--only", "ablation", "--output_dir", str(out)]
    assert cli_2mner.main(command) == 1
    figures = json.loads((out / "study.json").read_text("utf-8"))
    assert list(figures["failures"]) == ["ablation"]
    assert figures["failures"]["ablation"].startswith(
        "cells/full-seed3 and cells/broken-seed3 were"
    )
    assert {"languages", "contrastive", "corruption", "transfer"} <= set(figures["parts"])


def test_another_data_set_is_scored_on_the_types_of_both(study):
    path = study / "cells" / "full-seed3" / "measures" / "transfer.json"
    found = json.loads(path.read_text("utf-8"))["measured"]["conll2003"]
    assert found["types"] == ["PER"]
    assert found["dropped"] == {"DATE": 1}
    (record,) = found["records"]
    assert record["gold"] == [
        {"label": "PER", "start": 0, "end": 1},
        {"label": "PER", "start": 2, "end": 3},
    ]
    assert {entity["label"] for entity in record["predicted"]} <= {"PER"}
    assert found["score"]["overall"]["gold"] == 2


def test_another_recipe_is_no_continuation(study, plan, capsys):
    other = plan.with_name("other.yaml")
    text = plan.read_text("utf-8").replace("per_device_train_batch_size: 2", "learning_rate: 0.5")
    other.write_text(text, "utf-8")
    capsys.readouterr()
    assert cli_2mner.main(["study", str(other)]) == 1
    error = capsys.readouterr().err
    assert "full-seed3 was made with per_device_train_batch_size 2, now it is" in error
    assert "take it away, or name another output_dir" in error


@pytest.mark.chromium
@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("dark", [False, True])
def test_everybody_can_read_the_page(browser, study, width, dark):
    page, hosts = open_page(browser, width=width, dark=dark)
    page.goto((study / "whole.html").as_uri())
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator("section").count() == 8
    assert hosts == set()
