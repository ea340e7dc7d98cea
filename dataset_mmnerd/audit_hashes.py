"""What the audit keeps of a data set: 64-bit hashes of its sentences, entities and images.

A million sentences take tens of megabytes. The folder is read once for the words and once for the
images. Rows are numbered in the order of the shards.
"""

from __future__ import annotations

import hashlib
import heapq
import importlib.util
import re
import unicodedata
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from .image_lists import images_of_row
from .images import ImageError, load_image
from .labels import repair_labels
from .quoting import quoted
from .schema import SPLITS, UNKNOWN_LANGUAGE, Row
from .shards import ShardError, label_names, reading_shard, shard_paths

SHORT_WORDS = 4
"""A sentence of fewer words ("Thanks !") may occur in two splits by chance: it is a note."""

MOST_EXAMPLES = 5

_LOOK_SIDE = 64  # pixels; the least size of the image that is hashed
_LANGUAGE_SENTENCES = 2000  # a language; the sentences with the smallest hashes
_LANGUAGE_LETTERS = 40  # the language of shorter sentences is not identified reliably

_URL = re.compile(r"https?\s*:\s*/\s*/\s*\S+|www\.\S+")
_NAME = re.compile(r"@\s?\w+")
_NUMBER = re.compile(r"[\W\d_]+")


# Words --------------------------------------------------------------------------------------------


def _hash(text: str | bytes) -> int:
    content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest())


def normalised(tokens: Sequence[str]) -> str:
    """A sentence without case, spaces, punctuation, URLs, @names and a first `RT`.

    >>> normalised(["RT", "@ana", ":", "Hello", ",", "WORLD", "http://t.co/x"])
    'helloworld'
    """
    text = unicodedata.normalize("NFKC", " ".join(tokens)).casefold()
    words = re.sub(r"[^\w]|_", " ", _NAME.sub(" ", _URL.sub(" ", text))).split()
    return "".join(words[1:] if words[:1] == ["rt"] else words) or text


