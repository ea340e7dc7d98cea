"""Sentences in tables: a Parquet file, or the splits of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict, IterableDataset, load_from_disk
from huggingface_hub import HfApi

from dataset_mmnerd.image_lists import undecoded
from dataset_mmnerd.loading import LoadingError, load_named, reading_data_set
from dataset_mmnerd.quoting import quoted, shorten
from dataset_mmnerd.schema import SPLITS

from .rows import COLUMNS, Fault, InputError, Row, Source, Wanted

__all__ = ["DataSetSource", "ParquetSource"]

_ROWS_AT_A_TIME = 64


def _read_columns(names: list[str], columns: Mapping[str, str], where: str, hint: str) -> list[str]:
    """The columns to be read; `hint` ends the message.

    Raises:
        InputError: if there are neither words nor text.
    """
    missing = next((name for name in columns.values() if name not in names), None)
    known = {*COLUMNS, *columns.values()}
    has_words = not {"text", "tokens"}.isdisjoint({*names, *columns})
    if missing is not None or not has_words:
        found = shorten(", ".join(names))
        expected = "'text' or 'tokens'" if missing is None else quoted(missing)
        raise InputError(f"{where}: found the columns {found}, expected {expected}{hint}")
    return [name for name in names if name in known]


class ParquetSource(Source):
    """One Parquet file."""

    def place(self, line: int) -> str:
        return f"{self.path}, row {line}"

    def _open(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self.path)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> InputError:
        return InputError(
            f"{self.path}: found {shorten(str(error))}, expected a whole Parquet file"
        )

    def count(self) -> int:
        with self._open() as file:
            return file.metadata.num_rows

    def rows(self, wanted: Wanted, *, images: bool = True) -> Iterator[Row | Fault]:
        with self._open() as file:
            names = _read_columns(file.schema_arrow.names, self.columns, str(self.path), self.hint)
            names = [name for name in names if images or name != "image"]
            first = 0
            for group in range(file.num_row_groups):
                rows = range(first, first + file.metadata.row_group(group).num_rows)
                first = rows.stop
                if any(map(wanted, rows)):
                    yield from self._of_group(file, group, names, rows.start, wanted, images)

    def _of_group(
        self,
        file: pq.ParquetFile,
        group: int,
        names: list[str],
        number: int,
        wanted: Wanted,
        images: bool,
    ) -> Iterator[Row | Fault]:
        batches = file.iter_batches(_ROWS_AT_A_TIME, row_groups=[group], columns=names)
        while True:
            try:
                batch = next(batches, None)
                records = [] if batch is None else batch.to_pylist()
            except (pa.ArrowException, OSError, ValueError) as error:
                raise self._damaged(error) from error
            if batch is None:
                return
            for record in records:
                if wanted(number):
                    yield self.row_or_fault(record, number, number, images)
                number += 1


class DataSetSource(Source):
    """The splits of a data set, one after the other."""

    def __init__(
        self,
        name: str,
        image_dir: Path,
        columns: Mapping[str, str],
        config: str | None,
        split: str | None,
    ) -> None:
        super().__init__(Path(name), image_dir, columns, name)
        self.name = name
        try:
            splits = _load(name, config)
        except LoadingError as error:
            raise InputError(f"{name}: found no data set that can be read ({error})") from error
        order = [one for one in SPLITS if one in splits]
        order += [one for one in splits if one not in order]
        if split is not None and split not in order:
            raise InputError(f"{name}: found the splits {', '.join(order)}, expected {split!r}")
        self.splits = {one: splits[one] for one in order if split in (None, one)}
        for one, rows in self.splits.items():
            _read_columns(list(rows.features or ()), columns, f"{name}, {one}", self.hint)

    def place(self, line: int) -> str:
        return f"{self.name}, {self.label}, row {line}"

    def fingerprint(self) -> Any:
        if self.path.is_dir():
            found = {path.relative_to(self.path): path.stat() for path in self.path.rglob("*")}
            files = ((str(path), one.st_size, one.st_mtime_ns) for path, one in found.items())
            return [*self.splits, *map(list, sorted(files))]
        return [*self.splits, HfApi().dataset_info(self.name).sha]

    def count(self) -> int | None:
        total = 0
        for split, rows in self.splits.items():
            if isinstance(rows, Dataset):
                total += len(rows)
            elif split in (rows.info.splits or {}):
                total += rows.info.splits[split].num_examples
            else:
                return None
        return total

    def rows(self, wanted: Wanted, *, images: bool = True) -> Iterator[Row | Fault]:
        number = 0
        for split, rows in self.splits.items():
            names = _read_columns(list(rows.features), self.columns, self.name, self.hint)
            names = [name for name in names if images or name != "image"]
            stream = rows.select_columns(names)
            if isinstance(stream, Dataset):
                stream = stream.to_iterable_dataset()
            self.label = split
            records = enumerate(stream)
            while True:
                try:
                    with reading_data_set(self.name):
                        index, record = next(records, (0, None))
                except LoadingError as error:
                    raise InputError(f"{self.name}, {split}: {error}") from error
                if record is None:
                    break
                if wanted(number):
                    yield self.row_or_fault(record, number, index, images)
                number += 1


def _load(name: str, config: str | None) -> dict[str, Dataset | IterableDataset]:
    """The splits of a data set that `load_dataset` knows or `save_to_disk` has written."""
    folder = Path(name)
    if not any((folder / file).is_file() for file in ("state.json", "dataset_dict.json")):
        return dict(load_named(name, config, streaming=True))
    with reading_data_set(name):
        found = load_from_disk(name)
    splits = dict(found) if isinstance(found, DatasetDict) else {str(found.split or "all"): found}
    return {split: undecoded(rows) for split, rows in splits.items()}
