"""The table says what the figures say, and fits a terminal."""

import json
import random
from copy import deepcopy
from pathlib import Path

import pytest

from dataset_mmnerd.files import write_json, write_lines
from reporting_2mner.html_report import write_report
from reporting_2mner.runs import RunError
from reporting_2mner.tables import main, score_table
from tests.conftest import full_disk
from training_2mner.metrics import score

from .test_model_card import RESULTS

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


# Damaged runs -------------------------------------------------------------------------------------


def record(number: int) -> dict:
    entity = {"label": "PER", "start": 0, "end": 1, "text": "Ana"}
    return {
        "id": f"en-{number}",
        "lang": "en",
        "tokens": ["Ana", "sings"],
        "gold": [entity],
        "predicted": [{**entity, "score": 0.5}],
    }


@pytest.fixture
def run(tmp_path) -> Path:
    """A run's folder with figures, records, a history and a learning curve."""
    folder = tmp_path / "run"
    folder.mkdir()
    results = deepcopy(RESULTS)
    results["recipe"]["data"]["learning_curve"] = [0, 10]
    write_json(folder / "metrics.json", results)
    write_lines(folder / "predictions.jsonl", [record(number) for number in range(4)])
    steps = [{"step": step, "loss": 1 / step, "eval_f1": 0.5} for step in (1, 2, 3)]
    write_json(folder / "trainer_state.json", {"log_history": steps})
    new = {"by_language": {"en": {"f1": 0.5}}, "overall": {"f1": 0.5}}
    points = [{"sentences": size, "steps": 1, "new": new, "old": None} for size in (0, 10)]
    write_json(folder / "learning_curve.json", {"settings": {}, "points": points})
    return folder


def refused(folder: Path) -> str:
    """The one line that the command says when it ends with an error."""
    with pytest.raises(SystemExit) as caught:
        main([str(folder)])
    line = str(caught.value.code)
    assert line.startswith("report: ") and "\n" not in line
    return line


def test_a_whole_run_is_reported(run):
    main([str(run)])
    assert (run / "report.html").stat().st_size > 10_000
    assert {"loss.png", "scores.png"} <= {path.name for path in (run / "report").iterdir()}


DAMAGED = {
    "metrics.json": ["", "{", "[]", "5", "{}", '{"test": 5}', '{"test": {"overall": {}}}', "\xff"],
    "trainer_state.json": ["{", "[]", "{}", '{"log_history": 5}', '{"log_history": [{"loss": 1}]}'],
    "learning_curve.json": ["{", "{}", '{"points": [5]}', '{"points": [{"sentences": 5}]}'],
}


@pytest.mark.parametrize(
    ("name", "content"), [(name, text) for name, texts in DAMAGED.items() for text in texts]
)
def test_a_damaged_file_of_a_run_is_one_line_that_names_it(run, name, content):
    main([str(run)])
    before = (run / "report.html").read_bytes()
    (run / name).write_bytes(content.encode("latin-1"))
    assert f"{run / name}: found " in refused(run)
    assert (run / "report.html").read_bytes() == before


BAD_RECORDS = {
    "{": "found no JSON",
    "": "found no JSON",
    "\xff": "found no JSON",
    "5": "found 5, expected an object",
    "{}": "id: found None, expected a string",
    '{"id": "a", "lang": "en", "tokens": "Ana"}': "tokens: found 'Ana', expected a list of strings",
    '{"id": "a", "lang": "en", "tokens": []}': "gold: found None, expected entities with label",
}
ENTITIES = {
    "gold": [{"label": "PER", "start": 0, "end": 3}, {"label": 5, "start": 0, "end": 1}, 5],
    "predicted": [{"label": "PER", "start": 0, "end": 1}, {"label": "PER", "start": 1, "end": 1}],
}
BAD_RECORDS |= {
    json.dumps(record(0) | {name: [entity]}): f"{name}: found "
    for name, entities in ENTITIES.items()
    for entity in entities
}
BAD_RECORDS[json.dumps(record(0) | {"controls": 5})] = "controls: found 5, expected an object"


@pytest.mark.parametrize("line", BAD_RECORDS, ids=range(len(BAD_RECORDS)))
def test_a_bad_line_of_the_predictions_is_one_line_with_its_number(run, line):
    path = run / "predictions.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], line.encode("latin-1") + b"\n", *lines[1:]]))
    assert f"{path}, line 2: {BAD_RECORDS[line]}" in refused(run)


def broken(value, place: random.Random):
    """A copy of a JSON value in which one part, anywhere, is missing or of another kind."""
    if isinstance(value, dict) and value and place.random() < 0.9:
        key = place.choice([*value])
        rest = {name: part for name, part in value.items() if name != key}
        return rest if place.random() < 0.2 else value | {key: broken(value[key], place)}
    return place.choice([None, "text", -1, [], {}, [None], 10**400])


def test_figures_that_are_missing_or_of_another_kind_never_end_in_a_traceback(run):
    for seed in range(40):
        damaged = broken(json.loads((run / "metrics.json").read_text()), random.Random(seed))
        (run.parent / "damaged").mkdir(exist_ok=True)
        folder = run.parent / "damaged"
        (folder / "metrics.json").write_text(json.dumps(damaged))
        try:
            write_report(folder)
        except RunError as error:
            assert str(error).startswith(f"{folder / 'metrics.json'}: found "), seed


def test_a_full_disk_is_one_line_and_the_older_report_stays(run):
    write_report(run)
    report = {path.name: path.read_bytes() for path in (run / "report").iterdir()}
    page = (run / "report.html").read_bytes()
    lines = (run / "predictions.jsonl").read_bytes().splitlines(keepends=True)
    (run / "predictions.jsonl").write_bytes(b"".join(lines[:2]))

    with full_disk(2000):
        line = refused(run)
    assert line.startswith("report: [Errno 27] File too large: ")
    assert {path.name: path.read_bytes() for path in (run / "report").iterdir()} == report
    assert (run / "report.html").read_bytes() == page


def test_a_report_folder_that_cannot_be_made_is_one_line(run):
    (run / "report").write_text("in the way")
    assert refused(run).endswith(f"{str(run / 'report')!r}")
