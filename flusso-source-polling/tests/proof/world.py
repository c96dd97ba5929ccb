"""A small world of parents and children on each database, for schedules that lose changes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool

from flusso_core.engine import Engine, RetryPolicy
from flusso_core.hookspecs import SourceContext
from flusso_core.schema import load_schema
from flusso_core.testing import MemoryDestination, MemorySink
from flusso_source_polling.builder import PollingBuilder
from flusso_source_polling.capture import PollingCapture
from flusso_source_polling.database import Database
from flusso_source_polling.options import PollingOptions

Documents: TypeAlias = "dict[str, tuple[str, list[tuple[int, str]]]]"
"""Each parent's name and its children, by its key."""

SCHEMA = """
version: 1
table: parents
fields:
  - keyword: name
  - has_many: children
    table: children
    foreign_key: parent
    order_by: [{ column: id }]
    fields:
      - long: id
      - keyword: label
"""

TABLES = """
DROP TABLE IF EXISTS parents;
DROP TABLE IF EXISTS children;
CREATE TABLE parents (id INTEGER PRIMARY KEY, name VARCHAR(40), changed {time} NOT NULL);
CREATE TABLE children (id INTEGER PRIMARY KEY, parent INTEGER, label VARCHAR(40),
                       changed {time} NOT NULL);
CREATE INDEX children_parent ON children (parent);
CREATE INDEX parents_changed ON parents (changed, id);
CREATE INDEX children_changed ON children (changed, id);
"""
TIMES = {"sqlite": "DATETIME", "postgresql": "timestamptz", "mariadb": "DATETIME(6)"}

BOUND = 30.0
"""Seconds within which an index is right: many times what the options of the tests ask for."""


LAG = 4.0
"""Seconds that a row may be late in the mode `cursor`: more than any schedule needs, also on a
machine that has much to do."""


@dataclass(frozen=True)
class Mode:
    """How the tables are followed: their options in `[source.tables]`, and others."""

    table: Mapping[str, object]
    source: Mapping[str, object]


MODES = {
    "comparison": Mode({}, {}),
    "cursor": Mode({"cursor": "changed", "deletes": "none", "lag": LAG}, {}),
    "xmin": Mode({"cursor": "xmin", "deletes": "none"}, {}),
    "cursor+diff": Mode({"cursor": "changed"}, {"diff_interval": 0.2}),
    "xmin+diff": Mode({"cursor": "xmin"}, {"diff_interval": 0.2}),
    "outbox": Mode({"deletes": "outbox"}, {"manage_outbox": True}),
}


class World:
    """The tables, who writes to them, what follows them, and what must be in the index.

    Args:
        url: of the database, in SQLAlchemy's terms.
        folder: for the schema and the state file.
        mode: one of `MODES`.
    """

    def __init__(self, url: str, folder: Path, mode: str) -> None:
        self._application = create_engine(
            Database(url).url, poolclass=NullPool, isolation_level="AUTOCOMMIT"
        )
        self._connections: list[Connection] = []
        self._runs = 0
        self._task: asyncio.Task[None] | None = None
        self.database = self._application.dialect.name
        self.destination = MemoryDestination()
        schema = folder / "parents.schema.yml"
        schema.write_text(SCHEMA, encoding="utf-8")
        given = MODES[mode]
        tables = {name: given.table for name in ("parents", "children") if given.table}
        options = {
            "connection_url": url,
            "interval": 0.02,
            "max_interval": 0.05,
            "page_size": 3,
            "state": str(folder / "polling.state"),
            **given.source,
            **({"tables": tables} if tables else {}),
        }
        self.context = SourceContext(
            PollingOptions.model_validate(options), (load_schema(schema, "parents"),)
        )
        self.writer = self.connect()
        if self.database == "sqlite":
            self.write("PRAGMA journal_mode = WAL")
        for statement in TABLES.format(time=TIMES[self.database]).split(";"):
            if statement.strip():
                self.write(statement)

    def connect(self) -> Connection:
        """A connection of the application; each statement commits unless it has begun one."""
        found = self._application.connect()
        self._connections.append(found)
        if self.database == "postgresql":
            found.exec_driver_sql("SET TimeZone = 'UTC'")
        return found

    def close(self) -> None:
        """End the application's connections."""
        for one in self._connections:
            one.close()

    def write(self, statement: str, connection: Connection | None = None) -> None:
        """Write as the application."""
        (connection or self.writer).exec_driver_sql(statement)

    def script(self, statements: str) -> None:
        """Write as someone who pastes SQL into a shell; SQLite only."""
        driver = self.writer.connection.driver_connection
        assert driver is not None
        driver.executescript(statements)

    def parent(self, key: int, name: str, at: str, connection: Connection | None = None) -> None:
        """Insert a parent."""
        self.write(f"INSERT INTO parents VALUES ({key}, '{name}', '{at}')", connection)

    def families(self, count: int) -> None:
        """Insert so many parents, each with a child of the same key, from 1 on."""
        for key in range(1, count + 1):
            self.parent(key, f"p{key}", clock())
            self.child(key, key, f"c{key}", clock())

    def child(self, key: int, parent: int, label: str, at: str) -> None:
        """Insert a child."""
        self.write(f"INSERT INTO children VALUES ({key}, {parent}, '{label}', '{at}')")

    def expected(self) -> Documents:
        """What the tables say, by plain SQL and Python."""
        rows = self.writer.exec_driver_sql("SELECT id, name FROM parents").all()
        found: Documents = {str(key): (name, []) for key, name in rows}
        children = "SELECT parent, id, label FROM children ORDER BY id"
        for parent, key, label in self.writer.exec_driver_sql(children):
            if str(parent) in found:
                found[str(parent)][1].append((key, label))
        return found

    def documents(self) -> Documents:
        """What the index has."""
        found: Documents = {}
        for key, body in self.destination.search("parents").items():
            document: dict[str, Any] = json.loads(body)
            children = [(one["id"], one["label"]) for one in document["children"]]
            found[key] = (document["name"], children)
        return found

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """The engine runs, and the index has been right since it does."""
        self._runs += 1
        self.parent(-self._runs, "only this run can have it", clock())
        engine = Engine(
            PollingCapture(self.context),
            PollingBuilder(self.context),
            {"memory": MemorySink(self.destination)},
            retries=RetryPolicy(initial=0.001, maximum=0.01),
        )
        self._task = asyncio.create_task(engine.run())
        try:
            await self.right()
            yield
        finally:
            engine.stop()
            await self._task

    async def ended(self) -> None:
        """Wait until the engine has ended by itself; fail when it has not within the bound."""
        assert self._task is not None
        await asyncio.wait_for(asyncio.shield(asyncio.wait({self._task})), BOUND)

    async def right(self) -> None:
        """Wait until the index is what the tables say; fail when it is not within the bound."""
        end = time.monotonic() + BOUND
        while self.documents() != (expected := self.expected()):
            if self._task is not None and self._task.done():
                self._task.result()
            assert time.monotonic() < end, (self.documents(), expected)
            await asyncio.sleep(0.01)


def clock(seconds: float = 0) -> str:
    """The time, so many seconds from now, as an application writes it."""
    found = datetime.now(UTC) + timedelta(seconds=seconds)
    return found.strftime("%Y-%m-%d %H:%M:%S.%f")
