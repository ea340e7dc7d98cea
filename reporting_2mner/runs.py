"""Reading a run's folder, and its facts in words.

    run = read_run(Path("runs/demo"))
    predicted = [spans_of(record) for record in run.records]

The records of a run are the lines of its `predictions.jsonl`, one for each test sentence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import UndefinedError

from dataset_mmnerd.files import check_size
from dataset_mmnerd.labels import Span
from dataset_mmnerd.quoting import quoted, shorten

from .yaml12 import written_as_yaml

__all__ = [
    "CONTROL_NAMES",
    "Record",
    "Run",
    "RunError",
    "controls_of",
    "figures_of",
    "percent",
    "published_message",
    "read_results",
    "read_run",
    "recipe_as_yaml",
    "short_path",
    "source_of",
    "spans_of",
    "training_in_words",
    "with_present_names",
]

Record = dict[str, Any]

# Errors of reading figures that are missing or of another type.
_DAMAGED = (
    *(KeyError, IndexError, TypeError, AttributeError, ValueError),
    *(ArithmeticError, UndefinedError),
)

CONTROL_NAMES = {
    "real": "its own image",
    "none": "no image",
    "shuffled": "another's image",
    "blank": "blank image",
}


_MOST_BYTES = 2**30
"""Of a file that is read at once."""


class RunError(ValueError):
    """A folder that is no finished run, or runs that cannot be compared."""


@dataclass(frozen=True)
class Run:
    """The content of a run's folder.

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
    content = _content(predictions) if predictions.is_file() else b""
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
    return with_present_names(_parsed(_content(metrics), metrics))


def _content(path: Path) -> bytes:
    try:
        check_size(path, _MOST_BYTES)
    except OSError as error:
        raise RunError(str(error)) from error
    return path.read_bytes()


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


def with_present_names(value: Any) -> Any:
    """What a run has saved, with the names of this version: version 0.1 said "picture"."""
    if isinstance(value, list):
        return [with_present_names(item) for item in value]
    if isinstance(value, dict):
        return {_RENAMED.get(key, key): with_present_names(item) for key, item in value.items()}
    return value


_RENAMED = {
    "by_picture": "by_image",
    "picture_decided": "image_decided",
    "pictures": "images",
    "reads_pictures": "reads_images",
    "with_picture": "with_image",
    "eval_picture_decided_accuracy": "eval_image_decided_accuracy",
}


def _entries(path: Path, key: str, number: str) -> list[dict[str, Any]]:
    """The list under a key of a JSON file: objects, each with a number under another key."""
    found = _parsed(_content(path), path).get(key)
    entries: list[Any] = found if isinstance(found, list) else [found]
    for entry in entries:
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
    if type(start) is not int or type(end) is not int or not 0 <= start < end <= words:
        return False
    score = entity.get("score", -1)
    return not scored or (_is_number(score) and 0 <= score <= 1)


@contextmanager
def figures_of(path: Path) -> Iterator[None]:
    """Name the file whose figures are read, if one is missing or of another type.

    Raises:
        RunError: in place of the error of reading them.
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


# In words -----------------------------------------------------------------------------------------


def percent(fraction: float) -> str:
    """87.5 of 0.875."""
    return f"{100 * fraction:.1f}"


def source_of(data: dict[str, Any]) -> str:
    """The name of the data."""
    files = _test_files(data)
    if files is not None:
        names = [short_path(name) for name in files]
        more = f" and {len(names) - 3} more files" if len(names) > 3 else ""
        return f"{', '.join(names[:3])}{more}"
    if data["dataset_name"] == "sample":
        return "2M-NER's embedded sample"
    return short_path(data["dataset_name"])


def is_tested_on_sample(data: dict[str, Any]) -> bool:
    """Whether the test part of a run's data is that of the embedded sample."""
    return data["dataset_name"] == "sample" and _test_files(data) is None


def _test_files(data: dict[str, Any]) -> list[str] | None:
    """The files that the test part is from, or that the others are from; None for a data set."""
    return data.get("test_files") or data["train_files"]


def training_in_words(results: dict[str, Any], emissions: float | None = None) -> str:
    """Steps, time, hardware, parameters and the checkpoint that was kept, in sentences."""
    training = results["training"]
    parameters = training["parameters"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    text = (
        f"{training['steps']} steps (epochs: {training['epochs']:.3g}) in "
        f"{_duration(training['seconds'])} on {training['processes']} x {training['device']}; "
        f"{parameters['trained']:,} of {parameters['all']:,} parameters were trained. "
        f"Seed {results['seed']}. "
    )
    teacher = results["recipe"]["model"].get("teacher")  # absent in runs of version 0.1
    if teacher is not None:
        unlabelled = results["data"]["train"].get("unlabelled", 0)
        also = f", also of {unlabelled:,} sentences without labels" if unlabelled else ""
        text += f"It learned what {short_path(teacher)} says of the words{also}. "
    kept = training["validation"]
    if kept is not None:
        text += (
            f"The checkpoint of step {training['kept_step']} was kept, with an F1 of "
            f"{percent(kept['eval_f1'])} on the validation part"
        )
        if "eval_f1_text_view" in kept:
            text += f", {percent(kept['eval_f1_text_view'])} in the text view"
        text += ". "
    if emissions is not None:
        text += f"By codecarbon's measure it emitted {emissions * 1000:.3g} g of CO2. "
    return f"{text}With {versions}."


def recipe_as_yaml(recipe: dict[str, Any]) -> str:
    """The recipe as YAML that `2mner train` reads; absolute paths are cut short."""
    keys = {
        key: _short_paths(value)
        for part in ("model", "data", "training")
        for key, value in recipe[part].items()
        if value is not None and not key.startswith(("hub_", "push_to_hub"))
    }
    return written_as_yaml(keys)


def short_path(path: str) -> str:
    """The last two parts of an absolute path, so that no local path is published; a name on the Hub
    or a relative path as it is."""
    return "/".join(Path(path).parts[-2:]) if Path(path).is_absolute() else path


_ABSOLUTE = re.compile(r"""(?<![\w/.:~-])/[^\s:;,()<>'"]+""")


def published_message(message: str, folder: Path) -> str:
    """A message for a page in a folder: the paths of what is in the folder begin there, and other
    absolute paths are cut short as by `short_path`."""
    inside = re.compile(rf"(?<![\w/.~-]){re.escape(str(folder))}/")
    return _ABSOLUTE.sub(lambda path: short_path(path[0]), inside.sub("", message))


def _short_paths(value: Any) -> Any:
    if isinstance(value, list):
        return [_short_paths(item) for item in value]
    if isinstance(value, dict):
        return {key: _short_paths(item) for key, item in value.items()}
    return short_path(value) if isinstance(value, str) else value


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
