"""Split a text into words with their offsets. Standard library only.

The rules are versioned. A processor saves the version that its model was trained with, and splits
text by that version. To change a rule, add a version: the rules of a version never change.
"""

import re
import unicodedata
from functools import lru_cache

__all__ = ["WORD_RULES", "check_word_rules", "split_into_words"]

WORD_RULES = 1
"""The newest version of the rules; all from 1 on are known."""

UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)
"""Scripts without spaces between words (Thai, Lao, Burmese, Khmer, Japanese, Chinese): each
character is a word."""

ADDRESS = re.compile(r"(?:https?://|www\.)\S*[\w/]")

WORD = re.compile(
    r"[@#][wd][wdm]*"  # @name, #tag
    r"|d+(?:[.,]d+)+"  # 1,000.5
    r"|(?:w\.){2,}w?"  # U.S.A.
    r"|[wd][wdm]*(?:[-'][wd][wdm]*)*"  # word, word-word, word'word
    r"|rr?"  # a flag
    r"|[^s]m*(?:jm*[^s]m*)*"  # anything else, with its marks and what is joined to it
)
"""A word, as a pattern over the kinds of its characters (see `_kind`)."""

ELISIONS = {"c", "d", "j", "jusqu", "l", "lorsqu", "m", "n", "puisqu", "qu", "quoiqu", "s", "t"}
"""French words before an apostrophe."""

CLITICS = {"d", "ll", "m", "re", "s", "t", "ve"}
"""English words behind an apostrophe."""

LONGEST_ELISION = max(map(len, ELISIONS))
LONGEST_CLITIC = max(map(len, CLITICS))


def check_word_rules(version: int) -> None:
    """Check that a version of the rules is known.

    Raises:
        TypeError: if it is not an integer.
        ValueError: if it is not a version that this code knows.
    """
    if type(version) is not int:
        raise TypeError(f"word_rules is a {type(version).__name__}, expected an integer")
    if version < 1:
        raise ValueError(f"word_rules is {version}, expected 1 or more")
    if version > WORD_RULES:
        raise ValueError(
            f"word_rules is {version}, the newest version that this code knows is {WORD_RULES}: "
            "the model was made with a later release of 2M-NER, update it"
        )


def split_into_words(text: str, rules: int = WORD_RULES) -> list[tuple[int, int]]:
    """Split a text into words, as the data sets of the field do.

    Punctuation stands alone; French elisions (`l'`, `qu'`) and English clitics (`'s`, `n't`) are
    words of their own; numbers, hyphenated words, addresses, @names, #tags and emoji stay whole.
    The time is linear in the length of the text.

    Args:
        text: any string; it is not changed.
        rules: the version of the rules.

    Returns:
        For each word its characters `[start, end)`, in order; all but spaces belong to a word.

    Raises:
        TypeError, ValueError: if the version is not known (see `check_word_rules`).
    """
    check_word_rules(rules)
    kinds = "".join(map(_kind, text))
    words = []
    position = 0
    while position < len(text):
        address = ADDRESS.match(text, position)
        found = address or WORD.match(kinds, position)
        if found is None:
            position += 1
        else:
            position = found.end()
            words += [found.span()] if address else _split_at_apostrophes(text, *found.span())
    return words


@lru_cache(4096)
def _kind(character: str) -> str:
    """The kind of a character: s(pace), m(ark), j(oiner), u(nspaced), d(igit), r(egional
    indicator), w(ord), one of -'.,@# or p(unctuation and all else)."""
    if character.isspace():
        return "s"
    if character == "\u200d":
        return "j"
    category = unicodedata.category(character)
    if UNSPACED.match(character) and category[0] != "M":
        return "u"
    if category[0] == "M" or category == "Cf" or "\U0001f3fb" <= character <= "\U0001f3ff":
        return "m"
    if "\U0001f1e6" <= character <= "\U0001f1ff":
        return "r"
    if category == "Nd":
        return "d"
    if category[0] in "LN" or character == "_":
        return "w"
    return {"’": "'", "‐": "-"}.get(character, character if character in "-'.,@#" else "p")


def _split_at_apostrophes(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Split off the elisions before and the clitic behind the word `[start, end)`."""
    words = []
    for position in range(start + 1, end - 1):
        if text[position] not in "'’" or position <= start:  # `start` moves behind each elision
            continue
        # The length is compared first, so that the time stays linear in a word of apostrophes.
        if position - start <= LONGEST_ELISION and text[start:position].lower() in ELISIONS:
            words.append((start, position + 1))
            start = position + 1
        elif end - position - 1 <= LONGEST_CLITIC:
            clitic = text[position + 1 : end].lower()
            if clitic in CLITICS:
                cut = position - (clitic == "t" and text[position - 1] in "nN")
                return [*words, (start, cut), (cut, end)]
    return [*words, (start, end)]
