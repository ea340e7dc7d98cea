"""Temperatures and thresholds on data whose truth is known."""

import json
import math
import runpy
from pathlib import Path

import numpy as np
import pytest

from inference_2mner.calibration import (
    NONE_RETURNED,
    Scored,
    binomial_tail,
    calibrate,
    certified_logit,
    expected_calibration_error,
    fit_temperature,
    fit_thresholds,
    logits,
    lowest_threshold,
    returned,
    sigmoid,
)


def drawn(
    generator: np.random.Generator,
    sentences: int,
    overconfidence: float = 1.0,
    together: bool = False,
    types: tuple[str, ...] = ("PER",),
) -> Scored:
    """Sentences with 0 to 4 entities. The logit of a score is `overconfidence` times the logit of
    the probability that the entity is right.

    Args:
        together: the entities of a sentence are all right or all wrong, with one probability.
    """
    counts = generator.integers(0, 5, sentences)
    sentence = np.repeat(np.arange(sentences), counts)
    truth = generator.normal(2.0, 1.5, sentences)[sentence]
    luck = generator.random(sentences)[sentence]
    if not together:
        truth = generator.normal(2.0, 1.5, len(sentence))
        luck = generator.random(len(sentence))
    label = generator.choice(types, len(sentence))
    return Scored(
        sentence,
        label,
        sigmoid(truth * overconfidence),
        luck < sigmoid(truth),
        sentences,
        {one: int((label == one).sum()) + 100 for one in types},
    )


def test_calibrated_scores_are_left_as_they_are():
    scored = drawn(np.random.default_rng(0), 4000)
    assert fit_temperature(scored.score, scored.right) == pytest.approx(1, abs=0.05)
    assert expected_calibration_error(scored.score, scored.right) < 0.02


def test_overconfident_scores_are_calibrated_for_each_type():
    scored = drawn(np.random.default_rng(1), 4000, overconfidence=3.0, types=("PER", "LOC"))
    scored.score[scored.label == "LOC"] = sigmoid(logits(scored.score) / 3)[scored.label == "LOC"]
    fitted = fit_thresholds(scored)
    assert fitted["temperature"]["PER"] == pytest.approx(3, rel=0.1)
    assert fitted["temperature"]["LOC"] == pytest.approx(1, rel=0.1)
    error = fitted["expected_calibration_error"]
    assert error["before"] > 0.05
    assert error["after"] < 0.02


def test_a_type_with_few_entities_shares_the_temperature_of_all():
    fitted = fit_thresholds(drawn(np.random.default_rng(2), 30))
    assert set(fitted["temperature"]) == {""}
    assert calibrate([0.9], ["PER"], {"": 1.0}) == pytest.approx(0.9)


@pytest.mark.parametrize("right", [True, False])
def test_entities_that_are_all_right_or_all_wrong_have_a_finite_temperature(right):
    scores = np.array([0.7, 0.9, 1.0])
    found = calibrate(scores, ["PER"] * 3, {"": fit_temperature(scores, np.full(3, right))})
    assert np.isfinite(found).all()


def test_the_lowest_threshold_of_a_precision():
    scores = np.array([0.9, 0.8, 0.8, 0.5, 0.3])
    right = np.array([True, True, False, True, False])
    assert lowest_threshold(scores, right, 0.75) == pytest.approx(0.4)  # 3 of the first 4
    assert lowest_threshold(scores, right, 0.5) == 0.0
    assert lowest_threshold(scores, right, 0.9) == pytest.approx(0.85)
    assert lowest_threshold(scores[2:], right[2:], 0.9) is None
    assert lowest_threshold(scores[:0], right[:0], 0.9) is None


def test_the_binomial_tail_is_exact():
    expected = sum(math.comb(50, k) * 0.05**k * 0.95 ** (50 - k) for k in range(3))
    assert binomial_tail(2, 50, 0.05) == pytest.approx(expected)
    assert binomial_tail(0, 45, 0.05) == pytest.approx(0.95**45)
    assert binomial_tail(50, 50, 0.05) == pytest.approx(1)


