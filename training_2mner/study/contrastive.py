"""What the contrastive loss has aligned: held-out sentences and their images in its space.

For each pair of the test part with an image of its own: the cosine of sentence and image, the mean
cosine of the sentence with all other images, and how likely the own image is found among those of
the sentence's language, and the own sentence among the sentences. Candidates of equal similarity
are in random order, so that vectors that tell nothing score exactly the chance level.

Shapes: `n` pairs, `D` the alignment space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from reporting_2mner.study.contrastive import CUTS

from ..arguments import RecipeError
from ..data import image_keys
from .trained import Trained

__all__ = ["measure", "measure_pairs"]


def measure(trained: Trained, options: Mapping[str, Any]) -> dict[str, Any]:
    """Measure the pairs of the test part whose image no earlier pair has.

    Returns:
        As `measure_pairs`, and of each pair its `id`, `lang` and, where the data says so,
        `decidable_from_text`; `alignment_level` of the model.

    Raises:
        RecipeError: if the model has no alignment, or there are fewer than two such pairs.
    """
    config = trained.model.config
    if not config.has_alignment:
        raise RecipeError(
            f"contrastive: {trained.folder} has no alignment of sentence and image: expected a "
            "model with a vision encoder whose alignment_level is not none"
        )
    rows = trained.rows
    first = {key: row for row, key in reversed(list(enumerate(image_keys(rows)))) if key}
    rows = rows.select(sorted(first.values()), keep_in_memory=True)
    text, image, read = [], [], []
    for inputs, outputs in trained.outputs(rows):
        none = torch.zeros_like(outputs.text_embeds)
        text.append(outputs.text_embeds)
        image.append(none if outputs.image_embeds is None else outputs.image_embeds)
        has_image = inputs["image_mask"].view(len(none), -1).any(1)  # one image or several
        read.append(has_image & inputs["word_mask"].any(1))
    kept = torch.cat(read).nonzero()[:, 0] if read else torch.zeros(0, dtype=torch.long)
    if len(kept) < 2:
        raise RecipeError(
            f"contrastive: found {len(kept)} test sentence(s) with an image of their own that can "
            "be read, expected at least 2"
        )
    rows = rows.select(kept.tolist(), keep_in_memory=True)
    columns = ["id", "lang", *({"decidable_from_text"} & set(rows.column_names))]
    return {
        "alignment_level": config.alignment_level,
        **{name: rows[name][:] for name in columns},
        **measure_pairs(torch.cat(text)[kept], torch.cat(image)[kept], rows["lang"][:]),
    }


def measure_pairs(text: Tensor, image: Tensor, languages: Sequence[str]) -> dict[str, list[float]]:
    """Similarity and retrieval of pairs.

    Args:
        text, image: `[n, D]` unit vectors of each pair.
        languages: of each sentence; retrieval is among the pairs of one language.

    Returns:
        Of each pair `matched`, its cosine; `mismatched`, the mean cosine of its sentence with all
        other images; `candidates`, the pairs of its language; and for each of `CUTS`
        `image_at_<k>` and `text_at_<k>`, the probability that its image, or its sentence, is among
        the first `k` candidates.
    """
    similarity = text.double() @ image.double().T  # [n, n]
    matched, count = similarity.diagonal(), len(similarity)
    known = {language: place for place, language in enumerate(dict.fromkeys(languages))}
    group = torch.tensor([known[language] for language in languages], device=similarity.device)
    same = group[:, None] == group[None, :]
    found: dict[str, Tensor] = {
        "matched": matched,
        "mismatched": (similarity.sum(1) - matched) / (count - 1),
        "candidates": same.sum(1),
    }
    for name, scores in (("image", similarity), ("text", similarity.T)):
        own = scores.diagonal()[:, None]
        # Vectors that are equal have cosines that differ by rounding.
        equal = (scores - own).abs() < 1e-6
        better = (same & (scores > own) & ~equal).sum(1)
        ties = (same & equal).sum(1)  # the own candidate among them
        for cut in CUTS:
            found[f"{name}_at_{cut}"] = ((cut - better).double() / ties).clamp(0, 1)
    return {name: values.tolist() for name, values in found.items()}
