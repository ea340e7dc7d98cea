"""A recipe and the command line, read into the dataclasses of `arguments`.

    recipe, model_arguments, data_arguments, training_arguments = read_recipe(
        ["configs/demo.yaml", "--learning_rate", "1e-4"]
    )

The YAML file gives the defaults, the command line wins. The file is read as YAML 1.2, so that
`eval_strategy: no` is the word "no" and `learning_rate: 2e-4` a number, and every value in it
passes through the same conversion as on the command line. The recipes of `configs/` are part of the
installed package, where they are found by name: `demo` is `configs/demo.yaml`.
"""

from __future__ import annotations

from argparse import Action, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from types import NoneType
from typing import Any, NoReturn, cast, get_args, get_type_hints

from transformers import HfArgumentParser

from dataset_mmnerd.quoting import quoted, shorten
from reporting_2mner.yaml12 import read_yaml

from .arguments import (
    CommandLineError,
    DataArguments,
    ModelArguments,
    RecipeError,
    TwoMNERTrainingArguments,
    unknown_key,
)

__all__ = ["RECIPES", "find_recipe", "read_recipe"]

RECIPES = Path(__file__).with_name("configs")
"""The recipes that come with the package."""


def read_recipe(
    argv: Sequence[str], prog: str = "2mner train"
) -> tuple[Path, ModelArguments, DataArguments, TwoMNERTrainingArguments]:
    """Read `RECIPE [--key value ...]`.

    Returns:
        The recipe as it was given, a path or a name, and the three kinds of arguments.

    Raises:
        RecipeError: for a missing or malformed file, a key that nobody knows (with the nearest that
            somebody does) or a value of the wrong kind, in the file or on the command line.
    """
    parser = _Parser(
        cast(Any, (ModelArguments, DataArguments, TwoMNERTrainingArguments)),
        prog=prog,
        usage=f"{prog} RECIPE [--KEY VALUE ...]",
        description="Train, score and save a model by a recipe. Options replace its values.",
        epilog=f"example: {prog} 2mner --train_files de/train.txt --validation_files de/dev.txt",
        allow_abbrev=False,
    )
    parser.add_argument(
        "recipe", metavar="RECIPE", help="A YAML file, or a name that --list names: the defaults."
    )
    parser.add_argument("--list", action=_List, nargs=0, help="Name the recipes that come along.")
    namespace, unknown = parser.parse_known_args(argv)
    if unknown:
        raise CommandLineError(f"command line: {unknown_key(unknown[0], parser.keys())}")
    recipe = Path(namespace.recipe)
    parser.set_defaults(**_read_defaults(find_recipe(namespace.recipe), parser))
    try:
        found = parser.parse_args_into_dataclasses(argv, look_for_args_file=False)
    except RecipeError:
        raise
    except (ArithmeticError, AttributeError, ImportError, LookupError) as error:
        reason = f"{type(error).__name__}: {shorten(str(error), 400)}"
        raise RecipeError(f"{recipe}: these arguments are not taken ({reason})") from error
    except (OSError, TypeError, ValueError) as error:
        raise RecipeError(f"{recipe}: {shorten(str(error), 400)}") from error
    model, data, training, _ = cast(tuple[Any, ...], found)
    return recipe, model, data, training


def find_recipe(name: str, folder: Path = RECIPES, kind: str = "recipe") -> Path:
    """The file of a recipe that is given by its path, or by its name if it comes with the package.

    Args:
        name: the path or the name.
        folder: of the recipes that come with the package.
        kind: what it is called in messages.

    Raises:
        CommandLineError: if there is neither such a file nor such a recipe.
    """
    path = Path(name)
    if path.is_file():
        return path
    known = {recipe.stem: recipe for recipe in folder.glob("*.yaml")}
    if name in known:
        return known[name]
    nearest = get_close_matches(path.stem, known, n=1, cutoff=0)[0]
    raise CommandLineError(
        f"{shorten(name)}: no such {kind}, the nearest that comes with 2mner is {nearest!r}"
    )


class _List(Action):
    """Print the names of the recipes and the first line of each, and exit."""

    def __call__(
        self, parser: ArgumentParser, namespace: Namespace, values: Any, option: Any = None
    ) -> None:
        recipes = sorted(RECIPES.glob("*.yaml"))
        width = max(len(recipe.stem) for recipe in recipes)
        for recipe in recipes:
            first, _, _ = recipe.read_text("utf-8").partition("\n")
            print(f"{recipe.stem:<{width}}  {first.removeprefix('# ')}")
        parser.exit()


class _Parser(HfArgumentParser):
    """A parser that says what is wrong in one line, without the usage of its 150 options."""

    def error(self, message: str) -> NoReturn:
        raise CommandLineError(f"command line: {shorten(message, 400)}")

    def keys(self) -> dict[str, Action]:
        """The actions by the names that a recipe uses for them."""
        names = {field.name for kind in self.dataclass_types for field in fields(kind)}
        actions: dict[str, Action] = {}
        for action in self._actions:
            if action.dest in names:
                actions.setdefault(action.dest, action)
        return actions

    def types(self) -> dict[str, Any]:
        """The declared type of each key."""
        return {
            name: hint
            for kind in self.dataclass_types
            for name, hint in get_type_hints(kind).items()
        }


def _read_defaults(recipe: Path, parser: _Parser) -> dict[str, Any]:
    """The values of a YAML file, each converted to the type its key declares."""
    try:
        values, lines = read_yaml(recipe)
    except (OSError, ValueError) as error:
        raise RecipeError(str(error)) from error
    actions, types = parser.keys(), parser.types()
    defaults = {}
    for key, value in values.items():
        place = f"{recipe}, line {lines[key,]}"
        if key not in actions:
            raise RecipeError(f"{place}: {unknown_key(str(key), actions)}")
        try:
            defaults[key] = _converted(value, actions[key], types[key])
        except (TypeError, ValueError, ArgumentTypeError) as error:
            expected = getattr(types[key], "__name__", str(types[key]))
            raise RecipeError(f"{place}: {key} is {quoted(value)}, expected {expected}") from error
    return defaults


def _converted(value: Any, action: Action, declared: Any) -> Any:
    """One value of a recipe as the command line would have given it."""
    kinds = get_args(declared) or (declared,)
    if value is None:
        if NoneType not in kinds:
            raise TypeError("null")
        return None
    if isinstance(value, dict):
        if not any(getattr(kind, "__origin__", kind) is dict for kind in kinds):
            raise TypeError("a mapping")
        return value
    if action.nargs == "+":
        items = value if isinstance(value, list) else [value]
        return [_scalar(item, action) for item in items]
    return _scalar(value, action)


def _scalar(value: Any, action: Action) -> Any:
    if isinstance(value, list | dict) or value is None:
        raise TypeError("not a single value")
    convert = cast(Callable[[str], Any], action.type)
    return convert(str(value))
