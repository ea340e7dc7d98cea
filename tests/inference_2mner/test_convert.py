"""Results of `2mner predict` in the forms of other programs; no model is needed for it."""

import json
import sys
import tracemalloc
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
import spacy
from datasets import Dataset, load_dataset
from PIL import Image
from spacy.tokens import DocBin
from spacy.training import Corpus

from cli_2mner import main
from dataset_mmnerd.readers import read_file
from inference_2mner.convert import convert
from inference_2mner.corpus import predict_corpus
from inference_2mner.label_studio import labelling_config
from inference_2mner.models import load_pipeline
from modeling_2mner.words_2mner import split_into_words
from tests.conftest import full_disk
from tests.inference_2mner.texts import TEXTS

WORDS = [["Ana", "lives", "in", "New", "York", "!"], ["東京", "🚒", "e\u0301t\u00e9"], ["ok"], []]


def entity(text: str, start: int, end: int, label: str, score: float) -> dict:
    return {"label": label, "score": score, "start": start, "end": end, "text": text}


def records() -> list[dict]:
    """Results for texts in every script, with entities of one word or of several; and for words."""
    made = []
    for name, text in TEXTS.items():
        words = split_into_words(text)
        parts = [words[:1], words[1:4], words[-1:]] if len(words) > 4 else [words[:1]]
        entities = [
            entity(text[part[0][0] : part[-1][1]], part[0][0], part[-1][1], label, score)
            for part, label, score in zip(parts, ("PER", "LOC", "ORG"), (0.9, 0.25, 1.0))  # noqa: B905
            if part
        ]
        made.append({"id": name, "text": text, "windows": 1, "entities": entities})
    for number, tokens in enumerate(WORDS):
        entities = [entity(tokens[0], 0, 1, "PER", 0.5)] if tokens else []
        if len(tokens) > 4:
            entities.append(entity("New York", 3, 5, "LOC", 0.75))
        made.append({"id": f"words-{number}", "tokens": tokens, "windows": 1, "entities": entities})
    made[0] |= {"lang": "de", "image": "a b/ä?#.png", "image_read": True, "ocr": ["<b>", "'"]}
    made[0]["entities"][0] |= {
        "alternatives": [{"label": "PER", "score": 0.9}, {"label": "LOC", "score": 0.05}],
        "score_without_image": 0.4,
        "typed_from": "image",
    }
    return made


def write(path: Path, results: list[dict], labels: list[str] | None = None) -> Path:
    """Results as JSON lines; with labels, beside the summary of a model that has these labels."""
    lines = (f"{json.dumps(result, ensure_ascii=False)}\n" for result in results)
    path.write_text("".join(lines), "utf-8")
    if labels is not None:
        model = {"labels": labels, "word_rules": 1, "version": "demo-1a2b3c4d"}
        summary = path.with_name(f"{path.name}.summary.json")
        summary.write_text(json.dumps({"model": model}), "utf-8")
    return path


@pytest.fixture
def results(tmp_path) -> Path:
    """With an image beside them."""
    image = tmp_path / "a b" / "ä?#.png"
    image.parent.mkdir()
    Image.new("RGB", (40, 30), "red").save(image)
    labels = ["O", "B-LOC", "B-PER", "B-ORG", "B-MISC"]
    return write(tmp_path / "entities.jsonl", records(), labels)


def characters(record: dict) -> tuple[str, list[tuple[int, int, str, float]]]:
    """A record's text, and its entities as characters: counted word by word."""
    if "text" in record:
        return record["text"], [
            (one["start"], one["end"], one["label"], one["score"]) for one in record["entities"]
        ]
    tokens, found = record["tokens"], []
    for one in record["entities"]:
        start = len(" ".join([*tokens[: one["start"]], ""]))
        end = len(" ".join(tokens[: one["end"]]))
        found.append((start, end, one["label"], one["score"]))
    return " ".join(tokens), found


# spaCy --------------------------------------------------------------------------------------------


def test_a_doc_bin_holds_the_same_texts_and_spans(results, tmp_path):
    convert(results, tmp_path / "out.spacy")
    docs = list(DocBin().from_disk(tmp_path / "out.spacy").get_docs(spacy.blank("xx").vocab))
    for doc, record in zip(docs, records(), strict=True):
        text, entities = characters(record)
        assert doc.text == text
        assert [(e.start_char, e.end_char, e.label_, e._.score) for e in doc.ents] == entities
        assert doc.user_data["id"] == record["id"]
        if "tokens" in record:
            assert [token.text for token in doc] == record["tokens"]
    first, record = docs[0], records()[0]
    assert first.user_data["lang"] == "de"
    assert (first._.image, list(first._.ocr)) == (record["image"], record["ocr"])
    assert first.ents[0]._.typed_from == "image"
    assert first.ents[0]._.score_without_image == 0.4
    assert list(first.ents[0]._.alternatives) == record["entities"][0]["alternatives"]


