"""Write a trained model as ONNX graphs, with one Python file that runs them without torch.

    2mner export runs/demo --out exported
    2mner export runs/demo --out exported --int8      # a third of the size

The folder needs `numpy`, `onnxruntime`, `tokenizers` and `pillow`, and nothing of this project:

    text.onnx        sub-words -> the state and the emissions of each word
    vision.onnx      images -> patches; only of a model that reads images, like the next
    image_text.onnx  states and patches -> emissions
    tagger.json      labels, CRF, windows, visual context, image steps
    tokenizer.json   thresholds.json   tagger.py   README.md   requirements.txt

No weight of an encoder stands in two graphs, and a sentence's text view costs nothing beside its
other view. Before the folder gets its name, its answers are compared with those of the model.
"""

from __future__ import annotations

import argparse
import logging
import secrets
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.export import Dim
from transformers.utils.logging import disable_progress_bar

import modeling_2mner
from dataset_mmnerd.files import (
    is_free,
    recover_folder,
    replace_folder,
    write_json,
    written_for,
)
from dataset_mmnerd.markdown import text_table
from dataset_mmnerd.quoting import quoted, shorten
from modeling_2mner import MultimodalNERPipeline, TwoMNERForTokenClassification, TwoMNERProcessor
from modeling_2mner.crf_2mner import fingerprint_of
from modeling_2mner.inputs_2mner import load_images_of, read_input
from modeling_2mner.thresholds_2mner import FILE as THRESHOLDS

from .bundle import bundled
from .extras import needed
from .models import load_pipeline
from .pixels import ImageSteps
from .quantisation import to_8_bits
from .tagger import FORMAT, IMAGE_TEXT, LIBRARIES, SETTINGS, TEXT, TOKENIZER, VISION, Tagger

__all__ = ["ExportError", "Exported", "export_model", "main"]

OPSET, LEAST_OPSET, LAST_OPSET = 18, 18, 23
"""The version of ONNX's operators by default, and those that may be chosen."""

SAMPLE = (
    "Angela Merkel besucht Paris.",
    "María vive en São Paulo, L'Hôpital d'Orléans .",
    "",
    "安倍晋三は東京で生まれた。 زار أحمد القاهرة",
)
"""Sentences whose answers are compared."""

LARGEST_DIFFERENCE = 1e-4
"""Of two scores, in float32."""

PIXEL_DIFFERENCE = 1e-4
"""Of two pixels, after they are normalised."""

PROBES = ((32, 32), (97, 61), (61, 97), (640, 3), (301, 200))
"""Widths and heights of the images on which the image steps are compared."""


README = """# {name}, exported

A named entity tagger as ONNX graphs, in {precision}, made by {made}. It needs Python 3.11 or newer
and the libraries of `requirements.txt`, nothing else.

    pip install -r requirements.txt
    python tagger.py "Angela Merkel besucht Paris."

```python
from tagger import Tagger

ner = Tagger(".")
ner({{"text": "Angela Merkel besucht Paris.", "image": "photo.jpg"}})
```

Inputs, options and answers are those of the pipeline `multimodal-ner`.
"""


class ExportError(ValueError):
    """A model that cannot be exported, or a folder that cannot be written."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        files: bytes of each file, by its name.
        difference: the largest difference of a score from the model's, over the sample.
        notes: what the user has to know besides.
    """

    files: dict[str, int]
    difference: float
    notes: list[str]

    def __str__(self) -> str:
        rows = [[name, f"{size / 1e6:,.1f} MB"] for name, size in self.files.items()]
        return "\n".join(
            [
                text_table(["file", "size"], [rows]),
                "",
                f"scores of a sample differ from the model's by at most {self.difference:.1g}",
                *self.notes,
            ]
        )


# Graphs -------------------------------------------------------------------------------------------


class _Text(nn.Module):
    """`[N, L]` sub-words and the places `[n]` of words -> their states `[n, H]` and emissions."""

    def __init__(self, model: TwoMNERForTokenClassification):
        super().__init__()
        self.encoder, self.classifier = model.model.text_model, model.classifier

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, word_index: Tensor
    ) -> tuple[Tensor, Tensor]:
        encoded = self.encoder(input_ids=input_ids, attention_mask=attention_mask, return_dict=True)
        words = encoded.last_hidden_state.flatten(0, 1)[word_index]
        return words, self.classifier(words)


