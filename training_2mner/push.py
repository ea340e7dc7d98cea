"""Push a trained model, an adapter or the metric to the Hub, in one commit.

    2mner push runs/demo me/2mner
    2mner push runs/demo me/2mner --onnx exported
    2mner push metrics/mmner me/mmner --private

The commit is made after all files are sent, so a push that breaks off changes nothing and can be
repeated. Of a run's folder, the files that loading needs and the evaluation results are sent; the
card holds the figures. A model gets the `handler.py` of Inference Endpoints. Files of these kinds
that the folder lacks are deleted from the repository; its other files and folders stay. Links that
lead out of the folder are refused.

`--onnx` sends what `2mner export` wrote as the repository's folder `onnx/`. A later push of the
same weights leaves that folder as it is. A push of other weights deletes it, unless it brings a new
one.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi
from safetensors import SafetensorError, safe_open

import modeling_2mner
from dataset_mmnerd.files import check_inside
from dataset_mmnerd.hub import (
    PublishError,
    RepositoryInfo,
    explained,
    file_names,
    open_repository,
    send,
)
from dataset_mmnerd.quoting import quoted, shorten
from modeling_2mner import LinearChainCRF, TwoMNERConfig
from modeling_2mner.crf_2mner import fingerprint_of
from reporting_2mner.model_card import EVAL_RESULTS

__all__ = ["PublishError", "prepare_repository", "publish", "refuse_local_base"]

logger = logging.getLogger(__name__)

MODEL_FILES = (
    EVAL_RESULTS,
    "README.md",
    "adapter_config.json",
    "config.json",
    "handler.py",
    "*.safetensors",
    "*.safetensors.index.json",
    "*_2mner.py",
    "processor_config.json",
    "thresholds.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
METRIC_FILES = ("README.md", "*.py")
ONNX_FILES = (
    "onnx/*.onnx",
    "onnx/*.onnx.data",
    "onnx/README.md",
    "onnx/requirements.txt",
    "onnx/tagger.json",
    "onnx/tagger.py",
    "onnx/thresholds.json",
    "onnx/tokenizer.json",
)
"""What `2mner export` writes, by its name in the repository."""

ONNX_SETTINGS = "onnx/tagger.json"


def _kind(folder: Path) -> tuple[str, tuple[str, ...]]:
    """The kind of a folder's repository ("model" or "space"), and patterns of the files to send.

    Raises:
        PublishError: if it is neither a saved model or adapter nor a metric.
    """
    if (folder / "config.json").is_file() or (folder / "adapter_config.json").is_file():
        return "model", MODEL_FILES
    if (folder / f"{folder.resolve().name}.py").is_file():
        return "space", METRIC_FILES
    raise PublishError(
        f"{folder}: found neither config.json nor adapter_config.json nor "
        f"{folder.resolve().name}.py, expected a run's folder or a metric's"
    )


def refuse_local_base(base: str) -> None:
    """Refuse an adapter of a model that nobody else can load.

    Raises:
        PublishError: if `base` is a folder of this machine.
    """
    if Path(base).exists():
        raise PublishError(
            f"the adapter's base {base} is a folder that nobody else has: publish that first, and "
            "train the adapter from its name on the Hub"
        )


def prepare_repository(
    repo_id: str, *, kind: str = "model", private: bool | None = None, token: str | None = None
) -> str:
    """Make sure that there is a repository which a push may go to; do it before a long training.

    Args:
        repo_id: `owner/name`, or a name under the token's own user.
        kind: "model" or "space" (where metrics live).
        private: make it for its owner alone; one that is public already is refused.
        token: by default the one of this machine.

    Returns:
        `owner/name`.

    Raises:
        PublishError: if there is no token, or one that may not write there; if the Hub cannot be
            reached; if the repository exists and is public, or holds something else.
    """
    return _open(repo_id, kind, private, token).id


def _open(repo_id: str, kind: str, private: bool | None, token: str | None) -> RepositoryInfo:
    info = open_repository(repo_id, kind, is_ours=_is_ours, private=private, token=token)
    if len(file_names(info)) > 1:
        logger.info("%s exists; what is in it now stays at revision %s", info.id, info.sha)
    return info


def _is_ours(names: set[str]) -> bool:
    """Whether a repository with these files was made by `publish`: the code is there."""
    return any(_fits(name, ("*_2mner.py",)) for name in names)


def publish(
    folder: Path | str,
    repo_id: str,
    *,
    onnx: Path | str | None = None,
    private: bool | None = None,
    token: str | None = None,
) -> str:
    """Send a folder in one commit, made whole or not at all.

    Args:
        folder: a run's folder (a model or an adapter) or the metric's.
        repo_id: `owner/name`, or a name under the token's own user.
        onnx: what `2mner export` wrote of this model.
        private: make the repository for its owner alone, if there is none yet.
        token: by default the one of this machine.

    Returns:
        The address of the commit.

    Raises:
        PublishError: if it is no such folder, or `onnx` is not an export of it, or as
            `prepare_repository`, or if the push broke off.
    """
    folder = Path(folder)
    kind, patterns = _kind(folder)
    if kind == "space" and repo_id.rpartition("/")[2] != folder.resolve().name:
        raise PublishError(
            f"{repo_id}: `evaluate.load` looks for a file of the repository's name, "
            f"expected one called {folder.resolve().name}"
        )
    adapter = folder / "adapter_config.json"
    if adapter.is_file():
        refuse_local_base(_base_of(adapter))
    paths = _sendable(folder, patterns)
    exported = {} if onnx is None else _exported(Path(onnx), folder)
    info = _open(repo_id, kind, private, token)
    if onnx is not None or _holds_stale_onnx(info, folder, token):
        patterns += ONNX_FILES
    contents = {path.relative_to(folder).as_posix(): _content(path, info.id) for path in paths}
    if (folder / "config.json").is_file():
        contents.setdefault("handler.py", Path(modeling_2mner.__file__).with_name("handler.py"))
    try:
        commit = send(
            info,
            kind,
            contents | exported,
            is_sent=lambda name: _fits(name, patterns),
            message=f"Publish {folder.resolve().name}",
            token=token,
        )
    except PublishError as error:
        again = f"2mner push {folder} {info.id}" + ("" if onnx is None else f" --onnx {onnx}")
        raise PublishError(f"{error}; to try again: {again}") from error.__cause__
    return commit.commit_url


def _exported(onnx: Path, folder: Path) -> dict[str, Path | bytes]:
    """The files of an exported model by their names in the repository.

    Raises:
        PublishError: if it is no export of the model in `folder`.
    """
    command = f"expected what `2mner export {folder} --out {onnx}` writes"
    if not (folder / "config.json").is_file():
        raise PublishError(f"--onnx was given with {folder}, expected a model's folder")
    try:
        weights = _weights_in((onnx / Path(ONNX_SETTINGS).name).read_bytes())
    except OSError as error:
        raise PublishError(f"{onnx}: found no tagger.json, {command}") from error
    if weights != _fingerprint(folder):
        raise PublishError(f"{onnx}: found an export of other weights, {command}")
    patterns = [Path(pattern).name for pattern in ONNX_FILES]
    return {f"onnx/{path.name}": path for path in _sendable(onnx, patterns)}


def _holds_stale_onnx(info: RepositoryInfo, folder: Path, token: str | None) -> bool:
    """Whether the repository has an export of other weights than those in `folder`."""
    if ONNX_SETTINGS not in file_names(info):
        return False
    with explained(info.id):
        path = HfApi(token=token).hf_hub_download(info.id, ONNX_SETTINGS, revision=info.sha)
    if _weights_in(Path(path).read_bytes()) == _fingerprint(folder):
        return False
    logger.warning(
        "%s: onnx/ is deleted, as it holds other weights: `2mner export %s --out FOLDER`, and push "
        "with --onnx FOLDER",
        info.id,
        folder,
    )
    return True


def _weights_in(settings: bytes) -> Any:
    """The fingerprint of the weights in an exported model's `tagger.json`; None if it has none."""
    try:
        content = json.loads(settings)
    except ValueError:
        return None
    return content.get("weights") if isinstance(content, dict) else None


