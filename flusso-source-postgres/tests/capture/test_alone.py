"""An index that no longer fits, through the whole engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from flusso_core import Engine, NoopObserver
from flusso_core.hookspecs import SourceContext
from flusso_core.testing import MemoryDestination, MemorySink
from flusso_source_postgres import watch
from flusso_source_postgres.builder import PostgresBuilder
from flusso_source_postgres.options import PostgresOptions

from .shop import SCHEMA, Shop
from .test_fitness import PRODUCT_SCHEMA

pytestmark = pytest.mark.integration


@dataclass
class Stopped(NoopObserver):
    """Remembers which indexes have stopped, and why."""

    reasons: dict[str, str] = field(default_factory=dict[str, str])

    def index_stopped(self, index: str, reason: str) -> None:
        self.reasons[index] = reason


@asynccontextmanager
async def running(shop: Shop, destination: MemoryDestination) -> AsyncGenerator[Stopped, None]:
    """Keep both indexes in step while the context lasts."""
    options = PostgresOptions.model_validate({"connection_url": shop.url, "slot": shop.slot})
    schemas = (SCHEMA, PRODUCT_SCHEMA)
    stopped = Stopped()
    engine = Engine(
        shop.capture(*schemas),
        PostgresBuilder(SourceContext(options, schemas)),
        {"memory": MemorySink(destination)},
        observer=stopped,
    )
    task = asyncio.create_task(engine.run())
    yield stopped
    engine.stop()
    await task


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not met():
            await asyncio.sleep(0.01)


async def test_an_index_stops_alone_and_has_a_gap_once_its_table_fits_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C14: the other index gets its changes; the next run fills what the first has missed."""
    monkeypatch.setattr(watch, "_EVERY", 0.05)
    shop.sql("CREATE TABLE products (id bigint PRIMARY KEY, name text)")
    shop.sql("INSERT INTO users VALUES (1, 'a'); INSERT INTO products VALUES (1, 'x')")
    destination = MemoryDestination()

    def counts() -> tuple[int, int]:
        return len(destination.search("users")), len(destination.search("products"))

    async with running(shop, destination) as stopped:
        await until(lambda: counts() == (1, 1))
        shop.sql("ALTER TABLE orders DROP total")
        await until(lambda: "users" in stopped.reasons)
        shop.sql("INSERT INTO users VALUES (2, 'b'); INSERT INTO products VALUES (2, 'y')")
        await until(lambda: counts() == (1, 2))
    assert 'column "total" of table public.orders is gone' in stopped.reasons["users"]
    assert list(stopped.reasons) == ["users"]
    shop.sql("ALTER TABLE orders ADD total bigint")
    async with running(shop, destination) as stopped:
        await until(lambda: counts() == (2, 2))
    assert not stopped.reasons
