"""A Space: pushed in one commit to a Hub on loopback, and started from its own files."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path

import httpx
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import inference_2mner.space
from dataset_mmnerd.hub import PublishError
from inference_2mner.models import load_pipeline
from inference_2mner.space import PACKAGES, modules_of, publish_space, space_files
from tests.conftest import run_client
from tests.hub_server import HubServer
from tests.inference_2mner.test_page import free_port
from tests.published import ROOT, write_published

PUSH = """
import cli_2mner

assert cli_2mner.main(["push", {model!r}, "me/2mner"]) == 0
assert cli_2mner.main(["push", "--space", "me/2mner", "me/page"]) == 0
"""

# `-S` leaves out the site packages' .pth files, and with them an editable install of the project.
START = f"""
import runpy, sys

sys.path += {[path for path in sys.path if path.endswith("site-packages")]!r}
runpy.run_path("app.py", run_name="__main__")
"""


@dataclass
class Pushed:
    """A Space on the Hub, and its files in a folder."""

    hub: HubServer
    folder: Path
    model: str


@pytest.fixture(scope="module")
def pushed(tmp_path_factory) -> Iterator[Pushed]:
    root = tmp_path_factory.mktemp("space")
    model = write_published(root / "model")
    with HubServer(root / "hub", tokens={"hf_me": "me"}) as hub:
        run_client(hub, root, PUSH.format(model=str(model)), token="hf_me", home="author")
        folder = root / "space"
        for name, file in hub.repository("spaces", "me/page").resolve("main").files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(hub.content(file).read_bytes())
        yield Pushed(hub, folder, hub.repository("models", "me/2mner").resolve("main").oid)


def test_a_space_is_one_commit_and_pins_the_model(pushed):
    commits = list(pushed.hub.repository("spaces", "me/page").resolve("main").history())
    assert [commit.title for commit in commits][:-1] == ["A page for me/2mner"]
    app = (pushed.folder / "app.py").read_text("utf-8")
    assert 'MODEL = "me/2mner"\n' in app and f'REVISION = "{pushed.model}"\n' in app
    _, front, page = (pushed.folder / "README.md").read_text("utf-8").split("---\n", 2)
    card = yaml.safe_load(front)
    assert card["models"] == ["me/2mner"] and "[me/2mner](" in page
    assert (pushed.folder / card["app_file"]).is_file()
    pins = pins_of((pushed.folder / "requirements.txt").read_text("utf-8"))
    assert card["sdk"] == "gradio" and pins["gradio"] == card["sdk_version"]


def test_it_starts_from_its_own_files_without_the_project(pushed):
    port = free_port()
    environment = pushed.hub.environment(pushed.folder.parent / "visitor")
    environment |= {"GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "True"}
    environment.pop("PYTHONPATH", None)
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", START],
        env=environment,
        cwd=pushed.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            while process.poll() is None:
                try:
                    page = client.get("/")
                    break
                except httpx.ConnectError:
                    os.sched_yield()
            assert process.poll() is None, process.stderr.read()
            found = entities(client, "she saw Rom", "", 0.0)
    finally:
        process.kill()
        process.wait()
    assert "me/2mner" in page.text
    (own,) = load_pipeline(ROOT / "tests" / "saved_run")("she saw Rom")
    assert [{key: one[key] for key in own} for one in found] == [pytest.approx(own)]


def entities(client: httpx.Client, *values: object) -> list[dict]:
    """Call the API of a page."""
    event = client.post("/gradio_api/call/entities", json={"data": values}).json()["event_id"]
    answer = client.get(f"/gradio_api/call/entities/{event}").text
    assert answer.startswith("event: complete"), answer
    return json.loads(re.search("^data: (.*)$", answer, re.MULTILINE)[1])[0]


def test_a_model_that_nobody_else_has_is_refused(pushed, online):
    with pytest.raises(PublishError, match="is a folder of this machine, expected a model on the"):
        publish_space(str(pushed.folder.parent / "model"), "me/page")
    with pytest.raises(PublishError, match="me/none"):
        publish_space("me/none", "me/page")
    assert online.repositories == {}


# What it holds ------------------------------------------------------------------------------------


def pins_of(text: str) -> dict[str, str]:
    """The versions that a file of requirements pins."""
    pinned = [Requirement(line) for line in text.splitlines()]
    assert all([one.operator for one in each.specifier] == ["=="] for each in pinned)
    return {canonicalize_name(each.name): str(each.specifier)[2:] for each in pinned}


PINS = pins_of((ROOT / "space" / "requirements.txt").read_text("utf-8"))


def test_the_requirements_name_every_library_that_a_module_imports():
    distributions = packages_distributions()
    for name, content in space_files("me/2mner", "0" * 40).items():
        if not name.endswith(".py"):
            continue
        text = content.decode() if isinstance(content, bytes) else content.read_text("utf-8")
        for node in ast.walk(ast.parse(text)):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                modules = [node.module]
            for module in modules:
                top = module.partition(".")[0]
                if top not in sys.stdlib_module_names and top not in PACKAGES:
                    named = {canonicalize_name(one) for one in distributions[top]}
                    assert named & set(PINS), (name, module)


def test_the_pins_are_versions_that_the_project_allows():
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg")
    lines = settings["options"]["install_requires"] + settings["options.extras_require"]["space"]
    allowed = {
        canonicalize_name(each.name): each.specifier
        for each in map(Requirement, filter(None, lines.splitlines()))
    }
    wrong = [name for name, pin in PINS.items() if name in allowed and pin not in allowed[name]]
    assert wrong == []


def test_the_modules_of_a_program_are_those_it_imports_at_any_distance(tmp_path, monkeypatch):
    package = tmp_path / "reporting_of_tests"
    (package / "deep").mkdir(parents=True)
    for name, text in {
        "__init__.py": "",
        "one.py": "from .deep import two, CONSTANT\nimport json",
        "deep/__init__.py": "CONSTANT = 1",
        "deep/two.py": "def late():\n    from ..three import name",
        "three.py": "import reporting_of_tests.one",
        "unused.py": "",
    }.items():
        (package / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(inference_2mner.space, "PACKAGES", ("reporting_of_tests",))
    found = modules_of("from reporting_of_tests.one import something\nimport os")
    assert {str(path.relative_to(package)) for path in found.values()} == {
        *("__init__.py", "one.py", "deep/__init__.py", "deep/two.py", "three.py")
    }
