"""What the database's catalogue says about tables, one query a question.

```python
tables = await read_tables(connection, [TableName("public", "orders")])
orders = tables[TableName("public", "orders")]
orders.primary_key, orders.column("user_id").type_name
```

Every name is exact, as stored; nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, LiteralString

import psycopg
from psycopg.rows import TupleRow

from flusso_core.model import TableName
from flusso_source_postgres.connection import Connection, source_error

OLDEST_SERVER = 150000
"""The oldest supported server, as `server_version_num` spells it."""


class RelationKind(StrEnum):
    """`pg_class.relkind`, as far as it matters here."""

    TABLE = "r"
    PARTITIONED = "p"
    VIEW = "v"
    MATERIALIZED_VIEW = "m"
    FOREIGN = "f"


class IdentityKind(StrEnum):
    """`pg_class.relreplident`."""

    DEFAULT = "d"
    NOTHING = "n"
    FULL = "f"
    INDEX = "i"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        number: `attnum`.
        type_oid: the declared type.
        type_name: it as SQL, with its modifier (`numeric(10,2)`, `public.color`).
        base_oid: the type behind a domain, or the declared type itself.
        base_type: it as SQL, without a modifier.
        type_kind: `typtype` of the base type: b(ase), c(omposite), e(num), r(ange), m(ultirange).
        category: `typcategory` of the base type: N(umeric), S(tring), A(rray), D(ate) …
        not_null: declared NOT NULL.
        generated: its value is computed; pgoutput does not publish it by default.
        operators: the schema of the operators that compare its values; a type of an extension
            has its own (citext).
    """

    name: str
    number: int
    type_oid: int
    type_name: str
    base_oid: int
    base_type: str
    type_kind: str
    category: str
    not_null: bool
    generated: bool
    operators: str


@dataclass(frozen=True, slots=True)
class Index:
    """A usable, unique index over plain columns, all of its rows, checked at once.

    Attributes:
        columns: in the index's order.
        not_null: every column is NOT NULL, so that the index can be a replica identity.
    """

    name: str
    columns: tuple[str, ...]
    primary: bool
    identity: bool
    not_null: bool


@dataclass(frozen=True, slots=True)
class ReplicaIdentity:
    """What of the old row an UPDATE or DELETE carries in the change stream.

    Attributes:
        columns: the columns it carries; none means that, once the table is published, its UPDATE
            and DELETE fail.
    """

    kind: IdentityKind
    columns: frozenset[str]


@dataclass(frozen=True, slots=True)
class Storage:
    """A relation that holds rows: the table itself, or each leaf partition of it.

    Attributes:
        identity: what its old rows carry.
        indexes: its usable unique indexes.
        file: changes when it is truncated or written anew as a whole.
        attached: a partition that was a table before it became one.
        column_lists: publications that publish it with a list of columns.
    """

    name: TableName
    oid: int
    identity: ReplicaIdentity
    indexes: tuple[Index, ...]
    file: int
    attached: bool
    column_lists: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table, or another relation of that name.

    Attributes:
        columns: by attribute number, dropped ones left out.
        primary_key: its columns in the key's order; empty without one.
        indexes: its unique indexes, the primary key's included.
        storage: the relations that hold its rows and have a replica identity of their own: the
            table itself, or its leaf partitions.
        logged: neither unlogged nor temporary.
        readable: the role may SELECT all of it.
        owned: the role may ALTER it.
        hidden_rows: a row security policy applies to the role.
    """

    name: TableName
    oid: int
    kind: RelationKind
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    indexes: tuple[Index, ...]
    storage: tuple[Storage, ...]
    logged: bool
    readable: bool
    owned: bool
    hidden_rows: bool

    def column(self, name: str) -> Column | None:
        """The column of that name, if there is one."""
        return next((column for column in self.columns if column.name == name), None)


_TABLES: LiteralString = """
SELECT n.nspname, c.relname, c.oid, c.relkind::text, c.relpersistence = 'p',
       pg_catalog.has_schema_privilege(n.oid, 'USAGE')
         AND pg_catalog.has_table_privilege(c.oid, 'SELECT'),
       pg_catalog.pg_has_role(c.relowner, 'USAGE'),
       pg_catalog.row_security_active(c.oid)
