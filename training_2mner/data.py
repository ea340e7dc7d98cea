"""Load the data of a recipe: from files, a folder, the Hub or the sample, as map-style or stream.

    data = load_data(data_arguments)
    data["train"][0]["tokens"], label_names(data["train"])

Images stay undecoded: the data sets are small in memory, and a broken image is masked later. Data
sets with other columns or label types are brought to the usual ones, and labels to valid IOB2
(`dataset_mmnerd.columns`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from datasets import (
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    Image,
    List,
    concatenate_datasets,
)
from datasets import IterableDataset as Stream

from dataset_mmnerd.columns import ColumnError, usual_columns
from dataset_mmnerd.image_lists import has_image_lists, images_of_row, with_image_lists
from dataset_mmnerd.loading import LoadingError, load_named, reading_data_set
from dataset_mmnerd.quoting import quoted, shorten
from dataset_mmnerd.readers import dataset_from_files, labels_of
from dataset_mmnerd.sample import load_sample
from dataset_mmnerd.schema import CONTEXT_COLUMNS, SPLITS, bio_labels, entity_types
from dataset_mmnerd.shards import image_digest
from modeling_2mner.labels_2mner import (
    Span,
    is_bioes,
    labels_from_spans,
    spans_from_labels,
)

from .arguments import DataArguments, RecipeError, TwoMNERTrainingArguments

__all__ = [
    "LABELLED",
    "context_keys",
    "gold_spans",
    "have_images",
    "image_keys",
    "label_names",
    "load_data",
    "loading",
    "longest_first",
    "of_types",
    "prepare",
    "refuse_endless",
    "relabelled",
    "with_same_images",
]

logger = logging.getLogger(__name__)

LABELLED = "labelled"
"""The column that says whether a row's labels are known, where some are not."""


@contextmanager
def loading(what: str, *errors: type[Exception]) -> Iterator[None]:
    """Turn errors of loading `what` from a folder or the Hub into one line.

    Raises:
        RecipeError: in place of such `errors`.
    """
    try:
        yield
    except errors as error:
        reason = shorten(str(error))
        raise RecipeError(f"{what} cannot be loaded, neither folder nor Hub: {reason}") from error


@contextmanager
def refused(*errors: type[Exception]) -> Iterator[None]:
    """Turn errors into a `RecipeError` with the same message."""
    try:
        yield
    except errors as error:
        raise RecipeError(str(error)) from None


def load_data(arguments: DataArguments, known: Sequence[str] | None = None) -> DatasetDict:
    """Load the parts that there are of train, validation and test; images stay undecoded.

    Args:
        arguments: which data.
        known: the labels of a model that exists already. They are those of the data, unless the
            training part has a type that is not among them, or the arguments name the types.

    Raises:
        RecipeError: if the data set cannot be loaded, there is nothing to train on, a column is
            missing, a language is not there, or a label is not among those to be learned.
    """
    columns = None
    if arguments.train_files is not None:
        parts = load_files(arguments, known)
    elif arguments.dataset_name == "sample":
        parts = load_sample(sentences=arguments.sample_sentences)
    else:
        columns = arguments.column_names()
        with loading(f"data set {arguments.dataset_name}", LoadingError):
            if arguments.streaming:
                parts = load_streamed(arguments)
            else:
                parts = load_named(str(arguments.dataset_name), arguments.dataset_config)
    data = DatasetDict(
        {
            split: prepare(parts[split], split, arguments, columns)
            for split in SPLITS
            if split in parts
        }
    )
    if arguments.train_files is None:
        data |= own_parts(arguments)
    if not data.get("train"):
        raise RecipeError("no sentence to train on: the train part is missing or empty")
    learned = labels_to_learn(label_names(data["train"]), known, arguments.entity_types)
    for split, rows in data.items():
        unknown = set(entity_types(label_names(rows))) - set(entity_types(learned))
        if unknown:
            raise RecipeError(
                f"{split}: entities of type {quoted(sorted(unknown)[0])}, those to be learned are "
                f"{shorten(', '.join(entity_types(learned)))}"
            )
        data[split] = relabelled(rows, learned)
    if arguments.unlabelled_files is not None:
        data["train"] = with_unlabelled(data["train"], arguments)
    return data


def with_unlabelled(rows: Dataset, arguments: DataArguments) -> Dataset:
    """The rows and, after them, those of `unlabelled_files`; the column `LABELLED` tells them
    apart. The labels in these files are not used.
    """
    found = read_part(arguments.unlabelled_files or [], arguments)
    more = prepare(found, "unlabelled", arguments)
    rows, more = with_same_images(rows, more)
    parts = [
        part.add_column(LABELLED, [known] * len(part))
        for part, known in ((rows, True), (without_tags(more, label_names(rows)), False))
    ]
    return concatenate_datasets(parts)


