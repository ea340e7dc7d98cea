"""What a trained model is worth on other data sets: files in any layout that the project reads.

Types are compared that both the model and the data set have. An entity of the data set of any other
type counts as no entity, and a prediction of a type that the data set does not have is left out.
`rename` gives types of the data set the names of the model's.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping
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


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_names(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_text, [*value, *value.values()]))


KEYS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "files": (_are_texts, "a list of paths"),
    "language": (_is_text, "a code such as en"),
    "image_dir": (_is_text, "a folder"),
    "columns": (_are_texts, "a list such as [tokens=words]"),
    "tag_names": (_are_texts, "a list of labels"),
    "rename": (_are_names, "a mapping such as {PERSON: PER}"),
}
"""What a data set may have in a plan: what it must be, and that in words."""

_SLICE = re.compile(r"\[[\d%]*:[\d%]*\]$")


def prepare_options(options: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Check the data sets of a plan. A file may also lie beside the plan.

    Args:
        options: as for `measure`.
        folder: of the plan.

    Raises:
        RecipeError: if a key is unknown, a value is of another type, or a file is not there.

    Returns:
        The options, with a digest of each file beside the `files`: other sentences under the same
        name are measured anew.
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
            is_right, expected = KEYS[key]
            if own[key] is not None and not is_right(own[key]):
                raise RecipeError(f"{name}: {key} is {quoted(own[key])}, expected {expected}")
        files = [_found(file, folder, str(name)) for file in own["files"]]
        prepared[str(name)] = {**own, "files": files, "digests": list(map(_digest, files))}
        _arguments(str(name), prepared[str(name)])
    return {**options, "data": prepared}


def _found(file: str, folder: Path, name: str) -> str:
    for candidate in (file, str(folder / file)):
        if _whole(candidate).is_file():
            return candidate
    raise RecipeError(f"{name}: {shorten(file)}: found no such file, neither here nor in {folder}")


def _whole(file: str) -> Path:
    """The file of which a part is named."""
    return Path(_SLICE.sub("", file))


def _digest(file: str) -> str:
    with _whole(file).open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _arguments(name: str, own: Mapping[str, Any]) -> DataArguments:
    """How a recipe names a data set.

    Raises:
        RecipeError: if its columns are none.
    """
    try:
        return DataArguments(
            train_files=list(own["files"]),
            language=own.get("language"),
            image_dir=own.get("image_dir"),
            columns=own.get("columns"),
            tag_names=own.get("tag_names"),
        )
    except ValueError as error:
        raise RecipeError(f"{name}: {error}") from error


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
    arguments = _arguments(name, own)
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
