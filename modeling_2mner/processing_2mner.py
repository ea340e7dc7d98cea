"""The processor: words and an image into tensors, and what the model says back into entities.

What is unusual:

* Every word gets exactly one label. A sentence too long for the text encoder becomes overlapping
  windows, and each word is read in the window where it has most context; a word that the tokenizer
  maps to nothing is read as unknown.
* Visual context, text made from the image, stands behind the words, `<s> words </s> context
  </s>`, in the room that they leave: it never takes a word's place, and no word points into it.
* An image that is missing, broken or enormous is a mask, never an exception and never a
  placeholder: the log says which one and why.

Shapes: `B` sentences, `N` >= `B` windows of `L` sub-words, `W` words.
"""

from .requirements_2mner import LEAST_TRANSFORMERS  # noqa: F401 -- first: it checks the version

# isort: split

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from PIL import Image, ImageOps
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
from .crf_2mner import UNKNOWN
from .images_2mner import ImageError, ImageSource, load_image
from .labels_2mner import is_bioes, repair_labels, spans_from_labels
from .processor_files_2mner import naming_files, read_processor_files
from .quoting_2mner import quoted, shorten
from .words_2mner import WORD_RULES, check_word_rules

__all__ = [
    "CONTEXT_FIELDS",
    "EncodedSentence",
    "TwoMNERProcessor",
    "as_sentences",
    "check_context",
    "check_strings",
    "described",
    "is_listing",
    "split_into_windows",
]

logger = logging.get_logger(__name__)

MAX_ASPECT = 32
"""Longer strips are cropped to this ratio: resizing the short side would make giants of them."""

CONTEXT_FIELDS = ("objects", "captions", "ocr")

VisualContext = Mapping[str, Sequence[str] | None]
"""Text made from an image, by kind: `CONTEXT_FIELDS`."""

