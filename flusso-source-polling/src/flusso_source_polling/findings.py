"""What stands in the way of following a database, found without changing anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flusso_core.errors import ConfigError, SourceFatal, SourceUnavailable
from flusso_core.model import Finding, KeyRange, Severity, TableName
from flusso_core.schema.model import IndexSchema
from flusso_source_polling.assembly import Assembly
from flusso_source_polling.catalogue import reflect, table_names
from flusso_source_polling.database import Database
from flusso_source_polling.fitness import look
from flusso_source_polling.indexes import compile_index
from flusso_source_polling.options import PollingOptions
from flusso_source_polling.promises import promises


def find(database: Database, schemas: Sequence[IndexSchema]) -> list[Finding]:
    """Everything that keeps documents of the schemas from being built. Blocks."""
    found: list[Finding] = []
    for schema in schemas:
        found += _schema(database, schema)
    return list(dict.fromkeys(found))


def find_obstacle(database: Database, tables: Sequence[TableName]) -> list[Finding]:
    """What keeps a snapshot of these tables from being held. Blocks."""
    with database.connect() as connection, database.errors("look at the database"):
        obstacle = database.dialect.obstacle(connection, tables)
    if obstacle is None:
        return []
    return [Finding(Severity.ERROR, f"database {database.name}", *obstacle)]


def look_over(
    database: Database, schemas: Sequence[IndexSchema], options: PollingOptions
) -> list[Finding]:
    """What keeps the database from being polled, and what polls will see of each table. Blocks.

    A table that is missing is the builder's to tell. Of an index that does not fit, only that is
    said.
    """
    with database.connect() as connection, database.errors("read the catalogue"):
        names = table_names(schemas)
        there = reflect(connection, database.dialect, names).keys()
        whole = [schema for schema in schemas if there >= {*table_names([schema])}]
        try:
            fitness = look(connection, database.dialect, whole, options.by_table(names))
        except ConfigError as error:
            return [Finding(Severity.ERROR, f"database {database.name}", str(error))]
        reasons = {one.index: one.reason for one in fitness.unfit}
        found = [
            Finding(Severity.ERROR, _subject(schema), reasons[schema.index])
            for schema in whole
            if schema.index in reasons
        ]
        if not fitness.fitting:
            return [*found, *find_obstacle(database, names)]
        try:
            assembly = Assembly(fitness.watches, options, database, names)
        except (SourceFatal, ConfigError) as error:
            return [*found, Finding(Severity.ERROR, f"database {database.name}", str(error))]
        if assembly.holds_snapshot:
            found += find_obstacle(database, names)
        for followed in assembly.followed():
            found += promises(database.dialect, followed)
        found += assembly.check()
    return found


def _schema(database: Database, schema: IndexSchema) -> Iterator[Finding]:
    subject = _subject(schema)
    try:
        with database.connect() as connection, database.errors("read the catalogue"):
            tables = reflect(connection, database.dialect, table_names([schema]))
            missing = [name for name in table_names([schema]) if name not in tables]
            for name in missing:
                yield Finding(
                    Severity.ERROR,
                    subject,
                    f"table {name} does not exist",
                    "create it, or correct the schema file",
                )
            if not missing:
                # A page that reads nothing still tries every statement down to the first row.
                index = compile_index(schema, tables, database.dialect)
                index.page(connection, KeyRange(), None, 1)
    except SourceUnavailable:
        raise
    except (SourceFatal, ConfigError) as error:
        yield Finding(Severity.ERROR, subject, str(error))


def _subject(schema: IndexSchema) -> str:
    return f"index {schema.index!r}" + (f" ({schema.origin})" if schema.origin else "")
