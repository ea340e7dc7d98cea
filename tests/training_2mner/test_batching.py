"""Every sentence once an epoch, whoever reads it."""

from collections import Counter
from itertools import islice

import pytest
from datasets import Dataset
from torch.utils.data import DataLoader

from training_2mner.arguments import RecipeError
from training_2mner.batching import SharedBatches, StreamedBatches, groups_of, share_of
from training_2mner.collator import LengthGroupedSampler


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
