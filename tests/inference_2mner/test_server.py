"""The server as its users meet it: real processes, real sockets on loopback."""

import asyncio
import base64
import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from inference_2mner.export import export_model
from inference_2mner.models import load_pipeline
from inference_2mner.requests import Bounds
from tests.dataset_mmnerd.conftest import image_bytes
from tests.servers import ENTITIES, JSON, Server, ask_at_once, post, serving

TEXT = "Angela Merkel besucht Paris."
LONG = {"text": "Ana lives in Rome and works in Bern. " * 3000}
"""Takes the tiny model some seconds."""


@pytest.fixture(scope="module")
def server(model) -> Iterator[Server]:
    with serving(model, queue=2000) as running:
        yield running


@pytest.fixture(scope="module")
def small(model) -> Iterator[Server]:
    """A server with room for one input, and little time."""
    bounds = Bounds(text=2**20, seconds_of_head=1.0, seconds_of_body=1.0, connections=20)
    with serving(model, queue=1, timeout=1.0, bounds=bounds) as running:
        yield running


@pytest.fixture(scope="module")
def pipeline(model):
    return load_pipeline(model)


def form(fields: dict[str, str], image: bytes | None = None) -> tuple[bytes, dict[str, str]]:
    """A form, and the head that goes with it."""
    parts = [
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    if image is not None:
        head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="/etc/a.png"\r\n\r\n'
        parts.append(head + image + b"\r\n")
    return b"".join(parts) + b"--x--\r\n", {"Content-Type": "multipart/form-data; boundary=x"}


def near(value: Any) -> Any:
    """A value that equals others whose scores are near its own."""
    if isinstance(value, list):
        return [near(inner) for inner in value]
    if isinstance(value, dict):
        return {key: near(inner) for key, inner in value.items()}
    return pytest.approx(value, abs=1e-4) if isinstance(value, float) else value


def assert_same(found: list[dict], expected: list[dict]) -> None:
    assert found == near(expected)


# What is answered ---------------------------------------------------------------------------------


def test_one_input_is_answered_as_by_the_pipeline(server, pipeline):
    status, found, head = server.ask({"text": TEXT})
    assert (status, head["content-type"]) == (200, "application/json")
    assert found.keys() == {"entities", "windows", "image"}
    assert (found["windows"], found["image"]) == (1, "none")
    assert found["entities"]
    assert_same(found["entities"], pipeline(TEXT))


def test_several_inputs_are_answered_in_their_order_each_with_its_own_options(server, pipeline):
    content = image_bytes(1)
    image = base64.b64encode(content).decode()
    asked = [
        {"text": TEXT, "threshold": 0.5},
        {"words": TEXT.split(), "image": image, "top_k": 2},
        {"text": TEXT, "image": f"data:image/png;base64,{image}", "explain": True},
        {"text": TEXT, "spans": [[0, 13]], "top_k": 1},
        {"text": TEXT, "image": base64.b64encode(b"no image").decode()},
    ]
    status, found, _ = server.ask(asked)
    assert status == 200
    assert_same(found[0]["entities"], pipeline(TEXT, threshold=0.5))
    assert_same(found[1]["entities"], pipeline({"words": TEXT.split(), "image": content}, top_k=2))
    explained = pipeline({"text": TEXT, "image": content}, explain=True)
    assert explained
    assert [one["typed_from"] for one in found[2]["entities"]] == [
        one["typed_from"] for one in explained
    ]
    assert_same(found[3]["entities"], pipeline(TEXT, spans=[(0, 13)], top_k=1))
    assert [one["image"] for one in found] == ["none", "read", "read", "none", "unreadable"]
    assert "image_error" in found[4]
    assert_same(found[4]["entities"], pipeline(TEXT))


def test_a_form_with_an_uploaded_image_is_answered_as_json_is(server):
    content = image_bytes(1)
    fields = {"text": TEXT, "top_k": "2", "ocr": '["PARIS"]', "threshold": "0.1"}
    body, head = form(fields, content)
    status, found, _ = server.ask(body, headers=head)
    assert status == 200
    assert found["image"] == "read"
    same = {"text": TEXT, "top_k": 2, "ocr": ["PARIS"], "threshold": 0.1}
    _, other, _ = server.ask({**same, "image": base64.b64encode(content).decode()})
    assert_same(found["entities"], other["entities"])


def test_an_exported_model_is_served(model, tmp_path, pipeline):
    export_model(model, tmp_path / "exported")
    with serving(tmp_path / "exported") as server:
        image = image_bytes(1)
        asked = {"text": TEXT, "image": base64.b64encode(image).decode(), "top_k": 2}
        status, found, _ = server.ask(asked)
        assert (status, found["image"]) == (200, "read")
        assert_same(found["entities"], pipeline({"text": TEXT, "image": image}, top_k=2))


def test_health_readiness_and_metrics(server):
    assert server.get("/health") == (200, {"status": "ok"})
    assert server.get("/ready") == (200, {"status": "ready"})
    before = {
        name: server.metric(name)
        for name in ("ner_requests_total", "ner_batch_inputs_sum", "ner_subwords_total")
    }
    server.ask([{"text": "Ana"}, {"text": "Rom"}])
    assert server.metric("ner_batch_inputs_sum") == before["ner_batch_inputs_sum"] + 2
    assert server.metric("ner_subwords_total") >= before["ner_subwords_total"] + 8
    assert server.metric("ner_requests_total") > before["ner_requests_total"]
    assert server.metric("ner_request_seconds_count") >= 1
    assert server.metric("ner_queue_inputs") == 0


def test_the_examples_of_the_interface_work_and_its_page_loads_nothing(server):
    _, document = server.get("/openapi.json")
    content = document["paths"][ENTITIES]["post"]["requestBody"]["content"]
    examples = content["application/json"]["examples"]
    assert len(examples) >= 5
    for name, example in examples.items():
        status, found, _ = server.ask(example["value"])
        assert status == 200, (name, found)
    status, page, head = server.ask(path="/docs", method="GET", headers={})
    assert status == 200
    assert head["content-security-policy"].startswith("default-src 'none'")
    assert "http://" not in page and "https://" not in page and "<script" not in page
    assert all(name in page for name in (ENTITIES, *examples, "typed_from", "429"))


def test_a_thousand_requests_at_a_time_get_each_its_own_answer(server):
    bodies = [json.dumps({"words": [f"N{number}"] * (1 + number % 9)}) for number in range(1000)]
    spans = [[0, 1 + number % 9] for number in range(1000)]
    bodies = [
        json.dumps({**json.loads(body), "spans": [span]}).encode()
        for body, span in zip(bodies, spans, strict=True)
    ]
    answers = asyncio.run(ask_at_once(server, bodies))
    assert {status for status, _ in answers} == {200}
    found = [answer["entities"][0]["word"] for _, answer in answers]
    assert found == [" ".join([f"N{number}"] * (1 + number % 9)) for number in range(1000)]
    assert server.metric("ner_batch_inputs_sum") / server.metric("ner_batch_inputs_count") > 2


# What is refused ----------------------------------------------------------------------------------

REFUSED = [
    (b"{", 400, "invalid_json", None),
    (b"[" * 100_000, 400, "invalid_json", None),
    (b'{"text": NaN}', 400, "invalid_json", None),
    (b'{"text": "\\ud800"}', 400, "invalid_json", None),
    (b"[" + b"[]," * 200_000 + b"[]]", 413, "too_large", None),
    (b"3", 422, "invalid", None),
    (b"[]", 422, "invalid", None),
    (b"{}", 422, "invalid", None),
    ({"text": 3}, 422, "invalid", "text"),
    ({"text": "a", "words": ["a"]}, 422, "invalid", None),
    ({"words": ["a", None]}, 422, "invalid", "words[1]"),
    ([{"text": "a"}, {"text": "a", "top_k": 0}], 422, "invalid", "[1].top_k"),
    ({"text": "a", "threshold": 7}, 422, "invalid", "threshold"),
    ({"text": "a", "threshold": {"X": 0.1}}, 422, "invalid", "threshold"),
    ({"text": "a", "threshold": "precision=0.9"}, 422, "invalid", "threshold"),
    ({"text": "a b", "spans": [[0, 2]]}, 422, "invalid", "spans"),
    ({"text": "a", "image": "http://127.0.0.1/a.png"}, 422, "invalid", "image"),
    ({"text": "a", "image": "/etc/passwd"}, 422, "invalid", "image"),
    ({"text": "a", "image": ["bm8gaW1hZ2U=", "bm8gaW1hZ2U="]}, 422, "invalid", "image"),
    ({"text": "a", "image": "/etc"}, 422, "unreadable_image", "image"),
    ({"text": "a", "image": "bm8gaW1hZ2U="}, 422, "unreadable_image", "image"),
    ({"text": "a", "url": "http://127.0.0.1"}, 422, "invalid", "url"),
    ([{"text": "a"}] * 129, 413, "too_large", None),
    ({"text": "a" * 200_000}, 413, "too_large", None),
]


@pytest.mark.parametrize(
    ("body", "status", "code", "field"), REFUSED, ids=[str(one[0])[:40] for one in REFUSED]
)
def test_what_is_wrong_is_told_in_one_object_of_json(server, model, body, status, code, field):
    found, answer, head = server.ask(body)
    assert (found, answer["error"]["code"], answer["error"]["field"]) == (status, code, field)
    assert answer.keys() == {"error"}
    message = answer["error"]["message"]
    assert len(message) < 600 and message.isprintable()
    assert "Traceback" not in message and str(model.parent) not in message
    assert head["content-type"] == "application/json"


def test_errors_of_http_are_such_objects_too(server):
    status, answer = server.get("/nothing")
    assert (status, answer["error"]["code"]) == (404, "not_found")
    status, answer = server.get(ENTITIES)
    assert (status, answer["error"]["code"]) == (405, "wrong_method")
    status, answer, _ = server.ask(b"a", headers={"Content-Type": "text/plain"})
    assert (status, answer["error"]["code"]) == (415, "unsupported_type")
    status, answer, _ = server.ask(b"a", headers={**JSON, "Content-Encoding": "gzip"})
    assert (status, answer["error"]["code"]) == (415, "unsupported_encoding")
    body, head = form({"text": "a", "top_k": "x"})
    status, answer, _ = server.ask(body, headers=head)
    assert (status, answer["error"]["field"]) == (422, "top_k")
    status, answer, _ = server.ask(b"--y\r\n", headers=head)
    assert (status, answer["error"]["code"]) == (400, "invalid_form")
    with server.connect() as connection:
        connection.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "invalid_http"


def test_a_body_that_is_too_large_is_refused_before_it_is_there(server):
    with server.connect() as connection:
        connection.sendall(post(b"{", length=10**12))
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 413 ")
    with server.connect() as connection:  # of no declared length
        head = f"POST {ENTITIES} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(17):
            connection.sendall(b"100000\r\n" + bytes(2**20) + b"\r\n")
        connection.sendall(b"0\r\n\r\n")
        assert connection.recv(20).startswith(b"HTTP/1.1 413 ")


def test_the_log_has_no_texts(server):
    server.ask({"text": "a-secret-word"}, path=f"{ENTITIES}?q=a-secret-word")
    server.ask({"text": "a-secret-word", "threshold": "a-secret-word"})
    server.get("/a-secret-word")
    logged = "".join(server.lines)
    assert f"POST {ENTITIES} 200" in logged
    assert "secret" not in logged


# Load, time, and the end --------------------------------------------------------------------------


def test_a_full_queue_says_when_to_try_again_and_a_late_answer_is_an_error(small):
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(small.ask, {"text": LONG["text"] * 4})
        small.until(lambda: small.metric("ner_held_inputs") == 1)
        status, answer, head = small.ask({"text": "a"})
        assert (status, answer["error"]["code"]) == (429, "queue_full")
        assert 1 <= int(head["retry-after"]) <= 60
        status, answer, _ = late.result()
    assert (status, answer["error"]["code"]) == (504, "timeout")
    assert small.metric("ner_held_inputs") == 0


def test_slow_heads_bodies_and_readers_are_closed(small):
    head = post(b"", length=10)
    with small.connect() as slow, small.connect() as idle, small.connect() as late:
        slow.sendall(head[:30])
        late.sendall(head)
        assert idle.recv(1) == b""
        assert slow.recv(1) == b""
        answer = late.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "slow_body"


def test_connections_beyond_the_bound_are_refused(small):
    small.until(lambda: small.get("/health")[0] == 200)
    held = [small.connect() for _ in range(25)]
    try:
        answers = []
        for connection in held:
            connection.settimeout(0.1)
            try:
                answers.append(connection.recv(4096))
            except TimeoutError:
                continue
        assert sum(answer.startswith(b"HTTP/1.1 503 ") for answer in answers) == 5
    finally:
        for connection in held:
            connection.close()
    small.until(lambda: small.get("/health")[0] == 200)


def test_a_request_whose_client_is_gone_leaves_the_queue(server):
    before = server.metric("ner_batch_inputs_sum")
    with server.connect() as busy:
        busy.sendall(post(json.dumps(LONG).encode()))
        server.until(lambda: server.metric("ner_running_inputs") == 1)
        gone = server.connect()
        gone.sendall(post(json.dumps([{"text": "a"}] * 100).encode()))
        server.until(lambda: server.metric("ner_queue_inputs") == 100)
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        gone.close()
        server.until(lambda: server.metric("ner_queue_inputs") == 0)
        assert busy.makefile("rb").read().startswith(b"HTTP/1.1 200 ")
    assert server.metric("ner_batch_inputs_sum") == before + 1
    assert any(f"POST {ENTITIES} 499" in line for line in server.lines)


def test_sigterm_answers_what_is_held_and_refuses_the_rest(model):
    with serving(model) as server, ThreadPoolExecutor(1) as pool:
        held = pool.submit(server.ask, LONG)
        server.until(lambda: server.metric("ner_held_inputs") == 1)
        server.process.send_signal(signal.SIGTERM)
        server.until(lambda: server.get("/ready")[0] == 503)
        assert server.get("/health")[0] == 200
        status, answer, head = server.ask({"text": "a"})
        assert (status, answer["error"]["code"]) == (503, "stopping")
        assert head["retry-after"]
        status, answer, _ = held.result()
        assert status == 200
        assert answer["windows"] > 100
        assert server.process.wait(timeout=60) == 0


def test_workers_share_a_port_and_their_metrics_and_one_that_is_killed_is_replaced(model):
    with serving(model, workers=2) as server:
        server.until(lambda: sum("Started server process" in line for line in server.lines) == 2)
        body = json.dumps({"text": TEXT}).encode()
        for _ in range(3):
            answers = asyncio.run(ask_at_once(server, [body] * 20))
            assert {status for status, _ in answers} == {200}
        assert server.metric("ner_batch_inputs_sum") == 60
        started = next(line for line in server.lines if "Started server process" in line)
        worker = int(re.findall(r"\[(\d+)\]", started)[0])
        os.kill(worker, signal.SIGKILL)
        server.until(lambda: sum("Started server process" in line for line in server.lines) == 3)
        answers = asyncio.run(ask_at_once(server, [body] * 20))
        assert {status for status, _ in answers} == {200}
        assert server.stop() == 0
