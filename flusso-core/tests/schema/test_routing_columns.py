"""Which columns lead a changed row to its documents, at any depth."""

from __future__ import annotations

from pathlib import Path

import pytest

from flusso_core.errors import ConfigError
from flusso_core.model import TableName
from flusso_core.schema import (
    complete_keys,
    load_schema,
    parse_schema,
    referenced_columns,
    routing_columns,
)
from flusso_core.schema.model import IndexSchema, JoinField

FIXTURES = Path(__file__).parent / "fixtures" / "format-v1"

DEEP = """
version: 1
table: orders
fields:
  - has_many: lines
    table: order_lines
    foreign_key: order_id
    fields:
      - belongs_to: product
        table: products
        column: product_id
        fields:
          - object: extras
            fields:
              - many_to_many: tags
                table: tags
                through: {table: product_tags, left_key: product_id, right_key: tag_id}
                fields:
                  - has_one: icon
                    table: icons
                    foreign_key: tag_id
                    fields: [text: name]
      - count: returns
        table: returned
        foreign_key: line_id
"""


def parse(text: str) -> IndexSchema:
    return parse_schema(text, "orders", "orders.schema.yml")


def by_id(table: TableName) -> tuple[str, ...]:
    return (f"{table.name}_id",)


def named(columns: dict[TableName, frozenset[str]]) -> dict[str, set[str]]:
    return {table.name: set(found) for table, found in columns.items()}


def test_each_row_leads_one_step_up_by_its_own_columns() -> None:
    assert named(routing_columns([complete_keys(parse(DEEP), by_id)])) == {
        "orders": {"orders_id"},
        # To the order; and, as returned lines point at it, its own key.
        "order_lines": {"order_id", "order_lines_id"},
        # Lines point at it.
        "products": {"products_id"},
        "product_tags": {"product_id", "tag_id"},
        "tags": {"tags_id"},
        # Nothing starts from an icon.
        "icons": {"tag_id"},
        "returned": {"line_id"},
    }


def test_several_indexes_join_their_columns() -> None:
    other = parse("version: 1\ntable: tags\nprimary_key: [a, b]\nfields: [keyword: a]")
    found = routing_columns([complete_keys(parse(DEEP), by_id), other])
    assert found[TableName("public", "tags")] == {"tags_id", "a", "b"}


def test_every_column_of_the_fixture_is_referenced() -> None:
    schema = load_schema(FIXTURES / "everything.schema.yml", "everything")
    found = named(referenced_columns([schema]))
    assert found["reviews"] == {"id", "item_id", "visible", "created_at", "stars", "user_id"}
    assert found["users"] == {"id", "email"}
    assert found["item_tags"] == {"item_id", "tag_id"}
    assert found["sales"] == {"item_id", "units", "at", "price"}
    assert {"owner_id", "lat", "lon", "spot", "created_at", "labels", "ip"} <= found["items"]
    small = load_schema(FIXTURES / "small.schema.yml", "small")
    assert named(referenced_columns([small]))["things"] == {"id", "name", "state", "deleted_at"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "version: 1\ntable: t\nfields: [keyword: a]",
            r"^orders.schema.yml: the primary key of public.t is left to the catalogue and has not",
        ),
        (
            (
                "version: 1\ntable: t\nprimary_key: id\n"
                "fields: [{object: o, fields: [{belongs_to: a, table: b, fields: [keyword: c]}]}]"
            ),
            r"^orders.schema.yml: o.a: the primary key of public.b is left",
        ),
    ],
)
def test_a_key_that_nobody_looked_up_is_an_error(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        routing_columns([parse(text)])


def test_keys_are_completed_at_every_depth_and_the_hash_stays() -> None:
    schema = parse(DEEP)
    complete = complete_keys(schema, by_id)
    assert complete.primary_key == ("orders_id",)
    lines = complete.fields[0]
    assert isinstance(lines, JoinField)
    assert lines.primary_key == "order_lines_id"
    assert complete.schema_hash == schema.schema_hash
    assert complete_keys(complete, lambda table: ()) == complete


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, r"orders\.schema\.yml: public\.orders has no primary key"),
        (
            {"orders": ("a", "b")},
            r"yml: lines: public\.orders has a primary key of several columns \(a, b\)",
        ),
        (
            {"orders": ("id",), "order_lines": ("order_id", "number")},
            r"yml: lines: public\.order_lines has a primary key of several columns",
        ),
        (
            {"orders": ("id",), "order_lines": ("id",)},
            r"yml: lines\.product: public\.products has no primary key; name one column",
        ),
    ],
)
def test_a_key_that_does_not_serve_names_table_and_field(
    keys: dict[str, tuple[str, ...]], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        complete_keys(parse(DEEP), lambda table: keys.get(table.name, ()))


def test_an_aggregate_over_a_table_without_a_key_needs_none() -> None:
    text = "version: 1\ntable: t\nprimary_key: id\nfields: [{count: a, table: u, foreign_key: b}]"
    complete = complete_keys(parse(text), lambda table: ())
    assert named(routing_columns([complete])) == {"t": {"id"}, "u": {"b"}}
