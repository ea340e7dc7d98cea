"""`make test` runs everywhere and says what it left out; `.ci/run` leaves nothing out."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTS = """
import pytest

@pytest.mark.tesseract
def test_that_needs_the_program():
    pass

@pytest.mark.chromium
def test_that_needs_a_browser():
    pass

def test_that_is_not_ready():
    pytest.skip("not today")

@pytest.mark.xfail
def test_that_is_known_to_fail():
    raise AssertionError

def test_that_is_ready():
    pass
"""
MODULE = """
import pytest

pytest.importorskip("no_such_module")
"""


@pytest.fixture
def programs(tmp_path):
    """`programs(name=script, ...)`: a folder that has these programs, and what make and they need;
    each writes its name and arguments to `calls`.
    """
    folder = tmp_path / "bin"
    folder.mkdir()
    for needed in ("sh", "bash", "dirname", "grep"):
        (folder / needed).symlink_to(shutil.which(needed))

    def build(**scripts: str) -> Path:
        for name, script in scripts.items():
            path = folder / name.replace("_", "-")
            path.write_text(f'#!/bin/sh\necho "{path.name} $*" >> {tmp_path}/calls\n{script}\n')
            path.chmod(0o755)
        return folder

    return build


def make(path: Path, *targets: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [shutil.which("make"), *targets],
        cwd=ROOT,
        env={"PATH": str(path)},
        capture_output=True,
        text=True,
    )


def calls(tmp_path: Path, name: str) -> list[str]:
    """The arguments that a program was called with."""
    lines = (tmp_path / "calls").read_text().splitlines()
    return [line.removeprefix(f"{name} ") for line in lines if line.startswith(f"{name} ")]


PACKAGES = "tesseract-ocr tesseract-ocr-eng tesseract-ocr-deu tesseract-ocr-fra tesseract-ocr-spa"


def test_without_root_nothing_is_installed_and_the_suite_goes_on(programs, tmp_path):
    finished = make(programs(id="echo 1000", apt_get="exit 1"), "tesseract")
    assert finished.returncode == 0, finished.stderr
    assert f"its tests are skipped; install by hand, as root: {PACKAGES}" in finished.stderr
    assert calls(tmp_path, "apt-get") == []


def test_root_installs_what_is_missing(programs, tmp_path):
    some = "echo eng; echo deu; echo osd"
    finished = make(programs(id="echo 0", apt_get="", tesseract=some), "tesseract")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert calls(tmp_path, "apt-get") == ["update -qq", f"install -qq --yes {PACKAGES}"]


def test_an_installation_that_fails_is_said_and_the_suite_goes_on(programs, tmp_path):
    finished = make(programs(id="echo 0", apt_get="exit 100"), "tesseract")
    assert finished.returncode == 0
    assert "its tests are skipped; install by hand, as root" in finished.stderr


def test_root_installs_a_missing_browser_and_no_other(programs, tmp_path):
    finished = make(programs(id="echo 0", apt_get=""), "chromium")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert calls(tmp_path, "apt-get") == ["update -qq", "install -qq --yes chromium"]
    (tmp_path / "calls").write_text("")
    finished = make(programs(id="echo 0", apt_get="exit 1", chromium=""), "chromium")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert calls(tmp_path, "apt-get") == []


def test_where_tesseract_is_nothing_is_installed(programs, tmp_path):
    every = "for language in eng deu fra spa; do echo $language; done"
    finished = make(programs(id="echo 0", apt_get="exit 1", tesseract=every), "tesseract")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert calls(tmp_path, "apt-get") == []


def test_the_integration_run_tests_and_refuses_skips(programs, tmp_path):
    subprocess.run(
        [ROOT / ".ci" / "run"],
        env={"PATH": str(programs(make=f"echo refuse=$REFUSE_SKIPS >> {tmp_path}/calls"))},
        check=True,
    )
    assert (tmp_path / "calls").read_text() == "make test\nrefuse=1\n"


@pytest.fixture
def tests(tmp_path):
    """A folder of tests, some of which are skipped."""
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_none.py").write_text(MODULE)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -ra --strict-markers\n")
    return tmp_path


def run_pytest(tests: Path, path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name != "REFUSE_SKIPS"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.skips", "-p", "no:cacheprovider"],
        cwd=tests,
        env={**inherited, "PYTHONPATH": str(ROOT), "PATH": str(path), **environment},
        capture_output=True,
        text=True,
    )


def test_what_is_skipped_is_said_with_its_reason(programs, tests):
    finished = run_pytest(tests, programs())
    assert finished.returncode == 0, finished.stdout
    assert "1 passed, 4 skipped, 1 xfailed" in finished.stdout
    for reason in ("found no program tesseract: `make tesseract` installs it", "not today"):
        assert reason in finished.stdout
    finished = run_pytest(tests, programs(tesseract="echo eng; echo fra"))
    assert "tesseract lacks the languages deu, spa" in finished.stdout


def test_where_skips_are_refused_each_is_a_failure_with_its_reason(programs, tests):
    finished = run_pytest(tests, programs(), REFUSE_SKIPS="1")
    assert finished.returncode != 0
    assert "REFUSE_SKIPS is set, and this was skipped: Skipped: could not" in finished.stdout
    (tests / "test_none.py").unlink()  # a module that is not collected ends the run
    finished = run_pytest(tests, programs(), REFUSE_SKIPS="1")
    assert finished.returncode != 0
    assert "1 failed, 1 passed, 1 xfailed, 2 errors" in finished.stdout
    for reason in ("found no program tesseract", "found no program chromium", "not today"):
        assert f"REFUSE_SKIPS is set, and this was skipped: Skipped: {reason}" in finished.stdout
