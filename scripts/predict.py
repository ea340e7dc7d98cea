"""Print the entities of sentences, with and without their image.

    python scripts/predict.py runs/demo
    python scripts/predict.py runs/demo --text "I finally saw Valdora!" --image photo.jpg
    python scripts/predict.py runs/demo --words I finally saw Valdora !
    python scripts/predict.py runs/ita --text "I saw Valdora!" --objects stage --ocr "On tour"

Without a sentence of your own it shows ten in four languages, with what was not found, and two of
the embedded sample's test part whose entity only the image can type.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers.utils.logging import disable_progress_bar

from dataset_mmnerd.sample import sample_rows
from modeling_2mner import (
    MultimodalNERPipeline,
    TwoMNERForTokenClassification,
    TwoMNERProcessor,
)
from modeling_2mner.images_2mner import ImageError

SENTENCES = (
    "[ORG Apple] hired [PER Tim Cook] in [LOC California].",
    "[PER Taylor Swift] sang at [LOC Wembley Stadium] in [LOC London].",
    "The [ORG United Nations] will meet in [LOC Geneva] on Monday.",
    "[PER Angela Merkel] besucht [LOC Paris].",
    "[ORG Bayern München] verliert gegen [ORG Real Madrid].",
    "[ORG Siemens] baut ein Werk in der Nähe von [LOC Leipzig].",
    "[PER Emmanuel Macron] a rencontré [PER Olaf Scholz] à [LOC Berlin].",
    "[ORG Renault] ferme une usine près de [LOC Lyon].",
    "[PER Ana] vive en [LOC Lima].",
    "[PER Gabriel García Márquez] nació en [LOC Colombia] y murió en [LOC México].",
)
"""What people type, with its entities."""
EXAMPLES = 2
CONTEXT = {
    "objects": "what is seen",
    "captions": "sentences about what is",
    "ocr": "what is written",
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a trained model")
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--text", help="a sentence")
    either.add_argument("--words", nargs="+", help="a sentence that is split into words already")
    parser.add_argument("--image", type=Path, help="its image")
    for field, what in CONTEXT.items():
        parser.add_argument(f"--{field}", nargs="+", metavar="TEXT", help=f"{what} on its image")
    arguments = parser.parse_args(argv)
    if not (arguments.run / "config.json").is_file():
        parser.error(f"{arguments.run} holds no trained model (no config.json)")
    if arguments.image is not None and not arguments.image.is_file():
        parser.error(f"--image: there is no {arguments.image}")
    own = {key: getattr(arguments, key) for key in ("image", *CONTEXT)}
    own = {key: value for key, value in own.items() if value is not None}
    if own and not (arguments.text or arguments.words):
        parser.error(f"--{next(iter(own))} needs the sentence it belongs to: --text or --words")

    disable_progress_bar()
    processor = TwoMNERProcessor.from_pretrained(arguments.run)
    ner = MultimodalNERPipeline(
        model=TwoMNERForTokenClassification.from_pretrained(arguments.run), processor=processor
    )
    if arguments.text or arguments.words:
        given = {"text": arguments.text} if arguments.text else {"words": arguments.words}
        inputs = [{**given, **own}]
    else:
        show_typed(ner)
        inputs = image_decided_examples()
    for item in inputs:
        sentence = {key: item[key] for key in ("text", "words") if key in item}
        print(f"\n{sentence.get('text') or ' '.join(sentence['words'])}")
        if reads_more_than_words(item, processor):
            try:
                entities = ner(item)
            except ImageError as error:
                parser.error(f"--image: {error}")
            print(f"  with its image:  {described(entities)}")
        print(f"  without an image: {described(ner(sentence))}")


def show_typed(ner: MultimodalNERPipeline) -> None:
    """Print the entities of `SENTENCES`, and how many of theirs are found."""
    found = expected = 0
    for marked in SENTENCES:
        text, gold = unmarked(marked)
        entities = ner(text)
        missed = gold - {(entity["label"], entity["word"]) for entity in entities}
        expected += len(gold)
        found += len(gold) - len(missed)
        print(f"\n{text}\n  {described(entities)}")
        if missed:
            named = ", ".join(f"{word} ({label})" for label, word in sorted(missed))
            print(f"  not found: {named}")
    print(f"\n{found} of {expected} entities found")


def unmarked(text: str) -> tuple[str, set[tuple[str, str]]]:
    """The text of one of `SENTENCES`, and the (type, words) of its entities."""
    marks = r"\[([A-Z]+) ([^\]]+)\]"
    return re.sub(marks, r"\2", text), set(re.findall(marks, text))


def reads_more_than_words(item: dict[str, Any], processor: TwoMNERProcessor) -> bool:
    """Whether an input has an image or visual context that the model reads."""
    read = {"image"} if processor.reads_images else set()
    read |= set(processor.context_fields) if processor.reads_context else set()
    return not read.isdisjoint(item)


def image_decided_examples() -> list[dict[str, Any]]:
    """Sentences of the sample's test part whose entity only the image can type: of different
    languages and types."""
    examples: dict[str, dict[str, Any]] = {}
    languages = set()
    for row in sample_rows("test"):
        if not row["decidable_from_text"]:
            entity_type = next(tag for tag in row["ner_tags"] if tag != "O")[2:]
            if entity_type not in examples and row["lang"] not in languages:
                examples[entity_type] = {"words": row["tokens"], "image": row["image"]}
                languages.add(row["lang"])
    return list(examples.values())[:EXAMPLES]


def described(entities: list[dict[str, Any]]) -> str:
    named = [f"{entity['word']} ({entity['label']} {entity['score']:.2f})" for entity in entities]
    return ", ".join(named) or "no entity"


if __name__ == "__main__":
    main()
