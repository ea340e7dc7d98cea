"""The report's command: a whole run is reported, a damaged one refused in one line."""

import json
import random
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest

from cli_2mner import main
from dataset_mmnerd.files import write_json, write_lines
from reporting_2mner.html_report import write_report
from reporting_2mner.runs import RunError
from tests.conftest import full_disk

from .test_model_card import RESULTS


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


@pytest.fixture
def refused(capsys) -> Callable[[Path], str]:
    """A function from a run's folder to the line with which the command ends on the error stream,
    its status 1."""

    def line_of(folder: Path) -> str:
        capsys.readouterr()
        assert main(["report", str(folder)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("2mner report: ")
        return line

    return line_of


def test_a_whole_run_is_reported(run):
    assert main(["report", str(run)]) == 0
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
def test_a_damaged_file_of_a_run_is_one_line_that_names_it(run, refused, name, content):
    assert main(["report", str(run)]) == 0
    before = (run / "report.html").read_bytes()
    (run / name).write_bytes(content.encode("latin-1"))
    assert f"{run / name}: found " in refused(run)
    assert (run / "report.html").read_bytes() == before


@pytest.mark.parametrize("name", [*DAMAGED, "predictions.jsonl"])
def test_an_enormous_file_of_a_run_is_not_read(run, refused, name):
    with (run / name).open("wb") as file:
        file.truncate(5 * 10**9)
    assert f"{run / name}: found 5,000,000,000 bytes, expected at most" in refused(run)


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
def test_a_bad_line_of_the_predictions_is_one_line_with_its_number(run, refused, line):
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


def test_a_full_disk_is_one_line_and_the_older_report_stays(run, refused):
    write_report(run)
    report = {path.name: path.read_bytes() for path in (run / "report").iterdir()}
    page = (run / "report.html").read_bytes()
    lines = (run / "predictions.jsonl").read_bytes().splitlines(keepends=True)
    (run / "predictions.jsonl").write_bytes(b"".join(lines[:2]))

    with full_disk(2000):
        line = refused(run)
    assert line.startswith("2mner report: [Errno 27] File too large: ")
    assert {path.name: path.read_bytes() for path in (run / "report").iterdir()} == report
    assert (run / "report.html").read_bytes() == page


def test_a_report_folder_that_cannot_be_made_is_one_line(run, refused):
    (run / "report").write_text("in the way")
    assert refused(run).endswith(f"{str(run / 'report')!r}")
