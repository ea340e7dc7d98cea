"""The embedded sample: a generated data set in which some entities need the image.

Sentences are frames with filled slots (`frames/*.txt`, one file a language), images are drawn
(`drawings.py`). There are two kinds of sentence with entities:

* *The words decide*: "Police in Skelby are looking for a stolen tractor." The image shows the
  entity's type, another type or no entity, or there is none.
* *The image decides* (`decidable_from_text` False): "I finally saw Valdora!", which is a singer, a
  town, a football club or a film. There is one entity and always an image. All languages and types
  share one pool of names. Within a split each name has every type equally often, and each language
  has the same number of each type. So the words alone give a quarter of the types.

With `several_images` a sentence with an image has two more, which show no entity; the three are in
a random order. All else is the same.

Other sentences have no entity, with or without an image. Some images have a board with text in the
sentence's language. No name of one split occurs in another.

>>> from dataset_mmnerd.sample import load_sample
>>> load_sample()["train"][0]["tokens"]
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib import resources
from itertools import cycle, islice
from random import Random
from typing import Any

from datasets import Dataset, DatasetDict

from dataset_mmnerd.schema import DEFAULT_ENTITY_TYPES, SPLITS, Row, bio_labels, features

from .drawings import draw_image
from .scenes import SCENES

SAMPLE_LANGUAGES = ("en", "fr", "de", "es")

_SENTENCE_SHARES = dict(zip(SPLITS, (0.70, 0.13, 0.17), strict=True))
_NAME_SHARES = dict(zip(SPLITS, (0.60, 0.20, 0.20), strict=True))

# Shares of a split's sentences; the rest are sentences whose words decide, without an image.
_IMAGE_DECIDES = 0.30
_FITTING_IMAGE = 0.30
_OTHER_IMAGE = 0.10
_NO_ENTITY = 0.12

_MORE_IMAGES = 2
"""The images that show no entity beside each other image, in the variant with several."""

# The probability that a sentence whose image decides has a tail, and an image a board with text.
_TAIL = 0.25
_BOARD = 0.35

_SLOT = re.compile(r"\{(\?|[A-Z]+(?:\.[a-z]+)?)\}")

_SCENES_OF_KIND = {"ORG.club": ("crest", "pennant", "stadium"), "ORG.firm": ("van",)}

Sections = dict[str, list[str]]


@lru_cache(maxsize=8)
def _sections(file_name: str) -> Sections:
    """The lines of a file in `frames`, by their `[section]`. A line with `#` is a comment."""
    text = (resources.files(__package__) / "frames" / file_name).read_text("utf-8")
    sections: Sections = {}
    lines = sections[""] = []
    for line in text.splitlines():
        if line.startswith("["):
            lines = sections[line.strip("[]")] = []
        elif line and not line.startswith("#"):
            lines.append(line)
    return sections


def _parts(items: Sequence[str], random: Random) -> dict[str, list[str]]:
    """The items in random order, divided among the splits. Each split gets at least one."""
    shuffled = random.sample(items, len(items))
    parts, start = {}, 0
    for split in reversed(SPLITS):  # train is last and takes the rest
        stop = start + max(1, round(_NAME_SHARES[split] * len(items)))
        parts[split] = shuffled[start : None if split == SPLITS[0] else stop]
        start = stop
    return parts


def _scene_of(slot: str, random: Random) -> str:
    """A scene for a slot (`ORG.firm`) or a type (`ORG`)."""
    return random.choice(_SCENES_OF_KIND.get(slot) or sorted(SCENES[slot.partition(".")[0]]))


class _Writer:
    """The rows of one language and split."""

    def __init__(self, lang: str, split: str, seed: int, types: Sequence[str]) -> None:
        self.lang, self.split, self.seed, self.types = lang, split, seed, types
        self.sections = _sections(f"{lang}.txt")
        self.random = Random(f"{seed} {lang} {split}")
        self.names = {
            section.removeprefix("names "): _parts(lines, Random(f"{seed} {lang} {section}"))[split]
            for section, lines in self.sections.items()
            if section.startswith("names ")
        }
        self.boards = {
            scene: board
            for scenes, board in (line.split(": ") for line in self.sections["boards"])
            for scene in scenes.split(", ")
        }

    def frames(self, section: str, count: int) -> list[str]:
        """`count` frames in random order. Their frequencies differ by at most one."""
        frames = self.sections[section]
        if section == "no entity":  # whole sentences, which may not occur in two splits
            frames = _parts(frames, Random(f"{self.seed} {self.lang} {section}"))[self.split]
        return list(islice(cycle(self.random.sample(frames, len(frames))), count))

    def fill(self, frame: str, name: str = "", entity_type: str = "") -> Row:
        """A frame with its slots filled: `{?}` with `name`, others with a name of their type."""
        tokens: list[str] = []
        tags: list[str] = []
        used: list[tuple[str, str]] = []
        for piece in frame.split():
            slot = _SLOT.fullmatch(piece)
            if slot is None:
                tokens.append(piece)
                tags.append("O")
                continue
            if slot[1] != "?":
                entity_type = slot[1].partition(".")[0]
                name = self.name(slot[1], [name for _, name in used])
            used.append((slot[1], name))
            words = name.split()
            tokens += words
            tags += [f"B-{entity_type}"] + [f"I-{entity_type}"] * (len(words) - 1)
        return {"tokens": tokens, "ner_tags": tags, "slots": used}

    def name(self, slot: str, used: Sequence[str]) -> str:
        kinds = [kind for kind in self.names if kind == slot or kind.startswith(f"{slot}.")]
        names = [name for kind in kinds for name in self.names[kind] if name not in used]
        return self.random.choice(names)

    def board(self, scene: str, entity_type: str, name: str) -> list[str]:
        """The text on an image: none, or the scene's line, followed by the name if it is ASCII."""
        if self.random.random() >= _BOARD:
            return []
        if entity_type == "O":
            return [self.boards["O"]]
        name = name.replace(" 's", "'s").replace(" n't", "n't")
        return [self.boards[scene], name] if name.isascii() else [self.boards[scene]]

    def rows(self, count: int, names: Sequence[str]) -> list[Row]:
        """`count` rows in random order. `names` are those of the sentences whose image decides."""
        rows = [*self.image_decides(names)]
        fitting, other = round(count * _FITTING_IMAGE), round(count * _OTHER_IMAGE)
        without = round(count * _NO_ENTITY)
        decided = count - len(rows) - without
        for index, frame in enumerate(self.frames("words decide", decided)):
            row = self.fill(frame)
            rows.append(row | self.image_for(row, index, fitting, other))
        for index, frame in enumerate(self.frames("no entity", without)):
            shown = self.random.choice(("O", "O", "O", *DEFAULT_ENTITY_TYPES))
            scene = _scene_of(shown, self.random) if index % 2 else None
            board = self.board(scene, "O", "") if scene and shown == "O" else []
            rows.append(self.fill(frame) | {"scene": scene, "board": board})
        self.random.shuffle(rows)
        for index, row in enumerate(rows):
            del row["slots"]
            row |= {"id": f"{self.lang}-{self.split}-{index}", "lang": self.lang}
            row.setdefault("decidable_from_text", True)
        return rows

    def image_decides(self, names: Sequence[str]) -> Iterator[Row]:
        """A sentence for each name and type."""
        frames = self.frames("image decides", len(names) * len(self.types))
        for index, frame in enumerate(frames):
            entity_type = self.types[index % len(self.types)]
            name = names[index // len(self.types)]
            if self.random.random() < _TAIL:
                frame = f"{frame} {self.random.choice(self.sections['tails'])}"
            row = self.fill(frame, name, entity_type)
            scene = _scene_of(entity_type, self.random)
            board = self.board(scene, entity_type, name)
            yield row | {"scene": scene, "board": board, "decidable_from_text": False}

    def image_for(self, row: Row, index: int, fitting: int, other: int) -> Row:
        """The image of a sentence whose words decide: of its type, of another type, or none."""
        if index >= fitting + other:
            return {"scene": None, "board": []}
        if index < fitting:
            slot, name = self.random.choice(row["slots"])
            scene = _scene_of(slot, self.random)
            return {"scene": scene, "board": self.board(scene, slot, name)}
        types = {tag[2:] for tag in row["ner_tags"]}
        strangers = [name for name in DEFAULT_ENTITY_TYPES if name not in types]
        shown = self.random.choice(["O", "O", self.random.choice(strangers)])
        scene = _scene_of(shown, self.random)
        return {"scene": scene, "board": self.board(scene, "O", "") if shown == "O" else []}


def _drawn(row: Row, seed: int) -> Row:
    """A row of `sample_sentences` with its image, and the columns of the data set."""
    name, scene, board = row["id"], row["scene"], row["board"]
    image = box = None
    if scene is not None:
        drawing = draw_image(scene, Random(f"{seed} {name}"), board)
        image, box = {"bytes": drawing.jpeg, "path": None}, list(drawing.box)
    return {
        "id": name,
        "tokens": row["tokens"],
        "ner_tags": row["ner_tags"],
        "lang": row["lang"],
        "image": image,
        "image_id": None if image is None else f"{name}.jpg",
        "objects": None,
        "captions": None,
        "ocr": None,
        "decidable_from_text": row["decidable_from_text"],
        "object_box": box,
    }


def sample_sentences(
    split: str,
    *,
    seed: int = 19,
    sentences: int = 300,
    languages: Sequence[str] = SAMPLE_LANGUAGES,
    types: Sequence[str] = DEFAULT_ENTITY_TYPES,
) -> Iterator[Row]:
    """The rows of one split before their images are drawn, for images of another source.

    Args:
        split: `train`, `validation` or `test`.
        seed, sentences, languages: as in `load_sample`.
        types: the types of the entities that the image decides; each name has all of them.

    Yields:
        `id`, `tokens`, `ner_tags` (names), `lang`, `decidable_from_text`, and what the image shows:
        `scene` (a name in `SCENES`, None without an image) and `board` (the lines of text on it).
    """
    unknown = [lang for lang in languages if lang not in SAMPLE_LANGUAGES]
    if unknown:
        known = ", ".join(SAMPLE_LANGUAGES)
        raise ValueError(f"languages: found {unknown[0]!r}, expected some of {known}")
    pool = _parts(_sections("names.txt")[""], Random(f"{seed} names"))[split]
    count = round(sentences * _SENTENCE_SHARES[split])
    of_each_type = round(count * _IMAGE_DECIDES / len(types))
    for lang in languages:
        start = SAMPLE_LANGUAGES.index(lang) * of_each_type
        names = list(islice(cycle(pool), start, start + of_each_type))
        yield from _Writer(lang, split, seed, types).rows(count, names)


def _with_more_images(row: Row, random: Random) -> Row:
    """A row with images that show no entity beside its own, at random places."""
    if row["image"] is None:
        return row | {"object_image": None}
    scenes = random.sample(sorted(SCENES["O"]), _MORE_IMAGES)
    images = [{"bytes": draw_image(scene, random, []).jpeg, "path": None} for scene in scenes]
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
    for row in sample_sentences(split, seed=seed, sentences=sentences, languages=languages):
        drawn = _drawn(row, seed)
        if several_images:
            drawn = _with_more_images(drawn, Random(f"{seed} {row['id']} images"))
        yield drawn


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


__all__ = ["SAMPLE_LANGUAGES", "load_sample", "sample_rows", "sample_sentences"]
