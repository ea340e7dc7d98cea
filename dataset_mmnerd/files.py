"""Atomic writes of files and folders, and checks that a file lies inside a folder.

    with replaced(Path("set/context.json")) as unfinished:
        unfinished.write_text("{}")

A file is written under a hidden name beside its target and renamed when it is complete. A reader
sees the old content or the new content, never a part. A folder cannot be replaced in one step: its
old version is renamed to a hidden name first. `recover_folder` restores the old version if the
process was killed before the second rename.
"""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
_ASIDE, _DELETED = ".old", ".deleted"


# Writing ------------------------------------------------------------------------------------------


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
    """Set `path` as the file name of an `OSError` that has none (full disk) or that names
    `unfinished` or a file in it.
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
    """Check that a path is a regular file or does not exist.

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
    """Write a file as `replaced` does. A file that has this content already is not written."""
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


# Inside a folder ----------------------------------------------------------------------------------


def check_size(path: Path, most: int) -> None:
    """Check that a file is small enough to be read at once.

    Raises:
        OSError: if it has more than `most` bytes.
    """
    size = path.stat().st_size
    if size > most:
        raise OSError(f"{path}: found {size:,} bytes, expected at most {most:,}")


def check_inside(folder: Path, path: Path) -> None:
    """Check that a path lies inside a folder when its links are followed.

    Raises:
        OSError: if it does not, or if a link leads to itself.
    """
    try:
        is_inside = path.resolve().is_relative_to(folder.resolve())
    except RuntimeError as error:  # what Python raises before 3.13
        raise OSError(f"{path}: found a link that leads to itself, expected a file") from error
    if not is_inside:
        raise OSError(f"{path}: found a link that leaves {folder}, expected a file inside it")


def is_safe_name(name: str) -> bool:
    """Whether a file name is relative and has no `..`, on any operating system."""
    paths = (PurePosixPath(name), PureWindowsPath(name))
    escapes = any(path.anchor or not path.parts or ".." in path.parts for path in paths)
    return not escapes and "\0" not in name


def find_image(name: str, folder: Path) -> Path | None:
    """The image file of an image id, which may have its own suffix, another one, or none.

    Links that leave the folder are not followed: data from others could name any file of this
    machine.
    """
    path = folder / name
    if path.suffix.lower() in IMAGE_SUFFIXES:
        candidates = [path, *(path.with_suffix(suffix) for suffix in IMAGE_SUFFIXES)]
    else:
        candidates = [path.with_name(path.name + suffix) for suffix in IMAGE_SUFFIXES]
    files = (candidate for candidate in candidates if _is_file(candidate))
    return next((file for file in files if not _leaves(file, folder)), None)


def _leaves(path: Path, folder: Path) -> bool:
    """Whether links below a folder lead out of it."""
    below = path.relative_to(folder).parents
    # Most paths have no link. Resolving all of them would take ten times as long.
    if not (path.is_symlink() or any((folder / parent).is_symlink() for parent in below[:-1])):
        return False
    return not path.resolve().is_relative_to(folder.resolve())


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is longer than the file system allows
        return False


# Folders ------------------------------------------------------------------------------------------


def is_free(path: Path) -> bool:
    """Whether a finished folder may be renamed to `path`: nothing or an empty folder is there."""
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


def replace_folder(finished: Path, path: Path) -> None:
    """Rename a finished folder to `path`, then delete the folder that was there.

    Args:
        finished: a folder in the same file system.
        path: a folder, or nothing. If this process is killed between the two renames,
            `recover_folder(path)` restores the old folder.
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
    """Undo a `replace_folder` that was killed before its second rename, or finish one that was
    killed after it. Without such a folder, do nothing.
    """
    # Listed before `path` is tested: another process may be replacing it at this moment.
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
    """Delete a folder under another name, so that a half-deleted one is never restored."""
    half = aside.with_suffix(_DELETED)
    aside.rename(half)
    shutil.rmtree(half, ignore_errors=True)


__all__ = [
    "IMAGE_SUFFIXES",
    "check_inside",
    "check_replaceable",
    "check_size",
    "find_image",
    "is_free",
    "is_safe_name",
    "recover_folder",
    "replace_folder",
    "replaced",
    "write_bytes",
    "write_json",
    "write_lines",
    "write_text",
    "written_for",
]
