"""Wrong queues, each caught by the check that is there for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import pytest

from flusso_core.interfaces import Queue
from flusso_core.model import ChangeBatch, Position
from flusso_core.queue.memory import MemoryQueue
from flusso_core.testing.benches import MemoryQueueBench
from flusso_core.testing.conformance import QueueConformance

from .mutants import Mutant, assert_caught, failing


class LastInFirstOut(MemoryQueue):
    def get_nowait(self) -> ChangeBatch | None:
        self._batches.rotate(1)
        return super().get_nowait()


class DropsTruncates(MemoryQueue):
    async def put(self, batch: ChangeBatch) -> None:
        kept = [change for change in batch.changes if change.before or change.after]
        await super().put(replace(batch, changes=kept))


class ForgetsNull(MemoryQueue):
    """An image's NULL becomes an unknown column, as where JSON leaves out what is null."""

    async def put(self, batch: ChangeBatch) -> None:
        kept = [
            change._replace(
                after=change.after
                and {name: text for name, text in change.after.items() if text is not None}
            )
            for change in batch.changes
        ]
        await super().put(replace(batch, changes=kept))


class Unbounded(MemoryQueue):
    def __init__(self, capacity: int) -> None:
        super().__init__(capacity * 1000)


class CountsKeepalivesAsNothing(MemoryQueue):
    async def put(self, batch: ChangeBatch) -> None:
        if batch.changes:
            await super().put(batch)
        else:
            self._batches.append(batch)
            self._held += 1
            self._filled.set()


class RefusesGiants(MemoryQueue):
    async def put(self, batch: ChangeBatch) -> None:
        while len(batch.changes) > self._capacity:
            await asyncio.sleep(1)
        await super().put(batch)


class LetsGiantsIn(MemoryQueue):
    async def put(self, batch: ChangeBatch) -> None:
        if len(batch.changes) > self._capacity:
            self._batches.append(batch)
            self._held += len(batch.changes)
            self._filled.set()
        else:
            await super().put(batch)


class LosesWhatACancelledPutHeld(MemoryQueue):
    """The room stays taken by whoever gave up waiting."""

    async def put(self, batch: ChangeBatch) -> None:
        try:
            await super().put(batch)
        except asyncio.CancelledError:
            self._batches.append(batch)
            self._held += 1
            raise


class TakesBeforeItIsAsked(MemoryQueue):
    """A `get` that is cancelled has the batch already."""

    _waiting: asyncio.Task[ChangeBatch] | None = None

    async def get(self) -> ChangeBatch:
        taking = asyncio.ensure_future(super().get())
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            self._waiting = taking
            raise


class WakesNobody(MemoryQueue):
    async def get(self) -> ChangeBatch:
        while (batch := self.get_nowait()) is None:
            await asyncio.sleep(3600)
        return batch


class KeptQueue(MemoryQueue):
    """An honest durable queue: what it has taken is in a list that outlives it."""

    durable = True

    def __init__(self, capacity: int, kept: list[ChangeBatch]) -> None:
        super().__init__(capacity)
        ends = [number for number, batch in enumerate(kept, 1) if batch.position]
        del kept[ends[-1] if ends else 0 :]
        self.kept = kept
        self._stored = Position(-1, "")
        for batch in kept:
            self.take_back(batch)

    @property
    def stored(self) -> Position:
        return self._stored

    def take_back(self, batch: ChangeBatch) -> None:
        self._batches.append(batch)
        self._held += max(1, len(batch.changes))
        self._stored = batch.position or self._stored

    async def put(self, batch: ChangeBatch) -> None:
        if batch.position is not None and batch.position <= self._stored:
            return
        await super().put(batch)
        self.kept.append(batch)
        self._stored = batch.position or self._stored

    async def done(self, position: Position) -> None:
        while self.kept and (self.kept[0].position or position) <= position:
            del self.kept[0]

    async def clear(self) -> None:
        await super().clear()
        self.kept.clear()


class ForgetsWhatWasTaken(KeptQueue):
    def get_nowait(self) -> ChangeBatch | None:
        batch = super().get_nowait()
        if batch is not None and batch in self.kept:
            self.kept.remove(batch)
        return batch


class NeverForgets(KeptQueue):
    async def done(self, position: Position) -> None:
        """It comes again after each restart."""


