"""Random worlds: tables with links among them, and schemas of documents over these tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from psycopg import sql

from flusso_core.schema import parse_schema
from flusso_core.schema.model import IndexSchema

from .kinds import ADDED, FAMILIES, KINDS, ORDERED, STRINGS, TYPES, Kind

DEPTH = 4
"""Levels of relations in a document."""

SCHEMAS = ("public", 'Other "Schema"')
TABLE_NAMES = ("items", "Order Items", "select", 'say "hi"', "sélect", "x" * 63, "with.dot", "%s$1")
COLUMN_NAMES = ("name", "Mixed Case", "group", 'q"uote', "it's", "ünï", "$1", "%s", "a.b", "n" * 63)


def quoted(*names: str) -> str:
    """Names as SQL has them, and schema files too."""
    return sql.Identifier(*names).as_string()


@dataclass(frozen=True)
class Link:
    """A column that points at the key of a table."""

    column: str
    target: str
    declared: str = ""


@dataclass
class Table:
    """A table: its columns by name, its key, what points where."""

    schema: str
    name: str
    columns: dict[str, Kind]
    key: tuple[str, ...]
    links: list[Link] = field(default_factory=list[Link])
    keyed: bool = True
    partitioned: bool = False

    @property
    def sql(self) -> str:
        """Its quoted name."""
        return quoted(self.schema, self.name)

    @property
    def single(self) -> str | None:
        """Its key column, where there is just one."""
        return self.key[0] if self.keyed and len(self.key) == 1 else None

    def ddl(self) -> Iterator[str]:
        """How it is made."""
        columns = [
            f"{quoted(name)} {kind.sql}{' NOT NULL' if name in self.key else ''}"
            for name, kind in self.columns.items()
        ]
        if self.keyed:
            columns.append(f"PRIMARY KEY ({', '.join(map(quoted, self.key))})")
        by = f" PARTITION BY HASH ({quoted(self.key[0])})" if self.partitioned else ""
        yield f"CREATE TABLE {self.sql} ({', '.join(columns)}){by}"
        if self.partitioned:
            for part in range(2):
                name = quoted(self.schema, f"{self.name[:50]} {part}")
                yield (
                    f"CREATE TABLE {name} PARTITION OF {self.sql} "
                    f"FOR VALUES WITH (MODULUS 2, REMAINDER {part})"
                )


@dataclass(frozen=True)
class Test:
    """A filter; `op` is `raw` for one that is written in SQL: the column is not null."""

    column: str
    op: str
    values: tuple[str, ...] = ()

    def spelled(self, kind: Kind) -> dict[str, Any]:
        """The filter in a schema file."""
        if self.op == "raw":
            return {"raw": f"{quoted(self.column)} IS NOT NULL -- it's there"}
        found: dict[str, Any] = {"column": quoted(self.column), "op": self.op}
        if self.values:
            integers = kind.sql in ("smallint", "integer", "bigint")
            values = [int(one) if integers else one for one in self.values]
            found["value"] = values if self.op in ("in", "not_in", "between") else values[0]
        return found


@dataclass(frozen=True)
class Value:
    """A column's value."""

    name: str
    type: str
    column: str
    transforms: tuple[str, ...] = ()
    default: str | None = None

    def spelled(self, table: Table) -> dict[str, Any]:
        """The field in a schema file."""
        found: dict[str, Any] = {self.type: self.name, "column": quoted(self.column)}
        if self.transforms:
            found["transforms"] = list(self.transforms)
        if self.default is not None:
            found["default"] = self.default
        return found


@dataclass(frozen=True)
class Group:
    """Fields of the same row under one key."""

    name: str
    fields: tuple[Value | Group | Relation, ...]

    def spelled(self, table: Table) -> dict[str, Any]:
        """The field in a schema file."""
        return {"object": self.name, "fields": [one.spelled(table) for one in self.fields]}


