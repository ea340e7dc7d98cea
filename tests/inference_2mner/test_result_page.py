"""`2mner predict --html`: a page of the first results, whole and harmless."""

import json
import re
from pathlib import Path

import pytest
from datasets import load_dataset
from PIL import Image

from cli_2mner import main
from tests.browser import browser, open_page, violations  # noqa: F401 -- a fixture
from tests.inference_2mner.texts import HOSTILE_TEXTS

HOSTILE = HOSTILE_TEXTS["markup"]


@pytest.fixture
def posts(tmp_path) -> Path:
    """JSON lines: words, texts, a line that cannot be read, and images, one of them broken."""
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    rows = [
        {"tokens": ["Ana", "lives", "in", "Rome"], "image": "red.png", "lang": "en", "id": "<b>1"},
        {"text": HOSTILE},
        {"no": "text"},
        {"text": "Wer ist Bo?", "image": "broken.png"},
        {"text": "Bern", "image": "red.png"},
        {"text": "the last one"},
    ]
    path = tmp_path / "posts.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return path


def predict(model, posts, out: str, *more: str) -> tuple[int, str]:
    """Run the command; the exit status, and the page."""
    page = posts.parent / "page.html"
    arguments = ["predict", str(model), str(posts), "--out", str(posts.parent / out)]
    status = main([*arguments, "--html", str(page), *more])
    return status, page.read_text("utf-8") if page.exists() else ""


@pytest.mark.parametrize("out", ["out.jsonl", "out.parquet", "out"])
def test_the_first_results_are_shown_with_their_images(model, posts, out, capsys):
    status, page = predict(model, posts, out, "--html_results", "4", "--top_k", "2", "--explain")
    assert status == 0
    assert "page.html: shows 4 of 5 sentences" in capsys.readouterr().out
    articles = page.split("<article>")[1:]
    assert len(articles) == 4
    assert "4 of 5 sentences" in page
    assert [article.count("data:image/jpeg") for article in articles] == [1, 0, 0, 1]
    assert "Its image could not be read: found an unknown or damaged format" in articles[2]
    assert "&lt;b&gt;1" in articles[0]
    if out == "out.jsonl":
        records = [json.loads(line) for line in (posts.parent / out).open(encoding="utf-8")]
    else:
        name = str(posts.parent / out)
        data = {"path": name} if out == "out" else {"path": "parquet", "data_files": name}
        records = list(load_dataset(**data, split="train").select_columns("entities"))
    labels = sorted(one["label"] for record in records[:4] for one in record["entities"])
    assert labels and sorted(re.findall(r'mner-tag"><bdi>(\w+)', page)) == labels


def test_the_same_command_gives_the_same_page_and_another_length_no_new_annotation(model, posts):
    _, first = predict(model, posts, "out.jsonl")
    made = (posts.parent / "out.jsonl").stat().st_mtime_ns
    assert predict(model, posts, "out.jsonl") == (0, first)
    _, shorter = predict(model, posts, "out.jsonl", "--html_results", "1")
    assert shorter.count("<article>") == 1
    assert (posts.parent / "out.jsonl").stat().st_mtime_ns == made


def test_what_is_no_page_is_not_replaced(model, posts, capsys):
    other = posts.parent / "page.html"
    other.write_text("mine", "utf-8")
    assert predict(model, posts, "out.jsonl") == (1, "mine")
    assert "page.html: found another file, expected a page that" in capsys.readouterr().err
    assert not (posts.parent / "out.jsonl").exists()
    assert predict(model, posts, "out.jsonl", "--overwrite")[0] == 0
    assert predict(model, posts, "out.conll")[0] == 1
    assert "out.conll: found a form that holds no probabilities" in capsys.readouterr().err
    arguments = ["predict", str(model), str(posts), "--out", str(posts.parent / "b.jsonl")]
    assert main([*arguments, "--html", str(posts.parent / "page.txt")]) == 1
    assert "page.txt: found the suffix '.txt', expected .html" in capsys.readouterr().err


@pytest.mark.chromium
def test_a_browser_shows_it_without_a_request_or_a_script(browser, model, posts):  # noqa: F811
    predict(model, posts, "out.jsonl", "--top_k", "3")
    for width, dark in ((390, False), (1440, True)):
        page, hosts = open_page(browser, width=width, dark=dark)
        page.goto((posts.parent / "page.html").as_uri())
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert not hosts
        assert page.locator("script").count() == 0
        shown = "[...document.querySelectorAll('.mner-text')][1].cloneNode(true)"
        text = page.evaluate(
            f"() => {{ const copy = {shown}; "
            "copy.querySelectorAll('.mner-tag').forEach(tag => tag.remove()); "
            "return copy.textContent; }"
        )
        assert text == HOSTILE
