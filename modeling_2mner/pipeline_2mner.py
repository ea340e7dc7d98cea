"""The inference pipeline: from text and images to entities with character offsets."""

from .requirements_2mner import LEAST_TRANSFORMERS  # noqa: F401 -- first: it checks the version

# isort: split

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset
from transformers import Pipeline
from transformers.utils import cached_file, logging

from .attention_2mner import MOST_WORDS, attention_of, patch_grid, seen_part
from .crf_2mner import fingerprint_of
from .decoding_2mner import Decoding
from .fetch_2mner import fetch, shown_address
from .hardware_2mner import multiplies_bf16, quantise_linear_layers, usable_cores
from .inputs_2mner import Reader, Sentence
from .processing_2mner import TwoMNERProcessor
from .quoting_2mner import described, quoted, shorten
from .tagging_2mner import EntityTagger
from .thresholds_2mner import FILE, Limits, limits_from_file

__all__ = ["MultimodalNERPipeline"]

logger = logging.get_logger(__name__)

MAX_TOKENS, MAX_TOKENS_OF_CPU = 8192, 1024
"""Sub-words of a batch by default. Larger batches are slower on a processor, whose caches do not
hold them."""

PRECISIONS = ("auto", "float32", "bfloat16", "int8")


class MultimodalNERPipeline(EntityTagger, Pipeline):  # type: ignore[misc]  # a batch is sentences
    """Entities of a text, with an image or without.

        ner = pipeline("multimodal-ner", model=folder, trust_remote_code=True)
        ner({"text": "Angela Merkel besucht Paris.", "image": "photo.jpg"})
        # [{"label": "PER", "score": 0.98, "word": "Angela Merkel", "start": 0, "end": 13}, ...]

    With the installed package `pipeline_class=MultimodalNERPipeline` takes the place of
    `trust_remote_code=True`.

    An input is one of

    * a text;
    * a dictionary with `text` or `words`, and optionally `image` (a path, bytes, a PIL image, an
      array or tensor, or an http or https address, which is fetched; or a list of such, for a
      sentence with several images) and visual context, lists of strings under `objects`, `captions`
      and `ocr`;
    * a row of a data set, with `tokens` and optionally any of these. No address in it is fetched.

    Several inputs may be a list, tuple or array, a data set (of `datasets` or torch), a generator
    or another stream; only some of them need images. They are sorted by length in a buffer, and
    run in batches of `max_tokens` sub-words. In float32 the answers are those of single calls
    within 1e-5.

    If an image cannot be fetched or read, an input that is given alone raises an error. Among
    several inputs, and in a row of a data set, the sentence is read without its image, and a
    warning in the log names the image and the reason. So it is with one of several images of a
    sentence: the others are read.

    Args:
        precision: the precision of the encoders; by default that of the model. "float32";
            "bfloat16", for matrix products; "auto", which is "bfloat16" where the device has
            instructions for it, and that of the model elsewhere; "int8", 8-bit weights in the
            linear layers of the text encoder, in place, on a processor. bfloat16 and int8 change
            the scores a little; in bfloat16 they may depend a little on the other sentences of a
            batch.
        options: defaults of the options of a call (see `__call__`).

    Raises:
        ValueError: if processor and model have different labels, the tokenizer has more sub-words
            than the text encoder, or the device does not have the precision.
    """

    _load_processor = True  # type: ignore[assignment]  # the base class leaves it open
    _load_tokenizer = False  # type: ignore[assignment]
    _load_image_processor = False  # type: ignore[assignment]
    _load_feature_extractor = False  # type: ignore[assignment]

    processor: TwoMNERProcessor
    model: Any  # a `TwoMNERForTokenClassification`, whose module imports this one

    def __init__(self, *args: Any, precision: str | None = None, **kwargs: Any):
        self._thresholds: str | None = None  # the file that is stored with the model, once found
        super().__init__(*args, **kwargs)
        if self.processor.labels != self.model.config.labels:
            raise ValueError(
                f"the processor's labels are {shorten(', '.join(self.processor.labels))}, "
                f"expected the model's: {shorten(', '.join(self.model.config.labels))}"
            )
        pieces = self.processor.tokenizer.get_vocab()
        most = self.model.config.text_config.vocab_size
        strange = next((piece for piece, number in pieces.items() if number >= most), None)
        if strange is not None:
            raise ValueError(
                f"the processor's tokenizer numbers {quoted(strange)} {pieces[strange]}, "
                f"expected numbers below the text encoder's vocab_size ({most})"
            )
        self._choose_precision(precision)

    def _choose_precision(self, precision: str | None) -> None:
        if precision is not None and precision not in PRECISIONS:
            expected = ", ".join(map(repr, PRECISIONS))
            raise ValueError(f"precision is {described(precision)}, expected {expected} or None")
        kind = self.device.type
        if precision == "auto":
            precision = "bfloat16" if multiplies_bf16(self.device) else None
        if precision == "float32":
            self.model.float()
        elif precision == "int8":
            if kind != "cpu":
                raise ValueError(f"precision is 'int8' on {self.device}, expected a processor")
            self.model.float()  # 8-bit layers give float32 to those between them
            quantise_linear_layers(self.model.model.text_model)
        self._autocasts = precision == "bfloat16"
        shown = precision or str(self.model.dtype).removeprefix("torch.")
        if kind == "cpu":
            # More threads than usable cores are slower.
            torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))
            shown += f", {torch.get_num_threads()} threads"
        logger.info(f"Inference on {self.device}: {shown}")

    @property
    def labels(self) -> Sequence[str]:  # type: ignore[override]
        return self.processor.labels

    @property
    def types(self) -> Sequence[str]:  # type: ignore[override]
        return self.model.crf.types

    @property
    def reader(self) -> Reader:  # type: ignore[override]
        return self.processor

    @property
    def _max_tokens(self) -> int:
        return MAX_TOKENS_OF_CPU if self.device.type == "cpu" else MAX_TOKENS

    def forward(self, model_inputs: dict[str, list[Sentence]], **options: Any) -> dict[str, Any]:
        return Pipeline.forward(self, model_inputs, **options)

    def _decode(
        self, sentences: list[Sentence], max_tokens: int, view: str, attention: bool = False
    ) -> tuple[np.ndarray, Decoding, list[dict[str, Any] | None]]:
        pixels = [sentence.pixels if view == "image_text" else [] for sentence in sentences]
        encoded = [sentence.encoded for sentence in sentences]
        batch = self.processor.collate(encoded, pixels).to(self.device)
        autocast = torch.autocast(self.device.type, torch.bfloat16)
        with autocast if self._autocasts else nullcontext():
            outputs = self.model(
                **batch,
                view=view,
                max_tokens=max_tokens,
                attending_words=MOST_WORDS if attention else None,
            )
        found = (outputs.predictions, outputs.marginals, outputs.entity_scores)
        attended = self._attention(sentences, outputs.patch_attentions)
        return _as_array(outputs.logits.float()), Decoding(*map(_as_array, found)), attended

    def _attention(
        self, sentences: list[Sentence], weights: tuple[Tensor, ...] | None
    ) -> list[dict[str, Any] | None]:
        """What the words of each sentence attended to; None without an image."""
        found: list[dict[str, Any] | None] = [None] * len(sentences)
        patch_size = getattr(self.model.config.vision_config, "patch_size", None)
        places = max([1, *(len(sentence.pixels) for sentence in sentences)])
        for row, sentence in enumerate(sentences):
            if weights is None or not sentence.images_read:
                continue
            own = weights[0][row].float().mean(0).cpu()  # [heads, W, I * P] -> [W, I * P]
            own = own.unflatten(1, (places, -1))[:, : len(sentence.pixels)]  # [W, I, P]
            shown = next(pixels for pixels in sentence.pixels if pixels is not None)
            grid = patch_grid(patch_size, own.shape[2], *shown.shape[1:])
            boxes = [
                None if pixels is None else seen_part(self.processor, size)
                for pixels, size in zip(sentence.pixels, sentence.image_sizes, strict=True)
            ]
            found[row] = attention_of(sentence, own, grid, boxes)
        return found

    def _span_scores(
        self, emissions: np.ndarray, lengths: Sequence[int], spans: list[tuple[int, int, int]]
    ) -> np.ndarray:
        return self.model.crf.decoder().span_scores(emissions, lengths, spans)

    def _fetch(self, address: str) -> dict[str, Any]:
        return {"bytes": fetch(address), "path": shown_address(address)}

    def _stored_limits(self, kind: str, level: float) -> Limits:
        if hasattr(self.model, "peft_config"):
            raise ValueError(
                f"{kind}={level:g} was given with an adapter, expected a model: `2mner lora merge` "
                "makes one, and `2mner thresholds` its thresholds"
            )
        weights = fingerprint_of(self.model.crf)
        name = self.model.config._name_or_path
        return limits_from_file(self.thresholds_file(), kind, level, name, weights)

    def thresholds_file(self) -> str | None:
        """The file of thresholds that is stored with the model; None if there is none."""
        config = self.model.config
        known = self._thresholds is not None and Path(self._thresholds).is_file()
        if config._name_or_path and not known:  # a repository is asked once, not by every call
            self._thresholds = cached_file(
                config._name_or_path,
                FILE,
                revision=getattr(config, "_commit_hash", None),
                _raise_exceptions_for_gated_repo=False,
                _raise_exceptions_for_missing_entries=False,
                _raise_exceptions_for_connection_errors=False,
            )
        return self._thresholds

    def _as_several(self, inputs: Any) -> Any:
        if isinstance(inputs, Dataset):
            return inputs
        return super()._as_several(inputs.tolist() if isinstance(inputs, Tensor) else inputs)

    def _is_data_set(self, inputs: Any) -> bool:
        return isinstance(inputs, Dataset)

    def _each_of(self, inputs: Any) -> Iterator:
        if isinstance(inputs, Dataset) and not isinstance(inputs, IterableDataset):
            data: Any = inputs
            if hasattr(data, "__len__"):
                return (data[number] for number in range(len(data)))
        return iter(inputs)


def _as_array(values: Tensor) -> np.ndarray:
    return values.cpu().numpy()
