"""Thresholds of the scores of entities: those of a call, and those stored with a model.

`thresholds.json` is saved beside the weights. A score `p` is calibrated by a temperature,
`sigmoid(logit(p) / T)`. The thresholds are for calibrated scores:

    {"version": 1, "weights": "9f2c...", "temperature": {"": 1.3, "PER": 1.2},
     "precision": {"0.95": {"": 0.81, "PER": 0.77}}, "risk": {"0.05": {"": 0.9}}}

"" is for every type without an entry of its own. A level that no threshold reaches is null.
`weights` is the fingerprint of the model that the thresholds were chosen for. They are refused for
a model that has another one, such as a later training saved in the same folder.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .quoting_2mner import quoted, shorten

__all__ = [
    "FILE",
    "Limits",
    "limits_from_file",
    "limits_from_numbers",
    "parse_wish",
]

FILE = "thresholds.json"
MOST_BYTES = 2**20

ByType = Mapping[str, float]


@dataclass(frozen=True)
class Limits:
    """The least score of an entity by type, and the temperatures that calibrate scores.

    Attributes:
        least: by type; "" for the other types.
        temperature: by type; "" for the other types.
    """

    least: ByType
    temperature: ByType = field(default_factory=dict)

    def calibrated(self, score: float, entity_type: str) -> float:
        """A probability after calibration."""
        temperature = self.temperature.get(entity_type, self.temperature.get("", 1.0))
        if temperature == 1:
            return score
        yes, no = score ** (1 / temperature), (1 - score) ** (1 / temperature)
        return yes / (yes + no)

    def passes(self, score: float, entity_type: str) -> bool:
        """Whether a calibrated score is high enough."""
        return score >= self.least.get(entity_type, self.least.get("", 0.0))


def limits_from_numbers(threshold: Any, types: Sequence[str]) -> Limits:
    """The limits that are given in a call.

    Args:
        threshold: a number, or numbers by type; a type without a number has no limit.
        types: the types of the model.

    Raises:
        TypeError, ValueError: if it is something else, a number is not from 0 to 1, or the model
            has no such type.
    """
    if isinstance(threshold, Mapping):
        for name, value in threshold.items():
            if name not in types:
                raise ValueError(
                    f"threshold has the type {quoted(name)}, expected some of "
                    f"{shorten(', '.join(types))}"
                )
            _check_share(f"threshold[{name!r}]", value)
        return Limits(dict(threshold))
    _check_share("threshold", threshold)
    return Limits({"": threshold})


def parse_wish(threshold: str) -> tuple[str, float]:
    """Read `precision=0.95` or `risk=0.05`.

    Raises:
        ValueError: if it is something else.
    """
    found = re.fullmatch(r"(precision|risk)=(0?\.\d{1,9}|[01](?:\.0*)?)", threshold)
    if found is None:
        raise ValueError(
            f"threshold is {quoted(threshold)}, expected a number from 0 to 1, one for each type, "
            "'precision=0.95' or 'risk=0.05'"
        )
    return found[1], float(found[2])


def limits_from_file(
    path: Path | str | None, kind: str, level: float, model: str, weights: str
) -> Limits:
    """The limits that were chosen for a model on validation data.

    Args:
        path: its `thresholds.json`; None if it has none.
        kind: "precision" or "risk".
        level: the precision to reach, or the error rate to keep.
        model: its name in messages.
        weights: its fingerprint.

    Raises:
        ValueError: if there is no such file or entry, or it was made for other weights, with the
            command that makes it; or the file is damaged.
    """
    command = f"make it with `2mner thresholds {model or 'MODEL'} --validation_files FILES`"
    if path is None:
        raise ValueError(f"{kind}={level:g} needs {FILE} in the model's folder: {command}")
    saved = _read(Path(path))
    if saved.get("weights") != weights:
        raise ValueError(f"{path} was made for other weights than the model has: {command}")
    entries = {_number(name): entry for name, entry in saved.get(kind, {}).items()}
    if level not in entries:
        known = ", ".join(f"{number:g}" for number in entries) or "none"
        raise ValueError(f"{path} has no {kind}={level:g}, found {shorten(known)}: {command}")
    least = entries[level]
    if least is None:
        sentences = "the validation sentences that it was made with"
        raise ValueError(f"{path}: no threshold reaches {kind}={level:g} on {sentences}")
    return Limits(least, saved.get("temperature", {}))


def _read(path: Path) -> dict[str, Any]:
    """Read and check the file."""
    content = path.read_bytes()
    if len(content) > MOST_BYTES:
        raise ValueError(f"{path}: {len(content)} bytes, expected at most {MOST_BYTES}")
    try:
        saved = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: no JSON: {shorten(str(error))}") from None
    if not isinstance(saved, dict) or saved.get("version") != 1:
        found = saved.get("version") if isinstance(saved, dict) else saved
        raise ValueError(f"{path}: version is {quoted(found)}, expected 1")
    _check_types(path, "temperature", saved.get("temperature", {}), 1e-3, 1e3)
    for kind in ("precision", "risk"):
        entries = saved.get(kind, {})
        if not isinstance(entries, dict):
            raise ValueError(f"{path}: {kind} is {quoted(entries)}, expected levels")
        for level, least in entries.items():
            if _number(level) is None:
                raise ValueError(f"{path}: {kind} has {quoted(level)}, expected a number")
            # None: no threshold reaches the level. Above 1: no entity of this type passes, and the
            # thresholds of other types reach the level.
            if least is not None:
                _check_types(path, f"{kind}[{quoted(level)}]", least, 0, 2)
    return saved


def _check_types(path: Path, name: str, values: Any, least: float, most: float) -> None:
    if not isinstance(values, dict):
        raise ValueError(f"{path}: {name} is {quoted(values)}, expected a number for each type")
    for entity_type, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            found = f"{name}[{quoted(entity_type)}] is {quoted(value)}"
            raise ValueError(f"{path}: {found}, expected a number")
        if not least <= value <= most:
            found = f"{name}[{quoted(entity_type)}] is {value:g}"
            raise ValueError(f"{path}: {found}, expected {least:g} to {most:g}")


def _check_share(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(
            f"{name} is {quoted(value)} ({type(value).__name__}), expected a number from 0 to 1"
        )
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value!r}, expected a number from 0 to 1")


def _number(name: str) -> float | None:
    try:
        return float(name)
    except ValueError:
        return None
