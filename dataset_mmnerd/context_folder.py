"""The columns `objects`, `captions` and `ocr` of a data set folder, filled from its images.

    2mner data context mmnerd/ --objects backbones/tagger --ocr tesseract

What is read is written down at once, in `mmnerd/.context/` (hidden, never pushed), a JSON line a
image and extractor: a run that was killed goes on where it stopped, and one with the same
extractors has nothing to do but to try again what could not be read. Then each shard whose columns
change is replaced as a whole, and last `context.json` and the data card say what made the columns.

Under `accelerate launch` every process reads its share of the images into a file of its own; the
main process puts them together.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from .card import update_card
from .card_reading import dataset_infos, read_card
from .extractors import (
    ContextError,
    Extractor,
    Reading,
    ReadingKey,
    Readings,
    read_images,
)
from .files import check_inside, check_size, write_text
from .markdown import table
from .processes import Processes
from .quoting import quoted, shorten
from .shards import expanded_bytes, image_digest, read_shard, replace_shard, shard_paths

STORE = ".context"
_EXPECTED = "expected what `context` writes there (delete the file to write it anew)"

MakeExtractors = Callable[[Sequence[str], str | None], Sequence[Extractor]]


@dataclass
class ColumnSummary:
    """What a column was filled with, and how far."""

    made_by: str
    sentences: int = 0
    images: int = 0
    strings: int = 0
    nothing_found: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class ContextReport:
    """What a run did: readings it made or tried, shards replaced, and the columns it filled."""

    read: int = 0
    shards_replaced: int = 0
    columns: dict[str, ColumnSummary] = field(default_factory=dict)


# What was read, on disk ---------------------------------------------------------------------------


class StoredReadings(Readings):
    """Readings that outlive the process: whatever `add` returned from is on the disk. What failed
    in an earlier run counts as not read.

    Args:
        folder: it is made; the files of all processes in it are read.
        process: the number of the file that this process appends to.
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
        """Read what all processes have written; what one of them failed at another may have read
        since.
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
        """Keep what was read, and write it down."""
        super().add(found)
        for key, reading in found.items():
            line = json.dumps([*key, reading.strings, reading.fault], ensure_ascii=False)
            self._file.write(line.encode("utf-8", "surrogatepass") + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def _stored(line: bytes) -> tuple[ReadingKey, Reading] | None:
    """What a line of the store says; None of one that is empty, was cut off when its writer was
    killed, or is damaged: its image is read again.
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


# Shards -------------------------------------------------------------------------------------------


@dataclass
class _Shard:
    """A shard with its images known by digest."""

    rows: pa.Table
    images: pa.DictionaryArray
    contents: list[bytes]
    digests: list[str]
    numbers: list[int | None]
    langs: list[str]

    @classmethod
    def of(cls, path: Path) -> _Shard:
        rows, images = read_shard(path)
        contents = images.dictionary.to_pylist()
        return cls(
            rows,
            images,
            contents,
            [image_digest(content) for content in contents],
            images.indices.to_pylist(),
            rows["lang"].to_pylist(),
        )

    def shown(self) -> Iterator[tuple[int, str]]:
        """Each pair of an image's number and a language, once."""
        pairs = zip(self.numbers, self.langs, strict=True)
        return iter(dict.fromkeys((number, lang) for number, lang in pairs if number is not None))

    def column(self, name: str, extractor: Extractor, readings: Readings) -> list[list[str] | None]:
        """What an extractor read for each row; a row without an image keeps what it has."""
        values = self.rows[name].to_pylist()
        for row, (number, lang) in enumerate(zip(self.numbers, self.langs, strict=True)):
            if number is not None:
                reading = readings.get(Readings.key(extractor, self.digests[number], lang))
                values[row] = reading.strings
        return values


# Filling ------------------------------------------------------------------------------------------


def fill_context(folder: Path | str, make_extractors: MakeExtractors) -> ContextReport | None:
    """Fill the columns of a data set folder; see the module's docstring.

    Args:
        folder: what `build` made.
        make_extractors: makes what fills a column each, given the languages of the sentences with
            images, and the device of this process (None: any).

    Returns:
        What was done; None in all processes but the main one.

    Raises:
        ContextError: if an extractor cannot work at all, or `context.json` is damaged.
        ProcessesError: if there are several processes that do not know of each other.
        CardError, ShardError: if the card or a shard is damaged; nothing is written then.
        FileNotFoundError: if the folder is no data set.
        OSError: if a link in it leads out of it.
    """
    folder = Path(folder)
    paths = shard_paths(folder)
    dataset_infos(folder, read_card(folder))  # all that is written at the end is read now
    summaries = _summaries(folder)
    processes = Processes.launched()
    shown = {
        (shard.digests[number], lang)
        for shard in map(_Shard.of, paths)
        for number, lang in shard.shown()
    }
    extractors = make_extractors(sorted({lang for _, lang in shown}), processes.device)
    readings = StoredReadings(folder / STORE, processes.index)
    processes.wait()  # nobody reads on before everybody knows what was read before
    report = ContextReport(read=len(_unread(shown, extractors, readings)))
    own = [(digest, lang) for digest, lang in shown if processes.own(int(digest, 16))]
    unread = len(_unread(own, extractors, readings))
    with tqdm(total=unread, desc="reading", disable=processes.index > 0) as bar:
        if unread:
            read_images(_images(paths, processes), extractors, readings, bar.update)
    readings.close()
    processes.wait()
    if processes.index > 0:
        return None
    readings.load()
    _replace(folder, paths, extractors, readings, report, summaries)
    return report


