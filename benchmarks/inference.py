"""How fast a trained model annotates, as ratios within one process.

    python benchmarks/inference.py runs/wikineural --file DATA/de/test.conllu[50%:] --sentences 400
    python benchmarks/inference.py runs/wikineural --student runs/student --file DATA/de/test.conllu
    python benchmarks/inference.py runs/wikineural --spacy runs/spacy_de --file DATA/de/test.conllu
    python benchmarks/inference.py runs/wikineural --file DATA/de/test.conllu --device cuda

`plain` is `pipeline("token-classification")` at its default, one sentence at a time, over the same
encoder and the same linear layer; it has no CRF, and cuts off what is beyond 512 sub-words. All
others are `pipeline("multimodal-ner")`:

* `single`: one call a sentence.
* `unsorted`: batches of 16 in the order of the file, each padded to its longest sentence.
* `sorted`: the default.
* `bfloat16`, `int8`: the default in these precisions. There is no `int8` on a GPU.
* `student`, `student bfloat16`, `student int8`: the same three of a smaller model.
* `spacy`: `nlp.pipe` at its default over the texts, with NER and what it needs, and nothing else.

For each way: its speed against `plain` and `unsorted`, by the clock and by the processor's time for
this process, in which other programs do not count; how many sentences have the very labels of
`single`; and F1 against the file's labels. Then the same for a skewed mix, short sentences and a
few articles of 12 of them. The ways take turns, so that other programs on the machine slow all of
them alike; a figure is the median of the ratios within each round. Then each way's peak memory, in
a process of its own.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import torch
from accelerate.utils import send_to_device
from transformers import AutoModelForTokenClassification, TokenClassificationPipeline

from dataset_mmnerd import read_file
from modeling_2mner import MultimodalNERPipeline, TwoMNERForTokenClassification, TwoMNERProcessor
from modeling_2mner.hardware_2mner import multiplies_bf16
from modeling_2mner.labels_2mner import spans_from_labels
from training_2mner.metrics import count_matches

ARTICLE = 12
"""Sentences of an article of the mix: `plain` reads it whole."""

SHARE = 20
"""One text of so many is an article."""

BATCH = 16
"""Sentences of a batch that is not sorted."""

PROCESSOR = torch.device("cpu")
PRECISIONS = ("bfloat16", "int8")
STUDENT = "student"
WAYS = ("plain", "single", "unsorted", "sorted", *PRECISIONS)
WAYS_OF_STUDENT = (STUDENT, *(f"{STUDENT} {precision}" for precision in PRECISIONS))

Span = tuple[int, int, str]
"""Characters `[start, end)` of the words joined by spaces, and the type."""

Way = Callable[[list[list[str]]], list[Any]]
"""From sentences to the entities of each, as sets of spans; those of `plain` are not read."""


# What is compared ---------------------------------------------------------------------------------


def plain_pipeline(
    model: TwoMNERForTokenClassification, processor: TwoMNERProcessor
) -> TokenClassificationPipeline:
    """`pipeline("token-classification")` over the model's encoder and linear layer."""
    config: Any = copy.deepcopy(model.config.text_config)
    config.id2label, config.label2id = model.config.id2label, model.config.label2id
    plain = AutoModelForTokenClassification.from_config(config).eval()
    plain.base_model.load_state_dict(model.model.text_model.state_dict())
    plain.classifier.load_state_dict(model.classifier.state_dict())
    tokenizer = copy.deepcopy(processor.tokenizer)
    tokenizer.model_max_length = processor.max_length
    return TokenClassificationPipeline(model=plain, tokenizer=tokenizer, device=model.device)


def as_characters(words: list[str], spans: Sequence[Span]) -> set[Span]:
    """Spans of words as spans of their characters."""
    starts = [0]
    for word in words:
        starts.append(starts[-1] + len(word) + 1)
    return {(starts[start], starts[end] - 1, kind) for start, end, kind in spans}


def spans_of(entities: list[dict]) -> set[Span]:
    return {(entity["start"], entity["end"], entity["label"]) for entity in entities}


def load(
    folder: Path, precision: str | None = None, device: torch.device = PROCESSOR
) -> MultimodalNERPipeline:
    """The pipeline of a saved model."""
    return MultimodalNERPipeline(
        model=TwoMNERForTokenClassification.from_pretrained(folder),
        processor=TwoMNERProcessor.from_pretrained(folder),
        device=device,
        precision=precision,
    )


