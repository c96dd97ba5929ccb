"""The snapshot that a poll has read, shared with the builder of the same process.

Polls compare pictures: a row that changes and changes back between two of them was never seen
to change. A document that was built meanwhile would keep what nobody ever reports as gone. So
documents are built from the very snapshot that the last poll read, until the next one has been
read: nothing is built from a state that no poll has seen.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from functools import partial
from typing import TypeAlias, TypeVar

from sqlalchemy import Connection

from flusso_core.errors import SourceFatal, SourceUnavailable
from flusso_core.schema.model import IndexSchema
from flusso_source_polling.database import Database

T = TypeVar("T")
Scope: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]


class Shared:
    """The newest snapshot of one capture: a transaction that is left open, one thread at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._database: Database | None = None
        self.lost = threading.Event()
        self._wake: Callable[[], object] = _nobody

    def when_lost(self, loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
        """Have an event of a loop set when a reader finds that there is no snapshot any more."""
        self._wake = partial(loop.call_soon_threadsafe, event.set)

    def replace(self, database: Database, doing: str, work: Callable[[Connection], T]) -> T:
        """End the last snapshot, begin the next and do the work in it. Blocks.

        In this order: while a transaction is open, Postgres keeps a TRUNCATE or ALTER TABLE of its
        tables waiting, and whoever comes after that waits behind it. Reads wait meanwhile.

        Raises:
            SourceUnavailable: the database is not there, or the last connection was lost; there is
                no snapshot now.
            SourceFatal: the statement cannot succeed; there is no snapshot now.
        """
        with self._lock:
            self.lost.set()
            self._end()
            connection = database.connect()
            try:
                with database.errors(doing):
                    found = work(connection)
            except BaseException:
                connection.close()
                raise
            self._database, self._connection = database, connection
            self.lost.clear()
            return found

    def read(self, doing: str, work: Callable[[Connection], T]) -> T:
        """Do the work in the newest snapshot. Blocks.

        Raises:
            SourceUnavailable: there is none, because the connection was lost: the next poll
                makes one.
        """
        with self._lock:
            if self._connection is None or self._database is None:
                raise SourceUnavailable(f"cannot {doing}: the next poll has yet to read the tables")
            try:
                with self._database.errors(doing):
                    return work(self._connection)
            except SourceUnavailable:
                self.lost.set()
                with suppress(RuntimeError):  # the loop has ended
                    self._wake()
                raise

    def close(self) -> None:
        """End the snapshot, when nobody reads in it any more; none is missed then. Blocks;
        idempotent.
        """
        with self._lock, suppress(SourceUnavailable):  # a connection that is lost needs no end
            self.lost.clear()
            self._end()

    def _end(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and self._database is not None:
            with closing(connection), self._database.errors("end a transaction"):
                connection.rollback()


def scope(database: Database, schemas: Iterable[IndexSchema]) -> Scope:
    """What a capture and a builder of one pipeline have in common."""
    url = database.url.render_as_string(hide_password=False)
    return url, tuple(sorted((one.index, one.schema_hash) for one in schemas))


def _nobody() -> None:
    """Nobody waits yet."""


_shared: dict[Scope, Shared] = {}
_registering = threading.Lock()


def register(key: Scope, shared: Shared) -> None:
    """Say that a capture polls this.

    Raises:
        SourceFatal: another one in this process does.
    """
    with _registering:
        if _shared.setdefault(key, shared) is not shared:
            raise SourceFatal(
                "this database is already being polled for these indexes in this process; "
                "close the other capture first"
            )


def unregister(key: Scope, shared: Shared) -> None:
    """Say that it no longer does. Idempotent."""
    with _registering:
        if _shared.get(key) is shared:
            del _shared[key]


def find(key: Scope) -> Shared | None:
    """The snapshots of the capture that polls this, if one in this process does."""
    return _shared.get(key)
