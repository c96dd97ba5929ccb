"""What a destination remembers: the state records of a lane, stored as things come true."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

from flusso_core.engine.ledger import Target
from flusso_core.engine.progress import Progress
from flusso_core.engine.retry import Retrier
from flusso_core.engine.watermark import Watermark
from flusso_core.interfaces import Sink
from flusso_core.model import GenerationRecord, Position, StateRecord


class Records:
    """Keeps each index's record at the destination in step with what has landed.

    A record is stored before what it announces is done, and the source is confirmed only up to
    what is stored.

    Args:
        sink: where the records are.
        watermark: up to where everything is right.
        retrier: how failures that pass are tried again.
        stored: called when `position` has risen.
    """

    def __init__(
        self,
        *,
        sink: Sink,
        watermark: Watermark,
        retrier: Retrier,
        stored: Callable[[], None],
    ) -> None:
        self._sink = sink
        self._watermark = watermark
        self._retrier = retrier
        self._stored = stored
        self._position = watermark.position
        self._records: dict[str, StateRecord] = {}
        self._durable: dict[str, StateRecord] = {}
        self._progress: dict[Target, Progress] = {}
        self._left_behind: dict[str, Position] = {}
        # One request for records at a time: one that is overtaken would put an older record in
        # the place of a newer one, below what the source has been told.
        self._storing = asyncio.Lock()

    @property
    def position(self) -> Position:
        """Everything up to here is right at the destination, and the destination knows it."""
        return self._position

    @property
    def indexes(self) -> Iterable[str]:
        """Those that have a record."""
        return self._records

    def current(self, index: str) -> StateRecord:
        """What is true of the index now, stored or not."""
        record = self._records[index]
        # A record may be ahead of the watermark at first: what the source has not been told yet
        # comes again.
        position = max(record.position, self._watermark.position)
        return replace(
            record,
            position=self._left_behind.get(index, position),
            current=self._with_progress(index, record.current),
            serving=record.serving and self._with_progress(index, record.serving),
        )

    def generation(self, target: Target) -> GenerationRecord | None:
        """What is true of a generation that is filled or serves; `None`: it is neither."""
        record = self.current(target.index)
        found = (record.current, record.serving)
        return next((one for one in found if one and one.number == target.generation), None)

    def follow(self, target: Target, progress: Progress) -> None:
        """The generation is being read: from now on its record tells how far."""
        self._progress[target] = progress

    def forget(self, target: Target) -> None:
        """The generation is given up: how far it was read is true of no other."""
        self._progress.pop(target, None)

    def decide(self, record: StateRecord) -> None:
        """This is true of its index from now on; `store` makes it durable."""
        self._records[record.index] = record

    def change(
        self, target: Target, change: Callable[[GenerationRecord], GenerationRecord]
    ) -> None:
        """Something has come true of a generation; nothing changes if it is not there any more."""
        generation = self.generation(target)
        if generation is None:
            return
        self._progress.pop(target, None)
        record = self._records[target.index]
        if record.current.number == target.generation:
            self.decide(replace(record, current=change(generation)))
        else:
            self.decide(replace(record, serving=change(generation)))

    def leave_behind(self, index: str) -> None:
        """The index has stopped: its record stays where it is right, whatever lands from now on.

        Once the source is told more than that, the next start sees a gap.
        """
        if index in self._left_behind or index not in self._records:
            return
        record = self.current(index)
        self._left_behind[index] = record.position
        for generation in (record.current, record.serving):
            if generation is not None:
                target = Target(index, generation.number)
                if target in self._progress:
                    self._progress[target] = Progress(generation.ranges)

    async def store(self) -> None:
        """Store what has changed; then the source may be confirmed up to there."""
        async with self._storing:
            position = self._watermark.position
            current = [self.current(index) for index in self._records]
            changed = [record for record in current if record != self._durable.get(record.index)]
            if changed:
                await self._sink.store_records(changed)
                self._durable.update({record.index: record for record in changed})
        if position > self._position:
            self._position = position
            self._stored()

    async def stored(self) -> None:
        """Return when what is true now is durable."""
        await self._retrier.run("storing its state", self.store)

    async def keep_stored(self, seconds: float) -> None:
        """Store what has changed, again and again after so many seconds."""
        while True:
            await asyncio.sleep(seconds)
            await self.stored()

    def _with_progress(self, index: str, generation: GenerationRecord) -> GenerationRecord:
        progress = self._progress.get(Target(index, generation.number))
        return generation if progress is None else replace(generation, ranges=progress.ranges)
