"""Whole corpora: every form in and out, resumed after any kill, shared by processes."""

import json
import os
import random
import shutil
import signal
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from accelerate import PartialState
from datasets import Dataset, DatasetDict, Image, load_dataset
from huggingface_hub import constants
from peft import LoraConfig, get_peft_model
from PIL import Image as PILImage
from transformers import AutoModelForTokenClassification, AutoProcessor

from cli_2mner import main
from dataset_mmnerd.locks import locked
from dataset_mmnerd.readers import read_file
from inference_2mner.corpus import predict_corpus
from inference_2mner.models import load_pipeline
from inference_2mner.parts import CorpusError
from inference_2mner.rows import InputError
from modeling_2mner.words_2mner import split_into_words
from tests.conftest import fork
from tests.training_2mner.test_processes import together

TEXTS = [
    "Ana lives in Rome, not in Bern.",
    "Wer ist 東京?",
    "l'Élysée \u2028 café",
    "nothing here",
    " ".join(["a long text"] * 60),
]
WORDS = [["Ana", "lives", "in", "Rome", "."], ["Wer", "ist", "Bo", "?"], ["nichts"]]


def records_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").removesuffix("\n").split("\n")]


def write_texts(path: Path, count: int) -> Path:
    """So many sentences, each another one."""
    names = ("Ana", "Bo", "Rome", "Bern", "lives", "in", "not", "東京")
    draw = random.Random(0)
    lines = (
        f"{number} {' '.join(draw.choices(names, k=1 + number % 9))}" for number in range(count)
    )
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


@pytest.fixture
def images(tmp_path) -> Path:
    """A folder with a red image, a blue one and one that is none."""
    folder = tmp_path / "images"
    folder.mkdir()
    for colour in ("red", "blue"):
        PILImage.new("RGB", (40, 30), colour).save(folder / f"{colour}.png")
    (folder / "broken.png").write_bytes(b"no image")
    return folder


# Forms --------------------------------------------------------------------------------------------


def test_text_gives_characters_and_long_texts_are_counted(model, tmp_path):
    path = tmp_path / "posts.txt"
    path.write_text("\ufeff" + "\n\n".join(TEXTS) + "\n", "utf-8")
    summary = predict_corpus(model, path, tmp_path / "out.jsonl")
    records = records_of(tmp_path / "out.jsonl")
    assert [record["text"] for record in records] == TEXTS
    assert [record["id"] for record in records] == [f"posts-{line}" for line in (1, 3, 5, 7, 9)]
    assert sum(len(record["entities"]) for record in records) == summary.entities.total() > 0
    for record in records:
        bounds = split_into_words(record["text"])
        for entity in record["entities"]:
            assert record["text"][entity["start"] : entity["end"]] == entity["text"]
            assert entity["start"] in {start for start, _ in bounds}
    assert (summary.sentences, summary.long_texts) == (5, 1)
    assert records[4]["windows"] > 1
    expected = load_pipeline(model)(TEXTS[0])
    assert [one["label"] for one in records[0]["entities"]] == [one["label"] for one in expected]


