"""Building a data set: does memory grow with it, and is it as fast as the plain way?

    python benchmarks/build_dataset.py
    python benchmarks/build_dataset.py --sizes 10000 100000 --rows 20000

Claims:

* Peak resident memory of a build is within 100 MB over 10,000, 100,000 and 1,000,000 sentences,
  with and without the audit.
* Rows per second are at least those of `Dataset.from_generator(...).to_parquet(...)` on the same
  rows, without and with images. Both read the same files with the same reader.
* An image that several sentences share is stored once a shard.

Every measurement is a process of its own. The data is made up: JSON lines of 20 words, and noisy
JPEGs of about 8 kB, of which ten sentences share one.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

from datasets import Dataset
from PIL import Image

from dataset_mmnerd.build import build, write_rows
from dataset_mmnerd.schema import features
from dataset_mmnerd.sources import OpenSource

SHARED_BY = 10
LABELS = ("O", "B-PER", "B-LOC", "B-ORG", "B-MISC")
WEIGHTS = (46, 1, 1, 1, 1)  # 1.6 entities a sentence, as in Wikipedia


def write_files(folder: Path, count: int, *, images: bool) -> None:
    """`count` sentences, nine of ten in train, and an image for every ten of them."""
    random = Random(count)
    folder.mkdir(parents=True)
    words = ["".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(20_000)]
    with (
        (folder / "train_en.jsonl").open("w") as train,
        (folder / "test_en.jsonl").open("w") as test,
    ):
        for number in range(count):
            record: dict[str, Any] = {
                "tokens": random.choices(words, k=20),
                "ner_tags": random.choices(LABELS, WEIGHTS, k=20),
            }
            if images:
                record["image"] = f"{number // SHARED_BY % 1000:03d}/{number // SHARED_BY}.jpg"
            (test if number % 10 == 0 else train).write(json.dumps(record) + "\n")
    if images:
        for number in range(-(-count // SHARED_BY)):
            grain = Image.frombytes("L", (80, 60), random.randbytes(4800))
            file = io.BytesIO()
            grain.resize((160, 120)).convert("RGB").save(file, "JPEG", quality=80)
            path = folder / f"{number % 1000:03d}" / f"{number}.jpg"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(file.getvalue())


def plain(source: OpenSource, out: Path) -> int:
    """The plain way: a generator of rows, through Arrow files of the cache, to one Parquet file."""
    columns = features(source.labels)

    def rows():
        for _, row in source.rows():
            image = row["image"]
            if image is not None:
                row["image"] = {"bytes": Path(image).read_bytes(), "path": Path(image).name}
            yield {key: row[key] for key in columns}

    data = Dataset.from_generator(rows, features=columns, cache_dir=str(out / "cache"))
    data.to_parquet(out / "plain.parquet")
    return len(data)


def measure(way: str, folder: Path, out: Path) -> dict[str, float]:
    """One build in this process: its seconds, rows, and peak memory; what images took."""
    out.mkdir()
    source = OpenSource("jsonl", folder)
    start = time.perf_counter()
    shown = stored = 0
    if way == "plain":
        rows = plain(source, out)
    elif way == "write":
        parts = write_rows(source, out).parts.values()
        rows = sum(part.written.rows for part in parts)
        shown = sum(part.written.image_bytes for part in parts)
        stored = sum(part.written.distinct_image_bytes for part in parts)
    else:
        report = build("jsonl", folder, out / "set", with_audit=way == "build with audit")
        rows = sum(part.written.rows for part in report.parts.values())
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rows": rows, "seconds": seconds, "peak": peak, "shown": shown, "stored": stored}


def in_own_process(way: str, folder: Path, out: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", way, str(folder), str(out)]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    shutil.rmtree(out)
    return json.loads(run.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--rows", type=int, default=50_000, help="for the comparison of speed")
    parser.add_argument("--measure", nargs=3, metavar=("WAY", "FOLDER", "OUT"), help="used inside")
    options = parser.parse_args()
    if options.measure:
        way, folder, out = options.measure
        print(json.dumps(measure(way, Path(folder), Path(out))))
        return

    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        for images in (False, True):
            kind = "with images" if images else "words alone"
            write_files(root / "files", options.rows, images=images)
            found = {
                way: in_own_process(way, root / "files", root / "out") for way in ("plain", "write")
            }
            rates = {way: each["rows"] / each["seconds"] for way, each in found.items()}
            ratio = rates["write"] / rates["plain"]
            print(
                f"{kind}: {rates['write']:,.0f} rows/s, plain {rates['plain']:,.0f}: {ratio:.2f} x"
            )
            if images:
                shown, stored = found["write"]["shown"] / 2**20, found["write"]["stored"] / 2**20
                print(f"images stored: {stored:,.0f} MiB instead of {shown:,.0f} MiB")
            shutil.rmtree(root / "files")
        peaks: dict[str, list[float]] = {}
        for size in options.sizes:
            write_files(root / "files", size, images=True)
            for way in ("build", "build with audit"):
                each = in_own_process(way, root / "files", root / "out")
                peaks.setdefault(way, []).append(each["peak"])
                rate = each["rows"] / each["seconds"]
                print(
                    f"{way}, {size:,} sentences: peak {each['peak']:,.0f} MiB, {rate:,.0f} rows/s"
                )
            shutil.rmtree(root / "files")
        for way, found_peaks in peaks.items():
            apart = max(found_peaks) - min(found_peaks)
            print(f"{way}: peaks within {apart:,.0f} MiB of each other")


if __name__ == "__main__":
    main()
