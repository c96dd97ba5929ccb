"""Change capture by comparison: each poll reads the tables and compares with the last picture."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import ParamSpec

from sqlalchemy import Connection

from flusso_core.errors import SourceFatal
from flusso_core.hookspecs import SourceContext
from flusso_core.interfaces import ChangeCapture, PutBatch
from flusso_core.model import ChangeBatch, Finding, Position, StreamIdentity, TableName
from flusso_source_polling import snapshots
from flusso_source_polling.catalogue import reflect, require, table_names
from flusso_source_polling.database import Database
from flusso_source_polling.findings import find_obstacle
from flusso_source_polling.indexes import watches
from flusso_source_polling.options import PollingOptions
from flusso_source_polling.picture import Rows, Watch, differences, take
from flusso_source_polling.snapshots import Shared

P = ParamSpec("P")

PIECE = 1000
"""Changes in a batch at most."""

_WATCH_SECONDS = 1.0


class PollingCapture(ChangeCapture):
    """A stream of the differences between polls.

    Nothing outlives the process: a run has a stream of its own, and what a destination remembers
    of an earlier one is a gap. Positions count a run's polls, on from the time at which it began.
    """

    def __init__(self, context: SourceContext[PollingOptions]) -> None:
        """Make the capture; nothing connects before `open`.

        Args:
            context: the source's options and the enabled indexes' schemas.
        """
        self._options = context.options
        self._schemas = context.schemas
        self._run = uuid.uuid4().hex
        self._number = time.time_ns()
        self._database: Database | None = None
        self._watches: list[Watch] = []
        self._picture: dict[TableName, Rows] = {}
        self._version = ""
        self._shared = Shared()
        self._pending: deque[ChangeBatch] = deque()
        self._delivered = self._confirmed = self._position()
        self._wanted = asyncio.Event()
        self._polling = asyncio.Lock()

    async def open(self) -> None:
        """Read where the database is; `provision` connects first."""
        self._database = Database(self._options.url())

    async def close(self) -> None:
        """End the snapshot."""
        database, self._database = self._database, None
        self._picture = {}
        if database is not None:
            snapshots.unregister(snapshots.scope(database, self._schemas), self._shared)
            await asyncio.to_thread(self._shared.close)

    async def provision(self, *, temporary: bool) -> None:
        """Take the first picture; from now on every difference to it is a change. Again, it does
        nothing.

        Raises:
            SourceUnavailable: the database is not there.
            SourceFatal: it cannot be polled, or a schema does not fit its tables.
        """
        database = self._opened()
        if self._picture:  # another one would forget what has changed since
            return
        snapshots.register(snapshots.scope(database, self._schemas), self._shared)
        await self._in_thread(self._begin, database)
        self._delivered = self._confirmed = self._position()

    async def identity(self) -> StreamIdentity:
        """This database, and this run."""
        return StreamIdentity(self._version, self._opened().name, "polling", self._run)

    async def confirmed(self) -> Position:
        """Where this run began, or what has been confirmed since; later than any earlier run."""
        return self._confirmed

    async def head(self) -> Position:
        """A position that the next poll passes, which begins at once."""
        position = self._position()
        self._wanted.set()
        return position

    async def live(self, start: Position, put: PutBatch) -> None:
        """Deliver what polls find, one poll an interval, until cancelled."""
        database = self._opened()
        while True:
            # What a cancelled delivery left over comes first.
            while self._pending:
                batch = self._pending[0]
                await self._deliver(batch, put, database)
                self._pending.popleft()
                self._delivered = batch.position or self._delivered
            await self._interval()
            await self._poll(database)

    async def confirm(self, position: Position) -> None:
        """Remember it, for `lag`."""
        self._confirmed = max(self._confirmed, position)

    async def wait_visible(self, batch: ChangeBatch) -> None:
        """What a poll has read is committed, and documents are read from the same snapshot."""

    async def wait_settled(self) -> None:
        """What commits after the first picture is found by the next poll, whenever it began."""

    async def lag(self) -> int:
        """Polls whose changes are delivered and not yet confirmed."""
        return max(0, self._delivered.order - self._confirmed.order)

    async def check(self) -> Sequence[Finding]:
        """What keeps the database from being polled; works without `open`."""
        return await asyncio.to_thread(find_obstacle, Database(self._options.url()))

    async def _deliver(self, batch: ChangeBatch, put: PutBatch, database: Database) -> None:
        """Put a batch. While that blocks, see to it that documents can be built: a snapshot whose
        connection was lost is replaced by another poll, or the engine would wait for ever.
        """
        putting = asyncio.ensure_future(put(batch))
        try:
            while not (await asyncio.wait({putting}, timeout=_WATCH_SECONDS))[0]:
                if self._shared.lost.is_set():
                    await self._poll(database)
            putting.result()
        finally:
            if not putting.done():
                putting.cancel()
                await asyncio.wait({putting})

    async def _interval(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._options.interval):
                await self._wanted.wait()
        self._wanted.clear()

    async def _poll(self, database: Database) -> None:
        # Before the snapshot: what `head` says while it is being read is behind this poll.
        position = self._position()
        await self._in_thread(self._compare, database, position, time.time())

    async def _in_thread(self, work: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Run it to its end, cancelled or not: a thread cannot be stopped half-way."""
        async with self._polling:
            running = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
            try:
                await asyncio.shield(running)
            except asyncio.CancelledError:
                await asyncio.wait({running})
                raise

    def _begin(self, database: Database) -> None:
        """Read the catalogue and take the first picture. None of it is a change."""
        for finding in find_obstacle(database):
            raise SourceFatal(f"{finding.subject}: {finding.message}; {finding.cure}")
        dialect = database.dialect
        with database.connect() as connection, database.errors("read the catalogue"):
            names = table_names(self._schemas)
            tables = reflect(connection, dialect, names)
            for schema in self._schemas:
                require(tables, table_names([schema]), schema.origin or f"index {schema.index!r}")
            self._watches = watches(self._schemas, tables, dialect)
            self._version = dialect.version(connection)
        self._picture = self._look(database)

    def _compare(self, database: Database, position: Position, began: float) -> None:
        before, self._picture = self._picture, self._look(database)
        changes = [
            change
            for watch in self._watches
            for change in differences(
                watch, before[watch.table.name], self._picture[watch.table.name]
            )
        ]
        pieces = [changes[at : at + PIECE] for at in range(0, len(changes), PIECE)] or [[]]
        for piece in pieces[:-1]:
            self._pending.append(ChangeBatch(piece, None, committed_at=began, unfinished=True))
        self._pending.append(ChangeBatch(pieces[-1], position, committed_at=began))

    def _look(self, database: Database) -> dict[TableName, Rows]:
        """Take a picture in one transaction, which stays open for documents to be built from."""

        def work(connection: Connection) -> dict[TableName, Rows]:
            size = self._options.page_size
            return {
                watch.table.name: take(connection, watch, database.dialect, size)
                for watch in self._watches
            }

        return self._shared.replace(database, "read the tables", work)

    def _position(self) -> Position:
        self._number += 1
        return Position(self._number, f"{self._run}:{self._number}")

    def _opened(self) -> Database:
        if self._database is None:
            raise SourceFatal("the polling capture is not open")
        return self._database