def forms(folder: Path) -> dict[str, str]:
    """The same sentences in every form that has words."""
    rows = [{"id": f"s{n}", "tokens": words, "lang": "en"} for n, words in enumerate(WORDS)]
    (folder / "a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    Dataset.from_list(rows).to_parquet(folder / "a.parquet")
    (folder / "set").mkdir()
    Dataset.from_list(rows[:2]).to_parquet(folder / "set" / "train.parquet")
    Dataset.from_list(rows[2:]).to_parquet(folder / "set" / "test.parquet")
    parts = {"train": Dataset.from_list(rows[:2]), "test": Dataset.from_list(rows[2:])}
    DatasetDict(parts).save_to_disk(folder / "saved")
    conll = "\n".join("".join(f"{word}\tO\n" for word in words) for words in WORDS)
    (folder / "a_format.txt").write_text(conll, "utf-8")
    (folder / "bare.conll").write_text(conll.replace("\tO", ""), "utf-8")
    conllu = (
        f"# sent_id = s{n}\n" + "".join(f"{i}\t{word}\tO\n" for i, word in enumerate(words, 1))
        for n, words in enumerate(WORDS)
    )
    (folder / "a.iob2").write_text("# newdoc\n" + "\n".join(conllu), "utf-8")
    return ["a.jsonl", "a.parquet", "set", "saved", "a_format.txt", "bare.conll", "a.iob2"]


def test_the_same_words_in_every_form_give_the_same_entities(model, tmp_path):
    found = {}
    for name in forms(tmp_path):
        out = tmp_path / "out.jsonl"
        predict_corpus(model, tmp_path / name, out, overwrite=True)
        found[name] = [(one["tokens"], one["entities"]) for one in records_of(out)]
    assert all(one == found["a.jsonl"] for one in found.values())
    assert [words for words, _ in found["set"]] == WORDS
    for words, entities in found["set"]:
        for entity in entities:
            assert " ".join(words[entity["start"] : entity["end"]]) == entity["text"]


def test_a_split_and_other_names_of_columns(model, tmp_path):
    (tmp_path / "set").mkdir()
    for split in ("train", "test"):
        rows = [{"content": f"{split} Ana", "text": "never", "tokens": ["never"]}]
        Dataset.from_list(rows).to_parquet(tmp_path / "set" / f"{split}.parquet")
    out = tmp_path / "out.jsonl"
    columns = {"text": "content"}
    predict_corpus(model, tmp_path / "set", out, split="test", columns=columns)
    assert [record["text"] for record in records_of(out)] == ["test Ana"]
    with pytest.raises(InputError, match=r"found the splits train, test, expected 'dev'"):
        predict_corpus(model, tmp_path / "set", tmp_path / "o.jsonl", split="dev")
    with pytest.raises(InputError, match=r"the columns content, text, tokens, expected 'words'"):
        columns = {"tokens": "words"}
        predict_corpus(model, tmp_path / "set", tmp_path / "o.jsonl", columns=columns)


def test_every_form_out_holds_the_same_entities(model, tmp_path):
    path = tmp_path / "posts.txt"
    path.write_text("\n".join(TEXTS), "utf-8")
    for name in ("out.jsonl", "out.parquet", "out.conll", "out"):
        predict_corpus(model, path, tmp_path / name, top_k=2)
    records = records_of(tmp_path / "out.jsonl")
    table = Dataset.from_parquet(str(tmp_path / "out.parquet"))
    folder = load_dataset(str(tmp_path / "out"), split="train")
    conll = list(read_file(tmp_path / "out.conll"))
    names = folder.features["ner_tags"].feature.names
    for record, row, one, sentence in zip(records, table, folder, conll, strict=True):
        assert row["text"] == one["text"] == record["text"]
        assert row["tokens"] == one["tokens"] == sentence["tokens"]
        assert [names[tag] for tag in row["ner_tags"]] == sentence["ner_tags"]
        assert row["ner_tags"] == one["ner_tags"]
        assert row["entities"] == one["entities"]
        for entity, expected in zip(row["entities"], record["entities"], strict=True):
            assert json.loads(entity.pop("details")) == {"alternatives": expected["alternatives"]}
            assert entity == {key: expected[key] for key in entity}


def test_images_by_name_and_in_tables_and_those_that_cannot_be_read(model, images, tmp_path):
    names = ["red.png", "blue", "broken.png", "gone.png", None]
    rows = [{"text": "Ana in Rome", "image": name, "id": str(n)} for n, name in enumerate(names)]
    path = tmp_path / "posts.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    summary = predict_corpus(model, path, tmp_path / "out.jsonl", image_dir=images)
    records = records_of(tmp_path / "out.jsonl")
    assert [record.get("image") for record in records] == names
    assert [record.get("image_read") for record in records] == [True, True, False, False, None]
    assert (summary.images, summary.unreadable_images) == (2, 2)
    assert "broken.png" in summary.listed_images[0]
    assert summary.listed_images[1] == "3: found no image 'gone.png'"
    scores = [[one["score"] for one in record["entities"]] for record in records]
    assert scores[0] != scores[1]
    assert scores[2] == scores[3] == scores[4]

    red = {"bytes": (images / "red.png").read_bytes(), "path": "red.png"}
    table = [{**row, "image": None if row["image"] is None else red} for row in rows]
    Dataset.from_list(table).cast_column("image", Image()).to_parquet(tmp_path / "posts.parquet")
    predict_corpus(model, tmp_path / "posts.parquet", tmp_path / "annotated")
    annotated = load_dataset(str(tmp_path / "annotated"), split="train")
    assert [row["image"] and row["image"].size for row in annotated] == [(40, 30)] * 4 + [None]


def test_several_images_are_read_and_named_in_lines_and_refused_by_other_forms(
    model, images, tmp_path
):
    names = [["red.png", "blue.png"], ["gone.png", "red.png", "broken.png"], "red.png", ["red"]]
    names.append(["red.png"] * 9)
    rows = [{"text": "Ana in Rome", "image": name, "id": str(n)} for n, name in enumerate(names)]
    path = tmp_path / "posts.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    summary = predict_corpus(model, path, tmp_path / "out.jsonl", image_dir=images)
    records = records_of(tmp_path / "out.jsonl")
    assert [record["image"] for record in records] == names[:4]
    assert all(record["image_read"] for record in records)
    (listed,) = summary.listed_images
    assert listed.startswith("1: found no image 'gone.png'; ") and "broken.png" in listed
    (listed,) = summary.listed_rows
    assert listed.endswith("line 5: found 9 images, expected at most 8, which the model reads")
    scores = [[one["score"] for one in record["entities"]] for record in records]
    assert scores[0] != scores[2]
    for other in scores[1], scores[3]:
        assert other == pytest.approx(scores[2], abs=1e-5)
    summary = predict_corpus(model, path, tmp_path / "out.parquet", image_dir=images)
    assert summary.sentences == 1
    expected = "line 1: found a list of 2 images, expected one image a sentence, or JSON lines"
    assert expected in summary.listed_rows[0]


def test_a_model_and_a_data_set_of_the_hub(model, client, tmp_path):
    Dataset.from_list([{"text": text} for text in TEXTS]).to_parquet(tmp_path / "train.parquet")
    said = client(
        f"""
        import json
        from huggingface_hub import HfApi
        from inference_2mner.corpus import predict_corpus

        api = HfApi()
        for name, kind in (("me/ner", "model"), ("me/tweets", "dataset")):
            api.create_repo(name, repo_type=kind)
        api.upload_folder(repo_id="me/ner", folder_path={str(model)!r})
        api.upload_file(
            path_or_fileobj={str(tmp_path / "train.parquet")!r},
            path_in_repo="data/train.parquet",
            repo_id="me/tweets",
            repo_type="dataset",
        )
        summary = predict_corpus("me/ner", "me/tweets", "out.jsonl")
        assert predict_corpus("me/ner", "me/tweets", "out.jsonl") == summary
        print(json.dumps([api.model_info("me/ner").sha, api.dataset_info("me/tweets").sha]))
        """,
        token="hf_me",
    ).stdout.splitlines()[-1]
    out = tmp_path / "home" / "out.jsonl"
    assert [record["text"] for record in records_of(out)] == TEXTS
    made_of = json.loads(out.with_name("out.jsonl.summary.json").read_text("utf-8"))["made_of"]
    assert [made_of["model"], made_of["input"]] == [
        [name, sha] for name, sha in zip(("me/ner", "train"), json.loads(said), strict=True)
    ]


# Rows that cannot be read -------------------------------------------------------------------------


BAD_LINES = {
    b"{": "a JSON object",
    b"[1]": "a JSON object",
    b'{"id": "x"}': "found no 'tokens' and no 'text'",
    b'{"text": 3}': "found 'text': 3",
    b'{"tokens": ["a", null]}': "a list of strings",
    b'{"text": "\\ud800"}': "half a character",
    b'{"text": "\xff"}': "byte 0xff as byte 11",
    b'{"text": "a", "image": "/etc/passwd"}': "a relative name inside the image folder",
    b'{"text": "a", "image": "../x.png"}': "a relative name inside the image folder",
    b'{"text": "a", "ocr": "x"}': "found 'ocr': 'x'",
    b'{"text": "a", "id": [1]}': "found 'id': [1]",
}


def test_rows_that_cannot_be_read_are_left_out_and_listed_with_file_and_line(model, tmp_path):
    path = tmp_path / "posts.jsonl"
    path.write_bytes(b'{"text": "Ana"}\n' + b"\n".join(BAD_LINES) + b'\n{"text": "Bo"}\n')
    summary = predict_corpus(model, path, tmp_path / "out.jsonl")
    assert [record["text"] for record in records_of(tmp_path / "out.jsonl")] == ["Ana", "Bo"]
    assert summary.unreadable_rows == len(BAD_LINES)
    for line, (found, expected) in enumerate(
        zip(summary.listed_rows, BAD_LINES.values(), strict=True), start=2
    ):
        assert found.startswith(f"{path}, line {line}: found ")
        assert expected in found
        assert "\n" not in found
    with pytest.raises(CorpusError, match=r"posts\.jsonl, line 2: found"):
        predict_corpus(model, path, tmp_path / "strict.jsonl", strict=True)


def test_a_broken_sentence_of_conll_costs_that_sentence(model, tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("Ana\tO\n\tO\nBo\tO\n\nRome\tO\n", "utf-8")
    summary = predict_corpus(model, path, tmp_path / "out.jsonl")
    assert [record["tokens"] for record in records_of(tmp_path / "out.jsonl")] == [["Rome"]]
    assert "line 1: found '\\tO' in line 2, expected columns" in summary.listed_rows[0]


def test_a_line_that_is_too_long_is_not_held(model, tmp_path, monkeypatch):
    monkeypatch.setattr("inference_2mner.lines.LONGEST_LINE", 50)
    path = tmp_path / "posts.txt"
    path.write_text(f"Ana\n{'a' * 49}\n{'b' * 170}\nBo\n{'c' * 60}", "utf-8")
    summary = predict_corpus(model, path, tmp_path / "out.jsonl")
    texts = [record["text"] for record in records_of(tmp_path / "out.jsonl")]
    assert texts == ["Ana", "a" * 49, "Bo"]
    assert "line 3: found a longer line, expected at most 50 bytes" in summary.listed_rows[0]
    assert len(summary.listed_rows) == 2


def test_words_that_a_conll_file_cannot_hold(model, tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [{"tokens": ["a\tb"]}, {"tokens": ["", "c"]}, {"tokens": ["d"]}]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    summary = predict_corpus(model, path, tmp_path / "out.conll")
    assert [row["tokens"] for row in read_file(tmp_path / "out.conll")] == [["d"]]
    assert "line 1: found 'a\\tb', expected words" in summary.listed_rows[0]


def test_a_damaged_table_is_one_line(model, tmp_path, capsys):
    path = tmp_path / "a.parquet"
    Dataset.from_list([{"text": "a"}]).to_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    assert main(["predict", str(model), str(path), "--out", str(tmp_path / "out.jsonl")]) == 1
    assert "a.parquet: found" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("name", ["nowhere", "me/nowhere", "posts.txt", "empty"])
def test_a_model_that_is_none_is_one_line(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (tmp_path / "empty").mkdir()
    write_texts(tmp_path / "posts.txt", 2)
    assert main(["predict", name, "posts.txt", "--out", "out.jsonl"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"2mner predict: {name}: no model can be read there (")


def test_an_adapter_annotates(model, tmp_path):
    base = AutoModelForTokenClassification.from_pretrained(model)
    adapted = get_peft_model(base, LoraConfig(target_modules=["query"], init_lora_weights=False))
    adapted.save_pretrained(tmp_path / "adapter")
    AutoProcessor.from_pretrained(model).save_pretrained(tmp_path / "adapter")
    path = tmp_path / "posts.txt"
    path.write_text("\n".join(TEXTS), "utf-8")
    for name, folder in (("base", model), ("adapted", tmp_path / "adapter")):
        predict_corpus(folder, path, tmp_path / f"{name}.jsonl")
    assert records_of(tmp_path / "base.jsonl") != records_of(tmp_path / "adapted.jsonl")


# Once, again and after a kill ---------------------------------------------------------------------


def test_the_command_says_what_it_did_and_does_nothing_twice(model, tmp_path, capsys):
    path = write_texts(tmp_path / "posts.txt", 30)
    command = ["predict", str(model), str(path), "--out", str(tmp_path / "out.jsonl")]
    command += ["--max_tokens", "500"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert said.startswith("30 sentences, ")
    assert "0 images read, 0 not readable" in said
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "out.jsonl",
        "out.jsonl.summary.json",
        "posts.txt",
    ]
    written = (tmp_path / "out.jsonl").stat().st_mtime_ns
    assert main(command) == 0
    assert capsys.readouterr().out == said
    assert (tmp_path / "out.jsonl").stat().st_mtime_ns == written
    assert main([*command, "--batch_size", "2"]) == 1
    assert "out.jsonl: found it there already" in capsys.readouterr().err
    assert main([*command, "--batch_size", "2", "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda options, *_: options.update(top_k=2), r"another top_k \(None, now 2\)"),
        (lambda _, path, __: path.write_text("Ana\n" * 20), "another input"),
        (lambda _, __, model: (model / "config.json").touch(), "another model"),
    ],
    ids=["option", "input", "model"],
)
def test_what_has_changed_is_not_gone_on_with(model, tmp_path, monkeypatch, change, message):
    copy = tmp_path / "model"
    shutil.copytree(model, copy)
    path, out = write_texts(tmp_path / "posts.txt", 20), tmp_path / "out.jsonl"
    options = {"part_rows": 8}

    def full(*_, **__):
        raise OSError("full")

    with monkeypatch.context() as patch:
        patch.setattr("inference_2mner.corpus.replace_output", full)
        with pytest.raises(OSError, match="full"):
            predict_corpus(copy, path, out, **options)
    change(options, path, copy)
    with pytest.raises(CorpusError, match=message):
        predict_corpus(copy, path, out, **options)
    assert predict_corpus(copy, path, out, overwrite=True, **options).sentences == 20


def test_what_the_command_did_not_make_is_not_replaced(model, tmp_path):
    path = write_texts(tmp_path / "posts.txt", 3)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.odt").touch()
    (tmp_path / "set" / "data").mkdir(parents=True)
    shutil.copy(path, tmp_path / "set" / "data" / "posts.txt")
    (tmp_path / "file").touch()
    for input, out, message in (
        (path, "mine", "found a folder with 'thesis.odt' in it"),
        (path, "posts.txt", "posts.txt: the input .* is there, expected another place"),
        (tmp_path / "set" / "data" / "posts.txt", "set", "the input .* is there"),
        (path, "file", "file: found a file, expected a data set folder"),
    ):
        with pytest.raises(CorpusError, match=message):
            predict_corpus(model, input, tmp_path / out, overwrite=True)
    assert (tmp_path / "mine" / "thesis.odt").exists()
    assert not list(tmp_path.glob(".*"))
    assert path.read_text("utf-8").count("\n") == 3


def test_a_strict_command_does_not_go_on_over_rows_that_cannot_be_read(
    model, tmp_path, monkeypatch
):
    path, out = tmp_path / "posts.jsonl", tmp_path / "out.jsonl"
    path.write_text('{"text": "Ana"}\n{}\n', "utf-8")
    with monkeypatch.context() as patch:
        patch.setattr("inference_2mner.corpus.replace_output", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            predict_corpus(model, path, out)
    with pytest.raises(CorpusError, match=r"posts\.jsonl, line 2: found no 'tokens'"):
        predict_corpus(model, path, out, strict=True)
    assert not out.exists()
    assert predict_corpus(model, path, out).unreadable_rows == 1


def test_two_commands_do_not_write_the_same(model, tmp_path):
    path, out = write_texts(tmp_path / "posts.txt", 3), tmp_path / "out.jsonl"
    (tmp_path / ".out.jsonl.parts").mkdir()
    child = fork()
    if child == 0:
        with locked(tmp_path / ".out.jsonl.parts" / "lock"):
            (tmp_path / "ready").touch()
            signal.pause()
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    with pytest.raises(
        CorpusError, match=rf"out\.jsonl: another command writes it \(process {child}"
    ):
        predict_corpus(model, path, out)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert predict_corpus(model, path, out).sentences == 3


def content(path: Path) -> dict[str, bytes]:
    """The bytes of a file, or of the files of a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return {str(file.relative_to(path)): file.read_bytes() for file in files if file.is_file()}


def killed(work: Callable[[], object], after: float | None = None) -> bool:
    """Whether a process that does some work is killed: after so many seconds, or by itself."""
    child = fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize(("name", "kills"), [("out.jsonl", 30), ("out", 6)])
def test_a_corpus_that_is_killed_at_random_moments_is_the_same(model, tmp_path, name, kills):
    """While a process starts, annotates, writes a part or writes the output."""
    path = write_texts(tmp_path / "posts.txt", 160)
    work = partial(predict_corpus, model, path, part_rows=8, top_k=2)
    expected, out = tmp_path / f"undisturbed_{name}", tmp_path / name
    work(expected)
    moments = random.Random(0)
    while kills:
        if killed(partial(work, out), moments.uniform(0, 0.3)):
            kills -= 1
        else:  # it was complete before
            assert content(out) == content(expected)
            shutil.rmtree(out) if out.is_dir() else out.unlink()
    work(out)
    assert content(out) == content(expected)
    whole = {f"{file}{end}" for file in (name, expected.name) for end in ("", ".summary.json")}
    assert {file.name for file in tmp_path.iterdir()} == {path.name, *whole}


@pytest.mark.parametrize("name", ["out.jsonl", "out"])
@pytest.mark.parametrize(
    "step",
    [
        "corpus.replace_output",
        "corpus.write_json",
        "outputs.replace_folder",
        "corpus.Parts.delete",
    ],
)
def test_a_corpus_that_is_killed_at_its_last_steps_is_the_same(
    model, tmp_path, monkeypatch, name, step
):
    path, out, expected = write_texts(tmp_path / "posts.txt", 20), tmp_path / name, tmp_path / "set"
    expected = expected.with_suffix(out.suffix)
    predict_corpus(model, path, expected, part_rows=8)

    def work():
        place = f"inference_2mner.{step}"
        monkeypatch.setattr(place, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
        predict_corpus(model, path, out, part_rows=8)

    assert killed(work) or (step == "outputs.replace_folder" and name != "out")
    predict_corpus(model, path, out, part_rows=8)
    assert content(out) == content(expected)
    assert not list(tmp_path.glob(".*"))


def test_two_processes_write_the_same_as_one(model, tmp_path):
    path = write_texts(tmp_path / "posts.txt", 100)
    options = {"part_rows": 8}
    alone = predict_corpus(model, path, tmp_path / "one.jsonl", **options)

    def work():
        summary = predict_corpus(model, path, tmp_path / "two.jsonl", **options)
        assert PartialState().num_processes == 2
        assert (summary == alone) is PartialState().is_main_process

    together(2, work)
    assert (tmp_path / "two.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()
    together(2, work)  # there is nothing left to do


def test_memory_does_not_grow_with_the_corpus(model, tmp_path):
    def most(count: int) -> int:
        path = write_texts(tmp_path / f"{count}.txt", count)
        tracemalloc.start()
        predict_corpus(model, path, tmp_path / "out.jsonl", part_rows=32, overwrite=True)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    most(100)  # what is loaded at first use
    few, many = most(100), most(600)
    assert many < few + 100_000, (few, many)
