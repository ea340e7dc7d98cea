"""A linear-chain conditional random field over the words of a sentence (Lafferty et al., 2001).

    score(y | x)  = start[y_1] + sum_t emission[t, y_t] + sum_t transition[y_t-1, y_t] + end[y_T]
    p(y | x)      = exp(score(y | x)) / Z(x)

* Transitions that the label scheme forbids are taken out of `Z` as well as out of the decoding, so
  that the probabilities are those among well-formed label sequences.
* A label of -100 under the mask is unknown, and the likelihood sums over it (partial annotation).
* `decode` gives each entity the probability of exactly that span and type, from the CRF.
* `log_marginals` are differentiable, and may be those of a flatter distribution, every score
  divided by a temperature: the posteriors of cross-view alignment.
* All arithmetic is float64 whatever the autocast type, and results are float32: in float32 the
  difference of two scores of 1e4 words is off by more than a probability is wide.
* Likelihood and log-marginals can be differentiated once, not twice.

Shapes: `B` sentences, `W` words, `K` labels. A mask is true on a sentence's words, which come first
in the row. A sentence without words has likelihood 1, no labels and no entities.
"""

from .requirements_2mner import LEAST_TRANSFORMERS  # noqa: F401 -- first: it checks the version

# isort: split

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init

from .decoding_2mner import IMPOSSIBLE, Decoder, LabelScheme
from .labels_2mner import UNKNOWN, is_bioes, may_end, may_follow, may_start
from .likelihood_2mner import log_likelihood, log_marginals
from .recursions_2mner import Chain, Logs, Products, at, in_loops, infer
from .viterbi_2mner import best_labels

__all__ = ["UNKNOWN", "CRFDecoding", "LinearChainCRF", "fingerprint_of", "shared_places"]

FEW_WORDS = 4096
"""Words of a batch, padding included, that NumPy decodes sooner than a GPU, which takes the time of
its launches."""


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


def result_dtype(emissions: Tensor) -> torch.dtype:
    """float32, or what is more precise."""
    return torch.promote_types(emissions.dtype, torch.float32)


