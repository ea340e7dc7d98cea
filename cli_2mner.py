"""The console script `2mner`: one subcommand for each task.

    2mner train demo --learning_rate 1e-4
    2mner report runs/demo
    2mner data build --source sample --out mmnerd/
    accelerate launch -m cli_2mner train 2mner --dataset_name mmnerd

The module of a subcommand is imported when the subcommand runs, so `2mner --help` loads neither
torch nor transformers. A subcommand is a function `main(argv, prog)` that returns an exit status or
raises an exception with a message for the user.

Exit status: 0; 1 for an error in data, model, disk or Hub; 2 for a wrong command; 130 after Ctrl-C.
An error is one line on the error stream. `--debug`, anywhere on the line, shows its traceback.
"""

from __future__ import annotations

import argparse
import signal
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import NoReturn

__all__ = ["COMMANDS", "Command", "main", "script"]

LONGEST_MESSAGE = 1000
"""Characters of a message that are shown."""

UNEXPECTED = "(--debug shows where)"
"""Follows a message that is neither this project's nor about a file."""


@dataclass(frozen=True)
class Command:
    """A subcommand.

    Attributes:
        module: where its `main` is.
        summary: one line for `2mner --help`.
        example: what one could type.
        subcommands: those of its own, if it has any.
        options: options that another module has a `main` for.
    """

    module: str
    summary: str
    example: str
    subcommands: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)

    def module_of(self, words: Iterable[str]) -> str:
        """The module for these words of a command line."""
        names = (word.partition("=")[0] for word in words)
        return next((self.options[name] for name in names if name in self.options), self.module)


COMMANDS = {
    "train": Command(
        "training_2mner.run",
        "train, score and save a model by a recipe",
        "2mner train 2mner --train_files de/train.txt --validation_files de/dev.txt",
    ),
    "report": Command(
        "reporting_2mner.report",
        "print the scores of a run and write its page, or compare runs",
        "2mner report runs/text runs/images",
    ),
    "study": Command(
        "training_2mner.study.command",
        "train and compare the cells of a plan: ablation, languages, transfer and more",
        "2mner study study --data mmnerd/",
    ),
    "predict": Command(
        "inference_2mner.corpus",
        "annotate a file or a data set with entities",
        "2mner predict runs/demo posts.txt --out entities.jsonl",
    ),
    "convert": Command(
        "inference_2mner.convert",
        "convert what `predict` wrote to spaCy, Label Studio, CoNLL, Parquet or a data set",
        "2mner convert entities.jsonl --out entities.spacy",
    ),
    "thresholds": Command(
        "inference_2mner.thresholds",
        "choose thresholds for a model on validation sentences",
        "2mner thresholds runs/demo --validation_files valid.jsonl",
    ),
    "shrink": Command(
        "inference_2mner.shrink",
        "make a model smaller: fewer pieces, fewer layers, 16 bits",
        "2mner shrink runs/demo --keep_vocabulary_of posts.txt --out runs/small",
    ),
    "export": Command(
        "inference_2mner.export",
        "write a model as ONNX graphs that run without torch",
        "2mner export runs/demo --out exported",
    ),
    "serve": Command(
        "inference_2mner.serve",
        "serve a model over HTTP",
        "2mner serve runs/demo --port 8000",
    ),
    "demo": Command(
        "inference_2mner.demo",
        "show a page to try a model",
        "2mner demo runs/demo",
    ),
    "data": Command(
        "dataset_mmnerd.commands",
        "build, generate, check and publish a data set",
        "2mner data build --source sample --out mmnerd/",
        ("build", "generate", "context", "audit", "push"),
    ),
    "push": Command(
        "training_2mner.push",
        "send a run's folder, the metric's or a page to the Hub",
        "2mner push runs/demo me/2mner --private",
        options={"--space": "inference_2mner.space"},
    ),
    "lora": Command(
        "training_2mner.lora",
        "merge an adapter into its model",
        "2mner lora merge runs/pt_adapter --out runs/pt",
        ("merge",),
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    Args:
        argv: by default the command line of this process.

    Returns:
        The exit status.

    Raises:
        SystemExit: with status 0 after `--help` and `--version`, with 2 for a wrong command.
    """
    words, debug = _without_debug(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        nested = [f"{name} {word}" for name, one in COMMANDS.items() for word in one.subcommands]
        _unknown("2mner", words[0], [*COMMANDS, *nested])
    given = parser.parse_args(words[:1])  # the rest is the subcommand's
    command, rest, prog = COMMANDS[given.command], words[1:], f"2mner {given.command}"
    has_word = command.subcommands and rest and not rest[0].startswith("-")
    if has_word and rest[0] not in command.subcommands:
        _unknown(prog, rest[0], command.subcommands)
    try:
        status: int = import_module(command.module_of(rest)).main(rest, prog)
        return status
    except KeyboardInterrupt:
        if debug:
            raise
        sys.stderr.write(f"{prog}: stopped by Ctrl-C\n")
        return 128 + signal.SIGINT
    except Exception as error:
        if debug:
            raise
        sys.stderr.write(f"{prog}: {_one_line(error)}\n")
        return getattr(error, "exit_status", 1)


def _without_debug(argv: Sequence[str]) -> tuple[list[str], bool]:
    """The words of a command line without `--debug`, and whether it was there."""
    end = argv.index("--") if "--" in argv else len(argv)
    words = [word for word in argv[:end] if word != "--debug"]
    return [*words, *argv[end:]], len(words) < end


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    table = "\n".join(f"  {name:<{width}}  {one.summary}" for name, one in COMMANDS.items())
    examples = "\n".join(f"  {one.example}" for one in COMMANDS.values())
    parser = argparse.ArgumentParser(
        prog="2mner",
        usage="2mner COMMAND ...",
        description=f"Named entities from text and images.\n\ncommands:\n{table}",
        epilog=f"examples:\n{examples}\n\n`2mner COMMAND --help` describes a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=argparse.SUPPRESS)
    parser.add_argument("--version", action="version", version=f"2mner {_version()}")
    parser.add_argument(
        "--debug", action="store_true", help="anywhere on the line: show the traceback of an error"
    )
    return parser


def _version() -> str:
    try:
        return version("2mner")
    except PackageNotFoundError:  # `python train.py` in a folder of the sources
        return "is not installed"


def _unknown(prog: str, word: str, known: Sequence[str]) -> NoReturn:
    """Say which command is nearest to an unknown one, and exit with status 2."""
    nearest = get_close_matches(word, known, n=1, cutoff=0)[0]
    sys.stderr.write(f"{prog}: unknown command {word[:200]!r}, the nearest is {nearest!r}\n")
    sys.exit(2)


def _one_line(error: Exception) -> str:
    """The message of an error; with the error's type, if it was not written for the user."""
    message = " ".join(str(error).split())
    if len(message) > LONGEST_MESSAGE:
        message = f"{message[:LONGEST_MESSAGE]}..."
    if _is_for_user(error):
        return message
    return f"{type(error).__name__}: {message} {UNEXPECTED}"


def _is_for_user(error: Exception) -> bool:
    """Whether an error is about a file, or this project has raised it with a message of its own."""
    if isinstance(error, OSError) or _is_own(type(error).__module__):
        return True
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return type(error) is ValueError and _is_own(frames[-1].f_globals["__name__"])


def _is_own(module: str) -> bool:
    return module.partition(".")[0].endswith(("_2mner", "_mmnerd"))


def script(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one subcommand, by default the command line of this process, and end the process."""
    status = main(argv)
    from dataset_mmnerd.processes import end_together  # `--help` loads no library

    end_together(status)


if __name__ == "__main__":
    script()
