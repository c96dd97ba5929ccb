"""A database to write to, and a builder on it whose answers come as plain values."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import TupleRow

from flusso_core.hookspecs import SourceContext
from flusso_core.model import Change, IndexKeys, Key, Operation, RowImage, TableName
from flusso_core.schema.model import IndexSchema
from flusso_source_postgres.builder import PostgresBuilder
from flusso_source_postgres.connection import ConnectionTarget
from flusso_source_postgres.options import PostgresOptions

Snapshot: TypeAlias = dict[TableName, dict[Key, RowImage]]
"""Every row, as text, by table and primary key."""

_TABLES = """
SELECT n.nspname, c.relname, array_agg(a.attname::text ORDER BY a.attnum)
FROM pg_index i
JOIN pg_class c ON c.oid = i.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey)
WHERE i.indisprimary AND n.nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema')
GROUP BY 1, 2
"""


def parse(body: bytes | str) -> Any:
    """JSON, with exact numbers."""
    return json.loads(body, parse_float=Decimal)


@dataclass(frozen=True, slots=True)
class Lab:
    """A database and what a builder makes of it."""

    url: str
    connection: psycopg.Connection[TupleRow]

    def execute(self, statement: str) -> None:
        """Run SQL statements."""
        self.connection.execute(statement.encode())

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return self.connection.execute(query.encode()).fetchall()

    def texts(self, query: str) -> list[tuple[str | None, ...]]:
        """The rows of a query as their types' output functions write them."""
        cursor = self.connection.execute(query.encode())
        result = cursor.pgresult
        assert result is not None
        found: list[tuple[str | None, ...]] = []
        for row in range(result.ntuples):
            values = [result.get_value(row, column) for column in range(result.nfields)]
            found.append(tuple([None if one is None else one.decode() for one in values]))
        return found

    @asynccontextmanager
    async def builder(self, *schemas: IndexSchema) -> AsyncGenerator[PostgresBuilder, None]:
        """An open builder of these schemas."""
        async with self.closed_builder(*schemas) as builder:
            yield builder

    def closed_builder(self, *schemas: IndexSchema) -> PostgresBuilder:
        """A builder of these schemas, not yet open."""
        options = PostgresOptions.model_validate({"connection_url": self.url})
        return PostgresBuilder(SourceContext(options, schemas))

    async def documents(self, schema: IndexSchema) -> dict[Key, Any]:
        """Every document of the schema, read by a page and by key alike, parsed."""
        async with self.builder(schema) as builder:
            bodies = await self.pages(builder, schema.index)
            assert await self.build(builder, schema.index, list(bodies)) == bodies
        return {key: parse(body) for key, body in bodies.items()}

    async def document(self, schema: IndexSchema) -> Any:
        """The one document that there is, parsed."""
        (document,) = (await self.documents(schema)).values()
        return document

    async def pages(
        self, builder: PostgresBuilder, index: str, *, ranges: int = 1, limit: int = 100
    ) -> dict[Key, bytes]:
        """Every document, read page by page; fails where one comes twice."""
        found: dict[Key, bytes] = {}
        for span in await builder.ranges(index, ranges):
            after: Key | None = None
            while True:
                page = await builder.page(index, span, after, limit)
                for key, body in page.documents:
                    assert body is not None
                    assert key not in found
                    found[key] = body
                after = page.cursor
                if after is None:
                    break
        return found

    async def build(
        self, builder: PostgresBuilder, index: str, keys: Sequence[Key]
    ) -> dict[Key, bytes | None]:
        """The documents of these keys; fails where one is left out or comes twice."""
        built = [one async for chunk in builder.build(index, keys) for one in chunk]
        assert [one.key for one in built] == list(keys)
        return {one.key: one.body for one in built}

    async def resolve(
        self, builder: PostgresBuilder, changes: Sequence[Change]
    ) -> dict[str, set[Key]]:
        """Index to the keys of documents that the changes touch."""
        found: dict[str, set[Key]] = {}
        async for one in builder.resolve(changes):
            assert isinstance(one, IndexKeys)
            assert one.keys
            found.setdefault(one.index, set()).update(one.keys)
        return found

    def snapshot(self) -> Snapshot:
        """Every row of every table that has a primary key."""
        found: Snapshot = {}
        for schema, table, key in self.rows(_TABLES):
            name = sql.Identifier(schema, table).as_string()
            columns = [column.name for column in self._columns(name)]
            rows: dict[Key, RowImage] = {}
            for row in self.texts(f"SELECT * FROM {name}"):
                image = dict(zip(columns, row, strict=True))
                rows[tuple([image[column] or "" for column in key])] = image
            found[TableName(schema, table)] = rows
        return found

    @staticmethod
    def difference(before: Snapshot, after: Snapshot) -> list[Change]:
        """The row events that lead from one snapshot to the other, with full images."""
        changes: list[Change] = []
        for table, old in before.items():
            new = after[table]
            for key in old.keys() | new.keys():
                was, now = old.get(key), new.get(key)
                if was != now:
                    operation = Operation.DELETE if now is None else Operation.UPSERT
                    changes.append(Change(table, operation, was, now))
        return changes

    def _columns(self, table: str) -> Sequence[psycopg.Column]:
        return self.connection.execute(f"SELECT * FROM {table} LIMIT 0".encode()).description or ()


@pytest.fixture
def lab(postgres_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """An empty database, on a connection with the settings that flusso pins."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    target = ConnectionTarget.from_url(postgres_database)
    with psycopg.connect(target.conninfo, autocommit=True, prepare_threshold=None) as connection:
        connection.execute("SET search_path = public")
        yield Lab(postgres_database, connection)
