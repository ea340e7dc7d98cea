"""Runs are compared on the sentences that they share, or not at all."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dataset_mmnerd.files import write_json, write_lines
from reporting_2mner.comparison import compare_runs, paired_records
from reporting_2mner.runs import Run, RunError, read_run
from reporting_2mner.tables import comparison_table

ROOT = Path(__file__).parents[2]


def entity(start: int, end: int, label: str, score: float | None = None) -> dict:
    found = {"label": label, "start": start, "end": end, "text": "x"}
    return found if score is None else {**found, "score": score}


def record(number: int, lang: str, said: str | None, **controls: str) -> dict:
    """A sentence of three words with one PER; `said` is what is predicted for its words."""

    def predicted(label: str | None) -> list[dict]:
        return [] if label is None else [entity(0, 1, label, 0.9)]

    found = {
        "id": f"{lang}-{number}",
        "lang": lang,
        "tokens": ["Ana", "lives", str(number)],
        "gold": [entity(0, 1, "PER")],
        "predicted": predicted(said),
    }
    if controls:
        found["controls"] = {name: predicted(label) for name, label in controls.items()}
    return found


def run_of(name: str, records: list[dict], images: bool = False) -> Run:
    test = {"images": {}} if images else {}
    return Run(Path(name), {"test": test}, records, [])


@pytest.fixture
def runs() -> list[Run]:
    """The second is right where the first is, and on ten sentences more."""
    first = [record(n, "en" if n < 20 else "de", "PER" if n < 30 else "LOC") for n in range(40)]
    second = [record(n, "en" if n < 20 else "de", "PER") for n in range(40)]
    return [run_of("a", first), run_of("b", second[::-1])]


def test_sentences_are_paired_by_their_ids_in_any_order(runs):
    first, second = paired_records(runs)
    assert [row["id"] for row in first] == [row["id"] for row in second]


def test_sentences_that_share_an_id_are_paired_in_their_order():
    rows = [record(0, "en", "PER"), record(0, "en", "LOC")]
    first, second = paired_records([run_of("a", rows), run_of("b", list(rows))])
    assert first == second == rows


def test_differences_are_those_of_the_scores(runs):
    overall, german = (
        compare_runs(runs).groups[place][name].comparison(0, 1)
        for place, name in ((0, "overall"), (1, "de"))
    )
    assert overall.difference.value == pytest.approx(0.25)
    assert overall.p < 0.01
    assert german.difference.value == pytest.approx(0.5)
    english = compare_runs(runs).groups[1]["en"].comparison(0, 1)
    assert (english.difference.value, english.p) == (0, 1)
    mean = compare_runs(runs).groups[1]["mean over languages"].comparison(0, 1)
    assert mean.difference.value == pytest.approx(0.25)


def test_the_table_reads_like_this(runs):
    lines = comparison_table(compare_runs(runs)).splitlines()
    assert lines[:5] == ["A: a", "B: b", "", "On the same 40 test sentences:", ""]
    assert lines[5].split() == ["F1", "A", "B", "B", "-", "A", "95", "%", "interval", "p"]
    assert lines[7].startswith("overall               75.0  100.0  +25.0  +12.5 to ")
    assert lines[8].split()[2:] == ["100.0", "100.0", "+0.0", "+0.0", "to", "+0.0", "1.0000"]
    assert max(map(len, lines)) < 100


def test_three_runs_are_each_compared_with_the_first(runs):
    table = comparison_table(compare_runs([*runs, runs[0]]))
    assert "C - A" in table
    assert max(map(len, table.splitlines())) <= 110


def test_a_run_without_images_is_the_same_under_every_control(runs):
    reader = [
        record(n, "en" if n < 20 else "de", "PER", none="LOC", shuffled="PER") for n in range(40)
    ]
    found = compare_runs([runs[0], run_of("c", reader, images=True)]).groups[-1]
    assert list(found) == ["no image", "mean of both views", "another's image"]
    assert found["no image"].values.tolist() == [0.75, 0.0]
    assert found["mean of both views"].values.tolist() == [0.75, 0.5]
    assert found["another's image"].values.tolist() == [0.75, 1.0]


def test_controls_that_a_run_with_images_lacks_are_left_out(runs):
    reader = [
        record(n, "en" if n < 20 else "de", "PER", none="PER", blank="PER") for n in range(40)
    ]
    other = [record(n, "en" if n < 20 else "de", "PER", none="PER") for n in range(40)]
    pair = [run_of("c", reader, images=True), run_of("d", other, images=True)]
    assert list(compare_runs(pair).groups[-1]) == ["no image", "mean of both views"]


def test_different_sentences_are_refused_with_how_they_differ(runs):
    fewer = run_of("c", [*runs[1].records[:-2], record(77, "fr", "PER")])
    message = (
        "a and c were tested on different sentences: of their ids 38 are the same, 2 only in a "
        r"\(the first: 'en-0'\) and 1 only in c \(the first: 'fr-77'\)"
    )
    with pytest.raises(RunError, match=message):
        compare_runs([runs[0], fewer])


@pytest.mark.parametrize(
    ("change", "what"), [({"tokens": ["Bo", "lives", "0"]}, "words"), ({"gold": []}, "gold ent")]
)
def test_sentences_of_one_id_that_differ_are_refused(runs, change, what):
    changed = [{**row, **change} if row["id"] == "en-3" else row for row in runs[1].records]
    with pytest.raises(RunError, match=f"test sentence 'en-3' has other {what}.* in c than in a"):
        compare_runs([runs[0], run_of("c", changed)])


def test_a_run_without_test_sentences_is_refused(runs):
    with pytest.raises(RunError, match="c: no test sentences"):
        compare_runs([runs[0], run_of("c", [])])


# The command --------------------------------------------------------------------------------------


def write_run(folder: Path, run: Run) -> Path:
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps(run.results), "utf-8")
    lines = [json.dumps(row) for row in run.records]
    (folder / "predictions.jsonl").write_text("\n".join(lines), "utf-8")
    return folder


def report(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "cli_2mner", "report", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
    )


def test_the_command_compares_runs_and_refuses_in_one_line(runs, tmp_path):
    folders = [write_run(tmp_path / name, run) for name, run in zip("ab", runs, strict=True)]
    compared = report(*folders)
    assert compared.returncode == 0, compared.stderr
    assert compared.stdout.rstrip() == comparison_table(compare_runs(list(map(read_run, folders))))

    refused = report(folders[0], tmp_path)
    assert refused.returncode == 1
    assert refused.stderr == (
        f"2mner report: there is no {tmp_path / 'metrics.json'}: "
        "the run is not finished, or is none\n"
    )


def test_a_word_may_hold_what_other_texts_end_a_line_with(runs, tmp_path):
    words = ["Ana\u2028", "lives\x85", "0"]
    folder = tmp_path / "a"
    folder.mkdir()
    write_json(folder / "metrics.json", {})
    write_lines(folder / "predictions.jsonl", [{**runs[0].records[0], "tokens": words}])
    assert [row["tokens"] for row in read_run(folder).records] == [words]


def test_a_file_that_is_no_json_is_named_with_its_line(runs, tmp_path):
    folder = write_run(tmp_path / "a", runs[0])
    with (folder / "predictions.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n{broken")
    with pytest.raises(RunError, match=r"predictions\.jsonl, line 41: found no JSON"):
        read_run(folder)
