"""What the schemas ask for that the database does not have, found without changing anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import LiteralString

import psycopg

from flusso_core.errors import SchemaMismatch, SourceFatal, SourceUnavailable
from flusso_core.model import Finding, Severity, TableName
from flusso_core.schema import locate
from flusso_core.schema.model import (
    AggregateField,
    Field,
    Filter,
    IndexSchema,
    JoinField,
    ObjectField,
    RawFilter,
)
from flusso_source_postgres.catalogue import RelationKind, Table, read_tables
from flusso_source_postgres.connection import Connection, source_error
from flusso_source_postgres.fitting import subject, unfitting
from flusso_source_postgres.mismatch import mismatch
from flusso_source_postgres.purity import impurity
from flusso_source_postgres.sql.compiled import CompiledIndex, compile_index, table_names
from flusso_source_postgres.sql.rows import Tables
from flusso_source_postgres.sql.text import identifier, table_name
from flusso_source_postgres.statements import run

_LEADING: LiteralString = """
SELECT i.indrelid, a.attname
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indrelid = ANY(%s::oid[]) AND i.indisvalid AND i.indpred IS NULL
"""


async def find(connection: Connection, schemas: Sequence[IndexSchema]) -> list[Finding]:
    """Everything that stands in the way of building the schemas' documents, or makes it slow."""
    names = {name for schema in schemas for name in table_names(schema)}
    role = connection.info.user
    tables = await read_tables(connection, names)
    found = [
        Finding(
            Severity.ERROR,
            f"table {name}",
            f"does not exist{_named(name, schemas)}",
            "create it, or correct the schema file",
        )
        for name in sorted(names - tables.keys())
    ]
    found += [one for name in sorted(tables) for one in _unreadable(tables[name], role, schemas)]
    compiled: list[CompiledIndex] = []
    for schema in schemas:
        try:
            compiled.append(compile_index(schema, tables))
        except SchemaMismatch as error:
            if table_names(schema) <= tables.keys():  # else it is said above
                found.append(Finding(Severity.ERROR, subject(schema), error.reason))
    for one in compiled:
        found += await _statements(connection, one)
        found += await _impure(connection, one)
        found += await unfitting(connection, one)
        found += _key(one)
    return [*dict.fromkeys(found), *await _indexes(connection, compiled, tables)]


async def require(connection: Connection, compiled: CompiledIndex) -> None:
    """Make sure that the index's documents can be read.

    Raises:
        SourceFatal: the role may not read all of them; the message has the cure.
        SchemaMismatch: the statements that read them do not run.
    """
    for name in sorted(table_names(compiled.schema)):
        for finding in _unreadable(compiled.tables[name], connection.info.user, [compiled.schema]):
            cure = f"; {finding.cure}" if finding.cure else ""
            raise SourceFatal(f"{finding.subject} {finding.message}{cure}")
    for finding in await _statements(connection, compiled):
        raise mismatch(compiled.schema, finding.message)


def _named(table: TableName, schemas: Sequence[IndexSchema]) -> str:
    """Where the schemas name a table."""
    places = [locate(schema, table) for schema in schemas if table in table_names(schema)]
    return f" (named by {', '.join(places)})"


def _unreadable(table: Table, role: str, schemas: Sequence[IndexSchema]) -> Iterator[Finding]:
    """What keeps the role from reading a table; worded as the capture words it (`coverage`), so
    that a check says it once.
    """
    about, named = f"table {table.name}", _named(table.name, schemas)
    if not table.readable:
        quoted = table_name(table.name)
        schema, grantee = identifier(table.name.schema), identifier(role)
        yield Finding(
            Severity.ERROR,
            about,
            f"may not be read by role {role}{named}",
            f"GRANT USAGE ON SCHEMA {schema} TO {grantee}; GRANT SELECT ON {quoted} TO {grantee}",
        )
    elif table.hidden_rows:
        yield Finding(
            Severity.ERROR,
            about,
            f"hides rows from role {role} by a row security policy{named}",
            f"ALTER ROLE {identifier(role)} BYPASSRLS",
        )


