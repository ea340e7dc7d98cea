"""The extensions of spaCy's documents and spans that this project reads and writes.

Read, each optional: `doc._.image` (as the pipeline takes it: a path, bytes, a PIL image, an http or
https address, which is fetched) and its visual context, lists of strings in `doc._.objects`,
`doc._.captions` and `doc._.ocr`. Written:

    span._.score                 the probability of exactly this entity
    span._.alternatives          with `top_k`: the types over the same words, as in the pipeline
    span._.score_without_image   with `explain`, as in the pipeline
    span._.typed_from            with `explain`, as in the pipeline
    doc._.unaligned              the pipeline's entities that have no place in the tokens
"""

from __future__ import annotations

from typing import Any

from dataset_mmnerd.schema import CONTEXT_COLUMNS

from .extras import needed

__all__ = ["OF_SPANS", "READ", "register_extensions"]

READ = ("image", *CONTEXT_COLUMNS)
OF_SPANS = ("score", "alternatives", "score_without_image", "typed_from")


def register_extensions() -> None:
    """Register those that are not registered yet.

    Raises:
        MissingExtraError: if spaCy is not installed.
    """
    tokens = needed("spacy.tokens", "spacy")
    of_documents: dict[str, Any] = {**dict.fromkeys(READ), "unaligned": ()}
    for owner, defaults in ((tokens.Doc, of_documents), (tokens.Span, dict.fromkeys(OF_SPANS))):
        for name, default in defaults.items():
            if not owner.has_extension(name):
                owner.set_extension(name, default=default)