def spacy_ner(folder: Path) -> Way:
    """A spaCy pipeline: its NER, and the component that this gets its vectors from, if it does."""
    import spacy  # not needed for the other ways

    nlp = spacy.load(folder)
    needed = ["ner"]
    if "tok2vec" in nlp.pipe_names:
        vectors: Any = nlp.get_pipe("tok2vec")
        needed += ["tok2vec"] if "ner" in vectors.listening_components else []
    nlp.select_pipes(enable=needed)

    def annotate(sentences: list[list[str]]) -> list[set[Span]]:
        return [
            {(found.start_char, found.end_char, found.label_) for found in doc.ents}
            for doc in nlp.pipe(" ".join(words) for words in sentences)
        ]

    return annotate


def build(
    folder: Path,
    others: Mapping[str, Path],
    names: Sequence[str],
    device: torch.device = PROCESSOR,
) -> dict[str, Way]:
    """The ways to annotate.

    Args:
        folder: of the model.
        others: of the student and of spaCy's pipeline.
        names: which ways.
        device: of the models.
    """
    ner = load(folder, device=device)
    model, processor = ner.model, ner.processor

    def single(sentences: list[list[str]]) -> list[set[Span]]:
        return [spans_of(ner({"words": words})) for words in sentences]

    def unsorted(sentences: list[list[str]]) -> list[set[Span]]:
        found = []
        for first in range(0, len(sentences), BATCH):
            words = sentences[first : first + BATCH]
            with torch.inference_mode():
                outputs = model(**send_to_device(processor(words), device))
            for sentence, entities in zip(
                words, processor.post_process_entities(outputs, words), strict=True
            ):
                spans = [(one["start"], one["end"], one["label"]) for one in entities]
                found.append(as_characters(sentence, spans))
        return found

    def in_batches(pipeline: MultimodalNERPipeline) -> Way:
        return lambda sentences: list(
            map(spans_of, pipeline([{"words": words} for words in sentences]))
        )

    def one_by_one(plain: TokenClassificationPipeline) -> Way:
        return lambda sentences: plain([" ".join(words) for words in sentences])

    def make(name: str) -> Way:
        if name == "plain":
            return one_by_one(plain_pipeline(model, processor))
        if name == "single":
            return single
        if name == "unsorted":
            return unsorted
        if name == "sorted":
            return in_batches(ner)
        if name == "spacy":
            return spacy_ner(others[name])
        small = others[STUDENT] if name.startswith(STUDENT) else folder
        precision = name.removeprefix(STUDENT).strip() or None
        return in_batches(load(small, precision, device))

    return {name: make(name) for name in names}


# Measuring ----------------------------------------------------------------------------------------


Seconds = tuple[float, float]
"""By the clock, and of the processor."""


def take_turns(
    ways: dict[str, Way], sentences: list[list[str]], rounds: int
) -> tuple[dict[str, list[Seconds]], dict[str, list[Any]]]:
    """Seconds of each way in each round, and what it found."""
    seconds: dict[str, list[Seconds]] = {name: [] for name in ways}
    found = {}
    order = list(ways)
    for number in range(rounds):
        random.Random(number).shuffle(order)
        for name in order:
            started, used = time.perf_counter(), time.process_time()
            found[name] = ways[name](sentences)
            seconds[name].append((time.perf_counter() - started, time.process_time() - used))
    return seconds, found


def ratio(base: list[Seconds], own: list[Seconds], kind: int) -> float:
    """How many times as fast, in the median of the rounds."""
    return median(one[kind] / other[kind] for one, other in zip(base, own, strict=True))


def table(
    title: str,
    ways: dict[str, Way],
    sentences: list[list[str]],
    gold: list[set[Span]],
    rounds: int,
) -> None:
    seconds, found = take_turns(ways, sentences, rounds)
    words = sum(map(len, sentences))
    sys.stdout.write(f"\n{title}: {len(sentences)} texts, {words} words, {rounds} rounds\n\n")
    head = ["", "times `plain`", "processor", "times `unsorted`", "processor"]
    head += ["labels as `single`", "F1"]
    sys.stdout.write(f"| {' | '.join(head)} |\n{'| --- ' * len(head)}|\n")
    for name, times in seconds.items():
        cells = [
            f"{ratio(seconds[base], times, kind):.2f}"
            for base in ("plain", "unsorted")
            for kind in range(2)
        ]
        if name == "plain":
            cells += ["", ""]
        else:
            same = sum(map(set.__eq__, found[name], found["single"]))
            counts = count_matches(marked(gold), marked(found[name]))
            cells += [f"{same} of {len(sentences)}", f"{100 * counts.f1:.2f}"]
        sys.stdout.write(f"| {name} | {' | '.join(cells)} |\n")
    sys.stdout.flush()


