"""The inference pipeline: from text and images to entities with character offsets."""

from .requirements_2mner import LEAST_TRANSFORMERS  # noqa: F401 -- first: it checks the version

# isort: split

from collections.abc import Callable, Iterator, Sized
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import Pipeline
from transformers.utils import cached_file, logging

from .answers_2mner import Span, details_of, entities_of, labelled_words_of
from .attention_2mner import MOST_WORDS, attention_of, patch_grid, seen_part
from .hardware_2mner import multiplies_bf16, quantise_linear_layers, usable_cores
from .inputs_2mner import Sentence, as_several, each_of, load_image_of, read_input
from .processing_2mner import TwoMNERProcessor
from .quoting_2mner import described, quoted, shorten
from .streaming_2mner import answers_in_order, batches_by_length
from .thresholds_2mner import (
    FILE,
    Limits,
    fingerprint_of,
    limits_from_file,
    limits_from_numbers,
    parse_wish,
)

__all__ = ["MultimodalNERPipeline"]

logger = logging.get_logger(__name__)

MAX_TOKENS, MAX_TOKENS_OF_CPU = 8192, 1024
"""Sub-words of a batch by default. Larger batches are slower on a processor, whose caches do not
hold them."""

IMAGE_TOKENS = 64
"""The cost of an image in a batch, in sub-words."""

BUFFER = 1024
"""Sentences that are sorted together."""

WORDS_OF_A_PLACE, PLACES_OF_AN_IMAGE = 128, 8
"""Words that fit in one place of the buffer; places that an image takes."""

IMAGE_WORKERS = 4

OPTIONS = (
    "aggregation_strategy",
    "is_split_into_words",
    "max_tokens",
    "threshold",
    "risk",
    "top_k",
    "spans",
    "explain",
    "attention",
    "return_details",
)
PRECISIONS = ("auto", "float32", "bfloat16", "int8")


class _Answers(Sized):
    """The answers to a data set, computed while they are read; as many as its inputs."""

    def __init__(self, inputs: Sized, answers: Callable[[Any], Iterator]):
        self._inputs, self._answers = inputs, answers

    def __len__(self) -> int:
        return len(self._inputs)

    def __iter__(self) -> Iterator:
        return self._answers(self._inputs)


