"""Names and values in statements that are sent, or shown, as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, Text, literal
from sqlalchemy import Dialect as SqlDialect
from sqlalchemy.schema import ExecutableDDLElement


class Quoting:
    """Spells them as one database reads them.

    Args:
        dialect: SQLAlchemy's class for the database.
    """

    def __init__(self, dialect: Callable[..., SqlDialect]) -> None:
        # Named parameters: with others, a percent sign would be doubled.
        self._dialect = dialect(paramstyle="named")

    def name(self, *parts: str) -> str:
        """An identifier, behind the names of what it is in."""
        quote = self._dialect.identifier_preparer.quote_identifier
        return ".".join(quote(one) for one in parts)

    def text(self, value: str) -> str:
        """A text, where a backslash is one."""
        return self.expression(literal(value, Text()))

    def expression(self, expression: ColumnElement[Any]) -> str:
        """An expression with its values."""
        compiled = expression.compile(dialect=self._dialect, compile_kwargs={"literal_binds": True})
        return str(compiled)

    def definition(self, statement: ExecutableDDLElement) -> str:
        """A statement that makes something."""
        return str(statement.compile(dialect=self._dialect))
