"""Train a 2M-NER by a recipe, measure it, and leave a folder that `from_pretrained` loads.

    python train.py configs/demo.yaml
    python train.py configs/demo.yaml --learning_rate 1e-4 --output_dir runs/slower
    python train.py configs/text_only.yaml --train_files de/train.txt --validation_files de/dev.txt
    python train.py configs/2mner.yaml --push_to_hub --hub_model_id me/2mner

The recipe gives the defaults, the command line wins; `--help` lists every key. In the run's folder:
the model with its processor and code, or its adapter; its card, `README.md`; `report.html`, what
came of it, for a browser; `metrics.json`, `predictions.jsonl`, `trainer_state.json` (with all that
was logged), and the best checkpoint. A run that was killed goes on by the same command with
`--resume_from_checkpoint last`.
"""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, fields
from functools import partial
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from datasets import ClassLabel, Dataset, DatasetDict, Image, load_dataset
from datasets import IterableDataset as Stream
from transformers import EarlyStoppingCallback, set_seed

from dataset_mmnerd.readers import MalformedLineError, dataset_from_files, labels_of
from dataset_mmnerd.sample import load_sample
from dataset_mmnerd.schema import SPLITS, bio_labels, entity_types, to_iob2
from modeling_2mner import TwoMNERConfig, TwoMNERForTokenClassification, TwoMNERProcessor
from modeling_2mner.labels_2mner import is_bioes, scheme_labels
from training_2mner.arguments import (
    DataArguments,
    ModelArguments,
    RecipeError,
    TwoMNERTrainingArguments,
    read_recipe,
    unknown_key,
)
from training_2mner.card import write_card
from training_2mner.checkpoints import SaveBeforeStopping, checkpoint_to_resume
from training_2mner.collator import WordCollator
from training_2mner.evaluation import (
    blank_picture,
    context_keys,
    evaluate,
    longest_first,
    picture_keys,
    write_json,
    write_lines,
)
from training_2mner.lora import add_lora, refuse_adapter
from training_2mner.mistakes import write_thumbnails
from training_2mner.new_language import Study, relabelled, with_min_steps
from training_2mner.publish import (
    PublishError,
    prepare_repository,
    publish,
    refuse_local_base,
)
from training_2mner.report import score_table
from training_2mner.report_page import write_report
from training_2mner.streaming import (
    load_streamed,
    prepared_stream,
    refuse_endless,
    relabelled_stream,
)
from training_2mner.trainer import TwoMNERTrainer, freeze_parameters
from training_2mner.vision_cache import cache_vision_features

logger = logging.getLogger("train")

NEEDED_COLUMNS = ("id", "tokens", "ner_tags", "lang")
MODEL_SWITCHES = {field.name for field in fields(TwoMNERConfig)}
PROCESSOR_SWITCHES = (
    "context_fields",
    "context_separator",
    "context_budget",
    "max_length",
    "window_overlap",
)