class MultimodalNERPipeline(Pipeline):
    """Entities of a text, with an image or without.

        ner = pipeline("multimodal-ner", model=folder, trust_remote_code=True)
        ner({"text": "Angela Merkel besucht Paris.", "image": "photo.jpg"})
        # [{"label": "PER", "score": 0.98, "word": "Angela Merkel", "start": 0, "end": 13}, ...]

    With the installed package `pipeline_class=MultimodalNERPipeline` takes the place of
    `trust_remote_code=True`.

    An input is one of

    * a text;
    * a dictionary with `text` or `words`, and optionally `image` (a path, bytes, a PIL image, an
      array or tensor, or an http or https address, which is fetched) and visual context, lists of
      strings under `objects`, `captions` and `ocr`;
    * a row of a data set, with `tokens` and optionally any of these. No address in it is fetched.

    Several inputs may be a list, tuple or array, a data set (of `datasets` or torch), a generator
    or another stream; only some of them need images. They are sorted by length in a buffer, and
    run in batches of `max_tokens` sub-words. In float32 the answers are those of single calls
    within 1e-5.

    If an image cannot be fetched or read, an input that is given alone raises an error. Among
    several inputs, and in a row of a data set, the sentence is read without its image, and a
    warning in the log names the image and the reason.

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
    def _max_tokens(self) -> int:
        return MAX_TOKENS_OF_CPU if self.device.type == "cpu" else MAX_TOKENS

    def _sanitize_parameters(self, **given: Any) -> tuple[dict, dict, dict]:
        unknown = [name for name in given if name not in OPTIONS]
        if unknown:
            raise TypeError(
                f"there is no option {unknown[0]!r}, expected {', '.join(OPTIONS[:-1])} or "
                f"{OPTIONS[-1]}"
            )
        given = {name: value for name, value in given.items() if value is not None}
        for name in ("is_split_into_words", "explain", "attention", "return_details"):
            if not isinstance(given.get(name, True), bool):
                raise TypeError(f"{name} is {described(given[name])}, expected True or False")
        for name in ("max_tokens", "top_k"):
            _check_count(name, given.get(name))
        strategy = given.get("aggregation_strategy", "simple")
        if not isinstance(strategy, str) or strategy not in (
            "none",
            "simple",
            "first",
            "average",
            "max",
        ):
            raise ValueError(
                f"aggregation_strategy is {described(strategy)}, "
                "expected 'none', 'simple', 'first', 'average' or 'max'"
            )
        if "threshold" in given and "risk" in given:
            raise ValueError("threshold and risk were given, expected one of them")

        def chosen(*names: str) -> dict[str, Any]:
            return {name: given[name] for name in names if name in given}

        preprocess = chosen("is_split_into_words", "spans")
        forward = chosen("max_tokens", "explain", "attention", "aggregation_strategy", "top_k")
        postprocess = chosen("aggregation_strategy", "top_k", "return_details")
        if "threshold" in given or "risk" in given:
            postprocess["limits"] = self._limits(given.get("threshold"), given.get("risk"))
        return preprocess, forward, postprocess

    def _limits(self, threshold: Any, risk: Any) -> Limits:
        """The thresholds of a call, or of the file that is stored with the model."""
        if risk is not None:
            if isinstance(risk, bool) or not isinstance(risk, int | float) or not 0 < risk < 1:
                raise ValueError(f"risk is {described(risk)}, expected a number between 0 and 1")
            wish = ("risk", float(risk))
        elif isinstance(threshold, str):
            wish = parse_wish(threshold)
        else:
            return limits_from_numbers(threshold, self.model.crf.types)
        if hasattr(self.model, "peft_config"):
            raise ValueError(
                f"{wish[0]}={wish[1]:g} was given with an adapter, expected a model: `2mner lora "
                "merge` makes one, and `2mner thresholds` its thresholds"
            )
        config = self.model.config
        name = config._name_or_path
        known = self._thresholds is not None and Path(self._thresholds).is_file()
        if name and not known:  # a repository is asked once, not by every call
            self._thresholds = cached_file(
                name,
                FILE,
                revision=getattr(config, "_commit_hash", None),
                _raise_exceptions_for_gated_repo=False,
                _raise_exceptions_for_missing_entries=False,
                _raise_exceptions_for_connection_errors=False,
            )
        return limits_from_file(self._thresholds, *wish, name, fingerprint_of(self.model.crf))

    def __call__(  # type: ignore[override]  # no positional options
        self,
        inputs: Any,
        batch_size: int | None = None,
        num_workers: int | None = None,
        **options: Any,
    ) -> Any:
        """Find the entities.

        Args:
            inputs: one input, or a list, data set or generator of them (see the class).
            batch_size: sentences of a batch, at most; by default as many as `max_tokens` allows.
                With 1 nothing is sorted, and each input of a stream is answered before the next one
                is read.
            num_workers: threads that fetch and decode images while the model runs; by default 4,
                or 0 for a text-only model.
            options:
                max_tokens: sub-words of a batch, padding included, at most; by default 1024 on a
                    processor, and 8192 elsewhere. An image counts as 64. A longer text is a batch
                    of its own, run in parts of that size.
                is_split_into_words: an input is a list of words, so that a list of strings is one
                    sentence.
                aggregation_strategy: "simple" (default) gives entities. The model labels whole
                    words, so that "first", "average" and "max" give the same. "none" gives each
                    word whose label is not `O`, with the probability of that label.
                threshold: the least score of an entity: a number, or numbers by type; or
                    "precision=0.95", the thresholds for this precision that are stored with the
                    model (`2mner thresholds`). Scores are then calibrated.
                risk: an error rate such as 0.05, in place of `threshold`: the thresholds for this
                    error rate that are stored with the model.
                top_k: give each entity `alternatives`: the most probable types over the same words,
                    its own included, each with `label` and `score`. The scores of all types and
                    the probability of no entity over these words sum to 1.
                spans: candidates to score, in their order, in place of finding entities: characters
                    `[start, end)` of the text, from the start of a word to the end of a word; or
                    words, where the input is words. Each gets its most probable type, however
                    improbable. For several inputs they are given in each input, under `spans`.
                explain: give each entity of a sentence whose image or visual context was read
                    `score_without_image`, the probability of the same entity in the text view; and
                    `typed_from`: "text" if the text view gives the same type a probability of at
                    least 0.5, "disagree" if it gives that to another type, "image" otherwise.
                attention: with `return_details`, give the details `attention`: None for an input
                    without an image, else which patches of the first vision encoder its words
                    attended to, at most the first 512 of them. `words` has of each `word`, `start`,
                    `end` and `patches`, the weights as rows of columns, a mean over the heads; what
                    they lack to a sum of 1 went to special patches, such as a class token. `box`
                    is the part of the image that the grid covers, left, top, right and bottom as
                    fractions of the image's width and height: an image processor may crop.
                return_details: for each input a dictionary of its `entities`, the number of
                    `windows`, `image` ("read", "unreadable" or "none"), and `image_error`, the
                    reason if it was not readable.

        Returns:
            A list of entities; for a list or tuple of inputs a list of such lists; for a data set
            or a stream an iterator over such lists. An entity has `label`, `score`, `word`,
            `start`, `end`: characters `[start, end)` of the text; for words, of the words joined by
            spaces. With "none", `entity` (the label, with its prefix) and `index` (of the word) in
            place of `label`.

        Raises:
            TypeError: if an input, a value in it, or an option is of another type, or an option is
                unknown.
            ValueError: if a dictionary has other keys, a span does not consist of words, an option
                has an unknown value, or no such threshold is stored with the model; an
                `ImageError` if the image of an input given alone cannot be read.
            OSError: if the image of an input given alone cannot be fetched.
        """
        batch_size = self._batch_size if batch_size is None else batch_size
        num_workers = self._num_workers if num_workers is None else num_workers
        _check_count("batch_size", batch_size)
        _check_count("num_workers", num_workers, least=0)
        if isinstance(inputs, np.ndarray | torch.Tensor):
            inputs = inputs.tolist()
        if isinstance(inputs, tuple):
            inputs = list(inputs)
        given = self._sanitize_parameters(**options)
        defaults = (self._preprocess_params, self._forward_params, self._postprocess_params)
        preprocess, forward, postprocess = (
            {**default, **params} for default, params in zip(defaults, given, strict=True)
        )
        self._check_combination(forward, postprocess, preprocess.get("spans"))
        is_split = preprocess.get("is_split_into_words")
        if is_split and isinstance(inputs, list) and any(isinstance(word, str) for word in inputs):
            inputs = {"words": inputs}
        inputs = as_several(inputs)
        several = isinstance(inputs, list | Dataset | Iterator)
        if not several:
            return self.run_single(inputs, preprocess, forward, postprocess)
        if preprocess.get("spans") is not None:
            raise ValueError("spans were given with several inputs, expected them in each input")
        arguments = (num_workers, batch_size, preprocess, forward, postprocess)
        answers = self.get_iterator(inputs, *arguments)
        return list(answers) if isinstance(inputs, list) else answers

    @staticmethod
    def _check_combination(forward: dict, postprocess: dict, spans: Any) -> None:
        """Refuse options about entities with "none", which gives words; and attention without the
        details that hold it.
        """
        if forward.get("attention") and not postprocess.get("return_details"):
            raise ValueError(
                "attention was given without return_details, expected return_details=True"
            )
        if forward.get("aggregation_strategy") != "none":
            return
        about_entities = {
            "threshold or risk": postprocess.get("limits"),
            "top_k": forward.get("top_k"),
            "explain": forward.get("explain") or None,
            "spans": spans,
        }
        for name, value in about_entities.items():
            if value is not None:
                raise ValueError(
                    f"{name} was given with aggregation_strategy 'none', expected 'simple'"
                )

    def run_single(
        self, inputs: Any, preprocess_params: dict, forward_params: dict, postprocess_params: dict
    ) -> list[dict[str, Any]] | dict[str, Any]:
        """Answer an input that is given alone."""
        sentence = self._prepare(inputs, alone=True, **preprocess_params)
        load_image_of(sentence, self.processor)
        return self._run([sentence], forward_params, postprocess_params)[0]

    def get_iterator(
        self,
        inputs: Any,
        num_workers: int | None,
        batch_size: int | None,
        preprocess_params: dict,
        forward_params: dict,
        postprocess_params: dict,
    ) -> Any:
        """Answer several inputs: an iterator; of a data set one that has its length."""
        if num_workers is None:
            num_workers = IMAGE_WORKERS if self.processor.reads_images else 0

        def answers(inputs: Any) -> Iterator:
            return answers_in_order(
                each_of(inputs),
                prepare=partial(self._prepare, **preprocess_params),
                load=partial(load_image_of, processor=self.processor),
                cost=_places,
                plan=partial(
                    self._plan,
                    max_tokens=forward_params.get("max_tokens") or self._max_tokens,
                    most=batch_size,
                ),
                run=partial(
                    self._run,
                    forward_params=forward_params,
                    postprocess_params=postprocess_params,
                ),
                capacity=1 if batch_size == 1 else BUFFER,
                workers=num_workers,
            )

        return _Answers(inputs, answers) if isinstance(inputs, Sized) else answers(inputs)

    def _prepare(self, given: Any, **options: Any) -> Sentence:
        return read_input(given, self.processor, **options)

    def _plan(
        self, sentences: list[Sentence], max_tokens: int, most: int | None
    ) -> list[list[int]]:
        """Encode the sentences of a buffer, and form batches."""
        for sentence in sentences:
            if sentence.image_error is not None:
                logger.warning(f"Read without its image: {sentence.image_error}")
        self._encode(sentences)
        sizes = [
            (
                len(sentence.encoded.windows),
                sentence.encoded.length,
                0 if sentence.pixels is None else IMAGE_TOKENS,
            )
            for sentence in sentences
        ]
        return batches_by_length(sizes, max_tokens, most)

    def _encode(self, sentences: list[Sentence]) -> None:
        words = [sentence.word_list for sentence in sentences]
        contexts = [sentence.context for sentence in sentences]
        for sentence, encoded in zip(
            sentences, self.processor.encode(words, contexts), strict=True
        ):
            sentence.encoding = encoded

    def _run(
        self, sentences: list[Sentence], forward_params: dict, postprocess_params: dict
    ) -> list[Any]:
        outputs = self.forward({"sentences": sentences}, **forward_params)
        return self.postprocess(outputs, **postprocess_params)

    def preprocess(self, input_: Any, **options: Any) -> dict[str, Any]:
        """One input as a batch of one sentence."""
        sentence = self._prepare(input_, **options)
        load_image_of(sentence, self.processor)
        return {"sentences": [sentence]}

    def _forward(  # type: ignore[override]  # a batch is a list of sentences
        self,
        model_inputs: dict[str, list[Sentence]],
        max_tokens: int | None = None,
        aggregation_strategy: str = "simple",
        top_k: int | None = None,
        explain: bool = False,
        attention: bool = False,
    ) -> dict[str, Any]:
        """Run a batch. The result has `spans`, for each sentence its entities or scored candidates;
        with "none" `labels`, the label of each word and its probability; and `attention` if it is
        wanted.
        """
        sentences = model_inputs["sentences"]
        max_tokens = max_tokens or self._max_tokens
        self._encode([sentence for sentence in sentences if sentence.encoding is None])
        attending = MOST_WORDS if attention else None
        outputs, word_mask = self._read(sentences, max_tokens, "image_text", attending)
        found: dict[str, Any] = {"sentences": sentences}
        if attention:
            found["attention"] = self._attention(sentences, outputs.patch_attentions)
        if aggregation_strategy == "none":
            rows = zip(outputs.predictions, outputs.marginals, strict=True)
            return {**found, "labels": [self._labels(*row) for row in rows]}
        words = [sentence.word_list for sentence in sentences]
        spans = [
            [
                Span(entity["start"], entity["end"], entity["label"], entity["score"])
                for entity in entities
            ]
            for entities in self.processor.post_process_entities(outputs, words)
        ]
        for number, sentence in enumerate(sentences):
            if sentence.candidates is not None:
                spans[number] = [Span(*bounds, "", 0.0) for bounds in sentence.candidates]
        to_score = [
            own if top_k is not None or sentence.candidates is not None else []
            for own, sentence in zip(spans, sentences, strict=True)
        ]
        for span, by_type in self._scores(outputs.logits, word_mask, to_score):
            span.by_type = by_type
            if not span.label:
                span.score = max(by_type)
                span.label = self.model.crf.types[by_type.index(span.score)]
        if explain:
            self._compare_with_text(sentences, spans, max_tokens)
        return {**found, "spans": spans}

    def _read(
        self,
        sentences: list[Sentence],
        max_tokens: int,
        view: str,
        attending_words: int | None = None,
    ) -> tuple[Any, Tensor]:
        """Run the model: its output, and the mask of the words."""
        pixels = [sentence.pixels if view == "image_text" else None for sentence in sentences]
        encoded = [sentence.encoded for sentence in sentences]
        batch = self.processor.collate(encoded, pixels).to(self.device)
        autocast = torch.autocast(self.device.type, torch.bfloat16)
        with autocast if self._autocasts else nullcontext():
            outputs = self.model(
                **batch, view=view, max_tokens=max_tokens, attending_words=attending_words
            )
        return outputs, batch["word_mask"]

    def _attention(
        self, sentences: list[Sentence], weights: tuple[Tensor, ...] | None
    ) -> list[dict[str, Any] | None]:
        """What the words of each sentence attended to; None without an image."""
        found: list[dict[str, Any] | None] = [None] * len(sentences)
        for row, sentence in enumerate(sentences):
            if weights is None or sentence.pixels is None:
                continue
            own = weights[0][row].float().mean(0).cpu()  # [heads, W, P] -> [W, P]
            patch_size = getattr(self.model.config.vision_config, "patch_size", None)
            grid = patch_grid(patch_size, own.shape[1], *sentence.pixels.shape[1:])
            box = seen_part(self.processor, sentence.image_size)
            found[row] = attention_of(sentence, own, grid, box)
        return found

    def _compare_with_text(
        self, sentences: list[Sentence], spans: list[list[Span]], max_tokens: int
    ) -> None:
        """Score the spans in the text view, where it differs."""
        rows = [
            number
            for number, sentence in enumerate(sentences)
            if spans[number] and (sentence.pixels is not None or sentence.encoded.has_context)
        ]
        if rows:
            outputs, mask = self._read([sentences[row] for row in rows], max_tokens, "text")
            for span, by_type in self._scores(outputs.logits, mask, [spans[row] for row in rows]):
                span.by_type_in_text = by_type

    def _scores(
        self, emissions: Tensor, mask: Tensor, spans: list[list[Span]]
    ) -> Iterator[tuple[Span, list[float]]]:
        """Each span, and the probability of every type over it."""
        flat = [(row, span) for row, own in enumerate(spans) for span in own]
        if not flat:
            return iter(())
        bounds = torch.tensor([(row, span.start, span.end) for row, span in flat])
        by_type = self.model.crf.span_scores(emissions, mask, bounds.to(mask.device))
        return zip((span for _, span in flat), by_type.tolist(), strict=True)

    def _labels(self, predictions: Tensor, marginals: Tensor) -> list[tuple[str, float]]:
        """Each word's label and its probability."""
        known = predictions[predictions >= 0]
        scores = marginals[: len(known)].gather(1, known[:, None])[:, 0]
        return [
            (self.processor.labels[label], score)
            for label, score in zip(known.tolist(), scores.tolist(), strict=True)
        ]

    def postprocess(  # type: ignore[override]  # a batch is a list of sentences
        self,
        model_outputs: dict[str, Any],
        aggregation_strategy: str = "simple",
        limits: Limits | None = None,
        top_k: int | None = None,
        return_details: bool = False,
    ) -> list[Any]:
        """The answers to a batch."""
        answers: list[Any] = []
        for number, sentence in enumerate(model_outputs["sentences"]):
            if aggregation_strategy == "none":
                found = labelled_words_of(sentence, model_outputs["labels"][number])
            else:
                spans, types = model_outputs["spans"][number], self.model.crf.types
                found = entities_of(sentence, spans, types, limits, top_k)
            details = details_of(sentence, found)
            if "attention" in model_outputs:
                details["attention"] = model_outputs["attention"][number]
            answers.append(details if return_details else found)
        return answers


def _places(sentence: Sentence) -> int:
    """The places that a sentence takes in the buffer."""
    of_image = 0 if sentence.image is None else PLACES_OF_AN_IMAGE
    return 1 + len(sentence.words) // WORDS_OF_A_PLACE + of_image


def _check_count(name: str, value: Any, least: int = 1) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is {described(value)}, expected an integer")
    if value < least:
        raise ValueError(f"{name} is {value}, expected at least {least}")
