"""The oldest version of `transformers` is stated once, and an older one is refused."""

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import modeling_2mner
from modeling_2mner.requirements_2mner import LEAST_TRANSFORMERS, require_transformers

ROOT = Path(__file__).parents[2]
CODE = Path(modeling_2mner.__file__).parent
IMPORTING = sorted(
    path.stem
    for path in CODE.glob("*_2mner.py")
    if re.search(r"^(from|import) transformers", path.read_text("utf-8"), re.MULTILINE)
)


@pytest.mark.parametrize("found", ["4.57.6", "5.0.0", "5.2.0.dev0", "5.19.0"])
def test_an_older_transformers_gets_the_sentence(found):
    with pytest.raises(ImportError, match=rf"2M-NER needs transformers >= 5\.20, found {found}: "):
        require_transformers(found)


@pytest.mark.parametrize("found", ["5.20.0", "5.20.0rc1", "5.24.0", "5.100.0", "6.0.0.dev0"])
def test_the_least_transformers_and_newer_ones_pass(found):
    require_transformers(found)


def test_every_module_that_imports_transformers_is_found():
    assert {"configuration_2mner", "modeling_2mner", "processing_2mner"} < set(IMPORTING)


@pytest.mark.parametrize("module", ["__init__", *IMPORTING])
def test_each_module_says_the_sentence_whichever_is_imported_first(tmp_path, module):
    """A `transformers` that has a version and nothing else; the remote code of `AutoConfig` and of
    `AutoProcessor` starts with another file each.
    """
    (tmp_path / "transformers.py").write_text('__version__ = "5.19.0"\n')
    shutil.copytree(CODE, tmp_path / "published", ignore=shutil.ignore_patterns("__pycache__"))
    name = "published"
    if module != "__init__":
        (tmp_path / "published" / "__init__.py").unlink()
        name = f"published.{module}"
    result = subprocess.run(
        [sys.executable, "-c", f"import {name}"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.stderr.splitlines()[-1] == (
        "ImportError: 2M-NER needs transformers >= 5.20, found 5.19.0: "
        'pip install -U "transformers>=5.20"'
    )


def test_the_documents_say_the_least_version():
    for place in ("README.md", "docs/publishing.md", "reporting_2mner/card_template.md"):
        assert f"transformers >= {LEAST_TRANSFORMERS}" in (ROOT / place).read_text("utf-8"), place


def test_the_project_needs_no_less_than_what_it_publishes():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    (least,) = re.findall(
        r"^transformers>=([\d.]+),<6$", setup["options"]["install_requires"], re.MULTILINE
    )
    require_transformers(least)
    assert f"`transformers >= {least}`" in (ROOT / "docs/publishing.md").read_text("utf-8")