class _Vision(nn.Module):
    """`[B, 3, h, w]` -> patches `[B, P, C]`; with a second encoder also its vectors `[B, C]`."""

    def __init__(self, model: TwoMNERForTokenClassification, outputs: Sequence[str]):
        super().__init__()
        self.model, self.outputs = model.model, outputs

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        features: Any = self.model.read_images(pixel_values)
        return tuple(features[name] for name in self.outputs)


class _ImageText(nn.Module):
    """`[B, W, H]` states of words, and the features of an image for each sentence -> emissions
    `[B, W, K]`."""

    def __init__(self, model: TwoMNERForTokenClassification):
        super().__init__()
        self.model, self.classifier = model.model, model.classifier

    def forward(
        self, word_states: Tensor, patches: Tensor, global_vectors: Tensor | None = None
    ) -> Tensor:
        features: Any = {"patches": patches}
        if global_vectors is not None:
            features["global_vectors"] = global_vectors[:, None]  # of one image: [B, 1, C]
        seen = torch.ones_like(word_states[:, 0, 0], dtype=torch.bool)
        fused, _ = self.model._collaborate(word_states, features, seen, False, None)
        emissions: Tensor = self.classifier(fused)
        return emissions


@torch.inference_mode(False)
@torch.no_grad()
def _write_graphs(ner: MultimodalNERPipeline, folder: Path, opset: int) -> None:
    """Write the graphs of a model. The sizes of the examples are different, and above 1: the
    exporter takes equal ones for the same, and 1 for fixed."""
    model, processor = ner.model.float().eval(), ner.processor
    batch = processor([["a"] * 5, ["a"] * 3, ["a"] * 2])
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    inputs["word_index"] = batch["word_index"][batch["word_mask"]]
    free = {"input_ids": (0, 1), "attention_mask": (0, 1), "word_index": (0,)}
    outputs = ["word_states", "emissions"]
    states, _ = _write_graph(_Text(model), inputs, free, outputs, folder / TEXT, opset)
    if not processor.reads_images:
        return
    pixels = torch.stack([processor.pixels_of(Image.new("RGB", (32, 32)))] * 2)
    names = ["patches"] + ["global_vectors"] * (model.model.global_vision_model is not None)
    inputs = {"pixel_values": pixels}
    vision = _Vision(model, names)
    found = _write_graph(vision, inputs, {"pixel_values": (0,)}, names, folder / VISION, opset)
    inputs = {"word_states": states[:6].view(2, 3, -1), **dict(zip(names, found, strict=True))}
    free = {"word_states": (0, 1), **dict.fromkeys(names, (0,))}
    path = folder / IMAGE_TEXT
    _write_graph(_ImageText(model), inputs, free, ["emissions"], path, opset)


def _write_graph(
    module: nn.Module,
    inputs: dict[str, Tensor],
    free: dict[str, tuple[int, ...]],
    outputs: list[str],
    path: Path,
    opset: int,
) -> Any:
    """Write one graph, and return what the module gives for the examples.

    Args:
        module: what is written.
        inputs: an example of each argument.
        free: the dimensions of each argument that may have any size.
        outputs: the names of what the module gives.
        path: of the file.
        opset: the version of ONNX's operators.

    Raises:
        ExportError: if it cannot be written as a graph.
    """
    module.eval()
    shapes = {name: dict.fromkeys(free[name], Dim.DYNAMIC) for name in inputs}
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                (),
                kwargs=inputs,
                dynamo=True,
                dynamic_shapes=shapes,
                input_names=list(inputs),
                output_names=outputs,
                opset_version=opset,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = error.__cause__ or error
        raise ExportError(
            f"{path.name}: torch cannot write this graph: {shorten(str(reason), 300)}"
        ) from error
    assert program is not None
    program.save(str(path))
    return module(**inputs)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says about libraries that the graphs do not need."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


# What is not a graph ------------------------------------------------------------------------------


