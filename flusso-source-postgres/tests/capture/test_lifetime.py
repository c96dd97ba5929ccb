"""How a capture starts, stops, resumes and fails, against a real server."""

from __future__ import annotations

import asyncio
import re
import time

import psycopg
import pytest

from flusso_core.errors import ConfigError, SourceFatal, SourceUnavailable
from flusso_core.model import ChangeBatch, Position
from flusso_sandbox.postgres import PostgresServer

from .shop import Shop

pytestmark = pytest.mark.integration


async def ignore(_batch: ChangeBatch) -> None:
    """A destination that takes everything."""


async def test_nothing_is_lost_between_provisioning_and_the_stream(shop: Shop) -> None:
    """H1: a change committed at any moment of the start."""
    shop.sql("CREATE TABLE done ()")
    with psycopg.connect(shop.url, autocommit=True) as writer:
        async with shop.provisioned() as capture:
            start = await capture.confirmed()
            for number in range(20):
                writer.execute("INSERT INTO users VALUES (%s)", [number])
            async with shop.live(capture, start) as received:
                await received.until(lambda got: len(got.changes) == 20)


async def test_unconfirmed_changes_come_again_and_confirmed_ones_do_not(shop: Shop) -> None:
    """H8, R2."""
    async with shop.provisioned() as capture:
        async with shop.live(capture) as received:
            shop.sql("INSERT INTO users VALUES (1)")
            await received.until(lambda got: len(got.changes) == 1)
            position = received.position
            shop.sql("INSERT INTO users VALUES (2)")
            await received.until(lambda got: len(got.changes) == 2)
        assert position is not None
        # The stream has ended; closing the capture still tells the server.
        await capture.confirm(position)
    shop.sql("INSERT INTO users VALUES (3)")
    async with shop.provisioned() as capture:
        assert await capture.confirmed() == position
        async with shop.live(capture) as received:
            await received.until(lambda got: len(got.changes) == 2)
    assert [change.after for change in received.changes] == [{"id": "2"}, {"id": "3"}]


async def test_a_confirmed_position_reaches_the_server_while_streaming(shop: Shop) -> None:
    async with shop.provisioned() as capture, shop.live(capture) as received:
        shop.sql("INSERT INTO users VALUES (1)")
        await received.until(lambda got: bool(got.changes))
        position = received.position
        assert position is not None
        await capture.confirm(position)
        async with asyncio.timeout(2):
            while await capture.confirmed() < position:
                await asyncio.sleep(0.01)


@pytest.mark.alone
@pytest.mark.parametrize("stalled", [6, pytest.param(60, marks=pytest.mark.soak)])
async def test_a_stalled_destination_disconnects_nobody(shop: Shop, stalled: float) -> None:
    """H7: feedback has its own timer; the server gives up after two silent seconds."""
    active = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s"
    url = shop.url + "?options=-c%20wal_sender_timeout%3D2s"
    async with shop.capture(url=url) as capture:
        await capture.provision(temporary=False)
        released = asyncio.Event()
        received: list[ChangeBatch] = []

        async def put(batch: ChangeBatch) -> None:
            await released.wait()
            received.append(batch)

        task = asyncio.create_task(capture.live(await capture.confirmed(), put))
        shop.sql("INSERT INTO users SELECT g FROM generate_series(1, 50000) g")
        begun = time.monotonic()
        while time.monotonic() - begun < stalled:
            assert not task.done(), task.exception()
            await asyncio.sleep(0.1)
        pids = shop.sql(active, shop.slot)
        released.set()
        async with asyncio.timeout(30):
            while sum(len(batch.changes) for batch in received) < 50_000:
                assert not task.done(), task.exception()
                await asyncio.sleep(0.05)
        assert pids == shop.sql(active, shop.slot)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_lost_connection_can_be_followed_up(shop: Shop) -> None:
    """R1."""
    async with shop.provisioned() as capture:
        start = await capture.confirmed()
        received: list[ChangeBatch] = []

        async def put(batch: ChangeBatch) -> None:
            received.append(batch)

        task = asyncio.create_task(capture.live(start, put))
        shop.sql("INSERT INTO users VALUES (1)")
        async with asyncio.timeout(10):
            while not received:
                await asyncio.sleep(0.01)
        shop.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        with pytest.raises(SourceUnavailable):
            await task
        # The other connections were lost as well; each is opened again when it is needed.
        while True:
            try:
                await capture.lag()
                await capture.wait_settled()
                break
            except SourceUnavailable:
                await asyncio.sleep(0.01)
        async with shop.live(capture, received[-1].position) as again:
            shop.sql("INSERT INTO users VALUES (2)")
            await again.until(lambda got: bool(got.changes))
        assert [change.after for change in again.changes] == [{"id": "2"}]


