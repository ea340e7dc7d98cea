"""From files to a folder that plain `load_dataset` reads; never half of it."""

import io
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import pytest
from datasets import load_dataset
from PIL import Image

from dataset_mmnerd import build as builds
from dataset_mmnerd.__main__ import main
from dataset_mmnerd.build import BuildError, build
from dataset_mmnerd.readers import MalformedLineError
from dataset_mmnerd.schema import bio_labels, features
from dataset_mmnerd.sources import SourceError

from .conftest import SENTENCES, conll, enormous_png, image_bytes


def everything(folder):
    return sorted(path.name for path in folder.parent.iterdir())


# What is built ------------------------------------------------------------------------------------

READ_BACK = """
    import sys, hashlib
    sys.modules["dataset_mmnerd"] = None  # nothing of the project can be imported
    from datasets import get_dataset_config_names, load_dataset
    print(get_dataset_config_names("mmnerd"))
    for split, rows in load_dataset("mmnerd", {config!r}).items():
        names = rows.features["ner_tags"].feature.names
        for row in rows:
            pixels = row["image"].convert("RGB").tobytes()
            tags = [names[tag] for tag in row["ner_tags"]]
            print(repr((split, row["lang"], row["tokens"], tags, hashlib.md5(pixels).hexdigest())))
"""


def read_back(folder, config):
    """What `load_dataset("mmnerd", config)` gives beside the folder, in another process."""
    environment = os.environ | {"HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1"}
    code = textwrap.dedent(READ_BACK.format(config=config))
    command = [sys.executable, "-c", code]
    run = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    configs, *rows = run.stdout.splitlines()
    return configs, rows


def expected_rows(mmnerd_folder, languages):
    import hashlib

    rows = []
    images = mmnerd_folder / "twitter_and_image_caption_images"
    for split, word in (("train", "train"), ("validation", "valid"), ("test", "test")):
        for lang in languages:
            tokens, tags = SENTENCES[lang]
            image = Image.open(images / f"{lang}_{word}.jpg").convert("RGB").tobytes()
            digest = hashlib.md5(image).hexdigest()
            rows.append(repr((split, lang, [*tokens, word], [*tags, "O"], digest)))
            rows.append(repr((split, lang, [word, *tokens], ["O", *tags], digest)))
    return rows


def test_mmnerd_in_four_languages_comes_back_in_a_process_without_the_project(
    mmnerd_folder, tmp_path
):
    report = build("mmnerd", mmnerd_folder, tmp_path / "mmnerd")
    assert sorted(report.parts) == sorted(
        (lang, split) for lang in SENTENCES for split in ("train", "validation", "test")
    )
    assert not report.warnings
    configs, rows = read_back(tmp_path, None)
    assert configs == "['all', 'de', 'en', 'es', 'fr']"
    assert rows == expected_rows(mmnerd_folder, ["de", "en", "es", "fr"])
    _, rows = read_back(tmp_path, "de")
    assert rows == expected_rows(mmnerd_folder, ["de"])


def test_the_images_of_a_file_are_kept_byte_for_byte(built):
    content = image_bytes(3, "JPEG")
    folder = built(images={"a.jpg": content}, train=[("Ana", "B-PER", {"image": "a.jpg"})])
    data = load_dataset(str(folder), split="train", cache_dir=str(folder.parent / "cache"))
    (image,) = data.data.column("image").to_pylist()
    assert image == {"bytes": content, "path": "a.jpg"}


def test_some_languages_are_built_alone_and_an_unknown_one_is_refused(mmnerd_folder, tmp_path):
    report = build("mmnerd", mmnerd_folder, tmp_path / "two", languages=["fr", "de"])
    assert {lang for lang, _ in report.parts} == {"de", "fr"}
    with pytest.raises(SourceError, match="found 'pt', expected some of de, en, es, fr"):
        build("mmnerd", mmnerd_folder, tmp_path / "none", languages=["pt"])
    assert not (tmp_path / "none").exists()


def test_files_without_a_split_are_split_by_the_shares(tmp_path):
    lines = [f'{{"tokens": ["w{n}"], "ner_tags": ["O"], "story": "s{n}"}}' for n in range(200)]
    (tmp_path / "stories_en.jsonl").write_text("\n".join(lines))
    report = build("jsonl", tmp_path / "stories_en.jsonl", tmp_path / "set", shares=(50, 0, 50))
    sizes = {split: part.written.rows for (_, split), part in report.parts.items()}
    assert set(sizes) == {"train", "test"}
    assert sum(sizes.values()) == 200
    assert 70 < sizes["train"] < 130


