"""Annotate a corpus: any number of sentences in, one file or data set of entities out.

    2mner predict runs/demo posts.txt --out entities.jsonl
    2mner predict runs/demo posts.jsonl --image_dir images/ --out entities.parquet --risk 0.05
    accelerate launch -m cli_2mner predict runs/demo me/tweets --split test --out annotated/

The input is text (one sentence a line), CoNLL, JSON lines, Parquet, or a data set: a folder or a
name on the Hub (`inputs.py`). The output's suffix says its form (`outputs.py`); `2mner convert`
makes others of it. Memory does not grow with the number of sentences.

The rows are annotated in parts of `PART_ROWS`, each written as a whole into a hidden folder beside
the output. A command that was killed goes on by being given again: parts that are there are not
made again, and the output is byte for byte that of a command that was not killed. It is refused if
the model, the input or an option has changed since. Under `accelerate launch` the processes share
the parts, and the main process makes one output of them.

A row that cannot be read is left out, counted and listed. The summary is printed, and written
beside the output as `OUTPUT.summary.json`.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import groupby, repeat
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers.utils.logging import disable_progress_bar

from dataset_mmnerd.columns import parse_columns
from dataset_mmnerd.files import write_json
from dataset_mmnerd.processes import Processes
from dataset_mmnerd.quoting import quoted, shorten
from modeling_2mner import MultimodalNERPipeline, TwoMNERProcessor

from .inputs import FORMATS, open_source
from .models import (
    fingerprint_of_model,
    load_pipeline,
    load_processor,
    version_of_model,
    words_of_characters,
)
from .outputs import (
    Origin,
    cannot_be_written,
    check_output,
    output_kind,
    replace_output,
    summary_path,
)
from .parts import CorpusError, MissingParts, Parts
from .result_page import check_page, show_output
from .rows import COLUMNS, Fault, Row, Source
from .summary import Summary

__all__ = [
    "PART_ROWS",
    "CorpusError",
    "Summary",
    "main",
    "predict_corpus",
]

PART_ROWS = 2048
"""Rows of a part: what a killed process has to do again, at most."""

SCORE_DIGITS = 6
HTML_RESULTS = 100
_RENAMED = ("word", "start", "end")


# Annotating ---------------------------------------------------------------------------------------


def _annotate(
    ner: MultimodalNERPipeline,
    rows: Iterable[Row | Fault],
    kind: str,
    options: Mapping[str, Any],
    strict: bool,
) -> Iterator[dict[str, Any]]:
    """The lines of a part, in the order of its rows."""
    asked: deque[Row] = deque()
    faults: deque[Fault] = deque()

    def inputs() -> Iterator[dict[str, Any]]:
        for row in rows:
            if isinstance(row, Row):
                reason = _cannot_be_read(ner.processor, row) or cannot_be_written(kind, row)
                row = row if reason is None else Fault(row.number, f"{row.place}: {reason}")
            if isinstance(row, Row):
                asked.append(row.without_image())
                yield row.model_input()
            elif strict:
                raise CorpusError(row.message)
            else:
                faults.append(row)

    for answer in ner(inputs(), return_details=True, **options):
        row = asked.popleft()
        while faults and faults[0].number < row.number:
            yield {"fault": faults.popleft().message}
        yield _line(row, answer)
    for fault in faults:
        yield {"fault": fault.message}


def _cannot_be_read(processor: TwoMNERProcessor, row: Row) -> str | None:
    """Why a model cannot read a sentence; None if it can."""
    count, most = len(row.image) if isinstance(row.image, list) else 0, processor.max_images
    if not processor.reads_images or count <= most:
        return None
    return f"found {count} images, expected at most {most}, which the model reads"


def _line(row: Row, answer: Mapping[str, Any]) -> dict[str, Any]:
    record = row.record()
    if row.has_image:
        record["image_read"] = answer["image"] == "read"
    record["windows"] = answer["windows"]
    record["entities"] = _entities(row, answer["entities"])
    line: dict[str, Any] = {"record": record}
    errors = []
    if row.images_missing:
        names = ", ".join(map(quoted, row.images_missing))
        errors.append(f"found no image {shorten(names)}")
    if answer["image_error"] is not None:
        errors.append(shorten(answer["image_error"]))
    if errors:
        line["image_error"] = "; ".join(errors)
    return line


def _entities(row: Row, found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Entities with offsets of words where the sentence was given as words."""
    bounds = [(entity["start"], entity["end"]) for entity in found]
    if row.tokens is not None:
        bounds = words_of_characters(row.tokens, bounds)
    entities = []
    for entity, (start, end) in zip(found, bounds, strict=True):
        own = {name: _rounded(entity[name]) for name in entity if name not in _RENAMED}
        first = {name: own.pop(name) for name in ("label", "score")}
        entities.append({**first, "start": start, "end": end, "text": entity["word"], **own})
    return entities


