"""What the tests of a whole engine share: rows to begin with, a run, virtual time to wait in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from flusso_core.engine import Engine
from flusso_core.testing import MemoryDatabase, run_in_virtual_time


def filled(parents: int = 20) -> MemoryDatabase:
    """A database of parents with a child each."""
    database = MemoryDatabase()
    for number in range(parents):
        database.commit(
            database.put_parent(f"p{number:03}", f"name {number}"),
            database.put_child(f"c{number:03}", f"p{number:03}"),
        )
    return database


def childless(parents: int = 20) -> MemoryDatabase:
    """A database of parents alone."""
    database = MemoryDatabase()
    for number in range(parents):
        database.commit(database.put_parent(f"p{number:03}", f"name {number}"))
    return database


@asynccontextmanager
async def live(engine: Engine) -> AsyncGenerator[None, None]:
    """Run it during the block, and at its end stop it and see that it ends well."""
    task = asyncio.create_task(engine.run())
    yield
    engine.stop()
    await task


async def until(condition: Callable[[], bool], seconds: float = 600.0) -> None:
    """Wait, in virtual time, for a condition."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def virtual(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run it in virtual time, of which there are two hours."""
    run_in_virtual_time(main(), seconds=7200.0)
