"""The portable document builder: asyncio around statements that run in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection

from flusso_core.errors import ConfigError, SchemaMismatch, SourceFatal
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
    UnfitIndex,
)
from flusso_core.schema import project_mapping
from flusso_source_polling import snapshots
from flusso_source_polling.catalogue import reflect, table_names
from flusso_source_polling.climbing import climb
from flusso_source_polling.database import Database, StatementRefused
from flusso_source_polling.dialects import Dialect
from flusso_source_polling.findings import find
from flusso_source_polling.indexes import Index, compile_index
from flusso_source_polling.missing import without_row
from flusso_source_polling.options import PollingOptions
from flusso_source_polling.ranges import divide

T = TypeVar("T")

CHUNK = 200
"""Most documents that are built at once."""

CONNECTIONS = 5
"""Connections that are kept between two reads."""


class PollingBuilder(DocumentBuilder):
    """Builds documents of the schemas' indexes through SQLAlchemy.

    Where the polling capture of the same deployment runs in this process, documents are read from
    the snapshot that its last poll has read (see `snapshots`); beside another capture, each page
    and each chunk is read in a short transaction of its own, of one state of all its tables.
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
        self._unfit: list[UnfitIndex] = []
        self._excluded: set[str] = set()

    async def open(self) -> None:
        """Read the catalogue and put every index together.

        An index whose schema does not fit its tables is left out, and told by `unfit`.

        Raises:
            SourceUnavailable: the database is not there.
            SourceFatal: it refuses.
        """
        database = Database(self._options.url(), pool_size=CONNECTIONS)
        try:
            await asyncio.to_thread(
                database.read, "read the catalogue", partial(self._compile, database.dialect)
            )
        except BaseException:
            await asyncio.to_thread(database.close)
            raise
        self._database = database

    async def close(self) -> None:
        """Close every connection."""
        database, self._database = self._database, None
        if database is not None:
            await asyncio.to_thread(database.close)

    def mappings(self) -> Mapping[str, IndexMapping]:
        """Logical index name to its mapping, from the schema alone."""
        return {schema.index: project_mapping(schema) for schema in self._schemas}

    def unfit(self) -> Sequence[UnfitIndex]:
        """Indexes that `open` left out, with what their tables lack."""
        return self._unfit

    def exclude(self, index: str) -> None:
        """Leave the index out of every later `resolve`."""
        self._excluded.add(index)

    async def resolve(self, changes: Sequence[Change]) -> AsyncGenerator[Resolved, None]:
        """Stream the keys of every document that any of the changes touches."""
        truncated = {one.table for one in changes if one.operation is Operation.TRUNCATE}
        for name, index in self._indexes.items():
            if name in self._excluded:
                continue
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
                    read = partial(
                        self._read,
                        name,
                        f"find the documents of index {name!r} above changes of {path.table}",
                    )
                    found = climb(read, path, texts, index.dialect)
                    while (keys := await asyncio.to_thread(next, found, None)) is not None:
                        yield IndexKeys(name, keys)

    async def build(
        self, index: str, keys: Sequence[Key]
    ) -> AsyncGenerator[Sequence[BuiltDocument], None]:
        """Read each key's document, in chunks."""
        compiled = self._indexes[index]
        for at in range(0, len(keys), CHUNK):
            chunk = keys[at : at + CHUNK]
            yield await asyncio.to_thread(
                self._read,
                index,
                f"read documents of index {index!r}",
                partial(compiled.build, keys=chunk),
            )

    async def ranges(self, index: str, count: int) -> Sequence[KeyRange]:
        """Ranges of about as many rows each, to be read side by side.

        One, where documents are read from the snapshot of a poll: it is one connection.
        """
        database = self._database
        if database is None or snapshots.find(snapshots.scope(database, self._schemas)) is not None:
            return (KeyRange(),)
        return await asyncio.to_thread(
            self._read,
            index,
            f"divide the keys of index {index!r}",
            partial(divide, self._indexes[index], count=count),
        )

    async def page(self, index: str, span: KeyRange, after: Key | None, limit: int) -> Page:
        """Read the next root rows of the range."""
        compiled = self._indexes[index]
        return await asyncio.to_thread(
            self._read,
            index,
            f"read documents of index {index!r}",
            lambda connection: compiled.page(connection, span, after, min(limit, CHUNK)),
        )

    async def missing(self, index: str, ids: Sequence[str]) -> Sequence[Key]:
        """The keys of those ids that no qualifying row has."""
        read = partial(self._read, index, f"look up ids of index {index!r}")
        return await asyncio.to_thread(without_row, read, self._indexes[index], ids)

    async def estimate(self, index: str) -> int | None:
        """How many rows the root table has."""
        return await asyncio.to_thread(
            self._read, index, f"count the rows of index {index!r}", self._indexes[index].count
        )

    async def check(self) -> Sequence[Finding]:
        """What the schemas ask for that the database does not have; works without `open`."""
        return await asyncio.to_thread(find, Database(self._options.url()), self._schemas)

    def _compile(self, dialect: Dialect, connection: Connection) -> None:
        self._indexes, self._unfit = {}, []
        tables = reflect(connection, dialect, table_names(self._schemas))
        for schema in self._schemas:
            try:
                self._indexes[schema.index] = compile_index(schema, tables, dialect)
            except (SourceFatal, ConfigError) as error:
                self._unfit.append(UnfitIndex(schema.index, str(error)))

    def _read(self, index: str, doing: str, work: Callable[[Connection], T]) -> T:
        """Do the work in a short transaction, or in the snapshot of the last poll. Blocks."""
        database = self._database
        if database is None:
            raise SourceFatal("the polling builder is not open")
        shared = snapshots.find(snapshots.scope(database, self._schemas))
        try:
            if shared is not None:
                return shared.read(doing, work)
            return database.read(doing, work)
        except StatementRefused as error:
            raise SchemaMismatch(index, str(error)) from error


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
