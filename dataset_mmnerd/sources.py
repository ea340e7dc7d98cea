"""Sources of MMNERD-like data, and `MMNERD`, the `datasets` builder over them.

A *source* says where its files are, to which split and language each belongs, and which entity
types it has (`SOURCES`). Adding one is a function that finds files and a row in that table.

>>> MMNERD(config_name="de", source="mmnerd", data_dir="MMNERD/").download_and_prepare()

The builder goes through the cache and the Arrow files of `datasets`, as builders do. `publish.py`
reads the same sources, but writes Parquet with images at once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePath
from typing import Any

from datasets import (
    BuilderConfig,
    Dataset,
    DatasetInfo,
    GeneratorBasedBuilder,
    SplitGenerator,
    Version,
)

from .columns import ColumnReader
from .loading import LoadingError, load_named
from .quoting import quoted, shorten
from .readers import (
    IMAGE_SUFFIXES,
    find_image,
    is_language,
    is_safe_name,
    labels_of,
    language_of,
    read_file,
)
from .sample import SAMPLE_LANGUAGES, sample_rows
from .schema import CONTEXT_COLUMNS, DEFAULT_ENTITY_TYPES, SPLITS, bio_labels, features
from .schema import entity_types as types_of

ALL_LANGUAGES = "all"
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

Row = dict[str, Any]


class SourceError(ValueError):
    """A folder that is not what its source says: what was found, what was expected."""


@dataclass(frozen=True)
class Part:
    """Some rows of a source: `read(labels)` gives them, and refuses any label not in `labels`.

    `split` and `lang` None: each row's own, by its group and by what it says. `path` is the
    file that it is read from; `labels` are those of a part that is read from none.
    """

    split: str | None
    lang: str | None
    read: Callable[[Sequence[str]], Iterator[Row]]
    path: Path | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReadOptions:
    """What the user says of data that does not say it itself.

    Attributes:
        image_dir: where the images are, if not where the source expects them.
        lang: the language of what does not tell its own; if not given, what file names tell.
        columns: other names of the columns, by those of `schema.py`.
        tag_names: the labels by number, where the data has numbers.
        config: which configuration of a data set.
    """

    image_dir: Path | None = None
    lang: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    tag_names: tuple[str, ...] | None = None
    config: str | None = None


@dataclass(frozen=True)
class Source:
    """Where a source's rows are. `entity_types` None: whichever its files use.

    `find(data_dir, options)` lists the parts. `renamed` are entity types that get another name, and
    `about` tells the data card of it. `may_be_a_name`: `data_dir` is what `load_dataset` takes, a
    path or not.
    """

    find: Callable[[Path, ReadOptions], list[Part]]
    entity_types: tuple[str, ...] | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    about: str = ""
    is_sample: bool = False
    may_be_a_name: bool = False


# Finding files ------------------------------------------------------------------------------------


def split_of(path: Path) -> str | None:
    """The split that a file's name tells (`valid_de.txt`), else that its folder is (`dev/`)."""
    pieces = [*re.split(r"[^a-z]", path.stem.lower()), path.parent.name.lower()]
    return next((_SPLIT_WORDS[piece] for piece in pieces if piece in _SPLIT_WORDS), None)


def _image_folder(folder: Path) -> Path:
    """The first folder below that holds images, else the folder itself; no link out of it."""
    below = sorted(path for path in folder.iterdir() if path.is_dir())
    for candidate in below:
        if any(path.suffix.lower() in IMAGE_SUFFIXES for path in candidate.iterdir()):
            return _inside(candidate, folder)
    return folder


def _inside(images: Path, folder: Path) -> Path:
    """An image folder that the user has not named, but the data.

    Raises:
        SourceError: if it is a link out of the data's folder.
    """
    if not images.resolve().is_relative_to(folder.resolve()):
        expected = "image files in the data's own folder, or in one that is named (--image-dir)"
        raise SourceError(f"{images}: found a link to {images.resolve()}, expected {expected}")
    return images


def _part(path: Path, data_dir: Path, options: ReadOptions, lang: str | None) -> Part:
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
        )

    return Part(split_of(path), lang, read, path)


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


def _find_dataset(data_dir: Path, options: ReadOptions) -> list[Part]:
    """The parts of a data set of `load_dataset`, a folder or a name on the Hub."""
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
                found, expected = quoted(row["lang"]), "a language code such as de or pt-BR"
                raise SourceError(f"{where}, row {index}: found lang {found}, expected {expected}")
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

    return Part(split, None, read, labels=tuple(reader.labels))


