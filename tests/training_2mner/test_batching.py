"""Every sentence once an epoch, and batches as the model reads them."""

from collections import Counter
from itertools import islice

import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from modeling_2mner import TwoMNERProcessor
from modeling_2mner.labels_2mner import scheme_labels
from training_2mner.arguments import RecipeError
from training_2mner.batching import (
    LengthGroupedSampler,
    SharedBatches,
    StreamedBatches,
    WordCollator,
    groups_of,
    share_of,
)


@pytest.mark.parametrize("processes", [1, 2, 3, 4])
@pytest.mark.parametrize("rows", range(4, 30))
def test_processes_share_an_epoch_without_rest_or_repetition(rows, processes):
    sampler = LengthGroupedSampler(range(rows), 2 * processes, seed=1)
    shares = [SharedBatches(sampler, 2, process, processes) for process in range(processes)]
    batches = [list(share) for share in shares]
    assert {len(of_one) for of_one in batches} == {len(shares[0])}
    assert sorted(row for of_one in batches for batch in of_one for row in batch) == [*range(rows)]
    for together in zip(*batches, strict=True):
        sizes = [len(batch) for batch in together]
        assert min(sizes) >= 1 and max(sizes) - min(sizes) <= 1


def test_the_processes_of_a_step_share_what_one_process_would_have():
    sampler = LengthGroupedSampler([5] * 16, 4, seed=1)
    (alone,) = (list(SharedBatches(sampler, 4)),)
    shared = [list(SharedBatches(sampler, 2, process, 2)) for process in range(2)]
    assert [first + second for first, second in zip(*shared, strict=True)] == alone


