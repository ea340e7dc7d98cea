"""The model of a server, in stages: one input is prepared at a time, in any thread; prepared inputs
are run together, in one.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from modeling_2mner.inputs_2mner import Sentence
from modeling_2mner.tagging_2mner import IMAGE_TOKENS, EntityTagger

from .batching import Work
from .extras import needed
from .models import load_pipeline
from .tagger import SETTINGS, Tagger

__all__ = ["Engine", "is_exported", "open_engine"]


@dataclass(frozen=True)
class _Prepared:
    """A sentence, and how its answer is made."""

    sentence: Sentence
    forward: dict[str, Any]
    postprocess: dict[str, Any]


class Engine:
    """A pipeline, or what an exported model has in its place.

    Args:
        tagger: which.
        name: what the user calls the model; messages do not name it.
    """

    def __init__(self, tagger: EntityTagger, name: str) -> None:
        self._tagger, self._name = tagger, name
        self._encoding = threading.Lock()  # a tokenizer is used by one thread at a time

    @property
    def batch_tokens(self) -> int:
        """Sub-words of a batch that the model is fastest with."""
        return self._tagger._max_tokens

    def prepare(self, given: Mapping[str, Any], options: Mapping[str, Any]) -> Work:
        """Check an input and its options, decode its image and make its sub-words.

        Raises:
            ValueError: if they are not as the pipeline takes them.
        """
        tagger = self._tagger
        try:
            preprocess, forward, postprocess = tagger._sanitize_parameters(**options)
            (sentence,) = tagger.preprocess(given, **preprocess)["sentences"]
        except (TypeError, ValueError) as error:
            raise ValueError(self._without_paths(str(error))) from error
        with self._encoding:
            (encoding,) = tagger.reader.encode([sentence.word_list], [sentence.context])
        sentence.encoding = encoding
        return Work(
            _Prepared(sentence, forward, {**postprocess, "return_details": True}),
            windows=len(encoding.windows),
            length=encoding.length,
            besides=IMAGE_TOKENS * sentence.images_read,
            kind=bool(forward.get("explain")),  # which runs the model once more
        )

    def run(self, contents: Sequence[_Prepared]) -> list[dict[str, Any]]:
        """The answers to the contents of some work of one kind, with details."""
        asked = [one.forward["top_k"] for one in contents if "top_k" in one.forward]
        found = self._tagger.forward(
            {"sentences": [one.sentence for one in contents]},
            explain=bool(contents[0].forward.get("explain")),
            top_k=max(asked, default=None),
        )
        answers = []
        for one, sentence, spans in zip(contents, found["sentences"], found["spans"], strict=True):
            own = {"sentences": [sentence], "spans": [spans]}
            answers += self._tagger.postprocess(own, **one.postprocess)
        return answers

    def _without_paths(self, message: str) -> str:
        """A message that does not tell where on this machine the model is."""
        message = re.sub(r"\S*[/\\]thresholds\.json", "thresholds.json", message)
        return message.replace(f"2mner thresholds {self._name} ", "2mner thresholds MODEL ")


def is_exported(model: str | Path) -> bool:
    """Whether this is a folder that `2mner export` wrote."""
    return (Path(model) / SETTINGS).is_file()


def open_engine(
    model: str | Path,
    *,
    precision: str | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> Engine:
    """Load a model.

    Args:
        model: a folder or a name on the Hub; or a folder that `2mner export` wrote.
        precision, device: as the pipeline takes them; an exported model has its own.
        threads: of this process; None leaves them as they are.

    Raises:
        ModelError, OSError, ValueError: if there is none, or the device has not this precision.
        MissingExtraError: if the model is exported and ONNX Runtime is not installed.
    """
    if is_exported(model):
        needed("onnxruntime", "onnx")
        return Engine(Tagger(model, threads=threads), str(model))
    if threads is not None:
        torch.set_num_threads(threads)
    return Engine(load_pipeline(model, precision=precision, device=device), str(model))
