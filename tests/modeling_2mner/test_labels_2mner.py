"""The label schemes BIO and BIOES."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.scheme import IOB2, IOBES, Entities

from modeling_2mner.labels_2mner import (
    labels_from_spans,
    may_end,
    may_follow,
    may_start,
    repair_labels,
    scheme_labels,
    spans_from_labels,
    split_label,
)

any_bio = st.lists(st.sampled_from(scheme_labels(["PER", "LOC"], "BIO")), max_size=12)


@given(any_bio)
def test_spans_are_those_of_seqeval_in_strict_mode(labels):
    strict = Entities([labels], IOB2).entities[0]
    assert spans_from_labels(labels) == [(found.start, found.end, found.tag) for found in strict]


@given(any_bio)
def test_bioes_says_the_same_as_repaired_bio_and_goes_back(labels):
    bio, bioes = repair_labels(labels), repair_labels(labels, "BIOES")
    strict = Entities([bioes], IOBES).entities[0]
    spans = spans_from_labels(bio)
    assert spans == [(found.start, found.end, found.tag) for found in strict]
    assert spans_from_labels(bioes) == spans
    assert repair_labels(bioes) == bio == labels_from_spans(spans, len(labels))


def test_labels_of_a_scheme():
    assert scheme_labels(["PER"]) == ["O", "B-PER", "I-PER"]
    assert scheme_labels(["PER"], "BIOES") == ["O", "B-PER", "I-PER", "E-PER", "S-PER"]
    with pytest.raises(ValueError, match="Unknown label scheme 'IO'"):
        scheme_labels(["PER"], "IO")


@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
def test_every_well_formed_sequence_is_allowed_and_allowed_ones_lose_no_word(scheme):
    """What the constraints allow is exactly what spans can spell."""
    labels = scheme_labels(["X"], scheme)
    sequences = [[]]
    for _round in range(4):
        sequences = [[*sequence, label] for sequence in sequences for label in labels]
        for sequence in sequences:
            allowed = (
                may_start(sequence[0])
                and may_end(sequence[-1], scheme == "BIOES")
                and all(
                    may_follow(one, two, scheme == "BIOES")
                    for one, two in itertools.pairwise(sequence)
                )
            )
            spelled = labels_from_spans(spans_from_labels(sequence), len(sequence), scheme)
            assert allowed == (spelled == sequence)


@pytest.mark.parametrize("label", ["PER", "B-", "X-PER", "", "BPER"])
def test_what_is_no_label_is_refused(label):
    with pytest.raises(ValueError, match="is not a label"):
        split_label(label)


def test_a_type_may_hold_hyphens():
    assert split_label("B-creative-work") == ("B", "creative-work")


@pytest.mark.parametrize(
    ("labels", "repaired"),
    [
        ("I-PER I-PER O", "B-PER I-PER O"),
        ("I-PER B-PER I-PER", "B-PER B-PER I-PER"),  # IOB1: two persons side by side
        ("B-PER I-LOC I-LOC", "B-PER B-LOC I-LOC"),
        ("O I-A-B I-A-B", "O B-A-B I-A-B"),
        ("O E-PER S-PER I-PER", "O B-PER B-PER B-PER"),
        ("B-PER ? I-PER", "B-PER ? I-PER"),
        ("? I-PER I-LOC", "? I-PER B-LOC"),
        ("", ""),
    ],
)
def test_iob1_and_invalid_iob2_are_repaired_beside_known_words(labels, repaired):
    found = repair_labels([None if label == "?" else label for label in labels.split()])
    assert found == [None if label == "?" else label for label in repaired.split()]


def test_an_entity_in_bioes_beside_an_unknown_word_stays_open():
    assert repair_labels(["B-X", None, "I-X"], "BIOES") == ["B-X", None, "E-X"]
    assert repair_labels(["I-X", "I-X", "O"], "BIOES") == ["B-X", "E-X", "O"]


@given(st.lists(st.sampled_from(scheme_labels(["PER", "LOC"], "BIOES")), max_size=12))
def test_repair_keeps_every_word_s_type_and_is_done_after_one_go(labels):
    for scheme in ("BIO", "BIOES"):
        repaired = repair_labels(labels, scheme)
        assert repair_labels(repaired, scheme) == repaired
        assert [label[1:] for label in repaired] == [label[1:] for label in labels]
