"""Sources find their files, splits and labels."""

import json
from collections import defaultdict
from dataclasses import replace

import pytest

from dataset_mmnerd import sources
from dataset_mmnerd.readers import MalformedLineError
from dataset_mmnerd.sample import SAMPLE_LANGUAGES, sample_rows
from dataset_mmnerd.schema import SPLITS, bio_labels
from dataset_mmnerd.sources import (
    OpenSource,
    ReadOptions,
    Source,
    SourceError,
    split_by_group,
    split_of,
)

from .conftest import SENTENCES, conll, image_bytes


def rows_by_split(opened, languages=None):
    found = defaultdict(list)
    for split, row in opened.rows(languages):
        found[split].append(row)
    return found


def test_mmnerd_has_four_languages_three_splits_and_fixed_labels(mmnerd_folder):
    opened = OpenSource("mmnerd", mmnerd_folder)
    assert opened.labels == bio_labels()
    assert opened.languages() == sorted(SENTENCES)
    assert opened.splits == list(SPLITS)
    rows = rows_by_split(opened)
    assert {split: len(rows[split]) for split in rows} == dict.fromkeys(SPLITS, 8)
    assert all(row["image"] is not None for split in rows for row in rows[split])


def test_a_language_that_is_not_there_is_simply_not_there(mmnerd_folder):
    for path in (mmnerd_folder / "train_valid_test" / "train_valid_test_es").iterdir():
        path.unlink()
    assert OpenSource("mmnerd", mmnerd_folder).languages() == ["de", "en", "fr"]


def test_some_languages_are_read_alone(mmnerd_folder):
    rows = rows_by_split(OpenSource("mmnerd", mmnerd_folder), ["de", "fr"])
    assert {row["lang"] for row in rows["test"]} == {"de", "fr"}


@pytest.mark.parametrize("source", ["twitter2015", "twitter2017"])
def test_the_twitter_sets_call_other_misc(tmp_path, source):
    (tmp_path / "twitter_images").mkdir()
    (tmp_path / "twitter_images" / "7.jpg").write_bytes(image_bytes(format="JPEG"))
    tweet = ("7.jpg", ["Love", "The", "Bal"], ["O", "B-OTHER", "I-OTHER"])
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text(conll(tweet))
    (tmp_path / "README.txt").write_text("this is no data")
    opened = OpenSource(source, tmp_path)
    rows = rows_by_split(opened)
    assert sorted(rows) == sorted(SPLITS)
    (row,) = rows["validation"]
    assert row["ner_tags"] == ["O", "B-MISC", "I-MISC"]
    assert (row["lang"], row["id"]) == ("en", "valid-0")
    assert row["image"].endswith("7.jpg")
    assert opened.labels == bio_labels()


def test_any_conll_folder_keeps_its_own_languages_and_labels(tmp_path):
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / "dev.conll").write_text(conll((None, ["Il", "gene"], ["O", "B-GENE"])))
    (tmp_path / "train_pt.bio").write_text(conll((None, ["Ana"], ["B-PER"])))
    opened = OpenSource("conll", tmp_path)
    assert opened.languages() == ["it", "pt"]
    assert opened.splits == ["train", "validation"]
    assert opened.labels == bio_labels(["PER", "GENE"])


def test_one_file_is_a_source_too(tmp_path):
    path = tmp_path / "some_test_fr.jsonl"
    path.write_text('{"tokens": ["Oui"], "ner_tags": ["O"]}')
    (tmp_path / "other.jsonl").write_text("no data at all")
    assert [row["id"] for row in rows_by_split(OpenSource("jsonl", path))["test"]] == [
        "some_test_fr-0"
    ]


def test_a_source_is_added_by_a_function_and_a_row(tmp_path, monkeypatch):
    def find_tweets(data_dir, options):
        options = replace(options, image_dir=options.image_dir or data_dir / "media")
        paths = sorted(data_dir.glob("*.tweets"))
        return [sources._part(path, data_dir, options, "pt") for path in paths]

    monkeypatch.setitem(sources.SOURCES, "tweets", Source(find_tweets, entity_types=("PER", "LOC")))
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "1.png").write_bytes(image_bytes())
    (tmp_path / "dev.tweets").write_text(conll(("1", ["Ana"], ["B-PER"])))
    opened = OpenSource("tweets", tmp_path)
    ((split, row),) = opened.rows()
    assert (split, row["lang"], row["image"]) == (
        "validation",
        "pt",
        str(tmp_path / "media" / "1.png"),
    )
    assert opened.labels == bio_labels(["PER", "LOC"])


