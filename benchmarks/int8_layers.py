"""Which layers of an exported model may have 8 bits: F1 of each choice.

    2mner export runs/wikineural --out runs/onnx
    python benchmarks/int8_layers.py runs/onnx --sentences 300 \\
      --file DATA/en/test.conllu[:50%] DATA/de/test.conllu[:50%]

Embeddings have 8 bits in all of them, with a scale for each row. Wide linear layers have at least
as many outputs as inputs; narrow ones, the second layers of feed-forward blocks, have fewer.
Without its spare bit a weight uses all eight.

Compare on sentences on which nothing else is reported.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inference import marked, read, spans_of

from inference_2mner.quantisation import LINEAR, to_8_bits
from inference_2mner.tagger import TEXT, Tagger
from training_2mner.metrics import count_matches

CHOICES: dict[str, dict[str, Any] | None] = {
    "none, float32": None,
    "embeddings": {"linear": ()},
    "embeddings, wide linear layers (`export --int8`)": {"linear": ("wide",)},
    "embeddings, all linear layers": {"linear": LINEAR},
    "the same without the spare bit": {"linear": LINEAR, "spare_bit": False},
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="a folder that `2mner export` wrote, in float32")
    parser.add_argument("--file", nargs="+", required=True, help="sentences: test.conllu[:50%%]")
    parser.add_argument("--sentences", type=int, default=300, help="of each file (default: 300)")
    options = parser.parse_args(argv)
    sentences, gold = [], []
    for file in options.file:
        own, entities = read(file, options.sentences)
        sentences += own
        gold += entities
    sys.stdout.write(f"{len(sentences)} sentences\n\n| 8 bits | MB | F1 |\n| --- | --- | --- |\n")
    for name, choice in CHOICES.items():
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "model"
            shutil.copytree(options.model, folder)
            if choice is not None:
                to_8_bits(folder / TEXT, **choice)
            size = sum(file.stat().st_size for file in folder.glob(f"{TEXT}*")) / 1e6
            answers = Tagger(folder)([{"words": words} for words in sentences])
        counts = count_matches(marked(gold), marked(list(map(spans_of, answers))))
        sys.stdout.write(f"| {name} | {size:.0f} | {100 * counts.f1:.2f} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
