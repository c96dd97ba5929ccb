"""How keys are spelled, and compared with their spelling.

A key's text is what the type's output function gives: the change stream spells it so, and so
must every query. A cast to text often does the same, but not always: `boolean` casts to `true`
and is written `t`, `inet` casts with a mask, `char(n)` without its padding.
"""

from __future__ import annotations

from flusso_source_postgres.catalogue import Column

_CAST_IS_OUTPUT = frozenset(
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
        "numeric",
        "bytea",
    }
)

# Types of which two values that are equal are always spelled alike. `numeric` is not one of them
# (1.0 = 1.00), nor are `citext`, `char(n)` and floats (0 = -0). `timetz` and `interval` neither.
_EQUAL_IS_SAME = frozenset(
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
        "boolean",
    }
)

_UNBOUNDED = {"character": "pg_catalog.bpchar", "bit": 'pg_catalog."bit"'}

_INTEGERS = frozenset({"smallint", "integer", "bigint"})
_STRINGS = frozenset({"text", "character varying"})


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
    """Whether values of these two columns that are equal always have the same text."""
    if not (is_canonical(one) and is_canonical(other)):
        return False
    return one.base_oid == other.base_oid or any(
        one.base_type in family and other.base_type in family for family in (_INTEGERS, _STRINGS)
    )


def any_of(parameter: int, column: Column) -> str:
    """A condition's right side: one of the texts in that parameter, an array of text.

    The array is cast as a whole, so that an index on the column serves.
    """
    if column.category == "A":  # an array of arrays would be flattened
        return f"IN (SELECT v::{key_type(column)} FROM unnest(${parameter}::text[]) AS u (v))"
    return f"= ANY(${parameter}::text[]::{key_type(column)}[])"
