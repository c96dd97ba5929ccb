"""Which documents a change touches, path by path, and how they come."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psutil
import pytest

from flusso_core.errors import SchemaMismatch
from flusso_core.model import (
    Change,
    IndexKeys,
    Key,
    Operation,
    RootTruncated,
    RowImage,
    StrayKey,
    SweepNeeded,
    TableName,
    document_id_text,
)
from flusso_core.schema import parse_schema

if TYPE_CHECKING:
    from flusso_core.schema.model import IndexSchema

    from .conftest import Lab

pytestmark = pytest.mark.integration

TABLES = """
CREATE TABLE regions (id int PRIMARY KEY, name text);
CREATE TABLE users (id bigint PRIMARY KEY, region_id int, friend_id bigint, name text);
CREATE TABLE orders (id bigint PRIMARY KEY, user_id bigint, total int);
CREATE TABLE items (order_id bigint, line int, product_id uuid, PRIMARY KEY (order_id, line));
CREATE TABLE products (id uuid PRIMARY KEY, name text);
CREATE TABLE tagged (product_id uuid, tag char(3));
CREATE TABLE tags (tag char(3) PRIMARY KEY, name text);
INSERT INTO regions VALUES (1, 'north'), (2, 'south');
INSERT INTO users VALUES (1, 1, 2, 'a'), (2, 1, 1, 'b'), (3, 2, NULL, 'c'), (4, 2, 4, 'd');
INSERT INTO orders VALUES (10, 1, 5), (11, 1, 5), (12, 2, 5), (13, 3, 5);
INSERT INTO products VALUES ('00000000-0000-0000-0000-00000000000a', 'A'),
    ('00000000-0000-0000-0000-00000000000b', 'B');
INSERT INTO items VALUES (10, 1, '00000000-0000-0000-0000-00000000000a'),
    (12, 1, '00000000-0000-0000-0000-00000000000a'),
    (13, 1, '00000000-0000-0000-0000-00000000000b'), (13, 2, NULL);
INSERT INTO tags VALUES ('x', 'X'), ('y', 'Y');
INSERT INTO tagged VALUES ('00000000-0000-0000-0000-00000000000a', 'x'),
    ('00000000-0000-0000-0000-00000000000a', 'x'), ('00000000-0000-0000-0000-00000000000b', 'y');
"""

USERS = """
version: 1
table: users
fields:
  - text: name
  - belongs_to: region
    column: region_id
    table: regions
    primary_key: id
    fields: [{ text: name }]
  - belongs_to: friend
    column: friend_id
    table: users
    primary_key: id
    fields: [{ text: name }]
  - object: shopping
    fields:
      - has_many: orders
        table: orders
        foreign_key: user_id
        primary_key: id
        limit: 1
        filters: [{ column: total, op: gt, value: 1000 }]
        fields:
          - has_many: items
            table: items
            foreign_key: order_id
            primary_key: line
            fields:
              - belongs_to: product
                column: product_id
                table: products
                primary_key: id
                fields:
                  - many_to_many: tags
                    table: tags
                    primary_key: tag
                    through: { table: tagged, left_key: product_id, right_key: tag }
                    fields: [{ text: name }]
      - sum: spent
        table: orders
        column: total
        value_type: long
        foreign_key: user_id
"""

PRODUCTS = """
version: 1
table: products
fields:
  - text: name
  - count: tags
    table: tags
    primary_key: tag
    through: { table: tagged, left_key: product_id, right_key: tag }
