"""Small valid inputs of the readers, as files by name, and simple readings of them.

The readings follow the formats' descriptions and share no code with the project.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq

from tests.campaigns.mutators import edit_bytes, edit_json_lines, edit_lines
from tests.dataset_mmnerd.conftest import SENTENCES, conll, image_bytes

Files = dict[str, bytes]
Sentence = tuple[tuple[str, ...], tuple[str, ...]]

IMAGES = {"a.jpg": ("JPEG", 1), "b.png": ("PNG", 2)}
SPLITS = ("train", "valid", "test")


def _images(folder: str = "") -> Files:
    return {f"{folder}{name}": image_bytes(seed, kind) for name, (kind, seed) in IMAGES.items()}


def mmnerd_files() -> Files:
    """MMNERD's own layout in two languages."""
    files = _images("twitter_and_image_caption_images/")
    for lang in ("en", "fr"):
        tokens, tags = SENTENCES[lang]
        text = conll(("a", tokens, tags), ("b", [*tokens, "."], [*tags, "O"]))
        for split in SPLITS:
            name = f"train_valid_test/train_valid_test_{lang}/{split}_conll_format.txt"
            files[name] = text.encode()
    return files


def conll_files() -> Files:
    files = _images()
    for lang in ("en", "de"):
        tokens, tags = SENTENCES[lang]
        text = conll(("a", tokens, tags), (None, tokens[::-1], ["O"] * len(tags)))
        files[f"train_{lang}.txt"] = text.encode()
    return files


def conllu_files() -> Files:
    lines = ["# newdoc id = story", "# sent_id = story-1"]
    for tokens, tags in (SENTENCES["es"], SENTENCES["en"]):
        rows = enumerate(zip(tokens, tags, strict=True))
        lines += [f"{index}\t{token}\t{tag}" for index, (token, tag) in rows]
        lines.append("")
    return {"train_es.conllu": "\n".join(lines).encode()}


def jsonl_files() -> Files:
    rows = []
    for number, (lang, (tokens, tags)) in enumerate(SENTENCES.items()):
        row = {"tokens": tokens, "ner_tags": tags, "lang": lang, "id": f"row-{number}"}
        row |= {"image": "a.jpg", "image_id": "a"} if number % 2 else {"image": None}
        row |= {"ocr": ["LIVE"], "captions": [], "story": f"story-{number // 2}"}
        rows.append(json.dumps(row, ensure_ascii=False))
    return _images() | {"train.jsonl": "\n".join(rows).encode()}


def parquet_files() -> Files:
    """A data set as the Hub has many: words, labels as strings, languages."""
    tokens, tags = zip(*SENTENCES.values(), strict=True)
    columns = {"tokens": list(tokens), "ner_tags": list(tags), "lang": list(SENTENCES)}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return {"train.parquet": buffer.getvalue()}


FORMS = {
    "dataset": parquet_files,
    "mmnerd": mmnerd_files,
    "conll": conll_files,
    "wikineural": conllu_files,
    "jsonl": jsonl_files,
}
"""Files by the source that reads them."""

SUFFIXES = {
    ".txt": edit_lines,
    ".conllu": edit_lines,
    ".jsonl": edit_json_lines,
    ".parquet": edit_bytes,
}


def edit_files(files: Files, random: Random) -> Files:
    """The files with one of them changed: mostly one with sentences, sometimes an image."""
    texts = sorted(name for name in files if Path(name).suffix in SUFFIXES)
    others = sorted(set(files) - set(texts))
    name = random.choice(others if others and random.random() < 0.2 else texts)
    edit = SUFFIXES.get(Path(name).suffix, edit_bytes)
    return files | {name: edit(files[name], random)}


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def spoil_file(path: Path, secret: Path, random: Random) -> None:
    """Put something else in a file's place: a link out of the folder or to itself, a named pipe, a
    folder, an empty or an enormous file, or one that nobody may read.
    """
    path.unlink()
    action = random.randrange(7)
    if action == 0:
        path.symlink_to(secret)
    elif action == 1:
        path.symlink_to(path.name)
    elif action == 2:
        os.mkfifo(path)
    elif action == 3:
        path.mkdir()
    elif action == 4:
        path.touch()
    elif action == 5:
        with path.open("wb") as file:
            file.truncate(5 * 10**9)
    else:
        path.symlink_to("/dev/zero")


# Simple readings ----------------------------------------------------------------------------------


def repaired(tags: list[str]) -> tuple[str, ...]:
    """IOB2: an I- that continues no entity of its type begins one."""
    result = []
    before = "O"
    for tag in tags:
        begins = tag[:2] == "I-" and (before == "O" or before[2:] != tag[2:])
        result.append("B-" + tag[2:] if begins else tag)
        before = tag
    return tuple(result)


def _lines(content: bytes) -> list[str]:
    lines = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8").split("\n")
    return [line.removesuffix("\r") for line in lines]


def _conll(content: bytes) -> list[Sentence]:
    found: list[list[list[str]]] = []
    open_ = False
    for line in _lines(content):
        if line.strip(" \t") == "":
            open_ = False
        elif line.startswith("IMGID:") and "\t" not in line:
            found.append([])
            open_ = True
        else:
            if not open_:
                found.append([])
            open_ = True
            found[-1].append(line.split("\t"))
    return [(tuple(row[0] for row in rows), repaired([row[1] for row in rows])) for rows in found]


def _conllu(content: bytes) -> list[Sentence]:
    blocks: list[list[list[str]]] = [[]]
    for line in _lines(content):
        if line.strip(" \t") == "":
            blocks.append([])
        elif not line.startswith("#"):
            blocks[-1].append(line.split("\t"))
    return [
        (tuple(row[1] for row in rows), repaired([row[2] for row in rows]))
        for rows in blocks
        if rows
    ]


def _jsonl(content: bytes) -> list[Sentence]:
    rows = [json.loads(line) for line in _lines(content) if line.strip(" \t")]
    return [(tuple(row["tokens"]), repaired(row["ner_tags"])) for row in rows]


def _parquet(content: bytes) -> list[Sentence]:
    rows = pq.read_table(io.BytesIO(content)).to_pylist()
    return [(tuple(row["tokens"]), repaired(row["ner_tags"])) for row in rows]


READINGS = {".txt": _conll, ".conllu": _conllu, ".jsonl": _jsonl, ".parquet": _parquet}


def simple_reading(name: str, content: bytes) -> list[Sentence]:
    """The sentences of one file, read in the simplest way; raises whatever a broken one causes."""
    if not content.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n"):
        return []
    return READINGS[Path(name).suffix](content)