# What is warned of --------------------------------------------------------------------------------


@pytest.fixture
def faulty(tmp_path):
    """A folder with one of each thing that is warned of."""
    folder = tmp_path / "faulty"
    folder.mkdir()
    (folder / "enormous.png").write_bytes(enormous_png())
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "good.png").write_bytes(image_bytes())
    sentences = [
        ("good", ["a"], ["O"]),
        ("gone", ["a"], ["O"]),
        ("broken", ["a"], ["O"]),
        ("enormous", ["a"], ["I-PER"]),
        ("good", [], []),
    ]
    (folder / "train_en.txt").write_text(conll(*sentences))
    return folder


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_a_damaged_image_among_the_cards_examples_is_counted_named_and_left_out(format, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    whole = image_bytes(1, format)
    place = whole.index(b"IDAT") if format == "PNG" else len(whole) // 2
    damaged = {
        "whole": whole,
        "short": whole[: len(whole) // 2],
        "shorter": whole[: len(whole) // 4],
        "broken": whole[:place] + bytes(4) + whole[place + 4 :] if format == "PNG" else whole[:9],
    }
    for name, content in damaged.items():
        (source / f"{name}.jpg").write_bytes(content)
    sentences = [(f"{name}.jpg", [name], ["B-PER"]) for name in damaged]
    (source / "train_en.txt").write_text(conll(*sentences))
    report = build("conll", source, tmp_path / "set")
    assert report.warnings == {"images are broken and left out": 3}
    assert "short.jpg: found " in report.first["images are broken and left out"]
    data = load_dataset(str(tmp_path / "set"), split="train", cache_dir=str(tmp_path / "cache"))
    assert [image is not None for image in data["image"]] == [True, False, False, False]
    assert (tmp_path / "set" / "assets" / "examples.png").is_file()
    assert not [
        found for found in report.audit.findings if found.check == "images broken" and found.count
    ]


@pytest.mark.parametrize("kind", ["EPS", "PDF", "ICO", "SVG", "FIFO", "sparse"])
def test_hostile_files_named_as_images_are_counted_and_left_out(kind, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    path = source / "photo.jpg"
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(5 * 2**30)
    elif kind == "SVG":
        path.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    else:
        Image.new("RGB", (16, 16), "red").save(path, kind)
    (source / "train_en.txt").write_text(conll(("photo.jpg", ["Ana"], ["B-PER"])))
    report = build("conll", source, tmp_path / "set")
    fault = {"FIFO": "missing", "sparse": "enormous and left out"}.get(kind, "broken and left out")
    assert report.warnings == {f"images are {fault}": 1}
    assert "photo.jpg" in report.first[f"images are {fault}"]


def test_images_that_come_with_the_rows_are_checked_as_files_are(tmp_path):
    """A source may give an image as {"bytes", "path"}, as data sets of the Hub do."""
    contents = {"whole": image_bytes(), "cut": image_bytes()[:60], "big": enormous_png()}
    eps = io.BytesIO()
    Image.new("RGB", (4, 4)).save(eps, "EPS")
    contents["eps"] = eps.getvalue()
    rows = [
        dict.fromkeys(features([]))
        | {"id": name, "tokens": ["Ana"], "ner_tags": ["B-PER"], "lang": "en", "image_id": name}
        | {"image": {"bytes": content, "path": None}, "repaired": False}
        for name, content in contents.items()
    ]
    opened = SimpleNamespace(
        labels=bio_labels(),
        features=features(bio_labels()),
        rows=lambda languages: (("train", row) for row in rows),
    )
    report = builds.write_rows(opened, tmp_path)
    assert report.warnings == {
        "images are broken and left out": 2,
        "images are enormous and left out": 1,
    }
    assert report.first["images are broken and left out"].startswith("cut: found ")


def test_a_link_out_of_the_image_folder_is_not_copied_into_a_data_set(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    secret = image_bytes(9)
    (tmp_path / "secret.png").write_bytes(secret)
    (source / "link.png").symlink_to(tmp_path / "secret.png")
    (source / "train_en.txt").write_text(conll(("link.png", ["Ana"], ["B-PER"])))
    report = build("conll", source, tmp_path / "set", with_audit=False)
    assert report.warnings == {"images are missing": 1}
    (shard,) = (tmp_path / "set").glob("data/en/*.parquet")
    assert secret not in shard.read_bytes()


def test_faults_that_cost_no_sentence_are_counted_and_told(faulty, tmp_path, caplog):
    report = build("conll", faulty, tmp_path / "set", with_audit=False)
    assert report.warnings == {
        "images are missing": 1,
        "images are broken and left out": 1,
        "images are enormous and left out": 1,
        "sentences have I- labels that continue nothing, read as B-": 1,
        "sentences are empty": 1,
    }
    assert "gone" in report.first["images are missing"]
    assert "enormous.png" in report.first["images are enormous and left out"]
    data = load_dataset(str(tmp_path / "set"), split="train", cache_dir=str(tmp_path / "cache"))
    assert [image is not None for image in data["image"]] == [True, False, False, False, True]
    assert data["image_id"][:] == ["good", "gone", "broken", "enormous", "good"]
    assert data.features["ner_tags"].feature.int2str(data["ner_tags"][3]) == ["B-PER"]
    assert any("1 images are missing" in record.getMessage() for record in caplog.records)
    assert "1 images are missing" in (tmp_path / "set" / "README.md").read_text()


def test_strict_makes_warnings_errors(faulty, tmp_path):
    with pytest.raises(BuildError, match="1 images are missing") as error:
        build("conll", faulty, tmp_path / "set", strict=True)
    assert "expected no warnings" in str(error.value)
    assert not (tmp_path / "set").exists()


def test_strict_makes_what_the_audit_warns_of_errors(tmp_path):
    (tmp_path / "train_en.txt").write_text(
        conll((None, ["Ana"], ["O"]), (None, ["Ana"], ["B-PER"]))
    )
    build("conll", tmp_path / "train_en.txt", tmp_path / "set")
    with pytest.raises(BuildError, match="same words, other labels"):
        build("conll", tmp_path / "train_en.txt", tmp_path / "strict", strict=True)


# Never half of it ---------------------------------------------------------------------------------


def test_files_without_a_sentence_are_named(tmp_path):
    (tmp_path / "train_en.txt").write_text("\n")
    with pytest.raises(SourceError, match=r"found no sentence in train_en\.txt, expected at least"):
        build("conll", tmp_path / "train_en.txt", tmp_path / "set")


def test_a_build_that_fails_leaves_nothing(tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    (files / "train_en.txt").write_text("a\tO\n\nbad line\n")
    out = tmp_path / "deep" / "set"
    with pytest.raises(MalformedLineError, match="line 3"):
        build("conll", files, out, entity_types=["PER"])
    assert everything(out) == []


KILLED = """
    import sys, time
    from dataset_mmnerd import build as builds
    def slow(*arguments):
        print("writing", flush=True)
        time.sleep(60)
    builds.write_card = slow
    builds.build("mmnerd", sys.argv[1], sys.argv[2], with_audit=False)
"""


def test_a_build_that_is_killed_leaves_nothing_under_its_name_and_the_next_one_works(
    mmnerd_folder, tmp_path
):
    out = tmp_path / "killed" / "mmnerd"
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(mmnerd_folder), str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (left,) = everything(out)
    assert left.startswith(".mmnerd.")
    build("mmnerd", mmnerd_folder, out, with_audit=False)
    assert "mmnerd" in everything(out)


def test_of_two_builds_at_once_the_first_to_finish_stays(mmnerd_folder, tmp_path, monkeypatch):
    out = tmp_path / "together" / "mmnerd"
    write_card = builds.write_card

    def while_another_finishes(*arguments):
        monkeypatch.setattr(builds, "write_card", write_card)
        build("mmnerd", mmnerd_folder, out, languages=["de"], with_audit=False)
        write_card(*arguments)

    monkeypatch.setattr(builds, "write_card", while_another_finishes)
    with pytest.raises(BuildError, match="another build put there meanwhile"):
        build("mmnerd", mmnerd_folder, out, with_audit=False)
    assert everything(out) == ["mmnerd"]
    assert [path.name for path in (out / "data").iterdir()] == ["de"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_empty_folder_is_filled(mmnerd_folder, tmp_path, overwrite):
    out = tmp_path / "mine" / "mmnerd"
    out.mkdir(parents=True)
    build("mmnerd", mmnerd_folder, out, languages=["fr"], with_audit=False, overwrite=overwrite)
    assert everything(out) == ["mmnerd"]
    assert (out / "README.md").is_file()


def test_a_link_and_the_folder_one_is_in_are_not_filled(mmnerd_folder, tmp_path, monkeypatch):
    mine = tmp_path / "mine"
    for name in ("elsewhere", "here"):
        (mine / name).mkdir(parents=True)
    (mine / "link").symlink_to("elsewhere")
    monkeypatch.chdir(mine / "here")
    for out in (mine / "link", "."):
        with pytest.raises(BuildError, match="found something there"):
            build("mmnerd", mmnerd_folder, out, with_audit=False)
    assert sorted(path.name for path in mine.rglob("*")) == ["elsewhere", "here", "link"]


def test_only_a_data_set_is_replaced_and_only_when_asked(mmnerd_folder, tmp_path):
    out = tmp_path / "mine" / "mmnerd"
    out.mkdir(parents=True)
    (out / "precious.txt").write_text("mine")
    with pytest.raises(BuildError, match="found something there"):
        build("mmnerd", mmnerd_folder, out, with_audit=False)
    assert (out / "precious.txt").read_text() == "mine"
    with pytest.raises(BuildError, match="expected a data set to replace"):
        build("mmnerd", mmnerd_folder, out, with_audit=False, overwrite=True)
    assert (out / "precious.txt").read_text() == "mine"
    (out / "precious.txt").unlink()
    out.rmdir()
    build("mmnerd", mmnerd_folder, out, with_audit=False)
    build("mmnerd", mmnerd_folder, out, languages=["fr"], with_audit=False, overwrite=True)
    assert everything(out) == ["mmnerd"]
    assert [path.name for path in (out / "data").iterdir()] == ["fr"]


BETWEEN = """
    import os, signal, sys
    from pathlib import Path
    from dataset_mmnerd import build as builds
    rename = Path.rename
    def killed_before_the_new_one_has_the_name(path, target):
        if str(target) == sys.argv[2]:
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(path, target)
    Path.rename = killed_before_the_new_one_has_the_name
    builds.build("conll", sys.argv[1], sys.argv[2], with_audit=False, overwrite=True)
"""


@pytest.mark.parametrize("command", ["audit set", "push set --repo-id me/set --dry-run", "build"])
def test_a_data_set_whose_replacement_was_killed_between_renames_is_recovered(
    built, tmp_path, monkeypatch, capsys, command
):
    monkeypatch.chdir(tmp_path)
    out = built(train=[("Ana", "B-PER")])
    before = (out / "README.md").read_text()
    (tmp_path / "train_en.txt").write_text(conll((None, ["Bo", "x"], ["B-PER", "O"])))
    source = str(tmp_path / "train_en.txt")
    code = textwrap.dedent(BETWEEN)
    killed = subprocess.run([sys.executable, "-c", code, source, str(out)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not out.exists()
    if command == "build":
        with pytest.raises(BuildError, match="found something there, expected nothing"):
            build("conll", source, out, with_audit=False)
    else:
        assert main(command.split()) == 0
    assert (out / "README.md").read_text() == before
    build("conll", source, out, with_audit=False, overwrite=True)
    assert not [name for name in everything(out) if name.endswith((".old", ".deleted"))]


def test_the_same_files_in_two_folders_give_the_same_bytes_and_tell_no_path(faulty, tmp_path):
    def contents(name):
        source = tmp_path / name / "deep"
        shutil.copytree(faulty, source)
        build("conll", source, tmp_path / name / "out" / "set")
        root = tmp_path / name / "out" / "set"
        paths = sorted(path for path in root.rglob("*") if path.is_file())
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}

    one, two = contents("one"), contents("another")
    assert one == two
    for name in ("README.md", "audit.json"):
        text = one[name].decode()
        assert str(tmp_path) not in text and "one" + os.sep not in text
        assert "object at 0x" not in text
    assert "the first: broken.png: found " in one["README.md"].decode()


def test_two_builds_of_the_same_files_give_the_same_bytes(mmnerd_folder, tmp_path):
    def contents(name):
        build("mmnerd", mmnerd_folder, tmp_path / name / "mmnerd")
        root = tmp_path / name / "mmnerd"
        paths = sorted(path for path in root.rglob("*") if path.is_file())
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}

    assert contents("one") == contents("two")


def test_labels_of_the_card_are_those_of_the_files(built):
    folder = built(train=[("Ana binds p53", "B-PER O B-GENE")])
    data = load_dataset(str(folder), split="train", cache_dir=str(folder.parent / "cache"))
    assert data.features["ner_tags"].feature.names == bio_labels(["PER", "GENE"])