"""

A, B = ("00000000-0000-0000-0000-00000000000" + one for one in "ab")


def _users() -> IndexSchema:
    return parse_schema(USERS, "users", "users.schema.yml")


def _products() -> IndexSchema:
    return parse_schema(PRODUCTS, "products", "products.schema.yml")


def _change(table: str, before: RowImage | None, after: RowImage | None) -> Change:
    operation = Operation.DELETE if after is None else Operation.UPSERT
    return Change(TableName("public", table), operation, before, after)


def _ids(*keys: object) -> set[Key]:
    return {(str(key),) for key in keys}


CASES: dict[str, tuple[Change, dict[str, set[Key]]]] = {
    "root": (_change("users", None, {"id": "9"}), {"users": _ids(9)}),
    "root key changed": (
        _change("users", {"id": "1"}, {"id": "8"}),
        {"users": _ids(1, 2, 8)},
    ),
    "root row in another root": (
        _change("users", {"id": "2"}, {"id": "2"}),
        {"users": _ids(1, 2)},
    ),
    "belongs_to target": (_change("regions", None, {"id": "1"}), {"users": _ids(1, 2)}),
    "belongs_to target moved": (
        _change("regions", {"id": "1"}, {"id": "2"}),
        {"users": _ids(1, 2, 3, 4)},
    ),
    "child": (_change("orders", None, {"id": "99", "user_id": "3"}), {"users": _ids(3)}),
    "child moved": (
        _change("orders", {"id": "10", "user_id": "1"}, {"id": "10", "user_id": "3"}),
        {"users": _ids(1, 3)},
    ),
    "child deleted": (_change("orders", {"id": "99", "user_id": "4"}, None), {"users": _ids(4)}),
    "child without parent": (_change("orders", None, {"id": "99", "user_id": None}), {}),
    "grandchild": (
        _change("items", {"order_id": "12", "line": "1"}, {"order_id": "13", "line": "1"}),
        {"users": _ids(2, 3)},
    ),
    "three levels up": (
        _change("products", {"id": A}, {"id": A}),
        {"users": _ids(1, 2), "products": _ids(A)},
    ),
    "far table, four levels up": (
        _change("tags", None, {"tag": "x  "}),
        {"users": _ids(1, 2), "products": _ids(A)},
    ),
    "junction moved, four levels up": (
        _change("tagged", {"product_id": A, "tag": "x  "}, {"product_id": B, "tag": "x  "}),
        {"users": _ids(1, 2, 3), "products": _ids(A, B)},
    ),
    "a table that no schema names": (_change("nothing", None, {"id": "1"}), {}),
}


@pytest.mark.parametrize("name", CASES)
async def test_a_change_touches_the_documents_above_it(lab: Lab, name: str) -> None:
    """C1 to C9: old and new values, from each place where a schema reads the table."""
    lab.execute(TABLES)
    change, expected = CASES[name]
    async with lab.builder(_users(), _products()) as builder:
        assert await lab.resolve(builder, [change]) == expected


@pytest.mark.parametrize("column", ["user_id", "order_id", "product_id", "tag"])
@pytest.mark.parametrize("deleted", [True, False])
async def test_a_row_whose_old_parent_is_unknown_rebuilds_every_document(
    lab: Lab, caplog: pytest.LogCaptureFixture, column: str, deleted: bool
) -> None:
    """C3: nothing stale is left in silence where the replica identity lacks a column."""
    table = {
        "user_id": "orders",
        "order_id": "items",
        "product_id": "tagged",
        "tag": "tags",
    }[column]
    lab.execute(TABLES)
    change = _change(table, {}, None if deleted else {column: None})
    async with lab.builder(_users()) as builder:
        for _ in range(2):
            assert (await lab.resolve(builder, [change]))["users"] >= _ids(1, 2, 3, 4)
    (warning,) = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert f'ALTER TABLE "public"."{table}" REPLICA IDENTITY FULL' in warning
    assert "'users'" in warning


async def test_an_index_stops_where_changes_do_not_carry_its_own_key(lab: Lab) -> None:
    """C1, C3: a document that is to go could not be found; the other indexes go on."""
    lab.execute(TABLES)
    change = _change("products", {}, None)
    async with lab.builder(_users(), _products()) as builder:
        with pytest.raises(SchemaMismatch, match=r"key.*REPLICA IDENTITY FULL") as caught:
            await lab.resolve(builder, [change])
        assert caught.value.index == "products"
        builder.exclude("products")
        assert await lab.resolve(builder, [change]) == {"users": _ids(1, 2, 3, 4)}


async def test_a_null_in_an_old_row_of_a_partition_is_no_unknown_parent(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    """C3, C12: unless one of the partitions does not carry it."""
    lab.execute(
        TABLES.replace("total int)", "total int) PARTITION BY LIST (id)").split("INSERT")[0]
        + "CREATE TABLE orders_1 PARTITION OF orders FOR VALUES IN (1);"
        "CREATE TABLE orders_2 PARTITION OF orders FOR VALUES IN (2);"
        "ALTER TABLE orders_1 REPLICA IDENTITY FULL;"
        "INSERT INTO users VALUES (1)"
    )
    change = _change("orders", {}, {"user_id": None})
    async with lab.builder(_users()) as builder:
        assert await lab.resolve(builder, [change]) == {"users": _ids(1)}
        lab.execute("ALTER TABLE orders_2 REPLICA IDENTITY FULL")
        caplog.clear()
        assert await lab.resolve(builder, [change]) == {}
    assert not caplog.records


@pytest.mark.parametrize(
    ("narrow", "wide", "value"),
    [
        ("integer", "bigint", "-9223372036854775808"),
        ("smallint", "integer", "70000"),
        ("varchar(3)", "text", "'far too long'"),
    ],
)
async def test_a_foreign_key_that_points_out_of_the_keys_range_leads_nowhere(
    lab: Lab, narrow: str, wide: str, value: str
) -> None:
    """V2: a value that the key's type has no room for is no document, and no error."""
    lab.execute(
        f"CREATE TABLE users (id {narrow} PRIMARY KEY, name text);"
        f"CREATE TABLE orders (id int PRIMARY KEY, user_id {wide})"
    )
    schema = parse_schema(
        "{version: 1, table: users, fields: "
        "[{text: name}, {count: orders, table: orders, foreign_key: user_id}]}",
        "users",
        "users.schema.yml",
    )
    text = value.strip("'")
    change = _change("orders", {"user_id": text}, {"user_id": "1"})
    lab.execute(f"INSERT INTO users VALUES ('1'); INSERT INTO orders VALUES (1, {value})")
    async with lab.builder(schema) as builder:
        found = (await lab.resolve(builder, [change]))["users"]
        assert ("1",) in found
        built = await lab.build(builder, "users", list(found))
        assert [key for key, body in built.items() if body is not None] == [("1",)]


