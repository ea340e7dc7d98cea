"""A trained model for inference: its pipeline, what tells it from others, and its entities."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import AutoModelForTokenClassification
from transformers.utils.hub import cached_file, extract_commit_hash

from dataset_mmnerd.quoting import shorten
from modeling_2mner import MultimodalNERPipeline, TwoMNERProcessor

from .rows import fingerprint_of

__all__ = [
    "ModelError",
    "fingerprint_of_model",
    "load_pipeline",
    "load_processor",
    "refuse_adapter",
    "version_of_model",
    "words_of_characters",
]


class ModelError(ValueError):
    """A model that cannot be read, in one line."""


@contextmanager
def _reading(model: str | Path) -> Iterator[None]:
    """Raises `ModelError` in place of what `transformers` raises where there is no such model."""
    try:
        yield
    except OSError as error:
        raise ModelError(f"{model}: no model can be read there ({shorten(str(error))})") from error


def load_processor(model: str | Path, revision: str | None = None) -> TwoMNERProcessor:
    """The processor of a trained model.

    Args:
        model: a folder, or a name on the Hub.
        revision: there, a branch, a tag or the id of a commit.

    Raises:
        ModelError: if there is none.
    """
    with _reading(model):
        return TwoMNERProcessor.from_pretrained(str(model), revision=revision)


def load_pipeline(
    model: str | Path, *, revision: str | None = None, **settings: Any
) -> MultimodalNERPipeline:
    """The pipeline of a trained model or adapter: a folder or a name on the Hub.

    Args:
        model: which. Only weights and settings are read, the code is that of this project.
        revision: on the Hub, a branch, a tag or the id of a commit.
        settings: of the pipeline, such as `device` and `precision`.

    Raises:
        ModelError: if there is none.
        ValueError: if a setting is unknown.
    """
    processor = load_processor(model, revision)
    with _reading(model):
        loaded = AutoModelForTokenClassification.from_pretrained(
            str(model), revision=revision, trust_remote_code=False
        )
    return MultimodalNERPipeline(model=loaded, processor=processor, **settings)


def refuse_adapter(model: str | Path) -> None:
    """Refuse an adapter: a folder or a name on the Hub.

    Raises:
        ModelError: if it is one, with the command that makes a model of it; or there is nothing.
    """
    with _reading(model):
        found = cached_file(
            str(model), "adapter_config.json", _raise_exceptions_for_missing_entries=False
        )
    if found is not None:
        raise ModelError(
            f"{model} is an adapter, expected a model: `2mner lora merge {model} --out FOLDER` "
            "makes one"
        )


def fingerprint_of_model(model: str | Path) -> Any:
    """What changes if a model does.

    Raises:
        ModelError: if there is none.
    """
    folder = Path(model)
    if folder.is_dir():
        patterns = ("*.json", "*.safetensors")
        # Written into a run's folder while or after it is used, and not read by the pipeline.
        reports = {"metrics.json", "trainer_state.json", "learning_curve.json"}
        files = sorted(path for pattern in patterns for path in folder.glob(pattern))
        return fingerprint_of([path for path in files if path.name not in reports])
    with _reading(model):
        file = cached_file(str(model), "processor_config.json")
    return [str(model), extract_commit_hash(file, None)]


def version_of_model(model: str | Path, fingerprint: Any) -> str:
    """A name for a model as it is now: of a folder its name and a digest of names, sizes and first
    bytes of its files, of a repository its name and commit.

    Args:
        model: which.
        fingerprint: of `fingerprint_of_model`.
    """
    if not Path(model).is_dir():
        return "@".join(str(part) for part in fingerprint if part)
    files = [[name, size, head] for name, size, _, head in fingerprint]
    return f"{Path(model).resolve().name}-{hashlib.sha256(repr(files).encode()).hexdigest()[:8]}"


def words_of_characters(
    words: Sequence[str], bounds: Iterable[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Words `[start, end)` of characters `[start, end)` of the words joined by spaces, as the
    pipeline gives them."""
    starts: dict[int, int] = {}
    ends: dict[int, int] = {}
    position = 0
    for number, word in enumerate(words):
        starts[position] = number
        ends[position + len(word)] = number + 1
        position += len(word) + 1
    return [(starts[start], ends[end]) for start, end in bounds]
