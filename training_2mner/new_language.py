"""Train a saved model on a new language (or domain, or label set) and measure gain and forgetting.

    learning = NewLanguage.begin(recipe, model, data, arguments, processor, parts, load)
    data = learning.prepare(arguments, new_trainer)  # measures before, learns small sizes
    trainer = new_trainer(data, arguments)
    trainer.train()
    learning.finish(trainer, records, seconds)["new"]["change"]

The same test sentences of the new and of the old languages are scored before and after. If the
label sets differ, the entity types of both are scored. Missing parts are held out of the training
sentences by a digest of their words, so that equal sentences are in the same part. The old data is
that of the model's run (`metrics.json`), unless files are named.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict, concatenate_datasets
from transformers import set_seed

from dataset_mmnerd.schema import bio_labels, entity_types
from modeling_2mner import TwoMNERForTokenClassification, TwoMNERProcessor
from modeling_2mner.labels_2mner import Span
from reporting_2mner.runs import RunError, figures_of, read_results
from reporting_2mner.tables import curve_table, transfer_table

from .arguments import DataArguments, ModelArguments, RecipeError, TwoMNERTrainingArguments
from .batching import WordCollator
from .data import gold_spans, longest_first, of_types, relabelled, with_same_images
from .evaluation import predict
from .learning_curve import LearningCurve
from .metrics import score
from .trainer import TwoMNERTrainer
from .vision_cache import cache_folder

__all__ = [
    "NewLanguage",
    "complete_parts",
    "mixed",
    "nested_subset",
    "old_rows",
]

logger = logging.getLogger(__name__)

HELD_OUT = 10
"""A missing part gets one in so many of the training sentences."""

Load = Callable[[DataArguments], DatasetDict]
NewTrainer = Callable[[DatasetDict, TwoMNERTrainingArguments], TwoMNERTrainer]
Scores = dict[str, Any]


# Rows ---------------------------------------------------------------------------------------------


def complete_parts(data: DatasetDict, wanted: Iterable[str]) -> DatasetDict:
    """Hold out wanted parts that are missing from the training sentences.

    The choice depends on a digest of the words: it is reproducible, independent of the file's
    order, and keeps equal sentences together.

    Raises:
        RecipeError: if there are too few different sentences.
    """
    missing = [split for split in wanted if split not in data]
    if not missing:
        return data
    rows = data["train"]
    digests = [hashlib.sha256("\0".join(words).encode()).digest() for words in rows["tokens"][:]]
    order = sorted(set(digests))
    if len(order) <= len(missing):
        raise RecipeError(
            f"train: {len(order)} different sentences are too few to hold out a part for "
            f"{' and '.join(missing)}: name files for these"
        )
    share = max(1, len(order) // HELD_OUT)
    part_of = {
        digest: missing[index // share]
        for index, digest in enumerate(order[: share * len(missing)])
    }
    parts = DatasetDict(data)
    for split in ("train", *missing):
        kept = [i for i, digest in enumerate(digests) if part_of.get(digest, "train") == split]
        parts[split] = rows.select(kept, keep_in_memory=True)
    for split in missing:
        logger.info(
            "no %s part was given: 1 in %d of the training sentences (%d) held out for it",
            split,
            HELD_OUT,
            len(parts[split]),
        )
    return parts


def nested_subset(rows: Dataset, size: int, seed: int) -> Dataset:
    """`size` rows at random, in a random order; a larger subset of the same seed begins with
    them."""
    order = np.random.default_rng(seed).permutation(len(rows))
    return rows.select(order[:size], keep_in_memory=True)


def mixed(new: Dataset, old: Dataset) -> Dataset:
    """New and old rows in one data set, with the new one's labels and columns, and `image`."""
    new, old = with_same_images(new, relabelled(old, new.features["ner_tags"].feature.names))
    columns = dict(new.features)
    if "image" in old.column_names:
        columns.setdefault("image", old.features["image"])
    return concatenate_datasets([_with_columns(rows, columns) for rows in (new, old)])


def _with_columns(rows: Dataset, columns: dict[str, Any]) -> Dataset:
    for name, feature in columns.items():
        if name not in rows.column_names:
            rows = rows.add_column(name, [None] * len(rows), feature=feature)
    return rows.select_columns(list(columns))


# Old data -----------------------------------------------------------------------------------------


@dataclass
class _Source:
    """A source of old sentences: what to load, which part of it, and its name in messages."""

    arguments: DataArguments
    splits: tuple[str, ...]
    name: str

    def rows(self, load: Load) -> Dataset:
        parts = load(self.arguments)
        split = next((split for split in self.splits if split in parts), None)
        if split is None:
            raise RecipeError(f"{self.name} has no part {' or '.join(self.splits)}")
        return parts[split]


