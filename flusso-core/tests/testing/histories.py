"""Random databases, histories, faults, kills and restarts, played from a seed.

`History` holds the engine to its promises at every instant:

- nothing is confirmed that a record does not say;
- no confirmed position has an unpaid debt: each document that a commit up to there touched is at
  the destination as some snapshot since that commit had it, or is owed to a later commit;
- no document is in flight twice (`MemorySink` checks it);
- what waits stays within the bounds;

and whenever it is calm, and after the last late request too, every index equals the database.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any
from unittest.mock import patch

import pytest

from flusso_core.engine import Engine, RetryPolicy
from flusso_core.engine.ledger import Ledger
from flusso_core.errors import EngineError
from flusso_core.interfaces import DocumentBuilder
from flusso_core.model import Change, GenerationRecord, Key, KeyRange, Operation, Page, StateRecord
from flusso_core.queue.memory import MemoryQueue
from flusso_core.settings import BatchPolicy, Bounds, FailurePolicies, FailurePolicy
from flusso_core.testing import (
    MemoryBuilder,
    MemoryCapture,
    MemoryDatabase,
    MemoryDestination,
    MemorySink,
    run_in_virtual_time,
)
from flusso_core.testing.database import CHILD, ROOT
from flusso_core.testing.faults import FaultPlan

INDEX = "parents"
POISON = b"poison"
_RATES = (0.0, 0.02, 0.1, 0.3)


class RememberingDatabase(MemoryDatabase):
    """A database that knows what every snapshot of it showed."""

    def __init__(self) -> None:
        super().__init__()
        # Document to the snapshots that showed it otherwise than the one before, oldest first.
        self.shown: dict[str, list[tuple[int, bytes | None]]] = defaultdict(list)
        # Commit to the documents that it touched, once snapshots see it.
        self.touched: dict[int, set[str]] = {}

    def reveal(self) -> None:
        """Let snapshots see every commit, and take note of what they show."""
        changed: set[str] = set()
        for commit in self._hidden:
            for change in commit.changes:
                touched = self._touched_by(change)
                self.touched.setdefault(commit.number, set()).update(touched)
                changed |= touched
        super().reveal()
        for key in changed:
            self.shown[key].append((self.visible, self.document(key)))

    def bodies_since(self, key: str, commit: int) -> set[bytes | None]:
        """The document as each snapshot that saw the commit showed it."""
        return {body for number, body in self.shown[key] if number >= commit}

    def _touched_by(self, change: Change) -> set[str]:
        if change.operation is Operation.TRUNCATE:
            return set(self.shown)
        column = "key" if change.table == ROOT else "parent"
        images = (image for image in (change.before, change.after) if image is not None)
        return {text for image in images if (text := image.get(column)) is not None}


class SlowBuilder(MemoryBuilder):
    """Reads a page a second, so that what serves meanwhile gets changes."""

    async def page(self, index: str, span: KeyRange, after: Key | None, limit: int) -> Page:
        await asyncio.sleep(1)
        return await super().page(index, span, after, limit)


class ForgetfulBuilder(SlowBuilder):
    """Builds by no older schema."""

    def older(self, schema: str) -> DocumentBuilder | None:
        del schema
        return None


class WatchedLedger(Ledger):
    """A ledger that can be found again; it remembers few ids, so that pages are abandoned too."""

    made: list[WatchedLedger] = []  # noqa: RUF012  # of the run under way
    few = 200

    def __init__(self, *, epoch: int) -> None:
        super().__init__(epoch=epoch, max_touched=self.few)
        self.made.append(self)


class History:
    """One random history.

    Args:
        seed: of every choice.
        runs: how often the engine is started and killed or stopped before the last run.
        steps: most steps of a run.
    """

    def __init__(self, seed: int, *, runs: int, steps: int) -> None:
        self.random = Random(seed)
        self.faults = FaultPlan(seed + 1, poison=POISON)
        self.runs = runs
        self.steps = steps
        self.database = RememberingDatabase()
        self.parents = self.random.choice((3, 8, 25))
        self.poisoned = self.random.random() < 0.3
        self.destinations = [MemoryDestination() for _ in range(self.random.choice((1, 1, 2)))]
        self.happened: Counter[str] = Counter()
        self.numbers = 0
        self.watches = [Watch(self.database, destination) for destination in self.destinations]
        self.calling = self.random.choice((0.0, 0.01, 0.05))
        self.gaps = self.random.random() < 0.3
        self.losing = self.random.choice((0.0, 0.0, 0.01))
        self.form = "one"
        self.builder = self.random.choice((MemoryBuilder, SlowBuilder, ForgetfulBuilder))
        self.changing = self.random.choice((0.0, 0.0, 0.4))
        self.max_dirty = 0
        self.queues: list[tuple[MemoryQueue, int]] = []
        self.calls: list[asyncio.Task[None]] = []

    async def play(self) -> None:
        for _ in range(self.random.randrange(self.parents * 2)):
            self.database.commit(*self.change())
        if self.random.random() < 0.5:
            self.database.confirmed = self.database.head
        for _ in range(self.runs):
            await self.a_run()
            self.between_runs()
        await self.converge()
        for destination in self.destinations:
            destination.apply_late()
        self.compare("after the last late request")
        await self.converge()
        self.happened["faults"] = self.faults.happened.total()

    async def a_run(self) -> None:
        random = self.random
        self.faults.rate = random.choice(_RATES)
        running = self.engine()
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
            changes = [change for _ in range(count) for change in self.change()]
            self.database.commit(*changes, hidden=random.random() < 0.3)
            self.happened["commits"] += 1
        elif roll < 0.42:
            self.database.reveal()
        elif roll < 0.47:
            late = random.choice(self.destinations)
            late.apply_late(random.randrange(4))
        elif roll < 0.5:
            await asyncio.sleep(random.choice((0.01, 0.3, 1.1, 3.0)))
        elif roll < 0.5 + self.calling:
            self.call(running)
        elif roll < 0.5 + self.calling + self.losing:
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

    def between_runs(self) -> None:
        """What happens while nothing runs: a new schema, a lost generation, a gap."""
        random, database = self.random, self.database
        if random.random() < self.changing:
            self.happened["schema changes"] += 1
            self.form = random.choice(("one", "two", "three"))
        roll = random.random()
        if roll < self.losing * 20:
            self.lose_a_generation()
        roll = random.random()
        if roll < 0.3 and self.gaps:
            self.happened["gaps"] += 1
            database.commit(*self.change(), hidden=random.random() < 0.3)
            if roll < 0.15:
                self.numbers += 1
                database.identity = replace(database.identity, timeline=str(self.numbers))
            if roll > 0.1:
                database.confirmed = random.randint(database.confirmed, database.head)
            for watch in self.watches:
                watch.begin_gap()

    def change(self) -> Iterable[Change]:
        """What one statement does."""
        random, database = self.random, self.database
        self.numbers += 1
        parent = f"p{random.randrange(self.parents):02}"
        child = f"c{random.randrange(self.parents * 2):02}"
        kind = "poison" if self.poisoned and random.random() < 0.1 else "name"
        put = database.put_parent(parent, f"{kind} {self.numbers}")
        roll = random.random()
        if roll < 0.3:
            return [put]
        if roll < 0.35:
            self.happened["key moves"] += 1
            return [database.delete_parent(f"p{random.randrange(self.parents):02}"), put]
        if roll < 0.5:
            return [database.delete_parent(parent)]
        if roll < 0.85:
            return [database.put_child(child, parent)]
        if roll < 0.96:
            return [database.delete_child(child)]
        self.happened["truncates"] += 1
        return [database.truncate(random.choice((ROOT, CHILD)))]

    def engine(self) -> Engine:
        random, faults = self.random, self.faults
        WatchedLedger.made.clear()
        self.queues.clear()
        self.max_dirty = random.choice((1, 5, 1000))
        return Engine(
            MemoryCapture(self.database, fault=faults.source),
            self.builder(self.database, fault=faults.source, form=self.form),
            {
                f"sink{number}": MemorySink(
                    destination,
                    fault=faults.sink,
                    refuses=faults.refuses,
                    throttle=faults.throttles,
                    pause=faults.pause,
                    flushes_in_flight=random.choice((1, 2, 3)),
                    max_documents=random.choice((1, 3, 10)),
                )
                for number, destination in enumerate(self.destinations)
            },
            batching=BatchPolicy(random.choice((1, 4, 100)), random.choice((0.0, 0.05))),
            bounds=Bounds(max_dirty=self.max_dirty),
            failures=FailurePolicies(FailurePolicy.SKIP),
            queue=self.queue,
            retries=RetryPolicy(initial=0.01, maximum=0.5),
            backfill_workers=random.choice((1, 3)),
            build_workers=random.choice((1, 3)),
            drain_seconds=random.choice((0.001, 0.1, 5.0)),
        )

    def queue(self, _: str) -> MemoryQueue:
        capacity = self.random.choice((4, 20, 1000))
        queue = MemoryQueue(capacity)
        self.queues.append((queue, capacity))
        return queue

    async def converge(self) -> None:
        self.faults.rate = 0.0
        self.database.reveal()
        async with asyncio.timeout(3600):
            await self.engine().run(once=True)
        self.compare("at quiescence")
        assert self.database.confirmed == self.database.head
        self.check()

    def compare(self, when: str) -> None:
        expected = self.database.documents()
        refused = {key for key, body in expected.items() if POISON in body}
        for destination in self.destinations:
            found = destination.search(INDEX)
            assert all(json.loads(body)["form"] == self.form for body in found.values())
            found = {key: plain(body) for key, body in found.items()}
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
        for ledger in WatchedLedger.made:
            # A resolve and the pages under way may go beyond a bound by what they hold.
            slack = 4 * self.parents + 20
            assert ledger.dirty <= self.max_dirty + slack
        for queue, capacity in self.queues:
            assert queue.held <= max(capacity, 3), "a queue holds more than its capacity"


class Watch:
    """Holds a destination to what is confirmed, at every instant.

    Args:
        database: whose changes it gets.
        destination: whose records and documents are looked at.
    """

    def __init__(self, database: RememberingDatabase, destination: MemoryDestination) -> None:
        self._database = database
        self._destination = destination
        self._checked: Counter[int] = Counter()
        self._gap = 0

    def check(self) -> None:
        """No confirmed position is above a record, and none has an unpaid debt."""
        for record in self._destination.records.values():
            if self._has_gap(record):
                continue
            assert self._database.confirmed <= record.position.order
            for generation in (record.current, record.serving):
                if generation is not None and generation.clean:
                    self._check_debts(generation)

    def begin_gap(self) -> None:
        """The stream begins elsewhere, or is another one: what is remembered may be too old."""
        self._gap = self._database.confirmed

    def _has_gap(self, record: StateRecord) -> bool:
        """Whether no run has yet seen to it that the stream does not go with the record."""
        return record.identity != self._database.identity or record.position.order < self._gap

    def _check_debts(self, generation: GenerationRecord) -> None:
        """What the commits up to the confirmed one touched is no older than they are.

        Or it is owed to a later commit, which comes again: where a resolve did not find a
        document any more, because a later commit had deleted it.
        """
        confirmed, touched = self._database.confirmed, self._database.touched
        later = range(confirmed + 1, self._database.visible + 1)
        stored = self._destination.generations.get((INDEX, generation.number))
        if stored is None:
            return  # lost
        checked = self._checked[generation.number]
        for commit in range(checked + 1, confirmed + 1):
            for key in touched.get(commit, ()):
                entry = stored.get(key)
                found = None if entry is None or entry.body is None else plain(entry.body)
                right = self._database.bodies_since(key, commit)
                refused = any(body is not None and POISON in body for body in right)
                owed = any(key in touched.get(number, ()) for number in later)
                if not (found in right or refused or owed):
                    pytest.fail(f"commit {commit} is confirmed, and {key} is older than it")
        self._checked[generation.number] = max(checked, confirmed)


def plain(body: bytes) -> bytes:
    """The document without its form."""
    document = json.loads(body)
    document.pop("form", None)
    return json.dumps(document).encode()


def play(seed: int, *, runs: int, steps: int) -> Counter[str]:
    """Play a history; returns what happened."""
    history = History(seed, runs=runs, steps=steps)
    with (
        patch("flusso_core.engine.lane.Ledger", WatchedLedger),
        patch.object(WatchedLedger, "few", history.random.choice((2, 200))),
    ):
        run_in_virtual_time(history.play(), seconds=1e7)
    return history.happened
