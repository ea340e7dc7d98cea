"""`scripts/predict.py` as a user runs it."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from modeling_2mner import TwoMNERForTokenClassification, TwoMNERProcessor

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "predict.py"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, text_encoder, vision_encoder):
    folder = tmp_path_factory.mktemp("run")
    encoders = [text_encoder(), vision_encoder()]
    TwoMNERForTokenClassification.from_text_vision_pretrained(*encoders).save_pretrained(folder)
    TwoMNERProcessor.from_text_vision_pretrained(*encoders).save_pretrained(folder)
    return folder


def test_typed_sentences_and_two_examples_with_and_without_their_image(run_folder):
    shown = subprocess.run(
        [sys.executable, SCRIPT, run_folder],
        capture_output=True,
        text=True,
        timeout=300,
    )
    typed, examples = re.split(r"\n\d+ of 24 entities found\n", shown.stdout)
    assert "\nApple hired Tim Cook in California.\n" in typed
    assert "  not found: " in typed  # the model is not trained
    lines = examples.splitlines()
    blank, sentence, with_image, without = lines[:4]
    assert (blank, len(lines)) == ("", 8)
    assert sentence
    assert with_image.startswith("  with its image:  ")
    assert without.startswith("  without an image: ")


def test_the_ten_sentences_are_those_of_the_readme():
    sentences = runpy.run_path(str(SCRIPT))["SENTENCES"]
    assert len(sentences) == 10
    readme = (SCRIPT.parents[1] / "README.md").read_text("utf-8")
    assert " ".join(sentences) in " ".join(readme.split())


@pytest.fixture(scope="module")
def predict():
    return runpy.run_path(str(SCRIPT))["main"]


def test_a_sentence_and_image_of_ones_own(predict, run_folder, tmp_path, capsys):
    Image.new("RGB", (20, 20), "red").save(tmp_path / "red.png")
    own = ["--text", "Ana lives in Lima.", "--image", str(tmp_path / "red.png")]
    predict([str(run_folder), *own])
    shown = capsys.readouterr().out
    assert shown.splitlines()[1] == "Ana lives in Lima."
    assert "with its image" in shown


def test_visual_context_of_ones_own(predict, tmp_path, text_encoder, capsys):
    TwoMNERForTokenClassification.from_text_vision_pretrained(text_encoder()).save_pretrained(
        tmp_path
    )
    TwoMNERProcessor.from_text_vision_pretrained(text_encoder(), context_budget=9).save_pretrained(
        tmp_path
    )
    predict([str(tmp_path), "--words", "Ana", "sings", "--objects", "stage", "--ocr", "On tour"])
    assert "with its image" in capsys.readouterr().out
    predict([str(tmp_path), "--words", "Ana", "sings"])
    assert "with its image" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere holds no trained model (no config.json)"),
        (["RUN", "--image", "none.png", "--text", "a"], "--image: there is no none.png"),
        (["RUN", "--image", str(SCRIPT)], "--image needs the sentence it belongs to"),
        (["RUN", "--image", str(SCRIPT), "--text", "a"], "predict.py: found an unknown or damaged"),
        (["RUN", "--ocr", "On tour"], "--ocr needs the sentence it belongs to"),
    ],
)
def test_a_mistake_is_one_line(predict, run_folder, capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        predict([str(run_folder) if argument == "RUN" else argument for argument in arguments])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
