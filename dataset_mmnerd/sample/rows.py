"""Generated sentences with labels and images: the embedded sample, and data of any size.

Sentences are frames with filled slots (`language.py`, `sentences.py`). Images are drawn
(`drawings.py`) or a user's (`illustrations.py`). There are two kinds of sentence with entities:

* *The words decide*: "Police in Skelby are looking for a stolen tractor." The image shows the
  entity's type, another type or no entity, or there is none.
* *The image decides* (`decidable_from_text` False): "I finally saw Valdora!", which is a singer, a
  town, a football club or a film. There is one entity and always an image. All languages and types
  share one pool of names. Within a split each name has every type equally often, and each language
  has the same number of each type. So the words alone give a quarter of the types.

With `several_images` a sentence with an image has two more, which show no entity; the three are in
a random order. All else is the same.

Other sentences have no entity, with or without an image. Some drawings have a board with text in
the sentence's language. No frame and no invented name of one split occurs in another.

>>> from dataset_mmnerd.sample import load_sample
>>> load_sample()["train"][0]["tokens"]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from random import Random
from typing import Any

from datasets import Dataset, DatasetDict

from dataset_mmnerd.schema import (
    CONTEXT_COLUMNS,
    SPLITS,
    Row,
    bio_labels,
    features,
)

from .drawings import draw_image
from .embedded import SAMPLE_LANGUAGES, embedded_language, invented_names
from .illustrations import NO_ENTITY, Drawings, Illustrations
from .language import Chunk, Frame, type_of
from .scenes import SCENES
from .sentences import Filler, Sentence
from .splitting import SENTENCE_SHARES, Division, Shares, divide, divided, word_shares

# Shares of a split's sentences; the rest are sentences whose words decide, without an image.
_IMAGE_DECIDES = 0.40
_FITTING_IMAGE = 0.30
_OTHER_IMAGE = 0.10
_NO_ENTITY = 0.12

_MORE_IMAGES = 2
"""The images that show no entity beside each other image, in the variant with several."""

# The probability that a sentence whose image decides has a tail, and an image a board with text.
_TAIL = 0.25
_BOARD = 0.35

_LONGEST_ON_BOARD = 30  # characters


@dataclass(frozen=True)
class Plan:
    """What to generate.

    Attributes:
        seed: the same seed gives the same rows.
        sentences: the number of sentences a language, over all splits.
        shares: of the splits.
        illustrations: where images come from; None for sentences without images.
        types: of the entities that the image decides; None for all that have images.
    """

    seed: int = 19
    sentences: int = 300
    shares: Shares = field(default_factory=lambda: SENTENCE_SHARES)
    illustrations: Illustrations | None = None
    types: Sequence[str] | None = None

    def count(self, split: str) -> int:
        """The number of sentences of a split in one language."""
        return round(self.sentences * self.shares[split])


@dataclass
class _Draft:
    """A sentence, the scene or file of its image, and the text on that."""

    sentence: Sentence
    chosen: str | None = None
    board: Sequence[str] = ()
    words_decide: bool = True


class Writer:
    """The rows of one language and split.

    Args:
        division: frames and names of the language, divided among the splits by the plan's seed.
        split: the split.
        plan: what to generate.
        number: the number of the language among those that share the pool of invented names.
    """

    def __init__(self, division: Division, split: str, plan: Plan, number: int = 0) -> None:
        self._plan, self._split, self._number = plan, split, number
        self._lang = division.language.lang
        self._name = f"{self._lang}-{split}"
        self._random = Random(f"{plan.seed} {self._lang} {split}")
        mine = division.of_split[split]
        self._frames = mine.frames
        self._filler = Filler(mine, self._random)
        self._images = plan.illustrations
        self._shown = self._images.types if self._images is not None else ()
        self._types = [name for name in division.language.entity_types() if name in self._shown]
        self._decided = self._types if plan.types is None else list(plan.types)

    def rows(self) -> Iterator[Row]:
        """The rows, in random order. Images are made one by one."""
        return map(self._illustrated, self.sentences())

    def sentences(self) -> Iterator[Row]:
        """The rows before their images are made.

        Yields:
            `id`, `tokens`, `ner_tags` (names), `lang`, `decidable_from_text`, and what the image
            shows: `scene` (a scene or a file, None without an image) and `board` (lines of text).
        """
        count = self._plan.count(self._split)
        drafts = [*self._image_decides(count)]
        fitting, other = round(count * _FITTING_IMAGE), round(count * _OTHER_IMAGE)
        without = round(count * _NO_ENTITY) if self._frames.no_entity else 0
        decided = max(0, count - len(drafts) - without)
        for index, frame in enumerate(self._in_turn(self._frames.words_decide, decided)):
            draft = _Draft(self._sentence(frame))
            self._add_image(draft, index, fitting, other)
            drafts.append(draft)
        for index, frame in enumerate(self._in_turn(self._frames.no_entity, without)):
            draft = _Draft(self._sentence(frame))
            if index % 2 and NO_ENTITY in self._shown:
                self._show(draft, self._random.choice((*[NO_ENTITY] * 3, *self._types)))
            drafts.append(draft)
        self._random.shuffle(drafts)
        for index, draft in enumerate(drafts):
            yield {
                "id": f"{self._name}-{index}",
                "tokens": draft.sentence.tokens,
                "ner_tags": draft.sentence.tags,
                "lang": self._lang,
                "decidable_from_text": draft.words_decide,
                "scene": draft.chosen,
                "board": draft.board,
            }

    def _in_turn(self, frames: Sequence[Frame], count: int) -> Iterator[Frame]:
        """`count` frames in random order. Their frequencies differ by at most one."""
        return islice(cycle(self._random.sample(frames, len(frames))), count)

    def _sentence(self, frame: Frame) -> Sentence:
        return self._filler.altered(self._filler.fill(frame), frame.register)

    def _image_decides(self, count: int) -> Iterator[_Draft]:
        """A sentence for each name and type; none of a name occurs again."""
        frames, tails, types = self._frames.image_decides, self._frames.tails, self._decided
        if len(types) < 2 or not frames:
            return
        pool = divided(
            invented_names(), Random(f"{self._plan.seed} names"), word_shares(self._plan.shares)
        )[self._split]
        most = len(pool) * (len(frames) * (1 + len(tails)) // len(types))
        if not most:
            found = f"{len(frames)} frames [image decides] and {len(tails)} tails for {self._split}"
            expected = f"a frame, or a frame and a tail, for each of {', '.join(types)}"
            raise frames[0].place.fault(found, expected)
        of_each_type = min(round(count * _IMAGE_DECIDES / len(types)), most)
        start = self._number * of_each_type
        turn = cycle(self._random.sample(frames, len(frames)))
        used: set[tuple[str, ...]] = set()
        for name in islice(cycle(pool), start, start + of_each_type):
            for entity_type in types:
                frame, tail = self._unused(turn, tails, name, used)
                sentence = self._filler.fill(_with_tail(frame, tail), name, entity_type)
                draft = _Draft(sentence, words_decide=False)
                self._show(draft, entity_type, name)
                yield draft

    def _unused(
        self,
        turn: Iterator[Frame],
        tails: Sequence[str],
        name: str,
        used: set[tuple[str, ...]],
    ) -> tuple[Frame, str]:
        """A frame and a tail, which may be empty, that the name has not had."""
        frames = self._frames.image_decides
        first = self._random.choice(tails) if tails and self._random.random() < _TAIL else ""
        for tail in (first, "", *tails):
            for frame in islice(turn, len(frames)):
                if (name, frame.text, tail) not in used:
                    used.add((name, frame.text, tail))
                    return frame, tail
        raise AssertionError("the number of sentences of a name is bounded")

    def _show(self, draft: _Draft, kind: str, name: str = "") -> None:
        """Choose an image of a section, a type or no entity. If it fits, it may show `name`."""
        assert self._images is not None
        draft.chosen = self._images.choose(kind, self._split, self._random)
        if name or kind == NO_ENTITY:
            draft.board = self._board(draft.chosen, kind, name)

    def _board(self, chosen: str, kind: str, name: str) -> list[str]:
        """The text on an image: none, or its scene's line and the name, if short and ASCII."""
        text = self._frames.boards.get(NO_ENTITY if kind == NO_ENTITY else chosen)
        if self._random.random() >= _BOARD or text is None:
            return []
        name = name.replace(" 's", "'s").replace(" n't", "n't")
        return [text, name] if 0 < len(name) <= _LONGEST_ON_BOARD and name.isascii() else [text]

    def _add_image(self, draft: _Draft, index: int, fitting: int, other: int) -> None:
        """The image of a sentence whose words decide: of its type, of another type, or none."""
        if self._images is None or index >= fitting + other:
            return
        if index < fitting:
            slot, name = self._random.choice(draft.sentence.slots)
            if type_of(slot) in self._shown:
                self._show(draft, slot, name)
            return
        types = {type_of(slot) for slot, _ in draft.sentence.slots}
        strangers = [name for name in self._types if name not in types]
        shown = [NO_ENTITY] * 2 if NO_ENTITY in self._shown else []
        if strangers:
            shown.append(self._random.choice(strangers))
        if shown:
            self._show(draft, self._random.choice(shown))

    def _illustrated(self, row: Row) -> Row:
        """A row with its image, and the columns of the data set."""
        scene, board = row.pop("scene"), row.pop("board")
        image: dict[str, Any] = {"image": None, "image_id": None, "object_box": None}
        if scene is not None and self._images is not None:
            random = Random(f"{self._plan.seed} {row['id']}")
            image = self._images.make(scene, row["id"], random, board)
        return row | image | dict.fromkeys(CONTEXT_COLUMNS)


