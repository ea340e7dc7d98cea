"""A linear-chain conditional random field over the words of a sentence (Lafferty et al., 2001).

    score(y | x)  = start[y_1] + sum_t emission[t, y_t] + sum_t transition[y_t-1, y_t] + end[y_T]
    p(y | x)      = exp(score(y | x)) / Z(x)

What is unusual:

* Transitions that the label scheme forbids are taken out of `Z` as well as out of the decoding, so
  that the probabilities are those among well-formed label sequences.
* A label of -100 under the mask is unknown, and the likelihood sums over it (partial annotation).
* `decode` gives each entity the probability of exactly that span and type, from the CRF.
* `log_marginals` are differentiable, and may be those of a flatter distribution, every score
  divided by a temperature: the posteriors of cross-view alignment.
* All arithmetic is float64 whatever the autocast type, and results are float32: in float32 the
  difference of two scores of 1e4 words is off by more than a probability is wide.

Shapes: `B` sentences, `W` words, `K` labels. A mask is true on a sentence's words, which come first
in the row. A sentence without words has likelihood 1, no labels and no entities.
"""

from .requirements_2mner import LEAST_TRANSFORMERS  # noqa: F401 -- first: it checks the version

# isort: split

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import initialization as init

from .labels_2mner import begins_entity, continues_entity, is_bioes, may_end, may_follow, may_start
from .spans_2mner import entity_types, span_probabilities

__all__ = ["UNKNOWN", "CRFDecoding", "LinearChainCRF", "shared_places"]

IMPOSSIBLE = -1e4
"""A score that no path recovers from, and that float32 still adds up without overflow."""

UNKNOWN = -100
"""The label of padding, and of words whose label nobody knows."""


@dataclass
class CRFDecoding:
    """What the CRF says about a batch of sentences.

    Attributes:
        labels: `[B, W]` the most probable label sequence (Viterbi); -100 outside the mask.
        marginals: `[B, W, K]` the probability of each label of each word; 0 outside the mask.
        entity_scores: `[B, W]` at the first word of each entity of `labels`, the probability of
            that entity (its type and both its ends); 0 elsewhere.
    """

    labels: Tensor
    marginals: Tensor
    entity_scores: Tensor


