"""The base class of the models: initialisation and loading."""

from .requirements_2mner import LEAST_TRANSFORMERS  # noqa: F401 -- first: it checks the version

# isort: split

import os
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import CONFIG_NAME, cached_file, logging
from transformers.utils.hub import extract_commit_hash

from .configuration_2mner import TwoMNERConfig
from .crf_2mner import LinearChainCRF
from .encoders_2mner import load_encoders
from .weights_2mner import check_finite, check_missing, naming_weights

__all__ = ["TwoMNERPreTrainedModel"]

logger = logging.get_logger(__name__)


class TwoMNERPreTrainedModel(PreTrainedModel):
    """Base class: initialisation and loading."""

    config_class = TwoMNERConfig
    config: TwoMNERConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    input_modalities = ("image", "text")  # type: ignore[assignment]  # the library reads both kinds
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _keep_in_fp32_modules_strict = ["crf"]  # noqa: RUF012 -- the base class declares it so

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initialise the new parts; the encoders initialise their own.

        | part | weights | biases |
        | --- | --- | --- |
        | every new linear layer | normal, `initializer_range` | 0 |
        | layer norm | 1 | 0 |
        | CRF | uniform in +-0.1; the masks of the label scheme are computed | |
        """
        super()._init_weights(module)
        if isinstance(module, LinearChainCRF):
            module.reset_parameters()

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike | None,
        *model_args: Any,
        **kwargs: Any,
    ) -> Any:
        """As every `from_pretrained`, but only safetensors are read, no pickle, and a missing
        tensor is an error. Two kinds of tensors are initialised where they do not fit, and named in
        the log: with `ignore_mismatched_sizes=True` those of another shape, and the head where the
        folder is that of a `TwoMNERModel`. `config._commit_hash` is the commit that was loaded, if
        the model is on the Hub: other files of the same commit belong to the same weights.

        Raises:
            OSError: if there are no weights, a file of them is broken, a tensor is missing, or a
                value is not finite; the message names the tensor.
            RuntimeError: if tensors have other shapes than the configuration says, as with other
                labels.
        """
        kwargs.setdefault("use_safetensors", True)
        with_report = kwargs.pop("output_loading_info", False)
        name = str(pretrained_model_name_or_path)
        with naming_weights(name):
            commit = _commit_of(pretrained_model_name_or_path, kwargs)
            if commit is not None:
                kwargs["revision"] = commit
            loaded: Any = super().from_pretrained(
                pretrained_model_name_or_path, *model_args, output_loading_info=True, **kwargs
            )
        model, report = loaded
        missing = set(report["missing_keys"])
        head = {key for key in model.state_dict() if key.startswith(("classifier.", "crf."))}
        if head <= missing and "TwoMNERModel" in (model.config.architectures or ()):
            missing -= head
        check_missing(name, missing)
        check_finite(name, model)
        model.config._commit_hash = commit
        return loaded if with_report else model

    @classmethod
    def from_text_vision_pretrained(
        cls,
        text: str,
        vision: str | None = None,
        global_vision: str | None = None,
        **config: Any,
    ) -> Self:
        """Build a model, in evaluation mode, from pretrained encoders. All other parts are newly
        initialised and named in the log.

            model = TwoMNERForTokenClassification.from_text_vision_pretrained(
                "xlm-roberta-base", "openai/clip-vit-base-patch32", labels=["O", "B-PER", "I-PER"]
            )

        Args:
            text: name or folder of a text encoder.
            vision: name or folder of the vision encoder that gives patches; None makes a text-only
                tagger.
            global_vision: name or folder of a second vision encoder, which gives one vector for an
                image.
            config: further fields of [`TwoMNERConfig`].

        Raises:
            OSError: if an encoder cannot be loaded, lacks a tensor, or has a value that is not
                finite.
            ValueError: if `AutoModel` cannot load one of them as an encoder, or a field of the
                configuration is wrong.
        """
        encoders, fields = load_encoders(text, vision, global_vision)
        model = cls(TwoMNERConfig(**{**config, **fields}), encoders=encoders)
        loaded = tuple(f"{part}_model." for part in encoders)
        new = dict.fromkeys(
            ".".join(name.split(".")[: 2 if name.startswith("model.") else 1])
            for name, _ in model.named_parameters()
            if not name.removeprefix("model.").startswith(loaded)
        )
        logger.warning(f"Newly initialised, to be trained: {', '.join(new) or 'nothing'}")
        return model.eval()


def _commit_of(name: str | os.PathLike | None, options: dict[str, Any]) -> str | None:
    """The commit that a revision of a repository is at; None of a folder, of a repository without a
    configuration, such as an adapter's, and of one that cannot be reached."""
    if name is None or Path(name).is_dir():
        return None
    chosen = ("revision", "subfolder", "token", "cache_dir", "local_files_only")
    file = cached_file(
        name,
        CONFIG_NAME,
        **{option: options[option] for option in chosen if option in options},
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return extract_commit_hash(file, None)
