"""From changed rows to the documents that they touch."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

from flusso_core.interfaces import Resolved
from flusso_core.model import (
    Change,
    IndexKeys,
    Key,
    Operation,
    RootTruncated,
    SweepNeeded,
    TableName,
)
from flusso_source_postgres.catalogue import RelationKind, Table
from flusso_source_postgres.mismatch import mismatch, reading
from flusso_source_postgres.sql.compiled import KEYS_AT_ONCE, CompiledIndex
from flusso_source_postgres.sql.resolve import Trigger
from flusso_source_postgres.sql.text import identifier, table_name
from flusso_source_postgres.statements import Statements

logger = logging.getLogger(__name__)

CHUNK = 1000
"""Keys that are passed on at once, of a result that is streamed."""

AT_ONCE = 2000
"""Results of up to so many keys are fetched by one prepared statement; larger ones streamed."""


class Resolver:
    """Finds the documents that some changes touch; one statement a path from table to root.

    Where a changed row does not carry a value that leads up to its documents, old or new, each
    document of the index may be one of them: all are built anew, and a warning says which table
    it is and how to have the values carried.
    """

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        self._warned: set[tuple[str, TableName]] = set()

    async def resolve(
        self, changes: Sequence[Change], indexes: Iterable[CompiledIndex]
    ) -> AsyncGenerator[Resolved, None]:
        """Stream the documents' keys, index by index."""
        touched = _Touched(changes)
        for compiled in indexes:
            async with aclosing(self._of(compiled, touched)) as found:
                with reading(compiled.schema):
                    async for one in found:
                        yield one

    async def _of(
        self, compiled: CompiledIndex, touched: _Touched
    ) -> AsyncGenerator[Resolved, None]:
        index = compiled.schema.index
        if compiled.schema.table in touched.truncated:
            yield RootTruncated(index)
        elif truncated := compiled.embedded & touched.truncated:
            # Its rows are gone, and with them what they touched.
            yield SweepNeeded(index, f"{min(truncated)} was truncated")
        elif await self._lost(compiled, touched):
            async with aclosing(self._all(compiled)) as pages:
                async for keys in pages:
                    yield IndexKeys(index, keys)
        for trigger in compiled.triggers:
            values = touched.leading(trigger).values
            if trigger.statement is None:
                for start in range(0, len(values), KEYS_AT_ONCE):
                    yield IndexKeys(index, values[start : start + KEYS_AT_ONCE])
            elif values:
                async with aclosing(self._above(trigger, values, index)) as chunks:
                    async for keys in chunks:
                        yield IndexKeys(index, keys)

    async def _lost(self, compiled: CompiledIndex, touched: _Touched) -> bool:
        """Whether some document that is touched cannot be found.

        Raises:
            SchemaMismatch: not even its key is known, so that it could not be deleted.
        """
        lost = [one for one in compiled.triggers if not touched.leading(one).complete]
        # In an old row of a partition a NULL cannot be told from a column that is not carried.
        # Partitions that did not carry it until a moment ago are the capture's to notice.
        partitioned = {
            one.table for one in lost if compiled.tables[one.table].kind is RelationKind.PARTITIONED
        }
        if partitioned:
            doing = f"look up the replica identities of {', '.join(map(str, partitioned))}"
            now = await self._statements.tables(partitioned, doing)
            lost = [one for one in lost if not _carried(one, now.get(one.table))]
        for trigger in lost:
            if trigger == compiled.root:
                raise mismatch(compiled.schema, _unknown_key(trigger))
            self._warn(trigger, compiled.schema.index)
        return bool(lost)

    def _warn(self, trigger: Trigger, index: str) -> None:
        """Say it once."""
        if (index, trigger.table) not in self._warned:
            self._warned.add((index, trigger.table))
            logger.warning(
                "changes of table %s do not carry %s: every document of index %r is built anew at "
                "each of them, to find those that a row has left; ALTER TABLE %s REPLICA IDENTITY "
                "FULL, of each partition where there are any, ends that",
                trigger.table,
                ", ".join(map(identifier, trigger.columns)),
                index,
                table_name(trigger.table),
            )

    async def _above(
        self, trigger: Trigger, values: Iterable[Key], index: str
    ) -> AsyncGenerator[Sequence[Key], None]:
        statement = trigger.statement or ""
        parameters = [[value[0] for value in values]]
        doing = f"find the documents of index {index!r} above changes of {trigger.table}"
        # Nearly always few: prepared, one round trip, no connection held while they are used.
        found = await self._statements.keys(f"{statement} LIMIT {AT_ONCE + 1}", parameters, doing)
        if len(found) <= AT_ONCE:
            if found:
                yield found
            return
        streamed = self._statements.stream(statement, parameters, doing, size=CHUNK)
        async with aclosing(streamed):
            async for keys in streamed:
                yield keys

    async def _all(self, compiled: CompiledIndex) -> AsyncGenerator[Sequence[Key], None]:
        """Every key of the root table, page by page."""
        doing = f"read the keys of index {compiled.schema.index!r}"
        found = await self._statements.keys(compiled.keys(lower=False), [], doing)
        while found:
            yield found
            if len(found) < KEYS_AT_ONCE:
                return
            found = await self._statements.keys(compiled.keys(lower=True), found[-1], doing)


def _carried(trigger: Trigger, table: Table | None) -> bool:
    """Whether each partition's old rows carry the trigger's columns."""
    return (
        table is not None
        and table.kind is RelationKind.PARTITIONED
        and all(one.identity.columns.issuperset(trigger.columns) for one in table.storage)
    )


def _unknown_key(trigger: Trigger) -> str:
    columns = ", ".join(map(identifier, trigger.columns))
    return (
        f"changes of table {trigger.table} do not carry {columns}, the key of its documents: "
        f"nothing says which of them go; ALTER TABLE {table_name(trigger.table)} REPLICA IDENTITY "
        "FULL, of each partition where there are any, and start flusso again"
    )


@dataclass(frozen=True, slots=True)
class _Leading:
    """What the changes of a table say of the columns that lead up from it.

    Attributes:
        values: the distinct values, old and new; NULL leads nowhere and is left out.
        complete: every image has all of the columns.
    """

    values: list[Key]
    complete: bool


class _Touched:
    """The changes of a batch by table, and the values in their images."""

    def __init__(self, changes: Iterable[Change]) -> None:
        self.truncated: set[TableName] = set()
        self._changes: dict[TableName, list[Change]] = {}
        self._leading: dict[tuple[TableName, tuple[str, ...]], _Leading] = {}
        for change in changes:
            if change.operation is Operation.TRUNCATE:
                self.truncated.add(change.table)
            else:
                self._changes.setdefault(change.table, []).append(change)

    def leading(self, trigger: Trigger) -> _Leading:
        """What leads up from the changed rows by the trigger's columns."""
        wanted = (trigger.table, trigger.columns)
        if wanted not in self._leading:
            self._leading[wanted] = self._read(trigger)
        return self._leading[wanted]

    def _read(self, trigger: Trigger) -> _Leading:
        found: dict[Key, None] = {}
        complete = True
        for change in self._changes.get(trigger.table, ()):
            for image in (change.before, change.after):
                if image is None:
                    continue
                try:
                    key = [image[column] for column in trigger.columns]
                except KeyError:
                    complete = False
                    continue
                if None not in key:
                    found[tuple(cast("list[str]", key))] = None
        return _Leading(list(found), complete)
