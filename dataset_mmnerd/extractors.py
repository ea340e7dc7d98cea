"""Extractors: models and programs that make text from images, one for each column.

>>> from dataset_mmnerd.extractors import TesseractReader
>>> TesseractReader(["en"]).read([Image.open("sign.png").convert("RGB")], "en")

* `ObjectTagger` fills `objects`, `Captioner` fills `captions`, `TesseractReader` fills `ocr`.
* The strings have no scores: a text encoder reads "umbrella" better than "umbrella: 0.47". Scores
  decide which strings are kept, and their order: the most probable is first.
* torch and transformers are imported when a model is loaded. No other module of this package
  imports torch, except `processes.py` under `accelerate launch`.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from PIL import Image

from .schema import UNKNOWN_LANGUAGE

if TYPE_CHECKING:
    from transformers import Pipeline

_READABLE_SIDE = 1000  # pixels; smaller images are enlarged towards it before characters are read
_ENLARGED_AT_MOST = 3
_TESSERACT_SECONDS = 60
_CONFIDENCE = 70  # per cent, of a word that Tesseract reads
_PROMPT = "Describe this image in one short sentence."

_THRESHOLDS = {
    "image-classification": 0.01,
    "object-detection": 0.5,
    "zero-shot-object-detection": 0.1,
}
# Synonyms in ImageNet's names: "lakeside, lakeshore", "box / carton", "kite (bird of prey)".
_SYNONYM = re.compile(r",| / | \(")
_Loaded = TypeVar("_Loaded")

OBJECT_NAMES = (
    *("person", "face", "crowd", "singer", "musician", "speaker", "athlete", "team"),
    *("building", "street", "city", "village", "landscape", "map", "flag", "stadium"),
    *("logo", "crest", "pennant", "shop", "van", "car", "ball", "sign"),
    *("book", "film poster", "cinema", "album cover", "screen", "food", "animal", "plant"),
)
"""The default names that a zero-shot detector looks for."""

# fmt: off
TESSERACT_LANGUAGES = {
    "ar": "ara", "bg": "bul", "ca": "cat", "cs": "ces", "da": "dan", "de": "deu", "el": "ell",
    "en": "eng", "es": "spa", "et": "est", "eu": "eus", "fa": "fas", "fi": "fin", "fr": "fra",
    "gl": "glg", "he": "heb", "hi": "hin", "hr": "hrv", "hu": "hun", "id": "ind", "it": "ita",
    "ja": "jpn", "ko": "kor", "lt": "lit", "lv": "lav", "nl": "nld", "no": "nor", "pl": "pol",
    "pt": "por", "ro": "ron", "ru": "rus", "sk": "slk", "sl": "slv", "sr": "srp", "sv": "swe",
    "sw": "swa", "th": "tha", "tr": "tur", "uk": "ukr", "ur": "urd", "vi": "vie", "zh": "chi_sim",
}
# fmt: on
"""Tesseract's language packs by language code. Any other language is read as English."""


class ContextError(Exception):
    """Why no image can be read, and what to install or change."""


class Extractor(Protocol):
    """An extractor of one column.

    Attributes:
        column: `objects`, `captions` or `ocr`.
        name: its name on the data card.
        key: identifies the model and all settings that the strings depend on.
        batch_size: the largest number of images for `read`.
        by_language: whether the strings depend on `lang`.
    """

    column: str
    name: str
    key: str
    batch_size: int
    by_language: bool

    def read(self, images: Sequence[Image.Image], lang: str = UNKNOWN_LANGUAGE) -> list[list[str]]:
        """The strings of each RGB image."""


# Models -------------------------------------------------------------------------------------------


def _identity(model: str) -> str:
    """A model's name with the digest of its folder, or with its commit on the Hub."""
    folder = Path(model)
    if not folder.is_dir():
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(model, trust_remote_code=False)
        return f"{model}@{getattr(config, '_commit_hash', None)}"
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted([*folder.glob("*.json"), *folder.glob("*.safetensors")]):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return f"{folder.name}@{digest.hexdigest()}"


