"""What is wrong with a data set, and what leaks, before it costs a training run.

It reads what `publish.build` wrote: once for the words, once for the images, and once more for
the examples it shows. Of each sentence, entity and image it keeps only 64-bit hashes, so that a
million sentences take tens of megabytes.

Two checks lean on libraries that are no hard dependency (`pip install 2mner[data]`): `imagehash`
for images that are nearly the same, `py3langid` for the language column. Without them these
checks are reported as skipped.
"""

from __future__ import annotations

import hashlib
import heapq
import importlib.util
import json
import re
import unicodedata
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from .card_reading import missing_files
from .images import MAX_PIXELS, ImageError, load_image
from .labels import repair_labels
from .quoting import quoted
from .schema import SPLITS, UNKNOWN_LANGUAGE
from .shards import ShardError, label_names, reading_shard, shard_paths

ERROR, WARNING, NOTE, SKIPPED = "error", "warning", "note", "skipped"

ALIKE_BITS = 6
"""Images are nearly the same if their 64-bit perceptual hashes differ in at most so many bits."""

SHORT_WORDS = 4
"""Sentences of fewer words ("Thanks !") may well stand in two splits: they are only noted."""

_EXAMPLES = 5
_LOOK_SIDE = 64  # pixels, at least, of a side of the image that is hashed
_LANGUAGE_SENTENCES = 2000  # a language; which ones is decided by hash
_LANGUAGE_LETTERS = 40  # shorter sentences do not tell their language reliably
_LANGUAGE_CERTAINTY = 0.8
_LANGUAGE_SHARE = 0.02
_NUMBERS_SHARE = 0.01

_URL = re.compile(r"https?\s*:\s*/\s*/\s*\S+|www\.\S+")
_NAME = re.compile(r"@\s?\w+")
_NUMBER = re.compile(r"[\W\d_]+")

Row = dict[str, Any]


@dataclass
class Finding:
    """One check's result: `count` of `of` things, what that means, and the first examples."""

    check: str
    severity: str
    count: int
    of: int
    meaning: str
    examples: list[str] = field(default_factory=list)


@dataclass
class AuditReport:
    """All findings. `str()` of it is a table, `to_json()` the same for machines."""

    sentences: dict[str, int]
    findings: list[Finding]

    def failed(self, *, strict: bool = False) -> bool:
        """Whether there are errors; with `strict`, or warnings."""
        bad = (ERROR, WARNING) if strict else (ERROR,)
        return any(finding.severity in bad and finding.count for finding in self.findings)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    def __str__(self) -> str:
        sizes = ", ".join(f"{count:,} {split}" for split, count in self.sentences.items())
        lines = [f"sentences: {sizes}"]
        width = max(len(finding.check) for finding in self.findings)
        for finding in self.findings:
            severity = finding.severity if finding.count or finding.severity == SKIPPED else "ok"
            counted = f"{finding.count:,} of {finding.of:,}" if finding.of else ""
            lines.append(f"{severity:8} {finding.check:{width}}  {counted:20} {finding.meaning}")
            if finding.count:
                lines += [f"{'':9}  {example}" for example in finding.examples]
        return "\n".join(lines)


# Hashes and words ---------------------------------------------------------------------------------


def _hash(text: str | bytes) -> int:
    content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest())


def normalised(tokens: Sequence[str]) -> str:
    """What is left of a sentence without case, spaces, punctuation, URLs, @names and `RT`.

    >>> normalised(["RT", "@ana", ":", "Hello", ",", "WORLD", "http://t.co/x"])
    'helloworld'
    """
    text = unicodedata.normalize("NFKC", " ".join(tokens)).casefold()
    words = re.sub(r"[^\w]|_", " ", _NAME.sub(" ", _URL.sub(" ", text))).split()
    return "".join(words[1:] if words[:1] == ["rt"] else words) or text


