"""What a publication publishes, as the catalogue says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import LiteralString

from flusso_core.model import TableName
from flusso_source_postgres.catalogue import query
from flusso_source_postgres.connection import Connection


@dataclass(frozen=True, slots=True)
class Member:
    """A table as a publication publishes it.

    Attributes:
        columns: the columns that are published.
        row_filter: a condition on its rows, as SQL.
    """

    columns: frozenset[str]
    row_filter: str | None


@dataclass(frozen=True, slots=True)
class Publication:
    """A publication and what it publishes.

    Attributes:
        operations: which of insert, update, delete, truncate it publishes.
        via_root: changes of a partition are published as the partitioned table's.
        members: each published table; with `via_root` partitioned tables instead of partitions.
        owned: the role may ALTER it.
    """

    name: str
    all_tables: bool
    operations: frozenset[str]
    via_root: bool
    members: Mapping[TableName, Member]
    owned: bool


_PUBLICATION: LiteralString = """
SELECT p.puballtables, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate, p.pubviaroot,
       pg_catalog.pg_has_role(p.pubowner, 'USAGE')
FROM pg_catalog.pg_publication p WHERE p.pubname = %s
"""

_MEMBERS: LiteralString = """
SELECT t.schemaname, t.tablename, t.attnames::text[], t.rowfilter
FROM pg_catalog.pg_publication_tables t WHERE t.pubname = %s
"""


async def read_publication(connection: Connection, name: str) -> Publication | None:
    """Read a publication with its tables; `None` where there is none of that name.

    Raises:
        SourceUnavailable: the connection was lost.
    """
    rows = await query(connection, _PUBLICATION, [name])
    if not rows:
        return None
    all_tables, *published, via_root, owned = rows[0]
    operations = ("insert", "update", "delete", "truncate")
    return Publication(
        name=name,
        all_tables=all_tables,
        operations=frozenset(
            operation for operation, on in zip(operations, published, strict=True) if on
        ),
        via_root=via_root,
        members={
            TableName(schema, table): Member(frozenset(columns or ()), row_filter)
            for schema, table, columns, row_filter in await query(connection, _MEMBERS, [name])
        },
        owned=owned,
    )
