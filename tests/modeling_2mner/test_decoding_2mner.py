"""Decoding in NumPy: the probability of spans, held against the sum over all label sequences."""

from itertools import pairwise, product

import pytest
import torch

from modeling_2mner import LinearChainCRF, recursions_2mner
from modeling_2mner.labels_2mner import (
    may_end,
    may_follow,
    may_start,
    scheme_labels,
    spans_from_labels,
)

pytestmark = pytest.mark.filterwarnings("error")


def by_enumeration(crf, emissions, words):
    """The probability of each span and type of one sentence, over all label sequences."""
    labels = crf.labels
    bioes = any(label.startswith("S-") for label in labels)
    start, transition, end = (
        parameter.detach().double()
        for parameter in (crf.start_transitions, crf.transitions, crf.end_transitions)
    )
    scores, spans = [], []
    for path in product(range(len(labels)), repeat=words):
        names = [labels[index] for index in path]
        if crf.constrain and not (
            may_start(names[0])
            and may_end(names[-1], bioes)
            and all(may_follow(one, two, bioes) for one, two in pairwise(names))
        ):
            continue
        score = start[path[0]] + end[path[-1]]
        score += sum(emissions[place, index] for place, index in enumerate(path))
        score += sum(transition[one, two] for one, two in pairwise(path))
        scores.append(score)
        spans.append(spans_from_labels(names))
    found = {}
    for weight, own in zip(torch.stack(scores).softmax(0).tolist(), spans, strict=True):
        for span in own:
            found[span] = found.get(span, 0.0) + weight
    return found


@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
@pytest.mark.parametrize("constrain", [True, False])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_it_decodes_as_tensors_do(scheme, constrain, scale, monkeypatch):
    monkeypatch.setattr(recursions_2mner, "_launches_are_dear", lambda _: True)
    torch.manual_seed(4)
    crf = LinearChainCRF(scheme_labels(["PER", "LOC", "ORG"], scheme), constrain)
    emissions = scale * torch.randn(5, 40, len(crf.labels))
    lengths = [40, 1, 0, 17, 39]
    mask = torch.arange(40) < torch.tensor(lengths)[:, None]
    expected = crf.decode(emissions, mask)
    found = crf.decoder().decode(emissions.numpy(), lengths)
    assert torch.equal(torch.from_numpy(found.labels), expected.labels)
    for name in ("marginals", "entity_scores"):
        own = torch.from_numpy(getattr(found, name))
        torch.testing.assert_close(own, getattr(expected, name), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("labels", [["O"], ["O", "B-PER", "I-PER"]])
def test_sentences_without_words_have_no_labels(labels):
    crf = LinearChainCRF(labels)
    for words in (0, 1):
        found = crf.decoder().decode(torch.zeros(2, words, len(labels)).numpy(), [0, 0])
        assert found.labels.shape == found.entity_scores.shape == (2, words)
        assert (found.labels == -100).all()
        assert not found.marginals.any()


@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
@pytest.mark.parametrize("constrain", [True, False])
@pytest.mark.parametrize("scale", [1.0, 200.0])
def test_a_spans_probability_is_the_sum_over_all_sequences_that_spell_it(scheme, constrain, scale):
    torch.manual_seed(0)
    types = ["PER", "LOC"] if scheme == "BIO" else ["PER"]
    crf = LinearChainCRF(scheme_labels(types, scheme), constrain)
    lengths = [5, 1, 3]
    emissions = scale * torch.randn(3, 5, len(crf.labels))
    mask = torch.arange(5) < torch.tensor(lengths)[:, None]
    spans = [
        (row, start, end)
        for row, words in enumerate(lengths)
        for end in range(1, words + 1)
        for start in range(end)
    ]
    found = crf.span_scores(emissions, mask, torch.tensor(spans))
    assert crf.types == types
    expected = [by_enumeration(crf, emissions[row].double(), lengths[row]) for row in range(3)]
    for (row, start, end), scores in zip(spans, found, strict=True):
        known = [expected[row].get((start, end, name), 0.0) for name in types]
        torch.testing.assert_close(scores, torch.tensor(known), atol=1e-6, rtol=1e-5)
    assert (found.sum(1) <= 1 + 1e-6).all()


def test_the_entities_that_are_decoded_score_the_same():
    torch.manual_seed(1)
    crf = LinearChainCRF(scheme_labels(["PER", "LOC", "ORG"], "BIOES"))
    emissions = 3 * torch.randn(4, 30, len(crf.labels))
    mask = torch.arange(30) < torch.tensor([30, 7, 0, 12])[:, None]
    decoding = crf.decode(emissions, mask)
    spans, own = [], []
    for row, ids in enumerate(decoding.labels.tolist()):
        for start, end, name in spans_from_labels([crf.labels[i] for i in ids if i >= 0]):
            spans.append((row, start, end))
            own.append((crf.types.index(name), decoding.entity_scores[row, start]))
    found = crf.span_scores(emissions, mask, torch.tensor(spans))
    for scores, (entity_type, score) in zip(found, own, strict=True):
        torch.testing.assert_close(scores[entity_type], score)


@pytest.mark.parametrize("score", [25.0, 50.0])
def test_no_spans_and_a_span_of_a_whole_long_text(score):
    torch.manual_seed(2)
    crf = LinearChainCRF(scheme_labels(["PER"]))
    emissions = torch.randn(2, 400, 3)
    mask = torch.ones(2, 400, dtype=torch.bool)
    assert crf.span_scores(emissions, mask, torch.empty(0, 3, dtype=torch.long)).shape == (0, 1)
    emissions[0, 0, 1] = emissions[0, 1:, 2] = score
    found = crf.span_scores(emissions, mask, torch.tensor([(1, 0, 1), (0, 0, 400)]))
    assert found[1, 0] > 0.999
    assert 0 < found[0, 0] < 1
