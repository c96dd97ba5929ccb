"""How to reach a Postgres."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from urllib.parse import quote, unquote

from flusso_sandbox.endpoints.database import DatabaseEndpoint
from flusso_sandbox.endpoints.server_url import ServerUrl
from flusso_sandbox.errors import SandboxError

if TYPE_CHECKING:
    import psycopg

_SLOT_SECONDS = 10.0
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class PostgresEndpoint(DatabaseEndpoint):
    """A Postgres server and a superuser of it.

    Attributes:
        maintenance: The database to connect to for creating and dropping others.
    """

    maintenance: str = "postgres"

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Reads a URL such as `postgresql://user:password@host:5432/postgres`.

        Raises:
            SandboxError: It is not such a URL. The message does not quote it.
        """
        parts = ServerUrl.read(
            url,
            scheme="postgres(ql)?",
            like="a Postgres URL like postgresql://user:password@host:5432/postgres",
            with_user=True,
        )
        maintenance = unquote(parts.path.lstrip("/")) or "postgres"
        return cls(parts.host, parts.port or 5432, parts.user, parts.password, maintenance)

    def url(self, database: str | None = None) -> str:
        """The libpq URL of a database of this server, password included.

        Args:
            database: Its name; None for the maintenance database.
        """
        name = quote(database or self.maintenance, safe="")
        return f"postgresql://{self._authority()}/{name}"

    def answers(self) -> bool:
        """Whether the server takes connections now."""
        from psycopg import OperationalError

        try:
            self._connect(self.maintenance).close()
        except OperationalError:
            return False
        return True

    def _driver_error(self) -> type[Exception]:
        from psycopg import Error

        return Error

    def _create(self, name: str) -> None:
        from psycopg import sql

        create = sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))
        with self._connect(self.maintenance) as connection:
            connection.execute(create)

    def _drop(self, name: str) -> None:
        from psycopg import sql

        find = "SELECT 1 FROM pg_database WHERE datname = %s"
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        with self._connect(self.maintenance) as connection:
            if connection.execute(find, [name]).fetchone() is None:
                return
            with self._connect(name) as inside:
                _roll_back_prepared(inside)
                _drop_slots(inside)
            connection.execute(drop)

    def _connect(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        import psycopg

        return psycopg.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            dbname=database,
            autocommit=True,
            connect_timeout=10,
        )


def _roll_back_prepared(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    from psycopg import sql

    rows = connection.execute(
        "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
    ).fetchall()
    for (gid,) in rows:
        connection.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))


def _drop_slots(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Drops the slots of the connected database: a logical slot is dropped from within it."""
    deadline = time.monotonic() + _SLOT_SECONDS
    while True:
        slots = connection.execute(
            "SELECT slot_name, pg_terminate_backend(active_pid) FROM pg_replication_slots"
            " WHERE database = current_database()"
        ).fetchall()
        if not slots:
            return
        dropped = connection.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
            " WHERE database = current_database() AND NOT active"
        ).fetchall()
        if not dropped:
            if time.monotonic() > deadline:
                names = ", ".join(str(slot) for slot, _ in slots)
                msg = f"replication slots stay in use, end what reads them: {names}"
                raise SandboxError(msg)
            time.sleep(_POLL_SECONDS)
