"""The inference pipeline: raw text and a picture in, entities with character offsets out.

What is unusual: the user's string is never changed. It is cut into words by what Unicode says of
each character, every word knows where it came from, and so does every entity.
"""

from .requirements_2mner import LEAST_TRANSFORMERS  # noqa: F401 -- first: it checks the version

# isort: split

from collections.abc import Iterable, Mapping, Set, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from transformers import Pipeline
from transformers.utils import logging

from .fetch_2mner import fetch, is_address, shown_address
from .images_2mner import ImageError, load_image
from .processing_2mner import CONTEXT_FIELDS, check_strings, described, is_listing
from .quoting_2mner import shorten
from .words_2mner import split_into_words

__all__ = ["MultimodalNERPipeline"]

logger = logging.get_logger(__name__)


@dataclass
class _Sentence:
    """One input: the text, its words' characters `[start, end)`, the image and its context."""

    text: str
    spans: list[tuple[int, int]]
    image: Image.Image | None
    context: dict[str, Any]

    @property
    def words(self) -> list[str]:
        return [self.text[start:end] for start, end in self.spans]


def _joined(words: list[str]) -> tuple[str, list[tuple[int, int]]]:
    """Words as a text with spaces, and where each of them is in it."""
    spans = []
    position = 0
    for word in words:
        spans.append((position, position + len(word)))
        position += len(word) + 1
    return " ".join(words), spans


def _several(inputs: Any) -> Any:
    """Give several inputs the form in which `transformers` knows them as such: a list that is not
    empty, a data set of torch, or a generator."""
    if isinstance(inputs, list | Dataset):
        is_empty = isinstance(inputs, Sized) and len(inputs) == 0
        return (one for one in ()) if is_empty else inputs
    if isinstance(inputs, Iterable) and not isinstance(
        inputs, str | bytes | bytearray | Mapping | Set
    ):
        return (one for one in inputs)
    return inputs


