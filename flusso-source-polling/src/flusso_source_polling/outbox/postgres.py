"""Triggers of Postgres: one function for each table, one trigger for its rows, one for TRUNCATE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Uuid, literal_column

from flusso_core.model import TableName
from flusso_source_polling.dialects.postgres import PostgresDialect
from flusso_source_polling.outbox.model import (
    Caveat,
    Installed,
    Logged,
    OutboxDialect,
    Trigger,
    Wanted,
)

_QUOTING = PostgresDialect.quoting

# The clock in microseconds, then 62 random bits: ids grow with time. No sequence: its `nextval`
# would be what `lastval()` then tells the application, which asks for its own row's number. And
# no WAL location: some managed servers refuse to tell it, and every write would fail.
_ID = """(
    lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000000)::bigint), 16, '0')
    || right(gen_random_uuid()::text, 17)
  )::uuid"""

_CREATE = """\
CREATE TABLE IF NOT EXISTS {log} (
  id uuid PRIMARY KEY DEFAULT {id},
  table_schema text, table_name text, operation text, old_row text, new_row text
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000)"""

# What a value is spelled like depends on the session's settings, and what a name means on its
# search_path: both are the application's, so the function has its own. SECURITY DEFINER: who
# writes to the table needs no privilege on the log.
_FUNCTION = """\
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC'
SET DateStyle = 'ISO'
SET standard_conforming_strings = on
AS {body}"""

# The inner block only reads, so that it costs no transaction id. Where a column was dropped or
# renamed since, what is left is logged, and the statement that fired the trigger does not fail.
_BODY = """
DECLARE
  old_values text;
  new_values text;
BEGIN
  BEGIN
    IF TG_OP IN ('UPDATE', 'DELETE') THEN
      old_values := json_object(ARRAY[{names}], ARRAY[{old}]);
    END IF;
    IF TG_OP IN ('INSERT', 'UPDATE') THEN
      new_values := json_object(ARRAY[{names}], ARRAY[{new}]);
    END IF;
  EXCEPTION WHEN OTHERS THEN
    IF TG_OP IN ('UPDATE', 'DELETE') THEN
      old_values := (SELECT json_object_agg(name, to_jsonb(OLD) ->> name)
                     FROM unnest(ARRAY[{names}]) AS name WHERE to_jsonb(OLD) ? name);
    END IF;
    IF TG_OP IN ('INSERT', 'UPDATE') THEN
      new_values := (SELECT json_object_agg(name, to_jsonb(NEW) ->> name)
                     FROM unnest(ARRAY[{names}]) AS name WHERE to_jsonb(NEW) ? name);
    END IF;
  END;
  INSERT INTO {log} (table_schema, table_name, operation, old_row, new_row)
  VALUES ({schema}, {table}, lower(TG_OP), old_values, new_values);
  RETURN NULL;
END
"""

# pg_trigger.tgtype (src/include/catalog/pg_trigger.h): ROW 1, INSERT 4, DELETE 8, UPDATE 16,
# TRUNCATE 32. A trigger on a partition is a copy of its parent's, and goes with it.
_INSTALLED = """
SELECT s.nspname, c.relname, t.tgname, t.oid::text,
       t.tgtype || t.tgenabled::text || p.prosecdef || p.prosrc
FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_namespace s ON s.oid = c.relnamespace
JOIN pg_proc p ON p.oid = t.tgfoid
JOIN pg_namespace f ON f.oid = p.pronamespace
WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND f.nspname = %s
"""

_CATALOGUE = """
SELECT c.relkind = 'p', EXISTS (SELECT FROM pg_subscription_rel r WHERE r.srrelid = c.oid)
FROM pg_class c WHERE c.oid = %s::regclass
"""


class PostgresOutbox(OutboxDialect):
    """Any number of writers: an entry can commit long after one with a higher id.

    Ids are read as texts, so that they are written down as they are compared. A statement trigger
    sees a TRUNCATE.
    """

    dialect = PostgresDialect()
    # Connections only read, as they are set up. Who waits for a table's lock makes everybody wait
    # who comes later, so nothing waits for long.
    writing = (
        "SET TRANSACTION READ WRITE",
        "SET LOCAL lock_timeout = '2s'",
        "SET LOCAL standard_conforming_strings = on",
    )
    id_type = Uuid(as_uuid=False)
    sees_truncate = True

    def read_id(self, text: str) -> str:
        """The text itself: all are of one length, in lower case."""
        return text

    def create(self) -> tuple[str, ...]:
        """Make the log, if it is not there."""
        log, reader = self.dialect.quoted(self.name), self.dialect.quoted(self.reader_name)
        index = _QUOTING.name(f"{self.name.name}_truncates")
        comment = "Written by triggers of flusso. To remove it with them: flusso teardown"
        return (
            _CREATE.format(log=log, id=_ID),
            f"CREATE INDEX IF NOT EXISTS {index} ON {log} (id) WHERE operation = 'truncate'",
            f"COMMENT ON TABLE {log} IS {_QUOTING.text(comment)}",
            f"CREATE TABLE IF NOT EXISTS {reader} (stream text)",
        )

    def wanted(self, connection: Connection, logged: Logged) -> Wanted:
        """The triggers that a table should have.

        Making one waits for every transaction that has written to the table and goes on, and
        keeps out others meanwhile: what commits later is in the log.
        """
        table = self.dialect.quoted(logged.name)
        function, body = self._function(logged.name), self._body(logged)
        statements = [
            _FUNCTION.format(function=function, body=_QUOTING.text(body)),
            f"REVOKE ALL ON FUNCTION {function}() FROM PUBLIC",
        ]
        triggers: dict[str, str] = {}
        for what, kind, events in (
            ("row", 29, f"AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW"),
            ("truncate", 32, f"AFTER TRUNCATE ON {table} FOR EACH STATEMENT"),
        ):
            name = self.trigger(logged.name, what)
            statements.append(
                f"CREATE OR REPLACE TRIGGER {_QUOTING.name(name)} {events} "
                f"EXECUTE FUNCTION {function}()"
            )
            triggers[name] = f"{kind}Otrue{body}"
        return Wanted(logged, triggers, tuple(statements))

    def installed(self, connection: Connection) -> Installed:
        """Every trigger of this outbox, with its function's body. One that also fires where
        replication writes (ENABLE ALWAYS) is as good as one that does not.
        """
        found: dict[TableName, dict[str, Trigger]] = {}
        for schema, table, name, made, definition in connection.exec_driver_sql(
            _INSTALLED, (self.name.schema,)
        ):
            if self.made(name):
                kind, enabled, rest = definition[:2], definition[2], definition[3:]
                enabled = "O" if enabled == "A" else enabled
                trigger = Trigger(f"{kind}{enabled}{rest}", made)
                found.setdefault(TableName(schema, table), {})[name] = trigger
        return found

    def remove(self, table: TableName, triggers: Sequence[str]) -> tuple[str, ...]:
        """Remove these triggers. With the function that they call, which is flusso's own: to drop
        a trigger by itself, one has to own the table.
        """
        functions = sorted({f"{name.rpartition('_')[0]}_log" for name in triggers})
        schema = self.name.schema
        return tuple(
            f"DROP FUNCTION IF EXISTS {_QUOTING.name(schema, name)}() CASCADE" for name in functions
        )

    def caveats(self, connection: Connection, logged: Logged) -> Sequence[Caveat]:
        """Partitions, and what a subscription of the server writes."""
        table = self.dialect.quoted(logged.name)
        partitioned, subscribed = connection.exec_driver_sql(_CATALOGUE, (table,)).one()
        found: list[Caveat] = []
        if partitioned:
            found.append(
                Caveat(
                    "attaching or detaching a partition with rows in it, and TRUNCATE of one "
                    "partition, fire no trigger",
                    "fill the indexes anew afterwards: flusso reindex",
                )
            )
        if subscribed:
            trigger = _QUOTING.name(self.trigger(logged.name, "row"))
            found.append(
                Caveat(
                    "a subscription writes to it, and what it writes fires no trigger",
                    f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}",
                )
            )
        return found

    def _function(self, table: TableName) -> str:
        return _QUOTING.name(self.name.schema, self.trigger(table, "log"))

    def _body(self, logged: Logged) -> str:
        return _BODY.format(
            names=", ".join(_QUOTING.text(one) for one in logged.columns),
            old=self._row(logged, "OLD"),
            new=self._row(logged, "NEW"),
            log=self.dialect.quoted(self.name),
            schema=_QUOTING.text(logged.name.schema),
            table=_QUOTING.text(logged.name.name),
        )

    def _row(self, logged: Logged, row: str) -> str:
        """The columns' texts, as polls that compare tables read them."""
        found: list[str] = []
        for name in logged.columns:
            column: ColumnElement[Any] = literal_column(f"{row}.{_QUOTING.name(name)}")
            found.append(_QUOTING.expression(self.dialect.key(column, logged.table.column(name))))
        return ", ".join(found)
