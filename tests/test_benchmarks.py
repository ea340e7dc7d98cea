"""Every benchmark starts: what it imports is there, and it says what it measures. A run that is
there is used if it is the same. And the parts of the one that makes its own are apart."""

import importlib
import runpy
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dataset_mmnerd.files import write_json, write_lines
from training_2mner.recipes import read_recipe
from training_2mner.run_record import describe_recipe

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SCRIPTS = sorted(path for path in BENCHMARKS.glob("*.py") if path.stem != "runner")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_benchmark_explains_itself(script, monkeypatch, capsys):
    monkeypatch.syspath_prepend(BENCHMARKS)  # as Python itself does for a script
    monkeypatch.setattr("sys.argv", [str(script), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: {script.name}")
    assert runpy.run_path(str(script))["__doc__"].splitlines()[0] in " ".join(shown.split())


@pytest.fixture(scope="module")
def real_images():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module("real_images")


@pytest.fixture(scope="module")
def runner(real_images):
    return importlib.import_module("runner")


@pytest.fixture
def run(runner, tmp_path):
    """A run of `2mner_offline` at a learning rate, made in another checkout."""
    given = ["2mner_offline", "--learning_rate", "1e-4", "--output_dir", "elsewhere"]
    recipe = describe_recipe(*read_recipe(given))
    del recipe["model"]["lora_rank"]  # as if it were of a version without it
    test = [{"id": "a", "tokens": ["Ana"]}]
    data = {"train": {"sentences": 2}, "test": {"sentences": 1}}
    write_json(tmp_path / "metrics.json", {"recipe": recipe, "data": data})
    write_lines(tmp_path / "predictions.jsonl", test)
    return tmp_path


def test_a_finished_run_of_the_same_recipe_and_options_is_used(runner, run):
    setting = runner.Setting("2mner_offline")
    assert runner.train_once(setting, run, ["--learning_rate", "0.0001"]) == run


@pytest.mark.parametrize(
    ("recipe", "changes", "options", "message"),
    [
        ("2mner_offline", {}, [], "learning_rate 0.0001, expected 0.0002; give another --out"),
        ("2mner_offline", {"alpha": 1.0}, ["--learning_rate", "1e-4"], "model_config {"),
        ("text_only_offline", {}, ["--learning_rate", "1e-4"], 'vision_model "backbones/vision", '),
        (
            "2mner_offline",
            {},
            ["--learning_rate", "1e-4", "--train_languages", "en"],
            r'train_languages null, expected \["en"\]',
        ),
    ],
)
def test_a_finished_run_of_another_recipe_or_option_is_refused(
    runner, run, recipe, changes, options, message
):
    with pytest.raises(SystemExit, match=f"{run}: found a run with {message}"):
        runner.train_once(runner.Setting(recipe, changes), run, options)


def test_a_finished_run_on_other_sentences_is_refused(runner, run):
    rows = [{"id": "a", "tokens": ["Ana"]}, {"id": "b", "tokens": ["Bo"]}]
    runner.check_sentences(run, {"train": rows, "test": rows[:1]})
    for other in {"train": rows, "test": rows[1:]}, {"train": rows[1:], "test": rows[:1]}:
        with pytest.raises(SystemExit, match="found a run on other sentences"):
            runner.check_sentences(run, other)


@pytest.fixture(scope="module")
def images_folder(tmp_path_factory):
    """Ten images of each kind: two logos have one owner, two flags are nearly the same, and a logo
    is white."""
    folder = tmp_path_factory.mktemp("data")
    noise = np.random.default_rng(0)
    pixels = {
        (kind, number): noise.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        for kind in ("portrait", "logo", "flag", "subflag")
        for number in range(10)
    }
    pixels["logo", 2][:] = 255
    pixels["subflag", 0] = pixels["flag", 0] // 2 + 9
    keys = {("logo", 0): "maker|FF0000", ("logo", 1): "maker maps|00FF00"}
    lines = ["image\tkind\tkey"]
    for (kind, number), image in pixels.items():
        Image.fromarray(image).save(folder / f"{kind}{number}.png")
        key = keys.get((kind, number), f"x{number}")
        lines.append(f"{kind}{number}.png\t{kind}\t{key}")
    (folder / "images.tsv").write_text("\n".join(lines), encoding="utf-8")
    return folder


def test_images_that_show_the_same_are_of_one_part_and_those_that_show_nothing_of_none(
    real_images, images_folder
):
    parts = real_images.divide(real_images.read_images(images_folder), seed=1)
    place = {
        image: part
        for part, by_type in parts.items()
        for images in by_type.values()
        for image in images
    }
    assert sum(len(images) for part in parts.values() for images in part.values()) == len(place)
    assert len(place) == 39
    assert "logo2.png" not in place
    assert place["logo0.png"] == place["logo1.png"]
    assert place["flag0.png"] == place["subflag0.png"]
    for part in ("validation", "test"):
        assert len(parts[part]["PER"]) == 2
        assert 2 <= len(parts[part]["ORG"]) <= 3  # of nine, with one group of two


def test_names_with_real_images_have_each_type_equally_often_and_a_part_of_their_own(
    real_images, images_folder
):
    parts = real_images.divide(real_images.read_images(images_folder), seed=1)
    names = {}
    for part, images in parts.items():
        rows = real_images.write_sentences(part, images, size=200, seed=1)
        decided = real_images.decided_by_image(rows)
        assert all(row["image"] in images[real_images.type_of(row)] for row in decided)
        named = Counter(
            (word, tag[2:])
            for row in decided
            for word, tag in zip(row["tokens"], row["ner_tags"], strict=True)
            if tag != "O"
        )
        names[part] = {name for name, _ in named}
        for name in names[part]:
            assert named[name, "PER"] == named[name, "ORG"] == named[name, "LOC"] > 0
        used = {row["image"] for row in rows if row["image"]}
        assert used <= {image for of_type in images.values() for image in of_type}
    assert not names["train"] & names["test"]
    assert not names["train"] & names["validation"]
    assert not names["validation"] & names["test"]


def test_patches_of_another_size_have_channels_of_their_own_in_a_branch(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    joined = importlib.import_module("image_inputs").joined
    patches, mean, vector = (
        torch.full((2, 4, 3), 1.0),
        torch.full((2, 1, 3), 2.0),
        torch.ones(2, 1, 5),
    )
    assert joined([patches, mean]).tolist() == [[[1.0] * 3] * 4 + [[2.0] * 3]] * 2
    expected = [[1.0] * 3 + [0.0] * 5] * 4 + [[0.0] * 3 + [1.0] * 5]
    assert joined([patches, vector]).tolist() == [expected] * 2


def test_a_vector_of_class_names_is_the_mean_of_those_that_the_classifier_finds(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    read = importlib.import_module("image_inputs").image_features
    names = torch.eye(3)
    features = {
        "patches": torch.ones(2, 4, 9),  # a length of 3
        "names": names,
        "probabilities": torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]),
    }
    found = read(features, seed=0)
    certain, torn = found["class names"][:, 0]
    centred = names - names.mean(0)
    assert torch.cosine_similarity(certain, centred[0], dim=0) > 0.999
    assert torch.cosine_similarity(torn, centred[1] + centred[2], dim=0) > 0.999
    assert found["class names"].norm(dim=-1).mean().item() == pytest.approx(3)
    orders = [read(features, seed)["permuted names"] for seed in range(8)]
    assert any(not torch.equal(order, orders[0]) for order in orders)
    assert found["mean"].shape == (2, 1, 9)
