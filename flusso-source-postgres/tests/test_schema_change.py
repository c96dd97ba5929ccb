"""A schema changes: what serves by the old one stays right until the new generation is filled."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from flusso_core.engine import Engine
from flusso_core.hookspecs import SourceContext
from flusso_core.schema import parse_schema
from flusso_core.testing import MemoryDestination, MemorySink
from flusso_source_postgres import watch
from flusso_source_postgres.builder import PostgresBuilder
from flusso_source_postgres.capture import PostgresCapture
from flusso_source_postgres.options import PostgresOptions

pytestmark = pytest.mark.integration

TABLES = """
CREATE TABLE users (id bigint PRIMARY KEY, name text);
CREATE TABLE orders (id bigint PRIMARY KEY, user_id bigint REFERENCES users, total bigint);
INSERT INTO users VALUES (1, 'Ada');
INSERT INTO orders VALUES (7, 1, 10);
"""

OLD = """
version: 1
table: users
fields:
  - text: name
  - has_many: orders
    table: orders
    foreign_key: user_id
    fields:
      - long: total
"""

NEW = """
version: 1
table: users
fields:
  - text: title
    column: name
"""


@dataclass
class Shop:
    """A database, and a destination that outlives runs."""

    url: str
    destination: MemoryDestination = field(default_factory=MemoryDestination)

    async def sql(self, statement: str) -> None:
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            await connection.execute(statement.encode())

    @asynccontextmanager
    async def running(self, schema: str) -> AsyncGenerator[None, None]:
        options = {"connection_url": self.url, "slot": "slot_" + self.url.rsplit("_", 1)[-1]}
        parsed = parse_schema(schema, "users", "users.schema.yml")
        context = SourceContext(PostgresOptions.model_validate(options), (parsed,))
        engine = Engine(
            PostgresCapture(context),
            PostgresBuilder(context),
            {"memory": MemorySink(self.destination)},
        )
        run = asyncio.create_task(engine.run())
        try:
            yield
        finally:
            engine.stop()
            await run

    @contextmanager
    def no_page_is_read(self) -> Generator[Callable[[], None], None, None]:
        """A seed waits for transactions that have written before the run; yields the end of one."""
        with psycopg.connect(self.url) as writer:
            writer.execute("INSERT INTO users VALUES (99, 'never')")
            yield writer.rollback
            writer.rollback()

    def documents(self, generation: int) -> dict[str, Any]:
        stored = self.destination.generations.get(("users", generation), {})
        return {key: json.loads(one.body) for key, one in stored.items() if one.body is not None}

    @property
    def served(self) -> int | None:
        return self.destination.serving.get("users")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
async def shop(postgres_database: str, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """An index that was filled by the old schema."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setattr(watch, "_EVERY", 0.05)
    shop = Shop(postgres_database)
    await shop.sql(TABLES)
    async with shop.running(OLD):
        await until(lambda: shop.served == 1)
    return shop


async def test_what_serves_follows_its_own_schema_while_the_new_generation_fills(
    shop: Shop,
) -> None:
    """D4: also the tables that the new schema does not name."""
    with shop.no_page_is_read() as read_on:
        async with shop.running(NEW):
            await until(lambda: ("users", 2) in shop.destination.generations)
            await shop.sql("UPDATE orders SET total = 11; UPDATE users SET name = 'Ada L.'")
            right = {"1": {"name": "Ada L.", "orders": [{"total": 11}]}}
            await until(lambda: shop.documents(1) == right)
            await shop.sql("DELETE FROM orders")
            await until(lambda: shop.documents(1)["1"]["orders"] == [])
            assert shop.served == 1
            read_on()
            await until(lambda: shop.served == 2)
            await until(lambda: ("users", 1) not in shop.destination.generations)
            assert shop.documents(2) == {"1": {"title": "Ada L."}}


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("ALTER TABLE orders DROP total", "has no column 'total'"),
        ("ALTER TABLE orders DROP user_id", 'has no column "user_id"'),
        ("DROP TABLE orders", "table public.orders: does not exist"),
        ("ALTER PUBLICATION flusso DROP TABLE orders", "public.orders are not published"),
    ],
)
async def test_an_old_schema_that_no_longer_fits_freezes_its_generation_alone(
    shop: Shop, caplog: pytest.LogCaptureFixture, statement: str, told: str
) -> None:
    """D4: it is said, and stops nothing."""
    caplog.set_level(logging.WARNING)
    await shop.sql(statement)
    before = shop.documents(1)
    with shop.no_page_is_read() as read_on:
        async with shop.running(NEW):
            await until(lambda: ("users", 2) in shop.destination.generations)
            await shop.sql("UPDATE users SET name = 'Ada L.'")
            await until(lambda: shop.documents(2) == {"1": {"title": "Ada L."}})
            assert shop.documents(1) == before
            assert shop.served == 1
            read_on()
            await until(lambda: shop.served == 2)
    assert told in caplog.text
    assert "index users serves searches by an older schema (generation 1)" in caplog.text


async def test_an_old_schema_that_stops_fitting_meanwhile_freezes_its_generation(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """D4."""
    caplog.set_level(logging.WARNING)
    with shop.no_page_is_read() as read_on:
        async with shop.running(NEW):
            await until(lambda: ("users", 2) in shop.destination.generations)
            await shop.sql("ALTER TABLE orders DROP total")
            await shop.sql("UPDATE users SET name = 'Ada L.'")
            await until(lambda: "gets no changes until the new generation" in caplog.text)
            await until(lambda: shop.documents(2) == {"1": {"title": "Ada L."}})
            read_on()
            await until(lambda: shop.served == 2)


async def test_a_table_of_an_old_schema_that_leaves_the_publication_is_told(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    told = "may be stale until its new generation is filled: changes of public.orders are not"
    with shop.no_page_is_read() as read_on:
        async with shop.running(NEW):
            await until(lambda: ("users", 2) in shop.destination.generations)
            await shop.sql("ALTER PUBLICATION flusso DROP TABLE orders")
            await until(lambda: told in caplog.text)
            await shop.sql("UPDATE users SET name = 'Ada L.'")
            await until(lambda: shop.documents(1)["1"]["name"] == "Ada L.")
            read_on()
            await until(lambda: shop.served == 2)
