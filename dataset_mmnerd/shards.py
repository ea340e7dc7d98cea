"""Parquet shards of rows with images, written and read in bounded memory.

A shard is one row group. Its images are a dictionary column: each distinct image once, and for each
row the number of its image, or a list of such numbers. This is ordinary Parquet dictionary
encoding, which every reader decodes, so an image of a thousand sentences is stored once a shard.
Images are the same if their bytes are.

A shard is closed at 12 MiB of distinct images, at 96 MiB of images repeated for each row (the size
for a reader of the row group), or at 20,000 rows. Writing one takes about four times the size of
its distinct images, so memory does not depend on the length of the data set.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import Features

from .files import check_inside, replaced
from .image_lists import has_image_lists, images_of_row
from .images import ImageError, load_image, read_image
from .quoting import shorten
from .schema import SPLITS, Row, features

# Errors of damaged files: invalid UTF-8, types or lengths, missing columns or names.
_SHARD_ERRORS = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)

_DISTINCT_BYTES = 12 * 2**20
_EXPANDED_BYTES = 96 * 2**20
_SHARD_ROWS = 20_000
_BATCH_ROWS = 1000
_HELD_BYTES = 64 * 2**20
_WORD_BYTES = 200  # approximate size of a word and its label as Python objects

Images = bytes | None | list[bytes | None]
"""The image of a row, or the list of its images."""


def content_digest(content: bytes) -> str:
    """A digest of the content of an image file."""
    return hashlib.sha256(content).hexdigest()


def image_digest(image: Any) -> str | None:
    """A digest of an image's content. An encoded image is not decoded.

    Args:
        image: None, or an image of any kind that `load_image` reads.

    Returns:
        The digest; None if there is no image, or it cannot be read.
    """
    if isinstance(image, Mapping):
        image = image.get("path") if image.get("bytes") is None else image["bytes"]
    if image is None:
        return None
    try:
        if isinstance(image, str | os.PathLike):
            content = read_image(image)
        elif isinstance(image, bytes | bytearray | memoryview):
            content = bytes(image)
        else:
            decoded = load_image(image)
            content = f"RGB {decoded.size}".encode() + decoded.tobytes()
    except ImageError:
        return None
    return content_digest(content)


@dataclass
class Written:
    """The counts of a `ShardWriter`.

    Attributes:
        rows: the number of rows.
        shards: the files.
        stored_bytes: the size of the files.
        expanded_bytes: the size of the rows, with each image repeated for each row.
        image_bytes: the size of the images, repeated for each row.
        distinct_image_bytes: the size of the images as stored.
    """

    rows: int = 0
    shards: list[Path] = field(default_factory=list)
    stored_bytes: int = 0
    expanded_bytes: int = 0
    image_bytes: int = 0
    distinct_image_bytes: int = 0


class ShardWriter:
    """Writes the rows of one language and split as `{stem}-{number}.parquet` in a folder.

    Args:
        folder: the folder; it is made if it does not exist.
        stem: the prefix of the shards' names.
        columns: the features, with `image`.
    """

    def __init__(self, folder: Path, stem: str, columns: Features) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.written = Written()
        self._folder, self._stem, self._columns = folder, stem, columns
        self._label_ids = {name: i for i, name in enumerate(columns["ner_tags"].feature.names)}
        self._schema = columns.arrow_schema
        self._several = has_image_lists(columns)
        self._text_schema = pa.schema([part for part in self._schema if part.name != "image"])
        self._start_shard()

    def _start_shard(self) -> None:
        self._rows: list[Row] = []
        self._batches: list[pa.RecordBatch] = []
        self._images: dict[bytes, int] = {}
        self._numbers: list[int | None] = []  # of all places for images
        self._places: list[int] = []  # of each row
        self._distinct_bytes = self._image_bytes = self._text_bytes = self._row_bytes = 0

    @property
    def held_bytes(self) -> int:
        """The approximate size in memory of the rows that are not written yet."""
        return self._distinct_bytes + self._text_bytes + self._row_bytes

    def add(self, row: Row, image: Images) -> None:
        """Add a row, with label names, and the bytes of its image or images."""
        images = images_of_row(image) or ([] if self._several else [None])
        self._numbers += [None if image is None else self._number(image) for image in images]
        self._places.append(len(images))
        self._rows.append(row)
        self._row_bytes += _WORD_BYTES * (len(row["tokens"]) + 10)
        if len(self._rows) == _BATCH_ROWS:
            self._batch()
        if (
            self._distinct_bytes >= _DISTINCT_BYTES
            or self._image_bytes >= _EXPANDED_BYTES
            or len(self._places) >= _SHARD_ROWS
        ):
            self.write()

    def _number(self, image: bytes) -> int:
        number = self._images.get(image)
        self._image_bytes += len(image)
        if number is None:
            number = self._images[image] = len(self._images)
            self._distinct_bytes += len(image)
        return number

    def _batch(self) -> None:
        """Convert the added rows to Arrow, which takes a tenth of the memory."""
        columns = []
        for part in self._text_schema:
            values = [row[part.name] for row in self._rows]
            if part.name == "ner_tags":
                values = [[self._label_ids[tag] for tag in tags] for tags in values]
            columns.append(pa.array(values, part.type))
        self._batches.append(pa.RecordBatch.from_arrays(columns, schema=self._text_schema))
        self._text_bytes += self._batches[-1].nbytes
        self._rows, self._row_bytes = [], 0

    def write(self) -> None:
        """Write the added rows as a shard, if there are any."""
        if self._rows:
            self._batch()
        if not self._batches:
            return
        table = pa.Table.from_batches(self._batches)
        numbers = pa.array(self._numbers, pa.int32())
        images = pa.DictionaryArray.from_arrays(numbers, pa.array(self._images, pa.binary()))
        self._images = {}  # they are in Arrow: do not hold them twice while the file is written
        image = pa.StructArray.from_arrays(
            [images, self._names(table)], names=["bytes", "path"], mask=numbers.is_null()
        )
        if self._several:
            ends = np.cumsum(self._places)
            # A row without images is null: its offset is.
            starts = [
                None if count == 0 else end - count
                for end, count in zip(ends.tolist(), self._places, strict=True)
            ]
            offsets = pa.array([*starts, len(self._numbers)], pa.int32())
            image = pa.ListArray.from_arrays(offsets, image)
        table = table.append_column("image", image).select(self._schema.names)
        path = self._folder / f"{self._stem}-{len(self.written.shards):05d}.parquet"
        _write(path, table, self._schema.metadata)
        self._count(table.nbytes - image.nbytes, path)
        self._start_shard()
        del images, image, table
        pa.default_memory_pool().release_unused()

    def _names(self, rows: pa.Table) -> pa.Array:
        """The name of each image, without folders; null where there is none."""
        names: list[str | None] = []
        given = zip(rows["id"].to_pylist(), rows["image_id"].to_pylist(), strict=True)
        for (name, images), count in zip(given, self._places, strict=True):
            own = images_of_row(images) or [name] * count
            names += [PurePath(image or name).name for image in own]
        shown = [
            None if number is None else name
            for number, name in zip(self._numbers, names, strict=True)
        ]
        return pa.array(shown, pa.string())

    def _count(self, text_bytes: int, path: Path) -> None:
        written = self.written
        written.rows += len(self._places)
        written.shards.append(path)
        written.stored_bytes += path.stat().st_size
        written.expanded_bytes += text_bytes + self._image_bytes
        written.image_bytes += self._image_bytes
        written.distinct_image_bytes += self._distinct_bytes

    def close(self) -> Written:
        """Write the last shard and put the number of shards into their names."""
        self.write()
        shards = self.written.shards
        for number, path in enumerate(shards):
            whole = f"{self._stem}-{number:05d}-of-{len(shards):05d}.parquet"
            shards[number] = path.rename(path.with_name(whole))
        return self.written


class ShardWriters:
    """Writes the rows of all languages and splits. Memory does not grow with their number.

    If the writers together hold more than `_HELD_BYTES`, the fullest one writes a shard.

    Args:
        folder: the data set; shards go to `data/{lang}/{split}-*.parquet` in it.
        columns: the features, as for `ShardWriter`.
    """

    def __init__(self, folder: Path, columns: Features) -> None:
        self._folder, self._columns = folder, columns
        self._writers: dict[tuple[str, str], ShardWriter] = {}
        self.held_bytes = 0

    def add(self, lang: str, split: str, row: Row, image: Images) -> None:
        """Add a row of a language and split: see `ShardWriter.add`."""
        writer = self._writers.get((lang, split))
        if writer is None:
            writer = ShardWriter(self._folder / "data" / lang, split, self._columns)
            self._writers[lang, split] = writer
        self.held_bytes -= writer.held_bytes
        writer.add(row, image)
        self.held_bytes += writer.held_bytes
        while self.held_bytes > _HELD_BYTES:
            fullest = max(self._writers.values(), key=lambda writer: writer.held_bytes)
            self.held_bytes -= fullest.held_bytes
            fullest.write()

    def close(self) -> dict[tuple[str, str], Written]:
        """Write the rows that are left; return the counts by language and split."""
        return {key: writer.close() for key, writer in self._writers.items()}


# Reading and replacing ----------------------------------------------------------------------------


class ShardError(ValueError):
    """A shard that cannot be read. `path` is its file, `reason` the fault."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: found {reason}, expected a whole Parquet file")
        self.path, self.reason = path, reason


