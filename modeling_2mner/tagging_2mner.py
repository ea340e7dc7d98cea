"""The call of a tagger: from inputs in any form to entities, whatever runs the model.

`MultimodalNERPipeline` runs it with torch, the `tagger.py` of an exported model with ONNX Runtime.
Everything else stands here once: options, reading inputs, sorted batches, thresholds, answers.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from functools import partial
from typing import Any, ClassVar

import numpy as np

from .answers_2mner import (
    ScoredSpan,
    details_of,
    entities_of,
    labelled_words_of,
    shares_of_images,
)
from .decoding_2mner import Decoding, decoded_entities
from .inputs_2mner import Reader, Sentence, as_several, load_images_of, read_input
from .quoting_2mner import described
from .streaming_2mner import answers_in_order, batches_by_length
from .thresholds_2mner import Limits, limits_from_numbers, parse_wish

__all__ = ["EntityTagger"]

logger = logging.getLogger(__name__)

IMAGE_TOKENS = 64
"""The cost of an image in a batch, in sub-words."""

BUFFER = 1024
"""Sentences that are sorted together."""

WORDS_OF_A_PLACE, PLACES_OF_AN_IMAGE = 128, 8
"""Words that fit in one place of the buffer; places that an image takes."""

IMAGE_WORKERS = 4


class _Answers(Sized):
    """The answers to a data set, computed while they are read; as many as its inputs."""

    def __init__(self, inputs: Sized, answers: Callable[[Any], Iterator]):
        self._inputs, self._answers = inputs, answers

    def __len__(self) -> int:
        return len(self._inputs)

    def __iter__(self) -> Iterator:
        return self._answers(self._inputs)


class EntityTagger(ABC):
    """Finds entities in inputs of any form; a subclass runs a model.

    Attributes:
        labels: the label names, in the order of the emissions.
        types: the entity types, in the order of the labels.
        reader: what prepares sentences.
        OPTIONS: those of a call.
    """

    OPTIONS: ClassVar[tuple[str, ...]] = (
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

    labels: Sequence[str]
    types: Sequence[str]
    reader: Reader
    _preprocess_params: dict[str, Any]
    _forward_params: dict[str, Any]
    _postprocess_params: dict[str, Any]
    _batch_size: int | None
    _num_workers: int | None

    # What runs the model ------------------------------------------------------------------------

    @property
    @abstractmethod
    def _max_tokens(self) -> int:
        """Sub-words of a batch by default."""

    @abstractmethod
    def forward(self, model_inputs: dict[str, list[Sentence]], **options: Any) -> dict[str, Any]:
        """`_forward`, in the way of the library that runs the model."""

    @abstractmethod
    def _decode(
        self, sentences: list[Sentence], max_tokens: int, view: str, attention: bool = False
    ) -> tuple[np.ndarray, Decoding, list[dict[str, Any] | None]]:
        """Run the model on encoded sentences whose images are read.

        Args:
            sentences: a batch.
            max_tokens: sub-words that the text encoder reads at once, but at least one window.
            view: "image_text", or "text", without images and visual context.
            attention: whether to give what the words attended to.

        Returns:
            The emissions `[B, W, K]`, what the CRF says about them, and for each sentence what its
            words attended to, or None.
        """

    @abstractmethod
    def _span_scores(
        self, emissions: np.ndarray, lengths: Sequence[int], spans: list[tuple[int, int, int]]
    ) -> np.ndarray:
        """`[n, T]`, as `Decoder.span_scores`."""

    @abstractmethod
    def _fetch(self, address: str) -> Any:
        """The image at an address that the user named."""

    @abstractmethod
    def _stored_limits(self, kind: str, level: float) -> Limits:
        """The thresholds for a "precision" or a "risk" that are stored with the model."""

    def _as_several(self, inputs: Any) -> Any:
        """Several inputs as a list, an iterator or a data set; one input as it is."""
        return as_several(inputs)

    def _is_data_set(self, inputs: Any) -> bool:
        """Whether this is a data set, of which there is another way to read the rows."""
        return False

    def _each_of(self, inputs: Any) -> Iterator:
        """The inputs of a list, an iterator or a data set, one by one."""
        return iter(inputs)

    # The call -----------------------------------------------------------------------------------

    def _sanitize_parameters(self, **given: Any) -> tuple[dict, dict, dict]:
        unknown = [name for name in given if name not in self.OPTIONS]
        if unknown:
            *most, last = self.OPTIONS
            raise TypeError(
                f"there is no option {unknown[0]!r}, expected {', '.join(most)} or {last}"
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
            return self._stored_limits("risk", float(risk))
        if isinstance(threshold, str):
            return self._stored_limits(*parse_wish(threshold))
        return limits_from_numbers(threshold, self.types)

    def __call__(
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
                    least 0.5, "disagree" if it gives that to another type, "image" otherwise. For a
                    sentence with several images also `images`: for each the share, 0 to 1, of the
                    attention of the entity's words that it has, among the first 512 words.
                attention: with `return_details`, give the details `attention`: None for an input
                    without an image, else which patches of the first vision encoder its words
                    attended to, at most the first 512 of them. `words` has of each `word`, `start`,
                    `end` and `patches`, the weights as rows of columns, a mean over the heads; what
                    they lack to a sum of 1 went to special patches, such as a class token. `box`
                    is the part of the image that the grid covers, left, top, right and bottom as
                    fractions of the image's width and height: an image processor may crop. With
                    several images `boxes` has one for each, None if it was not readable; `images`
                    of a word are the shares of the images, and `patches` those of each image.
                return_details: for each input a dictionary of its `entities`, the number of
                    `windows`, `image` ("read", "unreadable" or "none"; of several images "read" if
                    one was), and `image_error`, the reason if one was not readable.

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
        given = self._sanitize_parameters(**options)
        defaults = (self._preprocess_params, self._forward_params, self._postprocess_params)
        preprocess, forward, postprocess = (
            {**default, **params} for default, params in zip(defaults, given, strict=True)
        )
        self._check_combination(forward, postprocess, preprocess.get("spans"))
        inputs = self._as_several(inputs)
        is_split = preprocess.get("is_split_into_words")
        if is_split and isinstance(inputs, list) and any(isinstance(word, str) for word in inputs):
            inputs = {"words": inputs}
        if not (isinstance(inputs, list | Iterator) or self._is_data_set(inputs)):
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
        load_images_of(sentence, self.reader, self._fetch)
        _warn_of_images([sentence])
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
            num_workers = IMAGE_WORKERS if self.reader.reads_images else 0

        def answers(inputs: Any) -> Iterator:
            return answers_in_order(
                self._each_of(inputs),
                prepare=partial(self._prepare, **preprocess_params),
                load=partial(load_images_of, reader=self.reader, download=self._fetch),
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
        return read_input(given, self.reader, **options)

    def _plan(
        self, sentences: list[Sentence], max_tokens: int, most: int | None
    ) -> list[list[int]]:
        """Encode the sentences of a buffer, and form batches."""
        _warn_of_images(sentences)
        self._encode(sentences)
        sizes = [
            (
                len(sentence.encoded.windows),
                sentence.encoded.length,
                IMAGE_TOKENS * sentence.images_read,
            )
            for sentence in sentences
        ]
        return batches_by_length(sizes, max_tokens, most)

    def _encode(self, sentences: list[Sentence]) -> None:
        words = [sentence.word_list for sentence in sentences]
        contexts = [sentence.context for sentence in sentences]
        for sentence, encoded in zip(sentences, self.reader.encode(words, contexts), strict=True):
            sentence.encoding = encoded

    def _run(
        self, sentences: list[Sentence], forward_params: dict, postprocess_params: dict
    ) -> list[Any]:
        outputs = self.forward({"sentences": sentences}, **forward_params)
        return self.postprocess(outputs, **postprocess_params)

    def preprocess(self, input_: Any, **options: Any) -> dict[str, Any]:
        """One input as a batch of one sentence."""
        sentence = self._prepare(input_, **options)
        load_images_of(sentence, self.reader, self._fetch)
        return {"sentences": [sentence]}

    def _forward(
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
        emissions, decoding, attended = self._decode(
            sentences,
            max_tokens,
            "image_text",
            attention=attention or (explain and any(len(one.pixels) > 1 for one in sentences)),
        )
        predictions = decoding.labels.tolist()
        lengths = [len(sentence.words) for sentence in sentences]
        found: dict[str, Any] = {"sentences": sentences}
        if attention:
            found["attention"] = attended
        if aggregation_strategy == "none":
            rows = zip(predictions, decoding.marginals.tolist(), lengths, strict=True)
            return {**found, "labels": [self._labels(*row) for row in rows]}
        entities = decoded_entities(
            self.labels, predictions, decoding.entity_scores.tolist(), lengths
        )
        spans = [[ScoredSpan(*entity) for entity in own] for own in entities]
        for number, sentence in enumerate(sentences):
            if sentence.candidates is not None:
                spans[number] = [ScoredSpan(*bounds, "", 0.0) for bounds in sentence.candidates]
        to_score = [
            own if top_k is not None or sentence.candidates is not None else []
            for own, sentence in zip(spans, sentences, strict=True)
        ]
        for span, by_type in self._scores(emissions, lengths, to_score):
            span.by_type = by_type
            if not span.label:
                span.score = max(by_type)
                span.label = self.types[by_type.index(span.score)]
        if explain:
            self._compare_with_text(sentences, spans, max_tokens)
            for sentence, own, found_in in zip(sentences, spans, attended, strict=True):
                if len(sentence.pixels) > 1 and found_in is not None:
                    for span in own:
                        span.images = shares_of_images(found_in["words"][span.start : span.end])
        return {**found, "spans": spans}

    def _compare_with_text(
        self, sentences: list[Sentence], spans: list[list[ScoredSpan]], max_tokens: int
    ) -> None:
        """Score the spans in the text view, where it differs."""
        rows = [
            number
            for number, sentence in enumerate(sentences)
            if spans[number] and (sentence.images_read or sentence.encoded.has_context)
        ]
        if rows:
            chosen = [sentences[row] for row in rows]
            lengths = [len(sentence.words) for sentence in chosen]
            emissions, _, _ = self._decode(chosen, max_tokens, "text")
            own = [spans[row] for row in rows]
            for span, by_type in self._scores(emissions, lengths, own):
                span.by_type_in_text = by_type

    def _scores(
        self, emissions: np.ndarray, lengths: Sequence[int], spans: list[list[ScoredSpan]]
    ) -> Iterable[tuple[ScoredSpan, list[float]]]:
        """Each span, and the probability of every type over it."""
        flat = [(row, span) for row, own in enumerate(spans) for span in own]
        if not flat:
            return ()
        bounds = [(row, span.start, span.end) for row, span in flat]
        by_type = self._span_scores(emissions, lengths, bounds).tolist()
        return zip((span for _, span in flat), by_type, strict=True)

    def _labels(
        self, predictions: list[int], marginals: list[list[float]], length: int
    ) -> list[tuple[str, float]]:
        """Each word's label and its probability."""
        return [
            (self.labels[label], scores[label])
            for label, scores in zip(predictions[:length], marginals[:length], strict=True)
        ]

    def postprocess(
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
                spans = model_outputs["spans"][number]
                found = entities_of(sentence, spans, self.types, limits, top_k)
            details = details_of(sentence, found)
            if "attention" in model_outputs:
                details["attention"] = model_outputs["attention"][number]
            answers.append(details if return_details else found)
        return answers


def _places(sentence: Sentence) -> int:
    """The places that a sentence takes in the buffer."""
    of_images = PLACES_OF_AN_IMAGE * len(sentence.images)
    return 1 + len(sentence.words) // WORDS_OF_A_PLACE + of_images


def _warn_of_images(sentences: Iterable[Sentence]) -> None:
    for sentence in sentences:
        if sentence.image_error is not None:
            which = "one of its images" if sentence.images_read else "its image"
            logger.warning(f"Read without {which}: {sentence.image_error}")


def _check_count(name: str, value: Any, least: int = 1) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is {described(value)}, expected an integer")
    if value < least:
        raise ValueError(f"{name} is {value}, expected at least {least}")
