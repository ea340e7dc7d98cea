"""The wheel and the source archive: what is in them, and that the wheel works by itself."""

import json
import os
import shutil
import stat
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import modeling_2mner
from training_2mner.recipes import RECIPES

ROOT = Path(__file__).parents[1]
SOURCES = [
    *("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "cli_2mner.py", "train.py", "configs"),
    *(path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()),
]
CONLL = "Ana\tB-PER\nlives\tO\nin\tO\nRome\tB-LOC\n\nBern\tB-LOC\n"

Run = Callable[..., subprocess.CompletedProcess[str]]


def python(*argv: str, cwd: Path) -> None:
    finished = subprocess.run([sys.executable, *argv], cwd=cwd, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-2000:]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the source archive, and the wheel that was built from it."""
    root = tmp_path_factory.mktemp("built")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            no_caches = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, root / "source" / name, symlinks=True, ignore=no_caches)
        else:
            (root / "source").mkdir(exist_ok=True)
            shutil.copy(ROOT / name, root / "source" / name)
    build = ["-m", "build", "--no-isolation", "--outdir", str(root / "dist")]
    python(*build, str(root / "source"), cwd=root)
    return root / "dist"


@pytest.fixture(scope="module")
def wheel(built) -> Path:
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Run:
    """A function that runs a program of an environment that holds the wheel and what it depends on,
    and in which the repository is unknown."""
    root = tmp_path_factory.mktemp("installed")
    venv.create(root / "venv", with_pip=False)
    home = root / "home"
    home.mkdir()
    folder = "lib/python{}.{}/site-packages".format(*sys.version_info[:2])
    # Python reads no .pth file of a folder that a .pth file names: an editable install is not seen.
    libraries = root / "venv" / folder / "libraries.pth"
    libraries.write_text(sysconfig.get_path("purelib"), "utf-8")
    target = ["--python", str(root / "venv" / "bin" / "python")]
    python("-m", "pip", *target, "install", "-q", "--no-deps", "--no-index", str(wheel), cwd=root)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["HF_HOME"] = str(root / "hub")

    def run(program: str, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        finished = subprocess.run(
            [str(root / "venv" / "bin" / program), *argv],
            cwd=home,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert not check or finished.returncode == 0, finished.stderr[-4000:]
        return finished

    return run


def test_links_are_files_and_nothing_else_is_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        kinds = {stat.S_IFMT(entry.external_attr >> 16) for entry in archive.infolist()}
        files = {name: archive.read(name) for name in archive.namelist()}
    assert kinds <= {0, stat.S_IFREG}
    links = [path for path in ROOT.glob("*_*/*.py") if path.is_symlink()]
    assert len(links) >= 3
    for link in links:
        assert files[str(link.relative_to(ROOT))] == link.read_bytes()
    for recipe in RECIPES.glob("*.yaml"):
        assert files[f"training_2mner/configs/{recipe.name}"] == recipe.read_bytes()
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert {f"{package}/py.typed" for package in packages} <= set(files)
    metadata = f"2mner-{modeling_2mner.__version__}.dist-info"
    assert {name.partition("/")[0] for name in files} == {*packages, "cli_2mner.py", metadata}
    for package in packages:
        own = [path.relative_to(ROOT) for path in (ROOT / package).rglob("*.py")]
        assert {str(path) for path in own} <= set(files)


def test_the_source_archive_has_the_packages(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"cli_2mner.py", "training_2mner/configs/demo.yaml", "README.md", "LICENSE"} <= names


def test_the_description_renders(built):
    python("-m", "twine", "check", "--strict", *map(str, built.iterdir()), cwd=built)


def test_what_a_shell_finds(installed):
    finished = installed("python", "-c", "import train", check=False)
    assert "ModuleNotFoundError: No module named 'train'" in finished.stderr
    found = installed("python", "-c", "import modeling_2mner as m; print(m.__file__)").stdout
    assert "venv" in found and str(ROOT) not in found
    assert "annotate a file or a data set" in installed("2mner", "--help").stdout
    assert installed("2mner", "--version").stdout == f"2mner {modeling_2mner.__version__}\n"


def test_a_model_is_trained_loaded_and_used(installed, text_encoder, vision_encoder, tmp_path):
    for name in ("train_en.txt", "dev_en.txt", "posts.conll"):
        (tmp_path / name).write_text(CONLL, "utf-8")
    encoders = ["--text_model", text_encoder(), "--vision_model", vision_encoder()]
    heads = ["--model_config", '{"collaboration_heads": 4}']
    data = ["--train_files", f"{tmp_path}/train_en.txt"]
    data += ["--validation_files", f"{tmp_path}/dev_en.txt"]
    steps = ["--max_steps", "2", "--use_cpu", "true", "--bf16", "no", "--output_dir", "run"]
    installed("2mner", "train", "2mner", *encoders, *heads, *data, *steps)
    code = (
        "import modeling_2mner\n"
        "from transformers import AutoModelForTokenClassification\n"
        "model = AutoModelForTokenClassification.from_pretrained('run')\n"
        "print(type(model).__module__, model.config.labels)\n"
    )
    assert installed("python", "-c", code).stdout == (
        "modeling_2mner.modeling_2mner ['O', 'B-PER', 'I-PER', 'B-LOC', 'I-LOC']\n"
    )
    out = tmp_path / "entities.jsonl"
    said = installed("2mner", "predict", "run", f"{tmp_path}/posts.conll", "--out", str(out)).stdout
    assert f"{out}: complete" in said
    records = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [record["tokens"] for record in records] == [["Ana", "lives", "in", "Rome"], ["Bern"]]
    code = (
        "import spacy\n"
        "nlp = spacy.blank('xx')\n"
        "nlp.add_pipe('2mner', config={'model': 'run'})\n"
        "print(nlp('Ana lives in Rome').has_annotation('ENT_IOB'))\n"
    )
    assert installed("python", "-c", code).stdout == "True\n"
    assert installed("2mner", "report", "run").stdout == "The page is run/report.html\n"