def _fingerprint(folder: Path) -> str:
    """The fingerprint of the weights of a model's folder.

    Raises:
        PublishError: if they cannot be read.
    """
    try:
        crf = LinearChainCRF(TwoMNERConfig.from_pretrained(folder).labels)
        wanted = {f"crf.{name}": parameter for name, parameter in crf.named_parameters()}
        for path in folder.glob("*.safetensors"):
            with safe_open(path, "pt") as weights, torch.no_grad():
                for name in wanted.keys() & set(weights.keys()):
                    wanted.pop(name).copy_(weights.get_tensor(name))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise PublishError(f"{folder}: found no weights ({shorten(str(error))})") from error
    if wanted:
        raise PublishError(f"{folder}: found no {min(wanted)} in its weights, expected a model")
    return fingerprint_of(crf)


def _base_of(path: Path) -> str:
    """The model that an adapter adapts, by its `adapter_config.json`.

    Raises:
        PublishError: if it cannot be read or names none.
    """
    expected = 'expected a JSON object with "base_model_name_or_path"'
    try:
        settings = json.loads(path.read_bytes())
    except ValueError as error:
        raise PublishError(f"{path}: found no JSON ({shorten(str(error))}), {expected}") from error
    base = settings.get("base_model_name_or_path") if isinstance(settings, dict) else None
    if not isinstance(base, str):
        raise PublishError(f"{path}: found {quoted(settings)}, {expected}")
    return base


