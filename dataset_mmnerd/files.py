"""Files and folders that are written whole, and files that lie inside a folder.

    with replaced(Path("set/context.json")) as unfinished:
        unfinished.write_text("{}")

A file is written under a hidden name beside its target and renamed when it is complete: a reader
sees the old content or the new one, never a part. A folder cannot be replaced in one step. Its old
version is set aside under a hidden name first, and `recover_folder` puts it back if the process was
killed before the new one had its name.
"""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_ASIDE, _DELETED = ".old", ".deleted"


# Files --------------------------------------------------------------------------------------------


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A hidden path beside `path` to write to. It becomes `path` when the block ends without an
    error; otherwise it is removed and `path` stays as it was.

    Raises:
        FileExistsError: if `path` is a link, a folder, a device or any other irregular file.
        OSError: if it cannot be written; the error names `path`.
    """
    check_replaceable(path)
    unfinished = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.unfinished")
    try:
        with written_for(path, unfinished):
            yield unfinished
            unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def written_for(path: Path, unfinished: Path) -> Iterator[None]:
    """Name `path` in an `OSError` that names no file, as on a full disk, or names the file or
    folder `unfinished` that is written in its place.
    """
    try:
        yield
    except OSError as error:
        named = str(error.filename or unfinished)
        if (
            error.errno is not None
            and error.filename2 is None
            and named.startswith(str(unfinished))
        ):
            error.filename = str(path)
        raise


def check_replaceable(path: Path) -> None:
    """Refuse a path that is neither a regular file nor free.

    Raises:
        FileExistsError: if it is a link, a folder, a device or any other irregular file.
    """
    if path.is_symlink():
        found = "a link"
    elif path.is_dir():
        found = "a folder"
    elif path.exists() and not path.is_file():
        found = "a device or another irregular file"
    else:
        return
    raise FileExistsError(f"{path}: found {found}, expected a regular file or nothing")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file as `replaced` does; one that holds this content already is left alone."""
    if path.is_file() and not path.is_symlink() and path.read_bytes() == content:
        return
    with replaced(path) as unfinished:
        unfinished.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, as `write_bytes` does."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write one JSON document, as `write_bytes` does."""
    write_text(path, f"{json.dumps(value, ensure_ascii=False, indent=2)}\n")


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON lines as `replaced` does; the records may come from a generator."""
    with replaced(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(record, ensure_ascii=False)}\n" for record in records)


def check_size(path: Path, most: int) -> None:
    """Refuse a file that is too large to be read at once.

    Raises:
        OSError: if it has more than `most` bytes.
    """
    size = path.stat().st_size
    if size > most:
        raise OSError(f"{path}: found {size:,} bytes, expected at most {most:,}")


def check_inside(folder: Path, path: Path) -> None:
    """Refuse a path that links lead out of a folder.

    Raises:
        OSError: if `path`, its links followed, does not lie below `folder`, or a link leads to
            itself.
    """
    try:
        is_inside = path.resolve().is_relative_to(folder.resolve())
    except RuntimeError as error:  # what Python raises before 3.13
        raise OSError(f"{path}: found a link that leads to itself, expected a file") from error
    if not is_inside:
        raise OSError(f"{path}: found a link that leaves {folder}, expected a file inside it")


# Folders ------------------------------------------------------------------------------------------


def replace_folder(finished: Path, path: Path) -> None:
    """Give a finished folder the name `path`; what had it before is deleted last.

    Args:
        finished: a folder in the same file system.
        path: a folder or nothing. If this process is killed between the two renames, the old folder
            is what `recover_folder(path)` brings back.
    """
    if not path.exists():
        finished.rename(path)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=_ASIDE, dir=path.parent))
    try:
        path.rename(aside / path.name)
        finished.rename(path)
    except BaseException:
        recover_folder(path)
        raise
    _delete(aside)


def recover_folder(path: Path) -> None:
    """Undo a `replace_folder` that was killed before its second rename, and finish one that was
    killed after it; do nothing if there was none.
    """
    # Listed before `path` is looked at: another process may be about to replace it just now.
    asides = [
        aside for aside in _siblings(path, _ASIDE) if [*aside.glob("*")] == [aside / path.name]
    ]
    for aside in sorted(asides, key=lambda aside: aside.stat().st_mtime_ns, reverse=True):
        if not path.exists():
            (aside / path.name).rename(path)
        _delete(aside)
    for half in _siblings(path, _DELETED):
        shutil.rmtree(half, ignore_errors=True)


def _siblings(path: Path, suffix: str) -> list[Path]:
    """The folders beside `path` that `replace_folder` made for it."""
    if not path.parent.is_dir():
        return []
    return [
        item
        for item in path.parent.iterdir()
        if item.name.startswith(f".{path.name}.") and item.name.endswith(suffix)
        if item.is_dir() and not item.is_symlink()
    ]


def _delete(aside: Path) -> None:
    """Delete a folder under another name, so that half of it is never brought back."""
    half = aside.with_suffix(_DELETED)
    aside.rename(half)
    shutil.rmtree(half, ignore_errors=True)


__all__ = [
    "check_inside",
    "check_replaceable",
    "check_size",
    "recover_folder",
    "replace_folder",
    "replaced",
    "write_bytes",
    "write_json",
    "write_lines",
    "write_text",
    "written_for",
]
