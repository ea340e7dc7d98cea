"""A component for spaCy: the entities of a text, and of its image, as `doc.ents`.

    nlp = spacy.blank("xx")
    nlp.add_pipe("2mner", config={"model": "runs/demo"})
    doc = nlp.make_doc("I finally saw Valdora!")
    doc._.image = "photo.jpg"
    [(span.text, span.label_, span._.score) for span in nlp(doc).ents]
    # [("Valdora", "LOC", 0.98)]

spaCy finds the component by the entry point `spacy_factories`. The text is split into words by the
rules of the model, as everywhere; its entities are then aligned to spaCy's tokens.

`spacy_extensions.py` lists what is read from `doc._` and written to `span._`.
"""

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from spacy.language import Language
from spacy.pipeline import Pipe
from spacy.pipeline.span_ruler import prioritize_existing_ents_filter, prioritize_new_ents_filter
from spacy.tokens import Doc, Span

from dataset_mmnerd.quoting import quoted
from modeling_2mner import MultimodalNERPipeline

from .models import load_pipeline
from .spacy_extensions import OF_SPANS, READ, register_extensions

__all__ = ["EntityComponent", "make_component"]

Entity = Mapping[str, Any]

register_extensions()


class EntityComponent(Pipe):
    """Writes the pipeline's entities into `doc.ents`.

    Args:
        name: of the component.
        ner: the pipeline, with the options of its calls.
        overwrite_ents: whether new entities replace those of earlier components that they overlap;
            otherwise these are kept, and the new ones left out, as spaCy's `EntityRuler` does.
        alignment_mode: what becomes of an entity that begins or ends inside a token: "strict"
            leaves it out, "contract" takes the tokens that lie inside it, "expand" those that it
            touches. Of entities that then overlap, the more probable one stays.
        scorer: for `nlp.evaluate`.

    Attributes:
        unaligned: how many entities had no place in the tokens so far. They are in
            `doc._.unaligned`; the first one of a component gives a warning.
    """

    def __init__(
        self,
        name: str,
        ner: MultimodalNERPipeline,
        *,
        overwrite_ents: bool = False,
        alignment_mode: str = "strict",
        scorer: Callable | None = None,
    ) -> None:
        self.name, self.ner, self.scorer = name, ner, scorer
        self.alignment_mode = alignment_mode
        self.unaligned = 0
        self._filter = (
            prioritize_new_ents_filter if overwrite_ents else prioritize_existing_ents_filter
        )
        self._process = os.getpid()

    @property
    def labels(self) -> tuple[str, ...]:
        """The types of entities."""
        return tuple(self.ner.types)

    def __call__(self, doc: Doc) -> Doc:
        """Annotate a document that is given alone.

        Raises:
            ImageError, OSError: if its image cannot be read.
            TypeError: if an extension has a value of another type.
        """
        self._use_one_thread_in_a_worker()
        self._annotate(doc, self.ner(_input_of(doc)))
        return doc

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Annotate documents in bounded memory; they come back in their order.

        The pipeline reads ahead, sorts by length and forms batches of `max_tokens` sub-words. An
        image that cannot be read costs the image, not the document. What else fails is given to the
        error handler with the document that failed.

        Args:
            stream: documents.
            batch_size: documents of a batch, at most; with 1 each document is answered before the
                next one is read, for a live stream.
        """
        self._use_one_thread_in_a_worker()
        documents = iter(stream)
        while True:
            waiting: deque[Doc] = deque()
            answers = self.ner(_inputs(documents, waiting), batch_size=batch_size)
            try:
                for entities in answers:
                    self._annotate(waiting[0], entities)
                    yield waiting.popleft()
                return
            except Exception:
                if not waiting:  # the error of the stream
                    raise
            yield from self._one_by_one(waiting)

    def _one_by_one(self, documents: Iterable[Doc]) -> Iterator[Doc]:
        """Annotate documents one of which makes a batch fail."""
        for doc in documents:
            try:
                (entities,) = self.ner([_input_of(doc)])
                self._annotate(doc, entities)
            except Exception as error:
                self.get_error_handler()(self.name, self, [doc], error)
            else:
                yield doc

    def _annotate(self, doc: Doc, entities: Sequence[Entity]) -> None:
        """Write entities into a document."""
        aligned, left_out = self._aligned(doc, entities)
        if left_out:
            doc._.unaligned = tuple(left_out)
            self._tell(doc, left_out)
        ents = self._filter(doc.ents, [span for span, _ in aligned])
        doc.ents = sorted(ents)
        for span, entity in aligned:
            if span in ents:
                for name in OF_SPANS:
                    if name in entity:
                        span._.set(name, entity[name])

    def _aligned(
        self, doc: Doc, entities: Sequence[Entity]
    ) -> tuple[list[tuple[Span, Entity]], list[Entity]]:
        """Entities as spans that do not overlap, and those that have no place."""
        aligned, left_out = [], []
        taken: set[int] = set()
        for entity in sorted(entities, key=lambda entity: -entity["score"]):
            bounds = entity["start"], entity["end"]
            span = doc.char_span(*bounds, entity["label"], alignment_mode=self.alignment_mode)
            if span is None or not taken.isdisjoint(range(span.start, span.end)):
                left_out.append(entity)
            else:
                taken.update(range(span.start, span.end))
                aligned.append((span, entity))
        return aligned, left_out

    def _tell(self, doc: Doc, left_out: Sequence[Entity]) -> None:
        if not self.unaligned:
            entity = left_out[0]
            bounds = entity["start"], entity["end"]
            tokens = str(doc.char_span(*bounds, alignment_mode="expand"))
            warnings.warn(
                f"{self.name}: found {quoted(entity['word'])} ({entity['label']}) in the tokens "
                f"{quoted(tokens)}, expected an entity of whole tokens; it is left out of doc.ents "
                "and kept in doc._.unaligned, as further ones are without a warning (see "
                "alignment_mode)",
                stacklevel=2,
            )
        self.unaligned += len(left_out)

    def _use_one_thread_in_a_worker(self) -> None:
        """In a process of `nlp.pipe(..., n_process=2)`: it has none of the threads that torch has
        started in its parent, and would wait for them for ever."""
        if os.getpid() != self._process:
            torch.set_num_threads(1)
            self._process = os.getpid()


def _input_of(doc: Doc) -> dict[str, Any]:
    """A document as the pipeline takes it."""
    return {"text": doc.text, **{name: doc._.get(name) for name in READ}}


def _inputs(documents: Iterator[Doc], waiting: deque[Doc]) -> Iterator[dict[str, Any]]:
    """Documents as the pipeline takes them; each is noted in `waiting`."""
    for doc in documents:
        waiting.append(doc)
        yield _input_of(doc)


@Language.factory(
    "2mner",
    assigns=["doc.ents", "token.ent_iob", "token.ent_type"],
    default_config={
        "threshold": None,
        "risk": None,
        "top_k": None,
        "explain": False,
        "precision": None,
        "max_tokens": None,
        "overwrite_ents": False,
        "alignment_mode": "strict",
        "scorer": {"@scorers": "spacy.ner_scorer.v1"},
    },
    default_score_weights={"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_per_type": None},
)
def make_component(
    nlp: Language,
    name: str,
    model: str,
    threshold: float | str | dict[str, float] | None,
    risk: float | None,
    top_k: int | None,
    explain: bool,
    precision: str | None,
    max_tokens: int | None,
    overwrite_ents: bool,
    alignment_mode: Literal["strict", "contract", "expand"],
    scorer: Callable | None,
) -> EntityComponent:
    """The component of a config, which is all that `nlp.to_disk` saves: the model's name or path,
    not its weights.

    Args:
        nlp, name: from spaCy.
        model: a folder or a name on the Hub. Only weights and settings are read, the code is that
            of this project.
        threshold, risk, top_k, explain, max_tokens: of the pipeline's calls.
        precision: of the pipeline.
        overwrite_ents, alignment_mode, scorer: see `EntityComponent`.

    Raises:
        ModelError: if there is no such model.
        TypeError, ValueError: if an option is none of the pipeline's.
    """
    options: dict[str, Any] = {
        "threshold": threshold,
        "risk": risk,
        "top_k": top_k,
        "max_tokens": max_tokens,
    }
    given = {option: value for option, value in options.items() if value is not None}
    return EntityComponent(
        name,
        load_pipeline(model, precision=precision, explain=explain, **given),
        overwrite_ents=overwrite_ents,
        alignment_mode=alignment_mode,
        scorer=scorer,
    )
