"""Multimodal collaboration: attention from words to patches, and fusion (2M-NER, section 3.4).

For each vision encoder, with words `X` and projected patches `R`:

    attention   A = LayerNorm(X + Dropout(MHA(Q=X, K=R, V=R)))
    mean        A = LayerNorm(X + Dropout(mean of R))

Then, over the vision encoders of the model:

    gated    g = sigmoid(Linear([X; A]))    F = X + image_mask * sum over encoders of g * (A - X)
    add      g = 1                          the same
    concat   F = Linear([A1; A2])           where there is an image, else F = X

The words of a sentence without an image are exactly those of the text encoder.

A mask may hide patches: those of images that are missing beside others.

Shapes: `B` sentences, `W` words, `P` patches, `H` hidden size, `C` the feature size of a vision
encoder.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "AddFusion",
    "Collaboration",
    "ConcatFusion",
    "GatedFusion",
    "PatchAttention",
    "PatchMean",
]


class PatchAttention(nn.Module):
    """Multi-head attention from words (queries) to patches (keys and values).

    Args:
        hidden_size: `H`.
        heads: must divide `H`.
        dropout: on the attention weights, in training.
    """

    def __init__(self, hidden_size: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.q_proj = nn.Linear(hidden_size, hidden_size)
        self.k_proj = nn.Linear(hidden_size, hidden_size)
        self.v_proj = nn.Linear(hidden_size, hidden_size)
        self.out_proj = nn.Linear(hidden_size, hidden_size)

    def forward(
        self,
        words: Tensor,
        patches: Tensor,
        eager: bool = False,
        patch_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend to the patches.

        Args:
            words: `[B, W, H]`.
            patches: `[B, P, H]`.
            eager: compute the weights explicitly, and return them.
            patch_mask: `[B, P]` bool, which patches are there, in each sentence at least one; by
                default all.

        Returns:
            The attention output `[B, W, H]`; and, if `eager`, the weights `[B, heads, W, P]`.
        """
        dropout = self.dropout if self.training else 0.0
        value = self._by_head(self.v_proj(patches))
        weights = None
        if eager:
            weights = self.weights(words, patches, patch_mask)
            attended = F.dropout(weights, dropout) @ value
        else:
            query, key = self._by_head(self.q_proj(words)), self._by_head(self.k_proj(patches))
            mask = None if patch_mask is None else patch_mask[:, None, None]
            attended = F.scaled_dot_product_attention(query, key, value, mask, dropout_p=dropout)
        return self.out_proj(attended.transpose(1, 2).flatten(2)), weights

    def weights(self, words: Tensor, patches: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """The attention weights alone: `[B, W, H]`, `[B, P, H]` -> `[B, heads, W, P]`, 0 for
        patches that are not there.
        """
        query, key = self._by_head(self.q_proj(words)), self._by_head(self.k_proj(patches))
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        if patch_mask is not None:
            scores = scores.masked_fill(~patch_mask[:, None, None], -torch.inf)
        return scores.softmax(-1)

    def _by_head(self, states: Tensor) -> Tensor:
        """`[B, n, H]` -> `[B, heads, n, H / heads]`."""
        return states.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class PatchMean(nn.Module):
    """The mean of the patches for every word, in place of attention: no parameters, one head."""

    def forward(
        self,
        words: Tensor,
        patches: Tensor,
        eager: bool = False,
        patch_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """`[B, W, H]`, `[B, P, H]` -> `[B, 1, H]` and, if `eager`, equal weights `[B, 1, W, P]`."""
        weights = self.weights(words, patches, patch_mask)
        whole = patch_mask is None
        mean = patches.mean(1, keepdim=True) if whole else weights[:, 0, :1] @ patches
        return mean, weights if eager else None

    def weights(self, words: Tensor, patches: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """The weights alone: `[B, W, H]`, `[B, P, H]` -> `[B, 1, W, P]`, each `1 / P`, or 0 for
        patches that are not there.
        """
        shape = (len(words), 1, words.shape[1], patches.shape[1])
        if patch_mask is None:
            return patches.new_full(shape, 1 / patches.shape[1])
        shares = patch_mask / patch_mask.sum(1, keepdim=True)
        return shares.to(patches.dtype)[:, None, None].expand(shape)


class Collaboration(nn.Module):
    """What the words take from the patches of one vision encoder: the equations for `A` above.

    Args:
        patch_size: `C`.
        hidden_size: `H`.
        heads: heads of the attention.
        dropout: on the attention weights and on the attention output.
        kind: "attention" or "mean".
    """

    def __init__(
        self, patch_size: int, hidden_size: int, heads: int, dropout: float, kind: str = "attention"
    ):
        super().__init__()
        self.projection = nn.Linear(patch_size, hidden_size)
        self.attention: PatchAttention | PatchMean = PatchMean()
        if kind == "attention":
            self.attention = PatchAttention(hidden_size, heads, dropout)
        self.dropout = nn.Dropout(dropout)
        self.layer_norm = nn.LayerNorm(hidden_size)

    def forward(
        self,
        words: Tensor,
        patches: Tensor,
        eager: bool = False,
        patch_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """`[B, W, H]`, `[B, P, C]` -> `[B, W, H]` and, if `eager`, weights `[B, heads, W, P]`."""
        attended, weights = self.attention(words, self.projection(patches), eager, patch_mask)
        return self.layer_norm(words + self.dropout(attended)), weights

    def weights(self, words: Tensor, patches: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """The attention weights alone: `[B, W, H]`, `[B, P, C]` -> `[B, heads, W, P]`."""
        return self.attention.weights(words, self.projection(patches), patch_mask)


class GatedFusion(nn.Module):
    """A gate for each channel of each word, between the word and its attention output.

    Args:
        hidden_size: `H`.
        encoders: how many vision encoders there are.
    """

    def __init__(self, hidden_size: int, encoders: int):
        super().__init__()
        self.gates = nn.ModuleList(nn.Linear(2 * hidden_size, hidden_size) for _ in range(encoders))

    def forward(self, words: Tensor, attended: list[Tensor], image_mask: Tensor) -> Tensor:
        """`[B, W, H]`, for each encoder `[B, W, H]`, and `[B]` bool -> `[B, W, H]`."""
        change = sum(
            torch.sigmoid(gate(torch.cat([words, states], -1))) * (states - words)
            for gate, states in zip(self.gates, attended, strict=True)
        )
        return words + image_mask[:, None, None] * change


class AddFusion(nn.Module):
    """The attention output in place of the word: a gate that is always open. No parameters.

    With several vision encoders the changes that each makes to the word are added.
    """

    def forward(self, words: Tensor, attended: list[Tensor], image_mask: Tensor) -> Tensor:
        """`[B, W, H]`, for each encoder `[B, W, H]`, and `[B]` bool -> `[B, W, H]`."""
        change = sum(states - words for states in attended)
        return words + image_mask[:, None, None] * change


class ConcatFusion(nn.Module):
    """The fusion of the published system: one linear layer over the attention outputs.

    Args:
        hidden_size: `H`.
        encoders: how many vision encoders there are.
    """

    def __init__(self, hidden_size: int, encoders: int):
        super().__init__()
        self.linear = nn.Linear(encoders * hidden_size, hidden_size)

    def forward(self, words: Tensor, attended: list[Tensor], image_mask: Tensor) -> Tensor:
        """`[B, W, H]`, for each encoder `[B, W, H]`, and `[B]` bool -> `[B, W, H]`."""
        fused = self.linear(torch.cat(attended, -1))
        return torch.where(image_mask[:, None, None], fused, words)
