"""The columns, labels and languages of the data set.

    id                  str            unique within the data set
    tokens              [str]          the words, each with one label
    ner_tags            [ClassLabel]   IOB2, one label a word
    lang                str            ISO 639-1, or "und"
    image               Image | null   null if there is none, or if the named one is missing
    image_id            str | null     the image's name in its source, even if it is missing
    objects             [str] | null   names of objects on the image, null until filled
    captions            [str] | null   sentences about the image, null until filled
    ocr                 [str] | null   lines of text on the image, null until filled

Where sentences have several images (`features(labels, several=True)`) these two are

    image               [Image | null] | null  in the order of the source, null for a missing one
    image_id            [str] | null           their names

The embedded sample also has (`features(labels, sample=True)`)

    decidable_from_text bool           false: only the image tells the type of the one entity
    object_box          [float] | null where the object lies that the image shows: left, top, right
                                       and bottom, 0 to 1; null without an image
    object_image        int | null     the number of that image, from 0, where there are several
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from datasets import ClassLabel, Features, Image, List, Value

from .labels import scheme_labels

DEFAULT_ENTITY_TYPES = ("PER", "LOC", "ORG", "MISC")
SPLITS = ("train", "validation", "test")
UNKNOWN_LANGUAGE = "und"
ALL_LANGUAGES = "all"  # the configuration that holds all languages
COLUMNS = ("id", "tokens", "ner_tags", "lang", "image", "image_id", "objects", "captions", "ocr")
CONTEXT_COLUMNS = ("objects", "captions", "ocr")  # the visual context: text made from an image

Row = dict[str, Any]

LANGUAGES = {
    "ar": "Arabic",
    "bg": "Bulgarian",
    "ca": "Catalan",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "et": "Estonian",
    "eu": "Basque",
    "fa": "Persian",
    "fi": "Finnish",
    "fr": "French",
    "gl": "Galician",
    "he": "Hebrew",
    "hi": "Hindi",
    "hr": "Croatian",
    "hu": "Hungarian",
    "id": "Indonesian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "lt": "Lithuanian",
    "lv": "Latvian",
    "nl": "Dutch",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sk": "Slovak",
    "sl": "Slovenian",
    "sr": "Serbian",
    "sv": "Swedish",
    "sw": "Swahili",
    "th": "Thai",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "ur": "Urdu",
    "vi": "Vietnamese",
    "zh": "Chinese",
}
"""The languages that are recognised in file and folder names. A row's `lang` may be any other."""


def bio_labels(entity_types: Iterable[str] = DEFAULT_ENTITY_TYPES) -> list[str]:
    """The IOB2 labels of entity types, `O` first.

    >>> bio_labels(["PER", "LOC"])
    ['O', 'B-PER', 'I-PER', 'B-LOC', 'I-LOC']
    """
    return scheme_labels(list(entity_types))


def entity_types(labels: Iterable[str]) -> list[str]:
    """The entity types of labels: `DEFAULT_ENTITY_TYPES` first, then others in their order."""
    return in_usual_order(label[2:] for label in labels if label != "O")


def in_usual_order(types: Iterable[str]) -> list[str]:
    """Entity types, each once: `DEFAULT_ENTITY_TYPES` first, then others in their order."""
    found = dict.fromkeys(types)
    known = [name for name in DEFAULT_ENTITY_TYPES if name in found]
    return known + [name for name in found if name not in DEFAULT_ENTITY_TYPES]


def features(labels: Sequence[str], *, sample: bool = False, several: bool = False) -> Features:
    """The columns as `datasets` types.

    Args:
        labels: the label names, in the order of their ids.
        sample: add the columns of the embedded sample, `decidable_from_text` and `object_box`; and
            `object_image` with several images.
        several: sentences have several images.
    """
    columns = {
        "id": Value("string"),
        "tokens": List(Value("string")),
        "ner_tags": List(ClassLabel(names=list(labels))),
        "lang": Value("string"),
        "image": List(Image()) if several else Image(),
        "image_id": List(Value("string")) if several else Value("string"),
        **{column: List(Value("string")) for column in CONTEXT_COLUMNS},
    }
    if sample:
        columns["decidable_from_text"] = Value("bool")
        columns["object_box"] = List(Value("float64"))
    if sample and several:
        columns["object_image"] = Value("int32")
    return Features(columns)


__all__ = [
    "ALL_LANGUAGES",
    "COLUMNS",
    "CONTEXT_COLUMNS",
    "DEFAULT_ENTITY_TYPES",
    "LANGUAGES",
    "SPLITS",
    "UNKNOWN_LANGUAGE",
    "Row",
    "bio_labels",
    "entity_types",
    "features",
    "in_usual_order",
]
