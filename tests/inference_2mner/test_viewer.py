"""The viewer's fragment: what it is made of, and what a browser makes of it."""

import base64
import io
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference_2mner.models import load_pipeline
from inference_2mner.viewer import MOST_BYTES, RAMP, SIDE, View, render
from modeling_2mner.images_2mner import ImageError
from reporting_2mner.marked_text import STYLE
from tests.browser import browser, open_page, violations  # noqa: F401 -- a fixture
from tests.inference_2mner.texts import HOSTILE_TEXTS, TEXTS, every_second_word

TEXT = "Angela Merkel besucht Paris."
ENTITIES = [
    {
        "label": "PER",
        "score": 0.981,
        "start": 0,
        "end": 13,
        "alternatives": [{"label": "PER", "score": 0.981}, {"label": "ORG", "score": 0.012}],
        "score_without_image": 0.41,
        "typed_from": "image",
    },
    {"label": "LOC", "score": 0.5, "start": 22, "end": 27, "typed_from": "disagree"},
]
RIGHT_TO_LEFT = {"arabic", "hebrew"}


def details(text=TEXT, entities=ENTITIES, box=(0.0, 0.0, 1.0, 1.0), rows=2, columns=3):
    """The details of a text whose words each attended to one patch, the first to the first."""
    words = []
    for number, word in enumerate(re.finditer(r"\w+", text)):
        grid = np.full(rows * columns, 0.02)
        grid[number % len(grid)] = 0.5
        patches = grid.reshape(rows, columns).tolist()
        words.append(
            {"word": word[0], "start": word.start(), "end": word.end(), "patches": patches}
        )
    attention = {"box": list(box), "words": words}
    return {"entities": entities, "windows": 1, "image": "read", "attention": attention}


def photo(width=300, height=200, colour="teal"):
    return Image.new("RGB", (width, height), colour)


def embedded(html: str, kind: str) -> list[Image.Image]:
    """The images of a fragment."""
    found = re.findall(rf'src="data:image/{kind};base64,([^"]+)"', html)
    return [Image.open(io.BytesIO(base64.b64decode(content))) for content in found]


# What it is made of -------------------------------------------------------------------------------


def test_it_says_all_that_is_known_of_an_entity():
    html = render(ENTITIES, TEXT)
    assert "PER 98.1 %" in html and "ORG 1.2 %" in html
    assert "typed from the image; without the image 41.0 %" in html
    assert "text and image disagree on the type" in html
    assert "<img" not in html and "<script" not in html
    assert "No entity." in render([], TEXT)


def test_details_are_as_good_as_entities():
    options = {"name": "a"}
    without = {**details(), "attention": None}
    assert render(without, TEXT, **options) == render(ENTITIES, TEXT, **options)
    assert render(details(), TEXT, **options) == render(ENTITIES, TEXT, **options)  # no image
    words = [{"entity": "B-PER", "score": 0.9, "index": 0, "start": 0, "end": 6}]
    assert "B-PER 90.0 %" in render(words, TEXT)


def test_two_fragments_share_no_id():
    one, two = (set(re.findall(r'id="([^"]+)"', render(details(), TEXT, photo()))) for _ in "ab")
    assert one and two and not one & two
    assert render(details(), TEXT, photo(), name="x") == render(details(), TEXT, photo(), name="x")