def _given(
    files: Sequence[str], recorded: dict[str, Any] | None, reading: dict[str, Any]
) -> _Source:
    common: dict[str, Any] = {
        key: (recorded or {}).get(key) for key in ("image_dir", "language")
    } | reading
    return _Source(DataArguments(train_files=list(files), **common), ("train",), ", ".join(files))


def _recorded(recorded: dict[str, Any], splits: tuple[str, ...]) -> _Source | None:
    """The first of some parts of a run's data that its `metrics.json` names."""
    keys = ("image_dir", "languages", "language", "columns", "tag_names")
    common: dict[str, Any] = {
        key: recorded.get(key) for key in keys
    }  # older runs have not all of them
    own = recorded[f"{splits[0]}_files"] is not None
    if recorded["train_files"] is None and not own:
        of_set = ("dataset_name", "dataset_config", "sample_sentences")  # older runs lack the last
        common |= {key: recorded[key] for key in of_set if key in recorded}
        return _Source(DataArguments(**common), splits, str(recorded["dataset_name"]))
    files = next((found for split in splits if (found := recorded[f"{split}_files"])), None)
    if files is None:
        return None
    return _Source(DataArguments(train_files=files, **common), ("train",), ", ".join(files))


def _data_of_run(base: str) -> dict[str, Any] | None:
    """The data arguments of a run, from its `metrics.json`; None if there is no such file.

    Raises:
        RecipeError: if the file is damaged.
    """
    path = Path(base) / "metrics.json"
    if not path.is_file():
        return None
    try:
        with figures_of(path):
            return dict(read_results(path.parent)["recipe"]["data"])
    except RunError as error:
        raise RecipeError(str(error)) from error


def old_rows(
    base: str,
    files: Sequence[str] | None,
    splits: tuple[str, ...],
    load: Load,
    reading: dict[str, Any] | None = None,
) -> tuple[Dataset, str]:
    """Old sentences, and where they are from.

    Args:
        base: the saved model, or the folder of its run.
        files: those that are named; None takes what the run's `metrics.json` names.
        splits: the parts to take the first existing one of.
        load: loads what data arguments name.
        reading: the data arguments `columns` and `tag_names` for files that are named.

    Raises:
        RecipeError: if nothing says where they are.
        FileNotFoundError: if they are not there.
    """
    recorded = _data_of_run(base)
    if files is not None:
        source = _given(files, recorded, reading or {})
    else:
        named = None if recorded is None else _recorded(recorded, splits)
        if named is None:
            found = (
                "there is no metrics.json in it"
                if recorded is None
                else f"its run had no {splits[0]} part"
            )
            raise RecipeError(f"{base} does not say what it was trained on: {found}")
        source = named
    return source.rows(load), source.name


# Before and after ---------------------------------------------------------------------------------