def main(argv: Sequence[str] | None = None) -> None:
    """Follow a recipe from its file to its table of scores.

    Raises:
        RecipeError: if the recipe cannot be followed.
        PublishError: if its model cannot be pushed; as far as that can be known, before training.
        MalformedLineError: at the first line of a data file that does not fit.
        FileNotFoundError: if there is no such data file.
    """
    started = perf_counter()
    recipe, model_arguments, data_arguments, arguments = read_recipe(
        sys.argv[1:] if argv is None else argv
    )
    set_up_logging(arguments)
    refuse_separate_trainings(arguments)
    refuse_endless(data_arguments, arguments)
    set_seed(arguments.seed)
    checkpoint = checkpoint_to_resume(arguments)
    repository = prepare_push(model_arguments, arguments)

    processor = None
    if model_arguments.model_name_or_path is not None:
        refuse_adapter(model_arguments.model_name_or_path)
        with loading(f"model {model_arguments.model_name_or_path}", OSError):
            processor = TwoMNERProcessor.from_pretrained(model_arguments.model_name_or_path)
    data = load_data(data_arguments, None if processor is None else processor.labels)
    setting = describe_recipe(recipe, model_arguments, data_arguments, arguments)
    study = None
    if data_arguments.new_language:
        study = Study.begin(
            setting, model_arguments, data_arguments, arguments, processor, data, load_data
        )
        data = study.prepare(processor, arguments, partial(new_trainer, model_arguments, processor))
    trainer = new_trainer(model_arguments, processor, data, arguments)
    log_setting(trainer, data)

    training_started = perf_counter()
    stopper = SaveBeforeStopping()
    trainer.add_callback(stopper)
    with stopper.listening():
        trainer.train(resume_from_checkpoint=checkpoint)
    training_seconds = perf_counter() - training_started
    trainer.save_model()
    trainer.save_state()

    results: dict[str, Any] = {}
    records: list[dict[str, Any]] = []
    if "test" in data:
        results, records = evaluate(trainer, data["test"], arguments.controls, arguments.seed)
    if study is not None:
        results["transfer"] = study.finish(trainer, records, training_seconds)
    if trainer.is_world_process_zero():
        run = Path(arguments.output_dir)
        results |= {
            "recipe": setting,
            "seed": arguments.seed,
            "data": {split: describe_rows(rows) for split, rows in data.items()},
            "training": describe_training(trainer, training_seconds),
            "seconds": round(perf_counter() - started, 1),
            "versions": describe_versions(),
        }
        write_lines(run / "predictions.jsonl", records)
        write_json(run / "metrics.json", results)
        write_card(run)
        if "test" in data:
            write_thumbnails(run, data["test"], records)
        write_report(run)
        if "test" in results:
            sys.stdout.write(f"\n{score_table(results)}\n")
        if study is not None:
            sys.stdout.write(f"\n{study.tables(results['transfer'])}\n")
        sys.stdout.write(f"\nThe model and its figures are in {run}\n")
        if repository is not None:
            sys.stdout.write(f"Published: {publish(run, repository, token=arguments.hub_token)}\n")


# Before -------------------------------------------------------------------------------------------


def set_up_logging(arguments: TwoMNERTrainingArguments) -> None:
    """Let the project's own packages say what they do, on the main process; others only warn."""
    logging.basicConfig(format="%(message)s")
    level = logging.INFO if arguments.should_log else logging.WARNING
    for name in ("train", "training_2mner", "dataset_mmnerd", "modeling_2mner"):
        logging.getLogger(name).setLevel(level)


def refuse_separate_trainings(arguments: TwoMNERTrainingArguments) -> None:
    """Stop where a launcher started several processes that do not know of each other: each would
    train a model of its own, and all would write into one folder."""
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched > 1 and arguments.world_size == 1:
        raise RecipeError(
            f"the launcher started {launched} processes (WORLD_SIZE), but each of them would train "
            "by itself; see accelerate_config.yaml for settings that let them train together"
        )


def prepare_push(
    model_arguments: ModelArguments, arguments: TwoMNERTrainingArguments
) -> str | None:
    """The repository that the run will be pushed to, made sure of before hours of training; None
    without `--push_to_hub`."""
    if not arguments.push_to_hub:
        return None
    # `Trainer` would push by itself too, in a commit for every checkpoint.
    arguments.push_to_hub = False
    if arguments.process_index > 0:
        return None
    if model_arguments.lora:
        refuse_local_base(model_arguments.model_name_or_path)
    return prepare_repository(
        arguments.hub_model_id or Path(arguments.output_dir).name,
        private=arguments.hub_private_repo or None,
        token=arguments.hub_token,
    )


@contextmanager
def loading(what: str, *errors: type[Exception]) -> Iterator[None]:
    """Tell in one line why something can be loaded from neither a folder nor the Hub.

    Raises:
        RecipeError: in place of such `errors`.
    """
    try:
        yield
    except errors as error:
        reason = str(error).strip().splitlines()[0]
        raise RecipeError(f"{what} cannot be loaded, neither folder nor Hub: {reason}") from error


# Data ---------------------------------------------------------------------------------------------


