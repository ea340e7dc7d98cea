"""The surest mistakes, and the thumbnails of their sentences."""

import io

import numpy as np
from datasets import Dataset, Features, Image, Value
from PIL import Image as PILImage

from reporting_2mner.errors import (
    MOST_BYTES,
    MOST_MISTAKES,
    marks_of,
    surest_mistakes,
    thumbnail_path,
    write_thumbnails,
)
from reporting_2mner.marked_text import Mark


def entity(start: int, end: int, label: str, score: float | None = None) -> dict:
    found = {"label": label, "start": start, "end": end, "text": "x"}
    return found if score is None else {**found, "score": score}


RECORDS = [
    {"gold": [entity(0, 1, "PER")], "predicted": [entity(0, 1, "PER", 0.99)]},
    {
        "gold": [entity(0, 2, "PER"), entity(3, 4, "LOC")],
        "predicted": [entity(1, 2, "PER", 0.5), entity(3, 4, "ORG", 0.9)],
    },
    {"gold": [], "predicted": [entity(0, 1, "LOC", 0.7)]},
    {"gold": [entity(0, 1, "LOC")], "predicted": []},
]


def test_wrong_predictions_come_surest_first_with_what_is_there():
    found = surest_mistakes(RECORDS)
    assert [(mistake.row, mistake.kind) for mistake in found] == [
        (1, "wrong type"),
        (2, "spurious"),
        (1, "wrong boundaries"),
    ]
    assert [mistake.gold for mistake in found] == [
        [entity(3, 4, "LOC")],
        [],
        [entity(0, 2, "PER")],
    ]


def test_a_sentence_is_marked_with_what_was_predicted_and_what_is_there_in_its_place():
    record = {
        "tokens": ["Rolf", "saw", "New", "York", "today"],
        "gold": [entity(0, 1, "PER"), entity(2, 4, "LOC")],
        "predicted": [entity(0, 1, "PER", 0.99), entity(3, 4, "ORG", 0.9)],
    }
    assert marks_of(record) == [
        Mark(0, 4, "PER", "99.0 %, right"),
        Mark(13, 17, "ORG", "90.0 %"),
        Mark(9, 17, "LOC", "gold", is_gold=True),
    ]


def test_no_more_mistakes_than_a_page_holds():
    many = [{"gold": [], "predicted": [entity(0, 1, "LOC", n / 100)]} for n in range(100)]
    found = surest_mistakes(many)
    assert [mistake.row for mistake in found] == list(range(99, 99 - MOST_MISTAKES, -1))
    assert surest_mistakes([]) == []


def encoded(image: PILImage.Image, **options) -> dict:
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return {"bytes": buffer.getvalue(), "path": None}


def images(*images: dict | None) -> Dataset:
    features = Features({"image": Image(), "id": Value("string")})
    table = {"image": list(images), "id": ["../../x"] * len(images)}
    return Dataset.from_dict(table, features).cast_column("image", Image(decode=False))


def test_thumbnails_are_small_and_only_of_mistakes(tmp_path):
    noise = np.random.default_rng(1).integers(0, 255, (900, 900, 3), dtype=np.uint8)
    exif = PILImage.Exif()
    exif[0x010E] = "taken at home"
    large = encoded(PILImage.fromarray(noise), format="jpeg", exif=exif, comment=b"at home")
    broken = {"bytes": b"no image", "path": None}
    rows = images(large, large, broken, None)
    write_thumbnails(tmp_path, rows, RECORDS)
    assert [path.name for path in (tmp_path / "report" / "images").iterdir()] == ["1.jpg"]
    content = thumbnail_path(tmp_path, 1).read_bytes()
    assert len(content) <= MOST_BYTES
    assert b"home" not in content
    assert max(PILImage.open(io.BytesIO(content)).size) == 256


def test_thumbnails_of_an_earlier_evaluation_go(tmp_path):
    red = encoded(PILImage.new("RGB", (9, 9), "red"), format="png")
    write_thumbnails(tmp_path, images(red, red, red, red), RECORDS)
    assert thumbnail_path(tmp_path, 2).is_file()
    write_thumbnails(tmp_path, images(red, red, red, red), RECORDS[:2])
    assert thumbnail_path(tmp_path, 1).is_file()
    assert not thumbnail_path(tmp_path, 2).exists()


def test_data_without_a_column_of_images_has_no_thumbnails(tmp_path):
    write_thumbnails(tmp_path, images(None, None, None).remove_columns("image"), RECORDS[:3])
    assert not list((tmp_path / "report").rglob("*.jpg"))
