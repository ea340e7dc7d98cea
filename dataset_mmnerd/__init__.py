"""MMNERD as a data set: text, labels and images in, a `datasets` data set out.

>>> from dataset_mmnerd import dataset_from_files, load_sample
>>> load_sample()["train"][0]["tokens"]
>>> dataset_from_files(["de/val.conllu", "my_tweets_en.txt"], image_dir="images")
"""

from .columns import usual_columns
from .labels import repair_labels
from .readers import MalformedLineError, dataset_from_files, read_file
from .sample import load_sample
from .schema import DEFAULT_ENTITY_TYPES, bio_labels, features

__all__ = [
    "DEFAULT_ENTITY_TYPES",
    "MalformedLineError",
    "bio_labels",
    "dataset_from_files",
    "features",
    "load_sample",
    "read_file",
    "repair_labels",
    "usual_columns",
]
