"""What a row of the data set looks like: the only place that spells columns, labels and languages.

    id                  str            unique within the data set
    tokens              [str]          the words, each with one label
    ner_tags            [ClassLabel]   IOB2, one label a word
    lang                str            ISO 639-1, or "und"
    image               Image | null   null where there is none, or where the named one is missing
    image_id            str | null     the image's name in its source, even if it is missing
    objects             [str] | null   what is seen on the image, null until filled
    captions            [str] | null   sentences about the image, null until filled
    ocr                 [str] | null   what is written on the image, null until filled

The embedded sample has one column more, `decidable_from_text` (`features(labels, sample=True)`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from datasets import ClassLabel, Features, Image, List, Value

DEFAULT_ENTITY_TYPES = ("PER", "LOC", "ORG", "MISC")
SPLITS = ("train", "validation", "test")
UNKNOWN_LANGUAGE = "und"
COLUMNS = ("id", "tokens", "ner_tags", "lang", "image", "image_id", "objects", "captions", "ocr")
CONTEXT_COLUMNS = ("objects", "captions", "ocr")  # the visual context: text made from an image

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
"""The languages whose code is told from file and folder names; a row's own `lang` may be any."""


def bio_labels(entity_types: Iterable[str] = DEFAULT_ENTITY_TYPES) -> list[str]:
    """The IOB2 labels of some entity types, `O` first.

    >>> bio_labels(["PER", "LOC"])
    ['O', 'B-PER', 'I-PER', 'B-LOC', 'I-LOC']
    """
    return ["O"] + [f"{prefix}-{name}" for name in entity_types for prefix in "BI"]


def entity_types(labels: Iterable[str]) -> list[str]:
    """The entity types of some labels: `DEFAULT_ENTITY_TYPES` first, then as they come."""
    found = dict.fromkeys(label[2:] for label in labels if label != "O")
    known = [name for name in DEFAULT_ENTITY_TYPES if name in found]
    return known + [name for name in found if name not in DEFAULT_ENTITY_TYPES]


def features(labels: Sequence[str], *, sample: bool = False) -> Features:
    """The columns as `datasets` types.

    Args:
        labels: the label names, in the order of their ids.
        sample: with the embedded sample's column `decidable_from_text`.
    """
    columns = {
        "id": Value("string"),
        "tokens": List(Value("string")),
        "ner_tags": List(ClassLabel(names=list(labels))),
        "lang": Value("string"),
        "image": Image(),
        "image_id": Value("string"),
        **{column: List(Value("string")) for column in CONTEXT_COLUMNS},
    }
    if sample:
        columns["decidable_from_text"] = Value("bool")
    return Features(columns)


__all__ = [
    "COLUMNS",
    "CONTEXT_COLUMNS",
    "DEFAULT_ENTITY_TYPES",
    "LANGUAGES",
    "SPLITS",
    "UNKNOWN_LANGUAGE",
    "bio_labels",
    "entity_types",
    "features",
]
