"""`load_dataset`, with errors of one line that name the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datasets import load_dataset
from datasets.exceptions import DatasetsError

from .image_lists import undecoded
from .quoting import shorten
from .shards import ShardError, reading_shard


class LoadingError(ValueError):
    """A data set that cannot be loaded: the data set or the file, and the reason."""


@contextmanager
def reading_data_set(name: str) -> Iterator[None]:
    """Raise the errors of `datasets` while it reads a data set as `LoadingError`."""
    try:
        yield
    except (OSError, ValueError, DatasetsError) as error:
        _find_damage(Path(name), error)
        raise LoadingError(shorten(str(error.__cause__ or error))) from error


def load_named(name: str, config: str | None = None, *, streaming: bool = False) -> Any:
    """The splits of a data set, with undecoded images.

    Args:
        name: a folder, or a name on the Hub.
        config: the name of its configuration.
        streaming: load streams.

    Raises:
        LoadingError: if there is no such data set or it cannot be read. A damaged Parquet file of a
            folder is named.
    """
    with reading_data_set(name):
        found = load_dataset(name, config, streaming=streaming)
    for split, rows in found.items():
        found[split] = undecoded(rows)
    return found


def _find_damage(folder: Path, error: Exception) -> None:
    """Raise `LoadingError` for the first Parquet file of a folder that cannot be read."""
    for path in sorted(folder.rglob("*.parquet")) if folder.is_dir() else ():
        try:
            with reading_shard(path), pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    file.read_row_group(group)
        except ShardError as damage:
            raise LoadingError(str(damage)) from error


__all__ = ["LoadingError", "load_named", "reading_data_set"]
