"""The processor: words and images into tensors, and the output of the model into entities.

* Every word gets exactly one label, however long its sentence is (see `windows_2mner`). A word for
  which the tokenizer gives no sub-word is read as the unknown sub-word.
* Visual context, text made from the image, takes the room that the words leave. It takes part in no
  label and no loss.
* An image that is missing or cannot be read is a mask: the sentence is read without it, and the log
  names the image and the reason.
* A sentence may have several images, as a list. A list of one image is that image.

Shapes: `B` sentences, `N` >= `B` windows of `L` sub-words, `W` words, `I` places for images.
"""

from .requirements_2mner import LEAST_TRANSFORMERS  # noqa: F401 -- first: it checks the version

# isort: split

import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoTokenizer,
    BatchFeature,
    CLIPImageProcessorPil,
    ProcessorMixin,
)
from transformers.utils import logging

from .checks_2mner import check_labels, check_whole
from .configuration_2mner import TwoMNERConfig
from .decoding_2mner import decoded_entities
from .encoding_2mner import SentenceEncoder
from .images_2mner import ImageError, ImageSource, crop_strip, images_of, load_image
from .labels_2mner import UNKNOWN
from .processor_files_2mner import naming_files, read_processor_files
from .quoting_2mner import described, quoted
from .sentences_2mner import (
    CONTEXT_FIELDS,
    VisualContext,
    as_sentences,
    is_sentence,
    label_ids,
    one_each,
)
from .windows_2mner import EncodedSentence, WindowLayout, pad_windows
from .words_2mner import WORD_RULES, check_word_rules

__all__ = ["TwoMNERProcessor"]

logger = logging.get_logger(__name__)


