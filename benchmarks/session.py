"""A session: one program on one world, from empty indexes on, and what it takes for each thing."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from benchmarks.database import Database, WalWatch
from benchmarks.programs import Place, Program, Running
from benchmarks.results import Curve, Idle, Round
from benchmarks.searches import Searches, wait_until
from benchmarks.servers import Servers
from benchmarks.usage import Cpu, MemoryWatch, cpu_seconds
from benchmarks.worlds import Happening, World

_LOOK = 0.05
"""Seconds between two searches for what is awaited. Each takes a processor from what is measured,
and the floor has none beside it."""

_SETTLED = 0.3
"""Seconds without another write after which a program is taken to be done."""

FIRST_PAGE = "filling index"
"""What flusso says when it begins to read rows; other programs are measured from their start."""


class Session:
    """A program at work on a world; made by `session`."""

    def __init__(
        self,
        servers: Servers,
        world: World,
        database: Database,
        place: Place,
        program: Program,
        running: Running,
        searches: Searches,
        memory: MemoryWatch,
        wal: WalWatch,
    ) -> None:
        self.program = program
        self.searches = searches
        self._servers = servers
        self._world = world
        self._database = database
        self._place = place
        self._running = running
        self._memory = memory
        self._wal = wal
        self._marks: list[tuple[float, str]] = []

    def fill(self) -> Round:
        """Wait until it has filled the empty indexes."""
        self.note("filling")
        before = Cpu(0.0, *self._servers_cpu())
        found = self.searches.documents
        self._wait(lambda: found() == self._world.documents, "the indexes are filled")
        ended = time.monotonic()
        first = self._running.said(FIRST_PAGE)
        start_cpu = 0.0 if first is None else first.cpu
        cpu = self._cpu() - replace(before, program=start_cpu)
        return Round(
            seconds=ended - (self._running.began if first is None else first.at),
            floor_seconds=None,
            cpu=cpu,
            peak_memory=self._memory.peak,
            wal_retained=self._wal.take(),
            writes=self._settled_writes(),
            whole_seconds=ended - self._running.began,
            start_cpu=start_cpu,
        )

    def follow(self) -> None:
        """Change a row, and wait until a search shows it: the program follows changes now."""
        happening = self._world.happenings[0]
        mark = self._database.next_mark()
        self._database.happen(happening, mark)
        self._wait(
            lambda: self.searches.revised(happening.path, mark) > 0, "the first change is found"
        )
        self._settled_writes()

    def happen(self, happening: Happening, documents: int) -> tuple[Round, int]:
        """Have something happen, and wait until searches show it in so many documents.

        Returns the round, without its floor, and how many rows were changed.
        """
        self.note(happening.name)
        mark = self._database.next_mark()
        writes = self.searches.writes()
        self._wal.take()
        begun = time.monotonic()
        before = self._cpu()
        changes = self._database.happen(happening, mark)
        if happening.transactions == 1:
            begun = time.monotonic()
        shown = partial(self.searches.revised, happening.path, mark)
        self._wait(lambda: shown() == documents, happening.name)
        seconds = time.monotonic() - begun
        cpu = self._cpu() - before
        return (
            Round(
                seconds=seconds,
                floor_seconds=None,
                cpu=cpu,
                peak_memory=self._memory.peak,
                wal_retained=self._wal.take(),
                writes=self._settled_writes() - writes,
            ),
            changes,
        )

    def idle(self, seconds: float) -> Idle:
        """Watch it while nothing happens."""
        self._settled_writes()
        self.note("idle")
        connections = self._database.connections()
        before, began = self._cpu().program, time.monotonic()
        time.sleep(seconds)
        elapsed = time.monotonic() - began
        return Idle(
            program=self.program.name,
            cpu_share=(self._cpu().program - before) / elapsed,
            connections=(connections, self._database.connections()),
            wal_retained=self._database.retained(),
            seconds=elapsed,
        )

    def note(self, what: str) -> None:
        """Remember in the curve of its memory that something begins."""
        self._marks.append((time.monotonic() - self._running.began, what))

    def curve(self) -> Curve:
        """Its memory so far."""
        return Curve(
            program=self.program.name,
            world=self._world.name,
            rows=self._world.rows,
            points=self._memory.points,
            marks=tuple(self._marks),
        )

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        self._running.wait_until(condition, what, every=_LOOK)

    def _cpu(self) -> Cpu:
        return Cpu(cpu_seconds(self._running.pid) or 0.0, *self._servers_cpu())

    def _servers_cpu(self) -> tuple[float | None, float | None]:
        servers = self._servers
        return cpu_seconds(servers.postgres_pid), cpu_seconds(servers.opensearch_pid)

    def _settled_writes(self) -> int:
        """What was written when nothing more comes."""
        last = -1

        def settled() -> bool:
            nonlocal last
            before, last = last, self.searches.writes()
            return last == before

        wait_until(settled, f"{self.program.name} to come to rest", every=_SETTLED)
        return last


@contextmanager
def session(
    servers: Servers, world: World, database: Database, place: Place, program: Program
) -> Generator[Session]:
    """Start a program on a world; stop it at the end, and remove what it made at the servers."""
    searches = Searches(servers.opensearch, program.indexes(world, place))
    try:
        with (
            WalWatch(database.url) as wal,
            Running(program, world, place) as running,
            MemoryWatch(running.pid) as memory,
        ):
            yield Session(servers, world, database, place, program, running, searches, memory, wal)
    finally:
        database.forget_programs()
        searches.drop(f"*{place.run}*")
        searches.close()
