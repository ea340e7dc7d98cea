"""The command `context`: columns filled, resumed, shared by processes, and nothing half-written."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from accelerate import PartialState
from datasets import Image, disable_progress_bars, load_dataset
from huggingface_hub import DatasetCard
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

from dataset_mmnerd.__main__ import main
from dataset_mmnerd.card_reading import CardError
from dataset_mmnerd.context_folder import fill_context
from dataset_mmnerd.extractors import ContextError
from dataset_mmnerd.processes import ProcessesError
from dataset_mmnerd.push import push
from dataset_mmnerd.shards import ShardError

from .conftest import image_bytes

ROOT = Path(__file__).parents[2]
disable_progress_bars()


class Widths:
    """Says how wide an image is, and counts the images it is given."""

    column, name, key, batch_size, by_language = "objects", "widths", "widths 1", 2, False

    def __init__(self) -> None:
        self.seen: Counter[int] = Counter()

    def read(self, images, lang="und"):
        self.seen.update(image.width for image in images)
        return [[f"{image.width} wide"] for image in images]


def filled(folder, *extractors):
    return fill_context(folder, lambda languages, device: extractors)


def files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def rows(folder: Path) -> dict[str, list[dict]]:
    """All rows by split, in the order of the files, as every reader gets them."""
    shards = str(folder / "data" / "*" / "{}-*.parquet")
    splits = {split: shards.format(split) for split in ("train", "test")}
    data = load_dataset("parquet", data_files=splits, cache_dir=str(folder.parent / "cache"))
    return {
        split: part.cast_column("image", Image(decode=False)).to_list()
        for split, part in data.items()
    }


@pytest.fixture
def folder(built) -> Path:
    """Four images: one in both splits and twice in train, one in test alone; a row without."""
    images = {f"{n}.png": image_bytes(n, size=(40 + n, 30)) for n in range(4)}
    shown = ({"image": f"{n}.png"} for n in (0, 1, 2, 0))
    train = [("Ana sings", "B-PER O", row) for row in shown]
    given = {"objects": ["a given one"], "ocr": ["KEPT"]}
    test = [("Ana", "B-PER", {"image": f"{n}.png", **given}) for n in (0, 3)]
    test.append(("Leeds", "B-LOC", given))
    return built("set", images, train=train, test=test)


def test_the_column_is_filled_each_image_is_read_once_and_all_else_stays(folder):
    before, labels = rows(folder), load_dataset(str(folder), split="train").features
    reader = Widths()
    report = filled(folder, reader)
    assert (report.read, report.shards_replaced) == (4, 2)
    assert set(reader.seen.values()) == {1}
    after = rows(folder)
    assert load_dataset(str(folder), split="train").features == labels
    objects = {split: [row.pop("objects") for row in part] for split, part in after.items()}
    for part in before.values():
        for row in part:
            row.pop("objects")
    assert after == before
    assert objects["train"] == [["40 wide"], ["41 wide"], ["42 wide"], ["40 wide"]]
    assert objects["test"] == [["40 wide"], ["43 wide"], ["a given one"]]


def test_an_image_is_still_stored_once_a_shard(folder):
    filled(folder, Widths())
    (path,) = folder.glob("data/en/train-*.parquet")
    with pq.ParquetFile(path, read_dictionary=["image.bytes"]) as file:
        (chunk,) = file.read()["image"].chunks
        assert file.num_row_groups == 1 and len(chunk.field("bytes").dictionary) == 3


def test_a_second_run_reads_nothing_and_writes_nothing(folder):
    filled(folder, Widths())
    before, reader = files(folder), Widths()
    report = filled(folder, reader)
    assert (report.read, report.shards_replaced, reader.seen) == (0, 0, Counter())
    assert {name: content for name, content in files(folder).items() if ".context" not in name} == {
        name: content for name, content in before.items() if ".context" not in name
    }


def test_the_card_says_what_made_each_column_and_keeps_the_rest(folder):
    before = (folder / "README.md").read_text()
    filled(folder, Widths())
    other = Widths()
    other.column = other.name = other.key = "captions"
    filled(folder, other)
    card = DatasetCard.load(folder / "README.md")
    text = (folder / "README.md").read_text()
    assert "\n| captions | captions | 6 | 4 | 4 | 0 | 0 |\n| objects | widths | 7 | 4 | 4 |" in text
    assert text.count("## Text made from the images") == 1
    for heading in ("## Columns", "## Sizes", "## Entities", "## Storage"):
        assert before[before.index("## Sizes") :] == text[text.index("## Sizes") :]
        assert text.count(f"\n{heading}\n") == 1
    stored = sum(path.stat().st_size for path in folder.glob("data/*/*.parquet"))
    info = card.data.to_dict()["dataset_info"]
    sizes = {each["config_name"]: each["download_size"] for each in info}
    assert sizes == {"all": stored, "en": stored}
    made = json.loads((folder / "context.json").read_text())
    assert made["objects"]["made_by"] == "widths" and made["captions"]["images"] == 4


def test_what_is_pushed_holds_the_columns_and_not_the_store(folder, online):
    filled(folder, Widths())
    push(folder, "me/set")
    sent = online.repository("datasets", "me/set").resolve("main").files
    assert "context.json" in sent and not [name for name in sent if ".context" in name]
    shards = [name for name in sent if name.startswith("data/")]
    assert len(shards) == 2
    assert "40 wide" in rows(folder)["train"][0]["objects"]


DAMAGE = [b"5", b'"text"', b"{}", b"[1, 2]", b"[[], [], [], [], []]", b"\xff", b"[" * 5000]
DAMAGE += [b'["widths 1", "%s", "", %s, null]' % (b"0" * 64, strings) for strings in (b"5", b"[5]")]


def test_damaged_lines_of_the_store_are_read_again(folder):
    filled(folder, Widths())
    (store,) = (folder / ".context").glob("*.jsonl")
    good = [line for line in store.read_bytes().splitlines() if line]
    store.write_bytes(b"\n".join([*DAMAGE, *good[1:], good[0][: len(good[0]) // 2]]))
    reader = Widths()
    assert filled(folder, reader).read == 1
    assert reader.seen.total() == 1


CONTEXTS = ["{", "[]", "5", '{"objects": 5}', '{"objects": {}}', '{"ocr": {"made_by": 5}}', "\xff"]


@pytest.mark.parametrize("content", CONTEXTS)
def test_a_damaged_context_json_is_one_line_before_anything_is_read(folder, content):
    (folder / "context.json").write_bytes(content.encode("latin-1"))
    before, reader = files(folder), Widths()
    with pytest.raises(ContextError) as caught:
        filled(folder, reader)
    line = str(caught.value)
    assert line.startswith(f"{folder / 'context.json'}: ") and "\n" not in line
    assert "expected what `context` writes there (delete the file to write it anew)" in line
    assert (files(folder), reader.seen.total()) == (before, 0)


def test_an_enormous_context_json_is_not_read(folder):
    with (folder / "context.json").open("wb") as file:
        file.truncate(5 * 10**9)
    with pytest.raises(
        OSError, match=r"context\.json: found 5,000,000,000 bytes, expected at most"
    ):
        filled(folder, Widths())


@pytest.mark.parametrize("metadata", ["a: [", "- a", "dataset_info: [5]"])
def test_a_damaged_card_is_one_line_before_anything_is_read(folder, metadata):
    (folder / "README.md").write_text(f"---\n{metadata}\n---\n# Set\n")
    before, reader = files(folder), Widths()
    with pytest.raises(CardError, match=r"^\S*set/README\.md: .*found "):
        filled(folder, reader)
    assert (files(folder), reader.seen.total()) == (before, 0)


@pytest.mark.parametrize("name", [".context", ".context/0.jsonl", ".context/9.jsonl"])
def test_a_store_that_a_link_leads_to_elsewhere_is_not_used(folder, tmp_path, name):
    outside = tmp_path / "outside"
    outside.mkdir() if name == ".context" else outside.write_text("mine\n")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).symlink_to(outside)
    with pytest.raises(OSError, match="found a link that leaves"):
        filled(folder, Widths())
    assert outside.is_dir() or outside.read_text() == "mine\n"


def test_flipped_bytes_in_a_shard_are_an_error_that_names_it(folder):
    path = folder / "data" / "en" / "test-00000-of-00001.parquet"
    whole = path.read_bytes()
    at = whole.index(b"\x28\xb5\x2f\xfd")  # where compressed words begin
    path.write_bytes(whole[: at + 8] + bytes(8) + whole[at + 16 :])
    with pytest.raises(ShardError, match=r"^\S*test-00000-of-00001\.parquet: found .+, exp"):
        filled(folder, Widths())


@pytest.mark.tesseract
def test_a_broken_image_is_listed_with_its_reason_and_not_fatal(built, capsys):
    whole = image_bytes(1, "JPEG")
    images = {"good.jpg": image_bytes(0, "JPEG"), "cut.jpg": whole}
    train = [("Ana", "B-PER", {"image": name}) for name in images]
    folder = built("set", images, train=train)
    (shard,) = folder.glob("data/en/*.parquet")  # a build would leave out what is cut short
    cut = whole[: len(whole) // 2].ljust(len(whole), b"\xd9")
    shard.write_bytes(shard.read_bytes().replace(whole, cut))
    assert main(["context", str(folder), "--ocr", "tesseract"]) == 0
    assert "ocr: cut.jpg failed: found image file is truncated" in capsys.readouterr().out
    table = pq.read_table(next(folder.glob("data/en/*.parquet")))
    assert table["ocr"].to_pylist() == [[], None]
    assert json.loads((folder / "context.json").read_text())["ocr"]["failed"][0][0] == "cut.jpg"


def test_the_next_run_tries_again_what_could_not_be_read_and_nothing_else(folder):
    class Faulty(Widths):
        def __init__(self, *widths: int) -> None:
            super().__init__()
            self.unreadable = set(widths)

        def read(self, images, lang="und"):
            if self.unreadable.intersection(image.width for image in images):
                raise RuntimeError("out of time")
            return super().read(images, lang)

    failed = [("1.png", "out of time"), ("2.png", "out of time")]
    for number, (read, written) in enumerate([(4, 2), (2, 0)]):
        report = filled(folder, Faulty(41, 42))
        assert (report.read, report.shards_replaced) == (read, written)
        assert report.columns["objects"].failed == failed
        # Whichever process tries them the next time.
        (folder / ".context" / "0.jsonl").rename(folder / ".context" / f"{number + 1}.jsonl")
    repaired = Faulty()
    report = filled(folder, repaired)
    assert (report.read, report.shards_replaced, repaired.seen) == (2, 1, {41: 1, 42: 1})
    assert report.columns["objects"].failed == []
    assert [row["objects"] for row in rows(folder)["train"][1:3]] == [["41 wide"], ["42 wide"]]
    assert filled(folder, Faulty(41)).read == 0


def test_an_extractor_that_can_read_nothing_is_an_error_and_changes_nothing(folder):
    class Useless(Widths):
        def read(self, images, lang="und"):
            raise RuntimeError("no more memory")

    before = files(folder)
    with pytest.raises(ContextError, match="found no more memory at each of 2 images"):
        filled(folder, Useless())
    assert {name: before.get(name, b"\n") for name in files(folder)} == files(folder)


def test_a_data_set_without_images_stays_as_it_is(built):
    folder = built("set", train=[("Ana", "B-PER")], test=[("Leeds", "B-LOC")])
    before = rows(folder)
    report = filled(folder, Widths())
    assert (report.read, report.shards_replaced) == (0, 0)
    assert rows(folder) == before


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("context nowhere --ocr tesseract", "nowhere: found no data set, expected data/"),
        ("context set --ocr tesseract", "install tesseract-ocr"),
        ("context set --objects nowhere", "nowhere: found "),
    ],
)
def test_what_is_missing_is_one_line_and_exit_status_1(
    folder, monkeypatch, tmp_path, capsys, command, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    assert main(command.split()) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_command_with_nothing_to_fill_is_a_wrong_command(folder, capsys):
    with pytest.raises(SystemExit) as error:
        main(["context", str(folder)])
    assert error.value.code == 2
    assert "expected --objects, --captions or --ocr" in capsys.readouterr().err


def test_processes_that_do_not_know_of_each_other_are_refused(folder, monkeypatch):
    PartialState._reset_state()
    PartialState(cpu=True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ProcessesError, match="found 2 processes, each of which would do all"):
        filled(folder, Widths())
    PartialState._reset_state()


def run(*command: str, **environment: str) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.Popen(
        command,
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.tesseract
def test_a_killed_run_goes_on_where_it_stopped(built, tmp_path):
    images = {f"{n}.png": image_bytes(n, size=(40 + n, 30)) for n in range(36)}
    train = [("Ana", "B-PER", {"image": name}) for name in images]
    folder = built("set", images, train=train)
    before = {name: content for name, content in files(folder).items() if ".context" not in name}
    # The real program, with a list of its calls; from the 21st image on it hangs if told to.
    calls, hold = tmp_path / "calls", tmp_path / "hold"
    program = tmp_path / "bin" / "tesseract"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nif [ "$1" = stdin ]; then echo read >> {calls}; '
        f"if [ -e {hold} ] && [ $(wc -l < {calls}) -gt 20 ]; then exec sleep 100; fi; fi\n"
        f'exec {shutil.which("tesseract")} "$@"\n'
    )
    program.chmod(0o755)
    hold.touch()
    command = [sys.executable, "-m", "dataset_mmnerd", "context", str(folder), "--ocr", "tesseract"]
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    process = run(*command, PATH=path)
    store, deadline = folder / ".context" / "0.jsonl", time.monotonic() + 100
    while not (calls.exists() and len(calls.read_text().split()) > 20):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    kept = [line for line in store.read_bytes().splitlines() if line]
    assert len(kept) == 16
    after = {name: content for name, content in files(folder).items() if ".context" not in name}
    assert after == before

    with store.open("ab") as file:
        file.write(kept[0][:-9])  # as if it was killed in the middle of a line
    hold.unlink()
    calls.unlink()
    process = run(*command, PATH=path)
    output, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert "20 read, 1 shards written" in output
    assert len(calls.read_text().split()) == 20
    (shard,) = folder.glob("data/en/*.parquet")
    assert None not in pq.read_table(shard)["ocr"].to_pylist()


@pytest.mark.tesseract
def test_two_processes_fill_the_same_as_one(folder, tmp_path):
    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    config = ViTConfig(**size, num_attention_heads=2, image_size=32, patch_size=16, num_labels=5)
    ViTForImageClassification(config).save_pretrained(tmp_path / "tagger")
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "tagger")
    shutil.copytree(folder, tmp_path / "alone" / "set")
    options = ["--objects", str(tmp_path / "tagger"), "--ocr", "tesseract"]
    assert main(["context", str(tmp_path / "alone" / "set"), *options]) == 0
    alone = files(tmp_path / "alone" / "set")

    (tmp_path / "two.yaml").write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_GPU\nuse_cpu: true\n"
        "num_machines: 1\nnum_processes: 2\nmixed_precision: 'no'\n"
    )
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", "0"]
    launch += ["--config_file", str(tmp_path / "two.yaml"), "-m", "dataset_mmnerd"]
    process = run(*launch, "context", str(folder), *options)
    output, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert output.count("8 read, 2 shards written") == 1
    together = files(folder)
    shares = [together.pop(f".context/{process}.jsonl").splitlines() for process in range(2)]
    assert all(any(share) for share in shares)
    assert sum(line != b"" for share in shares for line in share) == 8
    alone.pop(".context/0.jsonl")
    assert together == alone
