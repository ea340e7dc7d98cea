"""The HTTP application: one model, asked by many at a time.

    POST /v1/entities   entities of one input or of a list of them
    GET /health         whether the process runs
    GET /ready          whether it takes requests
    GET /metrics        counts for Prometheus
    GET /docs           this interface for people, made of /openapi.json

Nothing is fetched from any address, here or in a browser that shows `/docs`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from types import FrameType
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .batching import Batcher, ClosingError, QueueFullError, Work
from .connections import Bodies, gone
from .engines import Engine, open_engine
from .interface import RESPONSES, page, request_body
from .metrics import Metrics
from .requests import Answer, Bounds, Parsed, RequestError, read_form, read_json

__all__ = ["SETTINGS", "Settings", "application", "from_environment"]

logger = logging.getLogger(__name__)
access = logging.getLogger("inference_2mner.access")

SETTINGS = "TWOMNER_SERVER"
"""The environment variable that gives worker processes their settings."""

ENTITIES = "/v1/entities"
PATHS = (ENTITIES, "/health", "/ready", "/metrics", "/docs", "/openapi.json")
INLINE_BYTES = 4096
"""Bodies up to this size are parsed and tokenized at once; larger ones in a thread."""

GONE = 499
"""The status that counts and log give a request whose client has closed the connection."""

PREPARING_THREADS = 2
TOKENS_OF_A_PLACE = 128
"""Sub-words that the queue holds for each input that it holds."""


@dataclass(frozen=True)
class Settings:
    """How a model is served.

    Attributes:
        model: a folder or a name on the Hub; or a folder that `2mner export` wrote.
        precision, device: of the pipeline.
        threads: of a worker process; None leaves them as they are.
        batch_tokens: sub-words of a batch; None is as many as the pipeline takes.
        batch_delay: milliseconds that a request waits for others.
        queue: inputs that are held at a time.
        timeout: seconds within which a request is answered, once its body is there.
        bounds: of a request.
    """

    model: str
    precision: str | None = "auto"
    device: str | None = None
    threads: int | None = None
    batch_tokens: int | None = None
    batch_delay: float = 2.0
    queue: int = 512
    timeout: float = 30.0
    bounds: Bounds = field(default_factory=Bounds)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Settings:
        values = json.loads(text)
        return cls(**{**values, "bounds": Bounds(**values["bounds"])})


def from_environment() -> ASGIApp:
    """The application of a worker process, with the model of its settings."""
    settings = Settings.from_json(os.environ[SETTINGS])
    logging.basicConfig(format="%(levelname)s %(message)s")
    access.setLevel(logging.INFO)
    # A thread that has used OpenMP keeps its workers. With those of two threads there are more than
    # cores, and then OpenMP's workers sleep between two operations, which takes a third longer.
    with ThreadPoolExecutor(1, "load") as ends_with_its_workers:
        opened = ends_with_its_workers.submit(
            open_engine,
            settings.model,
            precision=settings.precision,
            device=settings.device,
            threads=settings.threads,
        )
    return application(opened.result(), settings)


def application(engine: Engine, settings: Settings) -> ASGIApp:
    """The application for a model that is loaded."""
    service = _Service(engine, settings)
    app = FastAPI(
        title="2M-NER",
        summary="Named entities from text and images",
        version=version("2mner"),
        docs_url=None,
        redoc_url=None,
        lifespan=service.lifespan,
    )
    app.add_exception_handler(RequestError, _on_refused)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(_Gone, _on_gone)
    app.add_exception_handler(Exception, _on_failure)
    app.post(
        ENTITIES,
        summary="Find the entities of one input, or of each input of a list",
        response_model=Answer | list[Answer],
        responses=RESPONSES,
        openapi_extra={"requestBody": request_body()},
    )(service.entities)
    app.get("/health", summary="Whether the process runs")(service.health)
    app.get("/ready", summary="Whether requests are taken; 503 if not")(service.ready)
    app.get("/metrics", summary="Counts for Prometheus", response_class=Response)(service.counts)
    shown = page(app.openapi())

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        policy = "default-src 'none'; style-src 'unsafe-inline'"
        return HTMLResponse(shown, headers={"Content-Security-Policy": policy})

    return _Counted(app, service.metrics)


# Requests -----------------------------------------------------------------------------------------


class _Service:
    """The model, its queue, and the functions of the paths."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.metrics = Metrics()
        self._engine, self._settings = engine, settings
        self._bodies = Bodies(settings.bounds)
        self._threads = ThreadPoolExecutor(PREPARING_THREADS, "prepare")
        self._batcher = Batcher(
            engine.run,
            batch_tokens=settings.batch_tokens or engine.batch_tokens,
            delay=settings.batch_delay / 1000,
            most_inputs=settings.queue,
            most_tokens=settings.queue * TOKENS_OF_A_PLACE,
            observer=self.metrics,
        )
        self.metrics.watch(self._batcher.lengths)

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[dict[str, Bounds]]:
        """Start the model's thread; at SIGTERM refuse, answer what is held, then end."""
        self._batcher.start()
        loop = asyncio.get_running_loop()
        tasks = set()

        def stop_by(ended: Callable[[int, FrameType | None], Any]) -> Callable:
            def stop(number: int, frame: FrameType | None) -> None:
                if self._batcher.closing:  # the second signal
                    ended(number, frame)
                    return
                self._batcher.close()
                loop.call_soon_threadsafe(lambda: tasks.add(loop.create_task(end(number))))

            async def end(number: int) -> None:
                logger.warning("stopping: answering %d inputs", self._batcher.held)
                await self._batcher.drain()
                ended(number, None)

            return stop

        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.getsignal(number)
            if callable(before):
                signal.signal(number, stop_by(before))
        yield {"bounds": self._settings.bounds}
        self._batcher.close()
        await self._batcher.drain()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def entities(self, request: Request) -> Response:
        """An input is a `text` or `words`, perhaps with an `image` (base64) and visual context.
        The answer to one input is an object, that to a list is a list in the same order.

        In a form, `text` is sent as it is, the image as a file, and all other fields as JSON."""
        started = time.monotonic()
        try:
            async with self._bodies.read(request) as body:
                answers = await self._answer(request, body)
        except ClientDisconnect:
            raise _Gone from None
        self.metrics.seconds.observe(time.monotonic() - started)
        return JSONResponse(answers)

    async def _answer(self, request: Request, body: bytes) -> Any:
        timeout = self._settings.timeout
        task = asyncio.create_task(self._run(request, body))
        left = asyncio.create_task(gone(request))
        try:
            await asyncio.wait({task, left}, timeout=timeout, return_when="FIRST_COMPLETED")
            if task.done():
                return task.result()
            if left.done():
                raise _Gone
            raise RequestError(504, "timeout", f"no answer within {timeout:g} seconds")
        finally:
            for one in (task, left):
                one.cancel()
            await asyncio.wait({task, left})

    async def _run(self, request: Request, body: bytes) -> Any:
        parsed = await self._parse(request, body)
        request.scope["inputs"] = len(parsed.contents)
        try:
            with self._batcher.place(len(parsed.contents)):
                works = await self._in_thread(len(body), self._prepare, parsed)
                request.scope["tokens"] = sum(work.tokens for work in works)
                answers = await self._batcher.answers(works)
        except QueueFullError as error:
            headers = {"Retry-After": str(error.retry_after)}
            message = f"the queue is full, try again in {error.retry_after} seconds"
            raise RequestError(429, "queue_full", message, headers=headers) from None
        except ClosingError:
            raise _stopping() from None
        for answer in answers:
            if answer["image_error"] is None:
                del answer["image_error"]
            elif not parsed.several:
                raise RequestError(422, "unreadable_image", answer["image_error"], "image")
        return answers if parsed.several else answers[0]

    async def _in_thread(self, size: int, function: Callable, *arguments: Any) -> Any:
        """Call a function, in a thread if it has more than a little to do."""
        if size <= INLINE_BYTES:
            return function(*arguments)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, function, *arguments)

    async def _parse(self, request: Request, body: bytes) -> Parsed:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        coding = request.headers.get("content-encoding", "identity")
        if coding != "identity":
            raise RequestError(415, "unsupported_encoding", "expected a body without an encoding")
        bounds = self._settings.bounds
        if kind == "application/json":
            return await self._in_thread(len(body), read_json, body, bounds)
        if kind != "multipart/form-data":
            expected = "expected application/json or multipart/form-data"
            raise RequestError(415, "unsupported_type", f"content type: {expected}", "Content-Type")
        return await self._in_thread(len(body), read_form, *await _form(request, body), bounds)

    def _prepare(self, parsed: Parsed) -> list[Work]:
        works = []
        rows = zip(parsed.contents, parsed.options, strict=True)
        for number, (content, options) in enumerate(rows):
            try:
                works.append(self._engine.prepare(content, options))
            except (TypeError, ValueError) as error:
                name = parsed.name(number)
                where = f"{name}{_field_of(str(error), (*content, *options))}".rstrip(".") or None
                raise RequestError(422, "invalid", str(error), where) from error
        return works

    async def health(self) -> Response:
        return JSONResponse({"status": "ok"})

    async def ready(self) -> Response:
        if self._batcher.closing:
            raise _stopping()
        return JSONResponse({"status": "ready"})

    async def counts(self) -> Response:
        return Response(self.metrics.text(), media_type=self.metrics.content_type)