def test_the_last_ones_join_the_group_before_where_they_are_too_few():
    assert list(groups_of(range(9), 4, 2)) == [[0, 1, 2, 3], [4, 5, 6, 7, 8]]
    assert list(groups_of(range(10), 4, 2)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert list(groups_of([], 4, 2)) == []
    assert [share_of([0, 1, 2, 3, 4], process, 2) for process in range(2)] == [[0, 1], [2, 3, 4]]


def test_fewer_sentences_than_processes_are_an_error():
    with pytest.raises(RecipeError, match=r"found 2 sentence.* each of the 3 processes"):
        list(SharedBatches(LengthGroupedSampler([5] * 2, 6, seed=1), 2, 0, 3))
    with pytest.raises(RecipeError, match=r"found 2 sentence.* each of the 3 processes"):
        list(StreamedBatches(stream(2, 1), 1, 2, 2, 3))


def stream(rows: int, shards: int):
    numbers = Dataset.from_dict({"number": list(range(rows))})
    return numbers.to_iterable_dataset(num_shards=shards).shuffle(seed=3, buffer_size=4)


def numbers(batches) -> list[int]:
    return [row["number"] for batch in batches for row in batch]


@pytest.mark.parametrize("shards", [1, 3, 4])
@pytest.mark.parametrize("processes", [1, 2])
def test_a_stream_is_seen_once_an_epoch_by_all_processes_together(shards, processes):
    """13 rows in batches of 2: the epochs do not end where batches do."""
    per_epoch = {1: 7, 2: 3}[processes]
    seen: list[Counter] = [Counter(), Counter()]
    orders: list[list[int]] = [[], []]
    for process in range(processes):
        batches = StreamedBatches(stream(13, shards), 2 * per_epoch, 2, process, processes)
        loader = DataLoader(batches, batch_size=None, collate_fn=list)
        assert len(loader) == 2 * per_epoch
        iterator = iter(loader)
        for epoch in range(2):
            met = numbers(islice(iterator, per_epoch))
            seen[epoch].update(met)
            orders[epoch] += met
    assert seen[0] == seen[1] == Counter(range(13))
    assert orders[0] != orders[1]


def test_an_empty_stream_is_an_error():
    with pytest.raises(RecipeError, match="the stream is empty"):
        list(StreamedBatches(stream(3, 1).filter(lambda row: False), 1, 2))


# The collator and the order ----------------------------------------------------------------------


@pytest.fixture
def collator(encoders, labels):
    processor = TwoMNERProcessor.from_text_vision_pretrained(*encoders, labels=labels)
    return WordCollator(processor, labels)


def test_a_batch_is_as_wide_as_its_longest_sentence(collator, rows):
    batch = collator([rows[0], rows[3]])
    assert batch["labels"].shape == batch["word_mask"].shape == (2, 9)
    assert batch["labels"][0].tolist() == [1, 0, 0] + [-100] * 6
    assert batch["word_mask"].sum(1).tolist() == [3, 9]


def test_missing_and_broken_images_are_masks(collator, rows):
    batch = collator(list(rows))
    assert batch["image_mask"].tolist() == [True, True, True, False, True, False]
    assert batch["pixel_values"].shape[0] == len(rows)


def test_a_text_only_model_reads_rows_with_images(encoders, rows, labels):
    processor = TwoMNERProcessor.from_text_vision_pretrained(encoders[0], labels=labels)
    assert "pixel_values" not in WordCollator(processor, labels)(list(rows))


def test_rows_without_an_image_column_are_read(collator, rows):
    batch = collator(list(rows.remove_columns("image")))
    assert not batch["image_mask"].any()


def test_labels_are_those_of_the_model_whatever_their_ids_in_the_data(encoders, rows, labels):
    bioes = scheme_labels(("LOC", "PER"), "BIOES")
    processor = TwoMNERProcessor.from_text_vision_pretrained(*encoders, labels=bioes)
    batch = WordCollator(processor, labels)([rows[3]])
    names = [bioes[index] for index in batch["labels"][0]]
    assert names == ["B-PER", "E-PER", "O", "O", "S-LOC", "O", "O", "O", "S-LOC"]


def test_visual_context_is_read_where_the_processor_reads_it(encoders, context_rows, labels):
    for budget, fields in ((8, ["objects"]), (8, ["ocr"]), (0, ["objects"])):
        processor = TwoMNERProcessor.from_text_vision_pretrained(
            encoders[0], labels=labels, context_budget=budget, context_fields=fields
        )
        batch = WordCollator(processor, labels)(list(context_rows))
        assert ("context_mask" in batch) is (budget > 0)
        if budget:
            has_context = [bool(row[fields[0]]) for row in context_rows]
            assert batch["context_mask"].any(1).tolist() == has_context
    bare = context_rows.select_columns(["tokens", "ner_tags"])
    processor = TwoMNERProcessor.from_text_vision_pretrained(
        encoders[0], labels=labels, context_budget=8
    )
    assert not WordCollator(processor, labels)(list(bare))["context_mask"].any()


@given(st.lists(st.integers(1, 60), min_size=1, max_size=200), st.integers(1, 9), st.integers(0, 3))
def test_every_epoch_meets_every_sentence_once(lengths, batch_size, epoch):
    sampler = LengthGroupedSampler(lengths, batch_size, seed=1, pool=4)
    sampler.set_epoch(epoch)
    assert sorted(sampler) == list(range(len(lengths)))
    assert len(sampler) == len(lengths)


def padding(lengths: list[int], order: list[int], batch_size: int) -> int:
    """Words of padding that batches in this order carry."""
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    return sum(max(lengths[i] for i in b) * len(b) - sum(lengths[i] for i in b) for b in batches)


def test_grouping_saves_most_of_the_padding():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 60, (1003,), generator=generator).tolist()
    grouped = list(LengthGroupedSampler(lengths, 16, seed=0))
    assert padding(lengths, grouped, 16) < 0.2 * padding(lengths, list(range(1003)), 16)


def test_epochs_differ_and_repeat_themselves():
    sampler = LengthGroupedSampler(list(range(1, 60)), 4, seed=5)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    sampler.set_epoch(0)
    assert second != first
    assert list(sampler) == first


def test_long_sentences_come_at_any_time():
    lengths = list(range(1, 1001))
    order = list(LengthGroupedSampler(lengths, 10, seed=0, pool=10))
    halves = [sum(lengths[i] for i in order[:500]), sum(lengths[i] for i in order[500:])]
    assert min(halves) > 0.4 * sum(lengths)
