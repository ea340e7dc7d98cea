"""Surface: requests to a server of its own, on loopback.

Beside the outcome of a request it is checked that each is answered within its time-out, that the
process lives and its memory stays bounded, and that a normal request is then answered as before.
"""

from __future__ import annotations

import base64
import io
import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image

from inference_2mner.requests import Bounds
from inference_2mner.server import Settings
from tests.campaigns.cases import ACCEPTED, REFUSED, Case, Outcome, Surface, check, check_line
from tests.campaigns.inputs import TEXTS
from tests.campaigns.models import write_encoders, write_model
from tests.campaigns.mutators import HOSTILE_TEXTS, edit_bytes, edit_value, encoded
from tests.dataset_mmnerd.conftest import image_bytes
from tests.servers import ENTITIES, Server, command

NORMAL = {"text": TEXTS[0]}
TIMEOUT = 5.0
"""Seconds that the server has for an answer, and as many for a body."""

GROWTH = 2**30
"""Bytes by which the server's memory may grow: two images of the largest size while they are
decoded, which is about 0.4 GB each, and what the allocator keeps of it."""

STATUSES = {200, 400, 404, 405, 408, 413, 415, 422, 429, 503, 504}


def bomb(random: Random) -> bytes:
    """A small file of an image that is enormous, or nearly so."""
    side = random.choice((6_000, 7_100, 20_000))
    file = io.BytesIO()
    Image.new("1", (side, side)).save(file, "PNG")
    return file.getvalue()


def everything(random: Random) -> str:
    """A few thousand characters from anywhere in Unicode."""
    first = random.randrange(0x110000 - 3000)
    return "".join(chr(code) for code in range(first, first + 3000) if not 0xD800 <= code < 0xE000)


