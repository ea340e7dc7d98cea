"""Answer a stream of inputs in order: batches sorted by length, and reading ahead.

Inputs are read into a bounded buffer, sorted by length, and run in batches of a bounded number of
sub-words, so that little is padding. While a batch runs, the inputs of the next buffer are read,
and their images are decoded in threads. At most two buffers are in memory.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

__all__ = ["answers_in_order", "batches_by_length"]

T = TypeVar("T")
Answer = TypeVar("Answer")


def batches_by_length(
    sizes: Sequence[tuple[int, int, int]], max_tokens: int, most: int | None = None
) -> list[list[int]]:
    """Form batches of sentences of similar length, the longest first.

    Args:
        sizes: for each sentence its windows, the sub-words of the longest of them, and further
            costs, in sub-words.
        max_tokens: the cost of a batch, at most, padding included; a sentence that costs more is a
            batch of its own.
        most: sentences in a batch; by default any number.

    Returns:
        Numbers of sentences; every sentence is in one batch.
    """
    order = sorted(range(len(sizes)), key=lambda row: (sizes[row][1], sizes[row][0]), reverse=True)
    batches: list[list[int]] = []
    windows = length = besides = 0
    for row in order:
        own_windows, own_length, own_besides = sizes[row]
        windows, besides = windows + own_windows, besides + own_besides
        if not batches or windows * length + besides > max_tokens or len(batches[-1]) == most:
            batches.append([])
            windows, length, besides = own_windows, own_length, own_besides
        batches[-1].append(row)
    return batches


def answers_in_order(
    inputs: Iterable,
    prepare: Callable[..., T],
    load: Callable[[T], object],
    cost: Callable[[T], int],
    plan: Callable[[list[T]], list[list[int]]],
    run: Callable[[list[T]], list[Answer]],
    capacity: int,
    workers: int,
) -> Iterator[Answer]:
    """Answer inputs in their order.

    Args:
        inputs: any number of them; they are read in the calling thread.
        prepare: from an input to a sentence; must be fast.
        load: the slow part of preparing a sentence, such as decoding its image; runs in a worker.
        cost: the places that a sentence takes in the buffer.
        plan: from the sentences of a buffer to batches of their numbers.
        run: from the sentences of a batch to their answers.
        capacity: places of the buffer. With 1 each input is answered before the next one is read.
        workers: threads that load; with 0 the calling thread loads between the batches.

    Raises:
        Exception: the error of reading, preparing or loading an input, after the inputs before it
            are answered.
    """
    pool = ThreadPoolExecutor(workers) if workers else None
    ahead = _Ahead(iter(inputs), prepare, load, cost, capacity, pool)
    try:
        ahead.read()
        while sentences := ahead.take():
            answers: dict[int, Answer] = {}
            given = 0
            for batch in plan(sentences):
                if capacity > 1:
                    ahead.read(len(batch))
                found = run([sentences[number] for number in batch])
                answers.update(zip(batch, found, strict=True))
                while given in answers:
                    yield answers.pop(given)
                    given += 1
            ahead.read()
        if ahead.error is not None:
            raise ahead.error
    finally:
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)


class _Ahead(Generic[T]):
    """The buffer that is being filled.

    Attributes:
        error: the error that ended the reading; None at the end of the inputs.
    """

    def __init__(
        self,
        inputs: Iterator,
        prepare: Callable[..., T],
        load: Callable[[T], object],
        cost: Callable[[T], int],
        capacity: int,
        pool: ThreadPoolExecutor | None,
    ):
        self.error: Exception | None = None
        self._inputs, self._prepare, self._load, self._cost = inputs, prepare, load, cost
        self._capacity, self._pool = capacity, pool
        self._sentences: list[T] = []
        self._loading: list[Future | None] = []
        self._used = 0
        self._ended = False

    def read(self, most: int | None = None) -> None:
        """Read until the buffer is full, or at most `most` further inputs."""
        goal = None if most is None else len(self._sentences) + most
        while not self._ended and self._used < self._capacity and len(self._sentences) != goal:
            try:
                sentence = self._prepare(next(self._inputs))
            except StopIteration:
                self._ended = True
            except Exception as error:  # raised after the answers before it
                self._ended, self.error = True, error
            else:
                self._sentences.append(sentence)
                self._used += self._cost(sentence)
                started = None if self._pool is None else self._pool.submit(self._load, sentence)
                self._loading.append(started)

    def take(self) -> list[T]:
        """Wait until all sentences of the buffer are loaded, return them and empty the buffer."""
        sentences, loading = self._sentences, self._loading
        self._sentences, self._loading, self._used = [], [], 0
        for number, (sentence, started) in enumerate(zip(sentences, loading, strict=True)):
            try:
                if started is None:
                    self._load(sentence)
                else:
                    started.result()
            except Exception as error:  # raised after the answers before it
                self._ended, self.error = True, error
                return sentences[:number]
        return sentences