class StoresPieces(KeptQueue):
    """A piece of a commit counts as stored: the source is told too much."""

    async def put(self, batch: ChangeBatch) -> None:
        await super().put(batch)
        if batch.position is None:
            self._stored = Position(self._stored.order + 1, "")


class AddsAgain(KeptQueue):
    async def put(self, batch: ChangeBatch) -> None:
        await MemoryQueue.put(self, batch)
        self.kept.append(batch)
        self._stored = batch.position or self._stored


class NeverClears(MemoryQueue):
    async def clear(self) -> None:
        """Whoever waits, waits on."""


class KeptBench(MemoryQueueBench):
    """Its queues' batches are in a list."""

    def __init__(self, make: type[KeptQueue] = KeptQueue) -> None:
        super().__init__()
        self._kept: list[ChangeBatch] = []
        self._kind = make

    @asynccontextmanager
    async def queue(self, capacity: int) -> AsyncGenerator[Queue, None]:
        self._kept = []
        async with self.again(capacity) as queue:
            yield queue

    @asynccontextmanager
    async def again(self, capacity: int) -> AsyncGenerator[Queue, None]:
        yield self._kind(capacity, self._kept)


def mutant(make: type[MemoryQueue], wrong: str, caught_by: str, *also: str) -> Mutant:
    if issubclass(make, KeptQueue):
        return Mutant(make.__name__, wrong, partial(KeptBench, make), caught_by, frozenset(also))
    bench = partial(MemoryQueueBench, make)
    return Mutant(make.__name__, wrong, bench, caught_by, frozenset(also))


MUTANTS = {
    made.name: made
    for made in (
        mutant(
            LastInFirstOut,
            "gives the newest batch first",
            "test_batches_keep_their_order",
            "test_a_batch_comes_out_as_it_went_in",
            "test_many_producers_lose_nothing",
        ),
        mutant(
            DropsTruncates, "drops changes without an image", "test_a_batch_comes_out_as_it_went_in"
        ),
        mutant(ForgetsNull, "takes NULL for unknown", "test_a_batch_comes_out_as_it_went_in"),
        mutant(
            Unbounded,
            "has no bound",
            "test_a_producer_blocks_while_it_is_full",
            "test_a_giant_goes_into_an_empty_queue",
            "test_a_cancelled_put_adds_nothing",
            "test_many_producers_lose_nothing",
        ),
        mutant(
            CountsKeepalivesAsNothing,
            "lets keepalives in without a bound",
            "test_a_producer_blocks_while_it_is_full",
        ),
        mutant(
            RefusesGiants,
            "never takes a batch larger than itself",
            "test_a_giant_goes_into_an_empty_queue",
        ),
        mutant(
            LetsGiantsIn,
            "takes a giant beside other batches",
            "test_a_giant_goes_into_an_empty_queue",
        ),
        mutant(
            LosesWhatACancelledPutHeld,
            "adds what a cancelled put gave up",
            "test_a_cancelled_put_adds_nothing",
        ),
        mutant(
            TakesBeforeItIsAsked,
            "loses the batch of a cancelled get",
            "test_a_cancelled_get_takes_nothing",
        ),
        mutant(
            WakesNobody,
            "wakes no waiting consumer",
            "test_a_consumer_waits_for_a_batch",
            "test_many_producers_lose_nothing",
        ),
        mutant(
            ForgetsWhatWasTaken, "forgets what was taken", "test_what_was_put_outlives_the_process"
        ),
        mutant(
            NeverForgets, "never forgets what is done", "test_what_was_put_outlives_the_process"
        ),
        mutant(
            StoresPieces,
            "has the source confirmed in a commit",
            "test_only_whole_commits_are_stored",
        ),
        mutant(AddsAgain, "adds what was delivered before", "test_only_whole_commits_are_stored"),
        mutant(NeverClears, "keeps what nobody will take", "test_clear_forgets_and_lets_go"),
    )
}


KITS = ((QueueConformance, MUTANTS),)


def test_the_honest_queue_passes() -> None:
    assert failing(QueueConformance, MemoryQueueBench) == set()
    assert failing(QueueConformance, KeptBench) == set()


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_queue_is_caught(name: str) -> None:
    assert_caught(QueueConformance, MUTANTS[name])