class MultimodalNERPipeline(Pipeline):
    """Entities of a text, with a picture or without.

        ner = pipeline("multimodal-ner", model=folder, trust_remote_code=True)
        ner({"text": "Angela Merkel besucht Paris.", "image": "photo.jpg"})
        # [{"label": "PER", "score": 0.98, "word": "Angela Merkel", "start": 0, "end": 13}, ...]

    An input is a text; or a dictionary with `text`, or with `words`, and perhaps `image`: a path,
    bytes, a PIL image, an array or tensor, or an address (http or https), which is then fetched;
    and perhaps the image's visual context, lists of strings under `objects`, `captions` and `ocr`;
    or a row of a data set, with `tokens` and perhaps any of these, of which nothing is fetched.
    Inputs may come as a list, tuple or array, a data set (of `datasets` or torch), a generator or
    another stream, and in batches (`batch_size=`), those with images among those without.

    An image that cannot be fetched or read is an error where an input is given alone. Among
    several, and in a row of a data set, it costs the image and not the batch: the sentence is read
    as one without an image, and a warning in the log names the image and the reason.
    """

    _load_processor = True
    _load_tokenizer = False
    _load_image_processor = False
    _load_feature_extractor = False

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.processor.labels != self.model.config.labels:
            raise ValueError(
                f"the processor's labels are {', '.join(self.processor.labels)}, "
                f"expected the model's: {', '.join(self.model.config.labels)}"
            )

    def _sanitize_parameters(
        self,
        aggregation_strategy: str | None = None,
        is_split_into_words: bool | None = None,
        **unknown: Any,
    ) -> tuple[dict, dict, dict]:
        if unknown:
            raise TypeError(
                f"there is no option {next(iter(unknown))!r}, expected aggregation_strategy or "
                "is_split_into_words"
            )
        preprocess = {}
        if is_split_into_words is not None:
            if not isinstance(is_split_into_words, bool):
                found = described(is_split_into_words)
                raise TypeError(f"is_split_into_words is {found}, expected True or False")
            preprocess["is_split_into_words"] = is_split_into_words
        postprocess = {}
        if aggregation_strategy is not None:
            if aggregation_strategy not in ("none", "simple", "first", "average", "max"):
                raise ValueError(
                    f"aggregation_strategy is {described(aggregation_strategy)}, "
                    "expected 'none', 'simple', 'first', 'average' or 'max'"
                )
            postprocess["aggregation_strategy"] = aggregation_strategy
        return preprocess, {}, postprocess

    def __call__(self, inputs, **options):
        """Find the entities.

        Args:
            inputs: one input, or a list, data set or generator of them (see the class).
            options:
                aggregation_strategy: "simple" (default) gives entities. The model labels whole
                    words, so that "first", "average" and "max" give the same. "none" gives each
                    word whose label is not `O`, with the probability of that label.
                is_split_into_words: an input is a list of words; a list of strings is one sentence,
                    not several.
                batch_size, num_workers: as in every pipeline.

        Returns:
            A list of entities; for a list or tuple of inputs a list of such lists; for a data set
            or a stream an iterator over such lists. An entity has `label`, `score`, `word`,
            `start`, `end`: characters `[start, end)` of the text; for words, of the words joined by
            spaces. With "none", `entity` (the label, with its prefix) and `index` (of the word) in
            place of `label`.

        Raises:
            TypeError: if an input, what it holds, or an option is of another type, or an option is
                unknown.
            ValueError: if a dictionary has other keys, or an option has an unknown value. An
                `ImageError`, which is one, if the image of an input given alone cannot be read.
            OSError: if the image of an input given alone cannot be fetched.
        """
        for name in ("batch_size", "num_workers"):
            if not isinstance(options.get(name), int | None):
                raise TypeError(f"{name} is {described(options[name])}, expected an integer")
        if isinstance(inputs, np.ndarray | torch.Tensor):
            inputs = inputs.tolist()
        if isinstance(inputs, tuple):
            inputs = list(inputs)
        is_split = options.get("is_split_into_words")
        if not isinstance(is_split, bool | None):
            raise TypeError(f"is_split_into_words is {described(is_split)}, expected a boolean")
        if is_split is None:
            is_split = self._preprocess_params.get("is_split_into_words")
        if is_split and isinstance(inputs, list) and any(isinstance(word, str) for word in inputs):
            inputs = {"words": inputs}
        return super().__call__(_several(inputs), **options)

    def run_single(self, inputs, preprocess_params: dict, *params: dict) -> list[dict[str, Any]]:
        """An input that is given alone, and not among others."""
        return super().run_single(inputs, {**preprocess_params, "alone": True}, *params)

    def preprocess(
        self, inputs, is_split_into_words: bool = False, alone: bool = False
    ) -> dict[str, _Sentence]:
        if is_split_into_words and is_listing(inputs):
            inputs = {"words": inputs}
        if isinstance(inputs, str) and not is_split_into_words:
            inputs = {"text": inputs}
        if not isinstance(inputs, Mapping):
            expected = "a list of words" if is_split_into_words else "a text"
            raise TypeError(
                f"an input is {described(inputs)}, expected {expected}, or a dictionary with "
                "'text' or 'words' and perhaps 'image'; give a list of words as {'words': [...]}"
            )
        given = [key for key in ("text", "words", "tokens") if key in inputs]
        known = {*given, "image", *CONTEXT_FIELDS}
        if len(given) != 1 or (given != ["tokens"] and not known.issuperset(inputs)):
            raise ValueError(
                f"an input has the keys {shorten(', '.join(map(repr, inputs)))}, "
                "expected 'text' or 'words', and perhaps 'image', "
                f"{', '.join(map(repr, CONTEXT_FIELDS))}"
            )
        content = inputs[given[0]]
        if given == ["text"]:
            if not isinstance(content, str):
                raise TypeError(f"'text' is {described(content)}, expected a string")
            text, spans = content, split_into_words(content, self.processor.word_rules)
        else:
            check_strings(content, repr(given[0]))
            text, spans = _joined(list(content))
        image = self._read_image(inputs.get("image"), from_row=given == ["tokens"], alone=alone)
        context = {name: inputs.get(name) for name in CONTEXT_FIELDS}
        return {"sentence": _Sentence(text, spans, image, context)}

    def _read_image(self, source: Any, from_row: bool, alone: bool) -> Image.Image | None:
        """Read an input's image, if the model does. An address is fetched if the user named it:
        one in a row of a data set is not."""
        if source is None or not self.processor.reads_pictures:
            return None
        try:
            if is_address(source) and not from_row:
                source = {"bytes": fetch(source), "path": shown_address(source)}
            return load_image(source)
        except (ImageError, OSError) as error:
            if alone and not from_row:
                raise
            logger.warning(f"Read without its image: {error}")
            return None

    def _forward(self, model_inputs: dict[str, Any]) -> dict[str, Any]:
        batched = isinstance(model_inputs["sentence"], list)
        sentences = model_inputs["sentence"] if batched else [model_inputs["sentence"]]
        words = [sentence.words for sentence in sentences]
        batch = self.processor(
            words,
            images=[sentence.image for sentence in sentences],
            context=[sentence.context for sentence in sentences],
        )
        outputs = self.model(**batch.to(self.device))
        found = {
            "sentence": sentences,
            "entities": self.processor.post_process_entities(outputs, words),
            "labels": [
                self._labels(*row)
                for row in zip(outputs.predictions, outputs.marginals, strict=True)
            ],
        }
        return found if batched else {key: values[0] for key, values in found.items()}

    def _labels(
        self, predictions: torch.Tensor, marginals: torch.Tensor
    ) -> list[tuple[str, float]]:
        """Each word's label and its probability."""
        known = predictions[predictions >= 0]
        scores = marginals[: len(known)].gather(1, known[:, None])[:, 0]
        return [
            (self.processor.labels[label], score)
            for label, score in zip(known.tolist(), scores.tolist(), strict=True)
        ]

    def postprocess(
        self, model_outputs: dict[str, Any], aggregation_strategy: str = "simple"
    ) -> list[dict[str, Any]]:
        sentence = model_outputs["sentence"]

        def place(first: int, last: int) -> dict[str, Any]:
            start, end = sentence.spans[first][0], sentence.spans[last][1]
            return {"word": sentence.text[start:end], "start": start, "end": end}

        if aggregation_strategy == "none":
            return [
                {"entity": label, "score": score, "index": index, **place(index, index)}
                for index, (label, score) in enumerate(model_outputs["labels"])
                if label != "O"
            ]
        return [
            {
                "label": entity["label"],
                "score": entity["score"],
                **place(entity["start"], entity["end"] - 1),
            }
            for entity in model_outputs["entities"]
        ]
