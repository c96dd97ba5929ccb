"""Triggers of SQLite: one for each kind of change, and two for rows that are replaced."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import Connection

from flusso_core.model import TableName
from flusso_source_polling.dialects.sqlite import SqliteDialect
from flusso_source_polling.outbox.model import (
    COLUMNS,
    Caveat,
    Installed,
    Logged,
    OutboxDialect,
    Trigger,
    Wanted,
)

_QUOTING = SqliteDialect.quoting


class SqliteOutbox(OutboxDialect):
    """One file, one writer at a time: entries come in the order of their commits.

    Their ids are rowids; AUTOINCREMENT gives none twice, also after the last entry was deleted.
    Triggers use nothing but what every SQLite has: one that was built without JSON functions,
    say, must still be able to write. There is no TRUNCATE: a DELETE of all rows fires the trigger
    of each.
    """

    dialect = SqliteDialect()
    # Connections only read, as they are set up. Locks are waited for as long as `timeout`.
    writing = ("PRAGMA query_only = 0",)

    def create(self) -> tuple[str, ...]:
        """Make the log, if it is not there."""
        log, reader = self.dialect.quoted(self.name), self.dialect.quoted(self.reader_name)
        columns = f"id INTEGER PRIMARY KEY AUTOINCREMENT, {' TEXT, '.join(COLUMNS)} TEXT"
        return (
            f"CREATE TABLE IF NOT EXISTS {log} ({columns})",
            f"CREATE TABLE IF NOT EXISTS {reader} (stream TEXT)",
        )

    def wanted(self, connection: Connection, logged: Logged) -> Wanted:
        """The triggers that a table should have.

        `INSERT OR REPLACE` and `UPDATE OR REPLACE` delete the rows that are in the way, and fire
        no delete trigger for them unless the application has set `PRAGMA recursive_triggers`
        (https://sqlite.org/lang_conflict.html). So those rows are looked for, and logged, before
        the statement does its work.
        """
        table, old, new = self.dialect.quoted(logged.name), _row(logged, "OLD"), _row(logged, "NEW")
        uniques, _ = _uniques(connection, logged)
        columns = ", ".join(_QUOTING.name(one) for one in sorted(frozenset[str]().union(*uniques)))
        taken = " OR ".join(f"({_alike(table, '=', 'NEW', one)})" for one in uniques)
        itself = _alike(table, "IS", "OLD", logged.key)
        bodies = {
            "insert": ("AFTER INSERT", self._entry(logged, "insert", "NULL", new)),
            "update": ("AFTER UPDATE", self._entry(logged, "update", old, new)),
            "delete": ("AFTER DELETE", self._entry(logged, "delete", old, "NULL")),
            "replace": ("BEFORE INSERT", self._displaced(logged, taken)),
            "displace": (
                f"BEFORE UPDATE OF {columns}",
                self._displaced(logged, f"({taken}) AND NOT ({itself})"),
            ),
        }
        triggers: dict[str, str] = {}
        statements: list[str] = []
        for what, (when, entry) in bodies.items():
            name = self.trigger(logged.name, what)
            triggers[name] = (
                f"CREATE TRIGGER {_QUOTING.name(name)} {when} ON {table} FOR EACH ROW BEGIN\n"
                f"  {entry};\n"
                "END"
            )
            statements += [f"DROP TRIGGER IF EXISTS {_QUOTING.name(name)}", triggers[name]]
        return Wanted(logged, triggers, tuple(statements))

    def installed(self, connection: Connection) -> Installed:
        """Every trigger of this outbox; SQLite keeps the statement as it was written, and nothing
        else.
        """
        found: dict[TableName, dict[str, Trigger]] = {}
        rows = connection.exec_driver_sql(
            "SELECT tbl_name, name, sql FROM sqlite_master WHERE type = 'trigger'"
        )
        for table, name, statement in rows:
            if self.made(name):
                found.setdefault(self._table_of(name, table), {})[name] = Trigger(statement)
        return found

    def caveats(self, connection: Connection, logged: Logged) -> Sequence[Caveat]:
        """Rows that are replaced by an index that no simple comparison can follow."""
        _, odd = _uniques(connection, logged)
        return [
            Caveat(
                f"a row that INSERT OR REPLACE or UPDATE OR REPLACE removes because of the unique "
                f"index {name} is not seen, because the index is partial or over expressions",
                "write with ON CONFLICT … DO UPDATE, or set PRAGMA recursive_triggers = ON where "
                "the application connects",
            )
            for name in odd
        ]

    def _table_of(self, trigger: str, table: str) -> TableName:
        """The table of a trigger, as the schemas have it that the trigger was made for: some call
        the file's own tables `main`.
        """
        main, what = TableName("main", table), trigger.rpartition("_")[2]
        return main if self.trigger(main, what) == trigger else TableName("public", table)

    def _entry(self, logged: Logged, operation: str, old: str, new: str) -> str:
        """Log a row."""
        return self._insert(f"VALUES ({_values(logged, operation, old, new)})")

    def _displaced(self, logged: Logged, condition: str) -> str:
        """Log the rows of the table that are about to go."""
        table = self.dialect.quoted(logged.name)
        values = _values(logged, "delete", _row(logged, table), "NULL")
        return self._insert(f"SELECT {values} FROM {table} WHERE {condition}")

    def _insert(self, source: str) -> str:
        log = self.dialect.quoted(self.name)
        return f"INSERT INTO {log} ({', '.join(COLUMNS)})\n  {source}"


def _values(logged: Logged, operation: str, old: str, new: str) -> str:
    schema, table = _QUOTING.text(logged.name.schema), _QUOTING.text(logged.name.name)
    return f"{schema}, {table}, '{operation}',\n    {old},\n    {new}"


def _uniques(connection: Connection, logged: Logged) -> tuple[list[tuple[str, ...]], list[str]]:
    """Columns by which a row is in another one's way, and indexes that say it otherwise."""
    plain = {logged.key, logged.table.primary_key or logged.key}
    odd: list[str] = []
    indexes = connection.exec_driver_sql(
        'SELECT name, partial FROM pragma_index_list(?) WHERE "unique" ORDER BY name',
        (logged.name.name,),
    ).all()
    for name, partial in indexes:
        columns = connection.exec_driver_sql(
            "SELECT name FROM pragma_index_info(?) ORDER BY seqno", (name,)
        ).scalars()
        found = tuple(columns)
        if partial or None in found:
            odd.append(name)
        else:
            plain.add(found)
    return sorted(plain), odd


def _alike(table: str, operator: str, row: str, columns: Sequence[str]) -> str:
    return " AND ".join(
        f"{table}.{_QUOTING.name(one)} {operator} {row}.{_QUOTING.name(one)}" for one in columns
    )


def _row(logged: Logged, row: str) -> str:
    """An expression for the columns of a row, as a JSON object. A BLOB, which JSON cannot hold,
    is an object with its hexadecimal digits.
    """
    parts: list[str] = []
    for column in logged.columns:
        value = f"{row}.{_QUOTING.name(column)}"
        quoted = f"replace(replace({value}, '\\', '\\\\'), '\"', '\\\"')"
        name = _QUOTING.text(json.dumps(column, ensure_ascii=False) + ":")
        parts.append(
            f"{name} || CASE typeof({value}) WHEN 'null' THEN 'null' "
            f"WHEN 'text' THEN '\"' || {quoted} || '\"' "
            f"WHEN 'blob' THEN '{{\"blob\":\"' || hex({value}) || '\"}}' "
            f"ELSE quote({value}) END"
        )
    return "'{' || " + " || ',' || ".join(parts) + " || '}'"
