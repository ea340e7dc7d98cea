"""Alignment: a contrastive loss between sentences and images (2M-NER, section 3.3), and the
divergence between the two views of a sentence (ITA, section 2.3).

* Sentences without an image take no part. With fewer than two images the loss is 0.
* Negatives are other images: sentences that share an image are not each other's negatives.
* With several processes the sentences and images of all of them are negatives. The loss is the mean
  over the *global* batch. It is scaled so that the mean of the processes' gradients, which
  data-parallel training takes, is the gradient of that mean.

Shapes: `B` sentences, `I` places for images, `W` words, `P` patches, `K` labels, `D` the alignment
space.
"""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "Alignment",
    "content_ids",
    "cross_view_divergence",
    "differ",
    "entity_nce",
    "gather_batch",
    "info_nce",
    "nt_xent",
]


class _GatherBatch(torch.autograd.Function):
    """The rows of all processes in rank order; the gradients are summed over the processes."""

    @staticmethod
    def forward(ctx, tensor: Tensor) -> Tensor:
        ctx.rows = len(tensor)
        parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        start = dist.get_rank() * ctx.rows
        return gradient[start : start + ctx.rows]


def _processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_batch(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Concatenate each tensor's rows over all processes, with gradients. With one process the
    tensors are returned as they are.

    The sizes may differ between processes, and be 0. Missing rows are filled with zeros, so that a
    bool mask among the tensors is false on them. Every process must call this, and run the backward
    pass, equally often, whatever its batch holds.

    Args:
        tensors: `[B, ...]` each, with this process's `B`.

    Returns:
        `[processes * max B, ...]` each.
    """
    if _processes() == 1:
        return tensors
    sizes = torch.tensor([size for tensor in tensors for size in tensor.shape])
    sizes = sizes.to(tensors[0].device)
    dist.all_reduce(sizes, dist.ReduceOp.MAX)
    gathered = []
    for tensor, shape in zip(tensors, sizes.split([t.ndim for t in tensors]), strict=True):
        padded = tensor.new_zeros(shape.tolist())
        padded[tuple(map(slice, tensor.shape))] = tensor
        if torch.is_grad_enabled() and padded.is_floating_point() and not padded.requires_grad:
            # Other processes may send a gradient, which all must take part in reducing.
            padded.requires_grad_()
        gathered.append(_GatherBatch.apply(padded))
    return tuple(gathered)


def content_ids(values: Tensor) -> Tensor:
    """A number for the content of each row, the same in every process: rows of equal bits have
    equal numbers, other rows different ones (except for one pair in 2^64). None is 0.

    Args:
        values: `[B, ...]` of a floating-point type, such as pixels.

    Returns:
        `[B]` int64.
    """
    kind = {2: torch.int16, 4: torch.int32, 8: torch.int64}[values.element_size()]
    bits = values.detach().flatten(1).contiguous().view(kind).long()  # [B, n]
    # A sum over the places, modulo 2^64: its order does not matter. The factors of the places are
    # the multiples of 2^64 / golden ratio, mixed as splitmix64 does (Steele, Lea and Flood, 2014).
    factors = torch.arange(1, bits.shape[1] + 1, device=bits.device) * -0x61C8864680B583EB
    factors = (factors ^ (factors >> 30)) * -0x40A7B892E31B1A47
    factors = (factors ^ (factors >> 27)) | 1
    ids = (bits * factors).sum(1)
    return ids + (ids == 0)


def differ(ids: Tensor) -> Tensor:
    """Which rows share no image: `[B, I]` numbers of images, 0 for none, to `[B, B]` bool."""
    same = ids[:, None, :, None] == ids[None, :, None, :]  # [B, B, I, I]
    return ~(same & (ids != 0)[:, None, :, None]).flatten(2).any(2)


def nt_xent(
    text: Tensor, image: Tensor, pairs: Tensor, different: Tensor, temperature: float
) -> Tensor:
    """Normalised temperature-scaled cross entropy over the 2B vectors (Chen et al., 2020), which
    the published system uses. The negatives of a vector are those of all rows with another image,
    also those of its own modality.

    Args:
        text, image: `[B, D]` unit vectors.
        pairs: `[B]` bool, which rows have both.
        different: `[B, B]` bool, which rows have different images.
        temperature: `tau`.

    Returns:
        `[B]`, the mean of the two vectors' losses; 0 where there is no pair.
    """
    rows = len(text)
    vectors = torch.cat([text, image])  # [2B, D]
    similarity = vectors @ vectors.T / temperature
    takes_part = pairs.repeat(2)
    partner = torch.arange(2 * rows, device=text.device).roll(rows)
    candidates = takes_part & _with_own(different.repeat(2, 2), partner)
    losses = _cross_entropy(similarity, partner, candidates, takes_part)  # [2B]
    return losses.view(2, rows).mean(0)


def info_nce(
    text: Tensor, image: Tensor, pairs: Tensor, different: Tensor, temperature: float
) -> Tensor:
    """The contrastive loss of CLIP: from sentence to image and from image to sentence.

    Args:
        text, image: `[B, D]` unit vectors.
        pairs: `[B]` bool, which rows have both.
        different: `[B, B]` bool, which rows have different images.
        temperature: `tau`.

    Returns:
        `[B]`, the mean of the two directions; 0 where there is no pair.
    """
    similarity = text @ image.T / temperature  # [B, B]
    own = torch.arange(len(text), device=text.device)
    candidates = pairs & _with_own(different, own)
    to_image = _cross_entropy(similarity, own, candidates, pairs)
    to_text = _cross_entropy(similarity.T, own, candidates, pairs)
    return (to_image + to_text) / 2


def entity_nce(
    entities: Tensor,
    own: Tensor,
    patches: Tensor,
    pairs: Tensor,
    different: Tensor,
    temperature: float,
    patch_mask: Tensor | None = None,
) -> Tensor:
    """A contrastive loss from entities to images. The vector of an image is the mean of its
    patches, weighted by their similarity to the entity.

    Args:
        entities: `[E, D]` unit vectors.
        own: `[E]` the row of each entity's image.
        patches: `[B, P, D]` unit vectors.
        pairs: `[B]` bool, which rows have an image.
        different: `[B, B]` bool, which rows have different images.
        temperature: `tau`.
        patch_mask: `[B, P]` bool, which patches are there; by default all.

    Returns:
        `[E]`; 0 for an entity whose sentence has no image.
    """
    closeness = torch.einsum("ed,bpd->ebp", entities, patches) / temperature  # [E, B, P]
    if patch_mask is not None:
        closeness = closeness.masked_fill(~patch_mask, -1e4)  # no minus infinity: see below
    attended = torch.einsum("ebp,bpd->ebd", closeness.softmax(-1), patches)  # [E, B, D]
    similarity = torch.einsum("ed,ebd->eb", entities, F.normalize(attended, dim=-1)) / temperature
    candidates = pairs & _with_own(different[own], own)
    return _cross_entropy(similarity, own, candidates, pairs[own])


def _with_own(different: Tensor, own: Tensor) -> Tensor:
    """`[n, m]` bool with each row's own column, one of `[n]`, set."""
    return different.scatter(1, own[:, None], True)


def _cross_entropy(
    scores: Tensor, target: Tensor, candidates: Tensor, takes_part: Tensor
) -> Tensor:
    """Cross entropy of `[n, m]` scores among each row's candidates; 0 if it takes no part."""
    # Not minus infinity: a row without candidates would have NaN gradients.
    scores = scores.masked_fill(~candidates, -1e4)
    return F.cross_entropy(scores, target, reduction="none") * takes_part


def cross_view_divergence(
    teacher: Tensor, student: Tensor, word_mask: Tensor, temperature: float
) -> Tensor:
    """Divergence of the text view from the view with the image (ITA, section 2.3), or of a small
    model from a large one: `T^2 KL(p || q)`, summed over the words.

    Args:
        teacher: `[B, W, K]` log-probabilities at temperature `T`, of the view with the image or of
            the large model, without gradient.
        student: the same of the other.
        word_mask: `[B, W]` bool.
        temperature: `T`; the factor `T^2` keeps the size of the gradient.

    Returns:
        `[B]`, at least 0; exactly 0 where the two are the same.
    """
    padding = ~word_mask[..., None]
    teacher, student = teacher.masked_fill(padding, 0.0), student.masked_fill(padding, 0.0)
    of_words = (teacher.exp() * (teacher - student)).sum(-1)  # [B, W]
    # Below 0 only by rounding.
    return temperature**2 * of_words.clamp(min=0.0).sum(1)


class Alignment(nn.Module):
    """Projectors of sentences and images into the alignment space, and the contrastive loss.

    Args:
        text_size: size of a sentence vector and of a word, `H`.
        image_size: size of an image vector and of a patch.
        size: `D`.
        temperature: `tau`.
        objective: "nt_xent" or "info_nce", at sentence level.
    """

    def __init__(
        self, text_size: int, image_size: int, size: int, temperature: float, objective: str
    ):
        super().__init__()
        self.temperature = temperature
        self.objective = {"nt_xent": nt_xent, "info_nce": info_nce}[objective]
        self.text_projector = _projector(text_size, size)
        self.image_projector = _projector(image_size, size)

    def embed_text(self, states: Tensor) -> Tensor:
        """`[..., H]` -> unit vectors `[..., D]`, float32."""
        return F.normalize(self.text_projector(states).float(), dim=-1)

    def embed_image(self, states: Tensor) -> Tensor:
        """An image vector or patches -> unit vectors `[..., D]`, float32."""
        return F.normalize(self.image_projector(states).float(), dim=-1)

    def sentence_loss(
        self, text_embeds: Tensor, image_embeds: Tensor | None, pairs: Tensor, image_ids: Tensor
    ) -> Tensor:
        """The contrastive loss between sentences and images.

        Args:
            text_embeds: `[B, D]` unit vectors.
            image_embeds: `[B, D]` unit vectors; None where no sentence has an image.
            pairs: `[B]` bool, which sentences have words and an image.
            image_ids: `[B, I]` long, of a sentence's images: equal for equal ones, 0 for none.

        Returns:
            A scalar: the mean over the pairs of the global batch; 0 if there are fewer than two.
        """
        if image_embeds is None:
            image_embeds = torch.zeros_like(text_embeds)
        text, image, all_pairs, ids = gather_batch(text_embeds, image_embeds, pairs, image_ids)
        with torch.autocast(text.device.type, enabled=False):
            losses = self.objective(text, image, all_pairs, differ(ids), self.temperature)
        return losses.sum() / all_pairs.sum().clamp(min=1) * (all_pairs.sum() >= 2)

    def entity_loss(
        self,
        words: Tensor,
        patches: Tensor | None,
        entity_index: Tensor,
        pairs: Tensor,
        image_ids: Tensor,
        patch_mask: Tensor | None = None,
    ) -> Tensor:
        """The contrastive loss between gold entities and the patches that they attend to.

        Args:
            words: `[B, W, H]`.
            patches: `[B, P, C]`; None where no sentence has an image.
            entity_index: `[B, W]` long, the number of the entity that a word belongs to, from 0 in
                each sentence; -1 outside entities.
            pairs: `[B]` bool, which sentences have an image.
            image_ids: `[B, I]` long, of a sentence's images: equal for equal ones, 0 for none.
            patch_mask: `[B, P]` bool, which patches are there; by default all.

        Returns:
            A scalar: the mean over the entities with an image of the global batch; 0 if there are
            fewer than two images.
        """
        most = int(entity_index.max()) + 1
        member = F.one_hot(entity_index + 1, most + 1)[..., 1:]  # [B, W, n], n entities at most
        member = member.to(words.dtype)
        sums = torch.einsum("bwm,bwh->bmh", member, words)
        sentence, number = (member.sum(1) > 0).nonzero(as_tuple=True)
        means = sums[sentence, number] / member.sum(1)[sentence, number][:, None]  # [E, H]
        # Before `gather_batch`, so that its backward pass runs first in every process, before any
        # gradient of a parameter is reduced.
        entities = self.embed_text(means)
        if patches is None:
            patch_embeds = entities.new_zeros(len(words), 0, entities.shape[1])
        else:
            patch_embeds = self.embed_image(patches)
        if patch_mask is None:
            patch_mask = torch.ones(
                patch_embeds.shape[:2], dtype=torch.bool, device=patch_embeds.device
            )
        all_patches, all_pairs, ids, all_masks = gather_batch(
            patch_embeds, pairs, image_ids, patch_mask
        )
        rank = dist.get_rank() if _processes() > 1 else 0
        own = sentence + rank * (len(all_pairs) // _processes())
        counted = pairs[sentence].sum()
        if _processes() > 1:
            dist.all_reduce(counted)
        with torch.autocast(words.device.type, enabled=False):
            losses = entity_nce(
                entities, own, all_patches, all_pairs, differ(ids), self.temperature, all_masks
            )
        return _processes() * losses.sum() / counted.clamp(min=1) * (all_pairs.sum() >= 2)


def _projector(size: int, common: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, common), nn.GELU(), nn.Linear(common, common))
