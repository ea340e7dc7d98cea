"""A run's folder read back, and its scores with their resamples: what report and comparison share.

    run = read_run(Path("runs/demo"))
    predicted = [spans_of(record) for record in run.records]
    for group in bootstrap_scores(run.records, [predicted]):
        for name, score in group.items():
            score.interval()

The records of a run are the lines of its `predictions.jsonl`, one for each test sentence.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import UndefinedError

from dataset_mmnerd.quoting import quoted, shorten

from .statistics import Comparison, Interval, compare, f1, interval, resampled_f1, sentence_counts

if TYPE_CHECKING:
    # Only here: comparing runs needs no torch.
    from modeling_2mner.labels_2mner import Span

    Predicted = Sequence[Sequence[Span]]

__all__ = [
    "SEED",
    "Record",
    "Run",
    "RunError",
    "Score",
    "bootstrap_score",
    "bootstrap_scores",
    "controls_of",
    "figures_of",
    "read_results",
    "read_run",
    "spans_of",
]

Record = dict[str, Any]

# What looking up and writing out figures raises where they are not what a run writes.
_DAMAGED = (
    *(KeyError, IndexError, TypeError, AttributeError, ValueError),
    *(ArithmeticError, UndefinedError),
)

SEED = 0
"""Of the resampling: a report that is made anew says the same."""


class RunError(ValueError):
    """A folder that is no finished run, or runs that cannot be compared."""


@dataclass(frozen=True)
class Run:
    """What a run left behind.

    Attributes:
        folder: where.
        results: what is in `metrics.json`.
        records: the lines of `predictions.jsonl`; none without a test part.
        history: what was logged in training; none if it was not kept.
        curve: the points of `learning_curve.json`, if there is one.
    """

    folder: Path
    results: dict[str, Any]
    records: list[Record]
    history: list[dict[str, float]]
    curve: list[dict[str, Any]] = field(default_factory=list)


def read_run(folder: Path) -> Run:
    """Read a run's folder.

    Raises:
        RunError: if it has no `metrics.json`, or a file in it is not what it should be; the message
            names the file, and the line of a record.
    """
    predictions, state = folder / "predictions.jsonl", folder / "trainer_state.json"
    curve = folder / "learning_curve.json"
    content = predictions.read_bytes() if predictions.is_file() else b""
    lines = content.removesuffix(b"\n").split(b"\n") if content else []
    return Run(
        folder=folder,
        results=read_results(folder),
        records=[_record(line, f"{predictions}, line {at}") for at, line in enumerate(lines, 1)],
        history=_entries(state, "log_history", "step") if state.is_file() else [],
        curve=_entries(curve, "points", "sentences") if curve.is_file() else [],
    )


def read_results(folder: Path) -> dict[str, Any]:
    """Read the figures of a run, `metrics.json`, whatever version of the project wrote them.

    Raises:
        RunError: if it is not there, or no JSON object.
    """
    metrics = folder / "metrics.json"
    if not metrics.is_file():
        raise RunError(f"there is no {metrics}: the run is not finished, or is none")
    return _with_present_names(_parsed(metrics.read_bytes(), metrics))


def _parsed(content: bytes, place: Path | str) -> dict[str, Any]:
    expected = "expected an object"
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        found = shorten(str(error))
        raise RunError(f"{place}: found no JSON ({found}), {expected}") from error
    if not isinstance(value, dict):
        raise RunError(f"{place}: found {quoted(value)}, {expected}")
    return value


def _with_present_names(value: Any) -> Any:
    """The figures of a run with the names of this version: version 0.1 said "picture"."""
    if isinstance(value, list):
        return [_with_present_names(item) for item in value]
    if isinstance(value, dict):
        return {_RENAMED.get(key, key): _with_present_names(item) for key, item in value.items()}
    return value


_RENAMED = {
    "by_picture": "by_image",
    "picture_decided": "image_decided",
    "pictures": "images",
    "with_picture": "with_image",
    "eval_picture_decided_accuracy": "eval_image_decided_accuracy",
}


def _entries(path: Path, key: str, number: str) -> list[dict[str, Any]]:
    """The list under a key of a JSON file: objects, each with a number under another key."""
    entries = _parsed(path.read_bytes(), path).get(key)
    for entry in entries if isinstance(entries, list) else [entries]:
        if not isinstance(entry, dict) or not _is_number(entry.get(number)):
            expected = f'expected "{key}", a list of objects with "{number}"'
            raise RunError(f"{path}: found {quoted(entry)}, {expected}")
    return entries


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _record(line: bytes, place: str) -> Record:
    """A line of `predictions.jsonl`: words, their entities, and what was predicted."""
    record = _parsed(line, place)
    tokens = record.get("tokens")
    for name, value in (("id", record.get("id")), ("lang", record.get("lang"))):
        if not isinstance(value, str):
            raise RunError(f"{place}: {name}: found {quoted(value)}, expected a string")
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise RunError(f"{place}: tokens: found {quoted(tokens)}, expected a list of strings")
    controls = record.get("controls", {})
    if not isinstance(controls, dict):
        raise RunError(f"{place}: controls: found {quoted(controls)}, expected an object")
    scored = {"predicted": record.get("predicted"), **controls}
    for name, entities in {"gold": record.get("gold"), **scored}.items():
        for entity in entities if isinstance(entities, list) else [entities]:
            if not _is_entity(entity, len(tokens), scored=name == "predicted"):
                words = f"entities with label, start and end among {len(tokens)} words"
                expected = f"{words}, and score" if name == "predicted" else words
                raise RunError(f"{place}: {name}: found {quoted(entity)}, expected {expected}")
    return record


def _is_entity(entity: Any, words: int, *, scored: bool) -> bool:
    if not isinstance(entity, dict) or not isinstance(entity.get("label"), str):
        return False
    start, end = entity.get("start"), entity.get("end")
    if not (type(start) is int and type(end) is int and 0 <= start < end <= words):
        return False
    score = entity.get("score")
    return not scored or (_is_number(score) and 0 <= score <= 1)


@contextmanager
def figures_of(path: Path) -> Iterator[None]:
    """Name the file whose figures are read, where one is missing or of another kind.

    Raises:
        RunError: in place of what reading them raised.
    """
    try:
        yield
    except RunError:
        raise
    except _DAMAGED as error:
        found = f"a missing or wrong figure ({type(error).__name__}: {shorten(str(error))})"
        raise RunError(f"{path}: found {found}, expected what a finished run leaves") from error


def spans_of(record: Record, way: str = "predicted") -> list[Span]:
    """The entities of a record: `gold`, `predicted`, or those predicted under one of the controls
    (for a sentence without an image: as predicted)."""
    entities = record.get(way)
    if entities is None:
        entities = record.get("controls", {}).get(way, record["predicted"])
    return [(entity["start"], entity["end"], entity["label"]) for entity in entities]


def controls_of(records: Iterable[Record]) -> list[str]:
    """The controls under which something was predicted, in the order of the records."""
    return list(dict.fromkeys(way for record in records for way in record.get("controls", {})))


# Scores -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Score:
    """An F1 of each of `S` systems on the same sentences.

    Attributes:
        values: `[S]`.
        samples: `[R, S]`, the same on `R` resamples of the sentences.
        counts: `[S, 3]`: entities that are right, predicted, and to be found. None for a mean.
    """

    values: np.ndarray
    samples: np.ndarray
    counts: np.ndarray | None = None

    def interval(self, system: int = 0) -> Interval:
        """A system's score with its interval."""
        return interval(self.values[system], self.samples[:, system])

    def comparison(self, first: int, second: int) -> Comparison:
        """How the second system differs from the first."""
        return compare(self.values[first], self.values[second], self.samples[:, [first, second]])


