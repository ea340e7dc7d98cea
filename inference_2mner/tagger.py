"""A model that is exported to ONNX: the call and the answers of the pipeline, without torch.

    ner = Tagger("exported")
    ner({"text": "Angela Merkel besucht Paris.", "image": "photo.jpg"})
    # [{"label": "PER", "score": 0.98, "word": "Angela Merkel", "start": 0, "end": 13}, ...]

`2mner export` writes this module, and all that it needs of the project, into the folder as the one
file `tagger.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tokenizers import Tokenizer

from modeling_2mner.decoding_2mner import Decoder, Decoding
from modeling_2mner.encoding_2mner import SentenceEncoder
from modeling_2mner.fetch_2mner import shown_address
from modeling_2mner.images_2mner import ImageError
from modeling_2mner.inputs_2mner import Sentence
from modeling_2mner.quoting_2mner import described, quoted, shorten
from modeling_2mner.sentences_2mner import VisualContext
from modeling_2mner.tagging_2mner import EntityTagger
from modeling_2mner.thresholds_2mner import FILE, Limits, limits_from_file
from modeling_2mner.windows_2mner import EncodedSentence, WindowLayout, pad_windows
from modeling_2mner.words_2mner import check_word_rules

from .pixels import ImageSteps

__all__ = [
    "FORMAT",
    "IMAGE_TEXT",
    "LIBRARIES",
    "SETTINGS",
    "TEXT",
    "TOKENIZER",
    "VISION",
    "ExportReader",
    "Tagger",
]

FORMAT = 1
"""The version of the folder."""

SETTINGS, TOKENIZER = "tagger.json", "tokenizer.json"

TEXT, IMAGE_TEXT, VISION = "text.onnx", "image_text.onnx", "vision.onnx"
"""The graphs: words into states and emissions; states and patches into emissions; images into
patches."""

LIBRARIES = ("numpy", "onnxruntime", "pillow", "tokenizers")
"""What the folder needs."""

MAX_TOKENS = 1024
"""Sub-words of a batch by default, as the pipeline has them on a processor."""


@dataclass
class ExportReader:
    """What prepares sentences for the graphs.

    Attributes:
        word_rules: the version of the rules for words.
        encoder: cuts words into sub-words.
        steps: what is done with an image; None for a model that reads none.
        max_images: images of a sentence: the graphs read one.
    """

    word_rules: int
    encoder: SentenceEncoder
    steps: ImageSteps | None
    max_images: int = 1

    def __post_init__(self) -> None:
        self.reads_images = self.steps is not None

    def encode(
        self, sentences: list[list[str]], contexts: Sequence[VisualContext | None]
    ) -> list[EncodedSentence]:
        """Sentences as windows of sub-words."""
        return self.encoder.encode(sentences, contexts)

    def pixels_of(self, image: Image.Image) -> np.ndarray:
        """Resize and normalise an image that is loaded: `[3, h, w]`."""
        assert self.steps is not None
        return self.steps.pixels_of(image)


class Tagger(EntityTagger):
    """Entities of a text, with an image or without.

        ner = Tagger(folder)
        ner("Angela Merkel besucht Paris.")

    Inputs, options and answers are those of `pipeline("multimodal-ner")`, but no address is
    fetched, a sentence has at most one image, and there is no option `attention`.

    Args:
        folder: what `2mner export` has written.
        threads: of ONNX Runtime; by default it takes as many as there are cores.
        options: defaults of the options of a call (see `__call__`).

    Raises:
        OSError: if a file is missing.
        ValueError: if a file is damaged, or of another version.
    """

    OPTIONS = tuple(name for name in EntityTagger.OPTIONS if name != "attention")

    def __init__(self, folder: str | Path = ".", *, threads: int | None = None, **options: Any):
        self.folder = Path(folder)
        if threads is not None and (type(threads) is not int or threads < 1):
            raise ValueError(f"threads is {described(threads)}, expected a number from 1")
        self._threads = threads
        settings = _read_settings(self.folder / SETTINGS)
        try:
            self._read(settings)
        except (KeyError, TypeError, ValueError) as error:
            found = f"{type(error).__name__}: {shorten(str(error))}"
            raise ValueError(
                f"{self.folder / SETTINGS}: {found}, expected what `2mner export` writes"
            ) from error
        self._sessions: dict[str, Any] = {}
        self._batch_size = self._num_workers = None
        self._preprocess_params, self._forward_params, self._postprocess_params = (
            self._sanitize_parameters(**options)
        )
        self._session(TEXT)

    def _read(self, settings: dict[str, Any]) -> None:
        text, images = settings["text"], settings["images"]
        self.labels = settings["labels"]
        scores = np.array(settings["crf"], np.float64)
        if scores.shape != (len(self.labels) + 2, len(self.labels)):
            raise ValueError(f"crf has shape {scores.shape} for {len(self.labels)} labels")
        self._decoder = Decoder(self.labels, scores)
        self.types = self._decoder.types
        self._weights: str = settings["weights"]
        self._pad_token: int = text["pad_token"]
        check_word_rules(text["word_rules"])
        path = self.folder / TOKENIZER
        if not path.is_file():
            raise FileNotFoundError(f"{path}: there is no such file, expected the tokenizer")
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.encode_special_tokens = text["split_special_tokens"]
        self.reader = ExportReader(
            text["word_rules"],
            SentenceEncoder(
                tokenizer,
                text["unknown"],
                frozenset(text["reserved"]),
                WindowLayout(**text["layout"]),
                text["context_fields"],
                text["context_separator"],
            ),
            None if images is None else ImageSteps(**images),
        )

    @property
    def _max_tokens(self) -> int:
        return MAX_TOKENS

    def forward(self, model_inputs: dict[str, list[Sentence]], **options: Any) -> dict[str, Any]:
        """Run a batch."""
        return self._forward(model_inputs, **options)

    def _decode(
        self, sentences: list[Sentence], max_tokens: int, view: str, attention: bool = False
    ) -> tuple[np.ndarray, Decoding, list[dict[str, Any] | None]]:
        encoded = [sentence.encoded for sentence in sentences]
        if view == "text":
            encoded = [one.without_context for one in encoded]
        lengths = [len(one.places) for one in encoded]
        seen = [
            row
            for row, sentence in enumerate(sentences)
            if view == "image_text" and sentence.images_read and lengths[row]
        ]
        mask = np.arange(max(1, *lengths)) < np.array(lengths)[:, None]  # [B, W]
        outputs = ["emissions", "word_states"] if seen else ["emissions"]
        found = self._read_words(encoded, max_tokens, outputs)
        emissions = np.zeros((*mask.shape, len(self.labels)), np.float32)
        if "emissions" in found:  # there are words
            emissions[mask] = found["emissions"]
        if seen:
            owner = mask.nonzero()[0]  # the sentence of each word
            states = found["word_states"][np.isin(owner, seen)]
            words = np.zeros((*mask[seen].shape, states.shape[-1]), np.float32)
            words[mask[seen]] = states
            pixels = np.stack([sentences[row].pixels[0] for row in seen])
            emissions[seen] = self._look(words, pixels)
        return emissions, self._decoder.decode(emissions, lengths), [None] * len(sentences)

    def _read_words(
        self, encoded: Sequence[EncodedSentence], max_tokens: int, outputs: list[str]
    ) -> dict[str, np.ndarray]:
        """Run the text encoder, on some of the windows at a time if they are more than
        `max_tokens`.

        Returns:
            The outputs by name, `[n, ...]` for the `n` words of all sentences; none without words.
        """
        batch = pad_windows(encoded, self._pad_token, False)
        ids, length = batch["input_ids"], batch["input_ids"].shape[1]
        places = batch["word_index"][batch["word_mask"]]  # [n], in ascending order
        most = max(1, max_tokens // length)
        parts = []
        for first in range(0, len(ids), most):
            chosen = slice(first, first + most)
            begin, end = np.searchsorted(places, [first * length, (first + most) * length])
            if begin < end:
                inputs = {
                    "input_ids": ids[chosen],
                    "attention_mask": batch["attention_mask"][chosen],
                    "word_index": places[begin:end] - first * length,
                }
                parts.append(self._session(TEXT).run(outputs, inputs))
        return {
            name: np.concatenate(values)
            for name, values in zip(outputs, zip(*parts, strict=True), strict=False)
        }

    def _look(self, words: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        """`[B, W, H]` the states of words, and `[B, 3, h, w]` -> emissions `[B, W, K]`."""
        vision = self._session(VISION)
        names = [output.name for output in vision.get_outputs()]
        features = dict(zip(names, vision.run(names, {"pixel_values": pixels}), strict=True))
        inputs = {"word_states": words, **features}
        (emissions,) = self._session(IMAGE_TEXT).run(["emissions"], inputs)
        return emissions

    def _session(self, name: str) -> Any:
        """A graph, which is loaded when it is first used."""
        if name not in self._sessions:
            path = self.folder / name
            if not path.is_file():
                raise FileNotFoundError(f"{path}: there is no such file, expected a graph")
            import onnxruntime  # here, so that this module can be imported without it

            settings = onnxruntime.SessionOptions()
            settings.enable_mem_pattern = False  # it is for inputs that all have the same shape
            if self._threads is not None:
                settings.intra_op_num_threads = self._threads
            try:
                self._sessions[name] = onnxruntime.InferenceSession(
                    str(path), settings, providers=["CPUExecutionProvider"]
                )
            except Exception as error:  # ONNX Runtime's own errors have no common type
                raise ValueError(
                    f"{path}: found {shorten(str(error))}, expected a graph that `2mner export` "
                    "wrote"
                ) from error
        return self._sessions[name]

    def _span_scores(
        self, emissions: np.ndarray, lengths: Sequence[int], spans: list[tuple[int, int, int]]
    ) -> np.ndarray:
        return self._decoder.span_scores(emissions, lengths, spans)

    def _fetch(self, address: str) -> Any:
        raise ImageError(
            shown_address(address),
            "an address",
            "a path or the image's content: an exported model fetches nothing",
        )

    def _stored_limits(self, kind: str, level: float) -> Limits:
        path = self.folder / FILE
        known = path if path.is_file() else None
        return limits_from_file(known, kind, level, str(self.folder), self._weights)


def _read_settings(path: Path) -> dict[str, Any]:
    """The content of `tagger.json`.

    Raises:
        OSError: if there is no such file.
        ValueError: if it is something else, or of another version.
    """
    try:
        settings = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: no JSON: {shorten(str(error))}") from None
    found = settings.get("version") if isinstance(settings, dict) else settings
    if found != FORMAT:
        raise ValueError(f"{path}: version is {quoted(found)}, expected {FORMAT}")
    return settings


def main(argv: Sequence[str] | None = None) -> int:
    """Label sentences: those given, or the lines of the standard input.

    Args:
        argv: by default the command line of this process.

    Returns:
        The exit status 0.
    """
    parser = argparse.ArgumentParser(
        description="Print the entities of each sentence as a line of JSON."
    )
    parser.add_argument("sentences", nargs="*", help="by default the lines of the standard input")
    parser.add_argument("--image", help="of the sentence, or of each of them")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent, help="of the graphs")
    given = parser.parse_args(argv)
    texts = given.sentences or (line.rstrip("\n") for line in sys.stdin)
    inputs = ({"text": text, "image": given.image} for text in texts)
    for entities in Tagger(given.folder)(inputs, batch_size=1):
        sys.stdout.write(f"{json.dumps(entities, ensure_ascii=False)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
