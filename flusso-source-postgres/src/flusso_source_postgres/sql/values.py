"""How a column's value becomes JSON text.

Each function takes an SQL expression and gives one whose value is the JSON text, or NULL where
the column is NULL. What JSON has no spelling for stays a string as Postgres writes it: `"NaN"`,
`"Infinity"`, `"infinity"`, `"0044-03-15 BC"`. Numbers keep every digit. `to_json` follows the
session's settings, which every connection pins.
"""

from __future__ import annotations

from collections.abc import Sequence

from flusso_core.model import FieldType
from flusso_core.schema.model import Transform
from flusso_source_postgres.catalogue import Column

_INTEGERS = frozenset({"smallint", "integer", "bigint"})
_FRACTIONS = frozenset({"real", "double precision", "numeric"})
_STRINGS = frozenset({"text", "character varying", "name"})
_JSON = frozenset({"json", "jsonb"})

TEXTUAL = frozenset(
    {FieldType.TEXT, FieldType.IDENTIFIER, FieldType.KEYWORD, FieldType.ENUM, FieldType.UUID}
)
NUMERIC = frozenset(
    {
        FieldType.SHORT,
        FieldType.INTEGER,
        FieldType.LONG,
        FieldType.FLOAT,
        FieldType.DOUBLE,
        FieldType.DECIMAL,
    }
)


def value(
    expression: str,
    column: Column,
    field_type: FieldType,
    transforms: Sequence[Transform] = (),
) -> str:
    """The value of a field of that type, read from that column."""
    if column.category == "A":
        return _array(expression, column, field_type)
    if column.base_type in _JSON:
        return f"{expression}::text"
    if transforms or (field_type in TEXTUAL and not _is_json_string(column)):
        return f"to_json({transformed(as_text(expression, column), transforms)})::text"
    if field_type in NUMERIC and column.base_type == "oid":
        return f"{expression}::bigint::text"
    return natural(expression, column)


def natural(expression: str, column: Column) -> str:
    """The value as the column's own type suggests: a number, a boolean, json, else a string."""
    kind = column.base_type
    if kind in _INTEGERS or kind in _JSON or kind == "boolean":
        return f"{expression}::text"
    if kind == "money":
        return f"{expression}::numeric::text"
    if kind == "bytea":
        return base64(expression)
    return f"to_json({expression})::text"


def base64(expression: str) -> str:
    """A JSON string of the bytes in base64, on one line (`encode` breaks lines at 76)."""
    return f"""('"' || translate(encode({expression}, 'base64'), E'\\n', '') || '"')"""


def as_text(expression: str, column: Column) -> str:
    """The value as a text: what its JSON string would hold."""
    kind = column.base_type
    if kind in _STRINGS:
        return expression
    if kind in _INTEGERS or kind in _FRACTIONS or kind == "boolean" or column.type_kind == "c":
        return f"{expression}::text"
    if kind == "bytea":
        return f"translate(encode({expression}, 'base64'), E'\\n', '')"
    if column.category == "U" and column.type_kind == "b" and "." in kind:
        # A type of an extension may have a cast to json of its own (hstore has).
        return f"{expression}::text"
    # Not `::text`: it drops the padding of char(n), adds a mask to inet, has no T in timestamps.
    return f"(to_json({expression}) #>> '{{}}')"


def transformed(expression: str, transforms: Sequence[Transform]) -> str:
    """The text after its transforms, in their order. `trim` takes away spaces, as `btrim` does."""
    for transform in transforms:
        match transform:
            case Transform.LOWERCASE:
                expression = f"lower({expression})"
            case Transform.TRIM:
                expression = f"btrim({expression})"
    return expression


def point(lat: str, lon: str) -> str:
    """A geo point from two numeric expressions; NULL where one of them is."""
    return (
        f"CASE WHEN {lat} IS NOT NULL AND {lon} IS NOT NULL THEN "
        f"""'{{"lat":' || to_json({lat})::text || ',"lon":' || to_json({lon})::text || '}}' END"""
    )


_COORDINATES = r"E'^\\s*[-+]?\\d+(\\.\\d*)?\\s*,\\s*[-+]?\\d+(\\.\\d*)?\\s*$'"


def point_of(expression: str, column: Column) -> str:
    """A geo point from one column: json, a Postgres point (x is the longitude), or "lat,lon".

    An object or a text with a missing half is NULL; a text of another form stays as it is, for
    the destination to judge.
    """
    kind = column.base_type
    if kind == "point":
        return point(f"({expression})[1]", f"({expression})[0]")
    if kind in _JSON:
        whole = f"{expression}::jsonb"
        return (
            f"CASE WHEN jsonb_typeof({whole}) = 'object' AND ({whole} ? 'lat' OR {whole} ? 'lon') "
            f"AND ({whole} ->> 'lat' IS NULL OR {whole} ->> 'lon' IS NULL) THEN NULL "
            f"ELSE {expression}::text END"
        )
    text = as_text(expression, column)
    halves = [f"split_part({text}, ',', {half})" for half in (1, 2)]
    return (
        f"CASE WHEN {text} ~ {_COORDINATES} THEN "
        f"""'{{"lat":' || {halves[0]}::numeric::text || ',"lon":' || {halves[1]}::numeric::text """
        f"|| '}}' WHEN btrim({halves[0]}) = '' OR btrim({halves[1]}) = '' THEN NULL "
        f"ELSE to_json({text})::text END"
    )


def _is_json_string(column: Column) -> bool:
    """Whether `to_json` gives a JSON string of the text that `as_text` would."""
    kind = column.base_type
    return not (
        kind in _INTEGERS
        or kind in _FRACTIONS
        or kind in ("boolean", "bytea")
        or column.type_kind == "c"
        or (column.category == "U" and column.type_kind == "b" and "." in kind)
    )


def _array(expression: str, column: Column, field_type: FieldType) -> str:
    if column.base_type == "bytea[]":
        elements = f"coalesce({base64('e')}, 'null')"
        return (
            f"CASE WHEN {expression} IS NOT NULL THEN '[' || array_to_string(ARRAY("
            f"SELECT {elements} FROM unnest({expression}) WITH ORDINALITY AS u (e, n) ORDER BY n)"
            ", ',') || ']' END"
        )
    if column.base_type == "money[]":
        return f"to_json({expression}::numeric[])::text"
    numbers = column.base_type.removesuffix("[]") in _INTEGERS | _FRACTIONS
    if field_type in TEXTUAL and numbers:
        return f"to_json({expression}::text[])::text"
    return f"to_json({expression})::text"
