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


def frame(message: bytes, *, at: int = 0) -> bytes:
    return b"w" + number(at, 8) + number(at, 8) + number(0, 8) + message


def keepalive(end: int, *, reply: bool = False) -> bytes:
    return b"k" + number(end, 8) + number(0, 8) + number(int(reply), 1)