def shared_places(old: Sequence[str], new: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Where the labels that two sets share stand in each of them: two `[S]` long, in step."""
    shared = [label for label in new if label in old]
    places = [[labels.index(label) for label in shared] for labels in (old, new)]
    return torch.tensor(places[0], dtype=torch.long), torch.tensor(places[1], dtype=torch.long)


class LinearChainCRF(nn.Module):
    """Scores, decodes and learns label sequences.

        crf = LinearChainCRF(["O", "B-PER", "I-PER"])
        loss = -crf(emissions, labels, mask).mean()
        decoding = crf.decode(emissions, mask)

    Args:
        labels: the `K` label names, in the order of the emissions.
        constrain: forbid what the label scheme forbids, such as `I-PER` after `B-LOC`.

    Raises:
        ValueError: if a name is not a label of BIO or BIOES.
    """

    def __init__(self, labels: Sequence[str], constrain: bool = True):
        super().__init__()
        self.labels = list(labels)
        self.constrain = constrain
        size = len(self.labels)
        self.start_transitions = nn.Parameter(torch.empty(size))
        self.transitions = nn.Parameter(torch.empty(size, size))  # [from, to]
        self.end_transitions = nn.Parameter(torch.empty(size))
        # What follows from the label names is not stored with the weights.
        for name, value in self._scheme().items():
            self.register_buffer(name, value, persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise parameters and buffers: loading a model may leave both as raw memory."""
        for parameter in (self.start_transitions, self.transitions, self.end_transitions):
            init.uniform_(parameter, -0.1, 0.1)
        for name, value in self._scheme().items():
            init.copy_(getattr(self, name), value)

    @torch.no_grad()
    def with_labels(self, labels: Sequence[str]) -> "LinearChainCRF":
        """A CRF over other labels: what it knows of those in both sets, at the start, at the end
        and from one to another, it keeps; the rest is newly initialised.
        """
        crf = LinearChainCRF(labels, self.constrain).to(self.transitions)
        old, new = shared_places(self.labels, crf.labels)
        crf.start_transitions[new] = self.start_transitions[old]
        crf.transitions[new[:, None], new] = self.transitions[old[:, None], old]
        crf.end_transitions[new] = self.end_transitions[old]
        return crf.train(self.training)

    def _scheme(self) -> dict[str, Tensor]:
        """What the label names say: forbidden steps, and where entities begin and go on."""
        bioes = is_bioes(self.labels)

        def penalty(allowed: list) -> Tensor:
            allowed = torch.tensor(allowed, device="cpu")
            return torch.where(allowed | (not self.constrain), 0.0, IMPOSSIBLE)

        return {
            "start_penalty": penalty([may_start(label) for label in self.labels]),
            "transition_penalty": penalty(
                [
                    [may_follow(previous, label, bioes) for label in self.labels]
                    for previous in self.labels
                ]
            ),
            "end_penalty": penalty([may_end(label, bioes) for label in self.labels]),
            "begins": torch.tensor([begins_entity(label) for label in self.labels], device="cpu"),
            "continues": torch.tensor(
                [
                    [continues_entity(previous, label) for label in self.labels]
                    for previous in self.labels
                ],
                device="cpu",
            ),
        }

    def _scores(self, temperature: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        """Start `[K]`, transition `[K, K]` and end `[K]` scores, constraints included."""
        return (
            self.start_transitions.double() / temperature + self.start_penalty,
            self.transitions.double() / temperature + self.transition_penalty,
            self.end_transitions.double() / temperature + self.end_penalty,
        )

    def forward(self, emissions: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """The log-likelihood of each sentence's labels.

        Args:
            emissions: `[B, W, K]`.
            labels: `[B, W]` long; -100 under the mask is an unknown label, which is summed over.
            mask: `[B, W]` bool.

        Returns:
            `[B]`, float32, at most 0.
        """
        with torch.autocast(emissions.device.type, enabled=False):
            emissions = emissions.double()
            # "Clamped minus free": log Z of the sequences that agree with the labels, less log Z of
            # all.
            classes = torch.arange(len(self.labels), device=labels.device)
            disagrees = (labels[..., None] != classes) & (labels[..., None] != UNKNOWN)
            clamped = emissions + IMPOSSIBLE * disagrees
            both = torch.cat(
                [clamped, emissions]
            )  # [2B, W, K]: one pass over the words for the two of them
            clamped_log_z, free_log_z = self._log_partition(both, mask.repeat(2, 1)).chunk(2)
            return (clamped_log_z - free_log_z).float()

    @torch.no_grad()
    def decode(self, emissions: Tensor, mask: Tensor) -> CRFDecoding:
        """The most probable labels, the probability of every label, and of every entity.

        Args:
            emissions: `[B, W, K]`.
            mask: `[B, W]` bool.
        """
        with torch.autocast(emissions.device.type, enabled=False):
            emissions = emissions.double()
            labels = self._viterbi(emissions, mask)
            forward = self._forward_scores(emissions, mask)
            backward = self._backward_scores(emissions, mask)
            log_z = self._close(forward, mask)
            return CRFDecoding(
                labels=labels.masked_fill(~mask, UNKNOWN),
                marginals=(forward + backward)
                .softmax(-1)
                .float()
                .masked_fill(~mask[..., None], 0.0),
                entity_scores=self._entity_scores(
                    emissions, mask, labels, forward, backward, log_z
                ),
            )

    @property
    def types(self) -> list[str]:
        """The entity types, in the order of the labels."""
        return entity_types(self.labels)

    @torch.no_grad()
    def span_scores(self, emissions: Tensor, mask: Tensor, spans: Tensor) -> Tensor:
        """The probability that exactly a span is an entity, for each type.

        Args:
            emissions: `[B, W, K]`.
            mask: `[B, W]` bool.
            spans: `[n, 3]` long: a sentence, and words `[start, end)` of it.

        Returns:
            `[n, T]`, float32, in the order of `types`; a row sums to at most 1.
        """
        with torch.autocast(emissions.device.type, enabled=False):
            emissions = emissions.double()
            _, transition, end = self._scores()
            return span_probabilities(
                self.labels,
                self._forward_scores(emissions, mask),
                self._backward_scores(emissions, mask),
                emissions,
                transition,
                end,
                self.begins,
                self.continues,
                mask.sum(1),
                spans,
            ).float()

    def log_marginals(self, emissions: Tensor, mask: Tensor, temperature: float = 1.0) -> Tensor:
        """The log-probability of each label of each word, with gradients.

        Args:
            emissions: `[B, W, K]`.
            mask: `[B, W]` bool.
            temperature: divides every score, of emissions and of transitions; what the label scheme
                forbids stays forbidden.

        Returns:
            `[B, W, K]`, float32; a forbidden label has a large negative number, not minus infinity.
            Outside the mask it means nothing.
        """
        with torch.autocast(emissions.device.type, enabled=False):
            emissions = emissions.double() / temperature
            forward = self._forward_scores(emissions, mask, temperature)
            backward = self._backward_scores(emissions, mask, temperature)
            # The sum over a word's labels is Z, at each word anew: no rounding adds up over words.
            return (forward + backward).log_softmax(-1).float()

    def _log_partition(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """log Z of each sentence: `[B]`; 0 for a sentence without words."""
        return self._close(self._forward_scores(emissions, mask), mask)

    def _close(self, forward: Tensor, mask: Tensor, temperature: float = 1.0) -> Tensor:
        """End the forward recursion: `[B, W, K]` -> log Z `[B]`."""
        _, _, end = self._scores(temperature)
        log_z = (forward[:, -1] + end).logsumexp(-1)  # past its last word a row repeats it
        return torch.where(mask.any(1), log_z, 0.0)

    def _forward_scores(self, emissions: Tensor, mask: Tensor, temperature: float = 1.0) -> Tensor:
        """`[b, t, k]`: log of the summed weight of all labels of words `0..t` that end in `k`."""
        start, transition, _ = self._scores(temperature)
        score = start + emissions[:, 0]  # [B, K]
        scores = [score]
        for t in range(1, emissions.shape[1]):
            step = (score[:, :, None] + transition).logsumexp(1) + emissions[:, t]
            score = torch.where(mask[:, t, None], step, score)
            scores.append(score)
        return torch.stack(scores, 1)

    def _backward_scores(self, emissions: Tensor, mask: Tensor, temperature: float = 1.0) -> Tensor:
        """`[b, t, k]`: log of the summed weight of all labels of words `t+1..` after a `k`."""
        _, transition, end = self._scores(temperature)
        score = end.expand(emissions.shape[0], -1)  # [B, K]
        scores = [score]
        for t in range(emissions.shape[1] - 1, 0, -1):
            step = (transition + (emissions[:, t] + score)[:, None, :]).logsumexp(2)
            score = torch.where(mask[:, t, None], step, end)
            scores.append(score)
        return torch.stack(scores[::-1], 1)

    def _viterbi(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """`[B, W]`: the best label sequence; past its last word a row repeats the last label."""
        start, transition, end = self._scores()
        score = start + emissions[:, 0]  # [B, K]
        same = torch.arange(len(self.labels), device=emissions.device).expand_as(score)
        pointers = []
        for t in range(1, emissions.shape[1]):
            best, pointer = (score[:, :, None] + transition).max(1)
            score = torch.where(mask[:, t, None], best + emissions[:, t], score)
            pointers.append(torch.where(mask[:, t, None], pointer, same))
        label = (score + end).argmax(1, keepdim=True)  # [B, 1]
        path = [label]
        for pointer in reversed(pointers):
            label = pointer.gather(1, label)
            path.append(label)
        return torch.cat(path[::-1], 1)

    def _entity_scores(
        self,
        emissions: Tensor,
        mask: Tensor,
        labels: Tensor,
        forward: Tensor,
        backward: Tensor,
        log_z: Tensor,
    ) -> Tensor:
        """`[B, W]`: the probability of the entity that begins at each word of `labels`; 0 where
        none begins.

        From right to left, `rest` is the log of the summed weight of everything after word `t`
        given its label: the words that go on with the entity have their labels, and the word after
        it has any label that ends it.
        """
        _, transition, end = self._scores()
        ends_here = end[labels]  # [B, W]
        rest = ends_here[:, -1]
        rests = [rest]
        for t in range(emissions.shape[1] - 1, 0, -1):
            here, following = labels[:, t - 1], labels[:, t]
            goes_on = (
                transition[here, following]
                + emissions[:, t].gather(1, following[:, None])[:, 0]
                + rest
            )
            leaves = transition[here] + emissions[:, t] + backward[:, t]  # [B, K]
            leaves = leaves.masked_fill(self.continues[here], IMPOSSIBLE).logsumexp(1)
            rest = torch.where(self.continues[here, following], goes_on, leaves)
            rest = torch.where(mask[:, t], rest, ends_here[:, t - 1])
            rests.append(rest)
        rest = torch.stack(rests[::-1], 1)
        begun = forward.gather(2, labels[..., None])[..., 0]
        score = (begun + rest - log_z[:, None]).exp().clamp(max=1.0).float()
        return torch.where(mask & self.begins[labels], score, 0.0)
