"""Change capture by polling: readers find what has changed, the state file keeps it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from flusso_core.errors import SourceFatal
from flusso_core.hookspecs import SourceContext
from flusso_core.interfaces import ChangeCapture, PutBatch
from flusso_core.model import ChangeBatch, Finding, Position, Removal, StreamIdentity
from flusso_source_polling.database import Database
from flusso_source_polling.findings import look_over
from flusso_source_polling.options import PollingOptions
from flusso_source_polling.pace import Interval
from flusso_source_polling.poller import Polled, Poller
from flusso_source_polling.snapshots import Shared
from flusso_source_polling.state import Entry, StateFile
from flusso_source_polling.teardown import teardown

T = TypeVar("T")

PIECE = 1000
"""Changes in a batch at most."""

_LAST = 2**62  # behind every change of a poll


class PollingCapture(ChangeCapture):
    """A stream of what polls find.

    It goes on where the last run ended: what was found and what is remembered is in the state
    file. The stream is another one when the file is lost, or is of another database.
    """

    def __init__(self, context: SourceContext[PollingOptions]) -> None:
        """Make the capture; nothing connects before `open`.

        Args:
            context: the source's options and the enabled indexes' schemas.
        """
        self._options = context.options
        self._schemas = context.schemas
        self._state = StateFile(None)
        self._shared = Shared()
        self._database: Database | None = None
        self._poller: Poller | None = None
        self._polled = self._confirmed = Position(0, "0")
        self._thorough = False
        self._wanted = asyncio.Event()
        self._news = asyncio.Event()
        self._working = asyncio.Lock()

    async def open(self) -> None:
        """Read where the database is; `provision` connects first."""
        self._database = Database(self._options.url())

    async def close(self) -> None:
        """End the snapshot, and let go of the state file."""
        poller, self._poller = self._poller, None
        self._database = None
        if poller is not None:
            await asyncio.to_thread(poller.close, self._confirmed.order)

    async def provision(self, *, temporary: bool) -> None:
        """Go on with the state file, or begin it; from now on every difference is a change.
        Again, it does nothing.

        Args:
            temporary: begin afresh, and remember nothing when the process ends.

        Raises:
            SourceUnavailable: the database is not there, or another process has the state file.
            SourceFatal: it cannot be polled, or no schema fits its tables. Where some do, `live`
                tells which do not.
        """
        if self._poller is not None:
            return
        if self._database is None:
            raise SourceFatal("the polling capture is not open")
        state = StateFile(None if temporary else Path(self._options.state))
        poller = Poller(self._database, self._schemas, self._options, state, self._shared)
        try:
            polled = await self._in_thread(poller, poller.begin)
        except BaseException:
            await asyncio.to_thread(poller.close, 0)
            raise
        self._state, self._poller = state, poller
        self._polled = _position(polled.position)
        self._confirmed = _position(state.confirmed)

    async def identity(self) -> StreamIdentity:
        """This database, and this state file."""
        return StreamIdentity(
            self._running.version, self._running.name, "polling", self._state.stream
        )

    async def confirmed(self) -> Position:
        """Where the stream began, or what has been confirmed since."""
        return self._confirmed

    async def head(self) -> Position:
        """A position that the next poll passes, which begins at once."""
        position = await self._in_thread(self._running, self._state.next_position)
        self._thorough = True
        self._wanted.set()
        return _position(position)

    async def live(self, start: Position, put: PutBatch) -> None:
        """Deliver what polls have found and what they find, until cancelled.

        Polls go on while `put` blocks, until the journal holds `max_pending` changes.
        """
        poller = self._running
        self._shared.when_lost(asyncio.get_running_loop(), self._wanted)
        polling = asyncio.create_task(self._poll_for_ever(poller))
        delivering = asyncio.create_task(self._deliver_for_ever(poller, start, put))
        both = (polling, delivering)
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            await asyncio.wait(both)
        for task in both:
            if not task.cancelled():
                task.result()

    async def confirm(self, position: Position) -> None:
        """Remember it; the state file forgets what it covers with the next poll."""
        self._confirmed = max(self._confirmed, position)

    async def wait_visible(self, batch: ChangeBatch) -> None:
        """What a poll has read is committed."""

    async def wait_settled(self) -> None:
        """What commits after the tables were first read is found by a later poll, whenever it
        began.
        """

    async def lag(self) -> int:
        """Changes that are found and not yet confirmed."""
        return self._state.pending

    async def check(self) -> Sequence[Finding]:
        """What polls will see of each table, what they cannot, and what is missing; works without
        `open`.
        """
        database = Database(self._options.url())
        return await asyncio.to_thread(look_over, database, self._schemas, self._options)

    async def teardown(self, *, dry_run: bool) -> Sequence[Removal]:
        """Remove the outbox with its triggers, and the state file."""
        return await asyncio.to_thread(teardown, self._options, dry_run=dry_run)

    # Delivering

    async def _deliver_for_ever(self, poller: Poller, start: Position, put: PutBatch) -> None:
        """Deliver the journal behind `start`, and where there is nothing, how far polls are.

        Indexes that no longer fit are told before any change that was found without them.
        """
        delivered, number, told = start.order, _LAST, 0
        while True:
            self._news.clear()
            polled = self._polled
            entries = await asyncio.to_thread(self._state.read, delivered, number, PIECE + 1)
            if unfit := poller.unfit[told:]:
                await put(ChangeBatch((), None, unfit=unfit, unfinished=number != _LAST))
                told += len(unfit)
            if entries:
                batch = _batch(entries)
                await put(batch)
                last = entries[len(batch.changes) - 1]
                delivered = last.position
                number = last.number if batch.unfinished else _LAST
            elif polled.order > delivered:
                await put(ChangeBatch((), polled, committed_at=time.time()))
                delivered, number = polled.order, _LAST
            else:
                await self._news.wait()

    # Polling

    async def _poll_for_ever(self, poller: Poller) -> None:
        interval = Interval(self._options.interval, self._options.max_interval)
        while True:
            began = time.monotonic()
            polled = await self._poll(poller)
            if polled is not None:
                self._polled = _position(polled.position)
                self._news.set()
            wait = interval.after(
                found=polled is not None and polled.found, took=time.monotonic() - began
            )
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wanted.wait()
            self._wanted.clear()

    async def _poll(self, poller: Poller) -> Polled | None:
        thorough, self._thorough = self._thorough, False
        polled: Polled | None = None
        try:
            polled = await self._in_thread(
                poller, lambda: poller.poll(self._confirmed.order, thorough=thorough)
            )
        finally:
            if polled is None:
                self._thorough |= thorough
        return polled

    async def _in_thread(self, poller: Poller, work: Callable[[], T]) -> T:
        """Do the work in a thread. Cancelled, it waits until the thread has given up."""
        async with self._working:
            running = asyncio.ensure_future(asyncio.to_thread(work))
            try:
                return await asyncio.shield(running)
            except asyncio.CancelledError:
                poller.throttle.give_up()
                await asyncio.wait({running})
                if not running.cancelled():
                    running.exception()  # nobody asks for it any more
                raise

    @property
    def _running(self) -> Poller:
        if self._poller is None:
            raise SourceFatal(
                "the polling capture is not provisioned: only the run that polls knows where its "
                "stream is"
            )
        return self._poller


def _batch(entries: Sequence[Entry]) -> ChangeBatch:
    """The first of the entries that belong to one poll, `PIECE` at most.

    Args:
        entries: what comes next in the journal, one more than `PIECE` if there are as many.
    """
    position = entries[0].position
    same = [entry for entry in entries if entry.position == position]
    unfinished = len(same) > PIECE
    return ChangeBatch(
        [entry.change for entry in same[:PIECE]],
        None if unfinished else _position(position),
        committed_at=entries[0].found,
        unfinished=unfinished,
    )


def _position(order: int) -> Position:
    return Position(order, str(order))
