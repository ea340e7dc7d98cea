"""A data set folder goes to the Hub whole, without anything that no build made."""

import pytest

from dataset_mmnerd.build import build
from dataset_mmnerd.hub import PublishError
from dataset_mmnerd.push import FolderError, push

from .conftest import SENTENCES, image_bytes


def test_a_dry_run_says_what_would_be_sent_and_sends_nothing(built, hub):
    folder = built(train=[("Ana", "B-PER")])
    (folder / ".cache").mkdir()
    (folder / ".cache" / "hidden").write_text("x")
    names = [name for name, _ in push(folder, "me/set", dry_run=True)]
    assert names == [
        "README.md",
        "assets/labels.png",
        "data/en/train-00000-of-00001.parquet",
    ]
    assert hub.requests == []


PUSH = """
    from dataset_mmnerd.push import push
    push({folder!r}, "me/mmnerd", private={private})
"""
LOAD = """
    from datasets import load_dataset
    for streaming in (False, True):
        rows = load_dataset("me/mmnerd", "de", split="train", streaming=streaming)
        print([(row["tokens"], row["image"].size) for row in rows])
    print(sum(map(len, load_dataset("me/mmnerd").values())))
"""


def test_what_is_pushed_loads_by_its_name_on_another_machine(mmnerd_folder, tmp_path, client):
    out = tmp_path / "mmnerd"
    build("mmnerd", mmnerd_folder, out, with_audit=False)
    client(PUSH.format(folder=str(out), private=True), token="hf_me")
    tokens, _ = SENTENCES["de"]
    rows = [([*tokens, "train"], (64, 48)), (["train", *tokens], (64, 48))]
    loaded = client(LOAD, token="hf_me", home="other").stdout.splitlines()
    assert loaded == [str(rows), str(rows), "24"]


def test_a_second_push_leaves_no_shard_of_the_first(mmnerd_folder, tmp_path, hub, client):
    out = tmp_path / "mmnerd"
    build("mmnerd", mmnerd_folder, out, with_audit=False)
    client(PUSH.format(folder=str(out), private=False), token="hf_me")
    build("mmnerd", mmnerd_folder, out, languages=["es"], with_audit=False, overwrite=True)
    client(PUSH.format(folder=str(out), private=False), token="hf_me")
    files = hub.repository("datasets", "me/mmnerd").resolve("main").files
    data = [path for path in files if path.startswith("data/")]
    assert data and all(path.startswith("data/es/") for path in data)


def test_private_data_is_never_sent_to_a_public_repository(built, hub, client):
    folder = built(train=[("Ana", "B-PER")])
    make = """
        from huggingface_hub import HfApi
        HfApi().create_repo("me/mmnerd", repo_type="dataset")
    """
    code = PUSH.format(folder=str(folder), private=True)
    failed = client(make, code, token="hf_me", check=False)
    assert "me/mmnerd exists and is public: make it private in its settings" in failed.stderr
    assert "README.md" not in hub.repository("datasets", "me/mmnerd").resolve("main").files


def test_an_unfinished_folder_is_not_sent(built, tmp_path):
    with pytest.raises(FolderError, match=r"found no README\.md"):
        push(tmp_path, "me/set", dry_run=True)
    folder = built(train=[("Ana", "B-PER")])
    (folder / "data" / "en" / "train-00000-of-00001.parquet").unlink()
    with pytest.raises(FolderError, match=r"found no file data/\*/train-\*\.parquet"):
        push(folder, "me/set", dry_run=True)


def there(hub, name: str = "me/set") -> set[str]:
    return set(hub.repository("datasets", name).resolve("main").files) - {".gitattributes"}


BUILT = {"README.md", "assets/labels.png", "data/en/train-00000-of-00001.parquet"}


def test_a_push_sends_what_a_build_makes_and_nothing_else(built, online, caplog):
    folder = built(train=[("Ana", "B-PER")])
    (folder / "data" / "en" / "deep").mkdir()
    others = ("HF_TOKEN.env", ".env", "data/en/notes.txt", "data/en/train.parquet")
    for name in (*others, "data/en/deep/train-00000-of-00001.parquet", "assets/private.png"):
        (folder / name).write_bytes(b"private")
    assert {name for name, _ in push(folder, "me/set", dry_run=True)} == BUILT
    push(folder, "me/set")
    assert there(online) == BUILT
    told = "5 files are not sent, as neither `build` nor `context` makes them, the first: HF_TOKEN"
    assert told in caplog.text


@pytest.mark.parametrize("name", ["README.md", "assets/labels.png", "audit.json", "data/en"])
def test_a_link_that_leaves_the_folder_is_never_sent(built, online, tmp_path, name):
    folder = built(train=[("Ana", "B-PER")])
    outside = tmp_path / "outside"
    if (folder / name).exists():
        (folder / name).rename(outside)
    else:
        outside.write_text("private")
    (folder / name).symlink_to(outside)
    with pytest.raises(OSError, match=r"found a link that leaves .*set, expected a file inside it"):
        push(folder, "me/set")
    assert online.repositories == {}


def test_a_push_over_an_older_version_deletes_what_that_alone_had(built, online):
    older = built("older", train=[("Ana", "B-PER")], test=[("Bo", "B-PER")])
    (older / "audit.json").write_text("{}")
    (older / "assets" / "examples.png").write_bytes(image_bytes())
    push(older, "me/set")
    repository = online.repository("datasets", "me/set")
    files = repository.resolve("main").files
    mine = dict.fromkeys(("LICENSE", "data/mine.csv", "old/audit.json"), files["README.md"])
    repository.commit("main", "me", "mine", "", {**files, **mine})
    push(built("newer", train=[("Ana", "B-PER")]), "me/set")
    assert there(online) == BUILT | mine.keys()
    titles = [commit.title for commit in repository.resolve("main").history()]
    assert titles[:2] == ["Publish the data set", "mine"]


@pytest.mark.parametrize(
    "name", ["data/train-00000-of-00001.parquet", "data/en/train-00000-of-00001.parquet", "x.py"]
)
def test_a_repository_that_holds_something_else_is_not_pushed_to(built, online, name):
    folder = built(train=[("Ana", "B-PER")])
    push(folder, "me/set")
    repository = online.repository("datasets", "me/set")
    files = repository.resolve("main").files
    alien = {"README.md": files["README.md"], name: files["assets/labels.png"]}
    repository.commit("main", "me", "alien", "", alien)
    message = f"me/set exists and holds something else \\({name}\\): name another repository"
    with pytest.raises(PublishError, match=message):
        push(folder, "me/set")
    assert there(online) == {"README.md", name}
