"""The CRF against brute force over all label sequences, against finite differences, and against
pytorch-crf.
"""

import itertools

import pytest
import torch
import torchcrf

from modeling_2mner.alignment_2mner import cross_view_divergence
from modeling_2mner.crf_2mner import UNKNOWN, LinearChainCRF
from modeling_2mner.labels_2mner import is_bioes, may_end, may_follow, may_start, spans_from_labels

BIO = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
BIOES = ["O", "B-X", "I-X", "E-X", "S-X"]
LENGTHS = [4, 1, 0, 3]


def make(labels, constrain=True, seed=0):
    """A CRF with strong random transitions, and emissions for sentences of `LENGTHS` words."""
    torch.manual_seed(seed)
    crf = LinearChainCRF(labels, constrain).double()
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter)
    crf.float()
    emissions = torch.randn(len(LENGTHS), max(LENGTHS), len(labels)) * 2
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    return crf, emissions, mask


def allowed(crf, sequence):
    names = [crf.labels[label] for label in sequence]
    bioes = is_bioes(crf.labels)
    return not crf.constrain or (
        may_start(names[0])
        and may_end(names[-1], bioes)
        and all(may_follow(one, two, bioes) for one, two in itertools.pairwise(names))
    )


def probabilities(crf, emissions):
    """All label sequences of one sentence with their probabilities, by brute force in float64."""
    scores = {}
    start, transitions, end = (
        parameter.detach().double()
        for parameter in (crf.start_transitions, crf.transitions, crf.end_transitions)
    )
    emissions = emissions.double()
    for sequence in itertools.product(range(len(crf.labels)), repeat=len(emissions)):
        if allowed(crf, sequence):
            score = start[sequence[0]] + end[sequence[-1]]
            score += sum(emissions[word, label] for word, label in enumerate(sequence))
            score += sum(transitions[one, two] for one, two in itertools.pairwise(sequence))
            scores[sequence] = score
    weights = torch.stack(list(scores.values())).softmax(0)
    return dict(zip(scores, weights.tolist(), strict=True))


schemes = pytest.mark.parametrize(
    ("labels", "constrain"), [(BIO, True), (BIO, False), (BIOES, True), (BIOES, False)]
)


@schemes
def test_likelihood_is_that_of_brute_force(labels, constrain):
    crf, emissions, mask = make(labels, constrain)
    for row, length in enumerate(LENGTHS):
        if length == 0:
            continue
        for sequence, probability in probabilities(crf, emissions[row, :length]).items():
            gold = torch.full((1, max(LENGTHS)), UNKNOWN)
            gold[0, :length] = torch.tensor(sequence)
            likelihood = crf(emissions[row : row + 1], gold, mask[row : row + 1]).exp()
            assert likelihood.item() == pytest.approx(probability, rel=1e-3, abs=1e-6)


@schemes
def test_viterbi_finds_the_most_probable_sequence(labels, constrain):
    crf, emissions, mask = make(labels, constrain)
    decoded = crf.decode(emissions, mask).labels
    for row, length in enumerate(LENGTHS):
        assert (decoded[row, length:] == UNKNOWN).all()
        if length:
            by_force = probabilities(crf, emissions[row, :length])
            assert tuple(decoded[row, :length].tolist()) == max(by_force, key=by_force.get)


@schemes
def test_marginals_are_sums_over_all_sequences(labels, constrain):
    crf, emissions, mask = make(labels, constrain)
    marginals = crf.decode(emissions, mask).marginals
    log_marginals = crf.log_marginals(emissions, mask)[mask]
    torch.testing.assert_close(marginals[mask], log_marginals.exp(), atol=1e-6, rtol=1e-5)
    for row, length in enumerate(LENGTHS):
        expected = torch.zeros(max(LENGTHS), len(labels))
        if length:
            for sequence, probability in probabilities(crf, emissions[row, :length]).items():
                for word, label in enumerate(sequence):
                    expected[word, label] += probability
        torch.testing.assert_close(marginals[row], expected, atol=1e-5, rtol=1e-4)