def with_same_images(*parts: Dataset) -> list[Dataset]:
    """The same rows; if those of one part have lists of images, those of all parts have."""
    if not any(has_image_lists(rows.features) for rows in parts):
        return list(parts)
    return [with_image_lists(rows) for rows in parts]


def without_tags(rows: Dataset, names: Sequence[str]) -> Dataset:
    """The same rows with the label O everywhere."""
    outside = list(names).index("O")
    return with_tags(rows, lambda tags: [outside] * len(tags), names)


def load_files(arguments: DataArguments, known: Sequence[str] | None) -> dict[str, Dataset]:
    """Read the files of each part. The labels come from the training files, a saved model or the
    arguments. Any other label in a file is an error that names file and line."""
    train_files = arguments.train_files or []
    files = {
        "train": train_files,
        "validation": arguments.validation_files,
        "test": arguments.test_files,
    }
    found = labels_of(train_files, columns=arguments.column_names(), tag_names=arguments.tag_names)
    if len(found) == 1:
        raise RecipeError(f"no entity to learn in {', '.join(train_files)}")
    labels = labels_to_learn(found, known, arguments.entity_types)
    return {
        split: read_part(names, arguments, labels)
        for split, names in files.items()
        if names is not None
    }


def read_part(
    files: Sequence[str], arguments: DataArguments, labels: Sequence[str] | None = None
) -> Dataset:
    """The sentences of some files. Any label that is not among `labels`, if given, is an error."""
    return dataset_from_files(
        files,
        arguments.image_dir,
        labels,
        lang=arguments.language,
        columns=arguments.column_names(),
        tag_names=arguments.tag_names,
    )


def own_parts(arguments: DataArguments) -> dict[str, Dataset]:
    """The parts that files name beside a data set, prepared."""
    files = {"validation": arguments.validation_files, "test": arguments.test_files}
    return {
        split: prepare(read_part(names, arguments), split, arguments)
        for split, names in files.items()
        if names is not None
    }


def labels_to_learn(
    found: Sequence[str], known: Sequence[str] | None, types: Sequence[str] | None
) -> list[str]:
    """The labels, in BIO, that a model learns from sentences with the labels `found`: those of the
    named `types`; or those that it has (`known`), if all that were found are among them."""
    if types is not None:
        return bio_labels(types)
    if known is not None and set(entity_types(found)) <= set(entity_types(known)):
        return bio_labels(entity_types(known))
    return list(found)


def label_names(rows: Dataset | Stream) -> list[str]:
    """The labels of a data set in the order of their ids."""
    return rows.features["ner_tags"].feature.names


def prepare(
    rows: Dataset | Stream,
    split: str,
    arguments: DataArguments,
    columns: Mapping[str, str] | None = None,
) -> Dataset | Stream:
    """Bring a part to the usual columns, leave images undecoded, keep the languages.

    Args:
        rows: the part.
        split: what to call it.
        arguments: which languages, and what the part itself does not tell.
        columns: names of its columns, by the usual ones.
    """
    with refused(ColumnError):
        usual: Any = usual_columns(
            rows,
            split,
            columns=columns,
            lang=arguments.language,
            tag_names=arguments.tag_names,
        )
    rows = usual
    if "image" in rows.column_names:
        image = Image(decode=False)
        several = has_image_lists(rows.features)
        rows = rows.cast_column("image", List(image) if several else image)
    wanted = arguments.languages
    if split in ("train", "validation", "unlabelled") and arguments.train_languages is not None:
        wanted = arguments.train_languages
    if wanted is None:
        return rows
    languages = frozenset(wanted)
    if isinstance(rows, Stream):
        return rows.filter(lambda row: row["lang"] in languages)
    found = rows["lang"][:]
    absent = languages.difference(found)
    if absent:
        raise RecipeError(
            f"{split}: no sentence in {shorten(', '.join(sorted(absent)))}; there are "
            f"{shorten(', '.join(sorted(set(found))))}"
        )
    kept = [index for index, lang in enumerate(found) if lang in languages]
    return rows.select(kept, keep_in_memory=True)


def relabelled(rows: Dataset | Stream, names: Sequence[str]) -> Dataset | Stream:
    """The same rows with other label ids; entities of types that `names` lacks are O."""
    old = label_names(rows)
    if old == list(names):
        return rows
    ids = {name: index for index, name in enumerate(names)}
    types = set(entity_types(names))
    scheme = "BIOES" if is_bioes(names) else "BIO"

    def respelled(tags: Sequence[int]) -> list[int]:
        spans = of_types(spans_from_labels([old[tag] for tag in tags]), types)
        return [ids[label] for label in labels_from_spans(spans, len(tags), scheme)]

    return with_tags(rows, respelled, names)


