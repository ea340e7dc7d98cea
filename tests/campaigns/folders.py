"""Surface: a built data set's folder that was damaged or tampered with: audit, context and push."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import yaml
from transformers import CLIPImageProcessorPil, ViTConfig, ViTForImageClassification

from dataset_mmnerd.__main__ import main
from tests.campaigns.cases import ACCEPTED, Case, Outcome, Surface, check
from tests.campaigns.commands import call, judged_command
from tests.campaigns.files import jsonl_files, spoil_file, write_files
from tests.campaigns.mutators import (
    edit_bytes,
    edit_json,
    edit_json_lines,
    edit_lines,
    edit_value,
    encoded,
)
from tests.conftest import TRANSFORMER

SECRET = b"secret-" * 9
CARD_FIELDS = ("configs", "dataset_info", "license", "language", "data_files", "tags", "YAML")


def write_tagger(folder: Path) -> None:
    """Write a tiny image classifier: what `context --objects` reads images with."""
    size = {"height": 32, "width": 32}
    config = ViTConfig(image_size=32, patch_size=16, num_labels=4, **TRANSFORMER)
    config.id2label = dict(enumerate(("lake", "dog", "stage", "tower")))
    ViTForImageClassification(config).save_pretrained(folder)
    CLIPImageProcessorPil(size=size, crop_size=size, do_center_crop=False).save_pretrained(folder)


def build_set(folder: Path, root: Path) -> None:
    """Build a small data set with all that a folder may hold, context and audit included."""
    write_files(jsonl_files(), root / "source")
    write_tagger(root / "tagger")
    arguments = ["--source", "jsonl", "--data-dir", str(root / "source"), "--out", str(folder)]
    finished = call(main, ["build", *arguments])
    assert finished.status == 0, finished.errors
    finished = call(main, ["context", str(folder), "--objects", str(root / "tagger")])
    assert finished.status == 0, finished.errors


def edit_card(content: bytes, random: Random) -> bytes:
    """A data card with a value of its metadata changed, or some of its lines or bytes."""
    _, _, rest = content.partition(b"---\n")
    head, mark, body = rest.partition(b"---\n")
    if not mark or random.random() < 0.4:
        return edit_lines(content, random)
    try:
        metadata = edit_value(yaml.safe_load(head), random)
        head = encoded(yaml.safe_dump(metadata, allow_unicode=random.random() < 0.5))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        return edit_lines(content, random)
    return b"---\n" + head + b"---\n" + body


EDITS: dict[str, Callable[[bytes, Random], bytes]] = {
    "README.md": edit_card,
    "context.json": edit_json,
    "audit.json": edit_json,
    ".jsonl": edit_json_lines,
    ".parquet": edit_bytes,
    ".png": edit_bytes,
}


class Folders(Surface):
    """A built data set's folder with some of its files damaged, replaced by links, or added."""

    name = "folders"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        build_set(folder / "whole", folder)
        self.secret = folder / "secret"
        self.secret.write_bytes(SECRET)

    def run(self, case: Case, folder: Path) -> Outcome:
        random = case.random()
        damaged = folder / "damaged"
        shutil.copytree(self.folder / "whole", damaged)
        names = []
        for edit in case.edit_randoms():
            names.append(self.damage(damaged, edit))
        command = random.choice(("context", "context", "push", "push", "push", "audit"))
        if command == "push":
            arguments = ["push", str(damaged), "--repo-id", "me/set", "--dry-run"]
        elif command == "audit":
            arguments = ["audit", str(damaged), "--json", str(folder / "findings.json")]
        else:
            arguments = ["context", str(damaged), "--objects", str(self.folder / "tagger")]
        finished = call(main, arguments)
        names += [path.name for path in self.folder.joinpath("whole").rglob("*")]
        outcome = judged_command(finished, [*names, "damaged", *CARD_FIELDS], folder)
        check(self.secret.read_bytes() == SECRET, "a file outside of the folder was changed")
        left = {path.name for path in folder.iterdir()} - {"damaged", "findings.json"}
        check(not left, f"the command left {sorted(left)}")
        if command == "push" and outcome.kind == ACCEPTED:
            sent = [line.split(maxsplit=1)[1] for line in finished.output.splitlines()[:-1]]
            links = [name for name in sent if damaged.joinpath(name).is_symlink()]
            check(not links, f"links would be sent: {links}")
            alien = [name for name in sent if "HF_TOKEN" in name or name.startswith(".")]
            check(not alien, f"files would be sent that no build makes: {alien}")
        return outcome

    def damage(self, damaged: Path, random: Random) -> str:
        """Change one file of the folder; return its name."""
        paths = sorted(path for path in damaged.rglob("*") if path.is_file())
        path = random.choice(paths or [damaged / "README.md"])
        if path.is_symlink():  # made by an edit before
            path.unlink()
        pick = random.random()
        if pick < 0.1:
            added = random.choice(
                ("HF_TOKEN.env", "data/en/link.parquet", "assets/x.png", "a/b.md")
            )
            path = damaged / added
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.symlink_to(self.secret) if random.random() < 0.5 else path.write_bytes(SECRET)
        elif pick < 0.2:
            if path.is_file():
                spoil_file(path, self.secret, random)
        elif pick < 0.25:
            path.unlink(missing_ok=True)
        elif path.is_file() and path.stat().st_size < 10**7:
            edit = EDITS.get(path.name) or EDITS.get(path.suffix, edit_bytes)
            path.write_bytes(edit(path.read_bytes(), random))
        return path.name