async def _statements(connection: Connection, compiled: CompiledIndex) -> list[Finding]:
    """Try the statement that builds documents, and each raw filter on its own."""
    found: list[Finding] = []
    for table, raw in _raw_filters(compiled.schema):
        statement = f"SELECT FROM {table_name(table)} WHERE ({raw.sql}\n) LIMIT 0"
        if (error := await _try(connection, statement, [])) is not None:
            message = f"raw filter on {table}: {error}"
            found.append(Finding(Severity.ERROR, subject(compiled.schema), message))
    if found or any(not compiled.tables[name].readable for name in table_names(compiled.schema)):
        return found
    empty: list[list[str]] = [[] for _ in range(compiled.key_size)]
    if (error := await _try(connection, compiled.build, empty)) is not None:
        found.append(Finding(Severity.ERROR, subject(compiled.schema), error))
    return found


async def _impure(connection: Connection, compiled: CompiledIndex) -> list[Finding]:
    """Name the raw filters whose outcome may change without a change of their row."""
    return [
        Finding(
            Severity.WARNING,
            subject(compiled.schema),
            f"raw filter {raw.sql!r} on {table} {reason}: a document is right only as of the last "
            "change of a row in it, because what the filter depends on is not followed",
            "filter by the row's own columns and immutable functions, or set sweep_interval",
        )
        for table, raw in _raw_filters(compiled.schema)
        if (reason := await impurity(connection, compiled.tables[table], raw.sql)) is not None
    ]


async def _try(
    connection: Connection, statement: str, parameters: Sequence[Sequence[str]]
) -> str | None:
    try:
        await run(connection, statement, parameters)
    except psycopg.Error as error:
        mapped = source_error(error, "check the schemas")
        if isinstance(mapped, SourceUnavailable):
            raise mapped from error
        return " ".join(str(error).split())
    return None


def _raw_filters(schema: IndexSchema) -> Iterator[tuple[TableName, RawFilter]]:
    when: tuple[Filter, ...] = () if schema.soft_delete is None else schema.soft_delete.when
    both = (*schema.filters, *when)
    yield from ((schema.table, one) for one in both if isinstance(one, RawFilter))
    yield from _raw_below(schema.fields)


def _raw_below(fields: Sequence[Field]) -> Iterator[tuple[TableName, RawFilter]]:
    for field in fields:
        if isinstance(field, JoinField | AggregateField):
            yield from ((field.table, one) for one in field.filters if isinstance(one, RawFilter))
        if isinstance(field, JoinField | ObjectField):
            yield from _raw_below(field.fields)


def _key(compiled: CompiledIndex) -> Iterator[Finding]:
    root = compiled.tables[compiled.schema.table]
    key = set(compiled.schema.primary_key or ())
    if not any(index.not_null and key.issuperset(index.columns) for index in root.indexes):
        columns = ", ".join(identifier(one) for one in compiled.schema.primary_key or ())
        yield Finding(
            Severity.ERROR,
            subject(compiled.schema),
            f"nothing makes the key ({columns}) of {root.name} unique and not null",
            f"ALTER TABLE {table_name(root.name)} ADD PRIMARY KEY ({columns})",
        )


async def _indexes(
    connection: Connection, compiled: Sequence[CompiledIndex], tables: Tables
) -> list[Finding]:
    cursor = await connection.execute(_LEADING, [[table.oid for table in tables.values()]])
    leading = set(await cursor.fetchall())
    wanted = dict.fromkeys(lookup for one in compiled for lookup in one.lookups)
    return [
        Finding(
            Severity.WARNING,
            f"table {name}",
            f"no index on {column!r}, by which rows are found: each time the whole table is read",
            f"CREATE INDEX {_concurrently(tables[name])}ON {table_name(name)} "
            f"({identifier(column)})",
        )
        for name, column in wanted
        if (tables[name].oid, column) not in leading
    ]


def _concurrently(table: Table) -> str:
    # Postgres takes no CONCURRENTLY there (CREATE INDEX, "Building Indexes Concurrently").
    return "" if table.kind is RelationKind.PARTITIONED else "CONCURRENTLY "