def test_spacy_trains_on_a_doc_bin(results, tmp_path):
    """As `spacy train` does: its reader makes examples, whose entities are gold."""
    convert(results, tmp_path / "out.spacy")
    nlp = spacy.blank("xx")
    recogniser = nlp.add_pipe("ner")
    examples = list(Corpus(tmp_path / "out.spacy")(nlp))
    optimizer = nlp.initialize(lambda: examples)
    assert set(recogniser.labels) == {"PER", "LOC", "ORG"}
    assert nlp.update(examples, sgd=optimizer)["ner"] > 0


def test_an_empty_word_is_refused_where_spacy_cannot_hold_it(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"id": "x", "tokens": ["a", ""], "entities": []}])
    with pytest.raises(ValueError, match=r"a\.jsonl, line 1: found an empty word, expected words"):
        convert(path, tmp_path / "out.spacy")


def test_without_spacy_the_command_that_installs_it_is_named(
    results, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "spacy", None)  # as where it is not installed
    assert main(["convert", str(results), "--out", str(tmp_path / "out.spacy")]) == 1
    said = capsys.readouterr().err
    assert said == '2mner convert: found no spacy, which this needs: pip install "2mner[spacy]"\n'
    assert not (tmp_path / "out.spacy").exists()


# Label Studio -------------------------------------------------------------------------------------


def check_task(task: dict, config: ElementTree.Element) -> None:
    """Check a task against what Label Studio's import asks of one: each variable of the
    configuration is a string in `data`; a prediction has `result`, and a score between 0 and 1; a
    region names a control of the configuration and that control's object, and has the control's
    type, characters of the text, and known labels."""
    variables = [node.get("value")[1:] for node in config if node.get("value", "").startswith("$")]
    assert all(isinstance(task["data"][name], str) for name in variables)
    assert set(task) == {"data", "predictions"}
    controls = {node.get("name"): node for node in config.iter() if node.get("toName")}
    for prediction in task["predictions"]:
        assert {"result"} <= set(prediction) <= {"result", "score", "model_version"}
        assert 0 <= prediction.get("score", 0) <= 1
        for region in prediction["result"]:
            control = controls[region["from_name"]]
            assert region["to_name"] == control.get("toName")
            assert region["type"] == control.tag.lower()
            assert 0 <= region["score"] <= 1
            value = region["value"]
            assert 0 <= value["start"] < value["end"] <= len(task["data"]["text"])
            assert value["text"] == task["data"]["text"][value["start"] : value["end"]]
            assert set(value["labels"]) <= {node.get("value") for node in control}


def test_tasks_of_label_studio(results, tmp_path, capsys):
    out = tmp_path / "tasks.labelstudio.json"
    url = "/data/local-files/?d=images/"
    assert main(["convert", str(results), "--out", str(out), "--image_url", url]) == 0
    said = capsys.readouterr().out
    config = ElementTree.fromstring(said[said.index("<View>") :])
    labels = [node.get("value") for node in config.find("Labels")]
    assert labels == ["PER", "LOC", "ORG", "MISC"]
    tasks = json.loads(out.read_text("utf-8"))
    for task, record in zip(tasks, records(), strict=True):
        check_task(task, config)
        text, entities = characters(record)
        (prediction,) = task["predictions"]
        assert task["data"]["text"] == text
        assert task["data"]["id"] == record["id"]
        assert prediction["model_version"] == "demo-1a2b3c4d"
        assert prediction.get("score") == min((score for *_, score in entities), default=None)
        assert [
            (one["value"]["start"], one["value"]["end"], *one["value"]["labels"], one["score"])
            for one in prediction["result"]
        ] == entities
    assert [task["data"]["image"] for task in tasks[1:]] == [""] * (len(tasks) - 1)
    image = tasks[0]["data"]["image"]
    assert image.isascii()
    assert unquote(image) == f"{url}{records()[0]['image']}"
    ids = [one["id"] for task in tasks for one in task["predictions"][0]["result"]]
    assert len(set(ids)) == len(ids)


def test_no_results_are_an_empty_array(tmp_path):
    path = write(tmp_path / "a.jsonl", [], ["O", "B-PER"])
    convert(path, tmp_path / "a.labelstudio.json")
    assert json.loads((tmp_path / "a.labelstudio.json").read_text("utf-8")) == []