def _settings(ner: MultimodalNERPipeline) -> dict[str, Any]:
    """The content of `tagger.json`."""
    processor, crf = ner.processor, ner.model.crf
    encoder = processor.encoder
    steps = image_steps(processor) if processor.reads_images else None
    return {
        "version": FORMAT,
        "made_by": f"2M-NER {modeling_2mner.__version__}",
        "labels": processor.labels,
        "crf": crf.decoder().scores.tolist(),
        "weights": fingerprint_of(crf),
        "text": {
            "word_rules": processor.word_rules,
            "pad_token": processor.tokenizer.pad_token_id,
            "unknown": encoder.unknown,
            "reserved": sorted(encoder.reserved),
            "split_special_tokens": encoder.tokenizer.encode_special_tokens,
            "layout": asdict(encoder.layout),
            "context_fields": encoder.context_fields,
            "context_separator": encoder.context_separator,
        },
        "images": None if steps is None else asdict(steps),
    }


def image_steps(processor: TwoMNERProcessor) -> ImageSteps:
    """What an image processor does, as data. It is compared on images of several sizes.

    Raises:
        ExportError: if it does something else than to resize, crop and normalise.
    """
    given: Any = processor.image_processor
    size = _known(given, "size") if given.do_resize else {}
    crop = _known(given, "crop_size") if getattr(given, "do_center_crop", False) else {}
    black, white = (
        processor.pixels_of(Image.new("RGB", (64, 64), name)).double()
        for name in ("black", "white")
    )
    middle = black.shape[1] // 2, black.shape[2] // 2
    offset = black[:, *middle]
    steps = ImageSteps(
        size=size.get("shortest_edge") or ([size["height"], size["width"]] if size else None),
        resample=int(given.resample),
        crop=[crop["height"], crop["width"]] if crop else None,
        slope=((white[:, *middle] - offset) / 255).tolist(),
        offset=offset.tolist(),
    )
    noise = np.random.default_rng(0)
    for width, height in PROBES:
        image = Image.fromarray(noise.integers(0, 256, (height, width, 3), np.uint8))
        expected, found = processor.pixels_of(image).numpy(), steps.pixels_of(image)
        if expected.shape != black.shape:
            raise ExportError(
                f"the image processor makes {expected.shape} of an image, and {tuple(black.shape)} "
                "of another one, expected one shape: a size of height and width, or a crop"
            )
        if found.shape != expected.shape or abs(found - expected).max() > PIXEL_DIFFERENCE:
            raise ExportError(
                f"the image processor {type(given).__name__} does something else than to resize, "
                "crop and normalise, expected these steps alone"
            )
    return steps


def _known(given: Any, name: str) -> dict[str, int]:
    """A size of an image processor.

    Raises:
        ExportError: if it is told in a way that is not known.
    """
    size = {key: value for key, value in dict(getattr(given, name)).items() if value is not None}
    if size.keys() not in ({"height", "width"}, {"shortest_edge"}):
        raise ExportError(
            f"the image processor's {name} is {quoted(size)}, expected height and width, or "
            "shortest_edge"
        )
    return size


def _write_thresholds(ner: MultimodalNERPipeline, folder: Path, int8: bool) -> list[str]:
    """Take the thresholds along if the scores stay the same; otherwise say so."""
    found = ner.thresholds_file()
    if found is None:
        return []
    if int8:
        return [f"{THRESHOLDS} is left out: in 8 bits scores change"]
    shutil.copyfile(found, folder / THRESHOLDS)
    return []


def _write_text(folder: Path, model: str, int8: bool) -> None:
    """Write the code, and what tells a reader of the folder how to use it."""
    made = f"`2mner export` of 2M-NER {modeling_2mner.__version__}"
    title = f"The tagger of an exported model, made by {made}. Do not edit it: export again."
    (folder / "tagger.py").write_text(bundled("inference_2mner.tagger", title), encoding="utf-8")
    pins = "".join(f"{name}=={version(name)}\n" for name in LIBRARIES)
    (folder / "requirements.txt").write_text(pins, encoding="utf-8")
    named = Path(model).name or model
    precision = "8 bits" if int8 else "float32"
    (folder / "README.md").write_text(
        README.format(name=named, made=made, precision=precision), encoding="utf-8"
    )


# The whole ----------------------------------------------------------------------------------------


