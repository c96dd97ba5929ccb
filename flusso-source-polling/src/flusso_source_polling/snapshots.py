"""The snapshot that a poll has read, shared with the builder of the same process.

Polls compare pictures: a row that changes and changes back between two of them was never seen
to change. A document that was built meanwhile would keep what nobody ever reports as gone. So
documents are built from the very snapshot that the last poll read, until the next one has been
read: nothing is built from a state that no poll has seen.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeAlias, TypeVar

from sqlalchemy import Connection

from flusso_core.errors import SourceFatal, SourceUnavailable
from flusso_core.schema.model import IndexSchema
from flusso_source_polling.database import Database

T = TypeVar("T")
Scope: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]


class Snapshot:
    """A connection in a transaction, for one thread at a time."""

    def __init__(self, database: Database, connection: Connection) -> None:
        self._database = database
        self._connection: Connection | None = connection
        self._lock = threading.Lock()

    def read(self, doing: str, work: Callable[[Connection], T]) -> T | None:
        """Do the work in the transaction; `None`: it is over. Blocks.

        Raises:
            SourceUnavailable: the connection was lost.
            SourceFatal: the statement cannot succeed.
        """
        with self._lock:
            if self._connection is None:
                return None
            with self._database.errors(doing):
                return work(self._connection)

    def close(self) -> None:
        """End the transaction, when nobody reads in it any more. Blocks; idempotent."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                with self._database.errors("end a transaction"):
                    connection.close()


class Shared:
    """The newest snapshot of one capture."""

    def __init__(self) -> None:
        self._current: Snapshot | None = None
        self.lost = threading.Event()

    def publish(self, snapshot: Snapshot) -> None:
        """Let documents be built from this one from now on. Blocks until the last one is over."""
        previous, self._current = self._current, snapshot
        self.lost.clear()
        if previous is not None:
            # A connection that is lost needs no end.
            with suppress(SourceUnavailable):
                previous.close()

    def read(self, doing: str, work: Callable[[Connection], T]) -> T:
        """Do the work in the newest snapshot. Blocks.

        Raises:
            SourceUnavailable: there is none, because the connection was lost: the next poll
                makes one.
        """
        while (snapshot := self._current) is not None:
            try:
                found = snapshot.read(doing, work)
            except SourceUnavailable:
                self.lost.set()
                raise
            if found is not None:
                return found
        raise SourceUnavailable(f"cannot {doing}: the next poll has yet to read the database")

    def close(self) -> None:
        """End the snapshot."""
        current, self._current = self._current, None
        if current is not None:
            current.close()


def scope(database: Database, schemas: Iterable[IndexSchema]) -> Scope:
    """What a capture and a builder of one pipeline have in common."""
    url = database.url.render_as_string(hide_password=False)
    return url, tuple(sorted((one.index, one.schema_hash) for one in schemas))


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