async def test_a_batch_of_changes_is_resolved_together(lab: Lab) -> None:
    lab.execute(TABLES)
    changes = [
        _change("items", None, {"order_id": str(order), "line": "1"}) for order in range(10, 14)
    ]
    async with lab.builder(_users()) as builder:
        assert await lab.resolve(builder, changes) == {"users": _ids(1, 2, 3)}


async def test_truncate_of_the_root_voids_the_index(lab: Lab) -> None:
    """C7: and touches every document of the indexes that read it elsewhere."""
    lab.execute(TABLES)
    truncate = Change(TableName("public", "products"), Operation.TRUNCATE, None, None)
    async with lab.builder(_users(), _products()) as builder:
        found = [one async for one in builder.resolve([truncate])]
    assert RootTruncated("products") in found
    assert SweepNeeded("users", "public.products was truncated") in found
    assert len(found) == 2


async def test_truncate_of_a_related_table_asks_for_a_sweep(lab: Lab) -> None:
    """C7: beside the keys of rows that go in the same transaction."""
    lab.execute(TABLES)
    truncate = Change(TableName("public", "tagged"), Operation.TRUNCATE, None, None)
    deleted = _change("users", {"id": "999999"}, None)
    async with lab.builder(_users()) as builder:
        found = [one async for one in builder.resolve([truncate, deleted])]
    assert SweepNeeded("users", "public.tagged was truncated") in found
    assert IndexKeys("users", [("999999",)]) in found


