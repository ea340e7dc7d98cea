"""Which tests may be skipped, and that some runs refuse it.

A test that needs the program Tesseract is marked `tesseract`, and skipped where the program or one
of the sample's languages is missing; one that needs a browser is marked `chromium`. With
`REFUSE_SKIPS=1` in the environment, as `.ci/run` sets it, a skip of any kind is a failure.
"""

import os
import shutil
import subprocess
from collections.abc import Generator
from functools import cache

import pytest

LANGUAGES = ("eng", "deu", "fra", "spa")


@cache
def lacks_tesseract() -> str:
    """What is missing for the tests that need Tesseract; empty if nothing is."""
    program = shutil.which("tesseract")
    if program is None:
        return "found no program tesseract"
    listed = subprocess.run([program, "--list-langs"], capture_output=True, text=True)
    missing = [language for language in LANGUAGES if language not in listed.stdout.split()]
    return f"tesseract lacks the languages {', '.join(missing)}" if missing else ""


def lacks_chromium() -> str:
    """What is missing for the tests that need a browser; empty if nothing is."""
    return "" if shutil.which("chromium") else "found no program chromium"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "tesseract: needs the program Tesseract and its languages")
    config.addinivalue_line("markers", "chromium: needs the program Chromium")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for program, lacks in (("tesseract", lacks_tesseract), ("chromium", lacks_chromium)):
        if item.get_closest_marker(program) and lacks():
            pytest.skip(f"{lacks()}: `make {program}` installs it, as root on Debian")


def refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure where `REFUSE_SKIPS` is set; an expected failure is no skip."""
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("REFUSE_SKIPS"):
        report.outcome = "failed"
        report.longrepr = f"REFUSE_SKIPS is set, and this was skipped: {report.longrepr[2]}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    refuse_skip(report)
    return report
