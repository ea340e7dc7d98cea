"""The image controls change the images and nothing else."""

from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from training_2mner.controls import controls, derangement
from training_2mner.data import image_keys


@given(st.lists(st.sampled_from([None, "a", "b", "c", "d", "e"]), max_size=30), st.integers(0, 5))
def test_shuffled_images_are_all_used_and_none_stays_where_it_was(keys, seed):
    source = derangement(keys, seed)
    given_to = Counter(row for row in source if row is not None)
    assert given_to == Counter(row for row, key in enumerate(keys) if key is not None)
    assert all((row is None) == (key is None) for row, key in zip(source, keys, strict=True))
    counts = Counter(key for key in keys if key is not None)
    if counts and 2 * max(counts.values()) <= sum(counts.values()):
        moved = [keys[row] != key for row, key in zip(source, keys, strict=True) if row is not None]
        assert all(moved)


@given(st.integers(0, 50))
def test_a_row_with_several_images_gets_none_of_its_own(seed):
    pairs = [("a", "b"), ("a", "c"), ("b", "c"), ("d", "e"), ("f",), ("g",), ("h", "i"), ("f", "k")]
    keys = ["\n".join(pair) for pair in pairs]
    source = derangement(keys, seed)
    assert sorted(source) == list(range(len(keys)))
    assert all(set(pairs[row]).isdisjoint(pairs[other]) for row, other in enumerate(source))


def test_shuffling_depends_on_the_seed_alone():
    keys = [str(row) for row in range(50)]
    assert derangement(keys, 1) == derangement(keys, 1)
    assert derangement(keys, 1) != derangement(keys, 2)


def content_of(row):
    path = Path(row["image"]["path"])
    return path.read_bytes() if path.exists() else None


def test_no_row_keeps_its_image_under_another_path(rows_of_files):
    shuffled = controls(rows_of_files, image_keys(rows_of_files), seed=0)["shuffled"]
    for own, other in zip(rows_of_files, shuffled, strict=True):
        assert content_of(own) != content_of(other)


def test_the_controls_change_images_and_nothing_else(rows):
    ways = controls(rows, image_keys(rows), seed=0)
    assert tuple(ways) == ("real", "shuffled", "blank")
    for index, row in enumerate(rows):
        for way in ways.values():
            assert {**way[index], "image": None} == {**row, "image": None}
        assert ways["real"][index]["image"] == row["image"]
        if row["image"] is None:
            assert ways["shuffled"][index]["image"] is None
            assert ways["blank"][index]["image"] is None
        else:
            assert ways["shuffled"][index]["image"]["bytes"] != row["image"]["bytes"]
            assert ways["blank"][index]["image"].getcolors() == [(224 * 224, (128, 128, 128))]


def test_the_visual_context_goes_where_its_image_goes(context_rows):
    keys = image_keys(context_rows)
    ways = controls(context_rows, keys, seed=0)
    images = {row["image"]["bytes"]: row["objects"] for row in context_rows if row["image"]}
    for index, row in enumerate(context_rows):
        for name in ("objects", "captions", "ocr"):
            assert ways["blank"][index][name] is None
        if row["image"] is not None:
            shuffled = ways["shuffled"][index]
            assert shuffled["objects"] == images[shuffled["image"]["bytes"]]
        assert ways["shuffled"][index]["tokens"] == row["tokens"]


def test_too_few_images_to_shuffle_are_counted_in_the_log(rows, caplog):
    few = rows.select([0, 4, 1])
    controls(few, image_keys(few), seed=0)
    assert "1 rows keep their image" in caplog.text
