"""docs/deploying.md: the lines of curl and the example of the client run against a real server."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from inference_2mner.client import Client, ServerError
from tests.servers import Server, serving

PAGE = (Path(__file__).parents[2] / "docs" / "deploying.md").read_text("utf-8")
ADDRESS = "http://127.0.0.1:8000"
CURL = re.findall(r"^curl .*", PAGE, re.M)


@pytest.fixture(scope="module")
def server(model) -> Iterator[Server]:
    with serving(model) as running:
        yield running


@pytest.fixture
def photo(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 30), "red").save("photo.jpg")
    return tmp_path / "photo.jpg"


@pytest.mark.parametrize("line", CURL)
def test_a_line_of_curl_is_answered(server, photo, line):
    words = shlex.split(line.replace(ADDRESS, server.address))
    done = subprocess.run([*words, "--fail-with-body", "-sS"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    if "/v1/entities" in line:
        found = json.loads(done.stdout)
        assert all(one["entities"] for one in (found if isinstance(found, list) else [found]))


def test_the_page_has_lines_of_curl():
    assert len(CURL) == 5


def test_the_example_of_the_client_runs(server, photo):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
    (code,) = (block for block in blocks if "inference_2mner.client" in block)
    lines = [line for line in code.replace(ADDRESS, server.address).splitlines() if line]
    lines = [re.sub(r"^(client\.)", r"answers.append(\1", line) for line in lines]
    lines = [f"{line})" if line.startswith("answers") else line for line in lines]
    names: dict = {"answers": []}
    exec("\n".join(lines), names)
    one, pictured, several = names["answers"]
    assert one[0].keys() == {"label", "score", "word", "start", "end"}
    assert all(entity["score"] >= 0.5 for entity in pictured)
    assert [len(entity["alternatives"]) for entity in several[0]] == [2] * len(several[0])
    assert len(several) == 2


def test_the_client_says_what_the_server_refuses(server):
    client = Client(server.address, patience=0)
    assert client.ready()
    with pytest.raises(ServerError, match="threshold is 7, expected") as caught:
        client.entities("Ana", threshold=7)
    with pytest.raises(TypeError, match="'image' is a list of 2, expected one: the server reads"):
        client.entities({"text": "Ana", "image": [b"a", b"b"]})
    assert (caught.value.status, caught.value.code) == (422, "invalid")
    assert caught.value.field == "threshold"


def test_the_client_waits_for_a_busy_server(model):
    with serving(model, queue=1) as busy:
        long = "Ana lives in Rome. " * 3000
        with busy.connect() as other:
            body = json.dumps({"text": long}).encode()
            head = f"POST /v1/entities HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n"
            other.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
            busy.until(lambda: busy.metric("ner_held_inputs") == 1)
            with pytest.raises(ServerError) as caught:
                Client(busy.address, patience=0).entities("Ana")
            assert caught.value.code == "queue_full"
            assert Client(busy.address, patience=60).entities("Ana") is not None


def test_a_server_that_is_not_there_is_an_error_of_the_system(server):
    assert not Client("http://127.0.0.1:9").ready()
    with pytest.raises(OSError):
        Client("http://127.0.0.1:9").entities("Ana")
