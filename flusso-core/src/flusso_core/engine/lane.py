"""A lane: everything from the queue to the destination, for one sink."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from flusso_core.engine.batcher import Batcher
from flusso_core.engine.flights import Flights
from flusso_core.engine.ledger import Ledger
from flusso_core.engine.planner import SeedProgress, StartPlan, plan_start, restarted
from flusso_core.engine.retry import Retrier
from flusso_core.engine.seeder import Seeder
from flusso_core.engine.watermark import Watermark
from flusso_core.errors import SinkUnavailable
from flusso_core.interfaces import ChangeCapture, DocumentBuilder, Queue, Sink
from flusso_core.model import (
    ChangeBatch,
    IndexMapping,
    Position,
    RootTruncated,
    StateRecord,
    StreamIdentity,
)
from flusso_core.observe.observer import BatchStats, Observer
from flusso_core.settings import BatchPolicy, Bounds, FailurePolicies, GapPolicies

T = TypeVar("T")

logger = logging.getLogger(__name__)

_STORE_SECONDS = 1.0
"""State records are stored this often while something moves: it is what a restart repeats."""

_RECORD_SHARE = 0.25
"""Of the time that a drain may take, this much is kept for storing the records."""

_DEBTS_PER_DOCUMENT = 4
"""Rows that change again and again while the destination is down make no more documents dirty,
but owe them to ever more batches: that is bounded too, as a multiple of `max_dirty`."""

_RENEW_SECONDS = 5.0
"""A third of the lease, so that two renewals may fail."""


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """What all lanes of an engine share."""

    batching: BatchPolicy
    bounds: Bounds
    failures: FailurePolicies
    gaps: GapPolicies
    backfill_workers: int
    build_workers: int
    skip_backfill: bool


class Lane:
    """Keeps one destination in step.

    The engine calls `acquire` and `prepare`, then runs `run` in a task; `begin_seeding` once the
    source has settled; `drain` to stop.

    Args:
        name: the sink's name.
        capture: for the gate.
        builder: finds and reads documents.
        sink: the destination.
        queue: from where the batches come.
        settings: bounds and policies.
        retrier: how failures that pass are tried again.
        observer: hears everything.
        stored: called when `position` has risen.
    """

    def __init__(
        self,
        name: str,
        *,
        capture: ChangeCapture,
        builder: DocumentBuilder,
        sink: Sink,
        queue: Queue,
        settings: LaneSettings,
        retrier: Retrier,
        observer: Observer,
        stored: Callable[[], None],
    ) -> None:
        self.name = name
        self.queue = queue
        self._capture = capture
        self._builder = builder
        self._sink = sink
        self._settings = settings
        self._retrier = retrier
        self._observer = observer
        self._stored = stored
        self._mappings: Mapping[str, IndexMapping] = builder.mappings()
        self._batcher = Batcher(settings.batching)
        self._records: dict[str, StateRecord] = {}
        self._durable: dict[str, StateRecord] = {}
        self._generations: dict[str, int] = {}
        self._progress: dict[str, SeedProgress] = {}
        self._seeding: dict[str, asyncio.Task[None]] = {}
        # One request for records at a time: one that is overtaken would put an older record in
        # the place of a newer one, below what the source has been told.
        self._storing = asyncio.Lock()
        self._settled = asyncio.Event()
        self._room = asyncio.Event()
        self._all_seeded = asyncio.Event()
        self._landed = asyncio.Event()
        self._watermark_moved = asyncio.Event()

    @property
    def position(self) -> Position:
        """Everything up to here is right at the destination, and the destination knows it."""
        return self._position

    # Start

    async def acquire(self, owner: str) -> None:
        """Become the writer; may wait long, for another run."""
        self._epoch = await self._try("becoming the writer", lambda: self._sink.acquire(owner))

    async def prepare(self, identity: StreamIdentity, confirmed: Position) -> None:
        """Settle with the destination how each index goes on. Both are of after `acquire`."""
        self._position = confirmed
        self._watermark = Watermark(confirmed)
        self._ledger = Ledger(epoch=self._epoch)
        self._flights = Flights(
            lane=self.name,
            ledger=self._ledger,
            builder=self._builder,
            sink=self._sink,
            generations=self._generations,
            progressed=self._progressed,
            retrier=self._retrier,
            failures=self._settings.failures,
            bounds=self._settings.bounds,
            build_workers=self._settings.build_workers,
            observer=self._observer,
        )
        self._seeder = Seeder(
            lane=self.name,
            ledger=self._ledger,
            builder=self._builder,
            flights=self._flights,
            generations=self._generations,
            progressed=self._progressed,
            retrier=self._retrier,
            readers=self._settings.backfill_workers,
            observer=self._observer,
        )
        records = await self._try("reading its state", self._sink.load_records)
        for index, mapping in self._mappings.items():
            existing = await self._try(
                "listing generations", partial(self._sink.generations, mapping)
            )
            plan = plan_start(
                mapping,
                records.get(index),
                identity=identity,
                confirmed=confirmed,
                existing=existing,
                policy=self._settings.gaps.of(index),
            )
            if plan.reason is not None:
                logger.warning("%s: index %s is filled afresh: %s", self.name, index, plan.reason)
            await self._begin(mapping, plan)

    async def _begin(self, mapping: IndexMapping, plan: StartPlan) -> None:
        """Store the plan's record, then make its generation ready to be written to."""
        index = mapping.index
        async with self._storing:
            # The watermark may have moved, and been confirmed, since the plan was made.
            position = max(plan.record.position, self._watermark.position)
            record = replace(plan.record, position=position)
            await self._try("storing its state", lambda: self._sink.store_records([record]))
            self._records[index] = self._durable[index] = record
        await self._try(
            "beginning a generation",
            lambda: self._sink.begin_generation(mapping, record.generation),
        )
        self._generations[index] = record.generation
        if plan.obsolete is not None:
            obsolete = plan.obsolete
            await self._try(
                "dropping a generation", lambda: self._sink.drop_generation(mapping, obsolete)
            )

    def begin_seeding(self) -> None:
        """The source has settled: pages may be read."""
        self._settled.set()

    # Run

    async def run(self) -> None:
        """Keep the destination in step until `drain`."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._renewing = tasks.create_task(self._renew())
            self._recording = tasks.create_task(self._record())
            self._intake = tasks.create_task(self._take_in())
            self._workers = [
                tasks.create_task(self._flights.work()) for _ in range(self._flights.count)
            ]
            for index, record in self._records.items():
                if not record.seeded:
                    self._start_seed(index)
            self._check_seeded()

    async def seeded(self) -> None:
        """Return when every index is seeded."""
        await self._all_seeded.wait()

    async def reached(self, position: Position) -> None:
        """Return when everything up to `position` is right at the destination."""
        while self._watermark.position < position:
            self._watermark_moved.clear()
            await self._watermark_moved.wait()

    async def drain(self, seconds: float) -> None:
        """Begin nothing more, let flights land for so long at most, store the state, and end."""
        self._intake.cancel()
        self._seeder.drain()
        self._flights.drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds * (1 - _RECORD_SHARE)):
                await asyncio.wait(self._workers)
                while self._ledger.in_flight:
                    self._landed.clear()
                    await self._landed.wait()
        ending = [self._intake, self._recording, *self._workers, *self._seeding.values()]
        for task in ending:
            task.cancel()
        await asyncio.wait(ending)
        with suppress(SinkUnavailable, TimeoutError):
            async with asyncio.timeout(seconds * _RECORD_SHARE):
                await self._store()
        self._renewing.cancel()

    # The way of a batch

    async def _take_in(self) -> None:
        while True:
            await self._gather()
            await self._resolve(self._batcher.close())

    async def _gather(self) -> None:
        """Fill the batcher until its batch closes."""
        batcher, queue = self._batcher, self.queue
        if batcher.empty:
            batcher.add(await queue.get(), time.monotonic())
        while not batcher.full and (batch := queue.get_nowait()) is not None:
            batcher.add(batch, time.monotonic())
        while wait := batcher.wait(time.monotonic(), idle=self._ledger.ready() == 0):
            try:
                async with asyncio.timeout(wait):
                    batch = await queue.get()
            except TimeoutError:
                return
            batcher.add(batch, time.monotonic())

    async def _resolve(self, batch: ChangeBatch) -> None:
        await self._make_room()
        debtor = self._ledger.open_debtor()
        self._watermark.begin(debtor, batch.position)
        if batch.changes:
            started = time.monotonic()
            await self._try("waiting for commits", lambda: self._capture.wait_visible(batch))
            visible = time.monotonic()
            documents = await self._try("resolving", lambda: self._mark(batch, debtor))
            stats = BatchStats(
                lane=self.name,
                changes=len(batch.changes),
                documents=documents,
                gate_seconds=visible - started,
                resolve_seconds=time.monotonic() - visible,
            )
            self._observer.batch(stats)
        self._ledger.seal(debtor)
        self._progressed()

    async def _mark(self, batch: ChangeBatch, debtor: int) -> int:
        documents = 0
        async with aclosing(self._builder.resolve(batch.changes)) as found:
            async for keys in found:
                if isinstance(keys, RootTruncated):
                    await self._restart(keys.index)
                    continue
                await self._make_room()
                documents += self._ledger.mark(keys.index, keys.keys, debtor)
                self._flights.wake()
        return documents

    async def _make_room(self) -> None:
        while not self._has_room():
            self._room.clear()
            await self._room.wait()

    def _has_room(self) -> bool:
        most = self._settings.bounds.max_dirty
        return (
            self._ledger.dirty < most
            and self._ledger.debts < _DEBTS_PER_DOCUMENT * most
            and self._watermark.pending <= most
        )

    async def _restart(self, index: str) -> None:
        """The index begins again in a new, empty generation.

        A barrier: what is in flight lands or fails first, and only then is anything marked for
        the new generation. The old one serves until the new one is seeded.
        """
        self._ledger.hold(index)
        seed = self._seeding.pop(index, None)
        if seed is not None:
            seed.cancel()
            await asyncio.wait([seed])
        while self._ledger.in_flight_of(index):
            self._landed.clear()
            await self._landed.wait()
        self._progress.pop(index, None)
        await self._begin(self._mappings[index], restarted(self._current(index)))
        self._ledger.void(index)
        logger.info("%s: index %s begins again: its root table was truncated", self.name, index)
        self._all_seeded.clear()
        self._start_seed(index)

    def _progressed(self) -> None:
        """The ledger has changed: pass on what that makes possible."""
        self._landed.set()
        self._flights.wake()
        for debtor in self._ledger.settled():
            if not self._seeder.paid(debtor) and self._watermark.end(debtor):
                self._watermark_moved.set()
        if self._has_room():
            self._room.set()

    # Seeds

    def _start_seed(self, index: str) -> None:
        self._seeding[index] = self._tasks.create_task(self._seed(index))

    async def _seed(self, index: str) -> None:
        await self._settled.wait()
        mapping = self._mappings[index]
        if not self._settings.skip_backfill:
            record = self._records[index]
            if record.ranges:
                progress = SeedProgress(record.ranges)
            else:
                progress = await self._seeder.spans(index)
            self._progress[index] = progress
            # The ranges are durable before the first page, so that a restart has the same ones.
            await self._try("storing its state", self._store)
            await self._seeder.seed(index, progress)
            if not progress.done:  # drained
                return
        record = self._current(index)
        await self._try(
            "serving a generation", lambda: self._sink.serve_generation(mapping, record.generation)
        )
        replaced = record.serving
        self._records[index] = replace(record, seeded=True, serving=None)
        self._progress.pop(index, None)
        await self._try("storing its state", self._store)
        if replaced is not None:
            await self._try(
                "dropping a generation", lambda: self._sink.drop_generation(mapping, replaced)
            )
        del self._seeding[index]
        self._check_seeded()

    def _check_seeded(self) -> None:
        if all(record.seeded for record in self._records.values()):
            self._all_seeded.set()

    # State

    def _current(self, index: str) -> StateRecord:
        progress = self._progress.get(index)
        record = replace(self._records[index], position=self._watermark.position)
        return record if progress is None else replace(record, ranges=progress.ranges)

    async def _record(self) -> None:
        while True:
            await asyncio.sleep(_STORE_SECONDS)
            await self._try("storing its state", self._store)

    async def _store(self) -> None:
        """Store what has changed; then the source may be confirmed up to there."""
        async with self._storing:
            position = self._watermark.position
            current = [self._current(index) for index in self._records]
            changed = [record for record in current if record != self._durable[record.index]]
            if changed:
                await self._sink.store_records(changed)
                self._durable.update({record.index: record for record in changed})
        if position > self._position:
            self._position = position
            self._stored()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            await self._try("renewing the lease", self._sink.renew)

    async def _try(self, what: str, operation: Callable[[], Awaitable[T]]) -> T:
        return await self._retrier.run(f"{self.name}: {what}", operation)
