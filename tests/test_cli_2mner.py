"""The console script: which command runs, what it says, and how it ends."""

import os
import re
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch.distributed as dist
from accelerate import PartialState

import cli_2mner
from cli_2mner import COMMANDS, UNEXPECTED, main, script
from dataset_mmnerd import commands as data_commands
from tests.training_2mner.test_processes import together
from training_2mner.recipes import RECIPES, find_recipe

ROOT = Path(__file__).parents[1]
NESTED = [
    f"{name} {nested}" for name, command in COMMANDS.items() for nested in command.subcommands
]


def ended(argv: list[str], capsys) -> tuple[int, str, str]:
    """The exit status of a command line, its output and its errors."""
    try:
        status = main(argv)
    except SystemExit as stop:
        status = stop.code or 0
    return status, *capsys.readouterr()


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["trian"], []])
def test_what_needs_no_command_loads_no_library(argv):
    program = (
        "import sys\n"
        "from cli_2mner import main\n"
        "try:\n"
        "    main(sys.argv[1:])\n"
        "except SystemExit:\n"
        "    libraries = {'torch', 'transformers', 'datasets', 'numpy', 'dataset_mmnerd'}\n"
        "    print(sorted(libraries & set(sys.modules)))\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program, *argv], capture_output=True, text=True
    )
    assert finished.stdout.splitlines()[-1] == "[]", finished.stderr


def test_the_sources_run_where_they_are_not_installed(tmp_path):
    """`python train.py` in a checkout, with the packages that it needs."""
    (tmp_path / "cli_2mner.py").write_bytes((ROOT / "cli_2mner.py").read_bytes())
    said = subprocess.run(
        [sys.executable, "-S", "-m", "cli_2mner", "--version"],
        cwd=tmp_path,
        env={},
        capture_output=True,
        text=True,
    )
    assert (said.returncode, said.stdout) == (0, "2mner is not installed\n"), said.stderr


def test_help_names_every_command_with_an_example(capsys):
    status, output, _ = ended(["--help"], capsys)
    assert status == 0
    for name, command in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(command.summary)}$", output, re.MULTILINE)
        assert command.example.startswith(f"2mner {name} ")
        assert f"\n  {command.example}\n" in output


@pytest.mark.parametrize("name", [*COMMANDS, *NESTED])
def test_help_of_every_command_shows_an_example(name, capsys):
    status, output, _ = ended([*name.split(), "--help"], capsys)
    assert status == 0
    usage, _, rest = output.partition("\n\n")
    assert usage.startswith(f"usage: 2mner {name}")
    assert f"2mner {name} " in " ".join(rest.split())


def test_the_commands_of_data_are_those_of_its_parser():
    (nested,) = data_commands.parser()._subparsers._group_actions
    assert tuple(nested.choices) == COMMANDS["data"].subcommands


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["trian"], "2mner: unknown command 'trian', the nearest is 'train'"),
        (["--debug", "audit"], "2mner: unknown command 'audit', the nearest is 'data audit'"),
        (["data", "biuld"], "2mner data: unknown command 'biuld', the nearest is 'build'"),
        (["lora", "x" * 900], f"2mner lora: unknown command {'x' * 200!r}, the nearest is 'merge'"),
    ],
)
def test_an_unknown_command_is_told_the_nearest(argv, message, capsys):
    assert ended(argv, capsys) == (2, "", f"{message}\n")


