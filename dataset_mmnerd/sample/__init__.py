"""The embedded sample: made-up sentences and drawn images. No download is needed."""

from .rows import SAMPLE_LANGUAGES, load_sample, sample_rows

__all__ = ["SAMPLE_LANGUAGES", "load_sample", "sample_rows"]
