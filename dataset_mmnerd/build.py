"""From a source to a folder that `load_dataset` reads everywhere, and from there to the Hub.

    mmnerd/README.md                                the data card; its YAML makes configs and splits
    mmnerd/data/de/train-00000-of-00002.parquet     one folder a language, images embedded
    mmnerd/assets/labels.png, examples.png          the card's two images
    mmnerd/audit.json                               what the audit found

A build goes to a hidden folder beside its target and takes the target's name at the end, so that
there is never half a data set under that name, and builds at the same time do not meet.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from .archives import unpacked
from .audit import AuditReport, audit
from .card import CardFacts, write_card
from .card_reading import data_file_patterns, matching_files, read_card
from .files import check_inside, recover_folder, replace_folder, written_for
from .hub import open_repository, send
from .images import ImageError, load_image, read_image
from .quoting import quoted, shorten
from .schema import SPLITS, features
from .shards import ShardWriters, Written
from .sources import DEFAULT_SHARES, OpenSource, ReadOptions, SourceError

logger = logging.getLogger(__name__)

_MADE_OF_SHARDS = {"assets/labels.png", "audit.json", "context.json"}
_SENT = {"README.md", "assets/examples.png", *_MADE_OF_SHARDS}
_SHARD = re.compile(rf"data/[^/.][^/]*/({'|'.join(SPLITS)})-\d{{5}}-of-\d{{5}}\.parquet")

_IMAGE_CACHE_BYTES = 8 * 2**20
_EXAMPLES = 24

Row = dict[str, Any]


class BuildError(ValueError):
    """Why a data set was not built or not sent: what was found, what was expected."""


@dataclass
class PartSummary:
    """What was written of one language and split."""

    written: Written = field(default_factory=Written)
    words: int = 0
    entities: Counter[str] = field(default_factory=Counter)
    images: int = 0


@dataclass
class BuildReport:
    """What a build wrote, by language and split, and what it warned of, counted."""

    labels: list[str]
    parts: dict[tuple[str, str], PartSummary] = field(default_factory=dict)
    warnings: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    examples: list[tuple[Row, bytes]] = field(default_factory=list)
    audit: AuditReport | None = None

    def warn(self, kind: str, example: str) -> None:
        self.warnings[kind] += 1
        self.first.setdefault(kind, shorten(example))


# Reading ------------------------------------------------------------------------------------------


class _Images:
    """The bytes of images, each checked and read once while it is among the recent ones."""

    def __init__(self) -> None:
        self._recent: dict[str | bytes, bytes | tuple[str, str]] = {}
        self._held = 0

    def of(self, row: Row) -> bytes | tuple[str, str] | None:
        """The image of a row; or kind and reason, if it is broken or enormous; or None."""
        image = row["image"]
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
    """The bytes of an image, a path or its content, that can be decoded whole; else kind and reason
    of the fault."""
    try:
        content = image if isinstance(image, bytes) else read_image(image)
        load_image(content, smallest_side=1)
    except ImageError as error:
        return error.kind, error.reason
    return content


# Building -----------------------------------------------------------------------------------------


def build(
    source: str,
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
    """Build a data set folder; see the module's docstring for what is in it.

    Args:
        source: a name in `mmnerd.SOURCES`.
        data_dir: its folder, one file, or an archive of the folder; the sample needs none.
        out: the folder to make.
        options: what the user says of data that does not say it itself.
        languages: the languages to take; all if not given.
        entity_types: the types allowed, if not the source's own or those found.
        shares: weights of train, validation and test for files that tell no split.
        facts: what the data card says that data cannot tell: licence, origin, title.
        with_audit: run the audit and put its summary into the card.
        strict: warnings, and what the audit warns of, are errors.
        overwrite: replace `out` if it is a data set; anything else is never replaced.

    Raises:
        ArchiveError, BuildError, ColumnError, MalformedLineError, SourceError, FileNotFoundError:
            nothing is left at `out`.
    """
    out = Path(out)
    recover_folder(out)
    if out.exists() and not (overwrite and _is_data_set(out)):
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
                raise BuildError(f"{out}: found {_told(report)}, expected no warnings (--strict)")
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


def _told(report: BuildReport) -> str:
    kinds = [f"{count} {kind} ({report.first[kind]})" for kind, count in report.warnings.items()]
    return "; ".join(kinds)


def _put_in_place(unfinished: Path, out: Path, overwrite: bool) -> None:
    """Give a finished folder its name; what was there before goes away last."""
    unfinished.chmod(0o755)  # mkdtemp makes it for its owner alone
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
    """Write the shards of a source below `folder/data`; the memory it takes is bounded."""
    if languages is not None:
        known = opened.languages()
        unknown = [lang for lang in languages if lang not in known]
        if unknown:
            expected = f"some of {shorten(', '.join(known))}"
            raise SourceError(f"languages: found {quoted(unknown[0])}, expected {expected}")
    columns = features(opened.labels, sample=opened.source.is_sample)
    report = BuildReport(opened.labels)
    writers = ShardWriters(folder, columns)
    images = _Images()
    for split, row in opened.rows(languages):
        key = (row["lang"], split)
        if key not in report.parts:
            report.parts[key] = PartSummary()
        image = _image(row, images, report)
        _count(row, image, report.parts[key], report)
        writers.add(*key, row, image)
    if not report.parts:
        files = {part.path.name for part in opened.parts if part.path is not None}
        found = f"no sentence in {shorten(', '.join(sorted(files)))}"
        raise SourceError(f"found {found}, expected at least one")
    for key, written in writers.close().items():
        report.parts[key].written = written
    return report


def _image(row: Row, images: _Images, report: BuildReport) -> bytes | None:
    if row["image"] is None and row["image_id"] is not None:
        report.warn("images are missing", f"{row['image_id']} of {row['id']}")
    found = images.of(row)
    if not isinstance(found, tuple):
        return found
    kind, reason = found
    # By its name alone: where the files lay is not part of the data.
    path = row["image"] if isinstance(row["image"], str) else row["image_id"] or row["id"]
    report.warn(f"images are {kind} and left out", f"{PurePath(path).name}: {reason}")
    return None


def _count(row: Row, image: bytes | None, part: PartSummary, report: BuildReport) -> None:
    tags = row["ner_tags"]
    types = [tag[2:] for tag in tags if tag.startswith("B-")]
    part.words += len(tags)
    part.entities.update(types)
    part.images += image is not None
    if not tags:
        report.warn("sentences are empty", row["id"])
    if row.get("repaired"):
        report.warn("sentences have I- labels that continue nothing, read as B-", row["id"])
    unseen = all(image != seen for _, seen in report.examples)
    if image is not None and types and unseen and len(report.examples) < _EXAMPLES:
        shown = {(seen["lang"], tag) for seen, _ in report.examples for tag in seen["ner_tags"]}
        if any((row["lang"], f"B-{name}") not in shown for name in types):
            report.examples.append((row, image))


# Sending ------------------------------------------------------------------------------------------


def push(
    folder: Path | str, repo_id: str, *, private: bool = False, dry_run: bool = False
) -> list[tuple[str, int]]:
    """Send a data set folder to the Hub, as one commit.

    What `build` and `context` make is sent, and nothing else in the folder. Files of these names
    that an earlier version left in the repository are deleted in the same commit.

    Args:
        folder: what `build` made.
        repo_id: `owner/name`; the repository is made if there is none.
        private: make it for its owner alone; refused if there is a public one.
        dry_run: send nothing, only say what would be sent.

    Returns:
        The files by name with their sizes in bytes.

    Raises:
        BuildError: if the folder is no finished data set.
        CardError: if its card cannot be read.
        OSError: if a link in it leads out of it.
        PublishError: if the repository cannot be written, is public and should not be, or holds
            something else than a data set of this project.
    """
    folder = Path(folder)
    names = _sendable(folder)
    files = [(name, (folder / name).stat().st_size) for name in names]
    others = _not_sent(folder, names)
    if others:
        told = "files are not sent, as neither `build` nor `context` makes them, the first"
        logger.warning("%s: %d %s: %s", folder, len(others), told, others[0])
    if dry_run:
        return files
    info = open_repository(repo_id, "dataset", is_ours=_is_ours, private=private or None)
    paths: dict[str, Path | bytes] = {name: folder / name for name in names}
    send(info, "dataset", paths, is_sent=_is_sent, message="Publish the data set")
    return files


def _is_sent(name: str) -> bool:
    """Whether a file, by its path in the folder, is one that `build` or `context` makes."""
    return name in _SENT or _SHARD.fullmatch(name) is not None


def _is_ours(names: set[str]) -> bool:
    """Whether a repository with these files was made by `push`: it has shards and their chart, or
    what the audit or `context` says of them."""
    return any(map(_SHARD.fullmatch, names)) and not _MADE_OF_SHARDS.isdisjoint(names)


def _sendable(folder: Path) -> list[str]:
    """What is sent of a folder, sorted.

    Raises:
        BuildError: if the folder or a file that its card names is not there.
    """
    if not (folder / "README.md").is_file():
        raise BuildError(f"{folder}: found no README.md, expected a folder that `build` made")
    names = {path.relative_to(folder).as_posix() for path in folder.glob("data/*/*.parquet")}
    names = {name for name in (names | _SENT) if _is_sent(name) and (folder / name).is_file()}
    for name in names:
        check_inside(folder, folder / name)
    for pattern in data_file_patterns(folder, read_card(folder)):
        found = (path.relative_to(folder) for path in matching_files(folder, pattern))
        if names.isdisjoint(path.as_posix() for path in found):
            raise BuildError(f"{folder}: found no file {pattern}, expected what its card says")
    return sorted(names)


def _not_sent(folder: Path, names: Sequence[str]) -> list[str]:
    """The visible files of a folder that are not among the names."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    visible = (path for path in paths if not any(part.startswith(".") for part in path.parts))
    return sorted({path.as_posix() for path in visible}.difference(names))


__all__ = ["BuildError", "BuildReport", "PartSummary", "build", "push", "write_rows"]
