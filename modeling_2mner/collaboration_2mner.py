"""Multimodal collaboration: each word reads what it needs off the image's patches (2M-NER,
section 3.4).

For each encoder, with words `X` and projected patches `R`:

    C = LayerNorm(X + Dropout(MHA(Q=X, K=R, V=R)))

and then, over the encoders that the model has,

    gated    g = sigmoid(Linear([X; C]))    F = X + image_mask * sum over encoders of g * (C - X)
    concat   F = Linear([C1; C2])           where there is an image, else F = X

so that a sentence without an image keeps its words exactly as the text encoder gave them.

Shapes: `B` sentences, `W` words, `P` patches, `H` hidden size, `C` an encoder's own feature size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Collaboration", "ConcatFusion", "GatedFusion", "PatchAttention"]


class PatchAttention(nn.Module):
    """Multi-head attention from words (queries) to patches (keys and values).

    Args:
        hidden_size: `H`.
        heads: must divide `H`.
        dropout: on the attention's weights, while training.
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
        self, words: Tensor, patches: Tensor, eager: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Read the patches.

        Args:
            words: `[B, W, H]`.
            patches: `[B, P, H]`.
            eager: compute the weights explicitly, and return them.

        Returns:
            What each word read, `[B, W, H]`; and, if `eager`, the weights `[B, heads, W, P]`.
        """
        query, key, value = (
            projection(states)
            .unflatten(-1, (self.heads, -1))
            .transpose(1, 2)  # [B, heads, W or P, H / heads]
            for projection, states in (
                (self.q_proj, words),
                (self.k_proj, patches),
                (self.v_proj, patches),
            )
        )
        dropout = self.dropout if self.training else 0.0
        weights = None
        if eager:
            weights = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(-1)
            read = F.dropout(weights, dropout) @ value
        else:
            read = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        return self.out_proj(read.transpose(1, 2).flatten(2)), weights


class Collaboration(nn.Module):
    """The words of a sentence read one encoder: the equation for `C` above.

    Args:
        patch_size: `C`.
        hidden_size: `H`.
        heads: heads of the attention.
        dropout: on the attention's weights and on what it reads.
    """

    def __init__(self, patch_size: int, hidden_size: int, heads: int, dropout: float):
        super().__init__()
        self.projection = nn.Linear(patch_size, hidden_size)
        self.attention = PatchAttention(hidden_size, heads, dropout)
        self.dropout = nn.Dropout(dropout)
        self.layer_norm = nn.LayerNorm(hidden_size)

    def forward(
        self, words: Tensor, patches: Tensor, eager: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """`[B, W, H]`, `[B, P, C]` -> `[B, W, H]` and, if `eager`, weights `[B, heads, W, P]`."""
        read, weights = self.attention(words, self.projection(patches), eager)
        return self.layer_norm(words + self.dropout(read)), weights


class GatedFusion(nn.Module):
    """Each channel of each word decides how much of what it read to believe.

    Args:
        hidden_size: `H`.
        encoders: how many vision encoders there are.
    """

    def __init__(self, hidden_size: int, encoders: int):
        super().__init__()
        self.gates = nn.ModuleList(nn.Linear(2 * hidden_size, hidden_size) for _ in range(encoders))

    def forward(self, words: Tensor, read: list[Tensor], image_mask: Tensor) -> Tensor:
        """`[B, W, H]`, one `[B, W, H]` an encoder, and `[B]` bool -> `[B, W, H]`."""
        change = sum(
            torch.sigmoid(gate(torch.cat([words, states], -1))) * (states - words)
            for gate, states in zip(self.gates, read, strict=True)
        )
        return words + image_mask[:, None, None] * change


class ConcatFusion(nn.Module):
    """The published system's fusion: one linear layer over what a word read from each encoder.

    Args:
        hidden_size: `H`.
        encoders: how many vision encoders there are.
    """

    def __init__(self, hidden_size: int, encoders: int):
        super().__init__()
        self.linear = nn.Linear(encoders * hidden_size, hidden_size)

    def forward(self, words: Tensor, read: list[Tensor], image_mask: Tensor) -> Tensor:
        """`[B, W, H]`, one `[B, W, H]` an encoder, and `[B]` bool -> `[B, W, H]`."""
        return torch.where(image_mask[:, None, None], self.linear(torch.cat(read, -1)), words)