FROM unnest(%s::text[], %s::text[]) AS wanted (nspname, relname)
JOIN pg_catalog.pg_namespace n ON n.nspname = wanted.nspname
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.relname
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
"""

# Domains over domains: the chain is followed to its end.
_COLUMNS: LiteralString = """
WITH RECURSIVE columns AS (
    SELECT a.attrelid, a.attname, a.attnum, a.atttypid, a.atttypmod, a.attnotnull,
           a.attgenerated <> '' AS generated, t.oid AS base, t.typtype, t.typbasetype, t.typcategory
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = ANY(%s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
    SELECT c.attrelid, c.attname, c.attnum, c.atttypid, c.atttypmod, c.attnotnull,
           c.generated, t.oid, t.typtype, t.typbasetype, t.typcategory
    FROM columns c JOIN pg_catalog.pg_type t ON t.oid = c.typbasetype
    WHERE c.typtype = 'd'
)
SELECT attrelid, attname, attnum, atttypid, pg_catalog.format_type(atttypid, atttypmod),
       base, pg_catalog.format_type(base, NULL), typtype::text, typcategory::text,
       attnotnull, generated,
       coalesce((
           SELECT n.nspname
           FROM pg_catalog.pg_opclass c
           JOIN pg_catalog.pg_am m ON m.oid = c.opcmethod AND m.amname = 'btree'
           JOIN pg_catalog.pg_amop s ON s.amopfamily = c.opcfamily AND s.amopstrategy = 3
                AND s.amoplefttype = base AND s.amoprighttype = base
           JOIN pg_catalog.pg_operator o ON o.oid = s.amopopr
           JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
           WHERE c.opcintype = base AND c.opcdefault
       ), 'pg_catalog')::text
FROM columns WHERE typtype <> 'd'
ORDER BY attrelid, attnum
"""

_STORAGE: LiteralString = """
SELECT root.oid, n.nspname, c.relname, c.oid, c.relreplident::text, c.relfilenode,
       -- CREATE TABLE … PARTITION OF makes both rows at once, ATTACH PARTITION only the first.
       EXISTS (SELECT FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_type t ON t.oid = c.reltype
               WHERE i.inhrelid = c.oid AND i.xmin <> t.xmin),
       ARRAY(SELECT p.pubname::text FROM pg_catalog.pg_publication_rel r
             JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid
             WHERE r.prattrs IS NOT NULL AND (r.prrelid = c.oid OR r.prrelid IN (
                 SELECT relid FROM pg_catalog.pg_partition_ancestors(c.oid)))
             ORDER BY 1)
FROM unnest(%s::oid[]) AS root (oid)
CROSS JOIN LATERAL (
    SELECT root.oid AS relid
    WHERE (SELECT relkind FROM pg_catalog.pg_class WHERE oid = root.oid) = 'r'
  UNION ALL
    SELECT tree.relid FROM pg_catalog.pg_partition_tree(root.oid) tree
    WHERE tree.isleaf
      AND (SELECT relkind FROM pg_catalog.pg_class WHERE oid = root.oid) = 'p'
) AS leaf
JOIN pg_catalog.pg_class c ON c.oid = leaf.relid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r'
ORDER BY root.oid, n.nspname, c.relname
"""

# Only such indexes can be a replica identity (ALTER TABLE, "REPLICA IDENTITY").
_INDEXES: LiteralString = """
SELECT i.indrelid, c.relname, i.indisprimary, i.indisreplident,
       array_agg(a.attname::text ORDER BY key.place), bool_and(a.attnotnull)
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS key (attnum, place)
JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = key.attnum
WHERE i.indrelid = ANY(%s::oid[]) AND i.indisunique AND i.indisvalid AND i.indimmediate
  AND i.indpred IS NULL AND i.indexprs IS NULL AND key.place <= i.indnkeyatts
GROUP BY i.indrelid, i.indexrelid, c.relname, i.indisprimary, i.indisreplident
ORDER BY i.indrelid, c.relname
"""

# A deferrable primary key identifies rows as well, though it cannot be a replica identity.
_PRIMARY_KEYS: LiteralString = """
SELECT i.indrelid, array_agg(a.attname::text ORDER BY key.place)
FROM pg_catalog.pg_index i
CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS key (attnum, place)
JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = key.attnum
WHERE i.indrelid = ANY(%s::oid[]) AND i.indisprimary AND key.place <= i.indnkeyatts
GROUP BY i.indrelid
"""


async def read_tables(
    connection: Connection, names: Iterable[TableName]
) -> Mapping[TableName, Table]:
    """Read the tables of these names. One that does not exist is absent from the result.

    Raises:
        SourceUnavailable: the connection was lost.
    """
    wanted = sorted(set(names))
    schemas, relations = [name.schema for name in wanted], [name.name for name in wanted]
    rows = await query(connection, _TABLES, [schemas, relations])
    oids = [row[2] for row in rows]
    storages = await query(connection, _STORAGE, [oids])
    stored = [row[3] for row in storages]
    columns = _by_first(await query(connection, _COLUMNS, [oids + stored]))
    indexes = _by_first(await query(connection, _INDEXES, [oids + stored]))
    keys = {row[0]: tuple(row[1]) for row in await query(connection, _PRIMARY_KEYS, [oids])}
    leaves = _by_first(storages)
    return {
        (name := TableName(schema, relation)): Table(
            name=name,
            oid=oid,
            kind=RelationKind(kind),
            columns=tuple(Column(*row[1:]) for row in columns.get(oid, ())),
            primary_key=keys.get(oid, ()),
            indexes=_indexes(indexes.get(oid, ())),
            storage=tuple(
                _storage(leaf, columns, _indexes(indexes.get(leaf[3], ())))
                for leaf in leaves.get(oid, ())
            ),
            logged=logged,
            readable=readable,
            owned=owned,
            hidden_rows=hidden,
        )
        for schema, relation, oid, kind, logged, readable, owned, hidden in rows
    }


def server_version(connection: Connection) -> int:
    """The server's version as `server_version_num` spells it: 150010 is 15.10."""
    return connection.info.server_version


async def query(
    connection: Connection, sql: LiteralString, parameters: Sequence[Any]
) -> list[TupleRow]:
    """Ask the catalogue one question.

    Raises:
        SourceUnavailable: the connection was lost.
    """
    try:
        cursor = await connection.execute(sql, parameters)
        return await cursor.fetchall()
    except psycopg.Error as error:
        raise source_error(error, "read the catalogue") from error


def _by_first(rows: Iterable[TupleRow]) -> dict[int, list[TupleRow]]:
    grouped: dict[int, list[TupleRow]] = {}
    for row in rows:
        grouped.setdefault(row[0], []).append(row)
    return grouped


def _indexes(rows: Iterable[TupleRow]) -> tuple[Index, ...]:
    return tuple(
        Index(
            name=name,
            columns=tuple(columns),
            primary=primary,
            identity=identity,
            not_null=not_null,
        )
        for _, name, primary, identity, columns, not_null in rows
    )


def _storage(
    row: TupleRow, columns: Mapping[int, list[TupleRow]], indexes: tuple[Index, ...]
) -> Storage:
    _, schema, relation, oid, identity, file, attached, column_lists = row
    kind = IdentityKind(identity)
    carried: frozenset[str] = frozenset()
    if kind is IdentityKind.FULL:
        carried = frozenset(column[1] for column in columns.get(oid, ()))
    elif kind is not IdentityKind.NOTHING:
        # An index that was the identity and has been dropped leaves INDEX without columns.
        carried = frozenset(
            column
            for index in indexes
            if (index.primary if kind is IdentityKind.DEFAULT else index.identity)
            for column in index.columns
        )
    return Storage(
        name=TableName(schema, relation),
        oid=oid,
        identity=ReplicaIdentity(kind, carried),
        indexes=indexes,
        file=file,
        attached=attached,
        column_lists=tuple(column_lists),
    )
