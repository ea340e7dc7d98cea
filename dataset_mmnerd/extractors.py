"""Text made from images: what is seen on them, what one would say of them, what is written there.

>>> from dataset_mmnerd import load_sample
>>> from dataset_mmnerd.extractors import ObjectTagger, TesseractReader, add_visual_context
>>> extractors = [ObjectTagger("backbones/tagger"), TesseractReader()]
>>> add_visual_context(load_sample()["train"], extractors)[0]["ocr"]

An extractor fills one column. It has one method, `read`, from a batch of images to a list of
strings for each. `read_images` lets them read each distinct image once, by the digest of its
file (once a language, if what is read depends on it); `context_folder.py` does so for a data set
folder. torch and transformers are imported where a model is loaded, not before.

The strings are plain: a text encoder reads "umbrella" better than "umbrella: 0.47". Scores decide
which strings there are and their order, most probable first.
"""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from datasets import Dataset, Features, concatenate_datasets
from datasets import Image as ImageColumn
from PIL import Image

from .images import ImageError, load_image, read_image
from .schema import UNKNOWN_LANGUAGE, features
from .shards import image_digest

if TYPE_CHECKING:
    from transformers import Pipeline

logger = logging.getLogger(__name__)

_LONGEST_SIDE = 2048  # larger images are reduced to it: a bound of a batch's memory
_READABLE_SIDE = 1000  # smaller images are enlarged towards it before characters are read
_ENLARGED_AT_MOST = 3
_TESSERACT_SECONDS = 60
_READING_FAULTS = (ValueError, RuntimeError, OSError, subprocess.SubprocessError)

_THRESHOLDS = {
    "image-classification": 0.01,
    "object-detection": 0.5,
    "zero-shot-object-detection": 0.1,
}
# ImageNet's names say a thing twice: "lakeside, lakeshore", "box / carton", "kite (bird of prey)".
_SYNONYM = re.compile(r",| / | \(")
_Loaded = TypeVar("_Loaded")

OBJECT_NAMES = (
    *("person", "face", "crowd", "singer", "musician", "speaker", "athlete", "team"),
    *("building", "street", "city", "village", "landscape", "map", "flag", "stadium"),
    *("logo", "crest", "pennant", "shop", "van", "car", "ball", "sign"),
    *("book", "film poster", "cinema", "album cover", "screen", "food", "animal", "plant"),
)
"""What is looked for by a model that must be told, if nothing else is asked for."""

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
"""Tesseract's names of languages; any other language is read as English."""


class ContextError(Exception):
    """Why no image can be read, and what to install or change, in one line."""


class Extractor(Protocol):
    """What reads images.

    Attributes:
        column: `objects`, `captions` or `ocr`.
        name: what it is, for the data card.
        key: what it is with all that its strings depend on; a reading is kept under it.
        batch_size: how many images `read` is given at most.
        by_language: whether `lang` changes what is read.
    """

    column: str
    name: str
    key: str
    batch_size: int
    by_language: bool

    def read(self, images: Sequence[Image.Image], lang: str = UNKNOWN_LANGUAGE) -> list[list[str]]:
        """The strings of each of some RGB images."""


# Models -------------------------------------------------------------------------------------------


def _identity(model: str) -> str:
    """A model's name, with what its weights are: a folder's digest, or the Hub's commit."""
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
    """A model's name for the data card, without the folders of this machine."""
    return Path(model).name if Path(model).is_absolute() else model


