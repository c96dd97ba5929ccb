"""The shape of a database, for a first schema: tables, types, keys and what points where."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import LiteralString

import psycopg

from flusso_core.catalogue import CatalogueColumn, CatalogueForeignKey, CatalogueTable
from flusso_core.model import FieldType, TableName
from flusso_source_postgres.catalogue import Column, Table, read_tables
from flusso_source_postgres.connection import Connection, connect, source_error
from flusso_source_postgres.options import PostgresOptions

_FIELD_TYPES: Mapping[str, FieldType] = {
    "smallint": FieldType.SHORT,
    "integer": FieldType.INTEGER,
    "bigint": FieldType.LONG,
    "oid": FieldType.LONG,
    "real": FieldType.FLOAT,
    "double precision": FieldType.DOUBLE,
    "numeric": FieldType.DECIMAL,
    "money": FieldType.DECIMAL,
    "boolean": FieldType.BOOLEAN,
    "date": FieldType.DATE,
    "timestamp without time zone": FieldType.TIMESTAMP,
    "timestamp with time zone": FieldType.TIMESTAMP,
    "time without time zone": FieldType.TIMESTAMP,
    "time with time zone": FieldType.TIMESTAMP,
    "bytea": FieldType.BINARY,
    "json": FieldType.JSON,
    "jsonb": FieldType.JSON,
    "uuid": FieldType.UUID,
    "text": FieldType.TEXT,
    "character varying": FieldType.TEXT,
    "character": FieldType.KEYWORD,
    '"char"': FieldType.KEYWORD,
    "name": FieldType.KEYWORD,
    "inet": FieldType.KEYWORD,
    "cidr": FieldType.KEYWORD,
    "macaddr": FieldType.KEYWORD,
    "macaddr8": FieldType.KEYWORD,
    "interval": FieldType.KEYWORD,
}
"""The field type that takes every value of a column type."""

# Partitions are rows of their table; what an extension brought is not the application's.
_NAMES: LiteralString = """
SELECT n.nspname, c.relname
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_toast%'
  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
  AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
  AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_depend d
    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
      AND d.deptype = 'e')
ORDER BY n.nspname, c.relname
"""

_FOREIGN_KEYS: LiteralString = """
SELECT k.conrelid, fn.nspname, f.relname,
       array_agg(a.attname::text ORDER BY key.place),
       array_agg(fa.attname::text ORDER BY key.place)
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class f ON f.oid = k.confrelid
JOIN pg_catalog.pg_namespace fn ON fn.oid = f.relnamespace
CROSS JOIN LATERAL unnest(k.conkey, k.confkey) WITH ORDINALITY AS key (own, far, place)
JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = key.own
JOIN pg_catalog.pg_attribute fa ON fa.attrelid = k.confrelid AND fa.attnum = key.far
WHERE k.contype = 'f' AND k.conrelid = ANY(%s::oid[]) AND NOT f.relispartition
GROUP BY k.oid, k.conrelid, k.conname, fn.nspname, f.relname
ORDER BY k.conrelid, k.conname
"""

_VARIANTS: LiteralString = """
SELECT e.enumtypid, array_agg(e.enumlabel::text ORDER BY e.enumsortorder)
FROM pg_catalog.pg_enum e WHERE e.enumtypid = ANY(%s::oid[]) GROUP BY e.enumtypid
"""


async def introspect(options: PostgresOptions) -> Sequence[CatalogueTable]:
    """Every table that the role may read, as `flusso init` wants it. Changes nothing.

    Raises:
        SourceUnavailable: the server is not there.
        SourceFatal: it refuses.
        ConfigError: there is no connection, or it is malformed.
    """
    target = options.target(os.environ)
    async with await connect(target, application_name="flusso init") as connection:
        try:
            return await _read(connection)
        except psycopg.Error as error:
            raise source_error(error, "read the catalogue") from error


async def _read(connection: Connection) -> Sequence[CatalogueTable]:
    names = [
        TableName(*row) for row in await (await connection.execute(_NAMES)).fetchall()
    ]  # fmt: skip
    tables = list((await read_tables(connection, names)).values())
    keys: dict[int, list[CatalogueForeignKey]] = {}
    cursor = await connection.execute(_FOREIGN_KEYS, [[table.oid for table in tables]])
    for oid, schema, name, own, far in await cursor.fetchall():
        key = CatalogueForeignKey(tuple(own), TableName(schema, name), tuple(far))
        keys.setdefault(oid, []).append(key)
    enums = {
        column.base_oid for table in tables for column in table.columns if column.type_kind == "e"
    }
    cursor = await connection.execute(_VARIANTS, [list(enums)])
    variants = {oid: tuple(labels) for oid, labels in await cursor.fetchall()}
    return [_table(table, keys.get(table.oid, []), variants) for table in tables]


def _table(
    table: Table, keys: Sequence[CatalogueForeignKey], variants: Mapping[int, tuple[str, ...]]
) -> CatalogueTable:
    return CatalogueTable(
        name=table.name,
        columns=tuple(
            CatalogueColumn(
                name=column.name,
                source_type=column.type_name,
                type=_field_type(column),
                required=column.not_null,
                variants=variants.get(column.base_oid, ()),
            )
            for column in table.columns
        ),
        primary_key=table.primary_key,
        unique=tuple(index.columns for index in table.indexes if not index.primary),
        foreign_keys=tuple(keys),
    )


def _field_type(column: Column) -> FieldType | None:
    if column.type_kind == "e":
        return FieldType.ENUM
    if column.type_kind in ("r", "m"):
        return FieldType.KEYWORD
    element = column.base_type.removesuffix("[]")
    if column.base_type.endswith(".citext"):
        return FieldType.TEXT
    return _FIELD_TYPES.get(element)
