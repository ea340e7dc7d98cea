"""What an exported model costs and gains: disk, start-up, speed and F1, against the torch pipeline.

    2mner export runs/wikineural --out runs/onnx
    2mner export runs/wikineural --int8 --out runs/int8
    python benchmarks/deploying.py runs/wikineural runs/onnx runs/int8 --speed 300 \\
      --file DATA/de/test.conllu[50%:]

* `--speed N`: N sentences of the file, each way on one thread and on two (`--threads`). The ways
  take turns; a figure is the median of the ratios to torch in float32 within each round, by the
  clock.
* `--f1 N`: F1 on N sentences of each file.
* `--start TORCH ONNX`: two Pythons, of an environment with `torch`, `transformers` and `pillow`,
  and of one with the export's `requirements.txt`. For both the size of `site-packages`, without
  `pip` and `setuptools`; and the seconds from the start of a fresh process to its first answer. The
  processes take turns; a figure is the median.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch
from inference import BATCH, Way, marked, ratio, read, spans_of, take_turns

import modeling_2mner
from inference_2mner.models import load_pipeline
from inference_2mner.tagger import Tagger
from training_2mner.metrics import count_matches

TEXT = "Angela Merkel besucht Paris."

START = {
    "torch": """
from transformers import pipeline
ner = pipeline("multimodal-ner", model={model!r}, trust_remote_code=True, device="cpu")
assert ner({text!r}) is not None
""",
    "ONNX": """
import sys
sys.path.insert(0, {model!r})
from tagger import Tagger
assert Tagger({model!r})({text!r}) is not None
""",
}
"""Programs that give one answer."""

TOOLS = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
"""What installs an environment, and is not needed to run it."""


def ways(options: argparse.Namespace, threads: int) -> dict[str, Way]:
    """From sentences to their entities: torch and ONNX, in 32 and 8 bits."""
    torch.set_num_threads(threads)
    taggers = {
        "torch float32": load_pipeline(options.model, device="cpu"),
        "torch int8": load_pipeline(options.model, device="cpu", precision="int8"),
        "ONNX float32": Tagger(options.onnx, threads=threads),
        "ONNX int8": Tagger(options.int8, threads=threads),
    }

    def way(tagger: object) -> Way:
        assert callable(tagger)
        return lambda sentences: list(
            map(spans_of, tagger([{"words": words} for words in sentences]))
        )

    return {name: way(tagger) for name, tagger in taggers.items()}


def speed(options: argparse.Namespace) -> None:
    sentences, _ = read(options.file[0], options.speed)
    words = sum(map(len, sentences))
    sys.stdout.write(
        f"\n{len(sentences)} sentences, {words} words, {options.rounds} rounds\n\n"
        "| | threads | sentences a second | times torch float32 |\n| --- | --- | --- | --- |\n"
    )
    for threads in options.threads:
        made = ways(options, threads)
        for one in made.values():
            one(sentences[:BATCH])  # warms up
        seconds, _ = take_turns(made, sentences, options.rounds)
        for name, times in seconds.items():
            rate = len(sentences) / median(clock for clock, _ in times)
            gain = ratio(seconds["torch float32"], times, 0)
            sys.stdout.write(f"| {name} | {threads} | {rate:.1f} | {gain:.2f} |\n")
            sys.stdout.flush()


def f1(options: argparse.Namespace) -> None:
    made = ways(options, torch.get_num_threads())
    sys.stdout.write(f"\n{options.f1} sentences of each file\n\n")
    sys.stdout.write("| | F1 | labels as torch float32 |\n| --- | --- | --- |\n")
    found: dict[str, list[set]] = {name: [] for name in made}
    gold: list[set] = []
    for file in options.file:
        sentences, own = read(file, options.f1)
        gold += own
        for name, one in made.items():
            found[name] += one(sentences)
    for name, spans in found.items():
        counts = count_matches(marked(gold), marked(spans))
        same = sum(map(set.__eq__, spans, found["torch float32"]))
        sys.stdout.write(f"| {name} | {100 * counts.f1:.2f} | {same} of {len(gold)} |\n")


def start(options: argparse.Namespace) -> None:
    kinds = dict(zip(START, options.start, strict=True))
    sizes = {name: disk(Path(python)) for name, python in kinds.items()}
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        models = {"torch": published(options.model, folder / "model"), "ONNX": options.onnx}
        environment = {
            "PATH": os.environ["PATH"],
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(folder / "home"),
            "OMP_NUM_THREADS": str(torch.get_num_threads()),
        }
        for number in range(-1, options.rounds):  # the first round writes compiled code
            for name, python in kinds.items():
                program = START[name].format(model=str(models[name].resolve()), text=TEXT)
                started = time.perf_counter()
                subprocess.run([python, "-c", program], env=environment, check=True)
                if number >= 0:
                    seconds[name].append(time.perf_counter() - started)
    sys.stdout.write("\n| | MB of packages | seconds to the first answer |\n| --- | --- | --- |\n")
    for name in kinds:
        sys.stdout.write(f"| {name} | {sizes[name] / 1e6:.0f} | {median(seconds[name]):.2f} |\n")
    share = sizes["ONNX"] / sizes["torch"]
    times = median(a / b for a, b in zip(seconds["ONNX"], seconds["torch"], strict=True))
    sys.stdout.write(f"| ONNX of torch | {share:.3f} | {times:.3f} |\n")


def disk(python: Path) -> int:
    """The bytes of the files of an environment's packages."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    packages = Path(done.stdout.strip())
    return sum(
        file.stat().st_size
        for part in packages.iterdir()
        if not part.name.startswith(TOOLS)
        for file in ([part] if part.is_file() else part.rglob("*"))
        if file.is_file()
    )


def published(model: Path, folder: Path) -> Path:
    """A model's folder with the code of this version, as a push leaves it."""
    folder.mkdir()
    code = Path(modeling_2mner.__file__).parent.glob("*_2mner.py")
    files = [path for path in model.iterdir() if path.suffix in (".json", ".safetensors")]
    for path in (*files, *code):
        (folder / path.name).symlink_to(path.resolve())
    return folder


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="folder of a trained model that reads text alone")
    parser.add_argument("onnx", type=Path, help="its export")
    parser.add_argument("int8", type=Path, help="its export in 8 bits")
    parser.add_argument("--file", nargs="+", help="sentences, or a part: test.conllu[50%%:]")
    parser.add_argument("--speed", type=int, metavar="N", help="sentences of the first file")
    parser.add_argument("--f1", type=int, metavar="N", help="sentences of each file, at most")
    parser.add_argument("--start", nargs=2, metavar=("TORCH", "ONNX"), help="two Pythons")
    parser.add_argument("--threads", type=int, nargs="+", default=(1, 2), help="of --speed")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(argv)
    if options.start:
        start(options)
    if options.speed:
        speed(options)
    if options.f1:
        f1(options)


if __name__ == "__main__":
    main()
