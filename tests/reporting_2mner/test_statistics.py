"""Statistics against brute force, and against cases whose answer is known."""

from itertools import product
from math import comb, erfc, sqrt

import numpy as np
import pytest

from reporting_2mner.comparison import bootstrap_seeds
from reporting_2mner.statistics import (
    calibrate,
    compare,
    confuse,
    f1,
    f1_interval,
    holm,
    interval,
    over_seeds,
    resample,
    resampled_f1,
    sentence_counts,
)
from training_2mner.metrics import score

GOLD = [[(0, 2, "PER")], [(0, 1, "LOC"), (3, 4, "ORG")], [], [(2, 5, "LOC")], [(1, 2, "PER")]]
SAID = [[(0, 2, "PER")], [(0, 1, "ORG"), (3, 4, "ORG")], [(0, 1, "PER")], [(2, 4, "LOC")], []]


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(19)


def test_counts_of_sentences_add_up_to_the_score():
    counts = sentence_counts(GOLD, SAID)
    assert counts.tolist() == [[1, 1, 1], [1, 2, 2], [0, 1, 0], [0, 1, 1], [0, 0, 1]]
    figures = score(GOLD, SAID)
    assert f1(counts.sum(axis=0)) == figures["overall"]["f1"]
    for label, expected in figures["by_type"].items():
        assert f1(sentence_counts(GOLD, SAID, label).sum(axis=0)) == expected["f1"]


def test_the_f1_of_no_entities_is_zero():
    assert f1(np.zeros((2, 3), dtype=int)).tolist() == [0, 0]
    assert sentence_counts([], []).shape == (0, 3)


def test_resamples_are_distributed_as_all_draws_with_replacement(generator):
    """All 5^5 draws of five sentences, two of which have the same counts, one by one."""
    counts = np.array([[1, 1, 1], [1, 1, 1], [1, 2, 2], [0, 1, 0], [0, 0, 3]])
    every = np.array([counts[list(draw)].sum(axis=0) for draw in product(range(5), repeat=5)])
    drawn = resample(counts, generator, 60_000)
    values, times = np.unique(every, axis=0, return_counts=True)
    known = {tuple(value): count / len(every) for value, count in zip(values, times, strict=True)}
    values, times = np.unique(drawn, axis=0, return_counts=True)
    found = {tuple(value): count / len(drawn) for value, count in zip(values, times, strict=True)}
    assert found.keys() <= known.keys()
    # The frequency of each sum is within five standard errors of its probability.
    for value, probability in known.items():
        spread = sqrt(probability * (1 - probability) / len(drawn))
        assert abs(found.get(value, 0) - probability) < 5 * spread


def test_an_interval_is_the_exact_one_of_a_binomial(generator):
    """With one entity in each sentence F1 is a mean of zeros and ones: a binomial over `n`."""
    n, right = 40, 30
    counts = np.array([[index < right, 1, 1] for index in range(n)], dtype=int)
    found = f1_interval(counts, generator)
    chances = [comb(n, k) * (right / n) ** k * (1 - right / n) ** (n - k) for k in range(n + 1)]
    total = np.cumsum(chances)
    assert found.value == 0.75
    assert found.low == np.searchsorted(total, 0.025) / n
    assert found.high == np.searchsorted(total, 0.975) / n


def test_the_same_seed_gives_the_same_interval():
    counts = sentence_counts(GOLD, SAID)
    first, second = (f1_interval(counts, np.random.default_rng(3)) for _ in range(2))
    assert first == second
    assert first.low <= first.value <= first.high


def test_systems_are_scored_on_the_same_sentences(generator):
    counts = sentence_counts(GOLD, SAID)
    samples = resampled_f1(np.hstack([counts, counts]), generator)
    assert samples.shape[1] == 2
    assert (samples[:, 0] == samples[:, 1]).all()


def test_nothing_to_resample_has_the_score_of_nothing(generator):
    assert f1_interval(np.zeros((0, 3), dtype=int), generator) == interval(0.0, np.zeros(1))


