"""Surface: image files of all formats, sound ones, damaged ones, and things that are none."""

from __future__ import annotations

import io
import os
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from modeling_2mner.images_2mner import MAX_PIXELS, ImageError, load_image
from tests.campaigns.cases import ACCEPTED, REFUSED, Case, Outcome, Surface, check, judged
from tests.campaigns.mutators import edit_bytes

KNOWN = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "WEBP": (b"RIFF",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "BMP": (b"BM",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
}
"""How files of the formats begin that are read."""

MODES = {
    "JPEG": ("RGB", "L", "CMYK"),
    "PNG": ("RGB", "L", "1", "P", "RGBA", "LA", "I;16", "I"),
    "WEBP": ("RGB", "RGBA"),
    "GIF": ("P", "L", "RGB"),
    "BMP": ("RGB", "L", "1", "P"),
    "TIFF": ("RGB", "L", "1", "P", "RGBA", "CMYK", "LAB", "YCbCr", "I;16", "I", "F"),
}
FOREIGN = (
    "EPS",
    "PDF",
    "ICO",
    "PPM",
    "PCX",
    "TGA",
    "SGI",
    "DDS",
    "IM",
    "JPEG2000",
    "MSP",
    "SPIDER",
)

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(a) = quit\n%%EOF\n"


def sample(mode: str) -> Image.Image:
    """A gradient of 24 x 17 pixels in a mode of Pillow."""
    ramp = np.arange(24 * 17 * 3, dtype=np.uint8).reshape(17, 24, 3)
    image = Image.fromarray(ramp)
    if mode == "I;16":
        return Image.fromarray(ramp[..., 0].astype(np.uint16) * 257)
    if mode == "LAB":
        return Image.merge("LAB", image.split())
    return image.convert("RGB").convert(mode)


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes | None:
    """The file; None where this version of Pillow cannot write it, or not read it again (12.3: TIFF
    of YCbCr)."""
    buffer = io.BytesIO()
    try:
        image.save(buffer, kind, **options)
        if kind not in FOREIGN:
            with Image.open(buffer) as written:
                written.load()
    except (OSError, ValueError, KeyError):
        return None
    return buffer.getvalue()


def image_files() -> dict[str, bytes]:
    """Files of each format, by what they are."""
    files: dict[str, bytes | None] = {}
    for kind, modes in MODES.items():
        for mode in modes:
            files[f"{kind} {mode}"] = _saved(sample(mode), kind)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a description"
    frames = [sample("RGB").rotate(90 * turn) for turn in range(3)]
    files["JPEG exif"] = _saved(sample("RGB"), "JPEG", exif=exif)
    files["JPEG progressive"] = _saved(sample("RGB"), "JPEG", progressive=True)
    files["PNG exif"] = _saved(sample("RGB"), "PNG", exif=exif)
    files["PNG transparent"] = _saved(sample("P"), "PNG", transparency=3)
    files["PNG interlaced text"] = _saved(sample("L"), "PNG", dpi=(72, 72))
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits", "group4"):
        mode = "1" if compression == "group4" else "RGB"
        files[f"TIFF {compression}"] = _saved(sample(mode), "TIFF", compression=compression)
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        files[f"{kind} animated"] = _saved(frames[0], kind, save_all=True, append_images=frames[1:])
    return {name: content for name, content in files.items() if content is not None}


def foreign_files() -> dict[str, bytes]:
    """Files of formats that are not read."""
    files = {kind: _saved(sample("RGB"), kind) for kind in FOREIGN}
    files |= {"SVG": SVG, "PostScript": POSTSCRIPT, "text": b"P6 is no image", "empty": b""}
    return {name: content for name, content in files.items() if content is not None}


def is_known(content: bytes) -> bool:
    """Whether a file begins as one of the formats that are read."""
    return any(content.startswith(start) for starts in KNOWN.values() for start in starts)


def _special(path: Path, random: Random) -> str:
    """Make something at a path that is no ordinary file of bounded size; say what."""
    kind = random.choice(("missing", "pipe", "folder", "loop", "enormous", "device", "bare device"))
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "enormous":
        with path.open("wb") as file:
            file.truncate(5 * 10**9)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "bare device":
        path.symlink_to("/dev/full")
    return kind


class Images(Surface):
    """Image files, as paths, bytes and rows."""

    name = "images"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.known, self.foreign = image_files(), foreign_files()

    def run(self, case: Case, folder: Path) -> Outcome:
        random = case.random()
        path = folder / f"photo{random.choice(('.jpg', '.png', '.gif', '.eps', ''))}"
        pick = random.random()
        if case.edits and pick < 0.05:
            _special(path, random)
            return self.compare(path, path.name, path, accepted=False)
        files = self.foreign if pick < 0.15 else self.known
        content = files[random.choice(sorted(files))]
        for edit in case.edit_randoms():
            content = edit_bytes(content, edit)
        path.write_bytes(content)
        source, name = random.choice(
            ((path, path.name), (str(path), path.name), (content, ""), (bytearray(content), ""))
        )
        if random.random() < 0.3:
            source, name = {"bytes": content, "path": path.name}, path.name
        accepted = is_known(content) and None
        if accepted is None and not case.edits:
            accepted = True
        return self.compare(source, name, path, accepted)

    def compare(self, source: Any, name: str, path: Path, accepted: bool | None) -> Outcome:
        """Read an image in both ways, as it is given and as a file, which must agree.

        Args:
            source: what is given.
            name: what its error must name.
            path: the same as a file.
            accepted: whether it must be, if that is known.
        """
        pixels, outcome = self.pixels(source, [name], path)
        if accepted is not None:
            expected = ACCEPTED if accepted else REFUSED
            check(outcome.kind == expected, f"the outcome is {outcome.kind}, must be {expected}")
        other, _ = self.pixels(path, [path.name], path)
        check(pixels == other, "the same image as a file gives other pixels")
        return outcome

    def pixels(self, source: Any, names: list[str], path: Path) -> tuple[bytes | None, Outcome]:
        """The size and pixels of an image, None if it is refused."""
        try:
            image = load_image(source)
        except ImageError as error:
            return None, judged(error, (ImageError,), names, path.parent)
        check(image.mode == "RGB", f"the image's mode is {image.mode}")
        check(0 < image.width * image.height <= MAX_PIXELS, f"the size is {image.size}")
        return repr(image.size).encode() + image.tobytes(), Outcome(ACCEPTED)
