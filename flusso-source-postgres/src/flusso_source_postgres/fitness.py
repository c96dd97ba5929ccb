"""Whether the tables still are what an index's schema was compiled for.

The catalogue is asked, not the stream: documents are built from the tables as they are now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from flusso_core.errors import ConfigError
from flusso_core.model import Finding, TableName, UnfitIndex
from flusso_core.schema import complete_keys, locate, referenced_columns, routing_columns
from flusso_core.schema.model import IndexSchema
from flusso_source_postgres.catalogue import Table
from flusso_source_postgres.coverage import full_identity
from flusso_source_postgres.sql.compiled import table_names
from flusso_source_postgres.sql.text import identifier

Tables = Mapping[TableName, Table]
Faults = Mapping[TableName, Sequence[Finding]]


def unfit_for_faults(schema: IndexSchema, faults: Faults) -> UnfitIndex | None:
    """The index as unfit, if changes of a table that it names cannot be followed."""
    reasons = [
        f"{locate(schema, name)}: {_told(finding)}"
        for name in sorted(table_names(schema) & faults.keys())
        for finding in faults[name]
    ]
    return UnfitIndex(schema.index, "; ".join(reasons)) if reasons else None


def unfit_for_changes(schema: IndexSchema, before: Tables, now: Tables) -> UnfitIndex | None:
    """The index as unfit, if what it reads is not what it was when the run began."""
    reasons = list(_changes(schema, before, now))
    return UnfitIndex(schema.index, "; ".join(reasons)) if reasons else None


def _told(finding: Finding) -> str:
    cure = f" ({finding.cure})" if finding.cure else ""
    return f"{finding.subject}: {finding.message}{cure}"


def _changes(schema: IndexSchema, before: Tables, now: Tables) -> Iterator[str]:
    columns = referenced_columns((schema,))
    routing = _routing(schema, before)
    for name in sorted(table_names(schema) & before.keys() & now.keys()):
        then, table = before[name], now[name]
        where = f"{locate(schema, name)}: table {name}"
        if table.oid != then.oid:
            yield f"{where} was dropped and made anew; start flusso again"
            continue
        for key in columns.get(name, ()):
            was, column = then.column(key), table.column(key)
            where = f"{locate(schema, name, key)}: column {identifier(key)} of table {name}"
            if column is None:
                yield f"{where} is gone: add it again, or correct the schema file"
            elif was is not None and was.type_oid != column.type_oid:
                yield (
                    f"{where} was {was.type_name} and is {column.type_name} now: make sure that "
                    "the schema file still fits, and start flusso again"
                )
        if table.primary_key != then.primary_key:
            yield (
                f"{locate(schema, name)}: the primary key of table {name} was "
                f"{_key(then)} and is {_key(table)} now; start flusso again"
            )
        yield from _identities(schema, then, table, routing.get(name, frozenset()))


def _routing(schema: IndexSchema, tables: Tables) -> Mapping[TableName, frozenset[str]]:
    """The columns by which changes find documents; none, where the schema never fitted."""
    if not table_names(schema) <= tables.keys():
        return {}
    try:
        complete = complete_keys(schema, lambda name: tables[name].primary_key)
    except ConfigError:
        return {}
    return routing_columns((complete,))


def _identities(
    schema: IndexSchema, then: Table, table: Table, needed: frozenset[str]
) -> Iterator[str]:
    """Old rows that carry less than they did. What they never carried was said at the start."""
    carried = {storage.oid: storage.identity.columns for storage in then.storage}
    for storage in table.storage:
        less = needed & carried.get(storage.oid, frozenset()) - storage.identity.columns
        if less:
            names = ", ".join(identifier(one) for one in sorted(less))
            yield (
                f"{locate(schema, table.name)}: the replica identity of table {storage.name} no "
                f"longer carries {names}: {full_identity(storage.name)}, and start flusso again"
            )


def _key(table: Table) -> str:
    return f"({', '.join(map(identifier, table.primary_key))})" if table.primary_key else "none"
