"""The CRF's own recursions against plain ones, brute force and finite differences: labels,
probabilities and gradients, for scores of any size, one by one and as scans.
"""

import itertools

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from modeling_2mner import recursions_2mner as recursions
from modeling_2mner.crf_2mner import UNKNOWN, LinearChainCRF
from modeling_2mner.labels_2mner import scheme_labels
from tests.modeling_2mner.reference_crf import ReferenceCRF

BIO = scheme_labels(("PER", "LOC"))
BIOES = scheme_labels(("X",), "BIOES")
LENGTHS = torch.tensor([9, 1, 0, 4, 8, 2])

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


@pytest.fixture(params=["loop", "scan"])
def either_way(request, monkeypatch) -> None:
    """As on a processor, and as on a GPU."""
    monkeypatch.setattr(recursions, "_launches_are_dear", lambda _: request.param == "scan")


def make(labels=BIO, constrain=True, scale=2.0, lengths=LENGTHS, dtype=torch.float64):
    """A CRF with strong random transitions, emissions between +-scale, and a mask."""
    torch.manual_seed(0)
    crf = LinearChainCRF(labels, constrain).double()
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter)
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    emissions = torch.empty(*mask.shape, len(labels), dtype=torch.float64).uniform_(-scale, scale)
    return crf.to(dtype), emissions.to(dtype), mask


def gold(crf, mask, known: float = 1.0) -> torch.Tensor:
    """Well-formed labels, of which some are unknown."""
    torch.manual_seed(1)
    labels = ReferenceCRF.of(crf).decode(torch.randn(*mask.shape, len(crf.labels)), mask).labels
    return labels.masked_fill(torch.rand(labels.shape) > known, UNKNOWN)


def gradients(value, emissions, crf) -> list[torch.Tensor]:
    """Of a weighted sum, with respect to emissions and parameters."""
    torch.manual_seed(2)
    total = (value * torch.randn_like(value)).sum()
    return list(torch.autograd.grad(total, [emissions, *crf.parameters()], retain_graph=True))


def close(one, two, scale: float) -> None:
    """Equal but for float64's rounding of sums as large as the scores, and as what is forbidden."""
    torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-7 + 1e-9 * scale)


schemes = pytest.mark.parametrize(
    ("labels", "constrain"), [(BIO, True), (BIO, False), (BIOES, True), (["O"], True)], ids=str
)
scales = pytest.mark.parametrize("scale", [1, 10, 200, 1e4])


@schemes
@scales
@pytest.mark.parametrize("known", [1, 0.5, 0])
def test_likelihood_and_its_gradient_are_those_of_autograd(
    either_way, labels, constrain, scale, known
):
    crf, emissions, mask = make(labels, constrain, scale)
    reference = ReferenceCRF.of(crf).double()
    emissions.requires_grad_()
    labels = gold(crf, mask, known)
    found, expected = crf(emissions, labels, mask), reference(emissions, labels, mask)
    assert found.dtype == torch.float64
    assert (found <= 0).all()
    close(found, expected, 10 * scale)
    for one, two in zip(
        gradients(found, emissions, crf), gradients(expected, emissions, reference), strict=True
    ):
        close(one, two, scale)


@schemes
@scales
@pytest.mark.parametrize("temperature", [1, 3])
def test_log_marginals_and_their_gradient_are_those_of_autograd(
    labels, constrain, scale, temperature
):
    crf, emissions, mask = make(labels, constrain, scale)
    reference = ReferenceCRF.of(crf).double()
    emissions.requires_grad_()
    found = crf.log_marginals(emissions, mask, temperature)
    expected = reference.log_marginals(emissions, mask, temperature)
    close(found[mask].exp(), expected[mask].exp(), scale)
    # What is forbidden or as good as impossible has no gradient to speak of.
    possible = mask[..., None] & (expected > -1e6)
    close(found[possible], expected[possible], scale)
    found, expected = (values.where(possible, 0.0) for values in (found, expected))
    for one, two in zip(
        gradients(found, emissions, crf), gradients(expected, emissions, reference), strict=True
    ):
        close(one, two, 100 * scale)


