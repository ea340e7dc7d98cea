"""Data sets that are read as they come: the training part a stream, the rest loaded.

    refuse_endless(data_arguments, training_arguments)
    parts = load_streamed(data_arguments)

What is unusual: nobody knows how many sentences a stream holds, so a run's length is its
`max_steps`, and what other data is told in advance (its languages, how often its labels had to be
repaired) is not told of a stream.
"""

from __future__ import annotations

from datasets import Dataset
from datasets import IterableDataset as Stream

from dataset_mmnerd.loading import load_named, reading_data_set
from dataset_mmnerd.schema import SPLITS

from .arguments import DataArguments, RecipeError, TwoMNERTrainingArguments

__all__ = ["load_streamed", "refuse_endless"]


def refuse_endless(data: DataArguments, training: TwoMNERTrainingArguments) -> None:
    """Stop a run that a stream cannot feed.

    Raises:
        RecipeError: if the run's length depends on the number of sentences, all images are to be
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
    """The parts that there are: train as a stream, the others in memory; images stay undecoded.

    Raises:
        RecipeError: if the data set does not say what its columns are.
    """
    streams = load_named(arguments.dataset_name, arguments.dataset_config, streaming=True)
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
            with reading_data_set(arguments.dataset_name):
                parts[split] = Dataset.from_list(list(rows), features=rows.features)
    return parts
