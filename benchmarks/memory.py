"""Peak memory of the pipeline, by the budget of a batch.

    python benchmarks/memory.py runs/wikineural --file DATA/de/test.conllu[50%:]

The inputs: the skewed mix of `benchmarks/inference.py`, short sentences and a few articles; and one
text that consists of the same sentences again and again, 100,000 words. Each cell is the growth of
a process from the loaded model to its peak, in MiB. `unsorted` is the mix in batches of 16 in the
order of the file, each padded to its longest text.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import subprocess
import sys
from collections.abc import Sequence
from itertools import chain, cycle, islice
from pathlib import Path

import torch
from inference import build, load, mix, most_so_far, new_peak, read

from dataset_mmnerd.markdown import table

WORDS = 100_000
BUDGETS = (512, 1024, 2048, 4096, 8192)


def grown(options: argparse.Namespace) -> int:
    """What one annotation adds to the memory of this process, in MiB."""
    sentences, gold = read(options.file, options.sentences)
    texts, _ = mix(sentences, gold)
    if options.cell == "text":
        texts = [list(islice(chain.from_iterable(cycle(sentences)), options.words))]
    if options.cell == "unsorted":
        annotate = build(options.model, {}, ["unsorted"])["unsorted"]
    else:
        ner = load(options.model)

        def annotate(texts: list[list[str]]) -> list:
            return ner([{"words": words} for words in texts], max_tokens=options.budgets[0])

    annotate([["warms", "up"]])
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # gives back what loading has freed
    before = new_peak()
    annotate(texts)
    return most_so_far() - before


def cell(options: argparse.Namespace, name: str, budget: int) -> str:
    """The same in a process of its own."""
    command = [sys.executable, __file__, str(options.model), "--file", options.file]
    command += ["--sentences", str(options.sentences), "--words", str(options.words)]
    command += ["--threads", str(options.threads), "--budgets", str(budget), "--cell", name]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return str(json.loads(done.stdout.splitlines()[-1]))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="folder of a trained model that reads text alone")
    parser.add_argument("--file", required=True, help="sentences, or a part: test.conllu[50%%:]")
    parser.add_argument("--sentences", type=int, default=400, help="of the file, at most")
    parser.add_argument("--words", type=int, default=WORDS, help="of the text")
    parser.add_argument("--budgets", type=int, nargs="+", default=BUDGETS, help="max_tokens")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cell", choices=("mix", "text", "unsorted"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    if options.cell is not None:
        sys.stdout.write(f"{grown(options)}\n")
        return
    rows = [["unsorted, batches of 16", cell(options, "unsorted", 0), "-"]]
    for budget in options.budgets:
        rows.append([f"{budget:,}", cell(options, "mix", budget), cell(options, "text", budget)])
        sys.stderr.write(f"{rows[-1]}\n")
    head = ["sub-words of a batch", "mix", f"a text of {options.words:,} words"]
    sys.stdout.write(f"{table(head, rows)}\n")


if __name__ == "__main__":
    main()
