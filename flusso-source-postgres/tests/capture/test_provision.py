"""What provisioning makes of a database, and what it refuses."""

from __future__ import annotations

import asyncio
import logging

import psycopg
import pytest

from flusso_core.errors import SourceFatal
from flusso_core.model import Severity
from flusso_source_postgres import provision

from .shop import Shop

pytestmark = pytest.mark.integration

MEMBERS = "SELECT tablename::text FROM pg_publication_tables WHERE pubname = 'flusso' ORDER BY 1"
IDENTITIES = """
SELECT relname::text, relreplident::text FROM pg_class
WHERE relname IN ('users', 'orders') ORDER BY 1
"""


async def test_provisioning_is_idempotent_and_changes_only_what_is_needed(shop: Shop) -> None:
    for _ in range(2):
        async with shop.provisioned() as capture:
            assert not [f for f in await capture.check() if f.severity is Severity.ERROR]
    assert shop.sql(MEMBERS) == [("orders",), ("users",)]
    assert shop.sql(IDENTITIES) == [("orders", "f"), ("users", "d")]
    assert len(shop.sql("SELECT 1 FROM pg_replication_slots WHERE slot_name = %s", shop.slot)) == 1


async def test_checking_changes_nothing(shop: Shop) -> None:
    async with shop.capture() as capture:
        assert await capture.check() == ()
    assert shop.sql("SELECT 1 FROM pg_publication") == []
    assert shop.sql(IDENTITIES) == [("orders", "d"), ("users", "d")]


async def test_a_publication_is_extended_and_its_options_completed(shop: Shop) -> None:
    """H2."""
    shop.sql("CREATE PUBLICATION flusso FOR TABLE users WITH (publish = 'insert')")
    async with shop.provisioned():
        pass
    assert shop.sql(MEMBERS) == [("orders",), ("users",)]
    assert shop.sql("SELECT pubupdate, pubdelete, pubtruncate FROM pg_publication") == [
        (True, True, True)
    ]


async def test_without_leave_to_manage_the_publication_the_sql_is_given(shop: Shop) -> None:
    with pytest.raises(SourceFatal, match='CREATE PUBLICATION "flusso" FOR TABLE'):
        async with shop.provisioned(manage_publication=False):
            pass
    assert shop.sql("SELECT 1 FROM pg_publication") == []
    assert shop.sql("SELECT 1 FROM pg_replication_slots WHERE slot_name = %s", shop.slot) == []
    assert shop.sql(IDENTITIES) == [("orders", "d"), ("users", "d")]


