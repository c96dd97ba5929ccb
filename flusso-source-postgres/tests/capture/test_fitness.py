"""What happens under a running stream, and whom it concerns."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from flusso_core.errors import SourceFatal
from flusso_core.model import Change, ChangeBatch, FieldType, Operation, TableName
from flusso_core.schema import load_schema
from flusso_core.schema.model import IndexSchema, JoinField, JoinKind, ScalarField
from flusso_source_postgres import watch

from .shop import SCHEMA, Received, Shop

pytestmark = pytest.mark.integration

PRODUCTS = TableName("public", "products")
PRODUCT_SCHEMA = IndexSchema(
    index="products",
    table=PRODUCTS,
    schema_hash="2",
    origin="products.schema.yml",
    fields=(ScalarField("name", FieldType.TEXT, "name"),),
)
SCHEMA_FILE = """\
version: 1
table: users
fields:
  - text: name
  - has_many: orders
    table: orders
    foreign_key: user_id
    fields:
      - long: total
"""


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_EVERY", 0.05)


@pytest.fixture
def two(shop: Shop) -> Shop:
    """Tables of two indexes that have nothing to do with each other."""
    shop.sql("CREATE TABLE products (id bigint PRIMARY KEY, name text)")
    return shop


def reasons(received: Received) -> dict[str, str]:
    return {one.index: one.reason for batch in received.batches for one in batch.unfit}


async def ignore(_batch: ChangeBatch) -> None:
    """A destination that takes everything."""


async def goes_on(shop: Shop, received: Received) -> None:
    """The other index gets its changes."""
    shop.sql("INSERT INTO products VALUES (7)")
    change = Change(PRODUCTS, Operation.UPSERT, None, {"id": "7"})
    await received.until(lambda got: change in got.changes)


@pytest.mark.parametrize(
    ("statement", "line", "told"),
    [
        ("ALTER TABLE orders DROP total", 9, 'column "total" of table public.orders is gone'),
        (
            "ALTER TABLE orders ALTER total TYPE text USING total::text",
            9,
            'column "total" of table public.orders was bigint and is text now',
        ),
        ("ALTER TABLE orders RENAME user_id TO customer_id", 5, 'has no column "user_id"'),
        ("DROP TABLE orders", 5, "table public.orders: does not exist"),
        (
            "CREATE SCHEMA other; ALTER TABLE orders SET SCHEMA other",
            5,
            "table public.orders: does not exist",
        ),
        (
            "ALTER TABLE orders REPLICA IDENTITY DEFAULT",
            5,
            'the replica identity of table public.orders no longer carries "user_id": ALTER',
        ),
        ("ALTER PUBLICATION flusso DROP TABLE orders", None, "public.orders left the publication"),
        (
            "DROP TABLE orders; CREATE TABLE orders (id int PRIMARY KEY, user_id int, total int)",
            5,
            "table public.orders was dropped and made anew",
        ),
        (
            "ALTER TABLE users DROP CONSTRAINT users_pkey CASCADE",
            None,
            "public.users has no primary key",
        ),
    ],
)
async def test_what_no_longer_fits_stops_its_index_and_no_other(
    two: Shop, tmp_path: Path, statement: str, line: int | None, told: str
) -> None:
    """C14: by file and line; also where the table has no changes afterwards."""
    file = tmp_path / "users.schema.yml"
    file.write_text(SCHEMA_FILE, encoding="utf-8")
    schema = load_schema(file, "users")
    async with two.provisioned(schema, PRODUCT_SCHEMA) as capture, two.live(capture) as received:
        two.sql(statement)
        await received.until(lambda got: "users" in reasons(got))
        await goes_on(two, received)
    assert told in reasons(received)["users"]
    assert line is None or f"{file}:{line}: " in reasons(received)["users"]
    assert list(reasons(received)) == ["users"]


async def test_a_change_after_the_alteration_never_comes_before_the_word_of_it(
    two: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C14: the Relation message is reason enough to look."""
    monkeypatch.setattr(watch, "_EVERY", 3600.0)
    async with two.provisioned(SCHEMA, PRODUCT_SCHEMA) as capture, two.live(capture) as received:
        two.sql("INSERT INTO orders VALUES (1)")
        await received.until(lambda got: bool(got.changes))
        two.sql("ALTER TABLE orders DROP total")
        two.sql("INSERT INTO orders VALUES (2)")
        await received.until(lambda got: len(got.changes) == 2)
        await goes_on(two, received)
    first = next(place for place, batch in enumerate(received.batches) if batch.unfit)
    second = [place for place, batch in enumerate(received.batches) if batch.changes][1]
    assert first <= second


async def test_columns_and_tables_that_no_schema_names_come_and_go(two: Shop) -> None:
    """C14, C15."""
    async with two.provisioned(SCHEMA, PRODUCT_SCHEMA) as capture, two.live(capture) as received:
        two.sql("ALTER TABLE orders ADD extra int; ALTER TABLE users ADD CHECK (id > 0)")
        two.sql("ALTER TABLE users REPLICA IDENTITY FULL")
        two.sql("ALTER TABLE users REPLICA IDENTITY DEFAULT")
        two.sql("ALTER TABLE orders ALTER extra TYPE text; CREATE TABLE other (a int)")
        two.sql("INSERT INTO orders VALUES (1)")
        two.sql("ALTER TABLE orders DROP extra; DROP TABLE other")
        two.sql("INSERT INTO orders VALUES (2)")
        await received.until(lambda got: len(got.changes) == 2)
        await goes_on(two, received)
    assert not reasons(received)