def _image_of(
    image: dict[str, Any] | str | None, folder: Path
) -> tuple[dict[str, Any] | str | None, str | None]:
    """The image of a row of a data set and its name. One that is only named is looked for in a
    folder, and nowhere else: rows of strangers name files of this machine, too."""
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
    def read(split: str, lang: str, labels: Sequence[str]) -> Iterator[Row]:
        return sample_rows(split, languages=[lang])

    return [
        Part(split, lang, partial(read, split, lang))
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
    "conll": Source(partial(_find_files, suffixes=_CONLL)),
    "wikineural": Source(partial(_find_files, suffixes=(".conllu", ".iob2"))),
    "dataset": Source(_find_dataset, may_be_a_name=True),
    "jsonl": Source(partial(_find_files, suffixes=(".jsonl",), rows_name_language=True)),
    "sample": Source(
        _find_sample,
        DEFAULT_ENTITY_TYPES,
        about="This data set is made up: its sentences, names and images were generated to show "
        "that images can decide the type of an entity, and say nothing about the world. "
        "`decidable_from_text` is false where only the image tells the type.",
        is_sample=True,
    ),
}
"""Every source by its name on the command line."""


# Reading a source ---------------------------------------------------------------------------------


def split_by_group(row: Row, shares: Sequence[int]) -> str:
    """The split of a row whose source gives none: by its document or story, its image, its words.

    It depends on the name of that group alone, so that more data moves no row to another split.

    Args:
        row: one row of a reader.
        shares: three weights, of train, validation and test.
    """
    group = row.get("group") or row["image_id"] or "\n".join(row["tokens"])
    digest = hashlib.sha256(group.encode()).digest()
    point = int.from_bytes(digest[:8]) / 2**64 * sum(shares)
    if point < shares[0]:
        return SPLITS[0]
    return SPLITS[1] if point < shares[0] + shares[1] else SPLITS[2]