class _Gone(Exception):  # noqa: N818 -- it is no error
    """The client has closed the connection; nobody reads an answer."""


def _field_of(message: str, fields: Collection[str]) -> str:
    """The field that a message of the pipeline is about; "" if it names none."""
    if message.startswith(("precision=", "risk=", "thresholds.json")):  # what is stored
        return next(name for name in ("threshold", "risk") if name in fields)
    named = (name for name in fields if message.startswith(name) or repr(name) in message)
    return next(named, "")


def _stopping() -> RequestError:
    return RequestError(503, "stopping", "the server is stopping", headers={"Retry-After": "1"})


async def _form(request: Request, body: bytes) -> tuple[list[tuple[str, str]], list[bytes]]:
    """The fields of a form, and the files of its field `image`."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    try:
        async with Request(request.scope, receive).form(
            max_files=2, max_fields=32, max_part_size=len(body)
        ) as form:
            fields, images = [], []
            for name, value in form.multi_items():
                if isinstance(value, str):
                    fields.append((name, value))
                elif name == "image":
                    images.append(await value.read())
                else:
                    message = "found a file, expected one in the field 'image' alone"
                    raise RequestError(422, "invalid", message)
            return fields, images
    except (MultiPartException, HTTPException, ValueError, LookupError) as error:
        message = f"found no form ({getattr(error, 'detail', None) or error})"
        raise RequestError(400, "invalid_form", message) from error


async def _on_refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return JSONResponse(error.body(), error.status, error.headers)


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "wrong_method"}.get(error.status_code, "invalid")
    refused = RequestError(error.status_code, code, str(error.detail), None, error.headers)
    return JSONResponse(refused.body(), refused.status, refused.headers)


async def _on_gone(request: Request, error: Exception) -> Response:
    return Response(status_code=GONE)  # for the log: it is not sent


async def _on_failure(request: Request, error: Exception) -> Response:
    return JSONResponse(RequestError(500, "internal", "the server failed").body(), 500)


class _Counted:
    """Counts and logs each request: method, path, status, time, inputs and sub-words; never what
    the client sent."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            path = scope["path"] if scope["path"] in PATHS else "other"
            self._metrics.requests.labels(path, str(status)).inc()
            access.info(
                "%s %s %d %.0f ms, %d inputs, %d sub-words",
                *(scope["method"] if scope["method"] in ("GET", "POST") else "OTHER", path, status),
                *((time.monotonic() - started) * 1000, scope.get("inputs", 0)),
                scope.get("tokens", 0),
            )
