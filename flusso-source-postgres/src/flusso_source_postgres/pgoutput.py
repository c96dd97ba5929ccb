"""Decodes the messages of the `pgoutput` plugin: bytes in, events out, no I/O.

```python
decoder = Decoder({TableName("public", "orders"): Route(columns=frozenset({"id", "user_id"}))})
for message in messages:
    event = decoder.decode(message)
```

The protocol is version 1 of the manual's "Logical Replication Message Formats": whole
transactions, each sent once its commit is known. Only the columns of a table's route are decoded,
the others are skipped by their lengths, and tables without a route are not decoded at all.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple, TypeAlias

from flusso_core.model import Change, Operation, TableName
from flusso_source_postgres.wire import ProtocolError, timestamp

logger = logging.getLogger(__name__)

_RELATION_ID = Struct(">I").unpack_from
_LENGTH = Struct(">I").unpack_from
_COUNT = Struct(">H").unpack_from
_BEGIN = Struct(">QqI").unpack_from
_COMMIT = Struct(">BQQq").unpack_from
_TRUNCATE = Struct(">IB").unpack_from

_NULL, _UNCHANGED, _TEXT = b"nut"
_KEY, _OLD, _NEW = b"KON"


@dataclass(frozen=True, slots=True)
class Route:
    """What to decode of a table.

    Attributes:
        columns: the columns that images hold.
        unchanged: for a partitioned table, the columns that an UPDATE without an old row leaves
            alone, whichever partition it is of; `None`: as the stream says.
    """

    columns: frozenset[str]
    unchanged: frozenset[str] | None = None


class Begin(NamedTuple):
    """The start of a transaction.

    Attributes:
        xid: the low 32 bits of the top transaction's id.
        committed_at: when it committed, in seconds since the epoch.
    """

    xid: int
    committed_at: float


class Commit(NamedTuple):
    """The end of a transaction; a stream that is resumed at `end` does not repeat it."""

    end: int


class Truncated(NamedTuple):
    """Tables emptied by one TRUNCATE, those reached by CASCADE included."""

    changes: tuple[Change, ...]


Event: TypeAlias = Begin | Commit | Change | Truncated


@dataclass(frozen=True, slots=True)
class _Relation:
    """A table as the last Relation message described it.

    Attributes:
        names: for each column its name, or `None`: skip it.
        leading: its beginning, up to the last column that is decoded.
        wanted: how many columns are decoded.
        identity: decoded columns that an UPDATE without an old row leaves alone.
        nulls: a NULL in a whole old row is one (and not a column that is not carried).
    """

    table: TableName
    names: tuple[str | None, ...]
    leading: tuple[str | None, ...]
    wanted: int
    identity: tuple[str, ...]
    nulls: bool


class Decoder:
    """Decodes the messages of one stream, in order.

    Args:
        routes: the tables to decode. Those that are not here are skipped.
    """

    def __init__(self, routes: Mapping[TableName, Route]) -> None:
        self._routes = routes
        self._relations: dict[int, _Relation | None] = {}
        self._handlers: dict[int, Callable[[bytes, int], Event | None]] = {
            ord("I"): self._insert,
            ord("U"): self._update,
            ord("D"): self._delete,
            ord("B"): _begin,
            ord("C"): _commit,
            ord("R"): self._describe,
            ord("T"): self._truncate,
            ord("Y"): _ignore,  # a type's name
            ord("O"): _ignore,  # an origin
            ord("M"): _ignore,  # an application's own message
        }

    def decode(self, data: bytes, start: int = 0) -> Event | None:
        """Decode the one message that begins at `start` and ends with `data`.

        Returns:
            An event, or `None` where the message brings none.

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

    def _insert(self, data: bytes, offset: int) -> Change | None:
        relation = self._relations[_RELATION_ID(data, offset)[0]]
        if relation is None:
            return None
        if data[offset + 4] != _NEW:
            raise ProtocolError("an INSERT without a new row")
        after: dict[str, str | None] = {}
        _read_row(data, offset + 5, relation, relation.leading, after)
        return Change(relation.table, Operation.UPSERT, None, after)

    def _update(self, data: bytes, offset: int) -> Change | None:
        relation = self._relations[_RELATION_ID(data, offset)[0]]
        if relation is None:
            return None
        kind = data[offset + 4]
        offset += 5
        before: dict[str, str | None] = {}
        after: dict[str, str | None] = {}
        if kind == _NEW:
            _read_row(data, offset, relation, relation.leading, after)
            # The server sends no old row where the identity's columns did not change.
            for name in relation.identity:
                if name in after:
                    before[name] = after[name]
        else:
            offset = _read_row(data, offset, relation, relation.names, before)
            _drop_unknown(before, kind, relation)
            if data[offset] != _NEW:
                raise ProtocolError("an UPDATE without a new row")
            _read_row(data, offset + 1, relation, relation.leading, after)
            if len(after) != relation.wanted:
                # A large value that did not change is not sent again.
                for name, value in before.items():
                    after.setdefault(name, value)
        return Change(relation.table, Operation.UPSERT, before, after)

    def _delete(self, data: bytes, offset: int) -> Change | None:
        relation = self._relations[_RELATION_ID(data, offset)[0]]
        if relation is None:
            return None
        before: dict[str, str | None] = {}
        _read_row(data, offset + 5, relation, relation.leading, before)
        _drop_unknown(before, data[offset + 4], relation)
        return Change(relation.table, Operation.DELETE, before, None)

    def _truncate(self, data: bytes, offset: int) -> Truncated | None:
        count, _options = _TRUNCATE(data, offset)
        offset += 5
        changes: list[Change] = []
        for place in range(count):
            relation = self._relations[_RELATION_ID(data, offset + 4 * place)[0]]
            if relation is not None:
                changes.append(Change(relation.table, Operation.TRUNCATE, None, None))
        return Truncated(tuple(changes)) if changes else None

    def _describe(self, data: bytes, offset: int) -> None:
        (oid,) = _RELATION_ID(data, offset)
        schema, offset = _read_name(data, offset + 4)
        name, offset = _read_name(data, offset)
        # The server leaves out the name of its own schema.
        table = TableName(schema or "pg_catalog", name)
        route = self._routes.get(table)
        if route is None:
            self._relations[oid] = None
            return
        (count,) = _COUNT(data, offset + 1)
        offset += 3
        names: list[str | None] = []
        flagged: list[str] = []
        for _ in range(count):
            flags = data[offset]
            column, offset = _read_name(data, offset + 1)
            offset += 8  # type and modifier
            wanted = column in route.columns
            names.append(column if wanted else None)
            if wanted and flags & 1:
                flagged.append(column)
        if offset > len(data):
            raise ProtocolError("a Relation message that is cut off")
        missing = sorted(route.columns.difference(name for name in names if name is not None))
        if missing:
            logger.warning(
                "changes of %s come without %s: the column was not there, or not published, "
                "when they were committed",
                table,
                ", ".join(missing),
            )
        unchanged = route.unchanged
        needed = max((place for place, name in enumerate(names, 1) if name is not None), default=0)
        self._relations[oid] = _Relation(
            table=table,
            names=tuple(names),
            leading=tuple(names[:needed]),
            wanted=sum(name is not None for name in names),
            identity=tuple(name for name in flagged if unchanged is None or name in unchanged),
            nulls=unchanged is None,
        )