@schemes
@scales
def test_decoding_is_that_of_the_plain_recursions(either_way, labels, constrain, scale):
    crf, emissions, mask = make(labels, constrain, scale)
    found = crf.decode(emissions, mask)
    expected = ReferenceCRF.of(crf).double().decode(emissions, mask)
    assert torch.equal(found.labels, expected.labels)
    close(found.marginals, expected.marginals, scale)
    close(found.entity_scores, expected.entity_scores, scale)


@pytest.mark.parametrize("scale", [1, 10, 200])
def test_long_sentences_of_many_lengths_give_what_the_plain_recursions_give(either_way, scale):
    """Weights are scaled many times, at other words of each sentence."""
    crf, emissions, mask = make(BIO, True, scale, torch.tensor([130, 7, 0, 61, 129]))
    reference = ReferenceCRF.of(crf).double()
    emissions.requires_grad_()
    labels = gold(crf, mask)
    found, expected = crf(emissions, labels, mask), reference(emissions, labels, mask)
    close(found, expected, 100 * scale)
    for one, two in zip(
        gradients(found, emissions, crf), gradients(expected, emissions, reference), strict=True
    ):
        close(one, two, 100 * scale)
    decoded, expected = crf.decode(emissions, mask), reference.decode(emissions, mask)
    assert torch.equal(decoded.labels, expected.labels)
    close(decoded.marginals, expected.marginals, scale)
    close(decoded.entity_scores, expected.entity_scores, scale)


