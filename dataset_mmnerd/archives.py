"""Zip and tar archives of data, checked as a whole before they are unpacked.

`tarfile` takes a damaged header for the end of the archive and returns the members before it. Here
a tar archive must end with its end-of-archive block. A compressed archive is read to the end of its
stream, which verifies the checksum.
"""

from __future__ import annotations

import lzma
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .files import is_safe_name
from .quoting import quoted, shorten

_ZIP = b"PK\x03\x04"
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")
_TAR_SUFFIXES = (".tar", ".tgz", ".tbz", ".tbz2", ".txz", ".gz", ".bz2", ".xz")
_ENCRYPTED = 0x1
_LONGEST_NAME = 1000
_MOST_MEMBERS = 1_000_000
_LONGEST_PADDING = 64 * 2**20
_CHUNK = 2**20

_DAMAGE = (
    *(OSError, EOFError, ValueError, LookupError, OverflowError, NotImplementedError, RuntimeError),
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
"""Errors of the standard library for damaged archives and invalid file names."""


class ArchiveError(ValueError):
    """An archive that cannot be unpacked: the file, what was found, what was expected."""


@contextmanager
def unpacked(path: Path | str | None) -> Iterator[Path | None]:
    """A folder, or the temporary folder of an unpacked archive (zip, tar).

    Raises:
        ArchiveError: if the archive is damaged, cut short or encrypted, a member would lie outside
            the folder or is no file, or the disk is too small.
    """
    if path is None or not Path(path).is_file():
        yield None if path is None else Path(path)
        return
    path = Path(path)
    unpack = _kind(path)
    if unpack is None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="dataset_mmnerd-") as folder:
        try:
            unpack(path, Path(folder))
        except tarfile.FilterError as error:
            found = shorten(str(error))
            raise ArchiveError(f"{path}: found {found}, expected files inside it") from None
        except ArchiveError:
            raise
        except _DAMAGE as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise ArchiveError(
                f"{path}: found a damaged archive ({shorten(reason)}), expected a whole one"
            ) from error
        inside = [item for item in Path(folder).iterdir() if not item.name.startswith((".", "__"))]
        single = len(inside) == 1 and inside[0].is_dir()
        yield inside[0] if single and inside[0].name != "train_valid_test" else Path(folder)


def _kind(path: Path) -> Callable[[Path, Path], None] | None:
    """The function that unpacks a file, which may be damaged; None if it is no archive."""
    with path.open("rb") as file:
        head = file.read(262)
    if head.startswith(_ZIP):
        return _unpack_zip
    if head[257:] == b"ustar" or head.startswith(_COMPRESSED):
        return _unpack_tar
    if path.suffix.lower() == ".zip" or zipfile.is_zipfile(path):
        return _unpack_zip
    if path.suffix.lower() in _TAR_SUFFIXES or tarfile.is_tarfile(path):
        return _unpack_tar
    return None


def _check_members(path: Path, members: Iterable[tuple[str, int]], folder: Path) -> None:
    """Check the names and sizes of all members before the first one is unpacked."""
    free, total = shutil.disk_usage(folder).free, 0
    for number, (name, size) in enumerate(members):
        if not is_safe_name(name) or len(name) > _LONGEST_NAME:
            expected = f"names inside the archive of at most {_LONGEST_NAME:,} characters"
            raise ArchiveError(f"{path}: found member {quoted(name)}, expected {expected}")
        total += max(0, size)
        if total > free:
            expected = f"at most {free:,} (free)"
            raise ArchiveError(f"{path}: found {total:,} bytes or more in it, expected {expected}")
        if number >= _MOST_MEMBERS:
            expected = f"at most {_MOST_MEMBERS:,}"
            raise ArchiveError(f"{path}: found more members, expected {expected}")


def _unpack_zip(path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.flag_bits & _ENCRYPTED for member in members):
            raise ArchiveError(f"{path}: found an encrypted archive, expected one without password")
        _check_members(path, ((member.filename, member.file_size) for member in members), folder)
        archive.extractall(folder)  # checks each member's checksum


def _unpack_tar(path: Path, folder: Path) -> None:
    with tarfile.open(path) as archive:
        members = ((member.name, member.size) for member in archive)
        _check_members(path, (member for member in members if member[0] != "."), folder)
        _check_end(path, archive)
        archive.extractall(folder, filter="data")


def _check_end(path: Path, archive: tarfile.TarFile) -> None:
    """Read from the end of the last member to the end of the file."""
    archive.fileobj.seek(archive.offset)
    block = archive.fileobj.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        found = "an archive that is cut short"
        raise ArchiveError(f"{path}: found {found}, expected an end-of-archive block")
    if any(block):
        found = f"a damaged header at byte {archive.offset:,} of the archive"
        raise ArchiveError(f"{path}: found {found}, expected a member or its end")
    padding = 0
    while chunk := archive.fileobj.read(_CHUNK):  # a compressed stream checks itself at its end
        padding += len(chunk)
        if any(chunk) or padding > _LONGEST_PADDING:
            raise ArchiveError(f"{path}: found data behind the archive's end, expected none")


__all__ = ["ArchiveError", "unpacked"]
