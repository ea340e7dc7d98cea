"""`TwoMNERTrainer`: `Trainer` with learning rates by part and a loss that adds up exactly.

    trainer = TwoMNERTrainer(model=model, args=arguments, data_collator=collator, ...)
    trainer.train()

The loss is a mean over sentences: a micro-batch counts by its number of sentences. Gradient
accumulation and several processes therefore give exactly the likelihood's gradient of the whole
batch, also for the smaller last batch of an epoch. (The contrastive loss is averaged the same way;
its negatives are those of its micro-batch.) No pickle is saved beside the weights.
"""

from __future__ import annotations

import json
import logging
import re
from collections import defaultdict
from collections.abc import Sequence, Sized
from pathlib import Path
from typing import Any, cast

import torch
from datasets import IterableDataset as Stream
from peft import PeftModel
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler, SequentialSampler
from transformers import EarlyStoppingCallback, Trainer
from transformers.trainer import TRAINER_STATE_NAME, TRAINING_ARGS_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, EvalLoopOutput, rotate_checkpoints

from dataset_mmnerd.files import replaced
from modeling_2mner import TwoMNERForTokenClassification, TwoMNERProcessor
from modeling_2mner.alignment_2mner import cross_view_divergence
from modeling_2mner.outputs_2mner import TwoMNERTokenClassifierOutput
from modeling_2mner.thresholds_2mner import FILE as THRESHOLDS
from modeling_2mner.views_2mner import illustrated

from .arguments import RecipeError, TwoMNERTrainingArguments
from .batching import LengthGroupedSampler, SharedBatches, StreamedBatches, WordCollator
from .checkpoints import (
    FINGERPRINT,
    LOSS_SUMS,
    UNFINISHED,
    KeepPlace,
    finish_checkpoint,
    finish_files,
    recover_checkpoints,
    writing_checkpoint,
)
from .controls import OtherImages
from .distillation import TEACHER
from .evaluation import score_rows, spans_from_predictions
from .metrics import summary

__all__ = ["TwoMNERTrainer", "freeze_parameters", "part_of"]

logger = logging.getLogger(__name__)


def part_of(name: str) -> str:
    """The part that gives a parameter its learning rate: "encoders", "adapter", "classifier",
    "crf", "new_parts"."""
    pieces = name.split(".")
    if any(piece.startswith("lora_") for piece in pieces):
        return "adapter"
    if "crf" in pieces:
        return "crf"
    encoders = {"text_model", "vision_model", "global_vision_model"}
    if encoders.intersection(pieces):
        return "encoders"
    return "classifier" if "classifier" in pieces else "new_parts"