def test_types_are_escaped_in_the_configuration():
    types = ['A"<&', "B'>"]
    config = ElementTree.fromstring(labelling_config(types, images=False))
    assert [node.get("value") for node in config.find("Labels")] == types
    assert config.find("Image") is None


# CoNLL and data sets ------------------------------------------------------------------------------


def test_conll_and_data_sets_hold_the_same_labels(results, tmp_path):
    for name in ("out.conll", "out.parquet", "out"):
        convert(results, tmp_path / name)
    conll = iter(read_file(tmp_path / "out.conll"))
    folder = load_dataset(str(tmp_path / "out"), split="train")
    table = Dataset.from_parquet(str(tmp_path / "out.parquet"))
    names = folder.features["ner_tags"].feature.names
    assert names[:3] == ["O", "B-PER", "I-PER"]
    for record, row, one in zip(records(), folder, table, strict=True):
        assert row["tokens"] == one["tokens"]
        assert row["ner_tags"] == one["ner_tags"]
        assert row["text"] == record.get("text")
        if row["tokens"]:  # a sentence without words is nothing in CoNLL
            sentence = next(conll)
            assert sentence["tokens"] == row["tokens"]
            assert sentence["ner_tags"] == [names[tag] for tag in row["ner_tags"]]
    assert [row["image"] and row["image"].size for row in folder][:2] == [(40, 30), None]


@pytest.mark.parametrize("name", ["out.parquet", "out"])
def test_results_come_back_as_they_were(results, tmp_path, name):
    convert(results, tmp_path / name)
    convert(tmp_path / name, tmp_path / "back.jsonl")
    lines = (tmp_path / "back.jsonl").read_text("utf-8").removesuffix("\n").split("\n")
    left_out = ("windows", "image_read")
    assert [json.loads(line) for line in lines] == [
        {key: value for key, value in record.items() if key not in left_out} for record in records()
    ]


def test_a_folder_with_images_gives_a_folder_with_images(results, tmp_path):
    convert(results, tmp_path / "one")
    convert(tmp_path / "one", tmp_path / "two")
    one, two = (load_dataset(str(tmp_path / name), split="train") for name in ("one", "two"))
    assert one[0]["image"].tobytes() == two[0]["image"].tobytes()
    assert one.remove_columns("image")[:] == two.remove_columns("image")[:]


# Predict ------------------------------------------------------------------------------------------


def test_predict_writes_what_convert_makes_of_its_results(model, tmp_path):
    posts = tmp_path / "posts.jsonl"
    posts.write_text("".join(f"{json.dumps({'text': text})}\n" for text in TEXTS.values()), "utf-8")
    predict_corpus(model, posts, tmp_path / "entities.jsonl", top_k=2)
    for name in ("a.spacy", "a.labelstudio.json"):
        predict_corpus(model, posts, tmp_path / name, top_k=2)
        convert(tmp_path / "entities.jsonl", tmp_path / f"converted-{name}")
        assert (tmp_path / name).read_bytes() == (tmp_path / f"converted-{name}").read_bytes()
    task, *_ = json.loads((tmp_path / "a.labelstudio.json").read_text("utf-8"))
    name, _, digest = task["predictions"][0]["model_version"].rpartition("-")
    assert (name, len(digest)) == (model.name, 8)
    assert task["predictions"][0]["result"] != []


def test_answers_of_a_pipeline_are_results(model, tmp_path):
    ner = load_pipeline(model)
    answers = [{"text": text, "entities": ner(text)} for text in TEXTS.values()]
    path = write(tmp_path / "answers.jsonl", answers)
    convert(path, tmp_path / "out.spacy")
    docs = DocBin().from_disk(tmp_path / "out.spacy").get_docs(spacy.blank("xx").vocab)
    for doc, answer in zip(docs, answers, strict=True):
        assert [(one.start_char, one.end_char, one._.score) for one in doc.ents] == [
            (one["start"], one["end"], one["score"]) for one in answer["entities"]
        ]


# Errors -------------------------------------------------------------------------------------------