def request(body: bytes, random: Random, kind: str = "application/json") -> bytes:
    """A whole request, some of them in chunks."""
    head = f"POST {ENTITIES} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: {kind}\r\n"
    if random.random() < 0.8:
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    parts = [body[start : start + 65_536] for start in range(0, len(body), 65_536)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks + b"0\r\n\r\n"


class Servers(Surface):
    """What may come to a server over a socket."""

    name = "servers"
    seconds = 60
    forbidden = ("os.system", "pickle.find_class")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        text, vision = write_encoders(folder)
        write_model(folder / "model", text, vision, context_budget=8)
        bounds = Bounds(seconds_of_head=1.0, seconds_of_body=2.0)
        settings = Settings(
            str(folder / "model"), precision=None, threads=1, timeout=TIMEOUT, bounds=bounds
        )
        self.server = Server(command(settings))
        self.sound = self.normal()
        self.memory = self.server.memory()

    def normal(self) -> Any:
        """The answer to a normal request, once the batch has ended that runs."""
        self.server.until(lambda: self.server.metric("ner_running_inputs") == 0)
        status, answer, _ = self.server.ask(NORMAL)
        check(status == 200, f"a normal request has status {status}", answer)
        return answer

    def run(self, case: Case, folder: Path) -> Outcome:
        random = case.random()
        ways: tuple[Callable[[Random, list[Random]], bytes], ...] = (
            *(self.values, self.values, self.values, self.texts, self.form, self.images),
            *(self.damaged, self.enormous, self.slow, self.gone),
        )
        answer = random.choice(ways)(random, case.edit_randoms())
        outcome = self.judge(answer)
        check(self.server.process.poll() is None, "the server ended", self.server.lines[-20:])
        grown = self.server.memory() - self.memory
        check(grown < GROWTH, f"the server's memory grew by {grown >> 20} MiB")
        check(self.normal() == self.sound, "a normal request is answered otherwise")
        told = "".join(self.server.lines)
        check("Traceback" not in told, "a traceback in the log:", told[-1500:])
        return outcome

    def judge(self, answer: bytes) -> Outcome:
        """The outcome of what came back, that of the first answer if there are several: a body that
        is longer than its head says is another request. Nothing came back where the connection was
        closed."""
        outcomes = []
        while answer:
            head, _, rest = answer.partition(b"\r\n\r\n")
            found = re.match(rb"HTTP/1\.1 (\d{3}) ", head)
            length = re.search(rb"(?mi)^content-length: (\d+)\r?$", head)
            check(found is not None and length is not None, "no answer of HTTP:", answer[:200])
            assert found is not None and length is not None
            size = int(length[1])
            outcomes.append(self.judge_one(int(found[1]), rest[:size]))
            answer = rest[size:]
        return outcomes[0] if outcomes else Outcome(REFUSED)

    def judge_one(self, status: int, body: bytes) -> Outcome:
        check(status in STATUSES, f"status {status}", body[:200])
        try:
            value = json.loads(body)
        except ValueError:
            check(False, "no JSON:", body[:600])
        if status == 200:
            return Outcome(ACCEPTED)
        check(list(value) == ["error"], "an error of another form:", value)
        check_line(value["error"]["message"], ())
        return Outcome(REFUSED)

    def send(self, content: bytes, pause: float = 0.0) -> bytes:
        """Send bytes, in two parts if there is a pause, and return all that comes back."""
        answer = b""
        with self.server.connect() as connection:
            half = len(content) // 2 if pause else len(content)
            try:
                connection.sendall(content[:half])
                if pause:
                    connection.settimeout(pause)
                    try:
                        answer = connection.recv(2**16)
                    except TimeoutError:
                        connection.sendall(content[half:])
                connection.settimeout(4 * TIMEOUT)
                while more := connection.recv(2**16):
                    answer += more
            except ConnectionError:
                pass  # it was refused before all of it was read
        return answer

    # Ways to ask --------------------------------------------------------------------------------

    def value(self, random: Random) -> Any:
        text = random.choice(TEXTS)
        image = base64.b64encode(image_bytes()).decode()
        inputs = (
            {"text": text},
            {"text": text, "image": image, "ocr": ["LIVE"], "explain": True},
            {"words": text.split(), "top_k": 2, "threshold": 0.3},
            {"text": "Ana lives", "spans": [[0, 3]]},
        )
        return random.choice(inputs) if random.random() < 0.6 else list(inputs)

    def values(self, random: Random, edits: list[Random]) -> bytes:
        """Values of JSON, edited as values and as bytes."""
        value = self.value(random)
        for edit in edits:
            value = edit_value(value, edit)
        body = encoded(json.dumps(value, ensure_ascii=random.random() < 0.5))
        if edits and random.random() < 0.3:
            body = edit_bytes(body, random)
        return self.send(request(body, random))

    def texts(self, random: Random, edits: list[Random]) -> bytes:
        """Long texts, and characters of all of Unicode."""
        long = "Ana in Rome. " * 800
        text = random.choice((everything(random), random.choice(HOSTILE_TEXTS), long))
        words = ["word"] * random.choice((1, 10_000, 40_000))
        value = random.choice(({"text": text}, {"words": text.split() or ["a"]}, {"words": words}))
        return self.send(request(encoded(json.dumps(value)), random))

    def form(self, random: Random, edits: list[Random]) -> bytes:
        """A form, with edited bytes."""
        body = b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\nAna\r\n'
        body += b'--x\r\nContent-Disposition: form-data; name="image"; filename="../a"\r\n\r\n'
        body += image_bytes() + b"\r\n--x--\r\n"
        for edit in edits:
            body = edit_bytes(body, edit)
        return self.send(request(body, random, "multipart/form-data; boundary=x"))

    def images(self, random: Random, edits: list[Random]) -> bytes:
        """Images that are damaged or enormous."""
        content = bomb(random) if random.random() < 0.5 else image_bytes()
        for edit in edits:
            content = edit_bytes(content, edit)
        value = {"text": "Ana", "image": base64.b64encode(content).decode()}
        several = [value] * random.choice((1, 3))
        return self.send(request(encoded(json.dumps(several)), random))

    def damaged(self, random: Random, edits: list[Random]) -> bytes:
        """A request that is edited as a whole, or none at all."""
        content = request(encoded(json.dumps(self.value(random))), random)
        for edit in edits:
            content = edit_bytes(content, edit)
        return self.send(content)

    def enormous(self, random: Random, edits: list[Random]) -> bytes:
        """A body that is too large, or says that it is."""
        size = random.choice((17, 40)) * 2**20
        body = random.choice((b" ", b"[", b'"', b"[],", b"1,")) * size
        whole = request(body[:size], random)
        return self.send(whole[: random.choice((500, len(whole)))])

    def slow(self, random: Random, edits: list[Random]) -> bytes:
        """A sender that stops for a while."""
        content = request(encoded(json.dumps(self.value(random))), random)
        return self.send(content, pause=random.choice((0.1, 0.5, 3.0)))

    def gone(self, random: Random, edits: list[Random]) -> bytes:
        """A client that closes the connection at once, or in the middle."""
        content = request(encoded(json.dumps(self.value(random))), random)
        with self.server.connect() as connection:
            connection.sendall(content[: random.randrange(len(content) + 1)])
            if random.random() < 0.5:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        return b""