def with_tags(
    rows: Dataset | Stream, change: Callable[[Sequence[int]], list[int]], names: Sequence[str]
) -> Dataset | Stream:
    """The same rows with other label ids, those of `names`: each sentence's are what `change` makes
    of its old ones."""
    feature = List(ClassLabel(names=list(names)))
    if isinstance(rows, Stream):
        features = Features({**rows.features, "ner_tags": feature})
        return rows.map(lambda row: {"ner_tags": change(row["ner_tags"])}, features=features)
    tags = [change(found) for found in rows["ner_tags"][:]]
    return rows.remove_columns("ner_tags").add_column("ner_tags", tags, feature=feature)


def of_types(spans: Iterable[Span], types: Iterable[str]) -> list[Span]:
    """The entities of some types."""
    return [span for span in spans if span[2] in types]


# Streams ------------------------------------------------------------------------------------------


def refuse_endless(data: DataArguments, training: TwoMNERTrainingArguments) -> None:
    """Refuse settings that do not work with a stream.

    Raises:
        RecipeError: if there is no `max_steps`, or with cached vision features or workers.
    """
    if not data.streaming:
        return
    if training.max_steps <= 0:
        raise RecipeError(
            "streaming: how many sentences a stream holds is not known: expected max_steps, found "
            f"num_train_epochs {training.num_train_epochs:g}"
        )
    if training.cache_vision_features:
        raise RecipeError("streaming: cache_vision_features would have to read the whole stream")
    if training.dataloader_num_workers > 0:
        raise RecipeError(
            "streaming: each worker would read other sentences: expected dataloader_num_workers 0, "
            f"found {training.dataloader_num_workers}"
        )


def load_streamed(arguments: DataArguments) -> dict[str, Stream | Dataset]:
    """Load train as a stream and the other parts in memory; images stay undecoded.

    Raises:
        RecipeError: if the data set does not declare its columns.
    """
    name = str(arguments.dataset_name)
    streams = load_named(name, arguments.dataset_config, streaming=True)
    parts: dict[str, Stream | Dataset] = {}
    for split in SPLITS:
        if split not in streams:
            continue
        rows = streams[split]
        if rows.features is None:
            raise RecipeError(
                f"streaming: {arguments.dataset_name} does not say what its columns are; Parquet "
                "files do, such as `dataset_mmnerd` writes"
            )
        parts[split] = rows
        if split != "train":
            with reading_data_set(name):
                parts[split] = Dataset.from_list(list(rows), features=rows.features)
    return parts


# Rows ---------------------------------------------------------------------------------------------


def gold_spans(dataset: Dataset) -> list[list[Span]]:
    """The gold entities of each row."""
    names = dataset.features["ner_tags"].feature.names
    return [spans_from_labels([names[tag] for tag in tags]) for tags in dataset["ner_tags"]]


def longest_first(dataset: Dataset) -> list[int]:
    """Row numbers from the longest sentence to the shortest: little padding, and if memory falls
    short it does so at once."""
    lengths = [len(tokens) for tokens in dataset["tokens"]]
    return sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)


def image_keys(dataset: Dataset) -> list[str | None]:
    """A key for each row's image: a digest of its content, in the row or in a file (read once); the
    path if the file cannot be read; None without an image. The key of several images is that of a
    set: their keys, sorted, on a line each. `image` must be undecoded."""
    if "image" not in dataset.column_names:
        return [None] * len(dataset)
    by_path: dict[str, str] = {}

    def key(image: dict[str, Any] | None) -> str | None:
        if image is None or image.get("bytes") is not None or image["path"] is None:
            return image_digest(image)
        path = image["path"]
        if path not in by_path:
            by_path[path] = image_digest(path) or path
        return by_path[path]

    found = (map(key, images_of_row(row["image"])) for row in dataset.select_columns("image"))
    return ["\n".join(sorted({one for one in own if one is not None})) or None for own in found]


def have_images(dataset: Dataset) -> list[bool]:
    """Whether each row has an image, readable or not; the images are not read."""
    if "image" not in dataset.column_names:
        return [False] * len(dataset)
    return [
        any(
            part is not None
            for image in images_of_row(row["image"])
            for part in (image or {}).values()
        )
        for row in dataset.select_columns("image")
    ]


def context_keys(dataset: Dataset, fields: Sequence[str] = CONTEXT_COLUMNS) -> list[str | None]:
    """A key for each row's visual context: the context as JSON; None without any.

    Args:
        dataset: the rows.
        fields: the columns that count.
    """
    columns = [column for column in fields if column in dataset.column_names]
    if not columns:
        return [None] * len(dataset)
    return [
        json.dumps(row) if any(row.values()) else None for row in dataset.select_columns(columns)
    ]