def shared_places(old: Sequence[str], new: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Where the labels that two sets share stand in each of them: two `[n]` long, in step."""
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

    forbidden: Tensor
    begins: Tensor
    continues: Tensor

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
        bioes, scheme = is_bioes(self.labels), LabelScheme.of(self.labels)
        # At the start, from each label to each, at the end: as the scores are stacked.
        forbidden = [
            [not may_start(label) for label in self.labels],
            *(
                [not may_follow(previous, label, bioes) for label in self.labels]
                for previous in self.labels
            ),
            [not may_end(label, bioes) for label in self.labels],
        ]
        return {
            "forbidden": torch.tensor(forbidden, device="cpu") & self.constrain,
            "begins": torch.tensor(scheme.begins, device="cpu"),
            "continues": torch.tensor(scheme.continues, device="cpu"),
        }

    def _scores(self, device: torch.device) -> Tensor:
        """`[K + 2, K]`: the scores at the start, from each label to each and at the end, as exact
        as the device can; what is forbidden is impossible.
        """
        parts = self.start_transitions[None], self.transitions, self.end_transitions[None]
        dtype = torch.float32 if device.type == "mps" else torch.float64
        return torch.cat(parts).to(dtype).masked_fill(self.forbidden, IMPOSSIBLE)

    def forward(self, emissions: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """The log-likelihood of each sentence's labels.

        Args:
            emissions: `[B, W, K]`.
            labels: `[B, W]` long; -100 under the mask is an unknown label, which is summed over.
            mask: `[B, W]` bool.

        Returns:
            `[B]`, float32 (float64 for such emissions), at most 0.
        """
        if mask.shape[1] == 0:
            return emissions.to(result_dtype(emissions)).sum((1, 2))
        with torch.autocast(emissions.device.type, enabled=False):
            scores = self._scores(emissions.device)
            likelihood = log_likelihood(emissions, scores, labels, mask)
            return likelihood.to(result_dtype(emissions))

    @torch.no_grad()
    def decode(self, emissions: Tensor, mask: Tensor) -> CRFDecoding:
        """The most probable labels, the probability of every label, and of every entity.

        Args:
            emissions: `[B, W, K]`.
            mask: `[B, W]` bool.
        """
        dtype = result_dtype(emissions)
        if in_loops(emissions, FEW_WORDS):
            values = emissions.detach().to(dtype).cpu().numpy()
            found = vars(self.decoder().decode(values, mask.sum(1).cpu().numpy())).values()
            return CRFDecoding(*(torch.from_numpy(each).to(emissions.device) for each in found))
        if mask.shape[1] == 0:
            nothing = emissions.new_zeros(mask.shape, dtype=dtype)
            return CRFDecoding(mask.long(), emissions.to(dtype), nothing)
        with torch.autocast(emissions.device.type, enabled=False):
            chain = Chain.of(emissions, self._scores(emissions.device), mask)
            labels, sums = best_labels(chain), infer(chain)
            marginals = sums.marginals()  # [W, B, K]
            entity_scores = self._entity_scores(sums, labels, marginals, mask.T)
        return CRFDecoding(
            labels=labels.T.masked_fill(~mask, UNKNOWN),
            marginals=marginals.transpose(0, 1).masked_fill(~mask[..., None], 0.0).to(dtype),
            entity_scores=entity_scores.T.to(dtype),
        )

    @property
    def types(self) -> list[str]:
        """The entity types, in the order of the labels."""
        return list(LabelScheme.of(self.labels).types)

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
        found = self.decoder().span_scores(
            emissions.double().cpu().numpy(), mask.sum(1).tolist(), spans.tolist()
        )
        return torch.from_numpy(found).to(emissions.device)

    def decoder(self) -> Decoder:
        """The same in NumPy, for inference."""
        scores = self._scores(self.transitions.device).detach()
        return Decoder(self.labels, scores.cpu().numpy())

    def log_marginals(self, emissions: Tensor, mask: Tensor, temperature: float = 1.0) -> Tensor:
        """The log-probability of each label of each word, with gradients.

        Args:
            emissions: `[B, W, K]`.
            mask: `[B, W]` bool.
            temperature: divides every score, of emissions and of transitions; what the label scheme
                forbids stays forbidden.

        Returns:
            `[B, W, K]`, float32 (float64 for such emissions); a forbidden label has a large
            negative number, not minus infinity. Outside the mask it means nothing.
        """
        dtype = result_dtype(emissions)
        if mask.shape[1] == 0:
            return emissions.to(dtype)
        with torch.autocast(emissions.device.type, enabled=False):
            scores = self._scores(emissions.device)
            emissions = emissions.to(scores.dtype) / temperature
            scores = torch.where(self.forbidden, scores, scores / temperature)
            return log_marginals(emissions, scores, mask).to(dtype)

    def _entity_scores(
        self, found: Products | Logs, labels: Tensor, marginals: Tensor, mask: Tensor
    ) -> Tensor:
        """The probability of the entity that begins at each word: that of its first label, of each
        label that goes on with it given the one before, and of any label that ends it after that.

        Args:
            found: by the recursions.
            labels, mask: `[W, B]`.
            marginals: `[W, B, K]`.

        Returns:
            `[W, B]`; 0 where no entity begins.
        """
        goes_on = self.continues[labels[:-1], labels[1:]] & mask[1:]  # [W - 1, B]
        onward = found.onward(labels, goes_on, ~self.continues)
        # After a sentence's last word nothing comes.
        onward = F.pad(onward.masked_fill(~mask[1:], 0.0), (0, 0, 0, 1))
        # Words that go on with one another are one run, and a probability is that of its run.
        run = F.pad(~goes_on, (0, 0, 1, 0)).cumsum(0)
        inside = torch.zeros_like(onward).scatter_add_(0, run, onward).gather(0, run)
        score = (at(marginals, labels).log() + inside).exp().clamp(0.0, 1.0)
        return torch.where(mask & self.begins[labels], score, 0.0)


def fingerprint_of(crf: LinearChainCRF) -> str:
    """The fingerprint of a trained model: a digest of its CRF.

    The CRF is trained with every model, and stays in float32 where a model is loaded in another
    precision. Its parameters are few. A training that freezes the CRF is not noticed.
    """
    digest = hashlib.sha256(json.dumps(crf.labels).encode())
    for parameter in (crf.start_transitions, crf.transitions, crf.end_transitions):
        digest.update(parameter.detach().float().cpu().numpy().astype("<f4").tobytes())
    return digest.hexdigest()
