"""A study's plan: a YAML file of cells, which are trained, and parts, which say what they show.

    plan = read_plan("study_small", data="mmnerd")
    plan.cells["full"].recipe["learning_rate"], plan.parts[0].cells

    output_dir: runs/study
    recipe: 2mner_offline                          # of every cell
    options: {num_train_epochs: 3}                 # of every cell; they replace the recipe's values
    seeds: [19, 20]                                # a training of each cell for each seed
    cells:
      full: {}
      no_alignment: {title: no alignment, model_config: {alignment_level: none}}
      text_only: {recipe: text_only_offline, seeds: [19]}
    grids:                                         # a cell for each combination of the lists
      contrastive: {model_config.alignment_temperature: [0.05, 0.5], model_config.alpha: 0.8}
    parts:                                         # the sections of the page
      ablation: {cells: [full, no_alignment], baseline: full}
      temperatures: {kind: contrastive, cells: [contrastive]}

A cell, or a grid, is a recipe's values that differ. `model_config` and `processor_config` are
merged key by key, also by a dotted key. Cells of a grid are named by their values, such as
`contrastive-0.05`; a part names the grid for all of them.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dataset_mmnerd.quoting import quoted, shorten
from reporting_2mner.study.sections import Part
from reporting_2mner.yaml12 import read_yaml, written_as_yaml

from ..arguments import (
    CommandLineError,
    DataArguments,
    ModelArguments,
    RecipeError,
    TwoMNERTrainingArguments,
    unknown_key,
)
from ..building import MODEL_SWITCHES, PROCESSOR_SWITCHES
from ..recipes import RECIPES, find_recipe, read_recipe
from .kinds import KINDS

__all__ = ["STUDIES", "Cell", "Plan", "PlanError", "read_plan"]

STUDIES = RECIPES / "studies"
"""The plans that come with the package."""

KEYS = ("output_dir", "recipe", "options", "seeds", "cells", "grids", "parts")
PART_KEYS = ("kind", "cells", "baseline")
CELL_KEYS = ("recipe", "seeds", "title")

OWN = ("output_dir", "seed", "resume_from_checkpoint", "push_to_hub", "hub_model_id")
"""Keys of a recipe that a plan does not set: the study does, or nobody."""

NESTED: dict[str, Any] = {"model_config": MODEL_SWITCHES, "processor_config": PROCESSOR_SWITCHES}
"""Keys of a recipe that hold keys, and these."""

RECIPE_KEYS = frozenset(
    field.name
    for kind in (ModelArguments, DataArguments, TwoMNERTrainingArguments)
    for field in fields(kind)
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
"""A cell's name is a folder's."""


class PlanError(RecipeError):
    """A plan that cannot be followed: file, line, what is wrong, and what was expected."""


@dataclass(frozen=True)
class Cell:
    """A recipe that is trained with some seeds.

    Attributes:
        name: in the plan, and of the folders.
        title: what the page calls it.
        recipe: all values of the recipe but the folder and the seed.
        seeds: of its trainings.
    """

    name: str
    title: str
    recipe: Mapping[str, Any]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """A study.

    Attributes:
        path: of the plan.
        output_dir: the study's folder.
        cells: by name.
        parts: the sections, in their order.
        chosen: the parts to train and measure for; all, unless some were named.
    """

    path: Path
    output_dir: Path
    cells: Mapping[str, Cell]
    parts: Sequence[Part]
    chosen: Sequence[Part]


def read_plan(
    name: str,
    *,
    output_dir: str | None = None,
    data: str | None = None,
    only: Sequence[str] | None = None,
    transfer: Mapping[str, Sequence[str]] | None = None,
) -> Plan:
    """Read a plan, and check every recipe in it.

    Args:
        name: a path, or the name of a plan that comes with the package.
        output_dir: in place of the plan's.
        data: the data set of every cell (`dataset_name`), in place of the plan's.
        only: the names of the chosen parts.
        transfer: files of further data sets for the parts of the kind `transfer`, by name.

    Raises:
        PlanError: if there is something wrong with it; the message names the line.
        CommandLineError: if there is no such plan, or no such part in it, or no chosen part for
            `transfer`.
    """
    path = find_recipe(name, STUDIES, "plan of a study")
    try:
        values, lines = read_yaml(path)
    except (OSError, ValueError) as error:
        raise PlanError(str(error)) from error
    return _Reader(path, values, lines, transfer or {}).plan(output_dir, data, only)


class _Reader:
    """The values of a plan's file and the lines of its keys."""

    def __init__(
        self,
        path: Path,
        values: dict[Any, Any],
        lines: Mapping[tuple[Any, ...], int],
        transfer: Mapping[str, Sequence[str]],
    ) -> None:
        self.path, self.values, self.lines = path, values, lines
        self.transfer = {name: {"files": list(files)} for name, files in transfer.items()}
        self.recipes: dict[str, dict[str, Any]] = {}

    def error(self, place: Sequence[Any], message: str) -> PlanError:
        """An error at a key, or the nearest one around it that has a line."""
        while tuple(place) not in self.lines and place:
            place = place[:-1]
        line = f", line {self.lines[tuple(place)]}" if place else ""
        return PlanError(f"{self.path}{line}: {message}")

    def plan(self, output_dir: str | None, data: str | None, only: Sequence[str] | None) -> Plan:
        self.check_keys((), self.values, KEYS)
        for key in ("cells", "parts"):
            if not self.values.get(key):
                raise PlanError(f"{self.path}: found no {key}, expected some")
        folder = output_dir or self.values.get("output_dir") or f"runs/{self.path.stem}"
        if not isinstance(folder, str):
            raise self.error(("output_dir",), f"output_dir is {quoted(folder)}, expected a folder")
        cells, groups = self.cells(data)
        parts = [self.part(name, value, cells, groups) for name, value in self.mapping("parts")]
        names = [part.name for part in parts]
        for name in only or ():
            if name not in names:
                message = unknown_key(name, names).replace("unknown key", "unknown part")
                raise CommandLineError(f"--only: {message}")
        chosen = [part for part in parts if only is None or part.name in only]
        if self.transfer and all(part.kind != "transfer" for part in chosen):
            found = ", ".join(part.name for part in chosen)
            raise CommandLineError(
                f"--transfer: expected a part of the kind transfer, found {shorten(found)}"
            )
        self.check_recipes({name: cells[name] for part in chosen for name in part.cells})
        return Plan(self.path, Path(folder), cells, parts, chosen)

    def mapping(self, *place: str) -> list[tuple[str, dict[str, Any]]]:
        """The mappings that stand in a mapping of the plan, by their names."""
        found: Any = self.values
        for key in place:
            found = found.get(key) or {}
            if not isinstance(found, dict):
                raise self.error(place, f"{key} is {quoted(found)}, expected a mapping")
        entries = []
        for name, value in found.items():
            if not isinstance(value, dict | None):
                expected = "expected a mapping"
                raise self.error((*place, name), f"{name} is {quoted(value)}, {expected}")
            entries.append((self.name((*place, name), name), dict(value or {})))
        return entries

    def name(self, place: Sequence[Any], name: Any) -> str:
        if not _NAME.fullmatch(str(name)):
            raise self.error(place, f"name {quoted(name)}, expected letters, digits, . _ + and -")
        return str(name)

    def check_keys(self, place: Sequence[Any], found: Mapping[Any, Any], known: Any) -> None:
        for key in found:
            if key not in known:
                raise self.error((*place, key), unknown_key(str(key), known))

    # Cells ----------------------------------------------------------------------------------------

    def cells(self, data: str | None) -> tuple[dict[str, Cell], dict[str, list[str]]]:
        """All cells by name; and for each name that a part may use the names of its cells."""
        options = self.options(("options",), self.values.get("options") or {})
        cells: dict[str, Cell] = {}
        groups: dict[str, list[str]] = {}
        for name, own in self.mapping("cells"):
            title = str(own.get("title") or name.replace("_", " "))
            cells[name] = self.cell(("cells", name), name, title, own, options, data)
            groups[name] = [name]
        for grid, own in self.mapping("grids"):
            if grid in groups:
                raise self.error(("grids", grid), f"{grid} is a cell too, expected another name")
            groups[grid] = []
            for name, title, values in self.combinations(grid, own):
                if name in cells:
                    expected = "expected values with other names"
                    raise self.error(("grids", grid), f"two cells of the name {name}, {expected}")
                cells[name] = self.cell(("grids", grid), name, title, values, options, data)
                groups[grid].append(name)
        return cells, groups

    def combinations(
        self, grid: str, own: Mapping[str, Any]
    ) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Name, title and values of each cell of a grid."""
        lists = {key: value for key, value in own.items() if key != "seeds"}
        lists = {key: value for key, value in lists.items() if isinstance(value, list)}
        if not lists or not all(lists.values()):
            found = f"{grid} has no list of values" if not lists else f"{grid} has an empty list"
            raise self.error(("grids", grid), f"{found}, expected at least one value to try")
        for values in product(*lists.values()):
            texts = [_as_text(value) for value in values]
            pieces = [re.sub(r"[^A-Za-z0-9.+_-]", "_", text.split("/")[-1]) for text in texts]
            name = self.name(("grids", grid), "-".join([grid, *pieces]))
            named = zip(lists, texts, strict=True)
            title = ", ".join(f"{key.rpartition('.')[2]} {text}" for key, text in named)
            yield name, title.replace("_", " "), {**own, **dict(zip(lists, values, strict=True))}

    def cell(
        self,
        place: tuple[str, ...],
        name: str,
        title: str,
        own: Mapping[str, Any],
        options: Mapping[str, Any],
        data: str | None,
    ) -> Cell:
        recipe_place = (*place, "recipe") if "recipe" in own else ("recipe",)
        recipe = self.recipe(recipe_place, own.get("recipe", self.values.get("recipe")))
        seeds_place = (*place, "seeds") if "seeds" in own else ("seeds",)
        seeds = own.get("seeds", self.values.get("seeds", [19]))
        is_list = isinstance(seeds, list) and len(seeds) > 0
        if not is_list or not all(type(seed) is int and seed >= 0 for seed in seeds):
            expected = "expected a list of whole numbers"
            raise self.error(seeds_place, f"seeds is {quoted(seeds)}, {expected}")
        values = {key: value for key, value in own.items() if key not in CELL_KEYS}
        for more in (options, self.options(place, values)):
            recipe = _merged(recipe, more)
        dropped = list(OWN)
        if data is not None:
            recipe["dataset_name"] = data
            dropped += ["train_files", "validation_files", "test_files"]
        recipe = {key: value for key, value in recipe.items() if key not in dropped}
        return Cell(name, title, recipe, tuple(sorted(set(seeds))))

    def recipe(self, place: Sequence[str], name: Any) -> dict[str, Any]:
        """The values of a recipe that the plan names."""
        if not isinstance(name, str):
            raise self.error(place, f"recipe is {quoted(name)}, expected a recipe's path or name")
        if name not in self.recipes:
            try:
                self.recipes[name], _ = read_yaml(find_recipe(name))
            except (OSError, ValueError) as error:
                raise self.error(place, str(error)) from error
        return self.recipes[name]

    def options(self, place: tuple[str, ...], found: Any) -> dict[str, Any]:
        """Values of a recipe, dotted keys unfolded, every key checked."""
        if not isinstance(found, dict):
            raise self.error(place, f"{place[-1]} is {quoted(found)}, expected a mapping")
        options: dict[str, Any] = {}
        for key, value in found.items():
            outer, dot, inner = str(key).partition(".")
            if dot and outer in NESTED:
                self.check_nested((*place, key), outer, {inner: value})
                options = _merged(options, {outer: {inner: value}})
                continue
            if key not in RECIPE_KEYS:
                raise self.error((*place, key), unknown_key(str(key), sorted(RECIPE_KEYS)))
            if key in OWN:
                raise self.error((*place, key), f"{key}: the study sets it for each cell")
            if key in NESTED:
                self.check_nested((*place, key), key, value)
            options = _merged(options, {key: value})
        return options

    def check_nested(self, place: Sequence[str], name: str, value: Any) -> None:
        if not isinstance(value, dict):
            raise self.error(place, f"{name} is {quoted(value)}, expected a mapping")
        for key in value:
            if key not in NESTED[name]:
                message = f"{name}: {unknown_key(str(key), sorted(NESTED[name]))}"
                raise self.error((*place, key), message)

    def check_recipes(self, cells: Mapping[str, Cell]) -> None:
        """Read each cell's recipe as a training will."""
        with TemporaryDirectory() as folder:
            for name, cell in cells.items():
                path = Path(folder) / "recipe.yaml"
                path.write_text(written_as_yaml({**cell.recipe, "output_dir": folder}), "utf-8")
                try:
                    read_recipe([str(path)])
                except RecipeError as error:
                    message = re.sub(rf"^{re.escape(str(path))}(, line \d+)?: ", "", str(error))
                    place = ("cells", name)
                    if place not in self.lines:
                        place = ("grids", name.partition("-")[0])
                    raise self.error(place, f"cell {name}: {shorten(message, 400)}") from error

    # Parts ----------------------------------------------------------------------------------------

    def part(
        self,
        name: str,
        found: dict[str, Any],
        cells: Mapping[str, Cell],
        groups: Mapping[str, list[str]],
    ) -> Part:
        place = ("parts", name)
        kind = str(found.get("kind", name))
        if kind not in KINDS:
            message = unknown_key(kind, KINDS).replace("unknown key", "unknown kind of part")
            raise self.error((*place, "kind"), message)
        defaults = KINDS[kind].options
        self.check_keys(place, found, (*PART_KEYS, *defaults))
        wanted = found.get("cells")
        if not isinstance(wanted, list) or not wanted:
            message = f"cells is {quoted(wanted)}, expected a list of cells or grids"
            raise self.error((*place, "cells"), message)
        wanted = list(map(str, wanted))
        for one in wanted:
            if one not in groups and one not in cells:
                message = unknown_key(one, [*groups, *cells])
                message = message.replace("unknown key", "unknown cell")
                raise self.error((*place, "cells"), message)
        names = tuple(dict.fromkeys(cell for one in wanted for cell in groups.get(one, [one])))
        baseline = found.get("baseline", names[0])
        if baseline not in names:
            expected = f"expected one of its cells: {shorten(', '.join(names))}"
            raise self.error((*place, "baseline"), f"baseline is {quoted(baseline)}, {expected}")
        options = {key: found.get(key, value) for key, value in defaults.items()}
        if kind == "transfer":
            options["data"] = options["data"] or {}
            if isinstance(options["data"], dict):
                options["data"] = {**options["data"], **self.transfer}
        try:
            prepared = KINDS[kind].prepare(options, self.path.parent)
        except RecipeError as error:
            raise self.error(place, f"{name}: {error}") from error
        return Part(
            name=name,
            kind=kind,
            cells=names,
            baseline=baseline,
            options=prepared,
            titles={cell: cells[cell].title for cell in names},
        )


def _as_text(value: Any) -> str:
    """A value of a grid in a name: 0.05, true, en+fr."""
    if isinstance(value, list):
        return "+".join(map(_as_text, value))
    return str(value).lower() if isinstance(value, bool | None) else str(value)


def _merged(values: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Values replaced by others; those of `NESTED` key by key."""
    merged = copy.deepcopy(dict(values))
    for key, value in more.items():
        if key in NESTED and isinstance(value, dict):
            merged[key] = {**(merged.get(key) or {}), **copy.deepcopy(value)}
        else:
            merged[key] = copy.deepcopy(value)
    return merged
