"""A server as a process of its own, and the plainest ways to talk to it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from inference_2mner.server import Settings

ENTITIES = "/v1/entities"
JSON = {"Content-Type": "application/json"}

# The server ends with the process that has started it, however that ends.
_PROGRAM = """
import ctypes, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
from inference_2mner.serve import run
from inference_2mner.server import Settings
sys.exit(run(Settings.from_json(sys.argv[1]), "127.0.0.1", 0, int(sys.argv[2])))
"""


class Server:
    """A server that listens on a free port of loopback.

    Attributes:
        port: where.
        process: of the server, or of the parent of its workers.
        lines: what it has written on its error stream.
    """

    def __init__(self, command: Sequence[str]) -> None:
        environment = os.environ | {
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2"),
        }
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment
        )
        self.lines: list[str] = []
        self.port = 0
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._listening.wait(120), self.lines
        assert self.port, self.lines
        self.until(self._accepts)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
            if "Application startup complete" in line:
                self._listening.set()
        self._listening.set()

    def _accepts(self) -> bool:
        try:
            self.connect().close()
        except ConnectionRefusedError:
            return False
        return True

    def until(self, holds: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait for something that must come true."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, self.lines[-20:]
            time.sleep(0.02)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def ask(
        self,
        body: Any = None,
        *,
        path: str = ENTITIES,
        method: str = "POST",
        headers: Mapping[str, str] = JSON,
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Status, body (of JSON, else its text) and head of an answer; names of fields in lower
        case."""
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, content, dict(headers))
            answer = connection.getresponse()
            found = answer.read()
        finally:
            connection.close()
        head = {name.lower(): value for name, value in answer.getheaders()}
        is_json = head.get("content-type") == "application/json"
        return answer.status, json.loads(found) if is_json else found.decode(), head

    def get(self, path: str) -> tuple[int, Any]:
        status, body, _ = self.ask(path=path, method="GET", headers={})
        return status, body

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        _, text = self.get("/metrics")
        found = re.findall(rf"^{re.escape(name)}(?:{{.*}})? (\S+)$", text, re.M)
        return sum(map(float, found))

    def memory(self) -> int:
        """Resident bytes of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) * 1024

    def stop(self) -> int:
        """End it as a supervisor does; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=120)
        self._reader.join(timeout=10)
        return status


def command(settings: Settings, workers: int = 1) -> list[str]:
    """The command line of a server."""
    return [sys.executable, "-c", _PROGRAM, settings.to_json(), str(workers)]


@contextmanager
def serving(model: Path, workers: int = 1, **settings: Any) -> Iterator[Server]:
    """A server of a model, with some `Settings`."""
    server = Server(command(Settings(str(model), precision=None, threads=1, **settings), workers))
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


async def ask_at_once(server: Server, bodies: Sequence[bytes]) -> list[tuple[int, Any]]:
    """Send all bodies at the same time, each over a connection of its own."""

    async def ask(body: bytes) -> tuple[int, Any]:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(post(body))
        answer = await reader.read()
        writer.close()
        head, _, content = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(content)

    return await asyncio.gather(*map(ask, bodies))


def post(body: bytes, length: int | None = None) -> bytes:
    """A whole request; of its own length, unless another is declared."""
    head = [f"POST {ENTITIES} HTTP/1.1", "Host: localhost", "Connection: close"]
    head += ["Content-Type: application/json", f"Content-Length: {length or len(body)}", "", ""]
    return "\r\n".join(head).encode() + body
