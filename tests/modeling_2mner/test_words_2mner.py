"""A text is split into words by rules, in linear time."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modeling_2mner.words_2mner import (
    CLITICS,
    ELISIONS,
    WORD_RULES,
    _split_at_apostrophes,
    split_into_words,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Merkel's dog didn't come!", ["Merkel", "'s", "dog", "did", "n't", "come", "!"]),
        ("Elle dit qu’aujourd'hui l'Oréal", ["Elle", "dit", "qu’", "aujourd'hui", "l'", "Oréal"]),
        ("d'O'Neill", ["d'", "O'Neill"]),
        ("Die Baden-Württemberger", ["Die", "Baden-Württemberger"]),
        ("¿Qué, México?", ["¿", "Qué", ",", "México", "?"]),
        ("3.14 or 1,000,000.50.", ["3.14", "or", "1,000,000.50", "."]),
        ("U.S.A. today", ["U.S.A.", "today"]),
        ("@jack at #NLP_2, www.x.org/a?b.", ["@jack", "at", "#NLP_2", ",", "www.x.org/a?b", "."]),
        ("cafe\u0301 nai\u0308ve", ["cafe\u0301", "nai\u0308ve"]),
        ("👩🏽‍🚀🇫🇷🇩🇪ok", ["👩🏽‍🚀", "🇫🇷", "🇩🇪", "ok"]),
        ("東京へ", ["東", "京", "へ"]),
        ("שלום, عالم!", ["שלום", ",", "عالم", "!"]),
        ("", []),
        (" \t\n", []),
    ],
)  # fmt: skip
def test_words_are_cut_as_the_data_sets_cut_them(text, words):
    assert [text[start:end] for start, end in split_into_words(text)] == words


@given(st.text())
def test_words_cover_everything_but_the_spaces_in_order(text):
    spans = split_into_words(text)
    assert all(start < end for start, end in spans)
    assert "".join(text[start:end] for start, end in spans) == "".join(text.split())
    assert spans == sorted(spans)


# Apostrophes


def split_by_recursion(text, start, end):
    """What the rules say of the word `[start, end)`, without a thought for long ones."""
    for position in range(start + 1, end - 1):
        if text[position] in "'’":
            left, right = text[start:position].lower(), text[position + 1 : end].lower()
            if left in ELISIONS:
                return [(start, position + 1), *split_by_recursion(text, position + 1, end)]
            if right in CLITICS:
                cut = position - (right == "t" and left.endswith("n"))
                return [(start, cut), (cut, end)]
    return [(start, end)]


parts = st.sampled_from(
    [*ELISIONS, *CLITICS, "'", "’", "n't", "N'T", "L'", "a", "été", "İ", "ſ", "1", "-", "\u200d"]
)


@given(st.lists(parts, min_size=1, max_size=12).map("".join))
@example("l'l'a's")
@example("'\u200d''\u200d's")
def test_apostrophes_are_split_as_by_the_plain_recursion(text):
    assert _split_at_apostrophes(text, 0, len(text)) == split_by_recursion(text, 0, len(text))


class Metered(str):
    """A text that counts the characters that are read from it one by one and by slices."""

    read = 0

    def __iter__(self):
        self.read += len(self)
        return super().__iter__()

    def __getitem__(self, key):
        part = super().__getitem__(key)
        self.read += len(part)
        return part


@pytest.mark.parametrize(
    "text",
    [
        "l'" * 1500 + "a",
        "l'" * 50_000 + "a",
        "a'" * 50_000 + "a",
        "'" * 100_000,
        "'\u200d" * 50_000,
    ],
    ids=["elisions", "more elisions", "no elisions", "apostrophes alone", "joined apostrophes"],
)
def test_each_character_is_read_a_bounded_number_of_times(text):
    metered = Metered(text)
    spans = split_into_words(metered)
    assert [end for _, end in spans[:-1]] == [start for start, _ in spans[1:]]
    assert (spans[0][0], spans[-1][1]) == (0, len(text))
    assert metered.read <= 12 * len(text)


# Versions


def test_the_rules_have_versions():
    assert split_into_words("l'été", rules=1) == split_into_words("l'été")


@pytest.mark.parametrize(
    ("version", "error", "message"),
    [
        (WORD_RULES + 1, ValueError, "word_rules is 2, the newest version .* is 1: .* update it"),
        (0, ValueError, "word_rules is 0, expected 1 or more"),
        ("1", TypeError, "word_rules is a str, expected an integer"),
        (True, TypeError, "word_rules is a bool, expected an integer"),
        (None, TypeError, "word_rules is a NoneType, expected an integer"),
    ],
)
def test_a_version_that_is_not_known_is_refused(version, error, message):
    with pytest.raises(error, match=message):
        split_into_words("a", rules=version)
