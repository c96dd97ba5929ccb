"""What a database has to say of its columns: how to read, compare and aggregate them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Connection, Engine
from sqlalchemy.engine import URL
from sqlalchemy.types import TypeEngine

from flusso_core.errors import SourceFatal
from flusso_core.model import FieldType, TableName
from flusso_core.schema.model import Scalar
from flusso_source_polling.dialects.quoting import Quoting


class Json(str):
    """A value that is JSON text already, every digit kept."""

    __slots__ = ()


Value: TypeAlias = "bool | int | str | bytes | Json | None"
"""A column's value: what is not of these types comes as `Json`."""

Expression: TypeAlias = ColumnElement[Any]

Spelling: TypeAlias = Callable[[Expression], Expression]
"""From a column's expression to that of its JSON text."""

STRUCTURED = frozenset({FieldType.JSON, FieldType.MAP})
"""Field types of which a text column holds JSON."""

TEXTUAL = frozenset(
    {FieldType.TEXT, FieldType.IDENTIFIER, FieldType.KEYWORD, FieldType.ENUM, FieldType.UUID}
)
"""Field types whose values are texts, whatever the column holds."""


@dataclass(frozen=True, slots=True)
class Column:
    """A reflected column.

    Attributes:
        name: as the database spells it.
        type: as SQLAlchemy reflects it.
        collation: by which the database compares its texts, where `Dialect.exact` needs to know.
    """

    name: str
    type: TypeEngine[Any]
    collation: str | None = None


class KeyRefused(SourceFatal):
    """A value that is stored cannot be a key; who has read it knows from where (`of`)."""

    def of(self, table: TableName, columns: Iterable[str]) -> SourceFatal:
        """The same, with the table and the columns of which one holds the value."""
        return SourceFatal(f"table {table}, one of the columns {', '.join(columns)}: {self}")


class Dialect(ABC):
    """One database's ways. Nothing here holds a connection.

    Attributes:
        name: of the database.
        arguments: of its engine.
        quoting: of names and values in statements that are sent, or shown, as they are.
        install: how to get its driver, where it is not Python's own.
    """

    name: str
    arguments: Mapping[str, Any]
    quoting: Quoting
    install: str = ""

    @abstractmethod
    def require(self, url: URL) -> None:
        """Refuse a URL that cannot be followed.

        Raises:
            SourceFatal: what it names is not there.
            ConfigError: it names something without a fixed place.
        """

    @abstractmethod
    def prepare(self, engine: Engine) -> None:
        """Have every connection of the engine set up."""

    @abstractmethod
    def obstacle(
        self, connection: Connection, tables: Sequence[TableName]
    ) -> tuple[str, str] | None:
        """Why no snapshot of these tables can be held, and the cure; `None`: it can."""

    @abstractmethod
    def version(self, connection: Connection) -> str:
        """The server's own identity, as far as it has one."""

    @abstractmethod
    def schema(self, name: str) -> str | None:
        """The schema by which SQLAlchemy finds tables of that schema."""

    def quoted(self, name: TableName) -> str:
        """A table's name, or that of something beside it, in a statement."""
        schema = self.schema(name.schema)
        return self.quoting.name(*([] if schema is None else [schema]), name.name)

    def collations(self, connection: Connection, table: str, schema: str | None) -> dict[str, str]:
        """The collations of a table's columns, where the dialect needs them."""
        del connection, table, schema
        return {}

    @abstractmethod
    def read(self, expression: Expression, column: Column) -> Expression:
        """The expression to select so that `value` understands what comes."""

    def spelling(self, column: Column, field_type: FieldType) -> Spelling | None:
        """How the database spells the column's values in JSON, NULL for NULL.

        `None`: not to the last character as Python would, which has to do it then.
        """
        del column, field_type
        return None

    def joined(self, texts: Sequence[Expression]) -> Expression:
        """One text of several, of which none is NULL."""
        return reduce(lambda before, text: before.concat(text), texts)

    @abstractmethod
    def lowers(self, column: Column) -> bool:
        """Whether lower case is the database's business: it follows the database's collation."""

    @abstractmethod
    def value(self, raw: Any, column: Column, field_type: FieldType | None) -> Value:
        """What was read, as a value.

        Args:
            raw: what came for `read`.
            column: where it came from.
            field_type: the field that it is for.
        """

    @abstractmethod
    def key_problem(self, column: Column) -> str | None:
        """Why values of the column cannot be keys; `None`: they can."""

    @abstractmethod
    def key(self, expression: Expression, column: Column) -> Expression:
        """The expression to select so that `key_text` understands what comes."""

    @abstractmethod
    def key_text(self, raw: Any) -> str:
        """The text of a key that is not NULL.

        Raises:
            KeyRefused: it has none.
        """

    @abstractmethod
    def spells(self, text: str, column: Column) -> bool:
        """Whether the text is surely one that can be compared with keys of the column's type."""

    @abstractmethod
    def typed(self, text: str, column: Column) -> Expression:
        """A key's text as a parameter of the column's type."""

    @abstractmethod
    def among(self, expression: Expression, texts: Sequence[str], column: Column) -> Expression:
        """Whether the column is one of these keys; an index on it serves."""

    def exact(self, expression: Expression, column: Column) -> Expression:
        """The value so that it is equal to nothing else, to group and compare by.

        A column whose collation ignores case, accents or trailing spaces would join rows that no
        key joins.
        """
        del column
        return expression

    def same(self, expression: Expression, column: Column, other: Expression) -> Expression:
        """Whether the column is what another gives by `exact`; an index on the column serves."""
        del column
        return expression == other

    def ordered(self, expression: Expression, *, descending: bool) -> list[Expression]:
        """To order by it: NULLs come last, or first in a descending order, as in Postgres."""
        return [expression.desc().nulls_first() if descending else expression.asc().nulls_last()]

    @abstractmethod
    def operand(self, value: Scalar, column: Column) -> Expression:
        """A filter's value, comparable with the column."""

    @abstractmethod
    def like(self, expression: Expression, pattern: Expression, *, fold: bool) -> Expression:
        """LIKE as Postgres has it; `fold`: upper and lower case are alike."""

    @abstractmethod
    def is_boolean(self, column: Column) -> bool:
        """Whether the column is true or false."""

    @abstractmethod
    def is_json(self, column: Column) -> bool:
        """Whether the column holds JSON of its own."""

    @abstractmethod
    def is_point_text(self, column: Column) -> bool:
        """Whether a geo point can be read from the column: JSON or a text."""

    @abstractmethod
    def total(self, expression: Expression, column: Column) -> Expression:
        """The exact sum of a group; read it with `computed`."""

    @abstractmethod
    def mean(self, expression: Expression, column: Column) -> Expression:
        """The average of a group as a double; read it with `computed`."""

    @abstractmethod
    def computed(self, raw: Any) -> Value:
        """What `total` or `mean` gave."""
