"""Documents of a database in memory, found and read at moments of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from itertools import pairwise

from flusso_core.interfaces import DocumentBuilder, Resolved
from flusso_core.model import (
    BuiltDocument,
    Change,
    FieldType,
    Finding,
    IndexKeys,
    IndexMapping,
    Key,
    KeyRange,
    MappedField,
    Operation,
    Page,
    RootTruncated,
    StrayKey,
    SweepNeeded,
    TableName,
    document_id_text,
    key_of_id,
)
from flusso_core.testing.database import CHILD, GRANDCHILD, OWNER, ROOT, MemoryDatabase, formed

_TABLES = {"children": CHILD, "owner": OWNER, "grandchildren": GRANDCHILD}
"""What a document has of related tables."""


class MemoryBuilder(DocumentBuilder):
    """Documents of a `MemoryDatabase`: each parent with what is below it, and its owner's name.

    Args:
        database: what is read.
        index: the logical name of the one index.
        chunk: documents and keys in a chunk.
        fault: called before each read; may raise `SourceUnavailable`.
        form: the schema: the words `owner` and `grandchildren` where documents have these, and
            every document says it in a field; `None`: there is but one, which has both.
    """

    def __init__(
        self,
        database: MemoryDatabase,
        *,
        index: str = "parents",
        chunk: int = 2,
        fault: Callable[[], None] | None = None,
        form: str | None = None,
    ) -> None:
        self._database = database
        self._index = index
        self._chunk = chunk
        self._form = form
        parts = _TABLES if form is None else ("children", *form.split())
        self._parts = {part: _TABLES[part] for part in parts}
        self._fault = fault or _no_fault

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    def mappings(self) -> Mapping[str, IndexMapping]:
        """One index of a name and of keys."""
        names = ["name", *self._parts] if self._form is None else ["name", *self._parts, "form"]
        fields = tuple(MappedField(name, FieldType.KEYWORD, name) for name in names)
        schema_hash = self._form or "00000000"
        return {self._index: IndexMapping(self._index, schema_hash, fields, self._form)}

    def older(self, schema: str) -> DocumentBuilder | None:
        """A builder of the same rows in that form."""
        return MemoryBuilder(
            self._database, index=self._index, chunk=self._chunk, fault=self._fault, form=schema
        )

    async def resolve(self, changes: Sequence[Change]) -> AsyncGenerator[Resolved, None]:
        """Yield the parents that the changes touch, by their old and their new rows."""
        tables = (ROOT, *self._parts.values())
        for change in changes:
            await asyncio.sleep(0)
            self._fault()
            if change.table not in tables:
                continue
            if change.operation is Operation.TRUNCATE:
                if change.table == ROOT:
                    yield RootTruncated(self._index)
                else:
                    yield SweepNeeded(self._index, f"{change.table} was truncated")
                continue
            images = [image for image in (change.before, change.after) if image is not None]
            keys = [(key,) for image in images for key in self._above(change.table, image)]
            yield IndexKeys(self._index, keys)

    def _above(self, table: TableName, row: Mapping[str, str | None]) -> Collection[str]:
        """The parents whose documents have the row, by the other rows as they are now.

        One in the middle that was moved since has changes of its own, which touch the others.
        """
        database = self._database
        if table == GRANDCHILD:
            found = database.children.get(row.get("child") or "")
        elif table == OWNER:
            return [key for key, owner in database.owned.items() if owner == row["key"]]
        else:
            found = row.get("key" if table == ROOT else "parent")
        return () if found is None else (found,)

    async def build(
        self, index: str, keys: Sequence[Key]
    ) -> AsyncGenerator[Sequence[BuiltDocument], None]:
        """Yield each parent's document in chunks, each read at a moment of its own."""
        for at in range(0, len(keys), self._chunk):
            self._fault()
            chunk = keys[at : at + self._chunk]
            built = [BuiltDocument(key, self._document(key[0])) for key in chunk]
            await asyncio.sleep(0)
            yield built

    async def ranges(self, index: str, count: int) -> Sequence[KeyRange]:
        """Divide the keys evenly."""
        self._fault()
        keys = sorted(self._database.parents)
        step = max(1, -(-len(keys) // count))
        bounds: list[Key | None] = [None, *((key,) for key in keys[step::step]), None]
        return [KeyRange(low, high) for low, high in pairwise(bounds)]

    async def page(self, index: str, span: KeyRange, after: Key | None, limit: int) -> Page:
        """Read the next parents in key order."""
        self._fault()
        low = after or span.lower
        keys = [
            key
            for key in sorted(self._database.parents)
            if (low is None or key > low[0]) and (span.upper is None or key <= span.upper[0])
        ]
        limit = min(limit, self._chunk)
        documents = [BuiltDocument((key,), self._document(key)) for key in keys[:limit]]
        await asyncio.sleep(0)
        return Page(documents, (keys[limit - 1],) if len(keys) > limit else None)

    def _document(self, key: str) -> bytes | None:
        body = self._database.document(key)
        return body if body is None or self._form is None else formed(body, self._form)

    async def missing(self, index: str, ids: Sequence[str]) -> Sequence[Key]:
        """Those that are the id of no parent; one that no key is spelled by is a stray."""
        self._fault()
        there = {document_id_text((key,)) for key in self._database.parents}
        await asyncio.sleep(0)
        return [key_of_id(text, 1) or StrayKey((text,)) for text in ids if text not in there]

    async def estimate(self, index: str) -> int | None:
        """The exact number."""
        return len(self._database.parents)

    async def check(self) -> Sequence[Finding]:
        """Nothing can be wrong."""
        return ()


def _no_fault() -> None:
    """Let everything succeed."""
