"""Documents, assembled by Postgres: the builder's asyncio shell around the SQL of `sql`."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from flusso_core.errors import ConfigError, SchemaMismatch, SourceFatal
from flusso_core.hookspecs import SourceContext
from flusso_core.interfaces import DocumentBuilder, Resolved
from flusso_core.model import (
    BuiltDocument,
    Change,
    Finding,
    IndexMapping,
    Key,
    KeyRange,
    Page,
    UnfitIndex,
)
from flusso_core.schema import project_mapping, restore_schema
from flusso_source_postgres import missing, ranges
from flusso_source_postgres.catalogue import read_tables
from flusso_source_postgres.connection import Connection
from flusso_source_postgres.findings import find, require
from flusso_source_postgres.mismatch import reading
from flusso_source_postgres.options import PostgresOptions
from flusso_source_postgres.resolver import Resolver
from flusso_source_postgres.sizing import Sizing
from flusso_source_postgres.sql.compiled import CompiledIndex, compile_index, table_names
from flusso_source_postgres.sql.rows import Tables
from flusso_source_postgres.statements import Statements

CHUNK = 1000
"""Most documents that one statement builds."""


class PostgresBuilder(DocumentBuilder):
    """Builds documents of the schemas' indexes from the current rows.

    A document is JSON text that Postgres puts together and Python passes on as bytes. Nothing
    holds a connection or a snapshot between two chunks, except a `resolve` that streams more
    keys than fit into one.
    """

    def __init__(self, context: SourceContext[PostgresOptions]) -> None:
        """Make the builder; nothing connects before `open`.

        Args:
            context: the source's options and the enabled indexes' schemas.
        """
        self._options = context.options
        self._schemas = context.schemas
        self._statements: Statements | None = None
        self._resolver: Resolver | None = None
        self._indexes: dict[str, CompiledIndex] = {}
        self._sizing: dict[str, Sizing] = {}
        self._unfit: list[UnfitIndex] = []
        self._excluded: set[str] = set()

    async def open(self) -> None:
        """Connect, read the catalogue, and compile and try every index's statement.

        An index whose schema does not fit its tables is left out, and told by `unfit`.

        Raises:
            SourceUnavailable: the server is not there.
            SourceFatal: it refuses, or the role may not read a table.
        """
        options = self._options
        statements = Statements(
            options.target(os.environ), options.build_workers + options.backfill_workers + 1
        )
        try:
            async with await statements.connect() as connection:
                tables = await read_tables(
                    connection, {name for schema in self._schemas for name in table_names(schema)}
                )
                await self._compile(connection, tables)
            self._sizing = {name: Sizing() for name in self._indexes}
            await statements.open()
        except BaseException:
            await statements.close()
            raise
        self._statements = statements
        self._resolver = Resolver(statements)

    async def close(self) -> None:
        """Close every connection."""
        statements, self._statements = self._statements, None
        self._resolver = None
        if statements is not None:
            await statements.close()

    async def _compile(self, connection: Connection, tables: Tables) -> None:
        self._indexes, self._unfit = {}, []
        for schema in self._schemas:
            try:
                compiled = compile_index(schema, tables)
                await require(connection, compiled)
            except SchemaMismatch as mismatch:
                self._unfit.append(UnfitIndex(mismatch.index, mismatch.reason))
            else:
                self._indexes[schema.index] = compiled

    def mappings(self) -> Mapping[str, IndexMapping]:
        """Logical index name to its mapping, from the schema alone."""
        return {schema.index: project_mapping(schema) for schema in self._schemas}

    def unfit(self) -> Sequence[UnfitIndex]:
        """Indexes that `open` left out, with what their tables lack."""
        return self._unfit

    def exclude(self, index: str) -> None:
        """Leave the index out of every later `resolve`."""
        self._excluded.add(index)

    def older(self, schema: str) -> DocumentBuilder | None:
        """A builder for a schema that an earlier run stored; `None`: it is of another format."""
        try:
            restored = restore_schema(schema)
        except ConfigError:
            return None
        return PostgresBuilder(SourceContext(self._options, (restored,)))

    async def resolve(self, changes: Sequence[Change]) -> AsyncGenerator[Resolved, None]:
        """Stream the keys of every document that any of the changes touches."""
        served = [one for name, one in self._indexes.items() if name not in self._excluded]
        resolver = self._resolver
        if resolver is None:
            raise _not_open()
        async with aclosing(resolver.resolve(changes, served)) as found:
            async for one in found:
                yield one

    async def build(
        self, index: str, keys: Sequence[Key]
    ) -> AsyncGenerator[Sequence[BuiltDocument], None]:
        """Read each key's document, in chunks whose size follows that of the documents."""
        compiled, sizing = self._indexes[index], self._sizing[index]
        start = 0
        while start < len(keys):
            chunk = keys[start : start + sizing.documents(CHUNK)]
            start += len(chunk)
            yield await self._build(compiled, sizing, chunk)

    async def _build(
        self, compiled: CompiledIndex, sizing: Sizing, keys: Sequence[Key]
    ) -> Sequence[BuiltDocument]:
        columns = [list(texts) for texts in zip(*keys, strict=True)]
        with reading(compiled.schema):
            result = await self._running().fetch(compiled.build, columns, _reading(compiled))
        bodies: list[bytes | None] = [None] * len(keys)
        size = 0
        get = result.get_value
        for row in range(result.ntuples):
            body = _body(get(row, 1), compiled)
            size += len(body)
            bodies[int.from_bytes(get(row, 0) or b"") - 1] = body
        sizing.note(result.ntuples, size)
        return list(map(BuiltDocument, keys, bodies))

    async def ranges(self, index: str, count: int) -> Sequence[KeyRange]:
        """Divide the root table's keys by a sample of them."""
        compiled = self._indexes[index]
        with reading(compiled.schema):
            return await ranges.divide(self._running(), compiled, count)

    async def page(self, index: str, span: KeyRange, after: Key | None, limit: int) -> Page:
        """Read the next root rows of the range; fewer than `limit` where documents are large."""
        compiled, sizing = self._indexes[index], self._sizing[index]
        limit = sizing.documents(limit)
        lower = after if after is not None else span.lower
        statement = compiled.page(
            lower=lower is not None, upper=span.upper is not None, limit=limit
        )
        with reading(compiled.schema):
            result = await self._running().fetch(
                statement, [*(lower or ()), *(span.upper or ())], _reading(compiled)
            )
        width = compiled.key_size
        documents: list[BuiltDocument] = []
        key: Key = ()
        size = 0
        get = result.get_value
        for row in range(result.ntuples):
            key = tuple([(get(row, column) or b"").decode() for column in range(width)])
            value = get(row, width)
            if value is not None:
                size += len(value)
                documents.append(BuiltDocument(key, value.replace(b"\n", b" ")))
        sizing.note(len(documents), size)
        return Page(documents, cursor=key if result.ntuples == limit else None)

    async def missing(self, index: str, ids: Sequence[str]) -> Sequence[Key]:
        """The keys of those ids that no qualifying row has."""
        compiled = self._indexes[index]
        with reading(compiled.schema):
            return await missing.find(self._running(), compiled, ids)

    async def estimate(self, index: str) -> int | None:
        """About how many rows the root table has; exact where it is small."""
        compiled = self._indexes[index]
        with reading(compiled.schema):
            return await ranges.estimate(self._running(), compiled)

    async def check(self) -> Sequence[Finding]:
        """What the schemas ask for that the database does not have; works without `open`."""
        target = self._options.target(os.environ)
        statements = Statements(target, 1)
        async with await statements.connect() as connection:
            return await find(connection, self._schemas)

    def _running(self) -> Statements:
        if self._statements is None:
            raise _not_open()
        return self._statements


def _not_open() -> SourceFatal:
    return SourceFatal("the Postgres builder is not open")


def _reading(compiled: CompiledIndex) -> str:
    return f"read documents of index {compiled.schema.index!r}"


def _body(value: bytes | None, compiled: CompiledIndex) -> bytes:
    if value is None:
        # Taken for "no row", it would delete a document whose row is there.
        raise SourceFatal(f"cannot {_reading(compiled)}: a document came out as NULL")
    # Within strings a line feed is always escaped; elsewhere it is only white space, which a
    # `json` column keeps. A document is one line.
    return value.replace(b"\n", b" ")
