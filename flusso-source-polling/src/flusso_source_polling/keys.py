"""Conditions on keys, which are texts of one or more columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import eq, gt, lt
from typing import TypeAlias

from sqlalchemy import and_, or_

from flusso_core.model import Key
from flusso_source_polling.catalogue import Table
from flusso_source_polling.dialects import Dialect, Expression

Compare: TypeAlias = Callable[[Expression, Expression], Expression]


def after(table: Table, columns: Sequence[str], key: Key, dialect: Dialect) -> Expression:
    """Rows behind that key, in key order."""
    return greater(*_sides(table, columns, key, dialect))


def up_to(table: Table, columns: Sequence[str], key: Key, dialect: Dialect) -> Expression:
    """Rows before that key, and the one with it."""
    there, given = _sides(table, columns, key, dialect)
    return or_(_ordered(there, given, lt), and_(*map(eq, there, given)))


def greater(there: Sequence[Expression], given: Sequence[Expression]) -> Expression:
    """Whether the expressions come behind the given ones: the first that differs decides."""
    return _ordered(there, given, gt)


def one_of(
    table: Table, columns: Sequence[str], keys: Sequence[Key], dialect: Dialect
) -> Expression:
    """Rows with one of these keys."""
    if len(columns) == 1:
        column = table.column(columns[0])
        return dialect.among(table.sql.columns[column.name], [key[0] for key in keys], column)
    return or_(*(and_(*map(eq, *_sides(table, columns, key, dialect))) for key in keys))


def _ordered(
    there: Sequence[Expression], given: Sequence[Expression], compare: Compare
) -> Expression:
    found: list[Expression] = []
    equal: list[Expression] = []
    for one, other in zip(there, given, strict=True):
        found.append(and_(*equal, compare(one, other)))
        equal.append(eq(one, other))
    return or_(*found)


def _sides(
    table: Table, columns: Sequence[str], key: Key, dialect: Dialect
) -> tuple[list[Expression], list[Expression]]:
    """The columns, and the key's values of their types."""
    there = [table.untyped(name) for name in columns]
    pairs = zip(columns, key, strict=True)
    return there, [dialect.typed(text, table.column(name)) for name, text in pairs]
