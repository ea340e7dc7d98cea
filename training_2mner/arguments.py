"""The keys of a recipe: three dataclasses, which `recipes.read_recipe` fills."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import torch
from transformers import TrainingArguments

from dataset_mmnerd.columns import parse_columns
from dataset_mmnerd.quoting import LONGEST_QUOTE, quoted
from modeling_2mner.hardware_2mner import multiplies_bf16

__all__ = [
    "CommandLineError",
    "DataArguments",
    "ModelArguments",
    "RecipeError",
    "TwoMNERTrainingArguments",
    "difference",
    "unknown_key",
]


ADAPTER_RATE = 10
"""The default rate of an adapter, as a multiple of `learning_rate`."""


class RecipeError(ValueError):
    """A recipe that cannot be followed: what is wrong, where, and what was expected."""


class CommandLineError(RecipeError):
    """A command line that cannot be followed."""

    exit_status = 2


@dataclass
class ModelArguments:
    """The model: encoders to build it from, or a saved model, which takes precedence."""

    text_model: str | None = field(
        default=None,
        metadata={"help": "Text encoder to start from: a name on the Hub or a folder."},
    )
    vision_model: str | None = field(
        default=None,
        metadata={"help": "Vision encoder that gives patches; none: a text-only tagger."},
    )
    global_vision_model: str | None = field(
        default=None, metadata={"help": "Second vision encoder that gives one vector an image."}
    )
    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Saved 2M-NER to go on with, in place of the encoders."}
    )
    teacher: str | None = field(
        default=None,
        metadata={"help": "Trained 2M-NER whose posteriors the model learns (distillation)."},
    )
    model_config: dict | str | None = field(
        default=None,
        metadata={
            "help": "Switches of TwoMNERConfig for a model built from encoders; here as JSON."
        },
    )
    processor_config: dict | str | None = field(
        default=None,
        metadata={
            "help": "Switches of its TwoMNERProcessor, such as context_budget; here as JSON."
        },
    )
    lora: bool = field(
        default=False,
        metadata={"help": "Train an adapter (LoRA) of the saved 2M-NER, not the model itself."},
    )
    lora_rank: int = field(default=8, metadata={"help": "Rank of the adapter's matrices."})
    label_scheme: str = field(
        default="BIO", metadata={"help": "Labels of a model built from encoders: BIO or BIOES."}
    )

    def __post_init__(self) -> None:
        self.model_config = _mapping("model_config", self.model_config)
        self.processor_config = _mapping("processor_config", self.processor_config)
        if self.label_scheme not in ("BIO", "BIOES"):
            raise ValueError(f"label_scheme is {self.label_scheme!r}, expected BIO or BIOES")
        if self.model_name_or_path is not None:
            # A recipe that names encoders can also continue a saved model; they are ignored then.
            self.text_model = self.vision_model = self.global_vision_model = None
            self.model_config = self.processor_config = None
        elif self.text_model is None:
            raise ValueError(
                "expected text_model (build from encoders) or model_name_or_path (go on with a "
                "saved model), found neither"
            )
        if self.lora and self.model_name_or_path is None:
            raise ValueError(
                "lora adapts a saved model, which the adapter then names as its base: expected "
                f"model_name_or_path, found text_model {self.text_model!r}"
            )
        if self.lora_rank < 1:
            raise ValueError(f"lora_rank is {self.lora_rank}, expected at least 1")


def _mapping(key: str, value: dict | str | None) -> dict | None:
    """The mapping of a key that holds further keys; the command line gives it as JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"{key} is not JSON: {error}") from None
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"{key} is {quoted(value)}, expected a mapping")
    return value


