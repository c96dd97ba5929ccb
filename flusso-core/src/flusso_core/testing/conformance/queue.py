"""The conformance kit of queues."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from random import Random

import pytest

from flusso_core.interfaces import Queue
from flusso_core.model import Change, ChangeBatch, Operation, Position, TableName
from flusso_core.testing.conformance.promise import Promise, shown

GUIDE = "write-a-queue.md"

ORDER = Promise("batches come out once each, in the order in which they went in", GUIDE)
WHOLE = Promise("a batch comes out as it went in", GUIDE)
BOUNDED = Promise("`put` blocks while the queue is full, and goes on when there is room", GUIDE)
GIANT = Promise("a batch larger than the whole queue goes in once the queue is empty", GUIDE)
WAITS = Promise("`get` blocks while there is nothing, and `get_nowait` returns `None`", GUIDE)
CLEARED = Promise("`clear` forgets every batch, and lets a blocked `put` go on", GUIDE)
DURABLE = Promise("what a durable queue has taken outlives the process, until it is `done`", GUIDE)
STORED = Promise("`stored` is the end of the last whole commit, and nothing comes twice", GUIDE)
CLOSES = Promise("`close` may come twice", GUIDE)
CANCELLED = Promise("a cancelled `put` adds nothing, and a cancelled `get` takes nothing", GUIDE)

CAPACITY = 10
_TABLE = TableName("schéma", 'ta"ble')
_TURNS = 50


class QueueBench(ABC):
    """Makes queues and looks into them.

    ```python
    class MemoryQueueBench(QueueBench):
        @asynccontextmanager
        async def queue(self, capacity: int) -> AsyncGenerator[Queue, None]:
            yield MemoryQueue(capacity)

        async def held(self, queue: Queue) -> int:
            return queue.held
    ```
    """

    @abstractmethod
    def queue(self, capacity: int) -> AbstractAsyncContextManager[Queue]:
        """A new, empty queue that holds so many changes; leaving the context closes it.

        A durable one is opened for a stream that begins below 0.
        """

    def again(self, capacity: int) -> AbstractAsyncContextManager[Queue]:
        """What the last `queue` has stored, opened anew as after a kill; for durable queues.

        Raises:
            NotImplementedError: the bench has none; a durable queue is not tested without.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no `again`: a durable queue is opened anew by the checks; "
            f"docs/how-to/{GUIDE}"
        )

    @abstractmethod
    async def held(self, queue: Queue) -> int:
        """How many changes wait in it, an empty batch counting as one; read past the queue
        where it stores them anywhere.
        """


