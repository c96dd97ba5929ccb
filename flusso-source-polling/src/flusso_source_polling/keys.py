"""Conditions on keys, which are texts of one or more columns."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import and_, or_, type_coerce
from sqlalchemy.types import NullType

from flusso_core.model import Key
from flusso_source_polling.catalogue import Table
from flusso_source_polling.dialects import Dialect, Expression


def after(table: Table, columns: Sequence[str], key: Key, dialect: Dialect) -> Expression:
    """Rows behind that key, in key order."""
    found: list[Expression] = []
    equal: list[Expression] = []
    for name, text in zip(columns, key, strict=True):
        column = _plain(table, name)
        typed = dialect.typed(text, table.column(name))
        found.append(and_(*equal, column > typed))
        equal.append(column == typed)
    return or_(*found)


def up_to(table: Table, columns: Sequence[str], key: Key, dialect: Dialect) -> Expression:
    """Rows before that key, and the one with it."""
    found: list[Expression] = []
    equal: list[Expression] = []
    for name, text in zip(columns, key, strict=True):
        column = _plain(table, name)
        typed = dialect.typed(text, table.column(name))
        found.append(and_(*equal, column < typed))
        equal.append(column == typed)
    return or_(*found, and_(*equal))


def one_of(
    table: Table, columns: Sequence[str], keys: Sequence[Key], dialect: Dialect
) -> Expression:
    """Rows with one of these keys."""
    if len(columns) == 1:
        column = table.column(columns[0])
        return dialect.among(table.sql.columns[column.name], [key[0] for key in keys], column)
    return or_(
        *(
            and_(
                *(
                    _plain(table, name) == dialect.typed(text, table.column(name))
                    for name, text in zip(columns, key, strict=True)
                )
            )
            for key in keys
        )
    )


def _plain(table: Table, name: str) -> Expression:
    # Without its type: SQLAlchemy would give it to the text, and want a Python value of it.
    return type_coerce(table.sql.columns[name], NullType())
