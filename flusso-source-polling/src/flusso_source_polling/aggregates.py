"""Values that are computed over related rows, by the database, a group a row above."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, func, select

from flusso_core.errors import SourceFatal
from flusso_core.schema.model import AggregateField, AggregateFunction
from flusso_source_polling import values
from flusso_source_polling.dialects import Dialect, Expression
from flusso_source_polling.relations import Fetch, Found, Link, first

_EMPTY = {AggregateFunction.COUNT: "0", AggregateFunction.IDS: "[]"}


def aggregate(one: AggregateField, relation: Link, dialect: Dialect) -> tuple[Fetch, str]:
    """What reads the values of many groups, and the value of a group without rows."""
    match one.function:
        case AggregateFunction.COUNT | AggregateFunction.SUM | AggregateFunction.AVG:
            fetch = _computed(one, relation, dialect)
        case _:
            fetch = _picked(one, relation, dialect)
    return fetch, _EMPTY.get(one.function, "null")


def _computed(one: AggregateField, relation: Link, dialect: Dialect) -> Fetch:
    name = None if one.function is AggregateFunction.COUNT else _column(one, relation)

    def fetch(connection: Connection, texts: Sequence[str]) -> Found:
        rows, link, described = relation.rows(texts, dialect)
        computed: Expression = func.count()
        if name is not None:
            compute = dialect.mean if one.function is AggregateFunction.AVG else dialect.total
            computed = compute(rows.columns[name], relation.table.column(name))
        key = dialect.key(link, described)
        statement = select(key, computed).select_from(rows).group_by(link)
        found: list[tuple[str, str]] = []
        for text, raw in connection.execute(statement):
            value = int(raw) if name is None else dialect.computed(raw)
            found.append((dialect.key_text(text), values.value_text(value, one.type) or "null"))
        return relation.related(found, texts, many=False)

    return fetch


def _picked(one: AggregateField, relation: Link, dialect: Dialect) -> Fetch:
    ids = one.function is AggregateFunction.IDS
    name = one.primary_key if ids else _column(one, relation)
    if name is None:
        raise SourceFatal(f"aggregate {one.name!r} needs a key: name it in primary_key")
    column = relation.table.column(name)

    def fetch(connection: Connection, texts: Sequence[str]) -> Found:
        rows, link, described = relation.rows(texts, dialect)
        value = rows.columns[name]
        key = dialect.key(link, described).label("flusso_key")
        statement = select(dialect.read(value, column).label("flusso_value"), key)
        if ids:
            statement = statement.order_by(*relation.ordered(rows, (), dialect))
        else:
            # What the collation holds for equal is told apart, so that it is always the same one.
            order = [value, dialect.exact(value, column)]
            if one.function is AggregateFunction.MAX:
                order = [each.desc() for each in order]
            statement = first(statement.where(value.is_not(None)), link, order, 1)
        found: list[tuple[str, str]] = []
        for row in connection.execute(statement):
            text = values.value_text(
                dialect.value(row[0], column, one.type), one.type, json=dialect.is_json(column)
            )
            found.append((dialect.key_text(row[1]), text or "null"))
        return relation.related(found, texts, many=ids)

    return fetch


def _column(one: AggregateField, relation: Link) -> str:
    if one.column is None:
        raise SourceFatal(f"aggregate {one.name!r} needs a column")
    return relation.table.column(one.column).name
