"""Tokenizers with fewer pieces: which to keep, and `tokenizer.json` with these alone.

    tokenizer = json.loads(Path("tokenizer.json").read_bytes())
    kept = kept_pieces(tokenizer, used)       # the old numbers, in order
    smaller = with_pieces(tokenizer, kept)    # pieces are numbered anew, in the same order

A text whose pieces are all kept is cut into the same pieces:

* Unigram takes the best of all ways to cut a word. The best way is still there, and there are fewer
  others. The cost of an unknown character depends on the lowest score, whose piece is kept.
* WordPiece takes the longest piece that fits. It is still there, and no longer one fits.
* BPE makes the merges of a word in the order of their ranks. All merges that may lead to a kept
  piece are kept with what they merge. The next merge by rank is the same at every step.

A word that WordPiece reads as unknown as a whole may be the exception. Who shrinks a tokenizer
compares the pieces of all texts afterwards.
"""

from __future__ import annotations

import copy
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from dataset_mmnerd.quoting import quoted

__all__ = ["CHARACTERS", "VocabularyError", "kept_pieces", "token_names", "with_pieces"]

CHARACTERS = ("all", "narrow")
"""Which single characters are kept that no text uses: all, or all but the wide letters of Chinese,
Japanese, Korean and Yi, which are most of a multilingual vocabulary's characters."""

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")

Json = dict[str, Any]


class VocabularyError(ValueError):
    """A tokenizer whose pieces cannot be chosen."""


def kept_pieces(tokenizer: Json, used: Iterable[int], characters: str = "all") -> list[int]:
    """The pieces that a tokenizer needs for some texts.

    Args:
        tokenizer: the content of `tokenizer.json`.
        used: the pieces of the texts, and others that are needed.
        characters: one of `CHARACTERS`.

    Returns:
        The used pieces, added tokens, the unknown one, single characters and bytes, and what leads
        to them, in increasing order.

    Raises:
        VocabularyError: if the tokenizer is of a kind that is not known.
    """
    model, names = tokenizer["model"], token_names(tokenizer)
    numbers = {name: number for number, name in names.items()}
    kept = {number for number in used if number in names}
    kept.update(added["id"] for added in tokenizer["added_tokens"])
    if model["type"] == "Unigram":
        scores = [score for _, score in model["vocab"]]
        kept.add(scores.index(min(scores)))
        if model["unk_id"] is not None:
            kept.add(model["unk_id"])
    elif model.get("unk_token") in numbers:
        kept.add(numbers[model["unk_token"]])
    prefix = model.get("continuing_subword_prefix") or ""
    suffix = model.get("end_of_word_suffix") or ""
    for number, name in names.items():
        character = name.removeprefix(prefix).removesuffix(suffix)
        is_character = len(character) == 1 and (characters == "all" or not _is_wide(character))
        if is_character or _BYTE.fullmatch(name):
            kept.add(number)
    if model["type"] == "BPE":
        merges = _merges_of(model, [names[number] for number in kept])
        kept.update(numbers[part] for merge in merges for part in model["merges"][merge])
    return sorted(kept)


def with_pieces(tokenizer: Json, kept: Sequence[int]) -> Json:
    """A tokenizer that has some of the pieces of another one.

    Args:
        tokenizer: the content of `tokenizer.json`, which is not changed.
        kept: what `kept_pieces` gave.
    """
    tokenizer = copy.deepcopy(tokenizer)
    moved = {number: place for place, number in enumerate(kept)}
    model = tokenizer["model"]
    if model["type"] == "Unigram":
        model["vocab"] = [entry for number, entry in enumerate(model["vocab"]) if number in moved]
        if model["unk_id"] is not None:
            model["unk_id"] = moved[model["unk_id"]]
    else:
        model["vocab"] = {
            piece: moved[number] for piece, number in model["vocab"].items() if number in moved
        }
    if model["type"] == "BPE":
        merges = _merges_of(model, model["vocab"])
        model["merges"] = [merge for rank, merge in enumerate(model["merges"]) if rank in merges]
    for added in tokenizer["added_tokens"]:
        added["id"] = moved[added["id"]]
    if tokenizer.get("padding"):
        tokenizer["padding"]["pad_id"] = moved[tokenizer["padding"]["pad_id"]]
    for part in _mappings(tokenizer.get("post_processor")):
        if isinstance(part.get("ids"), list):  # a special token of `TemplateProcessing`
            part["ids"] = [moved[number] for number in part["ids"]]
        for name in ("sep", "cls"):  # `BertProcessing`, `RobertaProcessing`
            if isinstance(part.get(name), list):
                piece, number = part[name]
                part[name] = [piece, moved[number]]
    return tokenizer


def token_names(tokenizer: Json) -> dict[int, str]:
    """The pieces and added tokens of a tokenizer by number.

    Raises:
        VocabularyError: if the tokenizer is of a kind that is not known.
    """
    model = tokenizer["model"]
    if model.get("type") == "Unigram":
        names = {number: piece for number, (piece, _) in enumerate(model["vocab"])}
    elif model.get("type") in ("BPE", "WordPiece", "WordLevel"):
        names = {number: piece for piece, number in model["vocab"].items()}
    else:
        raise VocabularyError(
            f"the tokenizer's model is {quoted(model.get('type'))}, expected Unigram, BPE, "
            "WordPiece or WordLevel"
        )
    return names | {added["id"]: added["content"] for added in tokenizer["added_tokens"]}


def _merges_of(model: Json, pieces: Collection[str]) -> set[int]:
    """The ranks of all merges that may lead to some pieces, directly or through others."""
    prefix = model.get("continuing_subword_prefix") or ""
    leading = defaultdict(list)
    for rank, (left, right) in enumerate(model["merges"]):
        leading[left + right[len(prefix) :]].append(rank)
    found: set[int] = set()
    waiting = list(pieces)
    while waiting:
        for rank in leading.pop(waiting.pop(), ()):
            found.add(rank)
            waiting += model["merges"][rank]
    return found


def _is_wide(character: str) -> bool:
    letter = unicodedata.category(character) == "Lo"
    return letter and unicodedata.east_asian_width(character) == "W"


def _mappings(value: Any) -> Iterator[Json]:
    """All mappings within a JSON value."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value or ():
        if isinstance(item, dict | list):
            yield from _mappings(item)