GOOD = {"label": "PER", "score": 0.5, "start": 0, "end": 3}
BAD = {
    "'entities': None, expected a list of entities": None,
    "'entities': ['x'], expected a list of entities": ["x"],
    "an entity with the label None, expected a word": [{**GOOD, "label": None}],
    "an entity with the label 'A B', expected a word": [{**GOOD, "label": "A B"}],
    "an entity with the score None, expected a probability": [{**GOOD, "score": None}],
    "an entity with the score 1.5, expected a probability": [{**GOOD, "score": 1.5}],
    "an entity with the score nan, expected a probability": [{**GOOD, "score": float("nan")}],
    "from 3 to 3, expected characters 0 <= start < end <= 6": [{**GOOD, "start": 3}],
    "from 0 to 7, expected characters": [{**GOOD, "end": 7}],
    "from -1 to 3, expected characters": [{**GOOD, "start": -1}],
    "from True to 3, expected characters": [{**GOOD, "start": True}],
    "an entity that overlaps 'na', expected separate ones": [GOOD, {**GOOD, "start": 1}],
    "an entity with the details '[', expected a JSON object": [{**GOOD, "details": "["}],
}


@pytest.mark.parametrize("message", BAD)
def test_a_wrong_entity_is_one_line_with_file_and_line(tmp_path, capsys, message):
    lists = ([GOOD], BAD[message])
    rows = [{"id": "a", "text": "Ana Bo", "entities": entities} for entities in lists]
    path = write(tmp_path / "a.jsonl", rows, ["O", "B-PER"])
    out = tmp_path / "out.labelstudio.json"
    out.write_text("before", "utf-8")
    before = {entry.name for entry in tmp_path.iterdir()}
    assert main(["convert", str(path), "--out", str(out), "--overwrite"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"2mner convert: {path}, line 2: found ")
    assert message in line
    assert out.read_text("utf-8") == "before"
    assert {entry.name for entry in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["out.spacy", "out.conll", "out.parquet"])
def test_an_entity_that_is_no_word_is_named(tmp_path, name):
    path = write(tmp_path / "a.jsonl", [{"id": "x", "text": "Anabel", "entities": [GOOD]}])
    message = "x: found the entity 'Ana', expected whole words by version 1"
    with pytest.raises(ValueError, match=message):
        convert(path, tmp_path / name)


def test_a_label_that_the_summary_does_not_have(tmp_path):
    row = {"id": "x", "text": "Ana", "entities": [GOOD]}
    path = write(tmp_path / "a.jsonl", [row], ["O", "B-LOC"])
    with pytest.raises(
        ValueError, match="line 1: found the label PER, expected one of LOC, as the"
    ):
        convert(path, tmp_path / "out.conll")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nowhere.jsonl", None, "found nothing there, expected results of `2mner predict`"),
        ("a.conll", "Ana\tB-PER\n", "found the format conll, which holds no probabilities"),
        ("a.jsonl", '{"text": "Ana"}\n', "line 1: found 'entities': None, expected a list of"),
        ("a.jsonl", "{\n", "line 1: found '{' ("),
    ],
)
def test_what_is_no_result(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(ValueError) as raised:
        convert(tmp_path / name, tmp_path / "out.spacy")
    assert message in str(raised.value)


def test_a_table_without_entities_is_no_result(tmp_path):
    Dataset.from_list([{"text": "Ana", "image_id": None}]).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="expected 'entities' of a result of `2mner predict`"):
        convert(tmp_path / "a.parquet", tmp_path / "out.spacy")


def test_an_output_that_is_there_and_one_of_no_form(results, tmp_path):
    (tmp_path / "out.conll").write_text("mine", "utf-8")
    with pytest.raises(ValueError, match=r"out\.conll: found it there already, expected nothing"):
        convert(results, tmp_path / "out.conll")
    with pytest.raises(ValueError, match=r"the suffix '\.json', expected .*\.labelstudio\.json"):
        convert(results, tmp_path / "out.json")
    with pytest.raises(ValueError, match=r"the input .* is there, expected another place"):
        convert(results, results, overwrite=True)


def test_a_full_disk_leaves_what_was_there(results, tmp_path):
    out = tmp_path / "out.labelstudio.json"
    out.write_text("before", "utf-8")
    before = {entry.name for entry in tmp_path.iterdir()}
    with pytest.raises(OSError, match=r"out\.labelstudio\.json"), full_disk(1000):
        convert(results, out, overwrite=True)
    assert out.read_text("utf-8") == "before"
    assert {entry.name for entry in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["out.labelstudio.json", "out.conll", "out.parquet"])
def test_memory_does_not_grow_with_the_results(tmp_path, monkeypatch, name):
    monkeypatch.setattr("inference_2mner.outputs._ROWS_OF_A_GROUP", 50)

    def most(count: int) -> int:
        path = write(tmp_path / f"{count}.jsonl", records()[:1] * count)
        tracemalloc.start()
        convert(path, tmp_path / name, overwrite=True)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    most(200)  # what is loaded at first use
    few, many = most(200), most(800)
    assert many < few + 100_000, (few, many)
