"""The languages that have frames and names in the package: `languages/*/{frames,names}.txt`."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

from .language import Language
from .words import TextFile, lines_of, read_language

INTERNATIONAL = "international"
"""The name of the embedded file with names that are the same in many languages."""

SAMPLE_LANGUAGES = ("en", "fr", "de", "es")
"""The languages that have frames and names in the package."""


@lru_cache(maxsize=16)
def embedded_language(lang: str) -> Language:
    """The embedded frames and names of a language."""
    return read_language(lang, embedded_frames(lang), embedded_names(lang))


def embedded_frames(lang: str) -> list[tuple[TextFile, str]]:
    """The file of a language's embedded frames."""
    return [(_embedded(lang, "frames.txt"), f"{lang}/frames.txt")]


def embedded_names(lang: str) -> list[tuple[TextFile, str]]:
    """The files of a language's embedded names."""
    return [(_embedded(lang, "names.txt"), f"{lang}/names.txt"), international_names()]


def international_names() -> tuple[TextFile, str]:
    """The file of names that are the same in many languages."""
    return _embedded(f"{INTERNATIONAL}.txt"), f"{INTERNATIONAL}.txt"


@lru_cache(maxsize=1)
def invented_names() -> tuple[str, ...]:
    """The embedded names without a meaning, for sentences whose image decides."""
    file = resources.files(__package__) / "invented.txt"
    return tuple(line for _, line in lines_of(file, "invented.txt"))


def _embedded(*names: str) -> TextFile:
    return resources.files(__package__).joinpath("languages", *names)


__all__ = [
    "INTERNATIONAL",
    "SAMPLE_LANGUAGES",
    "embedded_frames",
    "embedded_language",
    "embedded_names",
    "international_names",
    "invented_names",
]
