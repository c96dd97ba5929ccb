"""Everything that reads one index, compiled once from its schema and the catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from flusso_core.errors import SourceFatal
from flusso_core.model import TableName
from flusso_core.schema.model import AggregateField, Field, IndexSchema, JoinField, ObjectField
from flusso_source_postgres.catalogue import RelationKind
from flusso_source_postgres.mismatch import Missing, mismatch
from flusso_source_postgres.sql.pages import (
    build_statement,
    digests_statement,
    keys_statement,
    missing_statement,
    page_statement,
)
from flusso_source_postgres.sql.resolve import Trigger, lookups, triggers
from flusso_source_postgres.sql.rows import Tables

KEYS_AT_ONCE = 5000
"""Keys that a statement over all keys reads at once."""


@dataclass(frozen=True, slots=True)
class CompiledIndex:
    """The statements of one index.

    Attributes:
        schema: with its primary key completed.
        tables: the catalogue, as it was when this was compiled.
        build: documents by key.
        triggers: which changes touch its documents.
        embedded: tables that it reads besides the root.
    """

    schema: IndexSchema
    tables: Tables
    build: str
    triggers: tuple[Trigger, ...]
    embedded: frozenset[TableName]
    _pages: dict[tuple[bool, bool, int], str] = field(
        default_factory=dict[tuple[bool, bool, int], str]
    )

    @property
    def key_size(self) -> int:
        """How many columns the key has."""
        return len(self.schema.primary_key or ())

    def page(self, *, lower: bool, upper: bool, limit: int) -> str:
        """The statement of a page; see `page_statement`."""
        wanted = (lower, upper, limit)
        if wanted not in self._pages:
            self._pages[wanted] = page_statement(
                self.schema, self.tables, lower=lower, upper=upper, limit=limit
            )
        return self._pages[wanted]

    @property
    def root(self) -> Trigger:
        """The trigger of the root's own rows, which carry the key itself."""
        return Trigger(self.schema.table, self.schema.primary_key or (), None)

    @property
    def lookups(self) -> frozenset[tuple[TableName, str]]:
        """Columns that rows are found by, in documents and on the way up to them."""
        return lookups(self.schema, self.tables)

    @property
    def missing(self) -> str:
        """The statement of keys without a row; see `missing_statement`."""
        return missing_statement(self.schema, self.tables)

    @property
    def digests(self) -> str:
        """The statement of hashed ids that have a row; see `digests_statement`."""
        return digests_statement(self.schema, self.tables)

    def keys(self, *, lower: bool) -> str:
        """The statement of the next keys; see `keys_statement`."""
        return keys_statement(self.schema, self.tables, lower=lower, limit=KEYS_AT_ONCE)


def compile_index(schema: IndexSchema, tables: Tables) -> CompiledIndex:
    """Compile a schema against the catalogue.

    Raises:
        SchemaMismatch: a table or column is missing, or a key that is needed is not there. The
            message names the index, the schema file and the line.
    """
    try:
        for name in table_names(schema):
            if name not in tables:
                raise Missing(name)
        root = tables[schema.table]
        if root.kind not in (RelationKind.TABLE, RelationKind.PARTITIONED):
            raise SourceFatal(f"{schema.table} is not a table: documents start from table rows")
        completed = replace(schema, primary_key=schema.primary_key or root.primary_key)
        return CompiledIndex(
            schema=completed,
            tables=tables,
            build=build_statement(completed, tables),
            triggers=triggers(completed, tables),
            embedded=_embedded(completed.fields),
        )
    except SourceFatal as error:
        raise mismatch(schema, error) from error


def table_names(schema: IndexSchema) -> frozenset[TableName]:
    """Every table that the schema names."""
    return frozenset({schema.table}) | _embedded(schema.fields)


def _embedded(fields: tuple[Field, ...]) -> frozenset[TableName]:
    return frozenset(_walk(fields))


def _walk(fields: tuple[Field, ...]) -> Iterator[TableName]:
    for one in fields:
        match one:
            case ObjectField():
                yield from _walk(one.fields)
            case JoinField() | AggregateField():
                yield one.table
                if one.through is not None:
                    yield one.through.table
                if isinstance(one, JoinField):
                    yield from _walk(one.fields)
            case _:
                pass