@dataclass(frozen=True)
class Relation:
    """A join or an aggregate.

    Attributes:
        verb: the type key.
        table: the related one.
        key: the column that identifies its rows and that its own relations start from.
        column: of the row above (`belongs_to`).
        foreign_key: of the related row.
        through: a junction and its two columns.
        over: what is aggregated, and the type of that.
    """

    name: str
    verb: str
    table: Table
    key: str | None = None
    column: str | None = None
    foreign_key: str | None = None
    through: tuple[Table, str, str] | None = None
    tests: tuple[Test, ...] = ()
    order: tuple[tuple[str, bool], ...] = ()
    limit: int | None = None
    fields: tuple[Value | Group | Relation, ...] = ()
    over: str | None = None
    type: str | None = None

    def spelled(self, table: Table) -> dict[str, Any]:
        """The field in a schema file."""
        found: dict[str, Any] = {self.verb: self.name, "table": self.table.sql}
        if self.key is not None and self.key != self.table.single:
            found["primary_key"] = quoted(self.key)
        if self.column is not None:
            found["column"] = quoted(self.column)
        if self.foreign_key is not None:
            found["foreign_key"] = quoted(self.foreign_key)
        if self.through is not None:
            junction, left, right = self.through
            keys = {"left_key": quoted(left), "right_key": quoted(right)}
            found["through"] = {"table": junction.sql, **keys}
        if self.tests:
            kinds = self.table.columns
            found["filters"] = [one.spelled(kinds[one.column]) for one in self.tests]
        if self.order:
            found["order_by"] = [
                {"column": quoted(name), "direction": "desc" if down else "asc"}
                for name, down in self.order
            ]
        if self.limit is not None:
            found["limit"] = self.limit
        if self.fields:
            found["fields"] = [one.spelled(self.table) for one in self.fields]
        if self.over is not None:
            found["column"] = quoted(self.over)
        if self.type is not None:
            found["element_type" if self.verb == "ids" else "value_type"] = self.type
        return found


Field = Value | Group | Relation


@dataclass(frozen=True)
class Index:
    """An index: its root table, which rows qualify, the fields of a document."""

    name: str
    table: Table
    fields: tuple[Field, ...]
    tests: tuple[Test, ...] = ()
    soft_delete: str | None = None
    when: tuple[Test, ...] = ()

    def text(self) -> str:
        """The schema file."""
        kinds = self.table.columns
        found: dict[str, Any] = {
            "version": 1,
            "table": quoted(self.table.name),
            "schema": quoted(self.table.schema),
            "fields": [one.spelled(self.table) for one in self.fields],
        }
        if self.tests:
            found["filters"] = [one.spelled(kinds[one.column]) for one in self.tests]
        if self.soft_delete is not None:
            soft_delete: dict[str, Any] = {"column": quoted(self.soft_delete)}
            if self.when:
                soft_delete["when"] = [one.spelled(kinds[one.column]) for one in self.when]
            found["soft_delete"] = soft_delete
        return json.dumps(found, ensure_ascii=False, indent=1)

    def schema(self) -> IndexSchema:
        """The schema, as flusso reads the file."""
        return parse_schema(self.text(), self.name, f"{self.name}.schema.yml")


@dataclass
class World:
    """Tables, and indexes over them."""

    tables: list[Table]
    indexes: list[Index]

    def ddl(self) -> list[str]:
        """How its tables are made."""
        schemas = [f"CREATE SCHEMA {quoted(name)}" for name in SCHEMAS[1:]]
        by_name = {table.sql: table for table in self.tables}
        keys = [
            f"ALTER TABLE {table.sql} ADD FOREIGN KEY ({quoted(link.column)}) "
            f"REFERENCES {link.target} ({quoted(by_name[link.target].key[0])}) {link.declared}"
            for table in self.tables
            for link in table.links
            if link.declared
        ]
        return [TYPES, *schemas, *(one for table in self.tables for one in table.ddl()), *keys]


def random_world(random: Random) -> World:
    """Three to six tables with links among them, and one to three indexes."""
    names = random.sample(TABLE_NAMES, random.randint(3, 6))
    tables = [_table(random, name, single=not place) for place, name in enumerate(names)]
    pointed_at = [table for table in tables if table.single is not None]
    for table in tables:
        for number in range(random.randint(1, 3)):
            _link(random, table, random.choice(pointed_at), number)
    indexes = [_index(random, f"index{number}", tables) for number in range(random.randint(1, 3))]
    return World(tables, indexes)


