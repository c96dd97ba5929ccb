"""How long it takes from a commit until a search finds it: alone, and at a steady rate."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Self

import psycopg
from opensearchpy import OpenSearch

from benchmarks.database import Database
from benchmarks.results import Latency
from benchmarks.searches import Searches, wait_until
from benchmarks.session import Session
from benchmarks.worlds import World
from flusso_core.schema import parse_schema
from flusso_source_postgres.catalogue import read_tables
from flusso_source_postgres.connection import ConnectionTarget
from flusso_source_postgres.sql.compiled import compile_index, table_names
from flusso_source_postgres.statements import SETTINGS, Statements

_EVERY = 0.001
_STEADY_EVERY = 0.02
"""Seconds between two searches at a steady rate; each takes a processor from what is measured."""
_SAMPLES_A_SECOND = 20
"""Of the commits at a steady rate, so many are looked for."""

_LONGEST = 60.0


class LatencyFloor:
    """Reads one document, writes it with a refresh, finds it; a context manager.

    Args:
        database: URL of the shop's database.
        opensearch: URL of the cluster.
        index: that is written to.
        world: the shop.
    """

    def __init__(self, database: str, opensearch: str, index: str, world: World) -> None:
        ((name, schema),) = world.schemas.items()
        self._statement = asyncio.run(_build_statement(database, name, schema)).encode()
        self._connection = psycopg.connect(database, autocommit=True)
        self._client = OpenSearch(hosts=[opensearch], timeout=60)
        self._searches = Searches(opensearch, [index])
        self._index = index

    def __enter__(self) -> Self:
        for name, value in SETTINGS.items():
            self._connection.execute(f"SET {name} = {value}".encode())
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._client.close()
        self._searches.close()

    def milliseconds(self, user: int, mark: int) -> float:
        """For a user whose revision was just changed to this."""
        began = time.perf_counter()
        cursor = psycopg.RawCursor(self._connection)
        cursor.execute(self._statement, [[str(user)]], prepare=True, binary=True)
        result = cursor.pgresult
        assert result is not None
        body = (result.get_value(0, 1) or b"").replace(b"\n", b" ")
        self._client.transport.perform_request(
            "POST",
            f"/{self._index}/_bulk",
            params={"refresh": "true", "filter_path": "errors"},
            headers={"content-type": "application/x-ndjson"},
            body=b'{"index":{"_id":"%d"}}\n%s\n' % (user, body),
        )
        wait_until(lambda: self._searches.revised("revision", mark) == 1, "the floor", every=_EVERY)
        return (time.perf_counter() - began) * 1000


async def _build_statement(database: str, name: str, schema: str) -> str:
    statements = Statements(ConnectionTarget.from_url(database), 1)
    parsed = parse_schema(schema, name, f"{name}.schema.yml")
    async with await statements.connect() as connection:
        return compile_index(parsed, await read_tables(connection, table_names(parsed))).build


def one_at_a_time(
    session: Session, database: Database, floor: LatencyFloor | None, users: int, samples: int
) -> Latency:
    """Commit, find, and only then commit the next; the floor by turns with it."""
    session.note("one change at a time")
    found: list[float] = []
    floors: list[float] = []
    began = time.monotonic()
    # The first ones warm both up.
    for number in range(-3, samples):
        user, mark = 1 + (number * 7919) % users, database.next_mark()
        database.revise(user, mark)
        committed = time.perf_counter()
        wait_until(
            lambda mark=mark: session.searches.revised("revision", mark) == 1,  # type: ignore[misc]
            "one change to be found",
            every=_EVERY,
        )
        milliseconds = (time.perf_counter() - committed) * 1000
        if floor is not None:
            lowest = floor.milliseconds(user, mark)
            if number >= 0:
                floors.append(lowest)
        if number >= 0:
            found.append(milliseconds)
    achieved = samples / (time.monotonic() - began)
    return Latency(session.program.name, 0, achieved, tuple(found), tuple(floors))


class _Writer:
    """Commits changes at a steady rate on a thread of its own; each in its transaction."""

    def __init__(self, database: Database, users: int, rate: int, seconds: float) -> None:
        self._database = database
        self._users = users
        self._rate = rate
        self._count = round(rate * seconds)
        self._lock = threading.Lock()
        self._waiting: dict[str, tuple[int, float]] = {}
        self.seconds = 0.0
        self.thread = threading.Thread(target=self._run, name="steady writer", daemon=True)

    @property
    def committed(self) -> int:
        """How many changes it makes in all."""
        return self._count

    def waiting(self) -> dict[str, tuple[int, float]]:
        """Users whose change is looked for: its revision, and when it was committed."""
        with self._lock:
            return dict(self._waiting)

    def forget(self, users: Sequence[str]) -> None:
        """Their changes were found."""
        with self._lock:
            for user in users:
                del self._waiting[user]

    def _run(self) -> None:
        began = time.monotonic()
        each = max(1, self._rate // _SAMPLES_A_SECOND)
        for number in range(self._count):
            pause = began + number / self._rate - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            user, mark = 1 + number % self._users, self._database.next_mark()
            self._database.revise(user, mark)
            if number % each == 0:
                with self._lock:
                    self._waiting.setdefault(str(user), (mark, time.monotonic()))
        self.seconds = time.monotonic() - began


def steady(session: Session, database: Database, users: int, rate: int, seconds: float) -> Latency:
    """Commit so many changes a second, and see when some of them are found."""
    session.note(f"{rate:,} changes/s")
    writer = _Writer(database, users, rate, seconds)
    found: list[float] = []
    writer.thread.start()
    deadline = time.monotonic() + seconds + _LONGEST
    while writer.thread.is_alive() or writer.waiting():
        if time.monotonic() > deadline:
            raise TimeoutError(f"changes at {rate}/s are not found {_LONGEST:.0f} s after the last")
        waiting = writer.waiting()
        shown = session.searches.revisions(waiting)
        now = time.monotonic()
        # A later change of the same row shows the earlier one as well.
        seen = [user for user, (mark, _) in waiting.items() if shown.get(user, -1) >= mark]
        found += [(now - waiting[user][1]) * 1000 for user in seen]
        writer.forget(seen)
        time.sleep(_STEADY_EVERY)
    writer.thread.join()
    return Latency(session.program.name, rate, writer.committed / writer.seconds, tuple(found))