async def test_a_table_without_usable_identity_stops_its_index_alone(two: Shop) -> None:
    """C11: it is not published, so that its UPDATE and DELETE go on working."""
    two.sql("ALTER TABLE orders REPLICA IDENTITY NOTHING")
    async with (
        two.provisioned(SCHEMA, PRODUCT_SCHEMA, manage_replica_identity=False) as capture,
        two.live(capture) as received,
    ):
        await received.until(lambda got: "users" in reasons(got))
        await goes_on(two, received)
        two.sql("INSERT INTO orders VALUES (1); UPDATE orders SET total = 1; DELETE FROM orders")
    reason = reasons(received)["users"]
    assert "users.schema.yml: table public.orders: has no usable replica identity" in reason
    assert 'ALTER TABLE "public"."orders" REPLICA IDENTITY FULL' in reason
    assert two.sql("SELECT tablename::text FROM pg_publication_tables") == [("products",)]


async def test_an_index_that_stopped_is_named_again_to_each_stream(two: Shop) -> None:
    two.sql("DROP TABLE orders")
    async with two.provisioned(SCHEMA, PRODUCT_SCHEMA) as capture:
        for _ in range(2):
            async with two.live(capture) as received:
                await received.until(lambda got: "users" in reasons(got))


async def test_a_run_of_which_no_index_fits_any_more_ends(shop: Shop) -> None:
    async with shop.provisioned() as capture:
        shop.sql("DROP TABLE orders")
        with pytest.raises(SourceFatal, match=r"table public\.orders: does not exist"):
            await capture.live(await capture.confirmed(), ignore)


PARTITIONS = """
CREATE TABLE visits (id bigint, user_id bigint, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE visits_1 PARTITION OF visits FOR VALUES FROM (0) TO (100);
CREATE TABLE visits_2 PARTITION OF visits FOR VALUES FROM (100) TO (200);
CREATE TABLE apart (id bigint PRIMARY KEY, user_id bigint);
INSERT INTO visits VALUES (1, 7), (101, 8); INSERT INTO apart VALUES (201, 9);
"""
VISITS = TableName("public", "visits")
VISITED = replace(
    SCHEMA,
    fields=(JoinField("visits", JoinKind.HAS_MANY, VISITS, (), foreign_key="user_id"),),
)
VISIT_SCHEMA = IndexSchema(index="visits", table=VISITS, schema_hash="3", fields=())
TRUNCATED = Change(VISITS, Operation.TRUNCATE, None, None)


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (
            "ALTER TABLE visits ATTACH PARTITION apart FOR VALUES FROM (200) TO (300)",
            "public.apart was attached",
        ),
        ("ALTER TABLE visits DETACH PARTITION visits_1", "public.visits_1 is gone"),
        ("DROP TABLE visits_2", "public.visits_2 is gone"),
        ("TRUNCATE visits_1", "public.visits_1 was truncated"),
    ],
)
async def test_rows_that_come_or_go_with_a_partition_rebuild_what_embeds_them(
    shop: Shop, caplog: pytest.LogCaptureFixture, statement: str, told: str
) -> None:
    """C12: none of this is published."""
    shop.sql(PARTITIONS)
    async with shop.provisioned(VISITED) as capture, shop.live(capture) as received:
        shop.sql(statement)
        await received.until(lambda got: TRUNCATED in got.changes)
    assert told in caplog.text
    assert received.changes == [TRUNCATED]


async def test_partitions_of_a_root_table_are_named_with_the_sweep(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """C12."""
    shop.sql(PARTITIONS)
    async with shop.provisioned(VISIT_SCHEMA) as capture, shop.live(capture) as received:
        [finding] = await capture.check()
        assert "publishes no TRUNCATE, ATTACH, DETACH or DROP" in finding.message
        shop.sql("DROP TABLE visits_2")
        async with asyncio.timeout(10):
            while "documents of the index visits may be stale: sweep it" not in caplog.text:
                await asyncio.sleep(0.01)
    assert not received.changes


async def test_a_new_partition_gets_the_identity_of_the_others(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """C12: what moved before it had one is never taken for unchanged."""
    caplog.set_level(logging.INFO)
    shop.sql(PARTITIONS)
    async with shop.provisioned(VISITED) as capture, shop.live(capture) as received:
        shop.sql(
            "BEGIN; CREATE TABLE visits_3 PARTITION OF visits FOR VALUES FROM (200) TO (300);"
            "INSERT INTO visits VALUES (201, 7); UPDATE visits SET user_id = 9 WHERE id = 201;"
            "COMMIT"
        )
        unknown = Change(VISITS, Operation.UPSERT, {}, {"user_id": "9"})
        await received.until(lambda got: unknown in got.changes)
        await until_full(shop, "visits_3")
        shop.sql("UPDATE visits SET user_id = 10 WHERE id = 201")
        moved = Change(VISITS, Operation.UPSERT, {"user_id": "9"}, {"user_id": "10"})
        await received.until(lambda got: moved in got.changes)
    assert TRUNCATED not in received.changes
    assert "set REPLICA IDENTITY FULL on public.visits_3" in caplog.text


async def until_full(shop: Shop, table: str) -> None:
    async with asyncio.timeout(10):
        while shop.sql("SELECT relreplident::text FROM pg_class WHERE relname = %s", table) != [
            ("f",)
        ]:
            await asyncio.sleep(0.01)


async def test_a_column_list_of_another_publication_is_never_broken(two: Shop) -> None:
    """C11: with FULL, UPDATE and DELETE of such a table would fail."""
    two.sql("CREATE PUBLICATION other FOR TABLE orders (id, total)")
    async with two.provisioned(SCHEMA, PRODUCT_SCHEMA) as capture:
        findings = await capture.check()
    assert any(
        'publish it without a list of columns ("other")' in str(one.cure) for one in findings
    )
    two.sql("INSERT INTO orders VALUES (1); UPDATE orders SET total = 1; DELETE FROM orders")