def _table(random: Random, name: str, *, single: bool) -> Table:
    columns = {
        column: KINDS[random.choice(tuple(KINDS))]
        for column in random.sample(COLUMN_NAMES, random.randint(2, 5))
    }
    size = 1 if single or random.random() < 0.8 else 2
    key = tuple([f"Key {place}" if random.random() < 0.3 else f"k{place}" for place in range(size)])
    kinds = [kind for kind in KINDS.values() if kind.key]
    # As often as not what most tables have.
    plain = [KINDS[name] for name in ("integer", "bigint", "uuid", "text")]
    columns = {one: random.choice(random.choice((kinds, plain))) for one in key} | columns
    partitioned = random.random() < 0.15 and columns[key[0]].sql != KINDS["money"].sql
    return Table(random.choice(SCHEMAS), name, columns, key, partitioned=partitioned)


def _link(random: Random, table: Table, target: Table, number: int) -> None:
    key = target.key[0]
    kind = target.columns[key]
    declared = ""
    if random.random() < 0.4:
        delete = random.choice(("CASCADE", "SET NULL", "NO ACTION"))
        declared = f"ON DELETE {delete} ON UPDATE CASCADE"
    elif random.random() < 0.3:
        (name,) = [name for name, one in KINDS.items() if one is kind]
        kind = KINDS[random.choice((name, *FAMILIES.get(name, ())))]
    column = f"link {number}"
    table.columns[column] = kind
    table.links.append(Link(column, target.sql, declared))


