"""What the parts of a study measure with trained models, each once.

    failures = measure_all(plan.chosen, trainings)
    results = results_of(plan.parts[0], trainings)

A measure of a part is in `measures/PART.json` of the run's folder, beside its options. It is
repeated if these are other ones; data sets that are added to others leave these in place.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dataset_mmnerd.files import write_json
from dataset_mmnerd.locks import LockedError
from dataset_mmnerd.quoting import shorten
from reporting_2mner.runs import read_run
from reporting_2mner.study.sections import Part, Result, Results

from .cells import POLL_SECONDS, Training, claimed
from .kinds import KINDS, measure_of
from .trained import Trained

__all__ = ["has_result", "measure_all", "missing_measures", "results_of"]

logger = logging.getLogger(__name__)


def measure_all(parts: Sequence[Part], trainings: Sequence[Training]) -> dict[str, str]:
    """Measure all finished trainings of the parts that measure something. A measure that fails is
    logged and does not stop the others.

    Returns:
        The errors, by the names of part and training.
    """
    failures: dict[str, str] = {}
    pending = [training for training in trainings if missing_measures(parts, training)]
    while pending:
        others = []
        for training in pending:
            try:
                with claimed(training):
                    failures |= _measure(missing_measures(parts, training), training)
            except LockedError:
                others.append(training)
        pending = others
        if pending:
            time.sleep(POLL_SECONDS)
    return failures


def _file(part: Part, training: Training) -> Path:
    return training.folder / "measures" / f"{part.name}.json"


def _stored(part: Part, training: Training) -> dict[str, Any]:
    """The `settings` and what was `measured` with them; both empty if nothing was."""
    path = _file(part, training)
    if not path.is_file():
        return {"settings": {}, "measured": {}}
    stored: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return stored


def _read(part: Part, training: Training) -> Any:
    """What a part has measured of a training; None if it has not, or with other options."""
    stored = _stored(part, training)
    return stored["measured"] if stored["settings"] == _joined(part, stored)["settings"] else None


def _joined(
    part: Part, stored: Mapping[str, Any], measured: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What a measure depends on, beside the model, and what is measured. Of a kind that `grows`,
    what is stored is added where it has other names."""
    settings: dict[str, Any] = json.loads(json.dumps({"kind": part.kind, **part.options}))
    names = KINDS[part.kind].grows
    if names is None or stored["settings"].get("kind") != part.kind:
        return {"settings": settings, "measured": measured}
    settings[names] = {**stored["settings"][names], **settings[names]}
    return {"settings": settings, "measured": {**stored["measured"], **(measured or {})}}


def missing_measures(parts: Sequence[Part], training: Training) -> list[Part]:
    """The parts that have yet to measure a training."""
    if not training.is_finished():
        return []
    return [
        part
        for part in parts
        if KINDS[part.kind].measures
        and training.cell.name in part.cells
        and _read(part, training) is None
    ]


def _measure(parts: Sequence[Part], training: Training) -> dict[str, str]:
    """Measure one training; the model is loaded once."""
    failures = {}
    trained = Trained(training.folder)
    for part in parts:
        started = time.perf_counter()
        try:
            measured = measure_of(part.kind)(trained, part.options)
        except Exception as error:  # whatever it is: the other measures do not depend on it
            message = shorten(" ".join(str(error).split()), 400) or type(error).__name__
            failures[f"{part.name}: {training.name}"] = message
            logger.warning("%s: %s: failed: %s", part.name, training.name, message)
            continue
        path = _file(part, training)
        path.parent.mkdir(exist_ok=True)
        write_json(path, _joined(part, _stored(part, training), measured))
        seconds = time.perf_counter() - started
        logger.info("%s: %s measured, %.0f s", part.name, training.name, seconds)
    return failures


def has_result(part: Part, training: Training) -> bool:
    """Whether a training of a part is finished and, if the part measures something, measured."""
    return training.is_finished() and not missing_measures([part], training)


def results_of(part: Part, trainings: Sequence[Training]) -> Results:
    """What a part's section is made of: the finished trainings of its cells, and what was measured
    with them. Of a part that measures something, those that are measured.

    Raises:
        RunError: if a run's folder is damaged.
    """
    results: dict[str, list[Result]] = {}
    for name in part.cells:
        for training in trainings:
            if training.cell.name == name and has_result(part, training):
                measured = _read(part, training) if KINDS[part.kind].measures else None
                run = read_run(training.folder)
                results.setdefault(name, []).append(Result(training.seed, run, measured))
    return {name: sorted(found, key=lambda result: result.seed) for name, found in results.items()}
