"""Files and folders are there whole or not at all, whatever interrupts the writing of them."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dataset_mmnerd import files
from dataset_mmnerd.files import (
    check_inside,
    recover_folder,
    replace_folder,
    replaced,
    write_bytes,
    write_json,
    write_lines,
    write_text,
)
from tests.conftest import full_disk

# Loaded by itself: it imports nothing of the project, and a process starts at once.
LOAD = f"""
    import importlib.util
    spec = importlib.util.spec_from_file_location("files", {files.__file__!r})
    files = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(files)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Files --------------------------------------------------------------------------------------------


def test_files_are_written_whole(tmp_path):
    write_json(tmp_path / "metrics.json", {"f1": 0.5, "name": "Zoë"})
    write_lines(tmp_path / "predictions.jsonl", [{"id": 1}, {"id": "é"}])
    assert json.loads((tmp_path / "metrics.json").read_text("utf-8")) == {"f1": 0.5, "name": "Zoë"}
    assert (tmp_path / "predictions.jsonl").read_text("utf-8") == '{"id": 1}\n{"id": "é"}\n'
    assert names(tmp_path) == ["metrics.json", "predictions.jsonl"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "predictions.jsonl"
    write_lines(path, [{"id": 1}])

    def records():
        yield {"id": 2}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_lines(path, records())
    assert path.read_text("utf-8") == '{"id": 1}\n'
    assert names(tmp_path) == ["predictions.jsonl"]


def test_the_same_content_is_not_written_again(tmp_path):
    path = tmp_path / "card.md"
    write_text(path, "one")
    before = path.stat()
    write_text(path, "one")
    assert path.stat() == before
    write_text(path, "two")
    assert path.read_text() == "two"


IRREGULAR = {
    "a link": lambda path: path.symlink_to(path.with_name("target")),
    "a folder": lambda path: path.mkdir(),
    "a device or another irregular file": os.mkfifo,
}


@pytest.mark.parametrize("kind", IRREGULAR)
def test_only_a_regular_file_is_replaced(tmp_path, kind):
    path, target = tmp_path / "found.json", tmp_path / "target"
    target.write_text("mine")
    IRREGULAR[kind](path)
    with pytest.raises(FileExistsError, match=f"found.json: found {kind}, expected a regular file"):
        write_text(path, "new")
    assert target.read_text() == "mine"
    assert not path.is_file() or path.is_symlink()
    assert names(tmp_path) == ["found.json", "target"]


def test_a_long_name_can_be_written(tmp_path):
    write_text(tmp_path / ("é" * 120), "text")
    assert (tmp_path / ("é" * 120)).read_text() == "text"


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write_text(tmp_path / "no" / "found.json", "text")
    assert str(caught.value).endswith(f"{str(tmp_path / 'no' / 'found.json')!r}")


def test_a_full_disk_leaves_the_old_file_and_the_error_names_it(tmp_path):
    path = tmp_path / "found.json"
    write_text(path, "old")
    with full_disk(1000), pytest.raises(OSError, match="File too large") as caught:
        write_text(path, "x" * 10_000)
    assert str(caught.value) == f"[Errno 27] File too large: {str(path)!r}"
    assert path.read_text() == "old"
    assert names(tmp_path) == ["found.json"]


def test_a_link_that_leaves_a_folder_is_told_from_one_that_stays(tmp_path):
    inside, outside = tmp_path / "set", tmp_path / "private.txt"
    (inside / "data").mkdir(parents=True)
    outside.write_text("mine")
    (inside / "file").write_text("text")
    (inside / "data" / "near").symlink_to("../file")
    (inside / "data" / "far").symlink_to(outside)
    (inside / "up").symlink_to(tmp_path)
    (tmp_path / "same set").symlink_to(inside)
    (inside / "data" / "loop").symlink_to("loop")
    for name in ("file", "data/near", "missing"):
        check_inside(inside, inside / name)
        check_inside(tmp_path / "same set", tmp_path / "same set" / name)
    for name in ("data/far", "up/private.txt", "../private.txt"):
        with pytest.raises(OSError, match="found a link that leaves"):
            check_inside(inside, inside / name)
    with pytest.raises(OSError, match=r"loop: found a link that leads to itself"):
        check_inside(inside, inside / "data" / "loop")


# Folders ------------------------------------------------------------------------------------------


def folder_of(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "file").write_text(text)
    return path


def test_a_folder_takes_the_place_of_another(tmp_path):
    replace_folder(folder_of(tmp_path / "one", "one"), tmp_path / "set")
    replace_folder(folder_of(tmp_path / "two", "two"), tmp_path / "set")
    assert (tmp_path / "set" / "file").read_text() == "two"
    assert names(tmp_path) == ["set"]


KILLED = """
    import os, signal, sys
    from pathlib import Path

    left = int(sys.argv[1])
    rename, rmtree = Path.rename, files.shutil.rmtree

    def counted(action):
        def act(*arguments, **options):
            global left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return action(*arguments, **options)
        return act

    Path.rename, files.shutil.rmtree = counted(rename), counted(rmtree)
    files.replace_folder(Path("new"), Path("set"))
"""


@pytest.mark.parametrize(
    ("steps", "text"), [(0, "old"), (1, "old"), (2, "new"), (3, "new"), (4, "new")]
)
def test_a_folder_whose_replacement_was_killed_is_recovered(tmp_path, steps, text):
    folder_of(tmp_path / "set", "old")
    folder_of(tmp_path / "new", "new")
    command = [sys.executable, "-c", textwrap.dedent(LOAD + KILLED), str(steps)]
    killed = subprocess.run(command, cwd=tmp_path, check=False)
    assert killed.returncode == (0 if steps == 4 else -signal.SIGKILL)
    assert (tmp_path / "set").exists() == (steps != 1)
    recover_folder(tmp_path / "set")
    assert (tmp_path / "set" / "file").read_text() == text
    (tmp_path / "set" / "file").write_text("in use")
    recover_folder(tmp_path / "set")
    assert (tmp_path / "set" / "file").read_text() == "in use"
    expected = {"set"} | ({"new"} if text == "old" else set())
    assert {name for name in names(tmp_path) if any((tmp_path / name).iterdir())} == expected


def test_a_folder_that_cannot_be_replaced_stays(tmp_path):
    folder_of(tmp_path / "set", "old")
    with pytest.raises(FileNotFoundError):
        replace_folder(tmp_path / "none", tmp_path / "set")
    assert (tmp_path / "set" / "file").read_text() == "old"
    assert names(tmp_path) == ["set"]


def test_hidden_folders_of_others_are_not_touched(tmp_path):
    for name in (".set.mine.old", ".set.b.12345678.old"):
        folder_of(tmp_path / name, "mine")
    before = names(tmp_path)
    recover_folder(tmp_path / "set")
    recover_folder(tmp_path / "none" / "set")
    assert names(tmp_path) == before


def test_bytes_may_be_written_to_a_path_given_as_a_relative_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_bytes(Path("chart.png"), b"png")
    with replaced(Path("chart.png")) as unfinished:
        unfinished.write_bytes(b"gnp")
    assert (tmp_path / "chart.png").read_bytes() == b"gnp"
