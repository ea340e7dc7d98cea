"""What CONTRIBUTING.md and the tools' settings name is there."""

import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import modeling_2mner
from tests.slow import SLOW, TESTS, pytest_collection_modifyitems

ROOT = TESTS.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make (\w+)", PAGE))))
def test_the_targets_of_the_page_are_those_of_the_makefile(target):
    command = [shutil.which("make"), "--dry-run", target]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)


def test_the_packages_of_the_page_are_all_packages():
    table = re.findall(r"^\| `(\w+)(?:\.py)?` \|", PAGE, re.MULTILINE)
    assert set(table) == {path.parent.name for path in ROOT.glob("*/__init__.py")} | {"cli_2mner"}


@pytest.mark.parametrize("place", SLOW)
def test_every_place_of_the_slow_tests_is_there(place):
    path, _, name = place.partition("::")
    assert (TESTS / path).exists()
    assert not name or f"def {name}" in (TESTS / path).read_text("utf-8")


def test_a_test_of_a_slow_place_is_marked():
    marks: list[str] = []
    path = TESTS / "campaigns" / "test_campaigns.py"
    item = SimpleNamespace(path=path, name="test_some", add_marker=marks.append)
    pytest_collection_modifyitems([item])
    assert marks == ["slow"]


def test_the_hosted_workflow_runs_the_integration_run():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
    assert [step.get("run") for step in workflow["jobs"]["test"]["steps"]][-1] == ".ci/run"


def test_the_hooks_are_programs_of_the_environment_that_make_creates():
    settings = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    tools = [hook["entry"].split()[0] for repo in settings["repos"] for hook in repo["hooks"]]
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert all(f"$(BIN)/{Path(tool).name}" in makefile for tool in tools)
    assert all(tool.startswith(".venv/bin/") for tool in tools)


def test_the_newest_version_of_the_changelog_is_this_one():
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert newest[1] == modeling_2mner.__version__
