"""Reading the data card of a folder: its metadata, and the files that they name.

The card may have been edited. Every form that the Hub accepts is read. Any other is an error of one
line that names the card and the field.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCard

from .files import check_inside, check_size
from .quoting import quoted, shorten

MAX_CARD_BYTES = 16 * 2**20


class CardError(ValueError):
    """A data card that cannot be read: its file, what was found, what was expected."""


def read_card(folder: Path) -> DatasetCard:
    """The card of a data set folder.

    Raises:
        CardError: if its metadata are no YAML mapping.
        OSError: if there is no card, it is a link that leads out of the folder, or it has more than
            `MAX_CARD_BYTES`.
    """
    path = folder / "README.md"
    check_inside(folder, path)
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: found no README.md, expected what `build` makes")
    check_size(path, MAX_CARD_BYTES)
    try:
        return DatasetCard.load(path)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        expected = "expected UTF-8 with a YAML mapping between its first two lines `---`"
        raise CardError(f"{path}: found {shorten(str(error))}, {expected}") from error


def dataset_infos(folder: Path, card: DatasetCard) -> DatasetInfosDict:
    """The `dataset_info` of a card by configuration.

    Raises:
        CardError: if it is nothing that `datasets` reads.
    """
    try:
        return DatasetInfosDict.from_dataset_card_data(card.data)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        found = f"{type(error).__name__}: {shorten(str(error))}"
        expected = "expected what `datasets` writes there"
        raise CardError(
            f"{folder / 'README.md'}: dataset_info: found {found}, {expected}"
        ) from error


def data_file_patterns(folder: Path, card: DatasetCard) -> list[str]:
    """The patterns of all files that the `configs` of a card name, sorted.

    `data_files` may be a string, a list of strings, or a list of `{split, path}` whose path is a
    string or a list; they are relative to `data_dir`. A `data_dir` alone names all files in it.

    Raises:
        CardError: if `configs` is anything else, or a pattern leads out of the folder.
    """
    where = f"{folder / 'README.md'}: configs"
    patterns = set()
    for number, config in enumerate(_list(card.data.to_dict().get("configs"), where), start=1):
        place = f"{where}, entry {number}"
        if not isinstance(config, dict):
            raise CardError(f"{place}: found {quoted(config)}, expected a mapping")
        base = config.get("data_dir")
        files = config.get("data_files")
        if files is None:
            files = [] if base is None else "**/*"
        for path in _paths(files, f"{place}: data_files"):
            patterns.add(_inside(base, path, place))
    return sorted(patterns)


def _list(value: Any, where: str) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise CardError(f"{where}: found {quoted(value)}, expected a list")
    return value or []


def _paths(files: Any, where: str) -> list[Any]:
    if isinstance(files, str):
        return [files]
    paths: list[Any] = []
    for item in _list(files, where):
        path = item.get("path") if isinstance(item, dict) else item
        paths += path if isinstance(path, list) else [path]
    return paths


def _inside(base: Any, path: Any, where: str) -> str:
    """`base/path`, both checked."""
    for name, value in (("data_dir", "" if base is None else base), ("data_files", path)):
        if (
            not isinstance(value, str)
            or (name == "data_files" and not value)
            or "\0" in value
            or "://" in value
            or value.startswith("/")
            or ".." in value.split("/")
        ):
            expected = "expected a path inside the folder"
            raise CardError(f"{where}: {name}: found {quoted(value)}, {expected}")
    return path if base is None else f"{base.strip('/')}/{path}".removeprefix("/")


def matching_files(folder: Path, pattern: str) -> list[Path]:
    """The files of a folder that a pattern of its card names, or that lie in a folder it names.

    Raises:
        CardError: if it is no pattern.
    """
    try:
        found = list(folder.glob(pattern))
    except (ValueError, NotImplementedError, OSError) as error:
        given = f"{quoted(pattern)} ({shorten(str(error))})"
        expected = "expected a pattern of files inside the folder"
        raise CardError(f"{folder / 'README.md'}: configs: found {given}, {expected}") from error
    below = [path.rglob("*") if path.is_dir() else [path] for path in found]
    return [path for paths in below for path in paths if path.is_file()]


def missing_files(folder: Path) -> list[str]:
    """The patterns of files that the folder's card names and no file fits, sorted.

    Raises:
        CardError: as `read_card` and `data_file_patterns`.
    """
    patterns = data_file_patterns(folder, read_card(folder))
    return [pattern for pattern in patterns if not matching_files(folder, pattern)]


__all__ = [
    "CardError",
    "data_file_patterns",
    "dataset_infos",
    "matching_files",
    "missing_files",
    "read_card",
]
