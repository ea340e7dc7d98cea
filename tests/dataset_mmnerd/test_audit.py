"""The audit finds what it says it finds, and nothing in a clean data set."""

import json

import pyarrow as pa
import pytest

from dataset_mmnerd import audit as audit_module
from dataset_mmnerd import audit_hashes
from dataset_mmnerd.audit import audit
from dataset_mmnerd.audit_hashes import normalised
from dataset_mmnerd.schema import bio_labels, features
from dataset_mmnerd.shards import ShardWriter, read_shard, replace_shard

from .conftest import enormous_png, image_bytes


def found(report):
    """check -> (severity, count) of everything that was found."""
    return {
        finding.check: (finding.severity, finding.count)
        for finding in report.findings
        if finding.count
    }


def finding(report, check):
    return next(finding for finding in report.findings if finding.check == check)


def write_shard(folder, split, rows):
    """Rows as they are, faults included, which `build` would not have made."""
    columns = features(bio_labels())
    writer = ShardWriter(folder / "data" / "en", split, columns)
    for number, (fields, image) in enumerate(rows):
        empty = dict.fromkeys(columns) | {"id": f"{split}-{number}", "lang": "en"}
        writer.add(empty | {"tokens": ["a"], "ner_tags": ["O"]} | fields, image)
    writer.close()
    return folder


def test_a_clean_data_set_has_no_finding(built):
    folder = built(
        images={"a.png": image_bytes(1), "b.png": image_bytes(2)},
        train=[("Ana sings", "B-PER O", {"image": "a.png"})],
        test=[("Bea dances", "B-PER O", {"image": "b.png"})],
    )
    report = audit(folder)
    assert found(report) == {}
    assert not report.failed(strict=True)
    assert report.sentences == {"train": 1, "test": 1}


def test_faults_of_words_labels_and_ids(tmp_path):
    rows = [
        ({"ner_tags": ["I-PER"]}, None),
        ({"tokens": ["a", "b"], "ner_tags": ["B-PER", "I-LOC"]}, None),
        ({"tokens": [], "ner_tags": []}, None),
        ({"tokens": [" "], "ner_tags": ["O"], "id": "train-0"}, None),
        ({"tokens": ["fine"], "ner_tags": ["B-PER"]}, None),
    ]
    report = audit(write_shard(tmp_path, "train", rows))
    assert found(report) == {
        "empty sentences": ("error", 2),
        "labels not IOB2": ("error", 2),
        "ids repeated": ("error", 1),
    }
    assert report.failed()
    assert finding(report, "labels not IOB2").examples == [
        "train train-0: a <> a I-PER",
        "train train-1: a b <> b I-LOC",
    ]


def test_images_that_are_missing_broken_or_enormous(tmp_path):
    whole = image_bytes(format="JPEG")
    rows = [
        ({"image_id": "gone.jpg"}, None),
        ({"image_id": "cut.jpg"}, whole[:-300]),
        ({"image_id": "cut.jpg"}, whole[:-300]),
        ({"image_id": "big.png"}, enormous_png()),
        ({"image_id": "good.jpg"}, whole),
    ]
    report = audit(write_shard(tmp_path, "train", rows))
    assert found(report) == {
        "images missing": ("warning", 1),
        "images broken": ("error", 1),
        "images enormous": ("error", 1),
    }
    assert finding(report, "images broken").of == 3
    assert "[gone.jpg]" in finding(report, "images missing").examples[0]


def flipped(folder, place: bytes, new: bytes) -> str:
    """Overwrite bytes of the one training shard: its name."""
    (path,) = folder.glob("data/*/train-*.parquet")
    whole = path.read_bytes()
    at = whole.index(place)
    path.write_bytes(whole[:at] + new + whole[at + len(new) :])
    return path.relative_to(folder).as_posix()


@pytest.mark.parametrize("place", [b"\x28\xb5\x2f\xfd", b"ner_tags", b'{"info"', b"tokens"])
def test_flipped_bytes_in_a_shard_are_a_finding_that_names_it(built, place):
    folder = built(train=[("Ana sings", "B-PER O")] * 3, test=[("Bo", "B-PER")])
    name = flipped(folder, place, bytes(8))
    report = audit(folder)
    assert found(report)["files broken"] == ("error", 1)
    (example,) = finding(report, "files broken").examples
    assert example.startswith(f"{name}: ") and "\n" not in example
    assert report.sentences == {"test": 1}
    assert report.failed()