async def test_a_slot_in_use_names_the_process_and_may_be_tried_again(shop: Shop) -> None:
    async with shop.provisioned() as first, shop.live(first) as received:
        shop.sql("INSERT INTO users VALUES (1)")
        await received.until(lambda got: bool(got.changes))
        [(pid,)] = shop.sql(
            "SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s", shop.slot
        )
        async with shop.provisioned() as second:
            with pytest.raises(SourceUnavailable, match=rf"active for PID {pid}"):
                await second.live(await second.confirmed(), ignore)


async def test_a_slot_that_is_gone_stops_the_run(shop: Shop) -> None:
    """H3: it is never made again in silence."""
    async with shop.provisioned() as capture:
        start = await capture.confirmed()
        shop.sql("SELECT pg_drop_replication_slot(%s)", shop.slot)
        with pytest.raises(SourceFatal, match=f"no replication slot {shop.slot}"):
            await capture.live(start, ignore)


async def test_a_publication_that_is_gone_stops_the_run(shop: Shop) -> None:
    async with shop.provisioned() as capture:
        start = await capture.confirmed()
        shop.sql("DROP PUBLICATION flusso")
        shop.sql("INSERT INTO users VALUES (1)")
        [(version,)] = shop.sql("SELECT current_setting('server_version_num')::int")
        if version < 180000:
            with pytest.raises(SourceFatal, match="drop the slot"):
                await capture.live(start, ignore)
    with pytest.raises(SourceFatal, match="pg_drop_replication_slot"):
        async with shop.provisioned():
            pass


async def test_a_temporary_slot_ends_with_the_capture(shop: Shop) -> None:
    async with shop.provisioned(temporary=True) as capture:
        await capture.provision(temporary=True)
        name = (await capture.identity()).stream
        assert re.fullmatch(rf"{shop.slot}_temporary_\d+", name)
        async with shop.live(capture) as received:
            shop.sql("INSERT INTO users VALUES (1)")
            await received.until(lambda got: bool(got.changes))
            position = received.position
            assert position is not None
            await capture.confirm(position)
        with pytest.raises(SourceFatal, match="temporary"):
            await capture.live(position, ignore)
    async with asyncio.timeout(5):
        while shop.sql("SELECT 1 FROM pg_replication_slots WHERE slot_name = %s", name):
            await asyncio.sleep(0.01)


async def test_an_error_of_the_destination_comes_through_as_it_is(shop: Shop) -> None:
    async def fail(_batch: ChangeBatch) -> None:
        raise KeyError("destination")

    async with shop.provisioned() as capture:
        shop.sql("INSERT INTO users VALUES (1)")
        with pytest.raises(KeyError, match="destination"):
            await capture.live(await capture.confirmed(), fail)
        with pytest.raises(KeyError, match="destination"):
            await capture.live(await capture.confirmed(), fail)


async def test_an_asynchronous_commit_lies_before_the_head(shop: Shop) -> None:
    async with shop.provisioned() as capture, shop.live(capture) as received:
        shop.sql("BEGIN; SET LOCAL synchronous_commit = off; INSERT INTO users VALUES (1); COMMIT")
        head = await capture.head()
        await received.until(lambda got: got.position is not None and got.position >= head)
        assert len(received.changes) == 1


async def test_a_wrong_password_stops_at_once_without_showing_it(shop: Shop) -> None:
    """R4."""
    url = shop.role(f"role_{shop.slot}").replace("geheim", "falsch")
    with pytest.raises(SourceFatal, match="password authentication failed") as caught:
        async with shop.capture(url=url):
            pass
    assert "falsch" not in str(caught.value)


async def test_a_database_or_role_that_does_not_exist_stops_at_once(shop: Shop) -> None:
    with pytest.raises(SourceFatal, match="create the database"):
        async with shop.capture(url=shop.url + "_not"):
            pass


async def test_a_server_that_is_not_there_is_tried_again(database: Shop) -> None:
    with pytest.raises(SourceUnavailable, match=r"connect to database 'x' at 127\.0\.0\.1:1"):
        async with database.capture(url="postgresql://u:secret@127.0.0.1:1/x"):
            pass


async def test_no_connection_at_all_is_a_configuration_error(database: Shop) -> None:
    bare = database.capture(connection_url=None)
    with pytest.raises(ConfigError, match="DATABASE_URL"):
        await bare.open()


async def test_a_server_without_logical_wal_is_named_with_the_cure() -> None:
    with PostgresServer(settings={"wal_level": "replica"}) as server:
        shop = Shop(server.endpoint.create_database("test_replica"))
        shop.sql("CREATE TABLE users (id int PRIMARY KEY, name text)")
        shop.sql("CREATE TABLE orders (id int PRIMARY KEY, user_id int, total int)")
        with pytest.raises(SourceFatal, match=r"wal_level is replica.*\n.*wal_level = 'logical'"):
            async with shop.provisioned():
                pass


async def test_a_position_before_what_is_confirmed_starts_at_what_is_confirmed(shop: Shop) -> None:
    async with shop.provisioned() as capture:
        async with shop.live(capture, Position(1, "0/1")) as received:
            shop.sql("INSERT INTO users VALUES (1)")
            await received.until(lambda got: bool(got.changes))
        assert len(received.changes) == 1
