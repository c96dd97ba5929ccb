from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flusso_core.hookspecs import QueueContext
from flusso_core.model import Change, ChangeBatch, Operation, Position, TableName
from flusso_core.queue import plugin
from flusso_core.queue.memory import DEFAULT_CAPACITY, MemoryQueue, MemoryQueueOptions

CHANGE = Change(TableName("public", "users"), Operation.DELETE, {"id": "1"}, None)


def batch(changes: int, order: int = 0) -> ChangeBatch:
    return ChangeBatch(changes=(CHANGE,) * changes, position=Position(order, str(order)))


async def settle() -> None:
    """Let every task that can run, run."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_batches_come_out_in_the_order_they_went_in() -> None:
    queue = MemoryQueue(10)
    batches = [batch(1, order) for order in range(5)]
    for item in batches:
        await queue.put(item)
    assert [await queue.get() for _ in batches] == batches
    assert queue.get_nowait() is None


async def test_a_producer_blocks_while_the_queue_is_full_and_goes_on_when_there_is_room() -> None:
    queue = MemoryQueue(10)
    await queue.put(batch(4))
    await queue.put(batch(6))
    blocked = asyncio.create_task(queue.put(batch(1)))
    await settle()
    assert not blocked.done()
    await queue.get()
    await asyncio.wait_for(blocked, 5)
    assert queue.held == 7


async def test_a_batch_larger_than_the_bound_fits_an_empty_queue_only() -> None:
    queue = MemoryQueue(10)
    await queue.put(batch(1))
    giant = asyncio.create_task(queue.put(batch(1000)))
    await settle()
    assert not giant.done()
    await queue.get()
    await asyncio.wait_for(giant, 5)
    assert queue.held == 1000
    after = asyncio.create_task(queue.put(batch(1)))
    await settle()
    assert not after.done()
    await queue.get()
    await asyncio.wait_for(after, 5)


async def test_keepalives_are_bounded_too() -> None:
    queue = MemoryQueue(3)
    for _ in range(3):
        await queue.put(batch(0))
    blocked = asyncio.create_task(queue.put(batch(0)))
    await settle()
    assert not blocked.done()
    assert queue.get_nowait() is not None
    await asyncio.wait_for(blocked, 5)


async def test_a_waiting_giant_is_not_overtaken_by_small_batches_of_others() -> None:
    queue = MemoryQueue(10)
    await queue.put(batch(8))
    giant = asyncio.create_task(queue.put(batch(9, 1)))
    await settle()
    small = asyncio.create_task(queue.put(batch(1, 2)))
    await settle()
    assert not small.done()
    await queue.get()
    await asyncio.wait_for(asyncio.gather(giant, small), 5)
    assert [(await queue.get()).position for _ in range(2)] == [Position(1, ""), Position(2, "")]


async def test_a_consumer_blocks_until_there_is_a_batch() -> None:
    queue = MemoryQueue()
    waiting = asyncio.create_task(queue.get())
    await settle()
    assert not waiting.done()
    item = batch(1)
    await queue.put(item)
    assert await asyncio.wait_for(waiting, 5) is item


async def test_a_cancelled_producer_adds_nothing_and_lets_the_next_one_in() -> None:
    queue = MemoryQueue(1)
    await queue.put(batch(1, 1))
    cancelled = asyncio.create_task(queue.put(batch(1, 2)))
    following = asyncio.create_task(queue.put(batch(1, 3)))
    await settle()
    cancelled.cancel()
    await settle()
    assert cancelled.cancelled()
    assert (await queue.get()).position == Position(1, "")
    assert (await asyncio.wait_for(queue.get(), 5)).position == Position(3, "")
    await asyncio.wait_for(following, 5)
    assert queue.get_nowait() is None


async def test_a_cancelled_consumer_takes_nothing() -> None:
    queue = MemoryQueue()
    waiting = asyncio.create_task(queue.get())
    await settle()
    waiting.cancel()
    await settle()
    await queue.put(batch(1))
    assert queue.get_nowait() is not None


@given(
    sizes=st.lists(st.integers(0, 30), max_size=40),
    capacity=st.integers(1, 20),
    nowait=st.booleans(),
)
def test_nothing_is_lost_or_reordered_and_the_bound_holds(
    sizes: Sequence[int], capacity: int, nowait: bool
) -> None:
    async def scenario() -> list[int]:
        queue = MemoryQueue(capacity)
        taken: list[int] = []

        async def produce() -> None:
            for order, size in enumerate(sizes):
                await queue.put(batch(size, order))
                assert queue.held <= capacity or queue.held == size

        async def consume() -> None:
            while len(taken) < len(sizes):
                item = queue.get_nowait() if nowait else None
                if item is None:
                    item = await queue.get()
                assert item.position is not None
                taken.append(item.position.order)

        async with asyncio.timeout(10):
            await asyncio.gather(produce(), consume())
        assert queue.held == 0
        return taken

    assert asyncio.run(scenario()) == list(range(len(sizes)))


def test_the_plugin_makes_a_queue_of_the_configured_capacity() -> None:
    descriptor = plugin.flusso_queue()
    assert descriptor.name == "memory"
    queue = descriptor.create(QueueContext(lane="main", options=MemoryQueueOptions(capacity=5)))
    assert isinstance(queue, MemoryQueue)
    assert MemoryQueueOptions().capacity == DEFAULT_CAPACITY


@pytest.mark.parametrize("table", [{"capacity": 0}, {"capacity": "5"}, {"size": 5}])
def test_options_that_make_no_sense_are_refused(table: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        MemoryQueueOptions.model_validate(table)


def test_a_capacity_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        MemoryQueue(0)