def test_a_damaged_file_of_the_other_set_is_a_finding_too(built):
    folder, other = built("one", train=[("Ana sings", "B-PER O")]), built("two", test=[("Bo", "O")])
    (path,) = other.glob("data/*/*.parquet")
    path.write_bytes(b"no Parquet")
    report = audit(folder, other)
    assert found(report) == {"files broken in two": ("error", 1)}
    assert report.failed()


def test_a_set_whose_files_are_all_broken_is_audited(built):
    folder = built(train=[("Ana sings", "B-PER O")])
    (path,) = folder.glob("data/*/*.parquet")
    path.write_bytes(b"no Parquet")
    report = audit(folder)
    assert found(report) == {"files broken": ("error", 1)}
    assert report.sentences == {} and "files broken" in str(report)


def test_a_label_number_or_a_null_that_no_build_writes_is_told_with_its_row(built):
    folder = built(train=[("Ana sings", "B-PER O")] * 3)
    (path,) = folder.glob("data/*/*.parquet")
    rows, *_ = read_shard(path)
    changes = {
        "ner_tags": ([[1, 0], [99, 0], [1, 0]], "row 2: label [99, 0] of 3"),
        "tokens": ([["a", "b"], ["a", "b"], ["a", None]], "row 3: null in column tokens"),
        "id": ([None, "b", "c"], "row 1: null in column id"),
    }
    for column, (values, reason) in changes.items():
        place = rows.schema.get_field_index(column)
        field = rows.schema.field(column)
        replace_shard(path, rows.set_column(place, field, pa.array(values, field.type)))
        (example,) = finding(audit(folder), "files broken").examples
        assert example == f"{path.relative_to(folder).as_posix()}: {reason}"


def test_a_shard_that_a_link_leads_to_elsewhere_is_not_read(built, tmp_path):
    folder = built(train=[("Ana sings", "B-PER O")])
    (path,) = folder.glob("data/*/*.parquet")
    path.rename(tmp_path / "elsewhere.parquet")
    path.symlink_to(tmp_path / "elsewhere.parquet")
    with pytest.raises(OSError, match=r"train-00000-of-00001\.parquet: found a link that leaves"):
        audit(folder)


def test_files_that_are_missing_or_broken(built):
    folder = built(train=[("a", "O")], test=[("b", "O")])
    train = folder / "data" / "en" / "train-00000-of-00001.parquet"
    train.write_bytes(train.read_bytes()[:-10])
    report = audit(folder)
    assert found(report) == {"files broken": ("error", 1)}
    assert "train-00000" in finding(report, "files broken").examples[0]
    train.unlink()
    report = audit(folder)
    assert found(report) == {"files missing": ("error", 2)}  # of `all` and of `en`
    assert "data/en/train-*.parquet" in finding(report, "files missing").examples


def test_a_folder_that_is_no_data_set_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected data/<language>/<split>"):
        audit(tmp_path)


# Leaks --------------------------------------------------------------------------------------------


def test_the_same_sentence_in_two_splits_exactly_and_after_normalising(built):
    folder = built(
        train=[
            ("Ana sings in Leeds", "O O O O"),
            ("RT @bea : Hello , big bad world", "O O O O O O O O"),
        ],
        validation=[("Ana sings in Leeds", "O O O O")],
        test=[
            ("hello big bad World http://t.co/1", "O O O O O"),
            ("ana SINGS in Leeds !", "O O O O O"),
        ],
    )
    report = audit(folder)
    assert found(report) == {
        "validation sentences in train": ("error", 1),
        "test sentences in train, nearly": ("warning", 2),
        "test sentences in validation, nearly": ("warning", 1),
    }
    (example,) = finding(report, "validation sentences in train").examples
    assert example == (
        "validation validation_en-0: Ana sings in Leeds <> train train_en-0: Ana sings in Leeds"
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hello World", "hello world"),
        ("Hello , World !", "hello world"),
        ("see http://t.co/abc now", "see now"),
        ("see http : //t.co/abc now", "see now"),
        ("@ana hello @ bea", "hello"),
        ("RT @ana : hello", "hello"),
        ("do n't", "don't"),
        ("ＦＵＬＬ width", "full width"),
        ("Straße", "STRASSE"),
    ],
)
def test_what_normalising_takes_away(one, other):
    assert normalised(one.split()) == normalised(other.split())


