"""The table says what the figures say, and fits a terminal."""

import pytest

from reporting_2mner.tables import score_table
from training_2mner.metrics import score

GOLD = [[(0, 1, "PER")], [(0, 1, "LOC")], [(1, 2, "LOC")]]
SAID = [[(0, 1, "PER")], [(0, 1, "LOC")], [(1, 2, "PER")]]


def scores(predicted, given: int) -> dict:
    languages, images, decidable = ["en", "en", "de"], [True, False, True], [True, True, False]
    found = score(GOLD, predicted, languages, images, decidable)
    return {**found, "images": {"given": given, "read": given, "unreadable": 0}}


@pytest.fixture
def results() -> dict:
    test, none, others = scores(GOLD, 2), scores(SAID, 0), scores(SAID, 2)
    controls = {"real": test, "none": none, "shuffled": others, "blank": others}
    return {"test": test, "controls": controls}


def test_the_whole_table_reads_like_this(results):
    assert score_table(results).splitlines() == [
        "test                 precision  recall     F1  entities",
        "-------------------------------------------------------",
        "overall                  100.0   100.0  100.0         3",
        "boundaries alone         100.0   100.0  100.0         3",
        "-------------------------------------------------------",
        "de                       100.0   100.0  100.0         1",
        "en                       100.0   100.0  100.0         2",
        "mean over languages      100.0   100.0  100.0",
        "-------------------------------------------------------",
        "LOC                      100.0   100.0  100.0         2",
        "PER                      100.0   100.0  100.0         1",
        "-------------------------------------------------------",
        "with image               100.0   100.0  100.0         2",
        "without image            100.0   100.0  100.0         1",
        "",
        "Of 1 entities that only their image can type, 100.0 % were found and typed right.",
        "",
        "each sentence with     F1  boundaries  image-decided  images read",
        "-----------------------------------------------------------------",
        "its own image       100.0       100.0          100.0       2 of 2",
        "no image             66.7       100.0            0.0       0 of 0",
        "another's image      66.7       100.0            0.0       2 of 2",
        "blank image          66.7       100.0            0.0       2 of 2",
    ]


def test_the_text_view_stands_beside_the_f1(results):
    results["text_view"] = results["controls"]["none"]
    lines = score_table(results).splitlines()
    assert lines[0] == "test                 precision  recall     F1  text view F1  entities"
    assert lines[2] == "overall                  100.0   100.0  100.0          66.7         3"
    assert lines[5] == "de                       100.0   100.0  100.0           0.0         1"


def test_a_type_that_the_text_view_never_names_scores_nothing_there():
    said, alone = [[(0, 1, "ORG")]], [[]]
    results = {"test": score([[]], said, ["en"]), "text_view": score([[]], alone, ["en"])}
    assert score_table(results).splitlines()[-1].split() == ["ORG", *["0.0"] * 4, "0"]


def test_parts_that_are_not_there_leave_no_trace():
    table = score_table({"test": score(GOLD, SAID, ["en"] * 3)})
    assert "mean over languages" not in table
    assert "image" not in table


def test_the_table_fits_a_terminal(results):
    results["test"]["by_type"]["A type with a rather long name"] = results["test"]["overall"]
    assert max(map(len, score_table(results).splitlines())) <= 100
