"""Choose thresholds for a model on labelled sentences that it was not trained on.

    2mner thresholds runs/demo --validation_files de/valid.conllu en/valid.conllu
    2mner thresholds runs/demo --validation_files valid.jsonl --image_dir images/ --alpha 0.02
    2mner thresholds me/2mner --validation_files valid.jsonl --out thresholds.json

The model annotates the sentences. Temperatures, thresholds for wanted precisions and thresholds for
certified risks are fitted (`calibration.py`) and stored with the model as `thresholds.json`, where
the pipeline finds them: `threshold="precision=0.95"`, `risk=0.05`. They are valid for these weights
alone, and refused with others.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers.utils.logging import disable_progress_bar

from dataset_mmnerd.files import check_replaceable, write_json
from dataset_mmnerd.markdown import table
from dataset_mmnerd.readers import read_file
from dataset_mmnerd.schema import CONTEXT_COLUMNS, bio_labels, entity_types
from modeling_2mner.crf_2mner import fingerprint_of
from modeling_2mner.labels_2mner import spans_from_labels
from modeling_2mner.pipeline_2mner import MultimodalNERPipeline
from modeling_2mner.thresholds_2mner import FILE

from .calibration import ALPHAS, CONFIDENCE, PRECISIONS, Scored, fit_thresholds, returned
from .models import load_pipeline, refuse_adapter, words_of_characters

__all__ = ["annotated_records", "choose_thresholds", "described", "main"]


def annotated_records(
    ner: MultimodalNERPipeline,
    files: Sequence[Path | str],
    image_dir: Path | str | None = None,
    **options: Any,
) -> Iterator[dict[str, Any]]:
    """Labelled sentences with `gold` entities and those `predicted`, as words `[start, end)`, as in
    a run's `predictions.jsonl`.

    Args:
        ner: the model's pipeline.
        files: in any format of `dataset_mmnerd.readers`.
        image_dir: where the images are; each file's own folder if not given.
        options: of the pipeline's call.

    Raises:
        MalformedLineError: at the first line that does not fit, or has a type that is not the
            model's.
        FileNotFoundError: if there is no such file.
    """
    labels = bio_labels(entity_types(ner.model.config.labels))
    asked: deque[dict[str, Any]] = deque()

    def inputs() -> Iterator[dict[str, Any]]:
        for file in files:
            for row in read_file(file, image_dir, labels=labels):
                asked.append(row)
                context = {column: row[column] for column in CONTEXT_COLUMNS}
                yield {"words": row["tokens"], "image": row["image"], **context}

    for found in ner(inputs(), **options):
        row = asked.popleft()
        bounds = [(entity["start"], entity["end"]) for entity in found]
        places = words_of_characters(row["tokens"], bounds)
        yield {
            **{column: row[column] for column in ("id", "lang", "tokens")},
            "gold": [
                {"start": start, "end": end, "label": label}
                for start, end, label in spans_from_labels(row["ner_tags"])
            ],
            "predicted": [
                {"start": start, "end": end, "label": entity["label"], "score": entity["score"]}
                for entity, (start, end) in zip(found, places, strict=True)
            ],
        }


def choose_thresholds(
    model: Path | str,
    validation_files: Sequence[Path | str],
    *,
    out: Path | str | None = None,
    image_dir: Path | str | None = None,
    precisions: Sequence[float] = PRECISIONS,
    alphas: Sequence[float] = ALPHAS,
    confidence: float = CONFIDENCE,
    max_tokens: int | None = None,
) -> tuple[dict[str, Any], Scored]:
    """Choose a model's thresholds and store them.

    Args:
        model: a folder or a name on the Hub.
        out: the file to write; by default `thresholds.json` in the model's folder.
        validation_files, image_dir: labelled sentences: see `annotated_records`.
        precisions, alphas, confidence: see `fit_thresholds`.
        max_tokens: of the pipeline.

    Returns:
        What the file now holds, and the entities that it was fitted on.

    Raises:
        ValueError: if the model is no folder and `out` is not given, a wanted value is not between
            0 and 1, the sentences have no predicted entity, or a line of a file does not fit.
        ModelError: if there is no such model, or it is an adapter.
        OSError: if a file cannot be read or written.
    """
    if out is None and not Path(model).is_dir():
        raise ValueError(
            f"{model}: found no such folder, expected one, or --out FILE for a model on the Hub"
        )
    refuse_adapter(model)
    out = Path(model) / FILE if out is None else Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    check_replaceable(out)
    ner = load_pipeline(model)
    records = annotated_records(ner, validation_files, image_dir, max_tokens=max_tokens)
    scored = Scored.of(tqdm(records, unit=" sentences", disable=None))
    fitted = fit_thresholds(scored, precisions=precisions, alphas=alphas, confidence=confidence)
    fitted["files"] = [Path(file).name for file in validation_files]
    fitted["weights"] = fingerprint_of(ner.model.crf)
    write_json(out, fitted)
    return fitted, scored


def described(fitted: Mapping[str, Any], scored: Scored) -> str:
    """What was fitted, and what is returned and found with it, as a table."""
    entities, error = fitted["entities"], fitted["expected_calibration_error"]
    gold = entities["gold"]
    temperatures = (f"{name or 'all'} {value:.2f}" for name, value in fitted["temperature"].items())
    rows: list[list[str | int]] = []
    levels = [
        (f"{kind} {level}", thresholds)
        for kind in ("precision", "risk")
        for level, thresholds in fitted[kind].items()
    ]
    for level, thresholds in levels:
        if thresholds is None:
            rows.append([level, "none reaches it", "-", "-", "-"])
            continue
        chosen = returned(scored, fitted, thresholds)
        count, right = int(chosen.sum()), int(scored.right[chosen].sum())
        shown = ", ".join(f"{name or 'all'} {value:.3f}" for name, value in thresholds.items())
        precision = f"{right / count:.3f}" if count else "-"
        recall = f"{right / gold:.3f}" if gold else "-"
        rows.append([level, shown.replace("2.000", "none"), count, precision, recall])
    head = ["wanted", "thresholds", "entities returned", "precision", "recall"]
    return "\n".join(
        [
            f"{fitted['sentences']:,} sentences: {gold:,} entities, {entities['predicted']:,} "
            f"predicted, {entities['right']:,} of them right",
            f"Expected calibration error: {error['before']:.3f}, after calibration "
            f"{error['after']:.3f} (temperature: {', '.join(temperatures)})",
            "",
            table(head, rows),
            "",
            "precision: estimated on these sentences. risk: the share of wrong entities is at most "
            f"so large with a confidence of {fitted['confidence']:g}, on sentences like these.",
        ]
    )


def parser(prog: str = "2mner thresholds") -> argparse.ArgumentParser:
    """The parser of the command."""
    top = argparse.ArgumentParser(
        prog=prog,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("model", help="a trained model: a folder or a name on the Hub")
    top.add_argument(
        "--validation_files",
        nargs="+",
        required=True,
        metavar="FILE",
        help="labelled sentences that the model was not trained on: CoNLL or JSON lines",
    )
    top.add_argument(
        "--out", type=Path, metavar="FILE", help=f"by default {FILE} in the model's folder"
    )
    top.add_argument("--image_dir", type=Path, help="where images are, if not beside the files")
    top.add_argument(
        "--precision", nargs="+", type=float, default=PRECISIONS, metavar="P", help="wanted ones"
    )
    top.add_argument(
        "--alpha",
        nargs="+",
        type=float,
        default=ALPHAS,
        help="largest shares of wrong entities, to be certified",
    )
    top.add_argument(
        "--confidence", type=float, default=CONFIDENCE, help=f"of that, {CONFIDENCE} by default"
    )
    top.add_argument("--max_tokens", type=int, metavar="N", help="sub-words of a batch, at most")
    return top


def main(argv: Sequence[str], prog: str = "2mner thresholds") -> int:
    """Run the command.

    Args:
        argv: `MODEL --validation_files FILE ... [options]`.
        prog: the name of the program in `--help`.

    Returns:
        The exit status 0.

    Raises:
        ValueError, ModelError, OSError: as `choose_thresholds`.
    """
    given = parser(prog).parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    disable_progress_bar()
    fitted, scored = choose_thresholds(
        given.model,
        given.validation_files,
        out=given.out,
        image_dir=given.image_dir,
        precisions=given.precision,
        alphas=given.alpha,
        confidence=given.confidence,
        max_tokens=given.max_tokens,
    )
    path = given.out or Path(given.model) / FILE
    sys.stdout.write(f"{described(fitted, scored)}\n\n{path}: written\n")
    if not Path(given.model).is_dir():
        sys.stdout.write(f"To store it with the model: hf upload {given.model} {path} {FILE}\n")
    return 0