def marked(spans: list[set[Span]]) -> set[tuple[int, int, int, str]]:
    """Entities of all sentences, each with the number of its sentence."""
    return {(number, *span) for number, own in enumerate(spans) for span in own}


def peak_memory(options: argparse.Namespace) -> None:
    sys.stdout.write(
        "\nPeak memory over the mix, MiB (the process, or on the GPU; `loaded` is before it)\n\n"
    )
    sys.stdout.write("| | loaded | peak |\n| --- | --- | --- |\n")
    for name in ways_of(options):
        command = [sys.executable, __file__, str(options.model), "--file", options.file]
        command += ["--sentences", str(options.sentences), "--cell", name]
        command += ["--threads", str(options.threads), "--device", str(options.device)]
        for option, other in others_of(options).items():
            command += [f"--{option}", str(other)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        loaded, peak = json.loads(done.stdout.splitlines()[-1])
        sys.stdout.write(f"| {name} | {loaded} | {peak} |\n")
        sys.stdout.flush()


def others_of(options: argparse.Namespace) -> dict[str, Path]:
    """The models that are compared with, by their options."""
    given = {name: getattr(options, name) for name in (STUDENT, "spacy")}
    return {name: folder for name, folder in given.items() if folder is not None}


def ways_of(options: argparse.Namespace) -> list[str]:
    others = others_of(options)
    ways = [*WAYS, *(WAYS_OF_STUDENT if STUDENT in others else ())]
    if options.device.type != "cpu":
        ways = [name for name in ways if not name.endswith("int8")]
    return ways + ["spacy"] * ("spacy" in others)


def new_peak(device: torch.device = PROCESSOR) -> int:
    """Forget the peak of this process so far: what it needs now, in MiB."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return most_so_far(device)


def most_so_far(device: torch.device = PROCESSOR) -> int:
    """The peak of this process, in MiB; not `ru_maxrss`, which begins with its parent's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) // 2**20
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


# Data ---------------------------------------------------------------------------------------------


def read(file: str, most: int) -> tuple[list[list[str]], list[set[Span]]]:
    """Sentences of a file, and their entities."""
    sentences, gold = [], []
    for row in islice(read_file(file), most):
        sentences.append(row["tokens"])
        gold.append(as_characters(row["tokens"], spans_from_labels(row["ner_tags"])))
    return sentences, gold


def mix(
    sentences: list[list[str]], gold: list[set[Span]]
) -> tuple[list[list[str]], list[set[Span]]]:
    """Short sentences, and one article among each `SHARE` texts, made of sentences that follow one
    another."""
    texts: list[list[str]] = []
    entities: list[set[Span]] = []
    place = 0
    while place < len(sentences):
        size = ARTICLE if len(texts) % SHARE == SHARE - 1 else 1
        text: list[str] = []
        spans: set[Span] = set()
        start = 0
        for words, own in zip(
            sentences[place : place + size], gold[place : place + size], strict=True
        ):
            spans |= {(start + first, start + last, kind) for first, last, kind in own}
            start += sum(len(word) + 1 for word in words)
            text += words
        texts.append(text)
        entities.append(spans)
        place += size
    return texts, entities


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="folder of a trained model that reads text alone")
    parser.add_argument("--student", type=Path, help="folder of a smaller model")
    parser.add_argument("--spacy", type=Path, help="folder of a spaCy pipeline with NER")
    parser.add_argument("--file", required=True, help="sentences, or a part: test.conllu[50%%:]")
    parser.add_argument("--sentences", type=int, default=400, help="of the file, at most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", type=torch.device, default=PROCESSOR)
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    sentences, gold = read(options.file, options.sentences)
    if options.cell is not None:
        ways = build(options.model, others_of(options), [options.cell], options.device)
        loaded = new_peak(options.device)
        ways[options.cell](mix(sentences, gold)[0])
        sys.stdout.write(f"{json.dumps([loaded, most_so_far(options.device)])}\n")
        return
    native = "multiplies" if multiplies_bf16(options.device) else "does not multiply"
    on_gpu = options.device.type == "cuda"
    place = torch.cuda.get_device_name(options.device) if on_gpu else "the processor"
    sys.stdout.write(
        f"{options.threads} threads, float32 unless said otherwise, PyTorch {torch.__version__}; "
        f"{place} {native} bfloat16 itself\n"
    )
    ways = build(options.model, others_of(options), ways_of(options), options.device)
    for way in ways.values():
        way(sentences[:BATCH])  # warms up
    table("Sentences of the file", ways, sentences, gold, options.rounds)
    table("A skewed mix", ways, *mix(sentences, gold), options.rounds)
    peak_memory(options)


if __name__ == "__main__":
    main()
