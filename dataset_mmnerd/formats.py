"""The formats of sentence files: a parser for each.

The format is recognised by the file's content:

* **conll**: an optional line `IMGID:<image id>`, then `token TAB label` a line, then a blank line.
* **columns**: `token ... label` a line, separated by spaces, the label last (CoNLL-2002 and
  CoNLL-2003, WikiGold), then a blank line; a line `-DOCSTART- ...` begins a document.
* **conllu**: `index TAB token TAB label` a line, more columns allowed and ignored (WikiNEuRal has
  three, Universal NER's `.iob2` five); `#` begins a comment, of which `# sent_id = ...` names the
  sentence and `# newdoc id = ...` its document.
* **jsonl**: one JSON object a line with `tokens` and `ner_tags`. Optional fields are `image` (a
  path below the image folder, or a list of such), `image_id`, `lang`, `id`, `objects`, `captions`,
  `ocr`, and one of `group`, `document`, `story`.

Files are read as bytes and split at line feeds alone. `str.splitlines` would also split at U+2028
and U+0085, which occur inside the tokens of tweets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from .image_lists import images_of_row
from .quoting import quoted, shorten
from .schema import ALL_LANGUAGES, CONTEXT_COLUMNS

__all__ = [
    "LANGUAGE_FORM",
    "MalformedLineError",
    "Sentence",
    "is_language",
    "parse",
    "recognise",
]

_LABEL = re.compile(r"O|[BI]-\S+")
_JSON_OBJECT = re.compile(r"\{.*\}\s*")
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
_LONGEST_LINE = 16 * 2**20

LANGUAGE_FORM = "a language code such as de or pt-BR"


def is_language(code: str) -> bool:
    """Whether a text has the form of a language code, such as de or pt-BR. `all` is excluded: it
    names the configuration of all languages.
    """
    return _LANGUAGE.fullmatch(code) is not None and code.lower() != ALL_LANGUAGES


class MalformedLineError(ValueError):
    """A line that does not fit its format. The message names file, line number, what was found and
    what was expected.
    """

    def __init__(self, path: Path | str, line: int, found: str, expected: str) -> None:
        super().__init__(f"{path}, line {line}: found {found}, expected {expected}")
        self.path, self.line, self.found, self.expected = Path(path), line, found, expected


@dataclass
class Sentence:
    """One sentence of a file; `line` is the number of its first line."""

    line: int
    tokens: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    image: str | list[str] | None = None
    extra: dict[str, Any] = field(default_factory=dict)


# Lines --------------------------------------------------------------------------------------------


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The numbered lines of a UTF-8 file, without line ends and byte order mark."""
    if path.exists() and not path.is_file():  # a FIFO would block, a device may have no end
        raise OSError(f"{path}: found no regular file, expected a file of sentences")
    with path.open("rb") as file:
        for number, raw in enumerate(iter(partial(file.readline, _LONGEST_LINE + 1), b""), start=1):
            if len(raw) > _LONGEST_LINE:
                found = f"more than {_LONGEST_LINE:,} bytes without a line feed"
                raise MalformedLineError(path, number, found, "shorter lines")
            if number == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            try:
                line = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                found = f"byte 0x{raw[error.start]:02x} as byte {error.start + 1} of the line"
                raise MalformedLineError(path, number, found, "UTF-8 text") from None
            yield number, line.removesuffix("\n").removesuffix("\r")


def _checked_label(label: str, path: Path, line: int, labels: frozenset[str] | None) -> str:
    if not _LABEL.fullmatch(label):
        raise MalformedLineError(path, line, f"label {quoted(label)}", "O, B-TYPE or I-TYPE")
    if labels is not None and label not in labels:
        expected = f"one of {shorten(', '.join(sorted(labels)))}"
        raise MalformedLineError(path, line, f"label {quoted(label)}", expected)
    return label


# Formats: each yields Sentence -------------------------------------------------------------------


def _parse_conll(path: Path, labels: frozenset[str] | None) -> Iterator[Sentence]:
    sentence: Sentence | None = None
    for number, line in _lines(path):
        if not line.strip(" \t"):
            if sentence is not None:
                yield sentence
            sentence = None
        elif line.startswith("IMGID:") and "\t" not in line:
            if sentence is not None:
                yield sentence
            name = line.removeprefix("IMGID:").strip()
            if not name:
                raise MalformedLineError(path, number, "no image id", "IMGID:<image id>")
            sentence = Sentence(number, image=name)
        else:
            columns = line.split("\t")
            if len(columns) != 2 or not columns[0]:
                expected = "two columns, token TAB label"
                raise MalformedLineError(path, number, _columns(line, columns), expected)
            sentence = sentence or Sentence(number)
            sentence.tokens.append(columns[0])
            sentence.tags.append(_checked_label(columns[1], path, number, labels))
    if sentence is not None:
        yield sentence


