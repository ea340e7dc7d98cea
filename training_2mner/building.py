"""Build a trainer from a recipe's arguments: a model from encoders, or a saved model.

trainer = new_trainer(model_arguments, processor, data, arguments)
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import fields
from typing import Any, cast

import pyarrow.compute as pc
import torch
from datasets import Dataset, DatasetDict
from datasets import IterableDataset as Stream
from huggingface_hub.errors import StrictDataclassError
from peft import PeftModel
from PIL import Image
from transformers import EarlyStoppingCallback

from dataset_mmnerd.image_lists import has_image_lists
from dataset_mmnerd.quoting import shorten
from dataset_mmnerd.schema import entity_types
from modeling_2mner import TwoMNERConfig, TwoMNERForTokenClassification, TwoMNERProcessor
from modeling_2mner.labels_2mner import is_bioes, scheme_labels

from .arguments import ModelArguments, RecipeError, TwoMNERTrainingArguments, unknown_key
from .batching import WordCollator
from .controls import blank_image
from .data import LABELLED, context_keys, label_names, loading, longest_first
from .distillation import TeacherPosteriors, ask_teacher, number_rows
from .lora import add_lora, refuse_adapter
from .trainer import TwoMNERTrainer, freeze_parameters
from .vision_cache import VISION_ENCODERS, VisionCache, cache_folder, read_images_once

__all__ = [
    "cache_vision_features",
    "check_context",
    "check_images",
    "load_model",
    "new_trainer",
    "with_min_steps",
]

logger = logging.getLogger(__name__)

STREAM_BEGINNING = 256
"""Rows of a stream, at most, in which visual context is looked for before training."""

MODEL_SWITCHES = {field.name for field in fields(TwoMNERConfig)}
PROCESSOR_SWITCHES = (
    "context_fields",
    "context_separator",
    "context_budget",
    "max_images",
    "max_length",
    "window_overlap",
)


def load_model(
    arguments: ModelArguments, processor: TwoMNERProcessor | None, labels: Sequence[str]
) -> tuple[TwoMNERForTokenClassification, TwoMNERProcessor]:
    """Build a model and its processor from encoders, or load the saved model of `processor`. If
    `labels` has other types, the saved model keeps the parameters of the labels that both share.

    The weights are float32, whatever type they were saved in, because bfloat16 would round small
    optimizer steps to nothing. `bf16: true` computes in bfloat16 with float32 weights.

    Raises:
        RecipeError: if a model or a part of it cannot be loaded, or a switch is wrong.
    """
    if processor is not None:
        name = arguments.model_name_or_path
        with loading(f"model {name}", OSError, ValueError):
            model = TwoMNERForTokenClassification.from_pretrained(name, dtype=torch.float32)
        if set(entity_types(labels)) != set(entity_types(processor.labels)):
            scheme = "BIOES" if is_bioes(processor.labels) else "BIO"
            model.resize_labels(scheme_labels(entity_types(labels), scheme))
            processor = copy(processor)
            processor.labels = model.config.labels
        return model, processor
    switches = known_keys("model_config", arguments.model_config, MODEL_SWITCHES)
    settings = known_keys("processor_config", arguments.processor_config, PROCESSOR_SWITCHES)
    text_model = str(arguments.text_model)  # `ModelArguments` has checked that there is one
    encoders = (text_model, arguments.vision_model, arguments.global_vision_model)
    spelled = scheme_labels(entity_types(labels), arguments.label_scheme)
    try:
        with loading("an encoder", OSError):
            model = TwoMNERForTokenClassification.from_text_vision_pretrained(
                *encoders, labels=spelled, **switches
            )
    except (ValueError, StrictDataclassError) as error:
        if isinstance(error, RecipeError):
            raise
        raise RecipeError(f"model_config: {shorten(str(error))}") from error
    try:
        processor = TwoMNERProcessor.from_text_vision_pretrained(
            text_model, arguments.vision_model, labels=model.config.labels, **settings
        )
    except ValueError as error:
        raise RecipeError(f"processor_config: {error}") from error
    return model, processor


def known_keys(
    name: str, switches: dict[str, Any] | str | None, known: Iterable[str]
) -> dict[str, Any]:
    """The mapping of a recipe's key; empty where it has none.

    Raises:
        RecipeError: if it has a key that is not `known`.
    """
    found = dict(cast(dict[str, Any], switches or {}))  # arguments hold no JSON text any more
    for key in found:
        if key not in known:
            raise RecipeError(f"{name}: {unknown_key(key, known)}")
    return found


def check_context(
    processor: TwoMNERProcessor, data: DatasetDict, arguments: ModelArguments
) -> None:
    """Check that the training part of a model that reads visual context has some. Of a stream at
    most `STREAM_BEGINNING` rows are read.

    Raises:
        RecipeError: if there is none for a model built from encoders. For a saved model and for a
            stream it is a warning in the log.
    """
    if not processor.reads_context:
        return
    rows, fields = data["train"], processor.context_fields
    only_begun = isinstance(rows, Stream) and not set(fields).isdisjoint(rows.column_names)
    if only_begun:
        found = any(row.get(field) for row in rows.take(STREAM_BEGINNING) for field in fields)
    else:
        found = isinstance(rows, Dataset) and any(context_keys(rows, fields))
    if found:
        return
    sentences = f"none of the first {STREAM_BEGINNING} sentences" if only_begun else "no sentence"
    message = (
        f"train: {sentences} has visual context ({', '.join(fields)}), which this model reads; "
        "fill it with 2mner data context FOLDER --objects MODEL --ocr tesseract"
    )
    if arguments.model_name_or_path is None and not only_begun:
        raise RecipeError(f"{message}, or set context_budget in processor_config to 0")
    logger.warning("%s", message)


def check_images(processor: TwoMNERProcessor, data: DatasetDict) -> None:
    """Check that no sentence has more images than the processor reads. Streams are not read, nor
    are the images of the other parts.

    Raises:
        RecipeError: if one has.
    """
    if not processor.reads_images:
        return
    for split, rows in data.items():
        if isinstance(rows, Stream) or not has_image_lists(rows.features):
            continue
        tables = rows.select_columns("image").with_format("arrow").iter(1000)
        counts = (pc.max(pc.list_value_length(table["image"])).as_py() for table in tables)
        most = max(filter(None, counts), default=0)
        if most > processor.max_images:
            raise RecipeError(
                f"{split}: found a sentence with {most} images, expected at most "
                f"{processor.max_images}, the processor's max_images (set in processor_config)"
            )


def cache_vision_features(
    trainer: TwoMNERTrainer, parts: Iterable[Dataset], extra: Sequence[Image.Image] = ()
) -> VisionCache:
    """Read every distinct image of some rows once, each process a part of them.

    Args:
        trainer: holds the model, its processor, and the folder in its arguments.
        parts: the rows, `image` undecoded.
        extra: further images.

    Raises:
        RecipeError: if a vision encoder is trained, or there is none.
    """
    arguments = trainer.args
    model = trainer.accelerator.unwrap_model(trainer.model)
    trained = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and set(VISION_ENCODERS).intersection(name.split("."))
    ]
    if model.config.vision_config is None:
        raise RecipeError("cache_vision_features: the model has no vision encoder")
    if trained:
        raise RecipeError(
            f"cache_vision_features: {trained[0]} is trained, so an image's features change; "
            "expected freeze to hold vision_model and, if there is one, global_vision_model"
        )
    base = next(module for module in model.modules() if hasattr(module, "read_images"))
    return read_images_once(
        base,
        trainer.processing_class,
        [*(rows["image"] for rows in parts if "image" in rows.column_names), extra],
        cache_folder(arguments),
        batch_size=arguments.per_device_eval_batch_size,
        process=trainer.accelerator.process_index,
        processes=trainer.accelerator.num_processes,
        wait=trainer.accelerator.wait_for_everyone,
        quiet=bool(arguments.disable_tqdm),
    )


def new_trainer(
    model_arguments: ModelArguments,
    processor: TwoMNERProcessor | None,
    data: DatasetDict,
    arguments: TwoMNERTrainingArguments,
) -> TwoMNERTrainer:
    """A trainer of a model that is built or loaded, adapted and partly frozen.

    Raises:
        RecipeError: if something of it cannot be loaded, or does not fit.
    """
    teacher = load_teacher(model_arguments, data)
    model, processor = load_model(model_arguments, processor, label_names(data["train"]))
    check_context(processor, data, model_arguments)
    check_images(processor, data)
    adapted = add_lora(model, model_arguments.lora_rank) if model_arguments.lora else model
    freeze_parameters(adapted, arguments.freeze)
    if teacher is not None:
        data = DatasetDict({**data, "train": number_rows(data["train"])})
    trainer = build_trainer(adapted, processor, data, arguments)
    if teacher is not None:
        trainer.data_collator.teacher = learn_from(trainer, *teacher)
    if arguments.cache_vision_features:
        scored_blank = [blank_image()] if arguments.controls and "test" in data else []
        features = cache_vision_features(trainer, data.values(), scored_blank)
        trainer.data_collator.features = features
    return trainer


def load_teacher(
    arguments: ModelArguments, data: DatasetDict
) -> tuple[TwoMNERForTokenClassification, TwoMNERProcessor] | None:
    """The teacher that the arguments name, if any.

    Raises:
        RecipeError: if it cannot be loaded, is an adapter, or the training part is a stream; or if
            there are unlabelled sentences and no teacher.
    """
    name, rows = arguments.teacher, data["train"]
    if name is None:
        if LABELLED in rows.column_names:
            raise RecipeError("unlabelled_files: expected a teacher to learn from, found none")
        return None
    if isinstance(rows, Stream):
        raise RecipeError("teacher: reads the training part once before the training; no stream")
    refuse_adapter(name, "teacher")
    with loading(f"teacher {name}", OSError, ValueError):
        return (
            TwoMNERForTokenClassification.from_pretrained(name, dtype=torch.float32),
            TwoMNERProcessor.from_pretrained(name),
        )


def learn_from(
    trainer: TwoMNERTrainer, model: TwoMNERForTokenClassification, processor: TwoMNERProcessor
) -> TeacherPosteriors:
    """What a teacher says of the words of the training part.

    Raises:
        RecipeError: if its labels are not the student's.
    """
    labels = trainer.processing_class.labels
    if processor.labels != labels:
        raise RecipeError(
            f"teacher: its labels are {shorten(', '.join(processor.labels))}, expected the "
            f"student's: {shorten(', '.join(labels))}"
        )
    rows = cast(Dataset, trainer.train_dataset)
    collate = WordCollator(processor, label_names(rows))
    return ask_teacher(
        model,
        collate,
        rows,
        trainer.args,
        process=trainer.accelerator.process_index,
        processes=trainer.accelerator.num_processes,
        wait=trainer.accelerator.wait_for_everyone,
    )


def build_trainer(
    model: TwoMNERForTokenClassification | PeftModel,
    processor: TwoMNERProcessor,
    data: DatasetDict,
    arguments: TwoMNERTrainingArguments,
) -> TwoMNERTrainer:
    """A trainer of a model; the validation part is sorted by length.

    Raises:
        RecipeError: if the arguments need a validation part and there is none.
    """
    validation = data.get("validation")
    if validation is not None:
        validation = validation.select(longest_first(validation), keep_in_memory=True)
    elif arguments.eval_strategy != "no":
        raise RecipeError(
            "no validation part to choose the best checkpoint on: name one, or set eval_strategy "
            "and load_best_model_at_end to no"
        )
    streamed = isinstance(data["train"], Stream)
    callbacks = []
    if arguments.early_stopping_patience is not None and arguments.eval_strategy != "no":
        callbacks.append(EarlyStoppingCallback(arguments.early_stopping_patience))
    return TwoMNERTrainer(
        model=model,
        args=arguments if streamed else with_min_steps(arguments, len(data["train"])),
        data_collator=WordCollator(processor, label_names(data["train"])),
        train_dataset=data["train"],
        eval_dataset=validation,
        processing_class=processor,
        callbacks=callbacks,
    )


def with_min_steps(arguments: TwoMNERTrainingArguments, sentences: int) -> TwoMNERTrainingArguments:
    """The arguments, with `max_steps` set to `min_steps` if the epochs have fewer steps."""
    batch = arguments.train_batch_size * arguments.gradient_accumulation_steps
    steps = math.ceil(
        arguments.num_train_epochs * math.ceil(sentences / batch / arguments.world_size)
    )
    if arguments.max_steps > 0 or steps >= arguments.min_steps:
        return arguments
    logger.info(
        "%d sentences: %d steps (min_steps) in place of the %d of %g epochs",
        sentences,
        arguments.min_steps,
        steps,
        arguments.num_train_epochs,
    )
    arguments = copy(arguments)
    arguments.max_steps = arguments.min_steps
    return arguments
