"""A lane: everything from the queue to the destination, for one sink."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial

from flusso_core.engine.admission import Admission
from flusso_core.engine.batcher import Batcher
from flusso_core.engine.errands import Errands
from flusso_core.engine.flights import Flights
from flusso_core.engine.generations import Generations
from flusso_core.engine.ledger import Debtor, Ledger, Target
from flusso_core.engine.payments import Payments
from flusso_core.engine.planner import Source
from flusso_core.engine.rebuilder import Rebuilder
from flusso_core.engine.records import Records
from flusso_core.engine.retry import Retrier
from flusso_core.engine.room import Room
from flusso_core.engine.seeder import Seeder
from flusso_core.engine.series import Schemas, Series
from flusso_core.engine.transforms import Transforms
from flusso_core.engine.watermark import Watermark
from flusso_core.errors import EngineError, GenerationLost, SchemaMismatch, SinkUnavailable
from flusso_core.interfaces import ChangeCapture, DocumentBuilder, Queue, Sink
from flusso_core.model import (
    ChangeBatch,
    Key,
    Position,
    RootTruncated,
    StateRecord,
    StreamIdentity,
    SweepNeeded,
    UnfitIndex,
)
from flusso_core.observe.observer import BatchStats, Observer
from flusso_core.settings import BatchPolicy, Bounds, FailurePolicies, GapPolicies

logger = logging.getLogger(__name__)

_STORE_SECONDS = 1.0
"""State records are stored this often while something moves: it is what a restart repeats."""

_NOT_NOTED = "what was asked for is not noted down"

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
    sweep_intervals: Mapping[str, float]


class Lane:
    """Keeps one destination in step.

    Its keeper calls `prepare`, then runs `run`; `begin_seeding` once the source has settled;
    `drain` to stop.

    Args:
        name: the sink's name.
        capture: for the gate.
        schemas: the builders that find and read documents.
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
        schemas: Schemas,
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
        self._now = asyncio.get_running_loop().time
        self._queue = queue
        self._epoch = epoch
        self._capture = capture
        self._schemas = schemas
        self._sink = sink
        self._settings = settings
        self._retrier = retrier
        self._observer = observer
        self._stored = stored
        self._stopped = stopped
        self._unfit = unfit
        self._batcher = Batcher(settings.batching)
        self._series: dict[Target, Series] = {}
        self._landed = asyncio.Event()
        self._watermark_moved = asyncio.Event()

    @property
    def remembers(self) -> bool:
        """Whether the destination stores records, and so keeps generations."""
        return self._sink.capabilities.records

    @property
    def records(self) -> Mapping[str, StateRecord]:
        """What is true of each index, by logical name."""
        return {index: self._records.current(index) for index in self._records.indexes}

    @property
    def position(self) -> Position:
        """Everything up to here is right at the destination, and the destination knows it."""
        return self._records.position

    # Start

    async def prepare(
        self,
        identity: StreamIdentity,
        confirmed: Position,
        remembered: Mapping[str, StateRecord],
    ) -> None:
        """Settle with the destination how each index goes on. All of it is of after the lease."""
        settings = self._settings
        self._watermark = Watermark(confirmed)
        self._ledger = Ledger(epoch=self._epoch)
        self._admission = Admission(Room(settings.bounds), self._ledger, self._watermark)
        self._payments = Payments()
        self._errands = Errands()
        self._records = Records(
            sink=self._sink,
            watermark=self._watermark,
            retrier=self._retrier,
            stored=self._stored,
        )
        self._flights = Flights(
            lane=self.name,
            ledger=self._ledger,
            sink=self._sink,
            series=self._series,
            progressed=self._progressed,
            lost=self._lost,
            retrier=self._retrier,
            failures=settings.failures,
            transforms=settings.transforms,
            bounds=settings.bounds,
            build_workers=settings.build_workers,
            unfit=self._mismatch,
            observer=self._observer,
        )
        self._seeder = Seeder(
            lane=self.name,
            ledger=self._ledger,
            sink=self._sink,
            flights=self._flights,
            payments=self._payments,
            admission=self._admission,
            progressed=self._progressed,
            stored=self._records.stored,
            retrier=self._retrier,
            readers=settings.backfill_workers,
            observer=self._observer,
        )
        self._generations = Generations(
            self.name,
            sink=self._sink,
            schemas=self._schemas,
            series=self._series,
            records=self._records,
            ledger=self._ledger,
            watermark=self._watermark,
            payments=self._payments,
            seeder=self._seeder,
            errands=self._errands,
            progressed=self._progressed,
            unfit=self._mismatch,
            stopped=self._stopped,
            retrier=self._retrier,
            skip_backfill=settings.skip_backfill,
            sweep_intervals=settings.sweep_intervals,
        )
        self._rebuilder = Rebuilder(
            schemas=self._schemas,
            live=self._generations.of,
            ledger=self._ledger,
            payments=self._payments,
            admission=self._admission,
            flights=self._flights,
            progressed=self._progressed,
            unfit=self._mismatch,
            retrier=self._retrier,
        )

        async def source(record: StateRecord | None) -> Source:
            branched = None
            if record is not None and record.identity.timeline != identity.timeline:
                timeline = record.identity.timeline
                branched = await self._retrier.run(
                    "asking the source", lambda: self._capture.branch_point(timeline)
                )
            return Source(identity, confirmed, branched)

        await self._generations.load(remembered, source, settings.gaps)

    def begin_seeding(self) -> None:
        """The source has settled: pages may be read."""
        self._generations.allow_reading()

    # Run

    async def run(self) -> None:
        """Keep the destination in step until `drain`."""
        async with asyncio.TaskGroup() as tasks:
            self._recording = tasks.create_task(self._records.keep_stored(_STORE_SECONDS))
            self._intake = tasks.create_task(self._take_in())
            self._workers = [
                tasks.create_task(self._flights.work()) for _ in range(self._flights.count)
            ]
            for index in self._stopped:  # some may have stopped since the records were loaded
                self.stop_index(index)
            self._generations.run(tasks)

    def stop_index(self, index: str) -> None:
        """Build and write nothing more of an index; its record stays where it is right."""
        self._records.leave_behind(index)
        self._generations.stop_index(index)
        self._progressed()

    async def sweep(self, index: str, reason: str) -> None:
        """Read all rows of an index again; returns when the destination has the intent."""
        await self._errands.obey(
            partial(self._generations.sweep, index, reason), failure=f"{self.name}: {_NOT_NOTED}"
        )

    async def reindex(self, index: str, *, keep: bool) -> None:
        """Fill an index anew beside what serves; returns when that has begun."""
        await self._errands.obey(
            partial(self._generations.reindex, index, keep=keep),
            failure=f"{self.name}: {_NOT_NOTED}",
        )

    async def require_older(self, index: str) -> None:
        """Raise an `EngineError` where `rollback` would."""
        await self._generations.require_older(index)

    async def rollback(self, index: str, *, keep: bool) -> None:
        """Go back to an older generation of an index; returns when searches see it."""
        await self._errands.obey(
            partial(self._generations.rollback, index, keep=keep),
            failure=f"{self.name}: {_NOT_NOTED}",
        )

    async def rebuild(self, index: str, documents: Sequence[Key | str]) -> None:
        """Build these documents anew; returns when all of them have landed, or were refused."""
        await self._errands.obey(
            partial(self._rebuilder.rebuild, index, documents),
            failure=f"{self.name}: not every document of index {index} has been built anew",
        )

    async def seeded(self) -> None:
        """Return when every index has all documents that has not stopped."""
        await self._generations.filled()

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
        ending = [self._intake, self._recording, *self._workers, *self._generations.end()]
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
            batcher.add(await queue.get(), self._now())
        while not batcher.full and (batch := queue.get_nowait()) is not None:
            batcher.add(batch, self._now())
        while wait := batcher.wait(self._now(), idle=self._ledger.ready() == 0):
            try:
                async with asyncio.timeout(wait):
                    batch = await queue.get()
            except TimeoutError:
                return
            batcher.add(batch, self._now())

    async def _resolve(self, batch: ChangeBatch) -> None:
        await self._admission.wait()
        debtor = self._ledger.open_batch()
        self._watermark.begin(debtor, batch.position)
        for index in batch.unfit:
            self._unfit(index)
        if batch.changes:
            started = self._now()
            await self._retrier.run(
                "waiting for commits", lambda: self._capture.wait_visible(batch)
            )
            visible = self._now()
            documents = await self._retrier.run("resolving", lambda: self._mark_all(batch, debtor))
            stats = BatchStats(
                lane=self.name,
                changes=len(batch.changes),
                documents=documents,
                gate_seconds=visible - started,
                resolve_seconds=self._now() - visible,
            )
            self._observer.batch(stats)
        self._ledger.seal(debtor)
        self._generations.resolved(debtor, unfinished=batch.unfinished)
        self._progressed()

    async def _mark_all(self, batch: ChangeBatch, debtor: Debtor) -> int:
        """Mark what the batch touches in every live generation."""
        documents = 0
        for builder in self._schemas.builders:
            documents += await self._mark_fitting(builder, batch, debtor)
        return documents

    async def _mark_fitting(
        self, builder: DocumentBuilder, batch: ChangeBatch, debtor: Debtor
    ) -> int:
        """Mark what the batch touches, without the indexes that prove not to fit meanwhile."""
        while self._generations.builds(builder):
            try:
                return await self._mark(builder, batch, debtor)
            except SchemaMismatch as mismatch:
                if builder is not self._schemas.builder:
                    for target in self._generations.of(builder, mismatch.index):
                        await self._generations.freeze(target, mismatch.reason)
                    continue
                if mismatch.index in self._stopped:
                    message = f"index {mismatch.index} has stopped, and is resolved all the same"
                    raise EngineError(message) from mismatch
                self._unfit(UnfitIndex(mismatch.index, mismatch.reason))
        return 0

    async def _mark(self, builder: DocumentBuilder, batch: ChangeBatch, debtor: Debtor) -> int:
        documents = 0
        async with aclosing(builder.resolve(batch.changes)) as found:
            async for one in found:
                if one.index in self._stopped:
                    continue
                if isinstance(one, RootTruncated):
                    await self._generations.truncated(builder, one.index)
                elif isinstance(one, SweepNeeded):
                    # The batch is owed until the intent is stored.
                    await self._generations.sweep(one.index, one.reason, builder)
                else:
                    await self._admission.wait(one.keys)
                    for target in self._generations.of(builder, one.index):
                        documents += self._ledger.mark(target, one.keys, debtor)
                    self._flights.wake()
        return documents

    def _mismatch(self, target: Target, mismatch: SchemaMismatch) -> None:
        """A builder has found that a schema does not fit its tables any more."""
        if self._generations.is_older(target):
            self._generations.freeze_soon(target, mismatch.reason)
        else:
            self._unfit(UnfitIndex(mismatch.index, mismatch.reason))

    def _lost(self, lost: GenerationLost) -> None:
        self._generations.lost(lost)

    def _progressed(self) -> None:
        """The ledger has changed: pass on what that makes possible."""
        self._landed.set()
        self._flights.wake()
        for debtor in self._ledger.settled():
            if not self._payments.settle(debtor) and self._watermark.end(debtor):
                self._watermark_moved.set()
        self._generations.progressed()
        self._admission.reconsider()
