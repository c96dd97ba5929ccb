"""What stays at a server of a connection that nobody wants any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest

from flusso_source_postgres.connection import ConnectionTarget, connect
from flusso_source_postgres.replication import ReplicationConnection

Opener: TypeAlias = "Callable[[ConnectionTarget], Awaitable[object]]"


async def open_session(target: ConnectionTarget) -> None:
    await connect(target, application_name="flusso")


@pytest.mark.parametrize("open_one", [open_session, ReplicationConnection.open])
async def test_a_connection_that_is_given_up_half_open_is_closed(open_one: Opener) -> None:
    """At once, and not when the error that ended it is forgotten: a server waits for the rest."""
    begun, closed = asyncio.Event(), asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)  # a request for TLS: libpq waits for the answer
        begun.set()
        assert await reader.read() == b""
        closed.set()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with server, asyncio.timeout(10):
        port = server.sockets[0].getsockname()[1]
        target = ConnectionTarget.from_url(f"postgresql://a:b@127.0.0.1:{port}/c")
        opening = asyncio.ensure_future(open_one(target))
        await begun.wait()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError) as held:
            await opening
        await closed.wait()
    assert held.value.__traceback__ is not None
