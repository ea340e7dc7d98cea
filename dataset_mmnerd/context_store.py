"""The readings of extractors, in memory or on disk, from where a run resumes.

>>> from dataset_mmnerd.context_store import visual_context
>>> from dataset_mmnerd.extractors import ObjectTagger, TesseractReader
>>> visual_context(paths, languages, [ObjectTagger("backbones/tagger"), TesseractReader()])["ocr"]

An image is known by the digest of its file, and read once (once for each language, if the extractor
depends on it). On disk a reading is one JSON line.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from .extractors import ContextError, Extractor
from .files import check_inside
from .image_lists import images_of_row
from .images import ImageError, load_image, read_image
from .schema import UNKNOWN_LANGUAGE
from .shards import content_digest

logger = logging.getLogger(__name__)

_LONGEST_SIDE = 2048  # pixels; larger images are reduced to it, which bounds a batch's memory
_READING_FAULTS = (ValueError, RuntimeError, OSError, subprocess.SubprocessError)


# Readings -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """What an extractor read on an image. If it failed, `strings` is None, `fault` the reason."""

    strings: list[str] | None
    fault: str | None = None


ReadingKey = tuple[str, str, str]


class Readings:
    """The readings so far, in memory, by extractor, image and language.

    Attributes:
        failures: the keys that failed in an earlier run. They are read again. If they fail again,
            the extractor is not blamed.
    """

    def __init__(self) -> None:
        self.failures: frozenset[ReadingKey] = frozenset()
        self._found: dict[ReadingKey, Reading] = {}

    @staticmethod
    def key(extractor: Extractor, digest: str, lang: str) -> ReadingKey:
        """The key of a reading. It holds the language only if the extractor depends on it."""
        return extractor.key, digest, lang if extractor.by_language else ""

    def get(self, key: ReadingKey) -> Reading | None:
        """A reading, or None if there is none yet."""
        return self._found.get(key)

    def add(self, found: Mapping[ReadingKey, Reading]) -> None:
        """Keep readings."""
        self._found.update(found)


class StoredReadings(Readings):
    """Readings on disk. When `add` returns, they are written. Failed readings of an earlier run
    count as not read.

    Args:
        folder: the folder of the files, one for each process; it is made if it does not exist.
        process: the number of the file that this process appends to.

    Raises:
        OSError: if the folder or a file in it is a link that leads out of it.
    """

    def __init__(self, folder: Path, process: int) -> None:
        super().__init__()
        check_inside(folder.parent, folder)
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self.load()
        self.failures = frozenset(key for key, read in self._found.items() if read.strings is None)
        for key in self.failures:
            del self._found[key]
        own = folder / f"{process}.jsonl"
        check_inside(folder, own)
        self._file = own.open("ab")
        self._file.write(b"\n")  # ends a line that was cut off

    def load(self) -> None:
        """Read the files of all processes. A successful reading takes precedence over a failed one
        of the same key.
        """
        for path in sorted(self._folder.glob("*.jsonl")):
            check_inside(self._folder, path)
            with path.open("rb") as lines:
                for line in lines:
                    read = _stored(line)
                    if read is None:
                        continue
                    key, reading = read
                    known = self.get(key)
                    if reading.strings is not None or known is None or known.strings is None:
                        super().add({key: reading})

    def add(self, found: Mapping[ReadingKey, Reading]) -> None:
        """Keep readings and write them to the disk."""
        super().add(found)
        for key, reading in found.items():
            line = json.dumps([*key, reading.strings, reading.fault], ensure_ascii=False)
            self._file.write(line.encode("utf-8", "surrogatepass") + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close this process's file."""
        self._file.close()


def _stored(line: bytes) -> tuple[ReadingKey, Reading] | None:
    """The reading in a line of a file. None if the line is empty, cut off or damaged; its image is
    then read again.
    """
    try:
        extractor, image, lang, strings, fault = json.loads(line)
    except (ValueError, TypeError, RecursionError):
        return None
    texts = [extractor, image, lang, "" if fault is None else fault]
    if strings is not None and not isinstance(strings, list):
        return None
    if not all(isinstance(text, str) for text in [*texts, *(strings or [])]):
        return None
    return (extractor, image, lang), Reading(strings, fault)


# Reading each image once --------------------------------------------------------------------------


def decoded(content: bytes) -> Image.Image:
    """An image file as RGB, at most 2,048 pixels on its longer side.

    Raises:
        ImageError: if it is broken or enormous.
    """
    image = load_image(content, smallest_side=_LONGEST_SIDE)
    image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    return image


