"""The tables that schemas read, as the database has them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Inspector, MetaData, inspect, type_coerce
from sqlalchemy import Table as SqlTable
from sqlalchemy.exc import NoSuchTableError, SAWarning
from sqlalchemy.types import NullType

from flusso_core.errors import SourceFatal
from flusso_core.model import TableName
from flusso_core.schema import locate, referenced_columns
from flusso_core.schema.model import IndexSchema
from flusso_source_polling.dialects import Column, Dialect, Expression


@dataclass(frozen=True, slots=True)
class Table:
    """A reflected table.

    Attributes:
        sql: for statements.
        columns: by exact name.
        primary_key: its columns; empty: there is none.
        unique: sets of columns that no two rows share and that are never NULL.
    """

    name: TableName
    sql: SqlTable
    columns: Mapping[str, Column]
    primary_key: tuple[str, ...]
    unique: tuple[frozenset[str], ...]

    def column(self, name: str) -> Column:
        """A column by its name.

        Raises:
            SourceFatal: there is none of that name.
        """
        found = self.columns.get(name)
        if found is None:
            raise SourceFatal(f"table {self.name} has no column {name!r}{self._hint(name)}")
        return found

    def untyped(self, name: str) -> Expression:
        """A column for conditions. With its type, SQLAlchemy would give it to the value that the
        column is compared with, and want a Python value of it.
        """
        return type_coerce(self.sql.columns[self.column(name).name], NullType())

    def is_unique(self, columns: Iterable[str]) -> bool:
        """Whether no two rows have the same values there."""
        given = frozenset(columns)
        return any(one <= given for one in self.unique)

    def null_in(self, key: Sequence[str]) -> SourceFatal:
        """What to raise where a row of the table has NULL in its key."""
        return SourceFatal(
            f"table {self.name} has a row with NULL in its key ({', '.join(key)}); give it a "
            "value, and make the columns NOT NULL"
        )

    def _hint(self, name: str) -> str:
        near = [one for one in self.columns if one.lower() == name.lower()]
        return f"; write '\"{near[0]}\"' in the schema to keep its case" if near else ""


Tables = Mapping[TableName, Table]


def table_names(schemas: Iterable[IndexSchema]) -> tuple[TableName, ...]:
    """Every table that the schemas read, in order."""
    return tuple(sorted(referenced_columns(schemas)))


def reflect(
    connection: Connection, dialect: Dialect, names: Iterable[TableName]
) -> dict[TableName, Table]:
    """The tables of these names that there are."""
    inspector = inspect(connection)
    with warnings.catch_warnings():
        # Of a type that SQLAlchemy does not know: a schema may leave such a column alone.
        warnings.filterwarnings("ignore", "Did not recognize type", SAWarning)
        found = {name: _reflect(connection, inspector, dialect, name) for name in names}
    return {name: table for name, table in found.items() if table is not None}


def _reflect(
    connection: Connection, inspector: Inspector, dialect: Dialect, name: TableName
) -> Table | None:
    schema = dialect.schema(name.schema)
    try:
        table = SqlTable(
            name.name, MetaData(), schema=schema, autoload_with=connection, resolve_fks=False
        )
    except NoSuchTableError:
        return None
    collations = dialect.collations(connection, name.name, schema)
    columns = {
        one.name: Column(one.name, one.type, collations.get(one.name)) for one in table.columns
    }
    primary_key = tuple(one.name for one in table.primary_key.columns)
    indexes = [
        frozenset(str(column) for column in index["column_names"])
        for index in inspector.get_indexes(name.name, schema)
        if index["unique"]
        and not index.get("dialect_options", {}).get("sqlite_where")
        and not index.get("dialect_options", {}).get("postgresql_where")
    ]
    constraints = [
        frozenset(one["column_names"])
        for one in inspector.get_unique_constraints(name.name, schema)
    ]
    unique = [
        one
        for one in (*indexes, *constraints)
        if one <= columns.keys() and not any(table.columns[each].nullable for each in one)
    ]
    if primary_key:
        unique.append(frozenset(primary_key))
    return Table(name, table, columns, primary_key, tuple(unique))


def require(tables: Tables, schema: IndexSchema) -> None:
    """Make sure that the tables of a schema are there.

    Raises:
        SourceFatal: one is missing.
    """
    for name in table_names([schema]):
        if name not in tables:
            raise SourceFatal(
                f"{locate(schema, name)}: table {name} does not exist; create it, or correct the "
                "schema file"
            )


def require_columns(tables: Tables, schema: IndexSchema) -> None:
    """Make sure that they have the columns that the schema reads.

    Raises:
        SourceFatal: one is missing.
    """
    for name, columns in referenced_columns([schema]).items():
        for column in sorted(columns):
            try:
                tables[name].column(column)
            except SourceFatal as error:
                raise SourceFatal(f"{locate(schema, name, column)}: {error}") from error