class QueueConformance:
    """Everything that the engine relies on in a queue.

    Subclass it and give a fixture `bench` that returns a `QueueBench`:

    ```python
    class TestMemoryQueue(QueueConformance):
        @pytest.fixture
        def bench(self) -> MemoryQueueBench:
            return MemoryQueueBench()
    ```
    """

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def bench(self) -> QueueBench:
        """The author's bench.

        Raises:
            NotImplementedError: the class gives none.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no fixture `bench` that returns a QueueBench; "
            f"docs/how-to/{GUIDE}"
        )

    async def test_batches_keep_their_order(self, bench: QueueBench) -> None:
        """However puts, gets and `get_nowait` take turns."""
        random = Random(5)
        batches = [_batch(order, random.randrange(4)) for order in range(60)]
        waiting: deque[ChangeBatch] = deque()
        async with bench.queue(CAPACITY * 30) as queue:
            for batch in batches:
                await _soon(queue.put(batch), "put")
                waiting.append(batch)
                while waiting and random.random() < 0.5:
                    found = queue.get_nowait() if random.random() < 0.5 else await _get(queue)
                    _same(ORDER, found, waiting.popleft(), "in the midst")
            while waiting:
                _same(ORDER, await _get(queue), waiting.popleft(), "at the end")
            ORDER.same(queue.get_nowait(), None, "after the last")

    async def test_a_batch_comes_out_as_it_went_in(self, bench: QueueBench) -> None:
        """Its position, transactions and time; images with NULLs, unknown columns, any text."""
        changes = [
            Change(_TABLE, Operation.UPSERT, None, {"id": "1", "name": None, "ünï": "\x00 😀\n"}),
            Change(_TABLE, Operation.UPSERT, {}, {"id": ""}),
            Change(_TABLE, Operation.DELETE, {"id": '"'}, None),
            Change(_TABLE, Operation.TRUNCATE, None, None),
        ]
        batches = [
            ChangeBatch(changes, None, (2**63 - 1, 3), 1767225600.123456),
            ChangeBatch((), Position(2**63 - 1, "token 😀"), (), None),
        ]
        async with bench.queue(CAPACITY) as queue:
            for batch in batches:
                await _soon(queue.put(batch), "put")
            for batch in batches:
                _same(WHOLE, await _get(queue), batch, "after `get`")

    @pytest.mark.parametrize("size", [0, 1, 4], ids="{} changes a batch".format)
    async def test_a_producer_blocks_while_it_is_full(self, bench: QueueBench, size: int) -> None:
        """Keepalives are bounded too: an idle stream goes on while a destination is dead."""
        async with bench.queue(CAPACITY) as queue:
            fitting = CAPACITY // max(1, size)
            for order in range(fitting):
                await _soon(queue.put(_batch(order, size)), "put into a queue with room")
            blocked = asyncio.create_task(queue.put(_batch(fitting, size)))
            await _turns()
            if blocked.done():
                raise BOUNDED.broken(f"{fitting + 1} batches of {size} in {CAPACITY} changes")
            held = await bench.held(queue)
            BOUNDED.same(held, fitting * max(1, size), "what waits in a full queue")
            await _get(queue)
            await BOUNDED.within(blocked, "put into a queue that has room again", seconds=5)

    async def test_a_giant_goes_into_an_empty_queue(self, bench: QueueBench) -> None:
        """And nothing else beside it."""
        async with bench.queue(CAPACITY) as queue:
            await queue.put(_batch(0, 1))
            giant = asyncio.create_task(queue.put(_batch(1, CAPACITY * 3)))
            await _turns()
            if giant.done():
                raise GIANT.broken("it went in beside another batch")
            await _get(queue)
            await GIANT.within(giant, "put of a giant into an empty queue", seconds=5)
            after = asyncio.create_task(queue.put(_batch(2, 1)))
            await _turns()
            if after.done():
                raise BOUNDED.broken("a batch went in beside a giant")
            ORDER.same(len((await _get(queue)).changes), CAPACITY * 3, "the giant")
            await BOUNDED.within(after, "put into a queue that has room again", seconds=5)

    async def test_a_consumer_waits_for_a_batch(self, bench: QueueBench) -> None:
        """It is woken when there is one."""
        async with bench.queue(CAPACITY) as queue:
            WAITS.same(queue.get_nowait(), None, "`get_nowait` of an empty queue")
            waiting = asyncio.create_task(queue.get())
            await _turns()
            if waiting.done():
                raise WAITS.broken("`get` of an empty queue returned")
            batch = _batch(1, 1)
            await _soon(queue.put(batch), "put")
            found = await WAITS.within(waiting, "`get` after a put", seconds=5)
            _same(WAITS, found, batch, "`get` after a put")

    async def test_a_cancelled_put_adds_nothing(self, bench: QueueBench) -> None:
        """And blocks no other."""
        async with bench.queue(CAPACITY) as queue:
            await queue.put(_batch(0, CAPACITY))
            await _cancel(asyncio.create_task(queue.put(_batch(1, 2))))
            await _get(queue)
            CANCELLED.same(queue.get_nowait(), None, "after a cancelled put")
            await _soon(queue.put(_batch(2, 1)), "put after a cancelled one")
            _same(ORDER, await _get(queue), _batch(2, 1), "after a cancelled put")

    async def test_a_cancelled_get_takes_nothing(self, bench: QueueBench) -> None:
        """Also where it is cancelled at the moment at which a batch comes."""
        async with bench.queue(CAPACITY) as queue:
            await _cancel(asyncio.create_task(queue.get()))
            racing = asyncio.create_task(queue.get())
            await _turns()
            await _soon(queue.put(_batch(1, 1)), "put")
            racing.cancel()
            await asyncio.wait([racing])
            found = queue.get_nowait() if racing.cancelled() else racing.result()
            _same(CANCELLED, found, _batch(1, 1), "after a cancelled `get`")

    async def test_many_producers_lose_nothing(self, bench: QueueBench) -> None:
        """Each one's batches stay in order, and the bound holds throughout."""
        producers, each = 5, 20

        async def produce(producer: int) -> None:
            for number in range(each):
                await queue.put(_batch(producer * each + number, 1 + number % 3))

        orders: list[int] = []
        async with bench.queue(CAPACITY) as queue, asyncio.TaskGroup() as tasks:
            for producer in range(producers):
                tasks.create_task(produce(producer))
            while len(orders) < producers * each:
                held = await bench.held(queue)
                if held > CAPACITY:
                    raise BOUNDED.broken(f"{held} changes wait in a queue of {CAPACITY}")
                batch = await _get(queue)
                orders.append(batch.position.order if batch.position else -1)
        for producer in range(producers):
            own = [order for order in orders if order // each == producer]
            expected = list(range(producer * each, (producer + 1) * each))
            ORDER.same(own, expected, f"producer {producer}")

    async def test_clear_forgets_and_lets_go(self, bench: QueueBench) -> None:
        """Nobody will take a batch any more: the capture must not wait for that."""
        async with bench.queue(CAPACITY) as queue:
            await _soon(queue.put(_batch(0, CAPACITY)), "put")
            blocked = asyncio.create_task(queue.put(_batch(1, 1)))
            await _turns()
            await CLEARED.within(queue.clear(), "clear")
            await CLEARED.within(blocked, "a blocked put after `clear`", seconds=5)
            held = await bench.held(queue)
            if held > 1:
                raise CLEARED.broken(f"{held} changes wait after `clear`")

    async def test_what_was_put_outlives_the_process(self, bench: QueueBench) -> None:
        """Taken or not; what the sink has is forgotten, and nothing else."""
        async with bench.queue(CAPACITY) as queue:
            for order in range(1, 5):
                await _soon(queue.put(_batch(order, 1)), "put")
            await _get(queue)
            await _get(queue)
            await DURABLE.within(queue.done(Position(1, "1")), "done")
            if not queue.durable:
                return
        async with bench.again(CAPACITY) as queue:
            DURABLE.same(await bench.held(queue), 3, "what waits after a kill")
            for order in range(2, 5):
                _same(DURABLE, await _get(queue), _batch(order, 1), "after a kill")

    async def test_only_whole_commits_are_stored(self, bench: QueueBench) -> None:
        """The source is confirmed up to `stored`; what it then delivers again is not added."""
        async with bench.queue(CAPACITY) as queue:
            if not queue.durable:
                return
            await _soon(queue.put(_batch(1, 1)), "put")
            piece = replace(_batch(2, 2), position=None)
            await _soon(queue.put(piece), "put of a piece")
            STORED.same(queue.stored.order, 1, "after a piece of a commit")
            await _soon(queue.put(_batch(2, 1)), "put of its end")
            STORED.same(queue.stored.order, 2, "after the end of the commit")
            await _soon(queue.put(_batch(2, 1)), "put of what was delivered before")
            await _soon(queue.put(replace(piece)), "put of a piece")
        async with bench.again(CAPACITY) as queue:
            STORED.same(queue.stored.order, 2, "after a kill")
            STORED.same(await bench.held(queue), 4, "what waits, without a commit's beginning")
            for batch in (_batch(1, 1), piece, _batch(2, 1)):
                _same(STORED, await _get(queue), batch, "after a kill")
            STORED.same(queue.get_nowait(), None, "after the last")

    async def test_close_may_come_twice(self, bench: QueueBench) -> None:
        """As all that is opened may be closed twice."""
        async with bench.queue(CAPACITY) as queue:
            await CLOSES.within(queue.close(), "close")
        await CLOSES.within(queue.close(), "a second close")


def _batch(order: int, changes: int) -> ChangeBatch:
    change = Change(_TABLE, Operation.DELETE, {"id": str(order)}, None)
    return ChangeBatch((change,) * changes, Position(order, str(order)))


def _same(promise: Promise, found: ChangeBatch | None, expected: ChangeBatch, when: str) -> None:
    """Compare whole batches; what kind of sequence they hold does not matter."""
    promise.same(None if found is None else _plain(found), _plain(expected), when)


def _plain(batch: ChangeBatch) -> Mapping[str, object]:
    position = batch.position
    return {
        "changes": [tuple(change) for change in batch.changes],
        "position": None if position is None else (position.order, position.token),
        "transactions": list(batch.transactions),
        "committed_at": batch.committed_at,
    }


async def _get(queue: Queue) -> ChangeBatch:
    return await WAITS.within(queue.get(), "`get` while there are batches", seconds=5)


async def _soon(operation: Awaitable[None], doing: str) -> None:
    await BOUNDED.within(operation, doing, seconds=5)


async def _turns() -> None:
    """Let every task that can run, run; and threads, where a queue writes in one."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)


async def _cancel(task: asyncio.Task[object] | asyncio.Task[None]) -> None:
    await _turns()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await CANCELLED.within(task, f"a cancelled task, {shown(task.get_name())}", seconds=5)
