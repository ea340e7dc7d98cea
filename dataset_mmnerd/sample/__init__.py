"""The embedded sample: generated sentences and drawn images, without a download."""

from .rows import SAMPLE_LANGUAGES, load_sample, sample_rows, sample_sentences

__all__ = ["SAMPLE_LANGUAGES", "load_sample", "sample_rows", "sample_sentences"]
