"""The page of a run, made of real tiny runs of every kind."""

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dataset_mmnerd.files import write_json, write_lines
from reporting_2mner.errors import write_thumbnails
from reporting_2mner.html_report import loss_lines, score_lines, write_report
from reporting_2mner.pages import signed
from reporting_2mner.report import main
from reporting_2mner.runs import RunError
from training_2mner.evaluation import evaluate

SECTIONS = ("scores", "images", "training", "confusion", "calibration", "errors", "facts")
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>"
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """A page read as a browser would: its tags, its text; every tag must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def sections(self) -> tuple[str, ...]:
        return tuple(attributes["id"] for attributes in self.all("section"))


def results_of(data: dict, **more) -> dict:
    """What `train.py` adds to the scores of an evaluation."""
    return {
        "recipe": {
            "file": "tiny.yaml",
            "model": {"text_model": "tiny"},
            "data": {"dataset_name": "sample", "dataset_config": None, "train_files": None},
            "training": {"seed": 3},
        },
        "seed": 3,
        "data": data,
        "training": {
            "steps": 3,
            "epochs": 1.0,
            "seconds": 1.0,
            "kept_step": 3,
            "validation": None,
            "parameters": {"all": 10, "trained": 5},
            "processes": 1,
            "device": "cpu",
        },
        "versions": {"python": "3"},
        **more,
    }


def described(rows) -> dict:
    languages = {code: rows["lang"].count(code) for code in sorted(set(rows["lang"]))}
    return {"sentences": len(rows), "by_language": languages, "with_image": 4}


@pytest.fixture
def finished(trainer_for, tmp_path):
    """A function that trains a tiny model, evaluates it, and leaves what `train.py` leaves."""

    def run(rows, vision="clip", controls=True, test=True, change=None, **model_config) -> Path:
        trainer = trainer_for(
            model_config,
            vision,
            train=rows,
            evaluation=rows,
            num_train_epochs=3,
            logging_steps=1,
            eval_strategy="epoch",
            learning_rate=1e-2,
        )
        trainer.train()
        trainer.save_state()
        folder = tmp_path / "run"
        results, records = evaluate(trainer, rows, controls, 3) if test else ({}, [])
        records = [change(record) if change else record for record in records]
        parts = dict.fromkeys(("train", "validation"), described(rows))
        write_json(folder / "metrics.json", results_of(parts, **results))
        write_lines(folder / "predictions.jsonl", records)
        if test:
            write_thumbnails(folder, rows, records)
        write_report(folder)
        return folder

    return run


def page_of(folder: Path) -> Page:
    return Page((folder / "report.html").read_text("utf-8"))


def wrong(record: dict) -> dict:
    """As predicted by a model that takes every first word for a place."""
    said = {"label": "LOC", "start": 0, "end": 1, "text": record["tokens"][0], "score": 0.9}
    return {**record, "predicted": [said]}


def silent(record: dict) -> dict:
    controls = {name: [] for name in record.get("controls", {})}
    return {**record, "predicted": [], **({"controls": controls} if controls else {})}


def test_a_run_with_images_has_every_section(finished, rows):
    folder = finished(rows, change=wrong)
    page = page_of(folder)
    assert page.sections() == SECTIONS
    for words in ("boundaries alone", "mean over languages", "German", "English", "PER", "LOC"):
        assert words in page.text
    for words in ("another's image", "missed", "spurious", "calibration error", "10 bins"):
        assert words in page.text
    assert "Do the images help?" in page.text
    assert "the mean of both views is" in page.text
    charts = ("loss", "validation", "scores", "confusion", "calibration")
    found = sorted(path.name for path in (folder / "report").glob("*.png"))
    assert found == sorted(f"{name}.png" for name in charts)
    # Of the mistakes' sentences two have an image that can be read: "Ana lives" is no place.
    assert len(page.all("img")) == len(list((folder / "report" / "images").iterdir())) > 0


def test_the_page_needs_nothing_from_elsewhere(finished, rows):
    folder = finished(rows, change=wrong)
    page = page_of(folder)
    for _, attributes in page.tags:
        for key in ("src", "href", "xlink:href", "data", "action", "poster", "srcset"):
            if key in attributes:
                assert attributes[key].startswith(("data:image/", "#"))
    text = (folder / "report.html").read_text("utf-8")
    assert not page.all("script") + page.all("link") + page.all("iframe")
    assert not re.search(r"@import|url\((?!#)", text)
    policies = [a for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies[0]["content"].startswith("default-src 'none'")


def test_the_page_can_be_read_without_eyes(finished, rows):
    page = page_of(finished(rows, change=wrong))
    assert page.all("html")[0]["lang"] == "en"
    assert all(image["alt"] for image in page.all("img"))
    charts = [svg for svg in page.all("svg") if svg.get("role") == "img"]
    assert len(charts) == len(page.all("svg")) == 3
    assert all(len(svg["aria-label"]) > 40 for svg in charts)
    assert all(header["scope"] in ("col", "row") for header in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    headings = [tag for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert headings == ["h1"] + ["h2"] * len(SECTIONS)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = {link["href"][1:] for link in page.all("a")}
    wanted |= {section["aria-labelledby"] for section in page.all("section")}
    assert wanted <= set(ids)


def test_what_comes_from_data_stays_text(finished, rows, tmp_path):
    """Words, languages, types and ids of a page are anybody's."""

    def hostile(record: dict) -> dict:
        said = {"label": HOSTILE, "start": 0, "end": 1, "text": HOSTILE, "score": 0.9}
        words = [HOSTILE, *record["tokens"][1:]]
        lang = HOSTILE if record["lang"] == "de" else "en"
        gold = [{**said, "end": len(words)}]
        return {**record, "lang": lang, "tokens": words, "gold": gold, "predicted": [said]}

    page = page_of(finished(rows, change=hostile))
    assert HOSTILE in page.text
    assert not page.all("script")
    assert all(image["src"].startswith("data:image/jpeg") for image in page.all("img"))
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)


