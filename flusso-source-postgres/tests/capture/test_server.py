"""Servers that restart, and that let go of what the slot needs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Iterator

import psycopg
import pytest

from flusso_core.errors import SourceError, SourceFatal, SourceUnavailable
from flusso_core.model import ChangeBatch, Position, Severity
from flusso_sandbox.postgres import PostgresServer
from flusso_sandbox.postgres_files import POSTGRES_VERSIONS

from .shop import TABLES, Shop

pytestmark = pytest.mark.integration

VERSION = os.environ.get("FLUSSO_TEST_POSTGRES_VERSION") or POSTGRES_VERSIONS[0]
STATUS = "SELECT wal_status FROM pg_replication_slots"


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """A server that tests may treat badly."""
    with PostgresServer(VERSION, settings={"max_slot_wal_keep_size": "1MB"}) as server:
        yield server


@pytest.fixture
def own_shop(own_server: PostgresServer) -> Iterator[Shop]:
    shop = Shop(own_server.create_database("shop_1"))
    shop.sql(TABLES)
    yield shop
    own_server.drop_database("shop_1")


@pytest.fixture
def keeping_shop(own_shop: Shop) -> Iterator[Shop]:
    """The server keeps what the slot needs, however far a fast writer is ahead of it."""
    own_shop.sql("ALTER SYSTEM SET max_slot_wal_keep_size = -1")
    own_shop.sql("SELECT pg_reload_conf()")
    yield own_shop
    own_shop.sql("ALTER SYSTEM RESET max_slot_wal_keep_size")
    own_shop.sql("SELECT pg_reload_conf()")


async def ignore(_batch: ChangeBatch) -> None:
    """A destination that takes everything."""


def remove_wal(shop: Shop) -> None:
    """Let the server remove WAL that the slot needs."""
    for _ in range(3):
        shop.sql("CREATE TABLE t (a int); DROP TABLE t")
        shop.sql("SELECT pg_switch_wal()")
    shop.sql("CHECKPOINT")
    assert shop.sql(STATUS) == [("lost",)]


async def test_a_lost_slot_is_made_anew_and_said_so(
    own_shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """H3: the new one begins later than any record, which is a gap."""
    async with own_shop.provisioned() as capture:
        before = await capture.confirmed()
    remove_wal(own_shop)
    async with own_shop.capture() as capture:
        [finding] = await capture.check()
        assert "is lost" in finding.message
        assert finding.severity is Severity.WARNING
        await capture.provision(temporary=False)
        assert await capture.confirmed() > before
        async with own_shop.live(capture) as received:
            own_shop.sql("INSERT INTO users VALUES (1)")
            await received.until(lambda got: bool(got.changes))
    assert f"replication slot {own_shop.slot} is lost and made anew" in caplog.text


async def test_a_slot_that_is_lost_under_a_run_ends_it(own_shop: Shop) -> None:
    """H3: by name, and it is not made anew in silence."""
    async with own_shop.provisioned() as capture:
        start = await capture.confirmed()
        task = asyncio.create_task(capture.live(start, ignore))
        async with asyncio.timeout(10):
            while not own_shop.sql("SELECT 1 FROM pg_replication_slots WHERE active"):
                await asyncio.sleep(0.01)
        await asyncio.to_thread(remove_wal, own_shop)
        with pytest.raises(SourceError):
            await asyncio.wait_for(task, 15)
        with pytest.raises(SourceFatal, match=f"slot {own_shop.slot} is lost.*start flusso again"):
            await capture.live(start, ignore)
    assert own_shop.sql(STATUS) == [("lost",)]


@pytest.mark.parametrize("kill", [False, True])
async def test_a_restart_of_the_server_under_load_loses_nothing(
    own_server: PostgresServer, keeping_shop: Shop, kill: bool
) -> None:
    """R1, H8: every commit that was acknowledged comes; resumed from the last position."""
    acknowledged: set[str] = set()
    ending = threading.Event()

    def write() -> None:
        number = 0
        while not ending.is_set():
            with (
                contextlib.suppress(psycopg.Error),
                psycopg.connect(keeping_shop.url, autocommit=True) as connection,
            ):
                while not ending.is_set():
                    number += 1
                    connection.execute("INSERT INTO users VALUES (%s)", [number])
                    acknowledged.add(str(number))

    received: set[str] = set()
    delivered: list[Position] = []

    async def put(batch: ChangeBatch) -> None:
        received.update(str((change.after or {})["id"]) for change in batch.changes)
        if batch.position is not None:
            delivered.append(batch.position)
            # A server that shuts down waits until all that it has sent is confirmed.
            await capture.confirm(batch.position)

    async with keeping_shop.provisioned() as capture:
        delivered.append(await capture.confirmed())

        async def follow() -> None:
            while True:
                try:
                    await capture.live(delivered[-1], put)
                except SourceUnavailable:
                    await asyncio.sleep(0.05)

        task = asyncio.create_task(follow())
        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(2):
                seen = len(received)
                async with asyncio.timeout(30):
                    while len(received) < seen + 50:
                        assert not task.done(), task.exception()
                        await asyncio.sleep(0.01)
                if kill:
                    await asyncio.to_thread(own_server.kill)
                    await asyncio.to_thread(own_server.start)
                else:
                    await asyncio.to_thread(own_server.restart)
        finally:
            ending.set()
            writer.join(30)
        async with asyncio.timeout(30):
            while not acknowledged <= received:
                assert not task.done(), task.exception()
                await asyncio.sleep(0.01)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.mark.skipif(int(VERSION) < 17, reason="failover slots came with Postgres 17")
async def test_standbys_keep_the_slot_where_that_is_wished_for(shop: Shop) -> None:
    """H3: made so, and changed where the slot is there already."""
    failover = "SELECT failover FROM pg_replication_slots WHERE slot_name = %s"
    for wished in (False, True):
        async with shop.provisioned(failover=wished) as capture:
            assert shop.sql(failover, shop.slot) == [(wished,)]
            assert not await capture.check()
    shop.sql("SELECT pg_drop_replication_slot(%s)", shop.slot)
    async with shop.provisioned(failover=True):
        assert shop.sql(failover, shop.slot) == [(True,)]


@pytest.mark.skipif(int(VERSION) >= 17, reason="Postgres 17 has failover slots")
async def test_older_servers_say_that_they_cannot_keep_the_slot(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with shop.provisioned(failover=True):
        pass
    assert f"cannot be kept on standbys by Postgres {VERSION}" in caplog.text
