"""What concerns one index alone: a schema and tables that do not fit each other."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from flusso_core.errors import SchemaMismatch
from flusso_core.schema.model import IndexSchema
from flusso_source_postgres.connection import StatementRefused


def mismatch(schema: IndexSchema, what: str) -> SchemaMismatch:
    """The error that stops an index, naming its schema file."""
    return SchemaMismatch(schema.index, f"{schema.origin}: {what}" if schema.origin else what)


@contextmanager
def reading(schema: IndexSchema) -> Generator[None, None, None]:
    """Take a statement that the server refuses for a mismatch of the index that it reads.

    Raises:
        SchemaMismatch: a column or table is gone or has another type, or a value of it fails.
    """
    try:
        yield
    except StatementRefused as error:
        raise mismatch(schema, str(error)) from error
