"""Wrong queues, each caught by the check that is there for it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

import pytest

from flusso_core.model import ChangeBatch
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


def mutant(make: type[MemoryQueue], wrong: str, caught_by: str, *also: str) -> Mutant:
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
    )
}


KITS = ((QueueConformance, MUTANTS),)


def test_the_honest_queue_passes() -> None:
    assert failing(QueueConformance, MemoryQueueBench) == set()


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_queue_is_caught(name: str) -> None:
    assert_caught(QueueConformance, MUTANTS[name])
