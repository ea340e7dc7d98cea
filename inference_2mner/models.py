"""A trained model for inference: its pipeline, what tells it from others, and its entities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from transformers.utils.hub import cached_file, extract_commit_hash

from modeling_2mner import (
    MultimodalNERPipeline,
    TwoMNERForTokenClassification,
    TwoMNERProcessor,
)

from .rows import fingerprint_of

__all__ = ["fingerprint_of_model", "load_pipeline", "words_of_characters"]


def load_pipeline(model: str | Path, **settings: Any) -> MultimodalNERPipeline:
    """The pipeline of a trained model: a folder or a name on the Hub.

    Args:
        model: which; of the Hub only weights and settings are read, no code.
        settings: of the pipeline, such as `device` and `precision`.
    """
    return MultimodalNERPipeline(
        model=TwoMNERForTokenClassification.from_pretrained(str(model)),
        processor=TwoMNERProcessor.from_pretrained(str(model)),
        **settings,
    )


def fingerprint_of_model(model: str | Path) -> Any:
    """What changes if a model does."""
    folder = Path(model)
    if folder.is_dir():
        patterns = ("*.json", "*.safetensors")
        # Written into a run's folder while or after it is used, and not read by the pipeline.
        reports = {"metrics.json", "trainer_state.json", "learning_curve.json"}
        files = sorted(path for pattern in patterns for path in folder.glob(pattern))
        return fingerprint_of([path for path in files if path.name not in reports])
    return [str(model), extract_commit_hash(cached_file(str(model), "config.json"), None)]


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
