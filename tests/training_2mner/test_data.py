"""Data sets and files in the form in which people have them become data to train on."""

import json

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from training_2mner.arguments import DataArguments, RecipeError
from training_2mner.data import label_names, load_data
from training_2mner.new_language import old_rows

NAMES = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
WORDS = [["Ana", "Ruiz"], ["Lima"], ["ok"]]
TAGS = [["I-PER", "I-PER"], ["B-LOC"], ["O"]]
READ = [["B-PER", "I-PER"], ["B-LOC"], ["O"]]


@pytest.fixture
def usual(tmp_path):
    """A data set of the Hub's usual form in a folder: `usual(label)` gives the folder's name."""

    def save(label, words="tokens", tags="ner_tags", splits=("train", "test")):
        ids = TAGS if label == Value("string") else [[NAMES.index(t) for t in row] for row in TAGS]
        features = Features({words: List(Value("string")), tags: List(label)})
        rows = Dataset.from_dict({words: WORDS, tags: ids}, features=features)
        (tmp_path / "theirs").mkdir()
        for split in splits:
            rows.to_parquet(tmp_path / "theirs" / f"{split}.parquet")
        return str(tmp_path / "theirs")

    return save


def said(rows):
    names = label_names(rows)
    return [[names[tag] for tag in row["ner_tags"]] for row in rows]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("label", "tag_names"),
    [(ClassLabel(names=NAMES), None), (Value("string"), NAMES), (Value("int64"), NAMES)],
    ids=["class labels", "strings", "numbers"],
)
def test_words_and_labels_alone_are_enough(usual, label, tag_names, streaming, caplog):
    arguments = DataArguments(
        dataset_name=usual(label, "words", "tags"),
        columns=["tokens=words", "ner_tags=tags"],
        language="pt",
        tag_names=tag_names,
        streaming=streaming,
        languages=["pt"],
    )
    data = load_data(arguments)
    for split in ("train", "test"):
        rows = list(data[split])
        assert [row["tokens"] for row in rows] == WORDS
        assert said(data[split]) == READ
        assert [(row["id"], row["lang"]) for row in rows] == [
            (f"{split}-{index}", "pt") for index in range(3)
        ]
    assert "train: in 1 of " in caplog.text


def test_strings_need_no_names_unless_streamed(usual):
    name = usual(Value("string"))
    data = load_data(DataArguments(dataset_name=name))
    assert said(data["train"]) == READ
    assert data["train"]["lang"][:] == ["und"] * 3
    with pytest.raises(RecipeError, match="train: column 'ner_tags' of a stream has strings"):
        load_data(DataArguments(dataset_name=name, streaming=True))


def test_what_a_data_set_lacks_is_one_line(usual):
    name = usual(Value("int64"))
    with pytest.raises(RecipeError, match="numbers without names; expected tag_names"):
        load_data(DataArguments(dataset_name=name))
    with pytest.raises(RecipeError, match="train: found no column 'words' among tokens, ner_tags"):
        load_data(DataArguments(dataset_name=name, columns=["tokens=words"]))
    with pytest.raises(ValueError, match="columns: found 'words', expected each once"):
        DataArguments(dataset_name=name, columns=["words"])


@pytest.fixture
def files(tmp_path):
    """JSON lines under other names, with numbers."""
    path = tmp_path / "train.jsonl"
    lines = [
        json.dumps({"words": words, "tags": [NAMES.index(tag) for tag in tags]})
        for words, tags in zip(WORDS, TAGS, strict=True)
    ]
    path.write_text("\n".join(lines))
    return str(path)


READING = {"columns": ["tokens=words", "ner_tags=tags"], "tag_names": NAMES}


def test_files_of_other_names_are_read(files):
    arguments = DataArguments(
        train_files=[files], test_files=[f"{files}[50%:]"], language="pt", **READING
    )
    data = load_data(arguments)
    assert said(data["train"]) == READ
    assert said(data["test"]) == READ[1:]
    assert data["train"]["lang"][:] == ["pt"] * 3


def test_files_take_the_place_of_a_data_set_s_test_part(usual, tmp_path):
    path = tmp_path / "own.conll"
    path.write_text("Lima B-LOC\n\nAna B-PER\n", "utf-8")
    name = usual(ClassLabel(names=NAMES))
    data = load_data(DataArguments(dataset_name=name, test_files=[str(path)], language="es"))
    assert said(data["train"]) == READ
    assert said(data["test"]) == [["B-LOC"], ["B-PER"]]
    assert data["test"]["lang"][:] == ["es", "es"]
    path.write_text("Lima B-DRUG\n", "utf-8")
    with pytest.raises(RecipeError, match=r"^test: entities of type 'DRUG', those to be learned"):
        load_data(DataArguments(dataset_name=name, test_files=[str(path)]))


def test_training_languages_are_those_of_unlabelled_sentences_too(tmp_path):
    rows = [{"tokens": ["Rom"], "ner_tags": ["B-LOC"], "lang": lang} for lang in ("de", "en")]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    files = [str(path)]
    data = load_data(
        DataArguments(
            train_files=files, test_files=files, unlabelled_files=files, train_languages=["en"]
        )
    )
    assert data["train"]["lang"][:] == ["en", "en"]
    assert data["test"]["lang"][:] == ["de", "en"]


def test_old_sentences_of_other_names_are_read(files, tmp_path):
    rows, _ = old_rows(str(tmp_path), [files], ("test",), load_data, READING)
    assert said(rows) == READ
    recorded = {
        **dict.fromkeys(("dataset_name", "dataset_config", "test_files", "validation_files")),
        **READING,
        "train_files": [files],
        "language": "pt",
    }
    (tmp_path / "metrics.json").write_text(json.dumps({"recipe": {"data": recorded}}))
    rows, _ = old_rows(str(tmp_path), None, ("train",), load_data)
    assert said(rows) == READ
    assert rows["lang"][:] == ["pt"] * 3


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("damage", ["cut", "empty", "overwritten"])
def test_a_damaged_parquet_file_is_one_line_that_names_it(usual, tmp_path, damage, streaming):
    name = usual(ClassLabel(names=NAMES))
    path = tmp_path / "theirs" / "test.parquet"
    content = path.read_bytes()
    harm = {
        "cut": content[:-50],
        "empty": b"",
        "overwritten": b"PAR1" + b"\xff" * 60 + content[64:],
    }
    path.write_bytes(harm[damage])
    with pytest.raises(RecipeError, match=r"data set .* cannot be loaded.*test\.parquet") as error:
        load_data(DataArguments(dataset_name=name, streaming=streaming))
    assert "\n" not in str(error.value)
