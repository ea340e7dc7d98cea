"""Thresholds chosen on labelled sentences, stored with the model, and used by its pipeline."""

import json
import random
import shutil
from bisect import bisect

import numpy as np
import pytest
from peft import LoraConfig, get_peft_model

from cli_2mner import main
from inference_2mner.calibration import Scored, calibrate
from inference_2mner.corpus import predict_corpus
from inference_2mner.models import load_pipeline, words_of_characters
from inference_2mner.thresholds import annotated_records, choose_thresholds
from modeling_2mner import TwoMNERForTokenClassification
from modeling_2mner.labels_2mner import labels_from_spans
from modeling_2mner.thresholds_2mner import limits_from_file


@pytest.fixture(scope="module")
def model_and_files(model, tmp_path_factory):
    """A model and two labelled files of sentences on which it is the more often right the surer it
    is: the labels are its own, or none."""
    folder = tmp_path_factory.mktemp("chosen")
    shutil.copytree(model, folder / "model")
    draw = random.Random(0)
    names = ("Ana", "Bo", "Rome", "Bern", "lives", "in", "not", "Wer")
    sentences = [draw.choices(names, k=1 + number % 7) for number in range(300)]
    rows = []
    found = load_pipeline(model)([{"words": words} for words in sentences])
    scores = sorted(one["score"] for entities in found for one in entities)
    for words, entities in zip(sentences, found, strict=True):
        right = [
            one
            for one in entities
            if draw.random() < 0.4 + 0.6 * bisect(scores, one["score"]) / len(scores)
        ]
        bounds = words_of_characters(words, [(one["start"], one["end"]) for one in right])
        spans = [(*place, one["label"]) for place, one in zip(bounds, right, strict=True)]
        rows.append({"tokens": words, "ner_tags": labels_from_spans(spans, len(words))})
    files = [folder / "a.jsonl", folder / "b.jsonl"]
    for file, part in zip(files, (rows[:200], rows[200:]), strict=True):
        file.write_text("".join(f"{json.dumps(row)}\n" for row in part), "utf-8")
    return folder / "model", files


def test_thresholds_are_stored_with_the_model_and_the_pipeline_uses_them(
    model_and_files, tmp_path, capsys
):
    model, files = model_and_files
    levels = ["--precision", "0.9", "0.999999", "--alpha", "0.2", "0.001"]
    assert main(["thresholds", str(model), "--validation_files", *map(str, files), *levels]) == 0
    said = capsys.readouterr().out
    assert said.startswith("300 sentences: ")
    assert "| risk 0.001 | none reaches it |" in said
    stored = json.loads((model / "thresholds.json").read_text("utf-8"))
    assert stored["files"] == ["a.jsonl", "b.jsonl"]
    assert stored["risk"]["0.001"] is None

    ner = load_pipeline(model)
    for options in ({"threshold": "precision=0.9"}, {"risk": 0.2}):
        scored = Scored.of(annotated_records(ner, files, **options))
        assert 100 < len(scored.right) < stored["entities"]["predicted"]
        assert scored.right.mean() >= (0.9 if "threshold" in options else 0.8)
    with pytest.raises(ValueError, match=r"no threshold reaches risk=0\.001"):
        ner("Ana", risk=0.001)
    summary = predict_corpus(model, files[0], tmp_path / "out.jsonl", threshold="precision=0.9")
    assert 0 < summary.entities.total() < stored["entities"]["predicted"]


def test_the_pipeline_calibrates_as_the_thresholds_were_chosen(model_and_files):
    model, files = model_and_files
    fitted, scored = choose_thresholds(model, files, precisions=(0.9,))
    weights = fitted["weights"]
    limits = limits_from_file(model / "thresholds.json", "precision", 0.9, "m", weights)
    pairs = list(zip(scored.score.tolist(), scored.label.tolist(), strict=True))
    expected = calibrate(scored.score, scored.label, fitted["temperature"])
    found = np.array([limits.calibrated(score, label) for score, label in pairs])
    assert np.abs(found - expected).max() < 1e-6


