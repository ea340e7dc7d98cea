"""Text from pictures: real Tesseract, real pipelines with tiny models, each picture read once."""

import io
from collections import Counter

import pytest
from PIL import Image, ImageDraw, ImageFont

from dataset_mmnerd import load_sample
from dataset_mmnerd.visual_context import (
    ContextError,
    TesseractReader,
    add_visual_context,
    decoded,
    visual_context,
)

from .conftest import enormous_png, picture_bytes


def board(*lines: str, paper: str = "white", format: str = "PNG") -> bytes:
    """A picture with something written on it, large and level."""
    picture = Image.new("RGB", (320, 60 * len(lines) + 40), paper)
    draw = ImageDraw.Draw(picture)
    for row, line in enumerate(lines):
        middle = (160, 50 + 60 * row)
        draw.text(middle, line, fill="black", font=ImageFont.load_default(36), anchor="mm")
    file = io.BytesIO()
    picture.save(file, format)
    return file.getvalue()


class Sizes:
    """An extractor that says how wide a picture is, and counts what it is given."""

    column, name, batch_size, by_language = "objects", "sizes", 3, False

    def __init__(self, **settings) -> None:
        self.__dict__ |= settings
        self.key = f"{self.column} {self.name}"
        self.batches: list[int] = []
        self.seen: Counter[tuple] = Counter()

    def read(self, pictures, lang="und"):
        self.batches.append(len(pictures))
        self.seen.update((picture.size, lang) for picture in pictures)
        return [[f"{picture.width} wide", lang] for picture in pictures]


def test_tesseract_reads_what_is_written_line_by_line():
    reader = TesseractReader(["en"])
    pictures = [decoded(board("WELCOME TO", "Valdora")), decoded(picture_bytes())]
    assert reader.read(pictures, "en") == [["WELCOME TO", "Valdora"], []]


def test_tesseract_reads_a_picture_in_the_language_of_its_sentence():
    font = ImageFont.load_default(48)
    picture = Image.new("RGB", (420, 120), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((30, 90), "SCHONE GRUSSE", fill="black", font=font, anchor="ls")
    for before in ("SCH", "SCHONE GR"):  # Pillow's own font has no umlauts: their dots
        left = 30 + font.getlength(before)
        for x in (left + 12, left + 27):
            draw.ellipse([x - 4, 42, x + 4, 50], fill="black")
    reader = TesseractReader(["de", "en"])
    assert reader.read([picture], "de") == [["SCHÖNE GRÜSSE"]]
    assert reader.read([picture], "en") != [["SCHÖNE GRÜSSE"]]


def test_a_missing_tesseract_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ContextError, match=r"found no program tesseract.*: install tesseract-ocr$"):
        TesseractReader()


def test_a_missing_language_says_what_to_install():
    with pytest.raises(ContextError, match=r"'th' need.*: install tesseract-ocr-tha$"):
        TesseractReader(["en", "th"])


def test_each_distinct_picture_is_read_once_in_batches():
    pictures = [picture_bytes(seed, size=(40 + seed, 30)) for seed in range(4)]
    extractor = Sizes()
    images = [*pictures, None, {"bytes": pictures[0], "path": None}, *pictures[::-1]]
    columns = visual_context(images, ["en", "de"] * 5, extractors=[extractor])
    assert extractor.batches == [3, 1]
    assert set(extractor.seen.values()) == {1}
    widths = [value and value[0] for value in columns["objects"]]
    assert widths[:5] == ["40 wide", "41 wide", "42 wide", "43 wide", None]
    assert widths[5:] == ["40 wide", "43 wide", "42 wide", "41 wide", "40 wide"]


def test_what_depends_on_the_language_is_read_once_a_language(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(picture_bytes())
    extractor = Sizes(by_language=True)
    columns = visual_context([path] * 5, ["en", "de", "en", "de", "en"], [extractor])
    assert [value[1] for value in columns["objects"]] == ["en", "de", "en", "de", "en"]
    assert sorted(extractor.batches) == [1, 1]


def test_a_broken_or_enormous_picture_is_logged_and_gives_nothing(caplog):
    images = [picture_bytes(), b"no picture", enormous_png()]
    columns = visual_context(images, ["en"] * 3, [Sizes()])
    assert columns["objects"] == [["64 wide", "und"], None, None]
    assert "2 pictures cannot be read, the first: " in caplog.text


def test_rows_keep_all_else_and_rows_without_a_picture_keep_their_context():
    rows = load_sample(sentences=12, languages=["en"])["train"]
    rows = rows.remove_columns("objects").add_column("objects", [["given"]] * len(rows))
    filled = add_visual_context(rows, [Sizes()])
    assert filled.column_names == rows.column_names
    assert filled["decidable_from_text"][:] == rows["decidable_from_text"][:]
    for row in filled:
        shown = row["image"]
        expected = ["given"] if shown is None else [f"{shown.width} wide", "und"]
        assert row["objects"] == expected and row["ocr"] is None
