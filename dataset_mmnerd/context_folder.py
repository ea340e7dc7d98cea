"""The columns `objects`, `captions` and `ocr` of a data set folder, filled from its images. The
strings of several images of a sentence follow one another, in the order of the images.

    2mner data context mmnerd/ --objects backbones/tagger --ocr tesseract

Each reading is written at once to `mmnerd/.context/`, which is hidden and never pushed. A run that
was killed continues where it stopped. A second run with the same extractors only reads again what
failed. Then each shard whose columns change is replaced as a whole. At the end `context.json` and
the data card are updated.

Under `accelerate launch` each process reads its share of the images into a file of its own, and the
main process writes the shards.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from .card import update_card
from .card_reading import dataset_infos, read_card
from .context_store import Reading, ReadingKey, Readings, StoredReadings, joined, read_images
from .extractors import ContextError, Extractor
from .files import check_inside, check_size, write_text
from .markdown import table
from .processes import Processes
from .quoting import quoted, shorten
from .shards import content_digest, expanded_bytes, read_shard, replace_shard, shard_paths

STORE = ".context"
_EXPECTED = "expected what `context` writes there (delete the file to write it anew)"

MakeExtractors = Callable[[Sequence[str], str | None], Sequence[Extractor]]


@dataclass
class ColumnSummary:
    """The counts of a filled column.

    Attributes:
        made_by: the extractor's name.
        sentences: the number of sentences whose column is not null.
        images: the number of distinct images, or of images and languages.
        strings: the number of strings on all of them.
        nothing_found: the number of images without a string.
        failed: the name of each image that could not be read, and the reason.
    """

    made_by: str
    sentences: int = 0
    images: int = 0
    strings: int = 0
    nothing_found: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class ContextReport:
    """The counts of a run: readings made or tried, shards replaced, and the columns filled."""

    read: int = 0
    shards_replaced: int = 0
    columns: dict[str, ColumnSummary] = field(default_factory=dict)


# Shards -------------------------------------------------------------------------------------------


@dataclass
class _Shard:
    """A shard and the digests of its images.

    Attributes:
        rows: the rows.
        images: of all rows, as a dictionary of the distinct ones.
        contents: the distinct images.
        digests: their digests.
        numbers: of each row the numbers of its images, in their order.
        langs: the language of each row.
    """

    rows: pa.Table
    images: pa.DictionaryArray
    contents: list[bytes]
    digests: list[str]
    numbers: list[list[int]]
    langs: list[str]

    @classmethod
    def of(cls, path: Path) -> _Shard:
        rows, images, counts = read_shard(path)
        contents = images.dictionary.to_pylist()
        left = iter(images.indices.to_pylist())
        return cls(
            rows,
            images,
            contents,
            [content_digest(content) for content in contents],
            [[n for n in islice(left, count) if n is not None] for count in counts],
            rows["lang"].to_pylist(),
        )

    def shown(self) -> Iterator[tuple[int, str]]:
        """Each distinct pair of an image's number and a language."""
        pairs = zip(self.numbers, self.langs, strict=True)
        return iter(dict.fromkeys((number, lang) for own, lang in pairs for number in own))

    def column(self, name: str, extractor: Extractor, readings: Readings) -> list[list[str] | None]:
        """The new values of a column. A row without an image keeps its value."""
        values: list[list[str] | None] = self.rows[name].to_pylist()
        for row, (own, lang) in enumerate(zip(self.numbers, self.langs, strict=True)):
            if own:
                keys = (Readings.key(extractor, self.digests[number], lang) for number in own)
                values[row] = joined(_reading(readings, key).strings for key in keys)
        return values

    def names(self) -> dict[int, str]:
        """A name of each distinct image."""
        images = self.rows["image"].combine_chunks()
        images = images.flatten() if pa.types.is_list(images.type) else images
        numbers, names = self.images.indices.to_pylist(), images.field("path").to_pylist()
        return {n: name for n, name in zip(numbers, names, strict=True) if n is not None}


def _reading(readings: Readings, key: ReadingKey) -> Reading:
    """A reading that was made before the shards are written."""
    reading = readings.get(key)
    assert reading is not None, key
    return reading


# Filling ------------------------------------------------------------------------------------------


def fill_context(folder: Path | str, make_extractors: MakeExtractors) -> ContextReport | None:
    """Fill the columns of a data set folder; see the module's docstring.

    Args:
        folder: a folder that `build` made.
        make_extractors: makes the extractors, given the languages of the sentences with images and
            the device of this process (None: any).

    Returns:
        The counts of the run; None in all processes but the main one.

    Raises:
        ContextError: if an extractor cannot work at all, or `context.json` is damaged.
        ProcessesError: if several processes were started without a common process group.
        CardError, ShardError: if the card or a shard is damaged; nothing is written then.
        FileNotFoundError: if the folder is no data set.
        OSError: if a link in it leads out of it.
    """
    folder = Path(folder)
    paths = shard_paths(folder)
    dataset_infos(folder, read_card(folder))  # a damaged card is an error before images are read
    summaries = _summaries(folder)
    processes = Processes.launched()
    shown = {
        (shard.digests[number], lang)
        for shard in map(_Shard.of, paths)
        for number, lang in shard.shown()
    }
    extractors = make_extractors(sorted({lang for _, lang in shown}), processes.device)
    readings = StoredReadings(folder / STORE, processes.index)
    processes.wait()  # all processes have the earlier readings before one of them adds new ones
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
    """Write the readings to the shards, and their counts to `context.json` and the card."""
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
    """Count the readings of a shard's images that are not among those `counted`."""
    names = shard.names()
    for number, lang in shard.shown():
        key = Readings.key(extractor, shard.digests[number], lang)
        if key in counted:
            continue
        counted.add(key)
        reading = _reading(readings, key)
        summary.images += 1
        if reading.strings is None:
            summary.failed.append((names[number], reading.fault or ""))
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
"""The fields of a column in `context.json`: those of `ColumnSummary`."""


def _summaries(folder: Path) -> dict[str, Any]:
    """The content of `context.json` by column; empty if there is no such file.

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


__all__ = ["STORE", "ColumnSummary", "ContextReport", "fill_context"]
