"""The example shop: its documents against its hand-written SQL, then kept right by resolves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flusso_core.model import Change, Key, RowImage
from flusso_core.schema import complete_keys, load_schema, routing_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flusso_core.schema.model import IndexSchema
    from flusso_source_postgres.builder import PostgresBuilder

    from .conftest import Lab, Snapshot

pytestmark = pytest.mark.integration

SHOP = Path(__file__).parents[3] / "examples" / "shop"
INDEXES = ("users", "products", "orders")

CHANGES = (
    # Roots: insert, update, delete, key change, soft delete and back, filters.
    "UPDATE users SET name = 'Ada Lovelace' WHERE id IN (1, 2)",
    "UPDATE users SET deleted_at = '2024-01-01' WHERE id BETWEEN 3 AND 9",
    "UPDATE users SET deleted_at = NULL WHERE id BETWEEN 3 AND 6",
    "UPDATE users SET id = id + 100000 WHERE id IN (11, 12)",
    "DELETE FROM users WHERE id IN (13, 14, 15)",
    "INSERT INTO users (id, email, name, created_at) VALUES (900001, 'a@b', 'New', '2024-01-01')",
    "UPDATE orders SET status = 'draft' WHERE id IN (1, 2, 3)",
    "UPDATE orders SET status = 'paid' WHERE id IN (1, 2, 3, 4)",
    "UPDATE orders SET total = -1 WHERE id % 9 = 0",
    "UPDATE products SET discontinued = NOT discontinued WHERE id IN (1, 2, 3, 4, 5)",
    "UPDATE products SET price = NULL WHERE id IN (6, 7)",
    # Children: insert, update, delete, moved.
    "UPDATE order_items SET order_id = 20 WHERE order_id IN (21, 22)",
    "UPDATE order_items SET product_id = 8 WHERE product_id = 9",
    "UPDATE order_items SET quantity = quantity + 1, returned = NOT returned WHERE id % 17 = 0",
    "DELETE FROM order_items WHERE id % 13 = 0",
    "UPDATE orders SET user_id = 20 WHERE user_id IN (21, 22, 23)",
    "UPDATE orders SET placed_at = placed_at + interval '3 years' WHERE id % 11 = 0",
    "DELETE FROM orders WHERE id % 15 = 0",
    "UPDATE profiles SET user_id = 900001 WHERE id = (SELECT min(id) FROM profiles)",
    "DELETE FROM profiles WHERE user_id % 7 = 0",
    "UPDATE profiles SET birthday = '1815-12-10', website = ' HTTP://X ' WHERE user_id % 5 = 0",
    "UPDATE addresses SET user_id = 25, city = ' X ' WHERE id % 10 = 0",
    "DELETE FROM addresses WHERE id % 8 = 0",
    "UPDATE reviews SET product_id = 8, visible = true WHERE product_id IN (10, 11)",
    "UPDATE reviews SET user_id = NULL WHERE user_id % 6 = 0",
    "UPDATE reviews SET written_at = written_at + interval '5 years' WHERE stars = 2",
    "DELETE FROM reviews WHERE stars = 1",
    # What is pointed at, the tree of categories, the table that points at itself.
    "UPDATE categories SET slug = slug || '-x' WHERE id IN (1, 2, 3)",
    "UPDATE categories SET parent_id = 4 WHERE id IN (20, 21, 22)",
    "DELETE FROM categories WHERE id IN (5, 23)",
    "UPDATE products SET name = 'Renamed', category_id = 4 WHERE id BETWEEN 8 AND 14",
    "UPDATE products SET successor_id = 15 WHERE id IN (16, 17)",
    "UPDATE products SET name = 'Successor', price = 1 WHERE id IN (15, 18)",
    "DELETE FROM products WHERE id IN (19, 20)",
    # Many-to-many, from each of its three tables.
    "UPDATE tags SET name = 'season-new-' || id WHERE id % 3 = 0",
    "DELETE FROM product_tags WHERE tag_id % 5 = 0",
    "INSERT INTO tags (id, name) VALUES (777, 'fresh')",
    "INSERT INTO product_tags VALUES (8, 777), (10, 777)",
    "UPDATE product_tags SET product_id = 12 WHERE tag_id = 777 AND product_id = 10",
    "INSERT INTO product_tags SELECT id, 1 FROM products WHERE id % 3 = 0 ON CONFLICT DO NOTHING",
    "DELETE FROM tags WHERE id % 4 = 0",
    "UPDATE tags SET id = id + 1000 WHERE id % 7 = 0",
)


def _schemas() -> tuple[IndexSchema, ...]:
    return tuple(load_schema(SHOP / f"{index}.schema.yml", index) for index in INDEXES)


def _seed(lab: Lab, users: int) -> None:
    lab.execute((SHOP / "sql" / "tables.sql").read_text())
    lab.execute(f"SET shop.users = '{users}'")
    lab.execute((SHOP / "sql" / "seed.sql").read_text())
    lab.execute("ANALYZE")


def _expected(lab: Lab, index: str) -> dict[Key, Any]:
    """What must be in the index, by SQL that shares nothing with flusso."""
    sql = (SHOP / "expected" / f"{index}.sql").read_text()
    return {(key,): document for key, document in lab.rows(sql)}


def _routed(changes: Iterable[Change], schemas: Sequence[IndexSchema]) -> list[Change]:
    """The changes as a capture delivers them: images of routing columns only."""
    columns = routing_columns([complete_keys(one, lambda _: ("id",)) for one in schemas])

    def cut(change: Change, image: RowImage | None) -> RowImage | None:
        wanted = columns[change.table]
        return image and {name: value for name, value in image.items() if name in wanted}

    return [
        Change(one.table, one.operation, cut(one, one.before), cut(one, one.after))
        for one in changes
        if one.table in columns
    ]


async def _apply(
    lab: Lab, builder: PostgresBuilder, found: dict[str, dict[Key, Any]], changes: list[Change]
) -> None:
    for index, keys in (await lab.resolve(builder, changes)).items():
        for key, body in (await lab.build(builder, index, list(keys))).items():
            if body is None:
                found[index].pop(key, None)
            else:
                found[index][key] = json.loads(body)


async def test_the_shop_is_what_its_own_sql_says(lab: Lab) -> None:
    """Every document of the three indexes, by pages over several ranges."""
    _seed(lab, 600)
    async with lab.builder(*_schemas()) as builder:
        for index in INDEXES:
            bodies = await lab.pages(builder, index, ranges=3, limit=100)
            assert await lab.build(builder, index, list(bodies)) == bodies
            documents = {key: json.loads(body) for key, body in bodies.items()}
            assert documents == _expected(lab, index)


async def test_resolves_alone_keep_the_shop_right(lab: Lab) -> None:
    """C1 to C10: after each change, rebuilding what it touches leaves nothing stale or missing."""
    _seed(lab, 200)
    schemas = _schemas()
    async with lab.builder(*schemas) as builder:
        found = {
            index: {
                key: json.loads(body) for key, body in (await lab.pages(builder, index)).items()
            }
            for index in INDEXES
        }
        before: Snapshot = lab.snapshot()
        for statement in CHANGES:
            lab.execute(statement)
            after = lab.snapshot()
            changes = lab.difference(before, after)
            assert changes, statement
            await _apply(lab, builder, found, _routed(changes, schemas))
            for index in INDEXES:
                expected = _expected(lab, index)
                stale = {key for key in expected if found[index].get(key) != expected[key]}
                assert stale == set(), statement
                assert found[index].keys() == expected.keys(), statement
            before = after
