"""Distillation: what a teacher says of each word, computed once, and the loss of a student from it.

    trainer.data_collator.teacher = ask_teacher(teacher, collate, data["train"], arguments)

A student learns the CRF's posteriors of a trained model, on labelled sentences and on unlabelled
ones (Hinton et al., arXiv 1503.02531; for structured posteriors Wang et al., arXiv 2010.05010):

    loss = (1 - w) * loss of the labels + w * T^2 KL(p_teacher || p_student)

A posterior belongs to a word, so that teacher and student may have other tokenizers, layers, vision
encoders or visual context. The posteriors of the training part are read once, before the training,
by all processes together. They are kept in the run's folder in files of 2,048 rows, each written
whole, so that a killed run loses at most one file for each process.

Shapes: `B` sentences, `W` words, `K` labels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor, nn
from tqdm.auto import tqdm

from dataset_mmnerd.files import replaced
from dataset_mmnerd.schema import CONTEXT_COLUMNS
from modeling_2mner import TwoMNERForTokenClassification, TwoMNERProcessor

from .arguments import TwoMNERTrainingArguments
from .vision_cache import add_weights

__all__ = ["ROW", "TEACHER", "TeacherPosteriors", "ask_teacher", "number_rows"]

ROW = "row"
"""The column with the number of a row of the training part, by which its posteriors are found."""

TEACHER = "teacher_log_posteriors"
"""Their key in a batch."""

PART = 2048
"""Rows of one file: at most so many are computed again after a kill."""


class Collate(Protocol):
    """The part of `WordCollator` that is used here."""

    processor: TwoMNERProcessor

    def __call__(self, rows: Sequence[dict[str, Any]], /) -> dict[str, Any]: ...


class TeacherPosteriors:
    """The log-posteriors of the words of some rows, in memory-mapped files.

    Args:
        folder: that holds all files.
        lengths: the words of each row.
        labels: of the teacher, `K`.
    """

    def __init__(self, folder: Path, lengths: Sequence[int], labels: Sequence[str]) -> None:
        self._starts = [0, *accumulate(lengths)]
        self._size = len(labels)
        parts = range(0, len(lengths), PART)
        self._parts = [
            np.load(part_path(folder, number), mmap_mode="r", allow_pickle=False)
            for number in range(len(parts))
        ]
        self._firsts = [self._starts[first] for first in parts]

    def of(self, rows: Sequence[int]) -> Tensor:
        """The log-posteriors of some rows: `[B, W, K]` float32; 0 outside of their words."""
        lengths = [self._starts[row + 1] - self._starts[row] for row in rows]
        found = torch.zeros(len(rows), max(lengths, default=0), self._size)
        for place, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            part = row // PART
            start = self._starts[row] - self._firsts[part]
            values = self._parts[part][start : start + length]
            found[place, :length] = torch.from_numpy(values.copy())
        return found


def part_path(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.npy"


def number_rows(rows: Dataset) -> Dataset:
    """The same rows with their numbers in the column `ROW`."""
    return rows.add_column(ROW, list(range(len(rows))))


def ask_teacher(
    model: TwoMNERForTokenClassification,
    collate: Collate,
    rows: Dataset,
    arguments: TwoMNERTrainingArguments,
    process: int = 0,
    processes: int = 1,
    wait: Callable[[], Any] = lambda: None,
) -> TeacherPosteriors:
    """The posteriors of a teacher for the words of the training part; those that are in the run's
    folder already are not computed again.

    Args:
        model: the teacher.
        collate: makes batches for it.
        rows: of the training part, `image` undecoded.
        arguments: batch size, temperature, precision and the run's folder.
        process, processes: whose part of the work is done here.
        wait: returns when all processes have come to it.
    """
    folder = Path(str(arguments.output_dir)) / "teacher_posteriors"
    folder /= _digest(model, collate, rows, arguments.distillation_temperature)[:16]
    folder.mkdir(parents=True, exist_ok=True)
    cast(nn.Module, model).to(arguments.device).eval()
    firsts = range(0, len(rows), PART)
    own = range(process, len(firsts), processes)
    missing = [part for part in own if not part_path(folder, part).exists()]
    quiet = bool(arguments.disable_tqdm) or process > 0
    sentences = sum(min(PART, len(rows) - firsts[part]) for part in missing)
    with tqdm(total=sentences, desc="teacher", unit="sentence", disable=quiet) as progress:
        for part in missing:
            some = rows.select(range(firsts[part], min(firsts[part] + PART, len(rows))))
            values = _posteriors(model, collate, some, arguments, progress)
            with replaced(part_path(folder, part)) as unfinished, unfinished.open("wb") as file:
                np.save(file, values, allow_pickle=False)
    wait()
    return TeacherPosteriors(
        folder, [len(tokens) for tokens in rows["tokens"]], model.config.labels
    )


@torch.no_grad()
def _posteriors(
    model: TwoMNERForTokenClassification,
    collate: Collate,
    rows: Dataset,
    arguments: TwoMNERTrainingArguments,
    progress: tqdm,
) -> np.ndarray:
    """`[words of all rows, K]` float32: the log-posteriors at the temperature."""
    lengths = [len(tokens) for tokens in rows["tokens"]]
    starts = [0, *accumulate(lengths)]
    order = sorted(range(len(rows)), key=lengths.__getitem__, reverse=True)
    found = np.zeros((starts[-1], len(model.config.labels)), np.float32)
    device = torch.device(arguments.device)
    size = arguments.per_device_eval_batch_size
    for first in range(0, len(order), size):
        chosen = order[first : first + size]
        batch = collate([rows[row] for row in chosen])
        del batch["labels"]
        inputs = {key: value.to(device) for key, value in batch.items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=bool(arguments.bf16)):
            emissions = model(**inputs).logits
        temperature = arguments.distillation_temperature
        values = model.crf.log_marginals(emissions, inputs["word_mask"], temperature)
        logs = values.cpu().numpy()
        for place, row in enumerate(chosen):
            found[starts[row] : starts[row + 1]] = logs[place, : lengths[row]]
        progress.update(len(chosen))
    return found


def _digest(
    model: TwoMNERForTokenClassification,
    collate: Collate,
    rows: Dataset,
    temperature: float,
) -> str:
    """A digest of everything that the posteriors depend on: weights, preparation, temperature, and
    the words, images and visual context of the rows."""
    digest = hashlib.sha256()
    settings = [model.config.to_dict(), collate.processor.to_dict(), temperature]
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    add_weights(digest, model)
    columns = [key for key in ("tokens", "image", *CONTEXT_COLUMNS) if key in rows.column_names]
    for row in rows.select_columns(columns):
        digest.update(repr(row).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
