"""A world's database: its rows, what changes them, and how much WAL is held back for its slots."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.errors import ObjectInUse
from psycopg.sql import SQL, Identifier

from benchmarks.searches import wait_until
from benchmarks.watching import Watch
from benchmarks.worlds import Happening, World
from flusso_sandbox import PostgresEndpoint

_RETAINED = b"""
SELECT coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)), 0)::bigint
FROM pg_replication_slots WHERE database = current_database()
"""
_WAL_EVERY = 0.25


@contextmanager
def loaded(server: PostgresEndpoint, name: str, world: World) -> Generator[Database]:
    """A database with the world's rows, dropped at the end."""
    url = server.create_database(name)
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(world.tables.encode())
            connection.execute(b"VACUUM ANALYZE")
            # What loading has left to write is written before anything is measured.
            connection.execute(b"CHECKPOINT")
            yield Database(url, connection)
    finally:
        server.drop_database(name)


class Database:
    """Changes a world, and looks at what programs do to its server.

    Args:
        url: of the database.
        connection: to it, in autocommit mode.
    """

    def __init__(self, url: str, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        self.url = url
        self._connection = connection
        self._mark = 0

    def next_mark(self) -> int:
        """A revision that no row has ever had."""
        self._mark += 1
        return self._mark

    def ids(self, query: str) -> list[str]:
        """The ids that a query gives."""
        return [str(one) for (one,) in self._connection.execute(query.encode()).fetchall()]

    def happen(self, happening: Happening, mark: int) -> int:
        """Have it happen; returns how many rows were changed."""
        changed = 0
        for row in range(1, happening.transactions + 1):
            parameters = {"mark": mark, "row": row}
            done = self._connection.execute(happening.statement.encode(), parameters)
            changed += done.rowcount
        return changed

    def revise(self, user: int, mark: int) -> None:
        """Change one user of the shop."""
        self._connection.execute(b"UPDATE users SET revision = %s WHERE id = %s", [mark, user])

    def connections(self) -> int:
        """How many sessions others have on this database."""
        return int(
            self._one(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )

    def retained(self) -> int:
        """Bytes of WAL that the slots of this database hold back."""
        return int(self._one(_RETAINED.decode()))

    def forget_programs(self) -> None:
        """Drop slots and publications that programs have left; they have ended."""

        def dropped() -> bool:
            try:
                self._connection.execute(
                    b"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
                    b"WHERE database = current_database()"
                )
            except ObjectInUse:
                return False  # the server has not noticed yet
            return True

        wait_until(dropped, "the slots to be free", patience=30)
        for (name,) in self._connection.execute(b"SELECT pubname FROM pg_publication").fetchall():
            self._connection.execute(SQL("DROP PUBLICATION {}").format(Identifier(name)))

    def _one(self, query: str) -> Any:
        row = self._connection.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]


class WalWatch(Watch):
    """A context manager that keeps the most WAL that the database's slots hold back."""

    def __init__(self, url: str) -> None:
        super().__init__("WAL watch", _WAL_EVERY)
        self._connection = psycopg.connect(url, autocommit=True)
        self._most = 0
        self._lock = threading.Lock()

    def take(self) -> int:
        """The most since this was last asked, in bytes."""
        self._look()
        with self._lock:
            most, self._most = self._most, 0
            return most

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._connection.close()

    def _look(self) -> None:
        with self._lock:
            row = self._connection.execute(_RETAINED).fetchone()
            assert row is not None
            self._most = max(self._most, int(row[0]))
