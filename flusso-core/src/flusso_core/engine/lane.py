"""A lane: everything from the queue to the destination, for one sink."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import TypeVar

from flusso_core.engine.batcher import Batcher
from flusso_core.engine.flights import Flights
from flusso_core.engine.groups import first_leaf
from flusso_core.engine.ledger import Ledger
from flusso_core.engine.planner import SeedProgress
from flusso_core.engine.records import Records
from flusso_core.engine.retry import Retrier
from flusso_core.engine.room import Room
from flusso_core.engine.seeder import Seeder
from flusso_core.engine.transforms import Transforms
from flusso_core.engine.watermark import Watermark
from flusso_core.errors import EngineError, SchemaMismatch, SinkUnavailable
from flusso_core.interfaces import ChangeCapture, DocumentBuilder, Queue, Sink
from flusso_core.model import (
    ChangeBatch,
    Position,
    RootTruncated,
    StreamIdentity,
    UnfitIndex,
)
from flusso_core.observe.observer import BatchStats, Observer
from flusso_core.settings import BatchPolicy, Bounds, FailurePolicies, GapPolicies

T = TypeVar("T")

logger = logging.getLogger(__name__)

_STORE_SECONDS = 1.0
"""State records are stored this often while something moves: it is what a restart repeats."""

_RECORD_SHARE = 0.3
"""Of the time that a drain may take, this much is kept for storing the records."""


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """What all lanes of an engine share."""

    batching: BatchPolicy
    bounds: Bounds
    failures: FailurePolicies
    transforms: Transforms
    gaps: GapPolicies
    backfill_workers: int
    build_workers: int
    skip_backfill: bool


class Lane:
    """Keeps one destination in step.

    Its keeper calls `prepare`, then runs `run`; `begin_seeding` once the source has settled;
    `drain` to stop.

    Args:
        name: the sink's name.
        capture: for the gate.
        builder: finds and reads documents.
        sink: the destination.
        queue: from where the batches come.
        epoch: of this writer at the destination.
        settings: bounds and policies.
        retrier: how failures that pass are tried again.
        observer: hears everything.
        stored: called when `position` has risen.
        stopped: indexes that have stopped; the engine adds to it before it calls `stop_index`.
        unfit: told of an index that no longer fits its tables.
    """

    def __init__(
        self,
        name: str,
        *,
        capture: ChangeCapture,
        builder: DocumentBuilder,
        sink: Sink,
        queue: Queue,
        epoch: int,
        settings: LaneSettings,
        retrier: Retrier,
        observer: Observer,
        stored: Callable[[], None],
        stopped: Collection[str],
        unfit: Callable[[UnfitIndex], None],
    ) -> None:
        self.name = name
        self._queue = queue
        self._epoch = epoch
        self._capture = capture
        self._builder = builder
        self._sink = sink
        self._settings = settings
        self._retrier = retrier
        self._observer = observer
        self._stored = stored
        self._stopped = stopped
        self._unfit = unfit
        self._batcher = Batcher(settings.batching)
        self._bound = Room(settings.bounds)
        self._seeding: dict[str, asyncio.Task[None]] = {}
        self._finishing: set[str] = set()
        self._settled = asyncio.Event()
        self._room = asyncio.Event()
        self._all_seeded = asyncio.Event()
        self._landed = asyncio.Event()
        self._watermark_moved = asyncio.Event()

    @property
    def position(self) -> Position:
        """Everything up to here is right at the destination, and the destination knows it."""
        return self._records.position

    # Start

    async def prepare(self, identity: StreamIdentity, confirmed: Position) -> None:
        """Settle with the destination how each index goes on. Both are of after the lease."""
        self._watermark = Watermark(confirmed)
        self._records = Records(
            self.name,
            sink=self._sink,
            mappings=self._builder.mappings(),
            watermark=self._watermark,
            retrier=self._retrier,
            stored=self._stored,
        )
        self._ledger = Ledger(epoch=self._epoch)
        self._flights = Flights(
            lane=self.name,
            ledger=self._ledger,
            builder=self._builder,
            sink=self._sink,
            generations=self._records.generations,
            progressed=self._progressed,
            retrier=self._retrier,
            failures=self._settings.failures,
            transforms=self._settings.transforms,
            bounds=self._settings.bounds,
            build_workers=self._settings.build_workers,
            unfit=self._mismatch,
            observer=self._observer,
        )
        self._seeder = Seeder(
            lane=self.name,
            ledger=self._ledger,
            builder=self._builder,
            flights=self._flights,
            generations=self._records.generations,
            progressed=self._progressed,
            retrier=self._retrier,
            readers=self._settings.backfill_workers,
            observer=self._observer,
        )
        await self._records.load(identity, self._settings.gaps, self._stopped)

    def begin_seeding(self) -> None:
        """The source has settled: pages may be read."""
        self._settled.set()

    # Run

    async def run(self) -> None:
        """Keep the destination in step until `drain`."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._recording = tasks.create_task(self._records.keep_stored(_STORE_SECONDS))
            self._intake = tasks.create_task(self._take_in())
            self._workers = [
                tasks.create_task(self._flights.work()) for _ in range(self._flights.count)
            ]
            for index in self._stopped:  # some may have stopped since the records were loaded
                self.stop_index(index)
            for index in self._records.unseeded():
                self._start_seed(index)
            self._check_seeded()

    def stop_index(self, index: str) -> None:
        """Build and write nothing more of an index; its record stays where it is right."""
        self._records.leave_behind(index)
        self._ledger.retire(index)
        seed = self._seeding.pop(index, None)
        # What begins to serve must be recorded as serving.
        if seed is not None and index not in self._finishing:
            seed.cancel()
        self._progressed()
        self._check_seeded()

    async def seeded(self) -> None:
        """Return when every index is seeded that has not stopped."""
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
                await self._records.store()

    # The way of a batch

    async def _take_in(self) -> None:
        while True:
            await self._gather()
            await self._resolve(self._batcher.close())

    async def _gather(self) -> None:
        """Fill the batcher until its batch closes."""
        batcher, queue = self._batcher, self._queue
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
        for index in batch.unfit:
            self._unfit(index)
        if batch.changes:
            started = time.monotonic()
            await self._try("waiting for commits", lambda: self._capture.wait_visible(batch))
            visible = time.monotonic()
            documents = await self._try("resolving", lambda: self._mark_fitting(batch, debtor))
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

    async def _mark_fitting(self, batch: ChangeBatch, debtor: int) -> int:
        """Mark what the batch touches, without the indexes that prove not to fit meanwhile."""
        while True:
            try:
                return await self._mark(batch, debtor)
            except SchemaMismatch as mismatch:
                if mismatch.index in self._stopped:
                    message = f"index {mismatch.index} has stopped, and is resolved all the same"
                    raise EngineError(message) from mismatch
                self._mismatch(mismatch)

    async def _mark(self, batch: ChangeBatch, debtor: int) -> int:
        documents = 0
        async with aclosing(self._builder.resolve(batch.changes)) as found:
            async for keys in found:
                if isinstance(keys, RootTruncated):
                    await self._restart(keys.index)
                    continue
                self._bound.weigh(keys.keys)
                await self._make_room()
                documents += self._ledger.mark(keys.index, keys.keys, debtor)
                self._flights.wake()
        return documents

    async def _make_room(self) -> None:
        while not self._has_room():
            self._room.clear()
            await self._room.wait()

    def _has_room(self) -> bool:
        return self._bound.has(
            dirty=self._ledger.dirty,
            debts=self._ledger.debts,
            pending=self._watermark.pending,
        )

    async def _restart(self, index: str) -> None:
        """The index begins again in a new, empty generation.

        A barrier: what is in flight lands or fails first, and only then is anything marked for
        the new generation. The old one serves until the new one is seeded.
        """
        self._ledger.hold(index)
        seed = self._seeding.pop(index, None)
        if seed is not None:
            if index not in self._finishing:  # what begins to serve must be recorded as serving
                seed.cancel()
            await asyncio.wait([seed])
        while self._ledger.in_flight_of(index):
            self._landed.clear()
            await self._landed.wait()
        if index not in self._stopped:
            await self._records.restart(index)
        if index in self._stopped:
            return
        self._ledger.void(index)
        logger.info("%s: index %s begins again: its root table was truncated", self.name, index)
        self._all_seeded.clear()
        self._start_seed(index)

    def _mismatch(self, mismatch: SchemaMismatch) -> None:
        self._unfit(UnfitIndex(mismatch.index, mismatch.reason))

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
        try:
            await self._fill(index)
        except* SchemaMismatch as group:
            self._seeding.pop(index, None)  # it ends by itself
            self._mismatch(first_leaf(group))

    async def _fill(self, index: str) -> None:
        await self._settled.wait()
        if not self._settings.skip_backfill:
            ranges = self._records.current(index).ranges
            progress = SeedProgress(ranges) if ranges else await self._seeder.spans(index)
            # The ranges are durable before the first page, so that a restart has the same ones.
            await self._records.seeding(index, progress)
            await self._seeder.seed(index, progress)
            if not progress.done:  # drained
                return
        self._finishing.add(index)
        await self._records.seeded(index)
        self._finishing.discard(index)
        self._seeding.pop(index, None)
        self._check_seeded()

    def _check_seeded(self) -> None:
        if not self._records.unseeded():
            self._all_seeded.set()

    async def _try(self, what: str, operation: Callable[[], Awaitable[T]]) -> T:
        return await self._retrier.run(f"{self.name}: {what}", operation)
