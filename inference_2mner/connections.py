"""Bounds of a connection that uvicorn leaves open: time for the head, number, errors as JSON.

`BoundedProtocol` is uvicorn's own protocol with a deadline: a connection on which no whole head of
a request comes in time is closed, at its start and after each answer. That also ends bodies that go
on after their request was refused, and clients that do not read their answer.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import h11
from starlette.requests import Request
from uvicorn.protocols.http.h11_impl import H11Protocol

from .requests import Bounds, RequestError

__all__ = ["Bodies", "BoundedProtocol", "gone"]


class BoundedProtocol(H11Protocol):
    """A connection of uvicorn, within the `Bounds` that the application gives as the `bounds` of
    its lifespan's state."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        # asyncio does so itself only where the listening socket names its protocol. Else an answer
        # of several small packets waits for 40 ms for the client's acknowledgement.
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._bounds: Bounds = self.app_state["bounds"]
        if len(self.connections) > self._bounds.connections:
            self._refuse(503, "busy", f"more than {self._bounds.connections:,} connections")
            return
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        before = self.cycle
        try:
            super().handle_events()
        except h11.LocalProtocolError:  # what cannot be parsed, after the answer has begun
            self.transport.close()
        if self.cycle is not before:
            self._end()

    def on_response_complete(self) -> None:
        self._begin()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "invalid_http", "found no valid HTTP request")

    def _begin(self) -> None:
        self._end()
        self._deadline = self.loop.call_later(self._bounds.seconds_of_head, self._close)

    def _end(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()  # nobody reads the answer
        else:
            self.transport.close()

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answer without a request."""
        if self.cycle is None or self.cycle.response_complete:
            body = json.dumps(RequestError(status, code, message).body()).encode()
            reason = {400: "Bad Request", 503: "Service Unavailable"}[status]
            head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\n"
            head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            self.transport.write(head.encode("ascii") + body)
        self.transport.close()


class Bodies:
    """The bodies that are held at a time, within bounds of their size and time."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self.held = 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """The whole body of a request, which counts as held until the context is left.

        Raises:
            RequestError: if it is too large, comes too slowly, or there is no room for it.
            ClientDisconnect: if the client is gone.
        """
        bounds, size = self._bounds, 0
        if _declared(request.headers) > bounds.body:
            raise self._too_large()
        body = bytearray()
        try:
            try:
                async with asyncio.timeout(bounds.seconds_of_body):
                    async for chunk in request.stream():
                        size += len(chunk)
                        self.held += len(chunk)
                        if size > bounds.body:
                            raise self._too_large()
                        if self.held > bounds.bodies:
                            raise RequestError(
                                503,
                                "busy",
                                "too many bodies at a time",
                                headers={"Retry-After": "1"},
                            )
                        body += chunk
            except TimeoutError:
                seconds = bounds.seconds_of_body
                raise RequestError(
                    408,
                    "slow_body",
                    f"found no whole body within {seconds:g} seconds",
                    headers={"Connection": "close"},
                ) from None
            yield bytes(body)
        finally:
            self.held -= size

    def _too_large(self) -> RequestError:
        return RequestError(
            413, "too_large", f"found a larger body, expected at most {self._bounds.body:,} bytes"
        )


def _busy() -> RequestError:
    message = "too many bodies at a time, try again in a second"
    return RequestError(503, "busy", message, headers={"Retry-After": "1"})


def _declared(headers: Mapping[str, str]) -> int:
    """The length that the head declares; 0 if it declares none."""
    length = headers.get("content-length", "0")
    return int(length) if length.isascii() and length.isdigit() and len(length) < 20 else 2**63


async def gone(request: Request) -> None:
    """Wait until the client of a request whose body is read has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