@contextmanager
def reading_shard(path: Path) -> Iterator[None]:
    """Raise the errors of reading a shard as `ShardError`.

    Raises:
        ShardError: if the file is damaged, of another kind, or no regular file.
    """
    if path.exists() and not path.is_file():  # a FIFO would block
        raise ShardError(path, "no regular file")
    try:
        yield
    except ShardError:
        raise
    except (pa.ArrowException, OSError, *_SHARD_ERRORS) as error:
        reason = shorten(str(error).replace(f"{path.parent}/", ""))
        raise ShardError(path, reason or type(error).__name__) from error


def shard_paths(folder: Path) -> list[Path]:
    """The shards of a data set folder: train, validation, test, and by name within.

    Raises:
        FileNotFoundError: if there is none.
        OSError: if one is a link that leads out of the folder.
    """
    found = {
        (SPLITS.index(path.name.partition("-")[0]), path)
        for path in folder.glob("data/*/*.parquet")
        if path.name.partition("-")[0] in SPLITS
    }
    if not found:
        expected = "data/<language>/<split>-*.parquet, as `build` makes them"
        raise FileNotFoundError(f"{folder}: found no data set, expected {expected}")
    for _, path in found:
        check_inside(folder, path)
    return [path for _, path in sorted(found)]


def label_names(file: pq.ParquetFile) -> list[str]:
    """The label names of a shard, in the order of their ids.

    Raises:
        ValueError: if it lacks a column that `build` writes, or has another type.
    """
    schema = file.schema_arrow
    tags = Features.from_arrow_schema(schema).get("ner_tags")
    labels = getattr(getattr(tags, "feature", None), "names", None)
    if labels is None:
        raise ValueError("no column ner_tags of class labels")
    several = pa.types.is_list(schema.field("image").type)
    for column in features(labels, several=several).arrow_schema:
        found = schema.field(column.name).type
        if column.name != "image" and found != column.type:
            raise ValueError(f"column {column.name} of type {found}")
    return labels


