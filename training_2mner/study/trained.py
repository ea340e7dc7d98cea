"""A finished run, opened for measuring: its model, its test part, and a trainer that predicts.

    trained = Trained(Path("runs/demo"))
    predict(trained.trainer, trained.rows)["image_text"].spans
    for inputs, outputs in trained.outputs(trained.rows):
        outputs.text_embeds

Nothing is read before it is needed, and everything is read once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, DatasetDict

from modeling_2mner import TwoMNERForTokenClassification, TwoMNERProcessor
from reporting_2mner.runs import RunError, figures_of, read_results

from ..arguments import DataArguments, RecipeError, TwoMNERTrainingArguments
from ..batching import WordCollator
from ..controls import OtherImages
from ..data import label_names, load_data, loading
from ..lora import load_adapter
from ..trainer import TwoMNERTrainer

__all__ = ["Trained"]

KEPT = ("bf16", "fp16", "per_device_eval_batch_size", "seed", "use_cpu")
"""The training arguments of the run that also hold for predictions."""


@dataclass
class Trained:
    """A finished run. The images of its rows are undecoded.

    Attributes:
        folder: of the run, as `2mner train` leaves it.
    """

    folder: Path

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """All arguments of the run, under `model`, `data` and `training`, as in `metrics.json`.

        Raises:
            RecipeError: if the run is not finished, or its `metrics.json` is damaged.
        """
        try:
            with figures_of(self.folder / "metrics.json"):
                recipe = read_results(self.folder)["recipe"]
                return {part: dict(recipe[part]) for part in ("model", "data", "training")}
        except RunError as error:
            raise RecipeError(str(error)) from error

    @cached_property
    def data(self) -> DatasetDict:
        """The parts of the run's data, with the labels of its model.

        Raises:
            RecipeError: if they cannot be loaded.
            OSError: if a file is missing.
        """
        try:
            arguments = DataArguments(**self.recipe["data"])
        except (TypeError, ValueError) as error:
            raise RecipeError(f"{self.folder / 'metrics.json'}: recipe: {error}") from error
        return load_data(arguments, self.processor.labels)

    @property
    def rows(self) -> Dataset:
        """The test part."""
        return self._part("test")

    @property
    def validation(self) -> Dataset:
        """The validation part."""
        return self._part("validation")

    def _part(self, split: str) -> Dataset:
        """Raises `RecipeError` if there is no such part."""
        if split not in self.data:
            raise RecipeError(f"{self.folder}: expected a run with a {split} part, found none")
        return self.data[split]

    @cached_property
    def processor(self) -> TwoMNERProcessor:
        """The model's processor."""
        with loading(f"model {self.folder}", OSError, ValueError):
            return TwoMNERProcessor.from_pretrained(str(self.folder))

    @cached_property
    def model(self) -> TwoMNERForTokenClassification:
        """The model in evaluation mode, float32; an adapter is merged into its base.

        Raises:
            RecipeError: if it cannot be loaded.
        """
        folder = str(self.folder)
        with loading(f"model {folder}", OSError, ValueError):
            if (self.folder / "adapter_config.json").is_file():
                merged: Any = load_adapter(folder).merge_and_unload()
                return merged.eval()
            model = TwoMNERForTokenClassification.from_pretrained(folder, dtype=torch.float32)
            return model.eval()

    @cached_property
    def trainer(self) -> TwoMNERTrainer:
        """What `evaluation.predict` needs. It decodes every image and has no cache of features."""
        training = {
            key: self.recipe["training"][key] for key in KEPT if key in self.recipe["training"]
        }
        return TwoMNERTrainer(
            model=self.model,
            args=TwoMNERTrainingArguments(
                output_dir=str(self.folder),
                eval_strategy="no",
                save_strategy="no",
                load_best_model_at_end=False,
                report_to="none",
                disable_tqdm=True,
                **training,
            ),
            data_collator=WordCollator(self.processor, label_names(self.data["train"])),
            processing_class=self.processor,
        )

    @torch.no_grad()
    def outputs(
        self, rows: Dataset | OtherImages, view: str = "image_text", attention: bool = False
    ) -> Iterator[tuple[dict[str, Any], Any]]:
        """Read some rows in 32 bits, and give what the model is given and its output (a
        `TwoMNERTokenClassifierOutput`), batch by batch, in the order of the rows.

        Args:
            rows: which.
            view: "image_text" or "text".
            attention: also give the attention from words to patches.
        """
        for inputs in self.trainer.get_test_dataloader(rows):
            del inputs["labels"]
            words = inputs["word_mask"].shape[1] if attention else None
            yield inputs, self.model(**inputs, view=view, attending_words=words)
