"""Which tests `make quick` leaves out: those marked `slow`, and all of the places named here."""

from pathlib import Path

import pytest

TESTS = Path(__file__).parent

SLOW = (
    "campaigns",
    "inference_2mner/test_corpus.py",
    "inference_2mner/test_thresholds.py",
    "scripts",
    "test_hub_server.py",
    "test_launch.py",
    "test_package.py",
    "test_publishing.py",
    "test_saved_run.py",
    "test_train.py",
    "training_2mner/test_new_language.py",
    "training_2mner/test_processes.py",
)
"""Files and folders whose tests take more than five seconds together, alone on one core."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow = [TESTS / place for place in SLOW]
    for item in items:
        if any(item.path.is_relative_to(place) for place in slow):
            item.add_marker("slow")