@dataclass
class NewLanguage:
    """A saved model, new sentences for it, and old ones.

    Attributes:
        base: the saved model.
        processor: its processor.
        data: the new sentences, with all parts that are needed.
        sizes: of the learning curve, ascending; empty without one.
        curve: the points that are there; without sizes, before and after.
        seed: of the order in which new and old sentences are taken.
        types: the entity types that are scored before and after.
        old: old sentences to measure forgetting on; None if there are none at hand.
        old_source: where they are from, or why there are none.
        replay: how many old sentences are mixed in, as a share of the new ones.
        replayed: the old sentences that these are taken from.
        replay_source: where they are from.
    """

    base: str
    processor: TwoMNERProcessor
    data: DatasetDict
    sizes: list[int]
    curve: LearningCurve
    seed: int
    types: list[str]
    old: Dataset | None
    old_source: str
    replay: float = 0.0
    replayed: Dataset | None = None
    replay_source: str | None = None

    @classmethod
    def begin(
        cls,
        recipe: dict[str, Any],
        model: ModelArguments,
        data: DataArguments,
        arguments: TwoMNERTrainingArguments,
        processor: TwoMNERProcessor | None,
        parts: DatasetDict,
        load: Load,
    ) -> NewLanguage:
        """Collect the sentences, and log their sources.

        Args:
            recipe: all settings, as `metrics.json` will hold them.
            model, data, arguments: the same as objects.
            processor: the saved model's.
            parts: the new sentences.
            load: loads what data arguments name.

        Raises:
            RecipeError: if there is no saved model, there are too few sentences, old ones are to be
                mixed in and nothing says where they are, or a learning curve that is there already
                was made with other settings.
            FileNotFoundError: if files that were named are not there.
        """
        base = model.model_name_or_path
        if base is None or processor is None:
            raise RecipeError("new_language teaches a saved model: expected model_name_or_path")
        wanted = ["test"] if arguments.eval_strategy == "no" else ["validation", "test"]
        parts = complete_parts(parts, wanted)
        known = entity_types(processor.labels)
        learned = entity_types(parts["train"].features["ner_tags"].feature.names)
        types = [name for name in known if name in learned]
        if set(known) != set(learned):
            logger.warning("before and after score the types of both: %s", ", ".join(types))
        reading = {"columns": data.columns, "tag_names": data.tag_names}
        old, old_source = _old_test(base, data.old_test_files, load, reading)
        replayed, replay_source = None, None
        if data.replay:
            try:
                replayed, replay_source = old_rows(
                    base, data.replay_files, ("train",), load, reading
                )
            except (RecipeError, FileNotFoundError) as error:
                raise RecipeError(f"replay: {error}; name them by replay_files") from error
            logger.info("replay: %g of the new sentences, of %s", data.replay, replay_source)
        sentences = {split: len(rows) for split, rows in parts.items()}
        sentences["old"] = 0 if old is None else len(old)
        settings = _settings(recipe) | {"sentences": sentences}
        path = Path(str(arguments.output_dir)) / "learning_curve.json"
        sizes = _available(data.curve_sizes(), len(parts["train"]))
        return cls(
            base=base,
            processor=processor,
            data=parts,
            sizes=sizes,
            curve=LearningCurve.open(path, settings) if sizes else LearningCurve(path, settings),
            seed=arguments.seed,
            types=types,
            old=old,
            old_source=old_source,
            replay=data.replay,
            replayed=replayed,
            replay_source=replay_source,
        )

    def training_rows(self, size: int) -> Dataset:
        """So many of the new training sentences, and the share of old ones."""
        rows = self.data["train"]
        if size < len(rows):
            rows = nested_subset(rows, size, self.seed)
        if self.replayed is None:
            return rows
        return mixed(rows, nested_subset(self.replayed, self.replayed_beside(size), self.seed))

    def replayed_beside(self, size: int) -> int:
        """How many old sentences are mixed in with so many new ones."""
        return 0 if self.replayed is None else min(round(self.replay * size), len(self.replayed))

    def prepare(self, arguments: TwoMNERTrainingArguments, new_trainer: NewTrainer) -> DatasetDict:
        """Score the saved model as it is, then teach and score it on all sizes of the learning
        curve but the largest, each time from the start. What the curve's file has is not repeated.

        Args:
            arguments: of the trainings.
            new_trainer: builds a trainer of the saved model on some data.

        Returns:
            The data to teach the model itself: the largest size, or all there is.
        """
        size = self.sizes[-1] if self.sizes else len(self.data["train"])
        if 0 not in self.curve.sizes():
            logger.info("before: the saved model on the new test sentences and the old ones")
            before = _trainer_of_base(self.base, self.processor, arguments, self.data["test"])
            self._add(before, 0, 0.0, self.measure(before))
            del before
        for smaller in self.sizes[:-1]:
            if smaller in self.curve.sizes():
                logger.info("%d sentences: measured before, not repeated", smaller)
                continue
            logger.info("%d sentences of the learning curve", smaller)
            self._learn(smaller, arguments, new_trainer)
        set_seed(arguments.seed)
        return self._parts(size)

    def _parts(self, size: int) -> DatasetDict:
        return DatasetDict({**self.data, "train": self.training_rows(size)})

    def _learn(
        self, size: int, arguments: TwoMNERTrainingArguments, new_trainer: NewTrainer
    ) -> None:
        """One of the smaller sizes: only its scores are kept, not its model."""
        arguments = copy.copy(arguments)
        arguments.vision_cache_dir = str(cache_folder(arguments))  # one for all sizes
        folder = Path(str(arguments.output_dir)) / f"learning_curve_{size}"
        arguments.output_dir = str(folder)
        set_seed(arguments.seed)
        started = perf_counter()
        trainer = new_trainer(self._parts(size), arguments)
        trainer.train()
        seconds = perf_counter() - started
        self._add(trainer, size, seconds, self.measure(trainer))
        if trainer.is_world_process_zero() and folder.exists():
            shutil.rmtree(folder)

    def _add(
        self, trainer: TwoMNERTrainer, size: int, seconds: float, scores: dict[str, Scores | None]
    ) -> None:
        steps = trainer.state.global_step
        self.curve.add({"sentences": size, "steps": steps, "seconds": round(seconds, 1), **scores})
        if self.sizes and trainer.is_world_process_zero():
            self.curve.write()

    def measure(self, trainer: TwoMNERTrainer) -> dict[str, Scores | None]:
        """Score a trainer's model on the `new` and the `old` test sentences."""
        old = None if self.old is None else _measure(trainer, self.old, self.types)
        return {"new": _measure(trainer, self.data["test"], self.types), "old": old}

    def finish(
        self, trainer: TwoMNERTrainer, records: Sequence[dict[str, Any]], seconds: float
    ) -> dict[str, Any]:
        """Score the trained model, and complete the learning curve.

        Args:
            trainer: of the model.
            records: what it predicted on the new test sentences, as `evaluation.evaluate` gives it.
            seconds: of the training.

        Returns:
            `base`, `types`, `sentences` (new training sentences), `replay`; and for `new` and
            `old` the scores `before` and `after`, the `change` of F1, and for `old` its `source`.
        """
        size = self.sizes[-1] if self.sizes else len(self.data["train"])
        old = None if self.old is None else _measure(trainer, self.old, self.types)
        after = {"new": _score_records(records, self.types), "old": old}
        before = self.curve.at(0)
        self._add(trainer, size, seconds, after)
        replay = {"source": self.replay_source, "sentences": self.replayed_beside(size)}
        return {
            "base": self.base,
            "types": self.types,
            "sentences": size,
            "replay": replay if self.replay else None,
            "new": _change(before["new"], after["new"]),
            "old": {"source": self.old_source, **_change(before["old"], after["old"])},
        }

    def tables(self, transfer: dict[str, Any]) -> str:
        """What `finish` gave, and the learning curve if there is one, for the terminal."""
        table = transfer_table(transfer)
        return f"{curve_table(self.curve.points)}\n\n{table}" if self.sizes else table


