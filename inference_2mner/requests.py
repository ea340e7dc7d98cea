"""Requests of the server: what a body may hold, and what is answered.

A body is JSON, an input or a list of inputs, or a form with an uploaded image. Everything is
bounded before it is read as a whole: see `Bounds`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pydantic_core
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from dataset_mmnerd.images import ImageError, bytes_of_base64
from dataset_mmnerd.quoting import quoted, shorten

__all__ = ["Answer", "Bounds", "Entity", "Input", "RequestError", "read_form", "read_json"]

CONTENT = ("text", "words", "image", "objects", "captions", "ocr", "spans")
OPTIONS = ("threshold", "risk", "top_k", "explain")


class RequestError(Exception):
    """A request that is refused.

    Attributes:
        status: of HTTP.
        code: a word that programs may compare.
        message: for people.
        field: which field of the body it is about.
        headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.field = status, code, message, field
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        return {"error": {"code": self.code, "message": self.message, "field": self.field}}


@dataclass(frozen=True)
class Bounds:
    """What a request, and a connection, may have, at most.

    Attributes:
        body: bytes of the body.
        bodies: bytes of all bodies that are held at a time.
        inputs: inputs of a request.
        text: bytes of its texts, words and visual context, in UTF-8.
        values: brackets, braces and commas of its JSON.
        connections: open connections of a worker process.
        seconds_of_head: from the start of a connection, or an answer, to the end of the next head.
        seconds_of_body: from the end of the head to the end of the body.
    """

    body: int = 16 * 2**20
    bodies: int = 128 * 2**20
    inputs: int = 128
    text: int = 128 * 2**10
    values: int = 250_000
    connections: int = 2048
    seconds_of_head: float = 10.0
    seconds_of_body: float = 30.0


Strings = list[str]
Pair = Annotated[list[int], Field(min_length=2, max_length=2)]