def test_a_text_only_run_has_no_section_on_images(finished, rows):
    page = page_of(finished(rows, vision=None, change=wrong))
    assert page.sections() == tuple(name for name in SECTIONS if name != "images")
    assert "alignment" not in page.text
    assert "text view" not in page.text


def test_a_run_without_controls_still_tells_both_views_apart(finished, rows):
    page = page_of(finished(rows, controls=False))
    assert "images" not in page.sections()
    assert "the mean of both views is" in page.text


def test_a_run_without_a_test_part_shows_its_training(finished, rows):
    folder = finished(rows, test=False)
    page = page_of(folder)
    assert page.sections() == ("training", "facts")
    assert "names no test part" in page.text
    found = {path.name for path in (folder / "report").glob("*.png")}
    assert found == {"loss.png", "validation.png"}


def test_a_run_that_finds_no_entity_says_so(finished, rows):
    page = page_of(finished(rows, change=silent))
    assert page.sections() == SECTIONS
    assert "No entity was predicted" in page.text
    assert "every entity that was predicted is right, or none was" in page.text
    assert "F1 0.0" in page.text


def test_a_run_of_one_language_has_no_mean(finished, rows):
    english = rows.filter(lambda row: row["lang"] == "en", keep_in_memory=True)
    page = page_of(finished(english))
    assert "mean over languages" not in page.text
    assert "German" not in page.text


def test_a_test_part_without_any_entity_is_no_error(finished, rows):
    empty = rows.filter(lambda row: not any(row["ner_tags"]), keep_in_memory=True)
    page = page_of(finished(empty, change=silent))
    assert "There is no entity in the test part" in page.text


def test_the_page_is_made_anew_without_the_data(finished, rows, capsys):
    folder = finished(rows, change=wrong)
    before = (folder / "report.html").read_text("utf-8")
    (folder / "report.html").unlink()
    main([str(folder)])
    assert (folder / "report.html").read_text("utf-8") == before
    assert "overall" in capsys.readouterr().out
    for thumbnail in (folder / "report" / "images").iterdir():
        thumbnail.unlink()
    main([str(folder)])
    page = page_of(folder)
    assert not page.all("img")
    assert "wrong type" in page.text


def test_a_thumbnail_that_links_out_of_the_run_is_not_put_on_the_page(finished, rows, tmp_path):
    folder = finished(rows, change=wrong)
    thumbnails = list((folder / "report" / "images").iterdir())
    (tmp_path / "secret").write_text("secret")
    for thumbnail in thumbnails:
        thumbnail.unlink()
        thumbnail.symlink_to(tmp_path / "secret")
    write_report(folder)
    assert not page_of(folder).all("img")
    for thumbnail in thumbnails:
        thumbnail.unlink()
        os.mkfifo(thumbnail)
    write_report(folder)
    assert thumbnails and not page_of(folder).all("img")


