"""The embedded sample: varied, honest about what the words tell, and the same each time."""

import hashlib
import inspect
import io
import os
import subprocess
import sys
import textwrap
from collections import Counter
from itertools import combinations
from pathlib import Path
from random import Random

import numpy as np
import pytest
from datasets import Image
from PIL import Image as PilImage

from dataset_mmnerd.labels import repair_labels
from dataset_mmnerd.sample import (
    SAMPLE_LANGUAGES,
    drawings,
    load_sample,
    sample_rows,
    words,
)
from dataset_mmnerd.sample.embedded import embedded_language, invented_names
from dataset_mmnerd.sample.language import REGISTERS, type_of
from dataset_mmnerd.sample.scenes import SCENES, SCENES_OF_KIND
from dataset_mmnerd.sample.splitting import SENTENCE_SHARES, divide
from dataset_mmnerd.schema import DEFAULT_ENTITY_TYPES, SPLITS, bio_labels


@pytest.fixture(scope="module")
def sample():
    """Split -> rows with images as bytes and labels as names."""
    data = load_sample(sentences=100).cast_column("image", Image(decode=False))
    names = data["train"].features["ner_tags"].feature.names
    return {
        split: [row | {"ner_tags": [names[tag] for tag in row["ner_tags"]]} for row in data[split]]
        for split in SPLITS
    }


def entities(row):
    """(type, name) of each entity."""
    found = []
    for token, tag in zip(row["tokens"], row["ner_tags"], strict=True):
        if tag.startswith("B-"):
            found.append((tag[2:], [token]))
        elif tag.startswith("I-"):
            found[-1][1].append(token)
    return [(entity_type, " ".join(words)) for entity_type, words in found]


def image_decided(rows):
    return [row for row in rows if not row["decidable_from_text"]]


def test_it_has_the_columns_labels_and_sizes_that_it_promises():
    data = load_sample(sentences=40, languages=["de", "es"])
    assert data["train"].features["ner_tags"].feature.names == bio_labels()
    assert {split: len(data[split]) for split in data} == {
        "train": 56,
        "validation": 10,
        "test": 14,
    }
    assert set(data["test"]["lang"]) == {"de", "es"}
    assert data["train"].features["decidable_from_text"].dtype == "bool"


def digest(seed):
    rows = list(sample_rows("test", seed=seed, sentences=40, languages=["en", "de"]))
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def test_the_same_seed_gives_the_same_bytes_in_any_process_and_another_seed_others():
    code = f"""
        import hashlib
        from dataset_mmnerd.sample import sample_rows
        {textwrap.indent(inspect.getsource(digest), " " * 8).strip()}
        print(digest(1))
    """
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == digest(1) == digest(1) != digest(2)


def test_each_language_has_frames_of_its_own_in_every_register():
    seen = set()
    for lang in SAMPLE_LANGUAGES:
        frames = embedded_language(lang).frames
        others = [*frames.words_decide, *frames.no_entity]
        assert len(frames.image_decides) >= 60
        assert len(others) >= 200
        assert {frame.register for frame in frames.words_decide} == set(REGISTERS)
        assert {frame.register for frame in frames.no_entity} == set(REGISTERS)
        texts = {frame.text for frame in (*frames.image_decides, *others) if len(frame.chunks) > 3}
        assert not seen & texts
        seen |= texts


def test_the_files_of_the_sample_stay_small():
    folder = Path(words.__file__).parent / "languages"
    files = [file for lang in SAMPLE_LANGUAGES for file in (folder / lang).glob("*.txt")]
    sizes = [file.stat().st_size for file in (*files, *folder.glob("*.txt"))]
    assert len(sizes) == 9
    assert sum(sizes) < 400_000


def test_names_whose_type_the_image_decides_need_no_elision():
    for name in invented_names():
        assert name[0] not in "AEIOUYH" and name.isascii()


def test_ids_are_unique_and_labels_are_valid(sample):
    rows = [row for split in SPLITS for row in sample[split]]
    assert len({row["id"] for row in rows}) == len(rows)
    for row in rows:
        assert len(row["tokens"]) == len(row["ner_tags"]) > 0
        assert repair_labels(row["ner_tags"]) == row["ner_tags"]
        assert "{" not in "".join(row["tokens"])


def test_every_frame_is_in_one_split():
    languages = [*map(embedded_language, SAMPLE_LANGUAGES)]
    for division in divide(languages, 19, SENTENCE_SHARES):
        whole = division.language.frames
        parts = [division.of_split[split].frames for split in SPLITS]
        for part, lines in (
            ([part.words_decide for part in parts], whole.words_decide),
            ([part.no_entity for part in parts], whole.no_entity),
            ([part.image_decides for part in parts], whole.image_decides),
        ):
            assert sorted(frame.text for of in part for frame in of) == sorted(
                frame.text for frame in lines
            )
            assert all(part)


def test_no_invented_name_of_one_split_is_in_another(sample):
    sections = [
        section
        for lang in SAMPLE_LANGUAGES
        for section in embedded_language(lang).names.sections.values()
    ]
    invented = {
        name.text
        for section in sections
        for name in section.names
        if section.invented and type_of(section.kind)
    }
    invented |= set(invented_names())
    real = {name.text for section in sections for name in section.names if not section.invented}
    names = {split: {name for row in sample[split] for name in entities(row)} for split in SPLITS}
    for split, other in combinations(SPLITS, 2):
        both = names[split] & names[other]
        assert not {name for _, name in both if name in invented}
        made = {name for kind, name in both if kind == "PER" and " " in name}
        assert made <= real, "only persons of history and public life are in two splits"