@schemes
@pytest.mark.parametrize("temperature", [2, 4])
def test_a_temperature_flattens_all_that_is_allowed(labels, constrain, temperature):
    """As if every sequence had the score that it has, divided by the temperature."""
    crf, emissions, mask = make(labels, constrain)
    marginals = crf.log_marginals(emissions, mask, temperature).exp()
    for row, length in enumerate(LENGTHS):
        if length == 0:
            continue
        flattened = {
            sequence: probability ** (1 / temperature)
            for sequence, probability in probabilities(crf, emissions[row, :length]).items()
        }
        expected = torch.zeros(length, len(labels))
        for sequence, weight in flattened.items():
            for word, label in enumerate(sequence):
                expected[word, label] += weight / sum(flattened.values())
        torch.testing.assert_close(marginals[row, :length], expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("scale", [1, 100, 1e4])
@pytest.mark.parametrize("temperature", [1, 2, 4])
def test_marginals_sum_to_one_and_no_divergence_is_negative_however_large_scores_are(
    scale, temperature
):
    torch.manual_seed(0)
    crf = LinearChainCRF(BIO)
    emissions = torch.empty(4, 150, len(BIO)).uniform_(-scale, scale)
    mask = torch.arange(150) < torch.tensor([150, 149, 2, 1])[:, None]
    teacher = crf.log_marginals(emissions, mask, temperature)
    assert teacher.dtype == torch.float32
    for marginals in (teacher.exp()[mask], crf.decode(emissions, mask).marginals[mask]):
        torch.testing.assert_close(
            marginals.double().sum(-1), torch.ones(302).double(), atol=1e-6, rtol=0
        )
    for change in (0, 1e-6, 1e-3, 1):  # what two views differ by, relative to what they say
        other = emissions * (1 + change * torch.randn_like(emissions))
        student = crf.log_marginals(other, mask, temperature)
        assert (cross_view_divergence(teacher, student, mask, temperature) >= 0).all()


@schemes
@pytest.mark.parametrize("seed", range(5))
def test_entity_score_is_the_probability_of_exactly_that_entity(labels, constrain, seed):
    crf, emissions, mask = make(labels, constrain, seed)
    decoding = crf.decode(emissions, mask)
    for row, length in enumerate(LENGTHS):
        expected = torch.zeros(max(LENGTHS))
        if length:
            names = [labels[label] for label in decoding.labels[row, :length]]
            by_force = probabilities(crf, emissions[row, :length])
            for span in spans_from_labels(names):
                start, end, _ = span
                chosen = decoding.labels[row, start:end].tolist()
                for sequence, probability in by_force.items():
                    same = list(sequence[start:end]) == chosen
                    if same and span in spans_from_labels([labels[label] for label in sequence]):
                        expected[start] += probability
        torch.testing.assert_close(decoding.entity_scores[row], expected, atol=1e-5, rtol=1e-4)


def test_gradient_is_that_of_finite_differences():
    crf, emissions, mask = make(BIO)
    crf.double()
    emissions.requires_grad_()
    gold = crf.decode(emissions, mask).labels
    crf(emissions, gold, mask).sum().backward()
    step = 1e-2
    with torch.no_grad():
        for row, word, label in itertools.product(range(len(LENGTHS)), range(4), range(len(BIO))):
            change = torch.zeros_like(emissions)
            change[row, word, label] = step
            up, down = (
                crf(moved, gold, mask).sum() for moved in (emissions + change, emissions - change)
            )
            quotient = (up - down) / (2 * step)
            assert emissions.grad[row, word, label] == pytest.approx(quotient.item(), abs=2e-3)


def test_agrees_with_pytorch_crf_on_random_input():
    torch.manual_seed(0)
    lengths = torch.randint(1, 20, (16,))
    mask = torch.arange(20) < lengths[:, None]
    emissions = torch.randn(16, 20, len(BIO))
    gold = torch.randint(0, len(BIO), (16, 20))
    crf = LinearChainCRF(BIO, constrain=False)
    other = torchcrf.CRF(len(BIO), batch_first=True)
    with torch.no_grad():
        other.start_transitions.copy_(crf.start_transitions)
        other.transitions.copy_(crf.transitions)
        other.end_transitions.copy_(crf.end_transitions)
    torch.testing.assert_close(
        crf(emissions, gold, mask),
        other(emissions, gold, mask, reduction="none"),
        atol=1e-4,
        rtol=1e-4,
    )
    decoded = crf.decode(emissions, mask).labels
    assert [
        row[:length].tolist() for row, length in zip(decoded, lengths, strict=True)
    ] == other.decode(emissions, mask)


def test_an_unknown_label_is_summed_over():
    crf, emissions, mask = make(BIO)
    by_force = probabilities(crf, emissions[0])
    gold = torch.tensor([[1, UNKNOWN, UNKNOWN, 0]])
    expected = sum(
        probability
        for sequence, probability in by_force.items()
        if sequence[0] == 1 and sequence[3] == 0
    )
    assert crf(emissions[:1], gold, mask[:1]).exp().item() == pytest.approx(expected, rel=1e-3)
    nothing_known = torch.full((1, 4), UNKNOWN)
    assert crf(emissions[:1], nothing_known, mask[:1]).item() == pytest.approx(0, abs=1e-5)


def test_a_sentence_without_words_is_certain_and_empty():
    crf, emissions, mask = make(BIO)
    decoding = crf.decode(emissions, mask)
    gold = torch.full(mask.shape, UNKNOWN)
    assert crf(emissions, gold, mask)[2] == 0
    assert decoding.marginals[2].sum() == 0
    assert decoding.entity_scores[2].sum() == 0


@pytest.mark.parametrize("labels", [BIO, BIOES])
def test_constraints_leave_only_well_formed_sequences(labels):
    """However the emissions push: no `I-` out of nowhere, no entity left open."""
    torch.manual_seed(0)
    crf = LinearChainCRF(labels)
    mask = torch.ones(64, 7, dtype=torch.bool)
    for row in crf.decode(torch.randn(64, 7, len(labels)) * 20, mask).labels.tolist():
        assert allowed(crf, row)


def test_constraints_can_be_switched_off():
    emissions = torch.zeros(1, 2, len(BIO))
    emissions[0, 0, BIO.index("O")] = 50
    emissions[0, 1, BIO.index("I-PER")] = 50
    mask = torch.ones(1, 2, dtype=torch.bool)

    def names(constrain):
        return [
            BIO[label] for label in LinearChainCRF(BIO, constrain).decode(emissions, mask).labels[0]
        ]

    assert names(constrain=False) == ["O", "I-PER"]
    assert names(constrain=True) != ["O", "I-PER"]


def test_what_lies_under_the_padding_changes_nothing():
    crf, emissions, mask = make(BIO)
    other = torch.where(mask[..., None], emissions, 1e3)
    wide = torch.cat([emissions, torch.full((len(LENGTHS), 5, len(BIO)), -77.0)], 1)
    wide_mask = torch.cat([mask, torch.zeros(len(LENGTHS), 5, dtype=torch.bool)], 1)
    one, two, three = (
        crf.decode(emissions, mask),
        crf.decode(other, mask),
        crf.decode(wide, wide_mask),
    )
    for name in ("labels", "marginals", "entity_scores"):
        for other in (getattr(two, name), getattr(three, name)[:, :4]):
            torch.testing.assert_close(getattr(one, name), other)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_results_are_float32_under_autocast_and_for_half_precision_emissions(dtype):
    crf, emissions, mask = make(BIO)
    emissions = emissions.to(dtype)
    gold = crf.decode(emissions.float(), mask).labels
    expected = crf(emissions.float(), gold, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        likelihood = crf(emissions, gold, mask)
        decoding = crf.decode(emissions, mask)
    assert likelihood.dtype == decoding.marginals.dtype == torch.float32
    torch.testing.assert_close(likelihood, expected)


def test_likelihood_compiles_without_a_graph_break():
    crf, emissions, mask = make(BIO)
    gold = crf.decode(emissions, mask).labels
    compiled = torch.compile(crf, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(emissions, gold, mask), crf(emissions, gold, mask))


def test_a_name_that_is_no_label_is_refused():
    with pytest.raises(ValueError, match="'PER' is not a label: expected 'O', or B-, I-, E- or S-"):
        LinearChainCRF(["O", "PER"])
