"""Readers of sentence files of any format (`formats.py`): a generator of rows, and data sets.

A row has the columns of `schema.py`, with label names in `ner_tags` and a path in `image`, and two
more: `group`, a document or story whose sentences stay in one split (or None), and `repaired`,
whether the file's labels were IOB1 or invalid IOB2. The row's labels are valid IOB2.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from datasets import Dataset, concatenate_datasets

from .files import find_image, is_safe_name
from .formats import LANGUAGE_FORM, MalformedLineError, is_language, parse, recognise
from .image_lists import images_of_row
from .labels import repair_labels
from .quoting import quoted, shorten
from .schema import (
    CONTEXT_COLUMNS,
    LANGUAGES,
    UNKNOWN_LANGUAGE,
    Row,
    bio_labels,
    entity_types,
    features,
)

logger = logging.getLogger(__name__)

_SLICE = re.compile(r"(?P<path>.+)\[(?P<start>\d+%?)?:(?P<stop>\d+%?)?\]")
_ROWS_AT_A_TIME = 1000

# Rows ---------------------------------------------------------------------------------------------


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
    sentences = parse(path, allowed, columns, tag_names)
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
        total = sum(1 for _ in parse(file, None, columns, tag_names))
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
        for sentence in islice(parse(path, None, columns, tag_names), start, stop):
            found.update(dict.fromkeys(sentence.tags))
    return bio_labels(entity_types(found))


def name_image_lists(
    files: Iterable[Path | str],
    *,
    columns: Mapping[str, str] | None = None,
    tag_names: Sequence[str] | None = None,
) -> bool:
    """Whether a line of some files has a list of images, or of their names. `columns` and
    `tag_names` are as in `read_file`.
    """
    paths = (_slice_of(file, columns, tag_names)[0] for file in files)
    return any(
        isinstance(sentence.image, list) or isinstance(sentence.extra["image_id"], list)
        for path in paths
        if recognise(path) == "jsonl"
        for sentence in parse(path, None, columns, tag_names)
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