def test_short_sentences_in_two_splits_are_only_noted(built):
    folder = built(train=[("Thanks !", "O O"), ("ok", "O")], test=[("thanks", "O"), ("ok", "O")])
    report = audit(folder)
    assert found(report) == {"test sentences in train, short": ("note", 2)}
    assert not report.failed(strict=True)


def test_sentences_of_addresses_alone_are_told_apart(built):
    folder = built(train=[("http://a.org/1 www.b.org", "O O")], test=[("http://c.org/2", "O")])
    assert found(audit(folder)) == {}


def test_sentences_without_a_word_are_only_the_same_if_they_are():
    assert normalised(["!", "!"]) != normalised(["?"])
    assert normalised(["🙂"]) != normalised(["🙁"])


def test_the_same_image_in_two_splits_by_content_and_by_look(built):
    folder = built(
        images={
            "one.png": image_bytes(1),
            "same.png": image_bytes(1),
            "two.png": image_bytes(2),
            "smaller.jpg": image_bytes(2, "JPEG", (40, 30)),
            "three.png": image_bytes(3),
            "four.png": image_bytes(4),
        },
        train=[
            ("a", "O", {"image": "one.png"}),
            ("b", "O", {"image": "two.png"}),
            ("c", "O", {"image": "three.png"}),
        ],
        test=[
            ("d", "O", {"image": "same.png"}),
            ("e", "O", {"image": "smaller.jpg"}),
            ("f", "O", {"image": "four.png"}),
        ],
    )
    report = audit(folder)
    assert found(report) == {
        "images of test in train": ("warning", 1),
        "images of test in train, nearly": ("warning", 1),
    }
    (example,) = finding(report, "images of test in train, nearly").examples
    assert "smaller.jpg" in example and "two.png" in example


def test_an_image_shared_within_a_split_is_no_leak(built):
    folder = built(
        images={"one.png": image_bytes(1)},
        train=[("a", "O", {"image": "one.png"}), ("b", "O", {"image": "one.png"})],
        test=[("c", "O")],
    )
    assert found(audit(folder)) == {}


def test_the_same_words_with_other_labels(built):
    folder = built(train=[("Ana sings", "B-PER O"), ("Ana sings", "O O"), ("Ana sings", "O O")])
    report = audit(folder)
    assert found(report) == {"same words, other labels": ("warning", 1)}
    assert "train_en-0" in finding(report, "same words, other labels").examples[0]
    assert report.failed(strict=True) and not report.failed()


def test_entities_of_test_that_stand_in_train_with_the_same_type(built):
    folder = built(
        train=[("Ana Ruiz met Leeds", "B-PER I-PER O B-ORG")],
        test=[("ANA Ruiz in Leeds with Bea", "B-PER I-PER O B-LOC O B-PER")],
    )
    report = audit(folder)
    assert found(report) == {"test entities seen": ("note", 1)}
    assert finding(report, "test entities seen").of == 3


def test_labels_that_look_machine_made(built):
    rows = [("in 1986", "O B-MISC"), ("of 24 - 7", "O B-MISC I-MISC I-MISC"), ("Ana", "B-PER")]
    report = audit(built(train=rows))
    assert found(report) == {"numbers as entities": ("warning", 2)}
    assert finding(report, "numbers as entities").examples[0].endswith("in 1986 <> 1986 MISC")


GERMAN = "Am Nachmittag ziehen von Westen her kräftige Schauer über das ganze Land hinweg ."
ENGLISH = "In the afternoon heavy showers will move across the whole country from the west ."


