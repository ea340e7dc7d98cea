"""Make a trained model smaller.

    2mner shrink runs/demo --keep_vocabulary_of posts.txt --out runs/small
    2mner shrink runs/demo --keep_vocabulary_of posts.txt --dtype float16 --out runs/smaller
    2mner shrink runs/demo --layers 6 --out runs/student

`--keep_vocabulary_of` keeps the pieces of the tokenizer that some texts use, all single characters
and the special tokens, and the rows of the embedding table that belong to them. The answers on
these texts are identical; other texts may be cut into more and shorter pieces. The pieces of every
text, and the emissions of some, are compared with those of the model before.

`--dtype` stores weights in 16 bits. They are expanded when the model is loaded: half the size, the
same speed, and answers that change a little.

`--layers` keeps some of the text encoder's layers, evenly spaced, with the first and the last. What
is left is the start of a student: it has to be trained before it is used.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from transformers.utils.hub import cached_file
from transformers.utils.logging import disable_progress_bar

from dataset_mmnerd.columns import parse_columns
from dataset_mmnerd.files import (
    is_free,
    recover_folder,
    replace_folder,
    write_json,
    written_for,
)
from dataset_mmnerd.markdown import text_table
from dataset_mmnerd.quoting import quoted
from modeling_2mner import TwoMNERForTokenClassification, TwoMNERProcessor
from modeling_2mner.inputs_2mner import read_input
from modeling_2mner.thresholds_2mner import FILE as THRESHOLDS

from .inputs import open_source
from .models import refuse_adapter
from .pruning import ShrinkError, keep_layers, keep_rows, special_pieces, store_as
from .rows import COLUMNS, Fault, Source
from .vocabulary import CHARACTERS, kept_pieces, token_names, with_pieces

__all__ = ["DTYPES", "ShrinkError", "Shrunk", "main", "shrink_model"]

DTYPES = ("bfloat16", "float16")

SAMPLE = 32
"""Sentences whose emissions are compared."""

LARGEST_DIFFERENCE = 1e-6
"""Of two emissions that count as identical, relative to the larger of them and 1."""

MAX_TOKENS = 4096
"""Sub-words that the text encoder reads at once."""

UNLIMITED = 2**24
"""Sub-words of a window that holds every text."""

SENTENCES_AT_ONCE = 256
"""Sentences that are cut into pieces at once."""

TOKENIZER = "tokenizer.json"

Sentence = tuple[list[str], dict[str, Any]]
"""Words and visual context."""


@dataclass(frozen=True)
class Size:
    """How large a model is.

    Attributes:
        pieces: of the vocabulary.
        layers: of the text encoder.
        parameters: of the model.
        weights: bytes of the files of weights.
        tokenizer: bytes of `tokenizer.json`.
    """

    pieces: int
    layers: int
    parameters: int
    weights: int
    tokenizer: int

    @classmethod
    def of(cls, model: TwoMNERForTokenClassification, folder: Path) -> Size:
        config: Any = model.config.text_config
        return cls(
            config.vocab_size,
            config.num_hidden_layers,
            sum(tensor.numel() for tensor in model.parameters()),
            sum(file.stat().st_size for file in folder.glob("*.safetensors")),
            (folder / TOKENIZER).stat().st_size,
        )

    def rows(self, other: Size) -> list[list[str]]:
        """This size and another one, side by side."""
        rows = [
            [name, f"{getattr(self, name):,}", f"{getattr(other, name):,}"]
            for name in ("pieces", "layers", "parameters")
        ]
        for name in ("weights", "tokenizer"):
            sizes = (getattr(size, name) / 1e6 for size in (self, other))
            rows.append([name, *(f"{size:,.1f} MB" for size in sizes)])
        return rows


@dataclass
class Shrunk:
    """What was made, and how it compares.

    Attributes:
        before, after: the sizes.
        sentences: of the corpus; the pieces of each were compared.
        faults: rows of the corpus that could not be read.
        sampled: sentences whose emissions were compared.
        difference: the largest change of an emission.
        changed: sampled sentences with another label.
        notes: what the user has to know besides.
    """

    before: Size
    after: Size
    sentences: int = 0
    faults: list[str] = field(default_factory=list)
    sampled: int = 0
    difference: float = 0.0
    changed: int = 0
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [text_table(["", "before", "after"], [self.before.rows(self.after)]), ""]
        if self.sentences:
            lines.append(f"{self.sentences:,} sentences: each has the same pieces as before")
        if self.sampled:
            found = "every emission is the same"
            if self.difference:
                found = (
                    f"emissions differ by at most {self.difference:.1g}, and {self.changed} "
                    "sentences have another label"
                )
            lines.append(f"{self.sampled} of them, read by both models: {found}")
        if self.faults:
            lines.append(f"{len(self.faults):,} rows could not be read, first: {self.faults[0]}")
        return "\n".join([*lines, *self.notes]).rstrip()


# The corpus ---------------------------------------------------------------------------------------


class _Corpus:
    """The sentences of files, read anew for each pass.

    Args:
        sources: the files.
        processor: of the model, which splits texts into words.
    """

    def __init__(self, sources: Sequence[Source], processor: TwoMNERProcessor) -> None:
        self.sources, self.processor = sources, processor
        self.faults: list[str] = []
        self.sample: list[Sentence] = []
        self.count = 0

    def used_pieces(self) -> set[int]:
        """The pieces of all sentences. Counts them, and takes a sample of them."""
        chance, unlimited = random.Random(0), _unlimited(self.processor)
        used: set[int] = set()
        for batch in self._batches("pieces"):
            for sentence in batch:
                self.count += 1
                if len(self.sample) < SAMPLE:
                    self.sample.append(sentence)
                elif (place := chance.randrange(self.count)) < SAMPLE:
                    self.sample[place] = sentence
            for pieces in _pieces_of(unlimited, batch):
                used.update(pieces)
        if not self.count:
            raise ShrinkError(
                "--keep_vocabulary_of: found no sentence that can be read, expected some"
                + (f"; first row: {self.faults[0]}" if self.faults else "")
            )
        return used

    def check_pieces(self, processor: TwoMNERProcessor, kept: Sequence[int]) -> None:
        """Compare the pieces of all sentences with those of a smaller vocabulary.

        Args:
            processor: with the smaller vocabulary.
            kept: the number of each of its pieces in the vocabulary before.

        Raises:
            ShrinkError: at the first sentence that has other pieces.
        """
        before, after = _unlimited(self.processor), _unlimited(processor)
        for batch in self._batches("check"):
            pairs = zip(batch, _pieces_of(before, batch), _pieces_of(after, batch), strict=True)
            for (words, _), expected, found in pairs:
                if [kept[piece] for piece in found] != expected:
                    raise ShrinkError(
                        f"the tokenizer cuts {quoted(' '.join(words))} into other pieces when its "
                        "vocabulary is smaller, expected the same; leave out this sentence"
                    )

    def _batches(self, title: str) -> Iterator[list[Sentence]]:
        sentences = self._sentences(title)
        while batch := list(islice(sentences, SENTENCES_AT_ONCE)):
            yield batch

    def _sentences(self, title: str) -> Iterator[Sentence]:
        self.faults = []
        counts = [source.count() for source in self.sources]
        known = [count for count in counts if count is not None]
        total = sum(known) if len(known) == len(counts) else None
        with tqdm(total=total, desc=title, unit=" sentences", disable=None) as bar:
            for source in self.sources:
                for row in source.rows(lambda _: True, images=False):
                    bar.update()
                    if isinstance(row, Fault):
                        self.faults.append(row.message)
                    else:
                        sentence = read_input(row.model_input(), self.processor)
                        yield sentence.word_list, sentence.context


def _unlimited(processor: TwoMNERProcessor) -> TwoMNERProcessor:
    """A processor that reads a sentence and its visual context in one window, however long: a word
    that is cut off has its pieces, too."""
    return TwoMNERProcessor(
        processor.image_processor,
        processor.tokenizer,
        max_length=UNLIMITED,
        context_fields=processor.context_fields,
        context_separator=processor.context_separator,
        context_budget=UNLIMITED // 4 if processor.reads_context else 0,
    )


def _pieces_of(unlimited: TwoMNERProcessor, sentences: Sequence[Sentence]) -> list[list[int]]:
    words = [words for words, _ in sentences]
    contexts = [context for _, context in sentences]
    return [sentence.windows[0] for sentence in unlimited.encode(words, contexts)]


@torch.inference_mode()
def _answers(
    model: TwoMNERForTokenClassification, processor: TwoMNERProcessor, sample: Sequence[Sentence]
) -> list[tuple[Tensor, Tensor]]:
    """The emissions `[W, K]` and labels `[W]` of sentences, which are read one by one."""
    answers = []
    for words, context in sample:
        output = model(**processor(words, context=context), max_tokens=MAX_TOKENS)
        answers.append((output.logits[0].float(), output.predictions[0]))
    return answers


# The whole ----------------------------------------------------------------------------------------


def shrink_model(
    model: str | Path,
    out: str | Path,
    *,
    keep_vocabulary_of: Sequence[str | Path] = (),
    columns: Mapping[str, str] | None = None,
    characters: str = "all",
    layers: int | None = None,
    dtype: str | None = None,
) -> Shrunk:
    """Write a smaller model; see the module.

    Args:
        model: a folder or a name on the Hub.
        out: a folder that is not there, or is empty.
        keep_vocabulary_of: files or data sets, as `open_source` takes them.
        columns: names of their columns: see `open_source`.
        characters: which single characters are kept: one of `CHARACTERS`.
        layers: how many of the text encoder's are kept; by default all.
        dtype: in which the weights are stored: one of `DTYPES`; by default as they are.

    Raises:
        ShrinkError: if nothing is to be done, `out` is not empty, a text has other pieces than
            before or other emissions, or a layer cannot be left out.
        ModelError: if there is no such model, or it is an adapter.
        VocabularyError: if the tokenizer is of a kind that is not known.
        InputError: if a file cannot be read.
        OSError: if the model cannot be read or `out` cannot be written.
    """
    out = Path(out)
    if not keep_vocabulary_of and layers is None and dtype is None:
        raise ShrinkError("found nothing to do, expected keep_vocabulary_of, layers or dtype")
    recover_folder(out)
    if not is_free(out):
        raise ShrinkError(f"--out: {out} is there already, expected nothing or an empty folder")
    refuse_adapter(model)
    sources = [open_source(name, columns=columns) for name in keep_vocabulary_of]
    made = TwoMNERForTokenClassification.from_pretrained(str(model))
    processor = TwoMNERProcessor.from_pretrained(str(model))
    folder = Path(str(cached_file(str(model), "config.json"))).parent
    before, computed = Size.of(made, folder), str(made.dtype).removeprefix("torch.")
    if layers is not None:
        keep_layers(made, layers)
    corpus, kept, expected = _Corpus(sources, processor), [], []
    tokenizer: dict[str, Any] = {}
    if sources:
        tokenizer = json.loads((folder / TOKENIZER).read_bytes())
        config: Any = made.config.text_config
        special = {getattr(config, name) for name in special_pieces(config)}
        kept = kept_pieces(tokenizer, corpus.used_pieces() | special, characters)
        expected = _answers(made, processor, corpus.sample)
        keep_rows(made, kept)
    if dtype is not None:
        store_as(made, dtype)

    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f".{out.name[:40]}.{secrets.token_hex(4)}.unfinished")
    try:
        with written_for(out, unfinished):
            made.save_pretrained(unfinished)
            processor.save_pretrained(unfinished)
            if sources:
                _write_tokenizer(unfinished, tokenizer, kept)
            _write_dtype(unfinished / "config.json", computed)
            notes = _write_thresholds(str(model), unfinished, layers is None and dtype is None)
        del made
        small = TwoMNERForTokenClassification.from_pretrained(str(unfinished))
        shrunk = Shrunk(before, Size.of(small, unfinished), corpus.count, notes=notes)
        if sources:
            small_processor = TwoMNERProcessor.from_pretrained(str(unfinished))
            corpus.check_pieces(small_processor, kept)
            _compare(shrunk, expected, _answers(small, small_processor, corpus.sample), dtype)
        shrunk.faults = corpus.faults
        with written_for(out, unfinished):
            replace_folder(unfinished, out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    if layers is not None and layers < before.layers:
        shrunk.notes.append(
            f"{layers} of {before.layers} layers: train this model, best on the answers of the one "
            "before, before it is used"
        )
    return shrunk


def _write_tokenizer(folder: Path, tokenizer: dict[str, Any], kept: Sequence[int]) -> None:
    """Write a tokenizer with the kept pieces over the saved one.

    Raises:
        ShrinkError: if the library numbers its pieces otherwise.
    """
    names = token_names(tokenizer)
    write_json(folder / TOKENIZER, with_pieces(tokenizer, kept))
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_bytes())
    if "added_tokens_decoder" in config:
        moved = {number: place for place, number in enumerate(kept)}
        added = config["added_tokens_decoder"]
        config["added_tokens_decoder"] = {
            str(moved[int(number)]): token for number, token in added.items()
        }
        write_json(path, config)
    numbers = TwoMNERProcessor.from_pretrained(str(folder)).tokenizer.get_vocab()
    for place, number in enumerate(kept):
        if numbers.get(names[number]) != place:
            raise ShrinkError(
                f"the smaller tokenizer numbers {quoted(names[number])} "
                f"{numbers.get(names[number])}, expected {place}"
            )


def _write_dtype(path: Path, dtype: str) -> None:
    """Say in which type the model computes: weights are expanded to it when they are loaded."""
    config = json.loads(path.read_bytes())
    config["dtype"] = dtype
    write_json(path, config)


def _write_thresholds(model: str, folder: Path, valid: bool) -> list[str]:
    """Take the thresholds along if they are still valid; otherwise say so."""
    found = cached_file(model, THRESHOLDS, _raise_exceptions_for_missing_entries=False)
    if found is None:
        return []
    if not valid:
        return [f"{THRESHOLDS} is left out: scores have changed, choose thresholds anew"]
    shutil.copyfile(found, folder / THRESHOLDS)
    return []


def _compare(
    shrunk: Shrunk,
    expected: Sequence[tuple[Tensor, Tensor]],
    found: Sequence[tuple[Tensor, Tensor]],
    dtype: str | None,
) -> None:
    """Compare the answers of both models, which are to be the same where no weight has changed.

    Raises:
        ShrinkError: if they are not.
    """
    shrunk.sampled = len(expected)
    pairs = list(zip(expected, found, strict=True))
    differences = [(a - b).abs().max().item() for (a, _), (b, _) in pairs if a.numel()]
    largest = max([1.0, *(a.abs().max().item() for a, _ in expected if a.numel())])
    shrunk.difference = max(differences, default=0.0)
    shrunk.changed = sum(not a.equal(b) for (_, a), (_, b) in pairs)
    if dtype is None and shrunk.difference > LARGEST_DIFFERENCE * largest:
        raise ShrinkError(
            f"an emission has changed by {shrunk.difference:g}, expected the same: the text "
            "encoder depends on the numbers of its pieces"
        )


def parser(prog: str = "2mner shrink") -> argparse.ArgumentParser:
    """The parser of the command."""
    top = argparse.ArgumentParser(
        prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("model", help="a folder or a name on the Hub")
    top.add_argument("--out", type=Path, required=True, help="folder for the smaller model")
    top.add_argument(
        "--keep_vocabulary_of",
        nargs="+",
        default=(),
        metavar="FILE",
        help="texts whose pieces are kept, in any form that `2mner predict` reads",
    )
    top.add_argument(
        "--columns",
        nargs="+",
        default=(),
        metavar="COLUMN=NAME",
        help="columns of other names, such as text=content",
    )
    top.add_argument(
        "--characters",
        choices=CHARACTERS,
        default="all",
        help="narrow: without Chinese, Japanese and Korean characters that no text uses",
    )
    top.add_argument("--layers", type=int, metavar="N", help="layers to be kept, for a student")
    top.add_argument("--dtype", choices=DTYPES, help="store weights in 16 bits")
    return top


def main(argv: Sequence[str] | None = None, prog: str = "2mner shrink") -> int:
    """Run the command.

    Args:
        argv: by default the command line of this process.
        prog: the name of the program in `--help`.

    Returns:
        The exit status 0.

    Raises:
        ShrinkError, ModelError, VocabularyError, InputError, OSError: as `shrink_model`.
        ColumnError: if `--columns` is wrong.
    """
    given = parser(prog).parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    disable_progress_bar()
    shrunk = shrink_model(
        given.model,
        given.out,
        keep_vocabulary_of=given.keep_vocabulary_of,
        columns=parse_columns(given.columns, COLUMNS),
        characters=given.characters,
        layers=given.layers,
        dtype=given.dtype,
    )
    sys.stdout.write(f"{shrunk}\n\n{given.out}: written\n")
    return 0
