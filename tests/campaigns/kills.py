"""Surfaces of killed processes: build, context, training and push, each done again after SIGKILL.

A case runs a command in a process of its own and kills it: at one of its operations on files, at
one of its requests to the Hub, or after some time. Then the same command runs undisturbed. It must
end with what it ends with when nobody kills it.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from huggingface_hub import constants
from tqdm import tqdm

from cli_2mner import main as cli
from dataset_mmnerd.__main__ import main as dataset_main
from tests.campaigns.cases import ACCEPTED, Case, Fault, Outcome, Surface, check
from tests.campaigns.files import mmnerd_files, write_files
from tests.campaigns.folders import write_tagger
from tests.campaigns.models import write_encoders, write_model
from tests.dataset_mmnerd.conftest import conll, image_bytes
from tests.hub_server import HubServer
from training_2mner.run import main as train

FILE_EVENTS = (
    *("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod"),
    *("os.link", "os.symlink", "os.utime", "shutil.rmtree", "shutil.move", "tempfile.mkdtemp"),
)
_PR_SET_PDEATHSIG = 1
"""Linux: the signal that a process gets when its parent ends."""

Main = Callable[[Sequence[str]], int | None]


class _Operations:
    """Counts this process's operations on files below a folder; kills it before the `last` one."""

    def __init__(self, folder: Path, last: int | None) -> None:
        self.count, self._folder, self._last = 0, str(folder), last
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple) -> None:
        if event in FILE_EVENTS and arguments and self._folder in str(arguments[0]):
            self.count += 1
            if self.count == self._last:
                os.kill(os.getpid(), signal.SIGKILL)


