"""Values reach the document as they are stored (V4), by the column's type and the field's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from flusso_core.model import FieldType, TableName
from flusso_core.schema.model import (
    ConstantField,
    GeoField,
    IndexSchema,
    MapField,
    ScalarField,
    Transform,
)

if TYPE_CHECKING:
    from .conftest import Lab

pytestmark = pytest.mark.integration

TABLE = TableName("public", "things")


@dataclass(frozen=True, slots=True)
class Case:
    """A column of a type, a value in it, the type of the field, and the JSON that must come."""

    column: str
    value: str
    field: FieldType
    json: str
    transforms: tuple[Transform, ...] = ()
    default: Any = None


LOWER, TRIM = Transform.LOWERCASE, Transform.TRIM
LONG_BYTES = "ab" * 100

CASES = (
    Case("smallint", "-32768", FieldType.SHORT, "-32768"),
    Case("integer", "2147483647", FieldType.INTEGER, "2147483647"),
    Case("bigint", "9223372036854775807", FieldType.LONG, "9223372036854775807"),
    Case("bigint", "-9223372036854775808", FieldType.LONG, "-9223372036854775808"),
    Case("bigint", "NULL", FieldType.LONG, "null"),
    Case("bigint", "NULL", FieldType.LONG, "7", default=7),
    Case("bigint", "12", FieldType.KEYWORD, '"12"'),
    Case("oid", "4294967295", FieldType.LONG, "4294967295"),
    Case("real", "1.1", FieldType.FLOAT, "1.1"),
    Case("real", "'NaN'", FieldType.FLOAT, '"NaN"'),
    Case("double precision", "0.1", FieldType.DOUBLE, "0.1"),
    Case("double precision", "1e308", FieldType.DOUBLE, "1e+308"),
    Case("double precision", "'Infinity'", FieldType.DOUBLE, '"Infinity"'),
    Case("double precision", "'-Infinity'", FieldType.DOUBLE, '"-Infinity"'),
    Case("double precision", "NULL", FieldType.DOUBLE, "0.5", default=0.5),
    Case("numeric", "12345678901234567890.123456789012345678900", FieldType.DECIMAL,
         "12345678901234567890.123456789012345678900"),
    Case("numeric(10,2)", "1.5", FieldType.DECIMAL, "1.50"),
    Case("numeric", "'NaN'", FieldType.DECIMAL, '"NaN"'),
    Case("numeric", "'-Infinity'", FieldType.DECIMAL, '"-Infinity"'),
    Case("numeric", "1e130", FieldType.DECIMAL, "1" + "0" * 130),
    Case("numeric", "1.50", FieldType.KEYWORD, '"1.50"'),
    Case("money", "'12345678.90'", FieldType.DECIMAL, "12345678.90"),
    Case("money", "'-0.01'", FieldType.DECIMAL, "-0.01"),
    Case("boolean", "true", FieldType.BOOLEAN, "true"),
    Case("boolean", "false", FieldType.BOOLEAN, "false"),
    Case("boolean", "NULL", FieldType.BOOLEAN, "true", default=True),
    Case("boolean", "true", FieldType.KEYWORD, '"true"'),
    Case("text", "''", FieldType.TEXT, '""'),
    Case("text", "NULL", FieldType.TEXT, "null"),
    Case("text", r"""E'a"\\b\n\t\x01{}[],:' """, FieldType.TEXT, r'"a\"\\b\n\t\u0001{}[],:"'),
    Case("text", "U&'\\00e9 \\+01F600 \\2028'", FieldType.TEXT, '"\\u00e9 \\ud83d\\ude00 \\u2028"'),
    Case("text", "'  AB '", FieldType.KEYWORD, '"ab"', transforms=(TRIM, LOWER)),
    Case("text", "E'  \\tx '", FieldType.KEYWORD, r'"\tx"', transforms=(TRIM,)),
    Case("text", "NULL", FieldType.KEYWORD, '" As It Is "', (LOWER, TRIM), " As It Is "),
    Case("text", "NULL", FieldType.KEYWORD, '"1"', default=1),
    Case("text", "NULL", FieldType.KEYWORD, '"true"', default=True),
    Case("text", "NULL", FieldType.TEXT, '"it\'s \\\\ $1 %s"', default="it's \\ $1 %s"),
    Case("varchar(3)", "'abc'", FieldType.IDENTIFIER, '"abc"'),
    Case("char(5)", "'ab'", FieldType.KEYWORD, '"ab   "'),
    Case("char(5)", "'ab'", FieldType.KEYWORD, '"ab"', transforms=(TRIM,)),
    Case("mood", "'sad, \"very\"'", FieldType.ENUM, '"sad, \\"very\\""'),
    Case("mood", "'OK'", FieldType.ENUM, '"ok"', transforms=(LOWER,)),
    Case("uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", FieldType.UUID,
         '"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"'),
    Case("date", "'2024-02-29'", FieldType.DATE, '"2024-02-29"'),
    Case("date", "'0044-03-15 BC'", FieldType.DATE, '"0044-03-15 BC"'),
    Case("date", "'infinity'", FieldType.DATE, '"infinity"'),
    Case("date", "'5874897-12-31'", FieldType.DATE, '"5874897-12-31"'),
    Case("date", "NULL", FieldType.DATE, '"2000-01-01"', default="2000-01-01"),
    Case("timestamp", "'2024-05-01 12:00:00'", FieldType.TIMESTAMP, '"2024-05-01T12:00:00"'),
    Case("timestamp", "'2024-05-01 12:00:00.000001'", FieldType.TIMESTAMP,
         '"2024-05-01T12:00:00.000001"'),
    Case("timestamp", "'-infinity'", FieldType.TIMESTAMP, '"-infinity"'),
    Case("timestamptz", "'2024-05-01 14:00:00+02'", FieldType.TIMESTAMP,
         '"2024-05-01T12:00:00+00:00"'),
    Case("timestamptz", "'0044-03-15 00:00:00+00 BC'", FieldType.TIMESTAMP,
         '"0044-03-15T00:00:00+00:00 BC"'),
    Case("timestamptz", "'2024-05-01 12:00:00+00'", FieldType.KEYWORD,
         '"2024-05-01T12:00:00+00:00"'),
    Case("time", "'24:00:00'", FieldType.TIMESTAMP, '"24:00:00"'),
    Case("timetz", "'04:05:06.789-08'", FieldType.TIMESTAMP, '"04:05:06.789-08"'),
    Case("interval", "'1 year -2 days 03:04:05'", FieldType.KEYWORD, '"1 year -2 days +03:04:05"'),
    Case("bytea", "'\\x00ff'", FieldType.BINARY, '"AP8="'),
    Case("bytea", "''", FieldType.BINARY, '""'),
    Case("bytea", f"'\\x{LONG_BYTES}'", FieldType.BINARY,
         '"' + "q6ur" * 33 + 'qw=="'),
    Case("bytea[]", "ARRAY['\\x00'::bytea, NULL]", FieldType.BINARY, '["AA==", null]'),
    Case("json", "'{\"a\" :\n [1.10, \"x\"]}'", FieldType.JSON, '{"a": [1.10, "x"]}'),
    Case("json", "'null'", FieldType.JSON, "null"),
    Case("jsonb", "'[1e3, {\"b\": \"\\u00e9\"}]'", FieldType.JSON, '[1000, {"b": "é"}]'),
    Case("jsonb", "NULL", FieldType.JSON, "null"),
    Case("inet", "'10.0.0.1'", FieldType.KEYWORD, '"10.0.0.1"'),
    Case("inet", "'10.0.0.1/8'", FieldType.CUSTOM, '"10.0.0.1/8"'),
    Case("inet", "'2001:DB8::1'", FieldType.KEYWORD, '"2001:db8::1"', transforms=(LOWER,)),
    Case("cidr", "'10.0.0.0/8'", FieldType.KEYWORD, '"10.0.0.0/8"'),
    Case("int4range", "'[1,5)'", FieldType.KEYWORD, '"[1,5)"'),
    Case("bit(3)", "B'101'", FieldType.KEYWORD, '"101"'),
    Case("integer[]", "ARRAY[[1, 2], [3, NULL]]", FieldType.INTEGER, "[[1, 2], [3, null]]"),
    Case("integer[]", "ARRAY[1, 2]", FieldType.KEYWORD, '["1", "2"]'),
    Case("text[]", "ARRAY['a,b', '\"', NULL, '']", FieldType.KEYWORD, '["a,b", "\\"", null, ""]'),
    Case("text[]", "'{}'", FieldType.KEYWORD, "[]"),
    Case("text[]", "NULL", FieldType.KEYWORD, "null"),
    Case("inet[]", "ARRAY['10.0.0.1'::inet]", FieldType.KEYWORD, '["10.0.0.1"]'),
    Case("numeric[]", "ARRAY[1.50, 'NaN']", FieldType.DECIMAL, '[1.50, "NaN"]'),
    Case("money[]", "ARRAY[1.5::money]", FieldType.DECIMAL, "[1.50]"),
    Case("positive", "5", FieldType.INTEGER, "5"),
    Case("label", "' X '", FieldType.KEYWORD, '"x"', transforms=(TRIM, LOWER)),
    Case("pair", "ROW(1, 'b')::pair", FieldType.CUSTOM, '{"x": 1, "y": "b"}'),
    Case("pair", "ROW(1, 'b')::pair", FieldType.KEYWORD, '"(1,b)"'),
    Case("hstore", "'a=>1, b=>NULL'", FieldType.KEYWORD, '"\\"a\\"=>\\"1\\", \\"b\\"=>NULL"'),
    Case("hstore", "'a=>1, b=>NULL'", FieldType.JSON, '{"a": "1", "b": null}'),
    Case("point", "'(1.5,2)'", FieldType.KEYWORD, '"(1.5,2)"'),
)  # fmt: skip


async def test_every_type_arrives_as_it_is_stored(lab: Lab) -> None:
    """V4: to the last digit, ISO 8601, base64, and a documented spelling of what JSON lacks."""
    lab.execute(
        """
        CREATE EXTENSION hstore;
        CREATE TYPE mood AS ENUM ('sad, "very"', 'OK');
        CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
        CREATE DOMAIN short_label AS varchar(10);
        CREATE DOMAIN label AS short_label;
        CREATE TYPE pair AS (x integer, y text);
        """
    )
    columns = ", ".join(f"c{place} {case.column}" for place, case in enumerate(CASES))
    lab.execute(f"CREATE TABLE things (id bigint PRIMARY KEY, {columns})")
    values = ", ".join(case.value for case in CASES)
    lab.execute(f"INSERT INTO things VALUES (1, {values})")
    fields = tuple(
        ScalarField(
            f"c{place}",
            case.field,
            f"c{place}",
            transforms=case.transforms,
            default=case.default,
        )
        for place, case in enumerate(CASES)
    )
    schema = IndexSchema("things", TABLE, fields, "h")
    async with lab.builder(schema) as builder:
        ((_, body),) = (await lab.pages(builder, "things")).items()
    assert b"\n" not in body
    found = _spelled(body)
    wrong = {
        f"{case.column} {case.value} as {case.field}": (found[f"c{place}"], case.json)
        for place, case in enumerate(CASES)
        if found[f"c{place}"] != _spelled(case.json)
    }
    assert wrong == {}


GEO = (
    ("a double precision, b double precision", "1.5, -2", ("a", "b"), '{"lat": 1.5, "lon": -2}'),
    ("a numeric, b real", "1.50, NULL", ("a", "b"), "null"),
    ("a numeric, b real", "NULL, 1", ("a", "b"), "null"),
    ("a point", "'(12.5,41.9)'", "a", '{"lat": 41.9, "lon": 12.5}'),
    ("a point", "NULL", "a", "null"),
    ("a text", "'41.9, 12.5'", "a", '{"lat": 41.9, "lon": 12.5}'),
    ("a text", "'41.9,'", "a", "null"),
    ("a text", "'u0nd9'", "a", "null"),
    ("a text", "'a,b'", "a", '"a,b"'),
    ("a text", "NULL", "a", "null"),
    ("a jsonb", '\'{"lat": 1, "lon": 2}\'', "a", '{"lat": 1, "lon": 2}'),
    ("a json", '\'{"lat": 1, "lon": null}\'', "a", "null"),
    ("a jsonb", "'{\"lat\": 1}'", "a", "null"),
    ("a jsonb", "'[12.5, 41.9]'", "a", "[12.5, 41.9]"),
)


@pytest.mark.parametrize(("columns", "values", "source", "expected"), GEO)
async def test_geo_points_are_whole_or_null(
    lab: Lab, columns: str, values: str, source: str | tuple[str, str], expected: str
) -> None:
    """V4: a point from two columns or one; a missing half makes it null."""
    lab.execute(f"CREATE TABLE things (id bigint PRIMARY KEY, {columns})")
    lab.execute(f"INSERT INTO things VALUES (1, {values})")
    field = (
        GeoField("place", column=source)
        if isinstance(source, str)
        else GeoField("place", lat=source[0], lon=source[1])
    )
    document = await lab.document(IndexSchema("things", TABLE, (field,), "h"))
    assert document == {"place": json.loads(expected, parse_float=Decimal)}


async def test_maps_and_constants(lab: Lab) -> None:
    lab.execute("CREATE TABLE things (id bigint PRIMARY KEY, m jsonb, n jsonb)")
    lab.execute("""INSERT INTO things VALUES (1, '{"a": "x", "b c": 1.0}', NULL)""")
    fields = (
        MapField("m", "m", FieldType.KEYWORD),
        MapField("n", "n", FieldType.KEYWORD),
        ConstantField("text", 'it\'s "so" \\ $1'),
        ConstantField("number", 1.5),
        ConstantField("yes", True),
        ConstantField("nothing", None),
    )
    document = await lab.document(IndexSchema("things", TABLE, fields, "h"))
    assert document == {
        "m": {"a": "x", "b c": Decimal("1.0")},
        "n": None,
        "text": 'it\'s "so" \\ $1',
        "number": Decimal("1.5"),
        "yes": True,
        "nothing": None,
    }


async def test_a_document_may_have_hundreds_of_fields(lab: Lab) -> None:
    """V4: Postgres' limit of 100 arguments to a function is no limit of a document."""
    names = [f"c{place}" for place in range(400)]
    lab.execute(
        f"CREATE TABLE things (id bigint PRIMARY KEY, {', '.join(f'{name} int' for name in names)})"
    )
    lab.execute(f"INSERT INTO things VALUES (1, {', '.join(str(place) for place in range(400))})")
    fields = tuple(ScalarField(name, FieldType.INTEGER, name) for name in names)
    document = await lab.document(IndexSchema("things", TABLE, fields, "h"))
    assert document == {name: place for place, name in enumerate(names)}


def _spelled(body: bytes | str) -> Any:
    """JSON with numbers as they are spelled, so that 1.0 is neither 1.00 nor "1.0"."""

    def number(text: str) -> tuple[str, str]:
        return ("number", text)

    return json.loads(body, parse_float=number, parse_int=number)