def _entities(tokens: Sequence[str], tags: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(type, words) of each entity of valid IOB2 labels."""
    words: list[str] = []
    entity_type = ""
    for token, tag in zip([*tokens, ""], [*tags, "O"], strict=True):
        if words and not tag.startswith("I-"):
            yield entity_type, " ".join(words)
            words = []
        if tag != "O":
            words.append(token)
            entity_type = tag[2:]


# Reading ------------------------------------------------------------------------------------------


@dataclass
class Shards:
    """The Parquet files of a data set folder.

    Attributes:
        folder: the data set.
        paths: its files; damaged ones are taken out.
        broken: the damaged files, each with its fault.
    """

    folder: Path
    paths: list[Path]
    broken: list[str] = field(default_factory=list)

    def rows(self, *columns: str) -> Iterator[tuple[int, str, Row]]:
        """(row number, split, row) of all rows in a fixed order, with the names of labels.

        Raises:
            ShardError: if a file is damaged.
        """
        number = 0
        for path in self.paths:
            split = path.name.partition("-")[0]
            with reading_shard(path), pq.ParquetFile(path) as file:
                labels, place = label_names(file), 0
                size = 50 if "image" in columns else 1000
                for batch in file.iter_batches(batch_size=size, columns=list(columns)):
                    for row in batch.to_pylist():
                        place += 1
                        yield number, split, _checked(row, labels, place)
                        number += 1

    def leave_out(self, error: ShardError) -> None:
        """Move a damaged file from `paths` to `broken`."""
        self.paths.remove(error.path)
        self.broken.append(f"{error.path.relative_to(self.folder).as_posix()}: {error.reason}")


def _checked(row: Row, labels: Sequence[str], place: int) -> Row:
    """A row with the names of its labels.

    Raises:
        ValueError: with the row's `place` in the file, if it has a null or an unknown label number.
    """
    for name in ("id", "lang", "tokens", "ner_tags"):
        value = row.get(name, "")
        if value is None or (isinstance(value, list) and None in value):
            raise ValueError(f"row {place}: null in column {name}")
    if "ner_tags" in row:
        tags = row["ner_tags"]
        if tags and not 0 <= min(tags) <= max(tags) < len(labels):
            raise ValueError(f"row {place}: label {quoted(tags)} of {len(labels)}")
        row["ner_tags"] = [labels[tag] for tag in tags]
    return row


@dataclass
class Words:
    """Hashes of words: one for each sentence, or for each entity mention.

    Attributes:
        split: of each sentence, as its place in `SPLITS`.
        exact, normal, labelled, ids: hashes of the words, of `normalised` words, of words with
            labels, and of the id.
        short: whether the sentence has fewer than `SHORT_WORDS` words.
        mention_split, mention: of each entity mention its split, and a hash of type and words.
        flagged: the first examples of a check's faults, as (row number, remark).
        counts: the number of a check's faults.
        samples: by language the sentences whose language is checked, as (-hash, row number, text).
    """

    split: array[int] = field(default_factory=lambda: array("B"))
    exact: array[int] = field(default_factory=lambda: array("Q"))
    normal: array[int] = field(default_factory=lambda: array("Q"))
    labelled: array[int] = field(default_factory=lambda: array("Q"))
    ids: array[int] = field(default_factory=lambda: array("Q"))
    short: array[int] = field(default_factory=lambda: array("B"))
    mention_split: array[int] = field(default_factory=lambda: array("B"))
    mention: array[int] = field(default_factory=lambda: array("Q"))
    flagged: defaultdict[str, list[tuple[int, str]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    counts: Counter[str] = field(default_factory=Counter)
    samples: dict[str, list[tuple[int, int, str]]] = field(default_factory=dict)

    def flag(self, check: str, number: int, what: str) -> None:
        """Count a fault of a row."""
        self.counts[check] += 1
        if len(self.flagged[check]) < MOST_EXAMPLES:
            self.flagged[check].append((number, what))

    def read(self, number: int, split: str, row: Row) -> None:
        """Add a row with `id`, `tokens`, `ner_tags`, `lang`."""
        tokens, tags = row["tokens"], row["ner_tags"]
        code = SPLITS.index(split)
        text = " ".join(tokens)
        self.split.append(code)
        self.exact.append(_hash(text))
        self.normal.append(_hash(normalised(tokens)))
        self.labelled.append(_hash(f"{text}\n{' '.join(tags)}"))
        self.ids.append(_hash(row["id"]))
        self.short.append(len(tokens) < SHORT_WORDS)
        if not any(token.strip() for token in tokens):
            self.flag("empty sentences", number, "")
        if len(tokens) != len(tags):
            self.flag("labels not IOB2", number, f"{len(tokens)} words, {len(tags)} labels")
            return
        try:
            repaired = [label for label in repair_labels(tags) if label is not None]
        except ValueError as error:
            self.flag("labels not IOB2", number, str(error))
            return
        odd = next((i for i, tag in enumerate(repaired) if tag != tags[i]), None)
        if odd is not None:
            self.flag("labels not IOB2", number, f"{tokens[odd]} {tags[odd]}")
        for entity_type, words in _entities(tokens, repaired):
            self.mention_split.append(code)
            self.mention.append(_hash(f"{entity_type} {words.casefold()}"))
            if _NUMBER.fullmatch(words):
                self.flag("numbers as entities", number, f"{words} {entity_type}")
        if row["lang"] != UNKNOWN_LANGUAGE and sum(map(str.isalpha, text)) >= _LANGUAGE_LETTERS:
            sample = self.samples.setdefault(row["lang"], [])
            item = (-self.exact[-1], number, text)
            if len(sample) < _LANGUAGE_SENTENCES:
                heapq.heappush(sample, item)
            else:
                heapq.heappushpop(sample, item)


@dataclass
class Images:
    """Hashes of images.

    Attributes:
        named: the number of rows with an `image_id`.
        missing: the first rows with an `image_id` and no image.
        missing_count: the number of such rows.
        split, content, row: of each row with an image its split, the hash of the image's bytes, and
            its number.
        look: the perceptual hash of each distinct image, by the hash of its bytes.
        faults: "broken" and "enormous" images: row number and reason by the hash of their bytes.
    """

    named: int = 0
    missing: list[int] = field(default_factory=list)
    missing_count: int = 0
    split: array[int] = field(default_factory=lambda: array("B"))
    content: array[int] = field(default_factory=lambda: array("Q"))
    row: array[int] = field(default_factory=lambda: array("Q"))
    look: dict[int, int] = field(default_factory=dict)
    faults: dict[str, dict[int, tuple[int, str]]] = field(
        default_factory=lambda: {"broken": {}, "enormous": {}}
    )

    def read(self, number: int, split: str, row: Row) -> None:
        """Add a row with `image`, `image_id`, one or lists."""
        names, images = images_of_row(row["image_id"]), images_of_row(row["image"])
        for name, image in zip_longest(names, images):
            self._read_one(number, split, name, image)

    def _read_one(
        self, number: int, split: str, name: str | None, image: dict[str, Any] | None
    ) -> None:
        self.named += name is not None
        if image is None or image["bytes"] is None:
            if name is not None:
                self.missing_count += 1
                self.missing = [*self.missing, number][:MOST_EXAMPLES]
            return
        content = _hash(image["bytes"])
        self.split.append(SPLITS.index(split))
        self.content.append(content)
        self.row.append(number)
        if content in self.look or any(content in found for found in self.faults.values()):
            return
        try:
            decoded = load_image(image["bytes"], smallest_side=_LOOK_SIDE)
        except ImageError as error:
            self.faults[error.kind][content] = (number, error.reason)
        else:
            self.look[content] = perceptual_hash(decoded)


def perceptual_hash(image: Image.Image) -> int:
    """The perceptual hash of an image, as 64 bits; 0 without `imagehash`."""
    if not has_library("imagehash"):
        return 0
    import imagehash

    return int.from_bytes(np.packbits(imagehash.phash(image).hash.flatten()).tobytes())


def has_library(library: str) -> bool:
    """Whether an optional library is installed."""
    return importlib.util.find_spec(library) is not None


def read_folder(folder: Path) -> tuple[Shards, Words, Images]:
    """Read a data set folder.

    Raises:
        FileNotFoundError: if it holds no data set.
    """
    shards = Shards(folder, shard_paths(folder))
    while True:
        words, images = Words(), Images()
        try:
            for number, split, row in shards.rows("id", "tokens", "ner_tags", "lang"):
                words.read(number, split, row)
            for number, split, row in shards.rows("image", "image_id"):
                images.read(number, split, row)
            return shards, words, images
        except ShardError as error:
            shards.leave_out(error)  # this changes the rows' numbers: read everything again


__all__ = [
    "MOST_EXAMPLES",
    "SHORT_WORDS",
    "Images",
    "Shards",
    "Words",
    "has_library",
    "normalised",
    "perceptual_hash",
    "read_folder",
]
