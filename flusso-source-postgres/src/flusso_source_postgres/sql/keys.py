"""How keys are spelled, and compared with their spelling.

A key's text is what the type's output function gives: the change stream spells it so, and so
must every query. A cast to text often does the same, but not always: `boolean` casts to `true`
and is written `t`, `inet` casts with a mask, `char(n)` without its padding.

No schema is searched for names (V6), so the operators of a type that an extension brings are named
with theirs: a bare `=` would compare `citext` as text.
"""

from __future__ import annotations

from flusso_source_postgres.catalogue import Column
from flusso_source_postgres.sql.text import identifier

# Types of which two values that are equal are always spelled alike, as a cast to text spells them.
_PLAIN = frozenset(
    {
        "smallint",
        "integer",
        "bigint",
        "oid",
        "uuid",
        "date",
        "timestamp without time zone",
        "timestamp with time zone",
        "time without time zone",
        "text",
        "character varying",
        "bytea",
    }
)
_CAST_IS_OUTPUT = _PLAIN | {"numeric"}

# `numeric` is not one of them (1.0 = 1.00), nor are `citext`, `char(n)` and floats (0 = -0).
# `timetz` and `interval` neither.
_EQUAL_IS_SAME = _PLAIN | {"boolean"}

_UNBOUNDED = {"character": "pg_catalog.bpchar", "bit": 'pg_catalog."bit"'}

# Types whose values are spelled alike, each with room for the values of those before it. A text as
# the key of a `character varying` is cast without a length.
_WIDENING = (
    ("smallint", "integer", "bigint"),
    ("character varying", "text"),
    ("text", "character varying"),
)


def key_text(expression: str, column: Column) -> str:
    """The key column's text, as the change stream spells it."""
    if column.base_type in _CAST_IS_OUTPUT:
        return f"{expression}::text"
    # `concat` uses the type's output function, whatever casts there are.
    return f"concat({expression})"


def key_type(column: Column) -> str:
    """The type that a key's text is cast to. A bare `character` or `bit` would mean length 1."""
    return _UNBOUNDED.get(column.base_type, column.base_type)


def is_canonical(column: Column) -> bool:
    """Whether equal values of the column always have the same text."""
    return column.base_type in _EQUAL_IS_SAME or column.type_kind == "e"


def same_text(one: Column, other: Column) -> bool:
    """Whether every value of the one column, as it is spelled, may be a key of the other one's.

    Not so where equal values may be spelled differently, nor where the other type is too narrow
    for some values: a `bigint` that points nowhere would be out of range for an `integer` key.
    """
    if not (is_canonical(one) and is_canonical(other)):
        return False
    return one.base_oid == other.base_oid or any(
        one.base_type in family
        and other.base_type in family
        and family.index(one.base_type) <= family.index(other.base_type)
        for family in _WIDENING
    )


def operator(symbol: str, column: Column | None, other: Column | None = None) -> str:
    """The operator that compares a column with values of its own type, or of another column's."""
    if column is None or column.operators == "pg_catalog":
        return symbol
    if other is not None and other.base_oid != column.base_oid:
        return symbol
    return f"OPERATOR({identifier(column.operators)}.{symbol})"


def any_of(parameter: int, column: Column) -> str:
    """A set to compare a column with: the texts in that parameter, an array of text.

    The array is cast as a whole, so that an index on the column serves.
    """
    if column.category == "A":  # an array of arrays would be flattened
        return f"ANY (SELECT v::{key_type(column)} FROM unnest(${parameter}::text[]) AS u (v))"
    return f"ANY (${parameter}::text[]::{key_type(column)}[])"