class TwoMNERProcessor(ProcessorMixin):
    """Prepares words and images for the 2M-NER models, and decodes their output into entities.

        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
        words = ["Angela", "Merkel", "besucht", "Paris"]
        inputs = processor(words, images="photo.jpg")
        entities = processor.post_process_entities(model(**inputs), [words])[0]
        # [{"label": "PER", "start": 0, "end": 2, "text": "Angela Merkel", "score": 0.98}, ...]

    Args:
        image_processor: resizes and normalises images. The library requires one, which a text-only
            model does not use.
        tokenizer: a fast tokenizer.
        labels: the label names in the order of the model's emissions.
        max_length: sub-words in a window, special ones included.
        window_overlap: sub-words, at most, that two windows of a long sentence share; never more
            than half of a window.
        reads_images: False for a text-only model, which ignores images.
        context_fields: the kinds of visual context, in the order in which they are written: some of
            "objects", "captions", "ocr".
        context_separator: the text between two strings of visual context.
        context_budget: sub-words of visual context, at most, behind a sentence; the rest is cut
            off. 0 ignores visual context.
        word_rules: the version of the rules by which the pipeline splits a text into words. It is
            saved, so that a published model splits as in training; a processor that was saved
            without it has version 1.
        max_images: images of a sentence, at most; more are an error.

    Raises:
        TypeError: if `word_rules` is not an integer.
        ValueError: if the tokenizer is not a fast one (only these give the word of each sub-word),
            a field is unknown, the budget leaves no room for words, or the version of the rules is
            not known.
    """

    def __init__(
        self,
        image_processor,
        tokenizer,
        labels: Sequence[str] = (),
        max_length: int = 512,
        window_overlap: int = 128,
        reads_images: bool = True,
        context_fields: Sequence[str] = CONTEXT_FIELDS,
        context_separator: str = " ; ",
        context_budget: int = 0,
        word_rules: int = 1,
        max_images: int = 8,
    ):
        super().__init__(image_processor, tokenizer)
        if not isinstance(labels, Sequence) or len(labels) > 0:
            check_labels(labels)
        check_whole("max_length", max_length, 1, 2**24)
        check_whole("window_overlap", window_overlap, 0, 2**24)
        check_whole("context_budget", context_budget, 0, 2**24)
        check_whole("max_images", max_images, 1, 2**10)
        if not isinstance(reads_images, bool):
            raise ValueError(f"reads_images is {quoted(reads_images)}, expected true or false")
        if not isinstance(context_separator, str):
            raise ValueError(f"context_separator is {quoted(context_separator)}, expected a string")
        if isinstance(context_fields, str) or not isinstance(context_fields, Sequence):
            raise ValueError(
                f"context_fields is {quoted(context_fields)}, expected a list of some of "
                f"{', '.join(CONTEXT_FIELDS)}"
            )
        if not tokenizer.is_fast:
            raise ValueError(
                f"{type(tokenizer).__name__} is a slow tokenizer; the processor needs a fast one"
            )
        self.labels = list(labels)
        self.max_length = max_length
        self.window_overlap = window_overlap
        self.reads_images = reads_images
        self.context_fields = list(context_fields)
        self.context_separator = context_separator
        self.context_budget = context_budget
        self.word_rules = word_rules
        self.max_images = max_images
        check_word_rules(word_rules)
        unknown = [name for name in self.context_fields if name not in CONTEXT_FIELDS]
        if unknown:
            raise ValueError(
                f"context_fields has {unknown[0]!r}, expected some of {', '.join(CONTEXT_FIELDS)}"
            )
        if context_budget and context_budget >= max_length // 2:
            raise ValueError(
                f"context_budget is {context_budget}, expected at least 0 and less than half of "
                f"max_length ({max_length})"
            )
        special = sum(map(len, self._special_ids)) + (
            context_budget + len(self._special_ids[1]) if context_budget else 0
        )
        if max_length <= special:
            raise ValueError(
                f"max_length is {max_length}, expected more than {special}: the special sub-words "
                "and context_budget"
            )

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike, *arguments: Any, **options: Any
    ) -> Self:
        """As every `from_pretrained`; the processor is tried on a word and an image.

        Raises:
            OSError: if a file is missing or broken; the message names it.
            ValueError: if a field is wrong; the message names the file.
        """
        files = read_processor_files(str(pretrained_model_name_or_path), options)
        with naming_files(files):
            processor = super().from_pretrained(
                pretrained_model_name_or_path, *arguments, **options
            )
            images = [Image.new("RGB", (32, 32)), None] if processor.reads_images else None
            batch = processor([["a", "a"], ["a"]], images)
            pixels = batch.get("pixel_values")
            if pixels is not None and not (pixels.shape[1] == 3 and pixels.isfinite().all()):
                raise ValueError(
                    f"image_processor makes {tuple(pixels.shape)} of two images, expected "
                    "(2, 3, height, width) and finite values"
                )
        return processor

    @classmethod
    def from_args_and_dict(
        cls, args: Sequence[Any], processor_dict: dict[str, Any], **kwargs: Any
    ) -> Any:
        """As every processor; `reads_pictures` is the name that version 0.1 gave `reads_images`."""
        if "reads_pictures" in processor_dict:
            processor_dict = dict(processor_dict)
            processor_dict.setdefault("reads_images", processor_dict.pop("reads_pictures"))
        return super().from_args_and_dict(args, processor_dict, **kwargs)

    @property
    def reads_context(self) -> bool:
        """Whether visual context is read."""
        return self.context_budget > 0

    @classmethod
    def from_text_vision_pretrained(
        cls, text: str, vision: str | None = None, **options
    ) -> "TwoMNERProcessor":
        """Build a processor from the tokenizer of a text encoder and the image processor of a
        vision encoder.

        Args:
            text: name or folder of the text encoder.
            vision: name or folder of the vision encoder; None for a text-only model.
            options: further arguments of the class; by default MMNERD's labels, the longest
                windows that the text encoder reads, and the newest rules for words.
        """
        tokenizer = AutoTokenizer.from_pretrained(text, add_prefix_space=True)
        config = AutoConfig.from_pretrained(text)
        config = TwoMNERConfig(text_config=getattr(config, "text_config", config))
        options.setdefault("labels", config.labels)
        options.setdefault("word_rules", WORD_RULES)
        options.setdefault("max_length", min(tokenizer.model_max_length, config.max_positions))
        if vision is None:
            return cls(CLIPImageProcessorPil(), tokenizer, reads_images=False, **options)
        return cls(AutoImageProcessor.from_pretrained(vision, backend="pil"), tokenizer, **options)

    @property
    def model_input_names(self) -> list[str]:
        """The keys of a batch without `labels`."""
        names = ["input_ids", "attention_mask", "word_index", "word_mask"]
        names += ["context_mask"] if self.reads_context else []
        return [*names, "pixel_values", "image_mask"] if self.reads_images else names

    def __call__(
        self,
        words: Sequence[str] | Sequence[Sequence[str]],
        images: ImageSource
        | Sequence[ImageSource | Sequence[ImageSource | None] | None]
        | None = None,
        labels: Sequence | None = None,
        context: VisualContext | Sequence[VisualContext | None] | None = None,
        return_tensors: str = "pt",
    ) -> BatchFeature:
        """Prepare one sentence or a batch of them.

        Args:
            words: a sentence as a list of words, or a list of sentences.
            images: an image, a list of images or None for each sentence: a path, bytes, `datasets`'
                {"bytes", "path"}, a PIL image, an array of NumPy or a tensor (see `load_image`).
            labels: for each sentence a label for each word, by name in BIO or BIOES, or by number;
                -100 is unknown.
            context: for each sentence None or its visual context: lists of strings under "objects",
                "captions", "ocr", any of which may be missing or None.
            return_tensors: "pt", the only kind.

        Returns:
            `input_ids`, `attention_mask` `[N, L]`; `word_index`, `word_mask` `[B, W]`; for a model
            with visual context `context_mask` `[N, L]`, true on it and on the special sub-words
            that close it; for a model with images `pixel_values` `[B, 3, h, w]` and `image_mask`
            `[B]`, or, where some sentence has several, `[B, I, 3, h, w]` and `[B, I]`; with labels
            `labels` `[B, W]`, padded with -100.

        Raises:
            TypeError: if an argument, or a value in it, is of another type: a sentence that is a
                string, a label that is a float or a boolean. The message names it.
            ValueError: if there are no sentences, the numbers of sentences, images, contexts,
                words and labels do not agree, a label is not in the set, a visual context has an
                unknown field, a sentence has more than `max_images` images, or `return_tensors`
                is not "pt".
        """
        if return_tensors != "pt":
            raise ValueError(f"return_tensors is {described(return_tensors)}, expected 'pt'")
        sentences = as_sentences(words)
        if not sentences:
            raise ValueError("words has no sentences; one sentence without words is [[]]")
        count = len(sentences)
        alone = is_sentence(words)
        contexts: list[VisualContext | None] = [None] * count
        if context is not None:
            given = [context] if alone else context
            contexts = one_each(given, count, "context", "a dictionary or None")
        encoded = self.encode(sentences, contexts)
        pixels: list[list[Tensor | None]] = [[]] * count
        if self.reads_images and images is not None:
            sources = one_each(
                [images] if alone else images, count, "images", "an image, a list of images or None"
            )
            pixels = [self._read_images(row, source) for row, source in enumerate(sources)]
        batch = self.collate(encoded, pixels)
        if labels is not None:
            rows = one_each([labels] if alone else labels, count, "labels", "a list of labels")
            ids = label_ids(sentences, rows, self.labels)
            most = max(1, *map(len, ids))
            batch["labels"] = torch.tensor([row + [UNKNOWN] * (most - len(row)) for row in ids])
        return batch

    def encode(
        self, sentences: list[list[str]], contexts: Sequence[VisualContext | None]
    ) -> list[EncodedSentence]:
        """Tokenize sentences and their visual context, and lay them out in windows: the first half
        of a call, after which the size of each sentence is known.

        Raises:
            TypeError, ValueError: as a call does.
        """
        return self.encoder.encode(sentences, contexts)

    def collate(
        self,
        sentences: Sequence[EncodedSentence],
        pixels: Sequence[Tensor | Sequence[Tensor | None] | None],
    ) -> BatchFeature:
        """Pad encoded sentences to a batch: the second half of a call.

        Args:
            sentences: at least one.
            pixels: for each sentence None or the result of `read_image`, `[3, h, w]`; with several
                images a list of such.
        """
        arrays = pad_windows(sentences, self.tokenizer.pad_token_id, self.reads_context)
        batch = {name: torch.from_numpy(values) for name, values in arrays.items()}
        if self.reads_images:
            values, image_mask = _stacked(pixels, self._pixel_shape)
            batch |= {"pixel_values": values, "image_mask": image_mask}
        return BatchFeature(batch)

    def read_image(self, source: ImageSource, name: str | None = None) -> Tensor:
        """Load, resize and normalise an image: `[3, h, w]`. Several threads may call this.

        Args:
            source: the image in any form (see `load_image`).
            name: the name in messages of an image that has no path.

        Raises:
            ImageError: if it cannot be read.
            TypeError: if it is of another type.
        """
        return self.pixels_of(load_image(source, name=name))

    def pixels_of(self, image: Image.Image) -> Tensor:
        """Resize and normalise an image that is loaded: `[3, h, w]`."""
        return self._normalise(crop_strip(image))

    @property
    def encoder(self) -> SentenceEncoder:
        """What cuts words into sub-words and lays them out in windows."""
        tokenizer: Any = self.tokenizer
        backend = tokenizer.backend_tokenizer
        if backend.encode_special_tokens != tokenizer.split_special_tokens:
            backend.encode_special_tokens = tokenizer.split_special_tokens
        layout = WindowLayout(
            self.max_length, self.window_overlap, self.context_budget, *self._special_ids
        )
        return SentenceEncoder(
            backend,
            tokenizer.unk_token_id,
            self._reserved,
            layout,
            self.context_fields,
            self.context_separator,
        )

    @cached_property
    def _reserved(self) -> frozenset[int]:
        return frozenset(self.tokenizer.all_special_ids)

    @cached_property
    def _special_ids(self) -> tuple[list[int], list[int]]:
        """The special sub-words before and behind a sentence."""
        inner = self.tokenizer("a", add_special_tokens=False).input_ids
        outer = self.tokenizer("a").input_ids
        start = next(
            (start for start in range(len(outer)) if outer[start : start + len(inner)] == inner), -1
        )
        if start < 0:
            raise ValueError(
                f"the tokenizer reads 'a' as {quoted(inner)}, with special sub-words as "
                f"{quoted(outer)}, expected the former within the latter"
            )
        return outer[:start], outer[start + len(inner) :]

    def _read_images(self, row: int, source: Any) -> list[Tensor | None]:
        """The images of a sentence of a batch, each None where it cannot be read."""
        images = images_of(source, f"images[{row}]", self.max_images)
        several = len(images) > 1
        names = [
            f"images[{row}][{place}]" if several else f"images[{row}]"
            for place in range(len(images))
        ]
        return [self._read_image(*named) for named in zip(names, images, strict=True)]

    def _read_image(self, name: str, source: ImageSource | None) -> Tensor | None:
        """An image of a batch; None if there is none, or it cannot be read."""
        if source is None:
            return None
        try:
            return self.read_image(source, name=name)
        except ImageError as error:
            logger.warning_once(f"Read without its image: {error}")
            return None

    def _normalise(self, image: Image.Image) -> Tensor:
        return self.image_processor(images=[image], return_tensors="pt")["pixel_values"][0]

    @cached_property
    def _pixel_shape(self) -> torch.Size:
        """`(3, h, w)`, found by trying."""
        return self._normalise(Image.new("RGB", (32, 32))).shape

    def post_process_entities(
        self, outputs, words: Sequence[Sequence[str]]
    ) -> list[list[dict[str, Any]]]:
        """Decode the output of the model into entities.

        Args:
            outputs: the output of `TwoMNERForTokenClassification` in evaluation mode.
            words: the sentences of the batch.

        Returns:
            For each sentence its entities in order: `label` the type, `start` and `end` the words
            `[start, end)`, `text` the words with spaces, `score` the probability of exactly this
            entity.

        Raises:
            TypeError: if the sentences are no lists of strings.
            ValueError: if the model was in training mode, the numbers of sentences differ, or the
                model has another number of labels.
        """
        if outputs.predictions is None:
            raise ValueError(
                "The model gave no predictions: put it into evaluation mode with model.eval()"
            )
        if outputs.logits.shape[-1] != len(self.labels):
            raise ValueError(
                f"the model has {outputs.logits.shape[-1]} labels, the processor {len(self.labels)}"
            )
        sentences = as_sentences(words)
        if len(sentences) != len(outputs.predictions):
            raise ValueError(
                f"words has {len(sentences)} sentences, "
                f"the model's output {len(outputs.predictions)}"
            )
        lengths = [len(sentence) for sentence in sentences]
        found = decoded_entities(
            self.labels, outputs.predictions.tolist(), outputs.entity_scores.tolist(), lengths
        )
        return [
            [
                {
                    "label": entity_type,
                    "start": start,
                    "end": end,
                    "text": " ".join(sentence[start:end]),
                    "score": score,
                }
                for start, end, entity_type, score in entities
            ]
            for sentence, entities in zip(sentences, found, strict=True)
        ]


def _stacked(
    images: Sequence[Tensor | Sequence[Tensor | None] | None], shape: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Images of sentences as one tensor, and its mask.

    Args:
        images: of each sentence: None, one `[3, h, w]`, or a list of such and None.
        shape: `(3, h, w)`.

    Returns:
        `pixel_values` and `image_mask`: `[B, 3, h, w]` and `[B]`; or, if some sentence has a list
        of several, `[B, I, 3, h, w]` and `[B, I]`.
    """
    rows = [list(own) if isinstance(own, list) else [own] for own in images]
    most = max([1, *map(len, rows)])
    values = torch.zeros(len(rows), most, *shape)
    image_mask = torch.zeros(len(rows), most, dtype=torch.bool)
    for row, own in enumerate(rows):
        for place, image in enumerate(own):
            if image is not None:
                values[row, place] = image
                image_mask[row, place] = True
    return (values[:, 0], image_mask[:, 0]) if most == 1 else (values, image_mask)