def read_shard(path: Path) -> tuple[pa.Table, pa.DictionaryArray, list[int]]:
    """A shard's rows; the images of all rows, one after the other, as a dictionary of the distinct
    ones; and how many of them each row has. A row of one image or none has one, or null.

    Raises:
        ShardError: if it is damaged, or lacks a column that `build` writes.
    """
    with reading_shard(path):
        content = f"{_image_path(pq.read_schema(path))}.bytes"
        with pq.ParquetFile(path, read_dictionary=[content]) as file:
            rows = file.read()
            rows.validate(full=True)
            label_names(file)
        chunks, counts = rows["image"].chunks, [1] * len(rows)
        if pa.types.is_list(rows["image"].type):
            lengths = pc.fill_null(pc.list_value_length(rows["image"]), 0)
            chunks, counts = [chunk.flatten() for chunk in chunks], lengths.to_pylist()
        images = pa.chunked_array(
            [chunk.field("bytes") for chunk in chunks], pa.dictionary(pa.int32(), pa.binary())
        )
        return rows, images.unify_dictionaries().combine_chunks(), counts


def _image_path(schema: pa.Schema) -> str:
    """Where Parquet has the fields of an image."""
    return "image.list.element" if pa.types.is_list(schema.field("image").type) else "image"


def replace_shard(path: Path, rows: pa.Table) -> None:
    """Replace a shard by rows as `read_shard` returns them. It is never half written."""
    with replaced(path) as unfinished:
        _write(unfinished, rows, rows.schema.metadata)


def expanded_bytes(rows: pa.Table, images: pa.DictionaryArray) -> int:
    """The size of rows in bytes, with each image repeated for each row."""
    sizes = [len(image) for image in images.dictionary.to_pylist()]
    shown = sum(sizes[number] for number in images.indices.to_pylist() if number is not None)
    return rows.drop_columns("image").nbytes + shown


def _write(path: Path, rows: pa.Table, metadata: dict[bytes, bytes]) -> None:
    """Write one row group. Images are a dictionary, and not compressed, as they are already."""
    compressed = {part.name: part.name for part in rows.schema}
    for part in rows.schema:
        if pa.types.is_list(part.type):
            compressed[part.name] = f"{part.name}.list.element"
    image = _image_path(rows.schema)
    compressed["image"] = f"{image}.path"
    rows = rows.replace_schema_metadata(None)
    with pq.ParquetWriter(
        path,
        rows.schema,
        store_schema=False,  # or readers would see a dictionary type where `Image` has bytes
        compression=dict.fromkeys(compressed.values(), "zstd") | {f"{image}.bytes": "none"},
        write_page_index=True,
    ) as writer:
        writer.write_table(rows, row_group_size=len(rows))
        writer.add_key_value_metadata(metadata)  # the features, for `datasets`


__all__ = [
    "ShardError",
    "ShardWriter",
    "ShardWriters",
    "Written",
    "content_digest",
    "expanded_bytes",
    "image_digest",
    "label_names",
    "read_shard",
    "reading_shard",
    "replace_shard",
    "shard_paths",
]
