"""Sources: where the files of a data set are, and their splits, languages and entity types.

`SOURCES` names each source. A new one is a function that lists the parts of a folder, and a row of
that table.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path, PurePath
from typing import Any

from datasets import Dataset, Features

from .columns import ColumnReader
from .files import IMAGE_SUFFIXES, find_image, is_safe_name
from .image_lists import has_image_lists, images_of_row
from .loading import LoadingError, load_named
from .quoting import quoted, shorten
from .readers import (
    LANGUAGE_FORM,
    is_language,
    labels_of,
    language_of,
    name_image_lists,
    read_file,
)
from .sample import SAMPLE_LANGUAGES, sample_rows
from .schema import CONTEXT_COLUMNS, DEFAULT_ENTITY_TYPES, SPLITS, Row, bio_labels, features
from .schema import entity_types as types_of

DEFAULT_SHARES = (80, 10, 10)

_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "valid": "validation",
    "validation": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
_NO_DATA = re.compile(r"readme|licen[cs]e|notice", re.IGNORECASE)


class SourceError(ValueError):
    """Data that does not fit its source: what was found, what was expected."""


@dataclass(frozen=True)
class Part:
    """A file of a source, or a split of a data set.

    Attributes:
        split: the split; None if each row is assigned one by `split_by_group`.
        lang: the language; None if each row has its own.
        read: `read(labels)` yields the rows. A label that is not in `labels` is an error.
        path: the file; None for a data set.
        labels: the labels of a data set.
        several: whether the rows have lists of images; None if the file tells it.
    """

    split: str | None
    lang: str | None
    read: Callable[[Sequence[str]], Iterator[Row]]
    path: Path | None = None
    labels: tuple[str, ...] = ()
    several: bool | None = False


@dataclass(frozen=True)
class ReadOptions:
    """What the data does not state.

    Attributes:
        image_dir: the folder of the images; by default where the source has them.
        lang: the language of rows without one; by default the one in the file's name.
        columns: the data's own column names, by those of `schema.py`.
        tag_names: the labels by number, if the data has numbers.
        config: the configuration of a data set.
        several_images: the sample's variant with three images a sentence.
    """

    image_dir: Path | None = None
    lang: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    tag_names: tuple[str, ...] | None = None
    config: str | None = None
    several_images: bool = False


@dataclass(frozen=True)
class Source:
    """A kind of data.

    Attributes:
        find: `find(data_dir, options)` lists the parts.
        entity_types: the allowed types; None for those in the files.
        renamed: new names of entity types, by their names in the files.
        about: a remark for the data card.
        is_sample: whether its rows are generated: it needs no folder, and has two columns more.
        may_be_a_name: whether `data_dir` may be a name on the Hub.
    """

    find: Callable[[Path, ReadOptions], list[Part]]
    entity_types: tuple[str, ...] | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    about: str = ""
    is_sample: bool = False
    may_be_a_name: bool = False


# Finding files ------------------------------------------------------------------------------------


def split_of(path: Path) -> str | None:
    """The split in a file's name (`valid_de.txt`), else in its folder's name (`dev/`)."""
    pieces = [*re.split(r"[^a-z]", path.stem.lower()), path.parent.name.lower()]
    return next((_SPLIT_WORDS[piece] for piece in pieces if piece in _SPLIT_WORDS), None)


def _image_folder(folder: Path) -> Path:
    """The first folder inside `folder` that holds images, else `folder` itself."""
    below = sorted(path for path in folder.iterdir() if path.is_dir())
    for candidate in below:
        if any(path.suffix.lower() in IMAGE_SUFFIXES for path in candidate.iterdir()):
            return _inside(candidate, folder)
    return folder


def _inside(images: Path, folder: Path) -> Path:
    """An image folder that was found in the data.

    Raises:
        SourceError: if it is a link that leads out of the data's folder.
    """
    if not images.resolve().is_relative_to(folder.resolve()):
        expected = "image files in the data's own folder, or in one that is named (--image-dir)"
        raise SourceError(f"{images}: found a link to {images.resolve()}, expected {expected}")
    return images


def _part(
    path: Path,
    data_dir: Path,
    options: ReadOptions,
    lang: str | None,
    image_path: Callable[[str], str] | None = None,
) -> Part:
    name = "-".join(path.relative_to(data_dir).with_suffix("").parts)

    def read(labels: Sequence[str]) -> Iterator[Row]:
        return read_file(
            path,
            options.image_dir,
            labels=labels,
            lang=lang or options.lang,
            name=name,
            columns=options.columns,
            tag_names=options.tag_names,
            image_path=image_path or str,
        )

    return Part(split_of(path), lang, read, path, several=None)


def _find_files(
    data_dir: Path,
    options: ReadOptions,
    *,
    suffixes: Sequence[str],
    lang: str | None = None,
    rows_name_language: bool = False,
) -> list[Part]:
    if data_dir.is_file():
        paths, data_dir = [data_dir], data_dir.parent
    else:
        below = (path for path in data_dir.rglob("*") if path.suffix.lower() in suffixes)
        paths = sorted(path for path in below if path.is_file() and not _NO_DATA.search(path.stem))
    if not paths:
        raise SourceError(f"{data_dir}: found no file, expected some of {', '.join(suffixes)}")
    if rows_name_language:
        return [_part(path, data_dir, options, None) for path in paths]
    options = replace(options, image_dir=options.image_dir or _image_folder(data_dir))
    lang = lang or options.lang
    return [_part(path, data_dir, options, lang or language_of(path)) for path in paths]


def _find_mmnerd(data_dir: Path, options: ReadOptions) -> list[Part]:
    images = options.image_dir
    if images is None:
        images = _inside(data_dir / "twitter_and_image_caption_images", data_dir)
    options = replace(options, image_dir=images)
    parts = []
    for folder in sorted((data_dir / "train_valid_test").glob("train_valid_test_*")):
        lang = folder.name.rpartition("_")[2]
        for path in sorted(folder.glob("*_conll_format.txt")):
            parts.append(_part(path, data_dir, options, lang))
    if not parts:
        expected = "train_valid_test/train_valid_test_{en,fr,de,es}/*_conll_format.txt"
        raise SourceError(f"{data_dir}: found none of its files, expected {expected}")
    return parts


_MNER_MI_COLUMNS = {"tokens": "text", "ner_tags": "label", "image": "images"}


def _find_mner_mi(data_dir: Path, options: ReadOptions, *, name: str) -> list[Part]:
    """MNER-MI or MNER-MI-Plus (Huang et al., LREC-COLING 2024), in the layout that the authors'
    page describes: https://github.com/JinFish/MNER-MI

        text/MNER-MI_train.txt, MNER-MI_val.txt, MNER-MI_test.txt     (of Plus: MNER-UNI_...)
        images/, twitter2017_images/

    A file has one JSON object a line: `id`, `text` (words), `label`, `images` (names of one to four
    files) and `url`. The image `twitter2017-X.jpg` of Plus is `twitter2017_images/X.jpg`.
    """
    paths = sorted([*data_dir.glob(f"{name}_*.txt"), *data_dir.glob(f"text/{name}_*.txt")])
    if not paths:
        expected = f"text/{name}_{{train,val,test}}.txt"
        raise SourceError(f"{data_dir}: found none of its files, expected {expected}")
    folder = options.image_dir or data_dir
    below = [part for part in ("images", "twitter2017_images") if (folder / part).is_dir()]
    for part in below:
        _inside(folder / part, folder)

    def image_path(image: str) -> str:
        plain = image.removeprefix("twitter2017-")
        part = "images" if plain == image else "twitter2017_images"
        return f"{part}/{plain}" if part in below else plain

    options = replace(options, image_dir=folder, columns={**_MNER_MI_COLUMNS, **options.columns})
    parts = [_part(path, data_dir, options, "en", image_path) for path in paths]
    return [replace(part, several=True) for part in parts]


def _find_dataset(data_dir: Path, options: ReadOptions) -> list[Part]:
    """The splits of a data set that `load_dataset` reads: a folder, or a name on the Hub."""
    name = str(data_dir)
    try:
        found = load_named(name, options.config)
    except LoadingError as error:
        raise SourceError(f"{name}: found no data set that can be read ({error})") from error
    parts = [
        _dataset_part(name, split, found[split], options) for split in SPLITS if split in found
    ]
    if not parts:
        expected = f"some of {', '.join(SPLITS)}"
        raise SourceError(
            f"{name}: found the splits {shorten(', '.join(found))}, expected {expected}"
        )
    return parts


def _dataset_part(name: str, split: str, rows: Dataset, options: ReadOptions) -> Part:
    reader = ColumnReader(
        rows,
        split,
        name=name,
        columns=options.columns,
        lang=options.lang,
        tag_names=options.tag_names,
    )
    rows, where = reader.rows, reader.where
    folder = options.image_dir or Path(name)
    several = has_image_lists(rows.features)

    def read(labels: Sequence[str]) -> Iterator[Row]:
        allowed = frozenset(labels)
        for index, row in enumerate(rows):
            repaired = reader.repaired
            row |= reader.read(row, index)
            tags = [reader.labels[tag] for tag in row["ner_tags"]]
            unknown = next((tag for tag in tags if tag not in allowed), None)
            if unknown is not None:
                found, expected = f"label {quoted(unknown)}", f"one of {shorten(', '.join(labels))}"
                raise SourceError(f"{where}, row {index}: found {found}, expected {expected}")
            if not is_language(row["lang"]):
                found = f"lang {quoted(row['lang'])}"
                raise SourceError(f"{where}, row {index}: found {found}, expected {LANGUAGE_FORM}")
            image: Any
            image_id: Any
            if several:
                pairs = [_image_of(one, folder) for one in row["image"] or ()]
                image, image_id = [list(own) for own in zip(*pairs, strict=True)] or (None, None)
            else:
                image, image_id = _image_of(row.get("image"), folder)
            yield {
                "id": row["id"],
                "tokens": row["tokens"],
                "ner_tags": tags,
                "lang": row["lang"],
                "image": image,
                "image_id": row.get("image_id") or image_id,
                **{key: row.get(key) for key in CONTEXT_COLUMNS},
                "group": None,
                "repaired": reader.repaired > repaired,
            }

    return Part(split, None, read, labels=tuple(reader.labels), several=several)


def _image_of(
    image: dict[str, Any] | str | None, folder: Path
) -> tuple[dict[str, Any] | str | None, str | None]:
    """The image of a row of a data set, and its name.

    An image without bytes is looked for in `folder` alone: data from others could name any file of
    this machine.
    """
    if image is None or image == "":
        return None, None
    name = image if isinstance(image, str) else image.get("path")
    if isinstance(image, dict) and image.get("bytes") is not None:
        return image, name and PurePath(name).name
    if name is None:
        return None, None
    path = Path(name)
    if path.is_absolute() and path.is_relative_to(folder.absolute()):
        name = str(path.relative_to(folder.absolute()))
    found = find_image(name, folder) if is_safe_name(name) else None
    return (None if found is None else str(found)), PurePath(name).name


def _find_sample(data_dir: Path, options: ReadOptions) -> list[Part]:
    several = options.several_images

    def read(split: str, lang: str, labels: Sequence[str]) -> Iterator[Row]:
        return sample_rows(split, languages=[lang], several_images=several)

    return [
        Part(split, lang, partial(read, split, lang), several=several)
        for lang in SAMPLE_LANGUAGES
        for split in SPLITS
    ]


_CONLL = (".txt", ".conll", ".bio", ".tsv")

SOURCES: dict[str, Source] = {
    "mmnerd": Source(_find_mmnerd, DEFAULT_ENTITY_TYPES),
    "twitter2015": Source(
        partial(_find_files, suffixes=_CONLL, lang="en"),
        DEFAULT_ENTITY_TYPES,
        renamed={"OTHER": "MISC"},
        about="The entity type that the source calls `OTHER` is called `MISC` here.",
    ),
    "twitter2017": Source(
        partial(_find_files, suffixes=_CONLL, lang="en"),
        DEFAULT_ENTITY_TYPES,
        renamed={"OTHER": "MISC"},
        about="The entity type that some copies of the source call `OTHER` is called `MISC` here.",
    ),
    "mner_mi": Source(
        partial(_find_mner_mi, name="MNER-MI"),
        DEFAULT_ENTITY_TYPES,
        renamed={"MIS": "MISC"},
        about="The entity type that the source calls `MIS` is called `MISC` here.",
    ),
    "mner_mi_plus": Source(
        partial(_find_mner_mi, name="MNER-UNI"),
        DEFAULT_ENTITY_TYPES,
        renamed={"MIS": "MISC"},
        about="MNER-MI and Twitter-2017. The entity type that some sentences of the source call "
        "`MIS` is called `MISC` here.",
    ),
    "conll": Source(partial(_find_files, suffixes=_CONLL)),
    "wikineural": Source(partial(_find_files, suffixes=(".conllu", ".iob2"))),
    "dataset": Source(_find_dataset, may_be_a_name=True),
    "jsonl": Source(partial(_find_files, suffixes=(".jsonl",), rows_name_language=True)),
    "sample": Source(
        _find_sample,
        DEFAULT_ENTITY_TYPES,
        about="This data set is generated: its sentences, names and images are invented, to show "
        "that an image can decide the type of an entity. "
        "`decidable_from_text` is false if only the image tells the type, `object_box` is where "
        "the object lies that the image shows.",
        is_sample=True,
    ),
}
"""Every source by its name on the command line."""


# Reading a source ---------------------------------------------------------------------------------


def split_by_group(row: Row, shares: Sequence[int]) -> str:
    """The split of a row without one, by a hash of its group, else its image id, else its words.

    Rows of one group get the same split. More data moves no row to another split.

    Args:
        row: a row of a reader.
        shares: three weights, of train, validation and test.
    """
    images = "\n".join(filter(None, images_of_row(row["image_id"])))
    group = row.get("group") or images or "\n".join(row["tokens"])
    digest = hashlib.sha256(group.encode()).digest()
    point = int.from_bytes(digest[:8]) / 2**64 * sum(shares)
    if point < shares[0]:
        return SPLITS[0]
    return SPLITS[1] if point < shares[0] + shares[1] else SPLITS[2]


def check_shares(shares: Sequence[int], example: str) -> None:
    """Raise SourceError unless there is a weight for each split, and one that is not 0."""
    if len(shares) != len(SPLITS) or min(shares) < 0 or sum(shares) <= 0:
        expected = f"three weights such as {example}"
        raise SourceError(f"shares of the splits: found {shares}, expected {expected}")


class OpenSource:
    """The rows of a source in a folder, with their labels.

    Args:
        source: one of `SOURCES`, or another one.
        data_dir: the folder; the sample needs none.
        entity_types: the allowed types; by default the source's own, or those found.
        shares: weights of train, validation and test for files without a split.
        options: what the data does not state.

    Raises:
        SourceError: if the source is unknown, or its files are missing.
        ColumnError: if a data set lacks columns.
        FileNotFoundError: if a folder is missing.
    """

    def __init__(
        self,
        source: str | Source,
        data_dir: Path | str | None = None,
        *,
        entity_types: Sequence[str] | None = None,
        shares: Sequence[int] = DEFAULT_SHARES,
        options: ReadOptions | None = None,
    ) -> None:
        if isinstance(source, str) and source not in SOURCES:
            raise SourceError(f"source: found {source!r}, expected one of {', '.join(SOURCES)}")
        check_shares(shares, "80/10/10")
        self.source = SOURCES[source] if isinstance(source, str) else source
        if data_dir is None and not self.source.is_sample:
            raise SourceError(
                f"source {source!r}: found no folder to read, expected one (data_dir)"
            )
        must_exist = data_dir is not None and not self.source.may_be_a_name
        if must_exist and not Path(data_dir or ".").exists():
            raise FileNotFoundError(f"found no {data_dir}, expected the data of {source!r}")
        options = options or ReadOptions()
        if options.image_dir is not None and not options.image_dir.is_dir():
            raise FileNotFoundError(f"found no folder {options.image_dir}, expected images")
        if options.lang is not None and not is_language(options.lang):
            raise SourceError(f"language: found {quoted(options.lang)}, expected {LANGUAGE_FORM}")
        self.parts = self.source.find(Path(data_dir or "."), options)
        for part in self.parts:
            if part.lang is not None and not is_language(part.lang):
                found = f"the language {quoted(part.lang)}"
                raise SourceError(f"{part.path}: found {found}, expected {LANGUAGE_FORM}")
        self.shares = tuple(shares)
        self._options = options
        if options.several_images and not self.source.is_sample:
            expected = "the source sample; the files of others tell it"
            raise SourceError(f"several images: found the source {source!r}, expected {expected}")
        entity_types = entity_types or self.source.entity_types
        if entity_types is None:
            files = [part.path for part in self.parts if part.path is not None]
            labels = [label for part in self.parts for label in part.labels]
            labels += labels_of(files, columns=options.columns, tag_names=options.tag_names)
            self.labels = bio_labels(types_of(labels))
        else:
            self.labels = bio_labels(entity_types)

    @cached_property
    def several_images(self) -> bool:
        """Whether the rows have lists of images; JSON lines are read to find out."""
        if any(part.several for part in self.parts):
            return True
        files = [part.path for part in self.parts if part.several is None and part.path is not None]
        fields: Any = {"columns": self._options.columns, "tag_names": self._options.tag_names}
        return name_image_lists(files, **fields)

    @property
    def features(self) -> Features:
        """The columns of the rows."""
        return features(self.labels, sample=self.source.is_sample, several=self.several_images)

    @property
    def splits(self) -> list[str]:
        """The splits of the rows, in the order of `SPLITS`."""
        found = {part.split for part in self.parts}
        drawn = {split for split, share in zip(SPLITS, self.shares, strict=True) if share}
        return [split for split in SPLITS if split in found or (None in found and split in drawn)]

    def rows(self, languages: Sequence[str] | None = None) -> Iterator[tuple[str, Row]]:
        """(split, row) of each row of some languages, by default of all.

        Raises:
            MalformedLineError, SourceError, ColumnError: at the first faulty line or row.
        """
        allowed = [*self.labels, *bio_labels(self.source.renamed)[1:]]
        for part in self.parts:
            if languages is not None and part.lang is not None and part.lang not in languages:
                continue
            for row in part.read(allowed):
                if languages is not None and row["lang"] not in languages:
                    continue
                if self.source.renamed:
                    row["ner_tags"] = [self._renamed(tag) for tag in row["ner_tags"]]
                if self.several_images:
                    for column in ("image", "image_id"):
                        row[column] = images_of_row(row[column]) or None
                yield part.split or split_by_group(row, self.shares), row

    def _renamed(self, tag: str) -> str:
        return tag[:2] + self.source.renamed.get(tag[2:], tag[2:])

    def languages(self) -> list[str]:
        """The languages of the rows, sorted. Files whose rows have their own language are read."""
        known = {part.lang for part in self.parts if part.lang is not None}
        unread = (part for part in self.parts if part.lang is None)
        return sorted(known | {row["lang"] for part in unread for row in part.read(self.labels)})


__all__ = [
    "DEFAULT_SHARES",
    "SOURCES",
    "OpenSource",
    "Part",
    "ReadOptions",
    "Source",
    "SourceError",
    "check_shares",
    "split_by_group",
    "split_of",
]