def _shown(model: str) -> str:
    """A model's name for the data card, without local folders."""
    return Path(model).name if Path(model).is_absolute() else model


def _task(model: str) -> str:
    """The pipeline of a model for objects, by the architecture in its config."""
    from transformers import AutoConfig
    from transformers.models.auto import modeling_auto as auto

    tasks: dict[str, Mapping[str, str | Sequence[str]]] = {
        "zero-shot-object-detection": auto.MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION_MAPPING_NAMES,
        "object-detection": auto.MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES,
        "image-classification": auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    }
    config = AutoConfig.from_pretrained(model, trust_remote_code=False)
    architectures = config.architectures or []
    for task, names in tasks.items():
        known = {name for value in names.values() for name in _names(value)}
        if known.intersection(architectures):
            return task
    found = ", ".join(architectures) or "no architecture"
    raise ContextError(f"{model}: found {found}, expected a model for one of {', '.join(tasks)}")


def _names(value: str | Sequence[str]) -> Sequence[str]:
    return [value] if isinstance(value, str) else value


def _explained(model: str, load: Callable[[], _Loaded]) -> _Loaded:
    """Load a part of a model; raise errors as `ContextError`."""
    try:
        return load()
    except (OSError, ValueError, TypeError, KeyError, ImportError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        expected = (
            "a folder or a model of the Hub with safetensors "
            "(`python scripts/offline_backbones.py` makes backbones/tagger)"
        )
        raise ContextError(f"{model}: found {reason.strip()}, expected {expected}") from error


def _pipeline(task: Any, model: str, device: str | None) -> Pipeline:
    """A transformers pipeline. It runs no code of the model's repository and reads no pickles.

    Args:
        task: one of the names that transformers declares as literals.
        model: a folder, or a name on the Hub.
        device: as in `ObjectTagger`.
    """
    from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer, TrOCRProcessor, pipeline

    parts: dict[str, Any] = {}
    config = AutoConfig.from_pretrained(model, trust_remote_code=False)
    if config.model_type == "vision-encoder-decoder":
        # These models have no processor of their own, which the pipeline requires.
        images = AutoImageProcessor.from_pretrained(model, trust_remote_code=False)
        parts["tokenizer"] = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
        parts["processor"] = TrOCRProcessor(images, parts["tokenizer"])
    return pipeline(
        task,
        model=model,
        device=device,
        trust_remote_code=False,
        model_kwargs={"use_safetensors": True},
        **parts,
    )


class ObjectTagger:
    """The names of the objects on an image, most probable first, without repetition.

    The model is an object detector, a zero-shot object detector or an image classifier, by its
    config. A classifier's names describe what the image looks like. Several improbable names tell
    more than the first one, so the default threshold of a classifier is low. Attributes ("red car")
    are kept if they are part of a name.

    Args:
        model: a folder, or a name on the Hub.
        count: the largest number of names.
        threshold: the least score of a name; by default 0.01 for a classifier, 0.5 for a detector,
            0.1 for a zero-shot detector.
        names: what a zero-shot detector looks for.
        device: of the model; by default the first accelerator, or the processor.

    Raises:
        ContextError: if there is no such model, or it has another task.
    """

    column = "objects"
    by_language = False
    batch_size = 16

    def __init__(
        self,
        model: str | Path,
        *,
        count: int = 10,
        threshold: float | None = None,
        names: Sequence[str] = OBJECT_NAMES,
        device: str | None = None,
    ) -> None:
        model = str(model)
        task = _explained(model, partial(_task, model))
        self._pipeline = _explained(model, partial(_pipeline, task, model, device))
        self._count, self._names = count, list(names)
        self._threshold = _THRESHOLDS[task] if threshold is None else threshold
        settings = f"{task}, at most {count} names of at least {self._threshold}"
        self.name = f"{_shown(model)} ({settings})"
        looked_for = f", {self._names}" if task.startswith("zero-shot") else ""
        identity = _explained(model, partial(_identity, model))
        self.key = f"objects {identity} {settings}{looked_for}"

    def read(self, images: Sequence[Image.Image], lang: str = UNKNOWN_LANGUAGE) -> list[list[str]]:
        """The names for each image, in the model's own language."""
        images = list(images)
        if self._pipeline.task == "image-classification":
            found = self._pipeline(images, top_k=self._count, batch_size=len(images))
        else:
            wanted: dict[str, Any] = {"threshold": self._threshold}
            if self._pipeline.task == "zero-shot-object-detection":
                wanted["candidate_labels"] = self._names
            # One at a time: the pipeline cannot batch images of different shapes.
            found = self._pipeline(images, batch_size=1, **wanted)
        return [self._tags(objects) for objects in found]

    def _tags(self, objects: Iterable[Mapping[str, Any]]) -> list[str]:
        """The names of the pipeline's objects.

        >>> tagger._tags([{"label": "lakeside, lakeshore", "score": 0.8}])
        ['lakeside']
        """
        likely = sorted(objects, key=lambda found: -found["score"])
        names = (
            _SYNONYM.split(found["label"])[0].strip()
            for found in likely
            if found["score"] >= self._threshold
        )
        return list(dict.fromkeys(name for name in names if name))[: self._count]


class Captioner:
    """Captions of an image, most probable first.

    The model is any of transformers' `image-text-to-text`. A captioning model (BLIP, GIT, an
    encoder with a decoder) gets the image alone. A chat model gets a prompt too.

    Args:
        model: a folder, or a name on the Hub.
        count: the number of captions an image, by beam search over as many beams.
        max_new_tokens: the greatest length of a caption, in sub-words.
        device: as in `ObjectTagger`.

    Raises:
        ContextError: if there is no such model, or it has another task.
    """

    column = "captions"
    by_language = False
    batch_size = 8

    def __init__(
        self,
        model: str | Path,
        *,
        count: int = 5,
        max_new_tokens: int = 40,
        device: str | None = None,
    ) -> None:
        model = str(model)
        load = partial(_pipeline, "image-text-to-text", model, device)
        self._pipeline: Any = _explained(model, load)
        self._chats = getattr(self._pipeline.processor, "chat_template", None) is not None
        self._count = count
        self._generation = {
            "num_beams": count,
            "num_return_sequences": count,
            "do_sample": False,
            "max_new_tokens": max_new_tokens,
        }
        self.name = f"{_shown(model)} ({count} captions)"
        identity = _explained(model, partial(_identity, model))
        asked = f", asked {_PROMPT!r}" if self._chats else ""
        self.key = f"captions {identity} {count} of {max_new_tokens} tokens{asked}"

    def read(self, images: Sequence[Image.Image], lang: str = UNKNOWN_LANGUAGE) -> list[list[str]]:
        """The captions of each image, in the model's own language, without repetition."""
        texts = self._answers(images) if self._chats else self._captions(images)
        texts = [" ".join(text.split()) for text in texts]
        starts = range(0, len(texts), self._count)
        return [list(dict.fromkeys(filter(None, texts[i : i + self._count]))) for i in starts]

    def _answers(self, images: Sequence[Image.Image]) -> list[str]:
        texts = []
        for image in images:
            content = [{"type": "image", "image": image}, {"type": "text", "text": _PROMPT}]
            chat = [{"role": "user", "content": content}]
            records = self._pipeline(
                text=chat, return_full_text=False, generate_kwargs=self._generation
            )
            texts += [record["generated_text"] for record in records]
        return texts

    def _captions(self, images: Sequence[Image.Image]) -> list[str]:
        # Without the pipeline's call, which requires a prompt: these models work best without one.
        run = self._pipeline
        inputs = run.processor(images=list(images), return_tensors="pt")
        pieces = run.model.generate(**inputs.to(run.device, run.model.dtype), **self._generation)
        return run.tokenizer.batch_decode(pieces, skip_special_tokens=True)


# Characters ---------------------------------------------------------------------------------------


class TesseractReader:
    """The text on an image, one string a line, read by the program `tesseract`.

    The image is converted to grey, and enlarged if it is small. Words of low confidence are left
    out, and so are words without a letter or digit, which Tesseract finds in patterns.

    Args:
        languages: the languages that `read` will get; a missing language pack is an error at once.

    Raises:
        ContextError: if the program or a language pack is not installed.
    """

    column = "ocr"
    by_language = True
    batch_size = 16

    def __init__(self, languages: Iterable[str] = ()) -> None:
        program = which("tesseract")
        if program is None:
            raise ContextError("found no program tesseract, expected it: install tesseract-ocr")
        self._program = program
        self._installed = frozenset(self._run(["--list-langs"]).splitlines())
        for lang in languages:
            self._pack(lang)
        version = self._run(["--version"]).splitlines()[0]
        self.name = f"{version} (words of at least {_CONFIDENCE} %)"
        self.key = f"ocr {version}, {_CONFIDENCE} %, grey, {_READABLE_SIDE}"

    def read(self, images: Sequence[Image.Image], lang: str = UNKNOWN_LANGUAGE) -> list[list[str]]:
        """The lines of each image, from top to bottom, read in one language.

        As many images are read at once as there are processors.

        Raises:
            ContextError: if the language pack is not installed.
            RuntimeError, subprocess.TimeoutExpired: if the program fails at an image, or takes more
                than a minute.
        """
        pack = self._pack(lang)
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            return list(pool.map(lambda image: self._lines(image, pack), images))

    def _pack(self, lang: str) -> str:
        pack = TESSERACT_LANGUAGES.get(lang.partition("-")[0].lower(), "eng")
        if pack not in self._installed:
            package = f"tesseract-ocr-{pack.replace('_', '-')}"
            found = f"tesseract without {pack!r}, which images in {lang!r} need"
            raise ContextError(f"found {found}: install {package}")
        return pack

    def _run(self, arguments: Sequence[str], content: bytes = b"") -> str:
        process = subprocess.run(
            [self._program, *arguments],
            input=content,
            capture_output=True,
            timeout=_TESSERACT_SECONDS,
            env={**os.environ, "OMP_THREAD_LIMIT": "1"},  # images are read in parallel
        )
        if process.returncode != 0:
            reason = " ".join(process.stderr.decode("utf-8", "replace").split())
            raise RuntimeError(f"tesseract exits with {process.returncode}: {reason}")
        return process.stdout.decode("utf-8", "replace")

    def _lines(self, image: Image.Image, pack: str) -> list[str]:
        file = io.BytesIO()
        _readable(image).save(file, "PNG", compress_level=1)
        table = self._run(["stdin", "stdout", "-l", pack, "tsv"], file.getvalue())
        lines: dict[tuple[str, ...], list[str]] = {}
        for row in csv.DictReader(io.StringIO(table), delimiter="\t", quoting=csv.QUOTE_NONE):
            text = (row["text"] or "").strip()
            if float(row["conf"]) >= _CONFIDENCE and any(map(str.isalnum, text)):
                place = (row["block_num"], row["par_num"], row["line_num"])
                lines.setdefault(place, []).append(text)
        return [" ".join(words) for words in lines.values()]


def _readable(image: Image.Image) -> Image.Image:
    """The image in grey, enlarged if it is small.

    On 60 boards of the sample, Tesseract read 89 % of the words in colour and 98 % in grey.
    """
    grey = image.convert("L")
    factor = min(_ENLARGED_AT_MOST, _READABLE_SIDE / max(image.size))
    if factor <= 1:
        return grey
    size = (round(image.width * factor), round(image.height * factor))
    return grey.resize(size, Image.Resampling.BICUBIC)


__all__ = [
    "OBJECT_NAMES",
    "TESSERACT_LANGUAGES",
    "Captioner",
    "ContextError",
    "Extractor",
    "ObjectTagger",
    "TesseractReader",
]
