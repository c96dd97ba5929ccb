"""A shop of users and orders in a database of its own, and a capture that follows it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

from flusso_core.hookspecs import SourceContext
from flusso_core.model import Change, ChangeBatch, FieldType, Position, TableName
from flusso_core.schema.model import IndexSchema, JoinField, JoinKind, ScalarField
from flusso_source_postgres.capture import PostgresCapture
from flusso_source_postgres.options import PostgresOptions

USERS = TableName("public", "users")
ORDERS = TableName("public", "orders")

SCHEMA = IndexSchema(
    index="users",
    table=USERS,
    schema_hash="1",
    origin="users.schema.yml",
    fields=(
        ScalarField("name", FieldType.TEXT, "name"),
        JoinField(
            name="orders",
            kind=JoinKind.HAS_MANY,
            table=ORDERS,
            foreign_key="user_id",
            fields=(ScalarField("total", FieldType.LONG, "total"),),
        ),
    ),
)

TABLES = """
CREATE TABLE users (id bigint PRIMARY KEY, name text);
CREATE TABLE orders (id bigint PRIMARY KEY, user_id bigint REFERENCES users, total bigint);
"""


@dataclass
class Received:
    """What a capture has delivered so far."""

    batches: list[ChangeBatch] = field(default_factory=list[ChangeBatch])

    @property
    def changes(self) -> list[Change]:
        return [change for batch in self.batches for change in batch.changes]

    @property
    def position(self) -> Position | None:
        return next((one.position for one in reversed(self.batches) if one.position), None)

    async def until(self, met: Callable[[Received], bool], timeout: float = 20) -> None:
        async with asyncio.timeout(timeout):
            while not met(self):
                await asyncio.sleep(0.005)


@dataclass
class Shop:
    """One test's database."""

    url: str

    def sql(self, statement: str, *parameters: Any) -> list[TupleRow]:
        """Commit a statement, or several without parameters."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    @property
    def slot(self) -> str:
        # Slots belong to the whole server, which tests share.
        return "slot_" + self.url.rsplit("_", 1)[-1]

    def capture(
        self, *schemas: IndexSchema, url: str | None = None, **options: Any
    ) -> PostgresCapture:
        return PostgresCapture(self.context(*schemas, url=url, **options))

    def context(
        self, *schemas: IndexSchema, url: str | None = None, **options: Any
    ) -> SourceContext[PostgresOptions]:
        given = {"connection_url": url or self.url, "slot": self.slot, **options}
        return SourceContext(PostgresOptions.model_validate(given), schemas or (SCHEMA,))

    @asynccontextmanager
    async def provisioned(
        self, *schemas: IndexSchema, temporary: bool = False, **options: Any
    ) -> AsyncGenerator[PostgresCapture, None]:
        async with self.capture(*schemas, **options) as capture:
            await capture.provision(temporary=temporary)
            yield capture

    @asynccontextmanager
    async def live(
        self, capture: PostgresCapture, start: Position | None = None
    ) -> AsyncGenerator[Received, None]:
        """Follow changes while the context lasts."""
        received = Received()

        async def put(batch: ChangeBatch) -> None:
            received.batches.append(batch)

        begin = start or await capture.confirmed()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(capture.live(begin, put))
            try:
                yield received
            finally:
                task.cancel()

    def role(self, name: str, *attributes: str) -> str:
        """Make a role of this database's own, and return the URL to connect as it."""
        self.sql(f"CREATE ROLE {name} LOGIN PASSWORD 'geheim' {' '.join(attributes)}")
        parts = conninfo_to_dict(self.url)
        host, port, database = parts["host"], parts.get("port", 5432), parts["dbname"]
        return f"postgresql://{name}:geheim@{host}:{port}/{database}"
