"""Surface: files of sentences with their images, in all formats, read one by one and built."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pyarrow.parquet as pq

from dataset_mmnerd.__main__ import main
from dataset_mmnerd.readers import MalformedLineError, read_file
from tests.campaigns.cases import ACCEPTED, Case, Outcome, Surface, check, judged
from tests.campaigns.commands import call, judged_command
from tests.campaigns.files import (
    FORMS,
    SUFFIXES,
    Files,
    edit_files,
    repaired,
    simple_reading,
    spoil_file,
    write_files,
)
from tests.dataset_mmnerd.conftest import image_bytes

SECRET = image_bytes(99)
FIELDS = ("tokens", "ner_tags", "image", "lang", "id", "story", "labels", "source", "languages")


def built_rows(folder: Path) -> list[dict]:
    """The rows of a built data set as Parquet has them, with label names."""
    rows = []
    for path in sorted(folder.glob("data/*/*.parquet")):
        file = pq.ParquetFile(path)
        rows += file.read().to_pylist()
    return rows


def label_names(folder: Path) -> list[str]:
    """The label names of a built data set, by id, as `datasets` finds them in a shard."""
    from datasets import Features

    path = next(iter(sorted(folder.glob("data/*/*.parquet"))))
    return Features.from_arrow_schema(pq.read_schema(path))["ner_tags"].feature.names


def check_built(folder: Path, files: Files) -> None:
    """A built data set holds the sentences of some files, each once, with their own images."""
    names = label_names(folder)
    found: Counter = Counter()
    for row in built_rows(folder):
        check(len(row["tokens"]) == len(row["ner_tags"]), "other lengths:", row["tokens"])
        tags = repaired([names[tag] for tag in row["ner_tags"]])
        found[tuple(row["tokens"]), tags] += 1
        if row["image"] is not None:
            content = row["image"]["bytes"]
            check(content in files.values(), f"the image of {row['id']} is none of the source's")
    expected = Counter(
        sentence
        for name, content in files.items()
        if Path(name).suffix in SUFFIXES
        for sentence in simple_reading(name, content)
    )
    lost, added = expected - found, found - expected
    check(not lost, f"{lost.total()} sentences are lost, such as", next(iter(lost), None))
    check(not added, f"{added.total()} sentences are new, such as", next(iter(added), None))


class Readers(Surface):
    """Files of sentences: MMNERD's layout, CoNLL, CoNLL-U, JSON lines, and their images."""

    name = "readers"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.secret = folder / "secret.png"
        self.secret.write_bytes(SECRET)
        self.bases = {form: make() for form, make in FORMS.items()}

    def run(self, case: Case, folder: Path) -> Outcome:
        random = case.random()
        form = random.choice(sorted(self.bases))
        files = self.bases[form]
        for edit in case.edit_randoms():
            files = edit_files(files, edit)
        source = folder / "source"
        write_files(files, source)
        if case.edits and random.random() < 0.1:
            spoiled = random.choice(sorted(files))
            spoil_file(source / spoiled, self.secret, random)
            files = {name: content for name, content in files.items() if name != spoiled}
            return self.build(form, source, files, folder, names=[Path(spoiled).name])
        if form != "dataset" and random.random() < 0.5:
            return self.read(files, source, random, folder)
        return self.build(form, source, files, folder)

    def read(self, files: Files, source: Path, random: Random, folder: Path) -> Outcome:
        """Read one of the files by itself, one that was edited where there is one."""
        bases = [content for base in self.bases.values() for content in base.values()]
        texts = sorted(name for name in files if Path(name).suffix in SUFFIXES)
        edited = [name for name in texts if files[name] not in bases]
        name = random.choice(edited or texts)
        try:
            rows = list(read_file(source / name))
        except MalformedLineError as error:
            return judged(error, (MalformedLineError,), [Path(name).name], folder)
        for row in rows:
            check(all(isinstance(token, str) for token in row["tokens"]), "a token is no string")
            if row["image"] is not None:
                inside = Path(row["image"]).resolve().is_relative_to(source)
                check(inside, "an image lies outside:", row["image"])
        found = [(tuple(row["tokens"]), repaired(row["ner_tags"])) for row in rows]
        expected = simple_reading(name, files[name])
        check(found == expected, "read and expected:", found, expected)
        return Outcome(ACCEPTED)

    def build(
        self, form: str, source: Path, files: Files, folder: Path, names: list[str] | None = None
    ) -> Outcome:
        """Build a data set of all of them."""
        out = folder / "built"
        arguments = ["build", "--source", form, "--data-dir", str(source), "--out", str(out)]
        finished = call(main, [*arguments, "--no-audit"])
        names = [*(Path(name).name for name in files), *(names or []), *FIELDS, "source"]
        outcome = judged_command(finished, names, folder)
        left = sorted(path.name for path in folder.iterdir() if path not in (source, out))
        check(not left, f"the build left {left}")
        if outcome.kind == ACCEPTED:
            check_built(out, files)
            secret = any(SECRET in path.read_bytes() for path in out.rglob("*") if path.is_file())
            check(not secret, "an image from outside of the source was built in")
        else:
            check(not out.exists(), "a build that failed left its folder")
        return outcome
