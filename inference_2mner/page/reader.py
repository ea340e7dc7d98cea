"""From what a visitor sends to what the model says: with the image, and from the words alone."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .inputs import VisitorError, read_context, read_image, read_text

__all__ = ["Answer", "Reader"]


@dataclass(frozen=True)
class Answer:
    """What the model says of a sentence.

    Attributes:
        text: the sentence.
        image: the encoded image that was read; None if none was.
        read: the pipeline's details of the sentence as it was sent.
        alone: those of its words alone; None where nothing but words was sent.
    """

    text: str
    image: bytes | None
    read: dict[str, Any]
    alone: dict[str, Any] | None


class Reader:
    """A model's pipeline, called by one visitor at a time.

    Args:
        ner: a `MultimodalNERPipeline`, of the installed code or of the model's repository.
        name: the model's name, as it is shown.
    """

    def __init__(self, ner: Any, name: str) -> None:
        processor = ner.processor
        self.name = name
        self.types: list[str] = list(ner.model.crf.types)
        self.reads_images: bool = processor.reads_images
        self.context_fields: list[str] = processor.context_fields if processor.reads_context else []
        self._ner, self._lock = ner, threading.Lock()

    @property
    def reads_more(self) -> bool:
        """Whether the model reads anything but words."""
        return self.reads_images or bool(self.context_fields)

    def answer(self, text: object, image: object, context: Mapping[str, object]) -> Answer:
        """Read a sentence.

        Args:
            text: the sentence.
            image: its image, see `read_image`; empty for none.
            context: its visual context by field, see `read_context`.

        Raises:
            VisitorError: if something is missing, too large or unreadable.
        """
        sentence: dict[str, Any] = {"text": read_text(text)}
        found = read_context(self.context_fields, context)
        content = read_image(image) if self.reads_images else None
        own = sentence | found | ({} if content is None else {"image": content})
        options: dict[str, Any] = {"top_k": len(self.types), "return_details": True}
        with self._lock:
            try:
                read = self._ner(own, explain=True, attention=True, **options)
            except ValueError as error:  # the model's `ImageError`, in one line
                if content is None:
                    raise
                raise VisitorError(f"The image cannot be read: {error}.") from error
            alone = self._ner(sentence, **options) if len(own) > 1 else None
        return Answer(str(sentence["text"]), content, read, alone)
