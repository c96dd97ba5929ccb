"""A run that loses its connections again and again has no more handles and tasks than before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import NamedTuple

import psutil
import pytest
from aiohttp import web

from flusso_core.config import load_deployment
from flusso_core.model import DocumentId
from flusso_core.observe import FlushStats, NoopObserver
from flusso_core.pipeline import Overrides, assemble
from flusso_sandbox.endpoints import OpenSearchEndpoint
from flusso_sandbox.fault_proxy import Fault, FaultProxy, Outcome

from .shop_deployment import Connection
from .small_deployment import SmallDeployment

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

TIMES = 20
FAULTS = (Fault.RESET_BEFORE, Fault.RESET_AFTER, Fault.TRUNCATED)
POOLED = 8
"""Connections that are kept for later: those of the builder's pool, and of the sink at both ends of
the proxy. There may be some more at the end than at the beginning."""

HASTY = """
[retry]
initial = "5ms"
maximum = "20ms"
"""
TERMINATE = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class Held(NamedTuple):
    """What the process has: open file descriptors, sockets among them, and tasks."""

    handles: int
    tasks: int

    @classmethod
    def now(cls) -> Held:
        return cls(psutil.Process().num_fds(), len(asyncio.all_tasks()))


class Landed(NoopObserver):
    """Notes which documents have landed."""

    def __init__(self) -> None:
        self.keys: set[str] = set()

    def flushed(self, stats: FlushStats, documents: Sequence[DocumentId]) -> None:
        self.keys.update(document.key[0] for document in documents)


class OneFault:
    """Lets the next bulk request fail when it is armed, each time in another way."""

    def __init__(self) -> None:
        self._faults = cycle(FAULTS)
        self.armed = False

    def __call__(self, request: web.Request) -> Outcome:
        if not self.armed or request.path != "/_bulk":
            return None
        self.armed = False
        return next(self._faults)


async def until(condition: Callable[[], bool], what: str) -> None:
    end = asyncio.get_running_loop().time() + 20
    while not condition():
        assert asyncio.get_running_loop().time() < end, what
        await asyncio.sleep(0.01)


def test_handles_and_tasks_are_flat_over_many_lost_connections(
    connection: Connection,
    small: SmallDeployment,
    opensearch_server: OpenSearchEndpoint,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """R3, R1: each time all connections to the source end and a request to the sink is reset."""
    small.configure(general=HASTY)
    slot = small.environment["FLUSSO_SLOT"]
    overrides = Overrides(prefix=small.prefix, source={"slot": slot, "publication": slot})
    landed, fault = Landed(), OneFault()
    ended = 0

    async def lose(number: int) -> None:
        """Have all connections end, and see that a change arrives all the same."""
        nonlocal ended
        fault.armed = True
        row = connection.execute(TERMINATE).fetchone()
        ended += row[0] if row is not None else 0
        connection.execute("INSERT INTO items VALUES (%s, 'name')", [number])
        await until(lambda: str(number) in landed.keys, f"change {number} has landed")
        await until(lambda: not fault.armed, "a request has failed")

    async def main() -> None:
        engine = assemble(
            load_deployment(small.folder / "flusso.toml"), overrides=overrides, observer=landed
        )
        running = asyncio.create_task(engine.run())
        for number in range(5):
            await lose(number)
        before = Held.now()
        for number in range(5, 5 + TIMES):
            await lose(number)
        await until(
            lambda: (
                Held.now().handles <= before.handles + POOLED and Held.now().tasks <= before.tasks
            ),
            f"{Held.now()} is no more than {before}",
        )
        engine.stop()
        await running

    with FaultProxy(opensearch_server.url) as proxy:
        proxy.choose = fault
        monkeypatch.setenv("DATABASE_URL", small.environment["DATABASE_URL"])
        monkeypatch.setenv("OPENSEARCH_URL", proxy.url)
        asyncio.run(main())
        assert sum(proxy.happened[one] for one in FAULTS) == 5 + TIMES
    assert ended > 2 * TIMES, "the stream and a builder's connection each time"
