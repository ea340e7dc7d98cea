"""A self-contained page of annotated sentences, for a browser (`2mner predict --html`).

    write_page(Path("page.html"), shown, title="entities.jsonl", count=100, total=50_000)

Each sentence is shown as `viewer.render` shows it. The page is written sentence by sentence; it
loads nothing from elsewhere, and is the same whenever it is made of the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from markupsafe import Markup

from dataset_mmnerd.files import check_replaceable, replaced
from dataset_mmnerd.image_lists import images_of_row
from dataset_mmnerd.quoting import quoted
from modeling_2mner.images_2mner import ImageError, ImageSource
from reporting_2mner.marked_text import STYLE, word_offsets
from reporting_2mner.pages import page_template

from .outputs import cannot_be_written, output_kind
from .parts import CorpusError
from .results import open_results, results_of
from .rows import Row, Source
from .viewer import render

__all__ = ["check_page", "show_output", "write_page"]

TEMPLATE = "result_page.html"
_MARK = b'<meta name="generator" content="2mner predict">'
"""What tells a page of this module from other files; it is among the first bytes."""

_HEAD = 1024


def check_page(path: Path, output: Path, *, overwrite: bool) -> None:
    """Check that a page of an output may be written.

    Raises:
        CorpusError: if its suffix is another one, it is a file that no page was written to, or the
            output will hold no probabilities.
        FileExistsError: if it is an irregular file.
        ValueError: if the output's suffix is unknown.
    """
    if output_kind(output) not in ("jsonl", "parquet", "folder"):
        raise CorpusError(
            f"{output}: found a form that holds no probabilities, expected JSON lines, Parquet or "
            f"a data set folder, of which {path} can be made"
        )
    if path.suffix.lower() not in (".html", ".htm"):
        raise CorpusError(f"{path}: found the suffix {quoted(path.suffix)}, expected .html")
    check_replaceable(path)
    if path.exists() and not overwrite:
        with path.open("rb") as file:
            if _MARK not in file.read(_HEAD):
                raise CorpusError(
                    f"{path}: found another file, expected a page that `predict` made, or nothing; "
                    "--overwrite replaces it"
                )


def write_page(
    path: Path,
    results: Iterable[tuple[Mapping[str, Any], ImageSource | None]],
    *,
    title: str,
    count: int,
    total: int,
) -> None:
    """Write a page.

    Args:
        path: where to.
        results: records (see `outputs.py`), and the image of each.
        title: of the page.
        count: how many results there are.
        total: how many sentences were annotated.

    Raises:
        OSError: if it cannot be written; a page that was there is then still there.
    """
    template = page_template(Path(__file__).with_name(TEMPLATE))
    with replaced(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        scope = f"{total:,} sentences" if count == total else f"{count:,} of {total:,} sentences"
        filled = template.generate(
            title=title, scope=scope, mark_style=STYLE, results=_shown(results)
        )
        file.writelines(filled)


def show_output(output: Path, page: Path, source: Source, *, most: int, total: int) -> None:
    """Write a page of the first results of an output that is complete.

    Args:
        output: JSON lines, Parquet or a data set folder.
        page: where to.
        source: what was annotated: it has the images.
        most: results, at most.
        total: how many sentences were annotated.

    Raises:
        InputError: if the output or the input cannot be read.
        OSError: if the page cannot be written.
    """
    kind = output_kind(output)
    rows = (
        row
        for row in source.rows(lambda _: True)
        if isinstance(row, Row) and cannot_be_written(kind, row) is None
    )
    results = (result.record() for result in results_of(open_results(output)))
    shown = islice(zip(results, rows, strict=False), most)
    pairs = ((record, _first(row.image)) for record, row in shown)
    write_page(page, pairs, title=output.name, count=min(most, total), total=total)


def _first(image: Any) -> ImageSource | None:
    """The image that is shown: of several the first that is there."""
    return next((one for one in images_of_row(image) if one is not None), None)


def _shown(
    results: Iterable[tuple[Mapping[str, Any], ImageSource | None]],
) -> Iterator[dict[str, Any]]:
    for number, (record, image) in enumerate(results, 1):
        text, entities = _in_characters(record)
        options: dict[str, Any] = {"name": f"result-{number}", "with_style": False}
        options["lang"] = record.get("lang")
        image_error = None
        try:
            html = render(entities, text, image, **options)
        except ImageError as error:
            image_error = error.reason
            html = render(entities, text, **options)
        yield {"id": record["id"], "html": Markup(html), "image_error": image_error}


def _in_characters(record: Mapping[str, Any]) -> tuple[str, Sequence[Mapping[str, Any]]]:
    """A record's text, and its entities as characters of it."""
    if "tokens" not in record:
        return record["text"], record["entities"]
    places = word_offsets(record["tokens"])
    entities = [
        {**one, "start": places[one["start"]][0], "end": places[one["end"] - 1][1]}
        for one in record["entities"]
    ]
    return " ".join(record["tokens"]), entities
