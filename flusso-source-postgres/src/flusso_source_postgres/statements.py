"""Running the builder's statements: a pool of connections, and results as the server sent them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeAlias, cast

import psycopg
from psycopg.pq.abc import PGresult
from psycopg_pool import AsyncConnectionPool

from flusso_core.errors import SourceError, SourceUnavailable
from flusso_core.model import Key, TableName
from flusso_source_postgres.catalogue import Table, read_tables
from flusso_source_postgres.connection import Connection, ConnectionTarget, connect, source_error

APPLICATION_NAME = "flusso builder"

SETTINGS = {
    # Compiling the expressions of a document takes longer than a chunk of them.
    "jit": "off",
    # Statements are over keys: a plan that goes by the indexes is right whatever the keys are.
    "plan_cache_mode": "force_generic_plan",
    # Pages that belong together are in memory or on a disk without heads; and a plan that is made
    # for unknown keys must not read a whole table for one of them.
    "random_page_cost": "1.1",
    "max_parallel_workers_per_gather": "0",
    "default_transaction_read_only": "on",
    "statement_timeout": "0",
}
"""What the builder's connections have besides the settings that every connection pins."""

Parameters: TypeAlias = Sequence[str | Sequence[str]]
Pool: TypeAlias = AsyncConnectionPool[Connection]


class Statements:
    """Runs statements on a pool, each in a transaction and snapshot of its own.

    Errors come as `SourceUnavailable` or `SourceFatal`.
    """

    def __init__(self, target: ConnectionTarget, connections: int) -> None:
        """Make the pool, not yet open.

        Args:
            target: where to connect to.
            connections: how many statements run at once.
        """
        self._target = target
        self._pool: Pool = AsyncConnectionPool(
            target.with_parameters(fallback_application_name=APPLICATION_NAME),
            kwargs={"autocommit": True},
            min_size=1,
            max_size=connections,
            configure=_configure,
            open=False,
            name="flusso builder",
        )

    async def open(self) -> None:
        """Open the pool.

        Raises:
            SourceUnavailable: no connection could be made in time.
        """
        try:
            await self._pool.open(wait=True)
        except psycopg.Error as error:
            raise source_error(error, f"connect to {self._target}") from error

    async def close(self) -> None:
        """Close the pool and its connections. May be called more than once."""
        await self._pool.close()

    async def connect(self) -> Connection:
        """A connection beside the pool, with the same settings."""
        connection = await connect(self._target, application_name=APPLICATION_NAME)
        try:
            await _configure(connection)
        except BaseException:
            await connection.close()
            raise
        return connection

    async def fetch(self, statement: str, parameters: Parameters, doing: str) -> PGresult:
        """Run a prepared statement; the values of its result are in binary format, untouched."""
        try:
            async with self._pool.connection() as connection:
                return await run(connection, statement, parameters)
        except psycopg.Error as error:
            raise await self._mapped(error, doing) from error

    async def keys(self, statement: str, parameters: Parameters, doing: str) -> list[Key]:
        """Run a prepared statement whose columns are texts of a key."""
        try:
            async with self._pool.connection() as connection:
                cursor = psycopg.AsyncRawCursor(connection)
                await cursor.execute(statement.encode(), parameters, prepare=True)
                return await cursor.fetchall()
        except psycopg.Error as error:
            raise await self._mapped(error, doing) from error

    async def tables(self, names: Iterable[TableName], doing: str) -> Mapping[TableName, Table]:
        """What the catalogue says of these tables now."""
        try:
            async with self._pool.connection() as connection:
                return await read_tables(connection, names)
        except psycopg.Error as error:
            raise await self._mapped(error, doing) from error

    async def stream(
        self, statement: str, parameters: Parameters, doing: str, *, size: int
    ) -> AsyncGenerator[list[Key], None]:
        """Stream a result of any size in chunks, on a connection of its own.

        Not one of the pool: the consumer may hold it back for long, and what it waits for may be
        a build that needs one.
        """
        try:
            async with await self.connect() as connection:
                cursor: psycopg.AsyncCursor[Any] = psycopg.AsyncRawCursor(connection)
                rows = cursor.stream(statement.encode(), parameters, size=size)
                async with aclosing(cast("Any", rows)):
                    chunk: list[Key] = []
                    async for row in rows:
                        chunk.append(row)
                        if len(chunk) == size:
                            yield chunk
                            chunk = []
                    if chunk:
                        yield chunk
        except psycopg.Error as error:
            raise await self._mapped(error, doing) from error

    async def _mapped(self, error: psycopg.Error, doing: str) -> SourceError:
        mapped = source_error(error, doing)
        if isinstance(mapped, SourceUnavailable) and not self._pool.closed:
            # The others were probably lost with it: the next tries would find it out one by one.
            await self._pool.check()
        return mapped


async def run(connection: Connection, statement: str, parameters: Parameters) -> PGresult:
    """Run a statement on that connection; raises psycopg's errors."""
    cursor = psycopg.AsyncRawCursor(connection)
    await cursor.execute(statement.encode(), parameters, prepare=True, binary=True)
    return cast("PGresult", cursor.pgresult)


async def _configure(connection: Connection) -> None:
    names = "".join(f"SET {name} = {value};" for name, value in SETTINGS.items())
    await connection.execute(names.encode())
