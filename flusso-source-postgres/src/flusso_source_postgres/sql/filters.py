"""A schema's filters as SQL conditions over the one table in their scope."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flusso_core.schema.model import (
    Comparison,
    Filter,
    IndexSchema,
    Operator,
    RawFilter,
    Scalar,
    SoftDelete,
)
from flusso_source_postgres.catalogue import Column, Table
from flusso_source_postgres.sql.keys import operator
from flusso_source_postgres.sql.text import identifier, literal

_BINARY = {
    Operator.EQ: "=",
    Operator.NEQ: "<>",
    Operator.LT: "<",
    Operator.LTE: "<=",
    Operator.GT: ">",
    Operator.GTE: ">=",
}
_PATTERN = {Operator.LIKE: "LIKE", Operator.ILIKE: "ILIKE"}
_INTEGERS = frozenset({"smallint", "integer", "bigint"})
_STRINGS = frozenset({"text", "character varying", "character", "name"})


def conditions(filters: Sequence[Filter], table: Table) -> list[str]:
    """One SQL condition a filter, each in parentheses. Columns stand unqualified.

    As everywhere in SQL, a comparison with NULL is neither true nor false: the row does not pass.
    """
    return [f"({_condition(one, table)})" for one in filters]


def qualifies(schema: IndexSchema, table: Table) -> list[str]:
    """Conditions that together say whether a root row has a document."""
    found = conditions(schema.filters, table)
    if schema.soft_delete is not None:
        found.append(f"({_alive(schema.soft_delete, table)})")
    return found


def _alive(soft_delete: SoftDelete, table: Table) -> str:
    column = table.column(soft_delete.column)
    name = identifier(soft_delete.column)
    boolean = column is not None and column.base_type == "boolean"
    deleted = [name if boolean else f"{name} IS NOT NULL"]
    deleted += conditions(soft_delete.when, table)
    return f"({' AND '.join(deleted)}) IS NOT TRUE"


def _condition(one: Filter, table: Table) -> str:
    if isinstance(one, RawFilter):
        # On a line of its own: a comment at the end of it must not swallow the parenthesis.
        return f"{one.sql}\n"
    return _comparison(one, table)


def _comparison(one: Comparison, table: Table) -> str:
    name = identifier(one.column)
    column = table.column(one.column)
    values = [_value(value, column) for value in one.values]

    def compared(symbol: str, value: str) -> str:
        return f"{name} {operator(symbol, column)} {value}"

    match one.op:
        case Operator.IN | Operator.NOT_IN if values and operator("=", column) == "=":
            return f"{name} {'NOT ' * (one.op is Operator.NOT_IN)}IN ({', '.join(values)})"
        case Operator.IS_NULL:
            return f"{name} IS NULL"
        case Operator.IS_NOT_NULL:
            return f"{name} IS NOT NULL"
        case Operator.IN:
            return " OR ".join(compared("=", one) for one in values) or "false"
        case Operator.NOT_IN:
            return " AND ".join(compared("<>", one) for one in values) or "true"
        case Operator.BETWEEN:
            return f"{compared('>=', values[0])} AND {compared('<=', values[1])}"
        case Operator.LIKE | Operator.ILIKE:
            text = column is not None and column.base_type in _STRINGS
            return f"{name}{'' if text else '::text'} {_PATTERN[one.op]} {values[0]}"
        case _:
            return compared(_BINARY[one.op], values[0])


def _value(value: Scalar, column: Column | None) -> str:
    """A literal without a type, so that it takes the column's own."""
    if value is None:
        return "NULL"
    whole = column is not None and column.base_type in _INTEGERS
    if whole and isinstance(value, float) and math.isfinite(value):
        return str(value)  # 1.5 is no integer, and yet comparable with one
    return literal(str(value).lower() if isinstance(value, bool) else str(value))
