"""F1 of a trained model on files of sentences without images.

    python benchmarks/real_sentences.py runs/demo --files en=DATA/en/test.conllu[50%:] \\
      fr=DATA/fr/test.conllu[50%:] en=UNER/en_ewt-ud-test.iob2

Entities of types that the model lacks count as no entity, and predictions of types that a file
lacks are left out, which is named below the table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from runner import mean

from dataset_mmnerd import markdown
from dataset_mmnerd.readers import is_language
from training_2mner.study.trained import Trained
from training_2mner.study.transfer import measure


def language_and_file(text: str) -> tuple[str, str]:
    language, separator, file = text.partition("=")
    if not separator or not is_language(language):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected LANGUAGE=FILE")
    return language, file


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a trained model")
    parser.add_argument(
        "--files", nargs="+", required=True, type=language_and_file, metavar="LANGUAGE=FILE"
    )
    options = parser.parse_args(argv)
    data = {
        f"{language}: {Path(file).name}": {"files": [file], "language": language}
        for language, file in options.files
    }
    found = measure(Trained(options.run), {"data": data})
    lines, notes = [], []
    for name, result in found.items():
        scores = result["score"]
        by_type = {kind: score["f1"] for kind, score in scores["by_type"].items()}
        lines.append(
            [
                name,
                f"{len(result['records']):,}",
                *(f"{100 * scores[key]['f1']:.1f}" for key in ("overall", "boundaries")),
                ", ".join(f"{kind} {100 * f1:.1f}" for kind, f1 in sorted(by_type.items())),
            ]
        )
        for what in ("dropped", "ignored"):
            if result[what]:
                notes.append(f"{name}: {what} {result[what]}")
    head = ["file", "sentences", "F1", "boundaries", "by type"]
    average = mean(result["score"]["overall"]["f1"] for result in found.values())
    sys.stdout.write(markdown.table(head, lines) + f"\nmean {100 * average:.1f}\n")
    sys.stdout.write("".join(f"{note}\n" for note in notes))


if __name__ == "__main__":
    main()
