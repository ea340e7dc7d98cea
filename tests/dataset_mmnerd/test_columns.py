"""Data sets in the form that is usual on the Hub are read, whatever their columns are called."""

import io
import json

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from datasets import Image as ImageFeature
from PIL import Image

from dataset_mmnerd.__main__ import main
from dataset_mmnerd.columns import ColumnError, parse_columns, usual_columns
from dataset_mmnerd.readers import MalformedLineError, dataset_from_files

from .conftest import image_bytes

CONLL = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC"]
TOKENS = [["Ana", "Ruiz", "lives"], ["Lima"], ["ok"]]
TAGS = [["B-PER", "I-PER", "O"], ["B-LOC"], ["O"]]


def data_set(tags=TAGS, names=CONLL, label=None, **columns) -> Dataset:
    """`tokens` and `ner_tags` alone, as class labels; or as another type, `label`."""
    label = label or ClassLabel(names=names)
    if not isinstance(label, Value) or label.dtype != "string":
        tags = [[names.index(tag) for tag in row] for row in tags]
    features = {"tokens": List(Value("string")), "ner_tags": List(label)}
    rows = Dataset.from_dict({"tokens": TOKENS, "ner_tags": tags}, features=Features(features))
    for name, values in columns.items():
        rows = rows.add_column(name, values)
    return rows


def said(rows):
    names = rows.features["ner_tags"].feature.names
    return [[names[tag] for tag in row["ner_tags"]] for row in rows]


