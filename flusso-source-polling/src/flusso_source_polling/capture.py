"""Change capture by polling: readers find what has changed, the state file keeps it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from sqlalchemy import Connection

from flusso_core.errors import SourceError, SourceFatal
from flusso_core.hookspecs import SourceContext
from flusso_core.interfaces import ChangeCapture, PutBatch
from flusso_core.model import ChangeBatch, Finding, Position, StreamIdentity
from flusso_source_polling import snapshots
from flusso_source_polling.catalogue import reflect, require, table_names
from flusso_source_polling.database import Database
from flusso_source_polling.findings import find_obstacle
from flusso_source_polling.indexes import watches
from flusso_source_polling.options import PollingOptions
from flusso_source_polling.picture import Lens
from flusso_source_polling.readers import Comparison, Reader
from flusso_source_polling.snapshots import Shared
from flusso_source_polling.state import Entry, StateFile

P = ParamSpec("P")
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
        self._database: Database | None = None
        self._state = StateFile(None)
        self._readers: list[Reader] = []
        self._version = ""
        self._shared = Shared()
        self._polled = self._confirmed = Position(0, "0")
        self._wanted = asyncio.Event()
        self._news = asyncio.Event()
        self._working = asyncio.Lock()

    async def open(self) -> None:
        """Read where the database is; `provision` connects first."""
        self._database = Database(self._options.url())

    async def close(self) -> None:
        """End the snapshot, and let go of the state file."""
        database, self._database = self._database, None
        self._readers = []
        if database is not None:
            snapshots.unregister(snapshots.scope(database, self._schemas), self._shared)
            await asyncio.to_thread(self._end)

    async def provision(self, *, temporary: bool) -> None:
        """Go on with the state file, or begin it; from now on every difference is a change.
        Again, it does nothing.

        Args:
            temporary: begin afresh, and remember nothing when the process ends.

        Raises:
            SourceUnavailable: the database is not there, or another process has the state file.
            SourceFatal: it cannot be polled, or a schema does not fit its tables.
        """
        database = self._opened()
        if self._readers:
            return
        snapshots.register(snapshots.scope(database, self._schemas), self._shared)
        self._state = StateFile(None if temporary else Path(self._options.state))
        self._readers = await self._in_thread(self._begin, database)
        self._confirmed = _position(await self._in_thread(lambda: self._state.confirmed))

    async def identity(self) -> StreamIdentity:
        """This database, and this state file."""
        return StreamIdentity(self._version, self._opened().name, "polling", self._state.stream)

    async def confirmed(self) -> Position:
        """Where the stream began, or what has been confirmed since."""
        return self._confirmed

    async def head(self) -> Position:
        """A position that the next poll passes, which begins at once."""
        position = await self._in_thread(self._state.next_position)
        self._wanted.set()
        return _position(position)

    async def live(self, start: Position, put: PutBatch) -> None:
        """Deliver what polls have found and what they find, until cancelled.

        Polls go on while `put` blocks, until the journal holds `max_pending` changes.
        """
        database = self._opened()
        self._shared.when_lost(asyncio.get_running_loop(), self._wanted)
        polling = asyncio.create_task(self._poll_for_ever(database))
        delivering = asyncio.create_task(self._deliver_for_ever(start, put))
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
        """What keeps the database from being polled; works without `open`."""
        return await asyncio.to_thread(find_obstacle, Database(self._options.url()))

    # Delivering

    async def _deliver_for_ever(self, start: Position, put: PutBatch) -> None:
        """Deliver the journal behind `start`, and where there is nothing, how far polls are."""
        delivered, number = start.order, _LAST
        while True:
            self._news.clear()
            polled = self._polled
            entries = await asyncio.to_thread(self._state.read, delivered, number, PIECE + 1)
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

    async def _poll_for_ever(self, database: Database) -> None:
        while True:
            await self._in_thread(self._poll, database)
            self._news.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._options.interval):
                    await self._wanted.wait()
            self._wanted.clear()

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run it to its end, cancelled or not: a thread cannot be stopped half-way."""
        async with self._working:
            running = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
            try:
                return await asyncio.shield(running)
            except asyncio.CancelledError:
                await asyncio.wait({running})
                raise

    def _begin(self, database: Database) -> list[Reader]:
        """Read the catalogue, take the state file, and look at the tables for the first time."""
        for finding in find_obstacle(database):
            raise SourceFatal(f"{finding.subject}: {finding.message}; {finding.cure}")
        dialect = database.dialect
        with database.connect() as connection, database.errors("read the catalogue"):
            names = table_names(self._schemas)
            tables = reflect(connection, dialect, names)
            for schema in self._schemas:
                require(tables, table_names([schema]), schema.origin or f"index {schema.index!r}")
            watched = watches(self._schemas, tables, dialect)
            self._version = dialect.version(connection)
        readers: list[Reader] = [
            Comparison(watch, Lens(watch, dialect), self._options.page_size) for watch in watched
        ]
        self._state.open(f"{self._version} {database.name}")
        try:
            self._state.retain([reader.name for reader in readers])
            self._look(database, readers)
        except BaseException:
            self._state.close()
            raise
        return readers

    def _poll(self, database: Database) -> None:
        """Tell the readers what is confirmed, and look again unless too much is waiting."""
        confirmed = self._confirmed.order
        if confirmed > self._state.confirmed:
            self._state.confirm(confirmed)
        if self._state.pending < self._options.max_pending or self._shared.lost.is_set():
            self._look(database, self._readers)

    def _look(self, database: Database, readers: Sequence[Reader]) -> None:
        """Ask every reader, in one transaction here and one there.

        The latter stays open, for documents to be built from, and is shown to the builder only
        when what it holds is remembered.
        """
        found = time.time()

        def work(connection: Connection) -> int:
            with self._state.transaction():
                position = self._state.next_position()
                for reader in readers:
                    memory = self._state.memory(reader.name)
                    if memory.is_new:
                        reader.begin(connection, memory)
                    else:
                        self._state.append(
                            position, found, reader.poll(connection, memory, position)
                        )
                return position

        self._polled = _position(self._shared.replace(database, "read the tables", work))

    def _end(self) -> None:
        self._shared.close()
        if self._state.is_open:
            with suppress(SourceError):  # what is not confirmed comes again
                if self._confirmed.order > self._state.confirmed:
                    self._state.confirm(self._confirmed.order)
            self._state.close()

    def _opened(self) -> Database:
        if self._database is None:
            raise SourceFatal("the polling capture is not open")
        return self._database


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