def _with_tail(frame: Frame, tail: str) -> Frame:
    words: tuple[Chunk, ...] = tuple((word,) for word in tail.split())
    return Frame((*frame.chunks, *words), frame.place, frame.text, frame.register)


# The embedded sample ------------------------------------------------------------------------------


def _writers(
    split: str, plan: Plan, languages: Sequence[str] = SAMPLE_LANGUAGES
) -> Iterator[Writer]:
    unknown = [lang for lang in languages if lang not in SAMPLE_LANGUAGES]
    if unknown:
        known = ", ".join(SAMPLE_LANGUAGES)
        raise ValueError(f"languages: found {unknown[0]!r}, expected some of {known}")
    divisions = divide([*map(embedded_language, SAMPLE_LANGUAGES)], plan.seed, plan.shares)
    for lang in languages:  # what one language has does not depend on the others that are taken
        number = SAMPLE_LANGUAGES.index(lang)
        yield Writer(divisions[number], split, plan, number)


def sample_sentences(
    split: str,
    *,
    seed: int = 19,
    sentences: int = 300,
    languages: Sequence[str] = SAMPLE_LANGUAGES,
    types: Sequence[str] | None = None,
) -> Iterator[Row]:
    """The rows of one split before their images are drawn, for images of another source.

    Args:
        split: `train`, `validation` or `test`.
        seed, sentences, languages: as in `load_sample`.
        types: of the entities that the image decides; each name has all of them. By default all.

    Yields:
        What `Writer.sentences` does; `scene` is a name in `SCENES`.
    """
    plan = Plan(seed, sentences, illustrations=Drawings(), types=types)
    for writer in _writers(split, plan, languages):
        yield from writer.sentences()


