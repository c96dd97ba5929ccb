"""An index whose schema does not fit its tables stops alone: a whole pipeline over SQLite files."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from flusso_core.engine import Engine, RetryPolicy
from flusso_core.errors import SourceFatal
from flusso_core.hookspecs import SourceContext
from flusso_core.model import Severity
from flusso_core.observe.observer import NoopObserver
from flusso_core.schema import load_schema
from flusso_core.testing import MemoryDestination, MemorySink
from flusso_source_polling.builder import PollingBuilder
from flusso_source_polling.capture import PollingCapture
from flusso_source_polling.options import PollingOptions

TABLES = """
PRAGMA journal_mode = WAL;
CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, seen INTEGER);
CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id INTEGER, total INTEGER, note TEXT);
CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, seen INTEGER);
INSERT INTO users VALUES (1, 'a', 1);
INSERT INTO orders VALUES (1, 1, 10, 'n');
INSERT INTO products VALUES (1, 'x', 1);
"""

SCHEMAS = {
    "users": """
version: 1
table: users
fields:
  - keyword: name
  - has_many: orders
    table: orders
    foreign_key: user_id
    fields: [{ long: total }]
""",
    "products": "version: 1\ntable: products\nfields: [{ keyword: name }]\n",
    "notes": "version: 1\ntable: orders\nfields: [{ keyword: note }]\n",
}


class Stopped(NoopObserver):
    """Which indexes have stopped, and why."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def index_stopped(self, index: str, reason: str) -> None:
        self.reasons[index] = reason


