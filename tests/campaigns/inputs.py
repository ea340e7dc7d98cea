"""Surface: what is given to the pipeline and to the processor: texts, words, images, addresses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image

from modeling_2mner import MultimodalNERPipeline, TwoMNERForTokenClassification, TwoMNERProcessor
from tests.campaigns.cases import ACCEPTED, Case, Outcome, Surface, check, judged
from tests.campaigns.models import LABELS, write_encoders, write_model
from tests.campaigns.mutators import HOSTILE_TEXTS, any_hostile, edit_bytes, edit_value
from tests.dataset_mmnerd.conftest import image_bytes

TEXTS = (
    "Angela Merkel besucht Paris.",
    "J'adore l'été à Cádiz, n'est-ce pas ?",
    "安倍晋三は東京にいる。",
    "محمد يعيش في القاهرة",
    "RT @ana: U.S.A. 1,000.5 https://example.org/a_b #Ünïcode 👩‍👩‍👧 don't",
    "",
)
ARGUMENTS = (
    *("input", "text", "words", "tokens", "image", "images", "labels", "label", "context", "url"),
    *("objects", "captions", "ocr", "aggregation_strategy", "return_tensors", "sentence", "batch"),
    *("is_split_into_words", "batch_size", "num_workers", "argument", "option", "http://"),
)


def hostile_object(random: Random) -> Any:
    """A hostile value, not only of JSON: bytes, arrays, tensors, images, objects, generators."""
    if random.random() < 0.5:
        return any_hostile(random)
    shape = random.choice(
        ((), (0,), (3,), (0, 0), (5, 4), (5, 4, 3), (3, 5, 4), (5, 4, 7), (1,) * 5)
    )
    makers: tuple[Callable[[], Any], ...] = (
        lambda: b"",
        lambda: random.randbytes(40),
        lambda: bytearray(image_bytes()),
        lambda: edit_bytes(image_bytes(), random),
        lambda: np.zeros(shape, random.choice((np.uint8, np.float32, np.int64, bool, complex))),
        lambda: np.full(shape, random.choice((np.nan, np.inf, -1.0, 1e9))),
        lambda: torch.zeros(shape),
        lambda: torch.full(shape, 300),
        lambda: Image.new(
            random.choice(("RGB", "L", "CMYK", "I;16")), random.choice(((0, 0), (1, 9)))
        ),
        lambda: Image.new("RGB", (9000, 1)),
        lambda: object(),
        lambda: {1, "a"},
        lambda: {"bytes": b"", "path": None},
        lambda: {"bytes": None, "path": random.choice(HOSTILE_TEXTS)},
        lambda: Path(random.choice(HOSTILE_TEXTS)),
        lambda: (word for word in ("a", "b")),
        lambda: ("a", "b"),
        lambda: range(3),
        lambda: np.array(["a", "b"]),
        lambda: LABELS,
        lambda: lambda: None,
        lambda: int,
    )
    return random.choice(makers)()


def hostile_answer(random: Random) -> bytes:
    """What a server may answer, byte by byte: sound, cut off, too long, or leading astray."""
    content = image_bytes(random.randrange(3))
    length = random.choice((len(content), len(content), len(content) * 3, 0, -1, 10**12))
    status = random.choice(("200 OK", "200 OK", "404 Not Found", "500 X", "204 No Content", "999"))
    kind = random.choice(("image/png", "text/html", "\xe9\x00".encode().decode("latin-1"), ""))
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {length}", f"Content-Type: {kind}"]
    if random.random() < 0.25:
        target = random.choice(
            ("ftp://127.0.0.1/a", "file:///etc/passwd", "/again", "//[", "http://")
        )
        lines = [f"HTTP/1.1 {random.choice((301, 302, 307))} Moved", f"Location: {target}"]
        lines.append("Content-Length: 0")
    if random.random() < 0.2:
        lines.append(
            random.choice(("Content-Encoding: gzip", "Transfer-Encoding: chunked", "x" * 99_999))
        )
    answer = "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + content
    return edit_bytes(answer, random) if random.random() < 0.4 else answer


class _Server:
    """A server on loopback that answers every request with `answer`."""

    def __init__(self) -> None:
        server = self
        self.answer = b""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.close_connection = True
                self.wfile.write(server.answer)

            def log_message(self, *arguments: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/photo.png"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()


class Inputs(Surface):
    """Inputs of the pipeline and of the processor, of right and wrong types."""

    name = "inputs"
    forbidden = tuple(event for event in Surface.forbidden if event != "socket.connect")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        text, vision = write_encoders(folder)
        write_model(folder / "model", text, vision, context_budget=8)
        self.model = TwoMNERForTokenClassification.from_pretrained(folder / "model")
        self.processor = TwoMNERProcessor.from_pretrained(folder / "model")
        self.pipeline = MultimodalNERPipeline(model=self.model, processor=self.processor)
        self.photo = folder / "photo.png"
        self.photo.write_bytes(image_bytes())
        self.server = _Server()

    def run(self, case: Case, folder: Path) -> Outcome:
        random = case.random()
        self.server.answer = hostile_answer(random)
        call = random.choice((self.one_text, self.one_text, self.several, self.batch))
        return call(random, case.edit_randoms())

    def image(self, random: Random) -> Any:
        kinds: tuple[Callable[[], Any], ...] = (
            lambda: None,
            lambda: str(self.photo),
            lambda: image_bytes(),
            lambda: Image.new("RGB", (20, 30)),
            lambda: {"bytes": image_bytes(), "path": None},
            lambda: self.server.url,
        )
        return random.choice(kinds)()

    def input(self, random: Random) -> Any:
        """A valid input of the pipeline."""
        text = random.choice(TEXTS)
        image = self.image(random)
        context = {"ocr": ["LIVE IN CONCERT"], "objects": None} if random.random() < 0.3 else {}
        return random.choice(
            (
                text,
                {"text": text, "image": image, **context},
                {"words": text.split(), "image": image, **context},
                {"tokens": text.split(), "ner_tags": [0], "id": "a", "lang": "de", **context},
            )
        )

    def edited(self, value: Any, edits: list[Random]) -> Any:
        for edit in edits:
            if isinstance(value, str):
                place = edit.randrange(len(value) + 1)
                hostile = edit.choice(HOSTILE_TEXTS)
                value = value[:place] + hostile + value[place:]
            else:
                value = edit_value(value, edit, hostile_object)
        return value

    def one_text(self, random: Random, edits: list[Random]) -> Outcome:
        """One input, with or without options."""
        value = self.edited(self.input(random), edits)
        options: dict[str, Any] = {}
        if edits and random.random() < 0.2:
            key = random.choice(("aggregation_strategy", "is_split_into_words", "batch_size", "x"))
            options[key] = hostile_object(random)
        try:
            found = self.pipeline(value, **options)
        except Exception as error:
            return judged(error, (TypeError, ValueError, OSError), (*ARGUMENTS, *options))
        if isinstance(value, str):
            self.check_entities(found, value)
        elif isinstance(value, dict) and isinstance(value.get("text"), str):
            self.check_entities(found, value["text"])
        elif isinstance(value, dict):
            words = value.get("words", value.get("tokens"))
            self.check_entities(found, " ".join(words))
        return Outcome(ACCEPTED)

    def check_entities(self, found: list[dict], text: str) -> None:
        last = 0
        for entity in found:
            start, end = entity["start"], entity["end"]
            check(text[start:end] == entity["word"], "wrong offsets:", entity)
            check(last <= start < end, "entities out of order or empty:", entity)
            check(0 <= entity["score"] <= 1.0001, f"score {entity['score']}")
            last = end

    def several(self, random: Random, edits: list[Random]) -> Outcome:
        """A list, tuple or generator of inputs; each alone gives the same."""
        inputs = [self.input(random) for _ in range(random.randrange(4))]
        inputs = self.edited({"inputs": inputs}, edits)
        inputs = inputs.get("inputs") if isinstance(inputs, dict) else inputs
        many: Any = inputs
        if isinstance(inputs, list):
            generator: Iterator = iter(inputs)
            many = random.choice((inputs, inputs, generator))
        options = random.choice(({}, {"batch_size": 2}, {"is_split_into_words": True}))
        try:
            found = self.pipeline(many, **options)
            found = found if isinstance(found, list) else list(found)
        except Exception as error:
            return judged(error, (TypeError, ValueError, OSError), (*ARGUMENTS, *options))
        if isinstance(inputs, list) and not options.get("is_split_into_words"):
            check(len(found) == len(inputs), f"{len(found)} answers to {len(inputs)} inputs")
        return Outcome(ACCEPTED)

    def batch(self, random: Random, edits: list[Random]) -> Outcome:
        """Arguments of the processor."""
        sentences = [text.split() for text in random.choices(TEXTS, k=random.randrange(1, 4))]
        arguments: Any = {
            "words": sentences,
            "images": [self.image(random) for _ in sentences],
            "context": [random.choice((None, {"ocr": ["a"], "captions": []})) for _ in sentences],
            "labels": [["O"] * len(sentence) for sentence in sentences],
        }
        for key in ("images", "context", "labels"):
            if random.random() < 0.3:
                del arguments[key]
        arguments = self.edited(arguments, edits)
        if not isinstance(arguments, dict) or "words" not in arguments:
            return Outcome(ACCEPTED)
        arguments = {
            key: value for key, value in arguments.items() if key.isidentifier() and len(key) < 99
        }
        try:
            batch = self.processor(**arguments)
        except Exception as error:
            return judged(error, (TypeError, ValueError, OSError), (*ARGUMENTS, *arguments))
        with torch.no_grad():
            outputs = self.model(**batch)
        words = arguments["words"]
        words = [words] if len(words) and isinstance(words[0], str) else words
        lengths = batch["word_mask"].sum(1).tolist()
        check(lengths == [len(sentence) for sentence in words], f"{lengths} words")
        check(bool(torch.isfinite(outputs.logits).all()), "emissions are not finite")
        if outputs.loss is not None:
            check(bool(torch.isfinite(outputs.loss)), f"the loss is {outputs.loss}")
        return Outcome(ACCEPTED)
