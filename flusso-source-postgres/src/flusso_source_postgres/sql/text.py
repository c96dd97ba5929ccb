"""Quoting, and putting text together."""

from __future__ import annotations

import json
from collections.abc import Sequence

from psycopg import sql

from flusso_core.model import JsonValue, TableName


def identifier(name: str) -> str:
    """A quoted identifier."""
    return sql.Identifier(name).as_string()


def table_name(table: TableName) -> str:
    """A quoted, schema-qualified table name."""
    return sql.Identifier(table.schema, table.name).as_string()


def literal(text: str) -> str:
    """A quoted string without a type: Postgres gives it the type that its place asks for."""
    return sql.Literal(text).as_string().strip()


def json_text(value: JsonValue) -> str:
    """Compact JSON on one line. What JSON has no number for becomes a string."""
    if isinstance(value, float) and value != value:  # noqa: PLR0124  # NaN alone is unlike itself
        return '"NaN"'
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return '"Infinity"' if value > 0 else '"-Infinity"'
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class Text(str):
    """A piece of JSON that is the same in every document."""

    __slots__ = ()


class Expression(str):
    """A piece of SQL that gives a piece of JSON as text, never NULL."""

    __slots__ = ()


Piece = Text | Expression


def concatenated(pieces: Sequence[Piece]) -> str:
    """An SQL expression that puts the pieces together.

    The concatenation is a balanced tree: a chain would copy a long document once for each of its
    fields, and a deep one meets the server's `max_stack_depth`.
    """
    return _tree([_operand(piece) for piece in _merged(pieces)])


def _merged(pieces: Sequence[Piece]) -> list[Piece]:
    merged: list[Piece] = []
    for piece in pieces:
        if merged and isinstance(piece, Text) and isinstance(merged[-1], Text):
            merged[-1] = Text(merged[-1] + piece)
        else:
            merged.append(piece)
    return merged


def _operand(piece: Piece) -> str:
    return f"{literal(piece)}::text" if isinstance(piece, Text) else piece


def _tree(operands: Sequence[str]) -> str:
    if len(operands) <= 3:
        return " || ".join(operands)
    middle = len(operands) // 2
    return f"({_tree(operands[:middle])}) || ({_tree(operands[middle:])})"
