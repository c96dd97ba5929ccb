"""Random worlds: tables with links among them, rows, and schemas of documents over these tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any

from flusso_core.model import TableName
from flusso_core.schema import parse_schema
from flusso_core.schema.model import IndexSchema

from .kinds import KINDS, Kind, text_of

TABLE_NAMES = ("items", "Order Items", "select", "sélect", "x" * 40, "with.dot")
DEPTH = 3
ROWS = 24
NEVER = 0.25
"""How often a value is NULL where it may be."""

Row = dict[str, Any]


def quoted(name: str) -> str:
    """A name as a schema file has it."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class Link:
    """A column that points at the key of a table."""

    column: str
    target: str


@dataclass
class Table:
    """A table: columns by name, its key, what points where, and its rows."""

    name: str
    columns: dict[str, Kind]
    key: tuple[str, ...]
    links: list[Link] = field(default_factory=list[Link])
    rows: dict[tuple[Any, ...], Row] = field(default_factory=dict[tuple[Any, ...], Row])

    @property
    def single(self) -> str | None:
        """Its key column, where there is just one."""
        return self.key[0] if len(self.key) == 1 else None

    @property
    def full_name(self) -> TableName:
        """As changes name it."""
        return TableName("public", self.name)


@dataclass
class World:
    """Tables with rows, and indexes over them."""

    tables: list[Table]
    schemas: tuple[IndexSchema, ...]
    texts: list[str]