class Input(BaseModel):
    """A text or a list of words, perhaps with an image, and how it is to be answered."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: str | None = Field(None, description="a text; or give `words`")
    words: Strings | None = Field(None, description="the words of a sentence")
    image: str | None = Field(None, description="an image file as base64; nothing is fetched")
    objects: Strings | None = Field(None, description="visual context: tags of the image")
    captions: Strings | None = Field(None, description="visual context: captions of the image")
    ocr: Strings | None = Field(None, description="visual context: text on the image")
    spans: Annotated[list[Pair], Field(max_length=1000)] | None = Field(
        None, description="score these candidates: characters of the text, or numbers of words"
    )
    threshold: Annotated[
        Any,
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "number", "minimum": 0, "maximum": 1},
                    {"type": "object", "additionalProperties": {"type": "number"}},
                    {"type": "string", "pattern": "^(precision|risk)="},
                ]
            }
        ),
    ] = Field(None, description='the least score: a number, numbers by type, or "precision=0.95"')
    risk: float | None = Field(None, description="a certified error rate, in place of `threshold`")
    top_k: int | None = Field(None, ge=1, le=100, description="give so many alternative types")
    explain: bool | None = Field(None, description="compare with the text alone")

    @model_validator(mode="after")
    def _has_content(self) -> Input:
        if (self.text is None) == (self.words is None):
            found = "neither" if self.text is None else "both"
            raise ValueError(f"found {found}, expected one of 'text' and 'words'")
        return self

    def text_bytes(self) -> int:
        """Bytes of all strings but the image."""
        lists = (self.words, self.objects, self.captions, self.ocr)
        strings = [self.text or "", *(string for one in lists for string in one or ())]
        return sum(len(string.encode()) + 1 for string in strings)

    def content(self, image: bytes | None, field: str) -> dict[str, Any]:
        """As the pipeline takes it.

        Args:
            image: an uploaded one.
            field: how messages name this input.

        Raises:
            RequestError: if the image is no base64.
        """
        given = {name: getattr(self, name) for name in CONTENT if getattr(self, name) is not None}
        if self.image is not None:
            try:
                image = bytes_of_base64(self.image, name="'image'")
            except ImageError as error:
                raise _invalid(f"{field}image", str(error)) from error
        if image is not None:
            given["image"] = {"bytes": image, "path": "image"}
        return given

    def options(self) -> dict[str, Any]:
        """Options of the pipeline."""
        return {name: getattr(self, name) for name in OPTIONS if getattr(self, name) is not None}


class Alternative(BaseModel):
    """A type, and its probability over the same words."""

    label: str
    score: float


class Entity(BaseModel):
    """A typed span of the text."""

    label: str
    score: float = Field(description="the probability that exactly these words are this entity")
    word: str
    start: int = Field(description="characters `[start, end)` of the text, or of the joined words")
    end: int
    alternatives: list[Alternative] | None = Field(None, description="with `top_k`")
    score_without_image: float | None = Field(None, description="with `explain`")
    typed_from: str | None = Field(None, description="with `explain`: text, image or disagree")


class Answer(BaseModel):
    """What is found in an input."""

    entities: list[Entity]
    windows: int = Field(description="windows in which the text was read")
    image: str = Field(description="read, unreadable, or none if there is none or none is used")
    image_error: str | None = Field(None, description="why the image could not be read")


_INPUTS: TypeAdapter[list[Input]] = TypeAdapter(list[Input])


@dataclass(frozen=True)
class Parsed:
    """A request.

    Attributes:
        contents, options: of each input, as the pipeline takes them.
        several: whether it is a list.
    """

    contents: list[dict[str, Any]]
    options: list[dict[str, Any]]
    several: bool

    def name(self, number: int) -> str:
        """How messages name the input of a number, as the start of a field."""
        return f"[{number}]." if self.several else ""


def read_json(body: bytes, bounds: Bounds) -> Parsed:
    """Read a body of JSON.

    Raises:
        RequestError: if it is not as described, or exceeds the bounds.
    """
    if sum(map(body.count, (b",", b"[", b"{"))) > bounds.values:
        raise RequestError(
            413, "too_large", f"found too many JSON values, expected at most {bounds.values:,}"
        )
    try:
        value = pydantic_core.from_json(body, allow_inf_nan=False)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, "invalid_json", f"found no JSON ({shorten(str(error))})") from error
    return _parsed(value, None, bounds)


def read_form(fields: Sequence[tuple[str, str]], images: Sequence[bytes], bounds: Bounds) -> Parsed:
    """Read a form: `text` as it is, all other fields as JSON, and an uploaded image.

    Raises:
        RequestError: as `read_json`.
    """
    given: dict[str, Any] = {}
    for name, text in fields:
        if name in given:
            raise _invalid(shorten(name), "found twice, expected once")
        given[name] = text
        if name not in ("text", "image"):
            try:
                given[name] = json.loads(text, parse_constant=_no_constant)
            except (ValueError, RecursionError):
                if name != "threshold":
                    raise _invalid(shorten(name), f"found {quoted(text)}, expected JSON") from None
    if len(images) > 1 or (images and "image" in given):
        raise _invalid("image", "found twice, expected once")
    return _parsed(given, images[0] if images else None, bounds)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _parsed(value: Any, image: bytes | None, bounds: Bounds) -> Parsed:
    several = isinstance(value, list)
    if several and not 1 <= len(value) <= bounds.inputs:
        status, code = (413, "too_large") if value else (422, "invalid")
        found = f"found {len(value):,} inputs, expected 1 to {bounds.inputs}"
        raise RequestError(status, code, found)
    if not isinstance(value, list | dict):
        raise _invalid(None, f"found {quoted(value)}, expected an input or a list of inputs")
    try:
        inputs = _INPUTS.validate_python(value if several else [value])
    except ValidationError as error:
        raise _first(error, several) from error
    size = sum(one.text_bytes() for one in inputs)
    if size > bounds.text:
        raise RequestError(
            413,
            "too_large",
            f"found {size:,} bytes of text, expected at most {bounds.text:,} in a request",
        )
    names = [f"[{number}]." if several else "" for number in range(len(inputs))]
    contents = [one.content(image, name) for one, name in zip(inputs, names, strict=True)]
    return Parsed(contents, [one.options() for one in inputs], several)


def _first(error: ValidationError, several: bool) -> RequestError:
    """The first thing that is wrong with some inputs."""
    first = error.errors(include_url=False)[0]
    place = "".join(
        f"[{part}]" if isinstance(part, int) else f".{shorten(part, 60)}"
        for part in (first["loc"] if several else first["loc"][1:])
    ).lstrip(".")
    kind, said = first["type"], first["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        said = f"found an unknown field, expected some of {', '.join((*CONTENT, *OPTIONS))}"
    elif kind != "value_error":
        said = said.replace("Input should be", "expected").replace("List should have", "expected")
        said = said.partition(" after validation")[0]
        said = f"found {quoted(first['input'])}, {said}"
    return _invalid(place or None, said)


def _invalid(field: str | None, message: str) -> RequestError:
    return RequestError(422, "invalid", f"{field}: {message}" if field else message, field)
