"""Readers of sentence files: one generator of rows for each format.

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

A row has the columns of `schema.py`, with label names in `ner_tags` and a path in `image`, and two
more: `group`, a document or story whose sentences stay in one split (or None), and `repaired`,
whether the file's labels were IOB1 or invalid IOB2. The row's labels are valid IOB2.

Files are read as bytes and split at line feeds alone. `str.splitlines` would also split at U+2028
and U+0085, which occur inside the tokens of tweets.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from datasets import Dataset, concatenate_datasets

from .files import find_image, is_safe_name
from .image_lists import images_of_row
from .labels import repair_labels
from .quoting import quoted, shorten
from .schema import (
    ALL_LANGUAGES,
    CONTEXT_COLUMNS,
    LANGUAGES,
    UNKNOWN_LANGUAGE,
    Row,
    bio_labels,
    entity_types,
    features,
)

logger = logging.getLogger(__name__)

_LABEL = re.compile(r"O|[BI]-\S+")
_SLICE = re.compile(r"(?P<path>.+)\[(?P<start>\d+%?)?:(?P<stop>\d+%?)?\]")
_JSON_OBJECT = re.compile(r"\{.*\}\s*")
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
_ROWS_AT_A_TIME = 1000
_LONGEST_LINE = 16 * 2**20


LANGUAGE_FORM = "a language code such as de or pt-BR"


class MalformedLineError(ValueError):
    """A line that does not fit its format. The message names file, line number, what was found and
    what was expected.
    """

    def __init__(self, path: Path | str, line: int, found: str, expected: str) -> None:
        super().__init__(f"{path}, line {line}: found {found}, expected {expected}")
        self.path, self.line, self.found, self.expected = Path(path), line, found, expected


@dataclass
class _Sentence:
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


# Formats: each yields _Sentence -------------------------------------------------------------------


def _parse_conll(path: Path, labels: frozenset[str] | None) -> Iterator[_Sentence]:
    sentence: _Sentence | None = None
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
            sentence = _Sentence(number, image=name)
        else:
            columns = line.split("\t")
            if len(columns) != 2 or not columns[0]:
                expected = "two columns, token TAB label"
                raise MalformedLineError(path, number, _columns(line, columns), expected)
            sentence = sentence or _Sentence(number)
            sentence.tokens.append(columns[0])
            sentence.tags.append(_checked_label(columns[1], path, number, labels))
    if sentence is not None:
        yield sentence


def _parse_columns(path: Path, labels: frozenset[str] | None) -> Iterator[_Sentence]:
    sentence: _Sentence | None = None
    documents = 0
    for number, line in _lines(path):
        columns = _words(line)
        if columns and columns[0] != "-DOCSTART-":
            if len(columns) < 2:
                expected = "two columns or more, token SPACE label"
                raise MalformedLineError(path, number, _columns(line, columns), expected)
            group = str(documents) if documents else None
            sentence = sentence or _Sentence(number, extra={"group": group})
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


def _parse_conllu(path: Path, labels: frozenset[str] | None) -> Iterator[_Sentence]:
    sentence: _Sentence | None = None
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
                sentence = _Sentence(number, extra={"id": name, "group": document})
            sentence.tokens.append(columns[1])
            sentence.tags.append(_checked_label(columns[2], path, number, labels))
    if sentence is not None:
        yield sentence


def _parse_jsonl(
    path: Path,
    labels: frozenset[str] | None,
    columns: Mapping[str, str] | None = None,
    tag_names: Sequence[str] | None = None,
) -> Iterator[_Sentence]:
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
) -> _Sentence:
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
        if ids and len(ids) != len(image):
            found = f"{len(image)} images and {len(ids)} image_ids"
            raise MalformedLineError(path, number, found, "one image_id an image")
    if extra["lang"] is not None and not is_language(extra["lang"]):
        found = f"'lang': {quoted(extra['lang'])}"
        raise MalformedLineError(path, number, found, LANGUAGE_FORM)
    groups = (_json_name(record, key, path, number) for key in ("group", "document", "story"))
    extra["group"] = next((group for group in groups if group is not None), None)
    return _Sentence(number, tokens, tags, image, extra)


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


def _parse(
    path: Path,
    labels: frozenset[str] | None = None,
    columns: Mapping[str, str] | None = None,
    tag_names: Sequence[str] | None = None,
) -> Iterator[_Sentence]:
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


# Rows ---------------------------------------------------------------------------------------------


def is_language(code: str) -> bool:
    """Whether a text has the form of a language code, such as de or pt-BR. `all` is excluded: it
    names the configuration of all languages.
    """
    return _LANGUAGE.fullmatch(code) is not None and code.lower() != ALL_LANGUAGES


def language_of(path: Path | str) -> str:
    """The language in a path: `valid_de.txt`, `de_x.jsonl`, `de/val.conllu`, `a_de/b.txt`.

    The file's name takes precedence over the folder's name. If neither has a language, it is `und`.
    """
    path = Path(path)
    stem = path.name.removesuffix(path.suffix)
    folder = path.absolute().parent.name
    pieces = [*re.split(r"[^a-z]", stem), folder, *re.split(r"[^a-z]", folder)[-1:]]
    return next((piece for piece in pieces if piece in LANGUAGES), UNKNOWN_LANGUAGE)


def read_file(
    path: Path | str,
    image_dir: Path | str | None = None,
    *,
    labels: Sequence[str] | None = None,
    lang: str | None = None,
    name: str | None = None,
    columns: Mapping[str, str] | None = None,
    tag_names: Sequence[str] | None = None,
    image_path: Callable[[str], str] = str,
) -> Iterator[Row]:
    """The rows of one file of any format, in the file's order.

    If an image is missing, or is a link out of the image folder, `image` is None. An I- label that
    continues no entity of its type is read as B-. The number of each is logged once a file.

    Args:
        path: the file, or a part of it such as `val.conllu[:1500]` or `test.conllu[50%:]`.
        image_dir: the folder of the images; by default the file's own folder.
        labels: the allowed labels; by default any.
        lang: the language of rows without `lang`; by default `language_of(path)`.
        name: the prefix of the ids of sentences without `id`; by default language and file name.
        columns: other names of the fields of JSON lines, such as `{"tokens": "words"}`.
        tag_names: the labels by number, for JSON lines whose `ner_tags` are numbers.
        image_path: from the name of an image to its path below `image_dir`.

    Raises:
        MalformedLineError: at the first line that does not fit.
        OSError: if there is no such file, or it is no regular file.
    """
    path, start, stop = _slice_of(path, columns, tag_names)
    folder = path.parent if image_dir is None else Path(image_dir)
    lang = lang or language_of(path)
    name = name or f"{lang}-{path.name.removesuffix(path.suffix)}"
    allowed = None if labels is None else frozenset(labels)
    sentences = _parse(path, allowed, columns, tag_names)
    named, missing, repaired = 0, [], 0
    for index, sentence in islice(enumerate(sentences), start, stop):
        images: list[str | None] = []
        for image in images_of_row(sentence.image):
            if not is_safe_name(image):
                expected = "a relative name inside the image folder"
                raise MalformedLineError(path, sentence.line, f"image {quoted(image)}", expected)
            file = find_image(image_path(image), folder)
            images.append(None if file is None else str(file.absolute()))
            named += 1
            if file is None:
                missing.append(image)
        several = isinstance(sentence.image, list)
        extra = sentence.extra
        tags = repair_labels(sentence.tags)
        repaired += tags != sentence.tags
        yield {
            "id": extra.get("id") or f"{name}-{index}",
            "tokens": sentence.tokens,
            "ner_tags": tags,
            "lang": extra.get("lang") or lang,
            "image": images if several else next(iter(images), None),
            "image_id": extra.get("image_id") or sentence.image,
            **{key: extra.get(key) for key in CONTEXT_COLUMNS},
            "group": extra.get("group"),
            "repaired": tags != sentence.tags,
        }
    if missing:
        message = "%s: %d of %d images named are not in %s (or links out of it), the first is %s"
        logger.warning(message, path, len(missing), named, folder, shorten(missing[0]))
    if repaired:
        message = "%s: in %d sentences an I- label continues nothing; read as B-"
        logger.warning(message, path, repaired)


def _slice_of(
    path: Path | str,
    columns: Mapping[str, str] | None = None,
    tag_names: Sequence[str] | None = None,
) -> tuple[Path, int, int | None]:
    """The parts of `file[start:stop]`. Percentages become sentence numbers, rounded down."""
    match = _SLICE.fullmatch(str(path))
    if match is None or Path(path).exists():
        return Path(path), 0, None
    file = Path(match["path"])
    bounds = [match["start"], match["stop"]]
    if any(bound and bound.endswith("%") for bound in bounds):
        total = sum(1 for _ in _parse(file, None, columns, tag_names))
        bounds = [_bound(bound, total) for bound in bounds]
    start, stop = (None if bound is None else int(bound) for bound in bounds)
    return file, start or 0, stop


def _bound(bound: str | None, total: int) -> str | None:
    if bound is None or not bound.endswith("%"):
        return bound
    return str(min(int(bound[:-1]), 100) * total // 100)


def labels_of(
    files: Iterable[Path | str],
    *,
    columns: Mapping[str, str] | None = None,
    tag_names: Sequence[str] | None = None,
) -> list[str]:
    """The labels of all entity types in some files, `O` first, in the order of `entity_types`.

    `columns` and `tag_names` are as in `read_file`.
    """
    found: dict[str, None] = {}
    for file in files:
        path, start, stop = _slice_of(file, columns, tag_names)
        for sentence in islice(_parse(path, None, columns, tag_names), start, stop):
            found.update(dict.fromkeys(sentence.tags))
    return bio_labels(entity_types(found))


def name_image_lists(
    files: Iterable[Path | str],
    *,
    columns: Mapping[str, str] | None = None,
    tag_names: Sequence[str] | None = None,
) -> bool:
    """Whether a line of some files has a list of images. `columns` and `tag_names` are as in
    `read_file`.
    """
    paths = (_slice_of(file, columns, tag_names)[0] for file in files)
    return any(
        isinstance(sentence.image, list)
        for path in paths
        if recognise(path) == "jsonl"
        for sentence in _parse_jsonl(path, None, columns, tag_names)
    )


def dataset_from_files(
    files: Iterable[Path | str] | Path | str,
    image_dir: Path | str | None = None,
    labels: Sequence[str] | None = None,
    *,
    lang: str | None = None,
    columns: Mapping[str, str] | None = None,
    tag_names: Sequence[str] | None = None,
) -> Dataset:
    """One data set of files of any format, read as by `read_file`. If one of them has a list of
    images, all sentences have lists.

    Words and labels are held in memory, images as paths. No cache is written.

    Args:
        files: one file or several, or parts of files (`test.conllu[:50%]`).
        image_dir: the folder of the images; by default each file's own folder.
        labels: the label names in the order of their ids; by default those found.
        lang, columns, tag_names: as in `read_file`.
    """
    files = [files] if isinstance(files, str | Path) else list(files)
    if not files:
        raise ValueError("found no files to read, expected at least one")
    if labels is None:
        labels = labels_of(files, columns=columns, tag_names=tag_names)
    read = partial(read_file, labels=labels, lang=lang, columns=columns, tag_names=tag_names)
    several = name_image_lists(files, columns=columns, tag_names=tag_names)
    schema = features(labels, several=several)
    rows = (row for file in files for row in read(file, image_dir))
    parts = []
    while batch := list(islice(rows, _ROWS_AT_A_TIME)):
        table = {key: [row[key] for row in batch] for key in schema}
        if several:
            for key in ("image", "image_id"):
                table[key] = [images_of_row(value) or None for value in table[key]]
        parts.append(Dataset.from_dict(table, features=schema))
    if not parts:
        return Dataset.from_dict({key: [] for key in schema}, features=schema)
    return concatenate_datasets(parts)


__all__ = [
    "LANGUAGE_FORM",
    "MalformedLineError",
    "dataset_from_files",
    "is_language",
    "labels_of",
    "language_of",
    "name_image_lists",
    "read_file",
    "recognise",
]
