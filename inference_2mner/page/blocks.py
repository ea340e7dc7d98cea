"""The page: a sentence and its image in, its entities out, with the image and without it."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import gradio as gr

from reporting_2mner.marked_text import colour_of

from .examples import Example, gallery
from .inputs import VisitorError
from .reader import Reader
from .results import problem, results
from .serving import Page
from .theme import asset

__all__ = ["build"]

logger = logging.getLogger(__name__)

TITLE = "Entities of a sentence and its image"
CONTEXT = {
    "objects": ("Objects", "What is seen on the image, one thing a line"),
    "captions": ("Captions", "Sentences about the image, one a line"),
    "ocr": ("Text on the image", "What is written on it, one line each"),
}
MODEL = "model"
"""The queue that all readings share: one at a time."""


def image_input(value: str, visible: bool) -> gr.HTML:
    """An image that the visitor chooses, pastes or drops; its value is a `data:` URL, or ""."""
    return gr.HTML(
        value,
        label="Image",
        html_template=asset("image_input.html"),
        js_on_load=asset("image_input.js"),
        apply_default_css=False,
        visible=visible,
    )


def build(reader: Reader, examples: Sequence[Example]) -> gr.Blocks:
    """The page of a model.

    It begins with the first example and what the model says of it. There is an API and a tool for
    the Model Context Protocol, `entities`, which take what the page takes.

    Args:
        reader: the model.
        examples: what the visitor can choose.
    """

    def read(text: str, image: str, use_image: bool, *context: str) -> str:
        return _read(reader, text, image, use_image, dict(zip(fields, context, strict=True)))

    def choose(chosen: gr.EventData) -> list[Any]:
        number = getattr(chosen, "number", None)
        if not isinstance(number, int) or not 0 <= number < len(examples):
            raise gr.Error("There is no such example.", print_exception=False)
        one = examples[number]
        return [one["text"], one["image"], True, *[""] * len(fields), read_example(one)]

    def read_example(example: Example) -> str:
        return read(example["text"], example["image"], True, *[""] * len(fields))

    fields = reader.context_fields
    first = examples[0] if examples else {"text": "", "image": "", "lang": "en"}
    options: dict[str, Any] = {"api_visibility": "private", "concurrency_id": MODEL}
    with Page(title=f"2M-NER: {reader.name}", analytics_enabled=False) as page:
        gr.HTML(_header(reader), elem_classes="page-header")
        with gr.Row():
            with gr.Column(scale=4, min_width=320):
                text = gr.Textbox(
                    first["text"],
                    label="Sentence",
                    lines=3,
                    max_lines=8,
                    placeholder="In any language that the model knows",
                )
                image = image_input(first["image"], reader.reads_images)
                use_image = gr.Checkbox(True, label="Read the image", visible=reader.reads_images)
                context = [
                    gr.Textbox(label=CONTEXT[name][0], info=CONTEXT[name][1]) for name in fields
                ]
                button = gr.Button("Find entities", variant="primary")
            with gr.Column(scale=8, min_width=320):
                threshold = gr.Slider(
                    0,
                    1,
                    0,
                    step=0.01,
                    label="Threshold",
                    info="Entities with a smaller probability are left out",
                )
                output = gr.HTML(
                    read_example(first) if examples else "",
                    html_template='<div class="results"></div>',
                    js_on_load=asset("results.js"),
                    apply_default_css=False,
                )
        if examples:
            gr.HTML('<h2 id="examples">Examples</h2>', elem_classes="examples-title")
            picked = gr.HTML(
                gallery(examples, reader.reads_images),
                js_on_load=asset("examples.js"),
                apply_default_css=False,
            )
            picked.choose(choose, None, [text, image, use_image, *context, output], **options)
        gr.HTML(_footer(), elem_classes="page-footer")

        inputs = [text, image, use_image, *context]
        for event in (button.click, text.submit, use_image.input):
            event(read, inputs, output, trigger_mode="always_last", **options)
        threshold.change(None, threshold, None, js="(value) => window.setThreshold?.(value)")
        gr.api(_tool(reader), api_name="entities", concurrency_id=MODEL)
    return page


def _read(reader: Reader, text: str, image: str, use_image: bool, context: dict[str, str]) -> str:
    """What the page shows of a sentence, or why it cannot be read."""
    try:
        return results(reader.answer(text, image if use_image else "", context))
    except VisitorError as error:
        return problem(str(error))
    except Exception:
        logger.exception("a sentence could not be read")
        return problem("Something went wrong here, and is in the log of the server.")


def _tool(reader: Reader) -> Callable[..., list[dict[str, Any]]]:
    """The function of the API, with the parameters that the model reads."""
    parameters: dict[str, tuple[type, Any, str]] = {
        "text": (str, inspect.Parameter.empty, "a sentence")
    }
    if reader.reads_images:
        parameters["image"] = (str, "", "its image: an image file's content in base64, or empty")
    for name in reader.context_fields:
        parameters[name] = (list[str], [], CONTEXT[name][1].split(",")[0].lower())
    parameters["threshold"] = (float, 0.0, "the least probability of an entity, from 0 to 1")

    def entities(*values: Any) -> list[dict[str, Any]]:
        given = dict(zip(parameters, values, strict=True))
        try:
            answer = reader.answer(given["text"], given.get("image"), given)
            least = float(given["threshold"])
        except (VisitorError, TypeError) as error:
            raise gr.Error(str(error), print_exception=False) from error
        return [one for one in answer.read["entities"] if one["score"] >= least]

    described = "\n".join(f"    {name}: {text}" for name, (_, _, text) in parameters.items())
    entities.__doc__ = (
        f"Find the named entities of a sentence: {', '.join(reader.types)}.\n\n"
        f"Args:\n{described}\n\n"
        "Returns:\n    a list of entities: label, score (a probability), word, start, end "
        "(characters of the text), alternatives (the probability of each type), and for a "
        "sentence with an image score_without_image and typed_from"
    )
    kinds = {name: kind for name, (kind, _, _) in parameters.items()}
    entities.__annotations__ = kinds | {"return": list[dict[str, Any]]}
    entities.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=kind
            )
            for name, (kind, default, _) in parameters.items()
        ],
        return_annotation=list[dict[str, Any]],
    )
    return entities


def _header(reader: Reader) -> str:
    reads = ["words", *["images"] * reader.reads_images]
    reads += ["text made from images"] * bool(reader.context_fields)
    types = "".join(
        f'<li class="mner-c{colour_of(name)}">{escape(name)}</li>' for name in reader.types
    )
    return (
        f"<h1>{TITLE}</h1>"
        f"<p>The model <code>{escape(reader.name)}</code> reads {' and '.join(reads)}. "
        f'It knows these types:</p><ul class="types mner">{types}</ul>'
    )


def _footer() -> str:
    return (
        "<p>A percentage is the model's probability that exactly these words are an entity of this "
        "type. Images stay in the memory of the server while they are read; nothing is stored and "
        "nothing is fetched. Programs find the same under <code>/gradio_api/info</code>, agents as "
        "a tool under <code>/gradio_api/mcp/</code>.</p>"
    )
