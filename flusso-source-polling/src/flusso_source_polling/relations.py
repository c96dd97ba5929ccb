"""How related rows are reached from rows, set-based: one statement for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import Connection, FromClause, Select, func, select

from flusso_core.errors import SourceFatal
from flusso_core.schema.model import AggregateField, JoinField, OrderBy
from flusso_source_polling.catalogue import Table, Tables
from flusso_source_polling.dialects import Column, Dialect, Expression
from flusso_source_polling.filters import condition

AnyRelation: TypeAlias = JoinField | AggregateField

Found: TypeAlias = Mapping[str, str]
"""The JSON text of a relation, by the text of the column that it starts from."""

Fetch: TypeAlias = Callable[[Connection, Sequence[str]], Found]
"""Reads it for many rows at once."""


@dataclass(frozen=True, slots=True)
class Link:
    """One relation between the rows of two tables.

    Attributes:
        one: the join or the aggregate.
        table: the related table.
        start: the column of the row above that the relation starts from.
        upward: the column of the related row whose value leads up.
        junction: the table between, if there is one.
    """

    one: AnyRelation
    table: Table
    start: str
    upward: str
    junction: Table | None

    def ordered(
        self, rows: FromClause, order_by: Sequence[OrderBy], dialect: Dialect
    ) -> list[Expression]:
        """What is asked for, then the keys. NULLs come last, or first in a descending order."""
        found: list[Expression] = []
        for item in order_by:
            column = rows.columns[self.table.column(item.column).name]
            found += dialect.ordered(column, descending=item.descending)
        own = (self.one.primary_key,) if self.one.primary_key is not None else ()
        named = {item.column for item in order_by}
        keys = dict.fromkeys((*own, *self.table.primary_key))
        return [*found, *(rows.columns[key] for key in keys if key not in named)]

    def rows(self, texts: Sequence[str], dialect: Dialect) -> tuple[FromClause, Expression, Column]:
        """The related rows that pass the filters, what says exactly which row above each one
        belongs to, and what the catalogue says of the column behind that.

        The filters stand in a sub-select whose only table is this one, so that what a raw filter
        calls a column is one of it.
        """
        # The condition on the keys stands inside too, for an index to serve.
        passed = select(self.table.sql).where(condition(self.one.filters, self.table, dialect))
        upward = self.table.column(self.upward)
        if self.junction is None or self.one.through is None:
            known = dialect.among(self.table.sql.columns[self.upward], texts, upward)
            rows = passed.where(known).subquery("r")
            return rows, dialect.exact(rows.columns[self.upward], upward), upward
        left = self.junction.column(self.one.through.left_key)
        right = self.junction.column(self.one.through.right_key)
        columns = self.junction.sql.columns
        # A pair may stand in the junction more than once; the row is related once.
        pairs = (
            select(
                dialect.exact(columns[left.name], left).label("l"),
                dialect.exact(columns[right.name], right).label("r"),
            )
            .where(dialect.among(columns[left.name], texts, left))
            .distinct()
            .subquery("j")
        )
        rows = passed.subquery("r")
        joined = (
            select(rows, pairs.columns.l.label("flusso_link"))
            .select_from(
                rows.join(pairs, dialect.same(rows.columns[self.upward], upward, pairs.columns.r))
            )
            .subquery("t")
        )
        return joined, joined.columns.flusso_link, left

    def related(
        self, pairs: Iterable[tuple[str, str]], texts: Sequence[str], *, many: bool
    ) -> Found:
        """The JSON text of each row above that has related rows.

        Args:
            pairs: a key of a row above, and the JSON text of a row that is related to it.
            texts: the keys that were asked for.
            many: all of a key's texts stand in an array; otherwise there is one.

        Raises:
            SourceFatal: the database holds a key for equal that is spelled in another way.
        """
        groups: dict[str, list[str]] = {text: [] for text in texts}
        for text, item in pairs:
            if text not in groups:
                raise SourceFatal(
                    f"field {self.one.name!r}: {self.table.name} is related by {text!r}, which the "
                    "database holds for equal to a key that is spelled differently; give both "
                    "columns the same type, and no collation that ignores case"
                )
            groups[text].append(item)
        return {
            text: f"[{','.join(group)}]" if many else group[0]
            for text, group in groups.items()
            if group
        }


def link(one: AnyRelation, above: Table, key: str | None, tables: Tables) -> Link:
    """The relation of a field.

    Args:
        one: the join or the aggregate.
        above: the table of the row that it belongs to.
        key: that row's column that relations start from; `None`: it has none.
        tables: the catalogue.

    Raises:
        SourceFatal: a column is missing, or there is no single key column where one is needed.
    """
    table = tables[one.table]
    if isinstance(one, JoinField) and one.column is not None:
        above.column(one.column)
        return Link(one, table, one.column, _key_of(one, table), None)
    if key is None:
        raise SourceFatal(
            f"field {one.name!r} starts from the key of table {above.name}, which is not one "
            "column; name one that is unique in primary_key"
        )
    above.column(key)
    if one.foreign_key is not None:
        table.column(one.foreign_key)
        return Link(one, table, key, one.foreign_key, None)
    if one.through is None:
        raise SourceFatal(f"field {one.name!r} has neither foreign_key nor through")
    junction = tables[one.through.table]
    for name in (one.through.left_key, one.through.right_key):
        junction.column(name)
    return Link(one, table, key, _key_of(one, table), junction)


def first(
    statement: Select[*tuple[Any, ...]], link: Expression, order: Sequence[Expression], most: int
) -> Select[*tuple[Any, ...]]:
    """Of each group's rows the first `most`, in order; the number is the last column."""
    place = func.row_number().over(partition_by=link, order_by=list(order)).label("flusso_place")
    numbered = statement.add_columns(place).subquery("n")
    return (
        select(numbered)
        .where(numbered.columns.flusso_place <= most)
        .order_by(numbered.columns.flusso_place)
    )


def _key_of(one: AnyRelation, table: Table) -> str:
    if one.primary_key is None:
        raise SourceFatal(
            f"field {one.name!r}: table {table.name} has no primary key of one column; "
            "name the column in primary_key"
        )
    return table.column(one.primary_key).name
