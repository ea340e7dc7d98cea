"""The CRF as its formulas are written: one recursion after the other, word by word in log space,
differentiated by autograd. What the model's own is held against, beside brute force.
"""

import torch
from torch import Tensor

from modeling_2mner.crf_2mner import UNKNOWN, CRFDecoding, LinearChainCRF

IMPOSSIBLE = -1e8


class ReferenceCRF(LinearChainCRF):
    """A CRF with the parameters of another one, and float64 results."""

    @classmethod
    def of(cls, crf: LinearChainCRF) -> "ReferenceCRF":
        reference = cls(crf.labels, crf.constrain)
        reference.load_state_dict(crf.state_dict())
        return reference

    def _scores(self, temperature: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        """Start `[K]`, transition `[K, K]` and end `[K]` scores, constraints included."""

        def penalised(parameter: Tensor, forbidden: Tensor) -> Tensor:
            return (parameter.double() / temperature).masked_fill(forbidden, IMPOSSIBLE)

        return (
            penalised(self.start_transitions, self.forbidden[0]),
            penalised(self.transitions, self.forbidden[1:-1]),
            penalised(self.end_transitions, self.forbidden[-1]),
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
            return clamped_log_z - free_log_z

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
                marginals=(forward + backward).softmax(-1).masked_fill(~mask[..., None], 0.0),
                entity_scores=self._entity_scores(
                    emissions, mask, labels, forward, backward, log_z
                ),
            )

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
            return (forward + backward).log_softmax(-1)

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
        score = (begun + rest - log_z[:, None]).exp().clamp(max=1.0)
        return torch.where(mask & self.begins[labels], score, 0.0)