def read_images(
    images: Iterable[tuple[bytes, str]],
    extractors: Sequence[Extractor],
    readings: Readings,
    advance: Callable[[int], object] = lambda count: None,
) -> None:
    """Let each extractor read each image that it has not read yet, in batches.

    Args:
        images: (content of a file, language); repeated ones are read once.
        extractors: the extractors.
        readings: earlier readings; new ones are added, batch by batch.
        advance: called with the number of readings of each batch.

    Raises:
        ContextError: if an extractor fails at all images of a batch that did not fail before. If it
            fails at some of them, their readings say so.
    """
    waiting: dict[tuple[str, str], dict[ReadingKey, Image.Image]] = {}
    for content, lang in images:
        digest = content_digest(content)
        keys = [(extractor, Readings.key(extractor, digest, lang)) for extractor in extractors]
        new = [
            (extractor, key)
            for extractor, key in keys
            if readings.get(key) is None and key not in waiting.get((key[0], key[2]), ())
        ]
        if not new:
            continue
        try:
            image = decoded(content)
        except ImageError as error:
            readings.add({key: Reading(None, error.reason) for _, key in new})
            advance(len(new))
            continue
        for extractor, key in new:
            batch = waiting.setdefault((key[0], key[2]), {})
            batch[key] = image
            if len(batch) >= extractor.batch_size:
                _read_batch(extractor, batch, readings, advance)
                batch.clear()
    for extractor in extractors:
        for (name, _), batch in waiting.items():
            if batch and name == extractor.key:
                _read_batch(extractor, batch, readings, advance)


def _read_batch(
    extractor: Extractor,
    batch: Mapping[ReadingKey, Image.Image],
    readings: Readings,
    advance: Callable[[int], object],
) -> None:
    """Read a batch of images of one language; see `read_images`."""
    found = _read(extractor, batch, next(iter(batch))[2] or UNKNOWN_LANGUAGE)
    new = [reading for key, reading in found.items() if key not in readings.failures]
    if len(new) > 1 and all(reading.strings is None for reading in new):
        found_fault = f"found {new[0].fault} at each of {len(new)} images"
        raise ContextError(f"{extractor.name}: {found_fault}, expected that it reads most of them")
    readings.add(found)
    advance(len(batch))


def _read(
    extractor: Extractor, batch: Mapping[ReadingKey, Image.Image], lang: str
) -> dict[ReadingKey, Reading]:
    """Read some images together. If that fails, read each alone to find those that fail."""
    try:
        strings = extractor.read(list(batch.values()), lang)
        return {key: Reading(each) for key, each in zip(batch, strings, strict=True)}
    except _READING_FAULTS as error:
        if len(batch) == 1:
            return dict.fromkeys(batch, Reading(None, " ".join(str(error).split()) or repr(error)))
    found: dict[ReadingKey, Reading] = {}
    for key, image in batch.items():
        found |= _read(extractor, {key: image}, lang)
    return found


# Rows in memory -----------------------------------------------------------------------------------

ImageValue = str | Path | bytes | Mapping[str, Any] | None


def visual_context(
    images: Sequence[ImageValue | list[ImageValue]],
    langs: Sequence[str],
    extractors: Sequence[Extractor],
) -> dict[str, list[list[str] | None]]:
    """The columns that extractors make of images in memory. Each distinct image is read once.

    >>> context = visual_context([row["image"] for row in rows], ["en"] * len(rows), extractors)
    >>> context["objects"][0], context["ocr"][0]

    Args:
        images: the image of each row: a path, the bytes of a file, `{"bytes", "path"}`, or None; or
            a list of such, whose strings follow one another.
        langs: the language of each row.
        extractors: the extractors.

    Returns:
        For each extractor's column one value a row: the strings, an empty list if nothing was
        found, or None if there is no image or it cannot be read (which is logged).

    Raises:
        ContextError: if an extractor cannot work at all.
    """
    readings = Readings()
    digests: list[list[str]] = []  # of each row those of its images
    faults: dict[str, tuple[int, str]] = {}  # of each distinct image its first row and the reason

    def contents() -> Iterable[tuple[bytes, str]]:
        for row, (given, lang) in enumerate(zip(images, langs, strict=True)):
            digests.append([])
            for image in images_of_row(given):
                content = None
                try:
                    content = _content(image)
                except ImageError as error:
                    faults.setdefault(str(image), (row, str(error)))
                if content is not None:
                    digests[row].append(content_digest(content))
                    yield content, lang

    read_images(contents(), extractors, readings)
    columns: dict[str, list[list[str] | None]] = {}
    for extractor in extractors:
        values = columns[extractor.column] = []
        for row, (own, lang) in enumerate(zip(digests, langs, strict=True)):
            found = [readings.get(Readings.key(extractor, digest, lang)) for digest in own]
            for digest, reading in zip(own, found, strict=True):
                if reading is not None and reading.fault is not None:
                    faults.setdefault(digest, (row, reading.fault))
            values.append(joined(None if reading is None else reading.strings for reading in found))
    if faults:
        message = "%d images cannot be read, the first: row %d: %s"
        logger.warning(message, len(faults), *min(faults.values()))
    return columns


def joined(strings: Iterable[Sequence[str] | None]) -> list[str] | None:
    """The strings of several images, in their order; None if none of them could be read."""
    read = [own for own in strings if own is not None]
    return [string for own in read for string in own] if read else None


def _content(image: ImageValue) -> bytes | None:
    if image is None or isinstance(image, bytes):
        return image
    if isinstance(image, Mapping):
        return image["bytes"] if image.get("bytes") is not None else _content(image.get("path"))
    return read_image(image)


__all__ = [
    "Reading",
    "ReadingKey",
    "Readings",
    "StoredReadings",
    "decoded",
    "joined",
    "read_images",
    "visual_context",
]