@dataclass
class DataArguments:
    """The data: the embedded sample, a data set, or files, which take precedence. Beside a data set
    validation and test files take the place of its own parts."""

    dataset_name: str | None = field(
        default=None,
        metadata={"help": '"sample", or what `load_dataset` takes: a folder, a name on the Hub.'},
    )
    dataset_config: str | None = field(
        default=None, metadata={"help": "Configuration of that data set, such as a language."}
    )
    sample_sentences: int = field(
        default=300,
        metadata={"help": "With the sample: so many sentences a language, over all parts."},
    )
    streaming: bool = field(
        default=False,
        metadata={"help": "Read the training part as it comes; needs max_steps."},
    )
    train_files: list[str] | None = field(
        default=None,
        metadata={"help": "Files to train on, or parts of them: `val.conllu[:1500]`, `[50%%:]`."},
    )
    validation_files: list[str] | None = field(
        default=None, metadata={"help": "Files that choose the best checkpoint."}
    )
    test_files: list[str] | None = field(
        default=None, metadata={"help": "Files that are scored once, at the end."}
    )
    unlabelled_files: list[str] | None = field(
        default=None,
        metadata={
            "help": "Files to learn from a teacher on, in the same formats; their labels are not "
            "used."
        },
    )
    image_dir: str | None = field(
        default=None, metadata={"help": "Where the files' images are; else beside each file."}
    )
    languages: list[str] | None = field(
        default=None, metadata={"help": "Keep only sentences in these languages."}
    )
    train_languages: list[str] | None = field(
        default=None,
        metadata={
            "help": "Train, on unlabelled sentences too, and choose the best checkpoint on these "
            "languages alone; the test part keeps all of its languages (zero-shot transfer)."
        },
    )
    language: str | None = field(
        default=None,
        metadata={"help": "Language of sentences whose data does not say it; else und."},
    )
    columns: list[str] | None = field(
        default=None,
        metadata={
            "help": "Other names of columns: tokens=words ner_tags=tags lang=language image=image"
        },
    )
    tag_names: list[str] | None = field(
        default=None,
        metadata={"help": "The labels in the order of their numbers, where the data has numbers."},
    )
    entity_types: list[str] | None = field(
        default=None,
        metadata={
            "help": "Entity types to learn; else those of the training data, or a saved model's "
            "where these are among them."
        },
    )
    new_language: bool = field(
        default=False,
        metadata={
            "help": "Measure the saved model before and after, on these sentences and on old ones: "
            "what was gained, what was forgotten."
        },
    )
    old_test_files: list[str] | None = field(
        default=None,
        metadata={"help": "Old sentences to measure forgetting on; else those of the model's run."},
    )
    replay: float = field(
        default=0.0,
        metadata={"help": "Old sentences to mix in, as a share of the new ones: 0.1 is one in 11."},
    )
    replay_files: list[str] | None = field(
        default=None, metadata={"help": "Where these are from; else what the model's run read."}
    )
    learning_curve: str | None = field(
        default=None,
        metadata={
            "help": "Train on so many of the new sentences, one after the other: 50,200,1000"
        },
    )

    def __post_init__(self) -> None:
        if self.streaming and (self.train_files or self.dataset_name == "sample"):
            raise ValueError(
                "streaming reads a data set: expected dataset_name, the sample is none"
            )
        if self.streaming and self.new_language:
            raise ValueError("streaming: new_language counts sentences, which a stream does not")
        if self.unlabelled_files and (self.streaming or self.new_language):
            key = "streaming" if self.streaming else "new_language"
            raise ValueError(f"unlabelled_files: cannot be mixed into the sentences of {key}")
        if self.train_files is None and self.dataset_name is None:
            raise ValueError("no data to train on: expected train_files or dataset_name")
        for key in ("old_test_files", "replay", "replay_files", "learning_curve"):
            if getattr(self, key) and not self.new_language:
                raise ValueError(f"{key} is a part of new_language, which is off")
        if self.replay < 0:
            raise ValueError(f"replay is {self.replay}, expected a share such as 0.1")
        if self.replay_files and not self.replay:
            raise ValueError("replay_files needs replay beside it, the share of them to mix in")
        self.curve_sizes()
        self.column_names()

    def column_names(self) -> dict[str, str]:
        """The names of the data's columns, by the usual ones; only those that differ."""
        return parse_columns(self.columns or ())

    def curve_sizes(self) -> list[int]:
        """The sizes of the learning curve, ascending; empty without one."""
        found = (self.learning_curve or "").replace(",", " ").split()
        if not all(size.isdecimal() and int(size) for size in found):
            raise ValueError(
                f"learning_curve is {self.learning_curve!r}, expected sizes such as 50,200,1000"
            )
        return sorted({int(size) for size in found})


