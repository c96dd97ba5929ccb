"""Where a schema's file names a column."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flusso_core.model import TableName
from flusso_core.schema import load_schema, locate

FILE = """\
version: 1
table: users
primary_key: id
soft_delete:
  column: gone
filters:
  - { column: kind, op: eq, value: "a" }
fields:
  - keyword: name
  - object: address
    fields:
      - keyword: city
        column: home_city
  - has_many: orders
    table: shop.orders
    foreign_key: user_id
    fields:
      - long: total
      - belongs_to: product
        table: shop.products
        column: product_id
        fields:
          - keyword: name
  - count: tags
    table: tags
    through: { table: tagged, left_key: u, right_key: t }
"""

USERS, ORDERS = TableName("public", "users"), TableName("shop", "orders")
PRODUCTS, TAGGED = TableName("shop", "products"), TableName("public", "tagged")


@pytest.mark.parametrize(
    ("table", "column", "line"),
    [
        (USERS, None, 2),
        (USERS, "id", 3),
        (USERS, "gone", 4),
        (USERS, "kind", 6),
        (USERS, "name", 9),
        (USERS, "home_city", 12),
        (ORDERS, None, 14),
        (ORDERS, "user_id", 14),
        (ORDERS, "total", 18),
        (ORDERS, "product_id", 19),
        (PRODUCTS, "name", 23),
        (TAGGED, "t", 24),
        (TAGGED, None, 24),
        (USERS, "other", None),
    ],
)
def test_a_column_is_found_where_the_file_names_it(
    tmp_path: Path, table: TableName, column: str | None, line: int | None
) -> None:
    """C14: an error says which file and line."""
    path = tmp_path / "users.schema.yml"
    path.write_text(FILE, encoding="utf-8")
    schema = load_schema(path, "users")
    assert locate(schema, table, column) == (str(path) if line is None else f"{path}:{line}")


def test_a_file_that_is_gone_or_says_something_else_has_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "users.schema.yml"
    path.write_text(FILE, encoding="utf-8")
    schema = load_schema(path, "users")
    path.write_text(FILE.replace("keyword: name", "keyword: title"), encoding="utf-8")
    assert locate(schema, USERS, "name") == str(path)
    path.write_text("table: [", encoding="utf-8")
    assert locate(schema, USERS, "name") == str(path)
    path.unlink()
    assert locate(schema, USERS, "name") == str(path)
    assert locate(replace(schema, origin=None), USERS, "name") == "index users"
