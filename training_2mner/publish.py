"""From a folder to the Hub: a trained model, an adapter or the metric, in one commit.

    python -m training_2mner.publish runs/demo me/2mner
    python -m training_2mner.publish metrics/mmner me/mmner --private

What is unusual: everything is sent before anything is visible, so a push that breaks off leaves the
repository as it was, and the next one completes it. Of a run's folder only what is needed to load
the model is sent: its figures are in the card. Of files of these kinds the repository then holds
those of the folder and no others, so that no weights of an earlier version linger.
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

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from dataset_mmnerd.hub import PublishError, explained, open_repository

__all__ = ["PublishError", "prepare_repository", "publish", "refuse_local_base"]

logger = logging.getLogger(__name__)

MODEL_FILES = (
    "README.md",
    "adapter_config.json",
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "*_2mner.py",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
METRIC_FILES = ("README.md", "*.py")


def _kind(folder: Path) -> tuple[str, tuple[str, ...]]:
    """What a folder is to the Hub ("model" or "space"), and which of its files are to be sent.

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
    info = open_repository(repo_id, kind, private=private, token=token)
    files = {file.rfilename for file in info.siblings} - {".gitattributes", "README.md"}
    if files and not any(fnmatch(file, "*_2mner.py") for file in files):
        raise PublishError(
            f"{info.id} exists and holds something else ({min(files)}): name another repository"
        )
    if files:
        logger.info("%s exists; what is in it now stays at revision %s", info.id, info.sha)
    return info.id


def publish(
    folder: Path | str, repo_id: str, *, private: bool | None = None, token: str | None = None
) -> str:
    """Send a folder in one commit, made whole or not at all.

    Args:
        folder: a run's folder (a model or an adapter) or the metric's.
        repo_id: `owner/name`, or a name under the token's own user.
        private: make the repository for its owner alone, if there is none yet.
        token: by default the one of this machine.

    Returns:
        The address of the commit.

    Raises:
        PublishError: if it is no such folder, or as `prepare_repository`, or if the push broke off.
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
        refuse_local_base(json.loads(adapter.read_text("utf-8"))["base_model_name_or_path"])
    repo_id = prepare_repository(repo_id, kind=kind, private=private, token=token)
    files = {path.name: path for path in sorted(folder.iterdir()) if _fits(path.name, patterns)}
    api = HfApi(token=token)
    try:
        with explained(repo_id):
            there = api.list_repo_files(repo_id, repo_type=kind)
            stale = [name for name in there if _fits(name, patterns) and name not in files]
            commit = api.create_commit(
                repo_id,
                [
                    *(
                        CommitOperationAdd(name, _content(path, repo_id))
                        for name, path in files.items()
                    ),
                    *(CommitOperationDelete(name) for name in stale),
                ],
                commit_message=f"Publish {folder.resolve().name}",
                repo_type=kind,
            )
    except PublishError as error:
        again = f"python -m training_2mner.publish {folder} {repo_id}"
        raise PublishError(f"{error}; to try again: {again}") from error.__cause__
    return commit.commit_url


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _content(path: Path, repo_id: str) -> Path | bytes:
    """What is sent of a file: its content, and a card's example with the name that it now has."""
    if path.name != "README.md":
        return path
    card = path.read_text(encoding="utf-8")
    return re.sub(r'^name = ".*"$', f'name = "{repo_id}"', card, flags=re.MULTILINE).encode()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m training_2mner.publish",
        description="Send a run's folder or the metric's to the Hub, in one commit.",
    )
    parser.add_argument("folder", type=Path, help="runs/demo, metrics/mmner")
    parser.add_argument("repository", help="owner/name")
    parser.add_argument(
        "--private", action="store_true", default=None, help="for its owner alone, if it is new"
    )
    arguments = parser.parse_args(argv)
    logging.basicConfig(format="%(message)s")
    logger.setLevel(logging.INFO)
    try:
        address = publish(arguments.folder, arguments.repository, private=arguments.private)
    except PublishError as error:
        sys.exit(f"publish: {error}")
    sys.stdout.write(f"{address}\n")


if __name__ == "__main__":
    main()
