"""The portable document builder: asyncio around statements that run in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection

from flusso_core.errors import SourceFatal
from flusso_core.hookspecs import SourceContext
from flusso_core.interfaces import DocumentBuilder, Resolved
from flusso_core.model import (
    BuiltDocument,
    Change,
    Finding,
    IndexKeys,
    IndexMapping,
    Key,
    KeyRange,
    Operation,
    Page,
    RootTruncated,
    SweepNeeded,
    TableName,
)
from flusso_core.schema import project_mapping
from flusso_source_polling import snapshots
from flusso_source_polling.catalogue import reflect, table_names
from flusso_source_polling.climbing import Path, climb
from flusso_source_polling.database import Database
from flusso_source_polling.findings import find
from flusso_source_polling.indexes import Index, compile_index
from flusso_source_polling.options import PollingOptions

T = TypeVar("T")

CHUNK = 200
"""Most documents that are built at once."""


class PollingBuilder(DocumentBuilder):
    """Builds documents of the schemas' indexes through SQLAlchemy.

    Where the polling capture of the same deployment runs in this process, documents are read from
    the snapshot that its last poll has read (see `snapshots`); beside another capture, each read
    has a transaction of its own.
    """

    def __init__(self, context: SourceContext[PollingOptions]) -> None:
        """Make the builder; nothing connects before `open`.

        Args:
            context: the source's options and the enabled indexes' schemas.
        """
        self._options = context.options
        self._schemas = context.schemas
        self._database: Database | None = None
        self._indexes: dict[str, Index] = {}

    async def open(self) -> None:
        """Read the catalogue and put every index together.

        Raises:
            SourceUnavailable: the database is not there.
            SourceFatal: it refuses, or a schema does not fit its tables.
        """
        database = Database(self._options.url())
        self._indexes = await asyncio.to_thread(self._compile, database)
        self._database = database

    async def close(self) -> None:
        """Nothing is held between two reads."""
        self._database = None

    def mappings(self) -> Mapping[str, IndexMapping]:
        """Logical index name to its mapping, from the schema alone."""
        return {schema.index: project_mapping(schema) for schema in self._schemas}

    async def resolve(self, changes: Sequence[Change]) -> AsyncGenerator[Resolved, None]:
        """Stream the keys of every document that any of the changes touches."""
        truncated = {one.table for one in changes if one.operation is Operation.TRUNCATE}
        for name, index in self._indexes.items():
            if index.schema.table in truncated:
                yield RootTruncated(name)
            elif related := index.tables & truncated:
                yield SweepNeeded(name, f"{min(related)} was truncated")
            root = _values(changes, index.schema.table, index.key)
            if root:
                yield IndexKeys(name, root)
            for path in index.paths:
                texts = [one[0] for one in _values(changes, path.table, (path.column,))]
                if texts:
                    found = await self._read(
                        f"find the documents of index {name!r} above changes of {path.table}",
                        partial(_climb, index, path, texts),
                    )
                    for keys in found:
                        yield IndexKeys(name, keys)

    async def build(
        self, index: str, keys: Sequence[Key]
    ) -> AsyncGenerator[Sequence[BuiltDocument], None]:
        """Read each key's document, in chunks."""
        compiled = self._indexes[index]
        for at in range(0, len(keys), CHUNK):
            chunk = keys[at : at + CHUNK]
            yield await self._read(
                f"read documents of index {index!r}", partial(_build, compiled, chunk)
            )

    async def ranges(self, index: str, count: int) -> Sequence[KeyRange]:
        """One range: a snapshot is one connection, so there is nothing to read beside it."""
        return (KeyRange(),)

    async def page(self, index: str, span: KeyRange, after: Key | None, limit: int) -> Page:
        """Read the next root rows of the range."""
        compiled = self._indexes[index]
        return await self._read(
            f"read documents of index {index!r}",
            lambda connection: compiled.page(connection, span, after, min(limit, CHUNK)),
        )

    async def missing(self, index: str, ids: Sequence[str]) -> Sequence[Key]:
        """The keys of those ids that no qualifying row has."""
        compiled = self._indexes[index]
        return await self._read(
            f"look up ids of index {index!r}",
            lambda connection: compiled.missing(connection, ids),
        )

    async def estimate(self, index: str) -> int | None:
        """How many rows the root table has."""
        return await self._read(f"count the rows of index {index!r}", self._indexes[index].count)

    async def check(self) -> Sequence[Finding]:
        """What the schemas ask for that the database does not have; works without `open`."""
        return await asyncio.to_thread(find, Database(self._options.url()), self._schemas)

    def _compile(self, database: Database) -> dict[str, Index]:
        dialect = database.dialect
        with database.connect() as connection, database.errors("read the catalogue"):
            tables = reflect(connection, dialect, table_names(self._schemas))
            return {one.index: compile_index(one, tables, dialect) for one in self._schemas}

    async def _read(self, doing: str, work: Callable[[Connection], T]) -> T:
        database = self._database
        if database is None:
            raise SourceFatal("the polling builder is not open")
        shared = snapshots.find(snapshots.scope(database, self._schemas))
        if shared is not None:
            return await asyncio.to_thread(shared.read, doing, work)
        return await asyncio.to_thread(_once, database, doing, work)


def _climb(
    index: Index, path: Path, texts: Sequence[str], connection: Connection
) -> list[list[Key]]:
    return list(climb(connection, path, texts, (index.schema, index.root), index.dialect))


def _build(index: Index, keys: Sequence[Key], connection: Connection) -> list[BuiltDocument]:
    return index.build(connection, keys)


def _once(database: Database, doing: str, work: Callable[[Connection], T]) -> T:
    with database.connect() as connection, database.errors(doing):
        return work(connection)


def _values(changes: Iterable[Change], table: TableName, columns: Sequence[str]) -> list[Key]:
    """The distinct values, old and new, of these columns; NULL leads nowhere."""
    found: dict[Key, None] = {}
    for change in changes:
        if change.table != table:
            continue
        for image in (change.before, change.after):
            if image is not None:
                texts = [image.get(column) for column in columns]
                if None not in texts:
                    found[tuple([text or "" for text in texts])] = None
    return list(found)
