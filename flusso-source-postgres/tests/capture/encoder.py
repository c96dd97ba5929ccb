"""Writes pgoutput messages and replication frames, independently of the decoder under test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from flusso_core.model import TableName


class Unchanged(Enum):
    """A TOAST value that the server does not repeat."""

    TOAST = 1


Value = str | Unchanged | None
Row = Sequence[Value]

EPOCH = 946684800


@dataclass(frozen=True)
class Relation:
    """A table as a Relation message describes it."""

    oid: int
    table: TableName
    columns: tuple[str, ...]
    flagged: frozenset[str] = frozenset()
    identity: str = "d"


def number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big", signed=value < 0)


def text(value: str) -> bytes:
    return value.encode() + b"\0"


def row(values: Row) -> bytes:
    encoded = number(len(values), 2)
    for value in values:
        if value is None:
            encoded += b"n"
        elif isinstance(value, Unchanged):
            encoded += b"u"
        else:
            encoded += b"t" + number(len(value.encode()), 4) + value.encode()
    return encoded


def relation(one: Relation) -> bytes:
    encoded = b"R" + number(one.oid, 4) + text(one.table.schema) + text(one.table.name)
    encoded += one.identity.encode() + number(len(one.columns), 2)
    for name in one.columns:
        encoded += number(int(name in one.flagged), 1) + text(name) + number(25, 4) + number(-1, 4)
    return encoded


def begin(xid: int, *, seconds: float = EPOCH) -> bytes:
    microseconds = int((seconds - EPOCH) * 1_000_000)
    return b"B" + number(7, 8) + number(microseconds, 8) + number(xid, 4)


def commit(end: int) -> bytes:
    return b"C" + number(0, 1) + number(max(end - 8, 0), 8) + number(end, 8) + number(0, 8)


def insert(oid: int, new: Row) -> bytes:
    return b"I" + number(oid, 4) + b"N" + row(new)


def update(oid: int, new: Row, *, key: Row | None = None, old: Row | None = None) -> bytes:
    encoded = b"U" + number(oid, 4)
    if key is not None:
        encoded += b"K" + row(key)
    if old is not None:
        encoded += b"O" + row(old)
    return encoded + b"N" + row(new)


def delete(oid: int, *, key: Row | None = None, old: Row | None = None) -> bytes:
    encoded = b"D" + number(oid, 4)
    return encoded + (b"O" + row(old) if old is not None else b"K" + row(key or ()))


def truncate(*oids: int) -> bytes:
    return b"T" + number(len(oids), 4) + number(1, 1) + b"".join(number(oid, 4) for oid in oids)


def type_name(oid: int, schema: str, name: str) -> bytes:
    return b"Y" + number(oid, 4) + text(schema) + text(name)


def origin(lsn: int, name: str) -> bytes:
    return b"O" + number(lsn, 8) + text(name)


def message(transactional: bool, lsn: int, prefix: str, content: bytes) -> bytes:
    encoded = b"M" + number(int(transactional), 1) + number(lsn, 8) + text(prefix)
    return encoded + number(len(content), 4) + content


def streamed(xid: int, whole: bytes) -> bytes:
    """A message as it stands within a block of a streamed transaction."""
    return whole[:1] + number(xid, 4) + whole[1:]


def stream_start(xid: int, *, first: bool = True) -> bytes:
    return b"S" + number(xid, 4) + number(int(first), 1)


STREAM_STOP = b"E"


def stream_commit(xid: int, end: int) -> bytes:
    return b"c" + number(xid, 4) + number(0, 1) + number(end - 8, 8) + number(end, 8) + number(0, 8)


def stream_abort(xid: int, subxid: int, *, at: int | None = None) -> bytes:
    encoded = b"A" + number(xid, 4) + number(subxid, 4)
    return encoded if at is None else encoded + number(at, 8) + number(0, 8)


def begin_prepare(xid: int, gid: str) -> bytes:
    return b"b" + number(1, 8) + number(2, 8) + number(0, 8) + number(xid, 4) + text(gid)


def prepared(kind: bytes, xid: int, gid: str, end: int) -> bytes:
    """`kind`: `P` Prepare, `K` Commit Prepared, `p` Stream Prepare."""
    encoded = kind + number(0, 1) + number(end - 8, 8) + number(end, 8) + number(0, 8)
    return encoded + number(xid, 4) + text(gid)


def rollback_prepared(xid: int, gid: str, end: int) -> bytes:
    encoded = b"r" + number(0, 1) + number(end - 8, 8) + number(end, 8)
    return encoded + number(0, 8) + number(0, 8) + number(xid, 4) + text(gid)


def frame(message: bytes, *, at: int = 0) -> bytes:
    return b"w" + number(at, 8) + number(at, 8) + number(0, 8) + message


def keepalive(end: int, *, reply: bool = False) -> bytes:
    return b"k" + number(end, 8) + number(0, 8) + number(int(reply), 1)
