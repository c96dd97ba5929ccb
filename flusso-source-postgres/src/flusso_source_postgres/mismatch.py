"""What concerns one index alone: a schema and tables that do not fit each other."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from flusso_core.errors import SchemaMismatch, SourceFatal
from flusso_core.model import TableName
from flusso_core.schema import locate
from flusso_core.schema.model import IndexSchema
from flusso_source_postgres.connection import StatementRefused


class Missing(SourceFatal):
    """A table that a schema names is not there, or a column of it."""

    def __init__(self, table: TableName, column: str | None = None) -> None:
        what = f"table {table} does not exist; create it, or correct its name in the schema"
        if column is not None:
            what = f"table {table} has no column {column!r}"
        super().__init__(what)
        self.table = table
        self.column = column


def mismatch(schema: IndexSchema, error: SourceFatal | str) -> SchemaMismatch:
    """The error that stops an index, naming its schema file, and the line of what is missing."""
    where = schema.origin
    if isinstance(error, Missing) and where is not None:
        where = locate(schema, error.table, error.column)
    return SchemaMismatch(schema.index, f"{where}: {error}" if where else str(error))


@contextmanager
def reading(schema: IndexSchema) -> Generator[None, None, None]:
    """Take a statement that the server refuses for a mismatch of the index that it reads.

    Raises:
        SchemaMismatch: a column or table is gone or has another type, or a value of it fails.
    """
    try:
        yield
    except StatementRefused as error:
        raise mismatch(schema, error) from error
