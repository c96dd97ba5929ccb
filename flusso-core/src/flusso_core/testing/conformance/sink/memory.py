"""Checks of what a destination remembers: records, the lease, the epoch."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

from flusso_core.errors import SinkFatal
from flusso_core.testing.conformance.promise import Promise
from flusso_core.testing.conformance.samples import (
    GENERATION,
    OTHER,
    SAMPLE,
    content,
    record,
    upsert,
)
from flusso_core.testing.conformance.sink.bench import GUIDE, SinkBench, SinkChecks, writing

RECORDS = Promise(
    "a stored record is durable and comes back as it was, in the next run; without `records` "
    "nothing is remembered",
    GUIDE,
)
EPOCHS = Promise("each run's epoch is higher than any before it (without `records`: 1)", GUIDE)
WAITS = Promise("with `records`, a run waits for the lease while another one renews it", GUIDE)
FENCED = Promise("with `records`, a run that was taken over can write nothing more", GUIDE)


class MemoryChecks(SinkChecks):
    """Each check fails with the promise that was broken."""

    async def test_records_come_back_as_they_were(self, bench: SinkBench) -> None:
        """Every field, each record replacing that of its own index only."""
        first = [record(SAMPLE, 2**62), record(OTHER, 7)]
        moved = replace(first[0], position=record(SAMPLE, 2**62 + 1).position, serving=None)
        async with writing(bench, SAMPLE, OTHER) as sink:
            RECORDS.same(await sink.load_records(), {}, "at an empty destination")
            await sink.store_records(first)
            await sink.store_records([moved])
            remembers = sink.capabilities.records
        expected = {SAMPLE.index: moved, OTHER.index: first[1]} if remembers else {}
        async with writing(bench, SAMPLE, OTHER) as sink:
            RECORDS.same(dict(await sink.load_records()), expected, "in the next run")

    async def test_a_record_is_durable_when_it_was_stored(self, bench: SinkBench) -> None:
        """A run that dies at once, releasing nothing, has left it behind."""
        dead = bench.sink()
        await dead.open()
        try:
            await dead.acquire("dies")
            await dead.begin_generation(SAMPLE, GENERATION)
            await dead.store_records([record(SAMPLE, 5)])
        finally:
            await dead.close()
        async with bench.sink() as sink:
            await RECORDS.within(
                sink.acquire("next"), "taking over", seconds=3 * bench.lease_seconds + 30
            )
            expected = {SAMPLE.index: record(SAMPLE, 5)} if sink.capabilities.records else {}
            RECORDS.same(dict(await sink.load_records()), expected, "after a run that died")

    async def test_epochs_rise(self, bench: SinkBench) -> None:
        """They are the high part of every version."""
        epochs: list[int] = []
        records = False
        for run in range(3):
            async with bench.sink() as sink:
                epochs.append(await EPOCHS.within(sink.acquire(f"run {run}"), "acquire"))
                await sink.release()
                await sink.release()
                records = sink.capabilities.records
        expected = sorted(set(epochs)) if records else [1, 1, 1]
        EPOCHS.same(epochs, expected, "three runs")

    async def test_a_second_run_waits_for_the_first(self, bench: SinkBench) -> None:
        """Never two writers; a lease that was released is taken soon."""
        async with bench.sink() as first, bench.sink() as second:
            await first.acquire("first")
            waiting = asyncio.create_task(second.acquire("second"))
            try:
                done, _ = await asyncio.wait([waiting], timeout=min(1.0, bench.lease_seconds / 2))
                if first.capabilities.records and done:
                    raise WAITS.broken("two runs are the writer")
                await first.renew()
                await first.release()
                await WAITS.within(waiting, "acquire after a release")
            finally:
                waiting.cancel()
            await second.renew()
            await second.release()

    async def test_a_run_that_was_taken_over_writes_nothing(self, bench: SinkBench) -> None:
        """It slept while its lease ended; now it wakes up and goes on, with a higher version."""
        written = upsert("1", 1, {"name": "a"})
        async with bench.sink() as paused, bench.sink() as now:
            if not paused.capabilities.records:
                return
            await paused.acquire("paused")
            await paused.begin_generation(SAMPLE, GENERATION)
            await paused.flush([written], caught_up=False)
            await FENCED.within(
                now.acquire("now"), "taking over", seconds=3 * bench.lease_seconds + 30
            )
            await now.begin_generation(SAMPLE, GENERATION)
            await now.store_records([record(SAMPLE, 2)])
            late = [upsert("2", 2**50, {"name": "late"})]
            for doing, operation in (
                ("flush", partial(paused.flush, late, caught_up=False)),
                ("store_records", partial(paused.store_records, [record(SAMPLE, 99)])),
                ("renew", paused.renew),
            ):
                await FENCED.failure(
                    SinkFatal, operation(), f"`{doing}` of a run that was taken over"
                )
            await paused.release()
            found = await bench.stored(SAMPLE, GENERATION)
            FENCED.same(found, content([written]), "after its flush")
            kept = (await now.load_records()).get(SAMPLE.index)
            FENCED.same(kept, record(SAMPLE, 2), "after its `store_records`")
            await now.renew()
            await now.release()