@schemes
def test_extreme_scores_give_what_brute_force_gives(either_way, labels, constrain):
    """Where every word prefers something else by 1e4, and what it prefers may be forbidden."""
    crf, emissions, mask = make(labels, constrain, 1.0, torch.tensor([3, 2, 1]))
    emissions = (emissions * 3).round() * 1e4
    scores = crf._scores(emissions.device)
    decoding = crf.decode(emissions, mask)
    for row, length in enumerate(mask.sum(1).tolist()):
        sequences = list(itertools.product(range(len(labels)), repeat=length))
        totals = []
        for sequence in sequences:
            total = scores[0, sequence[0]] + scores[-1, sequence[-1]]
            total = total + sum(emissions[row, word, label] for word, label in enumerate(sequence))
            totals.append(total + sum(scores[1 + i, j] for i, j in itertools.pairwise(sequence)))
        weights = torch.stack(totals).softmax(0)
        best = sequences[int(weights.argmax())]
        assert tuple(decoding.labels[row, :length].tolist()) == best
        marginals = torch.zeros(length, len(labels), dtype=torch.float64)
        for sequence, weight in zip(sequences, weights, strict=True):
            for word, label in enumerate(sequence):
                marginals[word, label] += weight
        torch.testing.assert_close(decoding.marginals[row, :length], marginals, atol=1e-7, rtol=0)
        known = torch.full_like(mask[:1], UNKNOWN, dtype=torch.long)
        known[0, :length] = torch.tensor(sequences[-1])
        likelihood = crf(emissions[row, None], known, mask[row, None]).item()
        expected = totals[-1] - torch.stack(totals).logsumexp(0)
        assert likelihood == pytest.approx(expected.item(), rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("scale", [1, 300])
@pytest.mark.parametrize("known", [1, 0.5])
def test_gradcheck(either_way, scale, known):
    crf, emissions, mask = make(BIO, True, scale, torch.tensor([3, 1, 0]))
    labels = gold(crf, mask, known)
    start, transitions, end = (p.detach() for p in crf.parameters())

    def run(emissions, *parameters):
        names = ("start_transitions", "transitions", "end_transitions")
        return torch.func.functional_call(
            crf, dict(zip(names, parameters, strict=True)), (emissions, labels, mask)
        )

    inputs = [t.clone().requires_grad_() for t in (emissions, start, transitions, end)]
    assert torch.autograd.gradcheck(run, inputs, atol=1e-6)


@pytest.mark.parametrize("scale", [1, 30])
def test_gradcheck_of_log_marginals(scale):
    crf, emissions, mask = make(BIO, False, scale, torch.tensor([3, 1, 0]))

    def run(emissions):
        return crf.log_marginals(emissions, mask, 2.0)[mask]

    assert torch.autograd.gradcheck(run, [emissions.requires_grad_()], atol=1e-6)


@pytest.mark.parametrize("name", ["forward", "log_marginals"])
def test_a_second_derivative_is_refused(name):
    crf, emissions, mask = make()
    emissions.requires_grad_()
    arguments = (gold(crf, mask), mask) if name == "forward" else (mask,)
    value = getattr(crf, name)(emissions, *arguments)[mask[:, 0]].sum()
    with pytest.raises(RuntimeError, match="can be differentiated once, not twice: found create_g"):
        torch.autograd.grad(value, emissions, create_graph=True)


def graph_size(value) -> int:
    """How many nodes autograd has recorded."""
    met, todo = set(), [value.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in met:
            met.add(node)
            todo += [following for following, _ in node.next_functions]
    return len(met)


@pytest.mark.parametrize("scale", [1, 1e4])
@pytest.mark.parametrize("known", [1, 0.5])
def test_autograd_records_no_step_of_a_recursion(scale, known):
    sizes = set()
    for words in (2, 50):
        crf, emissions, mask = make(scale=scale, lengths=torch.tensor([words]))
        emissions.requires_grad_()
        values = crf(emissions, gold(crf, mask, known), mask), crf.log_marginals(emissions, mask)
        sizes.add(tuple(map(graph_size, values)))
    (found,) = sizes
    assert max(found) < 20


class Counted(TorchDispatchMode):
    """Counts the operations that are run."""

    def __init__(self):
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.number += 1
        return func(*args, **(kwargs or {}))


def test_the_operations_of_a_scan_grow_with_the_logarithm_of_the_words(monkeypatch):
    monkeypatch.setattr(recursions, "_launches_are_dear", lambda _: True)
    counts = []
    for words in (33, 65, 129, 257):
        crf, emissions, mask = make(lengths=torch.tensor([words, 3]))
        with Counted() as counted:
            crf.decode(emissions, mask)
        counts.append(counted.number)
    steps = [after - before for before, after in itertools.pairwise(counts)]
    assert max(steps) - min(steps) <= 6  # the pointers are found part by part
    assert counts[-1] < 2 * counts[0]


@pytest.mark.parametrize("scale", [1, 1e4])
def test_a_label_that_is_forbidden_where_it_stands_has_a_finite_loss(scale):
    crf, emissions, mask = make(BIO, True, scale, torch.tensor([3, 2]))
    emissions.requires_grad_()
    for labels in ([[2, 0, 4], [0, 2, UNKNOWN]], [[2, UNKNOWN, 4], [UNKNOWN, 2, UNKNOWN]]):
        likelihood = crf(emissions, torch.tensor(labels), mask)
        assert likelihood.isfinite().all()
        assert likelihood[0] < -1e7
        for gradient in gradients(likelihood, emissions, crf):
            assert gradient.isfinite().all()


@pytest.mark.parametrize("labels", [["I-X"], ["O", "I-X", "E-X"], ["B-X", "I-X", "E-X"]], ids=str)
def test_label_sets_that_allow_no_sequence_of_some_length_give_numbers(either_way, labels):
    crf, emissions, mask = make(labels, True, 2.0, torch.tensor([4, 1, 0]))
    emissions.requires_grad_()
    decoding = crf.decode(emissions, mask)
    sums = decoding.marginals.sum(-1)
    torch.testing.assert_close(sums, mask.double(), atol=1e-6, rtol=0)
    likelihood = crf(emissions, decoding.labels, mask)
    assert likelihood.isfinite().all()
    assert all(each.isfinite().all() for each in gradients(likelihood, emissions, crf))


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0)])
def test_no_sentence_and_no_word_give_nothing(shape):
    crf = LinearChainCRF(BIO)
    emissions = torch.zeros(*shape, len(BIO), requires_grad=True)
    mask = torch.zeros(shape, dtype=torch.bool)
    labels = torch.full(shape, UNKNOWN)
    likelihood = crf(emissions, labels, mask)
    assert likelihood.shape == shape[:1]
    assert likelihood.sum() == 0
    likelihood.sum().backward()
    decoding = crf.decode(emissions, mask)
    assert decoding.labels.shape == decoding.entity_scores.shape == shape
    assert decoding.labels.dtype == torch.long
    assert crf.span_scores(emissions, mask, torch.zeros(0, 3, dtype=torch.long)).shape == (0, 2)
    assert decoding.marginals.shape == crf.log_marginals(emissions, mask).shape == emissions.shape


