"""Checks of a data set folder: faults, overlaps between splits, and overlaps with another data set.

`audit_hashes.py` reads the folder. It is read a third time for the text of the examples.

Two checks need optional libraries (`pip install 2mner[data]`): `imagehash` for images that are
nearly the same, `py3langid` for the language column. Without them these checks are skipped, and the
report says so.
"""

from __future__ import annotations

import json
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np

from .audit_hashes import (
    MOST_EXAMPLES,
    SHORT_WORDS,
    Images,
    has_library,
    read_folder,
)
from .card_reading import missing_files
from .image_lists import images_of_row
from .images import MAX_PIXELS
from .schema import SPLITS

ERROR, WARNING, NOTE, SKIPPED = "error", "warning", "note", "skipped"

ALIKE_BITS = 6
"""Images are nearly the same if at most so many bits of their 64-bit perceptual hashes differ."""

NOT_PARQUET = "files are no whole Parquet"

_LANGUAGE_CERTAINTY = 0.8
_LANGUAGE_SHARE = 0.02
_NUMBERS_SHARE = 0.01

Example = tuple[int | str, ...]


@dataclass
class Finding:
    """The result of one check: `count` of `of` items have a fault that `meaning` describes."""

    check: str
    severity: str
    count: int
    of: int
    meaning: str
    examples: list[str] = field(default_factory=list)


