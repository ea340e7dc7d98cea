"""Surface: archives of a folder of sentences: tar, tar.gz, tar.xz and zip."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random

from dataset_mmnerd.__main__ import main
from tests.campaigns.cases import ACCEPTED, Case, Outcome, Surface, check
from tests.campaigns.commands import call, judged_command
from tests.campaigns.files import Files, conll_files, jsonl_files
from tests.campaigns.mutators import HOSTILE_TEXTS, edit_bytes
from tests.campaigns.readers import check_built

HOSTILE_NAMES = (
    *(
        "../out.txt",
        "/tmp/out-of-the-archive.txt",
        "a/../../out.txt",
        "..",
        ".",
        "",
        "train_en.txt",
    ),
    *("C:\\out.txt", "\\\\host\\share", "x" * 300 + ".txt", "a/" * 500 + "b.txt", "nul\0.txt"),
    *("\x1b[2J.txt", "CON", "README.md", ".hidden/train_fr.txt", "a.jpg/b.txt"),
)


def tar_of(files: Files, mode: str, extra: tarfile.TarInfo | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w{mode}") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        if extra is not None:
            extra.size = 4 if extra.isreg() else 0
            archive.addfile(extra, io.BytesIO(b"a\tO\n"))
    return buffer.getvalue()


def zip_of(files: Files, extra: zipfile.ZipInfo | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        if extra is not None:
            archive.writestr(extra, b"a\tO\n")
    return buffer.getvalue()


def _name(random: Random) -> str:
    name = random.choice((*HOSTILE_NAMES, *HOSTILE_TEXTS))
    return name.encode("utf-8", "ignore").decode("utf-8")


def hostile_tar(files: Files, mode: str, random: Random) -> bytes:
    """A tar archive with one more member: a name that leads astray, a link, a device, a pipe."""
    member = tarfile.TarInfo(_name(random))
    kinds = (tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)
    member.type = random.choice(kinds)
    member.linkname = random.choice(("../../secret", "/etc/passwd", "a.jpg", member.name[:90]))
    member.mode = random.choice((0o644, 0, 0o7777))
    return tar_of(files, mode, member)


def hostile_zip(files: Files, random: Random) -> bytes:
    """A zip archive with one more member: as `hostile_tar`, or one that says it is encrypted."""
    member = zipfile.ZipInfo(_name(random)[:60_000] or "empty")
    if random.random() < 0.3:
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
    content = zip_of(files, member)
    if random.random() < 0.3:
        place = content.rfind(b"PK\x01\x02") + 8
        content = content[:place] + b"\x01" + content[place + 1 :]  # the flag of encryption
    return content


def _tar_contents(changed: bytes, whole: bytes, files: Files) -> Files:
    """What the members of an uncompressed tar hold, at the places that they had before."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        for member in archive:
            end = member.offset_data + member.size
            found[member.name] = changed[member.offset_data : end]
    return found


class Archives(Surface):
    """Archives with flipped, lost and added bytes, and with members that leave the folder."""

    name = "archives"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.bases = {"conll": conll_files(), "jsonl": jsonl_files()}
        self.kinds: dict[str, Callable[[Files], bytes]] = {
            "set.tar": lambda files: tar_of(files, ""),
            "set.tar.gz": lambda files: tar_of(files, ":gz"),
            "set.tgz": lambda files: tar_of(files, ":gz"),
            "set.tar.xz": lambda files: tar_of(files, ":xz"),
            "set.zip": zip_of,
        }

    def run(self, case: Case, folder: Path) -> Outcome:
        random = case.random()
        form = random.choice(sorted(self.bases))
        name = random.choice(sorted(self.kinds))
        files = self.bases[form]
        whole = content = self.kinds[name](files)
        hostile = bool(case.edits) and random.random() < 0.25
        if hostile:
            mode = {"set.tar": "", "set.tar.xz": ":xz"}.get(name, ":gz")
            content = (
                hostile_zip(files, random)
                if name == "set.zip"
                else hostile_tar(files, mode, random)
            )
        for edit in case.edit_randoms()[int(hostile) :]:
            content = edit_bytes(content, edit)
        archive, out = folder / name, folder / "built"
        archive.write_bytes(content)
        (folder / "secret").write_text("secret\tB-PER\n")
        arguments = ["build", "--source", form, "--data-dir", str(archive), "--out", str(out)]
        finished = call(main, [*arguments, "--no-audit"])
        outcome = judged_command(finished, [name, *files, "train_"], folder)
        left = {path.name for path in folder.iterdir()} - {name, "secret", "built"}
        check(not left, f"the build left {sorted(left)}")
        check(not Path("/tmp/out-of-the-archive.txt").exists(), "a member left the folder")
        if outcome.kind != ACCEPTED:
            check(not out.exists(), "a build that failed left its folder")
        elif hostile:
            secret = any(b"secret" in path.read_bytes() for path in out.rglob("*.parquet"))
            check(not secret, "a file from outside of the archive was built in")
        elif name == "set.tar":  # has no checksums of contents
            check_built(out, _tar_contents(content, whole, files))
        else:
            check_built(out, files)
        return outcome
