"""Whether the columns' types fit the fields that are read from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import errors

from flusso_core.model import FieldType, Finding, Severity
from flusso_core.schema import locate
from flusso_core.schema.model import (
    Field,
    GeoField,
    IndexSchema,
    JoinField,
    MapField,
    ObjectField,
    ScalarField,
)
from flusso_source_postgres.catalogue import Column, Table
from flusso_source_postgres.connection import Connection, source_error
from flusso_source_postgres.sql.compiled import CompiledIndex

_FITTING: dict[FieldType, tuple[str, ...]] = {
    FieldType.SHORT: ("smallint",),
    FieldType.INTEGER: ("integer", "smallint"),
    FieldType.LONG: ("bigint", "integer", "smallint", "oid"),
    FieldType.FLOAT: ("real", "double precision", "numeric", "smallint", "integer"),
    FieldType.DOUBLE: ("double precision", "real", "numeric", "smallint", "integer", "bigint"),
    FieldType.DECIMAL: (
        *("numeric", "money", "smallint", "integer", "bigint"),
        *("real", "double precision"),
    ),
    FieldType.BOOLEAN: ("boolean",),
    FieldType.DATE: ("date", "timestamp without time zone", "timestamp with time zone"),
    FieldType.TIMESTAMP: (
        *("timestamp with time zone", "timestamp without time zone", "date"),
        *("time without time zone", "time with time zone"),
    ),
    FieldType.BINARY: ("bytea",),
    FieldType.JSON: ("json", "jsonb"),
    FieldType.MAP: ("json", "jsonb"),
}
"""Column types whose every value the mapping of a field type takes. Text types take anything."""

_LABELS: LiteralString = """
SELECT enumtypid, array_agg(enumlabel::text ORDER BY enumsortorder)
FROM pg_catalog.pg_enum WHERE enumtypid = ANY(%s::oid[]) GROUP BY enumtypid
"""

_NAMED: LiteralString = "SELECT pg_catalog.to_regtype(%s)::oid"


@dataclass(frozen=True, slots=True)
class _Read:
    """A field that is read from a column."""

    name: str
    type: FieldType
    column: Column
    table: Table
    variants: tuple[str, ...] = ()
    types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Types:
    """What the catalogue says of types.

    Attributes:
        labels: of each enum type, by its oid.
        named: the oid of each type that a `custom` field names, `None` where there is none.
    """

    labels: Mapping[int, Sequence[str]]
    named: Mapping[str, int | None]


def subject(schema: IndexSchema) -> str:
    """An index in a finding."""
    return f"index {schema.index!r}" + (f" ({schema.origin})" if schema.origin else "")


async def unfitting(connection: Connection, compiled: CompiledIndex) -> list[Finding]:
    """Warn of columns some of whose values their fields cannot take.

    Raises:
        SourceUnavailable: the connection was lost.
    """
    root = compiled.tables[compiled.schema.table]
    fields = list(_read(compiled.schema.fields, root, compiled))
    types = await _types(connection, fields)
    about = subject(compiled.schema)
    return [
        Finding(Severity.WARNING, about, message, cure)
        for one in fields
        for message, cure in _faults(one, types, compiled.schema)
    ]


def _faults(one: _Read, types: _Types, schema: IndexSchema) -> Iterator[tuple[str, str]]:
    where = locate(schema, one.table.name, one.column.name)
    field = f"field {one.name!r} ({where})"
    column = f"column {one.column.name!r} of {one.table.name}"
    if not _fits(one, types):
        message = (
            f"{field} is of type {one.type}, and {column} is {one.column.type_name}: "
            "values that do not fit are refused or not searchable"
        )
        custom = one.type is FieldType.CUSTOM
        named = f"name {one.column.type_name} in `postgres`"
        yield message, named if custom else "change the field's type, or use `custom`"
    labels = types.labels.get(one.column.base_oid, ())
    if one.variants and (unranked := [label for label in labels if label not in one.variants]):
        message = (
            f"{field}: {column} may hold {', '.join(map(repr, unranked))}, which "
            "`variants` does not rank"
        )
        yield message, "add it to `variants`, in its place"


def _fits(one: _Read, types: _Types) -> bool:
    if one.type is FieldType.CUSTOM:
        oids = {types.named.get(name) for name in one.types}
        # A type of an extension may be named without its schema.
        bare = one.column.base_type.rpartition(".")[2]
        return bare in one.types or bool(oids & {one.column.type_oid, one.column.base_oid})
    fitting = _FITTING.get(one.type)
    base = one.column.base_type.removesuffix("[]")
    return fitting is None or base in fitting or base.endswith(".hstore")


def _read(fields: Sequence[Field], table: Table, compiled: CompiledIndex) -> Iterator[_Read]:
    for field in fields:
        match field:
            case ScalarField():
                if (column := table.column(field.column)) is not None:
                    types = field.postgres_types
                    yield _Read(field.name, field.type, column, table, field.variants, types)
            case MapField():
                if (column := table.column(field.column)) is not None:
                    yield _Read(field.name, FieldType.MAP, column, table)
            case GeoField(lat=str(lat), lon=str(lon)):
                for name in (lat, lon):
                    if (column := table.column(name)) is not None:
                        yield _Read(field.name, FieldType.DECIMAL, column, table)
            case ObjectField():
                yield from _read(field.fields, table, compiled)
            case JoinField():
                yield from _read(field.fields, compiled.tables[field.table], compiled)
            case _:
                pass


async def _types(connection: Connection, fields: Sequence[_Read]) -> _Types:
    ranked = [one.column.base_oid for one in fields if one.variants]
    names = {name for one in fields for name in one.types}
    try:
        cursor = await connection.execute(_LABELS, [ranked])
        labels: dict[int, list[str]] = dict(await cursor.fetchall())
        return _Types(labels, {name: await _named(connection, name) for name in names})
    except psycopg.Error as error:
        raise source_error(error, "read the catalogue") from error


async def _named(connection: Connection, name: str) -> int | None:
    try:
        row = await (await connection.execute(_NAMED, [name])).fetchone()
    except errors.SyntaxError:
        return None
    return None if row is None else row[0]
