"""An archive is unpacked whole, or refused in one line that names it."""

import bz2
import gzip
import io
import lzma
import re
import tarfile
import zipfile

import pytest

from dataset_mmnerd.__main__ import main
from dataset_mmnerd.archives import ArchiveError, unpacked
from dataset_mmnerd.build import build


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_is_as_good_as_its_folder(mmnerd_folder, tmp_path, kind):
    path = tmp_path / f"MMNERD.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in mmnerd_folder.rglob("*"):
                archive.write(file, file.relative_to(tmp_path))
    else:
        with tarfile.open(path, "w:gz") as archive:
            archive.add(mmnerd_folder, "MMNERD")
    report = build("mmnerd", path, tmp_path / "set", with_audit=False)
    assert sum(part.images for part in report.parts.values()) == 24


@pytest.mark.parametrize("name", ["../outside.txt", "/outside.txt", "a/../../outside.txt"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_member_outside_of_it_is_refused(tmp_path, kind, name):
    path = tmp_path / "deep" / f"bad.{kind}"
    path.parent.mkdir()
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, "x")
    else:
        with tarfile.open(path, "w") as archive:
            member = tarfile.TarInfo(name)
            member.size = 1
            archive.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(ArchiveError, match="found member"), unpacked(path):
        pass
    assert not (tmp_path / "outside.txt").exists()


def test_a_link_that_leads_out_of_an_archive_is_refused(tmp_path):
    path = tmp_path / "bad.tar"
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("link.txt")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(ArchiveError, match="expected files inside it"), unpacked(path):
        pass


# Damage -------------------------------------------------------------------------------------------

MEMBERS = {f"train_{number}.txt": f"word{number}\tO\n" * 400 for number in range(4)}
COMPRESS = {"tar": bytes, "tar.gz": gzip.compress, "tar.bz2": bz2.compress, "tar.xz": lzma.compress}


def tar(members=MEMBERS):
    """A tar archive and the places of its headers."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        places = []
        for name, text in members.items():
            member = tarfile.TarInfo(name)
            text = text.encode() if isinstance(text, str) else text
            member.size = len(text)
            places.append(archive.offset)
            archive.addfile(member, io.BytesIO(text))
        places.append(archive.offset)
    return file.getvalue(), places


def refused(path, content):
    """The line in which an archive of this content is refused."""
    path.write_bytes(content)
    with pytest.raises(ArchiveError) as error, unpacked(path):
        pass
    line = str(error.value)
    assert line.startswith(f"{path}: found ") and "\n" not in line and len(line) < 600
    return line


@pytest.mark.parametrize("kind", COMPRESS)
@pytest.mark.parametrize("number", range(5))
def test_a_tar_archive_that_is_cut_short_at_a_header_is_refused(tmp_path, kind, number):
    content, places = tar()
    for cut in (places[number], places[number] + 100):
        line = refused(tmp_path / f"a.{kind}", COMPRESS[kind](content[:cut]))
        assert "cut short" in line or "damaged archive" in line


@pytest.mark.parametrize("kind", COMPRESS)
@pytest.mark.parametrize("number", range(4))
def test_a_tar_archive_with_a_flipped_bit_in_a_header_is_refused(tmp_path, kind, number):
    content, places = tar()
    for place in (0, 124, 150, 156, 257, 300):  # name, size, checksum, type, magic, group
        damaged = bytearray(content)
        damaged[places[number] + place] ^= 4
        assert "damaged" in refused(tmp_path / f"a.{kind}", COMPRESS[kind](bytes(damaged)))


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_tar_archive_with_a_header_of_zeros_is_refused(tmp_path, kind):
    content, places = tar()
    damaged = content[: places[1]] + bytes(512) + content[places[1] + 512 :]
    line = refused(tmp_path / f"a.{kind}", COMPRESS[kind](damaged))
    assert "data behind the archive's end" in line


@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2", "tar.xz"])
def test_a_compressed_stream_is_read_to_its_end_and_its_checksum_counts(tmp_path, kind):
    content, _ = tar()
    stream = COMPRESS[kind](content)
    for cut in (len(stream) - 1, len(stream) - 9, len(stream) // 2, 30):
        refused(tmp_path / f"a.{kind}", stream[:cut])
    damaged = bytearray(stream)
    damaged[-5 if kind == "tar.gz" else len(stream) // 2] ^= 1
    refused(tmp_path / f"a.{kind}", bytes(damaged))


def test_a_build_of_a_damaged_archive_is_one_line(tmp_path, capsys):
    content, places = tar()
    (tmp_path / "data.tar").write_bytes(content[: places[2]])
    command = f"build --source conll --data-dir {tmp_path}/data.tar --out {tmp_path}/set"
    assert main(command.split()) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ArchiveError: {tmp_path}/data.tar: found an archive that is cut short")
    assert not (tmp_path / "set").exists()


def zipped(compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, text in MEMBERS.items():
            archive.writestr(name, text)
    return file.getvalue()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_with_a_bad_checksum_or_cut_short_is_refused(tmp_path, compression):
    content = zipped(compression)
    damaged = bytearray(content)
    damaged[60] ^= 1
    assert "damaged archive" in refused(tmp_path / "a.zip", bytes(damaged))
    for cut in (10, len(content) // 2, len(content) - 1):
        assert "damaged archive" in refused(tmp_path / "a.zip", content[:cut])


def test_an_encrypted_zip_is_refused(tmp_path):
    content = bytearray(zipped())
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        place = archive.start_dir
    content[6] |= 1  # the flag in the first local header, and in the central directory
    content[place + 8] |= 1
    assert "found an encrypted archive" in refused(tmp_path / "a.zip", bytes(content))


@pytest.mark.parametrize("name", ["a" * 300, "a/" * 3000 + "b"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_member_s_name_that_no_file_can_have_is_one_line(tmp_path, kind, name):
    if kind == "tar":
        content, _ = tar({name: "x"})
    else:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(name, "x")
        content = file.getvalue()
    assert re.search(
        "File name too long|found member .* expected", refused(tmp_path / "a", content)
    )


def test_a_tar_archive_that_ends_with_a_zip_is_a_tar_archive(tmp_path):
    content, _ = tar({"train_en.txt": "a\tO\n", "z.zip": zipped()})
    (tmp_path / "a.tar").write_bytes(content)
    with unpacked(tmp_path / "a.tar") as folder:
        assert sorted(path.name for path in folder.iterdir()) == ["train_en.txt", "z.zip"]