@pytest.mark.parametrize(
    ("label", "names"),
    [(None, None), (Value("string"), None), (Value("int64"), CONLL), (Value("string"), CONLL)],
    ids=["class labels", "strings", "numbers with names elsewhere", "strings with their names"],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_tokens_and_tags_alone_are_enough(label, names, streamed):
    rows = data_set(label=label)
    if streamed:
        names = names or (CONLL if label is not None else None)
        rows = rows.to_iterable_dataset(2)
    rows = usual_columns(rows, "train", lang="pt", tag_names=names)
    assert said(rows) == TAGS
    assert [row["id"] for row in rows] == ["train-0", "train-1", "train-2"]
    assert {row["lang"] for row in rows} == {"pt"}
    if label is None:
        assert rows.features["ner_tags"].feature.names == CONLL  # ids stay as they are


def test_a_language_that_nobody_tells_is_unknown():
    assert usual_columns(data_set(), "train")["lang"][:] == ["und"] * 3
    rows = data_set(lang=["es", None, ""])
    assert usual_columns(rows, "train", lang="pt")["lang"][:] == ["es", "pt", "pt"]


def test_columns_of_other_names_and_types_are_read():
    rows = data_set(number=[7, 8, 9], langs=[["es", "es", "es"], ["en"], ["en"]], lang=[1, 2, 3])
    rows = rows.rename_columns({"tokens": "words", "ner_tags": "tags"})
    pairs = ["tokens=words", "ner_tags=tags", "id=number", "lang=langs"]
    rows = usual_columns(rows, "train", columns=parse_columns(pairs))
    assert rows["tokens"][:] == TOKENS
    assert said(rows) == TAGS
    assert rows["id"][:] == ["7", "8", "9"]
    assert rows["lang"][:] == ["es", "en", "en"]
    coded = data_set().add_column("lang", [1, 0, 0], feature=ClassLabel(names=["en", "es"]))
    assert usual_columns(coded, "train")["lang"][:] == ["es", "en", "en"]


@pytest.mark.parametrize(
    ("tags", "names"),
    [
        ([["I-PER", "I-PER", "O"], ["I-LOC"], ["O"]], CONLL),
        ([["I-PER", "I-PER", "O"], ["I-LOC"], ["O"]], ["O", "I-PER", "I-LOC"]),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_iob1_is_repaired_and_counted(tags, names, streamed, caplog):
    rows = data_set(tags, names)
    rows = usual_columns(rows.to_iterable_dataset() if streamed else rows, "train")
    assert said(rows) == TAGS
    counted = "in 1 of 1 sentences" if streamed else "in 2 of 3 sentences"
    assert f"train: {counted} an I- label continues nothing" in caplog.text


def test_bioes_is_read_as_it_is_meant(caplog):
    tags = [["B-PER", "E-PER", "O"], ["S-LOC"], ["O"]]
    names = ["O", *(f"{prefix}-{name}" for name in ("PER", "LOC") for prefix in "BIES")]
    assert said(usual_columns(data_set(tags, names), "train")) == TAGS
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (
            data_set().remove_columns("ner_tags"),
            {},
            "train: found no column 'ner_tags' among tokens; tell its name by columns, such as ner",
        ),
        (data_set(), {"columns": {"tokens": "words"}}, "train: found no column 'words' among tok"),
        (data_set(label=Value("int64")), {}, "has numbers without names; expected tag_names"),
        (
            data_set(label=Value("int64")),
            {"tag_names": ["O", "B-PER"]},
            "train, row 0: found label 2, expected the number of one of O, B-PER",
        ),
        (
            data_set(label=Value("string")),
            {"tag_names": ["O", "B-PER", "I-PER"]},
            "train, row 1: found label 'B-LOC', expected one of O, B-PER, I-PER",
        ),
        (
            data_set([["PER"] * 3, ["O"], ["O"]], ["O", "PER"]),
            {},
            "train, column 'ner_tags': 'PER' is not a label",
        ),
        (
            data_set([["O"], ["O"], ["O"]]),
            {},
            "train, row 0: found 3 tokens and 1 ner_tags, expected a label a word",
        ),
        (
            data_set().remove_columns("tokens").add_column("tokens", ["a", "b", "c"]),
            {},
            r"found column 'tokens' of Value\('string'\), expected a list of strings",
        ),
        (data_set(lang=[1, 2, 3]), {}, r"found column 'lang' of Value\('int64'\), expected string"),
    ],
)
def test_what_is_missing_or_of_another_type_is_said_in_one_line(rows, options, message):
    with pytest.raises(ColumnError, match=message) as error:
        usual_columns(rows, "train", **options)
    assert "\n" not in str(error.value)


def test_a_message_quotes_little_of_a_data_set():
    tags = [["B-" + "x" * 10_000, "O", "O"], ["O"], ["O"]]
    rows = data_set(tags, label=Value("string"))
    with pytest.raises(ColumnError) as error:
        usual_columns(rows, "train", tag_names=["O", *(f"B-{n}" for n in range(1000))])
    assert len(str(error.value)) < 600
    with pytest.raises(ColumnError) as error:
        usual_columns(data_set([["x" * 10_000] * 3, ["O"], ["O"]], label=Value("string")), "train")
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("pair", ["words", "token=words", "tokens=", "=x"])
def test_pairs_of_columns_are_checked(pair):
    with pytest.raises(ColumnError, match="columns: found "):
        parse_columns([pair])


# Files --------------------------------------------------------------------------------------------


def test_json_lines_with_other_names_and_numbers_are_read(tmp_path):
    path = tmp_path / "train.jsonl"
    lines = [
        {"words": words, "tags": [CONLL.index(tag) for tag in tags], "language": "es"}
        for words, tags in zip(TOKENS, TAGS, strict=True)
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    columns = parse_columns(["tokens=words", "ner_tags=tags", "lang=language"])
    rows = dataset_from_files(path, columns=columns, tag_names=CONLL)
    assert rows["tokens"][:] == TOKENS
    assert said(rows) == TAGS
    assert rows["lang"][:] == ["es"] * 3
    with pytest.raises(MalformedLineError, match="line 1: found label 2, expected the number of"):
        dataset_from_files(path, columns=columns, tag_names=CONLL[:2])


def test_a_language_that_is_told_counts_before_a_file_s_name(tmp_path):
    path = tmp_path / "my_id_data.txt"
    path.write_text("Ana\tB-PER\n")
    assert dataset_from_files(path)["lang"][:] == ["id"]
    assert dataset_from_files(path, lang="pt")["lang"][:] == ["pt"]


# Building -----------------------------------------------------------------------------------------


def built_rows(folder):
    (path,) = sorted(folder.glob("data/*/train-*.parquet"))
    return Dataset.from_parquet(str(path), cache_dir=str(folder.parent / "cache"))


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """Save a data set as a folder of one Parquet file, as the Hub has it: `saved(rows)`."""
    monkeypatch.chdir(tmp_path)

    def save(rows):
        (tmp_path / "theirs").mkdir()
        rows.to_parquet(tmp_path / "theirs" / "train-00000.parquet")
        return "theirs"

    return save


def test_a_data_set_of_the_usual_form_is_built(saved, tmp_path, capsys):
    rows = data_set([["I-PER", "I-PER", "O"], ["B-LOC"], ["O"]], label=Value("int64"))
    name = saved(rows.rename_columns({"tokens": "words"}))
    command = f"build --source dataset --data-dir {name} --out mine --language pt --no-audit"
    arguments = [*command.split(), "--columns", "tokens=words", "--tag-names", *CONLL]
    assert main(arguments) == 0, capsys.readouterr().err
    assert "pt train: 3 sentences, 2 entities" in capsys.readouterr().out
    rows = built_rows(tmp_path / "mine")
    assert rows["tokens"][:] == TOKENS
    assert said(rows) == TAGS
    assert rows["id"][:] == ["train-0", "train-1", "train-2"]
    card = (tmp_path / "mine" / "README.md").read_text()
    assert "1 sentences have I- labels that continue nothing" in card
    assert main([*arguments, "--overwrite", "--strict"]) == 1


def test_images_inside_a_data_set_are_kept_and_broken_ones_left_out(saved, tmp_path, capsys):
    whole = {"bytes": image_bytes(1), "path": "a.png"}
    broken = {"bytes": b"no image", "path": "b.png"}
    rows = data_set().add_column("image", [whole, broken, None], feature=ImageFeature())
    assert main(f"build --source dataset --data-dir {saved(rows)} --out mine".split()) == 0
    rows = built_rows(tmp_path / "mine").cast_column("image", ImageFeature(decode=False))
    assert rows["image"][:] == [whole, None, None]
    assert "1 images are broken and left out" in (tmp_path / "mine" / "README.md").read_text()


def test_images_that_a_data_set_only_names_are_read_from_one_folder_alone(saved, tmp_path):
    """A row of a stranger's data set may name any file of this machine: it is not published."""
    for place in ("images", "private"):
        (tmp_path / place).mkdir()
        Image.new("RGB", (3, 2)).save(tmp_path / place / "a.png")
    names = ["a.png", str(tmp_path / "private" / "a.png"), "../private/a.png"]
    command = f"build --source dataset --data-dir {saved(data_set(image=names))} --out mine"
    assert main([*command.split(), "--image-dir", "images", "--no-audit"]) == 0
    rows = built_rows(tmp_path / "mine").cast_column("image", ImageFeature(decode=False))
    assert [image is not None for image in rows["image"][:]] == [True, False, False]
    assert Image.open(io.BytesIO(rows[0]["image"]["bytes"])).size == (3, 2)


def test_a_language_that_is_a_path_makes_no_folder(saved, tmp_path, capsys):
    name = saved(data_set(lang=["../../escaped"] * 3))
    assert main(f"build --source dataset --data-dir {name} --out mine".split()) == 1
    assert "row 0: found lang '../../escaped', expected a language code" in capsys.readouterr().err
    assert not list(tmp_path.parent.glob("escaped*"))


def test_a_data_set_that_is_not_there_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["build", "--source", "dataset", "--data-dir", "me/nowhere", "--out", "mine"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "SourceError: me/nowhere: found no data set" in line


def test_a_damaged_parquet_file_is_one_line_that_names_it(saved, tmp_path, capsys):
    name = saved(data_set())
    (path,) = (tmp_path / name).glob("*.parquet")
    path.write_bytes(path.read_bytes()[:-50])
    assert main(f"build --source dataset --data-dir {name} --out mine".split()) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "SourceError: theirs: found no data set that can be read" in line
    assert path.name in line
