"""Which schemas fit their tables, and what polls have to look at for those that do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from flusso_core.errors import ConfigError, SourceFatal
from flusso_core.model import UnfitIndex
from flusso_core.schema.model import IndexSchema
from flusso_source_polling.catalogue import reflect, table_names
from flusso_source_polling.dialects import Dialect
from flusso_source_polling.indexes import watches
from flusso_source_polling.picture import Watch


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


def look(connection: Connection, dialect: Dialect, schemas: Sequence[IndexSchema]) -> Fitness:
    """Try every schema on the tables as they are now. Blocks."""
    tables = reflect(connection, dialect, table_names(schemas))
    fitting: list[IndexSchema] = []
    unfit: list[UnfitIndex] = []
    for schema in schemas:
        try:
            watches((schema,), tables, dialect)
        except (SourceFatal, ConfigError) as error:
            unfit.append(UnfitIndex(schema.index, str(error)))
        else:
            fitting.append(schema)
    return Fitness(tuple(fitting), tuple(watches(fitting, tables, dialect)), tuple(unfit))
