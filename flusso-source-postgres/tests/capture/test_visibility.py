"""The gate and the settling wait, against a real server."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace

import psycopg
import pytest

from flusso_core.model import Change, ChangeBatch, Operation, TableName
from flusso_sandbox.endpoints import PostgresEndpoint
from flusso_source_postgres import visibility
from flusso_source_postgres.visibility import Snapshot

from .shop import SCHEMA, USERS, Shop


def test_a_snapshot_sees_what_is_below_its_end_and_not_running() -> None:
    snapshot = Snapshot.parse("10:20:12,15")
    assert snapshot.unseen([9, 10, 12, 14, 15, 19, 20, 21]) == [12, 15, 20, 21]
    assert Snapshot.parse("7:7:") == Snapshot(7, 7, frozenset())


@contextmanager
def missing_standby(server: PostgresEndpoint) -> Generator[None]:
    """Make commits wait for a standby that is not there."""
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute("SET synchronous_commit = off")
        admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        admin.execute("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            admin.execute("ALTER SYSTEM RESET synchronous_standby_names")
            admin.execute("SELECT pg_reload_conf()")


@pytest.mark.integration
async def test_the_gate_waits_for_a_commit_that_no_snapshot_sees_yet(
    shop: Shop,
    postgres_server: PostgresEndpoint,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """C16: the commit is delivered, and cannot be read."""
    monkeypatch.setattr(visibility, "_EXPLAIN_AFTER", 0.1)
    caplog.set_level(logging.WARNING)
    async with shop.provisioned() as capture, shop.live(capture) as received:
        with missing_standby(postgres_server):
            async with asyncio.timeout(10):
                while shop.sql("SHOW synchronous_standby_names") != [("nobody",)]:
                    await asyncio.sleep(0.01)
            writer = threading.Thread(
                target=shop.sql,
                args=("SET synchronous_commit = on; INSERT INTO users VALUES (1)",),
            )
            writer.start()
            await received.until(lambda got: bool(got.changes))
            [batch] = [batch for batch in received.batches if batch.changes]
            # Delivered, and not to be seen: this is why there is a gate.
            assert shop.sql("SELECT id FROM users") == []
            gate = asyncio.create_task(capture.wait_visible(batch))
            async with asyncio.timeout(10):
                while "to become visible" not in caplog.text:
                    await asyncio.sleep(0.01)
            assert not gate.done()
        async with asyncio.timeout(10):
            await gate
        assert shop.sql("SELECT id FROM users") == [(1,)]
        writer.join(10)


@pytest.mark.integration
async def test_what_a_snapshot_saw_passes_the_gate_without_asking(shop: Shop) -> None:
    async with shop.provisioned() as capture, shop.live(capture) as received:
        shop.sql("INSERT INTO users VALUES (1)")
        await received.until(lambda got: bool(got.changes))
        await capture.wait_visible(received.batches[-1])
        await capture.wait_visible(ChangeBatch(changes=(), position=None))
        xids = shop.sql("SELECT xmin::text::bigint FROM users")
        assert [received.batches[-1].transactions[0] % 2**32] == [xid for (xid,) in xids]


@pytest.mark.integration
@pytest.mark.parametrize("prepared", [False, True])
async def test_the_settling_wait_ends_with_the_last_straddling_transaction(
    shop: Shop,
    prepared: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """H1: it wrote before the publication covered the table, and is named while it lasts."""
    monkeypatch.setattr(visibility, "_EXPLAIN_SETTLING_AFTER", 0.1)
    caplog.set_level(logging.WARNING)
    async with shop.provisioned() as capture:
        with psycopg.connect(shop.url, application_name="straddler") as writer:
            writer.execute("INSERT INTO users VALUES (1)")
            if prepared:
                writer.execute("PREPARE TRANSACTION 'straddler'")
                writer.commit()
            settled = asyncio.create_task(capture.wait_settled())
            async with asyncio.timeout(10):
                while "straddler" not in caplog.text:
                    await asyncio.sleep(0.01)
            assert not settled.done()
            with psycopg.connect(shop.url) as later:
                later.execute("INSERT INTO users VALUES (2)")
                if prepared:
                    shop.sql("COMMIT PREPARED 'straddler'")
                else:
                    writer.commit()
                # A transaction that began later is not waited for.
                async with asyncio.timeout(10):
                    await settled


@pytest.mark.integration
async def test_the_settling_wait_is_for_writers_of_the_tables_alone(shop: Shop) -> None:
    """H1: who writes elsewhere, or only reads, holds nothing up."""
    shop.sql("CREATE TABLE busy (a int); INSERT INTO users VALUES (1)")
    async with shop.provisioned() as capture:
        with psycopg.connect(shop.url) as other, psycopg.connect(shop.url) as reader:
            other.execute("INSERT INTO busy VALUES (1)")
            reader.execute("SELECT FROM users FOR SHARE")
            async with asyncio.timeout(5):
                await capture.wait_settled()


@pytest.mark.integration
@pytest.mark.parametrize("overtaken", [False, True])
async def test_a_transaction_that_straddles_the_start_is_lost_by_nobody(
    shop: Shop,
    overtaken: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """H1, H2: pages have what was written until the source had settled, the stream the rest."""
    monkeypatch.setattr(visibility, "_EXPLAIN_SETTLING_AFTER", 0.1)
    shop.sql("CREATE TABLE products (id bigint PRIMARY KEY, name text)")
    products = replace(SCHEMA, index="products", table=TableName("public", "products"), fields=())
    async with shop.provisioned(products):
        pass
    with psycopg.connect(shop.url) as straddler:
        straddler.execute("INSERT INTO users VALUES (1)")
        async with shop.provisioned(SCHEMA, products) as capture, shop.live(capture) as received:

            async def read_page() -> set[str]:
                await capture.wait_settled()
                return {str(key) for (key,) in shop.sql("SELECT id FROM users")}

            reading = asyncio.create_task(read_page())
            async with asyncio.timeout(10):
                while "which wrote to public.users" not in caplog.text:
                    await asyncio.sleep(0.01)
            if overtaken:
                shop.sql("INSERT INTO users VALUES (2)")
            straddler.execute("INSERT INTO users VALUES (3)")
            straddler.commit()
            async with asyncio.timeout(10):
                page = await reading
            shop.sql("INSERT INTO users VALUES (4)")
            last = Change(USERS, Operation.UPSERT, None, {"id": "4"})
            await received.until(lambda got: last in got.changes)
    assert page == ({"1", "2", "3"} if overtaken else {"1", "3"})
