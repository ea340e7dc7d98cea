"""Low-rank adapters (LoRA): a few small matrices beside the towers' attention are trained, and the
towers themselves stay as they are.

    model = TwoMNERForTokenClassification.from_pretrained("me/2mner")
    adapted = add_lora(model, rank=8)
    adapted.save_pretrained(folder)  # a few MB, which name "me/2mner" as their base

What is unusual: the new parts and the CRF are small, so they are trained whole, and saved with the
adapter.
"""

from __future__ import annotations

from peft import LoraConfig, PeftModel, TaskType, get_peft_model

from modeling_2mner import TwoMNERForTokenClassification

__all__ = ["add_lora"]

QUERIES_AND_VALUES = (
    r"model\.(?:text|vision|global_vision)_model\..*"
    r"\.(?:query|value|q_proj|v_proj|query_proj|value_proj|q_lin|v_lin)"
)
"""The towers' query and value layers by the names that the families of `transformers` give them. A
tower without attention, such as a ResNet, has none and stays as it is."""


def add_lora(model: TwoMNERForTokenClassification, rank: int) -> PeftModel:
    """Freeze a model but for its new parts, and put a new adapter beside its towers' attention.

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
        target_modules=QUERIES_AND_VALUES,
        modules_to_save=parts,
    )
    return get_peft_model(model, config)