def test_a_long_sentence_is_decoded_in_little_memory_and_exactly():
    """20,000 words: sums of weights would underflow many times over."""
    crf, emissions, mask = make(lengths=torch.tensor([20_000]), dtype=torch.float32)
    found = crf.decode(emissions, mask)
    torch.testing.assert_close(found.marginals.sum(-1), torch.ones(1, 20_000))
    half = crf.decode(emissions[:, :10_050], mask[:, :10_050])
    torch.testing.assert_close(found.marginals[:, :10_000], half.marginals[:, :10_000])
    assert torch.equal(found.labels[:, :10_000], half.labels[:, :10_000])


def test_what_decode_gives_can_be_used_in_a_graph():
    crf, emissions, mask = make()
    weight = torch.ones(len(BIO), dtype=torch.float64, requires_grad=True)
    (crf.decode(emissions, mask).marginals * weight).sum().backward()
    assert weight.grad.isfinite().all()


def run_each(crf, emissions, labels, mask) -> list[torch.Tensor]:
    decoding = crf.decode(emissions, mask)
    log_marginals = crf.log_marginals(emissions, mask, 2.0).masked_fill(~mask[..., None], 0.0)
    return [crf(emissions, labels, mask), log_marginals, *vars(decoding).values()]


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_everything_compiles_without_a_graph_break(backend):
    crf, emissions, mask = make(dtype=torch.float32)
    labels = gold(crf, mask)
    emissions.requires_grad_()
    compiled = torch.compile(run_each, backend=backend, fullgraph=True)
    found, expected = (run(crf, emissions, labels, mask) for run in (compiled, run_each))
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)
    for number in (0, 1):
        for one, two in zip(
            gradients(found[number], emissions, crf),
            gradients(expected[number], emissions, crf),
            strict=True,
        ):
            torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)


class Tagger(torch.nn.Module):
    """Emissions and a CRF; `run` is what is made of them."""

    def __init__(self, crf, run):
        super().__init__()
        self.classifier = torch.nn.Linear(6, len(crf.labels))
        self.crf, self.run = crf, run

    def forward(self, states, labels, mask):
        return self.run(self.crf, self.classifier(states), labels, mask)


@pytest.mark.parametrize("strict", [True, False])
def test_a_module_with_a_crf_is_exported(strict):
    crf, _, mask = make(dtype=torch.float32)
    tagger = Tagger(crf, run_each)
    labels = gold(crf, mask)
    example, other = torch.randn(2, *mask.shape, 6)
    exported = torch.export.export(tagger, (example, labels, mask), strict=strict).module()
    found, expected = exported(other, labels, mask), tagger(other, labels, mask)
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)
