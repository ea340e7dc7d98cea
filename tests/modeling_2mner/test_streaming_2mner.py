"""Batches of like length, and answers in order from a bounded buffer."""

import threading
from itertools import count, islice

import pytest

from modeling_2mner.streaming_2mner import answers_in_order, batches_by_length


def doubled(inputs, capacity=4, workers=2, load=lambda number: None, run=None, batch=3):
    """Twice each number, in batches that begin with the largest."""

    def prepare(number):
        if number is None:
            raise TypeError("no number")
        return number

    def plan(numbers):
        order = sorted(range(len(numbers)), key=lambda place: -numbers[place])
        return [order[first : first + batch] for first in range(0, len(order), batch)]

    return answers_in_order(
        inputs,
        prepare=prepare,
        load=load,
        cost=lambda number: 1,
        plan=plan,
        run=run or (lambda numbers: [2 * number for number in numbers]),
        capacity=capacity,
        workers=workers,
    )


def test_batches_are_of_like_length_and_hold_to_the_budget():
    sizes = [(1, length, 0) for length in (5, 30, 7, 31, 6, 29)] + [(9, 64, 0), (1, 8, 20)]
    batches = batches_by_length(sizes, 100)
    assert sorted(row for batch in batches for row in batch) == list(range(len(sizes)))
    assert batches == [[6], [3, 1, 5], [7, 2, 4, 0]]
    for batch in batches[1:]:
        windows = sum(sizes[row][0] for row in batch)
        assert (
            windows * max(sizes[row][1] for row in batch) + sum(sizes[row][2] for row in batch)
            <= 100
        )
    assert all(len(batch) <= 2 for batch in batches_by_length(sizes, 10**9, 2))
    assert batches_by_length([], 100) == []


@pytest.mark.parametrize("capacity", [1, 2, 5, 100])
@pytest.mark.parametrize("workers", [0, 3])
def test_answers_come_in_order(capacity, workers):
    numbers = [5, 1, 9, 9, 0, 3, 8]
    assert list(doubled(iter(numbers), capacity, workers)) == [2 * number for number in numbers]
    assert list(doubled(iter([]), capacity, workers)) == []


def test_at_most_two_buffers_are_read_ahead_of_the_answers():
    read = 0

    def numbers():
        nonlocal read
        for number in count():
            read += 1
            yield number

    answers = doubled(numbers(), capacity=10)
    for given, answer in enumerate(islice(answers, 55)):
        assert answer == 2 * given
        assert read <= given + 20
    answers.close()


def test_with_room_for_one_an_input_is_answered_before_the_next_is_read():
    waiting = []
    answers = doubled(iter(waiting.pop, None), capacity=1)
    for number in range(3):
        waiting.append(number)
        assert next(answers) == 2 * number


def test_what_follows_is_loaded_while_a_batch_is_run():
    loaded = {number: threading.Event() for number in range(8)}

    def run(numbers):
        if 0 in numbers:  # of the first buffer, whose batches wait for the second one's loading
            assert all(loaded[number].wait(10) for number in (4, 5, 6))
        return numbers

    inputs = iter(range(8))
    answers = doubled(inputs, load=lambda number: loaded[number].set(), run=run, batch=3)
    assert list(answers) == list(range(8))


def test_an_error_is_raised_in_its_place_after_the_answers_before_it():
    def broken():
        yield from (1, 2, 3, 4, 5)
        raise OSError("the stream broke")

    def load(number):
        if number == 7:
            raise ValueError("seven")

    for inputs, error, before in (
        (iter([3, 1, None, 5]), TypeError, 2),
        (broken(), OSError, 5),
        (iter([1, 2, 3, 4, 5, 7, None]), ValueError, 5),
    ):
        for workers in (0, 2):
            answers = doubled(inputs, load=load, workers=workers)
            found = list(islice(answers, before))
            assert len(found) == before
            with pytest.raises(error):
                next(answers)
            break