@pytest.mark.parametrize(
    ("argv", "status", "message"),
    [
        (["report", "nowhere"], 1, "2mner report: there is no nowhere/metrics.json"),
        (
            ["lora", "merge", "nowhere", "--out", "merged"],
            1,
            "2mner lora: nowhere holds no adapter",
        ),
        (["push", "nowhere", "me/x"], 1, "2mner push: nowhere: found neither config.json"),
        (["data", "audit", "nowhere"], 1, "2mner data: "),
        (["predict", "nowhere", "a.txt", "--out", "a.jsonl"], 1, "2mner predict: "),
        (["thresholds", "nowhere", "--validation_files", "a"], 1, "2mner thresholds: nowhere"),
        (["train", "demo", "--lerning_rate", "1"], 2, "2mner train: command line: unknown key"),
        (["train", "dmeo"], 2, "2mner train: dmeo: no such recipe, the nearest that comes with"),
        (["train"], 2, "2mner train: command line: the following arguments are required: RECIPE"),
    ],
)
def test_an_error_is_one_line(argv, status, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, _, errors = ended(argv, capsys)
    assert found == status
    (line,) = errors.splitlines()
    assert line.startswith(message)
    assert UNEXPECTED not in line


@pytest.mark.parametrize("place", [0, 1, 2])
def test_debug_anywhere_on_the_line_shows_the_traceback(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv = ["report", "nowhere"]
    argv.insert(place, "--debug")
    with pytest.raises(Exception, match="nowhere"):
        main(argv)


class Stub:
    """A command's module that raises."""

    def __init__(self, error: BaseException):
        self.error = error

    def main(self, argv: list[str], prog: str) -> int:
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (KeyError("a"), 1, f"2mner report: KeyError: 'a' {UNEXPECTED}"),
        (ValueError("a"), 1, f"2mner report: ValueError: a {UNEXPECTED}"),
        (RuntimeError("two\n lines"), 1, f"2mner report: RuntimeError: two lines {UNEXPECTED}"),
        (FileNotFoundError(2, "None", "a"), 1, "2mner report: [Errno 2] None: 'a'"),
        (OSError("x" * 5000), 1, f"2mner report: {'x' * 1000}..."),
        (KeyboardInterrupt(), 130, "2mner report: stopped by Ctrl-C"),
    ],
)
def test_what_a_command_raises(error, status, line, capsys, monkeypatch):
    monkeypatch.setattr(cli_2mner, "import_module", lambda name: Stub(error))
    assert ended(["report", "run"], capsys) == (status, "", f"{line}\n")


def test_debug_of_a_library_is_no_word_of_the_console_script(capsys, monkeypatch):
    seen = []

    class Module:
        @staticmethod
        def main(argv: list[str], prog: str) -> int:
            seen.append((argv, prog))
            return 0

    monkeypatch.setattr(cli_2mner, "import_module", lambda name: Module)
    assert main(["train", "demo", "--debug=underflow_overflow", "--debug", "--", "--debug"]) == 0
    assert seen == [(["demo", "--debug=underflow_overflow", "--", "--debug"], "2mner train")]


def test_the_processes_of_a_launch_end_together(tmp_path, monkeypatch):
    """A launcher stops all of them when one fails, also after its work."""
    written = tmp_path / "written"

    class Module:
        @staticmethod
        def main(argv: list[str], prog: str) -> int:
            state = PartialState(cpu=True, timeout=timedelta(seconds=1))
            if state.is_main_process:
                time.sleep(2)  # longer than a process of the group waits
                written.touch()
            return 0

    monkeypatch.setattr(cli_2mner, "import_module", lambda name: Module)

    def work():
        with pytest.raises(SystemExit) as ended:
            script(["train", "demo"])
        assert ended.value.code == 0
        assert written.exists()
        assert not dist.is_initialized()
        (tmp_path / f"ended-{os.getpid()}").touch()

    together(2, work)
    assert len(list(tmp_path.glob("ended-*"))) == 2


def test_the_recipes_are_found_by_name_and_listed(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = sorted(path.stem for path in RECIPES.glob("*.yaml"))
    assert {"demo", "2mner", "ita", "text_only", "new_language"} <= set(names)
    assert find_recipe("demo") == RECIPES / "demo.yaml"
    (tmp_path / "demo").write_text("seed: 1\n")
    assert str(find_recipe("demo")) == "demo"  # a file wins
    status, output, _ = ended(["train", "--list"], capsys)
    assert status == 0
    assert [line.split()[0] for line in output.splitlines()] == names
    assert all(re.fullmatch(r"\S+ +[A-Z2].{20,}[.:]", line) for line in output.splitlines())
