"""A first schema for a root table, from the foreign keys around it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from flusso_core.catalogue import CatalogueColumn, CatalogueForeignKey, CatalogueTable
from flusso_core.drafting.text import (
    FieldDraft,
    Keys,
    SchemaDraft,
    column_text,
    table_text,
)
from flusso_core.model import FieldType, JsonValue, TableName

_PRIVATE = re.compile(r"passw|secret|token|salt|api_?key|hash", re.IGNORECASE)


def draft_schema(root: CatalogueTable, tables: Mapping[TableName, CatalogueTable]) -> SchemaDraft:
    """A schema of the root table's columns and of the rows one foreign key away.

    Args:
        root: the table whose rows become documents; it has a primary key.
        tables: every table that there is, the root included.
    """
    return _Draft(root, tables).schema()


class _Draft:
    def __init__(self, root: CatalogueTable, tables: Mapping[TableName, CatalogueTable]) -> None:
        self._root = root
        self._tables = tables
        self._keys = Keys()
        self._notes: list[str] = []

    def schema(self) -> SchemaDraft:
        columns = tuple(_columns(self._root, self._keys))
        relations = (*self._parents(), *self._children())
        return SchemaDraft(
            table=self._root.name,
            primary_key=self._root.primary_key,
            fields=columns + relations,
            comments=(
                f"A document for each row of {self._root.name}, drafted from the database.",
                "Delete what nobody searches for. A relation goes deeper by relations in its own",
                "fields. `flusso check` finds what is wrong, `flusso sample` shows documents.",
            ),
            notes=tuple(self._notes),
        )

    def _parents(self) -> Iterator[FieldDraft]:
        """`belongs_to`: what the root's foreign keys point at."""
        for key in self._root.foreign_keys:
            target = self._tables.get(key.table)
            if target is None or self._is_wide(key, self._root):
                continue
            [column] = key.columns
            [referenced] = key.referenced
            settings: dict[str, JsonValue] = {
                "table": self._table(target),
                "column": column_text(column),
                "primary_key": column_text(referenced),
            }
            yield self._relation("belongs_to", _parent_name(column, target), settings, target)

    def _children(self) -> Iterator[FieldDraft]:
        """`has_many`, `has_one` and `many_to_many`: what points at the root."""
        for child in self._tables.values():
            for key in child.foreign_keys:
                if key.table != self._root.name or self._is_wide(key, child):
                    continue
                if self._root.primary_key != key.referenced:
                    self._notes.append(
                        f"{child.name} points at ({', '.join(key.referenced)}), which is not the "
                        "primary key; such a relation is not drafted."
                    )
                    continue
                far = self._far(child, key)
                if far is None:
                    yield from self._child(child, key)
                else:
                    yield self._junction(child, key, far)

    def _child(self, child: CatalogueTable, key: CatalogueForeignKey) -> Iterator[FieldDraft]:
        [column] = key.columns
        one = child.is_unique(column)
        own = [name for name in child.primary_key if name != column] or list(child.primary_key)
        if len(own) != 1:
            self._notes.append(
                f"{child.name} has no single column that identifies a row within its parent; it "
                "is left out. Add it with the `primary_key` of your choice."
            )
            return
        settings: dict[str, JsonValue] = {
            "table": self._table(child),
            "foreign_key": column_text(column),
            "primary_key": column_text(own[0]),
        }
        several = sum(other.table == self._root.name for other in child.foreign_keys) > 1
        name = f"{child.name.name}_by_{_stem(column)}" if several else child.name.name
        kind = "has_one" if one else "has_many"
        yield self._relation(kind, name, settings, child, without=column)

    def _junction(
        self, junction: CatalogueTable, key: CatalogueForeignKey, far: CatalogueForeignKey
    ) -> FieldDraft:
        target = self._tables[far.table]
        through: JsonValue = {
            "table": self._table(junction),
            "left_key": column_text(key.columns[0]),
            "right_key": column_text(far.columns[0]),
        }
        settings: dict[str, JsonValue] = {
            "table": self._table(target),
            "through": through,
            "primary_key": column_text(far.referenced[0]),
        }
        return self._relation("many_to_many", target.name.name, settings, target)

    def _far(self, child: CatalogueTable, key: CatalogueForeignKey) -> CatalogueForeignKey | None:
        """What a junction points at beside the root; `None`: it has rows of its own to show."""
        others = [other for other in child.foreign_keys if other is not key]
        if len(others) != 1 or len(others[0].columns) != 1 or others[0].table not in self._tables:
            return None
        pointing = {*key.columns, *others[0].columns}
        own = {column.name for column in child.columns} - pointing - set(child.primary_key)
        return None if own else others[0]

    def _is_wide(self, key: CatalogueForeignKey, table: CatalogueTable) -> bool:
        if len(key.columns) == 1:
            return False
        self._notes.append(
            f"The foreign key ({', '.join(key.columns)}) of {table.name} has several columns; a "
            "relation goes by one."
        )
        return True

    def _relation(
        self,
        kind: str,
        name: str,
        settings: Mapping[str, JsonValue],
        target: CatalogueTable,
        *,
        without: str | None = None,
    ) -> FieldDraft:
        keys = Keys()
        fields = tuple(field for field in _columns(target, keys, without=without))
        shown = any(not field.disabled for field in fields)
        comments = ("", _EXPLAINED[kind])
        return FieldDraft(
            kind, self._keys.take(name), settings, fields, comments, disabled=not shown
        )

    def _table(self, table: CatalogueTable) -> str:
        return table_text(table.name, self._root.name)


_EXPLAINED = {
    "belongs_to": "The row that a column of this one points at.",
    "has_one": "The row that points at this one.",
    "has_many": "The rows that point at this one.",
    "many_to_many": "The rows on the far side of a junction table.",
}


def _parent_name(column: str, target: CatalogueTable) -> str:
    """`customer` for `customer_id`; else the table's name."""
    base = _stem(column)
    return target.name.name if base == column else base


def _stem(column: str) -> str:
    """What a foreign key is called after: `customer` for `customer_id`."""
    return re.sub(r"(?<=.)(_id|Id|_key|_code)$", "", column)


def _columns(
    table: CatalogueTable, keys: Keys, *, without: str | None = None
) -> Iterator[FieldDraft]:
    for column in table.columns:
        if column.name != without:
            yield _field(column, keys)


def _field(column: CatalogueColumn, keys: Keys) -> FieldDraft:
    if column.type is None:
        comment = f"{column.source_type}: no field type takes it as it is; `custom` may."
        custom: dict[str, JsonValue] = {"postgres": [column.source_type], "opensearch": "keyword"}
        return FieldDraft("custom", keys.take(column.name), custom, (), (comment,), disabled=True)
    private = _PRIVATE.search(column.name) is not None
    name = keys.take(column.name)
    settings: dict[str, JsonValue] = {}
    if column_text(column.name) != name:
        settings["column"] = column_text(column.name)
    if column.required:
        settings["required"] = True
    if column.type is FieldType.ENUM and column.variants:
        settings["variants"] = list(column.variants)
    comments = ("It looks like a secret, so it stays out:",) if private else ()
    return FieldDraft(column.type.value, name, settings, (), comments, disabled=private)


def nearest_tables(name: str, tables: Sequence[TableName]) -> Sequence[TableName]:
    """The tables that a name without its schema may mean."""
    return [table for table in tables if name in (str(table), table.name)]