@dataclass
class TwoMNERTrainingArguments(TrainingArguments):
    """How to train: all of `TrainingArguments`, with this family's defaults and a few more keys."""

    new_parts_learning_rate: float | None = field(
        default=None,
        metadata={"help": "Rate of what no encoder brings: collaboration, fusion, projectors."},
    )
    classifier_learning_rate: float | None = field(
        default=None, metadata={"help": "Rate of the linear layer; else as the new parts."}
    )
    crf_learning_rate: float | None = field(
        default=None, metadata={"help": "Rate of the CRF's transitions; else as the linear layer."}
    )
    adapter_learning_rate: float | None = field(
        default=None,
        metadata={"help": "Rate of an adapter's matrices (LoRA); else 10 times learning_rate."},
    )
    distillation_weight: float = field(
        default=0.5, metadata={"help": "Share of the teacher in the loss; the rest is the labels'."}
    )
    distillation_temperature: float = field(
        default=2.0, metadata={"help": "Divides the scores of teacher and student (at least 1)."}
    )
    min_steps: int = field(
        default=0, metadata={"help": "Steps at least, however few sentences and epochs there are."}
    )
    freeze: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Parameters not to train: regular expressions over whole pieces of their "
            "dotted names, such as text_model.embeddings or encoder.layer.[0-5]."
        },
    )
    cache_vision_features: bool = field(
        default=False,
        metadata={"help": "Run frozen vision encoders once an image, and keep what they give."},
    )
    vision_cache_dir: str | None = field(
        default=None,
        metadata={"help": "Where that is kept; by default in vision_features of the run's folder."},
    )
    shuffle_buffer: int = field(
        default=10_000,
        metadata={"help": "Sentences of a stream that are held to be shuffled (streaming)."},
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Evaluations without a better score before stopping."}
    )
    controls: bool = field(
        default=True,
        metadata={"help": "Score the test part also without, with shuffled and with blank images."},
    )
    bf16: str = field(  # type: ignore[assignment]  # a bool after `__post_init__`
        default="auto",
        metadata={"help": "bfloat16 where it helps: yes, no, or auto (what the processor has)."},
    )
    learning_rate: float = field(
        default=5e-5, metadata={"help": "Rate of the pretrained encoders, text and vision."}
    )
    train_sampling_strategy: str = field(
        default="group_by_length",
        metadata={"help": "group_by_length (sentences of like length share a batch) or random."},
    )
    eval_strategy: str = field(default="epoch", metadata={"help": "no, steps or epoch."})
    save_strategy: str = field(default="epoch", metadata={"help": "no, steps, epoch or best."})
    save_total_limit: int | None = field(default=1, metadata={"help": "Checkpoints to keep."})
    load_best_model_at_end: bool = field(
        default=True, metadata={"help": "Keep the checkpoint that was best on the validation part."}
    )
    resume_from_checkpoint: str | None = field(
        default=None,
        metadata={"help": "Go on from this checkpoint; last: from the run's last whole one."},
    )
    restore_callback_states_from_checkpoint: bool = field(
        default=True,
        metadata={"help": "A resumed run also remembers its patience (early_stopping_patience)."},
    )
    ddp_find_unused_parameters: bool | None = field(
        default=True,
        metadata={"help": "Stays on: one-word sentences alone do not use the CRF's transitions."},
    )
    metric_for_best_model: str | None = field(
        default="f1_both_views",
        metadata={
            "help": "Best by f1, f1_text_view (no images), f1_both_views (the mean of the two), "
            "f1_de, image_decided_accuracy or loss."
        },
    )
    hub_private_repo: bool = field(
        default=False, metadata={"help": "Push to a repository for its owner alone."}
    )
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Stays off: the collator reads words and images."}
    )

    def __post_init__(self) -> None:
        if self.label_smoothing_factor != 0:
            raise ValueError(
                f"label_smoothing_factor is {self.label_smoothing_factor}, expected 0: smoothing "
                "would replace the CRF's and the alignment's loss with one over single words"
            )
        if not 0 < self.distillation_weight <= 1:
            raise ValueError(
                f"distillation_weight is {self.distillation_weight}, expected a share: above 0, at "
                "most 1"
            )
        if not 1 <= self.distillation_temperature < math.inf:
            raise ValueError(
                f"distillation_temperature is {self.distillation_temperature}, expected at least 1"
            )
        if self.remove_unused_columns:
            raise ValueError("remove_unused_columns must stay off: the collator reads whole rows")
        for key in ("hub_strategy", "hub_always_push", "hub_revision"):
            if getattr(self, key) != TrainingArguments.__dataclass_fields__[key].default:
                raise ValueError(
                    f"{key} is {getattr(self, key)!r}, expected nothing: the run is pushed once, "
                    "in one commit to main, when it is done"
                )
        if self.train_sampling_strategy not in ("group_by_length", "random"):
            raise ValueError(
                f"train_sampling_strategy is {self.train_sampling_strategy!r}, expected "
                "group_by_length or random"
            )
        # Without `use_cpu`, `Trainer` refuses bf16 on a machine without an accelerator, and two
        # processes of a launcher would train separately.
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        bf16 = _choose_bf16(self.bf16, self.use_cpu, self.fp16)
        self.bf16 = bf16  # type: ignore[assignment]
        if self.new_parts_learning_rate is None:
            self.new_parts_learning_rate = self.learning_rate
        if self.classifier_learning_rate is None:
            self.classifier_learning_rate = self.new_parts_learning_rate
        if self.crf_learning_rate is None:
            self.crf_learning_rate = self.classifier_learning_rate
        if self.adapter_learning_rate is None:
            self.adapter_learning_rate = ADAPTER_RATE * self.learning_rate
        super().__post_init__()
        if self.n_gpu > 1:
            # `Trainer` would wrap the model in `torch.nn.DataParallel`, which the model refuses.
            raise ValueError(
                f"found {self.n_gpu} GPUs and one process, expected one process for each GPU "
                f"(accelerate launch --multi_gpu --num_processes {self.n_gpu} -m cli_2mner train "
                "RECIPE) or one visible GPU (CUDA_VISIBLE_DEVICES=0)"
            )


