"""Decodes the messages of the `pgoutput` plugin: bytes in, events out, no I/O.

```python
decoder = Decoder({TableName("public", "orders"): Route(columns=frozenset({"id", "user_id"}))})
for message in messages:
    event = decoder.decode(message)
```

The protocol is that of the manual's "Logical Replication Message Formats", versions 1 to 4: whole
transactions, from 2 on also transactions in progress, from 3 on two-phase commit, and with 4 what
an abort says of itself. Only the columns of a table's route are decoded, the others are skipped by
their lengths, and tables without a route are not decoded at all.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from struct import Struct
from typing import TypeAlias

from flusso_core.model import Change, Operation, RowImage, TableName
from flusso_source_postgres.events import (
    Begin,
    BeginPrepare,
    Commit,
    CommitPrepared,
    Described,
    Event,
    LogicalMessage,
    Origin,
    PlainEvent,
    Prepare,
    RollbackPrepared,
    StreamAbort,
    StreamCommit,
    Streamed,
    StreamPrepare,
    StreamStart,
    StreamStop,
    Truncated,
    TypeNamed,
)
from flusso_source_postgres.relation import (
    NEW,
    OLD,
    Relation,
    Route,
    drop_unknown,
    read_relation,
    read_row,
    read_table,
    read_text,
)
from flusso_source_postgres.wire import ProtocolError, timestamp

_ID = Struct(">I").unpack_from
_BEGIN = Struct(">QqI").unpack_from
_COMMIT = Struct(">BQQq").unpack_from
_TRUNCATE = Struct(">IB").unpack_from
_ORIGIN = Struct(">Q").unpack_from
_MESSAGE = Struct(">BQ").unpack_from
_STREAM_START = Struct(">IB").unpack_from
_STREAM_COMMIT = Struct(">IBQQq").unpack_from
_STREAM_ABORT = Struct(">II").unpack_from
_ABORTED = Struct(">Qq")
_BEGIN_PREPARE = Struct(">QQqI")
_PREPARED = Struct(">BQQqI")
_ROLLED_BACK = Struct(">BQQqqI")

# In front of a row: the relation (an INSERT's, an UPDATE's, a DELETE's first row), kind, columns.
_ROW = Struct(">IBH").unpack_from
_NEXT_ROW = Struct(">BH").unpack_from
_ROW_SIZE, _NEXT_ROW_SIZE = 7, 3

_UPSERT, _DELETE, _TRUNCATED = Operation.UPSERT, Operation.DELETE, Operation.TRUNCATE

_Relations: TypeAlias = dict[int, Relation | None]
_Change: TypeAlias = tuple[TableName, Operation, RowImage | None, RowImage | None]
_Handler: TypeAlias = Callable[[bytes, int], Event | None]


class Decoder:
    """Decodes the messages of one stream, in order.

    Args:
        routes: the tables to decode. Those that are not here are skipped.
        protocol: the version that the stream was asked for, 1 to 4. A message of a later one is
            an error.
    """

    def __init__(self, routes: Mapping[TableName, Route], *, protocol: int = 1) -> None:
        self._routes = routes
        self._relations: _Relations = {}
        within: dict[int, Callable[[bytes, int], PlainEvent | None]] = {
            ord("I"): self._insert,
            ord("U"): self._update,
            ord("D"): self._delete,
            ord("R"): self._describe,
            ord("T"): self._truncate,
            ord("Y"): _type,
            ord("M"): _message,
        }
        self._whole: dict[int, _Handler] = {
            **within,
            ord("B"): _begin,
            ord("C"): _commit,
            ord("O"): _origin,
        }
        if protocol >= 2:
            self._whole |= {
                ord("S"): self._stream_start,
                ord("c"): self._stream_commit,
                ord("A"): self._stream_abort,
            }
        if protocol >= 3:
            self._whole |= {
                ord("b"): _begin_prepare,
                ord("P"): _prepare,
                ord("K"): _commit_prepared,
                ord("r"): _rollback_prepared,
                ord("p"): self._stream_prepare,
            }
        # Within a block of a streamed transaction each message has its transaction's id in front.
        self._streamed: dict[int, _Handler] = {
            kind: _with_xid(handler) for kind, handler in within.items()
        } | {ord("E"): self._stream_stop, ord("O"): _origin}
        # What a transaction in progress says of tables is its own until it commits.
        self._streams: dict[int, _Relations] = {}
        self._committed = self._relations
        self._handlers = self._whole

    def decode(self, data: bytes, start: int = 0) -> Event | None:
        """Decode the one message that begins at `start` and ends with `data`.

        Returns:
            An event, or `None` where the message is of tables that nobody follows.

        Raises:
            ProtocolError: these bytes are no such message.
        """
        try:
            return self._handlers[data[start]](data, start + 1)
        except (struct.error, IndexError, KeyError, ValueError) as error:
            # Not chained: a UnicodeDecodeError quotes the whole row.
            kind = data[start : start + 1]
            raise ProtocolError(
                f"cannot decode a pgoutput message of kind {kind!r}: {type(error).__name__}"
            ) from None

    # These three are the hot path: one look at each value, and few calls.

    def _insert(self, data: bytes, offset: int) -> Change | None:
        oid, kind, count = _ROW(data, offset)
        relation = self._relations[oid]
        if relation is None:
            return None
        if kind != NEW or count != relation.size:
            raise _unfitting(kind, count, relation)
        after: dict[str, str | None] = {}
        read_row(data, offset + _ROW_SIZE, relation.leading, after)
        return _change(Change, (relation.table, _UPSERT, None, after))

    def _update(self, data: bytes, offset: int) -> Change | None:
        oid, kind, count = _ROW(data, offset)
        relation = self._relations[oid]
        if relation is None:
            return None
        if count != relation.size:
            raise _unfitting(kind, count, relation)
        offset += _ROW_SIZE
        before: dict[str, str | None] = {}
        after: dict[str, str | None] = {}
        if kind == NEW:
            read_row(data, offset, relation.leading, after)
            # The server sends no old row where the identity's columns did not change.
            for name in relation.identity:
                if name in after:
                    before[name] = after[name]
        else:
            offset = read_row(data, offset, relation.names, before)
            if kind != OLD or not relation.nulls:
                drop_unknown(before, kind, relation)
            kind, count = _NEXT_ROW(data, offset)
            if kind != NEW or count != relation.size:
                raise _unfitting(kind, count, relation)
            read_row(data, offset + _NEXT_ROW_SIZE, relation.leading, after)
            if len(after) != relation.wanted:
                # A large value that did not change is not sent again.
                for name, value in before.items():
                    after.setdefault(name, value)
        return _change(Change, (relation.table, _UPSERT, before, after))

    def _delete(self, data: bytes, offset: int) -> Change | None:
        oid, kind, count = _ROW(data, offset)
        relation = self._relations[oid]
        if relation is None:
            return None
        if count != relation.size:
            raise _unfitting(kind, count, relation)
        before: dict[str, str | None] = {}
        read_row(data, offset + _ROW_SIZE, relation.leading, before)
        if kind != OLD or not relation.nulls:
            drop_unknown(before, kind, relation)
        return _change(Change, (relation.table, _DELETE, before, None))

    def _truncate(self, data: bytes, offset: int) -> Truncated | None:
        count, _options = _TRUNCATE(data, offset)
        offset += 5
        changes: list[Change] = []
        for place in range(count):
            relation = self._relations[_ID(data, offset + 4 * place)[0]]
            if relation is not None:
                changes.append(Change(relation.table, _TRUNCATED, None, None))
        return Truncated(tuple(changes)) if changes else None

    def _describe(self, data: bytes, offset: int) -> Described | None:
        (oid,) = _ID(data, offset)
        table, offset = read_table(data, offset + 4)
        route = self._routes.get(table)
        if route is None:
            self._relations[oid] = None
            return None
        self._relations[oid] = read_relation(data, offset, table, route)
        return Described(table)

    # Protocol 2

    def _stream_start(self, data: bytes, offset: int) -> StreamStart:
        xid, first = _STREAM_START(data, offset)
        self._relations = self._streams.setdefault(xid, {})
        self._handlers = self._streamed
        return StreamStart(xid, bool(first))

    def _stream_stop(self, _data: bytes, _offset: int) -> StreamStop:
        self._relations = self._committed
        self._handlers = self._whole
        return StreamStop()

    def _stream_commit(self, data: bytes, offset: int) -> StreamCommit:
        xid, _flags, _start, end, at = _STREAM_COMMIT(data, offset)
        # As the server does: the others need not be told what this transaction was told.
        self._committed |= self._streams.pop(xid, {})
        return StreamCommit(xid, end, timestamp(at))

    def _stream_abort(self, data: bytes, offset: int) -> StreamAbort:
        xid, subxid = _STREAM_ABORT(data, offset)
        at, aborted_at = None, None
        if len(data) >= offset + 8 + _ABORTED.size:
            at, microseconds = _ABORTED.unpack_from(data, offset + 8)
            aborted_at = timestamp(microseconds)
        if xid == subxid:
            self._streams.pop(xid, None)
        return StreamAbort(xid, subxid, at, aborted_at)

    # Protocol 3

    def _stream_prepare(self, data: bytes, offset: int) -> StreamPrepare:
        prepared = _prepare(data, offset)
        # Unlike a commit, this leaves the server telling the others again.
        self._streams.pop(prepared.xid, None)
        return StreamPrepare(*prepared)


# The constructor of a named tuple without its detour through a Python function.
_change: Callable[[type[Change], _Change], Change]
_change = tuple.__new__  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def _unfitting(kind: int, count: int, relation: Relation) -> ProtocolError:
    if count != relation.size:
        return ProtocolError("a row with other columns than its Relation message")
    return ProtocolError(f"a row of kind {chr(kind)!r} where the new row belongs")


def _with_xid(handler: Callable[[bytes, int], PlainEvent | None]) -> _Handler:
    def handle(data: bytes, offset: int) -> Streamed | None:
        (xid,) = _ID(data, offset)
        event = handler(data, offset + 4)
        return None if event is None else Streamed(xid, event)

    return handle


def _begin(data: bytes, offset: int) -> Begin:
    _final, committed_at, xid = _BEGIN(data, offset)
    return Begin(xid, timestamp(committed_at))


def _commit(data: bytes, offset: int) -> Commit:
    _flags, _start, end, _committed_at = _COMMIT(data, offset)
    return Commit(end)


def _type(data: bytes, offset: int) -> TypeNamed:
    (oid,) = _ID(data, offset)
    schema, offset = read_text(data, offset + 4)
    name, _end = read_text(data, offset)
    return TypeNamed(oid, schema or "pg_catalog", name)


def _origin(data: bytes, offset: int) -> Origin:
    (lsn,) = _ORIGIN(data, offset)
    name, _end = read_text(data, offset + 8)
    return Origin(lsn, name)


def _message(data: bytes, offset: int) -> LogicalMessage:
    flags, lsn = _MESSAGE(data, offset)
    prefix, offset = read_text(data, offset + 9)
    (length,) = _ID(data, offset)
    content = data[offset + 4 : offset + 4 + length]
    if len(content) != length:
        raise ProtocolError("a logical message that is cut off")
    return LogicalMessage(bool(flags & 1), lsn, prefix, content)


def _begin_prepare(data: bytes, offset: int) -> BeginPrepare:
    _prepared, _end, at, xid = _BEGIN_PREPARE.unpack_from(data, offset)
    gid, _ = read_text(data, offset + _BEGIN_PREPARE.size)
    return BeginPrepare(xid, gid, timestamp(at))


def _prepare(data: bytes, offset: int) -> Prepare:
    xid, gid, end, at = _prepared(data, offset)
    return Prepare(xid, gid, end, at)


def _commit_prepared(data: bytes, offset: int) -> CommitPrepared:
    xid, gid, end, at = _prepared(data, offset)
    return CommitPrepared(xid, gid, end, at)


def _prepared(data: bytes, offset: int) -> tuple[int, str, int, float]:
    """What Prepare, Commit Prepared and Stream Prepare have in common: xid, name, end, time."""
    _flags, _start, end, at, xid = _PREPARED.unpack_from(data, offset)
    gid, _ = read_text(data, offset + _PREPARED.size)
    return xid, gid, end, timestamp(at)


def _rollback_prepared(data: bytes, offset: int) -> RollbackPrepared:
    _flags, _prepared_end, end, _prepared_at, at, xid = _ROLLED_BACK.unpack_from(data, offset)
    gid, _ = read_text(data, offset + _ROLLED_BACK.size)
    return RollbackPrepared(xid, gid, end, timestamp(at))