LONE_SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a UTF-16 pair, which no tokenizer takes; it is read as U+FFFD."""


def described(value: Any) -> str:
    """A value and its type, as messages name them."""
    return f"{quoted(value)} ({type(value).__name__})"


def is_listing(value: Any) -> bool:
    """Whether this is a list, tuple, array or the like, and not a string, dictionary or stream."""
    if isinstance(value, str | bytes | bytearray | memoryview):
        return False
    return isinstance(value, Sequence) or getattr(value, "ndim", 0) > 0


def check_strings(strings: Any, name: str) -> None:
    """Check a list of strings, by the name that the message calls it.

    Raises:
        TypeError: if it is something else.
    """
    if not is_listing(strings):
        raise TypeError(f"{name} is {described(strings)}, expected a list of strings")
    for place, string in enumerate(strings):
        if not isinstance(string, str):
            raise TypeError(f"{name}[{place}] is {described(string)}, expected a string")


def as_sentences(words: Any, name: str = "words") -> list[list[str]]:
    """Check one sentence or several.

    Args:
        words: a sentence as a list of words, or a list of sentences.
        name: what the message calls it.

    Returns:
        The list of sentences; one sentence is a list of one.

    Raises:
        TypeError: if it is something else.
    """
    if not is_listing(words):
        raise TypeError(
            f"{name} is {described(words)}, expected a list of words, or a list of sentences that "
            "are such lists"
        )
    if _is_sentence(words):
        check_strings(words, name)
        return [list(words)]
    for number, sentence in enumerate(words):
        check_strings(sentence, f"{name}[{number}]")
    return [list(sentence) for sentence in words]


def check_context(context: Any, name: str = "context") -> None:
    """Check one sentence's visual context.

    Args:
        context: None, or lists of strings by field.
        name: what the message calls it.

    Raises:
        TypeError: if it, or what it holds, is of another type.
        ValueError: if it has an unknown field.
    """
    if not isinstance(context, Mapping | None):
        raise TypeError(
            f"{name} is {described(context)}, expected a dictionary of lists of strings, or None"
        )
    for field, strings in (context or {}).items():
        if field not in CONTEXT_FIELDS:
            raise ValueError(
                f"{name} has the field {described(field)}, expected some of "
                f"{', '.join(CONTEXT_FIELDS)}"
            )
        if strings is not None:
            check_strings(strings, f"{name}[{field!r}]")


def _one_each(values: Any, count: int, name: str, kind: str) -> list:
    """Check that a list has one item for each sentence."""
    if not is_listing(values):
        raise TypeError(f"{name} is {described(values)}, expected a list: for each sentence {kind}")
    if len(values) != count:
        raise ValueError(f"{name} has {len(values)} items for {count} sentences")
    return list(values)


def _crop_strip(image: Image.Image) -> Image.Image:
    """Keep the middle of a strip longer than `MAX_ASPECT` times its breadth."""
    longest = MAX_ASPECT * min(image.size)
    if max(image.size) <= longest:
        return image
    return ImageOps.fit(image, (min(image.width, longest), min(image.height, longest)))


def split_into_windows(
    lengths: Sequence[int], room: int, overlap: int
) -> list[tuple[int, int, int, int]]:
    """Cut a sentence into windows of whole words.

    Args:
        lengths: sub-words of each word, each at least 1 and at most `room`.
        room: sub-words that a window holds.
        overlap: sub-words, at most, that a window shares with the one before it.

    Returns:
        Windows `(start, end, first, last)`: the window reads words `[start, end)`, and words
        `[first, last)` get their label from it. The second ranges follow one another and cover the
        sentence. A sentence without words has one empty window.
    """
    ends = [0, *accumulate(lengths)]
    bounds = []
    start = end = 0
    while end < len(lengths) or not bounds:
        while end < len(lengths) and ends[end + 1] - ends[start] <= room:
            end += 1
        bounds.append((start, end))
        # Step back over words that fit into the overlap, but always forward from this window's
        # start, and never so far back that the next window would end where this one does.
        following = end
        while (
            end < len(lengths)
            and following - 1 > start
            and ends[end] - ends[following - 1] <= overlap
            and ends[end + 1] - ends[following - 1] <= room
        ):
            following -= 1
        start = following

    windows = []
    first = 0
    for number, (start, end) in enumerate(bounds):
        last = end
        if number + 1 < len(bounds):
            next_start = bounds[number + 1][0]
            # Within the overlap the context grows on one side as it shrinks on the other: change
            # over in the middle.
            middle = (ends[next_start] + ends[end]) / 2
            last = next(
                word for word in range(next_start, end + 1) if word == end or ends[word] >= middle
            )
        windows.append((start, end, first, last))
        first = last
    return windows


@dataclass(frozen=True)
class EncodedSentence:
    """A sentence as the text encoder reads it.

    Attributes:
        windows: the sub-words of each window, special ones and visual context included; at least
            one window.
        word_ends: for each window, where its words end and its visual context begins.
        places: for each word, the window in which it is read and its first sub-word there.
        has_context: whether there is visual context.
    """

    windows: list[list[int]]
    word_ends: list[int]
    places: list[tuple[int, int]]
    has_context: bool

    @property
    def length(self) -> int:
        """The sub-words of the longest window."""
        return max(map(len, self.windows))


class TwoMNERProcessor(ProcessorMixin):
    """Prepares words and images for the 2M-NER models, and reads entities off what they give.

        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
        words = ["Angela", "Merkel", "besucht", "Paris"]
        inputs = processor(words, images="photo.jpg")
        entities = processor.post_process_entities(model(**inputs), [words])[0]
        # [{"label": "PER", "start": 0, "end": 2, "text": "Angela Merkel", "score": 0.98}, ...]

    Args:
        image_processor: resizes and normalises images. A processor of `transformers` that may
            have one must have one; a text-only model's is there, and not used.
        tokenizer: a fast tokenizer.
        labels: the label names in the order of the model's emissions.
        max_length: sub-words in a window, special ones included.
        window_overlap: sub-words, at most, that two windows of a long sentence share; never more
            than half of a window.
        reads_images: False for a text-only model: images are then left aside.
        context_fields: which kinds of visual context are read, in the order in which they are
            written: some of "objects", "captions", "ocr".
        context_separator: what stands between two of its strings.
        context_budget: sub-words of visual context, at most, behind a sentence; what is beyond is
            cut off. 0 leaves visual context aside.
        word_rules: the version of the rules by which the pipeline splits a text into words. It is
            saved, so that a published model keeps reading as it was trained; a processor that was
            saved without it has version 1.

    Raises:
        TypeError: if `word_rules` is not an integer.
        ValueError: if the tokenizer is not a fast one, which alone tells which word a sub-word came
            from, a field is unknown, the budget leaves no room for words, or the version of the
            rules is not known.
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
    ):
        super().__init__(image_processor, tokenizer)
        if not isinstance(labels, Sequence) or len(labels) > 0:
            check_labels(labels)
        check_whole("max_length", max_length, 1, 2**24)
        check_whole("window_overlap", window_overlap, 0, 2**24)
        check_whole("context_budget", context_budget, 0, 2**24)
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
        cls, pretrained_model_name_or_path: str, *arguments: Any, **options: Any
    ) -> "TwoMNERProcessor":
        """As every `from_pretrained`; what was loaded is tried on a word and an image.

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
        cls, arguments: Sequence[Any], processor_dict: dict[str, Any], **options: Any
    ) -> Any:
        """As every processor; `reads_pictures` is the name that version 0.1 gave `reads_images`."""
        if "reads_pictures" in processor_dict:
            processor_dict = dict(processor_dict)
            processor_dict.setdefault("reads_images", processor_dict.pop("reads_pictures"))
        return super().from_args_and_dict(arguments, processor_dict, **options)

    @property
    def reads_context(self) -> bool:
        """Whether visual context is read."""
        return self.context_budget > 0

    @classmethod
    def from_text_vision_pretrained(
        cls, text: str, vision: str | None = None, **options
    ) -> "TwoMNERProcessor":
        """Put the tokenizer of a text encoder and the image processor of a vision encoder together.

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
        """The keys of a batch, `labels` aside."""
        names = ["input_ids", "attention_mask", "word_index", "word_mask"]
        names += ["context_mask"] if self.reads_context else []
        return [*names, "pixel_values", "image_mask"] if self.reads_images else names

    def __call__(
        self,
        words: Sequence[str] | Sequence[Sequence[str]],
        images: ImageSource | Sequence[ImageSource | None] | None = None,
        labels: Sequence | None = None,
        context: VisualContext | Sequence[VisualContext | None] | None = None,
        return_tensors: str = "pt",
    ) -> BatchFeature:
        """Prepare one sentence or a batch of them.

        Args:
            words: a sentence as a list of words, or a list of sentences.
            images: an image or None for each sentence: a path, bytes, `datasets`' {"bytes",
                "path"}, a PIL image, an array of NumPy or a tensor (see `load_image`).
            labels: for each sentence a label for each word, by name in BIO or BIOES, or by number;
                -100 is unknown.
            context: for each sentence None or its visual context: lists of strings under "objects",
                "captions", "ocr", any of which may be missing or None.
            return_tensors: "pt", the only kind.

        Returns:
            `input_ids`, `attention_mask` `[N, L]`; `word_index`, `word_mask` `[B, W]`; for a model
            with visual context `context_mask` `[N, L]`, true on it and on the special sub-words
            that close it; for a model with images `pixel_values` `[B, 3, h, w]` and `image_mask`
            `[B]`; with labels `labels` `[B, W]`, padded with -100.

        Raises:
            TypeError: if an argument, or what it holds, is of another type: a sentence that is a
                string, a label that is a float or a boolean. The message names which.
            ValueError: if there are no sentences, the numbers of sentences, images, contexts,
                words and labels do not agree, a label is not in the set, a visual context has an
                unknown field, or `return_tensors` is not "pt".
        """
        if return_tensors != "pt":
            raise ValueError(f"return_tensors is {described(return_tensors)}, expected 'pt'")
        sentences = as_sentences(words)
        if not sentences:
            raise ValueError("words has no sentences; one sentence without words is [[]]")
        count = len(sentences)
        if _is_sentence(words):
            images, context = [images], [context]
            labels = None if labels is None else [labels]
        contexts = [None] * count
        if context is not None:
            contexts = _one_each(context, count, "context", "a dictionary or None")
        encoded = self.encode(sentences, contexts)
        pixels = [None] * count
        if self.reads_images and images is not None:
            sources = _one_each(images, count, "images", "an image or None")
            pixels = [self._read_image(row, source) for row, source in enumerate(sources)]
        batch = self.collate(encoded, pixels)
        if labels is not None:
            rows = _one_each(labels, count, "labels", "a list of labels")
            batch["labels"] = self._read_labels(sentences, rows)
        return batch

    def encode(
        self, sentences: list[list[str]], contexts: Sequence[VisualContext | None]
    ) -> list[EncodedSentence]:
        """The windows of sub-words of each sentence, with its visual context: the first half of a
        call, after which a sentence's size is known.

        Raises:
            TypeError, ValueError: as a call does.
        """
        for number, context in enumerate(contexts):
            check_context(context, f"context[{number}]")
        return self._read_words(sentences, self._read_context(contexts))

    def collate(
        self, sentences: Sequence[EncodedSentence], pixels: Sequence[Tensor | None]
    ) -> BatchFeature:
        """A batch of encoded sentences, as a call gives it: the second half of a call.

        Args:
            sentences: at least one.
            pixels: for each sentence None or its image, `[3, h, w]`, as `read_image` gives it.
        """
        batch = self._pad(sentences)
        if self.reads_images:
            values = torch.zeros(len(pixels), *self._pixel_shape)
            image_mask = torch.tensor([image is not None for image in pixels])
            for row, image in enumerate(pixels):
                if image is not None:
                    values[row] = image
            batch |= {"pixel_values": values, "image_mask": image_mask}
        return BatchFeature(batch)

    def read_image(self, source: ImageSource, name: str | None = None) -> Tensor:
        """An image as the model reads it: `[3, h, w]`. It may be called in several threads.

        Args:
            source: the image in any form (see `load_image`).
            name: what messages call an image that has no path.

        Raises:
            ImageError: if it cannot be read.
            TypeError: if it is of another type.
        """
        return self._normalise(_crop_strip(load_image(source, name=name)))

    def _read_context(self, contexts: list[VisualContext | None]) -> list[list[int]]:
        """The sub-words of each sentence's visual context, as many as the budget allows."""
        texts = []
        for context in contexts:
            context = context or {}
            # `or ()` would ask an array for its truth.
            fields = [context.get(name) for name in self.context_fields]
            strings = [text for strings in fields if strings is not None for text in strings]
            texts.append(_encodable(self.context_separator.join(strings)))
        if not self.reads_context or not any(texts):
            return [[] for _ in contexts]
        encoded = self.tokenizer(
            texts, add_special_tokens=False, return_attention_mask=False, verbose=False
        )
        return [self._plain(pieces[: self.context_budget]) for pieces in encoded.input_ids]

    def _read_words(
        self, sentences: list[list[str]], contexts: list[list[int]]
    ) -> list[EncodedSentence]:
        prefix, suffix = self._special_ids
        room = self.max_length - len(prefix) - len(suffix)
        # What is left to the words in a window that carries all the context there may be. Windows
        # are cut by this whatever the context, so that the words are read alike with and without.
        beside = room - self.context_budget - len(suffix) if self.reads_context else room
        encoded = []
        for pieces, context in zip(self._pieces(sentences, beside), contexts, strict=True):
            windows, word_ends, places = [], [], []
            lengths = [len(piece) for piece in pieces]
            width = room if sum(lengths) <= room else beside
            # No more than half of each, or a short window would hardly move forward.
            overlap = min(self.window_overlap, width // 2)
            for start, end, first, last in split_into_windows(lengths, width, overlap):
                positions = [len(prefix), *accumulate(lengths[start:end], initial=len(prefix))][1:]
                places += [(len(windows), positions[word - start]) for word in range(first, last)]
                row = [*prefix, *(piece for word in pieces[start:end] for piece in word), *suffix]
                word_ends.append(len(row))
                left = context[: max(0, self.max_length - len(row) - len(suffix))]
                windows.append([*row, *left, *suffix] if left else row)
            encoded.append(EncodedSentence(windows, word_ends, places, bool(context)))
        return encoded

    def _pad(self, sentences: Sequence[EncodedSentence]) -> dict[str, Tensor]:
        """The tensors of a batch's words and contexts."""
        rows = [window for sentence in sentences for window in sentence.windows]
        length = max(map(len, rows))
        most = max(1, *(len(sentence.places) for sentence in sentences))
        pad = self.tokenizer.pad_token_id
        index, first = [], 0
        for sentence in sentences:
            places = sentence.places or [(0, 0)]
            # Padding repeats a sentence's first place: it never reaches into another sentence.
            places = places + [places[0]] * (most - len(places))
            index.append([(first + row) * length + position for row, position in places])
            first += len(sentence.windows)
        words = torch.tensor([len(sentence.places) for sentence in sentences])
        batch = {
            "input_ids": torch.tensor([row + [pad] * (length - len(row)) for row in rows]),
            "attention_mask": torch.tensor(
                [[1] * len(row) + [0] * (length - len(row)) for row in rows]
            ),
            "word_index": torch.tensor(index),
            "word_mask": torch.arange(most) < words[:, None],
        }
        if self.reads_context:
            word_ends = [end for sentence in sentences for end in sentence.word_ends]
            behind = torch.arange(length) >= torch.tensor(word_ends)[:, None]
            batch["context_mask"] = behind & batch["attention_mask"].bool()
        return batch

    def _pieces(self, sentences: list[list[str]], room: int) -> list[list[list[int]]]:
        """The sub-words of each word: at least one, and no more than a window holds."""
        encoded = self.tokenizer(
            [[_encodable(word) for word in sentence] for sentence in sentences],
            is_split_into_words=True,
            add_special_tokens=False,
            return_attention_mask=False,
            verbose=False,
        )
        pieces = []
        for number, sentence in enumerate(sentences):
            found: list[list[int]] = [[] for _ in sentence]
            for word, piece in zip(
                encoded.word_ids(number), self._plain(encoded.input_ids[number]), strict=True
            ):
                found[word].append(piece)
            pieces.append([word[:room] or [self.tokenizer.unk_token_id] for word in found])
        return pieces

    def _plain(self, pieces: list[int]) -> list[int]:
        """Sub-words of a text; special ones that it spells, such as `</s>`, are read as unknown."""
        unknown = self.tokenizer.unk_token_id
        return [unknown if piece in self._reserved else piece for piece in pieces]

    @cached_property
    def _reserved(self) -> frozenset[int]:
        return frozenset(self.tokenizer.all_special_ids)

    @cached_property
    def _special_ids(self) -> tuple[list[int], list[int]]:
        """What the tokenizer puts before and after a sentence."""
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

    def _read_image(self, row: int, source: ImageSource | None) -> Tensor | None:
        """An image of a batch; None where there is none, or none that can be read."""
        if source is None:
            return None
        try:
            return self.read_image(source, name=f"images[{row}]")
        except ImageError as error:
            logger.warning_once(f"Read without its image: {error}")
            return None

    def _normalise(self, image: Image.Image) -> Tensor:
        return self.image_processor(images=[image], return_tensors="pt")["pixel_values"][0]

    @cached_property
    def _pixel_shape(self) -> torch.Size:
        """`(3, h, w)`, known best by trying."""
        return self._normalise(Image.new("RGB", (32, 32))).shape

    def _read_labels(self, sentences: list[list[str]], labels: list[Sequence]) -> Tensor:
        rows, repaired = [], []
        for number, (sentence, row) in enumerate(zip(sentences, labels, strict=True)):
            row = row.tolist() if hasattr(row, "tolist") else row
            if not is_listing(row):
                raise TypeError(f"labels[{number}] is {described(row)}, expected a list of labels")
            if len(row) != len(sentence):
                raise ValueError(
                    f"sentence {number} has {len(sentence)} words and {len(row)} labels"
                )
            names = self._label_names(number, row)
            rows.append(self._label_ids(number, names))
            if names not in (repair_labels(names, "BIO"), repair_labels(names, "BIOES")):
                repaired.append(number)
        if repaired:
            logger.warning(
                "labels: repaired in %d of %d sentences (such as an I- that continues nothing), "
                "the first is sentence %d",
                len(repaired),
                len(sentences),
                repaired[0],
            )
        most = max(1, *map(len, rows))
        return torch.tensor([row + [UNKNOWN] * (most - len(row)) for row in rows])

    def _label_names(self, number: int, labels: Sequence) -> list[str | None]:
        """One sentence's labels as names, None where the label is unknown."""
        if all(isinstance(label, str) for label in labels):
            return list(labels)
        names: list[str | None] = []
        for word, label in enumerate(labels):
            index = label.item() if getattr(label, "ndim", None) == 0 else label
            if isinstance(index, bool) or not isinstance(index, int):
                raise TypeError(
                    f"labels[{number}][{word}] is {described(label)}, expected all labels of a "
                    "sentence to be names, or all integers"
                )
            if index != UNKNOWN and not 0 <= index < len(self.labels):
                raise self._not_a_label(number, word, label)
            names.append(None if index == UNKNOWN else self.labels[index])
        return names

    def _label_ids(self, number: int, labels: Sequence[str | None]) -> list[int]:
        """One sentence's labels as numbers, repaired and spelled in the model's scheme."""
        scheme = "BIOES" if is_bioes(self.labels) else "BIO"
        ids = {label: index for index, label in enumerate(self.labels)} | {None: UNKNOWN}
        try:
            names = repair_labels(labels, scheme)
        except ValueError as error:
            raise ValueError(f"sentence {number}: {error}") from None
        for word, name in enumerate(names):
            if name not in ids:
                raise self._not_a_label(number, word, labels[word])
        return [ids[name] for name in names]

    def _not_a_label(self, number: int, word: int, label: Any) -> ValueError:
        known = shorten(", ".join(self.labels))
        return ValueError(
            f"sentence {number}, word {word}: label {quoted(label)} is not one of {known}"
        )

    def post_process_entities(
        self, outputs, words: Sequence[Sequence[str]]
    ) -> list[list[dict[str, Any]]]:
        """Read the entities off what the model gave.

        Args:
            outputs: the output of `TwoMNERForTokenClassification` in evaluation mode.
            words: the sentences of the batch.

        Returns:
            For each sentence its entities in order: `label` the type, `start` and `end` the words
            `[start, end)`, `text` the words with spaces, `score` the probability of exactly this
            entity.

        Raises:
            TypeError: if the sentences are no lists of strings.
            ValueError: if the model was in training mode, gave another number of sentences, or has
                another number of labels.
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
        entities = []
        rows = zip(
            sentences, outputs.predictions.tolist(), outputs.entity_scores.tolist(), strict=True
        )
        for sentence, ids, scores in rows:
            names = [self.labels[index] for index in ids[: len(sentence)]]
            entities.append(
                [
                    {
                        "label": entity_type,
                        "start": start,
                        "end": end,
                        "text": " ".join(sentence[start:end]),
                        "score": scores[start],
                    }
                    for start, end, entity_type in spans_from_labels(names)
                ]
            )
        return entities


def _is_sentence(words: Sequence) -> bool:
    """Whether this is one sentence, a list of words, and not a list of sentences."""
    return len(words) > 0 and isinstance(words[0], str)


def _encodable(text: str) -> str:
    return LONE_SURROGATE.sub("\ufffd", text)
