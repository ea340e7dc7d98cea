"""A client of the server, of the standard library alone.

client = Client("http://127.0.0.1:8000")
client.entities("Angela Merkel besucht Paris.")
client.entities({"text": "Paris im Mai", "image": Path("photo.jpg")}, threshold=0.8)
client.entities(["one text", {"words": ["another", "one"]}])
"""

from __future__ import annotations

import base64
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Client", "ServerError"]

BUSY = (429, 503)


class ServerError(Exception):
    """An error that the server answered.

    Attributes:
        status: of HTTP.
        code: a word that programs may compare, such as "invalid".
        field: which field of the request it is about.
    """

    def __init__(self, status: int, code: str, message: str, field: str | None) -> None:
        super().__init__(message)
        self.status, self.code, self.field = status, code, field


class Client:
    """Asks a server for entities.

    Args:
        address: of the server, such as "http://127.0.0.1:8000".
        timeout: seconds for an answer.
        patience: seconds, in all, for which a request is repeated while the server is busy.
    """

    def __init__(self, address: str, *, timeout: float = 60.0, patience: float = 30.0) -> None:
        self._address, self._timeout, self._patience = address.rstrip("/"), timeout, patience

    def entities(self, inputs: Any, **options: Any) -> Any:
        """Find entities.

        Args:
            inputs: a text; a dictionary with `text` or `words`, and perhaps `image` (a path, or the
                bytes of a file) and visual context; or a list of these.
            options: such as `threshold` and `top_k`, for each input that does not give its own.

        Returns:
            The entities of the input, or for a list a list of such lists.

        Raises:
            ServerError: if the server refuses the request.
            OSError: if it cannot be reached, or an image cannot be read.
        """
        several = isinstance(inputs, Sequence) and not isinstance(inputs, str)
        given = [_as_json(one, options) for one in (inputs if several else [inputs])]
        answers = self._post("/v1/entities", given if several else given[0])
        return [one["entities"] for one in answers] if several else answers["entities"]

    def ready(self) -> bool:
        """Whether the server takes requests."""
        try:
            with urllib.request.urlopen(f"{self._address}/ready", timeout=self._timeout):
                return True
        except OSError:
            return False

    def _post(self, path: str, value: Any) -> Any:
        request = urllib.request.Request(
            self._address + path,
            json.dumps(value).encode(),
            {"Content-Type": "application/json"},
        )
        until = time.monotonic() + self._patience
        while True:
            try:
                with urllib.request.urlopen(request, timeout=self._timeout) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                wait = float(error.headers.get("Retry-After", 1))
                if error.code not in BUSY or time.monotonic() + wait > until:
                    raise _error_of(error) from None
                time.sleep(wait)


def _as_json(given: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """An input as the server takes it."""
    given = {"text": given} if isinstance(given, str) else dict(given)
    image = given.get("image")
    if isinstance(image, list | tuple):
        raise TypeError(f"'image' is a list of {len(image)}, expected one: the server reads one")
    if isinstance(image, str | os.PathLike):
        image = Path(image).read_bytes()
    if image is not None:
        given["image"] = base64.b64encode(image).decode("ascii")
    return {**options, **given}


def _error_of(error: urllib.error.HTTPError) -> ServerError:
    try:
        told = json.load(error)["error"]
        return ServerError(error.code, told["code"], told["message"], told["field"])
    except (ValueError, LookupError, TypeError):  # something else answers there
        return ServerError(error.code, "unknown", f"status {error.code}: {error.reason}", None)
