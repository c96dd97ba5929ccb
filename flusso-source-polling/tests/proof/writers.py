"""Writers that do to the tables of a `World` what applications do, at random."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from random import Random
from typing import Self

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from .world import World, clock

PARENTS, CHILDREN = 30, 90
"""Keys that there are, so that rows meet."""

LONG = 1.5
"""Seconds that a transaction stays open at most; SQLite keeps out every other writer meanwhile."""


class Writers:
    """Threads that write until they are told to stop, each with a clock that is wrong.

    Args:
        world: where.
        seed: what they do.
        count: how many.
    """

    def __init__(self, world: World, seed: int, count: int) -> None:
        self._world = world
        self._seed = seed
        self._stop = threading.Event()
        self._threads = ThreadPoolExecutor(count)
        self._count = count
        self._running: list[Future[None]] = []
        self.committed = 0

    def __enter__(self) -> Self:
        randoms = [Random(f"{self._seed} {one}") for one in range(self._count)]
        self._running = [self._threads.submit(self._run, one) for one in randoms]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._threads.shutdown()
        for one in self._running:
            one.result()

    def _run(self, random: Random) -> None:
        connection = self._world.connect()
        while not self._stop.is_set():
            self._transaction(connection, random)
            self._stop.wait(random.expovariate(60))

    def _transaction(self, connection: Connection, random: Random) -> None:
        """Some statements, perhaps slow, perhaps for nothing."""
        lite = self._world.database == "sqlite"
        try:
            self._world.write("BEGIN IMMEDIATE" if lite else "BEGIN", connection)
            for _ in range(random.choice((1, 1, 2, 5))):
                self._world.write(_statement(random, self._world.database), connection)
            if random.random() < 0.1:
                self._stop.wait(random.random() * (LONG / 5 if lite else LONG))
            self._world.write("ROLLBACK" if random.random() < 0.1 else "COMMIT", connection)
            self.committed += 1
        except DBAPIError as error:
            # A key that is there already, a deadlock, a file that another one writes to.
            self._world.write("ROLLBACK", connection)
            if not _is_rivalry(error):
                raise


def _is_rivalry(error: DBAPIError) -> bool:
    words = str(error.orig).lower()
    return any(one in words for one in ("unique", "duplicate", "deadlock", "locked"))


def _statement(random: Random, database: str) -> str:
    # Coarse, so that many are equal; and sometimes behind or ahead of the others' clocks.
    at = clock(random.choice((0.0, 0.0, 0.0, -1.0, -3.0, 2.0)))[:-5] + "00000"
    key, other = random.randrange(PARENTS), random.randrange(PARENTS)
    child, moved = random.randrange(CHILDREN), random.randrange(CHILDREN)
    word = f"w{random.randrange(1000)}"
    choices: list[Callable[[], str]] = [
        lambda: f"INSERT INTO parents VALUES ({key}, '{word}', '{at}')",
        lambda: f"INSERT INTO parents VALUES ({key}, '{word}', '{at}')",
        lambda: f"UPDATE parents SET name = '{word}', changed = '{at}' WHERE id = {key}",
        lambda: f"UPDATE parents SET id = {other}, changed = '{at}' WHERE id = {key}",
        lambda: f"DELETE FROM parents WHERE id = {key}",
        lambda: f"INSERT INTO children VALUES ({child}, {key}, '{word}', '{at}')",
        lambda: f"INSERT INTO children VALUES ({child}, {key}, '{word}', '{at}')",
        lambda: f"INSERT INTO children VALUES ({child}, {key}, '{word}', '{at}')",
        lambda: f"UPDATE children SET label = '{word}', changed = '{at}' WHERE id = {child}",
        lambda: f"UPDATE children SET parent = {other}, changed = '{at}' WHERE id = {child}",
        lambda: f"UPDATE children SET parent = {other}, changed = '{at}' WHERE parent = {key}",
        lambda: f"UPDATE children SET id = {moved}, changed = '{at}' WHERE id = {child}",
        lambda: f"DELETE FROM children WHERE id = {child}",
        lambda: f"DELETE FROM children WHERE id BETWEEN {child} AND {child + 15}",
    ]
    if database != "postgresql":
        choices.append(lambda: f"REPLACE INTO children VALUES ({child}, {other}, '{word}', '{at}')")
    return random.choice(choices)()
