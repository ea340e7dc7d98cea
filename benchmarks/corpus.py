"""Annotating a corpus: does memory grow with it, and what does a kill cost?

    python benchmarks/corpus.py tests/saved_run
    python benchmarks/corpus.py tests/saved_run --sizes 10000 100000 --inputs .parquet --outputs ""

Claims:

* Peak resident memory of `2mner predict` does not grow with the number of sentences: it is within
  50 MiB over 10,000, 100,000 and 1,000,000, whatever the form of input and output.
* A command that is killed half-way and given again annotates the other half alone, in the same
  memory, and ends with the same bytes.

The sentences are made up: 3 to 9 short words, no two alike. Every measurement is a process of its
own. Memory is that of the process with its libraries and the model. Speed is by the processor's
time for the whole command, its start included, in which other programs do not count. The smaller
the model, the larger the share of what is measured here.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq

from dataset_mmnerd.markdown import table

ROWS_OF_A_GROUP = 10_000


@dataclass(frozen=True)
class Run:
    """A command: seconds of the processor, and peak memory in MiB."""

    seconds: float
    peak: float


def sentences(count: int) -> Iterator[str]:
    """So many, always the same."""
    random = Random(count)
    words = ["".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=3)) for _ in range(10_000)]
    names = [word.title() for word in words[:2000]]
    for number in range(count):
        drawn = random.choices(words, k=random.randint(2, 8))
        drawn[random.randrange(len(drawn))] = random.choice(names)
        yield f"{' '.join(drawn)} {number}"


def write_input(path: Path, count: int) -> None:
    """Sentences as text, JSON lines, Parquet, or a folder for `load_dataset`, by the suffix."""
    if path.suffix in (".parquet", ""):
        table_path = path if path.suffix else path / "train.parquet"
        table_path.parent.mkdir(exist_ok=True)
        schema = pa.schema({"text": pa.string()})
        with pq.ParquetWriter(table_path, schema) as writer:
            group: list[str] = []
            for text in sentences(count):
                group.append(text)
                if len(group) == ROWS_OF_A_GROUP:
                    writer.write_table(pa.table({"text": group}, schema=schema))
                    group = []
            writer.write_table(pa.table({"text": group}, schema=schema))
        return
    with path.open("w", encoding="utf-8") as file:
        for text in sentences(count):
            file.write(f"{json.dumps({'text': text}) if path.suffix == '.jsonl' else text}\n")


def predict(model: Path, source: Path, out: Path, *, kill_at: int | None = None) -> Run:
    """Run `2mner predict`.

    Args:
        model, source, out: its arguments.
        kill_at: kill it when so many parts are there.
    """
    command = [sys.executable, "-m", "cli_2mner", "predict", str(model), str(source)]
    process = subprocess.Popen(
        [*command, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    if kill_at is not None:
        last = out.with_name(f".{out.name}.parts") / f"part-{kill_at - 1:06d}.jsonl"
        while not last.exists() and process.poll() is None:
            time.sleep(0.05)
        process.kill()
    assert process.stderr is not None
    said = process.stderr.read().decode("utf-8", "replace")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, -signal.SIGKILL if kill_at is not None else 0):
        raise SystemExit(said[-2000:])
    return Run(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def same(one: Path, other: Path) -> bool:
    """Whether two outputs have the same bytes."""
    files = [one] if one.is_file() else [path for path in one.rglob("*") if path.is_file()]
    pairs = [(path, other / path.relative_to(one) if one.is_dir() else other) for path in files]
    return all(filecmp.cmp(*pair, shallow=False) for pair in pairs)


def delete(*paths: Path) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def measure(model: Path, source: Path, size: int, out: Path) -> list[str]:
    """A row of the table: whole, and killed half-way and given again."""
    whole = predict(model, source, out)
    resumed = out.with_name(f"resumed{out.suffix}")
    killed = predict(model, source, resumed, kill_at=max(1, size // 2048 // 2))
    rest = predict(model, source, resumed)
    equal = "the same bytes" if same(out, resumed) else "OTHER BYTES"
    delete(out, resumed)
    form = {"": "data set"}
    return [
        f"{size:,}",
        f"{form.get(source.suffix, source.suffix)} to {form.get(out.suffix, out.suffix)}",
        f"{whole.peak:,.0f}",
        f"{size / whole.seconds:,.0f}",
        f"{rest.peak:,.0f}",
        f"{killed.seconds + rest.seconds - whole.seconds:+,.1f}",
        equal,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="a small one, such as tests/saved_run")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--inputs", nargs="+", default=[".txt"], help="suffixes; '' is a data set")
    parser.add_argument("--outputs", nargs="+", default=[".jsonl"], help="the same")
    given = parser.parse_args()
    head = ["sentences", "form", "peak, MiB", "sentences a processor second"]
    head += ["peak after a kill, MiB", "seconds that the kill costs", "output after a kill"]
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for size in given.sizes:
            for suffix in given.inputs:
                source = Path(temporary) / f"input{suffix}"
                write_input(source, size)
                for out in given.outputs:
                    rows.append(measure(given.model, source, size, Path(temporary) / f"out{out}"))
                    sys.stderr.write(f"{' | '.join(rows[-1])}\n")
                delete(source)
    sys.stdout.write(f"{table(head, rows)}\n")


if __name__ == "__main__":
    main()
