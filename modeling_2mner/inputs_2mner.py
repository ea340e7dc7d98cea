"""The inputs of the pipeline, in any form, as sentences: words with offsets, and images.

The user's string is never changed: every word has its characters `[start, end)` in it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Protocol

from PIL import Image

from .fetch_2mner import is_address
from .images_2mner import ImageError, images_of, load_image
from .quoting_2mner import described, shorten
from .sentences_2mner import (
    CONTEXT_FIELDS,
    VisualContext,
    check_context,
    check_strings,
    is_listing,
)
from .windows_2mner import EncodedSentence
from .words_2mner import split_into_words

__all__ = ["Reader", "Sentence", "as_several", "load_images_of", "read_input"]


class Reader(Protocol):
    """What prepares sentences for a model: its processor.

    Attributes:
        word_rules: the version of the rules for words.
        reads_images: whether the model reads images.
        max_images: images of a sentence, at most.
    """

    word_rules: int
    reads_images: bool
    max_images: int

    def encode(
        self, sentences: list[list[str]], contexts: Sequence[VisualContext | None]
    ) -> list[EncodedSentence]:
        """Sentences as windows of sub-words."""
        ...

    def pixels_of(self, image: Image.Image) -> Any:
        """Resize and normalise an image that is loaded: `[3, h, w]`."""
        ...


@dataclass
class Sentence:
    """One input.

    Attributes:
        text: the user's text, or the words joined by spaces.
        words: each word's characters `[start, end)` of the text.
        context: the image's visual context.
        candidates: words `[start, end)` to be scored; None finds entities.
        images: its images in any form, until they are loaded; None among them is none.
        from_row: whether it is a row of a data set, of which nothing is fetched.
        alone: whether it was given alone, and its image's error is raised.
        pixels: of each image `[3, h, w]`, resized and normalised; None if it could not be read.
        image_sizes: width and height of each image, upright, before that.
        image_error: why an image could not be read, or several.
        encoding: its sub-words, once it is encoded.
    """

    text: str
    words: list[tuple[int, int]]
    context: dict[str, Any]
    candidates: list[tuple[int, int]] | None
    images: list[Any]
    from_row: bool
    alone: bool
    pixels: list[Any] = field(default_factory=list)
    image_sizes: list[tuple[int, int]] = field(default_factory=list)
    image_error: str | None = None
    encoding: EncodedSentence | None = None

    @property
    def encoded(self) -> EncodedSentence:
        """Its sub-words, after it has been encoded."""
        assert self.encoding is not None
        return self.encoding

    @property
    def word_list(self) -> list[str]:
        return [self.text[start:end] for start, end in self.words]

    @property
    def images_read(self) -> int:
        """How many images were read."""
        return sum(pixels is not None for pixels in self.pixels)

    @property
    def image_state(self) -> str:
        """ "read" if one was read, "unreadable" if none of them could be, or "none" where there is
        none or the model reads none.
        """
        if self.images_read:
            return "read"
        return "none" if self.image_error is None else "unreadable"


def as_several(inputs: Any) -> Any:
    """Several inputs as a list or an iterator; one input as it is."""
    if hasattr(inputs, "tolist"):  # an array or a tensor
        inputs = inputs.tolist()
    if isinstance(inputs, list | tuple):
        return list(inputs)
    if isinstance(inputs, Iterable) and not isinstance(
        inputs, str | bytes | bytearray | Mapping | Set
    ):
        return iter(inputs)
    return inputs


def read_input(
    given: Any,
    reader: Reader,
    is_split_into_words: bool = False,
    spans: Any = None,
    alone: bool = False,
) -> Sentence:
    """Check one input and split it into words; its image is not read.

    Raises:
        TypeError: if it, or a value in it, is of another type.
        ValueError: if it has other keys, too many images, or a span does not consist of whole
            words.
    """
    if is_split_into_words and is_listing(given):
        given = {"words": given}
    if isinstance(given, str) and not is_split_into_words:
        given = {"text": given}
    if not isinstance(given, Mapping):
        expected = "a list of words" if is_split_into_words else "a text"
        raise TypeError(
            f"an input is {described(given)}, expected {expected}, or a dictionary with "
            "'text' or 'words' and perhaps 'image'; give a list of words as {'words': [...]}"
        )
    names = [key for key in ("text", "words", "tokens") if key in given]
    known = {*names, "image", "spans", *CONTEXT_FIELDS}
    from_row = names == ["tokens"]
    if len(names) != 1 or (not from_row and not known.issuperset(given)):
        raise ValueError(
            f"an input has the keys {shorten(', '.join(map(repr, given)))}, "
            "expected 'text' or 'words', and perhaps 'image', 'spans', "
            f"{', '.join(map(repr, CONTEXT_FIELDS))}"
        )
    content = given[names[0]]
    if names == ["text"]:
        if not isinstance(content, str):
            raise TypeError(f"'text' is {described(content)}, expected a string")
        text, words = content, split_into_words(content, reader.word_rules)
    else:
        check_strings(content, repr(names[0]))
        text, words = _joined(list(content))
    context = {name: given.get(name) for name in CONTEXT_FIELDS}
    check_context(context, "the context")
    if spans is None and not from_row:
        spans = given.get("spans")
    candidates = None
    if spans is not None:
        candidates = _candidates(spans, words, text if names == ["text"] else None)
    images = images_of(
        given.get("image") if reader.reads_images else None, "'image'", reader.max_images
    )
    return Sentence(text, words, context, candidates, images, from_row, alone)


def load_images_of(sentence: Sentence, reader: Reader, download: Callable[[str], Any]) -> None:
    """Read a sentence's images, if it has any. If one cannot be read, the reason is stored in
    `image_error`.

    Args:
        sentence: whose images are read.
        reader: of the model.
        download: from an address to what is there; not called for a row of a data set.

    Raises:
        TypeError: if one is no image.
        ImageError, OSError: if none of them can be read, and the input was given alone.
    """
    sources, sentence.images = sentence.images, []
    errors: list[Exception] = []
    for source in sources:
        pixels, size = None, (0, 0)
        try:
            if is_address(source) and not sentence.from_row:
                source = download(source)
            if source is not None:
                image = load_image(source)
                pixels, size = reader.pixels_of(image), image.size
        except (ImageError, OSError) as error:
            errors.append(error)
        sentence.pixels.append(pixels)
        sentence.image_sizes.append(size)
    if errors and not sentence.images_read and sentence.alone and not sentence.from_row:
        raise errors[0]
    sentence.image_error = "; ".join(map(str, errors)) or None


def _joined(words: list[str]) -> tuple[str, list[tuple[int, int]]]:
    """Words joined by spaces, and the offsets of each."""
    spans = []
    position = 0
    for word in words:
        spans.append((position, position + len(word)))
        position += len(word) + 1
    return " ".join(words), spans


def _candidates(
    spans: Any, words: list[tuple[int, int]], text: str | None
) -> list[tuple[int, int]]:
    """Spans as words `[start, end)`.

    Args:
        spans: characters `[start, end)` of the text, or words where the input is words.
        words: each word's characters.
        text: the text, if the input is one.
    """
    if not is_listing(spans):
        raise TypeError(f"'spans' is {described(spans)}, expected a list of (start, end)")
    first = {start: number for number, (start, _) in enumerate(words)}
    last = {end: number for number, (_, end) in enumerate(words, 1)}
    found = []
    for number, span in enumerate(spans):
        pair = tuple(span) if is_listing(span) else ()
        if len(pair) != 2 or any(
            isinstance(bound, bool) or not isinstance(bound, int) for bound in pair
        ):
            raise TypeError(
                f"'spans'[{number}] is {described(span)}, expected (start, end), whole numbers"
            )
        start, end = pair
        if text is not None:
            if start not in first or end not in last or first[start] >= last[end]:
                raise ValueError(
                    f"'spans'[{number}] is ({start}, {end}), characters "
                    f"{shorten(repr(text[max(0, start) : max(0, end)]))}, expected the first "
                    "character of a word and the end of one"
                )
            start, end = first[start], last[end]
        elif not 0 <= start < end <= len(words):
            raise ValueError(
                f"'spans'[{number}] is ({start}, {end}), expected words 0 <= start < end <= "
                f"{len(words)}"
            )
        found.append((start, end))
    return found