def test_a_model_of_the_hub_has_the_thresholds_of_the_commit_that_was_loaded(
    model_and_files, client, tmp_path
):
    model, files = model_and_files
    said = client(
        f"""
        import json
        import subprocess
        import sys
        import torch
        from cli_2mner import main
        from huggingface_hub import HfApi
        from inference_2mner.models import load_pipeline
        from pathlib import Path
        from modeling_2mner import MultimodalNERPipeline, TwoMNERForTokenClassification
        from modeling_2mner import TwoMNERProcessor
        from transformers import AutoModelForTokenClassification, pipeline

        api = HfApi()
        api.create_repo("me/ner")
        api.upload_folder(
            repo_id="me/ner", folder_path={str(model)!r}, ignore_patterns="thresholds.json"
        )
        command = ["thresholds", "me/ner", "--validation_files", {str(files[0])!r}]
        assert main(command) == 1
        assert main([*command, "--alpha", "0.3", "--out", "new/chosen.json"]) == 0
        hf = Path(sys.executable).with_name("hf")
        subprocess.run([hf, "upload", "me/ner", "new/chosen.json", "thresholds.json"], check=True)
        first = api.model_info("me/ner").sha
        loaded = load_pipeline("me/ner")

        # Other weights, without thresholds.
        changed = TwoMNERForTokenClassification.from_pretrained("me/ner")
        torch.nn.init.normal_(changed.crf.transitions)
        changed.save_pretrained("changed")
        api.upload_folder(
            repo_id="me/ner", folder_path="changed", delete_patterns="thresholds.json"
        )

        def outcome(ner):
            try:
                return ner("Ana lives in Rome", risk=0.3)
            except ValueError as error:
                return str(error)

        processor = TwoMNERProcessor.from_pretrained("me/ner")
        found = {{"loaded before": outcome(loaded)}}
        for name, revision in (("first", first), ("newest", None)):
            found[f"pipeline, {{name}}"] = outcome(
                pipeline("multimodal-ner", "me/ner", revision=revision, trust_remote_code=True)
            )
            for kind in (AutoModelForTokenClassification, TwoMNERForTokenClassification):
                ner = MultimodalNERPipeline(
                    model=kind.from_pretrained("me/ner", revision=revision), processor=processor
                )
                found[f"{{kind.__name__}}, {{name}}"] = outcome(ner)
        print(json.dumps(found))
        """,
        token="hf_me",
    )
    (hint,) = [line for line in said.stdout.splitlines() if line.startswith("To store it")]
    assert hint.endswith(": hf upload me/ner new/chosen.json thresholds.json")
    found = json.loads(said.stdout.splitlines()[-1])
    ner = load_pipeline(model)
    stored = json.loads((tmp_path / "home" / "new" / "chosen.json").read_text("utf-8"))
    (model / "thresholds.json").write_text(json.dumps(stored), "utf-8")
    expected = ner("Ana lives in Rome", risk=0.3)
    assert expected
    for name, outcome in found.items():
        if name.endswith("newest"):
            assert outcome.startswith("risk=0.3 needs thresholds.json"), name
        else:
            assert outcome == [pytest.approx(one) for one in expected], name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "nowhere"}, "nowhere: found no such folder, expected one, or --out FILE for"),
        ({"model": "empty"}, "empty: no model can be read there"),
        ({"model": "adapter"}, "`2mner lora merge adapter --out FOLDER` makes one"),
        ({"--validation_files": "nowhere.jsonl"}, "nowhere.jsonl"),
        ({"--alpha": "2"}, "alpha is 2.0, expected a number between 0 and 1"),
        ({"--validation_files": "unknown.conll"}, "found label 'B-SHIP', expected one of"),
    ],
)
def test_what_goes_wrong_is_one_line(
    model_and_files, tmp_path, monkeypatch, capsys, change, message
):
    model, files = model_and_files
    monkeypatch.chdir(tmp_path)
    (tmp_path / "unknown.conll").write_text("Ana\tB-SHIP\n", "utf-8")
    (tmp_path / "empty").mkdir()
    options = {"--validation_files": str(files[0]), "--alpha": "0.1", **change}
    model = options.pop("model", str(model))
    if model == "adapter":
        base = TwoMNERForTokenClassification.from_pretrained(model_and_files[0])
        get_peft_model(base, LoraConfig(target_modules=["query"])).save_pretrained(model)
    assert (
        main(["thresholds", model, *(part for option in options.items() for part in option)]) == 1
    )
    assert message in capsys.readouterr().err.splitlines()[-1]