def random_world(random: Random, databases: Sequence[str]) -> World:
    """Four tables that all of these databases can have, and three indexes."""
    kinds = [kind for kind in KINDS if kind.on(databases)]
    tables = [_table(random, name, kinds) for name in random.sample(TABLE_NAMES, 4)]
    targets = [table for table in tables if table.single is not None]
    for table in tables:
        for number in range(random.randint(1, 3)):
            target = random.choice(targets)
            kind = target.columns[target.key[0]]
            if kind.name == "text" and random.random() < 0.4:
                # What its collation holds for equal to a key is none.
                kind = next(one for one in kinds if one.name == "label")
            table.columns[f"l{number}"] = kind
            table.links.append(Link(f"l{number}", target.name))
    for table in tables:
        for _ in range(random.randint(ROWS // 3, ROWS)):
            row = random_row(random, table, tables)
            table.rows.setdefault(tuple(row[name] for name in table.key), row)
    texts = [_schema(random, tables) for _ in range(3)]
    schemas = tuple(parse_schema(text, f"i{n}", f"i{n}.yml") for n, text in enumerate(texts))
    return World(tables, schemas, texts)


def random_row(random: Random, table: Table, tables: Sequence[Table]) -> Row:
    """A row whose links mostly lead somewhere."""
    row: Row = {}
    by_name = {one.name: one for one in tables}
    for name, kind in table.columns.items():
        row[name] = (
            None if name not in table.key and random.random() < NEVER else _any(random, kind)
        )
    for link in table.links:
        target = by_name[link.target]
        if target.rows and row[link.column] is not None and random.random() < 0.8:
            row[link.column] = random.choice(list(target.rows.values()))[target.key[0]]
            if target.columns[target.key[0]].name == "text" and random.random() < 0.2:
                row[link.column] = row[link.column].swapcase()
    return row


def image(row: Row | None, columns: frozenset[str]) -> dict[str, str | None] | None:
    """A row's routing columns, as changes have them."""
    return None if row is None else {name: text_of(row[name]) for name in columns}


def _any(random: Random, kind: Kind) -> Any:
    return random.choice(kind.values)


def _table(random: Random, name: str, kinds: Sequence[Kind]) -> Table:
    columns = {f"c{number}": random.choice(kinds) for number in range(random.randint(2, 5))}
    size = random.choice((1, 1, 1, 2))
    plain = [one for one in kinds if one.name in ("integer", "big", "text")]
    keys = [one for one in kinds if one.key]
    key = {f"k{number}": random.choice(random.choice((plain, keys))) for number in range(size)}
    return Table(name, {**key, **columns}, tuple(key))


def _schema(random: Random, tables: Sequence[Table]) -> str:
    fields = _Fields(random, tables)
    table = random.choice(tables)
    found: dict[str, Any] = {
        "version": 1,
        "table": quoted(table.name),
        "fields": fields.of(table, DEPTH),
    }
    if tests := fields.tests(table):
        found["filters"] = tests
    soft = [name for name in table.columns if name not in table.key]
    if random.random() < 0.3:
        found["soft_delete"] = {"column": random.choice(soft)}
    return json.dumps(found, ensure_ascii=False, indent=1)


class _Fields:
    """Makes up the fields of documents."""

    def __init__(self, random: Random, tables: Sequence[Table]) -> None:
        self._random = random
        self._tables = {table.name: table for table in tables}
        self._names = 0

    def of(self, table: Table, depth: int) -> list[dict[str, Any]]:
        """Fields of a row of the table."""
        random = self._random
        columns = random.sample(list(table.columns), random.randint(1, 4))
        fields = [self._value(table, column) for column in columns]
        if random.random() < 0.2:
            inner = [self._value(table, random.choice(columns))]
            fields.append({"object": self._name("o"), "fields": inner})
        if random.random() < 0.1:
            fields.append({"constant": self._name("c"), "value": "é"})
        if depth:
            ways = self._ways(table)
            picked = random.sample(ways, min(len(ways), random.choice((2, 3, 3, 4))))
            fields += [self._relation(*way, depth=depth) for way in picked]
        return fields

    def tests(self, table: Table) -> list[dict[str, Any]]:
        """Filters of the table's rows, mostly none."""
        random = self._random
        if random.random() > 0.35:
            return []
        return [self._test(table) for _ in range(random.choice((1, 1, 2)))]

    def _name(self, prefix: str) -> str:
        self._names += 1
        return f"{prefix}{self._names}"

    def _value(self, table: Table, column: str) -> dict[str, Any]:
        random, kind = self._random, table.columns[column]
        if kind.fields == ("map",):
            return {"map": self._name("f"), "column": column, "values": "keyword"}
        type_ = random.choice(kind.fields)
        found: dict[str, Any] = {type_: self._name("f"), "column": column}
        if kind.name in ("text", "label"):
            if random.random() < 0.3:
                # What is lower case beyond ASCII is the database's business.
                found["transforms"] = ["trim"]
            if random.random() < 0.3:
                found["default"] = 'dé"fault'
        return found

    def _test(self, table: Table) -> dict[str, Any]:
        random = self._random
        column = random.choice(list(table.columns))
        kind = table.columns[column]
        if not kind.compared or random.random() < 0.25:
            op = random.choice(("is_null", "is_not_null", "raw"))
            if op == "raw":
                return {"raw": f"{column} IS NOT NULL -- it's there"}
            return {"column": column, "op": op}
        ops = ["eq", "neq", "in", "not_in"]
        if kind.ordered and kind.name != "boolean":
            ops += ["lt", "lte", "gt", "gte", "between"]
        if kind.name in ("text", "label"):
            ops.append("like")
        op = random.choice(ops)
        if op == "like":
            return {"column": column, "op": op, "value": random.choice(("a%", "%B%", "_", "A_"))}
        count = {"in": 3, "not_in": 2, "between": 2}.get(op, 1)
        given = [_spelled(_any(random, kind)) for _ in range(count)]
        several = op in ("in", "not_in", "between")
        return {"column": column, "op": op, "value": given if several else given[0]}

    def _ways(self, table: Table) -> list[tuple[str, Table, dict[str, Any]]]:
        """Ways to other rows: the verb, the table, and the columns that lead there."""
        ways: list[tuple[str, Table, dict[str, Any]]] = [
            ("belongs_to", self._tables[link.target], {"column": link.column})
            for link in table.links
        ]
        for related in self._tables.values() if table.single is not None else ():
            for link in related.links:
                if link.target != table.name:
                    continue
                ways.append(("has_many", related, {"foreign_key": link.column}))
                for other in related.links:
                    if other is not link:
                        keys = {"left_key": link.column, "right_key": other.column}
                        through = {"table": quoted(related.name), **keys}
                        far = self._tables[other.target]
                        ways.append(("many_to_many", far, {"through": through}))
        return ways

    def _relation(
        self, verb: str, table: Table, way: dict[str, Any], *, depth: int
    ) -> dict[str, Any]:
        random = self._random
        found = {"table": quoted(table.name), **way}
        if table.single is None:
            found["primary_key"] = table.key[0]
        if tests := self.tests(table):
            found["filters"] = tests
        if verb != "belongs_to" and random.random() < 0.4:
            return self._aggregate(table, found)
        if verb == "has_many" and random.random() < 0.3:
            verb = "has_one"
        ordered = [name for name, kind in table.columns.items() if kind.ordered]
        if verb != "belongs_to" and ordered and random.random() < 0.7:
            names = random.sample(ordered, random.randint(1, min(2, len(ordered))))
            found["order_by"] = [
                {"column": name, "direction": random.choice(("asc", "desc"))} for name in names
            ]
        if verb in ("has_many", "many_to_many") and random.random() < 0.4:
            found["limit"] = random.randint(1, 3)
        return {verb: self._name("r"), **found, "fields": self.of(table, depth - 1)}

    def _aggregate(self, table: Table, found: dict[str, Any]) -> dict[str, Any]:
        random = self._random
        added = [name for name, kind in table.columns.items() if kind.added]
        extremes = [
            name
            for name, kind in table.columns.items()
            if kind.ordered and kind.name not in ("boolean", "single")
        ]
        identifying = table.columns[found.get("primary_key", table.key[0])]
        verbs = [
            "count",
            *(["ids"] if "binary" not in identifying.fields else ()),
            *(["sum", "avg"] if added else ()),
            *(["min", "max"] if extremes else ()),
        ]
        verb = random.choice(verbs)
        through = "through" in found
        if verb != "ids" and not through:
            found.pop("primary_key", None)
        if verb in ("sum", "avg"):
            found["column"] = random.choice(added)
            if verb == "sum":
                found["value_type"] = "decimal"
        elif verb in ("min", "max"):
            found["column"] = random.choice(extremes)
            found["value_type"] = _plain(table.columns[found["column"]])
        elif verb == "ids":
            key = found.setdefault("primary_key", table.key[0])
            found["element_type"] = _plain(table.columns[key])
        return {verb: self._name("a"), **found}


def _plain(kind: Kind) -> str:
    return kind.fields[0]


def _spelled(value: Any) -> Any:
    """A filter's value in a schema file."""
    return float(value) if isinstance(value, Decimal) else value
