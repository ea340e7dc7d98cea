"""What tells rows, their images and their visual contexts apart."""

from training_2mner import data
from training_2mner.data import context_keys, have_images, image_keys, longest_first


def test_equal_images_are_recognised_by_their_bytes(rows):
    keys = image_keys(rows)
    assert keys[0] == keys[4] != keys[1]
    assert keys[3] is None
    assert image_keys(rows.remove_columns("image")) == [None] * len(rows)


def test_rows_with_an_image_are_told_without_reading_it(rows, monkeypatch):
    monkeypatch.setattr(data, "image_digest", None)
    assert have_images(rows) == [True, True, True, False, True, True]
    assert have_images(rows.remove_columns("image")) == [False] * len(rows)


def test_images_in_files_are_told_apart_by_their_content(rows_of_files):
    keys = image_keys(rows_of_files)
    assert keys[0] == keys[2] == keys[4] != keys[1] == keys[3]
    assert keys[5] == rows_of_files[5]["image"]["path"]  # there is no such file


def test_equal_contexts_are_recognised_and_empty_ones_are_none(context_rows):
    keys = context_keys(context_rows)
    assert keys[0] == keys[4] != keys[1]
    assert [key is None for key in keys] == [False, False, True, False, False, False]
    assert [key is None for key in context_keys(context_rows, ["ocr"])] == [True] * 5 + [False]
    assert context_keys(context_rows.select_columns(["id"])) == [None] * len(context_rows)


def test_the_longest_sentences_come_first(rows):
    assert longest_first(rows) == [3, 1, 0, 2, 4, 5]
