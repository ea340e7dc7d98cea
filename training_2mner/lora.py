"""Low-rank adapters (LoRA): small matrices beside the encoders' attention are trained, and the
encoders are frozen.

    model = TwoMNERForTokenClassification.from_pretrained("me/2mner")
    adapted = add_lora(model, rank=8)
    adapted.save_pretrained(folder)  # a few MB, which name "me/2mner" as their base

    2mner lora merge runs/pt_adapter --out runs/pt   # a model by itself

Fusion, alignment, classifier and CRF are trained whole and saved with the adapter. They change with
the active adapter:

    adapted = load_adapter("runs/pt_adapter", name="pt")
    adapted.load_adapter("runs/nl_adapter", "nl")
    adapted.set_adapter("nl")
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from peft import LoraConfig, PeftConfig, PeftModel, TaskType, get_peft_model
from safetensors import SafetensorError

from modeling_2mner import TwoMNERForTokenClassification, TwoMNERProcessor
from modeling_2mner.quoting_2mner import shorten
from modeling_2mner.weights_2mner import check_finite

from .arguments import RecipeError

__all__ = ["add_lora", "load_adapter", "main", "merge_adapter", "refuse_adapter"]

ADAPTED_LAYERS = (
    r"model\.(?:text|vision|global_vision)_model\..*"
    r"\.(?:query|value|q_proj|v_proj|query_proj|value_proj|q_lin|v_lin)"
)
"""The encoders' query and value layers by the names that the families of `transformers` give them.
An encoder without attention, such as a ResNet, has none and stays as it is."""


def add_lora(model: TwoMNERForTokenClassification, rank: int) -> PeftModel:
    """Freeze a model but for its new parts, and put a new adapter beside its encoders' attention.

    Args:
        model: with the name that it was loaded by, which the adapter will name as its base.
        rank: of the adapter's matrices.
    """
    # Part by part: PEFT trains no `ModuleList` as a whole.
    parts = ["classifier", "crf"]
    parts += [f"model.collaborations.{number}" for number in range(len(model.model.collaborations))]
    parts += [f"model.{name}" for name in ("fusion", "alignment") if getattr(model.model, name)]
    config = LoraConfig(
        task_type=TaskType.TOKEN_CLS,
        r=rank,
        lora_alpha=2 * rank,
        target_modules=ADAPTED_LAYERS,
        modules_to_save=parts,
    )
    return get_peft_model(model, config)


def load_adapter(folder: str, base: str | None = None, name: str = "default") -> PeftModel:
    """A model with its adapter, in evaluation mode. Other than `PeftModel.from_pretrained`, it also
    loads an adapter whose labels differ from those of its base.

    Args:
        folder: of the adapter, with its processor; or a name on the Hub.
        base: the model that it adapts; by default the one that the adapter names.
        name: the adapter's name in the model.

    Raises:
        OSError: if there is no such adapter or no such base, or one of them is broken, lacks a
            tensor or has a value that is not finite.
    """
    try:
        config = PeftConfig.from_pretrained(folder)
    except ValueError as error:
        raise OSError(f"{folder} holds no adapter: {error}") from error
    base = base or config.base_model_name_or_path
    model = TwoMNERForTokenClassification.from_pretrained(base)
    labels = TwoMNERProcessor.from_pretrained(folder).labels
    if labels != model.config.labels:
        model.resize_labels(labels)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Found missing adapter keys")
        try:
            model = PeftModel.from_pretrained(model, folder, adapter_name=name)
        except UserWarning as error:
            raise OSError(f"{folder}: the adapter is incomplete: {shorten(str(error))}") from error
        except SafetensorError as error:
            raise OSError(f"{folder}: the adapter's weights are broken: {error}") from error
    check_finite(folder, model)
    return model.eval()


def merge_adapter(folder: str, out: Path, base: str | None = None) -> None:
    """Merge an adapter into its base and save a plain model, which `AutoModel` loads without PEFT.

    Args:
        folder, base: as in `load_adapter`.
        out: where the model and its processor are written.

    Raises:
        OSError: as `load_adapter` does.
    """
    model = load_adapter(folder, base).merge_and_unload()
    model.save_pretrained(out)
    TwoMNERProcessor.from_pretrained(folder).save_pretrained(out)


def refuse_adapter(name: str, key: str = "model_name_or_path") -> None:
    """Refuse an adapter in place of a model.

    Args:
        name: of the model.
        key: of the recipe, that names it.

    Raises:
        RecipeError: if the folder holds an adapter; the message names the command that merges it.
    """
    config = Path(name) / "adapter_config.json"
    if config.is_file():
        base = json.loads(config.read_text("utf-8"))["base_model_name_or_path"]
        raise RecipeError(
            f"{key}: {name} is an adapter of {base}; make a model of it first: "
            f"2mner lora merge {name} --out FOLDER"
        )


def main(argv: Sequence[str], prog: str = "2mner lora") -> int:
    """Merge an adapter, from the command line.

    Args:
        argv: `merge ADAPTER --out FOLDER`.
        prog: the name of the program in `--help`.

    Returns:
        The exit status 0.

    Raises:
        OSError: if the folder is not empty, or as `merge_adapter`.
    """
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Commands for adapters.",
        epilog=f"example: {prog} merge runs/pt_adapter --out runs/pt",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    merge = commands.add_parser(
        "merge",
        help="write a model that needs no adapter and no PEFT",
        epilog=f"example: {prog} merge runs/pt_adapter --out runs/pt",
    )
    merge.add_argument("adapter", help="folder of the adapter, or its name on the Hub")
    merge.add_argument("--out", type=Path, required=True, help="folder for the model")
    merge.add_argument("--base", help="the model that it adapts, if it has moved")
    arguments = parser.parse_args(argv)
    if arguments.out.exists() and any(arguments.out.iterdir()):
        raise OSError(f"--out: {arguments.out} is not empty")
    merge_adapter(arguments.adapter, arguments.out, arguments.base)
    sys.stdout.write(f"The merged model is in {arguments.out}\n")
    return 0