def _unread(
    shown: Iterable[tuple[str, str]], extractors: Sequence[Extractor], readings: Readings
) -> set[ReadingKey]:
    keys = {
        Readings.key(extractor, digest, lang) for digest, lang in shown for extractor in extractors
    }
    return {key for key in keys if readings.get(key) is None}


def _images(paths: Sequence[Path], processes: Processes) -> Iterator[tuple[bytes, str]]:
    for path in paths:
        shard = _Shard.of(path)
        for number, lang in shard.shown():
            if processes.own(int(shard.digests[number], 16)):
                yield shard.contents[number], lang


def _replace(
    folder: Path,
    paths: Sequence[Path],
    extractors: Sequence[Extractor],
    readings: Readings,
    report: ContextReport,
    summaries: dict[str, Any],
) -> None:
    """Put what was read into the shards, `context.json` and the card."""
    counted: dict[str, set[ReadingKey]] = {}
    sizes: Counter[tuple[str, str]] = Counter()
    for extractor in extractors:
        report.columns[extractor.column] = ColumnSummary(extractor.name)
        counted[extractor.column] = set()
    for path in paths:
        shard = _Shard.of(path)
        rows = shard.rows
        for extractor in extractors:
            name = extractor.column
            values = shard.column(name, extractor, readings)
            column = pa.array(values, rows.schema.field(name).type)
            if not rows[name].combine_chunks().equals(column):
                rows = rows.set_column(rows.schema.get_field_index(name), name, column)
            summary = report.columns[name]
            summary.sentences += sum(value is not None for value in values)
            _count(shard, extractor, readings, counted[name], summary)
        if rows is not shard.rows:
            replace_shard(path, rows)
            report.shards_replaced += 1
        sizes[path.parent.name, path.name.partition("-")[0]] += expanded_bytes(rows, shard.images)
    _write_summaries(folder, report, sizes, summaries)


def _count(
    shard: _Shard,
    extractor: Extractor,
    readings: Readings,
    counted: set[ReadingKey],
    summary: ColumnSummary,
) -> None:
    names = shard.rows["image"].combine_chunks().field("path").to_pylist()
    rows = {number: row for row, number in enumerate(shard.numbers)}
    for number, lang in shard.shown():
        key = Readings.key(extractor, shard.digests[number], lang)
        if key in counted:
            continue
        counted.add(key)
        reading = readings.get(key)
        summary.images += 1
        if reading.strings is None:
            summary.failed.append((names[rows[number]], reading.fault))
        else:
            summary.strings += len(reading.strings)
            summary.nothing_found += not reading.strings


_MAX_SUMMARY_BYTES = 64 * 2**20
_FIGURES = {
    "made_by": str,
    "sentences": int,
    "images": int,
    "strings": int,
    "nothing_found": int,
    "failed": list,
}
"""The fields of a column in `context.json`, as those of `ColumnSummary`."""


def _summaries(folder: Path) -> dict[str, Any]:
    """What `context.json` says of each column; nothing if there is no such file.

    Raises:
        ContextError: if it is damaged.
    """
    path = folder / "context.json"
    if not path.is_file():
        return {}
    check_inside(folder, path)
    check_size(path, _MAX_SUMMARY_BYTES)
    try:
        summaries = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ContextError(f"{path}: found no JSON ({shorten(str(error))}), {_EXPECTED}") from error
    if not isinstance(summaries, dict):
        raise ContextError(f"{path}: found {quoted(summaries)}, {_EXPECTED}")
    for name, made in summaries.items():
        for figure, kind in _FIGURES.items():
            if not isinstance(made, dict) or not isinstance(made.get(figure), kind):
                raise ContextError(f"{path}: {quoted(name)}: found {quoted(made)}, {_EXPECTED}")
    return summaries


def _write_summaries(
    folder: Path,
    report: ContextReport,
    sizes: Mapping[tuple[str, str], int],
    summaries: dict[str, Any],
) -> None:
    summaries |= {name: asdict(summary) for name, summary in report.columns.items()}
    text = json.dumps(summaries, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    write_text(folder / "context.json", text)
    head = ["column", "made by", "sentences", "images", "strings", "nothing found", "failed"]
    lines = [
        [name, *(made[figure] for figure in [*_FIGURES][:-1]), len(made["failed"])]
        for name, made in sorted(summaries.items())
    ]
    update_card(folder, f"{table(head, lines)}\n", sizes)


__all__ = ["STORE", "ColumnSummary", "ContextReport", "StoredReadings", "fill_context"]
