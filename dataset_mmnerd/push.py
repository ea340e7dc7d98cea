"""A data set folder, as `build` and `context` write it, sent to the Hub in one commit."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from .card_reading import data_file_patterns, matching_files, read_card
from .files import check_inside
from .hub import open_repository, send
from .schema import SPLITS

logger = logging.getLogger(__name__)

_MADE_OF_SHARDS = {"assets/labels.png", "audit.json", "context.json"}
_SENT = {"README.md", "assets/examples.png", *_MADE_OF_SHARDS}
_SHARD = re.compile(rf"data/[^/.][^/]*/({'|'.join(SPLITS)})-\d{{5}}-of-\d{{5}}\.parquet")


class FolderError(ValueError):
    """A folder that cannot be sent: what was found, what was expected."""


def push(
    folder: Path | str, repo_id: str, *, private: bool = False, dry_run: bool = False
) -> list[tuple[str, int]]:
    """Send a data set folder to the Hub, as one commit.

    The files that `build` and `context` write are sent. Other files in the folder are not. Files of
    these names that an earlier version left in the repository are deleted in the same commit.

    Args:
        folder: a folder that `build` made.
        repo_id: `owner/name`; the repository is made if it does not exist.
        private: make a private repository; a public one is refused.
        dry_run: send nothing, only return what would be sent.

    Returns:
        The files by name with their sizes in bytes.

    Raises:
        FolderError: if the folder is no finished data set.
        CardError: if its card cannot be read.
        OSError: if a link in it leads out of it.
        PublishError: if the repository cannot be written, is public although `private` is given, or
            holds something else than a data set of this project.
    """
    folder = Path(folder)
    names = _sendable(folder)
    files = [(name, (folder / name).stat().st_size) for name in names]
    others = _not_sent(folder, names)
    if others:
        reason = "files are not sent, as neither `build` nor `context` makes them, the first"
        logger.warning("%s: %d %s: %s", folder, len(others), reason, others[0])
    if dry_run:
        return files
    info = open_repository(repo_id, "dataset", is_ours=_is_ours, private=private or None)
    paths: dict[str, Path | bytes] = {name: folder / name for name in names}
    send(info, "dataset", paths, is_sent=_is_sent, message="Publish the data set")
    return files


def _is_sent(name: str) -> bool:
    """Whether `build` or `context` writes a file of this name in the folder."""
    return name in _SENT or _SHARD.fullmatch(name) is not None


def _is_ours(names: set[str]) -> bool:
    """Whether `push` made a repository with these files: it has shards, and a file that is derived
    from shards.
    """
    return any(map(_SHARD.fullmatch, names)) and not _MADE_OF_SHARDS.isdisjoint(names)


def _sendable(folder: Path) -> list[str]:
    """The names of the files to send, sorted.

    Raises:
        FolderError: if the card, or a file that the card names, is missing.
    """
    if not (folder / "README.md").is_file():
        raise FolderError(f"{folder}: found no README.md, expected a folder that `build` made")
    names = {path.relative_to(folder).as_posix() for path in folder.glob("data/*/*.parquet")}
    names = {name for name in (names | _SENT) if _is_sent(name) and (folder / name).is_file()}
    for name in names:
        check_inside(folder, folder / name)
    for pattern in data_file_patterns(folder, read_card(folder)):
        found = (path.relative_to(folder) for path in matching_files(folder, pattern))
        if names.isdisjoint(path.as_posix() for path in found):
            raise FolderError(f"{folder}: found no file {pattern}, expected what its card says")
    return sorted(names)


def _not_sent(folder: Path, names: Sequence[str]) -> list[str]:
    """The visible files of a folder that are not among the names."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    visible = (path for path in paths if not any(part.startswith(".") for part in path.parts))
    return sorted({path.as_posix() for path in visible}.difference(names))


__all__ = ["FolderError", "push"]
