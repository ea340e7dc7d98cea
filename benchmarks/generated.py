"""What more generated sentences, more frames and more names each give on real sentences.

    python benchmarks/generated.py --data DATA --out runs/generated --seeds 19 20 21

`DATA` is the folder of WikiNEuRal's `en/test.conllu` and its siblings. A text-only model is trained
on generated sentences in four languages, for the same number of steps each time: on 20,000 of them,
on fewer, and on 20,000 from a part of the frames or of the names. A smaller part is within each
larger one. It is tested on the same sentences of the second halves of the test files.

The table has F1 by language, means over the seeds. Intervals: sentences and seeds resampled. The
seed decides the sentences, the parts and the training. A run that is there is not repeated; of each
the figures are kept, not the weights. Options for `train.py` go behind `--`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TypeVar

from linked_images import over_both
from runner import Setting, between, figures_of, flags, mean, records_of, train_once

from dataset_mmnerd import markdown
from dataset_mmnerd.files import write_lines
from dataset_mmnerd.sample import SAMPLE_LANGUAGES, Plan
from dataset_mmnerd.sample.embedded import embedded_language
from dataset_mmnerd.sample.language import REGISTERS, Frame, Language, Names, type_of
from dataset_mmnerd.sample.rows import Writer
from dataset_mmnerd.sample.splitting import divide
from dataset_mmnerd.schema import Row

_Item = TypeVar("_Item")

COLUMNS = ("id", "tokens", "ner_tags", "lang")
TRAINING = {
    "max_steps": "1250",  # one pass over 20,000 sentences
    "per_device_train_batch_size": "16",
    # The last step is kept; nothing is chosen.
    "eval_strategy": "no",
    "save_strategy": "no",
    "load_best_model_at_end": "false",
}


@dataclass(frozen=True)
class Amount:
    """What a model is trained on.

    Attributes:
        sentences: a language.
        frames: the share of the frames, of each register and kind.
        names: the share of the names, of each section.
    """

    sentences: int = 5000
    frames: float = 1.0
    names: float = 1.0

    def __str__(self) -> str:
        return f"{self.sentences}-{self.frames:g}-{self.names:g}"


AMOUNTS = (
    Amount(),
    Amount(sentences=1250),
    Amount(sentences=250),
    Amount(frames=0.3),
    Amount(frames=0.1),
    Amount(names=0.3),
    Amount(names=0.1),
)


def some(language: Language, amount: Amount, seed: int) -> Language:
    """A language with a part of its frames and names."""
    frames = replace(
        language.frames,
        words_decide=some_frames(language.frames.words_decide, amount, f"{seed} words"),
        no_entity=some_frames(language.frames.no_entity, amount, f"{seed} none"),
    )
    typed = (section for kind, section in language.names.sections.items() if type_of(kind))
    entities = {section.kind for section in language.names.reached(typed)}
    sections = {
        kind: replace(section, names=tuple(part(section.names, amount.names, f"{seed} {kind}")))
        if kind in entities
        else section
        for kind, section in language.names.sections.items()
    }
    return Language(language.lang, frames, Names(sections, language.names.joins))


def some_frames(frames: Sequence[Frame], amount: Amount, key: str) -> list[Frame]:
    return [
        frame
        for register in REGISTERS
        for frame in part(
            [frame for frame in frames if frame.register == register],
            amount.frames,
            f"{key} {register}",
        )
    ]


def part(items: Sequence[_Item], share: float, key: str) -> list[_Item]:
    """A share of the items, at least one of some."""
    return Random(key).sample(items, len(items))[: max(1, round(share * len(items)))]


def write_sentences(path: Path, amount: Amount, seed: int) -> None:
    """Write generated sentences, unless they are there."""

    def rows() -> Iterator[Row]:
        plan = Plan(seed, amount.sentences, {"train": 1.0, "validation": 0.0, "test": 0.0})
        languages = [some(embedded_language(lang), amount, seed) for lang in SAMPLE_LANGUAGES]
        for division in divide(languages, seed, plan.shares):
            for row in Writer(division, "train", plan).sentences():
                yield {key: row[key] for key in COLUMNS}

    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_lines(path, rows())


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of WikiNEuRal")
    parser.add_argument("--out", type=Path, required=True, help="folder for data and runs")
    parser.add_argument("--seeds", nargs="+", type=int, default=[19])
    parser.add_argument("--amounts", nargs="+", type=int, default=range(len(AMOUNTS)))
    parser.add_argument("--test", default="[95%:]", help="the part of each test file")
    parser.add_argument("options", nargs="*", help="more for train.py, behind --")
    arguments = parser.parse_args(argv)

    out = arguments.out.resolve()
    tests = [
        f"{arguments.data.resolve() / lang / 'test.conllu'}{arguments.test}"
        for lang in SAMPLE_LANGUAGES
    ]
    lines = []
    for amount in (AMOUNTS[place] for place in arguments.amounts):
        runs = []
        for seed in arguments.seeds:
            path = out / "data" / f"{amount}-{seed}.jsonl"
            write_sentences(path, amount, seed)
            options = ["--train_files", str(path), "--test_files", *tests, "--seed", str(seed)]
            options += flags(TRAINING)
            options += arguments.options
            run = out / f"{amount}-{seed}"
            runs.append(train_once(Setting("text_only_offline"), run, options))
            (run / "model.safetensors").unlink(missing_ok=True)  # half a gigabyte each
        by_language = [figures_of(run)["test"]["by_language"] for run in runs]
        f1 = [mean(figures[lang]["f1"] for figures in by_language) for lang in SAMPLE_LANGUAGES]
        together = over_both(([records_of(run) for run in runs], "real")).interval()
        lines.append(
            [
                f"{len(SAMPLE_LANGUAGES) * amount.sentences:,}",
                f"{100 * amount.frames:.0f} %",
                f"{100 * amount.names:.0f} %",
                *(f"{100 * score:.1f}" for score in f1),
                f"{100 * mean(f1):.1f}",
                between(together),
            ]
        )
    head = ["sentences", "frames", "names", *SAMPLE_LANGUAGES, "mean", "all entities"]
    sys.stdout.write(markdown.table(head, lines) + "\n")


if __name__ == "__main__":
    main()
