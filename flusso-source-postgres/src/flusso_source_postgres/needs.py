"""What the schemas need of the tables that they name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flusso_core.errors import ConfigError
from flusso_core.model import TableName, UnfitIndex
from flusso_core.schema import complete_keys, locate, routing_columns
from flusso_core.schema.model import IndexSchema
from flusso_source_postgres.catalogue import Table
from flusso_source_postgres.sql.compiled import table_names


@dataclass(frozen=True, slots=True)
class Need:
    """What the schemas need of a table's changes.

    Attributes:
        columns: the routing columns.
        origins: the lines of the schema files, or the indexes, that name the table.
    """

    table: TableName
    columns: frozenset[str]
    origins: tuple[str, ...] = ()


def read_needs(
    schemas: Sequence[IndexSchema], tables: Mapping[TableName, Table]
) -> tuple[tuple[Need, ...], tuple[UnfitIndex, ...]]:
    """What the schemas need of each table, and the indexes whose keys cannot be told.

    A table that is not there needs to exist, at least.
    """
    columns: dict[TableName, frozenset[str]] = {}
    origins: dict[TableName, list[str]] = {}
    keyless: list[UnfitIndex] = []
    for schema in schemas:
        names = table_names(schema)
        for name in names:
            columns.setdefault(name, frozenset())
            origins.setdefault(name, []).append(locate(schema, name))
        if not names <= tables.keys():
            continue
        try:
            complete = complete_keys(schema, lambda name: tables[name].primary_key)
        except ConfigError as error:
            keyless.append(UnfitIndex(schema.index, str(error)))
            continue
        for name, needed in routing_columns((complete,)).items():
            columns[name] |= needed
    needs = tuple(
        Need(name, columns[name], tuple(dict.fromkeys(origins[name]))) for name in sorted(columns)
    )
    return needs, tuple(keyless)