class OpenSource:
    """The rows of one source in one folder, with the labels they use.

    Args:
        name: one of `SOURCES`.
        data_dir: its folder; the sample needs none.
        entity_types: the types allowed, if not the source's own or those found.
        shares: weights of train, validation and test for files that tell no split.
        options: what else the user says of the data.

    Raises:
        SourceError: if the source is unknown or its files are not there.
        ColumnError: if a data set has not the columns that are needed.
        FileNotFoundError: if a folder is not there.
    """

    def __init__(
        self,
        name: str,
        data_dir: Path | str | None = None,
        *,
        entity_types: Sequence[str] | None = None,
        shares: Sequence[int] = DEFAULT_SHARES,
        options: ReadOptions | None = None,
    ) -> None:
        if name not in SOURCES:
            raise SourceError(f"source: found {name!r}, expected one of {', '.join(SOURCES)}")
        if len(shares) != len(SPLITS) or min(shares) < 0 or sum(shares) <= 0:
            expected = "three weights such as 80/10/10"
            raise SourceError(f"shares of the splits: found {shares}, expected {expected}")
        self.source = SOURCES[name]
        if data_dir is None and not self.source.is_sample:
            raise SourceError(f"source {name!r}: found no folder to read, expected one (data_dir)")
        is_path = data_dir is not None and not self.source.may_be_a_name
        if is_path and not Path(data_dir).exists():
            raise FileNotFoundError(f"found no {data_dir}, expected the data of {name!r}")
        options = options or ReadOptions()
        if options.image_dir is not None and not options.image_dir.is_dir():
            raise FileNotFoundError(f"found no folder {options.image_dir}, expected images")
        if options.lang is not None and not is_language(options.lang):
            expected = "a language code such as de or pt-BR"
            raise SourceError(f"language: found {quoted(options.lang)}, expected {expected}")
        self.parts = self.source.find(Path(data_dir or "."), options)
        for part in self.parts:
            if part.lang is not None and not is_language(part.lang):
                expected = "a language code such as de or pt-BR"
                raise SourceError(
                    f"{part.path}: found the language {quoted(part.lang)}, expected {expected}"
                )
        self.shares = tuple(shares)
        if entity_types is None and self.source.entity_types is None:
            files = [part.path for part in self.parts if part.path is not None]
            labels = [label for part in self.parts for label in part.labels]
            labels += labels_of(files, columns=options.columns, tag_names=options.tag_names)
            self.labels = bio_labels(types_of(labels))
        else:
            self.labels = bio_labels(entity_types or self.source.entity_types)

    @property
    def splits(self) -> list[str]:
        """The splits there are, in their usual order."""
        found = {part.split for part in self.parts}
        drawn = {split for split, share in zip(SPLITS, self.shares, strict=True) if share}
        return [split for split in SPLITS if split in found or (None in found and split in drawn)]

    def rows(self, languages: Sequence[str] | None = None) -> Iterator[tuple[str, Row]]:
        """Every row of some languages, of all if not given, with its split.

        Raises:
            MalformedLineError: at the first bad line.
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
                yield part.split or split_by_group(row, self.shares), row

    def _renamed(self, tag: str) -> str:
        return tag[:2] + self.source.renamed.get(tag[2:], tag[2:])

    def languages(self) -> list[str]:
        """The languages there are, sorted; files whose rows name their own are read for it."""
        known = {part.lang for part in self.parts if part.lang is not None}
        unread = (part for part in self.parts if part.lang is None)
        return sorted(known | {row["lang"] for part in unread for row in part.read(self.labels)})


# The builder --------------------------------------------------------------------------------------


@dataclass
class MMNERDConfig(BuilderConfig):
    """`name` is a language of the source, or `all`; the rest is what `OpenSource` takes."""

    version: Version = field(default_factory=lambda: Version("1.0.0"))
    source: str = "mmnerd"
    entity_types: tuple[str, ...] | None = None
    shares: tuple[int, ...] = DEFAULT_SHARES
    image_dir: str | None = None
    lang: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    tag_names: tuple[str, ...] | None = None
    config: str | None = None

    def open(self) -> OpenSource:
        return OpenSource(
            self.source,
            self.data_dir,
            entity_types=self.entity_types,
            shares=self.shares,
            options=ReadOptions(
                image_dir=None if self.image_dir is None else Path(self.image_dir),
                lang=self.lang,
                columns=self.columns,
                tag_names=self.tag_names,
                config=self.config,
            ),
        )

    def create_config_id(self, config_kwargs: dict[str, Any], custom_features: Any = None) -> str:
        """As usual, and another one when a file has changed, so that no stale cache is used."""
        stamps = []
        for part in self.open().parts:
            if part.path is not None:
                status = part.path.stat()
                stamps.append(f"{part.path} {status.st_size} {status.st_mtime_ns}")
        return super().create_config_id(config_kwargs | {"files": stamps}, custom_features)


class MMNERD(GeneratorBasedBuilder):
    """A `datasets` builder with one config a language found, and `all`.

    >>> builder = MMNERD(config_name="de", source="mmnerd", data_dir="MMNERD/")
    >>> builder.download_and_prepare()
    >>> builder.as_dataset(split="train")
    """

    BUILDER_CONFIG_CLASS = MMNERDConfig
    DEFAULT_WRITER_BATCH_SIZE = 100  # rows; each may carry an image

    config: MMNERDConfig

    def _info(self) -> DatasetInfo:
        opened = self.config.open()
        languages = opened.languages()
        if self.config.name not in (ALL_LANGUAGES, *languages):
            there = shorten(", ".join((ALL_LANGUAGES, *languages)))
            raise SourceError(f"config: found {quoted(self.config.name)}, expected one of {there}")
        columns = features(opened.labels, sample=opened.source.is_sample)
        return DatasetInfo(features=columns, description=opened.source.about)

    def _split_generators(self, dl_manager: Any) -> list[SplitGenerator]:
        splits = self.config.open().splits
        return [SplitGenerator(split, gen_kwargs={"split": split}) for split in splits]

    def _generate_examples(self, split: str) -> Iterator[tuple[int, Row]]:
        languages = None if self.config.name == ALL_LANGUAGES else [self.config.name]
        for index, (split_of_row, row) in enumerate(self.config.open().rows(languages)):
            if split_of_row == split:
                yield index, {key: row[key] for key in self.info.features}


__all__ = [
    "ALL_LANGUAGES",
    "DEFAULT_SHARES",
    "MMNERD",
    "SOURCES",
    "MMNERDConfig",
    "OpenSource",
    "Part",
    "ReadOptions",
    "Source",
    "SourceError",
    "split_by_group",
    "split_of",
]
