"""From changed rows to the documents that they touch."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from contextlib import aclosing

from flusso_core.model import (
    Change,
    IndexKeys,
    Key,
    Operation,
    RootTruncated,
    RowImage,
    TableName,
)
from flusso_source_postgres.mismatch import reading
from flusso_source_postgres.sql.compiled import KEYS_AT_ONCE, CompiledIndex
from flusso_source_postgres.sql.resolve import Trigger
from flusso_source_postgres.statements import Statements

CHUNK = 1000
"""Keys that are passed on at once, of a result that is streamed."""

AT_ONCE = 2000
"""Results of up to so many keys are fetched by one prepared statement; larger ones streamed."""


class Resolver:
    """Finds the documents that some changes touch; one statement a path from table to root."""

    def __init__(self, statements: Statements, indexes: Collection[CompiledIndex]) -> None:
        self._statements = statements
        self._indexes = indexes

    async def resolve(
        self, changes: Sequence[Change]
    ) -> AsyncGenerator[IndexKeys | RootTruncated, None]:
        """Stream the documents' keys, index by index."""
        touched = _Touched(changes)
        for compiled in self._indexes:
            async with aclosing(self._of(compiled, touched)) as found:
                with reading(compiled.schema):
                    async for one in found:
                        yield one

    async def _of(
        self, compiled: CompiledIndex, touched: _Touched
    ) -> AsyncGenerator[IndexKeys | RootTruncated, None]:
        index = compiled.schema.index
        if compiled.schema.table in touched.truncated:
            yield RootTruncated(index)
        elif compiled.embedded & touched.truncated:
            async with aclosing(self._all(compiled)) as pages:
                async for keys in pages:
                    yield IndexKeys(index, keys)
        for trigger in compiled.triggers:
            values = touched.values(trigger)
            if trigger.statement is None:
                for start in range(0, len(values), KEYS_AT_ONCE):
                    yield IndexKeys(index, values[start : start + KEYS_AT_ONCE])
            elif values:
                async with aclosing(self._above(trigger, values, index)) as chunks:
                    async for keys in chunks:
                        yield IndexKeys(index, keys)

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


class _Touched:
    """The changes of a batch by table, and the values in their images."""

    def __init__(self, changes: Iterable[Change]) -> None:
        self.truncated: set[TableName] = set()
        self._changes: dict[TableName, list[Change]] = {}
        self._values: dict[tuple[TableName, tuple[str, ...]], list[Key]] = {}
        for change in changes:
            if change.operation is Operation.TRUNCATE:
                self.truncated.add(change.table)
            else:
                self._changes.setdefault(change.table, []).append(change)

    def values(self, trigger: Trigger) -> list[Key]:
        """The distinct values, old and new, of the trigger's columns; NULL leads nowhere."""
        wanted = (trigger.table, trigger.columns)
        if wanted not in self._values:
            found: dict[Key, None] = {}
            for change in self._changes.get(trigger.table, ()):
                for image in (change.before, change.after):
                    if image is not None:
                        _add(found, image, trigger)
            self._values[wanted] = list(found)
        return self._values[wanted]


def _add(found: dict[Key, None], image: RowImage, trigger: Trigger) -> None:
    key: list[str] = []
    for column in trigger.columns:
        value = image.get(column)
        if value is None:
            return
        key.append(value)
    found[tuple(key)] = None
