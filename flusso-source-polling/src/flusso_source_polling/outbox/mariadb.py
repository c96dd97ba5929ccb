"""Triggers of MariaDB: one for each kind of change. Cascades and TRUNCATE fire none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, literal_column
from sqlalchemy import types as sql

from flusso_core.model import TableName
from flusso_source_polling.dialects.mariadb import MariaDBDialect
from flusso_source_polling.outbox.model import (
    COLUMNS,
    Caveat,
    Installed,
    Logged,
    OutboxDialect,
    Trigger,
    Wanted,
)

_QUOTING = MariaDBDialect.quoting

_INSTALLED = """
SELECT event_object_schema = database(), event_object_schema, event_object_table, trigger_name,
       coalesce(cast(created AS char), ''), concat(action_timing, ' ', event_manipulation),
       action_statement
FROM information_schema.triggers
"""

_CASCADES = """
SELECT constraint_name FROM information_schema.referential_constraints
WHERE constraint_schema = coalesce(%s, database()) AND table_name = %s
AND (delete_rule IN ('CASCADE', 'SET NULL', 'SET DEFAULT')
     OR update_rule IN ('CASCADE', 'SET NULL', 'SET DEFAULT'))
ORDER BY constraint_name
"""


class MariaDBOutbox(OutboxDialect):
    """Any number of writers: an entry can commit long after one with a higher id.

    Ids are AUTO_INCREMENT; triggers leave the application its own LAST_INSERT_ID. A TRUNCATE
    fires none.
    """

    dialect = MariaDBDialect()
    # Connections only read, as they are set up. Who waits for a table's lock makes everybody wait
    # who comes later, so nothing waits for long. Other isolation levels would lock the gap where
    # an entry is gone already, and where the application inserts. Triggers keep the mode of the
    # session that made them: one in which nothing is an error.
    writing = (
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "SET SESSION TRANSACTION READ WRITE",
        "SET SESSION lock_wait_timeout = 2, SESSION innodb_lock_wait_timeout = 2",
        "SET SESSION sql_mode = ''",
    )

    def create(self) -> tuple[str, ...]:
        """Make the log, if it is not there."""
        columns = "id bigint AUTO_INCREMENT PRIMARY KEY, " + ", ".join(
            f"{name} longtext" for name in COLUMNS
        )
        settings = "ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
        comment = _QUOTING.text("Written by triggers of flusso. To remove it: flusso teardown")
        log, reader = self.dialect.quoted(self.name), self.dialect.quoted(self.reader_name)
        return (
            f"CREATE TABLE IF NOT EXISTS {log} ({columns}) {settings} COMMENT = {comment}",
            f"CREATE TABLE IF NOT EXISTS {reader} (stream longtext) {settings}",
        )

    def wanted(self, connection: Connection, logged: Logged) -> Wanted:
        """The triggers that a table should have.

        Making one waits for every transaction that has used the table and goes on, and keeps out
        others meanwhile: what commits later is in the log.
        """
        log = self._log_from(connection, logged.name)
        old, new = self._row(logged, "OLD"), self._row(logged, "NEW")
        table = self.dialect.quoted(logged.name)
        of = f"{_QUOTING.text(logged.name.schema)}, {_QUOTING.text(logged.name.name)}"
        triggers: dict[str, str] = {}
        statements: list[str] = []
        for what, rows in (
            ("insert", f"NULL, {new}"),
            ("update", f"{old}, {new}"),
            ("delete", f"{old}, NULL"),
        ):
            body = f"INSERT INTO {log} ({', '.join(COLUMNS)}) VALUES ({of}, '{what}', {rows})"
            name = self.trigger(logged.name, what)
            when = f"AFTER {what.upper()}"
            triggers[name] = _shown(f"{when} {body}")
            trigger = self.dialect.quoted(TableName(logged.name.schema, name))
            statements.append(
                f"CREATE OR REPLACE TRIGGER {trigger} {when} ON {table} FOR EACH ROW {body}"
            )
        return Wanted(logged, triggers, tuple(statements))

    def installed(self, connection: Connection) -> Installed:
        """Every trigger of this outbox.

        Triggers of other databases are another outbox's, unless they write to this one.
        """
        found: dict[TableName, dict[str, Trigger]] = {}
        rows = connection.exec_driver_sql(_INSTALLED)
        for here, schema, table, name, made, when, statement in rows:
            of = TableName("public" if here else schema, table)
            log = self._log_from(connection, of)
            if self.made(name) and _shown(statement).startswith(_shown(f"INSERT INTO {log} ")):
                found.setdefault(of, {})[name] = Trigger(_shown(f"{when} {statement}"), made)
        return found

    def caveats(self, connection: Connection, logged: Logged) -> Sequence[Caveat]:
        """What the server does without firing a trigger (manual, "Trigger Limitations"), and what
        it does not look after: a trigger that names a column which is not there fails.
        """
        names = [self.trigger(logged.name, what) for what in ("insert", "update", "delete")]
        columns = ", ".join(logged.columns)
        found = [
            Caveat(
                "TRUNCATE fires no trigger",
                "write DELETE instead, or fill the indexes anew afterwards: flusso reindex",
            ),
            Caveat(
                f"once a column that its triggers name ({columns}) is dropped or renamed, no "
                "row can be written",
                f"before that: {'; '.join(self.remove(logged.name, names))}",
            ),
        ]
        schema = self.dialect.schema(logged.name.schema)
        cascades = connection.exec_driver_sql(_CASCADES, (schema, logged.name.name)).scalars()
        found += [
            Caveat(
                f"what the foreign key {name} deletes or changes in cascade fires no trigger",
                "delete the rows in the application, or follow the table without the outbox",
            )
            for name in cascades
        ]
        return found

    def _row(self, logged: Logged, row: str) -> str:
        """The columns' values, as polls that compare tables read them."""
        parts: list[str] = []
        for name in logged.columns:
            column = logged.table.column(name)
            value: ColumnElement[Any] = literal_column(f"{row}.{_QUOTING.name(name)}")
            if isinstance(column.type, sql.TIMESTAMP):
                value = _in_utc(value)
            parts += [_QUOTING.text(name), _QUOTING.expression(self.dialect.key(value, column))]
        return f"JSON_OBJECT({', '.join(parts)})"

    def _log_from(self, connection: Connection, table: TableName) -> str:
        """The log, as a trigger of that table calls it: triggers of another database have to say
        where it is, and those of its own must not, so that a copy writes to its own log.
        """
        if table.schema == self.name.schema:
            return _QUOTING.name(self.name.name)
        schema = self.dialect.schema(self.name.schema)
        if schema is None:
            schema = str(connection.exec_driver_sql("SELECT database()").scalar_one())
        return _QUOTING.name(schema, self.name.name)


def _shown(statement: str) -> str:
    """A statement as `action_statement` can be compared with it: there, backslashes of texts
    stand alone.
    """
    return statement.replace("\\", "")


def _in_utc(instant: ColumnElement[Any]) -> ColumnElement[Any]:
    """Not in the time zone of the session that fires the trigger."""
    epoch: ColumnElement[Any] = literal_column("timestamp'1970-01-01 00:00:00'")
    return func.timestampadd(literal_column("SECOND"), func.unix_timestamp(instant), epoch)
