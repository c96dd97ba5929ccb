"""Random databases, histories, faults, kills and restarts, played from a seed.

`History` holds the engine to its promises at every instant:

- nothing is confirmed that a record does not say;
- no confirmed position has an unpaid debt: each document that a commit up to there touched is at
  the destination as some snapshot since that commit had it, by the generation's own schema, or is
  owed to a later commit;
- no document is in flight twice (`MemorySink` checks it);
- what is counted in memory is what there is (`counting`), and stays within the bounds;

and whenever it is calm, and after the last late request too, every index equals the database.
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

import pytest

from flusso_core.engine import Engine
from flusso_core.errors import EngineError
from flusso_core.interfaces import DocumentBuilder
from flusso_core.model import Key, KeyRange, Page
from flusso_core.testing import MemoryDestination, run_in_virtual_time
from flusso_core.testing.database import formed
from flusso_core.testing.faults import FaultPlan

from .counting import CountedBuilder
from .remembering import INDEX, POISON, RememberingDatabase, Watch
from .rigs import Rig
from .statements import Statements

FORMS = ("owner", "grandchildren", "owner grandchildren")
_RATES = (0.0, 0.02, 0.1, 0.3)


class SlowBuilder(CountedBuilder):
    """Reads a page a second, so that what serves meanwhile gets changes."""

    async def page(self, index: str, span: KeyRange, after: Key | None, limit: int) -> Page:
        await asyncio.sleep(1)
        return await super().page(index, span, after, limit)


class HeldBuilder(CountedBuilder):
    """Reads no page before so many commits have been confirmed since it was made."""

    commits = 0

    async def page(self, index: str, span: KeyRange, after: Key | None, limit: int) -> Page:
        while self._database.confirmed < self.commits:
            await asyncio.sleep(0.5)
        return await super().page(index, span, after, limit)


class ForgetfulBuilder(SlowBuilder):
    """Builds by no older schema."""

    def older(self, schema: str) -> DocumentBuilder | None:
        del schema
        return None


KINDS = (CountedBuilder, SlowBuilder, HeldBuilder, HeldBuilder, ForgetfulBuilder)


class History:
    """One random history.

    Args:
        seed: of every choice.
        runs: how often the engine is started and killed or stopped before the last run.
        steps: most steps of a run.
    """

    def __init__(self, seed: int, *, runs: int, steps: int) -> None:
        self.random = random = Random(seed)
        self.faults = FaultPlan(seed + 1, poison=POISON)
        self.runs = runs
        self.steps = steps
        self.database = RememberingDatabase()
        self.destinations = [MemoryDestination() for _ in range(random.choice((1, 1, 2)))]
        self.watches = [Watch(self.database, destination) for destination in self.destinations]
        self.parents = random.choice((3, 8, 25))
        self.statements = Statements(
            random,
            self.database,
            parents=self.parents,
            poisoned=random.random() < 0.3,
            truncating=random.choice((0.0, 0.3, 3.0)),
        )
        self.rig = Rig(random, self.database, self.destinations, self.faults)
        self.happened: Counter[str] = Counter()
        self.servers = 0
        self.calling = random.choice((0.0, 0.01, 0.05))
        self.sleeping = 0.0
        self.gaps = random.random() < 0.3
        self.losing = random.choice((0.0, 0.0, 0.01))
        self.changing = random.choice((0.0, 0.0, 0.8))
        self.form = random.choice(FORMS)
        self.kind = random.choice(KINDS)
        self.held: tuple[int, ...] = (0, 0, 3)
        self.calls: list[asyncio.Task[None]] = []

    async def play(self) -> None:
        for _ in range(self.random.randrange(self.parents * 3)):
            self.database.commit(*self.statements.next())
        if self.random.random() < 0.5:
            self.database.confirmed = self.database.head
        for _ in range(self.runs):
            await self.a_run()
            await self.between_runs()
        await self.converge()
        for destination in self.destinations:
            destination.apply_late()
        self.compare("after the last late request")
        await self.converge()
        gc.collect()
        assert self.rig.tally.documents == 0, "nothing runs, and somebody holds documents"
        self.happened["faults"] = self.faults.happened.total()
        self.happened.update(self.statements.happened)
        for watch in self.watches:
            self.happened.update(watch.happened)

    async def a_run(self) -> None:
        random = self.random
        self.faults.rate = random.choice(_RATES)
        held = random.choice(self.held)
        # Nothing is confirmed but as time goes by.
        self.sleeping = 0.2 if held else random.choice((0.03, 0.03, 0.15))
        running = self.rig.engine(self.builder(held=held))
        task = asyncio.create_task(running.run())
        for _ in range(random.randrange(self.steps)):
            await self.step(running)
            if task.done():
                break
        if random.random() < 0.4:
            self.happened["stops"] += 1
            if random.random() < 0.5:
                self.database.reveal()
            running.stop()
            await task
        else:
            self.happened["kills"] += 1
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await self.end_calls()
        self.check()
        assert len(asyncio.all_tasks()) == 1, "a task outlived its run"

    async def step(self, running: Engine) -> None:
        random = self.random
        self.happened["steps"] += 1
        roll = random.random()
        if roll < 0.35:
            count = 150 if random.random() < 0.03 else random.choice((1, 1, 2, 9))
            changes = [change for _ in range(count) for change in self.statements.next()]
            self.database.commit(*changes, hidden=random.random() < 0.3)
            self.happened["commits"] += 1
        elif roll < 0.42:
            self.database.reveal()
        elif roll < 0.47:
            late = random.choice(self.destinations)
            late.apply_late(random.randrange(4))
        elif roll < 0.47 + self.sleeping:
            await asyncio.sleep(random.choice((0.01, 0.3, 1.1, 3.0)))
        elif roll < 0.47 + self.sleeping + self.calling:
            self.call(running)
        elif roll < 0.47 + self.sleeping + self.calling + self.losing:
            self.lose_a_generation()
        for _ in range(random.choice((1, 1, 3, 20))):
            await asyncio.sleep(0)
            self.check()

    def call(self, running: Engine) -> None:
        """Ask the engine for something, as somebody from outside does, in a task of its own."""
        operations: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "sweeps": partial(running.sweep, INDEX),
            "reindexes": partial(running.reindex, INDEX),
            "reindexes that keep": partial(running.reindex, INDEX, keep_old=True),
            "rollbacks": partial(running.rollback, INDEX),
            "rebuilds": partial(running.rebuild, INDEX, ["p00", "p01", "none"]),
        }
        name = self.random.choice(list(operations))

        async def ask() -> None:
            with suppress(EngineError):  # nothing runs yet
                await operations[name]()
                self.happened[name] += 1

        self.calls.append(asyncio.create_task(ask()))

    async def end_calls(self) -> None:
        """Whoever asked for something hears of the end of the run."""
        calls, self.calls = self.calls, []
        for call in calls:
            async with asyncio.timeout(3600):
                await call

    def lose_a_generation(self) -> None:
        """Somebody deletes a generation, served or not."""
        destination = self.random.choice(self.destinations)
        if destination.generations:
            self.happened["lost generations"] += 1
            index, number = lost = self.random.choice(list(destination.generations))
            del destination.generations[lost]
            if destination.serving.get(index) == number:
                del destination.serving[index]

    async def between_runs(self) -> None:
        """What happens while nothing runs: a new schema, a lost generation, a gap."""
        random, database = self.random, self.database
        self.held = (0, 0, 3)
        if random.random() < self.changing:
            if random.random() < 0.5:
                await self.converge()  # so that there is something that serves
            self.happened["schema changes"] += 1
            self.form = random.choice(FORMS)
            self.held = (3, 10, 30)
        roll = random.random()
        if roll < self.losing * 20:
            self.lose_a_generation()
        roll = random.random()
        if roll < 0.3 and self.gaps:
            self.happened["gaps"] += 1
            database.commit(*self.statements.next(), hidden=random.random() < 0.3)
            if roll < 0.15:
                self.servers += 1
                database.identity = replace(database.identity, timeline=f"t{self.servers}")
            if roll > 0.1:
                database.confirmed = random.randint(database.confirmed, database.head)
            for watch in self.watches:
                watch.begin_gap()

    def builder(self, *, held: int = 0) -> CountedBuilder:
        """A builder of the schema of now; of some, pages wait for so many commits."""
        builder = self.kind(
            self.database,
            self.rig.tally,
            chunk=self.random.choice((1, 2)),
            fault=self.faults.source,
            form=self.form,
        )
        if isinstance(builder, HeldBuilder) and held:
            builder.commits = self.database.confirmed + held
        return builder

    async def converge(self) -> None:
        self.faults.rate = 0.0
        self.database.reveal()
        async with asyncio.timeout(3600):
            await self.rig.engine(self.builder()).run(once=True)
        self.compare("at quiescence")
        assert self.database.confirmed == self.database.head
        self.check()

    def compare(self, when: str) -> None:
        documents = self.database.documents()
        expected = {key: formed(body, self.form) for key, body in documents.items()}
        refused = {key for key, body in expected.items() if POISON in body}
        for destination in self.destinations:
            found = destination.search(INDEX)
            kept = {rejection.document.id.key[0] for rejection in destination.quarantined}
            assert refused <= kept, "a refused document is not in the quarantine"
            for documents in (found, expected):
                for key in refused:
                    documents.pop(key, None)
            assert found == expected, when

    def check(self) -> None:
        """What holds at every instant."""
        for watch in self.watches:
            watch.check()
        self.rig.check()


async def live(seed: int, *, runs: int, steps: int) -> Counter[str]:
    """Live through a history; returns what happened."""
    history = History(seed, runs=runs, steps=steps)
    with history.rig.playing():
        await history.play()
    return history.happened


def play(seed: int, *, runs: int, steps: int) -> Counter[str]:
    """Play a history in virtual time; returns what happened."""
    return run_in_virtual_time(live(seed, runs=runs, steps=steps), seconds=1e7)
