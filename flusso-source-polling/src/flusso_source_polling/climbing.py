"""Which documents a changed row touches: the way up from each place where a schema reads a table.

Its images carry the values that lead one step up, old and new; from there one statement climbs
to the root. Rows in the middle that move are covered by their own changes. Filters, orders and
limits are not looked at: a row may be what has just left them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sqlalchemy import ColumnElement, Connection, Select, select

from flusso_core.model import Key, TableName
from flusso_core.schema.model import AggregateField, Field, IndexSchema, JoinField, ObjectField
from flusso_source_polling.catalogue import Table, Tables
from flusso_source_polling.dialects import Column, Dialect
from flusso_source_polling.relations import Link, link

AT_ONCE = 1000
"""Values of a changed column that one statement climbs from."""


@dataclass(frozen=True, slots=True)
class _Given:
    """Values of a column of a changed row."""

    texts: Sequence[str]
    column: Column


_Known: TypeAlias = "_Given | Select[tuple[object]]"


@dataclass(frozen=True, slots=True)
class Path:
    """A place where a schema reads a table that is not its root.

    Attributes:
        table: the table.
        column: the column of its row images that leads up.
        links: the relations from the root down to it.
        junction: the table is the junction of the last of them.
    """

    table: TableName
    column: str
    links: tuple[Link, ...]
    junction: bool


def paths(schema: IndexSchema, tables: Tables) -> tuple[Path, ...]:
    """Every way in which a change below the root touches documents of the index."""
    key = schema.primary_key or ()
    start = key[0] if len(key) == 1 else None
    return tuple(_paths(schema.fields, tables[schema.table], start, (), tables))


def _paths(
    fields: Sequence[Field], above: Table, key: str | None, links: tuple[Link, ...], tables: Tables
) -> Iterator[Path]:
    for one in fields:
        match one:
            case ObjectField():
                yield from _paths(one.fields, above, key, links, tables)
            case JoinField() | AggregateField():
                last = link(one, above, key, tables)
                path = (*links, last)
                yield Path(one.table, last.upward, path, junction=False)
                if one.through is not None:
                    yield Path(one.through.table, one.through.left_key, path, junction=True)
                if isinstance(one, JoinField):
                    yield from _paths(one.fields, last.table, one.primary_key, path, tables)
            case _:
                pass


def climb(
    connection: Connection,
    path: Path,
    texts: Sequence[str],
    index: tuple[IndexSchema, Table],
    dialect: Dialect,
) -> Iterator[list[Key]]:
    """Keys of the documents above rows whose column has, or had, these values.

    Args:
        connection: in a transaction.
        path: where the rows stand in the schema.
        texts: the values.
        index: the schema and its root table.
        dialect: the database's ways.
    """
    schema, root = index
    columns = root.sql.columns
    keys = [dialect.key(columns[key], root.column(key)) for key in schema.primary_key or ()]
    for at in range(0, len(texts), AT_ONCE):
        column, known = _up(path, texts[at : at + AT_ONCE], dialect)
        statement = select(*keys).where(_inside(columns[column], known, dialect))
        rows = connection.execute(statement).all()
        if rows:
            yield [tuple([dialect.key_text(text) for text in row]) for row in rows]


def _up(path: Path, given: Sequence[str], dialect: Dialect) -> tuple[str, _Known]:
    *above, last = path.links
    if path.junction and last.junction is not None:
        known: _Known = _Given(given, last.junction.column(path.column))
    else:
        known = _step(last, _Given(given, last.table.column(last.upward)), dialect)
    column = last.start
    for one in reversed(above):
        if column != one.upward:
            rows = one.table.sql.columns
            known = select(rows[one.upward]).where(_inside(rows[column], known, dialect))
        known = _step(one, known, dialect)
        column = one.start
    return column, known


def _step(one: Link, known: _Known, dialect: Dialect) -> _Known:
    """What is known of the row above, when the upward column of the related row is known."""
    if one.junction is None or one.one.through is None:
        return known
    columns = one.junction.sql.columns
    inside = _inside(columns[one.one.through.right_key], known, dialect)
    return select(columns[one.one.through.left_key]).where(inside)


def _inside(column: ColumnElement[object], known: _Known, dialect: Dialect) -> ColumnElement[bool]:
    if isinstance(known, _Given):
        return dialect.among(column, known.texts, known.column)
    return column.in_(known)
