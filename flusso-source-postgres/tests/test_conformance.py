"""Capture and builder keep what the engine relies on; rows are written and read by psycopg."""

from __future__ import annotations

import pytest
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

from flusso_core.hookspecs import SourceContext
from flusso_core.interfaces import ChangeCapture, DocumentBuilder
from flusso_core.testing.conformance import (
    SCHEMA,
    TABLES,
    BuilderConformance,
    CaptureConformance,
    Rows,
    SourceBench,
    Write,
    statement,
)
from flusso_source_postgres.builder import PostgresBuilder
from flusso_source_postgres.capture import PostgresCapture
from flusso_source_postgres.options import PostgresOptions

pytestmark = pytest.mark.integration


class PostgresBench(SourceBench):
    """A database of its own. The slot is named like it: slots belong to the whole server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.secrets = [str(conninfo_to_dict(url)["password"])]
        slot = "kit_" + url.rsplit("_", 1)[-1]
        options = {"connection_url": url, "slot": slot}
        self._options = PostgresOptions.model_validate(options)

    def capture(self) -> ChangeCapture:
        return PostgresCapture(SourceContext(self._options, (SCHEMA,)))

    def builder(self) -> DocumentBuilder:
        return PostgresBuilder(SourceContext(self._options, (SCHEMA,)))

    async def commit(self, *writes: Write) -> None:
        async with await self._connect() as connection:
            await self._write(connection, writes)

    async def roll_back(self, *writes: Write) -> None:
        async with await self._connect() as connection:
            await self._write(connection, writes)
            await connection.rollback()

    async def rows(self) -> Rows:
        async with await self._connect() as connection:
            parents = await (await connection.execute("SELECT key, name FROM parents")).fetchall()
            children = await (
                await connection.execute("SELECT key, parent FROM children")
            ).fetchall()
        return Rows(dict(parents), dict(children))

    async def disconnect(self) -> None:
        async with await self._connect() as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    async def prepare(self) -> None:
        """Make the tables."""
        async with await self._connect() as connection:
            await connection.execute(TABLES.encode())

    async def _connect(self) -> AsyncConnection[TupleRow]:
        return await AsyncConnection.connect(self._url)

    @staticmethod
    async def _write(connection: AsyncConnection[TupleRow], writes: tuple[Write, ...]) -> None:
        for write in writes:
            text, parameters = statement(write)
            await connection.execute(text.encode(), parameters)


@pytest.fixture
async def bench(postgres_database: str, monkeypatch: pytest.MonkeyPatch) -> PostgresBench:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    made = PostgresBench(postgres_database)
    await made.prepare()
    return made


class TestPostgresCapture(CaptureConformance):
    @pytest.fixture
    def bench(self, bench: PostgresBench) -> PostgresBench:
        return bench


class TestPostgresBuilder(BuilderConformance):
    @pytest.fixture
    def bench(self, bench: PostgresBench) -> PostgresBench:
        return bench