def load_data(arguments: DataArguments, known: Sequence[str] | None = None) -> DatasetDict:
    """Load the parts that there are of train, validation and test; pictures stay undecoded.

    Args:
        arguments: which data.
        known: the labels of a model that exists already. They are those of the data, unless the
            training part has a type that is not among them, or the arguments name the types.

    Raises:
        RecipeError: if the data set cannot be loaded, there is nothing to train on, a column is
            missing, a language is not there, or a label is not among those to be learned.
    """
    if arguments.train_files is not None:
        parts = load_files(arguments, known)
    elif arguments.dataset_name == "sample":
        parts = load_sample()
    else:
        with loading(f"data set {arguments.dataset_name}", OSError, ValueError):
            if arguments.streaming:
                parts = load_streamed(arguments)
            else:
                parts = load_dataset(arguments.dataset_name, arguments.dataset_config)
    data = DatasetDict(
        {split: prepare(parts[split], split, arguments) for split in SPLITS if split in parts}
    )
    if not data.get("train"):
        raise RecipeError("no sentence to train on: the train part is missing or empty")
    learned = labels_to_learn(label_names(data["train"]), known, arguments.entity_types)
    for split, rows in data.items():
        unknown = set(entity_types(label_names(rows))) - set(entity_types(learned))
        if unknown:
            raise RecipeError(
                f"{split}: entities of type {sorted(unknown)[0]!r}, those to be learned are "
                f"{', '.join(entity_types(learned))}"
            )
        relabel = relabelled_stream if isinstance(rows, Stream) else relabelled
        data[split] = relabel(rows, learned)
    return data


def load_files(arguments: DataArguments, known: Sequence[str] | None) -> dict[str, Dataset]:
    """Read the files of each part. The labels are told by the training files, by what a saved model
    knows, or by the arguments; any other in a file is an error naming file and line."""
    files = {
        "train": arguments.train_files,
        "validation": arguments.validation_files,
        "test": arguments.test_files,
    }
    found = labels_of(arguments.train_files)
    if len(found) == 1:
        raise RecipeError(f"no entity to learn in {', '.join(arguments.train_files)}")
    labels = labels_to_learn(found, known, arguments.entity_types)
    return {
        split: dataset_from_files(names, arguments.image_dir, labels)
        for split, names in files.items()
        if names is not None
    }


def labels_to_learn(
    found: Sequence[str], known: Sequence[str] | None, types: Sequence[str] | None
) -> list[str]:
    """The labels, in BIO, that a model learns from sentences with the labels `found`: those of the
    named `types`; or those that it has (`known`), if all that were found are among them."""
    if types is not None:
        return bio_labels(types)
    if known is not None and set(entity_types(found)) <= set(entity_types(known)):
        return bio_labels(entity_types(known))
    return list(found)


def label_names(rows: Dataset | Stream) -> list[str]:
    """The labels of a data set in the order of their ids."""
    return rows.features["ner_tags"].feature.names


def prepare(rows: Dataset | Stream, split: str, arguments: DataArguments) -> Dataset | Stream:
    """Check the columns, make invalid IOB2 valid, leave pictures undecoded, keep the languages."""
    missing = [column for column in NEEDED_COLUMNS if column not in rows.column_names]
    if missing:
        raise RecipeError(
            f"{split}: no column {missing[0]!r}, found {', '.join(rows.column_names)}"
        )
    if not isinstance(getattr(rows.features["ner_tags"], "feature", None), ClassLabel):
        raise RecipeError(
            f"{split}: column 'ner_tags' is {rows.features['ner_tags']}, expected List(ClassLabel)"
        )
    if "image" in rows.column_names:
        rows = rows.cast_column("image", Image(decode=False))
    if isinstance(rows, Stream):
        return prepared_stream(rows, arguments.languages)
    rows = repair_labels(rows, split)
    if arguments.languages is not None:
        found = rows["lang"][:]
        absent = set(arguments.languages).difference(found)
        if absent:
            raise RecipeError(
                f"{split}: no sentence in {', '.join(sorted(absent))}; there are "
                f"{', '.join(sorted(set(found)))}"
            )
        kept = [index for index, lang in enumerate(found) if lang in arguments.languages]
        rows = rows.select(kept, keep_in_memory=True)
    return rows


