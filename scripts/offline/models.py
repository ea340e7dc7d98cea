"""Save a model that consists of given tensors, and check that it loads."""

from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import AutoModel, AutoModelForImageClassification, PreTrainedModel

from .packages import BackboneError

__all__ = ["check_loading", "save_model"]


def save_model(model: PreTrainedModel, state: dict[str, Tensor], folder: Path) -> None:
    """Save a model that consists of exactly `state`.

    Args:
        model: built on the `meta` device: no memory and no random numbers for its own weights.

    Raises:
        RuntimeError: torch's own, naming every missing, unexpected or misshapen tensor.
    """
    model.load_state_dict(state, strict=True, assign=True)
    model.save_pretrained(folder)


def check_loading(
    auto_class: type[AutoModel] | type[AutoModelForImageClassification],
    folder: Path,
    **options: Any,
) -> PreTrainedModel:
    """Load a saved folder, in evaluation mode; nothing may be missing and nothing left over."""
    model, report = auto_class.from_pretrained(folder, output_loading_info=True, **options)
    for key in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report[key]:
            raise BackboneError(f"{folder}: {key} after saving: {sorted(report[key])[:5]}")
    return model