class _Fields:
    """Makes up the fields of documents."""

    def __init__(self, random: Random, tables: Sequence[Table]) -> None:
        self._random = random
        self._tables = tables
        self._names = 0

    def of(self, table: Table, start: str | None, depth: int) -> tuple[Field, ...]:
        """Fields of a row of the table; relations start from its column `start`."""
        random = self._random
        fields: list[Field] = [
            self._value(table, column)
            for column in random.sample(list(table.columns), random.randint(1, 3))
        ]
        if random.random() < 0.15:
            column = random.choice(list(table.columns))
            inner: list[Field] = [self._value(table, column)]
            if depth:
                inner += self._relations(table, start, depth, 1)
            fields.append(Group(self._name("group"), tuple(inner)))
        if depth:
            fields += self._relations(table, start, depth, random.choice((0, 1, 1, 2, 3)))
        return tuple(fields)

    def tests(self, table: Table, often: float = 0.3) -> tuple[Test, ...]:
        """Filters of the table's rows, mostly none."""
        random = self._random
        if random.random() > often:
            return ()
        return tuple(self._test(table) for _ in range(random.choice((1, 1, 2))))

    def _name(self, prefix: str) -> str:
        self._names += 1
        return f"{prefix}{self._names}"

    def _value(self, table: Table, column: str) -> Value:
        random = self._random
        kind = table.columns[column]
        type_ = random.choice(kind.fields)
        texts = type_ in STRINGS and kind.fields[0] == "text" and kind is not KINDS["long"]
        transforms = tuple(random.sample(("lowercase", "trim"), random.choice((0, 1, 2))))
        default = 'dé"fault' if type_ in ("text", "keyword") and random.random() < 0.3 else None
        return Value(self._name("f"), type_, column, transforms if texts else (), default)

    def _test(self, table: Table) -> Test:
        random = self._random
        column = random.choice(list(table.columns))
        kind = table.columns[column]
        ordered = any(kind is KINDS[name] for name in ORDERED) and kind is not KINDS["mood"]
        if not ordered or random.random() < 0.25:
            return Test(column, random.choice(("is_null", "is_not_null", "raw")))
        op = random.choice(
            ("eq", "neq", "lt", "lte", "gt", "gte", "in", "not_in", "between")
            if kind is not KINDS["boolean"]
            else ("eq", "neq", "in")
        )
        count = {"in": 3, "not_in": 2, "between": 2}.get(op, 1)
        return Test(column, op, tuple(random.choice(kind.values) for _ in range(count)))

    def _relations(self, table: Table, start: str | None, depth: int, count: int) -> list[Relation]:
        ways: list[Relation] = []
        for link in table.links:
            target = self._by_name(link.target)
            ways.append(Relation("", "belongs_to", target, target.key[0], column=link.column))
        if start is not None and start == table.single:
            for related in self._tables:
                ways += self._downward(table, related)
        picked = self._random.sample(ways, min(count, len(ways)))
        return [
            self._relation(way, depth)
            for way in picked
            # Neighbours over the same rows are read at once.
            for _ in range(1 if way.verb == "belongs_to" else self._random.choice((1, 1, 2, 3)))
        ]

    def _downward(self, table: Table, related: Table) -> Iterator[Relation]:
        key = related.single or self._random.choice(related.key)
        to_here = [link.column for link in related.links if link.target == table.sql]
        for column in to_here:
            yield Relation("", "has_many", related, key, foreign_key=column)
            others = [link for link in related.links if link.column != column]
            for link in others:
                target = self._by_name(link.target)
                through = (related, column, link.column)
                yield Relation("", "many_to_many", target, target.key[0], through=through)

    def _relation(self, way: Relation, depth: int) -> Relation:
        random = self._random
        table, verb = way.table, way.verb
        tests = self.tests(table)
        if verb != "belongs_to" and random.random() < 0.35:
            return self._aggregate(way, tests)
        order: tuple[tuple[str, bool], ...] = ()
        limit: int | None = None
        if verb == "has_many" and random.random() < 0.3:
            verb = "has_one"
        if verb != "belongs_to" and random.random() < 0.6:
            columns = [
                name
                for name, kind in table.columns.items()
                if any(kind is KINDS[one] for one in ORDERED)
            ]
            picked = random.sample(columns, min(len(columns), random.choice((1, 1, 2))))
            order = tuple([(column, random.random() < 0.5) for column in picked])
        if verb in ("has_many", "many_to_many") and random.random() < 0.4:
            limit = random.randint(1, 3)
        fields = self.of(table, way.key, depth - 1)
        return Relation(
            self._name(verb),
            verb,
            table,
            way.key,
            column=way.column,
            foreign_key=way.foreign_key,
            through=way.through,
            tests=tests,
            order=order,
            limit=limit,
            fields=fields,
        )

    def _aggregate(self, way: Relation, tests: tuple[Test, ...]) -> Relation:
        random = self._random
        table = way.table
        added = [
            name for name, kind in table.columns.items() if any(kind is KINDS[one] for one in ADDED)
        ]
        extremes = [
            name
            for name, kind in table.columns.items()
            if kind.exact and any(kind is KINDS[one] for one in ORDERED) and kind.sql != "boolean"
        ]
        verbs = ["count", "ids"]
        verbs += ["sum", "avg"] if added else []
        verbs += ["min", "max"] if extremes else []
        verb = random.choice(verbs)
        over: str | None = None
        type_: str | None = None
        if verb in ("sum", "avg"):
            over = random.choice(added)
            type_ = "decimal" if verb == "sum" else None
        elif verb in ("min", "max"):
            over = random.choice(extremes)
            type_ = random.choice(_plain(table.columns[over]))
        elif verb == "ids":
            type_ = random.choice(_plain(table.columns[way.key or ""]))
        key = way.key if verb == "ids" or way.through is not None else None
        return Relation(
            self._name(verb),
            verb,
            table,
            key,
            foreign_key=way.foreign_key,
            through=way.through,
            tests=tests,
            over=over,
            type=type_,
        )

    def _by_name(self, name: str) -> Table:
        return next(table for table in self._tables if table.sql == name)


def _plain(kind: Kind) -> list[str]:
    """The types of an aggregate's value that fit."""
    return [one for one in kind.fields if one not in ("binary", "json")]


def _index(random: Random, name: str, tables: Sequence[Table]) -> Index:
    fields = _Fields(random, tables)
    table = random.choice([table for table in tables if table.keyed])
    soft = random.choice(list(table.columns)) if random.random() < 0.25 else None
    if soft in table.key:
        soft = None
    return Index(
        name,
        table,
        fields.of(table, table.single, random.randint(1, DEPTH)),
        tests=fields.tests(table),
        soft_delete=soft,
        when=fields.tests(table) if soft is not None else (),
    )
