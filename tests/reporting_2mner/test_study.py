"""The sections of a study, from small runs whose figures are known."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from reporting_2mner.runs import Run, RunError, published_message
from reporting_2mner.study import ablation, languages, transfer
from reporting_2mner.study.page import Study, TrainingRecord, study_page
from reporting_2mner.study.sections import Heat, Part, Result, Section

SENTENCES = 40


def record(place: int, right: bool, lang: str = "en", **controls: bool) -> dict:
    """A sentence with one entity, found or not, and what is found under controls."""

    def found(is_right: bool) -> list[dict]:
        label = "PER" if is_right else "LOC"
        return [{"label": label, "start": 0, "end": 1, "text": "Ana", "score": 0.9}]

    named = {way: found(is_right) for way, is_right in controls.items()}
    gold = [{"label": "PER", "start": 0, "end": 1, "text": "Ana"}]
    record = {"id": str(place), "lang": lang, "tokens": ["Ana"], "gold": gold}
    return {**record, "predicted": found(right), **({"controls": named} if named else {})}


def result(records: Sequence[dict], seed: int = 1, trained: Sequence[str] = ("en",)) -> Result:
    right = sum(one["predicted"] == [{**one["gold"][0], "score": 0.9}] for one in records)
    figures = {
        "data": {"train": {"by_language": dict.fromkeys(trained, 9)}},
        "test": {"overall": {"f1": right / max(len(records), 1)}},
    }
    return Result(seed, Run(Path("run"), figures, list(records), []))


def part_of(kind: str, results: Mapping[str, object], **options: object) -> Part:
    names = tuple(results)
    titles = {name: name.replace("_", " ") for name in names}
    return Part(kind, kind, names, names[0], options, titles)


def records(right: int, **controls: int) -> list[dict]:
    """Sentences of which the first so many are right."""
    return [
        record(place, place < right, **{way: place < n for way, n in controls.items()})
        for place in range(SENTENCES)
    ]


# Ablation -----------------------------------------------------------------------------------------


def test_what_helps_what_interferes_and_what_is_not_settled():
    results = {
        "full": [result(records(25), 1), result(records(27), 2)],
        "no_gate": [result(records(5), 1), result(records(6), 2)],
        "no_loss": [result(records(39), 1), result(records(40), 2)],
        "other": [result(records(26), 1), result(records(25), 2)],
    }
    found = ablation.section(part_of("ablation", results), results)
    first, second, third, boundaries = found.findings
    assert first.startswith("“no gate” changes F1 by −51.2 points (")
    assert first.endswith("what it leaves out or exchanges helps.")
    assert second.startswith("“no loss” changes F1 by +33.8 points (")
    assert second.endswith("what it leaves out or exchanges interferes.")
    assert third.startswith("“other” is not told apart from “full”")
    assert boundaries.endswith("no cell differs from it beyond chance.")
    figures = found.figures["image_text"]
    assert figures["full"]["f1"]["value"] == pytest.approx(26 / 40)
    assert figures["full"]["difference"] is None
    assert figures["no_gate"]["difference"]["value"] == pytest.approx((5 + 6 - 25 - 27) / 80)
    assert len(found.tables) == 2  # with types and without; no run has controls


def test_a_cell_without_a_common_seed_is_shown_and_not_compared():
    results = {"full": [result(records(20), 1)], "other": [result(records(20), 2)]}
    found = ablation.section(part_of("ablation", results), results)
    assert found.figures["image_text"]["other"]["difference"] is None
    assert found.tables[0].rows[1] == ["other", "50.0", found.tables[0].rows[1][2], "", "", "", "1"]


def test_without_its_baseline_an_ablation_says_so():
    part = part_of("ablation", {"full": None, "other": None})
    found = ablation.section(part, {"other": [result(records(20))]})
    assert found.findings == ["No training of “full” is finished: nothing to compare."]
    assert found.tables[0].rows[0][:2] == ["other", "50.0"]


def test_both_views_and_the_controls_are_told():
    own = records(30, none=10, shuffled=12, blank=10)
    results = {"full": [result(own)], "text": [result(records(20))]}
    found = ablation.section(part_of("ablation", results), results)
    text_view = found.figures["text"]
    assert text_view["full"]["f1"]["value"] == pytest.approx(10 / 40)
    assert text_view["text"]["f1"]["value"] == pytest.approx(20 / 40)  # reads the words alone
    assert found.tables[-1].rows == [
        ["full", "75.0", "25.0", "30.0", "25.0"],
        ["text", "50.0", "", "", ""],
    ]
    assert found.findings[-1].startswith(
        "Do the images help “full”? Yes: against “another's image”"
    )


def test_cells_with_other_test_sentences_are_refused():
    results = {"full": [result(records(3))], "other": [result(records(3)[1:])]}
    with pytest.raises(RunError, match="tested on different sentences"):
        ablation.section(part_of("ablation", results), results)


# Languages ----------------------------------------------------------------------------------------


def in_languages(english: int, german: int) -> list[dict]:
    return [record(place, place < english, "en") for place in range(SENTENCES)] + [
        record(SENTENCES + place, place < german, "de") for place in range(SENTENCES)
    ]


def test_the_matrix_and_what_it_shows():
    results = {
        "only_en": [result(in_languages(30, 10), trained=["en"])],
        "only_de": [result(in_languages(8, 20), trained=["de"])],
        "all": [result(in_languages(32, 39), trained=["en", "de"])],
    }
    found = languages.section(part_of("languages", results), results)
    matrix, gains = found.tables[:2]
    assert list(matrix.head) == ["trained on", "de", "en", "mean"]
    assert [value.text for value in matrix.rows[0][1:3]] == ["25.0 *", "75.0"]
    assert matrix.rows[1][2] == Heat("20.0 *", 0.0)  # the palest
    assert matrix.rows[2][1] == Heat("97.5", 1.0)
    assert matrix.rows[2][3] == "88.8"
    assert [row[:2] for row in gains.rows] == [["German", "+47.5"], ["English", "+5.0"]]
    assert found.findings[0].startswith(
        "Training on all languages together changes F1 by +26.2 points on average"
    )
    assert "helps German" in found.findings[0]
    assert "is not settled for English" in found.findings[0]
    assert found.findings[2] == (
        "Trained on English alone, F1 on the other languages is 25.0 on average, 50.0 % of what "
        "models of these reach."
    )


def test_pairs_are_compared_with_each_language_alone():
    results = {
        "en": [result(in_languages(20, 0), trained=["en"])],
        "de": [result(in_languages(0, 20), trained=["de"])],
        "en+de": [result(in_languages(24, 18), trained=["de", "en"])],
    }
    pairs = languages.section(part_of("languages", results), results).tables[-1]
    assert pairs.rows == [["de, en", "-5.0", "+10.0", ""]]


# Transfer -----------------------------------------------------------------------------------------


def elsewhere(right: int, name: str = "news") -> dict:
    """What was measured on another data set."""
    found = {"records": records(right), "types": ["PER"], "dropped": {"DATE": 1200}, "ignored": {}}
    return {name: found}


def test_other_data_sets_beside_the_own_one():
    results = {
        name: [Result(1, result(records(36)).run, elsewhere(right))]
        for name, right in (("text", 20), ("full", 5))
    }
    found = transfer.section(part_of("transfer", results, data={"news": {}}), results)
    assert found.tables[0].rows == [["news", "en", "40", "40", "PER", "DATE 1,200"]]
    assert [row[:3] for row in found.tables[1].rows] == [
        ["news", "text", "50.0"],
        ["news", "full", "12.5"],
    ]
    assert "90.0 on its own test part; boundaries alone 100.0" in found.findings[0]
    assert "Against “text”: −37.5 points (" in found.findings[1]
    assert transfer.section(part_of("transfer", results, data={}), results) == found
    nothing = {"text": [Result(1, result(records(36)).run, {})]}
    without = transfer.section(part_of("transfer", nothing, data={}), nothing)
    assert "--transfer" in without.findings[0]


def test_p_values_of_a_table_are_adjusted_together():
    run = Run(Path("run"), {}, [], [])  # without a test part

    def p_values(*cells: str) -> list[float]:
        rights = {"text": 20, "full": 26, "other": 26}
        results = {
            name: [Result(1, run, elsewhere(rights[name]) | elsewhere(20, f"only {name}"))]
            for name in cells
        }
        found = transfer.section(part_of("transfer", results, data={"news": {}}), results)
        assert " on its own test part" not in found.findings[0]
        return [found.figures["news"][name]["difference"]["p"] for name in cells[1:]]

    (alone,) = p_values("text", "full")
    assert 0 < alone < 0.5
    assert p_values("text", "full", "other") == pytest.approx([2 * alone, 2 * alone])


def test_cells_that_were_measured_on_other_files_are_refused():
    run = Run(Path("run"), {}, [], [])
    shorter = elsewhere(5)
    del shorter["news"]["records"][0]
    results = {"text": [Result(1, run, elsewhere(5))], "full": [Result(1, run, shorter)]}
    with pytest.raises(RunError, match="tested on different sentences"):
        transfer.section(part_of("transfer", results, data={}), results)


# The page -----------------------------------------------------------------------------------------


def test_messages_of_a_page_have_no_local_paths():
    folder = Path("/home/ana/my studies/out")
    message = f"2mner train: {folder}/cells/a-seed1: '/home/ana/models/text': none (/x/y/z/w.txt)"
    shown = "2mner train: cells/a-seed1: 'models/text': none (z/w.txt)"
    assert published_message(message, folder) == shown
    plain = "https://host/a/b/c, and/or 1/2, a/out/b"
    assert published_message(plain, Path("out")) == plain


def test_what_stands_in_a_study_is_text():
    hostile = "<script>alert(1)</script>"
    section = Section(hostile, hostile, [hostile], [], [], [hostile])
    part = part_of("ablation", {"a": 1})
    training = TrainingRecord("a", hostile, 1, f"2mner train {hostile}", error=hostile)
    page = study_page(Study(hostile, hostile, False, [(part, section)], [training], {"b": hostile}))
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 8
