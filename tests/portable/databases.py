"""A world's tables in a database: made, filled and changed through its own driver."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from .kinds import MARIADB, POSTGRES, SQLITE
from .worlds import Row, Table


class Database:
    """One database that a world's tables are in.

    Args:
        kind: which of them.
        url: for SQLAlchemy.
    """

    def __init__(self, kind: str, url: str) -> None:
        self.kind = kind
        self.url = url
        self._engine = create_engine(url, poolclass=NullPool)

    def make(self, tables: list[Table]) -> None:
        """Create the tables and fill them."""
        with self._engine.begin() as connection:
            if self.kind == SQLITE:
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            for table in tables:
                connection.exec_driver_sql(self._ddl(table).replace("%", "%%"))
                for row in table.rows.values():
                    self._insert(connection, table, row)

    def replace(self, table: Table, before: Row | None, after: Row | None) -> None:
        """Change one row, in a transaction of its own."""
        with self._engine.begin() as connection:
            if before is not None:
                where = " AND ".join(f"{self._quoted(key)} = :{key}" for key in table.key)
                values = {key: self._bound(before[key]) for key in table.key}
                connection.execute(
                    text(f"DELETE FROM {self._quoted(table.name)} WHERE {where}"), values
                )
            if after is not None:
                self._insert(connection, table, after)

    def _insert(self, connection: Connection, table: Table, row: Row) -> None:
        names = ", ".join(self._quoted(name) for name in row)
        marks = ", ".join(f":{name}" for name in row)
        connection.execute(
            text(f"INSERT INTO {self._quoted(table.name)} ({names}) VALUES ({marks})"),
            {name: self._bound(value) for name, value in row.items()},
        )

    def _ddl(self, table: Table) -> str:
        key = ", ".join(self._quoted(name) for name in table.key)
        columns = ", ".join((*self._columns(table), f"PRIMARY KEY ({key})"))
        return f"CREATE TABLE {self._quoted(table.name)} ({columns})"

    def _columns(self, table: Table) -> Iterator[str]:
        for name, kind in table.columns.items():
            null = "NOT NULL" if name in table.key else "NULL"
            yield f"{self._quoted(name)} {kind.types[self.kind].removesuffix(' NULL')} {null}"

    def _quoted(self, name: str) -> str:
        mark = "`" if self.kind == MARIADB else '"'
        return mark + name.replace(mark, 2 * mark) + mark

    def _bound(self, value: Any) -> Any:
        if self.kind == SQLITE and isinstance(value, Decimal):
            return str(value)
        if self.kind == MARIADB and isinstance(value, str):
            return value.removesuffix("+00:00")
        return value


def sqlalchemy_url(kind: str, url: str) -> str:
    """The URL as SQLAlchemy has it."""
    return url.replace("postgresql://", "postgresql+psycopg://", 1) if kind == POSTGRES else url