@pytest.mark.parametrize("together", [False, True], ids=["independent", "together"])
def test_the_certified_risk_is_exceeded_in_one_of_ten_draws_at_most(together):
    """Also where the entities of a sentence are right or wrong together."""
    generator = np.random.default_rng(3)
    population = generator.normal(2.0, 1.5, 100_000)
    alpha, draws, exceeded, certified = 0.1, 200, 0, 0
    for _ in range(draws):
        logit = certified_logit(drawn(generator, 400, together=together), alpha, 0.9)
        if logit is not None:
            certified += 1
            exceeded += (1 - sigmoid(population[population >= logit])).mean() > alpha
    assert certified > draws / 2
    assert exceeded <= draws * 0.1 + 3 * math.sqrt(draws * 0.1 * 0.9)


def test_nothing_is_certified_where_nothing_can_be():
    generator = np.random.default_rng(4)
    noise = drawn(generator, 400)
    noise.score[:] = generator.random(len(noise.score))
    noise.right[:] = generator.random(len(noise.right)) < 0.7
    assert certified_logit(noise, 0.05, 0.9) is None
    assert fit_thresholds(noise, alphas=(0.05,))["risk"] == {"0.05": None}
    assert certified_logit(drawn(generator, 5), 0.01, 0.9) is None


def test_thresholds_for_a_risk_are_one_threshold_on_the_uncalibrated_score():
    scored = drawn(np.random.default_rng(5), 2000, overconfidence=2.0, types=("PER", "LOC"))
    fitted = fit_thresholds(scored, alphas=(0.1,))
    chosen = returned(scored, fitted, fitted["risk"]["0.1"])
    assert 0 < chosen.sum() < len(chosen)
    assert scored.score[chosen].min() > scored.score[~chosen].max()


def test_a_type_that_does_not_reach_a_precision_is_not_returned():
    scored = drawn(np.random.default_rng(7), 2000, types=("PER", "LOC"))
    scored.right[scored.label == "LOC"] = False
    fitted = fit_thresholds(scored, precisions=(0.9, 0.99999))
    thresholds = fitted["precision"]["0.9"]
    assert thresholds["LOC"] == NONE_RETURNED
    chosen = returned(scored, fitted, thresholds)
    assert set(scored.label[chosen]) == {"PER"}
    assert scored.right[chosen].mean() == pytest.approx(0.9, abs=0.01)


def test_a_precision_that_is_not_reached_is_none():
    scored = drawn(np.random.default_rng(8), 500)
    scored.right[:] = False
    assert fit_thresholds(scored, precisions=(0.9,))["precision"] == {"0.9": None}


def test_records_of_a_run_are_read():
    entity = {"label": "PER", "start": 0, "end": 1}
    records = [
        {"gold": [entity], "predicted": [{**entity, "score": 0.9}]},
        {"gold": [{**entity, "label": "LOC"}], "predicted": [{**entity, "score": 0.6}]},
        {"gold": [], "predicted": []},
    ]
    scored = Scored.of(records)
    assert scored.right.tolist() == [True, False]
    assert (scored.sentences, dict(scored.gold)) == (3, {"PER": 1, "LOC": 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alphas": (0,)}, "alpha is 0, expected a number between 0 and 1"),
        ({"precisions": (1.5,)}, "precision is 1.5"),
        ({"confidence": float("nan")}, "confidence is nan"),
    ],
)
def test_a_wanted_value_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        fit_thresholds(drawn(np.random.default_rng(6), 20), **options)


def test_sentences_without_entities_are_refused():
    with pytest.raises(ValueError, match="no predicted entity"):
        fit_thresholds(Scored.of([{"gold": [], "predicted": []}]))


def test_the_benchmark_reads_a_runs_predictions(tmp_path, monkeypatch, capsys):
    generator = np.random.default_rng(9)
    lines = []
    for number in range(400):
        score = generator.random()
        gold = {"label": "PER", "start": 0, "end": 1}
        predicted = {**gold, "label": "PER" if generator.random() < score else "LOC"}
        record = {"id": str(number), "tokens": ["Ana"], "gold": [gold]}
        lines.append(json.dumps({**record, "predicted": [{**predicted, "score": score}]}))
    (tmp_path / "predictions.jsonl").write_text("\n".join(lines), "utf-8")
    benchmark = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "thresholds.py"))
    options = ["--times", "5", "--alpha", "0.4", "--precision", "0.6"]
    benchmark["main"]([str(tmp_path / "predictions.jsonl"), *options])
    said = capsys.readouterr().out
    assert said.startswith("400 sentences, 400 predicted entities\n")
    assert "| alpha | a threshold in | risk | above alpha (at most 0.18) | recall kept |" in said
    assert "\n| 0.6 | 5 of 5 | 0." in said
