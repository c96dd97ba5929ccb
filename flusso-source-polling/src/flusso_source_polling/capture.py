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
from flusso_source_polling.assembly import Assembly
from flusso_source_polling.catalogue import reflect, require, table_names
from flusso_source_polling.database import Database
from flusso_source_polling.findings import find_obstacle
from flusso_source_polling.indexes import watches
from flusso_source_polling.options import PollingOptions
from flusso_source_polling.readers import Poll, Reader
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
        self._assembled: Assembly | None = None
        self._readers: Sequence[Reader] = ()
        self._version = ""
        self._shared = Shared()
        self._polled = self._confirmed = Position(0, "0")
        self._connection: Connection | None = None  # to poll by, unless a snapshot is held
        self._thorough = False
        self._wanted = asyncio.Event()
        self._news = asyncio.Event()
        self._working = asyncio.Lock()

    async def open(self) -> None:
        """Read where the database is; `provision` connects first."""
        self._database = Database(self._options.url())

    async def close(self) -> None:
        """End the snapshot, and let go of the state file."""
        database, self._database = self._database, None
        self._readers = ()
        if database is not None:
            snapshots.unregister(snapshots.scope(database, self._schemas), self._shared)
            await asyncio.to_thread(self._end, database)

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
        self._state = StateFile(None if temporary else Path(self._options.state))
        await self._in_thread(self._begin, database)
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
        self._thorough = True
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

    def _begin(self, database: Database) -> None:
        """Read the catalogue, take the state file, and look at the tables for the first time."""
        dialect = database.dialect
        with database.connect() as connection, database.errors("read the catalogue"):
            names = table_names(self._schemas)
            tables = reflect(connection, dialect, names)
            for schema in self._schemas:
                require(tables, table_names([schema]), schema.origin or f"index {schema.index!r}")
            watched = watches(self._schemas, tables, dialect)
            self._version = dialect.version(connection)
        self._assembled = Assembly(watched, self._options, dialect)
        if self._assembly.holds_snapshot:
            for finding in find_obstacle(database):
                raise SourceFatal(f"{finding.subject}: {finding.message}; {finding.cure}")
            snapshots.register(snapshots.scope(database, self._schemas), self._shared)
        self._state.open(f"{self._version} {database.name}")
        try:
            self._readers = self._assembly.readers()
            self._state.retain([reader.name for reader in self._readers])
            self._look(database)
        except BaseException:
            self._state.close()
            self._readers = ()
            raise

    def _poll(self, database: Database) -> None:
        """Tell the readers what is confirmed, and look again unless too much is waiting."""
        confirmed = self._confirmed.order
        if confirmed > self._state.confirmed:
            self._tidy(database, confirmed)
        if self._state.pending < self._options.max_pending or self._shared.lost.is_set():
            thorough, self._thorough = self._thorough, False
            try:
                self._look(database, thorough=thorough)
            except BaseException:
                # What they had in mind is not what the state file has.
                self._readers = self._assembly.readers()
                self._thorough |= thorough
                raise

    def _tidy(self, database: Database, confirmed: int) -> None:
        with self._state.transaction():
            tidying = [reader for reader in self._readers if reader.tidies]
            if tidying:
                with database.connect() as connection, database.errors("tidy up"):
                    for reader in tidying:
                        memory = self._state.memory(reader.name)
                        with connection.begin():
                            reader.confirmed(connection, memory, confirmed)
            self._state.confirm(confirmed)

    def _look(self, database: Database, *, thorough: bool = False) -> None:
        """Ask every reader, in one transaction of the state file.

        Where a snapshot is held, it stays open for documents to be built from, and is shown to
        the builder only when what it holds is remembered.
        """
        found, assembly = time.time(), self._assembly
        doing = "read the tables"

        def work(connection: Connection) -> int:
            with self._state.transaction():
                poll = Poll(self._state.next_position(), thorough)
                for reader in self._readers:
                    memory = self._state.memory(reader.name)
                    if memory.is_new:
                        reader.begin(connection, memory)
                    else:
                        self._state.append(
                            poll.position, found, reader.poll(connection, memory, poll)
                        )
                    assembly.breathe(connection)
                return poll.position

        if self._connection is None:
            self._connection = database.connect()
        aside = self._connection
        try:
            with database.errors(doing):
                assembly.look_up(aside)
                if assembly.holds_snapshot:
                    position = self._shared.replace(database, doing, work)
                else:
                    position = work(aside)
                assembly.look_back(aside)
        except BaseException:
            self._disconnect(database)
            raise
        self._polled = _position(position)

    def _disconnect(self, database: Database) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # A connection that is lost needs no end.
            with suppress(SourceError), database.errors("disconnect"):
                connection.close()

    def _end(self, database: Database) -> None:
        self._shared.close()
        self._disconnect(database)
        if self._state.is_open:
            with suppress(SourceError):  # what is not confirmed comes again
                if self._confirmed.order > self._state.confirmed:
                    self._state.confirm(self._confirmed.order)
            self._state.close()

    @property
    def _assembly(self) -> Assembly:
        if self._assembled is None:
            raise SourceFatal("the polling capture is not provisioned")
        return self._assembled

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