@dataclass
class AuditReport:
    """All findings, as a table (`str()`) and as JSON (`to_json()`)."""

    sentences: dict[str, int]
    findings: list[Finding]

    def failed(self, *, strict: bool = False) -> bool:
        """Whether there are errors or, with `strict`, warnings."""
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
    """Collects the findings of one data set."""

    def __init__(self, folder: Path) -> None:
        self.shards, self.words, self.images = read_folder(folder)
        self.split = _numbers(self.words.split)
        self.total = len(self.split)
        self.rows = np.arange(self.total)
        self.found: list[tuple[Finding, list[Example]]] = []

    def add(
        self,
        check: str,
        severity: str,
        count: int,
        of: int,
        meaning: str,
        examples: Sequence[int | Example] = (),
    ) -> Finding:
        """Add a finding. An example is a row number, or a tuple of row numbers and remarks."""
        finding = Finding(check, severity, count, of, meaning)
        shown = [item if isinstance(item, tuple) else (item,) for item in examples[:MOST_EXAMPLES]]
        self.found.append((finding, shown))
        return finding

    def files(self) -> None:
        """Files that are missing or damaged."""
        folder, broken = self.shards.folder, self.shards.broken
        missing = missing_files(folder) if (folder / "README.md").is_file() else []
        total = len(self.shards.paths) + len(broken)
        finding = self.add(
            "files missing", ERROR, len(missing), total, "files that the card names are missing"
        )
        finding.examples = missing[:MOST_EXAMPLES]
        finding = self.add("files broken", ERROR, len(broken), total, NOT_PARQUET)
        finding.examples = broken[:MOST_EXAMPLES]

    def sentences(self) -> None:
        """Words, labels and ids within the data set."""
        flagged, counts = self.words.flagged, self.words.counts
        for check, meaning in (
            ("empty sentences", "sentences have no word"),
            ("labels not IOB2", "sentences have an I- label that continues no entity of its type"),
        ):
            self.add(check, ERROR, counts[check], self.total, meaning, flagged[check])
        ids = _numbers(self.words.ids)
        _, first = np.unique(ids, return_index=True)
        again = np.setdiff1d(self.rows, first)
        meaning = "sentences have the id of another one"
        self.add("ids repeated", ERROR, len(again), self.total, meaning, again.tolist())

        labelled, exact = _numbers(self.words.labelled), _numbers(self.words.exact)
        _, first = np.unique(labelled, return_index=True)
        versions = exact[first]
        unique, count = np.unique(versions, return_counts=True)
        several = np.isin(versions, unique[count > 1])
        firsts: dict[int, list[int]] = defaultdict(list)
        for words, row in zip(versions[several].tolist(), first[several].tolist(), strict=True):
            firsts[words].append(row)
        pairs: list[Example] = [tuple(rows[:2]) for rows in firsts.values()]
        check, meaning = "same words, other labels", "sentences occur again with other labels"
        self.add(check, WARNING, len(pairs), len(np.unique(exact)), meaning, pairs)

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
            meaning = "and these except for case, spaces, punctuation, URLs and @names"
            self.add(f"{where}, nearly", WARNING, len(nearly), total, meaning, nearly)
            short = list(dict(short + nearly_short).items())
            meaning = f"and these of fewer than {SHORT_WORDS} words, exactly or nearly"
            self.add(f"{where}, short", NOTE, len(short), total, meaning, short)
            self._image_leaks(self.images, other, self.images, one, f"{other_name} in {name}")

    def _apart(
        self, pairs: list[tuple[int, int]]
    ) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Pairs of sentences of at least `SHORT_WORDS` words, and pairs of shorter ones."""
        short = self.words.short
        return (
            [pair for pair in pairs if not short[pair[0]]],
            [pair for pair in pairs if short[pair[0]]],
        )

    def _split_pairs(self) -> Iterator[tuple[tuple[str, int], tuple[str, int]]]:
        """Every two splits, each as its name and its place in `SPLITS`."""
        present = [(name, code) for code, name in enumerate(SPLITS) if (self.split == code).any()]
        return combinations(present, 2)

    def _image_leaks(
        self, mine: Images, split: int, theirs: Images, other: int, where: str
    ) -> None:
        """Distinct images of one split that are the same, or nearly, as images of another."""
        contents, rows = _distinct(mine, split)
        others, other_rows = _distinct(theirs, other)
        pairs = _shared(contents, rows, others, other_rows)
        meaning = "distinct images occur there too"
        shown = _examples(pairs, mine is theirs)
        self.add(f"images of {where}", WARNING, len(pairs), len(contents), meaning, shown)
        check = f"images of {where}, nearly"
        if not has_library("imagehash"):
            self.add(check, SKIPPED, 0, 0, "imagehash is not installed")
            return
        left = ~np.isin(contents, others)
        looks, other_looks = _looks(mine, contents[left]), _looks(theirs, others)
        alike = _alike(looks, other_looks)
        pairs = [(int(rows[left][index]), int(other_rows[near])) for index, near in alike]
        meaning = f"and these by perceptual hash (at most {ALIKE_BITS} of 64 bits differ)"
        shown = _examples(pairs, mine is theirs)
        self.add(check, WARNING, len(pairs), len(contents), meaning, shown)

    def entities(self) -> None:
        """Entities that train has too, and entities without a letter."""
        split, mention = _numbers(self.words.mention_split), _numbers(self.words.mention)
        train = split == 0
        for code, name in enumerate(SPLITS[1:], start=1):
            mine = split == code
            if train.any() and mine.any():
                seen = int(np.isin(mention[mine], mention[train]).sum())
                meaning = f"entity mentions of {name} occur in train with the same type"
                self.add(f"{name} entities seen", NOTE, seen, int(mine.sum()), meaning)
        check = "numbers as entities"
        count = self.words.counts[check]
        severity = WARNING if count > _NUMBERS_SHARE * len(mention) else NOTE
        meaning = "entities have no letter, as in automatic labels"
        self.add(check, severity, count, len(mention), meaning, self.words.flagged[check])

    def image_faults(self) -> None:
        """Images that are missing, broken or enormous."""
        images = self.images
        distinct = len(images.look) + sum(map(len, images.faults.values()))
        check, meaning = "images missing", "images that sentences name are missing"
        self.add(check, WARNING, images.missing_count, images.named, meaning, images.missing)
        for kind, meaning in (
            ("broken", "distinct images cannot be decoded"),
            ("enormous", f"distinct images have more than {MAX_PIXELS:,} pixels or 64 MiB"),
        ):
            found = list(images.faults[kind].values())
            rows = [row for row, _ in found]
            self.add(f"images {kind}", ERROR, len(found), distinct, meaning, rows)

    def languages(self) -> None:
        """Sentences in another language than their column says."""
        if not has_library("py3langid"):
            self.add("language contradicted", SKIPPED, 0, 0, "py3langid is not installed")
            return
        from py3langid import langid

        identifier = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
        for lang, sample in sorted(self.words.samples.items()):
            if lang not in identifier.labels:
                meaning = "py3langid has no such language"
                self.add(f"language {lang} contradicted", SKIPPED, 0, 0, meaning)
                continue
            contradicted: list[int | Example] = []
            for _, row, text in sorted(sample, reverse=True):
                best, certainty = identifier.classify(text)
                if best != lang and certainty >= _LANGUAGE_CERTAINTY:
                    contradicted.append(row)
            check, count = f"language {lang} contradicted", len(contradicted)
            severity = WARNING if count > _LANGUAGE_SHARE * len(sample) else NOTE
            meaning = "sentences of a sample are in another language by py3langid"
            self.add(check, severity, count, len(sample), meaning, contradicted)

    def against(self, folder: Path) -> None:
        """Overlaps with another data set, by normalised words and by images."""
        shards, words, images = read_folder(folder)
        if shards.broken:
            check, total = f"files broken in {folder.name}", len(shards.paths) + len(shards.broken)
            finding = self.add(check, ERROR, len(shards.broken), total, NOT_PARQUET)
            finding.examples = shards.broken[:MOST_EXAMPLES]
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
                meaning = meaning if leak else "sentences occur there too"
                severity, total = ERROR if leak else WARNING, int(mine.sum())
                shown = _examples(pairs, False)
                self.add(f"sentences of {where}", severity, len(pairs), total, meaning, shown)
                meaning, shown = (
                    f"and these of fewer than {SHORT_WORDS} words",
                    _examples(short, False),
                )
                self.add(f"sentences of {where}, short", NOTE, len(short), total, meaning, shown)
                self._image_leaks(self.images, code, images, other_code, where)

    def report(self) -> AuditReport:
        """The findings, with the text of their examples."""
        parts = {part for _, shown in self.found for parts in shown for part in parts}
        wanted = {part for part in parts if isinstance(part, int)}
        texts: dict[int, str] = {}
        if wanted:
            for number, split, row in self.shards.rows("id", "tokens", "image_id"):
                if number in wanted:
                    names = ", ".join(filter(None, images_of_row(row["image_id"])))
                    image = f" [{names}]" if names else ""
                    text = " ".join(row["tokens"])
                    text = text if len(text) <= 100 else f"{text[:97]}..."
                    texts[number] = f"{split} {row['id']}{image}: {text}"
        for finding, shown in self.found:
            for example in shown:
                words = (part if isinstance(part, str) else texts[part] for part in example)
                finding.examples.append(" <> ".join(filter(None, words)))
        sizes = {
            name: int((self.split == code).sum())
            for code, name in enumerate(SPLITS)
            if (self.split == code).any()
        }
        return AuditReport(sizes, [finding for finding, _ in self.found])


def _examples(pairs: Sequence[tuple[int, int]], both: bool) -> list[int | Example]:
    """The pairs of row numbers, or their first numbers alone if the second data set is another."""
    return [pair if both else pair[0] for pair in pairs]


def _distinct(images: Images, split: int) -> tuple[np.ndarray, np.ndarray]:
    """The distinct images of a split, with the first row of each."""
    here = _numbers(images.split) == split
    contents, first = np.unique(_numbers(images.content)[here], return_index=True)
    return contents, _numbers(images.row)[here][first]


def _looks(images: Images, contents: np.ndarray) -> np.ndarray:
    """The perceptual hashes of images. A broken one gets a hash that no real image has."""
    none = 0x5A5A_5A5A_5A5A_5A5A
    return np.array([images.look.get(item, none) for item in contents.tolist()], dtype=np.uint64)


def audit(folder: Path | str, against: Path | str | None = None) -> AuditReport:
    """Audit a data set folder that `build` made.

    Args:
        folder: the data set.
        against: another data set folder, to find what both contain.

    Raises:
        FileNotFoundError: if one of them holds no data set.
        CardError: if the first one's card cannot be read.
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


__all__ = ["AuditReport", "Finding", "audit"]
