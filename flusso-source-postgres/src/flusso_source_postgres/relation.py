"""How a table's rows lie in messages: a Relation message, and the rows that follow it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from struct import Struct

from flusso_core.model import TableName
from flusso_source_postgres.wire import ProtocolError

logger = logging.getLogger(__name__)

_LENGTH = Struct(">I").unpack_from
_COUNT = Struct(">H").unpack_from

_NULL, _UNCHANGED, _TEXT = b"nut"
KEY, OLD, NEW = b"KON"
"""What a row is: the old key, the whole old row, the new row."""


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


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as the last Relation message described it.

    Attributes:
        names: for each column its name, or `None`: skip it.
        leading: its beginning, up to the last column that is decoded.
        size: how many columns there are.
        wanted: how many of them are decoded.
        identity: decoded columns that an UPDATE without an old row leaves alone.
        nulls: a NULL in a whole old row is one (and not a column that is not carried).
    """

    table: TableName
    names: tuple[str | None, ...]
    leading: tuple[str | None, ...]
    size: int
    wanted: int
    identity: tuple[str, ...]
    nulls: bool


def read_table(data: bytes, offset: int) -> tuple[TableName, int]:
    """The table that a Relation message describes, and where its name ends."""
    schema, offset = read_text(data, offset)
    name, offset = read_text(data, offset)
    # The server leaves out the name of its own schema.
    return TableName(schema or "pg_catalog", name), offset


def read_relation(data: bytes, offset: int, table: TableName, route: Route) -> Relation:
    """The rest of a Relation message, behind the table's name."""
    (count,) = _COUNT(data, offset + 1)
    offset += 3
    names: list[str | None] = []
    flagged: list[str] = []
    for _ in range(count):
        flags = data[offset]
        column, offset = read_text(data, offset + 1)
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
    return Relation(
        table=table,
        names=tuple(names),
        leading=tuple(names[:needed]),
        size=len(names),
        wanted=sum(name is not None for name in names),
        identity=tuple(name for name in flagged if unchanged is None or name in unchanged),
        nulls=unchanged is None,
    )


def read_row(
    data: bytes, offset: int, names: tuple[str | None, ...], image: dict[str, str | None]
) -> int:
    """Read the values of a row, the columns that have `names` into `image`.

    Returns:
        Where the last of these values ends.
    """
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
            # Binary values come only to who asks for them, and have no spelling of their own.
            raise ProtocolError("a column value that is no text")
    if offset > len(data):
        raise ProtocolError("a row that is cut off")
    return offset


def drop_unknown(image: dict[str, str | None], kind: int, relation: Relation) -> None:
    """Take out of an old row what its NULLs only stand in for.

    An old key comes as a whole row with NULL in every column that is no part of it. So does an
    old row of a partition whose replica identity is not that of the partitioned table.
    """
    if kind not in (OLD, KEY):
        raise ProtocolError("a changed row without an old row or key")
    if kind == OLD and relation.nulls:
        return
    for name in [name for name, value in image.items() if value is None]:
        del image[name]


def read_text(data: bytes, offset: int) -> tuple[str, int]:
    """A text that ends with a zero byte, and where what follows it begins."""
    end = data.index(0, offset)
    return data[offset:end].decode(), end + 1
