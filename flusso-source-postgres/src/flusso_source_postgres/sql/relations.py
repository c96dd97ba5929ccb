"""How related rows are reached from a row: the FROM and WHERE that joins and aggregates share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from flusso_core.errors import SourceFatal
from flusso_core.schema.model import AggregateField, Filter, JoinField, Through
from flusso_source_postgres.catalogue import Table
from flusso_source_postgres.sql.keys import operator
from flusso_source_postgres.sql.rows import Rows, Tables, describe
from flusso_source_postgres.sql.text import table_name

AnyRelation: TypeAlias = JoinField | AggregateField


@dataclass(frozen=True, slots=True)
class Related:
    """Related rows in a statement.

    Attributes:
        rows: them, under their alias.
        source: the FROM item, filters included.
        condition: which of them belong to the row above.
        key: the column that their own relations start from.
        ties: the columns that order them where nothing else does.
    """

    rows: Rows
    source: str
    condition: str
    key: str | None
    ties: tuple[str, ...]


def related(
    one: AnyRelation,
    above: Rows,
    key: str | None,
    tables: Tables,
    flags: Mapping[str, Sequence[Filter]] | None = None,
) -> Related:
    """The rows that a join or an aggregate reads for the row above it.

    Args:
        one: the join or the aggregate.
        above: the row that it belongs to.
        key: that row's column that relations start from.
        tables: the catalogue.
        flags: instead of the filters: further columns of the rows, each with the filters that it
            says the outcome of.

    Raises:
        SourceFatal: a column is missing, or there is no single key column where one is needed.
    """
    rows = above.child(tables[one.table])
    own = own_key(one, rows.table)
    source = rows.source(one.filters) if flags is None else rows.source(flags=flags)
    if isinstance(one, JoinField) and one.column is not None:
        condition = _equal(rows, key_of(one, rows.table), above, one.column)
        return Related(rows, source, condition, own, ties(one, rows.table))
    start = parent_key(one, above.table, key)
    if one.foreign_key is not None:
        condition = _equal(rows, one.foreign_key, above, start)
        return Related(rows, source, condition, own, ties(one, rows.table))
    if one.through is None:
        raise SourceFatal(f"field {one.name!r} has neither foreign_key nor through")
    source, condition = _through(one, one.through, rows, source, (above, start), tables)
    return Related(rows, source, condition, own, ties(one, rows.table))


def _equal(rows: Rows, column: str, others: Rows, other: str) -> str:
    equals = operator("=", rows.describe(column), others.describe(other))
    return f"{rows.column(column)} {equals} {others.column(other)}"


def _through(
    one: AnyRelation,
    through: Through,
    rows: Rows,
    source: str,
    start: tuple[Rows, str],
    tables: Tables,
) -> tuple[str, str]:
    junction = tables[through.table]
    pairs = Rows(junction, rows.depth, "j")
    above = _equal(pairs, through.left_key, *start)
    right = pairs.column(through.right_key)
    key = key_of(one, rows.table)
    far = rows.column(key)
    equals = operator("=", rows.describe(key), pairs.describe(through.right_key))
    name = f"{table_name(junction.name)} AS {pairs.alias}"
    pair = {through.left_key, through.right_key}
    if any(index.not_null and pair.issuperset(index.columns) for index in junction.indexes):
        return f"{name} JOIN {source} ON {far} {equals} {right}", above
    # A pair may stand in the junction more than once; the row is related once.
    return source, f"{far} {equals} ANY (SELECT {right} FROM {name} WHERE {above})"


def own_key(one: AnyRelation, table: Table) -> str | None:
    """The column of the related table that its own relations start from, if there is one."""
    if one.primary_key is not None:
        describe(table, one.primary_key)
        return one.primary_key
    return table.primary_key[0] if len(table.primary_key) == 1 else None


def ties(one: AnyRelation, table: Table) -> tuple[str, ...]:
    """The columns that order the related rows where nothing else does."""
    own = own_key(one, table)
    return tuple(dict.fromkeys((*((own,) if own else ()), *table.primary_key)))


def key_of(one: AnyRelation, table: Table) -> str:
    """The key column of the related table.

    Raises:
        SourceFatal: the schema names none, and the catalogue has none or several.
    """
    found = own_key(one, table)
    if found is None:
        raise SourceFatal(
            f"field {one.name!r}: table {table.name} has no primary key of one column; "
            "name the column in primary_key"
        )
    return found


def parent_key(one: AnyRelation, table: Table, key: str | None) -> str:
    """The column of the row above that the relation starts from.

    Raises:
        SourceFatal: it has none, or several.
    """
    if key is None:
        raise SourceFatal(
            f"field {one.name!r} starts from the key of table {table.name}, which is not one column"
        )
    return key
