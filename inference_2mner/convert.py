"""Convert results of `2mner predict` to a form that another program reads; no model is needed.

    2mner convert entities.jsonl --out entities.spacy
    2mner convert entities.jsonl --out tasks.labelstudio.json --image_url https://example.org/
    2mner convert entities.parquet --out entities.conll

RESULTS are JSON lines, Parquet or a data set folder. The suffix of OUTPUT says its form: spaCy's
`DocBin` (`.spacy`), tasks of Label Studio (`.labelstudio.json`), CoNLL (`.conll`, `.txt`), JSON
lines (`.jsonl`), Parquet (`.parquet`), or without a suffix a data set folder for `load_dataset`.
`2mner predict` writes the same forms itself.

The output is written as a whole or not at all. What the model's labels and rules for words are is
read from `RESULTS.summary.json`, if it is there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dataset_mmnerd.schema import entity_types

from .label_studio import labelling_config
from .outputs import cannot_be_written, check_output, output_kind, replace_output
from .parts import CorpusError, Parts
from .results import open_results, origin_of, results_of
from .rows import InputError

__all__ = ["convert", "main"]


def convert(
    results: str | Path,
    output: str | Path,
    *,
    image_dir: str | Path | None = None,
    image_url: str = "",
    overwrite: bool = False,
) -> str:
    """Convert results; see the module.

    Args:
        results: a file or folder that `2mner predict` has written.
        output: a file or folder, by its suffix.
        image_dir: where images are that are given by name, for a data set folder; by default the
            folder of the results.
        image_url: what precedes an image's name in tasks of Label Studio.
        overwrite: replace an output that is there.

    Returns:
        What was written, for the user.

    Raises:
        InputError: if the results cannot be read.
        CorpusError: if the output is there, or cannot hold a sentence.
        MissingExtraError: if the library that writes it is not installed.
        ValueError: if the output's suffix is unknown.
        OSError: if the output cannot be written.
    """
    output = Path(output)
    kind = output_kind(output)
    source = open_results(Path(results), None if image_dir is None else Path(image_dir))
    parts = Parts(output)
    sentences = entities = images = 0
    with parts.held():
        check_output(output, kind, source.path)
        if output.exists() and not overwrite:
            raise CorpusError(
                f"{output}: found it there already, expected nothing; --overwrite replaces it"
            )
        origin = replace(origin_of(source), image_url=image_url)
        types = entity_types(origin.labels)

        def records() -> Iterator[tuple[dict[str, Any], bytes | None]]:
            nonlocal sentences, entities, images
            for result in results_of(source, images=kind == "folder"):
                if (reason := cannot_be_written(kind, result)) is not None:
                    raise CorpusError(f"{result.place}: {reason}")
                record = result.record()
                unknown = [one for one in record["entities"] if one["label"] not in types]
                if unknown:
                    raise InputError(
                        f"{result.place}: found the label {unknown[0]['label']}, expected one of "
                        f"{', '.join(types)}, as the summary says"
                    )
                sentences += 1
                entities += len(record["entities"])
                images += "image" in record
                yield record, result.image_bytes()

        replace_output(kind, output, parts.unfinished, records(), origin)
    said = f"{output}: {sentences:,} sentences, {entities:,} entities"
    if kind == "label_studio":
        config = labelling_config(types, images=images > 0)
        said += f"\nThe labelling configuration of the project:\n{config}"
    return said


def parser(prog: str = "2mner convert") -> argparse.ArgumentParser:
    """The parser of the command."""
    top = argparse.ArgumentParser(
        prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("results", type=Path, help="a file or folder that `2mner predict` has written")
    top.add_argument("--out", required=True, type=Path, metavar="OUTPUT", help="what to write")
    top.add_argument("--overwrite", action="store_true", help="replace OUTPUT")
    top.add_argument("--image_dir", type=Path, help="where images are, for a data set folder")
    top.add_argument(
        "--image_url",
        default="",
        metavar="PREFIX",
        help="precedes the names of images in tasks of Label Studio",
    )
    return top


def main(argv: Sequence[str], prog: str = "2mner convert") -> int:
    """Run the command.

    Args:
        argv: `RESULTS --out OUTPUT [options]`.
        prog: the name of the program in messages.

    Returns:
        The exit status 0.

    Raises:
        InputError, CorpusError, MissingExtraError, ValueError, OSError: as `convert`.
    """
    given = parser(prog).parse_args(argv)
    options = {"image_dir": given.image_dir, "image_url": given.image_url}
    said = convert(given.results, given.out, overwrite=given.overwrite, **options)
    sys.stdout.write(f"{said}\n")
    return 0
