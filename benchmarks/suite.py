"""Which programs are measured on which worlds, in which order."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.database import Database, loaded
from benchmarks.floor import Task, run_floor
from benchmarks.latency import LatencyFloor, one_at_a_time, steady
from benchmarks.programs import Place, Program
from benchmarks.results import FILLING, Curve, Idle, Latency, Measurement, Round
from benchmarks.servers import Servers
from benchmarks.session import Session, session
from benchmarks.worlds import Happening, Sizes, World, world

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, and how thoroughly.

    Attributes:
        users: of the shop; the other worlds follow from it.
        worlds: their names.
        rounds: of the shop; other worlds get half of them, at least one.
        smaller: the shop is also filled with a third and a tenth of its users.
        samples: changes one at a time, a round.
        steady: rates in changes a second; each for `seconds`.
        seconds: also how long an idle program is watched.
    """

    users: int
    worlds: Sequence[str]
    rounds: int
    smaller: bool
    samples: int
    steady: Sequence[int]
    seconds: float


class Suite:
    """Measures programs by turns.

    Args:
        servers: where.
        programs: what; the first is flusso of this environment.
        plan: which measurements.
        say: told what happens, for those who wait.
    """

    def __init__(self, servers: Servers, programs: Sequence[Program], plan: Plan, say: Say) -> None:
        self._servers = servers
        self._programs = programs
        self._plan = plan
        self._say = say
        self._token = f"bench_{secrets.token_hex(3)}"
        self._numbers = count(1)
        self.latencies: list[Latency] = []
        self.idle: list[Idle] = []
        self.curves: list[Curve] = []
        self.measurements: list[Measurement] = []
        self.failures: list[str] = []

    def run(self) -> None:
        """Measure all of the plan; what was measured is in the attributes, also on the way."""
        plan = self._plan
        self._warm_up()
        for name in plan.worlds:
            if name == "shop":
                sizes = [plan.users // 10, plan.users // 3] if plan.smaller else []
                for users in sizes:
                    self._measure(world("shop", Sizes.of(users)), plan.rounds, filling_only=True)
                self._measure(world("shop", Sizes.of(plan.users)), plan.rounds)
            else:
                self._measure(world(name, Sizes.of(plan.users)), max(1, plan.rounds // 2))

    def _warm_up(self) -> None:
        """Fill a small shop once: a Java virtual machine is slow at first, whoever comes first."""
        self._say("warming the servers up")
        small = world("shop", Sizes.of(self._plan.users // 10))
        with loaded(self._servers.postgres, f"{self._token}_0", small) as database:
            for _ in self._round(small, database, self._programs[0], filling_only=True):
                pass
        self.curves.clear()

    def _measure(self, world: World, rounds: int, *, filling_only: bool = False) -> None:
        name = f"{self._token}_{next(self._numbers)}"
        self._say(f"{world.name}: {world.title}, {world.rows:,} rows")
        taken: dict[tuple[str, str], Measurement] = {}
        try:
            with loaded(self._servers.postgres, name, world) as database:
                for number in range(1, rounds + 1):
                    for program in self._programs:
                        if program.runs(world):
                            self._say(f"  round {number} of {rounds}: {program.name}")
                            for one in self._tried(
                                world, database, program, filling_only=filling_only
                            ):
                                before = taken.get((one.program, one.name))
                                rounds_so_far = before.rounds if before else ()
                                taken[one.program, one.name] = replace(
                                    one, rounds=(*rounds_so_far, *one.rounds)
                                )
        finally:
            self.measurements += taken.values()

    def _tried(
        self, world: World, database: Database, program: Program, *, filling_only: bool
    ) -> list[Measurement]:
        """A round; nothing, and a failure more, where it fails."""
        try:
            return list(self._round(world, database, program, filling_only=filling_only))
        except Exception as error:  # noqa: BLE001  # whatever one program does on one world, what
            # was and will be measured elsewhere is not lost for it
            self.failures.append(f"{program.name} on {world.name}: {error}")
            self._say(f"    failed: {error}")
            return []

    def _round(
        self, world: World, database: Database, program: Program, *, filling_only: bool
    ) -> Iterable[Measurement]:
        """One session with all that happens in it, each thing followed by its floor."""
        run = f"{self._token}_{next(self._numbers)}"
        with tempfile.TemporaryDirectory(prefix="flusso-bench-") as folder:
            place = Place(database.url, self._servers.opensearch, Path(folder), run)
            with session(self._servers, world, database, place, program) as running:
                filled = running.fill()
                floor = _Floor(place, world, self._definitions(world, running, program, place))
                filled = replace(filled, floor_seconds=floor.fill())
                yield self._measurement(world, FILLING, program, world.documents, 0, filled)
                if not filling_only:
                    running.follow()
                    for happening in world.happenings:
                        yield self._happening(world, database, running, happening, floor)
                    if world.name == "shop":
                        self._latencies(world, database, running, floor)
                self.curves.append(running.curve())

    def _happening(
        self,
        world: World,
        database: Database,
        running: Session,
        happening: Happening,
        floor: _Floor,
    ) -> Measurement:
        ids = database.ids(happening.ids)
        documents = len(ids) * len(world.schemas)
        one, changes = running.happen(happening, documents)
        one = replace(one, floor_seconds=floor.rebuild(ids))
        return self._measurement(world, happening.name, running.program, documents, changes, one)

    def _latencies(self, world: World, database: Database, running: Session, floor: _Floor) -> None:
        plan = self._plan
        (name,) = world.schemas
        with LatencyFloor(
            database.url, self._servers.opensearch, floor.prefix + name, world
        ) as bare:
            self.latencies.append(one_at_a_time(running, database, bare, world.rows, plan.samples))
        for rate in plan.steady:
            self.latencies.append(steady(running, database, world.rows, rate, plan.seconds))
        self.idle.append(running.idle(plan.seconds))

    def _definitions(
        self, world: World, running: Session, program: Program, place: Place
    ) -> Mapping[str, Any]:
        """What the indexes are like that the program made: the floor's are made alike."""
        names = program.indexes(world, place)
        return {
            logical: running.searches.definition(name)
            for logical, name in zip(world.schemas, names, strict=True)
        }

    def _measurement(
        self,
        world: World,
        name: str,
        program: Program,
        documents: int,
        changes: int,
        one: Round,
    ) -> Measurement:
        per_second = documents / one.seconds
        to_floor = (one.floor_seconds or 0.0) / one.seconds
        self._say(
            f"    {name}: {one.seconds:.2f} s, {per_second:,.0f} documents/s, "
            f"{to_floor:.2f} of the floor"
        )
        return Measurement(
            world=world.name,
            rows=world.rows,
            name=name,
            program=program.name,
            documents=documents,
            changes=changes,
            rounds=(one,),
        )


class _Floor:
    """The floor beside one session, in indexes of its own."""

    def __init__(self, place: Place, world: World, definitions: Mapping[str, Any]) -> None:
        self.prefix = f"floor_{place.run}_"
        self._documents = world.documents
        self._task = Task(
            database=place.database,
            opensearch=place.opensearch,
            prefix=self.prefix,
            schemas=world.schemas,
            page=world.page,
            definitions=definitions,
        )

    def fill(self) -> float:
        """Seconds that it takes to fill them."""
        return self._seconds(self._task, self._documents)

    def rebuild(self, ids: Sequence[str]) -> float:
        """Seconds that it takes to write some of the documents again."""
        task = replace(self._task, ids=ids, definitions={})
        return self._seconds(task, len(ids) * len(task.schemas))

    def _seconds(self, task: Task, documents: int) -> float:
        done = run_floor(task)
        if done.documents != documents:
            raise RuntimeError(f"the floor wrote {done.documents} of {documents} documents")
        return done.seconds
