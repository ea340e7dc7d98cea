"""What a trained model is worth on other data sets: files in any layout that the project reads.

Types are compared that both the model and the data set have. An entity of the data set of any other
type counts as no entity, and a prediction of a type that the data set does not have is left out.
`rename` gives types of the data set the names of the model's.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataset_mmnerd.quoting import quoted, shorten
from dataset_mmnerd.readers import dataset_from_files
from dataset_mmnerd.schema import entity_types
from modeling_2mner.labels_2mner import Span

from ..arguments import DataArguments, RecipeError, unknown_key
from ..data import gold_spans, label_names, longest_first, of_types, prepare, relabelled
from ..evaluation import predict
from ..metrics import score
from .trained import Trained

__all__ = ["measure", "prepare_options"]

KEYS = ("files", "language", "image_dir", "columns", "tag_names", "rename")
"""What a data set may have in a plan."""

_SLICE = re.compile(r"\[[\d%]*:[\d%]*\]$")


def prepare_options(options: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Check the data sets of a plan. A file may also lie beside the plan.

    Args:
        options: as for `measure`.
        folder: of the plan.

    Raises:
        RecipeError: if a key is unknown, or a file is not there.
    """
    prepared = {}
    if not isinstance(options["data"], dict):
        raise RecipeError(f"data is {quoted(options['data'])}, expected data sets by name")
    for name, own in options["data"].items():
        if not isinstance(own, dict) or not isinstance(own.get("files"), list) or not own["files"]:
            raise RecipeError(f"{name} is {quoted(own)}, expected a mapping with files, a list")
        for key in own:
            if key not in KEYS:
                raise RecipeError(f"{name}: {unknown_key(str(key), KEYS)}")
        files = [_found(str(file), folder, str(name)) for file in own["files"]]
        prepared[str(name)] = {**own, "files": files}
    return {**options, "data": prepared}


def _found(file: str, folder: Path, name: str) -> str:
    for candidate in (file, str(folder / file)):
        if Path(_SLICE.sub("", candidate)).is_file():
            return candidate
    raise RecipeError(f"{name}: {shorten(file)}: found no such file, neither here nor in {folder}")


def measure(trained: Trained, options: Mapping[str, Any]) -> dict[str, Any]:
    """Score a model on other data sets.

    Args:
        trained: the model.
        options: `data`: for each data set its `files` and, as in a recipe, `language`, `image_dir`,
            `columns` and `tag_names`; and `rename`.

    Returns:
        For each data set: `records`, with `id`, `lang`, `tokens`, `gold` and `predicted` as in
        `predictions.jsonl`; `score`, as `metrics.score` gives it; `types`, those that are compared;
        `dropped`, how many entities of other types it has; and `ignored`, how many predictions are
        of types that it lacks.

    Raises:
        RecipeError: if a file is not there, or the two have no type in common.
    """
    return {name: _measure(trained, name, own) for name, own in options["data"].items()}


def _measure(trained: Trained, name: str, own: Mapping[str, Any]) -> dict[str, Any]:
    rename = own.get("rename") or {}
    arguments = DataArguments(
        train_files=list(own["files"]),
        language=own.get("language"),
        image_dir=own.get("image_dir"),
        columns=own.get("columns"),
        tag_names=own.get("tag_names"),
    )
    found = dataset_from_files(
        arguments.train_files or [],
        arguments.image_dir,
        lang=arguments.language,
        columns=arguments.column_names(),
        tag_names=arguments.tag_names,
    )
    rows = prepare(found, name, arguments)
    rows = rows.select(longest_first(rows), keep_in_memory=True)
    theirs = {rename.get(label, label) for label in entity_types(label_names(rows))}
    types = [label for label in entity_types(trained.processor.labels) if label in theirs]
    if not types:
        raise RecipeError(
            f"{name}: its types are {', '.join(sorted(theirs))}, expected some of the model's, "
            f"{', '.join(entity_types(trained.processor.labels))}; `rename` names them anew"
        )
    gold = [
        [(s, e, rename.get(label, label)) for s, e, label in spans] for spans in gold_spans(rows)
    ]
    trainer = trained.trainer
    said = predict(trainer, relabelled(rows, trainer.data_collator.label_names))["image_text"].spans
    kept_gold = [of_types(spans, types) for spans in gold]
    kept_said = [of_types(spans, types) for spans in said]
    records = [
        {**row, "gold": _entities(right), "predicted": _entities(found)}
        for row, right, found in zip(
            rows.select_columns(["id", "lang", "tokens"]), kept_gold, kept_said, strict=True
        )
    ]
    return {
        "types": types,
        "dropped": _counted(gold, types),
        "ignored": _counted(said, types),
        "score": score(kept_gold, kept_said, rows["lang"][:]),
        "records": records,
    }


def _entities(spans: list[Span]) -> list[dict[str, Any]]:
    return [{"label": label, "start": start, "end": end} for start, end, label in spans]


def _counted(spans: list[list[Span]], types: list[str]) -> dict[str, int]:
    """How many entities of each type are not compared."""
    labels = Counter(label for sentence in spans for _, _, label in sentence)
    return {label: count for label, count in sorted(labels.items()) if label not in types}
