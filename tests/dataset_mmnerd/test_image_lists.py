"""Sentences with several images: MNER-MI's layout, JSON lines, shards, audit, context, sample."""

import json

import pytest
from datasets import Dataset, Image, List, load_dataset

from dataset_mmnerd.audit import audit
from dataset_mmnerd.build import build
from dataset_mmnerd.context_folder import fill_context
from dataset_mmnerd.context_store import visual_context
from dataset_mmnerd.image_lists import images_of_row, undecoded
from dataset_mmnerd.readers import MalformedLineError, dataset_from_files
from dataset_mmnerd.sample import load_sample
from dataset_mmnerd.schema import SPLITS
from dataset_mmnerd.shards import read_shard
from dataset_mmnerd.sources import SourceError, split_by_group

from .conftest import image_bytes
from .test_context_folder import Widths

WIDTHS = {"1_0.jpg": 40, "1_1.jpg": 41, "2_0.jpg": 42, "O_5.jpg": 43}


def line(number, text, images, label):
    return {"id": number, "text": text.split(), "images": images, "label": label.split(), "url": ""}


@pytest.fixture
def mner_mi(tmp_path):
    """MNER-MI and MNER-MI-Plus in the layout of the authors."""
    root = tmp_path / "Dataset"
    for name, width in WIDTHS.items():
        file = root / ("twitter2017_images" if name.startswith("O") else "images") / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(image_bytes(width, "JPEG", size=(width, 30)))
    (root / "images" / "2_1.jpg").write_bytes(b"\xff\xd8 cut off")
    first = line(1, "soft spot for Ana", ["1_0.jpg", "1_1.jpg"], "O O O B-PER")
    parts = {
        "train": [first, line(2, "Leeds again", ["2_0.jpg", "2_1.jpg", "2_2.jpg"], "B-LOC O")],
        "val": [line(3, "Le Bal", ["1_1.jpg", "1_0.jpg"], "B-MIS I-MIS")],
        "test": [line(4, "no image here", [], "O O O")],
    }
    plus = [first, line("twitter2017-O_5", "The Bal", ["twitter2017-O_5.jpg"], "O B-MISC")]
    (root / "text").mkdir()
    for split, lines in parts.items():
        for name, own in (("MI", lines), ("UNI", plus if split == "train" else lines)):
            text = "".join(f"{json.dumps(one)}\n" for one in own)
            (root / "text" / f"MNER-{name}_{split}.txt").write_text(text)
    return root


def load(folder):
    return load_dataset(str(folder), cache_dir=str(folder.parent / "cache"))


def test_mner_mi_is_built_with_all_images_of_a_sentence(mner_mi, tmp_path):
    report = build("mner_mi", mner_mi, tmp_path / "set")
    assert report.warnings == {"images are missing": 1, "images are broken and left out": 1}
    data = load(tmp_path / "set")
    assert data["train"].features["image"] == List(Image())
    first, second = data["train"]
    assert [image.width for image in first["image"]] == [40, 41]
    assert second["image_id"] == ["2_0.jpg", "2_1.jpg", "2_2.jpg"]
    assert [image and image.width for image in second["image"]] == [42, None, None]
    (test,) = data["test"]
    assert test["image"] is None
    assert test["image_id"] is None
    (val,) = data["validation"]
    names = data["validation"].features["ner_tags"].feature
    assert names.int2str(val["ner_tags"]) == ["B-MISC", "I-MISC"]
    assert "| `image` | list of images, or null |" in (tmp_path / "set" / "README.md").read_text()


def test_mner_mi_plus_finds_the_images_of_twitter_2017(mner_mi, tmp_path):
    build("mner_mi_plus", mner_mi, tmp_path / "set", with_audit=False)
    rows = load(tmp_path / "set")["train"]
    assert rows[1]["image_id"] == ["twitter2017-O_5.jpg"]
    assert [image.width for image in rows[1]["image"]] == [43]
    with pytest.raises(SourceError, match=r"found none of its files, expected text/MNER-MI_"):
        build("mner_mi", mner_mi / "images", tmp_path / "other")


def test_an_image_of_several_lists_is_stored_once_and_audited_as_an_image(mner_mi, tmp_path):
    text = mner_mi / "text" / "MNER-MI_train.txt"
    again = line(5, "Ana again", ["1_1.jpg", "1_0.jpg", "1_1.jpg"], "B-PER O")
    text.write_text(text.read_text() + json.dumps(again) + "\n")
    build("mner_mi", mner_mi, tmp_path / "set", with_audit=False)
    (path,) = (tmp_path / "set").glob("data/en/train-*.parquet")
    _, images, counts = read_shard(path)
    assert counts == [2, 3, 3]
    assert len(images.dictionary) == 3
    assert images.indices.to_pylist() == [0, 1, 2, None, None, 1, 0, 1]
    found = {one.check: one for one in audit(tmp_path / "set").findings}
    assert (found["images missing"].count, found["images missing"].of) == (2, 10)
    assert found["images of validation in train"].count == 2
    (example, _) = found["images of validation in train"].examples
    assert "[1_1.jpg, 1_0.jpg]: Le Bal" in example


