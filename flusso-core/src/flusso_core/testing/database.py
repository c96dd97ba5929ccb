"""A database in memory: rows, a log of commits, and the two edges that read it.

It has what makes real ones hard: a commit may be in the stream before snapshots see it, a
transaction may straddle the start of the stream, the stream replays from what was confirmed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from flusso_core.errors import SourceUnavailable
from flusso_core.interfaces import ChangeCapture, DocumentBuilder, PutBatch, Resolved
from flusso_core.model import (
    BuiltDocument,
    Change,
    ChangeBatch,
    FieldType,
    Finding,
    IndexKeys,
    IndexMapping,
    Key,
    KeyRange,
    MappedField,
    Operation,
    Page,
    Position,
    RootTruncated,
    StrayKey,
    StreamIdentity,
    SweepNeeded,
    TableName,
    document_id_text,
    key_of_id,
)

ROOT = TableName("public", "parents")
CHILD = TableName("public", "children")


@dataclass(frozen=True, slots=True)
class _Commit:
    number: int
    changes: Sequence[Change]


@dataclass
class MemoryDatabase:
    """Parents and their children, as snapshots see them, and every commit so far.

    Attributes:
        parents: key to name.
        children: key to the parent's key.
        identity: of the change stream; change it to play another server.
        confirmed: the position that the stream's consumer has confirmed.
    """

    parents: dict[str, str] = field(default_factory=dict[str, str])
    children: dict[str, str] = field(default_factory=dict[str, str])
    identity: StreamIdentity = field(default=StreamIdentity("memory", "test", "flusso", "1"))
    confirmed: int = 0
    _log: list[_Commit] = field(default_factory=list[_Commit])
    _hidden: list[_Commit] = field(default_factory=list[_Commit])
    _visible: int = 0
    _committed: asyncio.Event = field(default_factory=asyncio.Event)
    _revealed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def head(self) -> int:
        """The number of the last commit."""
        return len(self._log)

    @property
    def visible(self) -> int:
        """The number of the last commit that snapshots see."""
        return self._visible

    def put_parent(self, key: str, name: str) -> Change:
        """An insert or update of a parent, to `commit`."""
        return Change(ROOT, Operation.UPSERT, None, {"key": key, "name": name})

    def delete_parent(self, key: str) -> Change:
        """A delete of a parent, to `commit`."""
        return Change(ROOT, Operation.DELETE, {"key": key}, None)

    def put_child(self, key: str, parent: str) -> Change:
        """An insert of a child or its move to another parent, to `commit`."""
        return Change(CHILD, Operation.UPSERT, None, {"key": key, "parent": parent})

    def delete_child(self, key: str) -> Change:
        """A delete of a child, to `commit`."""
        return Change(CHILD, Operation.DELETE, {"key": key}, None)

    def truncate(self, table: TableName) -> Change:
        """A truncate, to `commit`."""
        return Change(table, Operation.TRUNCATE, None, None)

    def commit(self, *changes: Change, hidden: bool = False) -> int:
        """Commit the changes; they are in the stream at once. Returns the commit's number.

        Args:
            changes: what the transaction did.
            hidden: snapshots do not see it before `reveal` (a synchronous standby that is late).
        """
        commit = _Commit(len(self._log) + 1, [self._with_old(change) for change in changes])
        self._log.append(commit)
        self._hidden.append(commit)
        if not hidden:
            self.reveal()
        self._committed.set()
        return commit.number

    def reveal(self) -> None:
        """Let snapshots see every commit."""
        for commit in self._hidden:
            for change in commit.changes:
                self._apply(change)
        self._hidden.clear()
        self._visible = len(self._log)
        self._revealed.set()

    def document(self, key: str) -> bytes | None:
        """The document of a parent, as snapshots see it now."""
        if key not in self.parents:
            return None
        children = sorted(child for child, parent in self.children.items() if parent == key)
        return json.dumps({"name": self.parents[key], "children": children}).encode()

    def documents(self) -> dict[str, bytes]:
        """Every document that there must be, by id."""
        return {key: body for key in self.parents if (body := self.document(key)) is not None}

    def since(self, number: int) -> Sequence[_Commit]:
        """The commits after that number."""
        return self._log[number:]

    async def wait_for_commit(self, number: int) -> None:
        """Return when there is a commit after that number."""
        while len(self._log) <= number:
            self._committed.clear()
            await self._committed.wait()

    async def wait_visible(self, number: int) -> None:
        """Return when snapshots see that commit."""
        while self._visible < number:
            self._revealed.clear()
            await self._revealed.wait()

    def _with_old(self, change: Change) -> Change:
        """Add the old row, as a replica identity does."""
        image = change.after or change.before
        if image is None:
            return change
        key = image["key"] or ""
        known = self._latest(change.table, key)
        return change if known is None else change._replace(before=known)

    def _latest(self, table: TableName, key: str) -> Mapping[str, str | None] | None:
        """The row as the last commit left it, seen by snapshots or not."""
        for commit in reversed(self._hidden):
            for change in reversed(commit.changes):
                if change.table != table:
                    continue
                if change.operation is Operation.TRUNCATE:
                    return None
                image = change.after or change.before
                if image is not None and image["key"] == key:
                    return change.after
        if table == ROOT:
            return {"key": key, "name": self.parents[key]} if key in self.parents else None
        return {"key": key, "parent": self.children[key]} if key in self.children else None

    def _apply(self, change: Change) -> None:
        rows = self.parents if change.table == ROOT else self.children
        if change.operation is Operation.TRUNCATE:
            rows.clear()
            return
        if change.before is not None:
            rows.pop(change.before["key"] or "", None)
        if change.after is not None:
            value = change.after["name" if change.table == ROOT else "parent"]
            rows[change.after["key"] or ""] = value or ""


def _position(number: int) -> Position:
    return Position(number, str(number))


def _no_fault() -> None:
    """Let everything succeed."""


class MemoryCapture(ChangeCapture):
    """The stream of a `MemoryDatabase`'s commits.

    Args:
        database: what is captured.
        piece: changes in a batch at most; a larger commit comes in pieces.
        fault: called before each delivery and each question; may raise `SourceUnavailable`.
    """

    def __init__(
        self,
        database: MemoryDatabase,
        *,
        piece: int = 3,
        fault: Callable[[], None] | None = None,
    ) -> None:
        self._database = database
        self._piece = piece
        self._fault = fault or _no_fault

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def cover(self, older: Sequence[str]) -> Collection[str]:
        """All: documents of every form are of the same tables."""
        return older

    async def provision(self, *, temporary: bool) -> None:
        """A temporary stream begins now; another one where it was confirmed."""
        if temporary:
            self._database.confirmed = self._database.head

    async def identity(self) -> StreamIdentity:
        """As the database says."""
        return self._database.identity

    async def confirmed(self) -> Position:
        """As the database says."""
        return _position(self._database.confirmed)

    async def head(self) -> Position:
        """The last commit."""
        self._fault()
        return _position(self._database.head)

    async def live(self, start: Position, put: PutBatch) -> None:
        """Deliver commits, in pieces, for ever."""
        if start.order < self._database.confirmed:
            message = f"position {start.token} is gone"
            raise SourceUnavailable(message)
        number = start.order
        while True:
            await self._database.wait_for_commit(number)
            for commit in self._database.since(number):
                pieces = [
                    commit.changes[at : at + self._piece]
                    for at in range(0, len(commit.changes), self._piece)
                ] or [()]
                for piece in pieces[:-1]:
                    self._fault()
                    await put(ChangeBatch(piece, None, (commit.number,), unfinished=True))
                position = _position(commit.number)
                self._fault()
                await put(ChangeBatch(pieces[-1], position, (commit.number,)))
                number = commit.number

    async def confirm(self, position: Position) -> None:
        """Let the database forget what came before."""
        self._database.confirmed = max(self._database.confirmed, position.order)

    async def wait_visible(self, batch: ChangeBatch) -> None:
        """Wait until snapshots see every commit of the batch."""
        self._fault()
        await self._database.wait_visible(max(batch.transactions, default=0))

    async def wait_settled(self) -> None:
        """Wait until snapshots see every commit that the stream does not bring again."""
        await self._database.wait_visible(self._database.confirmed)

    async def lag(self) -> int:
        """Commits that are not confirmed."""
        return self._database.head - self._database.confirmed

    async def check(self) -> Sequence[Finding]:
        """Nothing can be wrong."""
        return ()


class MemoryBuilder(DocumentBuilder):
    """Documents of a `MemoryDatabase`: each parent with the keys of its children.

    Args:
        database: what is read.
        index: the logical name of the one index.
        chunk: documents and keys in a chunk.
        fault: called before each read; may raise `SourceUnavailable`.
        form: the schema: every document says it in a field; `None`: there is but one.
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
        self._fault = fault or _no_fault

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    def mappings(self) -> Mapping[str, IndexMapping]:
        """One index of a name and an array of keys."""
        fields: tuple[MappedField, ...] = (
            MappedField("name", FieldType.KEYWORD, "name"),
            MappedField("children", FieldType.KEYWORD, "children"),
        )
        if self._form is not None:
            fields = (*fields, MappedField("form", FieldType.KEYWORD, "form"))
        schema_hash = self._form or "00000000"
        return {self._index: IndexMapping(self._index, schema_hash, fields, self._form)}

    def older(self, schema: str) -> DocumentBuilder | None:
        """A builder of the same rows in that form."""
        return MemoryBuilder(
            self._database, index=self._index, chunk=self._chunk, fault=self._fault, form=schema
        )

    async def resolve(self, changes: Sequence[Change]) -> AsyncGenerator[Resolved, None]:
        """Yield the parents that the changes touch, by their old and their new rows."""
        for change in changes:
            await asyncio.sleep(0)
            self._fault()
            if change.operation is Operation.TRUNCATE:
                if change.table == ROOT:
                    yield RootTruncated(self._index)
                else:
                    yield SweepNeeded(self._index, f"{change.table} was truncated")
                continue
            column = "key" if change.table == ROOT else "parent"
            images = (image for image in (change.before, change.after) if image is not None)
            keys = [(text,) for image in images if (text := image.get(column)) is not None]
            yield IndexKeys(self._index, keys)

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
        if body is None or self._form is None:
            return body
        return json.dumps({**json.loads(body), "form": self._form}).encode()

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
