"""Shards: what goes in comes out, an image is stored once, memory has a bound."""

import io
import os

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from PIL import Image

from dataset_mmnerd import shards as parquet
from dataset_mmnerd.images import MAX_BYTES
from dataset_mmnerd.loading import LoadingError, load_named
from dataset_mmnerd.schema import bio_labels, features
from dataset_mmnerd.shards import ShardError, ShardWriter, ShardWriters, image_digest, read_shard

from .conftest import image_bytes

COLUMNS = features(bio_labels())


def row(number, **fields):
    empty = dict.fromkeys(COLUMNS)
    return empty | {"id": str(number), "tokens": ["Ana"], "ner_tags": ["B-PER"]} | fields


def read_back(folder, tmp_path):
    files = sorted(str(path) for path in folder.glob("*.parquet"))
    cache = str(tmp_path / "cache")
    return load_dataset("parquet", data_files=files, cache_dir=cache, split="train")


def test_rows_and_features_come_back_as_they_went_in(tmp_path):
    writer = ShardWriter(tmp_path / "out", "train", COLUMNS)
    content = image_bytes(1)
    full = row(1, lang="de", image_id="a/b.png", captions=["x", "y"], objects=[], ocr=[""])
    writer.add(full, content)
    writer.add(row(2, tokens=[], ner_tags=[]), None)
    written = writer.close()
    data = read_back(tmp_path / "out", tmp_path)
    assert data.features == COLUMNS
    assert data[0] | {"image": None} == full | {"ner_tags": [1]}
    assert data[1] == row(2, tokens=[], ner_tags=[])
    expected = Image.open(io.BytesIO(content)).convert("RGB")
    assert data[0]["image"].convert("RGB").tobytes() == expected.tobytes()
    assert (written.rows, [path.name for path in written.shards]) == (
        2,
        ["train-00000-of-00001.parquet"],
    )


def test_an_image_that_many_sentences_share_is_stored_once_a_shard(tmp_path):
    images = [image_bytes(seed, "BMP") for seed in range(3)]  # 9 KB each, uncompressed
    writer = ShardWriter(tmp_path / "out", "train", COLUMNS)
    for number in range(900):
        writer.add(row(number, image_id=f"{number}.bmp"), bytes(images[number % 3]))
    written = writer.close()
    assert written.distinct_image_bytes == sum(map(len, images))
    assert written.image_bytes == 300 * written.distinct_image_bytes
    assert written.stored_bytes < 1.5 * written.distinct_image_bytes
    (path,) = written.shards
    chunk = pq.read_metadata(path).row_group(0)
    (column,) = [
        chunk.column(index)
        for index in range(chunk.num_columns)
        if chunk.column(index).path_in_schema == "image.bytes"
    ]
    assert column.total_uncompressed_size < 1.1 * written.distinct_image_bytes
    data = read_back(tmp_path / "out", tmp_path)
    assert data[899]["image"].tobytes() == data[2]["image"].tobytes()
    assert data[899]["image"].tobytes() != data[1]["image"].tobytes()


@pytest.mark.parametrize(
    ("limit", "value"),
    [("_SHARD_ROWS", 400), ("_DISTINCT_BYTES", 250_000), ("_EXPANDED_BYTES", 250_000)],
)
def test_a_shard_is_closed_at_each_limit_and_rows_stay_in_order(
    tmp_path, monkeypatch, limit, value
):
    monkeypatch.setattr(parquet, limit, value)
    writer = ShardWriter(tmp_path / "out", "test", COLUMNS)
    for number in range(1100):
        content = None
        if limit != "_SHARD_ROWS" and number % 20 == 0:
            content = image_bytes(number, "BMP")
        writer.add(row(number, image_id="x"), content)
    written = writer.close()
    assert len(written.shards) == 3
    assert [path.name for path in written.shards] == [
        f"test-{number:05d}-of-00003.parquet" for number in range(3)
    ]
    data = read_back(tmp_path / "out", tmp_path)
    assert data["id"][:] == [str(number) for number in range(1100)]


def test_a_writer_without_rows_writes_no_file(tmp_path):
    assert ShardWriter(tmp_path / "out", "test", COLUMNS).close().shards == []


def test_an_image_is_known_by_its_content(tmp_path):
    content = image_bytes(1)
    path = tmp_path / "a.png"
    path.write_bytes(content)
    same = [content, {"bytes": content, "path": "x"}, {"bytes": None, "path": str(path)}, path]
    assert len({image_digest(image) for image in same}) == 1
    assert image_digest({"bytes": image_bytes(2), "path": None}) != image_digest(content)
    assert image_digest(None) is None
    assert image_digest({"bytes": None, "path": None}) is None
    assert image_digest(str(tmp_path / "missing.png")) is None
    grey = [Image.new("RGB", size, (128,) * 3) for size in ((2, 3), (3, 2))]
    assert image_digest(grey[0]) != image_digest(grey[1])


def test_images_of_one_content_in_memory_have_one_digest():
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([255, 0, 0])
    other = palette.copy()
    other.putpalette([0, 0, 255])
    red = np.full((2, 2, 3), (255, 0, 0), np.uint8)
    assert image_digest(palette) == image_digest(red) == image_digest(Image.fromarray(red))
    assert image_digest(palette) != image_digest(other)


def test_the_digest_of_what_cannot_be_read_is_none(tmp_path):
    os.mkfifo(tmp_path / "fifo.jpg")
    with (tmp_path / "sparse.jpg").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    for path in ("fifo.jpg", "sparse.jpg", "."):
        assert image_digest(tmp_path / path) is None
    assert image_digest(Image.new("RGB", (0, 0))) is None


def test_what_is_held_does_not_grow_with_languages_and_splits(tmp_path, monkeypatch):
    """30 writers, each of which would hold 280 kB, hold 500 kB together."""
    monkeypatch.setattr(parquet, "_HELD_BYTES", 500_000)
    writers = ShardWriters(tmp_path, COLUMNS)
    most = 0
    for number in range(1200):
        lang, split = f"{'abcdefghij'[number % 10]}x", ("train", "validation", "test")[number % 3]
        content = number.to_bytes(4) * 1250  # 5 kB
        writers.add(lang, split, row(number, tokens=["a"] * 10, ner_tags=["O"] * 10), content)
        held = sum(writer.held_bytes for writer in writers._writers.values())
        assert held == writers.held_bytes
        most = max(most, held)
    assert 250_000 < most <= 500_000
    written = writers.close()
    assert len(written) == 30
    assert sum(part.rows for part in written.values()) == 1200
    paths = sorted(tmp_path.glob("data/*/*.parquet"))
    assert sorted(path for part in written.values() for path in part.shards) == paths
    ids = [name for path in paths for name in pq.read_table(path)["id"].to_pylist()]
    assert sorted(ids, key=int) == [str(number) for number in range(1200)]


def test_a_shard_that_is_no_regular_file_is_not_waited_for(tmp_path):
    path = tmp_path / "data" / "en" / "train-00000-of-00001.parquet"
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    with pytest.raises(ShardError, match=r"\.parquet: found no regular file, expected"):
        read_shard(path)
    with pytest.raises(LoadingError, match=r"\.parquet: found no regular file, expected"):
        load_named(str(tmp_path))