def repair_labels(rows: Dataset, split: str) -> Dataset:
    """Make every I- that continues nothing a B-, and say in how many sentences that was needed."""
    labels = rows.features["ner_tags"]
    names = labels.feature.names
    ids = {name: index for index, name in enumerate(names)}
    found = rows["ner_tags"][:]
    repaired = [[ids[tag] for tag in to_iob2([names[index] for index in tags])] for tags in found]
    changed = sum(before != after for before, after in zip(found, repaired, strict=True))
    if not changed:
        return rows
    logger.warning("%s: in %d sentences an I- label continues nothing; read as B-", split, changed)
    return rows.remove_columns("ner_tags").add_column("ner_tags", repaired, feature=labels)


# Model --------------------------------------------------------------------------------------------


def load_model(
    arguments: ModelArguments, processor: TwoMNERProcessor | None, labels: Sequence[str]
) -> tuple[TwoMNERForTokenClassification, TwoMNERProcessor]:
    """Build a model and its processor from towers, or load the saved one that `processor` is of;
    where `labels` has other types, it keeps what it knows of those that it shares with them."""
    if processor is not None:
        model = TwoMNERForTokenClassification.from_pretrained(arguments.model_name_or_path)
        if set(entity_types(labels)) != set(entity_types(processor.labels)):
            scheme = "BIOES" if is_bioes(processor.labels) else "BIO"
            model.resize_labels(scheme_labels(entity_types(labels), scheme))
            processor = copy(processor)
            processor.labels = model.config.labels
        return model, processor
    switches = known_keys("model_config", arguments.model_config, MODEL_SWITCHES)
    settings = known_keys("processor_config", arguments.processor_config, PROCESSOR_SWITCHES)
    towers = (arguments.text_model, arguments.vision_model, arguments.global_vision_model)
    spelled = scheme_labels(entity_types(labels), arguments.label_scheme)
    with loading("a tower", OSError):
        model = TwoMNERForTokenClassification.from_towers(*towers, labels=spelled, **switches)
    try:
        processor = TwoMNERProcessor.from_towers(
            arguments.text_model, arguments.vision_model, labels=model.config.labels, **settings
        )
    except ValueError as error:
        raise RecipeError(f"processor_config: {error}") from error
    return model, processor


def known_keys(name: str, switches: dict[str, Any] | None, known: Iterable[str]) -> dict[str, Any]:
    """The keys of a mapping in a recipe, all of them known."""
    for key in switches or {}:
        if key not in known:
            raise RecipeError(f"{name}: {unknown_key(key, known)}")
    return switches or {}


def check_context(
    processor: TwoMNERProcessor, data: DatasetDict, arguments: ModelArguments
) -> None:
    """Make sure that a model that reads visual context has some to learn from.

    Raises:
        RecipeError: if a model built from towers has none; a saved one may well go on with
            sentences alone, which the log then says.
    """
    if not processor.reads_context:
        return
    rows, fields = data["train"], processor.context_fields
    if isinstance(rows, Stream):  # nobody reads it before: that it has the columns must do
        found = any(field in rows.column_names for field in fields)
    else:
        found = any(context_keys(rows, fields))
    if found:
        return
    columns = ", ".join(fields)
    message = (
        f"train: no sentence has visual context ({columns}), which this model reads; fill it with "
        "python -m dataset_mmnerd context FOLDER --objects MODEL --ocr tesseract"
    )
    if arguments.model_name_or_path is None:
        raise RecipeError(f"{message}, or set context_budget in processor_config to 0")
    logger.warning("%s", message)


# Training -----------------------------------------------------------------------------------------


