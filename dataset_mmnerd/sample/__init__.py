"""Generated sentences: the embedded sample, and data of any size, without a download."""

from .embedded import SAMPLE_LANGUAGES
from .language import WordsError
from .rows import Plan, load_sample, sample_rows, sample_sentences

__all__ = [
    "SAMPLE_LANGUAGES",
    "Plan",
    "WordsError",
    "load_sample",
    "sample_rows",
    "sample_sentences",
]