def _parse_columns(path: Path, labels: frozenset[str] | None) -> Iterator[Sentence]:
    sentence: Sentence | None = None
    documents = 0
    for number, line in _lines(path):
        columns = _words(line)
        if columns and columns[0] != "-DOCSTART-":
            if len(columns) < 2:
                expected = "two columns or more, token SPACE label"
                raise MalformedLineError(path, number, _columns(line, columns), expected)
            group = str(documents) if documents else None
            sentence = sentence or Sentence(number, extra={"group": group})
            sentence.tokens.append(columns[0])
            sentence.tags.append(_checked_label(columns[-1], path, number, labels))
            continue
        if sentence is not None:
            yield sentence
        sentence = None
        documents += bool(columns)
    if sentence is not None:
        yield sentence


def _words(line: str) -> list[str]:
    """What ASCII spaces separate."""
    return [word for word in line.split(" ") if word]


def _columns(line: str, columns: list[str]) -> str:
    plural = "" if len(columns) == 1 else "s"
    return f"{len(columns)} column{plural} {quoted(line)}"


def _parse_conllu(path: Path, labels: frozenset[str] | None) -> Iterator[Sentence]:
    sentence: Sentence | None = None
    document: str | None = None
    name: str | None = None
    index = 0
    for number, line in _lines(path):
        if not line.strip(" \t"):
            if sentence is not None:
                yield sentence
            sentence = name = None
        elif line.startswith("#"):
            key, _, value = line[1:].partition("=")
            if key.strip() == "newdoc id":
                document = value.strip() or None
            elif key.strip() == "sent_id":
                name = value.strip() or None
        else:
            columns = line.split("\t")
            if len(columns) < 3 or not columns[1]:
                expected = "three columns, index TAB token TAB label"
                raise MalformedLineError(path, number, _columns(line, columns), expected)
            allowed = ("0", "1") if sentence is None else (str(index + 1),)
            if columns[0] not in allowed:
                expected = f"{' or '.join(allowed)} (a blank line ends a sentence)"
                raise MalformedLineError(path, number, f"index {quoted(columns[0])}", expected)
            index = int(columns[0])
            if sentence is None:
                sentence = Sentence(number, extra={"id": name, "group": document})
            sentence.tokens.append(columns[1])
            sentence.tags.append(_checked_label(columns[2], path, number, labels))
    if sentence is not None:
        yield sentence


def _parse_jsonl(
    path: Path,
    labels: frozenset[str] | None,
    columns: Mapping[str, str] | None = None,
    tag_names: Sequence[str] | None = None,
) -> Iterator[Sentence]:
    for number, line in _lines(path):
        if not line.strip(" \t"):
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            found = f"{quoted(line)} ({shorten(str(error))})"
            raise MalformedLineError(path, number, found, "a JSON object") from None
        if not isinstance(record, dict):
            raise MalformedLineError(path, number, quoted(line), "a JSON object")
        if "\\u" in line and (half := _lone_surrogate(record)):
            raise MalformedLineError(path, number, f"half a character, {half}", "whole ones")
        for column, name in (columns or {}).items():
            if name in record:
                record[column] = record[name]
        yield _sentence_from_json(record, path, number, labels, tag_names)