def _drop_unknown(image: dict[str, str | None], kind: int, relation: _Relation) -> None:
    """Take out of an old row what its NULLs only stand in for.

    An old key comes as a whole row with NULL in every column that is no part of it. So does an
    old row of a partition whose replica identity is not that of the partitioned table.
    """
    if kind == _OLD and relation.nulls:
        return
    if kind not in (_OLD, _KEY):
        raise ProtocolError("a changed row without an old row or key")
    for name in [name for name, value in image.items() if value is None]:
        del image[name]


def _read_row(
    data: bytes,
    offset: int,
    relation: _Relation,
    names: tuple[str | None, ...],
    image: dict[str, str | None],
) -> int:
    """Read the columns that have `names` into `image`; return where the last of them ends."""
    if _COUNT(data, offset)[0] != len(relation.names):
        raise ProtocolError("a row with other columns than its Relation message")
    offset += 2
    for name in names:
        kind = data[offset]
        offset += 1
        if kind == _TEXT:
            end = offset + 4 + _LENGTH(data, offset)[0]
            if name is not None:
                image[name] = data[offset + 4 : end].decode()
            offset = end
        elif kind == _NULL:
            if name is not None:
                image[name] = None
        elif kind != _UNCHANGED:
            raise ProtocolError("a column value of an unknown kind")
    if offset > len(data):
        raise ProtocolError("a row that is cut off")
    return offset


def _read_name(data: bytes, offset: int) -> tuple[str, int]:
    end = data.index(0, offset)
    return data[offset:end].decode(), end + 1


def _begin(data: bytes, offset: int) -> Begin:
    _final, committed_at, xid = _BEGIN(data, offset)
    return Begin(xid, timestamp(committed_at))


def _commit(data: bytes, offset: int) -> Commit:
    _flags, _start, end, _committed_at = _COMMIT(data, offset)
    return Commit(end)


def _ignore(_data: bytes, _offset: int) -> None:
    """Nothing of the message matters here."""