def _sendable(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """The files of a folder that are sent, sorted.

    Raises:
        PublishError: if one of them is a link that leads out of the folder, and not to this
            project's code, as a metric's links do.
    """
    found = {path for pattern in patterns for path in folder.glob(pattern)}
    paths = [path for path in sorted(found) if path.is_file()]
    code = [Path(file).resolve().parent for file in (modeling_2mner.__file__, __file__)]
    for path in paths:
        if path.suffix != ".py" or path.resolve().parent not in code:
            try:
                check_inside(folder, path)
            except OSError as error:
                raise PublishError(str(error)) from error
    return paths


def _fits(name: str, patterns: Sequence[str]) -> bool:
    """Whether a file of the repository is one that a push sends."""
    return any(
        fnmatch(name, pattern) and name.count("/") == pattern.count("/") for pattern in patterns
    )


def _content(path: Path, repo_id: str) -> Path | bytes:
    """What is sent of a file: its content, and a card's example with the name that it now has."""
    if path.name != "README.md":
        return path
    named = f'name = "{repo_id}"'.encode()
    return re.sub(rb'^name = ".*"$', named, path.read_bytes(), flags=re.MULTILINE)


def main(argv: Sequence[str], prog: str = "2mner push") -> int:
    """Push a folder, from the command line.

    Args:
        argv: `FOLDER REPOSITORY [--onnx FOLDER] [--private]`.
        prog: the name of the program in `--help`.

    Returns:
        The exit status 0.

    Raises:
        PublishError, OSError: as `publish`.
    """
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Send a run's folder or the metric's to the Hub, in one commit.",
        epilog=f"example: {prog} runs/demo me/2mner --private\n"
        f"a page to try a model: `{prog} --space --help`",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="runs/demo, metrics/mmner")
    parser.add_argument("repository", help="owner/name")
    parser.add_argument(
        "--onnx", type=Path, metavar="FOLDER", help="what `2mner export` wrote of this model"
    )
    parser.add_argument(
        "--private", action="store_true", default=None, help="for its owner alone, if it is new"
    )
    arguments = parser.parse_args(argv)
    logging.basicConfig(format="%(message)s")
    logger.setLevel(logging.INFO)
    address = publish(
        arguments.folder,
        arguments.repository,
        onnx=arguments.onnx,
        private=arguments.private,
    )
    sys.stdout.write(f"{address}\n")
    return 0