def test_the_image_is_a_small_copy_without_what_a_camera_wrote():
    noise = np.random.default_rng(0).integers(0, 255, (1500, 1000, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x010F] = "Secret camera"
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "jpeg", exif=exif, quality=95)
    html = render([], TEXT, file.getvalue())
    (shown,) = embedded(html, "jpeg")
    assert shown.size == (SIDE * 2 // 3, SIDE)
    assert not shown.getexif()
    assert len(html) < 2 * MOST_BYTES
    with pytest.raises(ImageError):
        render([], TEXT, b"no image")


def test_a_heat_map_is_brightest_where_the_word_attended():
    html = render(details(rows=2, columns=3), TEXT, photo())
    maps = embedded(html, "png")
    assert len(maps) == 4
    for number, heat in enumerate(maps):
        assert heat.width / heat.height == 3 / 2
        pixels = np.asarray(heat.convert("RGBA")).astype(int)
        bright = pixels[..., :3].sum(-1)
        row, column = np.unravel_index(bright.argmax(), bright.shape)
        cell = (row * 2 // heat.height, column * 3 // heat.width)
        assert cell == divmod(number, 3)
        assert 0 < pixels[..., 3].min() < pixels[..., 3].max() < 255
        steps = np.abs(np.diff(bright, axis=1))
        assert steps.max() < np.ptp(bright) / 4  # smooth: no edge between patches


def test_one_of_several_images_is_shown_without_heat_maps(model):
    images = [photo(), photo(colour="red")]
    asked = {"text": TEXT, "image": images}
    found = load_pipeline(model)(asked, return_details=True, attention=True, threshold=0.0)
    html = render(found, TEXT, images[1])
    assert len(embedded(html, "jpeg")) == 1
    assert not embedded(html, "png") and 'type="radio"' not in html


def test_the_scale_has_the_colours_of_the_heat_maps():
    assert f"linear-gradient(to right, {', '.join(RAMP)})" in STYLE


def test_even_attention_and_none_at_all_are_no_error():
    found = details()
    for grid, most in (([[0.25, 0.25]], "25.0 %"), ([[0.0]], "0.0 %")):
        for word in found["attention"]["words"]:
            word["patches"] = grid
        assert most in render(found, TEXT, photo())


@pytest.mark.parametrize(
    ("entity", "message"),
    [
        ({"start": 0, "end": 1}, r"entities\[0\]: label is None, expected a string"),
        ({"label": "X", "start": 0}, r"entities\[0\]: end is None, expected a whole number"),
        ({"label": "X", "start": True, "end": 1}, r"start is True, expected a whole number"),
        ({"label": "X", "start": 0, "end": 29}, r"\[0, 29\), expected 0 <= start < end <= 28"),
        ({"label": "X", "start": 2, "end": 2}, r"found characters \[2, 2\)"),
        ({"label": "X", "start": 0, "end": 1, "score": "1"}, "score is '1', expected"),
        ({"label": "X", "start": 0, "end": 1, "typed_from": 3}, "typed_from is 3, expected"),
        ("PER", r"entities\[0\]: found 'PER', expected a dictionary"),
    ],
)
def test_an_entity_that_cannot_be_shown_is_refused(entity, message):
    with pytest.raises(ValueError, match=message):
        render([entity], TEXT)


def test_what_is_no_text_or_name_is_refused():
    with pytest.raises(TypeError, match="text is 7, expected a string"):
        render([], 7)
    with pytest.raises(ValueError, match="name is 'a b', expected a letter and then"):
        render([], "", name="a b")


def test_a_view_of_a_pipeline_shows_itself_in_a_notebook(model):
    ner = load_pipeline(model)
    view = View.of(ner, "Ana lives in Rome, not in Bern.", image=photo(), threshold=0.0)
    html = view._repr_html_()
    assert len(embedded(html, "jpeg")) == 1
    assert len(embedded(html, "png")) == 9
    assert "typed from" in html
    found = ner({"text": "Ana lives in Rome, not in Bern.", "image": photo()})
    assert repr(view).startswith(f"View({found[0]['label']} [{found[0]['start']}, ")
    assert "<img" not in View.of(ner, "Ana")._repr_html_()


# What a browser makes of it -----------------------------------------------------------------------

PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Texts</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<meta name="color-scheme" content="light dark"></head>'
    "<body><main><h1>Texts</h1>{}</main></body></html>"
)

READ = """() => [...document.querySelectorAll('.mner-text')].map(shown => {
  const plain = node => {
    const copy = node.cloneNode(true);
    copy.querySelectorAll('.mner-tag').forEach(tag => tag.remove());
    return copy.textContent;
  };
  const before = mark => {
    const range = document.createRange();
    range.selectNodeContents(shown);
    range.setEndBefore(mark);
    const copy = document.createElement('div');
    copy.append(range.cloneContents());
    return plain(copy);
  };
  return {
    text: plain(shown),
    direction: getComputedStyle(shown).direction,
    marks: [...shown.querySelectorAll('.mner-mark')].map(mark => [before(mark), plain(mark)]),
  };
})"""


@pytest.mark.chromium
def test_every_script_is_whole_in_a_browser_and_marked_at_its_characters(browser):  # noqa: F811
    page, hosts = open_page(browser)
    texts = TEXTS | HOSTILE_TEXTS
    fragments = [render(every_second_word(text), text) for text in texts.values()]
    page.set_content(PAGE.format("".join(fragments)))
    for name, shown in zip(texts, page.evaluate(READ), strict=True):
        text, entities = texts[name], every_second_word(texts[name])
        assert shown["text"] == text
        places = [(text[: one["start"]], text[one["start"] : one["end"]]) for one in entities]
        assert [tuple(mark) for mark in shown["marks"]] == places
        assert (shown["direction"] == "rtl") == (name in RIGHT_TO_LEFT)
    assert page.locator("script").count() == 0
    assert not hosts


@pytest.mark.chromium
def test_a_word_is_chosen_by_a_click_or_the_keyboard(browser):  # noqa: F811
    page, hosts = open_page(browser)
    html = render(details(box=(0.25, 0.0, 0.75, 1.0)), TEXT, photo(), name="v")
    page.set_content(PAGE.format(html))

    def shown():
        heat = page.locator(".mner-heat:visible")
        legend = page.locator(".mner-legend:visible bdi")
        assert heat.count() == legend.count() <= 1
        return legend.text_content() if legend.count() else None

    assert shown() == "Angela"  # the first word of the first entity
    page.get_by_text("Paris", exact=True).first.click()
    assert shown() == "Paris"
    page.keyboard.press("ArrowLeft")
    assert shown() == "besucht"
    assert page.evaluate("document.activeElement.labels[0].textContent") == "besucht"
    outline = "getComputedStyle(document.activeElement.labels[0]).outlineStyle"
    assert page.evaluate(outline) == "solid"
    image = page.locator(".mner-canvas > img").first.bounding_box()
    heat = page.locator(".mner-heat:visible").bounding_box()
    assert heat["x"] - image["x"] == pytest.approx(image["width"] / 4, abs=1)
    assert heat["width"] == pytest.approx(image["width"] / 2, abs=1)
    assert heat["height"] == pytest.approx(image["height"], abs=1)
    page.get_by_text("image alone").click()
    assert shown() is None
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowRight")
    assert shown() == "Angela"
    assert not hosts


@pytest.mark.chromium
@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_is_accessible_and_fits(browser, width, dark):  # noqa: F811
    page, _ = open_page(browser, width=width, dark=dark)
    overlapping = [
        *ENTITIES,
        {"label": "DRUG", "start": 7, "end": 21},
        {"label": "É", "start": 0, "end": 28},
    ]
    fragments = [
        render(details(), TEXT, photo()),
        render(details(entities=overlapping), TEXT, photo(2000, 20)),
        *(
            render(every_second_word(text), text)
            for text in (TEXTS["hebrew"], TEXTS["thai"], HOSTILE_TEXTS["markup"])
        ),
    ]
    page.set_content(PAGE.format("".join(fragments)))
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    paper = page.evaluate("getComputedStyle(document.querySelector('.mner')).backgroundColor")
    assert paper == ("rgb(23, 25, 28)" if dark else "rgb(254, 253, 251)")


@pytest.mark.chromium
def test_it_follows_the_theme_of_a_notebook(browser):  # noqa: F811
    page, _ = open_page(browser)
    html = PAGE.replace("<body>", '<body data-jp-theme-light="false">')
    page.set_content(html.format(render(ENTITIES, TEXT)))
    paper = page.evaluate("getComputedStyle(document.querySelector('.mner')).backgroundColor")
    assert paper == "rgb(23, 25, 28)"


def test_the_examples_of_the_page_run(model, tmp_path, monkeypatch):
    text = (Path(__file__).parents[2] / "docs" / "showing.md").read_text("utf-8")
    section = text.split("\n## In a notebook\n")[1].split("\n## ")[0]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "demo").symlink_to(model)
    photo().save("photo.jpg")
    Path("snippet.py").write_text(
        "".join(re.findall(r"^```python\n(.*?)^```", section, re.M | re.S))
    )
    names = runpy.run_path("snippet.py")
    assert Path("fragment.html").read_text("utf-8").count("mner-view") > 1
    assert len(embedded(names["html"], "png")) == 5
