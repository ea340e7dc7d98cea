"""What README and docs say works: links lead somewhere, commands parse, examples run.

`test_publishing.py` runs the examples of `docs/usage.md` and `docs/publishing.md`.
"""

import argparse
import ast
import json
import re
import runpy
import shlex
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from datasets import Image as ImageFeature
from PIL import Image

import cli_2mner
from tests.published import ROOT, write_published
from training_2mner.recipes import read_recipe

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"]
PAGES += [ROOT / "metrics" / "mmner" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def commands(page: Path) -> list[str]:
    """The command lines of a page: of its indented blocks and its `bash` blocks."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    fenced = re.findall(r"^```(?:bash|sh)\n(.*?)^```", text, re.M | re.S)
    indented = re.findall(
        r"^    (\S.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M
    )
    in_tables = re.findall(r"`((?:2mner|make|python|accelerate launch|uv run) [^`]+)`", text)
    lines = [line for block in fenced for line in block.splitlines()] + indented + in_tables
    lines = [re.sub(r"\s+#.*$", "", line).strip() for line in lines]
    known = re.compile(r"(?:[A-Z_]+=\S+ )*(2mner|make|python|accelerate launch|uv run) ")
    return [line for line in lines if known.match(line)]


class ParsedError(BaseException):
    """Ends a command when its words are parsed, before it does anything."""


def parse(words: list[str]) -> None:
    """Parse what stands behind `2mner`, with the parser of its subcommand.

    Raises:
        SystemExit, ValueError: if it does not parse.
    """
    command, rest = cli_2mner.COMMANDS[words[0]], words[1:]
    if not rest or (len(rest) == 1 and rest[0] in (*command.subcommands, "--help", "--list")):
        return  # the text names a command
    if words[0] == "train":
        read_recipe(rest)
        return
    parse_only(import_module(command.module_of(rest)).main, rest, f"2mner {words[0]}")


def parse_only(main: Callable[..., object], *arguments: object) -> None:
    """Run a command until its words are parsed."""
    parse_args = argparse.ArgumentParser.parse_args

    def and_stop(*arguments, **options):
        parse_args(*arguments, **options)
        raise ParsedError

    with pytest.MonkeyPatch.context() as patch, pytest.raises(ParsedError):
        patch.setattr(argparse.ArgumentParser, "parse_args", and_stop)
        main(*arguments)


def check(arguments: list[str]) -> None:
    """Check that a command line of a page would be understood."""
    environment = re.compile(r"[A-Z_]+=\S*")
    while environment.fullmatch(arguments[0]):
        arguments = arguments[1:]
    if arguments[:2] == ["accelerate", "launch"]:
        scripts = {"train.py": ["python", "train.py"], "cli_2mner": ["2mner"], "2mner": ["2mner"]}
        scripts["dataset_mmnerd"] = ["2mner", "data"]
        place = next(i for i, word in enumerate(arguments) if word in scripts)
        arguments = [*scripts[arguments[place]], *arguments[place + 1 :]]
    if arguments[0] == "make":
        targets = re.findall(r"^([\w.-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
        assert arguments[1] in targets
    elif arguments[0] == "2mner":
        parse(arguments[1:])
    elif arguments[:2] == ["python", "train.py"]:
        parse(["train", *arguments[2:]])
    elif arguments[:3] == ["python", "-m", "dataset_mmnerd"]:
        parse(["data", *arguments[3:]])
    elif arguments[:2] == ["python", "exported/tagger.py"]:
        parse_only(import_module("inference_2mner.tagger").main, arguments[2:])
    elif arguments[:3] == ["python", "-m", "tests.campaigns"]:
        parse_only(import_module("tests.campaigns.__main__").main, arguments[3:])
    else:
        script = next(word for word in arguments if word.endswith(".py"))
        text = (ROOT / script).read_text("utf-8")
        own = arguments[: arguments.index("--")] if "--" in arguments else arguments
        for option in (word for word in own if word.startswith("--")):
            assert option.partition("=")[0].lstrip("-") in text, (script, option)


COMMANDS = [
    pytest.param(line, id=f"{named(page)}: {line[:60]}")
    for page in PAGES
    for line in dict.fromkeys(commands(page))
]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_parses(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    stand_ins = {"RECIPE": "configs/demo.yaml", "RUN": "runs/demo", "...": ""}
    for name, value in stand_ins.items():
        line = re.sub(rf"(?<!\S){re.escape(name)}(?!\S)", value, line)
    check(shlex.split(line))


def test_the_commands_of_the_pages_are_found():
    assert "make demo" in commands(ROOT / "README.md")
    assert len(COMMANDS) > 40


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_python_example_is_python(page):
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S):
        ast.parse(block)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_to_a_file_leads_somewhere(page):
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    pages = [path.name for path in (ROOT / "docs").glob("*.md") if path.name != "README.md"]
    assert [page for page in pages if f"]({page})" not in index] == []


def test_every_recipe_is_in_the_table():
    table = (ROOT / "docs" / "training.md").read_text("utf-8")
    assert [path.name for path in (ROOT / "configs").iterdir() if path.name not in table] == []


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 130


# Examples ----------------------------------------------------------------------------------------


def test_the_readmes_example_runs(tmp_path, monkeypatch):
    """With the small saved model of the tests in place of the demo's."""
    write_published(tmp_path / "runs" / "demo")
    Image.new("RGB", (40, 30), "red").save(tmp_path / "photo.jpg")
    text = (ROOT / "README.md").read_text("utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    Path("snippet.py").write_text(f"{code}answers = ner(['Ana lives here', 'Rom'])\n", "utf-8")
    names = runpy.run_path("snippet.py")
    assert [[entity["word"] for entity in answer] for answer in names["answers"]] == [
        ["Ana"],
        ["Rom"],
    ]


@pytest.fixture
def fine_tuning(tmp_path, monkeypatch) -> str:
    """The section on data of one's own, beside a data set of the form that it tells of."""
    monkeypatch.chdir(tmp_path)
    images = [Path("red.png"), Path("blue.png"), None, None]
    for path in images[:2]:
        Image.new("RGB", (40, 30), path.stem).save(path)
    table = {
        "words": [["Ana", "canta"], ["Lima", "!"], ["ok"], ["Rio"]],
        "tags": [[1, 0], [3, 0], [0], [4]],
        "photo": [image and {"bytes": image.read_bytes(), "path": None} for image in images],
    }
    names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    features = {
        "words": List(Value("string")),
        "tags": List(ClassLabel(names=names)),
        "photo": ImageFeature(),
    }
    rows = Dataset.from_dict(table, features=Features(features))
    Path("tweets").mkdir()
    for split in ("train", "validation", "test"):
        rows.to_parquet(Path("tweets") / f"{split}.parquet")
    text = (ROOT / "docs" / "training.md").read_text("utf-8")
    section = text.split("## Fine-tune on your own data")[1]
    return section.split("\n## ")[0].replace("me/tweets", "tweets")


def test_fine_tuning_by_a_command(fine_tuning, text_encoder, vision_encoder):
    (command,) = re.findall(r"^    2mner train 2mner (.*)$", fine_tuning, re.M)
    encoders = ["--text_model", text_encoder(), "--vision_model", vision_encoder()]
    tiny = ["--model_config", '{"collaboration_heads": 4}', "--max_steps", "1", "--use_cpu", "true"]
    run = ["--output_dir", "run", "--controls", "no", "--bf16", "no"]
    assert cli_2mner.main(["train", "2mner", *command.split(), *encoders, *tiny, *run]) == 0
    metrics = json.loads(Path("run/metrics.json").read_text(encoding="utf-8"))
    assert metrics["data"]["train"]["by_language"] == {"pt": 4}
    assert metrics["data"]["train"]["with_image"] == 2
    assert metrics["test"]["overall"]["gold"] == 3


def test_fine_tuning_in_code(fine_tuning, text_encoder, vision_encoder):
    code = re.search(r"```python\n(.*?)```", fine_tuning, re.DOTALL)[1]
    code = code.replace('"xlm-roberta-base"', repr(text_encoder()))
    code = code.replace('"openai/clip-vit-base-patch32"', repr(vision_encoder()))
    Path("snippet.py").write_text(code, encoding="utf-8")
    names = runpy.run_path("snippet.py")
    assert names["loss"] > 0
    assert names["batch"]["image_mask"].tolist() == [True, True, False, False]
    assert names["model"].config.labels == names["labels"]
