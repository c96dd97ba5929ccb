"""Which schemas fit their tables, and what polls have to look at for those that do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from flusso_core.errors import ConfigError, SourceFatal
from flusso_core.model import TableName, UnfitIndex
from flusso_core.schema.model import IndexSchema
from flusso_source_polling.catalogue import Tables, reflect, table_names
from flusso_source_polling.cursors import cursor_of
from flusso_source_polling.dialects import Dialect
from flusso_source_polling.indexes import watches
from flusso_source_polling.options import TableOptions
from flusso_source_polling.picture import Watch
from flusso_source_polling.witness import witness_of


@dataclass(frozen=True, slots=True)
class Fitness:
    """What became of a look at the catalogue.

    Attributes:
        fitting: the schemas that fit.
        watches: what they need of their tables, and nothing of what only the others need.
        unfit: the indexes of the others.
    """

    fitting: tuple[IndexSchema, ...]
    watches: tuple[Watch, ...]
    unfit: tuple[UnfitIndex, ...]


def look(
    connection: Connection,
    dialect: Dialect,
    schemas: Sequence[IndexSchema],
    options: Mapping[TableName, TableOptions],
) -> Fitness:
    """Try every schema, and the cursors of what it reads, on the tables as they are now. Blocks.

    Raises:
        ConfigError: the database has no such cursor, whatever its tables are like.
    """
    tables = reflect(connection, dialect, table_names(schemas))
    fitting: list[IndexSchema] = []
    unfit: list[UnfitIndex] = []
    for schema in schemas:
        reason = _misfit(schema, tables, dialect, options)
        if reason is None:
            fitting.append(schema)
        else:
            unfit.append(UnfitIndex(schema.index, reason))
    return Fitness(tuple(fitting), tuple(watches(fitting, tables, dialect)), tuple(unfit))


def _misfit(
    schema: IndexSchema,
    tables: Tables,
    dialect: Dialect,
    options: Mapping[TableName, TableOptions],
) -> str | None:
    """Why a schema does not fit; `None`: it does."""
    try:
        needed = watches((schema,), tables, dialect)
    except (SourceFatal, ConfigError) as error:
        return str(error)
    witness = witness_of(dialect)
    try:
        for watch in needed:
            given = options.get(watch.table.name)
            if given is not None and given.cursor is not None:
                cursor_of(watch.table, given.cursor, dialect, witness)
    except SourceFatal as error:
        return f"[source.tables] {error}"
    return None
