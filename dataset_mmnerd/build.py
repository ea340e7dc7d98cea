"""A source is read and written as a data set folder that `load_dataset` reads.

    mmnerd/README.md                                the data card; its YAML makes configs and splits
    mmnerd/data/de/train-00000-of-00002.parquet     one folder a language, images embedded
    mmnerd/assets/labels.png, examples.png          the card's two images
    mmnerd/audit.json                               the audit's findings

A build writes to a hidden folder beside its target and renames it at the end. A failed build leaves
nothing under the target's name, and builds that run at the same time do not disturb each other.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from .archives import unpacked
from .audit import audit
from .build_report import BuildReport
from .card import CardFacts, write_card
from .files import is_free, recover_folder, replace_folder, written_for
from .image_lists import images_of_row
from .images import ImageError, load_image, read_image
from .quoting import quoted, shorten
from .schema import Row
from .shards import ShardWriters
from .sources import DEFAULT_SHARES, OpenSource, ReadOptions, Source, SourceError

logger = logging.getLogger(__name__)

_IMAGE_CACHE_BYTES = 8 * 2**20


class BuildError(ValueError):
    """Why a data set was not built: what was found, what was expected."""


# Reading ------------------------------------------------------------------------------------------


class _Images:
    """The checked bytes of images. Recent ones are kept, so that a repeated image is read once."""

    def __init__(self) -> None:
        self._recent: dict[str | bytes, bytes | tuple[str, str]] = {}
        self._held = 0

    def of(self, image: Any) -> bytes | tuple[str, str] | None:
        """An image of a row as bytes; kind and reason of its fault; or None without an image."""
        if isinstance(image, dict):
            image = image["bytes"]
        if image is None:
            return None
        key = hashlib.sha256(image).digest() if isinstance(image, bytes) else image
        if key not in self._recent:
            if self._held > _IMAGE_CACHE_BYTES:
                self._recent, self._held = {}, 0
            self._recent[key] = found = _checked(image)
            self._held += len(found) if isinstance(found, bytes) else len(key)
        return self._recent[key]


def _checked(image: str | bytes) -> bytes | tuple[str, str]:
    """The bytes of an image (a path or bytes), if it can be decoded; else kind and reason of its
    fault.
    """
    try:
        content = image if isinstance(image, bytes) else read_image(image)
        load_image(content, smallest_side=1)
    except ImageError as error:
        return error.kind, error.reason
    return content


# Building -----------------------------------------------------------------------------------------


def build(
    source: str | Source,
    data_dir: Path | str | None,
    out: Path | str,
    *,
    options: ReadOptions | None = None,
    languages: Sequence[str] | None = None,
    entity_types: Sequence[str] | None = None,
    shares: Sequence[int] = DEFAULT_SHARES,
    facts: CardFacts | None = None,
    with_audit: bool = True,
    strict: bool = False,
    overwrite: bool = False,
) -> BuildReport:
    """Build a data set folder, whose files are listed in this module's docstring.

    Args:
        source: a name in `sources.SOURCES`, or another source.
        data_dir: the source's folder, one file, or an archive of the folder; the sample needs none.
        out: the folder to make, or an empty one.
        options: what the data does not state.
        languages: the languages to take; by default all.
        entity_types: the allowed types; by default the source's own, or those found.
        shares: weights of train, validation and test for files without a split.
        facts: title, licence and origin for the data card.
        with_audit: run the audit and put its summary into the card.
        strict: treat warnings of the build and of the audit as errors.
        overwrite: replace `out` if it is a data set. Anything else is never replaced.

    Raises:
        ArchiveError, BuildError, ColumnError, MalformedLineError, SourceError, FileNotFoundError:
            nothing is left at `out`.
    """
    out = Path(out)
    recover_folder(out)
    taken = not is_free(out) or out.is_symlink() or not out.name  # `.` has no name
    if taken and not (overwrite and _is_data_set(out)):
        expected = "a data set to replace" if overwrite else "nothing (or --overwrite)"
        raise BuildError(f"{out}: found something there, expected {expected}")
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(
        tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".unfinished", dir=out.parent)
    )
    try:
        with written_for(out, unfinished):
            with unpacked(data_dir) as folder:
                opened = OpenSource(
                    source, folder, entity_types=entity_types, shares=shares, options=options
                )
                report = write_rows(opened, unfinished, languages)
            if strict and report.warnings:
                raise BuildError(
                    f"{out}: found {report.warnings_in_words()}, expected no warnings (--strict)"
                )
            if with_audit:
                report.audit = audit(unfinished)
                (unfinished / "audit.json").write_text(report.audit.to_json(), encoding="utf-8")
                if strict and report.audit.failed(strict=True):
                    raise BuildError(
                        f"{out}: found faults, expected none (--strict)\n{report.audit}"
                    )
            write_card(unfinished, out.name, opened, report, facts or CardFacts(title=out.name))
            _put_in_place(unfinished, out, overwrite)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    for kind, count in report.warnings.items():
        logger.warning("%s: %d %s, the first: %s", out, count, kind, report.first[kind])
    return report


def _is_data_set(folder: Path) -> bool:
    return (folder / "README.md").is_file() and any(folder.glob("data/*/*.parquet"))


def _put_in_place(unfinished: Path, out: Path, overwrite: bool) -> None:
    """Rename a finished folder to `out`. With `overwrite`, replace the one that is there."""
    unfinished.chmod(0o755)  # mkdtemp makes a private folder
    if overwrite:
        replace_folder(unfinished, out)
        return
    try:
        unfinished.rename(out)
    except OSError:
        if not out.exists():
            raise
        found = "a data set that another build put there meanwhile"
        raise BuildError(f"{out}: found {found}, expected nothing") from None


def write_rows(
    opened: OpenSource, folder: Path, languages: Sequence[str] | None = None
) -> BuildReport:
    """Write the shards of a source below `folder/data`, in bounded memory."""
    if languages is not None:
        known = opened.languages()
        unknown = [lang for lang in languages if lang not in known]
        if unknown:
            expected = f"some of {shorten(', '.join(known))}"
            raise SourceError(f"languages: found {quoted(unknown[0])}, expected {expected}")
    report = BuildReport(opened.labels)
    writers = ShardWriters(folder, opened.features)
    images = _Images()
    for split, row in opened.rows(languages):
        contents = _contents(row, images, report)
        report.count(split, row, contents)
        writers.add(row["lang"], split, row, contents)
    if not report.parts:
        files = {part.path.name for part in opened.parts if part.path is not None}
        found = f"no sentence in {shorten(', '.join(sorted(files)))}"
        raise SourceError(f"found {found}, expected at least one")
    for key, written in writers.close().items():
        report.parts[key].written = written
    return report


def _contents(row: Row, images: _Images, report: BuildReport) -> list[bytes | None]:
    """The images of a row as bytes; None, with a warning, where one is missing or has a fault."""
    given, names = images_of_row(row["image"]), images_of_row(row["image_id"])
    given = given or [None] * len(names)
    names = names or [None] * len(given)
    return [
        _image(image, name, row["id"], images, report)
        for image, name in zip(given, names, strict=True)
    ]


def _image(
    image: Any, name: str | None, row: str, images: _Images, report: BuildReport
) -> bytes | None:
    if image is None and name is not None:
        report.warn("images are missing", f"{name} of {row}")
    found = images.of(image)
    if not isinstance(found, tuple):
        return found
    kind, reason = found
    # The name without its folders: local paths are no part of the data.
    path = image if isinstance(image, str) else name or row
    report.warn(f"images are {kind} and left out", f"{PurePath(path).name}: {reason}")
    return None


__all__ = ["BuildError", "build", "write_rows"]
