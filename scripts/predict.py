"""Print the entities of sentences, with and without their picture.

    python scripts/predict.py runs/demo
    python scripts/predict.py runs/demo --text "I finally saw Valdora!" --image photo.jpg
    python scripts/predict.py runs/demo --words I finally saw Valdora !

Without a sentence of your own it shows two of the embedded sample's test part whose entity only the
picture can type.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from dataset_mmnerd.sample import sample_rows
from modeling_2mner import TwoMNERForTokenClassification, TwoMNERProcessor
from modeling_2mner.labels_2mner import spans_from_labels
from modeling_2mner.pipeline_2mner import split_into_words

EXAMPLES = 2


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a trained model")
    sentence = parser.add_mutually_exclusive_group()
    sentence.add_argument("--text", help="a sentence; it is cut into words as the pipeline does")
    sentence.add_argument("--words", nargs="+", help="a sentence that is split into words already")
    parser.add_argument("--image", type=Path, help="its picture")
    arguments = parser.parse_args(argv)
    if not (arguments.run / "config.json").is_file():
        parser.error(f"{arguments.run} holds no trained model (no config.json)")
    if arguments.image is not None and not arguments.image.is_file():
        parser.error(f"--image: there is no {arguments.image}")
    words = arguments.words
    if arguments.text is not None:
        words = [arguments.text[start:end] for start, end in split_into_words(arguments.text)]
    if arguments.image is not None and not words:
        parser.error("--image needs the sentence it belongs to: --text or --words")

    processor = TwoMNERProcessor.from_pretrained(arguments.run)
    model = TwoMNERForTokenClassification.from_pretrained(arguments.run).eval()
    examples = [(words, arguments.image)] if words else picture_decided_examples()
    for tokens, picture in examples:
        print(f"\n{' '.join(tokens)}")
        if picture is not None and processor.reads_pictures:
            print(f"  with its picture:  {described(predict(model, processor, tokens, picture))}")
        print(f"  without a picture: {described(predict(model, processor, tokens, None))}")


def picture_decided_examples() -> list[tuple[list[str], Any]]:
    """Sentences of the sample's test part, of different languages and types, and their pictures."""
    examples: dict[str, tuple[list[str], Any]] = {}
    languages = set()
    for row in sample_rows("test"):
        if not row["decidable_from_text"]:
            ((_, _, entity_type),) = spans_from_labels(row["ner_tags"])
            if entity_type not in examples and row["lang"] not in languages:
                examples[entity_type] = (row["tokens"], row["image"])
                languages.add(row["lang"])
    return list(examples.values())[:EXAMPLES]


@torch.inference_mode()
def predict(model, processor, words: list[str], picture: Any) -> list[dict[str, Any]]:
    """The entities of one sentence."""
    return processor.post_process_entities(model(**processor(words, images=picture)), [words])[0]


def described(entities: list[dict[str, Any]]) -> str:
    named = [f"{entity['text']} ({entity['label']} {entity['score']:.2f})" for entity in entities]
    return ", ".join(named) or "no entity"


if __name__ == "__main__":
    main(sys.argv[1:])
