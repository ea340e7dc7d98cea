"""The interface of the server as OpenAPI describes it, and as a page for people."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from .requests import Input

__all__ = ["RESPONSES", "page", "request_body"]


def _image() -> str:
    """A small image file as base64."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "navy").save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")


def _examples() -> dict[str, Any]:
    """Bodies of JSON, by what they show."""
    text = "Angela Merkel besucht Paris."
    return {
        "a text": {"text": text},
        "words": {"words": ["Angela", "Merkel", "besucht", "Paris"], "threshold": 0.5},
        "an image": {"text": text, "image": _image(), "ocr": ["PARIS"], "explain": True},
        "candidates": {"text": text, "spans": [[0, 13], [22, 27]], "top_k": 3},
        "several": [{"text": text}, {"text": "Ana vit à Lyon", "threshold": 0.8}],
    }


def request_body() -> dict[str, Any]:
    """The body of a request for entities, with examples."""
    schema = Input.model_json_schema()
    form = {**schema, "properties": {**schema["properties"]}, "required": []}
    form["properties"]["image"] = {
        "type": "string",
        "format": "binary",
        "description": "an image file",
    }
    return {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"anyOf": [schema, {"type": "array", "items": schema}]},
                "examples": {name: {"value": value} for name, value in _examples().items()},
            },
            "multipart/form-data": {"schema": form},
        },
    }


def _error(description: str) -> dict[str, Any]:
    string = {"type": "string"}
    nullable = {"anyOf": [string, {"type": "null"}]}
    properties = {"code": string, "message": string, "field": nullable}
    schema = {"type": "object", "properties": {"error": {"properties": properties}}}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


RESPONSES: dict[int | str, dict[str, Any]] = {
    400: _error("The body is no JSON, or no form"),
    408: _error("The body came too slowly"),
    413: _error("The body, its text or its number of inputs is too large"),
    415: _error("Another content type than JSON or a form"),
    422: _error("A field is not as expected, or the image of the only input cannot be read"),
    429: _error("The queue is full; `Retry-After` gives seconds"),
    503: _error("The server is stopping or busy"),
    504: _error("No answer in time"),
}
"""The errors, by their status."""


def page(document: Mapping[str, Any]) -> str:
    """The OpenAPI document as a page of HTML that loads nothing."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True)
    template = environment.get_template("api_page.html")
    return template.render(document=document, dumps=json.dumps)
