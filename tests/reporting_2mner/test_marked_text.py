"""Marks stand at the right characters of a text, whatever is in it."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reporting_2mner.marked_text import (
    COLOURS,
    MOST_LAYERS,
    STYLE,
    Choice,
    Mark,
    colour_of,
    drawn,
    in_html,
    marked_text,
    word_offsets,
)
from tests.inference_2mner.texts import HOSTILE_TEXTS, TEXTS, every_second_word

ALL_TEXTS = TEXTS | HOSTILE_TEXTS


class Marked(HTMLParser):
    """A marked text read again.

    Attributes:
        text: what is neither a tag of HTML nor that of an entity.
        tags: of each entity that ends, its tag, and the characters that its pieces cover.
        chosen: the characters of each label, by the id that it is for.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.tags, self.chosen = "", [], {}
        self._open: list[tuple[str, dict, int]] = []
        self._tag = ""
        self.feed(str(html))
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self._open.append((tag, dict(attrs), len(self.text)))

    def handle_endtag(self, tag):
        opened, attributes, start = self._open.pop()
        assert opened == tag
        if attributes.get("class") == "mner-tag":
            self.tags.append((self._tag, self._open[-1][2], len(self.text)))
            self._tag = ""
        if tag == "label":
            self.chosen.setdefault(attributes["for"], []).append((start, len(self.text)))

    def handle_data(self, data):
        if any(attributes.get("class") == "mner-tag" for _, attributes, _ in self._open):
            self._tag += data
        else:
            self.text += data


@pytest.mark.parametrize("name", ALL_TEXTS)
def test_marks_stand_at_their_characters_in_every_script(name):
    text = ALL_TEXTS[name]
    marks = [Mark(one["start"], one["end"], one["label"]) for one in every_second_word(text)]
    found = Marked(marked_text(text, marks))
    assert found.text == text
    assert found.tags == [(one.label, one.start, one.end) for one in marks]


def test_what_html_and_utf_8_do_not_have_is_replaced_one_by_one():
    assert in_html("a\0\ud800\udfffb") == "a\ufffd\ufffd\ufffdb"
    assert in_html("\r\n") == "&#13;\n"


def test_an_entity_in_another_is_drawn_in_it_and_one_that_reaches_beyond_in_pieces():
    text = "the New York City Council met"
    marks = [Mark(4, 25, "ORG"), Mark(4, 17, "LOC"), Mark(18, 29, "X"), Mark(8, 12, "Y")]
    html = marked_text(text, marks)
    found = Marked(html)
    assert found.text == text
    assert [tag for tag, _, _ in found.tags] == ["Y", "LOC", "ORG", "X"]
    assert found.tags[:3] == [("Y", 8, 12), ("LOC", 4, 17), ("ORG", 4, 25)]
    assert found.tags[3] == ("X", 25, 29)  # its last piece
    assert len(re.findall('<span class="mner-mark', html)) == 5


def test_a_word_that_can_be_chosen_is_a_label_within_the_entity():
    html = marked_text("Ana Bo", [Mark(0, 6, "PER")], [Choice(0, 3, "w0"), Choice(4, 6, "w1")])
    assert Marked(html).chosen == {"w0": [(0, 3)], "w1": [(4, 6)]}
    assert html.index("mner-mark") < html.index("<label")


def test_no_more_than_some_layers_are_drawn():
    marks = [Mark(0, end, "X") for end in range(1, 40)]
    assert drawn(marks) == [Mark(0, end, "X") for end in range(39, 39 - MOST_LAYERS, -1)]
    html = marked_text(
        "a" * 40, [Mark(start, end, "X") for start in range(40) for end in range(start + 1, 41)]
    )
    assert Marked(html).text == "a" * 40


PLACES = st.tuples(st.integers(0, 30), st.integers(1, 12), st.sampled_from(["PER", "<b>", "x y"]))


@given(st.text(min_size=42, max_size=50), st.lists(PLACES, max_size=12))
def test_any_text_with_any_marks_stays_whole(text, places):
    marks = [Mark(start, start + length, label, "9 %") for start, length, label in places]
    choices = [Choice(start, start + 3, f"w{start}") for start in range(0, 40, 4)]
    found = Marked(marked_text(text, marks, choices))
    assert found.text.replace("\r", "\n") == re.sub("[\0\ud800-\udfff]", "\ufffd", text).replace(
        "\r", "\n"
    )
    ends = sorted((mark.end, f"{mark.label} 9 %") for mark in drawn(marks))
    assert sorted((end, tag) for tag, _, end in found.tags) == ends


def test_labels_and_languages_are_escaped():
    html = marked_text("Ana", [Mark(0, 3, '"><script>', "<i>")], lang='"><script>')
    assert "<script>" not in html and "<i>" not in html
    assert Marked(html).tags[0][0] == '"><script> <i>'


def test_a_types_colour_is_always_the_same():
    assert [colour_of(label) for label in ("PER", "LOC", "ORG", "MISC")] == [0, 1, 2, 3]
    assert colour_of("DRUG") == colour_of("DRUG") in range(COLOURS)
    assert colour_of("\ud800") in range(COLOURS)


def luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, two: str) -> float:
    dark, light = sorted((luminance(one), luminance(two)))
    return (light + 0.05) / (dark + 0.05)


def test_every_colour_is_legible_in_light_and_dark():
    """WCAG's contrast of 4.5, for the text and the tag of an entity."""
    pairs = dict(re.findall(r"--mner-(\w+): light-dark\(([^)]*)\)", STYLE))
    colours = {name: value.split(", ") for name, value in pairs.items()}
    for way in (0, 1):
        for name in ("ink", "muted", "accent"):
            assert contrast(colours[name][way], colours["paper"][way]) >= 4.5
        for number in range(COLOURS):
            tint, tone = re.search(
                rf"\.mner-c{number} {{ --tint: light-dark\((.*?)\); --tone: light-dark\((.*?)\)",
                STYLE,
            ).groups()
            tint, tone = tint.split(", ")[way], tone.split(", ")[way]
            assert contrast(tone, tint) >= 4.5
            assert contrast(colours["ink"][way], tint) >= 4.5


def test_words_joined_by_spaces_have_offsets():
    words = ["Ana", "", "in", "Rom"]
    assert [" ".join(words)[start:end] for start, end in word_offsets(words)] == words
    assert word_offsets([]) == []
