"""Rows of a table in a statement: what they are called there, and which of them qualify."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from flusso_core.model import TableName
from flusso_core.schema.model import Filter, OrderBy
from flusso_source_postgres.catalogue import Column, Table
from flusso_source_postgres.mismatch import Missing
from flusso_source_postgres.sql.filters import conditions
from flusso_source_postgres.sql.text import identifier, table_name

Tables: TypeAlias = Mapping[TableName, Table]
"""The catalogue's word on every table that a schema names."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A table's rows under an alias.

    Attributes:
        depth: how many statements this one is nested in; makes the aliases distinct.
        letter: the alias's first letter: `t`, or `j` for the rows of a junction.
    """

    table: Table
    depth: int = 0
    letter: str = "t"

    @property
    def alias(self) -> str:
        """The alias in the statement."""
        return f"{self.letter}{self.depth}"

    def column(self, name: str) -> str:
        """A column of the row, as SQL."""
        return f"{self.alias}.{identifier(name)}"

    def describe(self, name: str) -> Column:
        """What the catalogue says of a column."""
        return describe(self.table, name)

    def source(
        self,
        filters: Sequence[Filter] = (),
        flags: Mapping[str, Sequence[Filter]] = MappingProxyType({}),
    ) -> str:
        """The FROM item: the table's rows that pass the filters.

        Each of the flags is a further column, which says whether a row passes those filters.

        The filters stand in a sub-select of their own whose only table this is, under its own
        name, so that what a raw filter calls a column is one of this table. Postgres pulls such a
        sub-select up: an index serves as if it were not there.
        """
        name = table_name(self.table.name)
        if not filters and not flags:
            return f"{name} AS {self.alias}"
        said = "".join(
            f", ({' AND '.join(conditions(one, self.table))}) AS {identifier(flag)}"
            for flag, one in flags.items()
        )
        passed = " AND ".join(conditions(filters, self.table))
        where = f" WHERE {passed}" if passed else ""
        return f"(SELECT *{said} FROM {name}{where}) AS {self.alias}"

    def child(self, table: Table) -> Rows:
        """Rows of another table, one statement deeper."""
        return Rows(table, self.depth + 1)

    def order(self, order_by: Sequence[OrderBy], keys: Sequence[str]) -> str:
        """An ORDER BY list that leaves no ties: what is asked for, then the keys."""
        items = [
            f"{self.column(item.column)}{' DESC' if item.descending else ''}" for item in order_by
        ]
        named = {item.column for item in order_by}
        items += [self.column(key) for key in dict.fromkeys(keys) if key not in named]
        return ", ".join(items)


def describe(table: Table, name: str) -> Column:
    """What the catalogue says of a column.

    Raises:
        Missing: there is none of that name.
    """
    column = table.column(name)
    if column is None:
        raise Missing(table.name, name)
    return column


def unused(wanted: str, table: Table) -> str:
    """A name like the wanted one that no column of the table has."""
    while table.column(wanted) is not None:
        wanted += "_"
    return wanted