def _rounded(value: Any) -> Any:
    """Scores with `SCORE_DIGITS` digits, wherever they are."""
    if isinstance(value, float):
        return round(value, SCORE_DIGITS)
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def _make_parts(
    source: Source,
    parts: Parts,
    processes: Processes,
    annotate: Callable[[Iterable[Row | Fault]], Iterator[dict[str, Any]]],
    *,
    images: bool,
    part_rows: int,
) -> None:
    """Make the parts of this process that are not there."""
    missing = MissingParts(parts, processes)
    total = source.count()
    sizes = {}
    if total is not None:
        numbers = range(-(-total // part_rows))
        sizes = {n: min(part_rows, total - n * part_rows) for n in numbers if processes.own(n)}
    with tqdm(
        total=None if total is None else sum(sizes.values()),
        initial=sum(size for number, size in sizes.items() if number not in missing),
        unit=" sentences",
        disable=None if processes.index == 0 else True,
    ) as bar:

        def counted(rows: Iterable[Row | Fault]) -> Iterator[Row | Fault]:
            for row in rows:
                yield row
                bar.update()

        rows = source.rows(lambda row: row // part_rows in missing, images=images)
        for number, own in groupby(rows, lambda row: row.number // part_rows):
            parts.write(number, annotate(counted(own)))


# The whole ----------------------------------------------------------------------------------------


def predict_corpus(
    model: str | Path,
    input: str | Path,
    output: str | Path,
    *,
    image_dir: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    format: str | None = None,
    config: str | None = None,
    split: str | None = None,
    strict: bool = False,
    overwrite: bool = False,
    precision: str | None = None,
    part_rows: int = PART_ROWS,
    **options: Any,
) -> Summary | None:
    """Annotate a corpus, or go on with it; see the module.

    Args:
        model: a folder or a name on the Hub.
        input, image_dir, columns, format, config, split: the sentences: see `open_source`.
        output: a file or folder, by its suffix: see `output_kind`.
        strict: a row that cannot be read is an error.
        overwrite: replace an output that is there, and begin anew.
        precision: of the pipeline.
        part_rows: of a part.
        options: of the pipeline's call, such as `threshold`, `max_tokens` and `batch_size`.

    Returns:
        What was found; None in all processes but the main one.

    Raises:
        CorpusError: if the output is there, another command writes it, what is to be resumed has
            changed, or a row cannot be read and `strict` is set.
        InputError: if the input cannot be read.
        ModelError: if the model cannot be read.
        ValueError: if the output's suffix or an option is unknown.
        ProcessesError: if there are several processes that do not know of each other.
        OSError: if the output cannot be written.
    """
    output = Path(output)
    kind = output_kind(output)
    source = open_source(
        input, image_dir=image_dir, columns=columns, format=format, config=config, split=split
    )
    processes = Processes.launched()
    parts = Parts(output)
    fingerprint = {
        "model": fingerprint_of_model(model),
        "input": source.fingerprint(),
        "options": {
            "image_dir": image_dir and str(image_dir),
            "columns": columns,
            "format": format,
            "precision": precision,
            "part_rows": part_rows,
            "output": kind,
            **{name: value for name, value in options.items() if name != "num_workers"},
        },
    }
    main = processes.index == 0
    with parts.held() if main else nullcontext():
        if main:
            check_output(output, kind, source.path)
            done = _begin(parts, output, fingerprint, overwrite=overwrite)
            processes.wait()
            if done is not None:
                return done
        else:
            processes.wait()
            if not parts.plan.is_file():
                return None
        processor = load_processor(model)
        ner = None

        def annotate(rows: Iterable[Row | Fault]) -> Iterator[dict[str, Any]]:
            nonlocal ner
            if ner is None:
                ner = load_pipeline(model, device=processes.device, precision=precision)
            return _annotate(ner, rows, kind, options, strict)

        images = processor.reads_images
        _make_parts(source, parts, processes, annotate, images=images, part_rows=part_rows)
        processes.wait()
        if not main:
            return None
        version = version_of_model(model, fingerprint["model"])
        origin = Origin(processor.labels, processor.word_rules, version)
        return _finish(parts, source, output, kind, origin, fingerprint, strict=strict)


def _begin(
    parts: Parts, output: Path, fingerprint: Mapping[str, Any], *, overwrite: bool
) -> Summary | None:
    """Begin, or go on; the summary if there is nothing left to do."""
    if output.exists() and not overwrite:
        if (done := _done(summary_path(output), fingerprint)) is not None:
            parts.delete()
            return done
        if not parts.plan.is_file():
            raise CorpusError(
                f"{output}: found it there already, expected nothing; --overwrite replaces it"
            )
    parts.begin(fingerprint, overwrite=overwrite)
    return None


def _done(path: Path, fingerprint: Mapping[str, Any]) -> Summary | None:
    """The summary of an output that was made of the same."""
    try:
        saved = json.loads(path.read_bytes())
        if saved["made_of"] != json.loads(json.dumps(fingerprint)):
            return None
        summary = Summary(**saved["summary"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    summary.entities = Counter(summary.entities)
    return summary


def _finish(
    parts: Parts,
    source: Source,
    output: Path,
    kind: str,
    origin: Origin,
    fingerprint: Mapping[str, Any],
    *,
    strict: bool,
) -> Summary:
    """Make one output of all parts, and its summary."""
    summary = Summary()

    def records() -> Iterator[tuple[dict[str, Any], bytes | None]]:
        # The parts hold no images: these are read once more.
        rows = source.rows(lambda _: True) if kind == "folder" else repeat(None)
        for number in parts.numbers():
            for line in parts.lines(number):
                row = next(rows, None)
                summary.add(line)
                if strict and "fault" in line:  # of a command that was not strict
                    raise CorpusError(line["fault"])
                if "record" in line:
                    image = row.image_bytes() if isinstance(row, Row) else None
                    yield line["record"], image

    replace_output(kind, output, parts.unfinished, records(), origin)
    saved = {"made_of": fingerprint, "summary": vars(summary), "model": vars(origin)}
    write_json(summary_path(output), saved)
    parts.delete()
    return summary


# Command line -------------------------------------------------------------------------------------


def _threshold(values: Sequence[str] | None) -> float | str | dict[str, float] | None:
    """`0.8`, `precision=0.95`, or `PER=0.9 LOC=0.8`, as the pipeline takes them."""
    if values is None:
        return None
    if len(values) == 1:
        name, equals, _ = values[0].partition("=")
        if not equals:
            return _number(values[0], values[0])
        if name in ("precision", "risk"):
            return values[0]
    pairs = {value: value.rpartition("=") for value in values}
    return {name: _number(number, value) for value, (name, _, number) in pairs.items()}


def _number(text: str, value: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise CorpusError(
            f"--threshold: found {quoted(value)}, expected a number, precision=0.95, or one number "
            "for each type such as PER=0.9 LOC=0.8"
        ) from None


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"found {count}, expected at least 1")
    return count


def parser(prog: str = "2mner predict") -> argparse.ArgumentParser:
    """The parser of the command."""
    top = argparse.ArgumentParser(
        prog=prog,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("model", help="a trained model: a folder or a name on the Hub")
    top.add_argument("input", help="a file; or a data set: a folder or a name on the Hub")
    top.add_argument("--out", required=True, type=Path, metavar="OUTPUT", help="what to write")
    top.add_argument("--overwrite", action="store_true", help="replace OUTPUT, and begin anew")

    group = top.add_argument_group("input")
    group.add_argument("--image_dir", type=Path, help="where images are, if not beside the input")
    group.add_argument("--format", choices=FORMATS, help="by default told from name and content")
    group.add_argument(
        "--columns", nargs="+", default=(), metavar="COLUMN=NAME", help="such as text=content"
    )
    group.add_argument("--config", help="of a data set")
    group.add_argument("--split", help="of a data set; by default all")
    group.add_argument(
        "--strict", action="store_true", help="a row that cannot be read is an error"
    )

    group = top.add_argument_group("entities")
    group.add_argument(
        "--threshold",
        nargs="+",
        metavar="P",
        help="the least score: a number, TYPE=NUMBER ..., or precision=0.95 (`2mner thresholds`)",
    )
    group.add_argument(
        "--risk", type=float, metavar="ALPHA", help="the share of wrong entities, at most"
    )
    group.add_argument("--top_k", type=int, metavar="K", help="give so many types of each entity")
    group.add_argument(
        "--explain", action="store_true", default=None, help="compare with the text alone"
    )

    group = top.add_argument_group("page")
    group.add_argument("--html", type=Path, metavar="PAGE", help="also show results on a page")
    group.add_argument(
        "--html_results",
        type=_count,
        default=HTML_RESULTS,
        metavar="N",
        help=f"the first N results are shown; by default {HTML_RESULTS}",
    )

    group = top.add_argument_group("speed")
    group.add_argument("--max_tokens", type=int, metavar="N", help="sub-words of a batch, at most")
    group.add_argument("--batch_size", type=int, metavar="N", help="sentences of a batch, at most")
    group.add_argument("--num_workers", type=int, metavar="N", help="threads that decode images")
    group.add_argument("--precision", choices=("auto", "float32", "bfloat16", "int8"))
    return top


OPTIONS = ("risk", "top_k", "explain", "max_tokens", "batch_size", "num_workers")


def main(argv: Sequence[str], prog: str = "2mner predict") -> int:
    """Run the command.

    Args:
        argv: `MODEL INPUT --out OUTPUT [options]`.
        prog: the name of the program in messages.

    Returns:
        The exit status: 0, or 130 after Ctrl-C.

    Raises:
        CorpusError, InputError, ValueError, ProcessesError, OSError: as `predict_corpus`.
    """
    given = parser(prog).parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    disable_progress_bar()
    options = {name: getattr(given, name) for name in OPTIONS}
    options["threshold"] = _threshold(given.threshold)
    where: dict[str, Any] = {
        "image_dir": given.image_dir,
        "columns": parse_columns(given.columns, COLUMNS),
        "format": given.format,
        "config": given.config,
        "split": given.split,
    }
    if given.html is not None:
        check_page(given.html, given.out, overwrite=given.overwrite)
    try:
        summary = predict_corpus(
            given.model,
            given.input,
            given.out,
            **where,
            strict=given.strict,
            overwrite=given.overwrite,
            precision=given.precision,
            **{name: value for name, value in options.items() if value is not None},
        )
        if summary is not None and given.html is not None:
            source = open_source(given.input, **where)
            most, total = given.html_results, summary.sentences
            show_output(given.out, given.html, source, most=most, total=total)
    except KeyboardInterrupt:
        sys.stderr.write(f"{prog}: interrupted; the same command goes on from here\n")
        return 128 + signal.SIGINT
    if summary is not None:
        sys.stdout.write(f"{summary}\n{given.out}: complete\n")
        if given.html is not None:
            shown = min(given.html_results, summary.sentences)
            sys.stdout.write(f"{given.html}: shows {shown:,} of {summary.sentences:,} sentences\n")
    return 0