async def test_ids_without_a_row_are_found_by_any_spelling(lab: Lab) -> None:
    """V3: keys, texts that are no key, keys of another spelling, digests, for both kinds of key."""
    long = "k" * 600
    lab.execute(
        "CREATE TABLE numbers (id int PRIMARY KEY, gone bool NOT NULL DEFAULT false);"
        "INSERT INTO numbers VALUES (1, false), (7, false), (8, true);"
        "CREATE TABLE pairs (a text, b int, PRIMARY KEY (a, b));"
        "INSERT INTO pairs VALUES ('~x', 1), ('q\"\\', 2), (repeat('k', 600), 3);"
    )
    numbers = _schema("numbers", "numbers", "  - keyword: id\nsoft_delete: {column: gone}\n")
    pairs = _schema("pairs", "pairs", "  - keyword: a\n")
    async with lab.builder(numbers, pairs) as builder:
        ids = ["1", "2", "07", "7", "8", "x", "99999999999999999999", '["1"]']
        assert set(await builder.missing("numbers", ids)) == {
            ("2",),
            ("8",),
            StrayKey(("07",)),
            StrayKey(("x",)),
            StrayKey(("99999999999999999999",)),
            StrayKey(('["1"]',)),
        }
        there = [document_id_text(key) for key in (("~x", "1"), ('q"\\', "2"), (long, "3"))]
        gone = [document_id_text(key) for key in (("~x", "2"), (long, "4"))]
        assert set(await builder.missing("pairs", [*there, *gone, "[1, 2]"])) == {
            ("~x", "2"),
            StrayKey((gone[1],)),
            StrayKey(("[1, 2]",)),
        }


def _schema(index: str, table: str, fields: str) -> IndexSchema:
    return parse_schema(f"version: 1\ntable: {table}\nfields:\n{fields}", index, "test")


async def test_a_change_that_touches_many_documents_streams_them(lab: Lab) -> None:
    """C10: in chunks, none of which waits for the last one."""
    lab.execute(TABLES)
    lab.execute("INSERT INTO users SELECT n, 1 FROM generate_series(10, 30000) n")
    async with lab.builder(_users()) as builder:
        keys: list[Key] = []
        sizes: list[int] = []
        async for one in builder.resolve([_change("regions", None, {"id": "1"})]):
            assert isinstance(one, IndexKeys)
            sizes.append(len(one.keys))
            keys += one.keys
    assert set(keys) == _ids(1, 2, *range(10, 30001))
    assert max(sizes) <= 2000
    assert len(sizes) > 10


@pytest.mark.soak
async def test_a_million_documents_are_found_in_flat_memory(lab: Lab) -> None:
    """C10: one row that all of them show holds none of their keys."""
    lab.execute(TABLES)
    lab.execute("INSERT INTO users SELECT n, 1 FROM generate_series(10, 1000000) n")
    change = _change("regions", None, {"id": "1"})
    process = psutil.Process()
    count = 0
    async with lab.builder(_users()) as builder:
        before = process.memory_info().rss
        async for one in builder.resolve([change]):
            assert isinstance(one, IndexKeys)
            count += len(one.keys)
            assert process.memory_info().rss - before < 50 * 1024 * 1024
    assert count >= 999_991


async def test_builds_go_on_while_streams_are_held_back(lab: Lab) -> None:
    """C10: more held-back streams than the pool has connections do not starve a build."""
    lab.execute(TABLES)
    lab.execute("INSERT INTO users SELECT n, 1 FROM generate_series(10, 30000) n")
    async with lab.builder(_users()) as builder, asyncio.timeout(30):
        change = _change("regions", None, {"id": "1"})
        streams = [builder.resolve([change]) for _ in range(8)]
        for stream in streams:
            await anext(stream)
        assert len(await lab.build(builder, "users", [("1",), ("2",)])) == 2
        for stream in streams:
            await stream.aclose()
    lab.execute("DROP TABLE users")  # nothing is left that holds it


async def test_resolve_waits_for_nothing_after_it_is_cancelled(lab: Lab) -> None:
    """A task that is cancelled in the middle leaves the builder usable."""
    lab.execute(TABLES)
    lab.execute("INSERT INTO users SELECT n, 1 FROM generate_series(10, 30000) n")
    async with lab.builder(_users()) as builder, asyncio.timeout(30):

        async def drain() -> None:
            async for _ in builder.resolve([_change("regions", None, {"id": "1"})]):
                started.set()
                await asyncio.Event().wait()

        started = asyncio.Event()
        task = asyncio.create_task(drain())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(await lab.build(builder, "users", [("1",)])) == 1