def _with_more_images(row: Row, random: Random) -> Row:
    """A row with images that show no entity beside its own, at random places."""
    if row["image"] is None:
        return row | {"object_image": None}
    scenes = random.sample(sorted(SCENES[NO_ENTITY]), _MORE_IMAGES)
    images = [{"bytes": draw_image(scene, random).jpeg, "path": None} for scene in scenes]
    place = random.randrange(len(images) + 1)
    images.insert(place, row["image"])
    names = [f"{row['id']}-{number}.jpg" for number in range(len(images))]
    return row | {"image": images, "image_id": names, "object_image": place}


def sample_rows(
    split: str,
    *,
    seed: int = 19,
    sentences: int = 300,
    languages: Sequence[str] = SAMPLE_LANGUAGES,
    several_images: bool = False,
) -> Iterator[Row]:
    """The rows of one split, with label names and the bytes of images; see `load_sample`."""
    plan = Plan(seed, sentences, illustrations=Drawings())
    for writer in _writers(split, plan, languages):
        for row in writer.rows():
            if several_images:
                row = _with_more_images(row, Random(f"{seed} {row['id']} images"))
            yield row


def load_sample(
    seed: int = 19,
    sentences: int = 300,
    languages: Sequence[str] = SAMPLE_LANGUAGES,
    several_images: bool = False,
) -> DatasetDict:
    """Generate the sample. It uses no network and no cache.

    Args:
        seed: the same seed gives the same words, labels and images with one version of Pillow.
        sentences: the number of sentences a language, over all splits. A larger number repeats
            frames and names more often.
        languages: some of `SAMPLE_LANGUAGES`.
        several_images: sentences with an image have three, of which two show no entity.

    Returns:
        The splits `train`, `validation` and `test`, with the columns of `features(sample=True)`.
    """
    columns = features(bio_labels(), sample=True, several=several_images)
    chosen: Any = {"seed": seed, "sentences": sentences, "languages": languages}
    splits = {}
    for split in SPLITS:
        rows = list(sample_rows(split, **chosen, several_images=several_images))
        table = {key: [row[key] for row in rows] for key in columns}
        splits[split] = Dataset.from_dict(table, features=columns)
    return DatasetDict(splits)


__all__ = [
    "Plan",
    "Writer",
    "load_sample",
    "sample_rows",
    "sample_sentences",
]
