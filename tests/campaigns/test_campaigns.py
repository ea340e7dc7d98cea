"""The harness finds what it is there to find; and a few cases of each surface in every test run."""

from pathlib import Path

import pytest

from tests.campaigns.cases import ACCEPTED, FINDING, REFUSED, WARNED
from tests.campaigns.files import FORMS, READINGS, simple_reading
from tests.campaigns.runner import Tally, replay, run_campaign, table
from tests.campaigns.surfaces import KILLS, SURFACES, planned

SEED = 11
QUICK = {
    "readers": 30,
    "archives": 15,
    "images": 60,
    "models": 10,
    "inputs": 25,
    "folders": 5,
    "recipes": 20,
    "servers": 25,
}


EXAMPLE = {"example": "tests.campaigns.example:Example"}


@pytest.fixture(scope="module")
def example(tmp_path_factory) -> tuple[Tally, Path]:
    """A campaign over `Example`, and the folder of its findings."""
    findings = tmp_path_factory.mktemp("findings")
    tallies = run_campaign(EXAMPLE, {"example": 30}, seed=SEED, workers=1, findings=findings)
    return tallies["example"], findings


def test_whatever_is_neither_accepted_nor_refused_in_one_clear_line_is_a_finding(example):
    tally, _ = example
    found = {case.number: outcome.detail for case, outcome in tally.findings}
    assert sorted(number for number in found if number < 12) == list(range(3, 12))
    assert "not one line" in found[3]
    assert "characters" in found[4]
    assert "control characters" in found[5]
    assert "names nothing of the input" in found[6]
    assert "KeyError" in found[7]
    assert "Timeout" in found[8]
    assert "MemoryError" in found[9]
    assert "Aborted" in found[10]
    assert "subprocess.Popen" in found[11]
    assert (tally.counts[WARNED], tally.counts[REFUSED]) == (1, 1)
    assert tally.counts.total() == 30


def test_a_finding_is_shrunk_to_the_edits_that_it_takes_and_can_be_replayed(example):
    tally, findings = example
    shrunk = [case for case, _ in tally.findings if case.number > 11]
    assert shrunk
    assert all(case.edits == (2,) for case in shrunk[:3])
    outcome = replay(findings / f"example-{SEED}-{shrunk[0].number}.json", EXAMPLE)
    assert outcome.kind == FINDING
    assert "the third edit" in outcome.detail


def test_the_table_has_a_line_for_each_surface_and_one_for_all(example):
    tally, _ = example
    lines = table({"example": tally}).splitlines()
    numbers = [tally.counts[kind] for kind in (ACCEPTED, WARNED, REFUSED, FINDING)]
    assert lines[0] == "| surface | cases | accepted | warned | refused | findings |"
    assert lines[2] == f"| example | 30 | {' | '.join(map(str, numbers))} |"
    assert lines[3] == lines[2].replace("example", "all")


def test_the_cases_are_shared_out_to_the_last():
    assert sum(planned(SURFACES, 12_000).values()) == 12_000
    assert sum(planned(KILLS, 100).values()) == 100
    assert planned({}, 5) == {}


@pytest.mark.parametrize("form", sorted(FORMS))
def test_the_simple_readings_find_all_sentences_of_the_sound_files(form):
    files = FORMS[form]()
    texts = {name: content for name, content in files.items() if Path(name).suffix in READINGS}
    found = [sentence for name in texts for sentence in simple_reading(name, texts[name])]
    assert len(found) >= 2
    assert all(len(tokens) == len(tags) for tokens, tags in found)


# The time is that of loading torch, of building a model, and of training none.
def test_a_few_mutated_inputs_of_each_surface_end_well():
    chosen = {name: SURFACES[name] for name in QUICK}
    tallies = run_campaign(chosen, QUICK, seed=SEED, workers=1)
    found = {name: tally.findings for name, tally in tallies.items() if tally.findings}
    assert found == {}


def test_a_build_that_is_killed_and_done_again_ends_as_one_that_is_not():
    name = "killed builds"
    (tally,) = run_campaign({name: KILLS[name]}, {name: 3}, seed=SEED, workers=1).values()
    assert tally.findings == []
    assert tally.counts[ACCEPTED] == 3
