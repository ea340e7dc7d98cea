"""Libraries that an extra installs."""

import configparser
import json
from pathlib import Path

import pytest

from inference_2mner.extras import MissingExtraError, needed


def test_a_module_that_is_there():
    assert needed("json", "none") is json


def test_a_missing_library_names_the_command_that_installs_it():
    message = 'found no no_such_library, which this needs: pip install "2mner[spacy]"'
    with pytest.raises(MissingExtraError) as raised:
        needed("no_such_library.part", "spacy")
    assert str(raised.value) == message


def test_what_a_library_itself_needs_is_not_reported_as_the_extra(tmp_path, monkeypatch):
    (tmp_path / "broken_library.py").write_text("import no_such_library\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_library'"):
        needed("broken_library", "spacy")


def test_the_tests_extra_has_all_other_extras():
    config = configparser.ConfigParser()
    config.read(Path(__file__).parents[2] / "setup.cfg", "utf-8")
    extras = {
        name: set(lines.split("\n")) for name, lines in config["options.extras_require"].items()
    }
    assert all(lines <= extras["test"] for lines in extras.values())