def _task(model: str) -> str:
    """The pipeline that runs a model of objects, from the class that its config names."""
    from transformers import AutoConfig
    from transformers.models.auto import modeling_auto as auto

    tasks = {
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
    """Load something of a model; what goes wrong is one line."""
    try:
        return load()
    except (OSError, ValueError, TypeError, KeyError, ImportError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        expected = (
            "a folder or a model of the Hub with safetensors "
            "(`python scripts/offline_backbones.py` makes backbones/tagger)"
        )
        raise ContextError(f"{model}: found {reason.strip()}, expected {expected}") from error


def _pipeline(task: str, model: str, device: str | None) -> Pipeline:
    """A transformers pipeline that runs no code of the model's repository and reads no pickles."""
    from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer, TrOCRProcessor, pipeline

    parts: dict[str, Any] = {}
    config = AutoConfig.from_pretrained(model, trust_remote_code=False)
    if config.model_type == "vision-encoder-decoder":
        # These come without a processor of their own, and the pipeline insists on one.
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
    """Names of what is on an image, most probable first, each once.

    The model may be an object detector, a zero-shot object detector or an image classifier: its
    config says which. A classifier's names are not so much what is there as what the image looks
    like, and the improbable ones tell a reader more together than the first one alone, so its
    default threshold is low. Attributes ("red car") are read where they are part of the names.

    Args:
        model: a folder, or a name on the Hub.
        count: how many names at most.
        threshold: the score of a name is at least this; by default 0.01 of a classifier, 0.5 of a
            detector, 0.1 of a zero-shot detector.
        names: what a zero-shot detector looks for.
        device: where the model runs; by default the first accelerator, or the processor.
        batch_size: how many images go through the model at a time.

    Raises:
        ContextError: if there is no such model, or it is none for objects.
    """

    column = "objects"
    by_language = False

    def __init__(
        self,
        model: str | Path,
        *,
        count: int = 10,
        threshold: float | None = None,
        names: Sequence[str] = OBJECT_NAMES,
        device: str | None = None,
        batch_size: int = 16,
    ) -> None:
        model = str(model)
        task = _explained(model, partial(_task, model))
        self._pipeline = _explained(model, partial(_pipeline, task, model, device))
        self._count, self._names, self.batch_size = count, list(names), batch_size
        self._threshold = _THRESHOLDS[task] if threshold is None else threshold
        settings = f"{task}, at most {count} names of at least {self._threshold}"
        self.name = f"{_shown(model)} ({settings})"
        looked_for = f", {self._names}" if task.startswith("zero-shot") else ""
        identity = _explained(model, partial(_identity, model))
        self.key = f"objects {identity} {settings}{looked_for}"

    def read(self, images: Sequence[Image.Image], lang: str = UNKNOWN_LANGUAGE) -> list[list[str]]:
        """Names for each image; they are the model's own, whatever the language."""
        images = list(images)
        if self._pipeline.task == "image-classification":
            found = self._pipeline(images, top_k=self._count, batch_size=len(images))
        else:
            wanted = {"threshold": self._threshold}
            if self._pipeline.task == "zero-shot-object-detection":
                wanted["candidate_labels"] = self._names
            # One at a time: the pipeline cannot put images of different shapes into one batch.
            found = self._pipeline(images, batch_size=1, **wanted)
        return [self._tags(objects) for objects in found]

    def _tags(self, objects: Iterable[Mapping[str, Any]]) -> list[str]:
        """
        >>> ObjectTagger._tags(tagger, [{"label": "lakeside, lakeshore", "score": 0.8}])
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
    """Sentences about an image, most probable first.

    Any model of transformers' `image-text-to-text`: one made for captions (BLIP, GIT, an encoder
    with a decoder) is shown the image alone; one that chats is asked for a caption.

    Args:
        model: a folder, or a name on the Hub.
        count: how many captions an image, by beam search over as many beams.
        prompt: what a model that chats is asked.
        max_new_tokens: how long a caption may become.
        device, batch_size: as in `ObjectTagger`.

    Raises:
        ContextError: if there is no such model, or it gives no text for an image.
    """

    column = "captions"
    by_language = False

    def __init__(
        self,
        model: str | Path,
        *,
        count: int = 5,
        prompt: str = "Describe this image in one short sentence.",
        max_new_tokens: int = 40,
        device: str | None = None,
        batch_size: int = 8,
    ) -> None:
        model = str(model)
        self._pipeline = _explained(model, partial(_pipeline, "image-text-to-text", model, device))
        self._chats = getattr(self._pipeline.processor, "chat_template", None) is not None
        self._count, self._prompt, self.batch_size = count, prompt, batch_size
        self._generation = {
            "num_beams": count,
            "num_return_sequences": count,
            "do_sample": False,
            "max_new_tokens": max_new_tokens,
        }
        self.name = f"{_shown(model)} ({count} captions)"
        identity = _explained(model, partial(_identity, model))
        asked = f", asked {prompt!r}" if self._chats else ""
        self.key = f"captions {identity} {count} of {max_new_tokens} tokens{asked}"

    def read(self, images: Sequence[Image.Image], lang: str = UNKNOWN_LANGUAGE) -> list[list[str]]:
        """Captions for each image, in the model's own language; what is said twice comes once."""
        texts = self._answers(images) if self._chats else self._captions(images)
        texts = [" ".join(text.split()) for text in texts]
        starts = range(0, len(texts), self._count)
        return [list(dict.fromkeys(filter(None, texts[i : i + self._count]))) for i in starts]

    def _answers(self, images: Sequence[Image.Image]) -> list[str]:
        texts = []
        for image in images:
            content = [{"type": "image", "image": image}, {"type": "text", "text": self._prompt}]
            chat = [{"role": "user", "content": content}]
            records = self._pipeline(
                text=chat, return_full_text=False, generate_kwargs=self._generation
            )
            texts += [record["generated_text"] for record in records]
        return texts

    def _captions(self, images: Sequence[Image.Image]) -> list[str]:
        # Not by the pipeline itself: it wants a prompt, and these models do best without one.
        run = self._pipeline
        inputs = run.processor(images=list(images), return_tensors="pt")
        pieces = run.model.generate(**inputs.to(run.device, run.model.dtype), **self._generation)
        return run.tokenizer.batch_decode(pieces, skip_special_tokens=True)


# Characters ---------------------------------------------------------------------------------------


class TesseractReader:
    """What is written on an image, a string a line, read by the program `tesseract`.

    The image is made grey, and enlarged if it is small. Words of which Tesseract is not sure are
    left out, and so are words without a letter or digit: it sees characters in any pattern.

    Args:
        languages: those that will be asked for; a missing language pack is found at once.
        confidence: of a word, in per cent, at least.
        batch_size: how many images `read` is given at a time; as many run at once as there are
            processors.

    Raises:
        ContextError: if the program or a language is not installed.
    """

    column = "ocr"
    by_language = True

    def __init__(
        self, languages: Iterable[str] = (), *, confidence: float = 70, batch_size: int = 16
    ) -> None:
        program = which("tesseract")
        if program is None:
            raise ContextError("found no program tesseract, expected it: install tesseract-ocr")
        self._program = program
        self._confidence, self.batch_size = confidence, batch_size
        self._installed = frozenset(self._run(["--list-langs"]).splitlines())
        for lang in languages:
            self._pack(lang)
        version = self._run(["--version"]).splitlines()[0]
        self.name = f"{version} (words of at least {confidence:g} %)"
        self.key = f"ocr {version}, {confidence:g} %, grey, {_READABLE_SIDE}"

    def read(self, images: Sequence[Image.Image], lang: str = UNKNOWN_LANGUAGE) -> list[list[str]]:
        """The lines of each image, from top to bottom, read in one language.

        Raises:
            ContextError: if the language's pack is not installed.
            RuntimeError, subprocess.TimeoutExpired: if the program fails at an image, or takes a
                minute for it.
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
            env={**os.environ, "OMP_THREAD_LIMIT": "1"},  # more threads only wait for each other
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
            if float(row["conf"]) >= self._confidence and any(map(str.isalnum, text)):
                place = (row["block_num"], row["par_num"], row["line_num"])
                lines.setdefault(place, []).append(text)
        return [" ".join(words) for words in lines.values()]


def _readable(image: Image.Image) -> Image.Image:
    """The image in grey, enlarged if it is small.

    Tesseract takes coloured paper for a part of the image: of the words on 60 boards of the
    sample it read 89 % in colour and 98 % in grey.
    """
    grey = image.convert("L")
    factor = min(_ENLARGED_AT_MOST, _READABLE_SIDE / max(image.size))
    if factor <= 1:
        return grey
    size = (round(image.width * factor), round(image.height * factor))
    return grey.resize(size, Image.Resampling.BICUBIC)


# Reading each image once ------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """What an extractor read on an image, or why it could not (then `strings` is None)."""

    strings: list[str] | None
    fault: str | None = None


ReadingKey = tuple[str, str, str]


class Readings:
    """What was read so far, by extractor, image and language.

    Attributes:
        failures: what an earlier run could not read. It is read anew; that it fails again says
            nothing against the extractor.
    """

    def __init__(self) -> None:
        self.failures: frozenset[ReadingKey] = frozenset()
        self._found: dict[ReadingKey, Reading] = {}

    @staticmethod
    def key(extractor: Extractor, digest: str, lang: str) -> ReadingKey:
        """What a reading is kept under: the language only where it matters."""
        return extractor.key, digest, lang if extractor.by_language else ""

    def get(self, key: ReadingKey) -> Reading | None:
        """What was read, or None."""
        return self._found.get(key)

    def add(self, found: Mapping[ReadingKey, Reading]) -> None:
        """Keep what was read."""
        self._found.update(found)


def decoded(content: bytes) -> Image.Image:
    """An image file as RGB, as `load_image` reads it, 2,048 pixels at most.

    Raises:
        ImageError: if it is broken or enormous.
    """
    image = load_image(content, smallest_side=_LONGEST_SIDE)
    image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    return image


def read_images(
    images: Iterable[tuple[bytes, str]],
    extractors: Sequence[Extractor],
    readings: Readings,
    advance: Callable[[int], object] = lambda count: None,
) -> None:
    """Let every extractor read every image that it has not read yet, in batches.

    Args:
        images: (content of a file, language), as often as one likes.
        extractors: what reads them.
        readings: what was read before; what is read now is added, batch by batch.
        advance: told how many readings are done, whenever some are.

    Raises:
        ContextError: if an extractor can read none of the images of a batch that are new to it:
            then it is to blame, not they. A single image that cannot be read is noted in its
            reading.
    """
    waiting: dict[tuple[str, str], dict[ReadingKey, Image.Image]] = {}
    for content, lang in images:
        digest = image_digest(content)
        keys = [(extractor, Readings.key(extractor, digest, lang)) for extractor in extractors]
        new = [
            (extractor, key)
            for extractor, key in keys
            if readings.get(key) is None and key not in waiting.get((key[0], key[2]), ())
        ]
        if not new:
            continue
        try:
            image = decoded(content)
        except ImageError as error:
            readings.add({key: Reading(None, error.reason) for _, key in new})
            advance(len(new))
            continue
        for extractor, key in new:
            batch = waiting.setdefault((key[0], key[2]), {})
            batch[key] = image
            if len(batch) >= extractor.batch_size:
                _read_batch(extractor, batch, readings, advance)
                batch.clear()
    for extractor in extractors:
        for (name, _), batch in waiting.items():
            if batch and name == extractor.key:
                _read_batch(extractor, batch, readings, advance)


def _read_batch(
    extractor: Extractor,
    batch: Mapping[ReadingKey, Image.Image],
    readings: Readings,
    advance: Callable[[int], object],
) -> None:
    """Read some images of one language; see `read_images`."""
    found = _read(extractor, batch, next(iter(batch))[2] or UNKNOWN_LANGUAGE)
    new = [reading for key, reading in found.items() if key not in readings.failures]
    if len(new) > 1 and all(reading.strings is None for reading in new):
        message = f"{extractor.name}: found {new[0].fault} at each of {len(new)} images"
        raise ContextError(f"{message}, expected that it reads most of them")
    readings.add(found)
    advance(len(batch))


def _read(
    extractor: Extractor, batch: Mapping[ReadingKey, Image.Image], lang: str
) -> dict[ReadingKey, Reading]:
    """Read some images together; if that fails, each alone, to find which are to blame."""
    try:
        strings = extractor.read(list(batch.values()), lang)
        return {key: Reading(each) for key, each in zip(batch, strings, strict=True)}
    except _READING_FAULTS as error:
        if len(batch) == 1:
            return dict.fromkeys(batch, Reading(None, " ".join(str(error).split()) or repr(error)))
    found: dict[ReadingKey, Reading] = {}
    for key, image in batch.items():
        found |= _read(extractor, {key: image}, lang)
    return found


# Rows in memory -----------------------------------------------------------------------------------

ImageValue = str | Path | bytes | Mapping[str, Any] | None


def visual_context(
    images: Sequence[ImageValue], langs: Sequence[str], extractors: Sequence[Extractor]
) -> dict[str, list[list[str] | None]]:
    """The columns that some extractors make of some images, each distinct image read once.

    >>> context = visual_context([row["image"] for row in rows], ["en"] * len(rows), extractors)
    >>> context["objects"][0], context["ocr"][0]

    Args:
        images: an image for each row: a path, the bytes of a file, `{"bytes", "path"}`, or None.
        langs: the language of each row.
        extractors: what reads them.

    Returns:
        For each extractor's column as many values as there are rows: the strings read, none where
        nothing was found, and None where there is no image or it cannot be read (that is logged).

    Raises:
        ContextError: if an extractor cannot work at all.
    """
    readings, digests = Readings(), []
    faults: dict[str, tuple[int, str]] = {}  # of each distinct image its first row, and why

    def contents() -> Iterable[tuple[bytes, str]]:
        for row, (image, lang) in enumerate(zip(images, langs, strict=True)):
            content = None
            try:
                content = _content(image)
            except ImageError as error:
                faults.setdefault(str(image), (row, str(error)))
            digests.append(image_digest(content))
            if content is not None:
                yield content, lang

    read_images(contents(), extractors, readings)
    columns: dict[str, list[list[str] | None]] = {}
    for extractor in extractors:
        values = columns[extractor.column] = []
        for row, (digest, lang) in enumerate(zip(digests, langs, strict=True)):
            reading = digest and readings.get(Readings.key(extractor, digest, lang))
            values.append(reading.strings if reading else None)
            if reading and reading.fault is not None:
                faults.setdefault(digest, (row, reading.fault))
    if faults:
        message = "%d images cannot be read, the first: row %d: %s"
        logger.warning(message, len(faults), *min(faults.values()))
    return columns


def _content(image: ImageValue) -> bytes | None:
    if image is None or isinstance(image, bytes):
        return image
    if isinstance(image, Mapping):
        return image["bytes"] if image.get("bytes") is not None else _content(image.get("path"))
    return read_image(image)


def add_visual_context(dataset: Dataset, extractors: Sequence[Extractor]) -> Dataset:
    """A data set in memory with its columns `objects`, `captions`, `ocr` filled by extractors.

    Rows without an image keep what they have.

    Args:
        dataset: rows of `schema.py`.
        extractors: what fills a column each.
    """
    images = dataset.cast_column("image", ImageColumn(decode=False))["image"]
    columns = visual_context(images[:], dataset["lang"][:], extractors)
    for name, values in columns.items():
        before = dataset[name][:] if name in dataset.column_names else [None] * len(dataset)
        pairs = zip(values, before, images, strict=True)
        columns[name] = [old if image is None else new for new, old, image in pairs]
    types = Features({name: features([])[name] for name in columns})
    filled = Dataset.from_dict(columns, features=types)
    kept = dataset.remove_columns([name for name in columns if name in dataset.column_names])
    order = list(dict.fromkeys([*dataset.column_names, *columns]))
    return concatenate_datasets([kept, filled], axis=1).select_columns(order)


__all__ = [
    "OBJECT_NAMES",
    "TESSERACT_LANGUAGES",
    "Captioner",
    "ContextError",
    "Extractor",
    "ObjectTagger",
    "Reading",
    "Readings",
    "TesseractReader",
    "add_visual_context",
    "decoded",
    "read_images",
    "visual_context",
]