def _choose_bf16(wish: str | bool, use_cpu: bool, fp16: bool) -> bool:
    """Whether to compute in bfloat16 on this machine."""
    if isinstance(wish, bool):
        return wish
    if wish.lower() in ("yes", "true", "no", "false"):
        return wish.lower() in ("yes", "true")
    if wish != "auto":
        raise ValueError(f"bf16 is {wish!r}, expected yes, no or auto")
    if fp16:
        return False
    return multiplies_bf16("cpu" if use_cpu else torch.accelerator.current_accelerator() or "cpu")


def unknown_key(key: str, known: Iterable[str]) -> str:
    """The message for an unknown key, with the nearest known one."""
    name = key[:LONGEST_QUOTE].lstrip("-").partition("=")[0].replace("-", "_")
    nearest = get_close_matches(name, known, n=1, cutoff=0.0)[0]
    return f"unknown key {quoted(key)}, the nearest known one is {nearest!r}"


def difference(found: dict[str, Any], now: dict[str, Any]) -> str | None:
    """The first setting of two recipes that differs, the innermost where they are nested, with both
    its values; None if none does."""
    for key in dict.fromkeys([*found, *now]):
        before, after = found.get(key), now.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            inner = difference(before, after)
            if inner is not None:
                return inner
        elif before != after:
            shown = ["the default" if value is None else repr(value) for value in (before, after)]
            return f"{key} {shown[0]}, now it is {shown[1]}"
    return None
