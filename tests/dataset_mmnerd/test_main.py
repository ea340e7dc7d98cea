"""The command line, as a user calls it."""

import json
from pathlib import Path

import pytest
from huggingface_hub import constants

from dataset_mmnerd.__main__ import main
from tests.conftest import full_disk

from .conftest import conll, enormous_png, image_bytes


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with one CoNLL file in `data/`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    sentences = [(None, [f"w{n}", "Ana"], ["O", "B-PER"]) for n in range(60)]
    (tmp_path / "data" / "any_en.txt").write_text(conll(*sentences))
    return tmp_path


def refused(command: list[str], capsys) -> str:
    """The one line that a command says when it exits with 1."""
    assert main(command) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_build_audit_and_a_dry_push(folder, capsys):
    command = "build --source conll --data-dir data/ --out my_set/ --split 50/25/25 --license mit"
    assert main(command.split()) == 0
    output = capsys.readouterr().out
    assert "en train: " in output and "my_set: built" in output
    assert main(["audit", "my_set/", "--json", "found.json"]) == 0
    assert "test entities seen" in capsys.readouterr().out
    assert json.loads((folder / "found.json").read_text())["sentences"]["train"] > 15
    assert main(["push", "my_set/", "--repo-id", "me/my_set", "--dry-run"]) == 0
    output = capsys.readouterr().out
    assert "data/en/train-00000-of-00001.parquet" in output
    assert "6 files" in output and "would be sent to datasets/me/my_set" in output


def test_an_audit_writes_its_findings_to_a_regular_file_only(built, tmp_path, capsys):
    folder = built(train=[("Ana", "B-PER")])
    (tmp_path / "target").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for path, found in ((tmp_path / "link", "a link"), ("/dev/null", "a device"), (folder, "a fo")):
        message = refused(["audit", str(folder), "--json", str(path)], capsys)
        assert message.startswith(f"FileExistsError: {path}: found {found}")
    assert (tmp_path / "target").read_text() == "mine"
    assert Path("/dev/null").is_char_device()
    assert sorted(path.name for path in tmp_path.iterdir() if "." in path.name) == []
    message = refused(["audit", str(folder), "--json", str(tmp_path / "no" / "found.json")], capsys)
    assert message.startswith("FileNotFoundError: ") and "no/found.json" in message


@pytest.mark.parametrize("free", [0, 100, 5000])
def test_a_full_disk_is_one_line_and_nothing_is_lost(folder, capsys, free):
    (folder / "data" / "a.png").write_bytes(image_bytes())
    (folder / "data" / "any_en.txt").write_text(conll(("a", ["Ana"], ["B-PER"])))
    build = "build --source conll --data-dir data --out set --split 1/0/0"
    assert main(build.split()) == 0
    assert main(["audit", "set", "--json", "found.json"]) == 0
    before = everything(folder)
    capsys.readouterr()
    (folder / "data" / "any_en.txt").write_text(conll(("a", ["Bo"] * 200, ["B-PER"] * 200)))
    after = everything(folder)
    with full_disk(free):
        line = refused([*build.split(), "--overwrite"], capsys)
    assert line.startswith("OSError: ") and "File too large" in line and "set" in line
    assert everything(folder) == after
    assert before.keys() == after.keys()
    with full_disk(0):
        line = refused(["audit", "set", "--json", "other.json"], capsys)
    assert line.startswith("OSError: [Errno 27] File too large")
    assert everything(folder) == after


def everything(folder) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_an_audit_with_errors_exits_with_1(folder, capsys):
    (folder / "data" / "train_en.txt").write_text("a\tB-PER\n\n \tO\n")
    assert (
        main(["build", "--source", "conll", "--data-dir", "data", "--out", "set", "--no-audit"])
        == 0
    )
    assert main(["audit", "set"]) == 1
    assert "empty sentences" in capsys.readouterr().out


def test_an_audit_with_warnings_exits_with_1_if_strict(folder):
    sentences = conll((None, ["Ana"], ["O"]), (None, ["Ana"], ["B-PER"]))
    (folder / "data" / "any_en.txt").write_text(sentences)
    command = "build --source conll --data-dir data --out set --split 1/0/0"
    assert main(command.split()) == 0
    assert main(["audit", "set"]) == 0
    assert main(["audit", "set", "--strict"]) == 1


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("build --source conll --data-dir nowhere --out x", "found no nowhere"),
        ("build --source conll --out x", "found no folder to read"),
        ("build --source mmnerd --data-dir data --out x", "expected train_valid_test/"),
        ("build --source conll --data-dir data --out x --languages pt", "found 'pt'"),
        ("build --source conll --data-dir data --out x --entity-types LOC", "label 'B-PER'"),
        ("build --source conll --data-dir data --out data", "found something there"),
        ("audit data", "found no data set"),
        ("push data --repo-id me/x", "found no README.md"),
    ],
)
def test_what_goes_wrong_is_one_line_and_exit_status_1(folder, capsys, command, message):
    assert message in refused(command.split(), capsys)


