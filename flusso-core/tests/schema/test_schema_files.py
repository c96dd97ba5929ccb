"""Files of format version 1 load, complete."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from flusso_core.model import FieldType, MappedField, TableName
from flusso_core.schema import load_schema, parse_schema, project_mapping
from flusso_core.schema.model import (
    AggregateField,
    AggregateFunction,
    Comparison,
    ConstantField,
    Field,
    GeoField,
    JoinField,
    JoinKind,
    MapField,
    ObjectField,
    Operator,
    OrderBy,
    RawFilter,
    ScalarField,
    SoftDelete,
    Through,
    Transform,
)

FIXTURES = Path(__file__).parent / "fixtures" / "format-v1"
RECORDED = json.loads((FIXTURES / "recorded-no-subfields.json").read_text())

EVERYTHING = load_schema(FIXTURES / "everything.schema.yml", "everything")
SMALL = load_schema(FIXTURES / "small.schema.yml", "small")
BY_NAME = {field.name: field for field in EVERYTHING.fields}


def one_field(text: str) -> Field:
    lines = "".join(f"    {line}\n" for line in text.strip().splitlines())
    schema = parse_schema(
        f"version: 1\ntable: things\nfields:\n  -\n{lines}", "things", "things.schema.yml"
    )
    return schema.fields[0]


def test_every_field_of_the_file_is_there_in_its_order() -> None:
    written = re.findall(
        r"^  - [a-z_]+: (\w+)$", (FIXTURES / "everything.schema.yml").read_text(), re.MULTILINE
    )
    assert len(written) == 33
    assert [field.name for field in EVERYTHING.fields] == written


@pytest.mark.parametrize(
    "expected",
    [
        ScalarField("id", FieldType.LONG, "id", required=True),
        ScalarField(
            "title",
            FieldType.TEXT,
            "title",
            transforms=(Transform.TRIM, Transform.LOWERCASE),
            default="untitled",
        ),
        ScalarField(
            "state", FieldType.ENUM, "state", required=True, variants=("new", "used", "broken")
        ),
        ScalarField("plainEnum", FieldType.ENUM, "plain_enum"),
        ScalarField("address", FieldType.CUSTOM, "ip", postgres_types=("inet",), custom="ip"),
        GeoField("place", lat="lat", lon="lon"),
        GeoField("spot", column="spot"),
        ObjectField(
            "audit", (ScalarField("createdAt", FieldType.TIMESTAMP, "created_at", required=True),)
        ),
        MapField("labels", "labels", FieldType.KEYWORD),
        ConstantField("kind", "item"),
        JoinField(
            "owner",
            JoinKind.BELONGS_TO,
            TableName("public", "users"),
            (ScalarField("email", FieldType.KEYWORD, "email", required=True),),
            primary_key="id",
            column="owner_id",
        ),
        JoinField(
            "detail",
            JoinKind.HAS_ONE,
            TableName("public", "details"),
            (ScalarField("body", FieldType.TEXT, "body"),),
            primary_key="id",
            foreign_key="item_id",
            order_by=(OrderBy("id", descending=True),),
        ),
        JoinField(
            "reviews",
            JoinKind.HAS_MANY,
            TableName("public", "reviews"),
            (
                ScalarField("stars", FieldType.INTEGER, "stars", required=True),
                JoinField(
                    "author",
                    JoinKind.BELONGS_TO,
                    TableName("public", "users"),
                    (ScalarField("email", FieldType.KEYWORD, "email", required=True),),
                    primary_key="id",
                    column="user_id",
                ),
            ),
            primary_key="id",
            foreign_key="item_id",
            filters=(Comparison("visible", Operator.EQ, (True,)),),
            order_by=(OrderBy("created_at", descending=True),),
            limit=5,
        ),
        JoinField(
            "tags",
            JoinKind.MANY_TO_MANY,
            TableName("public", "tags"),
            (ScalarField("name", FieldType.KEYWORD, "name", required=True),),
            primary_key="id",
            through=Through(TableName("public", "item_tags"), "item_id", "tag_id"),
        ),
        AggregateField(
            "reviewCount",
            AggregateFunction.COUNT,
            FieldType.LONG,
            TableName("public", "reviews"),
            foreign_key="item_id",
        ),
        AggregateField(
            "soldUnits",
            AggregateFunction.SUM,
            FieldType.LONG,
            TableName("public", "sales"),
            column="units",
            foreign_key="item_id",
        ),
        AggregateField(
            "meanStars",
            AggregateFunction.AVG,
            FieldType.DOUBLE,
            TableName("public", "reviews"),
            column="stars",
            foreign_key="item_id",
        ),
        AggregateField(
            "tagIds",
            AggregateFunction.IDS,
            FieldType.LONG,
            TableName("public", "tags"),
            through=Through(TableName("public", "item_tags"), "item_id", "tag_id"),
        ),
    ],
    ids=lambda field: field.name,
)
def test_a_field_of_the_file_means(expected: Field) -> None:
    assert BY_NAME[expected.name] == expected


def test_a_root_in_another_schema_with_filters_and_a_soft_delete() -> None:
    assert SMALL.table == TableName("shop", "things")
    assert SMALL.primary_key == ("id",)
    assert SMALL.filters == (
        Comparison("state", Operator.IN, ("a", "b")),
        RawFilter("price > 0"),
    )
    assert SMALL.soft_delete == SoftDelete("deleted_at")


def types(fields: tuple[MappedField, ...], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for field in fields:
        if field.type is not FieldType.OBJECT:
            found[prefix + field.name] = field.custom or field.type.value
        found |= types(field.fields, f"{prefix}{field.name}.")
    return found


def recorded_types(properties: dict[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, mapping in properties.items():
        if "type" in mapping:
            found[prefix + name] = mapping["type"]
        found |= recorded_types(mapping.get("properties", {}), f"{prefix}{name}.")
    return found


SAME = {
    "identifier": "text",
    "enum": "keyword",
    "uuid": "keyword",
    "decimal": "double",
    "timestamp": "date",
    "json": "object",
    "map": "object",
    "geo": "geo_point",
}


def test_the_mapping_has_the_fields_and_types_that_version_1_gave() -> None:
    mapping = project_mapping(EVERYTHING)
    ours = {path: SAME.get(kind, kind) for path, kind in types(mapping.fields).items()}
    assert ours == recorded_types(RECORDED["everything"]["mappings"]["properties"])
    assert mapping.schema_hash == EVERYTHING.schema_hash


def test_a_mapped_field_knows_its_path_options_variants_and_leaves() -> None:
    by_name = {field.name: field for field in project_mapping(EVERYTHING).fields}
    reviews = by_name["reviews"]
    assert reviews.type is FieldType.NESTED
    assert reviews.fields[1].fields[0].json_path == "reviews.author.email"
    assert by_name["state"].variants == ("new", "used", "broken")
    assert by_name["labels"].values is FieldType.KEYWORD
    assert project_mapping(SMALL).fields[1].options == {"analyzer": "english"}


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("true", FieldType.BOOLEAN),
        ("3", FieldType.LONG),
        ("99999999999999999999", FieldType.DOUBLE),
        ("1.5", FieldType.DOUBLE),
        ("x", FieldType.KEYWORD),
        ("null", FieldType.KEYWORD),
        ("no", FieldType.KEYWORD),
    ],
)
def test_a_constant_is_mapped_by_its_value(value: str, kind: FieldType) -> None:
    schema = parse_schema(
        f"version: 1\ntable: t\nfields:\n  - constant: c\n    value: {value}", "t", "t.yml"
    )
    assert project_mapping(schema).fields[0].type is kind


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("createdAt", "createdat"),
        ("' created_at '", "created_at"),
        ("'\"createdAt\"'", "createdAt"),
        ('\'"a ""b"" c.d"\'', 'a "b" c.d'),
    ],
)
def test_an_identifier_is_folded_unless_it_is_quoted(column: str, name: str) -> None:
    assert one_field(f"keyword: x\ncolumn: {column}") == ScalarField("x", FieldType.KEYWORD, name)


def test_the_column_of_a_field_is_its_document_key_folded() -> None:
    assert one_field("keyword: createdAt") == ScalarField(
        "createdAt", FieldType.KEYWORD, "createdat"
    )


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("Users", TableName("public", "users")),
        ("crm.Users", TableName("crm", "users")),
        ('\'"My CRM"."Users.v2"\'', TableName("My CRM", "Users.v2")),
        ("'\"Users.v2\"'", TableName("public", "Users.v2")),
    ],
)
def test_a_relations_table_may_name_its_schema(table: str, expected: TableName) -> None:
    field = one_field(f"count: x\ntable: {table}\nforeign_key: y")
    assert isinstance(field, AggregateField)
    assert field.table == expected


def test_relations_without_a_schema_live_in_that_of_the_root() -> None:
    schema = parse_schema(
        "version: 1\ntable: t\nschema: crm\nfields:\n"
        "  - ids: x\n    table: far\n    element_type: long\n"
        "    through: {table: pairs, left_key: l, right_key: other.r}\n".replace("other.r", "r"),
        "t",
        "t.yml",
    )
    field = schema.fields[0]
    assert isinstance(field, AggregateField)
    assert field.through is not None
    assert (field.table.schema, field.through.table.schema) == ("crm", "crm")


def test_a_primary_key_may_be_several_columns_or_left_out() -> None:
    start = "version: 1\ntable: t\nfields: [keyword: a]\n"
    assert parse_schema(start, "t", "t.yml").primary_key is None
    several = parse_schema(start + "primary_key: [a, '\"B\"']", "t", "t.yml")
    assert several.primary_key == ("a", "B")


def test_a_soft_delete_by_field_reads_the_fields_column() -> None:
    schema = parse_schema(
        "version: 1\ntable: t\nfields: [{boolean: isGone, column: gone}]\n"
        "soft_delete: {field: isGone, when: [{column: kind, op: neq, value: kept}]}",
        "t",
        "t.yml",
    )
    when = (Comparison("kind", Operator.NEQ, ("kept",)),)
    assert schema.soft_delete == SoftDelete("gone", when)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("{column: a, op: is_null}", Comparison("a", Operator.IS_NULL)),
        ("{column: a, op: ilike, value: 'x%'}", Comparison("a", Operator.ILIKE, ("x%",))),
        ("{column: a, op: eq, value: no}", Comparison("a", Operator.EQ, ("no",))),
        ("{column: a, op: lt, value: 2024-05-01}", Comparison("a", Operator.LT, ("2024-05-01",))),
        ("{column: a, op: not_in, value: [1, x]}", Comparison("a", Operator.NOT_IN, (1, "x"))),
        ("{column: a, op: between, value: [1, 2]}", Comparison("a", Operator.BETWEEN, (1, 2))),
    ],
)
def test_filters_come_in_three_forms(condition: str, expected: Comparison) -> None:
    schema = parse_schema(
        f"version: 1\ntable: t\nfields: [keyword: a]\nfilters: [{condition}]", "t", "t.yml"
    )
    assert schema.filters == (expected,)


def test_a_relation_below_another_needs_no_single_key_of_the_root() -> None:
    schema = parse_schema(
        "version: 1\ntable: t\nprimary_key: [a, b]\nfields:\n"
        "- belongs_to: c\n  table: u\n  fields: [{count: d, table: v, foreign_key: u_id}]\n",
        "t",
        "t.yml",
    )
    assert schema.primary_key == ("a", "b")
