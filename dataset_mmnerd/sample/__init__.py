"""Generated sentences: the embedded sample, and data of any size, without a download."""

from .embedded import embedded_languages
from .rows import SAMPLE_LANGUAGES, Plan, load_sample, sample_rows, sample_sentences
from .words import WordsError

__all__ = [
    "SAMPLE_LANGUAGES",
    "Plan",
    "WordsError",
    "embedded_languages",
    "load_sample",
    "sample_rows",
    "sample_sentences",
]
