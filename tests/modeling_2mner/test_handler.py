"""`handler.py` as the toolkit of Inference Endpoints loads it, from a published model's folder."""

import base64
import json

import pytest

from tests.dataset_mmnerd.conftest import image_bytes
from tests.published import write_published

LOAD = """
import importlib.util, json, sys
from pathlib import Path

folder = {folder!r}
spec = importlib.util.spec_from_file_location("handler.EndpointHandler", Path(folder, "handler.py"))
sys.path.insert(0, folder)
module = importlib.util.module_from_spec(spec)
sys.modules["handler.EndpointHandler"] = module
spec.loader.exec_module(module)
handler = module.EndpointHandler(folder)
for data in json.loads({requests!r}):
    try:
        print("ANSWER", json.dumps(handler(data)))
    except (TypeError, ValueError) as error:
        print("ANSWER", json.dumps(str(error)))
"""


@pytest.fixture
def answers(tmp_path, client):
    """A function from requests to their answers, in a process without the project."""

    def ask(*requests: dict) -> list:
        folder = str(write_published(tmp_path / "model"))
        code = LOAD.format(folder=folder, requests=json.dumps(requests))
        lines = client(code, stranger=True).stdout.splitlines()
        return [json.loads(line[7:]) for line in lines if line.startswith("ANSWER ")]

    return ask


def test_the_toolkits_requests_are_answered(answers):
    image = base64.b64encode(image_bytes()).decode()
    one, several, least, illustrated, album, fetched, unknown = answers(
        {"inputs": "Ana lives here"},
        {"inputs": ["Ana lives here", {"words": ["Rom"]}]},
        {"inputs": "Ana lives here", "parameters": {"threshold": 1.0, "return_details": True}},
        {"inputs": {"text": "Ana", "image": image}, "parameters": {"return_details": True}},
        {"inputs": {"text": "Ana", "image": [image] * 2}, "parameters": {"return_details": True}},
        {"inputs": {"text": "Ana", "image": "http://127.0.0.1:9/a.png"}},
        {"inputs": "Ana", "parameters": {"temperature": 1}},
    )
    assert [entity["word"] for entity in one] == ["Ana"]
    assert [[entity["word"] for entity in found] for found in several] == [["Ana"], ["Rom"]]
    assert least["entities"] == []
    assert illustrated["image"] == album["image"] == "read"
    assert album["image_error"] is None
    assert "no base64" in fetched
    assert "no option 'temperature'" in unknown
