"""Thresholds of a call, and those stored with a model."""

import copy
import json
import math

import pytest
import torch

from modeling_2mner.crf_2mner import LinearChainCRF, fingerprint_of
from modeling_2mner.thresholds_2mner import (
    Limits,
    limits_from_file,
    limits_from_numbers,
    parse_wish,
)

SAVED = {
    "version": 1,
    "weights": "7f",
    "views": ["image_text"],
    "temperature": {"": 1.5, "PER": 1.2},
    "precision": {"0.95": {"": 0.81, "PER": 0.77}, "0.9": {"": 0.6}},
    "risk": {"0.05": {"": 0.9}},
}


@pytest.fixture
def saved(tmp_path):
    def write(content):
        path = tmp_path / "thresholds.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def test_a_number_holds_for_all_types_and_a_dictionary_for_its_own():
    for_all = limits_from_numbers(0.5, ["PER", "LOC"])
    assert for_all.passes(0.5, "PER")
    assert not for_all.passes(0.49, "LOC")
    one = limits_from_numbers({"PER": 1}, ["PER", "LOC"])
    assert one.passes(0.0, "LOC")
    assert not one.passes(0.99, "PER")
    assert one.calibrated(0.3, "PER") == 0.3


@pytest.mark.parametrize("score", [0.0, 1e-30, 0.2, 0.5, 0.97, 1.0])
def test_a_calibrated_score_is_the_sigmoid_of_the_logit_by_the_temperature(score):
    found = Limits({}, {"": 2.5}).calibrated(score, "PER")
    logit = math.log(score / (1 - score)) if 0 < score < 1 else math.copysign(1e4, score - 0.5)
    assert found == pytest.approx(1 / (1 + math.exp(-max(-700, logit / 2.5))), abs=1e-12)


def test_stored_thresholds_are_those_of_the_type_or_of_all(saved):
    limits = limits_from_file(saved(SAVED), *parse_wish("precision=0.950"), "me/model", "7f")
    assert (limits.passes(0.78, "PER"), limits.passes(0.78, "LOC")) == (True, False)
    assert limits.calibrated(0.9, "PER") > limits.calibrated(0.9, "LOC")
    assert limits_from_file(saved(SAVED), "risk", 0.05, "", "7f").least == {"": 0.9}


def test_without_the_file_or_an_entry_the_message_names_the_command(saved):
    command = r"make it with `2mner thresholds me/model --validation_files FILES`"
    with pytest.raises(ValueError, match=r"precision=0\.95 needs thresholds\.json .*" + command):
        limits_from_file(None, "precision", 0.95, "me/model", "7f")
    with pytest.raises(ValueError, match=r"no precision=0\.97, found 0\.95, 0\.9: " + command):
        limits_from_file(saved(SAVED), "precision", 0.97, "me/model", "7f")
    with pytest.raises(ValueError, match=r"no risk=0\.05, found none: make"):
        limits_from_file(saved({"version": 1, "weights": "7f"}), "risk", 0.05, "m", "7f")


def test_thresholds_of_other_weights_are_refused_with_the_command_that_makes_them_anew(saved):
    for content in (SAVED, {**SAVED, "weights": None}, {"version": 1}):
        with pytest.raises(
            ValueError, match=r"json was made for other weights .*`2mner thresholds m"
        ):
            limits_from_file(saved(content), "risk", 0.05, "m", "80")


def test_a_fingerprint_changes_with_any_parameter_and_any_label():
    torch.manual_seed(0)
    crf = LinearChainCRF(["O", "B-PER", "I-PER"])
    same = copy.deepcopy(crf)
    assert fingerprint_of(same) == fingerprint_of(crf)
    found = {fingerprint_of(crf), fingerprint_of(crf.with_labels(["O", "B-LOC", "I-LOC"]))}
    for name, _ in crf.named_parameters():
        other = copy.deepcopy(crf)
        with torch.no_grad():
            other.get_parameter(name).view(-1)[-1] += 1e-6
        found.add(fingerprint_of(other))
    assert len(found) == 5


def test_a_level_that_no_threshold_reaches_is_said_and_leaves_the_others(saved):
    file = saved(SAVED | {"risk": {"0.01": None, "0.05": {"": 0.9}}})
    with pytest.raises(ValueError, match=r"json: no threshold reaches risk=0\.01 on"):
        limits_from_file(file, "risk", 0.01, "m", "7f")
    assert limits_from_file(file, "risk", 0.05, "m", "7f").least == {"": 0.9}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "thresholds.json: no JSON: "),
        ("[" * 10**5, "no JSON: "),
        ("[1]", r"version is \[1\], expected 1"),
        ({"version": 2}, "version is 2, expected 1"),
        (SAVED | {"precision": 7}, "precision is 7, expected levels"),
        (SAVED | {"precision": {"0.9": 0.5}}, r"precision\['0.9'\] is 0.5, expected a number for"),
        (SAVED | {"risk": {"low": {"": 0.9}}}, "risk has 'low', expected a number"),
        (SAVED | {"risk": {"0.1": {"": "x"}}}, r"risk\['0.1'\]\[''\] is 'x', expected a number"),
        (SAVED | {"risk": {"0.1": {"": math.nan}}}, r"\[''\] is nan, expected 0 to 2"),
        (SAVED | {"temperature": {"": 0}}, r"temperature\[''\] is 0, expected 0.001 to 1000"),
        (SAVED | {"temperature": {"PER": True}}, r"temperature\['PER'\] is True, expected a num"),
        (" " * (2**20 + 1), "1048577 bytes, expected at most 1048576"),
    ],
)
def test_a_damaged_file_is_refused_by_its_name_and_field(saved, content, message):
    with pytest.raises(ValueError, match=message) as found:
        limits_from_file(saved(content), "precision", 0.95, "m", "7f")
    assert "thresholds.json" in str(found.value)


@pytest.mark.parametrize("wish", ["", "precision", "precision=2", "recall=0.9", "risk=0.05x"])
def test_other_words_are_refused(wish):
    with pytest.raises(ValueError, match="expected a number from 0 to 1, one for each type, 'prec"):
        parse_wish(wish)