class Shop:
    """A database file, its schemas, and runs over them."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "shop.db"
        self._options: dict[str, Any] = {
            "connection_url": f"sqlite:///{self._path}",
            "state": str(folder / "polling.state"),
            "interval": 0.02,
            "max_interval": 0.02,
        }
        for index, text in SCHEMAS.items():
            (folder / f"{index}.schema.yml").write_text(text, encoding="utf-8")
        self._schemas = {
            index: load_schema(folder / f"{index}.schema.yml", index) for index in SCHEMAS
        }
        self.destination = MemoryDestination()
        self.sql(TABLES)

    def sql(self, script: str) -> None:
        with closing(sqlite3.connect(self._path)) as connection:
            connection.executescript(script)

    def context(self, *indexes: str, **options: Any) -> SourceContext[PollingOptions]:
        given = PollingOptions.model_validate({**self._options, **options})
        return SourceContext(given, tuple(self._schemas[index] for index in indexes))

    def served(self, index: str) -> dict[str, Any]:
        found = self.destination.search(index).items()
        return {key: json.loads(body) for key, body in found}

    @asynccontextmanager
    async def running(self, *indexes: str, **options: Any) -> AsyncGenerator[Stopped, None]:
        stopped, context = Stopped(), self.context(*indexes, **options)
        engine = Engine(
            PollingCapture(context),
            PollingBuilder(context),
            {"memory": MemorySink(self.destination)},
            retries=RetryPolicy(initial=0.001, maximum=0.01),
            observer=stopped,
        )
        task = asyncio.create_task(engine.run())
        try:
            yield stopped
        finally:
            engine.stop()
            await task


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


FOLLOWED: dict[str, dict[str, Any]] = {
    "compared": {},
    "by a cursor": {"tables": {"users": {"cursor": "seen"}, "products": {"cursor": "seen"}}},
    "partly by a cursor": {"tables": {"orders": {"cursor": "id"}, "products": {"cursor": "seen"}}},
    "logged": {
        "manage_outbox": True,
        "tables": {"orders": {"deletes": "outbox"}, "products": {"deletes": "outbox"}},
    },
}


@pytest.mark.parametrize("how", FOLLOWED)
@pytest.mark.parametrize(
    "alteration",
    ["ALTER TABLE orders RENAME total TO sum", "ALTER TABLE users RENAME TO people"],
)
async def test_a_schema_that_does_not_fit_at_the_start_stops_its_index_alone(
    shop: Shop, alteration: str, how: str
) -> None:
    """C11, C14: and what the configuration says of its tables is no error."""
    shop.sql(alteration)
    async with shop.running("users", "products", **FOLLOWED[how]) as stopped:
        await until(lambda: "1" in shop.served("products"))
        shop.sql("INSERT INTO products VALUES (2, 'y', 2)")
        await until(lambda: shop.served("products").get("2") == {"name": "y"})
    assert list(stopped.reasons) == ["users"]
    assert "users.schema.yml:" in stopped.reasons["users"]


@pytest.mark.parametrize(
    ("alteration", "reason", "mend"),
    [
        (
            "ALTER TABLE orders DROP total",
            "table public.orders has no column 'total'",
            "ALTER TABLE orders ADD total INTEGER; UPDATE orders SET total = 10",
        ),
        (
            "ALTER TABLE users RENAME TO people",
            "table public.users does not exist",
            "ALTER TABLE people RENAME TO users",
        ),
    ],
)
@pytest.mark.parametrize("how", ["compared", "by a cursor", "partly by a cursor"])
async def test_what_goes_while_polls_go_on_stops_its_index_alone(
    shop: Shop, alteration: str, reason: str, mend: str, how: str
) -> None:
    """C14: the others get their changes, also where they read the same table; the next run fills
    what was missed.
    """
    indexes = ("users", "products", "notes")
    before = {"1": {"name": "a", "orders": [{"total": 10}]}}
    async with shop.running(*indexes, **FOLLOWED[how]) as stopped:
        await until(lambda: all(shop.served(index) for index in indexes))
        shop.sql(alteration)
        await until(lambda: "users" in stopped.reasons)
        shop.sql(
            "INSERT INTO products VALUES (2, 'y', 2); INSERT INTO orders (id, note) VALUES (2, 'm')"
        )
        await until(lambda: len(shop.served("products")) == len(shop.served("notes")) == 2)
        shop.sql("DELETE FROM products WHERE id = 2; DELETE FROM orders WHERE id = 2")
        if how == "compared":
            await until(lambda: len(shop.served("products")) == len(shop.served("notes")) == 1)
    assert list(stopped.reasons) == ["users"]
    assert reason in stopped.reasons["users"]
    assert "users.schema.yml:" in stopped.reasons["users"]
    assert shop.served("users") == before  # nothing was taken for a delete
    assert shop.served("notes")["1"] == {"note": "n"}
    shop.sql(f"{mend}; INSERT INTO users VALUES (3, 'c', 3)")
    async with shop.running(*indexes, **FOLLOWED[how]) as stopped:
        await until(lambda: shop.served("users").keys() == {"1", "3"})
    assert not stopped.reasons


CURSOR_LOST = "ALTER TABLE users DROP seen"


@pytest.mark.parametrize("users", [{"cursor": "seen", "deletes": "none"}, {"cursor": "seen"}])
async def test_a_cursor_that_goes_stops_its_indexes_alone(
    shop: Shop, users: dict[str, Any]
) -> None:
    """C14: while polls go on, and at the next start; mended, what was missed is filled, and what
    comes then is found though the new column begins anew.
    """
    followed: dict[str, Any] = {"tables": {"users": users, "products": {"cursor": "seen"}}}
    shop.sql("UPDATE users SET seen = 1000")
    async with shop.running("users", "products", **followed) as stopped:
        await until(lambda: all(shop.served(index) for index in ("users", "products")))
        shop.sql(CURSOR_LOST)
        await until(lambda: "users" in stopped.reasons)
        shop.sql("INSERT INTO products VALUES (2, 'y', 2); UPDATE users SET name = 'b'")
        await until(lambda: len(shop.served("products")) == 2)
    assert list(stopped.reasons) == ["users"]
    assert "table public.users: there is no column 'seen' for a cursor" in stopped.reasons["users"]
    assert "[source.tables]" in stopped.reasons["users"]
    assert shop.served("users")["1"]["name"] == "a"
    async with shop.running("users", "products", **followed) as stopped:
        shop.sql("INSERT INTO products VALUES (3, 'z', 3)")
        await until(lambda: len(shop.served("products")) == 3 and "users" in stopped.reasons)
    shop.sql("ALTER TABLE users ADD seen INTEGER; UPDATE users SET seen = 1")
    async with shop.running("users", "products", **followed) as stopped:
        await until(lambda: shop.served("users")["1"]["name"] == "b")
        shop.sql("UPDATE users SET seen = 2, name = 'c'")
        await until(lambda: shop.served("users")["1"]["name"] == "c")
    assert not stopped.reasons


async def test_polls_tell_what_goes_though_nothing_is_built(shop: Shop) -> None:
    """C14: before any change that comes after it; to whoever follows anew, once more."""
    async with PollingCapture(shop.context("users", "products")) as capture:
        await capture.provision(temporary=True)
        shop.sql("ALTER TABLE orders DROP total; INSERT INTO products VALUES (2, 'y', 2)")
        for _ in range(2):
            batches: asyncio.Queue[Any] = asyncio.Queue()
            live = asyncio.create_task(capture.live(await capture.confirmed(), batches.put))
            async with asyncio.timeout(10):
                found = [await batches.get()]
                while not found[-1].changes:
                    found.append(await batches.get())
            live.cancel()
            await asyncio.wait({live})
            told = [number for number, one in enumerate(found) if one.unfit]
            assert [one.index for number in told for one in found[number].unfit] == ["users"]
            assert told[0] < len(found) - 1
            assert [str(one.table) for one in found[-1].changes] == ["public.products"]


async def test_a_change_from_a_run_without_the_index_is_found_by_the_next(shop: Shop) -> None:
    """C14, R2: where that run was killed before anything was confirmed, there is no gap."""
    both = shop.context("users", "products")
    async with PollingCapture(both) as capture:
        await capture.provision(temporary=False)
        began = await capture.confirmed()
    shop.sql("ALTER TABLE users RENAME TO people")
    async with PollingCapture(both) as capture:
        await capture.provision(temporary=False)
    shop.sql("DELETE FROM people; ALTER TABLE people RENAME TO users")
    async with PollingCapture(both) as capture:
        await capture.provision(temporary=False)
        assert await capture.confirmed() == began
        batches: asyncio.Queue[Any] = asyncio.Queue()
        live = asyncio.create_task(capture.live(began, batches.put))
        async with asyncio.timeout(10):
            while not (batch := await batches.get()).changes:
                pass
        live.cancel()
        await asyncio.wait({live})
    assert [(str(one.table), one.before) for one in batch.changes] == [
        ("public.users", {"id": "1"})
    ]


async def test_a_logged_table_that_was_left_out_begins_another_stream(shop: Shop) -> None:
    """C14, H3: what was read of its log without its index is gone, though its triggers stay."""
    streams: list[str] = []
    for script in ("", "ALTER TABLE users RENAME TO people", "ALTER TABLE people RENAME TO users"):
        shop.sql(script)
        options = {**FOLLOWED["logged"], "manage_outbox": not streams}
        context = shop.context("users", "products", **options)
        async with PollingCapture(context) as capture:
            await capture.provision(temporary=False)
            streams.append((await capture.identity()).timeline)
    assert streams[0] == streams[1] != streams[2]


async def test_where_nothing_fits_the_run_ends_with_every_reason(shop: Shop) -> None:
    """C14: at the start, and while polls go on."""
    async with PollingCapture(shop.context("users", "products")) as capture:
        await capture.provision(temporary=True)
        shop.sql("ALTER TABLE users DROP name; DROP TABLE products")
        with pytest.raises(SourceFatal, match=r"users.*'name'.*products does not exist"):
            async with asyncio.timeout(10):
                await capture.live(await capture.confirmed(), asyncio.Queue[Any]().put)
    async with PollingCapture(shop.context("users", "products")) as capture:
        with pytest.raises(SourceFatal, match=r"users.*'name'.*products does not exist"):
            await capture.provision(temporary=True)


async def test_check_looks_at_the_tables_of_those_that_fit(shop: Shop) -> None:
    """One that does not fit is told by itself."""
    shop.sql("ALTER TABLE orders DROP total")
    options = FOLLOWED["by a cursor"]
    found = await PollingCapture(shop.context("users", "products", **options)).check()
    (error,) = [one for one in found if one.severity is Severity.ERROR]
    assert "users" in error.subject
    assert "has no column 'total'" in error.message
    assert any("public.products" in one.subject for one in found)