def new_trainer(
    model_arguments: ModelArguments,
    processor: TwoMNERProcessor | None,
    data: DatasetDict,
    arguments: TwoMNERTrainingArguments,
) -> TwoMNERTrainer:
    """A trainer of a model as it is before training: built or loaded, adapted, partly frozen."""
    model, processor = load_model(model_arguments, processor, label_names(data["train"]))
    check_context(processor, data, model_arguments)
    if model_arguments.lora:
        model = add_lora(model, model_arguments.lora_rank)
    freeze_parameters(model, arguments.freeze)
    trainer = build_trainer(model, processor, data, arguments)
    if arguments.cache_vision_features:
        scored_blank = [blank_picture()] if arguments.controls and "test" in data else []
        features = cache_vision_features(trainer, data.values(), scored_blank)
        trainer.data_collator.features = features
    return trainer


def build_trainer(
    model: TwoMNERForTokenClassification,
    processor: TwoMNERProcessor,
    data: DatasetDict,
    arguments: TwoMNERTrainingArguments,
) -> TwoMNERTrainer:
    """Put model, data and arguments together; the validation part is sorted by length."""
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
    if arguments.early_stopping_patience is not None:
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


def log_setting(trainer: TwoMNERTrainer, data: DatasetDict) -> None:
    """Say what is about to be trained, on what, and by how many processes."""
    for split, rows in data.items():
        if isinstance(rows, Stream):
            logger.info("%s: streamed", split)
            continue
        languages = sorted(Counter(rows["lang"]).items())
        counts = ", ".join(f"{count} {language}" for language, count in languages)
        logger.info("%s: %d sentences (%s)", split, len(rows), counts)
    arguments, parameters = trainer.args, describe_parameters(trainer)
    logger.info(
        "training %.1f of %.1f million parameters, %s, %s, %d process(es) (%s), %d thread(s) each",
        parameters["trained"] / 10**6,
        parameters["all"] / 10**6,
        "bf16" if arguments.bf16 else "fp16" if arguments.fp16 else "fp32",
        arguments.device,
        arguments.world_size,
        trainer.accelerator.distributed_type.value,
        torch.get_num_threads(),
    )


# After --------------------------------------------------------------------------------------------


def describe_recipe(
    recipe: Path,
    model_arguments: ModelArguments,
    data_arguments: DataArguments,
    arguments: TwoMNERTrainingArguments,
) -> dict[str, Any]:
    """The recipe as it was followed; of the training arguments, those that are not the default."""
    usual = TwoMNERTrainingArguments().to_dict()
    return {
        "file": str(recipe),
        "model": asdict(model_arguments),
        "data": asdict(data_arguments),
        "training": {
            key: value for key, value in arguments.to_dict().items() if value != usual[key]
        },
    }


def describe_rows(rows: Dataset | Stream) -> dict[str, Any]:
    """How many sentences, in which languages, how many of them with a picture or visual context."""
    if isinstance(rows, Stream):
        unknown = dict.fromkeys(("with_picture", "with_context"), "not counted")
        return {"sentences": "streamed", "by_language": {}, **unknown}
    return {
        "sentences": len(rows),
        "by_language": dict(sorted(Counter(rows["lang"]).items())),
        "with_picture": sum(key is not None for key in picture_keys(rows)),
        "with_context": sum(key is not None for key in context_keys(rows)),
    }


def describe_parameters(trainer: TwoMNERTrainer) -> dict[str, int]:
    parameters = list(trainer.model.parameters())
    return {
        "all": sum(parameter.numel() for parameter in parameters),
        "trained": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
    }


def describe_training(trainer: TwoMNERTrainer, seconds: float) -> dict[str, Any]:
    """How long it took, and the validation scores of the checkpoint that was kept."""
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
        "processes": trainer.args.world_size,
        "device": str(trainer.args.device),
    }


def describe_versions() -> dict[str, str]:
    names = ("torch", "transformers", "datasets", "accelerate")
    return {"python": sys.version.split()[0], **{name: version(name) for name in names}}


if __name__ == "__main__":
    try:
        main()
    except (RecipeError, MalformedLineError, PublishError, FileNotFoundError) as error:
        sys.exit(f"train.py: {error}")
