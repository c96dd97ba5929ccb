"""Where a server's history left another timeline."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from flusso_core.engine import Engine
from flusso_core.model import Position
from flusso_core.testing import MemoryDestination, MemorySink
from flusso_sandbox.postgres import PostgresServer
from flusso_sandbox.postgres_files import POSTGRES_VERSIONS
from flusso_source_postgres.builder import PostgresBuilder
from flusso_source_postgres.timelines import parse_history
from flusso_source_postgres.wire import ProtocolError

from .shop import TABLES, Shop

VERSION = os.environ.get("FLUSSO_TEST_POSTGRES_VERSION") or POSTGRES_VERSIONS[0]

HISTORY = (
    b"1\t0/5000060\tno recovery target specified\n"
    b"# an old server wrote this\n"
    b"\n"
    b"  3 \t16/B374D848\tbefore 2026-01-02 03:04:05+00 \xe4\n"
)


def test_each_line_of_a_history_names_a_timeline_and_where_it_was_left() -> None:
    assert parse_history(HISTORY) == {"1": 0x5000060, "3": 0x16_B374D848}
    assert parse_history(b"") == {}


@pytest.mark.parametrize("line", [b"one\t0/1\tx", b"1", b"1\t5000060\tx", b"1\t0/\xe4\tx"])
def test_what_is_no_history_is_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError, match="timeline history"):
        parse_history(line)


@pytest.mark.integration
async def test_a_server_that_never_failed_over_knows_no_other_timeline(shop: Shop) -> None:
    """H3."""
    async with shop.capture() as capture:
        for timeline in ("1", "2", "", "another source's"):
            assert await capture.branch_point(timeline) is None


@pytest.mark.integration
async def test_a_promoted_server_goes_on_where_both_histories_are_the_same(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H3: what was right before the switch still is; what lies beyond it is a gap."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    caplog.set_level(logging.WARNING)
    destination = MemoryDestination()
    # With this, a server that finds `recovery.signal` promotes itself at the end of its WAL.
    with PostgresServer(VERSION, settings={"restore_command": "false"}) as server:
        shop = Shop(server.endpoint.create_database("test_promoted"))
        shop.sql(TABLES + "INSERT INTO users VALUES (1, 'Ada')")
        async with running(shop, destination):
            await until(lambda: found(destination) == {"1": "Ada"})
        before = destination.records["users"]

        await asyncio.to_thread(promote, server)
        async with shop.capture() as capture:
            assert (await capture.identity()).timeline == "2"
            branched = await capture.branch_point("1")
            assert branched is not None
            assert before.position <= branched <= await capture.head()
            assert await capture.branch_point("2") is None
        shop.sql("UPDATE users SET name = 'Ada L.'")
        async with running(shop, destination):
            await until(lambda: found(destination) == {"1": "Ada L."})
        assert destination.records["users"].identity.timeline == "2"
        assert destination.serving == {"users": 1}
        assert "read again" not in caplog.text

        beyond = Position(branched.order + 8, "beyond")
        destination.records["users"] = replace(before, position=beyond)
        async with running(shop, destination):
            await until(lambda: "the server's history left that one at" in caplog.text)
            await until(lambda: destination.records["users"].current.clean)


def promote(server: PostgresServer) -> None:
    """Have the server begin a new timeline, as a standby does that takes over."""
    server.stop()
    data = server.folder / "data"
    signal = data / "recovery.signal"
    signal.touch()
    owner = data.stat()
    os.chown(signal, owner.st_uid, owner.st_gid)
    server.start()
    ended = Shop(server.url())
    deadline = time.monotonic() + 30
    while ended.sql("SELECT pg_is_in_recovery()") != [(False,)]:
        assert time.monotonic() < deadline, "still in recovery"
        time.sleep(0.02)


@asynccontextmanager
async def running(shop: Shop, destination: MemoryDestination) -> AsyncGenerator[None, None]:
    context = shop.context()
    engine = Engine(shop.capture(), PostgresBuilder(context), {"memory": MemorySink(destination)})
    run = asyncio.create_task(engine.run())
    try:
        yield
    finally:
        engine.stop()
        await run


def found(destination: MemoryDestination) -> dict[str, str]:
    """The names that searches see."""
    return {key: json.loads(body)["name"] for key, body in destination.search("users").items()}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)