def test_a_language_column_that_the_text_contradicts(built):
    rows = [(text, "O " * len(text.split()), {"lang": "en"}) for text in (ENGLISH, GERMAN, "Ja .")]
    report = audit(built(train=rows))
    assert found(report) == {"language en contradicted": ("warning", 1)}
    assert GERMAN[:30] in finding(report, "language en contradicted").examples[0]


def test_a_language_that_is_not_known_is_skipped(built):
    report = audit(built(train=[(ENGLISH, "O " * len(ENGLISH.split()), {"lang": "tlh"})]))
    assert finding(report, "language tlh contradicted").severity == "skipped"


def test_without_the_libraries_their_checks_are_skipped(built, monkeypatch):
    for module in (audit_module, audit_hashes):
        monkeypatch.setattr(module, "has_library", lambda library: False)
    folder = built(
        images={"one.png": image_bytes(1)},
        train=[("a", "O", {"image": "one.png"})],
        test=[("b", "O", {"image": "one.png"})],
    )
    report = audit(folder)
    skipped = {finding.check for finding in report.findings if finding.severity == "skipped"}
    assert skipped == {"images of test in train, nearly", "language contradicted"}
    assert found(report) == {"images of test in train": ("warning", 1)}
    assert "imagehash is not installed" in str(report)


# Another data set ---------------------------------------------------------------------------------


def test_the_twitter_2017_leak_is_found(built):
    """Tweets of Twitter-2017's test split stand in the train split of MMNERD's English part."""
    tweet = "RT @JGreenDC : Vince plays Tulsa tonight http://t.co/x1"
    mmnerd = built(
        "mmnerd",
        images={"17_1.png": image_bytes(1), "17_2.png": image_bytes(2)},
        train=[
            (tweet, "O O O B-PER O B-LOC O O", {"image": "17_1.png"}),
            ("Ana sings", "B-PER O", {"image": "17_2.png"}),
        ],
        test=[("Bea dances all night", "B-PER O O O")],
    )
    twitter = built(
        "twitter2017",
        images={"1.jpg": image_bytes(1, "JPEG")},
        train=[("Carl runs", "B-PER O"), ("bea dances all night", "B-PER O O O")],
        test=[("Vince plays Tulsa tonight", "B-PER O B-LOC O", {"image": "1.jpg"})],
    )
    report = audit(mmnerd, against=twitter)
    assert found(report) == {
        "sentences of train in twitter2017's test": ("error", 1),
        "images of train in twitter2017's test, nearly": ("warning", 1),
        "sentences of test in twitter2017's train": ("error", 1),
    }
    (example,) = finding(report, "sentences of train in twitter2017's test").examples
    assert example.startswith("train train_en-0 [17_1.png]: RT @JGreenDC")
    assert report.failed()


def test_the_same_split_of_another_set_is_only_warned_of(built):
    one = built("one", train=[("Ana sings so well", "O O O O"), ("Thanks !", "O O")])
    other = built("other", train=[("ana sings so well .", "O O O O O"), ("thanks", "O")])
    assert found(audit(one, other)) == {
        "sentences of train in other's train": ("warning", 1),
        "sentences of train in other's train, short": ("note", 1),
    }


# The report ---------------------------------------------------------------------------------------


def test_the_report_as_table_and_as_json_says_the_same(built):
    report = audit(built(train=[("Ana", "O"), ("Ana", "B-PER")]))
    parsed = json.loads(report.to_json())
    assert parsed["sentences"] == {"train": 2}
    (entry,) = [entry for entry in parsed["findings"] if entry["count"]]
    assert (entry["check"], entry["severity"], entry["count"], entry["of"]) == (
        "same words, other labels",
        "warning",
        1,
        1,
    )
    (line,) = [line for line in str(report).splitlines() if line.startswith("warning")]
    assert "same words, other labels" in line and "1 of 1" in line


def test_only_the_first_examples_are_shown(tmp_path):
    rows = [({"tokens": [f"w{number}"], "ner_tags": ["I-PER"]}, None) for number in range(30)]
    report = audit(write_shard(tmp_path, "train", rows))
    found_labels = finding(report, "labels not IOB2")
    assert found_labels.count == 30
    assert len(found_labels.examples) == 5
