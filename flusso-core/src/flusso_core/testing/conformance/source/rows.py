"""The database of the checks: parents, their children, and what is written to them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from flusso_core.model import Change, FieldType, Key, Operation, TableName
from flusso_core.schema.model import AggregateField, AggregateFunction, IndexSchema, ScalarField

INDEX = "parents"
PARENTS = TableName("public", "parents")
CHILDREN = TableName("public", "children")

TABLES = """
CREATE TABLE parents (key varchar(200) PRIMARY KEY, name varchar(200));
CREATE TABLE children (key varchar(200) PRIMARY KEY, parent varchar(200));
"""
"""The two tables in standard SQL: a bench makes them in its own database's way."""

SCHEMA = IndexSchema(
    index=INDEX,
    table=PARENTS,
    schema_hash="0c0ffee3",
    origin="the conformance kit",
    fields=(
        ScalarField("name", FieldType.KEYWORD, "name"),
        AggregateField(
            "children",
            AggregateFunction.IDS,
            FieldType.KEYWORD,
            CHILDREN,
            foreign_key="parent",
        ),
    ),
)
"""A document is a parent's name and the keys of its children."""


@dataclass(frozen=True, slots=True)
class Put:
    """Insert the row with this key, or update it: a parent's name, or a child's parent."""

    table: TableName
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the row with this key."""

    table: TableName
    key: str


@dataclass(frozen=True, slots=True)
class Rekey:
    """Change a row's key, in one UPDATE."""

    table: TableName
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Truncate:
    """Empty the table: by TRUNCATE where there is one, or by deleting every row."""

    table: TableName


Write: TypeAlias = Put | Delete | Rekey | Truncate


@dataclass
class Rows:
    """What the tables hold: key to name, and key to parent."""

    parents: dict[str, str] = field(default_factory=dict[str, str])
    children: dict[str, str] = field(default_factory=dict[str, str])

    def documents(self) -> dict[str, object]:
        """The documents that there must be, by id, parsed; the children's keys are sorted."""
        families: dict[str, list[str]] = {key: [] for key in self.parents}
        for child, parent in sorted(self.children.items()):
            if parent in families:
                families[parent].append(child)
        return {
            key: {"name": name, "children": families[key]} for key, name in self.parents.items()
        }

    def apply(self, writes: Iterable[Write]) -> set[str]:
        """Do the writes; return the keys of the documents that they touch."""
        touched: set[str] = set()
        for write in writes:
            rows = self.parents if write.table == PARENTS else self.children
            for key, value in self._touched(write, rows):
                touched.add(key if write.table == PARENTS else value)
            match write:
                case Put():
                    rows[write.key] = write.value
                case Delete():
                    rows.pop(write.key, None)
                case Rekey():
                    if write.old in rows:
                        rows[write.new] = rows.pop(write.old)
                case Truncate():
                    rows.clear()
        return touched

    @staticmethod
    def _touched(write: Write, rows: Mapping[str, str]) -> list[tuple[str, str]]:
        """The rows, old and new, that the write changes."""
        match write:
            case Put():
                old = [(write.key, rows[write.key])] if write.key in rows else []
                return [*old, (write.key, write.value)]
            case Delete():
                return [(write.key, rows[write.key])] if write.key in rows else []
            case Rekey():
                value = rows.get(write.old)
                return [] if value is None else [(write.old, value), (write.new, value)]
            case Truncate():
                return list(rows.items())


def statement(write: Write, *, mark: str = "%s", truncate: bool = True) -> tuple[str, list[str]]:
    """The write as SQL that most databases take, and its parameters.

    Args:
        write: what to do.
        mark: stands for a parameter in the driver's style.
        truncate: whether there is a TRUNCATE.
    """
    table = write.table.name
    value = "name" if write.table == PARENTS else "parent"
    match write:
        case Put():
            insert = f"INSERT INTO {table} (key, {value}) VALUES ({mark}, {mark})"  # noqa: S608
            update = f"ON CONFLICT (key) DO UPDATE SET {value} = excluded.{value}"
            return f"{insert} {update}", [write.key, write.value]
        case Delete():
            return f"DELETE FROM {table} WHERE key = {mark}", [write.key]  # noqa: S608
        case Rekey():
            set_key = f"UPDATE {table} SET key = {mark} WHERE key = {mark}"  # noqa: S608
            return set_key, [write.new, write.old]
        case Truncate():
            return (f"TRUNCATE {table}" if truncate else f"DELETE FROM {table}"), []  # noqa: S608


def touched_by(changes: Iterable[Change]) -> tuple[set[str], set[TableName]]:
    """What a builder can tell from changes: parents that they touch, and truncated tables."""
    keys: set[str] = set()
    truncated: set[TableName] = set()
    for change in changes:
        if change.operation is Operation.TRUNCATE:
            truncated.add(change.table)
            continue
        column = "key" if change.table == PARENTS else "parent"
        for image in (change.before, change.after):
            text = None if image is None else image.get(column)
            if text is not None:
                keys.add(text)
    return keys, truncated


def parsed(body: bytes) -> object:
    """A document's body, its children's keys sorted: their order is the builder's business."""
    document = json.loads(body)
    document["children"] = sorted(document["children"] or [])
    return document


def keys(rows: Rows) -> list[Key]:
    """The keys of all parents."""
    return [(key,) for key in sorted(rows.parents)]
