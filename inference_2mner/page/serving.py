"""How the page is served: no file is taken, stored or given, no address fetched, sizes bounded.

Gradio's server has routes for files: uploads into a temporary folder, files given by path, and
addresses in an input, which it fetches. The page uses none of them (its images are text, in
`data:` URLs), so all are closed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse

from .theme import ICON, THEME, style

__all__ = ["Page", "serve"]

MAX_BODY = 8 * 2**20
"""The bytes of a request's body, at most: an image in base64, with room to spare."""

MAX_QUEUE = 16
"""The requests that wait, at most; the next one gets an error."""

MAX_SESSIONS = 16
"""The visitors, at most, whose last input Gradio keeps in memory."""

CLOSED = ("upload", "upload_progress", "file", "proxy", "stream", "process_recording")
"""The routes of Gradio's interface that are about files."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Page(gr.Blocks):
    """Blocks whose inputs are text and numbers only."""

    async def preprocess_data(
        self, block_fn: Any, inputs: list[Any], *arguments: Any, **options: Any
    ) -> Any:
        """As `gr.Blocks`, which would fetch the address or read the file of a dictionary that
        looks like a file, in the input of any component.

        Raises:
            gr.Error: if there is such a dictionary.
        """
        if any("path" in one or "url" in one for one in _dictionaries(inputs)):
            raise gr.Error("An input is a file, expected text.", print_exception=False)
        return await super().preprocess_data(block_fn, inputs, *arguments, **options)


def _dictionaries(value: Any) -> Iterator[dict[Any, Any]]:
    """The dictionaries in an input, at any depth."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting.extend(one.values())
        elif isinstance(one, list | tuple):
            waiting.extend(one)


class Bounds:
    """Refuses requests about files, and bodies that are too large, before they are read whole."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        _, prefix, route = scope["path"].partition("/gradio_api/")
        if prefix and route.replace("=", "/").split("/")[0] in CLOSED:
            answer = PlainTextResponse("This page takes and gives no files.\n", 404)
            await answer(scope, receive, send)
            return
        read = 0

        async def bounded() -> MutableMapping[str, Any]:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > MAX_BODY:
                return {"type": "http.disconnect"}
            return message

        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > MAX_BODY:
            answer = PlainTextResponse(f"At most {MAX_BODY:,} bytes are read.\n", 413)
            await answer(scope, receive, send)
            return
        await self.app(scope, bounded, send)


def serve(page: gr.Blocks, host: str | None = None, port: int | None = None) -> str:
    """Start serving the page, in a thread.

    Args:
        page: which.
        host, port: where; by default the environment's `GRADIO_SERVER_NAME` and
            `GRADIO_SERVER_PORT`, else 127.0.0.1 and the first free port from 7860 on.

    Returns:
        Its address.

    Raises:
        OSError: if the port is taken.
    """
    page.queue(max_size=MAX_QUEUE, default_concurrency_limit=1)
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        mcp_server=True,
        theme=THEME,
        css=style(),
        favicon_path=str(ICON),
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        pwa=False,
        ssr_mode=False,
        max_file_size=1,
        state_session_capacity=MAX_SESSIONS,
        app_kwargs={"middleware": [Middleware(Bounds)]},
    )
    return address