def bootstrap_score(
    gold: Predicted, systems: Sequence[Predicted], generator: np.random.Generator
) -> Score:
    """The F1 of systems on the same sentences, with its resamples."""
    counts = [sentence_counts(gold, predicted) for predicted in systems]
    sums = np.stack([part.sum(axis=0) for part in counts])
    return Score(f1(sums), resampled_f1(np.hstack(counts), generator), sums)


def bootstrap_scores(
    records: Sequence[Record], systems: Sequence[Predicted]
) -> list[dict[str, Score]]:
    """The F1 of systems, overall and in parts, each with its resamples.

    Args:
        records: the sentences; what was predicted in them is not read.
        systems: what each system predicts for each of them.

    Returns:
        Groups of scores by name: overall and boundaries; each language and, if there are several,
        their mean, for which each language is resampled by itself; each type; with and without a
        image, if there are both and controls tell them apart.
    """
    generator = np.random.default_rng(SEED)
    gold = [spans_of(record, "gold") for record in records]

    def scored(
        chosen: Iterable[int] | None = None, change: Callable[[Sequence[Span]], list[Span]] = list
    ) -> Score:
        rows = range(len(gold)) if chosen is None else list(chosen)
        return bootstrap_score(
            [change(gold[row]) for row in rows],
            [[change(predicted[row]) for row in rows] for predicted in systems],
            generator,
        )

    groups = [{"overall": scored(), "boundaries alone": scored(change=_without_types)}]
    by_language = _places(record["lang"] for record in records)
    parts = {language: scored(rows) for language, rows in sorted(by_language.items())}
    if len(parts) > 1:
        values = np.mean([part.values for part in parts.values()], axis=0)
        samples = np.mean([part.samples for part in parts.values()], axis=0)
        parts["mean over languages"] = Score(values, samples)
    groups.append(parts)
    types = {span[2] for part in (gold, *systems) for spans in part for span in spans}
    groups.append({label: scored(change=_only(label)) for label in sorted(types)})
    by_image = _places("controls" in record for record in records)
    if len(by_image) > 1:
        groups.append(
            {
                "with image": scored(by_image[True]),
                "without image": scored(by_image[False]),
            }
        )
    return [group for group in groups if group]


def _places(keys: Iterable[Any]) -> dict[Any, list[int]]:
    """The places of each key."""
    places: dict[Any, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    return places


def _without_types(spans: Sequence[Span]) -> list[Span]:
    return [(start, end, "") for start, end, _ in spans]


def _only(label: str) -> Callable[[Sequence[Span]], list[Span]]:
    return lambda spans: [span for span in spans if span[2] == label]
