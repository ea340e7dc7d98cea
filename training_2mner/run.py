"""Train a model by a recipe, score it, and save everything in one folder.

    2mner train configs/demo.yaml
    2mner train demo --learning_rate 1e-4 --output_dir runs/slower
    2mner train text_only --train_files de/train.txt --validation_files de/dev.txt
    2mner train 2mner --push_to_hub --hub_model_id me/2mner

Values on the command line replace those of the recipe; `--help` lists every key. The run's folder
then holds the model with its processor and code (or the adapter), which `from_pretrained` loads;
the model card `README.md`; the report `report.html`; `metrics.json`, `predictions.jsonl`,
`trainer_state.json` with the log; and the best checkpoint. The same command with
`--resume_from_checkpoint last` resumes a run that was stopped.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from transformers import set_seed

from dataset_mmnerd.files import write_json, write_lines
from modeling_2mner import TwoMNERProcessor
from reporting_2mner.errors import write_thumbnails
from reporting_2mner.html_report import write_report
from reporting_2mner.model_card import write_card
from reporting_2mner.tables import score_table

from .arguments import (
    DataArguments,
    ModelArguments,
    RecipeError,
    TwoMNERTrainingArguments,
)
from .building import new_trainer
from .checkpoints import SaveBeforeStopping, checkpoint_to_resume, locked
from .data import load_data, loading, refuse_endless
from .evaluation import evaluate
from .lora import refuse_adapter
from .new_language import NewLanguage
from .push import (
    prepare_repository,
    publish,
    refuse_local_base,
)
from .recipes import read_recipe
from .run_record import (
    describe_recipe,
    describe_rows,
    describe_training,
    describe_versions,
    fingerprint_of,
    log_setting,
)

__all__ = ["main"]


def main(argv: Sequence[str], prog: str = "2mner train") -> int:
    """Train, score and save a model by a recipe, and print its table of scores.

    Args:
        argv: `RECIPE [--key value ...]`.
        prog: the name of the program in `--help`.

    Returns:
        The exit status 0.

    Raises:
        RecipeError: for a mistake in the recipe or on the command line.
        PublishError: if the model cannot be pushed. A missing token, or a repository that cannot be
            written, is found before training.
        MalformedLineError: at the first malformed line of a data file.
        OSError: if a data file is missing, or the run's folder cannot be written.
    """
    recipe, model_arguments, data_arguments, arguments = read_recipe(argv, prog)
    set_up_logging(arguments)
    refuse_separate_trainings(arguments)
    refuse_endless(data_arguments, arguments)
    repository = prepare_push(model_arguments, arguments)
    only_here = locked(Path(str(arguments.output_dir))) if arguments.should_save else nullcontext()
    with only_here:
        follow(recipe, model_arguments, data_arguments, arguments, repository)
    return 0


def follow(
    recipe: Path,
    model_arguments: ModelArguments,
    data_arguments: DataArguments,
    arguments: TwoMNERTrainingArguments,
    repository: str | None,
) -> None:
    """Train, score and report, in an output folder that this process has locked."""
    started = perf_counter()
    set_seed(arguments.seed)
    fingerprint = fingerprint_of(model_arguments, data_arguments)
    checkpoint = checkpoint_to_resume(arguments, fingerprint)

    processor = None
    if model_arguments.model_name_or_path is not None:
        refuse_adapter(model_arguments.model_name_or_path)
        with loading(f"model {model_arguments.model_name_or_path}", OSError, ValueError):
            processor = TwoMNERProcessor.from_pretrained(model_arguments.model_name_or_path)
    data = load_data(data_arguments, None if processor is None else processor.labels)
    setting = describe_recipe(recipe, model_arguments, data_arguments, arguments)
    new_language = None
    if data_arguments.new_language:
        new_language = NewLanguage.begin(
            setting, model_arguments, data_arguments, arguments, processor, data, load_data
        )
        data = new_language.prepare(arguments, partial(new_trainer, model_arguments, processor))
    trainer = new_trainer(model_arguments, processor, data, arguments)
    trainer.fingerprint = fingerprint
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
    if new_language is not None:
        results["transfer"] = new_language.finish(trainer, records, training_seconds)
    if trainer.is_world_process_zero():
        run = Path(str(arguments.output_dir))
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
        if new_language is not None:
            sys.stdout.write(f"\n{new_language.tables(results['transfer'])}\n")
        sys.stdout.write(f"\nThe model and its figures are in {run}\n")
        if repository is not None:
            sys.stdout.write(f"Published: {publish(run, repository, token=arguments.hub_token)}\n")


# Steps -------------------------------------------------------------------------------------------


def set_up_logging(arguments: TwoMNERTrainingArguments) -> None:
    """Show the project's messages of level INFO on the main process, warnings on the others."""
    logging.basicConfig(format="%(message)s")
    level = logging.INFO if arguments.should_log else logging.WARNING
    for name in ("training_2mner", "dataset_mmnerd", "modeling_2mner"):
        logging.getLogger(name).setLevel(level)


def refuse_separate_trainings(arguments: TwoMNERTrainingArguments) -> None:
    """Refuse processes of one launcher that have no process group: each would train its own model
    and write into the same folder.

    Raises:
        RecipeError: if there are several processes without a process group.
    """
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched > 1 and arguments.world_size == 1:
        raise RecipeError(
            f"the launcher started {launched} processes (WORLD_SIZE), but each of them would train "
            "by itself; see accelerate_config.yaml for settings that let them train together"
        )


def prepare_push(
    model_arguments: ModelArguments, arguments: TwoMNERTrainingArguments
) -> str | None:
    """Create or check the repository of `--push_to_hub` before the training.

    Returns:
        `owner/name`; None without `--push_to_hub`, and on all processes but the first.

    Raises:
        PublishError: if nothing could be pushed to it.
    """
    if not arguments.push_to_hub:
        return None
    # `Trainer` would push by itself too, in a commit for every checkpoint.
    arguments.push_to_hub = False
    if arguments.process_index > 0:
        return None
    if model_arguments.lora:
        refuse_local_base(str(model_arguments.model_name_or_path))
    return prepare_repository(
        arguments.hub_model_id or Path(str(arguments.output_dir)).name,
        private=arguments.hub_private_repo or None,
        token=arguments.hub_token,
    )