# Comparing ----------------------------------------------------------------------------------------


def one_entity_each(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Counts of two systems that are right or wrong on sentences of one entity each."""
    ones = np.ones_like(first)
    return np.stack([first, ones, ones, second, ones, ones], axis=1).astype(int)


def compared(counts: np.ndarray, generator: np.random.Generator):
    first, second = f1(counts.reshape(-1, 2, 3).sum(axis=0))
    return compare(first, second, resampled_f1(counts, generator))


def test_p_is_that_of_all_resamples(generator):
    """Six sentences, two of them better with the second system: all 6^6 resamples one by one."""
    first, second = np.array([1, 0, 0, 1, 0, 1]), np.array([1, 1, 1, 1, 0, 1])
    gains = second - first
    shifts = [abs(gains[list(draw)].mean() - 1 / 3) for draw in product(range(6), repeat=6)]
    exact = np.mean(np.array(shifts) >= 1 / 3 - 1e-12)
    found = compared(one_entity_each(first, second), generator)
    assert found.difference.value == pytest.approx(1 / 3)
    assert found.p == pytest.approx(exact, abs=0.03)


def test_p_of_many_sentences_is_that_of_the_normal_distribution(generator):
    """The mean of many differences is normal: z is the mean over its standard error."""
    first = np.array([1] * 400 + [0] * 160 + [1] * 130 + [0] * 310)
    second = np.array([1] * 400 + [1] * 160 + [0] * 130 + [0] * 310)
    gains = second - first
    z = gains.mean() / (gains.std() / sqrt(len(gains)))
    found = compared(one_entity_each(first, second), generator)
    assert found.p == pytest.approx(erfc(z / sqrt(2)), abs=0.02)
    assert 0.05 < found.p < 0.12
    assert found.difference.low < 0 < found.difference.high


def test_p_does_not_depend_on_which_system_comes_first(generator):
    first, second = np.array([1] * 50 + [0] * 30), np.array([1] * 60 + [0] * 20)
    there = compared(one_entity_each(first, second), np.random.default_rng(1))
    back = compared(one_entity_each(second, first), np.random.default_rng(1))
    assert there.difference.value == -back.difference.value
    assert there.p == pytest.approx(back.p, abs=0.02)


def test_equal_systems_do_not_differ(generator):
    same = np.array([1, 0, 1, 1])
    found = compared(one_entity_each(same, same), generator)
    assert (found.difference.value, found.p) == (0, 1)


def test_a_difference_that_chance_never_makes_is_still_not_impossible(generator):
    found = compared(one_entity_each(np.zeros(300), np.ones(300)), generator)
    assert found.difference.value == 1
    assert found.p == pytest.approx(1 / 5001)


def test_systems_that_differ_by_chance_alone_are_seldom_told_apart():
    """Under the null hypothesis p falls below 0.1 in about a tenth of all comparisons."""
    seeds = np.random.default_rng(7).spawn(300)
    ps = [compared(one_entity_each(*seed.integers(0, 2, (2, 120))), seed).p for seed in seeds]
    assert 0.05 < np.mean(np.array(ps) < 0.1) < 0.16


# Seeds --------------------------------------------------------------------------------------------


def test_sentences_and_seeds_are_resampled_as_in_all_draws_of_both(generator):
    """Two sentences, two seeds, two systems: 4 draws of the sentences times 4 of the seeds."""
    right = np.array([[[1, 1], [0, 1]], [[1, 0], [1, 1]]])  # [seeds, systems, sentences]
    counts = np.stack([right, np.ones_like(right), np.ones_like(right)], axis=-1)
    every = [
        tuple(right[list(seeds)][:, :, list(sentences)].mean(axis=(0, 2)))
        for sentences in product(range(2), repeat=2)
        for seeds in product(range(2), repeat=2)
    ]
    drawn = bootstrap_seeds(counts, generator)
    assert drawn.values.tolist() == [0.75, 0.75]  # of 1 and 0.5, of 0.5 and 1
    values, times = np.unique(drawn.samples, axis=0, return_counts=True)
    assert {tuple(value) for value in values} == set(every)
    for value, count in zip(values, times, strict=True):
        probability = every.count(tuple(value)) / 16
        assert abs(count / len(drawn.samples) - probability) < 5 * sqrt(
            probability / len(drawn.samples)
        )
    assert not drawn.comparison(0, 1).difference.value


def test_one_seed_adds_nothing_to_the_spread(generator):
    scores = generator.random((100, 1, 3))
    assert np.array_equal(over_seeds(scores, generator), scores[:, 0])


def test_holm_by_hand():
    """0.01 of three is 0.03; 0.04 of the two that are left 0.08; 0.05 is not below the one before;
    and no more than 1."""
    assert holm([0.05, 0.01, 0.04]) == pytest.approx([0.08, 0.03, 0.08])
    assert holm([0.7, 0.8]) == [1, 1]
    assert holm([]) == []


def test_many_sentences_are_drawn_a_few_resamples_at_a_time(monkeypatch):
    counts = np.arange(30).reshape(10, 3)
    at_once = resample(counts, np.random.default_rng(1), 50)
    monkeypatch.setattr("reporting_2mner.statistics.MOST_DRAWS", 70)
    assert np.array_equal(resample(counts, np.random.default_rng(1), 50), at_once)


# Calibration --------------------------------------------------------------------------------------


def test_calibration_of_a_case_done_by_hand():
    found = calibrate([0.95, 0.91, 0.55, 0.6, 0.1, 0.0], [True, False, True, True, False, False])
    filled = {round(part.high, 1): part for part in found.bins if part.count}
    assert {high: part.count for high, part in filled.items()} == {0.1: 2, 0.6: 2, 1.0: 2}
    assert filled[1.0].confidence == pytest.approx(0.93)
    assert filled[1.0].accuracy == 0.5
    # (2 x |0.05 - 0| + 2 x |0.575 - 1| + 2 x |0.93 - 0.5|) / 6
    assert found.error == pytest.approx((2 * 0.05 + 2 * 0.425 + 2 * 0.43) / 6)


def test_calibration_agrees_with_a_loop_over_predictions(generator):
    sure = generator.random(500)
    right = generator.random(500) < sure**2
    found = calibrate(sure, right)
    error = 0.0
    for low in range(10):
        inside = [index for index in range(500) if low / 10 < sure[index] <= (low + 1) / 10]
        error += abs(sum(sure[inside]) - sum(right[inside]))
    assert found.error == pytest.approx(error / 500)
    assert sum(part.count for part in found.bins) == 500


def test_a_model_that_knows_what_it_knows_has_hardly_any_error(generator):
    sure = generator.random(50_000)
    assert calibrate(sure, generator.random(50_000) < sure).error < 0.01


def test_calibration_of_nothing():
    found = calibrate([], [])
    assert np.isnan(found.error)
    assert [part.count for part in found.bins] == [0] * 10


# Confusion ----------------------------------------------------------------------------------------


def test_confusion_of_a_case_done_by_hand():
    found = confuse(GOLD, SAID)
    assert found.types == ("LOC", "ORG", "PER")
    assert found.matrix.tolist() == [
        # LOC ORG PER missed
        [0, 1, 0, 1],
        [0, 1, 0, 0],
        [0, 0, 1, 1],
        [1, 0, 1, 0],  # spurious
    ]
    # (2, 5) was missed but (2, 4) found; nothing was found near (1, 2) of the last sentence.
    assert found.overlapping == 1


def test_confusion_adds_up_to_the_score():
    found, figures = confuse(GOLD, SAID), score(GOLD, SAID)
    for place, label in enumerate(found.types):
        expected = figures["by_type"][label]
        assert found.matrix[place, place] == expected["correct"]
        assert found.matrix[place].sum() == expected["gold"]
        assert found.matrix[:, place].sum() == expected["predicted"]


def test_confusion_of_nothing():
    found = confuse([[]], [[]])
    assert found.types == ()
    assert found.matrix.tolist() == [[0]]
