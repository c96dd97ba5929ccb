"""What the server has to keep for flusso: WAL, and rows that are dead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from flusso_core.hookspecs import SourceContext
from flusso_core.model import ChangeBatch, Key, KeyRange
from flusso_source_postgres.builder import PostgresBuilder
from flusso_source_postgres.capture import PostgresCapture
from flusso_source_postgres.options import PostgresOptions

from .shop import SCHEMA, Shop

pytestmark = pytest.mark.integration

RETAINED = """
SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint, age(catalog_xmin)
FROM pg_replication_slots WHERE slot_name = %s
"""
HORIZONS = """
SELECT application_name, age(backend_xmin) FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'flusso%' AND age(backend_xmin) > 20
"""
BUSY = """
INSERT INTO busy SELECT g, repeat('x', 500) FROM generate_series(1, 4000) g;
UPDATE busy SET b = 'y'; DELETE FROM busy;
"""
LITTLE = 1_000_000
"""Bytes of WAL: a fraction of what each of these tests writes."""


@asynccontextmanager
async def durable(shop: Shop, capture: PostgresCapture) -> AsyncGenerator[None, None]:
    """Follow changes with a destination where everything is durable at once."""

    async def put(batch: ChangeBatch) -> None:
        if batch.position is not None:
            await capture.confirm(batch.position)

    task = asyncio.create_task(capture.live(await capture.confirmed(), put))
    try:
        yield
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def until_let_go(shop: Shop) -> None:
    """Wait until the slot keeps next to nothing, neither of WAL nor of the catalogue's rows."""
    async with asyncio.timeout(20):
        while True:
            # The server's notes of running transactions let a slot advance: the background
            # writer makes one every 15 seconds, a checkpoint at once.
            await asyncio.to_thread(shop.sql, "CHECKPOINT")
            [(wal, age)] = shop.sql(RETAINED, shop.slot)
            if wal < LITTLE and age < 20:
                return
            await asyncio.sleep(0.1)


async def test_a_busy_table_that_nobody_follows_piles_up_nothing(shop: Shop) -> None:
    """H7: measured, with not one change to deliver."""
    shop.sql("CREATE TABLE busy (a int, b text)")
    async with shop.provisioned() as capture, durable(shop, capture):
        for _ in range(3):
            shop.sql(BUSY)
        await until_let_go(shop)
        assert await capture.lag() < LITTLE


async def test_a_long_backfill_holds_back_neither_wal_nor_vacuum(shop: Shop) -> None:
    """H5: measured between any two of its pages, while others write and live changes flow."""
    shop.sql("CREATE TABLE busy (a int PRIMARY KEY, b text)")
    shop.sql("INSERT INTO users SELECT g FROM generate_series(1, 200) g")
    options = PostgresOptions.model_validate({"connection_url": shop.url, "slot": shop.slot})
    async with (
        shop.provisioned() as capture,
        durable(shop, capture),
        PostgresBuilder(SourceContext(options, (SCHEMA,))) as builder,
    ):
        after: Key | None = None
        for _ in range(3):
            page = await builder.page("users", KeyRange(), after, 10)
            after = page.cursor
            assert after is not None
            for _ in range(30):
                shop.sql("UPDATE users SET name = 'b' WHERE id = 150")
            shop.sql(BUSY)
            await until_let_go(shop)
            assert shop.sql(HORIZONS) == []
        shop.sql("VACUUM users, busy")
        dead = "SELECT relpages FROM pg_class WHERE relname = 'busy'"
        # Every row was deleted: vacuum could give all pages back to the system.
        assert shop.sql(dead) == [(0,)]