def _child(main: Main, arguments: Sequence[str], folder: Path, last: int | None) -> int:
    """What a forked process does: the command, with its output in files. Returns its status."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    tqdm.set_lock(threading.RLock())  # the usual one is shared, and held for ever if one is killed
    operations = _Operations(folder, last)
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        operations.count = 0
        try:
            status = main(arguments) or 0
        except SystemExit as stop:
            status = stop.code or 0
            if isinstance(status, str):
                print(status, file=sys.stderr)
                status = 1
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        sys.stderr.flush()
        (folder / "operations").write_text(str(operations.count))
    return status


def run_process(
    main: Main,
    arguments: Sequence[str],
    folder: Path,
    *,
    operation: int | None = None,
    seconds: float | None = None,
    started: Callable[[int], None] = lambda process: None,
) -> int | None:
    """Run a command in a process of its own; kill it if asked to.

    Args:
        main: the command's function.
        arguments: for it.
        folder: its output goes to `log.txt` there; operations on files below it are counted.
        operation: it is killed before this one of them.
        seconds: it is killed after so long.
        started: is told the process's number at once.

    Returns:
        The exit status; None if it was killed.
    """
    process = os.fork()
    if process == 0:
        status = 1
        try:
            status = _child(main, arguments, folder, operation)
        finally:
            os._exit(status)
    started(process)
    timer = threading.Timer(seconds or 0, os.kill, (process, signal.SIGKILL))
    if seconds is not None:
        timer.start()
    _, ended = os.waitpid(process, 0)
    timer.cancel()
    status = os.waitstatus_to_exitcode(ended)
    return None if status == -signal.SIGKILL else status


def tree(folder: Path) -> dict[str, str]:
    """The digests of the visible files of a folder by their names in it."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not any(piece.startswith(".") for piece in name.parts):
            found[name.as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


class Kills(Surface):
    """A command that is killed and done again; a subclass says which and what it leaves."""

    forbidden = ()
    seconds = 300
    main: Main

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        tqdm.monitor_interval = 0  # no thread that may hold a lock while a process is forked
        self.prepare(folder)
        whole = folder / "undisturbed"
        whole.mkdir()
        self.begin(whole)
        started = time.perf_counter()
        status = run_process(type(self).main, self.arguments(whole), whole, started=self.started)
        self.duration = time.perf_counter() - started
        if status != 0:
            raise RuntimeError((whole / "log.txt").read_text())
        self.operations = int((whole / "operations").read_text())
        self.expected = self.result(whole)

    def prepare(self, folder: Path) -> None:
        """Make what all cases share."""

    @abstractmethod
    def begin(self, folder: Path) -> None:
        """Make what the command begins with."""

    @abstractmethod
    def arguments(self, folder: Path) -> list[str]:
        """The command's arguments."""

    @abstractmethod
    def result(self, folder: Path) -> Any:
        """What the command has left, to be compared."""

    def between(self, folder: Path) -> None:
        """Check what a killed command has left."""

    def started(self, process: int) -> None:
        """A process was started."""

    def kill(self, random: Random, folder: Path) -> bool:
        """Run the command and kill it; False if it ended before."""
        where = self.moment(random)
        return run_process(type(self).main, self.arguments(folder), folder, **where) is None

    def moment(self, random: Random) -> dict[str, Any]:
        if random.random() < 0.6:
            return {"operation": random.randint(1, self.operations)}
        return {"seconds": random.random() * self.duration}

    def run(self, case: Case, folder: Path) -> Outcome:
        self.begin(folder)
        for random in case.edit_randoms():
            if not self.kill(random, folder):  # it ended before: begin again, kill it early
                shutil.rmtree(folder)
                folder.mkdir()
                self.begin(folder)
                operation = random.randint(1, max(1, self.operations // 3))
                killed = run_process(
                    type(self).main, self.arguments(folder), folder, operation=operation
                )
                check(killed is None, "the process could not be killed")
            self.between(folder)
        status = run_process(type(self).main, self.arguments(folder), folder, started=self.started)
        log = (folder / "log.txt").read_text(errors="replace")
        if status != 0:
            raise Fault(f"done again, it ended with status {status}: {log[-1500:]}")
        self.compare(self.result(folder))
        return Outcome(ACCEPTED)

    def compare(self, found: Any) -> None:
        if isinstance(found, dict) and found != self.expected:
            keys = found.keys() | self.expected.keys()
            other = sorted(key for key in keys if found.get(key) != self.expected.get(key))
            raise Fault(f"done again, it ended with another result: {other[:5]}")
        check(found == self.expected, "done again, it ended with another result:", found)


class KilledBuilds(Kills):
    """`build`, into nothing or over an older data set."""

    name = "killed builds"
    main = staticmethod(dataset_main)

    def begin(self, folder: Path) -> None:
        write_files(mmnerd_files(), folder / "source")
        write_files({"train_en.jsonl": b'{"tokens": ["a"], "ner_tags": ["O"]}'}, folder / "older")
        arguments = ["--source", "jsonl", "--data-dir", str(folder / "older"), "--no-audit"]
        assert not dataset_main(["build", *arguments, "--out", str(folder / "set")])

    def arguments(self, folder: Path) -> list[str]:
        source = ["--source", "mmnerd", "--data-dir", str(folder / "source"), "--no-audit"]
        return ["build", *source, "--out", str(folder / "set"), "--overwrite"]

    def result(self, folder: Path) -> dict[str, str]:
        return tree(folder / "set")


class KilledContexts(Kills):
    """`context`, with a tiny image classifier."""

    name = "killed contexts"
    main = staticmethod(dataset_main)

    def prepare(self, folder: Path) -> None:
        write_tagger(folder / "tagger")
        write_files(mmnerd_files(), folder / "source")
        source = ["--source", "mmnerd", "--data-dir", str(folder / "source"), "--no-audit"]
        assert not dataset_main(["build", *source, "--out", str(folder / "built")])

    def begin(self, folder: Path) -> None:
        shutil.copytree(self.folder / "built", folder / "set")

    def arguments(self, folder: Path) -> list[str]:
        return ["context", str(folder / "set"), "--objects", str(self.folder / "tagger")]

    def result(self, folder: Path) -> dict[str, str]:
        return tree(folder / "set")


class KilledTrainings(Kills):
    """`train.py` with `--resume_from_checkpoint last`, on tiny encoders."""

    name = "killed trainings"
    main = staticmethod(train)

    def prepare(self, folder: Path) -> None:
        text, vision = write_encoders(folder)
        sentences = [
            (f"{'ab'[n % 2]}", ["Ana", "saw", f"Rome{n}"], ["B-PER", "O", "B-LOC"])
            for n in range(6)
        ]
        files = {f"{name}_en.txt": conll(*sentences).encode() for name in ("train", "dev", "test")}
        files |= {"a.png": image_bytes(1), "b.png": image_bytes(2)}
        write_files(files, folder / "data")
        recipe = {
            "text_model": text,
            "vision_model": vision,
            "model_config": {"collaboration_heads": 4},
            "train_files": [f"{folder}/data/train_en.txt"],
            "validation_files": [f"{folder}/data/dev_en.txt"],
            "test_files": [f"{folder}/data/test_en.txt"],
            "num_train_epochs": 3,
            "per_device_train_batch_size": 2,
            "learning_rate": 1e-3,
            "logging_steps": 2,
            "eval_strategy": "steps",
            "eval_steps": 2,
            "save_strategy": "steps",
            "save_steps": 2,
            "save_total_limit": 2,
            "resume_from_checkpoint": "last",
            "use_cpu": "true",
            "bf16": "no",
        }
        lines = [f"{key}: {json.dumps(value)}" for key, value in recipe.items()]
        (folder / "recipe.yaml").write_text("\n".join(lines))

    def begin(self, folder: Path) -> None:
        pass

    def arguments(self, folder: Path) -> list[str]:
        return [str(self.folder / "recipe.yaml"), "--output_dir", str(folder / "run")]

    def result(self, folder: Path) -> dict[str, str]:
        names = ("model.safetensors", "config.json", "predictions.jsonl", "tokenizer.json")
        files = tree(folder / "run")
        report = {"report.html": "report.html" in files, "README.md": "README.md" in files}
        return {name: files.get(name) for name in names} | report


class _Requests(list):
    """The requests that a Hub has had; kills a process when the `last` one comes."""

    def __init__(self) -> None:
        super().__init__()
        self.process = self.last = 0

    def append(self, request: tuple[str, str]) -> None:
        super().append(request)
        if len(self) == self.last:
            os.kill(self.process, signal.SIGKILL)


class KilledPushes(Kills):
    """A data set's `push` and a model's, over an older version, to a Hub on loopback.

    After a kill the repository has its older files or its newer ones, and no others.
    """

    name = "killed pushes"
    hub: HubServer | None = None

    @staticmethod
    def main(arguments: Sequence[str]) -> int | None:
        constants.HF_HUB_OFFLINE, constants.HF_HUB_DISABLE_XET = False, True
        kind, url, *rest = arguments
        constants.ENDPOINT = url
        os.environ["HF_TOKEN"] = "hf_me"
        return dataset_main(rest) if kind == "datasets" else cli(["push", *rest])

    def prepare(self, folder: Path) -> None:
        text, vision = write_encoders(folder)
        for name, parts in (("older", (text,)), ("newer", (text, vision))):
            write_model(folder / f"models-{name}", *parts)
            (folder / f"models-{name}" / "README.md").write_text("---\nlicense: mit\n---\n")
        files = mmnerd_files()
        for name, languages in (("older", ["en"]), ("newer", ["en", "fr"])):
            write_files(files, folder / "source")
            source = ["--source", "mmnerd", "--data-dir", str(folder / "source"), "--no-audit"]
            out = ["--out", str(folder / f"datasets-{name}"), "--languages", *languages]
            assert not dataset_main(["build", *source, *out])
        self.kind = "datasets"
        self.operations_by_kind: dict[str, tuple[int, dict[str, str], dict[str, str]]] = {}
        for kind in ("models", "datasets"):
            whole = folder / kind
            whole.mkdir()
            self.kind = kind
            self.begin(whole)
            older = self.result(whole)
            assert run_process(type(self).main, self.arguments(whole), whole) == 0
            self.operations_by_kind[kind] = (len(self.hub.requests), older, self.result(whole))

    def begin(self, folder: Path) -> None:
        if self.hub is not None:
            self.hub.__exit__()
        self.hub = HubServer(folder / "hub", tokens={"hf_me": "me"}).__enter__()
        status = run_process(type(self).main, self.arguments(folder, "older"), folder)
        assert status == 0, (folder / "log.txt").read_text()
        self.hub.requests = _Requests()

    def arguments(self, folder: Path, version: str = "newer") -> list[str]:
        source = str(self.folder / f"{self.kind}-{version}")
        push = ["push", source, "--repo-id"] if self.kind == "datasets" else [source]
        return [self.kind, self.hub.url, *push, "me/pushed"]

    def result(self, folder: Path) -> dict[str, str]:
        files = self.hub.repository(self.kind, "me/pushed").resolve("main").files
        return {name: file.sha256 for name, file in files.items()}

    def kill(self, random: Random, folder: Path) -> bool:
        if random.random() < 0.3:
            return super().kill(random, folder)
        requests = self.hub.requests
        requests.last = len(requests) + random.randint(1, self.operations_by_kind[self.kind][0])

        def started(process: int) -> None:
            requests.process = process

        killed = run_process(type(self).main, self.arguments(folder), folder, started=started)
        requests.last = 0
        return killed is None

    def moment(self, random: Random) -> dict[str, Any]:
        return {"seconds": random.random() * self.duration}

    def between(self, folder: Path) -> None:
        _, older, newer = self.operations_by_kind[self.kind]
        check(self.result(folder) in (older, newer), "the repository has files of both versions")

    def run(self, case: Case, folder: Path) -> Outcome:
        self.kind = case.random().choice(("models", "datasets"))
        self.expected = self.operations_by_kind[self.kind][2]
        return super().run(case, folder)