def _settings(recipe: dict[str, Any]) -> dict[str, Any]:
    """Of a recipe, what each size of a learning curve depends on."""
    kept = {part: dict(recipe[part]) for part in ("model", "data", "training")}
    kept["data"].pop("learning_curve")
    for key in ("output_dir", "logging_dir", "resume_from_checkpoint", "disable_tqdm"):
        kept["training"].pop(key, None)
    return kept


def _available(sizes: Sequence[int], sentences: int) -> list[int]:
    """The sizes that there are sentences for; all of them in place of more."""
    if sizes and sizes[-1] > sentences:
        logger.warning(
            "learning_curve: %d sentences were asked for, there are %d", sizes[-1], sentences
        )
    return sorted({min(size, sentences) for size in sizes})


def _trainer_of_base(
    base: str, processor: TwoMNERProcessor, arguments: TwoMNERTrainingArguments, rows: Dataset
) -> TwoMNERTrainer:
    """A trainer that only measures a saved model."""
    return TwoMNERTrainer(
        model=TwoMNERForTokenClassification.from_pretrained(base),
        args=arguments,
        data_collator=WordCollator(processor, bio_labels(entity_types(processor.labels))),
        eval_dataset=rows,
        processing_class=processor,
    )


def _old_test(
    base: str, files: Sequence[str] | None, load: Load, reading: dict[str, Any]
) -> tuple[Dataset | None, str]:
    """Old sentences to measure forgetting on and their source; or None and the reason."""
    try:
        rows, source = old_rows(base, files, ("test", "validation"), load, reading)
    except (RecipeError, FileNotFoundError) as error:
        if files is not None:
            raise
        logger.warning("forgetting is not measured: %s; name old_test_files", error)
        return None, f"none: {error}"
    logger.info("forgetting is measured on %d sentences of %s", len(rows), source)
    return rows, source


def _measure(trainer: TwoMNERTrainer, rows: Dataset, types: Sequence[str]) -> Scores:
    rows = rows.select(longest_first(rows), keep_in_memory=True)
    views = predict(trainer, relabelled(rows, trainer.data_collator.label_names))
    return score(
        [of_types(spans, types) for spans in gold_spans(rows)],
        [of_types(spans, types) for spans in views["image_text"].spans],
        rows["lang"][:],
    )


def _score_records(records: Sequence[dict[str, Any]], types: Sequence[str]) -> Scores:
    """The same for the records of `predictions.jsonl`."""

    def spans(entities: Sequence[dict[str, Any]]) -> list[Span]:
        return of_types([(e["start"], e["end"], e["label"]) for e in entities], types)

    return score(
        [spans(record["gold"]) for record in records],
        [spans(record["predicted"]) for record in records],
        [record["lang"] for record in records],
    )


def _change(before: Scores | None, after: Scores | None) -> dict[str, Any]:
    if before is None or after is None:
        return {"before": None, "after": None, "change": None}
    change = after["overall"]["f1"] - before["overall"]["f1"]
    return {"before": before, "after": after, "change": change}
