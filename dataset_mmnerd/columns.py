"""Data sets with other columns, converted to those of `schema.py`.

The usual NER data set of the Hub has two columns, `tokens` and `ner_tags`, sometimes under other
names. Its labels are class labels, strings, or numbers whose names are on its page:

>>> rows = load_dataset("me/tweets", split="train")
>>> usual_columns(rows, "train", columns={"tokens": "words", "ner_tags": "tags"}, lang="pt")

`ner_tags` becomes class labels in valid IOB2. `id` and `lang` are added if they are missing. Other
columns do not change.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from datasets import ClassLabel, Dataset, Features, IterableDataset, LargeList, List, Value

from .labels import repair_labels, split_label
from .quoting import quoted, shorten
from .schema import COLUMNS, UNKNOWN_LANGUAGE, Row, bio_labels, entity_types

logger = logging.getLogger(__name__)

_LISTS = (List, LargeList)
_ROWS_AT_A_TIME = 1000

Rows: TypeAlias = Dataset | IterableDataset


class ColumnError(ValueError):
    """A data set without the columns that are needed: what was found, what was expected."""


def parse_columns(pairs: Iterable[str], known: Sequence[str] = COLUMNS) -> dict[str, str]:
    """A mapping from columns to their names in the data, from strings such as `tokens=words`.

    Args:
        pairs: the strings.
        known: the allowed columns; by default those of `schema.py`.

    Raises:
        ColumnError: if a string has another form, or a column is unknown or occurs twice.
    """
    columns: dict[str, str] = {}
    for pair in pairs:
        column, equals, name = pair.partition("=")
        if column not in known or not equals or not name or column in columns:
            expected = f"each once, such as tokens=words, of {', '.join(known)}"
            raise ColumnError(f"columns: found {quoted(pair)}, expected {expected}")
        columns[column] = name
    return columns


def usual_columns(
    rows: Rows,
    split: str,
    *,
    columns: Mapping[str, str] | None = None,
    lang: str | None = None,
    tag_names: Sequence[str] | None = None,
) -> Rows:
    """A data set with the columns `id`, `tokens`, `ner_tags` (class labels in valid IOB2), `lang`.

    A warning gives the number of sentences whose labels were IOB1 or invalid IOB2. For a stream the
    warnings come while it is read.

    Args:
        rows: a data set with at least `tokens` and `ner_tags`.
        split: its name in messages, and the prefix of new ids.
        columns: its own column names, by those of `schema.py`.
        lang: the language of rows without one; by default `und`.
        tag_names: the labels by number, if `ner_tags` are numbers without names.

    Raises:
        ColumnError: if a column is missing or has another type, a label is invalid, or a row does
            not have one label a word. A row of a stream is checked when it is read.
    """
    reader = ColumnReader(rows, split, columns=columns, lang=lang, tag_names=tag_names)
    rows = reader.rows
    features = {
        **rows.features,
        "id": Value("string"),
        "ner_tags": List(ClassLabel(names=reader.labels)),
        "lang": Value("string"),
    }
    if isinstance(rows, IterableDataset):
        return rows.map(reader.streamed, with_indices=True, features=Features(features))
    changed: dict[str, list[Any]] = {"id": [], "ner_tags": [], "lang": []}
    for index, row in enumerate(_batched(rows, ("tokens", *changed))):
        for column, value in reader.read(row, index).items():
            changed[column].append(value)
    reader.tell(len(rows))
    for column, values in changed.items():
        if column in rows.column_names:
            if rows.features[column] == features[column] and values == rows[column][:]:
                continue
            rows = rows.remove_columns(column)
        rows = rows.add_column(column, values, feature=features[column])
    return rows


def _renamed(rows: Rows, where: str, columns: Mapping[str, str]) -> Rows:
    if rows.features is None:
        raise ColumnError(f"{where}: the data set does not say what its columns are")
    for name in columns.values():
        if name not in rows.column_names:
            raise _missing(rows, where, name)
    moved = {name: column for column, name in columns.items() if name != column}
    hidden = [column for column in moved.values() if column in rows.column_names]
    if hidden:
        rows = rows.remove_columns([column for column in hidden if column not in moved])
    rows = rows.rename_columns(moved) if moved else rows
    for column in ("tokens", "ner_tags"):
        if column not in rows.column_names:
            raise _missing(rows, where, column)
    return rows


def _missing(rows: Rows, where: str, column: str) -> ColumnError:
    hint = f"; tell its name by columns, such as {column}=NAME" if column in COLUMNS else ""
    found = shorten(", ".join(rows.column_names))
    return ColumnError(f"{where}: found no column {quoted(column)} among {found}{hint}")


def _check_tokens(rows: Rows, where: str) -> None:
    feature = rows.features["tokens"]
    if not isinstance(feature, _LISTS) or not _is_string(feature.feature):
        raise ColumnError(
            f"{where}: found column 'tokens' of {quoted(feature)}, expected a list of strings"
        )


def _is_string(feature: Any) -> bool:
    return isinstance(feature, Value) and feature.dtype in ("string", "large_string")


def _names_of(rows: Rows, where: str, given: Sequence[str] | None) -> list[str]:
    """The labels of `ner_tags`, by number if they are numbers."""
    feature = rows.features["ner_tags"]
    label = feature.feature if isinstance(feature, _LISTS) else None
    if isinstance(label, ClassLabel):
        return list(given or label.names)
    if isinstance(label, Value) and label.dtype.startswith(("int", "uint")):
        if given is None:
            raise ColumnError(
                f"{where}: column 'ner_tags' has numbers without names; expected tag_names, the "
                "labels in the order of their numbers"
            )
        return list(given)
    if not _is_string(label):
        raise ColumnError(
            f"{where}: found column 'ner_tags' of {quoted(feature)}, expected a list of class "
            "labels, strings or numbers"
        )
    if given is not None:
        return list(given)
    if isinstance(rows, IterableDataset):
        raise ColumnError(
            f"{where}: column 'ner_tags' of a stream has strings; expected tag_names, which "
            "labels there are"
        )
    found: dict[str, None] = {}
    for row in _batched(rows, ("ner_tags",)):
        found.update((tag, None) for tag in row["ner_tags"] or () if tag is not None)
    return list(found)


def _checked_names(names: Sequence[str], where: str) -> Sequence[str]:
    for name in names:
        try:
            split_label(name)
        except ValueError as error:
            raise ColumnError(f"{where}, column 'ner_tags': {error}") from None
    return names


def _batched(rows: Dataset, columns: Sequence[str]) -> Iterator[Row]:
    """The rows with those of some columns that exist. Other columns are not decoded."""
    rows = rows.select_columns([column for column in columns if column in rows.column_names])
    for first in range(0, len(rows), _ROWS_AT_A_TIME):
        part = rows[first : first + _ROWS_AT_A_TIME]
        yield from (
            dict(zip(part, values, strict=True)) for values in zip(*part.values(), strict=True)
        )


class ColumnReader:
    """Reads `id`, `ner_tags` and `lang` of the rows of a data set: see `usual_columns`.

    Args:
        name: the data set's name in messages.
        rows, split, columns, lang, tag_names: as for `usual_columns`.

    Attributes:
        rows: the data set with its columns renamed.
        labels: the labels in BIO, in the order of the ids that `read` gives.
        repaired: how many of the rows read so far had IOB1 or invalid IOB2.
    """

    def __init__(
        self,
        rows: Rows,
        split: str,
        *,
        name: str = "",
        columns: Mapping[str, str] | None = None,
        lang: str | None = None,
        tag_names: Sequence[str] | None = None,
    ) -> None:
        self.where = where = f"{name}, {split}" if name else split
        self._split = split
        self.rows = _renamed(rows, where, columns or {})
        _check_tokens(self.rows, where)
        self.repaired = 0
        self._names = _names_of(self.rows, where, tag_names)
        spelled = bio_labels(entity_types(_checked_names(self._names, where)))
        # The data set's own order, and so its ids, are kept if its labels are the same in BIO.
        self.labels = list(self._names) if set(spelled) == set(self._names) else spelled
        self._ids = {name: index for index, name in enumerate(self.labels)}
        self._are_strings = _is_string(self.rows.features["ner_tags"].feature)
        self._language = _language_reader(self.rows.features.get("lang"), where)
        self._default = lang or UNKNOWN_LANGUAGE

    def read(self, row: Row, index: int) -> Row:
        """The three columns of a row.

        Raises:
            ColumnError: if it does not have one label a word, or a label is unknown.
        """
        tokens, tags = row["tokens"], row["ner_tags"]
        if tokens is None or tags is None or len(tokens) != len(tags) or None in tokens:
            found = " and ".join(
                f"no {column}" if value is None else f"{len(value)} {column}"
                for column, value in (("tokens", tokens), ("ner_tags", tags))
            )
            raise ColumnError(f"{self.where}, row {index}: found {found}, expected a label a word")
        names = [self._name(tag, index) for tag in tags]
        repaired = [label for label in repair_labels(names) if label is not None]
        if names != repaired and names != repair_labels(names, "BIOES"):
            self.repaired += 1
        name = row.get("id")
        return {
            "id": f"{self._split}-{index}" if name is None else str(name),
            "ner_tags": [self._ids[label] for label in repaired],
            "lang": self._language(row.get("lang")) or self._default,
        }

    def _name(self, tag: Any, index: int) -> str:
        if self._are_strings and tag in self._names:
            return tag
        if self._are_strings or tag is None or not 0 <= tag < len(self._names):
            kind = "one" if self._are_strings else "the number of one"
            raise ColumnError(
                f"{self.where}, row {index}: found label {quoted(tag)}, expected {kind} of "
                f"{shorten(', '.join(self._names))}"
            )
        return self._names[tag]

    def streamed(self, row: Row, index: int) -> Row:
        """As `read`, for a stream. Warns at the 1st, 10th, 100th ... repaired row, as its length is
        unknown.
        """
        before = self.repaired
        columns = self.read(row, index)
        if self.repaired > before and str(self.repaired).rstrip("0") == "1":
            self.tell(index + 1)
        return columns

    def tell(self, rows: int) -> None:
        """Warn if labels were repaired; `rows` is the number of rows read."""
        if self.repaired:
            message = "%s: in %d of %d sentences an I- label continues nothing; read as B-"
            logger.warning(message, self.where, self.repaired, rows)


def _language_reader(feature: Any, where: str) -> Callable[[Any], str | None]:
    """A function from the value of a `lang` column to a language code, or None."""
    if feature is None or _is_string(feature) or feature == Value("null"):
        return lambda value: value
    if isinstance(feature, ClassLabel):
        return lambda value: None if value is None else feature.int2str(value)
    if isinstance(feature, _LISTS) and _is_string(feature.feature):  # one a word (WikiANN)
        return lambda value: value[0] if value else None
    raise ColumnError(f"{where}: found column 'lang' of {quoted(feature)}, expected strings")


__all__ = ["ColumnError", "ColumnReader", "parse_columns", "usual_columns"]
