"""What a table is followed by: a column that grows with each change, or Postgres' `xmin`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Connection, Select, cast, literal, select, type_coerce
from sqlalchemy import types as sql

from flusso_core.errors import ConfigError, SourceFatal
from flusso_source_polling.catalogue import Table
from flusso_source_polling.dialects import Dialect, Expression
from flusso_source_polling.witness import Witness

XMIN = "xmin"
"""The cursor that every table of Postgres has: the transaction that wrote the row."""

_RAW = sql.NullType()
_CURE = "name one that grows with each change of a row, or leave the cursor out"


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a cursor has come.

    Attributes:
        value: the greatest one that there is; `None`: there is none.
        clock: the database's, not before that was read.
    """

    value: str | None
    clock: float


class Cursor(Protocol):
    """Something of a row that grows with each of its changes."""

    @property
    def name(self) -> str:
        """As the configuration names it."""
        ...

    @property
    def column(self) -> str | None:
        """The column's name; `None`: it is none of the table's own."""

    @property
    def value(self) -> Expression:
        """For conditions and orders."""
        ...

    @property
    def selected(self) -> Expression:
        """For reading; `text` understands what comes."""
        ...

    @property
    def exact(self) -> bool:
        """Whether every row below `reach` is final: no transaction that is open can write one."""
        ...

    @property
    def fine(self) -> bool:
        """Whether a value is not given again two minutes after it was the greatest."""
        ...

    def text(self, raw: Any) -> str:
        """What was read, as a text."""
        ...

    def typed(self, text: str) -> Expression:
        """Such a text, comparable with `value`."""
        ...

    def reach(self, connection: Connection) -> Reach:
        """How far it has come, as the transaction sees it."""
        ...


class ColumnCursor:
    """A column of the table that grows with each change: a time, or a number over all rows.

    Args:
        table: the table.
        column: its name.
        dialect: the database's ways.
        witness: tells the time.

    Raises:
        SourceFatal: there is no such column, or its values cannot be compared.
    """

    exact = False

    def __init__(self, table: Table, column: str, dialect: Dialect, witness: Witness) -> None:
        self.name = column
        self.column: str | None = column
        self._described = table.column(column)
        problem = dialect.key_problem(self._described)
        if problem is not None:
            raise SourceFatal(
                f"table {table.name}: {column!r} cannot be a cursor: {problem}; {_CURE}"
            )
        self._dialect = dialect
        self._sql: ColumnElement[Any] = table.sql.columns[column]
        kind = self._described.type
        self.fine = isinstance(kind, sql.DateTime | sql.Integer)
        self.value: Expression = type_coerce(self._sql, _RAW)
        past: Expression = self.value.is_not(None)
        if isinstance(kind, sql.DateTime | sql.Date):
            # One row from the future would hide all that come before it.
            past = witness.past(self.value)
        greatest = select(self.selected).where(past).order_by(self._sql.desc()).limit(1)
        self._reach: Select[Any, Any] = select(greatest.scalar_subquery(), witness.clock)

    @property
    def selected(self) -> Expression:
        """As a key is read."""
        return self._dialect.key(self._sql, self._described)

    def text(self, raw: Any) -> str:
        """As a key is spelled."""
        return self._dialect.key_text(raw)

    def typed(self, text: str) -> Expression:
        """As a key is compared."""
        return self._dialect.typed(text, self._described)

    def reach(self, connection: Connection) -> Reach:
        """The greatest value that is not in the future."""
        raw, clock = connection.execute(self._reach).one()
        return Reach(None if raw is None else self.text(raw), float(clock))


class TransactionCursor:
    """The number of the transaction that wrote the row.

    Args:
        transaction: that number.
        oldest: the number below which every transaction had ended.
        witness: tells the time.
    """

    name = XMIN
    column: str | None = None
    exact = True
    fine = True

    def __init__(self, transaction: Expression, oldest: Expression, witness: Witness) -> None:
        self.value = transaction
        self.selected: Expression = cast(transaction, sql.Text)
        self._reach: Select[Any, Any] = select(oldest, witness.clock)

    def text(self, raw: Any) -> str:
        """It is one."""
        return str(raw)

    def typed(self, text: str) -> Expression:
        """A 64-bit number."""
        return literal(int(text), sql.BigInteger)

    def reach(self, connection: Connection) -> Reach:
        """Every transaction below it had ended when the snapshot was taken."""
        value, clock = connection.execute(self._reach).one()
        return Reach(str(value), float(clock))


def cursor_of(table: Table, name: str, dialect: Dialect, witness: Witness) -> Cursor:
    """The cursor of that name.

    Raises:
        SourceFatal: the table has no such column, or it cannot be one.
        ConfigError: the database has no such cursor, whatever the table is like.
    """
    if name == XMIN and XMIN not in table.columns:
        transaction, oldest = witness.transaction(), witness.oldest_transaction()
        if transaction is None or oldest is None:
            raise ConfigError(
                f"table {table.name}: only Postgres has the cursor {XMIN!r}; name a column that "
                "grows with each change"
            )
        return TransactionCursor(transaction, oldest, witness)
    if name not in table.columns:
        raise SourceFatal(f"table {table.name}: there is no column {name!r} for a cursor; {_CURE}")
    return ColumnCursor(table, name, dialect, witness)
