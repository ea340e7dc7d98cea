"""A run's recipe, data, training and versions, for `metrics.json` and the log."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from platform import machine, processor, python_version
from typing import Any

import torch
from datasets import Dataset, DatasetDict
from datasets import IterableDataset as Stream

from .arguments import DataArguments, ModelArguments, TwoMNERTrainingArguments
from .data import LABELLED, context_keys, have_images
from .trainer import TwoMNERTrainer

__all__ = [
    "describe_recipe",
    "describe_rows",
    "describe_training",
    "describe_versions",
    "fingerprint_of",
    "log_setting",
]

logger = logging.getLogger(__name__)


def log_setting(trainer: TwoMNERTrainer, data: DatasetDict) -> None:
    """Log the data, the number of parameters, the precision and the processes."""
    for split, rows in data.items():
        if isinstance(rows, Stream):
            logger.info("%s: streamed", split)
            continue
        languages = sorted(Counter(rows["lang"]).items())
        counts = ", ".join(f"{count} {language}" for language, count in languages)
        unlabelled = describe_rows(rows).get("unlabelled")
        known = "" if unlabelled is None else f", {unlabelled} without labels"
        logger.info("%s: %d sentences (%s)%s", split, len(rows), counts, known)
    arguments, parameters = trainer.args, describe_parameters(trainer)
    logger.info(
        "training %.1f of %.1f million parameters, %s, %s, %d process(es) (%s), %d thread(s) each",
        parameters["trained"] / 10**6,
        parameters["all"] / 10**6,
        describe_precision(arguments),
        arguments.device,
        arguments.world_size,
        trainer.accelerator.distributed_type.value,
        torch.get_num_threads(),
    )


def describe_recipe(
    recipe: Path,
    model_arguments: ModelArguments,
    data_arguments: DataArguments,
    arguments: TwoMNERTrainingArguments,
) -> dict[str, Any]:
    """All arguments of a run; of the training arguments, those that are not the default."""
    usual = TwoMNERTrainingArguments().to_dict()
    return {
        "file": str(recipe),
        "model": asdict(model_arguments),
        "data": asdict(data_arguments),
        "training": {
            key: value for key, value in arguments.to_dict().items() if value != usual[key]
        },
    }


def fingerprint_of(
    model_arguments: ModelArguments, data_arguments: DataArguments
) -> dict[str, Any]:
    """The settings that a resumed run must share with the run that was stopped: the model and the
    training data. Length, logging, saving and the test data may change."""
    data = asdict(data_arguments)
    del data["test_files"], data["old_test_files"]
    # Of a learning curve, only the largest size has checkpoints that are resumed.
    data["learning_curve"] = data_arguments.curve_sizes()[-1:]
    return {"model": asdict(model_arguments), "data": data}


def describe_rows(rows: Dataset | Stream) -> dict[str, Any]:
    """How many sentences, in which languages, how many of them with an image or visual context."""
    if isinstance(rows, Stream):
        unknown = dict.fromkeys(("with_image", "with_context"), "not counted")
        return {"sentences": "streamed", "by_language": {}, **unknown}
    unlabelled = {}
    if LABELLED in rows.column_names:
        unlabelled = {"unlabelled": rows[LABELLED][:].count(False)}
    return {
        "sentences": len(rows),
        **unlabelled,
        "by_language": dict(sorted(Counter(rows["lang"]).items())),
        "with_image": sum(have_images(rows)),
        "with_context": sum(key is not None for key in context_keys(rows)),
    }


def describe_parameters(trainer: TwoMNERTrainer) -> dict[str, int]:
    parameters = list(trainer.model.parameters())
    return {
        "all": sum(parameter.numel() for parameter in parameters),
        "trained": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
    }


def describe_training(trainer: TwoMNERTrainer, seconds: float) -> dict[str, Any]:
    """Steps, time and hardware, and the validation scores of the checkpoint that was kept."""
    state = trainer.state
    evaluations = {entry["step"]: entry for entry in state.log_history if "eval_f1" in entry}
    kept = state.best_global_step or state.global_step
    return {
        "steps": state.global_step,
        "epochs": state.epoch,
        "seconds": round(seconds, 1),
        "kept_step": kept,
        "validation": evaluations.get(kept),
        "parameters": describe_parameters(trainer),
        "precision": describe_precision(trainer.args),
        "weights": str(next(trainer.model.parameters()).dtype).removeprefix("torch."),
        "processes": trainer.args.world_size,
        "threads": torch.get_num_threads(),
        "device": str(trainer.args.device),
        "processor": processor_name(),
    }


def describe_precision(arguments: TwoMNERTrainingArguments) -> str:
    """The type of the computation; the weights may have another."""
    return "bf16" if arguments.bf16 else "fp16" if arguments.fp16 else "fp32"


def processor_name() -> str:
    """The name of the GPU or processor, on which times and rounding depend."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text("utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return processor() or machine()


def describe_versions() -> dict[str, str]:
    names = ("torch", "transformers", "datasets", "accelerate")
    return {"python": python_version(), **{name: version(name) for name in names}}
