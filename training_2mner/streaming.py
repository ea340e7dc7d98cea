"""Data sets that are read as they come: the training part a stream, the rest loaded.

    parts = load_streamed(data_arguments)
    train = prepared_stream(parts["train"], languages=None)

What is unusual: nobody knows how many sentences a stream holds, so a run's length is its
`max_steps`, and what other data is told in advance (its languages, how often its labels had to be
repaired) is not told of a stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datasets import ClassLabel, Dataset, Features, Image, List, load_dataset
from datasets import IterableDataset as Stream

from dataset_mmnerd.schema import SPLITS, entity_types, to_iob2
from modeling_2mner.labels_2mner import is_bioes, labels_from_spans, spans_from_labels

from .arguments import DataArguments, RecipeError, TwoMNERTrainingArguments

__all__ = ["load_streamed", "prepared_stream", "refuse_endless", "relabelled_stream"]


def refuse_endless(data: DataArguments, training: TwoMNERTrainingArguments) -> None:
    """Stop a run that a stream cannot feed.

    Raises:
        RecipeError: if the run's length depends on the number of sentences, all pictures are to be
            read before, or workers are to share the stream.
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
    """The parts that there are: train as a stream, the others in memory; pictures stay undecoded.

    Raises:
        RecipeError: if the data set does not say what its columns are.
    """
    streams = load_dataset(arguments.dataset_name, arguments.dataset_config, streaming=True)
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
        if "image" in rows.features:
            rows = rows.cast_column("image", Image(decode=False))
        parts[split] = rows
        if split != "train":
            parts[split] = Dataset.from_list(list(rows), features=rows.features)
    return parts


def prepared_stream(rows: Stream, languages: Sequence[str] | None) -> Stream:
    """The same rows with valid IOB2, of some languages only."""
    names = rows.features["ner_tags"].feature.names
    ids = {name: index for index, name in enumerate(names)}

    def repaired(row: dict[str, Any]) -> dict[str, Any]:
        return {"ner_tags": [ids[tag] for tag in to_iob2([names[tag] for tag in row["ner_tags"]])]}

    if languages is not None:
        chosen = frozenset(languages)
        rows = rows.filter(lambda row: row["lang"] in chosen)
    return rows.map(repaired, features=rows.features)


def relabelled_stream(rows: Stream, names: Sequence[str]) -> Stream:
    """The same rows with other label ids; entities of types that `names` lacks are O."""
    old = rows.features["ner_tags"].feature.names
    if old == list(names):
        return rows
    ids = {name: index for index, name in enumerate(names)}
    types = set(entity_types(names))
    scheme = "BIOES" if is_bioes(names) else "BIO"

    def relabelled(row: dict[str, Any]) -> dict[str, Any]:
        spans = spans_from_labels([old[tag] for tag in row["ner_tags"]])
        spans = [span for span in spans if span[2] in types]
        labels = labels_from_spans(spans, len(row["tokens"]), scheme)
        return {"ner_tags": [ids[label] for label in labels]}

    features = Features(rows.features) | {"ner_tags": List(ClassLabel(names=list(names)))}
    return rows.map(relabelled, features=Features(features))
