"""From words and visual context to the sub-words of windows.

* Every word has at least one sub-word: a word for which the tokenizer gives none is read as the
  unknown one. A word that no window holds is cut.
* Special sub-words that are written in a text, such as `</s>`, become unknown.
* Visual context takes the room that the words leave.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

from .sentences_2mner import VisualContext, check_context
from .windows_2mner import EncodedSentence, WindowLayout

__all__ = ["SentenceEncoder"]

LONE_SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a UTF-16 pair, which tokenizers refuse; it is replaced by U+FFFD."""


@dataclass(frozen=True)
class SentenceEncoder:
    """Cuts words into sub-words, and lays sentences out in windows.

    Attributes:
        tokenizer: of the library `tokenizers`.
        unknown: the unknown sub-word.
        reserved: the special sub-words.
        layout: of the windows.
        context_fields: the kinds of visual context, in the order in which they are written.
        context_separator: the text between two strings of visual context.
    """

    tokenizer: Tokenizer
    unknown: int
    reserved: Collection[int]
    layout: WindowLayout
    context_fields: Sequence[str]
    context_separator: str

    def encode(
        self, sentences: Sequence[Sequence[str]], contexts: Sequence[VisualContext | None]
    ) -> list[EncodedSentence]:
        """Encode sentences, each a list of words, and the visual context of each.

        Raises:
            TypeError, ValueError: as `check_context`.
        """
        for number, context in enumerate(contexts):
            check_context(context, f"context[{number}]")
        if self.tokenizer.truncation is not None:  # a state that other callers may have left
            self.tokenizer.no_truncation()
        if self.tokenizer.padding is not None:
            self.tokenizer.no_padding()
        rows = zip(self._pieces(sentences), self._read_context(contexts), strict=True)
        return [self.layout.encode(words, context) for words, context in rows]

    def _pieces(self, sentences: Sequence[Sequence[str]]) -> list[list[list[int]]]:
        """The sub-words of each word."""
        encoded = self.tokenizer.encode_batch(
            [[_encodable(word) for word in sentence] for sentence in sentences],
            is_pretokenized=True,
            add_special_tokens=False,
        )
        room, pieces = self.layout.room_beside_context, []
        for sentence, encoding in zip(sentences, encoded, strict=True):
            found: list[list[int]] = [[] for _ in sentence]
            word_ids: Any = encoding.word_ids  # none is None without special sub-words
            for word, piece in zip(word_ids, self._plain(encoding.ids), strict=True):
                found[word].append(piece)
            pieces.append([word[:room] or [self.unknown] for word in found])
        return pieces

    def _read_context(self, contexts: Sequence[VisualContext | None]) -> list[list[int]]:
        """The sub-words of each sentence's visual context, as many as the budget allows."""
        texts = []
        for context in contexts:
            context = context or {}
            # Not `or ()`: an array has no truth value.
            fields = [context.get(name) for name in self.context_fields]
            strings = [text for strings in fields if strings is not None for text in strings]
            texts.append(_encodable(self.context_separator.join(strings)))
        budget = self.layout.context_budget
        if not budget or not any(texts):
            return [[] for _ in contexts]
        encoded = self.tokenizer.encode_batch(texts, add_special_tokens=False)
        return [self._plain(encoding.ids[:budget]) for encoding in encoded]

    def _plain(self, pieces: list[int]) -> list[int]:
        """Sub-words of a text, without special ones."""
        return [self.unknown if piece in self.reserved else piece for piece in pieces]


def _encodable(text: str) -> str:
    return LONE_SURROGATE.sub("\ufffd", text)
