"""Following a capture: what it delivered, and what may be said of it at every position."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, suppress

from flusso_core.interfaces import ChangeCapture
from flusso_core.model import Change, ChangeBatch, Position, TableName
from flusso_core.testing.conformance.promise import Promise, shown
from flusso_core.testing.conformance.source.bench import GUIDE
from flusso_core.testing.conformance.source.rows import touched_by

DELIVERED = Promise(
    "every committed change is delivered, with the old and the new keys of its documents", GUIDE
)
ORDERED = Promise("positions never fall, and fit 63 bits", GUIDE)


class Follower:
    """Takes what a capture delivers from a position on. `gate` holds it back while cleared."""

    def __init__(self, start: Position) -> None:
        self._start = start
        self.batches: list[ChangeBatch] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self._came = asyncio.Event()

    async def put(self, batch: ChangeBatch) -> None:
        """Take a batch once the gate is open, and hold it to the order of positions."""
        await self.gate.wait()
        before = self.position
        if batch.position is not None:
            if batch.position < before:
                raise ORDERED.broken(f"{batch.position} after {before}")
            if not 0 <= batch.position.order < 2**63:
                raise ORDERED.broken(f"{batch.position}")
        self.batches.append(batch)
        self._came.set()

    @property
    def position(self) -> Position:
        """The last one."""
        found = (batch.position for batch in reversed(self.batches) if batch.position is not None)
        return next(found, self._start)

    @property
    def changes(self) -> list[Change]:
        """All so far."""
        return [change for batch in self.batches for change in batch.changes]

    def forget(self) -> None:
        """Forget what has come; from now on, only what comes counts."""
        self._start = self.position
        self.batches.clear()

    async def reach(self, position: Position) -> None:
        """Return when everything up to there has been delivered."""
        while self.position < position:
            self._came.clear()
            await self._came.wait()

    async def reach_head(self, capture: ChangeCapture) -> None:
        """Return when everything that is committed now has been delivered."""
        head = await capture.head()
        await DELIVERED.within(self.reach(head), f"delivery up to {head}")

    def check_touched(self, expected: Iterable[str], tables: Iterable[TableName] = ()) -> None:
        """Fail unless the changes tell that these documents are touched.

        Args:
            expected: their keys.
            tables: a TRUNCATE of these counts as touching all.
        """
        found, truncated = touched_by(self.changes)
        missing = set(expected) - found
        if missing and not truncated & set(tables):
            raise DELIVERED.broken(
                f"no change tells that {shown(sorted(missing))} are touched: {shown(self.changes)}"
            )


@asynccontextmanager
async def following(
    capture: ChangeCapture, start: Position | None = None
) -> AsyncGenerator[Follower, None]:
    """Follow the stream while the context lasts, from what is confirmed unless told otherwise.

    An error of the capture ends the context with it.
    """
    begin = await capture.confirmed() if start is None else start
    follower = Follower(begin)
    live = asyncio.create_task(capture.live(begin, follower.put))
    body = asyncio.current_task()

    def interrupt(ended: asyncio.Task[None]) -> None:
        if not ended.cancelled() and body is not None:
            body.cancel()

    live.add_done_callback(interrupt)
    try:
        yield follower
    except asyncio.CancelledError:
        if not live.done():
            raise
        if body is not None:
            body.uncancel()
        live.result()  # why it ended
        raise DELIVERED.broken("`live` returned") from None
    finally:
        live.remove_done_callback(interrupt)
        live.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await live
