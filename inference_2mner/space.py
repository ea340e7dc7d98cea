"""Push a Space to the Hub: the page of `2mner demo`, for a model that is there already.

    2mner push --space me/2mner me/2mner-page

The Space holds the page and what it imports of this project, pinned requirements, and examples of
the sample. The model is pinned by its commit, and no code of its repository runs: the page stays as
it is until it is pushed again. A push is one commit.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from huggingface_hub import HfApi

from dataset_mmnerd.hub import PublishError, explained, file_names, open_repository, send
from dataset_mmnerd.sample.examples import sample_examples

from .page.examples import examples_of, to_json

__all__ = ["main", "modules_of", "publish_space", "space_files"]

PAGE = Path(__file__).parent / "page"
TEMPLATE = PAGE / "space"
"""What lies at the top of a Space."""

PACKAGES = ("dataset_mmnerd", "inference_2mner", "modeling_2mner", "reporting_2mner")
EXAMPLES = "examples.json"


def modules_of(text: str, package: str = "") -> dict[str, Path]:
    """The modules of this project that a program imports, and those that these import.

    Args:
        text: the program.
        package: the package that it is a module of.

    Returns:
        Their files, by name.
    """
    found: dict[str, Path] = {}
    waiting = list(_imported(text, package))
    while waiting:
        name = waiting.pop()
        spec = find_spec(name) if name not in found else None
        if spec is None or spec.origin is None:
            continue
        found[name] = Path(spec.origin)
        is_package = spec.submodule_search_locations is not None
        parent = name if is_package else name.rpartition(".")[0]
        waiting += [name.rpartition(".")[0]] if "." in name else []
        waiting += _imported(found[name].read_text("utf-8"), parent)
    return found


def _imported(text: str, package: str) -> Iterator[str]:
    """The names after `import`, and those of modules among what is imported from a package."""
    for node in ast.walk(ast.parse(text)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join(
                [*(above if node.level else ()), *([node.module] if node.module else ())]
            )
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.partition(".")[0] in PACKAGES and _is_module(name):
                yield name


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # a name in a module
        return False


def space_files(model: str, revision: str) -> dict[str, Path | bytes]:
    """The files of a Space, by their names in it.

    Args:
        model: `owner/name` on the Hub.
        revision: the id of its commit.
    """
    files: dict[str, Path | bytes] = {EXAMPLES: to_json(examples_of(sample_examples()))}
    for path in sorted(TEMPLATE.glob("*.*")):
        text = path.read_text("utf-8").replace("runs/demo", model)
        text = re.sub(r"^REVISION = None$", f'REVISION = "{revision}"', text, flags=re.MULTILINE)
        files[path.name] = text.encode()
    root = Path(__file__).parents[1]
    for path in modules_of((TEMPLATE / "app.py").read_text("utf-8")).values():
        files[path.relative_to(root).as_posix()] = path
        for data in (*path.parent.glob("assets/*"), path.with_suffix(".css")):
            if data.is_file():
                files[data.relative_to(root).as_posix()] = data
    return files


def publish_space(
    model: str, repo_id: str, *, private: bool | None = None, token: str | None = None
) -> str:
    """Send a Space in one commit.

    Args:
        model: `owner/name` of a model on the Hub.
        repo_id: `owner/name` of the Space, or a name under the token's own user.
        private: make it for its owner alone, if there is none yet.
        token: by default the one of this machine.

    Returns:
        The address of the commit.

    Raises:
        PublishError: if the model is not on the Hub, there is no token, or one that may not write
            there, the Hub cannot be reached, the repository holds something else, or the push broke
            off.
    """
    if Path(model).exists():
        raise PublishError(
            f"{model} is a folder of this machine, expected a model on the Hub: push it first, by "
            f"`2mner push {model} owner/name`"
        )
    with explained(model):
        known = HfApi(token=token).model_info(model)
    if "config.json" not in file_names(known):
        raise PublishError(f"{model}: found no config.json, expected a trained model")
    info = open_repository(
        repo_id, "space", is_ours=_is_ours, private=private, token=token, sdk="gradio"
    )
    commit = send(
        info,
        "space",
        space_files(known.id, str(known.sha)),
        is_sent=_is_sent,
        message=f"A page for {known.id}",
        token=token,
    )
    return str(commit.commit_url)


def _is_sent(name: str) -> bool:
    top, inside, _ = name.partition("/")
    return top in PACKAGES if inside else top == EXAMPLES or (TEMPLATE / top).is_file()


def _is_ours(names: set[str]) -> bool:
    return "inference_2mner/page/blocks.py" in names


def main(argv: Sequence[str], prog: str = "2mner push") -> int:
    """Push a Space, from the command line.

    Args:
        argv: `--space MODEL REPOSITORY [--private]`.
        prog: the name of the program in `--help`.

    Returns:
        The exit status 0.

    Raises:
        PublishError: as `publish_space`.
    """
    parser = argparse.ArgumentParser(
        prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--space", required=True, metavar="MODEL", help="a model on the Hub")
    parser.add_argument("repository", help="owner/name of the Space")
    parser.add_argument(
        "--private", action="store_true", default=None, help="for its owner alone, if it is new"
    )
    given = parser.parse_args(argv)
    sys.stdout.write(f"{publish_space(given.space, given.repository, private=given.private)}\n")
    return 0
