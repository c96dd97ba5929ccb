"""The documents that there must be, by plain Python over `SELECT *`, without flusso's code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any, TypeAlias, cast

import psycopg
from psycopg.rows import TupleRow

from .kinds import STRINGS, About, Number
from .worlds import Field, Group, Index, Relation, Table, Test, Value, World

Row: TypeAlias = dict[str, str | None]
Rows: TypeAlias = dict[str, list[Row]]
"""The rows of each table, by its quoted name; values as Postgres writes them."""

_EXACT = Context(prec=200)


def read_rows(connection: psycopg.Connection[TupleRow], world: World) -> Rows:
    """Everything there is, in one snapshot."""
    found: Rows = {}
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        for table in world.tables:
            result = connection.execute(f"SELECT * FROM {table.sql}".encode()).pgresult
            assert result is not None
            names = [(result.fname(place) or b"").decode() for place in range(result.nfields)]
            values = [
                [result.get_value(row, place) for place in range(result.nfields)]
                for row in range(result.ntuples)
            ]
            found[table.sql] = [
                {
                    name: None if value is None else value.decode()
                    for name, value in zip(names, row, strict=True)
                }
                for row in values
            ]
    return found


def documents(index: Index, rows: Rows) -> dict[str, Any]:
    """Every document of the index, by its id."""
    kinds = index.table.columns
    found: dict[str, Any] = {}
    for row in rows[index.table.sql]:
        if not passes(row, index.tests, index.table):
            continue
        if index.soft_delete is not None and passes(row, index.when, index.table):
            value = row[index.soft_delete]
            boolean = kinds[index.soft_delete].sql == "boolean"
            if value == "t" if boolean else value is not None:
                continue
        found[identity([row[one] or "" for one in index.table.key])] = _object(
            index.fields, row, index.table, index.table.single, rows
        )
    return found


def identity(key: Sequence[str]) -> str:
    """The id of the document with that key."""
    text = key[0]
    if len(key) > 1:
        text = json.dumps(key, ensure_ascii=False, separators=(",", ":"))
    if text == "" or text[0] == "~":
        text = f"~{text}"
    encoded = text.encode()
    return text if len(encoded) <= 512 else f"~sha256:{hashlib.sha256(encoded).hexdigest()}"


def passes(row: Row, tests: Iterable[Test], table: Table) -> bool:
    """Whether the row passes all of the filters."""
    return all(_passes(row[test.column], test, table) for test in tests)


def _passes(value: str | None, test: Test, table: Table) -> bool:
    if test.op in ("is_null", "is_not_null", "raw"):
        return (value is None) == (test.op == "is_null")
    if value is None:
        return False
    kind = table.columns[test.column]
    rank = kind.rank(value)
    others = [kind.rank(one) for one in test.values]
    match test.op:
        case "eq" | "in":
            return rank in others
        case "neq" | "not_in":
            return rank not in others
        case "lt":
            return rank < others[0]
        case "lte":
            return rank <= others[0]
        case "gt":
            return rank > others[0]
        case "gte":
            return rank >= others[0]
        case _:
            return others[0] <= rank <= others[1]


def _object(
    fields: Iterable[Field], row: Row, table: Table, start: str | None, rows: Rows
) -> dict[str, Any]:
    return {one.name: _field(one, row, table, start, rows) for one in fields}


def _field(one: Field, row: Row, table: Table, start: str | None, rows: Rows) -> Any:
    if isinstance(one, Value):
        return _value(one, row[one.column], table)
    if isinstance(one, Group):
        return _object(one.fields, row, table, start, rows)
    found = _related(one, row, table, start, rows)
    match one.verb:
        case "belongs_to" | "has_one":
            return _object(one.fields, found[0], one.table, one.key, rows) if found else None
        case "has_many" | "many_to_many":
            return [_object(one.fields, each, one.table, one.key, rows) for each in found]
        case _:
            return _aggregate(one, found)


def _value(one: Value, text: str | None, table: Table) -> Any:
    if text is None:
        return one.default
    for transform in one.transforms:
        text = text.lower() if transform == "lowercase" else text.strip(" ")
    return _typed(text, table, one.column, one.type) if not one.transforms else text


def _typed(text: str, table: Table, column: str, type_: str) -> Any:
    kind = table.columns[column]
    if type_ in STRINGS and kind.fields[0] not in ("timestamp", "date"):
        return kind.textual(text)
    return kind.json(text)


def _same(one: str | None, table: Table, column: str, other: str, there: Table, to: str) -> bool:
    """Whether two values of columns that point at each other are equal."""
    if one is None:
        return False
    kind, pointed = table.columns[column], there.columns[to]
    if kind is pointed:
        return kind.rank(one) == pointed.rank(other)
    return one == other


def _related(one: Relation, row: Row, table: Table, start: str | None, rows: Rows) -> list[Row]:
    """The related rows that qualify, in their order, as many as there may be."""
    candidates = [each for each in rows[one.table.sql] if passes(each, one.tests, one.table)]
    if one.column is not None:
        value, key = row[one.column], one.key or ""
        found = [
            each
            for each in candidates
            if value is not None
            and each[key] is not None
            and _same(value, table, one.column, each[key] or "", one.table, key)
        ]
    elif one.foreign_key is not None:
        found = [
            each
            for each in candidates
            if _same(
                each[one.foreign_key],
                one.table,
                one.foreign_key,
                row[start or ""] or "",
                table,
                start or "",
            )
        ]
    else:
        found = _far(one, row, table, start, candidates, rows)
    ties = [*([] if one.key is None else [one.key]), *one.table.key]
    order = [*one.order, *[(name, False) for name in ties]]
    for name, down in reversed(order):
        kind = one.table.columns[name]

        def rank(each: Row, name: str = name, kind: Any = kind) -> tuple[bool, int]:
            value = each[name]
            return (True, 0) if value is None else (False, kind.rank(value))

        found.sort(key=rank, reverse=down)
    if one.verb in ("belongs_to", "has_one"):
        return found[:1]
    return found[: one.limit]


def _far(
    one: Relation,
    row: Row,
    table: Table,
    start: str | None,
    candidates: Iterable[Row],
    rows: Rows,
) -> list[Row]:
    assert one.through is not None
    junction, left, right = one.through
    pairs = [
        pair
        for pair in rows[junction.sql]
        if _same(pair[left], junction, left, row[start or ""] or "", table, start or "")
    ]
    key = one.key or one.table.key[0]
    return [
        each
        for each in candidates
        if any(
            _same(pair[right], junction, right, each[key] or "", one.table, key) for pair in pairs
        )
    ]


def _aggregate(one: Relation, found: Sequence[Row]) -> Any:
    if one.verb == "count":
        return Number(str(len(found)))
    if one.verb == "ids":
        key = one.key or ""
        return [_typed(each[key] or "", one.table, key, one.type or "") for each in found]
    over = one.over or ""
    kind = one.table.columns[over]
    texts = [text for each in found if (text := each[over]) is not None]
    if not texts:
        return None
    if one.verb in ("min", "max"):
        pick = min if one.verb == "min" else max
        return _typed(pick(texts, key=kind.rank), one.table, over, one.type or "")
    total = Decimal(0)
    for text in texts:
        total = _EXACT.add(total, Decimal(text))
    if one.verb == "sum":
        return Number(f"{total:f}") if total.is_finite() else str(total)
    if not total.is_finite():
        return str(total)
    return About(float(Fraction(total) / len(texts)))


def same(expected: Any, found: Any) -> bool:
    """Whether a document is what it must be, to the last digit, its fields in their order."""
    match expected, found:
        case About(value=value), Number(text=text):
            return abs(float(text) - value) <= 1e-12 * abs(value)
        case Number() | About(), _:
            return isinstance(found, Number) and expected == found
        case dict(), dict():
            one, other = cast("Mapping[str, Any]", expected), cast("Mapping[str, Any]", found)
            return list(one) == list(other) and all(same(one[name], other[name]) for name in one)
        case list(), list():
            elements, others = cast("Sequence[Any]", expected), cast("Sequence[Any]", found)
            return len(elements) == len(others) and all(map(same, elements, others))
        case _:
            return type(expected) is type(found) and bool(expected == found)