BAD_DAYS = {
    "a wrong token": ("HF_TOKEN", "hf_wrong", "the Hub does not accept the token: log in with"),
    "no token": ("HF_TOKEN", "", "there is no token for the Hub: log in with `hf auth login`"),
    "no network": ("ENDPOINT", "http://127.0.0.1:9", "cannot be reached: check the network"),
    "offline on purpose": ("HF_HUB_OFFLINE", True, "HF_HUB_OFFLINE is set: unset it to publish"),
}


@pytest.mark.parametrize("day", BAD_DAYS)
def test_a_push_without_network_or_token_is_one_line_and_exit_status_1(
    built, online, monkeypatch, tmp_path, capsys, day
):
    setting, value, message = BAD_DAYS[day]
    if setting == "HF_TOKEN":
        monkeypatch.setenv("HF_TOKEN", value)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    else:
        monkeypatch.setattr(constants, setting, value)
    folder = built(train=[("Ana", "B-PER")])
    assert message in refused(["push", str(folder), "--repo-id", "me/set"], capsys)


@pytest.mark.parametrize(
    ("method", "address", "status"),
    [
        ("POST", "^/api/validate-yaml$", 400),
        ("PUT", "^/lfs/", 507),
        ("POST", "/commit/main$", 507),
    ],
)
def test_a_push_that_the_hub_refuses_is_one_line_and_leaves_nothing(
    built, online, capsys, method, address, status
):
    folder = built(train=[("Ana", "B-PER")])
    online.fail(method, address, status=status)
    command = ["push", str(folder), "--repo-id", "me/set"]
    message = refused(command, capsys)
    assert message.startswith(f"PublishError: me/set: the Hub answered {status} (")
    assert message.endswith("nothing was changed there")
    assert set(online.repository("datasets", "me/set").resolve("main").files) == {".gitattributes"}
    assert main(command) == 0


def test_a_card_that_was_changed_for_the_worse_is_one_line_and_exit_status_1(built, capsys):
    folder = built(train=[("Ana", "B-PER")])
    card = folder / "README.md"
    card.write_text(card.read_text().replace("language:", "language: [: {"))
    for command in (["audit", str(folder)], ["push", str(folder), "--repo-id", "me/set"]):
        message = refused(command, capsys)
        assert message.startswith(f"CardError: {card}: found ")
        assert message.endswith("a YAML mapping between its first two lines `---`")


CARDS = {
    "data_files: data/en/train-*.parquet": 0,
    "data_files: [data/*/*.parquet]": 0,
    "data_dir: data": 0,
    "{data_dir: data/en, data_files: '*.parquet'}": 0,
    "data_files: data/pt/*.parquet": 1,
    "data_files: 5": 1,
    "data_dir: /etc": 1,
    "5": 1,
}


@pytest.mark.parametrize("config", CARDS)
def test_audit_and_push_read_every_form_of_card_or_say_one_line(built, capsys, config):
    folder = built(train=[("Ana", "B-PER")])
    (folder / "README.md").write_text(f"---\nconfigs:\n- {config}\n---\n# Set\n")
    (folder / "data" / "pt").mkdir()
    (folder / "data" / "pt" / "not-sent.parquet").write_bytes(b"")
    push = ["push", str(folder), "--repo-id", "me/set", "--dry-run"]
    assert main(push) == CARDS[config]
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if "Error: " in line]) == CARDS[config]
    (folder / "data" / "pt" / "not-sent.parquet").unlink()
    assert main(["audit", str(folder)]) == CARDS[config]


BAD_FILES = {
    "three columns": (b"ok\tO\nAna\tX\tB-PER\n", "line 2: found 3 columns"),
    "another encoding": ("ok\tO\nBär\tO\n".encode("latin-1"), "line 2: found byte 0xe4"),
    "a name that climbs": (b"IMGID:../../etc/passwd\na\tO\n", "image '../../etc/passwd'"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_one_line_and_exit_status_1(folder, capsys, kind):
    content, message = BAD_FILES[kind]
    (folder / "data" / "train_en.txt").write_bytes(content)
    command = "build --source conll --data-dir data --out set"
    assert message in refused(command.split(), capsys)
    assert not (folder / "set").exists()


def test_strict_turns_a_counted_warning_into_an_error(folder, capsys):
    (folder / "data" / "big.png").write_bytes(enormous_png())
    (folder / "data" / "train_en.txt").write_text("IMGID:big\na\tO\n")
    build = "build --source conll --data-dir data --no-audit --out"
    assert main([*build.split(), "set"]) == 0
    assert main([*build.split(), "strict_set", "--strict"]) == 1
    assert "1 images are enormous and left out" in capsys.readouterr().err


@pytest.mark.parametrize("shares", ["80/20", "a/b/c", ""])
def test_a_split_that_is_no_three_weights_is_a_wrong_command(folder, capsys, shares):
    command = ["build", "--source", "conll", "--data-dir", "data", "--out", "x", "--split", shares]
    with pytest.raises(SystemExit) as error:
        main(command)
    assert error.value.code == 2
    assert "expected weights such as 80/10/10" in capsys.readouterr().err
