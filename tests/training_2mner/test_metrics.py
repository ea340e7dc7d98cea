"""Scores are those of `seqeval` in its strict mode, and each of their parts means what it says."""

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import classification_report
from seqeval.scheme import IOB2

from modeling_2mner.labels_2mner import spans_from_labels
from training_2mner.metrics import Counts, count_matches, score, summary

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-MISC", "I-MISC"]


@st.composite
def gold_and_predicted_labels(draw):
    """Random labels for a few sentences, invalid IOB2 sequences included, twice over."""
    lengths = draw(st.lists(st.integers(1, 7), min_size=1, max_size=5))
    label = st.sampled_from(LABELS)
    return tuple([draw(st.lists(label, min_size=n, max_size=n)) for n in lengths] for _ in range(2))


@given(gold_and_predicted_labels())
def test_scores_equal_strict_seqeval_on_any_sequence(sequences):
    gold, predicted = sequences
    spans = [[spans_from_labels(labels) for labels in side] for side in sequences]
    ours = score(*spans)
    if not any(spans[0]) and not any(spans[1]):
        assert ours["overall"] == Counts().figures()
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = classification_report(
            gold, predicted, mode="strict", scheme=IOB2, output_dict=True, zero_division=0
        )
    expected = {"overall": theirs.pop("micro avg")}
    theirs = {name: value for name, value in theirs.items() if " avg" not in name}
    assert set(ours["by_type"]) == set(theirs)
    pairs = [(ours["overall"], expected["overall"])]
    pairs += [(ours["by_type"][name], theirs[name]) for name in theirs]
    for mine, other in pairs:
        assert mine["precision"] == pytest.approx(other["precision"])
        assert mine["recall"] == pytest.approx(other["recall"])
        assert mine["f1"] == pytest.approx(other["f1-score"])
        assert mine["gold"] == other["support"]


def test_an_entity_one_word_too_long_is_wrong():
    figures = score([[(0, 2, "PER")]], [[(0, 3, "PER")]])["overall"]
    assert (figures["correct"], figures["predicted"], figures["gold"]) == (0, 1, 1)


def test_languages_are_scored_apart_and_their_mean_weighs_them_alike():
    gold = [[(0, 1, "PER")], [(0, 1, "PER")], [(0, 1, "PER")]]
    predicted = [[(0, 1, "PER")], [(0, 1, "PER")], []]
    scores = score(gold, predicted, languages=["en", "en", "de"])
    assert scores["by_language"]["en"]["f1"] == 1.0
    assert scores["by_language"]["de"]["f1"] == 0.0
    assert scores["mean_over_languages"]["f1"] == 0.5
    assert scores["overall"]["f1"] == pytest.approx(0.8)


def test_a_wrong_type_on_the_right_words_counts_for_the_boundaries():
    scores = score([[(0, 2, "PER")]], [[(0, 2, "ORG")]])
    assert scores["overall"]["f1"] == 0.0
    assert scores["boundaries"]["f1"] == 1.0
    assert scores["by_type"]["PER"]["recall"] == 0.0
    assert scores["by_type"]["ORG"]["precision"] == 0.0


def test_sentences_with_and_without_an_image_are_scored_apart():
    scores = score([[(0, 1, "PER")], [(0, 1, "PER")]], [[(0, 1, "PER")], []], has_image=[1, 0])
    assert scores["by_image"]["with"]["f1"] == 1.0
    assert scores["by_image"]["without"]["f1"] == 0.0


def test_image_decided_accuracy_looks_only_at_sentences_that_text_does_not_decide():
    gold = [[(0, 1, "PER")], [(1, 2, "LOC")], [(1, 2, "ORG")], [(0, 1, "MISC")]]
    predicted = [[], [(1, 2, "LOC")], [(1, 2, "LOC")], [(0, 2, "MISC")]]
    scores = score(gold, predicted, decidable_from_text=[True, False, False, False])
    assert scores["image_decided"] == {
        "accuracy": pytest.approx(1 / 3),
        "correct": 1,
        "entities": 3,
    }


def test_parts_without_their_information_are_left_out():
    scores = score([[(0, 1, "PER")]], [[]], decidable_from_text=[True])
    assert set(scores) == {"overall", "by_type", "boundaries"}


def test_no_entities_at_all_score_zero_and_do_not_divide_by_it():
    assert score([[], []], [[], []])["overall"]["f1"] == 0.0
    assert score([], [], languages=[])["mean_over_languages"]["f1"] == 0.0


def test_a_column_of_another_length_is_refused_by_name():
    with pytest.raises(ValueError, match="`languages` has 1 entries, expected one for each of 2"):
        score([[], []], [[], []], languages=["en"])


@given(*[st.lists(st.tuples(st.integers(0, 3), st.integers(4, 6)), max_size=6)] * 2)
def test_f1_is_the_harmonic_mean_of_precision_and_recall(gold, predicted):
    counts = count_matches(gold, predicted)
    product = counts.precision * counts.recall
    harmonic = 2 * product / (counts.precision + counts.recall) if product else 0.0
    assert counts.f1 == pytest.approx(harmonic)


def test_the_summary_is_flat_and_names_languages():
    scores = score(
        [[(0, 1, "PER")]], [[(0, 1, "PER")]], languages=["fr"], decidable_from_text=[False]
    )
    assert summary(scores) == {
        "precision": 1.0,
        "recall": 1.0,
        "f1": 1.0,
        "f1_fr": 1.0,
        "image_decided_accuracy": 1.0,
        "f1_both_views": 1.0,
    }


def test_both_views_count_alike_in_the_summary():
    gold = [[(0, 1, "PER")], [(0, 1, "LOC")]]
    flat = summary(score(gold, gold), text_view=score(gold, [gold[0], []]))
    assert flat["f1_text_view"] == pytest.approx(2 / 3)
    assert flat["f1_both_views"] == pytest.approx((1 + 2 / 3) / 2)