def _sentence_from_json(
    record: dict[str, Any],
    path: Path,
    number: int,
    labels: frozenset[str] | None,
    tag_names: Sequence[str] | None,
) -> Sentence:
    if tag_names is not None:
        record["ner_tags"] = _named(record.get("ner_tags"), tag_names, path, number)
    tokens = _json_strings(record, "tokens", path, number)
    tags = _json_strings(record, "ner_tags", path, number)
    if tokens is None or tags is None:
        missing = "tokens" if tokens is None else "ner_tags"
        raise MalformedLineError(path, number, f"no {missing!r}", "a list of strings")
    if len(tokens) != len(tags):
        found = f"{len(tokens)} tokens and {len(tags)} ner_tags"
        raise MalformedLineError(path, number, found, "one label a token")
    for tag in tags:
        _checked_label(tag, path, number, labels)
    extra: dict[str, Any] = {
        key: _json_strings(record, key, path, number) for key in CONTEXT_COLUMNS
    }
    for key in ("id", "lang"):
        extra[key] = _json_name(record, key, path, number)
    image, extra["image_id"] = (
        _json_names(record, key, path, number) for key in ("image", "image_id")
    )
    if isinstance(image, list) or isinstance(extra["image_id"], list):
        image, ids = images_of_row(image), images_of_row(extra["image_id"])
        if image and ids and len(ids) != len(image):
            found = f"{len(image)} images and {len(ids)} image_ids"
            raise MalformedLineError(path, number, found, "one image_id an image")
    if extra["lang"] is not None and not is_language(extra["lang"]):
        found = f"'lang': {quoted(extra['lang'])}"
        raise MalformedLineError(path, number, found, LANGUAGE_FORM)
    groups = (_json_name(record, key, path, number) for key in ("group", "document", "story"))
    extra["group"] = next((group for group in groups if group is not None), None)
    return Sentence(number, tokens, tags, image, extra)


def _lone_surrogate(record: dict[str, Any]) -> str | None:
    """The first lone surrogate in a record, such as `\\ud800`. It cannot be encoded as UTF-8."""
    text = json.dumps(record, ensure_ascii=False)
    return next((ascii(letter)[1:-1] for letter in text if "\ud800" <= letter <= "\udfff"), None)


def _named(tags: Any, tag_names: Sequence[str], path: Path, number: int) -> Any:
    """The labels of a list of numbers. Any other value is returned unchanged."""
    if not isinstance(tags, list) or not all(type(tag) is int for tag in tags):
        return tags
    wrong = next((tag for tag in tags if not 0 <= tag < len(tag_names)), None)
    if wrong is not None:
        expected = f"the number of one of {shorten(', '.join(tag_names))}"
        raise MalformedLineError(path, number, f"label {quoted(wrong)}", expected)
    return [tag_names[tag] for tag in tags]


def _json_strings(record: dict[str, Any], key: str, path: Path, number: int) -> list[str] | None:
    value = record.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise MalformedLineError(path, number, f"{key!r}: {quoted(value)}", "a list of strings")
    return value


def _json_name(record: dict[str, Any], key: str, path: Path, number: int) -> str | None:
    value = record.get(key)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise MalformedLineError(path, number, f"{key!r}: {quoted(value)}", "a string or null")
    return str(value)


def _json_names(
    record: dict[str, Any], key: str, path: Path, number: int
) -> str | list[str] | None:
    """A name, or a list of names."""
    value = record.get(key)
    if not isinstance(value, list):
        return _json_name(record, key, path, number)
    wrong = next((item for item in value if not isinstance(item, str) or not item), None)
    if wrong is not None:
        found = f"{key!r}: {quoted(value)}"
        raise MalformedLineError(path, number, found, "a string, a list of strings or null")
    return value or None


_PARSERS = {"conll": _parse_conll, "columns": _parse_columns, "conllu": _parse_conllu}


def parse(
    path: Path,
    labels: frozenset[str] | None = None,
    columns: Mapping[str, str] | None = None,
    tag_names: Sequence[str] | None = None,
) -> Iterator[Sentence]:
    """The sentences of a file of any format. `columns` and `tag_names` apply to JSON lines."""
    kind = recognise(path)
    if kind == "jsonl":
        return _parse_jsonl(path, labels, columns, tag_names)
    return _PARSERS[kind](path, labels)


def recognise(path: Path | str) -> str:
    """The format of a file, from its first lines: `conll`, `columns`, `conllu` or `jsonl`.

    An empty file counts as `conll`. Raises `MalformedLineError` where no format fits.
    """
    path = Path(path)
    for number, line in _lines(path):
        columns = line.split("\t")
        if _JSON_OBJECT.fullmatch(line):
            return "jsonl"
        if line.startswith("IMGID:") or (len(columns) == 2 and columns[0]):
            return "conll"
        if len(columns) >= 3 and columns[0].isdecimal():
            return "conllu"
        words = _words(line)
        if len(columns) == 1 and len(words) >= 2 and _LABEL.fullmatch(words[-1]):
            return "columns"
        if line.strip(" \t") and not line.startswith("#"):
            expected = "IMGID:<image id>, token TAB label, index TAB token TAB label, or JSON"
            raise MalformedLineError(path, number, _columns(line, columns), expected)
    return "conll"
