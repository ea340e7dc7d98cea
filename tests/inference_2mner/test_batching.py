"""What waits together runs together, and nobody gets another's answer."""

import asyncio
import threading
from typing import Any

import pytest

from inference_2mner.batching import Batcher, ClosingError, QueueFullError, Work


class Model:
    """Doubles what it is given, and waits in its first batch until it is told to go on."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.started, self.go_on = threading.Event(), threading.Event()

    def run(self, contents: list[Any]) -> list[Any]:
        self.batches.append(list(contents))
        self.started.set()
        assert self.go_on.wait(30)
        if "bad" in contents:
            raise ValueError("bad")
        return [2 * content for content in contents]


def tried(model: Model, behind, **settings: Any) -> list[Any]:
    """Run `behind(batcher)` while the model is busy with "first". The tasks that it gives are
    awaited when the model has gone on."""

    async def all_of_it() -> list[Any]:
        defaults = {"batch_tokens": 20, "delay": 0.0, "most_inputs": 50, "most_tokens": 200}
        batcher = Batcher(model.run, **{**defaults, **settings})
        batcher.start()
        first = asyncio.create_task(asked(batcher, "first", 3))
        await asyncio.to_thread(model.started.wait, 30)
        tasks = await behind(batcher)
        await asyncio.sleep(0)
        model.go_on.set()
        found = await asyncio.gather(first, *tasks, return_exceptions=True)
        batcher.close()
        await batcher.drain()
        assert batcher.lengths() == (0, 0, 0, 0)
        return found

    return asyncio.run(all_of_it())


async def asked(batcher: Batcher, content: Any, length: int, kind: Any = None) -> Any:
    with batcher.place(1):
        (answer,) = await batcher.answers([Work(content, 1, length, kind=kind)])
        return answer


def test_a_batch_is_the_oldest_and_what_is_nearest_to_it_in_length():
    model = Model()

    async def behind(batcher):
        lengths = {"a": 5, "b": 9, "c": 4, "d": 5, "e": 6, "long": 50, "f": 9}
        return [asyncio.create_task(asked(batcher, *item)) for item in lengths.items()]

    found = tried(model, behind)
    assert found == ["firstfirst", *(2 * name for name in ("a", "b", "c", "d", "e", "long", "f"))]
    assert model.batches == [["first"], ["a", "d", "c"], ["b", "f"], ["e"], ["long"]]


def test_work_waits_for_company_only_after_work_that_came_together():
    """With a delay of an hour: one by one is answered at once, and after a batch of two a lone one
    waits."""
    model = Model()
    model.go_on.set()

    async def all_of_it():
        batcher = Batcher(model.run, batch_tokens=6, delay=3600.0, most_inputs=50, most_tokens=200)
        batcher.start()
        for name in ("a", "b"):
            assert await asyncio.wait_for(asked(batcher, name, 3), 30) == 2 * name
        async with asyncio.timeout(30):
            with batcher.place(2):
                await batcher.answers([Work(name, 1, 3, kind=None) for name in ("c", "d")])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asked(batcher, "e", 3), 0.3)
        batcher.close()
        await batcher.drain()

    asyncio.run(all_of_it())
    assert model.batches == [["a"], ["b"], ["c", "d"]]


def test_only_work_of_a_kind_is_run_together():
    model = Model()

    async def behind(batcher):
        kinds = {"a": 1, "b": 2, "c": 1}
        return [asyncio.create_task(asked(batcher, name, 3, kind)) for name, kind in kinds.items()]

    tried(model, behind)
    assert model.batches == [["first"], ["a", "c"], ["b"]]


def test_one_that_fails_fails_alone():
    model = Model()

    async def behind(batcher):
        return [asyncio.create_task(asked(batcher, name, 3)) for name in ("a", "bad", "b")]

    _, one, bad, other = tried(model, behind)
    assert (one, other) == ("aa", "bb")
    assert isinstance(bad, ValueError)


def test_work_whose_caller_is_gone_is_not_run():
    model = Model()

    async def behind(batcher):
        gone = asyncio.create_task(asked(batcher, "gone", 3))
        stays = asyncio.create_task(asked(batcher, "stays", 3))
        await asyncio.sleep(0.01)
        assert batcher.lengths() == (2, 6, 1, 3)
        gone.cancel()
        await asyncio.wait([gone])
        assert batcher.lengths() == (1, 3, 1, 2)
        return [stays]

    assert tried(model, behind) == ["firstfirst", "staysstays"]
    assert model.batches == [["first"], ["stays"]]


def test_a_full_queue_and_one_that_is_closed_take_nothing():
    model = Model()

    async def behind(batcher):
        with pytest.raises(QueueFullError) as caught, batcher.place(3):
            pass
        assert 1 <= caught.value.retry_after <= 60
        held = asyncio.create_task(asked(batcher, "held", 150))
        await asyncio.sleep(0.01)
        with pytest.raises(QueueFullError):
            await asked(batcher, "too long", 60)
        batcher.close()
        with pytest.raises(ClosingError):
            await asked(batcher, "late", 3)
        return [held]

    assert tried(model, behind, most_inputs=3) == ["firstfirst", "heldheld"]