def _entities(tokens: Sequence[str], tags: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(type, words) of each entity of well-formed labels."""
    words: list[str] = []
    entity_type = ""
    for token, tag in zip([*tokens, ""], [*tags, "O"], strict=True):
        if words and not tag.startswith("I-"):
            yield entity_type, " ".join(words)
            words = []
        if tag != "O":
            words.append(token)
            entity_type = tag[2:]


# Reading ------------------------------------------------------------------------------------------


@dataclass
class _Shards:
    """The Parquet files of a data set, with the split and language that their names tell."""

    folder: Path
    paths: list[Path]
    broken: list[str] = field(default_factory=list)

    def rows(self, *columns: str) -> Iterator[tuple[int, str, Row]]:
        """(row number, split, row) of all rows in a fixed order; labels come as names.

        Raises:
            ShardError: if a file is damaged.
        """
        number = 0
        for path in self.paths:
            split = path.name.partition("-")[0]
            with reading_shard(path), pq.ParquetFile(path) as file:
                labels, place = label_names(file), 0
                size = 50 if "image" in columns else 1000
                for batch in file.iter_batches(batch_size=size, columns=list(columns)):
                    for row in batch.to_pylist():
                        place += 1
                        yield number, split, _checked(row, labels, place)
                        number += 1

    def leave_out(self, error: ShardError) -> None:
        """Take a damaged file from those that are read."""
        self.paths.remove(error.path)
        self.broken.append(f"{error.path.relative_to(self.folder).as_posix()}: {error.reason}")


def _checked(row: Row, labels: Sequence[str], place: int) -> Row:
    """A row whose columns hold what `build` writes, with the names of its labels.

    Raises:
        ValueError: if one does not, with its `place` in the file.
    """
    for name in ("id", "lang", "tokens", "ner_tags"):
        value = row.get(name, "")
        if value is None or (isinstance(value, list) and None in value):
            raise ValueError(f"row {place}: null in column {name}")
    if "ner_tags" in row:
        tags = row["ner_tags"]
        if tags and not 0 <= min(tags) <= max(tags) < len(labels):
            raise ValueError(f"row {place}: label {quoted(tags)} of {len(labels)}")
        row["ner_tags"] = [labels[tag] for tag in tags]
    return row


@dataclass
class _Words:
    """What the first reading keeps of the words, one number a sentence or entity mention."""

    split: array[int] = field(default_factory=lambda: array("B"))
    exact: array[int] = field(default_factory=lambda: array("Q"))
    normal: array[int] = field(default_factory=lambda: array("Q"))
    labelled: array[int] = field(default_factory=lambda: array("Q"))
    ids: array[int] = field(default_factory=lambda: array("Q"))
    short: array[int] = field(default_factory=lambda: array("B"))
    mention_split: array[int] = field(default_factory=lambda: array("B"))
    mention: array[int] = field(default_factory=lambda: array("Q"))
    flagged: defaultdict[str, list[tuple[int, str]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    counts: Counter[str] = field(default_factory=Counter)
    samples: dict[str, list[tuple[int, int, str]]] = field(default_factory=dict)

    def flag(self, check: str, number: int, what: str) -> None:
        self.counts[check] += 1
        if len(self.flagged[check]) < _EXAMPLES:
            self.flagged[check].append((number, what))

    def read(self, number: int, split: str, row: Row) -> None:
        tokens, tags = row["tokens"], row["ner_tags"]
        code = SPLITS.index(split)
        text = " ".join(tokens)
        self.split.append(code)
        self.exact.append(_hash(text))
        self.normal.append(_hash(normalised(tokens)))
        self.labelled.append(_hash(f"{text}\n{' '.join(tags)}"))
        self.ids.append(_hash(row["id"]))
        self.short.append(len(tokens) < SHORT_WORDS)
        if not any(token.strip() for token in tokens):
            self.flag("empty sentences", number, "")
        if len(tokens) != len(tags):
            self.flag("labels not IOB2", number, f"{len(tokens)} words, {len(tags)} labels")
            return
        try:
            repaired = repair_labels(tags)
        except ValueError as error:
            self.flag("labels not IOB2", number, str(error))
            return
        odd = next((i for i, tag in enumerate(repaired) if tag != tags[i]), None)
        if odd is not None:
            self.flag("labels not IOB2", number, f"{tokens[odd]} {tags[odd]}")
        for entity_type, words in _entities(tokens, repaired):
            self.mention_split.append(code)
            self.mention.append(_hash(f"{entity_type} {words.casefold()}"))
            if _NUMBER.fullmatch(words):
                self.flag("numbers as entities", number, f"{words} {entity_type}")
        if row["lang"] != UNKNOWN_LANGUAGE and sum(map(str.isalpha, text)) >= _LANGUAGE_LETTERS:
            sample = self.samples.setdefault(row["lang"], [])
            item = (-self.exact[-1], number, text)
            if len(sample) < _LANGUAGE_SENTENCES:
                heapq.heappush(sample, item)
            else:
                heapq.heappushpop(sample, item)


@dataclass
class _Images:
    """What the second reading keeps: of each row its image's hash, of each image its look."""

    named: int = 0
    shown: int = 0
    missing: list[int] = field(default_factory=list)
    missing_count: int = 0
    split: array[int] = field(default_factory=lambda: array("B"))
    content: array[int] = field(default_factory=lambda: array("Q"))
    row: array[int] = field(default_factory=lambda: array("Q"))
    look: dict[int, int] = field(default_factory=dict)
    faults: dict[str, dict[int, tuple[int, str]]] = field(
        default_factory=lambda: {"broken": {}, "enormous": {}}
    )

    def read(self, number: int, split: str, row: Row) -> None:
        self.named += row["image_id"] is not None
        image = row["image"]
        if image is None or image["bytes"] is None:
            if row["image_id"] is not None:
                self.missing_count += 1
                self.missing = [*self.missing, number][:_EXAMPLES]
            return
        self.shown += 1
        content = _hash(image["bytes"])
        self.split.append(SPLITS.index(split))
        self.content.append(content)
        self.row.append(number)
        if content in self.look or any(content in found for found in self.faults.values()):
            return
        try:
            decoded = load_image(image["bytes"], smallest_side=_LOOK_SIDE)
        except ImageError as error:
            self.faults[error.kind][content] = (number, error.reason)
        else:
            self.look[content] = _look(decoded)


def _look(image: Image.Image) -> int:
    """The perceptual hash of an image, as 64 bits; 0 without `imagehash`."""
    if not _has("imagehash"):
        return 0
    import imagehash

    return int.from_bytes(np.packbits(imagehash.phash(image).hash.flatten()).tobytes())


def _has(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


def _read(folder: Path) -> tuple[_Shards, _Words, _Images]:
    shards = _Shards(folder, shard_paths(folder))
    while True:
        words, images = _Words(), _Images()
        try:
            for number, split, row in shards.rows("id", "tokens", "ner_tags", "lang"):
                words.read(number, split, row)
            for number, split, row in shards.rows("image", "image_id"):
                images.read(number, split, row)
            return shards, words, images
        except ShardError as error:
            shards.leave_out(error)  # rows are numbered without it: all is read again


# Comparing ----------------------------------------------------------------------------------------


def _numbers(values: array[int]) -> np.ndarray:
    return np.frombuffer(values, dtype=np.uint64 if values.typecode == "Q" else np.uint8)


def _shared(
    hashes: np.ndarray, rows: np.ndarray, others: np.ndarray, other_rows: np.ndarray
) -> list[tuple[int, int]]:
    """(row, first other row) of each row whose hash also occurs among the others."""
    if not len(others):
        return []
    unique, first = np.unique(others, return_index=True)
    at = np.searchsorted(unique, hashes).clip(max=len(unique) - 1)
    same = unique[at] == hashes
    pairs = zip(rows[same].tolist(), other_rows[first[at[same]]].tolist(), strict=True)
    return list(pairs)


def _alike(looks: np.ndarray, others: np.ndarray) -> list[tuple[int, int]]:
    """(index, first other index) of each image that nearly equals one of the others."""
    found = []
    for index, look in enumerate(looks.tolist()):
        near = np.flatnonzero(np.bitwise_count(others ^ np.uint64(look)) <= ALIKE_BITS)
        if len(near):
            found.append((index, int(near[0])))
    return found


class _Auditor:
    """Turns what was read of one data set, and of another if there is one, into findings."""

    def __init__(self, folder: Path) -> None:
        self.shards, self.words, self.images = _read(folder)
        self.split = _numbers(self.words.split)
        self.total = len(self.split)
        self.rows = np.arange(self.total)
        self.found: list[tuple[Finding, list[tuple[int | str, ...]]]] = []

    def add(
        self, check: str, severity: str, count: int, of: int, meaning: str, rows: Sequence[Any] = ()
    ) -> Finding:
        """Add a finding; the examples to show are rows, or tuples of rows and remarks."""
        finding = Finding(check, severity, count, of, meaning)
        shown = [item if isinstance(item, tuple) else (item,) for item in rows[:_EXAMPLES]]
        self.found.append((finding, shown))
        return finding

    def files(self) -> None:
        folder = self.shards.folder
        missing = missing_files(folder) if (folder / "README.md").is_file() else []
        total = len(self.shards.paths) + len(self.shards.broken)
        meaning = "files that the card names are not there"
        self.add("files missing", ERROR, len(missing), total, meaning).examples = missing[
            :_EXAMPLES
        ]
        broken = self.shards.broken
        finding = self.add("files broken", ERROR, len(broken), total, "files are no whole Parquet")
        finding.examples = broken[:_EXAMPLES]

    def sentences(self) -> None:
        flagged, counts = self.words.flagged, self.words.counts
        for check, meaning in (
            ("empty sentences", "sentences have no word"),
            ("labels not IOB2", "sentences have an I- label that continues no entity of its type"),
        ):
            self.add(check, ERROR, counts[check], self.total, meaning, flagged[check])
        ids = _numbers(self.words.ids)
        unique, first = np.unique(ids, return_index=True)
        again = np.setdiff1d(self.rows, first)
        meaning = "sentences have the id of another one"
        self.add(
            "ids repeated", ERROR, self.total - len(unique), self.total, meaning, again.tolist()
        )

        labelled, exact = _numbers(self.words.labelled), _numbers(self.words.exact)
        _, first = np.unique(labelled, return_index=True)
        versions = exact[first]
        unique, count = np.unique(versions, return_counts=True)
        several = np.isin(versions, unique[count > 1])
        firsts: dict[int, list[int]] = defaultdict(list)
        for words, row in zip(versions[several].tolist(), first[several].tolist(), strict=True):
            firsts[words].append(row)
        rows = [tuple(rows[:2]) for rows in firsts.values()]
        meaning = "sentences stand there again with other labels"
        self.add(
            "same words, other labels", WARNING, len(rows), len(np.unique(exact)), meaning, rows
        )

    def leaks(self) -> None:
        """Sentences and images of one split in another."""
        exact, normal = _numbers(self.words.exact), _numbers(self.words.normal)
        for (name, one), (other_name, other) in self._split_pairs():
            mine, theirs = self.split == other, self.split == one
            total = int(mine.sum())
            where = f"{other_name} sentences in {name}"
            pairs = {}
            for kind, hashes in (("exact", exact), ("normalised", normal)):
                found = (hashes[mine], self.rows[mine], hashes[theirs], self.rows[theirs])
                pairs[kind] = _shared(*found)
            same, short = self._apart(pairs["exact"])
            meaning = f"sentences of {other_name} are in {name}, word for word"
            self.add(where, ERROR, len(same), total, meaning, same)
            exactly = {row for row, _ in same}
            nearly, nearly_short = self._apart(pairs["normalised"])
            nearly = [pair for pair in nearly if pair[0] not in exactly]
            meaning = "and these but for case, spaces, punctuation, URLs and @names"
            self.add(f"{where}, nearly", WARNING, len(nearly), total, meaning, nearly)
            short = list(dict(short + nearly_short).items())
            meaning = f"and these of fewer than {SHORT_WORDS} words, exactly or nearly"
            self.add(f"{where}, short", NOTE, len(short), total, meaning, short)
            self._image_leaks(self.images, other, self.images, one, f"{other_name} in {name}")

    def _apart(
        self, pairs: list[tuple[int, int]]
    ) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Pairs of sentences, and pairs of short ones."""
        short = self.words.short
        return (
            [pair for pair in pairs if not short[pair[0]]],
            [pair for pair in pairs if short[pair[0]]],
        )

    def _split_pairs(self) -> Iterator[tuple[tuple[str, int], tuple[str, int]]]:
        present = [(name, code) for code, name in enumerate(SPLITS) if (self.split == code).any()]
        return combinations(present, 2)

    def _image_leaks(
        self, mine: _Images, split: int, theirs: _Images, other: int, where: str
    ) -> None:
        """Distinct images of one split in another, the same and nearly the same."""
        contents, rows = _distinct(mine, split)
        others, other_rows = _distinct(theirs, other)
        same = _shared(contents, rows, others, other_rows)
        if mine is not theirs:
            same = [(row,) for row, _ in same]  # examples are of the audited data set
        meaning = "distinct images stand there too"
        self.add(f"images of {where}", WARNING, len(same), len(contents), meaning, same)
        check = f"images of {where}, nearly"
        if not _has("imagehash"):
            self.add(check, SKIPPED, 0, 0, "imagehash is not installed")
            return
        left = ~np.isin(contents, others)
        looks, other_looks = _looks(mine, contents[left]), _looks(theirs, others)
        alike = _alike(looks, other_looks)
        pairs = [(int(rows[left][index]), int(other_rows[near])) for index, near in alike]
        if mine is not theirs:
            pairs = [(row,) for row, _ in pairs]
        meaning = f"and these by perceptual hash (at most {ALIKE_BITS} of 64 bits differ)"
        self.add(check, WARNING, len(pairs), len(contents), meaning, pairs)

    def entities(self) -> None:
        split, mention = _numbers(self.words.mention_split), _numbers(self.words.mention)
        train = split == 0
        for code, name in enumerate(SPLITS[1:], start=1):
            mine = split == code
            if train.any() and mine.any():
                seen = int(np.isin(mention[mine], mention[train]).sum())
                meaning = f"entity mentions of {name} stand in train with the same type"
                self.add(f"{name} entities seen", NOTE, seen, int(mine.sum()), meaning)
        check = "numbers as entities"
        count = self.words.counts[check]
        severity = WARNING if count > _NUMBERS_SHARE * len(mention) else NOTE
        meaning = "entities without a letter, as machines label them"
        self.add(check, severity, count, len(mention), meaning, self.words.flagged[check])

    def image_faults(self) -> None:
        images = self.images
        distinct = len(images.look) + sum(map(len, images.faults.values()))
        meaning = "sentences name an image that is not there"
        rows = images.missing
        missing = images.missing_count
        self.add("images missing", WARNING, missing, images.named, meaning, rows)
        for kind, meaning in (
            ("broken", "distinct images cannot be decoded"),
            ("enormous", f"distinct images have more than {MAX_PIXELS:,} pixels or 64 MiB"),
        ):
            found = list(images.faults[kind].values())
            rows = [row for row, _ in found]
            self.add(f"images {kind}", ERROR, len(found), distinct, meaning, rows)

    def languages(self) -> None:
        if not _has("py3langid"):
            self.add("language contradicted", SKIPPED, 0, 0, "py3langid is not installed")
            return
        from py3langid import langid

        identifier = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
        for lang, sample in sorted(self.words.samples.items()):
            if lang not in identifier.labels:
                meaning = "a language that py3langid does not know"
                self.add(f"language {lang} contradicted", SKIPPED, 0, 0, meaning)
                continue
            told = []
            for _, row, text in sorted(sample, reverse=True):
                best, certainty = identifier.classify(text)
                if best != lang and certainty >= _LANGUAGE_CERTAINTY:
                    told.append(row)
            severity = WARNING if len(told) > _LANGUAGE_SHARE * len(sample) else NOTE
            meaning = "sentences, of those looked at, are in another language by py3langid"
            self.add(
                f"language {lang} contradicted", severity, len(told), len(sample), meaning, told
            )

    def against(self, folder: Path) -> None:
        """Overlaps with another data set, by normalised words and by images."""
        shards, words, images = _read(folder)
        if shards.broken:
            check, meaning = f"files broken in {folder.name}", "files are no whole Parquet"
            total = len(shards.paths) + len(shards.broken)
            finding = self.add(check, ERROR, len(shards.broken), total, meaning)
            finding.examples = shards.broken[:_EXAMPLES]
        other_split, other_normal = _numbers(words.split), _numbers(words.normal)
        other_rows, normal = np.arange(len(other_split)), _numbers(self.words.normal)
        for code, name in enumerate(SPLITS):
            for other_code, other_name in enumerate(SPLITS):
                mine, theirs = self.split == code, other_split == other_code
                if not (mine.any() and theirs.any()):
                    continue
                found = (normal[mine], self.rows[mine], other_normal[theirs], other_rows[theirs])
                pairs, short = self._apart(_shared(*found))
                leak = (name == "train") != (other_name == "train")
                where = f"{name} in {folder.name}'s {other_name}"
                meaning = "training sentences of one are held out by the other"
                meaning = meaning if leak else "sentences stand there too"
                severity, total = ERROR if leak else WARNING, int(mine.sum())
                rows = [row for row, _ in pairs]
                self.add(f"sentences of {where}", severity, len(pairs), total, meaning, rows)
                meaning = f"and these of fewer than {SHORT_WORDS} words"
                rows = [row for row, _ in short]
                self.add(f"sentences of {where}, short", NOTE, len(short), total, meaning, rows)
                self._image_leaks(self.images, code, images, other_code, where)

    def report(self) -> AuditReport:
        """The findings with their examples, which are read now."""
        parts = {part for _, shown in self.found for parts in shown for part in parts}
        wanted = {part for part in parts if isinstance(part, int)}
        texts: dict[int | str, str] = {}
        if wanted:
            for number, split, row in self.shards.rows("id", "tokens", "image_id"):
                if number in wanted:
                    image = f" [{row['image_id']}]" if row["image_id"] else ""
                    words = " ".join(row["tokens"])
                    words = words if len(words) <= 100 else f"{words[:97]}..."
                    texts[number] = f"{split} {row['id']}{image}: {words}"
        for finding, shown in self.found:
            for example in shown:
                finding.examples.append(
                    " <> ".join(texts.get(part, part) for part in example if part != "")
                )
        sizes = {
            name: int((self.split == code).sum())
            for code, name in enumerate(SPLITS)
            if (self.split == code).any()
        }
        return AuditReport(sizes, [finding for finding, _ in self.found])


def _distinct(images: _Images, split: int) -> tuple[np.ndarray, np.ndarray]:
    """The distinct images of a split, with the first row of each."""
    here = _numbers(images.split) == split
    contents, first = np.unique(_numbers(images.content)[here], return_index=True)
    return contents, _numbers(images.row)[here][first]


def _looks(images: _Images, contents: np.ndarray) -> np.ndarray:
    """Perceptual hashes; an image without one (broken) gets a hash that is near to none."""
    odd = 0x5A5A_5A5A_5A5A_5A5A
    return np.array([images.look.get(item, odd) for item in contents.tolist()], dtype=np.uint64)


def audit(folder: Path | str, against: Path | str | None = None) -> AuditReport:
    """Audit a data set folder that `publish.build` made.

    Args:
        folder: the data set.
        against: another one, whose overlaps with the first are wanted too.

    Raises:
        FileNotFoundError: if one of them holds no data set.
        ValueError: if the metadata of the first one's card is no YAML.
    """
    auditor = _Auditor(Path(folder))
    auditor.files()
    auditor.sentences()
    auditor.image_faults()
    auditor.leaks()
    auditor.entities()
    auditor.languages()
    if against is not None:
        auditor.against(Path(against))
    return auditor.report()


__all__ = ["AuditReport", "Finding", "audit", "normalised"]
