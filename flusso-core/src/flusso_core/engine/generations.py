"""The generations of a lane's indexes: begun, filled, swept, served, replaced and dropped."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from flusso_core.engine.errands import Errands
from flusso_core.engine.filling import Filling
from flusso_core.engine.groups import first_leaf
from flusso_core.engine.ledger import Debtor, Ledger, Target
from flusso_core.engine.payments import Payments
from flusso_core.engine.planner import (
    Source,
    asked,
    emptied,
    filled,
    frozen,
    plan_start,
    reindexed,
    rolled_back,
    served,
    without,
)
from flusso_core.engine.records import Records
from flusso_core.engine.retry import Retrier
from flusso_core.engine.seeder import Seeder
from flusso_core.engine.series import Schemas, Series
from flusso_core.engine.shelf import Shelf
from flusso_core.engine.watermark import Watermark
from flusso_core.errors import EngineError, GenerationLost, SchemaMismatch
from flusso_core.interfaces import DocumentBuilder, Sink
from flusso_core.model import Generation, StateRecord
from flusso_core.settings import GapPolicies

logger = logging.getLogger(__name__)


class Generations:
    """Decides which generations get changes, and sees to it that each has every document.

    What happens to an index happens one thing after the other. Each thing is first decided by
    `planner`, then stored, then done; what is no longer needed goes last.

    Args:
        lane: the sink's name.
        sink: the destination.
        schemas: the builders.
        series: the live generations; only this class changes it.
        records: what the destination remembers.
        ledger: what is owed.
        watermark: tells when the commit of a TRUNCATE is right.
        payments: tells when what a generation is owed has landed.
        seeder: reads the rows.
        errands: what is done in tasks.
        progressed: to be called whenever the ledger has changed.
        unfit: told of a generation whose schema no longer fits its tables.
        stopped: indexes that have stopped.
        retrier: how failures that pass are tried again.
        skip_backfill: take every new generation for filled without reading its rows.
        sweep_intervals: index to the seconds after which it is swept again and again.
    """

    def __init__(
        self,
        lane: str,
        *,
        sink: Sink,
        schemas: Schemas,
        series: dict[Target, Series],
        records: Records,
        ledger: Ledger,
        watermark: Watermark,
        payments: Payments,
        seeder: Seeder,
        errands: Errands,
        progressed: Callable[[], None],
        unfit: Callable[[Target, SchemaMismatch], None],
        stopped: Collection[str],
        retrier: Retrier,
        skip_backfill: bool,
        sweep_intervals: Mapping[str, float],
    ) -> None:
        self._lane = lane
        self._sink = sink
        self._schemas = schemas
        self._series = series
        self._records = records
        self._ledger = ledger
        self._watermark = watermark
        self._payments = payments
        self._ledger_changed = progressed
        self._unfit = unfit
        self._stopped = stopped
        self._shelf = Shelf(sink, retrier)
        self._filling = Filling(records, seeder, skip_backfill=skip_backfill)
        self._errands = errands
        self._sweep_intervals = sweep_intervals
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._fills: dict[Target, asyncio.Task[None]] = {}
        self._unserved: set[Target] = set()
        self._emptied: dict[Target, Debtor | None] = {}
        self._lost: set[Target] = set()
        self._last: defaultdict[str, int] = defaultdict(int)
        self._landed = asyncio.Event()
        self._all_filled = asyncio.Event()

    # Start

    async def load(
        self,
        remembered: Mapping[str, StateRecord],
        sources: Callable[[StateRecord | None], Awaitable[Source]],
        gaps: GapPolicies,
    ) -> None:
        """Settle with the destination how each index goes on.

        Args:
            remembered: every index's record, by logical name.
            sources: the change stream, as it is to be compared with a record.
            gaps: what follows from a gap.

        Raises:
            EngineError: an index has a gap and the policy is to stop; nothing has been changed.
        """
        existing: dict[str, Sequence[Generation]] = {}
        for index, mapping in self._schemas.mappings.items():
            if index in self._stopped:
                continue  # its record stays as it is
            existing[index] = await self._shelf.existing(index)
            record = remembered.get(index)
            plan = plan_start(
                mapping,
                record,
                source=await sources(record),
                existing=existing[index],
                policy=gaps.of(index),
                made_with=self._sink.made_with(mapping),
            )
            if plan.reason is not None:
                logger.warning(
                    "%s: the rows of index %s are read again: %s", self._lane, index, plan.reason
                )
            if plan.renewed is not None:
                logger.info(
                    "%s: index %s begins generation %d: %s",
                    self._lane,
                    index,
                    plan.record.current.number,
                    plan.renewed,
                )
            self._records.decide(self._followed(plan.record))
        await self._records.stored()
        for target, series in self._series.items():
            there = existing[target.index]
            known = (target.generation, series.mapping.schema_hash)
            is_there = known in {(one.number, one.schema_hash) for one in there}
            try:
                await self._shelf.take(series, is_there=is_there)
            except GenerationLost as lost:  # since its index was looked at
                self.lost(lost)
                continue
            serving = {one.number for one in there if one.serves}
            record = self._records.current(target.index)
            if target.generation != record.current.number or target.generation in serving:
                continue
            self._unserved.add(target)
            if record.current.seeded and record.serving is None:  # a rollback was cut short
                with suppress(GenerationLost):  # found out again, by what fills it
                    await self._shelf.serve(series)
                    self._unserved.discard(target)
        for index in existing:
            await self._shelf.clean(self._records.current(index))

    def _followed(self, record: StateRecord) -> StateRecord:
        """Take the record's generations for live, as far as there are builders for them."""
        current = self._schemas.of(record.index, record.current)
        assert current is not None, "it has the schema that the index has now"  # noqa: S101
        self._series[current.target] = current
        if record.serving is None:
            return record
        serving = self._schemas.of(record.index, record.serving)
        if serving is not None:
            self._series[serving.target] = serving
            return record
        logger.warning(
            "%s: index %s serves searches by an older schema (generation %d) that nothing here can "
            "build by: it gets no changes until the new generation is filled",
            self._lane,
            record.index,
            record.serving.number,
        )
        return frozen(record)

    def allow_reading(self) -> None:
        """The source has settled: pages may be read."""
        self._filling.allow()

    def run(self, tasks: asyncio.TaskGroup) -> None:
        """Begin what the start has found to do, in tasks of that group."""
        self._errands.begin(tasks)
        for target in self._series:
            if target in self._lost:
                self._errands.spawn(self._recover(target))
            else:
                self._fill_if_needed(target)
        for index, seconds in self._sweep_intervals.items():
            if index in self._schemas.mappings and index not in self._stopped:
                self._errands.spawn(self._sweep_regularly(index, seconds))
        self._check()

    def end(self) -> list[asyncio.Task[None]]:
        """Begin nothing more; returns everything that runs, to be cancelled."""
        return self._errands.end()

    async def filled(self) -> None:
        """Return when every index has all documents in the generation that searches see."""
        await self._all_filled.wait()

    # What changes bring

    def builds(self, builder: DocumentBuilder) -> bool:
        """Whether any live generation is built by it."""
        return any(series.builder is builder for series in self._series.values())

    def is_older(self, target: Target) -> bool:
        """Whether it is a live generation of a schema that its index has no more."""
        series = self._series.get(target)
        return series is not None and series.builder is not self._schemas.builder

    def of(self, builder: DocumentBuilder, index: str) -> list[Target]:
        """The live generations of that index that the builder builds."""
        return [
            target
            for target, series in self._series.items()
            if target.index == index and series.builder is builder
        ]

    async def truncated(self, builder: DocumentBuilder, index: str) -> None:
        """The root table was truncated: begin again in a new, empty generation.

        A barrier: what is in flight lands or fails first, and only then is anything marked for
        the new one. It needs no seed, since the stream brings every row that came after. It
        serves when the commit of the TRUNCATE is right (`resolved`, `progressed`).
        """
        if builder is not self._schemas.builder:
            for target in self.of(builder, index):
                await self.freeze(target, "its root table was truncated")
            return
        logger.info("%s: index %s begins again: its root table was truncated", self._lane, index)
        async with self._locks[index]:
            record = emptied(self._records.current(index), self._schemas.mappings[index])
            live = [target for target in self._series if target.index == index]
            new = await self._replace(record, live)
            self._emptied[new] = None

    def resolved(self, batch: Debtor, *, unfinished: bool) -> None:
        """A batch was resolved; if its last commit goes on, so does that of a TRUNCATE in it."""
        if unfinished:
            return
        for target, end in self._emptied.items():
            if end is None:
                self._emptied[target] = batch

    def progressed(self) -> None:
        """The ledger or the watermark have changed."""
        self._landed.set()
        for target, end in list(self._emptied.items()):
            if end is not None and self._watermark.passed(end):
                # In the same instant as the watermark: no record says the one without the other.
                del self._emptied[target]
                self._records.change(target, filled)
                self._fill_if_needed(target)

    async def sweep(self, index: str, reason: str, builder: DocumentBuilder | None = None) -> None:
        """Read all rows of an index again; returns when the intent is durable.

        What is being read already begins again, under a new number.

        Args:
            index: the logical name.
            reason: for people.
            builder: only of generations that this one builds.
        """
        logger.info("%s: the rows of index %s are read again: %s", self._lane, index, reason)
        async with self._locks[index]:
            targets = [
                target
                for target, series in self._series.items()
                if target.index == index and (builder is None or series.builder is builder)
            ]
            for target in targets:
                await self._stop_filling(target)
                self._emptied.pop(target, None)
                self._records.change(target, asked)
            self._all_filled.clear()
            await self._records.stored()
            for target in targets:
                self._fill_if_needed(target)

    async def reindex(self, index: str, *, keep: bool) -> None:
        """Begin a new generation of the same schema; returns when it gets changes.

        Args:
            index: the logical name.
            keep: keep the one that serves now when the new one takes its place.
        """
        async with self._locks[index]:
            before = self._records.current(index)
            record = reindexed(before, self._schemas.mappings[index], keep=keep)
            unfilled = Target(index, before.current.number)
            # A TRUNCATE that the end of the run cut short has not made it live.
            replaced = not before.current.seeded and unfilled in self._series
            gone = [unfilled] if replaced else []
            self._fill_if_needed(await self._replace(record, gone))

    async def require_older(self, index: str) -> None:
        """Change nothing.

        Raises:
            EngineError: `rollback` would refuse.
        """
        await self._rolled_back(index, keep=True)

    async def rollback(self, index: str, *, keep: bool) -> None:
        """Go back to the newest older generation; returns when searches see it.

        A kept one is swept from then on, as it got no changes.

        Args:
            index: the logical name.
            keep: keep what searches saw until now.

        Raises:
            EngineError: there is none that fits the schema; nothing has been changed. Or it was
                deleted meanwhile, and the index is filled afresh.
        """
        async with self._locks[index]:
            record = await self._rolled_back(index, keep=keep)
            chosen = Target(index, record.current.number)
            live = [target for target in self._series if target.index == index]
            await self._replace(record, [target for target in live if target != chosen])
            try:
                await self._shelf.serve(self._series[chosen])
            except GenerationLost as lost:
                self.lost(lost)
                raise EngineError(f"{self._lane}: {lost}; it is filled afresh") from lost
            self._unserved.discard(chosen)
            await self._shelf.clean(self._records.current(index))
            self._fill_if_needed(chosen)
        self._check()

    async def _rolled_back(self, index: str, *, keep: bool) -> StateRecord:
        mapping = self._schemas.mappings[index]
        try:
            return rolled_back(
                self._records.current(index),
                mapping,
                keep=keep,
                existing=await self._shelf.existing(index),
                made_with=self._sink.made_with(mapping),
            )
        except EngineError as error:
            raise EngineError(f"{self._lane}: {error}") from error

    def lost(self, lost: GenerationLost) -> None:
        """A generation is gone: fill its index afresh."""
        target = Target(lost.index, lost.generation)
        if target in self._series and target not in self._lost:
            # As text: whoever keeps the record must not keep what the flush had in memory.
            logger.warning("%s: %s", self._lane, str(lost))
            self._lost.add(target)
            self._landed.set()  # what waits for it waits in vain
            self._ledger.hold(target)
            self._errands.spawn(self._recover(target))

    def stop_index(self, index: str) -> None:
        """Nothing more of an index is read or written; its record was left behind."""
        for target in [one for one in self._series if one.index == index]:
            self._ledger.retire(target)
            self._emptied.pop(target, None)
            fill = self._fills.get(target)
            # What begins to serve must be recorded as serving.
            if fill is not None and not self._locks[index].locked():
                fill.cancel()
        self._check()

    def freeze_soon(self, target: Target, reason: str) -> None:
        """As `freeze`, in a task of its own; nothing more of it is built from now on."""
        self._ledger.hold(target)
        self._errands.spawn(self.freeze(target, reason))

    async def freeze(self, target: Target, reason: str) -> None:
        """A generation of an older schema gets no more changes; it serves as it is."""
        async with self._locks[target.index]:
            if target not in self._series:
                return
            logger.warning(
                "%s: index %s serves searches by an older schema (generation %d) and gets no "
                "changes until the new generation is filled: %s",
                self._lane,
                target.index,
                target.generation,
                reason,
            )
            await self._halt(target)
            self._records.decide(frozen(self._records.current(target.index)))
            await self._records.stored()
            self._forget(target)

    # Filling

    def _fill_if_needed(self, target: Target) -> None:
        generation = self._records.generation(target)
        if generation is None or target in self._fills:
            return
        if not generation.clean or target in self._unserved:
            fill = self._errands.spawn(self._fill(self._series[target]))
            if fill is not None:
                self._fills[target] = fill

    async def _fill(self, series: Series) -> None:
        target = series.target
        try:
            if not await self._filling.fill(series):
                return  # drained
            async with self._locks[target.index]:
                await self._finish(series)
                # Within the lock: whoever comes next may begin another one.
                del self._fills[target]
        except* GenerationLost as lost:
            self._fills.pop(target, None)
            self.lost(first_leaf(lost))
        except* SchemaMismatch as mismatch:
            self._fills.pop(target, None)
            self._unfit(target, first_leaf(mismatch))
        self._check()

    async def _finish(self, series: Series) -> None:
        """The generation has every document: the record says so, and searches see the newest."""
        target = series.target
        index = target.index
        record = self._records.current(index)
        if target.generation != record.current.number or target not in self._unserved:
            self._records.change(target, filled)
            await self._records.stored()
            return
        older = [one for one in self._series if one.index == index and one != target]
        for one in older:
            await self._halt(one)
        try:
            # From now on nothing reaches what searches see; all that did reaches the new one
            # before they see that.
            taken = not older or await self._has_landed(target)
            if taken:
                await self._shelf.serve(series)
        except GenerationLost:
            self._go_on(older)
            raise
        if not taken:  # it is lost, and begins again
            self._go_on(older)
            return
        self._records.change(target, filled)
        self._records.decide(served(self._records.current(index)))
        await self._records.stored()
        self._unserved.discard(target)
        for one in older:
            self._forget(one)
        await self._shelf.clean(self._records.current(index))

    async def _has_landed(self, target: Target) -> bool:
        """Wait until all that the generation is owed by now has landed; not if it is lost."""
        debtor = self._ledger.open_debtor()
        landed = self._payments.expect(debtor)
        self._ledger.owe_all(target, debtor)
        self._ledger.seal(debtor)
        self._ledger_changed()
        while not landed.done():
            if target in self._lost:
                return False
            self._landed.clear()
            await self._landed.wait()
        return True

    def _go_on(self, halted: Sequence[Target]) -> None:
        """What was halted gets changes again: nothing has taken its place."""
        for target in halted:
            if target not in self._lost:
                self._ledger.release(target)
                self._fill_if_needed(target)
        self._ledger_changed()

    def _check(self) -> None:
        going = [index for index in self._records.indexes if index not in self._stopped]
        busy = {target.index for target in (*self._fills, *self._emptied, *self._unserved)}
        clean = all(self._records.current(index).current.clean for index in going)
        if clean and not busy.intersection(going):
            self._all_filled.set()

    async def _sweep_regularly(self, index: str, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            if index in self._stopped:
                return
            if self._records.current(index).current.clean:
                await self.sweep(index, "sweep_interval is over")

    # One generation for another

    async def _replace(self, record: StateRecord, gone: Sequence[Target]) -> Target:
        """Begin the record's newest generation, in the place of those that are gone.

        What was owed to these stays owed until the record is durable and the new one is live:
        then every row that it speaks of will be read, or comes with the stream.
        """
        for target in gone:
            await self._halt(target)
        record = self._numbered(record)
        self._records.decide(record)
        await self._records.stored()
        series = self._schemas.of(record.index, record.current)
        assert series is not None, "it has the schema that the index has now"  # noqa: S101
        lost = None
        try:
            # One that has been filled was kept, and nothing makes it again.
            await self._shelf.take(series, is_there=record.current.seeded)
        except GenerationLost as gone_meanwhile:
            lost = gone_meanwhile
        self._series[series.target] = series
        if lost is not None:
            self.lost(lost)
        self._unserved.add(series.target)
        self._all_filled.clear()
        for target in gone:
            self._forget(target)
        await self._shelf.clean(self._records.current(record.index))
        return series.target

    def _numbered(self, record: StateRecord) -> StateRecord:
        """The record, its new generation above every other that there was in this run.

        What was sent to one that was given up may still arrive.
        """
        index, current = record.index, record.current
        last = max(self._last[index], self._records.current(index).current.number)
        if not current.seeded and current.number <= last:
            current = replace(current, number=last + 1)
        self._last[index] = max(last, current.number)
        return replace(record, current=current)

    async def _recover(self, target: Target) -> None:
        async with self._locks[target.index]:
            self._lost.discard(target)
            if target not in self._series:
                return
            before = self._records.current(target.index)
            mapping = self._schemas.mappings[target.index]
            record = without(before, mapping, target.generation)
            if record.current == before.current:
                await self._halt(target)
                self._records.decide(record)
                await self._records.stored()
                self._forget(target)
            else:
                self._fill_if_needed(await self._replace(record, [target]))
        self._check()

    async def _halt(self, target: Target) -> None:
        """Let nothing of a generation be read or written any more; what waits still waits."""
        self._ledger.hold(target)
        await self._stop_filling(target)
        while self._ledger.in_flight_of(target):
            self._landed.clear()
            await self._landed.wait()

    def _forget(self, target: Target) -> None:
        """The generation gets no more changes; what it is owed is no debt any more."""
        del self._series[target]
        self._records.forget(target)
        self._unserved.discard(target)
        self._emptied.pop(target, None)
        self._lost.discard(target)
        self._ledger.void(target)
        self._ledger_changed()

    async def _stop_filling(self, target: Target) -> None:
        fill = self._fills.pop(target, None)
        if fill is not None:
            fill.cancel()
            await asyncio.wait([fill])