def test_some_names_have_several_words(sample):
    for kind in (False, True):
        rows = [row for row in sample["train"] if row["decidable_from_text"] is kind]
        assert any(" " in name for row in rows for _, name in entities(row))


@pytest.mark.parametrize("split", SPLITS)
def test_where_the_image_decides_there_is_one_entity_and_an_image(sample, split):
    rows = image_decided(sample[split])
    assert rows
    assert all(len(entities(row)) == 1 and row["image"] is not None for row in rows)


@pytest.mark.parametrize("split", SPLITS)
def test_where_the_image_decides_types_are_balanced_in_each_language_and_for_each_name(
    sample, split
):
    types_by_language = Counter()
    types_by_name = Counter()
    for row in image_decided(sample[split]):
        ((entity_type, name),) = entities(row)
        types_by_language[row["lang"], entity_type] += 1
        types_by_name[name, entity_type] += 1
    assert len(types_by_language) == len(SAMPLE_LANGUAGES) * len(DEFAULT_ENTITY_TYPES)
    assert len(set(types_by_language.values())) == 1
    for name in {name for name, _ in types_by_name}:
        assert len({types_by_name[name, entity_type] for entity_type in DEFAULT_ENTITY_TYPES}) == 1


def test_about_half_of_the_sentences_with_entity_and_image_need_the_image(sample):
    rows = [row for rows in sample.values() for row in rows if entities(row) and row["image"]]
    assert 0.4 < len(image_decided(rows)) / len(rows) < 0.6


def test_every_mix_of_entities_and_image_occurs(sample):
    found = {
        (min(len(entities(row)), 2), row["image"] is not None)
        for row in sample["train"]
        if row["decidable_from_text"]
    }
    assert found == {(count, shown) for count in (0, 1, 2) for shown in (True, False)}


def test_images_are_small_jpegs_of_many_shapes(sample):
    sizes = set()
    for row in sample["test"]:
        assert (row["image"] is None) == (row["image_id"] is None)
        if row["image"] is not None:
            image = PilImage.open(io.BytesIO(row["image"]["bytes"]))
            image.load()
            assert image.format == "JPEG"
            assert 160 <= max(image.size) <= 360
            sizes.add(image.size)
    assert len(sizes) > 30
    images = [row["image"]["bytes"] for rows in sample.values() for row in rows if row["image"]]
    assert len(set(images)) == len(images)
    assert sum(map(len, images)) / len(images) < 18_000


def test_each_image_has_the_box_of_its_object(sample):
    boxes = [row["object_box"] for rows in sample.values() for row in rows]
    images = [row["image"] for rows in sample.values() for row in rows]
    assert [box is None for box in boxes] == [image is None for image in images]
    for left, top, right, bottom in filter(None, boxes):
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1


MAGENTA = (255, 0, 255)
SHAPES = {
    "box": lambda pen: pen.box(10, 20, 60, 90, MAGENTA, 4),
    "ellipse": lambda pen: pen.ellipse(60, 40, 30, 20, MAGENTA),
    "polygon": lambda pen: pen.polygon([(5, 50), (80, 20), (40, 95)], MAGENTA),
    "line": lambda pen: pen.line([(20, 20), (70, 60), (30, 80)], MAGENTA, 8),
    "arc": lambda pen: pen.arc(50, 50, 40, 40, 180, 300, MAGENTA, 8),
    "slice": lambda pen: pen.slice(50, 50, 40, 30, 20, 150, MAGENTA),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_box_is_where_the_pixels_of_the_object_are(monkeypatch, shape):
    def scene(pen, random):
        with pen.backdrop():
            pen.box(-200, -200, 300, 300, (0, 90, 0))
        SHAPES[shape](pen)

    monkeypatch.setitem(drawings._SCENES, "shape", scene)
    missed = []
    for seed in range(12):
        drawing = drawings.draw_image("shape", Random(seed), ["A", "B"] if seed % 3 == 0 else ())
        pixels = np.asarray(PilImage.open(io.BytesIO(drawing.jpeg)), dtype=int)
        y, x = np.nonzero((pixels[..., 0] > 180) & (pixels[..., 1] < 110) & (pixels[..., 2] > 180))
        found = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
        high, wide = pixels.shape[:2]
        missed.append(found - np.array(drawing.box) * (wide, high, wide, high))
    # In pixels. A little of an object at the edge may be covered, as the sample has it.
    assert np.abs(np.median(missed, axis=0)).max() < 2.5
    assert (np.abs(missed) < 4).all(axis=1).sum() >= 9


def test_each_type_has_twelve_scenes_that_can_be_written_about_in_every_language():
    assert all(len(scenes) >= 12 for scenes in SCENES.values())
    scenes = {scene for kind, names in SCENES.items() if kind != "O" for scene in names}
    for lang in SAMPLE_LANGUAGES:
        assert set(embedded_language(lang).frames.boards) == scenes | {"O"}


def test_a_kind_of_names_has_scenes_of_its_type():
    for kind, scenes in SCENES_OF_KIND.items():
        assert set(scenes) <= set(SCENES[type_of(kind)])


def test_a_language_that_it_does_not_have_is_refused():
    with pytest.raises(ValueError, match="found 'pt', expected some of en, fr, de, es"):
        next(sample_rows("train", languages=["en", "pt"]))