async def test_without_leave_to_set_the_identity_a_warning_gives_the_sql(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """C3: a stale parent is never silent."""
    async with shop.provisioned(manage_replica_identity=False) as capture:
        [finding] = await capture.check()
    assert finding.severity is Severity.WARNING
    assert finding.cure == 'ALTER TABLE "public"."orders" REPLICA IDENTITY FULL'
    assert "REPLICA IDENTITY FULL" in caplog.text
    assert shop.sql(IDENTITIES) == [("orders", "d"), ("users", "d")]


async def test_a_table_without_usable_identity_is_never_published(shop: Shop) -> None:
    """C11: its UPDATE and DELETE would fail."""
    shop.sql("ALTER TABLE orders REPLICA IDENTITY NOTHING")
    with pytest.raises(SourceFatal, match=r"table public\.orders: has no usable replica identity"):
        async with shop.provisioned(manage_replica_identity=False):
            pass
    shop.sql("INSERT INTO orders VALUES (1); UPDATE orders SET total = 1; DELETE FROM orders")
    async with shop.provisioned():
        pass
    shop.sql("INSERT INTO orders VALUES (1); UPDATE orders SET total = 1; DELETE FROM orders")


async def test_a_busy_table_is_waited_for_without_making_others_wait(
    shop: Shop,
) -> None:
    shop.sql("INSERT INTO orders VALUES (1)")
    with psycopg.connect(shop.url) as reader:
        reader.execute("SELECT FROM orders")
        async with asyncio.TaskGroup() as group:

            async def run() -> None:
                async with shop.provisioned():
                    pass

            task = group.create_task(run())
            for _ in range(20):
                # A query that had to queue behind a waiting lock would time out.
                await asyncio.to_thread(shop.sql, "SET lock_timeout = '2s'; SELECT FROM orders")
                await asyncio.sleep(0.02)
            assert not task.done()
            reader.rollback()
    assert shop.sql(IDENTITIES) == [("orders", "f"), ("users", "d")]


async def test_a_table_that_stays_busy_is_named_with_the_sql(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provision, "LOCK_PATIENCE", 0.3)
    with psycopg.connect(shop.url) as reader:
        reader.execute("SELECT FROM orders")
        with pytest.raises(SourceFatal, match=r"public\.orders is in use.*ALTER TABLE"):
            async with shop.provisioned():
                pass


async def test_a_missing_table_is_named_with_the_schema_that_names_it(database: Shop) -> None:
    database.sql("CREATE TABLE users (id bigint PRIMARY KEY, name text)")
    with pytest.raises(SourceFatal, match=r"public\.orders: does not exist .*users\.schema\.yml"):
        async with database.provisioned():
            pass


async def test_a_missing_foreign_key_column_is_named(shop: Shop) -> None:
    shop.sql("ALTER TABLE orders RENAME user_id TO customer_id")
    with pytest.raises(SourceFatal, match=r'public\.orders: has no column "user_id"'):
        async with shop.provisioned():
            pass


async def test_a_table_without_a_key_is_named(shop: Shop) -> None:
    """H6."""
    shop.sql("ALTER TABLE orders DROP CONSTRAINT orders_user_id_fkey")
    shop.sql("ALTER TABLE users DROP CONSTRAINT users_pkey")
    with pytest.raises(SourceFatal, match=r"public\.users has no primary key"):
        async with shop.provisioned():
            pass


async def test_views_and_unlogged_tables_are_refused(database: Shop) -> None:
    database.sql(
        "CREATE UNLOGGED TABLE users (id bigint PRIMARY KEY, name text);"
        "CREATE VIEW orders AS SELECT 1 AS id, 1 AS user_id, 1 AS total"
    )
    # The view has no key either, which the relation does not need.
    with pytest.raises(SourceFatal, match=r"orders: is a view[\s\S]*users: is unlogged"):
        async with database.provisioned():
            pass


async def test_a_role_that_may_not_read_or_change_gets_the_sql_for_an_administrator(
    shop: Shop,
) -> None:
    """Privileges: nothing is half done."""
    url = shop.role(f"role_{shop.slot}")
    with pytest.raises(SourceFatal) as caught:
        async with shop.capture(url=url) as capture:
            await capture.provision(temporary=False)
    message = str(caught.value)
    assert 'GRANT SELECT ON "public"."orders" TO' in message
    shop.sql(f'GRANT SELECT ON users, orders TO "role_{shop.slot}"')
    with pytest.raises(SourceFatal, match="CREATE PUBLICATION") as caught:
        async with shop.capture(url=url) as capture:
            await capture.provision(temporary=False)
    assert shop.sql("SELECT 1 FROM pg_publication") == []
    # An administrator does as told, but the role may not replicate yet.
    shop.sql("ALTER TABLE orders REPLICA IDENTITY FULL")
    shop.sql("CREATE PUBLICATION flusso FOR TABLE users, orders")
    with pytest.raises(SourceFatal, match="REPLICATION"):
        async with shop.capture(url=url) as capture:
            await capture.provision(temporary=False)
    shop.sql(f'ALTER ROLE "role_{shop.slot}" REPLICATION')
    async with shop.capture(url=url) as capture:
        await capture.provision(temporary=False)
        async with shop.live(capture) as received:
            shop.sql("INSERT INTO users VALUES (1)")
            await received.until(lambda got: bool(got.changes))


async def test_hidden_rows_are_refused(shop: Shop) -> None:
    url = shop.role(f"role_{shop.slot}")
    shop.sql(f'GRANT SELECT ON users, orders TO "role_{shop.slot}"')
    shop.sql("ALTER TABLE users ENABLE ROW LEVEL SECURITY")
    with pytest.raises(SourceFatal, match="row security policy"):
        async with shop.capture(url=url) as capture:
            await capture.provision(temporary=False)


async def test_row_filters_and_column_lists_that_lose_changes_are_refused(shop: Shop) -> None:
    shop.sql("ALTER TABLE orders REPLICA IDENTITY FULL")
    shop.sql("CREATE PUBLICATION flusso FOR TABLE users (id), orders WHERE (total > 5)")
    with pytest.raises(SourceFatal, match=r"publishes only some rows of public\.orders"):
        async with shop.provisioned():
            pass


async def test_a_foreign_slot_is_not_touched(shop: Shop) -> None:
    shop.sql("SELECT pg_create_physical_replication_slot(%s)", shop.slot)
    with pytest.raises(SourceFatal, match="physical slot"):
        async with shop.provisioned():
            pass


async def test_an_existing_slot_and_publication_are_adopted(shop: Shop) -> None:
    shop.sql("CREATE PUBLICATION flusso FOR TABLE users, orders")
    shop.sql("ALTER TABLE orders REPLICA IDENTITY FULL")
    shop.sql("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", shop.slot)
    shop.sql("INSERT INTO users VALUES (1)")
    async with shop.provisioned() as capture, shop.live(capture) as received:
        await received.until(lambda got: bool(got.changes))


async def test_a_slot_names_the_transactions_that_it_waits_for(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(provision, "_EXPLAIN_AFTER", 0.2)
    caplog.set_level(logging.WARNING)
    with psycopg.connect(shop.url, application_name="nightly") as writer:
        pid = writer.info.backend_pid
        writer.execute("INSERT INTO users VALUES (1)")
        async with asyncio.TaskGroup() as group:

            async def run() -> None:
                async with shop.provisioned():
                    pass

            group.create_task(run())
            async with asyncio.timeout(10):
                while "nightly" not in caplog.text:
                    await asyncio.sleep(0.02)
            writer.rollback()
    assert f"process {pid}" in caplog.text