def export_model(
    model: str | Path, out: str | Path, *, int8: bool = False, opset: int = OPSET
) -> Exported:
    """Write a model as graphs; see the module.

    Args:
        model: a folder or a name on the Hub.
        out: a folder that is not there, or is empty.
        int8: give the text encoder 8-bit weights.
        opset: the version of ONNX's operators.

    Raises:
        MissingExtraError: if the libraries are not installed.
        ModelError: if there is no such model.
        ExportError: if `out` holds files, the model is an adapter, cannot be written as graphs, or
            the graphs have other answers.
        OSError: if `out` cannot be written.
    """
    for library in ("onnx", "onnxscript", "onnxruntime"):
        needed(library, "onnx")
    if not LEAST_OPSET <= opset <= LAST_OPSET:
        raise ExportError(
            f"--opset is {opset}, expected a number from {LEAST_OPSET} to {LAST_OPSET}"
        )
    out = Path(out)
    recover_folder(out)
    if not is_free(out):
        raise ExportError(f"--out: {out} is there already, expected nothing or an empty folder")
    if (Path(model) / "adapter_config.json").is_file():
        raise ExportError(
            f"{model} is an adapter, expected a model: `2mner lora merge {model} --out FOLDER` "
            "makes one"
        )
    ner = load_pipeline(model, device="cpu", precision="float32")
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f".{out.name[:40]}.{secrets.token_hex(4)}.unfinished")
    try:
        with written_for(out, unfinished):
            unfinished.mkdir()
            write_json(unfinished / SETTINGS, _settings(ner))
            ner.processor.tokenizer.backend_tokenizer.save(str(unfinished / TOKENIZER))
            notes = _write_thresholds(ner, unfinished, int8)
            _write_text(unfinished, str(model), int8)
            _write_graphs(ner, unfinished, opset)
            if int8:
                with _quiet():
                    to_8_bits(unfinished / TEXT)
        difference = _compare(ner, Tagger(unfinished))
        if not int8 and difference > LARGEST_DIFFERENCE:
            raise ExportError(
                f"the scores of a sample differ by {difference:.1g} from the model's, expected at "
                f"most {LARGEST_DIFFERENCE:g}"
            )
        with written_for(out, unfinished):
            replace_folder(unfinished, out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    files = {path.name: path.stat().st_size for path in sorted(out.iterdir())}
    return Exported(files, difference, notes)


def _compare(ner: MultimodalNERPipeline, exported: Tagger) -> float:
    """The largest difference of the probability of a label, over the sample."""
    image = Image.linear_gradient("L").convert("RGB")
    inputs = [{"text": text, "image": seen} for text in SAMPLE for seen in (image, None)]
    found = []
    for tagger in (ner, exported):
        sentences = [read_input(one, tagger.reader) for one in inputs]
        for sentence in sentences:
            load_images_of(sentence, tagger.reader, tagger._fetch)
        tagger._encode(sentences)
        with torch.inference_mode():
            _, decoding, _ = tagger._decode(sentences, tagger._max_tokens, "image_text")
        found.append(decoding.marginals)
    return float(np.abs(found[0] - found[1]).max())


def parser(prog: str = "2mner export") -> argparse.ArgumentParser:
    """The parser of the command."""
    top = argparse.ArgumentParser(
        prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("model", help="a folder or a name on the Hub")
    top.add_argument("--out", type=Path, required=True, help="folder for the graphs")
    top.add_argument("--int8", action="store_true", help="8-bit weights in the text encoder")
    top.add_argument(
        "--opset",
        type=int,
        default=OPSET,
        metavar="N",
        help=f"ONNX's operators, by default {OPSET}",
    )
    return top


def main(argv: Sequence[str] | None = None, prog: str = "2mner export") -> int:
    """Run the command.

    Args:
        argv: by default the command line of this process.
        prog: the name of the program in `--help`.

    Returns:
        The exit status 0.

    Raises:
        MissingExtraError, ModelError, ExportError, OSError: as `export_model`.
    """
    given = parser(prog).parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    disable_progress_bar()
    exported = export_model(given.model, given.out, int8=given.int8, opset=given.opset)
    sys.stdout.write(f"{exported}\n\n{given.out}: written\n")
    return 0