def test_a_label_outside_the_set_names_file_and_line(mmnerd_folder):
    with pytest.raises(MalformedLineError, match=r"line 2: found label 'B-PER', expected one of"):
        list(OpenSource("mmnerd", mmnerd_folder, entity_types=["LOC"]).rows(["en"]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("twitter2020", "."), "source: found 'twitter2020', expected one of mmnerd, twitter2015"),
        (("conll", None), "found no folder to read"),
        (("mmnerd", "."), "expected train_valid_test/train_valid_test_"),
        (("wikineural", "."), r"found no file, expected some of \.conllu, \.iob2"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=message):
        OpenSource(*arguments)


def test_folders_that_are_not_there_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        OpenSource("conll", tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="noimages"):
        OpenSource("conll", tmp_path, options=ReadOptions(tmp_path / "noimages"))


@pytest.mark.parametrize("shares", [(1, 1), (0, 0, 0), (50, 60, -10)])
def test_shares_must_be_three_weights(tmp_path, shares):
    with pytest.raises(SourceError, match="expected three weights"):
        OpenSource("jsonl", tmp_path, shares=shares)


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train_valid_test/train_valid_test_de/test_conll_format.txt", "test"),
        ("valid_de.txt", "validation"),
        ("de/dev.conllu", "validation"),
        ("en_ewt-ud-test.iob2", "test"),
        ("test/de.jsonl", "test"),
        ("draft_ner.jsonl", None),
        ("contest.txt", None),
    ],
)
def test_the_split_is_told_from_the_path(tmp_path, path, split):
    assert split_of(tmp_path / path) == split


# Splits by group ----------------------------------------------------------------------------------


def row(**fields):
    return {"tokens": ["a"], "image_id": None, "group": None} | fields


def test_shares_are_kept_and_groups_stay_whole():
    splits = [split_by_group(row(image_id=f"image {n}"), (80, 10, 10)) for n in range(2000)]
    assert 0.77 < splits.count("train") / 2000 < 0.83
    assert 0.08 < splits.count("validation") / 2000 < 0.12
    for n in range(50):
        same = {
            split_by_group(row(group=f"story {n}", tokens=[str(i)]), (1, 1, 1)) for i in range(9)
        }
        assert len(same) == 1


def test_a_document_counts_before_an_image_and_an_image_before_the_words():
    assert split_by_group(row(group="g", image_id="x"), (1, 1, 1)) == split_by_group(
        row(group="g", image_id="y"), (1, 1, 1)
    )
    images = {split_by_group(row(image_id=f"{n}"), (1, 1, 1)) for n in range(20)}
    words = {split_by_group(row(tokens=[f"{n}"]), (1, 1, 1)) for n in range(20)}
    assert images == words == set(SPLITS)


def test_more_data_moves_nothing_to_another_split(tmp_path):
    def split_of_each(count):
        lines = [
            json.dumps({"tokens": [f"w{n}"], "ner_tags": ["O"], "id": str(n), "story": str(n % 40)})
            for n in range(count)
        ]
        (tmp_path / "stories_en.jsonl").write_text("\n".join(lines))
        return {row["id"]: split for split, row in OpenSource("jsonl", tmp_path).rows()}

    few, many = split_of_each(100), split_of_each(300)
    assert set(few.values()) == set(SPLITS)
    assert {name: many[name] for name in few} == few


def test_the_sample_is_a_source_whose_rows_do_not_depend_on_the_languages_asked_for():
    opened = OpenSource("sample")
    assert opened.languages() == sorted(SAMPLE_LANGUAGES)
    assert opened.splits == list(SPLITS)
    (part,) = [part for part in opened.parts if (part.split, part.lang) == ("validation", "fr")]
    together = sample_rows("validation", languages=["de", "fr"])
    assert list(part.read(opened.labels)) == [row for row in together if row["lang"] == "fr"]


@pytest.mark.parametrize("source", ["mmnerd", "conll"])
def test_an_image_folder_that_links_out_of_the_data_must_be_named(source, mmnerd_folder, tmp_path):
    folder = mmnerd_folder / "twitter_and_image_caption_images"
    elsewhere = folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(elsewhere)
    with pytest.raises(SourceError, match=r"images: found a link to .*elsewhere, expected image f"):
        OpenSource(source, mmnerd_folder)
    rows = list(OpenSource(source, mmnerd_folder, options=ReadOptions(image_dir=folder)).rows())
    assert rows and all(row["image"] is not None for _, row in rows)


def test_a_folder_of_a_language_called_all_is_refused(mmnerd_folder):
    folder = mmnerd_folder / "train_valid_test"
    (folder / "train_valid_test_de").rename(folder / "train_valid_test_all")
    with pytest.raises(SourceError, match=r"_all/.*: found the language 'all', expected a"):
        OpenSource("mmnerd", mmnerd_folder)
