"""What a source says of its tables, for `flusso init`: the shape of a database, no rows."""

from __future__ import annotations

from dataclasses import dataclass

from flusso_core.model import FieldType, TableName


@dataclass(frozen=True, slots=True)
class CatalogueColumn:
    """A column.

    Attributes:
        name: exact case.
        source_type: its type in the source's own words, for people.
        type: the field type that takes every value of it; `None`: none does.
        required: it is never NULL.
        variants: the values of an enum, in its order.
    """

    name: str
    source_type: str
    type: FieldType | None
    required: bool = False
    variants: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CatalogueForeignKey:
    """Columns that point at the `referenced` columns of another table, or of the same."""

    columns: tuple[str, ...]
    table: TableName
    referenced: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CatalogueTable:
    """A table.

    Attributes:
        name: exact case.
        columns: in the table's order.
        primary_key: its columns in the key's order; empty: there is none.
        unique: the column sets of its other unique constraints and indexes.
        foreign_keys: what it points at.
    """

    name: TableName
    columns: tuple[CatalogueColumn, ...]
    primary_key: tuple[str, ...] = ()
    unique: tuple[tuple[str, ...], ...] = ()
    foreign_keys: tuple[CatalogueForeignKey, ...] = ()

    def is_unique(self, column: str) -> bool:
        """Whether no two rows have the same value in that column."""
        return (column,) in (self.primary_key, *self.unique)