def freeze_parameters(model: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Stop training the parameters whose dotted names the patterns match.

    A pattern is a regular expression over whole pieces of a name, anywhere in it: `vision_model`
    does not match `global_vision_model`, nor `layer.1` the parameters of `layer.11`.

    Returns:
        The names of the frozen parameters.

    Raises:
        RecipeError: if a pattern is no regular expression or matches no parameter.
    """
    frozen: dict[str, None] = {}
    for pattern in patterns:
        try:
            expression = re.compile(rf"(?:^|\.)(?:{pattern})(?:\.|$)")
        except re.error as error:
            raise RecipeError(f"freeze: {pattern!r} is no regular expression: {error}") from None
        matches = [name for name, _ in model.named_parameters() if expression.search(name)]
        if not matches:
            parts = dict.fromkeys(
                ".".join(name.split(".")[:3]) for name, _ in model.named_parameters()
            )
            raise RecipeError(
                f"freeze: {pattern!r} matches no parameter; there are {', '.join(parts)}, ..."
            )
        frozen.update(dict.fromkeys(matches))
    for name in frozen:
        model.get_parameter(name).requires_grad_(False)
    return list(frozen)


class TwoMNERTrainer(Trainer):
    """`Trainer` for a `TwoMNERForTokenClassification`.

    Data sets keep their rows undecoded; the collator makes batches of them. Every evaluation logs
    `eval_f1`, `eval_f1_<language>` and `eval_f1_both_views`; that of a model that reads images or
    visual context reads each batch in both views and logs `eval_f1_text_view` too. Training logs
    each part of the loss as `loss_<name>`.

    Attributes:
        fingerprint: of model and training data, saved in checkpoints and compared on resume; None
            saves none.
    """

    args: TwoMNERTrainingArguments
    model: TwoMNERForTokenClassification | PeftModel
    processing_class: TwoMNERProcessor
    data_collator: WordCollator

    # `compute_loss` weighs each micro-batch by its share of the step's sentences.
    loss_is_scaled_for_ga = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # `Trainer` sets a decoder's switch on every configuration, ours has none to save.
        del self.model.config.use_cache
        processor = self.processing_class
        self._has_both_views = processor.reads_images or processor.reads_context
        self._reads_both_views = self._has_both_views
        # Since the last line of the log: the loss, its parts, and "shares", the number of steps.
        self._sums: defaultdict[str, Tensor | float] = defaultdict(float)
        self._writes_checkpoint = False
        self.fingerprint: dict[str, Any] | None = None
        self.add_callback(KeepPlace())

    # End ------------------------------------------------------------------------------------------

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """One epoch; none if the run has ended. `Trainer` looks for the end only after a step, so a
        finished run that is resumed would make one more."""
        if self._has_ended():
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)

    def _has_ended(self) -> bool:
        return self.state.global_step >= self.state.max_steps or any(
            callback.early_stopping_patience_counter >= callback.early_stopping_patience
            for callback in self.callback_handler.callbacks
            if isinstance(callback, EarlyStoppingCallback)
        )

    # Order ----------------------------------------------------------------------------------------

    def get_train_dataloader(self) -> DataLoader:
        """This process's batches, collated; a stream gives as many as `max_steps` needs."""
        accumulate, seed = self.args.gradient_accumulation_steps, self.args.data_seed
        seed = self.args.seed if seed is None else seed
        size = self.args.train_batch_size
        share = (size, self.accelerator.process_index, self.accelerator.num_processes)
        rows = cast(Any, self.train_dataset)
        if isinstance(rows, Stream):
            rows = rows.shuffle(seed, buffer_size=self.args.shuffle_buffer)
            rows = StreamedBatches(rows, self.args.max_steps * accumulate, *share)
            order: dict[str, Any] = {"batch_size": None, "num_workers": 0}
        else:
            together = size * accumulate * self.accelerator.num_processes
            grouped = self.args.train_sampling_strategy == "group_by_length"
            lengths = [len(tokens) for tokens in rows["tokens"]]
            sampler = LengthGroupedSampler(lengths, together, seed, pool=20 if grouped else 1)
            order = {
                "batch_sampler": SharedBatches(sampler, *share),
                "num_workers": self.args.dataloader_num_workers,
                "persistent_workers": self.args.dataloader_persistent_workers,
                "prefetch_factor": self.args.dataloader_prefetch_factor,
            }
        return DataLoader(
            cast(Dataset, rows),
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory and self.args.device.type == "cuda",
            **order,
        )

    def _get_eval_sampler(self, eval_dataset: Dataset) -> Sampler | None:
        # `Trainer` would group by length, and predictions would not be in the order of the rows.
        return SequentialSampler(cast(Sized, eval_dataset))

    # Optimizer ------------------------------------------------------------------------------------

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """One group for each part, with and without weight decay; frozen parameters in none."""
        if self.optimizer is None:
            model = self.model if model is None else model
            rates = {
                "encoders": self.args.learning_rate,
                "adapter": self.args.adapter_learning_rate,
                "new_parts": self.args.new_parts_learning_rate,
                "classifier": self.args.classifier_learning_rate,
                "crf": self.args.crf_learning_rate,
            }
            decayed = set(self.get_decay_parameter_names(model))
            groups: dict[tuple[str, bool], dict[str, Any]] = {
                (part, decays): {
                    "params": [],
                    "lr": rate,
                    "weight_decay": self.args.weight_decay if decays else 0.0,
                    "part": part,
                }
                for part, rate in rates.items()
                for decays in (True, False)
            }
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    groups[part_of(name), name in decayed]["params"].append(parameter)
            optimizer_class, options = self.get_optimizer_cls_and_kwargs(
                self.args, cast(Any, model)
            )
            used = [group for group in groups.values() if group["params"]]
            self.optimizer = optimizer_class(used, **options)
        return self.optimizer

    # Loss -----------------------------------------------------------------------------------------

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """The micro-batches of one step, and how many sentences they hold over all processes."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        sentences = torch.tensor(sum(len(batch["word_mask"]) for batch in batches), device=device)
        return batches, self.accelerator.reduce(sentences, reduction="sum")

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The loss of one micro-batch, in training times its share of the step's sentences."""
        teacher = inputs.pop(TEACHER, None)
        outputs = model(**inputs)
        if teacher is not None:
            self._add_divergence(outputs, teacher, inputs["word_mask"])
        share = 1.0
        if num_items_in_batch is not None:
            # Gradients are averaged over processes, hence their number.
            sentences = len(inputs["word_mask"]) * self.accelerator.num_processes
            share = sentences / num_items_in_batch
            for name, loss in {"loss": outputs.loss, **outputs.losses}.items():
                self._sums[name] += loss.detach() * share
            # The shares of a step add up to 1, so their sum is the number of steps.
            self._sums["shares"] += share
        loss = outputs.loss * share
        return (loss, outputs) if return_outputs else loss

    def _add_divergence(
        self, outputs: TwoMNERTokenClassifierOutput, teacher: Tensor, word_mask: Tensor
    ) -> None:
        """Mix the divergence from the teacher, a mean over the sentences, into the loss.

        Args:
            outputs: of the student, with a loss.
            teacher: `[B, W, K]` log-posteriors.
            word_mask: `[B, W]`.
        """
        temperature, weight = self.args.distillation_temperature, self.args.distillation_weight
        crf = self.accelerator.unwrap_model(self.model).crf
        student = crf.log_marginals(outputs.logits, word_mask, temperature)
        divergence = cross_view_divergence(teacher, student, word_mask, temperature).mean()
        assert outputs.loss is not None and outputs.losses is not None
        outputs.losses["distillation"] = divergence
        outputs.loss = (1 - weight) * outputs.loss + weight * divergence

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, and with a training loss its parts, each a mean over the same sentences."""
        if "loss" in logs and self._sums:
            sums = self._reduced_sums()
            steps = sums.pop("shares")
            logs["loss"] = sums.pop("loss") / steps
            logs |= {f"loss_{name}": total / steps for name, total in sums.items()}
            self._sums.clear()
        super().log(logs, start_time)

    def _reduced_sums(self) -> dict[str, float]:
        """The sums since the last line of the log, each the mean of the processes'."""
        return {
            name: self.accelerator.reduce(total, reduction="mean").item()
            for name, total in self._sums.items()
        }

    # Evaluation -----------------------------------------------------------------------------------

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """One batch: its loss, (labels, entity scores, images read) and, where both views are
        read, (labels, entity scores) of the text view behind them; gold labels."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, outputs = self.compute_loss(model, inputs, return_outputs=True)
            if prediction_loss_only:
                return loss, None, None
            found: tuple[Any, ...] = (
                outputs.predictions,
                outputs.entity_scores,
                illustrated(
                    inputs["word_index"], inputs.get("image_mask"), inputs.get("context_mask")
                ),
            )
            if self._reads_both_views:
                unlabelled = {key: value for key, value in inputs.items() if key != "labels"}
                outputs = model(**unlabelled, view="text")
                found += (outputs.predictions, outputs.entity_scores)
        return loss, found, inputs["labels"]

    def evaluation_loop(
        self,
        dataloader,
        description,
        prediction_loss_only=None,
        ignore_keys=None,
        metric_key_prefix="eval",
    ) -> EvalLoopOutput:
        """As `Trainer`'s, and the scores of the rows that were evaluated."""
        # The text view does not depend on the image, so it is not computed again.
        others = isinstance(dataloader.dataset, OtherImages)
        self._reads_both_views = self._has_both_views and not others
        output = super().evaluation_loop(
            dataloader, description, False, ignore_keys, metric_key_prefix
        )
        labels, _, _, *text_view = cast(tuple[Any, ...], output.predictions)
        names = self.processing_class.labels
        scores = summary(
            *(
                score_rows(dataloader.dataset, spans_from_predictions(view, names))
                for view in (labels, *text_view[:1])
            )
        )
        cast(dict[str, float], output.metrics).update(
            {f"{metric_key_prefix}_{key}": scores[key] for key in scores}
        )
        return output

    # Saving ---------------------------------------------------------------------------------------

    def _get_output_dir(self, trial: Any) -> str:
        run = super()._get_output_dir(trial)
        return str(Path(run) / UNFINISHED) if self._writes_checkpoint else run

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint in `UNFINISHED`, and move it to its place when it is complete."""
        run = Path(self._get_output_dir(trial))
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        if self.args.should_save:
            recover_checkpoints(run)
        self.accelerator.wait_for_everyone()
        with writing_checkpoint(run, name) as written:
            best = self.state.best_model_checkpoint
            self._writes_checkpoint = True
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self._writes_checkpoint = False
            # `Trainer` looked for the best one among the unfinished.
            is_best = self.state.best_global_step == self.state.global_step
            self.state.best_model_checkpoint = str(run / name) if is_best else best
            sums = self._reduced_sums()
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                written.joinpath(LOSS_SUMS).write_text(json.dumps(sums), encoding="utf-8")
                if self.fingerprint is not None:
                    written.joinpath(FINGERPRINT).write_text(
                        json.dumps(self.fingerprint), encoding="utf-8"
                    )
                self.state.save_to_json(str(written / "trainer_state.json"))
                finish_checkpoint(written, run / name)
        if self.args.should_save:
            rotate_checkpoints(
                output_dir=str(run),
                save_total_limit=self.args.save_total_limit,
                best_model_checkpoint=self.state.best_model_checkpoint,
                use_mtime=True,
            )
        self.accelerator.wait_for_everyone()

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            sums = json.loads(Path(checkpoint, LOSS_SUMS).read_text("utf-8"))
            self._sums.update(
                {name: torch.tensor(total, device=self.args.device) for name, total in sums.items()}
            )

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save weights, configuration, code and processor, without the pickle that `Trainer` adds.
        If one file cannot be written, none is replaced. Thresholds that were chosen for an earlier
        model in the folder are deleted.

        Raises:
            OSError: if it cannot be written.
        """
        folder = Path(output_dir or str(self.args.output_dir))
        if UNFINISHED in folder.parts:  # of a checkpoint
            super().save_model(output_dir, _internal_call)
            folder.joinpath(TRAINING_ARGS_NAME).unlink(missing_ok=True)
            return
        with writing_checkpoint(folder, "model") as written:
            super().save_model(str(written), _internal_call)
            if self.args.should_save:
                written.joinpath(TRAINING_ARGS_NAME).unlink(missing_ok=True)
                finish_files(written, folder)
                folder.joinpath(THRESHOLDS).unlink(missing_ok=True)

    def save_state(self) -> None:
        """Write `trainer_state.json`, which holds the log, in one step.

        Raises:
            OSError: if it cannot be written.
        """
        if self.is_world_process_zero():
            with replaced(Path(str(self.args.output_dir)) / TRAINER_STATE_NAME) as unfinished:
                self.state.save_to_json(str(unfinished))
