"""Entities as documents of spaCy, in one `DocBin`: what `spacy train` and `DocBin` read.

A document's tokens are the words, and the spaces that are more than one space between two words, so
that `doc.text` is the text. Beside `doc.ents` it has the extensions of `spacy_extensions.py`
(`doc._.image` is the image's name), and `id` and `lang` in `doc.user_data`.

spaCy reads and writes a `DocBin` as a whole: memory grows with the number of words.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modeling_2mner.words_2mner import split_into_words

from .extras import needed
from .record_words import not_words
from .spacy_extensions import OF_SPANS, READ, register_extensions

if TYPE_CHECKING:
    from spacy.tokens import Doc
    from spacy.vocab import Vocab

__all__ = ["doc_of", "write_doc_bin"]

Record = dict[str, Any]

_ATTRIBUTES = ("ENT_IOB", "ENT_TYPE")
_OF_DOCUMENTS = ("id", "lang")


def doc_of(record: Record, vocab: Vocab, word_rules: int) -> Doc:
    """A record (see `outputs.py`) as a document.

    Args:
        record: a sentence and its entities.
        vocab: spaCy's.
        word_rules: the model's version of the rules that split texts.

    Raises:
        CorpusError: if an entity does not consist of words.
        MissingExtraError: if spaCy is not installed.
    """
    made = needed("spacy.tokens", "spacy")
    register_extensions()
    entities = record["entities"]
    bounds = [(entity["start"], entity["end"], entity["label"]) for entity in entities]
    if "tokens" in record:
        words = record["tokens"]
        doc = made.Doc(
            vocab, words=words, spaces=[number > 0 for number in range(len(words))][::-1]
        )
        spans = [made.Span(doc, *one) for one in bounds]
    else:
        words, spaces = _tokens(record["text"], word_rules)
        doc = made.Doc(vocab, words=words, spaces=spaces)
        spans = [doc.char_span(*one) for one in bounds]
    if None in spans:
        start, end, _ = bounds[spans.index(None)]
        raise not_words(record, start, end, word_rules)
    doc.ents = spans
    for span, entity in zip(spans, entities, strict=True):
        for name in OF_SPANS:
            if name in entity:
                span._.set(name, entity[name])
    for name in READ:
        if name in record:
            doc._.set(name, record[name])
    doc.user_data |= {name: record[name] for name in _OF_DOCUMENTS if name in record}
    return doc


def _tokens(text: str, word_rules: int) -> tuple[list[str], list[bool]]:
    """The tokens that make up a text, and whether a space follows each."""
    words: list[str] = []
    spaces: list[bool] = []
    places = [(0, 0), *split_into_words(text, word_rules), (len(text), len(text))]
    for (_, before), (start, end) in pairwise(places):
        gap = text[before:start]
        if words and gap.startswith(" "):
            spaces[-1] = True
            gap = gap[1:]
        for token in (gap, text[start:end]):
            if token:
                words.append(token)
                spaces.append(False)
    return words, spaces


def write_doc_bin(path: Path, records: Iterable[Record], word_rules: int) -> None:
    """Write records as one `DocBin`.

    Raises:
        CorpusError, MissingExtraError: as `doc_of`.
    """
    vocab = needed("spacy.vocab", "spacy").Vocab()
    documents = (doc_of(record, vocab, word_rules) for record in records)
    made = needed("spacy.tokens", "spacy")
    made.DocBin(_ATTRIBUTES, store_user_data=True, docs=documents).to_disk(path)
