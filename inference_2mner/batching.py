"""Dynamic batching: what waits together is run together, by one thread.

A batch holds the work that waits longest, and of the rest what is nearest to it in length, within a
budget of sub-words that counts padding. Nothing waits more than `delay` seconds for company, and
nothing waits while work comes one by one; while a batch runs, what comes meanwhile waits anyway.

The queue is bounded in inputs and in sub-words. Work whose caller is gone leaves it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["Batcher", "ClosingError", "Observer", "QueueFullError", "Work"]

logger = logging.getLogger(__name__)

SHORTEST_WAIT, LONGEST_WAIT = 1, 60
"""Seconds after which one may try again."""


class QueueFullError(Exception):
    """No room for more work.

    Attributes:
        retry_after: seconds after which there should be room.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__("the queue is full")
        self.retry_after = retry_after


class ClosingError(Exception):
    """No more work is taken."""


@dataclass(eq=False)
class Work:
    """One input, ready to be run.

    Attributes:
        content: what the model is given.
        windows, length: rows of sub-words, and the sub-words of the longest of them.
        besides: further costs, in sub-words.
        kind: only work of the same kind is run together.
    """

    content: Any
    windows: int
    length: int
    besides: int = 0
    kind: Hashable = None
    answer: asyncio.Future = field(init=False, repr=False)
    since: float = field(init=False, default=0.0)

    @property
    def tokens(self) -> int:
        """Its cost, in sub-words."""
        return self.windows * self.length + self.besides


class Observer(Protocol):
    """Is told of each batch, in the thread that runs it."""

    def batch(self, inputs: int, tokens: int, seconds: float) -> None: ...


class Batcher:
    """The queue and the thread that runs what is in it. Its methods are for one event loop.

    Args:
        run: from the contents of a batch to their answers; an answer may be an exception.
        batch_tokens: sub-words of a batch, at most; work that has more is a batch of its own.
        delay: seconds that work waits for company; it does not wait while work comes one by one,
            that is, after a batch of one.
        most_inputs: inputs that are being prepared, waiting or running, at most.
        most_tokens: sub-words that wait, at most.
        observer: is told of each batch.
    """

    def __init__(
        self,
        run: Callable[[list[Any]], Sequence[Any]],
        *,
        batch_tokens: int,
        delay: float,
        most_inputs: int,
        most_tokens: int,
        observer: Observer | None = None,
    ) -> None:
        self._run, self._observer = run, observer
        self._batch_tokens, self._delay = batch_tokens, delay
        self._most_inputs, self._most_tokens = most_inputs, most_tokens
        self._changed = threading.Condition()
        self._waiting: dict[Work, None] = {}
        self._tokens = self._running = self._held = 0
        self._closing = self._stopped = False
        self._in_company = False  # whether the last batch had several inputs
        self._seconds_a_token = 0.0
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)

    def start(self) -> None:
        """Start the thread; call it in the event loop that is to be given the answers."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def lengths(self) -> tuple[int, int, int, int]:
        """Inputs and sub-words that wait, inputs that run, and inputs that are held."""
        return len(self._waiting), self._tokens, self._running, self._held

    @property
    def closing(self) -> bool:
        return self._closing

    @property
    def held(self) -> int:
        """Inputs that are being prepared, waiting or running."""
        return self._held

    @contextmanager
    def place(self, inputs: int) -> Iterator[None]:
        """Hold room for some inputs, from before they are prepared until they are answered.

        Raises:
            QueueFullError: if there is none.
            ClosingError: after `close`.
        """
        if self._closing:
            raise ClosingError
        if self._held + inputs > self._most_inputs:
            raise self._full()
        self._held += inputs
        try:
            yield
        finally:
            self._held -= inputs

    async def answers(self, works: Sequence[Work]) -> list[Any]:
        """Run work, together with what else waits.

        Cancelled, the work leaves the queue, if it does not run yet.

        Raises:
            QueueFullError: if the queue has too many sub-words.
            Exception: what `run` raised, or gave as an answer.
        """
        now = time.monotonic()
        for work in works:
            work.answer, work.since = self._loop.create_future(), now
        with self._changed:
            tokens = sum(work.tokens for work in works)
            if self._waiting and self._tokens + tokens > self._most_tokens:
                raise self._full()
            self._waiting.update(dict.fromkeys(works))
            self._tokens += tokens
            self._changed.notify()
        try:
            return await asyncio.gather(*(work.answer for work in works))
        finally:
            with self._changed:
                for work in works:
                    self._remove(work)

    def close(self) -> None:
        """Take no more work. What is held is answered."""
        self._closing = True

    async def drain(self) -> None:
        """Wait until nothing is held, and end the thread."""
        while self._held:
            await asyncio.sleep(0.02)
        with self._changed:
            self._stopped = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)

    def _full(self) -> QueueFullError:
        wait = math.ceil(self._tokens * self._seconds_a_token)
        return QueueFullError(min(max(wait, SHORTEST_WAIT), LONGEST_WAIT))

    def _remove(self, work: Work) -> None:
        if work in self._waiting:
            del self._waiting[work]
            self._tokens -= work.tokens

    # The thread -----------------------------------------------------------------------------------

    def _work(self) -> None:
        while batch := self._take():
            started = time.monotonic()
            answers = self._answer(batch)
            seconds = time.monotonic() - started
            tokens = sum(work.tokens for work in batch)
            rate = seconds / tokens
            self._seconds_a_token += (rate - self._seconds_a_token) / 8
            self._running = 0
            if self._observer is not None:
                self._observer.batch(len(batch), tokens, seconds)
            self._loop.call_soon_threadsafe(_deliver, batch, answers)

    def _take(self) -> list[Work]:
        """Wait for a batch; an empty one ends the thread."""
        with self._changed:
            while not self._stopped:
                if not self._waiting:
                    self._changed.wait()
                    continue
                delay = self._delay if self._in_company else 0.0
                patience = next(iter(self._waiting)).since + delay - time.monotonic()
                if patience <= 0 or self._tokens >= self._batch_tokens or self._closing:
                    batch = self._chosen()
                    for work in batch:
                        self._remove(work)
                    self._running = len(batch)
                    self._in_company = len(batch) > 1
                    return batch
                self._changed.wait(patience)
        return []

    def _chosen(self) -> list[Work]:
        """The work that waits longest, and what is nearest to it in length."""
        oldest = next(iter(self._waiting))
        alike = (work for work in self._waiting if work.kind == oldest.kind)
        chosen: list[Work] = []
        windows = length = besides = 0
        for work in sorted(alike, key=lambda work: abs(work.length - oldest.length)):
            windows, besides = windows + work.windows, besides + work.besides
            length = max(length, work.length)
            if chosen and windows * length + besides > self._batch_tokens:
                break
            chosen.append(work)
        return chosen

    def _answer(self, batch: list[Work]) -> Sequence[Any]:
        """The answers, or the exceptions, of a batch. If it fails, each work is run alone, so that
        one does not fail the others."""
        try:
            return self._run([work.content for work in batch])
        except Exception as error:
            if len(batch) == 1:
                return [error]
            logger.warning("a batch of %d failed (%s); each is run alone", len(batch), error)
            return [self._answer([work])[0] for work in batch]


def _deliver(batch: list[Work], answers: Sequence[Any]) -> None:
    """In the event loop: give each work its answer, unless its caller is gone."""
    for work, answer in zip(batch, answers, strict=True):
        if work.answer.done():
            continue
        if isinstance(answer, Exception):
            work.answer.set_exception(answer)
        else:
            work.answer.set_result(answer)