def test_a_run_that_taught_a_language_says_what_was_forgotten(finished, rows):
    folder = finished(rows)
    results = json.loads((folder / "metrics.json").read_text("utf-8"))
    scores = [
        {"overall": {"f1": f1}, "by_language": {code: {"f1": f1} for code in ("de", "en")}}
        for f1 in (0.5, 0.25)
    ]
    new = {"before": scores[1], "after": scores[0], "change": 0.25}
    old = {"before": scores[0], "after": scores[1], "change": -0.25, "source": "given"}
    transfer = {"sentences": 7, "new": new, "old": old}
    write_json(folder / "metrics.json", {**results, "transfer": transfer})
    write_report(folder)
    assert "transfer" in page_of(folder).sections()
    assert "new: German 25.0 50.0 +25.0" in page_of(folder).text
    assert "old: together 50.0 25.0 \N{MINUS SIGN}25.0" in page_of(folder).text

    assert "was not measured" not in page_of(folder).text
    assert "each time from the start" not in page_of(folder).text

    transfer["old"] = {"before": None, "after": None, "change": None, "source": "none"}
    write_json(folder / "metrics.json", {**results, "transfer": transfer})
    write_report(folder)
    assert "old:" not in page_of(folder).text
    assert "What was forgotten was not measured" in page_of(folder).text


def test_a_learning_curve_is_shown_beside_what_was_gained(finished, rows):
    folder = finished(rows)
    results = json.loads((folder / "metrics.json").read_text("utf-8"))
    scores = [
        {"overall": {"f1": f1}, "by_language": {"pt": {"f1": f1}}} for f1 in (0.25, 0.75, 0.5)
    ]
    old = {"before": None, "after": None, "change": None, "source": "none"}
    new = {"before": scores[0], "after": scores[1], "change": 0.5}
    results["transfer"] = {"sentences": 1000, "new": new, "old": old}
    points = [
        {"sentences": 0, "new": scores[0], "old": scores[1]},
        {"sentences": 1000, "new": scores[1], "old": scores[2]},
    ]
    write_json(folder / "learning_curve.json", {"settings": {}, "points": points})

    def shown() -> list[str]:
        write_json(folder / "metrics.json", results)
        write_report(folder)
        return [svg["aria-label"] for svg in page_of(folder).all("svg")]

    # The file of an earlier run that was made in the same folder.
    assert not any("new sentences" in words for words in shown())
    assert not (folder / "report" / "learning-curve.png").exists()
    results["recipe"]["data"]["learning_curve"] = "0,1000"
    (words,) = [words for words in shown() if "new sentences" in words]
    assert "Portuguese 25.0 after 0, 75.0 after 1,000" in words
    assert "old ones 75.0 after 0, 50.0 after 1,000" in words
    assert "each time from the start" in page_of(folder).text
    assert (folder / "report" / "learning-curve.png").is_file()


def test_a_change_that_is_too_small_to_be_shown_has_no_sign():
    found = [signed(change) for change in (0.0, -0.0004, 0.0004, -0.0006, 0.0006)]
    assert found == ["0.0", "0.0", "0.0", "\N{MINUS SIGN}0.1", "+0.1"]


def test_a_log_that_was_not_kept_is_no_error(finished, rows):
    folder = finished(rows)
    (folder / "trainer_state.json").unlink()
    write_report(folder)
    assert "Nothing was logged in training" in page_of(folder).text


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"there is no .*metrics\.json"):
        write_report(tmp_path)


# What is drawn ------------------------------------------------------------------------------------


def test_every_part_of_the_loss_is_a_line():
    history = [
        {"step": 1, "loss": 3.0, "loss_nll": 2.0, "loss_alignment": 5.0, "loss_other_part": 1.0},
        {"step": 2, "loss": float("nan"), "loss_nll": 1.5, "loss_alignment": 4.0},
        {"step": 2, "eval_loss": 2.5},
        {"step": 2, "train_loss": 2.0, "train_runtime": 1.0},
    ]
    assert loss_lines(history) == {
        "total": ([1], [3.0]),
        "likelihood": ([1, 2], [2.0, 1.5]),
        "alignment": ([1, 2], [5.0, 4.0]),
        "other part": ([1], [1.0]),
        "validation": ([2], [2.5]),
    }


def test_a_part_that_is_the_whole_loss_is_not_drawn_twice():
    assert list(loss_lines([{"step": 1, "loss": 3.0, "loss_nll": 3.0}])) == ["total"]
    assert loss_lines([]) == {}


def test_views_and_languages_are_lines_where_they_say_something():
    history = [
        {
            "step": 1,
            "eval_f1": 0.5,
            "eval_f1_text_view": 0.4,
            "eval_f1_both_views": 0.45,
            "eval_f1_de": 0.6,
            "eval_f1_en": 0.4,
        }
    ]
    both = {"by_language": {"de": 1, "en": 1}}
    assert list(score_lines(history, both)) == [
        "all",
        "text view",
        "both views",
        "German",
        "English",
    ]
    assert list(score_lines(history, {})) == ["all", "text view", "both views"]
    same = [{**history[0], "eval_f1_text_view": 0.5, "eval_f1_both_views": 0.5}]
    assert list(score_lines(same, {})) == ["all"]
