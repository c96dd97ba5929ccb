"""What a destination remembers: the state records of a lane, and the generations they speak of."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import TypeVar

from flusso_core.engine.planner import SeedProgress, StartPlan, plan_start, restarted
from flusso_core.engine.retry import Retrier
from flusso_core.engine.watermark import Watermark
from flusso_core.interfaces import Sink
from flusso_core.model import IndexMapping, Position, StateRecord, StreamIdentity
from flusso_core.settings import GapPolicies

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Records:
    """Keeps each index's record at the destination in step with what has landed.

    A record is stored before what it announces is done, and the source is confirmed only up to
    what is stored.

    Args:
        lane: the sink's name.
        sink: where the records are.
        mappings: the indexes.
        watermark: up to where everything is right.
        retrier: how failures that pass are tried again.
        stored: called when `position` has risen.
    """

    def __init__(
        self,
        lane: str,
        *,
        sink: Sink,
        mappings: Mapping[str, IndexMapping],
        watermark: Watermark,
        retrier: Retrier,
        stored: Callable[[], None],
    ) -> None:
        self.generations: dict[str, int] = {}
        self._lane = lane
        self._sink = sink
        self._mappings = mappings
        self._watermark = watermark
        self._retrier = retrier
        self._stored = stored
        self._position = watermark.position
        self._records: dict[str, StateRecord] = {}
        self._durable: dict[str, StateRecord] = {}
        self._progress: dict[str, SeedProgress] = {}
        self._left_behind: dict[str, Position] = {}
        # One request for records at a time: one that is overtaken would put an older record in
        # the place of a newer one, below what the source has been told.
        self._storing = asyncio.Lock()

    @property
    def position(self) -> Position:
        """Everything up to here is right at the destination, and the destination knows it."""
        return self._position

    def unseeded(self) -> Iterable[str]:
        """The indexes that are not filled yet, and have not stopped."""
        return [
            index
            for index, record in self._records.items()
            if not record.seeded and index not in self._left_behind
        ]

    def current(self, index: str) -> StateRecord:
        """What is true of the index now, stored or not."""
        progress = self._progress.get(index)
        position = self._left_behind.get(index, self._watermark.position)
        record = replace(self._records[index], position=position)
        return record if progress is None else replace(record, ranges=progress.ranges)

    async def load(
        self, identity: StreamIdentity, gaps: GapPolicies, stopped: Collection[str]
    ) -> None:
        """Settle with the destination how each index goes on.

        Args:
            identity: of the stream that begins at the watermark.
            gaps: what follows when an index has missed something.
            stopped: indexes that are not served; their records stay as they are.

        Raises:
            EngineError: there is a gap and the policy is to stop.
        """
        confirmed = self._watermark.position
        records = await self._try("reading its state", self._sink.load_records)
        for index, mapping in self._mappings.items():
            if index in stopped:
                continue
            plan = plan_start(
                mapping,
                records.get(index),
                identity=identity,
                confirmed=confirmed,
                existing=await self._try(
                    "listing generations", partial(self._sink.generations, mapping)
                ),
                policy=gaps.of(index),
            )
            if plan.reason is not None:
                logger.warning("%s: index %s is filled afresh: %s", self._lane, index, plan.reason)
            await self._begin(mapping, plan)

    def leave_behind(self, index: str) -> None:
        """The index has stopped: its record stays where it is right, whatever lands from now on.

        Once the source is told more than that, the next start sees a gap.
        """
        self._left_behind.setdefault(index, self._watermark.position)
        progress = self._progress.get(index)
        if progress is not None:
            self._progress[index] = SeedProgress(progress.ranges)

    async def restart(self, index: str) -> None:
        """Begin a new, empty generation; the old one serves until the new one is filled."""
        self._progress.pop(index, None)
        await self._begin(self._mappings[index], restarted(self.current(index)))

    async def seeding(self, index: str, progress: SeedProgress) -> None:
        """The index is being filled: from now on its record tells how far."""
        self._progress[index] = progress
        await self._try("storing its state", self.store)

    async def seeded(self, index: str) -> None:
        """The index is filled: searches see it, the record says so, what it replaces goes."""
        mapping, record = self._mappings[index], self.current(index)
        await self._try(
            "serving a generation", partial(self._sink.serve_generation, mapping, record.generation)
        )
        self._records[index] = replace(record, seeded=True, serving=None)
        self._progress.pop(index, None)
        await self._try("storing its state", self.store)
        if record.serving is not None:
            await self._drop(mapping, record.serving)

    async def store(self) -> None:
        """Store what has changed; then the source may be confirmed up to there."""
        async with self._storing:
            position = self._watermark.position
            current = [self.current(index) for index in self._records]
            changed = [record for record in current if record != self._durable[record.index]]
            if changed:
                await self._sink.store_records(changed)
                self._durable.update({record.index: record for record in changed})
        if position > self._position:
            self._position = position
            self._stored()

    async def keep_stored(self, seconds: float) -> None:
        """Store what has changed, again and again after so many seconds."""
        while True:
            await asyncio.sleep(seconds)
            await self._try("storing its state", self.store)

    async def _begin(self, mapping: IndexMapping, plan: StartPlan) -> None:
        """Store the plan's record, then make its generation ready to be written to."""
        index = mapping.index
        async with self._storing:
            # The watermark may have moved, and been confirmed, since the plan was made.
            position = max(plan.record.position, self._watermark.position)
            position = self._left_behind.get(index, position)
            record = replace(plan.record, position=position)
            await self._try("storing its state", partial(self._sink.store_records, [record]))
            self._records[index] = self._durable[index] = record
        await self._try(
            "beginning a generation",
            partial(self._sink.begin_generation, mapping, record.generation),
        )
        self.generations[index] = record.generation
        if plan.obsolete is not None:
            await self._drop(mapping, plan.obsolete)

    async def _drop(self, mapping: IndexMapping, generation: int) -> None:
        await self._try(
            "dropping a generation", partial(self._sink.drop_generation, mapping, generation)
        )

    async def _try(self, what: str, operation: Callable[[], Awaitable[T]]) -> T:
        return await self._retrier.run(f"{self._lane}: {what}", operation)
