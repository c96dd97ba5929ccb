"""One trial: a random world, random changes while flusso runs, and what came of it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import psycopg
from psycopg.rows import TupleRow

from flusso_core.engine import Engine, RetryPolicy
from flusso_core.hookspecs import SourceContext
from flusso_core.model import Position
from flusso_core.observe import NoopObserver
from flusso_core.settings import BatchPolicy
from flusso_core.testing import MemoryDestination, MemorySink
from flusso_source_postgres.builder import PostgresBuilder
from flusso_source_postgres.capture import PostgresCapture
from flusso_source_postgres.options import PostgresOptions

from .expected import documents, read_rows, same
from .histories import Writer
from .kinds import LONG, LONG_SQL, parse
from .worlds import random_world

ROUNDS = 6
"""How often the indexes are compared in a trial."""

TRANSACTIONS = 6
"""Transactions between two comparisons."""

PATIENCE = 20.0
"""Seconds until the stream must have been confirmed; none are waited where the documents are
right."""

_SETTINGS = (
    "-c datestyle=ISO,YMD -c intervalstyle=postgres -c timezone=UTC -c lc_monetary=C "
    "-c bytea_output=hex -c extra_float_digits=1 -c search_path=public"
)


class Watching(NoopObserver):
    """Knows up to where everything is durable."""

    def __init__(self) -> None:
        self.position = Position(0, "")

    def confirmed(self, position: Position) -> None:
        """Note it."""
        self.position = position


class Trial:
    """A world in a database, and what flusso keeps of it.

    Args:
        url: of an empty database.
        seed: makes the world, its rows, its changes, and how flusso runs.
    """

    def __init__(self, url: str, seed: int) -> None:
        self._random = Random(seed)
        self._seed = seed
        self._url = url
        self.world = random_world(self._random)
        self._destination = MemoryDestination()
        self._watching = Watching()
        self._history: list[str] = []
        options = {
            "connection_url": url,
            "slot": f"oracle_{url.rsplit('_', 1)[-1]}",
            "manage_replica_identity": self._random.random() < 0.8,
        }
        schemas = tuple(index.schema() for index in self.world.indexes)
        self._context = SourceContext(PostgresOptions.model_validate(options), schemas)

    async def run(self) -> None:
        """Fail where a document is not what it must be, and say how it came to that."""
        with psycopg.connect(self._url, autocommit=True, options=_SETTINGS) as connection:
            connection.prepare_threshold = None
            for statement in self.world.ddl():
                self._history.append(statement)
                connection.execute(statement.encode())
            writer = Writer(connection, self.world, self._random)
            writer.history = self._history
            writer.fill()
            rounds = ROUNDS
            while rounds:
                async with self._running() as engine:
                    for _ in range(min(rounds, self._random.choice((1, 2, 3, ROUNDS)))):
                        rounds -= 1
                        await self._write(writer)
                        await self._compare(connection, engine)
                # What landed last must not have been something old.
                wrong = await self._wrong(connection)
                assert wrong is None, self._told(wrong)
                self._history.append("-- stopped, and started again:")
                await self._write(writer)

    async def _write(self, writer: Writer) -> None:
        for _ in range(self._random.randint(1, TRANSACTIONS)):
            await asyncio.to_thread(writer.transaction)

    @asynccontextmanager
    async def _running(self) -> AsyncGenerator[asyncio.Task[None], None]:
        engine = Engine(
            PostgresCapture(self._context),
            PostgresBuilder(self._context),
            {"memory": MemorySink(self._destination, max_documents=5)},
            batching=BatchPolicy(max_changes=self._random.choice((1, 3, 1000))),
            observer=self._watching,
            retries=RetryPolicy(initial=0.001, maximum=0.01),
        )
        running = asyncio.create_task(engine.run())
        try:
            yield running
        finally:
            engine.stop()
            await running
            # psycopg leaves a connection that was cancelled while it opened to the collector, and
            # until it is gone the server cannot drop a database.
            gc.collect()

    async def _compare(
        self, connection: psycopg.Connection[TupleRow], running: asyncio.Task[None]
    ) -> None:
        ((head,),) = connection.execute(
            "SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint"
        ).fetchall()
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while await self._wrong(connection) is not None:
            late = asyncio.get_running_loop().time() > deadline
            done = self._watching.position.order >= head and self._seeded()
            if running.done() or late or done:
                # Once more: it may have been confirmed between the comparison and now.
                wrong = await self._wrong(connection)
                assert wrong is None, self._told(wrong)
                return
            await asyncio.sleep(0.01)

    def _seeded(self) -> bool:
        records = self._destination.records
        return all(
            one.name in records and records[one.name].current.clean for one in self.world.indexes
        )

    async def _wrong(self, connection: psycopg.Connection[TupleRow]) -> str | None:
        # In a thread: flusso may hold a lock on a table for a moment, and needs the loop to go on.
        rows = await asyncio.to_thread(read_rows, connection, self.world)
        for index in self.world.indexes:
            expected = documents(index, rows)
            stored = self._destination.search(index.name)
            found: dict[str, Any] = {key: parse(body) for key, body in stored.items()}
            if missing := sorted(expected.keys() - found.keys()):
                return f"{index.name} lacks {missing}"
            if extra := sorted(found.keys() - expected.keys()):
                return f"{index.name} has {extra}, which should not be there"
            for key, document in expected.items():
                if not same(document, found[key]):
                    return f"{index.name} {key!r}\n  must be {document}\n  and is  {found[key]}"
        return None

    def _told(self, wrong: str | None) -> str:
        schemas = "\n".join(f"-- {one.name}\n{one.text()}" for one in self.world.indexes)
        options = self._context.options.model_dump(include={"manage_replica_identity"})
        history = ";\n".join(self._history).replace(f"'{LONG[-1]}'", LONG_SQL)
        return f"seed {self._seed}: {wrong}\n{options}\n{schemas}\n{history}"