def test_the_context_of_several_images_is_joined_in_their_order(mner_mi, tmp_path):
    build("mner_mi", mner_mi, tmp_path / "set", with_audit=False)
    fill_context(tmp_path / "set", lambda languages, device: [Widths()])
    data = undecoded(load(tmp_path / "set")["train"])
    assert data["objects"][:] == [["40 wide", "41 wide"], ["42 wide"]]
    assert [len(row["image"]) for row in data] == [2, 3]
    made = visual_context(data["image"][:], ["en", "en"], [Widths()])
    assert made == {"objects": data["objects"][:]}


def write_lines(path, *rows):
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_json_lines_may_have_lists_and_are_then_built_again_from_the_data_set(tmp_path):
    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes(image_bytes(number))
    row = {"tokens": ["Ana"], "ner_tags": ["B-PER"]}
    file = write_lines(
        tmp_path / "train_en.jsonl",
        row | {"image": ["0.png", "nowhere.png"], "image_id": ["zero", "none"]},
        row | {"image": "1.png"},
        row,
    )
    rows = undecoded(dataset_from_files(file))
    assert rows["image_id"][:] == [["zero", "none"], ["1.png"], None]
    paths = [[image and image["path"] for image in images_of_row(own)] for own in rows["image"]]
    assert paths == [[str(tmp_path / "0.png"), None], [str(tmp_path / "1.png")], []]
    build("jsonl", file, tmp_path / "set", with_audit=False)
    build("dataset", tmp_path / "set", tmp_path / "again", with_audit=False)
    one, two = (undecoded(load(tmp_path / name)["train"]) for name in ("set", "again"))
    assert one["image"][:] == two["image"][:]
    assert one["image"][0][0]["bytes"] == image_bytes(0)
    plain = write_lines(tmp_path / "test_en.jsonl", row | {"image": "1.png"})
    assert dataset_from_files(plain).features["image"] == Image()


def test_names_of_missing_images_are_kept(tmp_path):
    row = {"tokens": ["Ana"], "ner_tags": ["B-PER"], "image": None, "image_id": ["a", "b"]}
    rows = dataset_from_files(write_lines(tmp_path / "train_en.jsonl", row))
    assert rows["image_id"][:] == [["a", "b"]]
    assert rows["image"][:] == [None]
    report = build("jsonl", tmp_path, tmp_path / "set", with_audit=False)
    assert report.warnings == {"images are missing": 2}


def test_images_without_names_are_built_and_audited(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    image = {"bytes": image_bytes(), "path": None}
    row = {"tokens": ["Ana", "met", "Bo", "in", "Rome"], "ner_tags": ["O"] * 5, "lang": "en"}
    row |= {"image": [image, None]}
    for split in ("train", "test"):
        Dataset.from_list([row | {"id": split}]).to_parquet(source / f"{split}.parquet")
    build("dataset", source, tmp_path / "set", with_audit=False)
    assert load(tmp_path / "set")["train"]["image_id"][:] == [[None, None]]
    shown = {example for one in audit(tmp_path / "set").findings for example in one.examples}
    assert "test test: Ana met Bo in Rome <> train train: Ana met Bo in Rome" in shown


def test_rows_are_put_into_splits_by_the_names_of_their_images_if_they_have_any():
    rows = [{"tokens": [str(n)], "image_id": [None, None]} for n in range(30)]
    assert {split_by_group(row, (1, 1, 1)) for row in rows} == set(SPLITS)
    named = [row | {"image_id": ["a", None]} for row in rows]
    assert len({split_by_group(row, (1, 1, 1)) for row in named}) == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image": ["a.png", 7]}, "expected a string, a list of strings or null"),
        ({"image": ["../a.png"]}, "expected a relative name inside the image folder"),
        ({"image": ["a"], "image_id": ["a", "b"]}, "found 1 images and 2 image_ids, expected one"),
    ],
)
def test_what_is_no_list_of_images_names_its_line(tmp_path, fields, message):
    file = write_lines(tmp_path / "a.jsonl", {"tokens": ["Ana"], "ner_tags": ["B-PER"]} | fields)
    with pytest.raises(MalformedLineError, match=rf"a\.jsonl, line 1: .*{message}"):
        dataset_from_files(file)


def test_one_of_three_images_of_the_sample_is_that_of_the_plain_sample():
    chosen = {"sentences": 30, "languages": ["en"]}
    plain, several = load_sample(**chosen), load_sample(**chosen, several_images=True)
    places = set()
    for split in plain:
        for one, three in zip(undecoded(plain[split]), undecoded(several[split]), strict=True):
            assert one["tokens"] == three["tokens"]
            assert one["object_box"] == three["object_box"]
            if one["image"] is None:
                assert three["image"] is three["object_image"] is None
                continue
            assert len({image["bytes"] for image in three["image"]}) == 3
            assert three["image"][three["object_image"]]["bytes"] == one["image"]["bytes"]
            places.add(three["object_image"])
    assert places == {0, 1, 2}
