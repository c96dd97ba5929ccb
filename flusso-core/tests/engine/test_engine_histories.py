"""Random databases, histories, faults, kills and restarts: the sinks end up as the database is.

At every instant nothing is confirmed that a record does not say, and (`MemorySink` checks it)
no document is in flight twice. Requests whose outcome nobody was told land at any later moment,
also after everything else.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from functools import partial
from random import Random
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from flusso_core.engine import Engine, RetryPolicy
from flusso_core.engine.ledger import Ledger
from flusso_core.errors import SinkUnavailable, SourceUnavailable
from flusso_core.model import Change
from flusso_core.settings import BatchPolicy, Bounds
from flusso_core.testing import (
    AppliedLater,
    MemoryBuilder,
    MemoryCapture,
    MemoryDatabase,
    MemoryDestination,
    MemorySink,
    run_in_virtual_time,
)
from flusso_core.testing.database import CHILD, ROOT

FLUSH = ("before", "after")


class History:
    """One random history, played from a seed.

    Args:
        seed: of every choice.
        runs: how often the engine is started and killed or stopped before the last run.
        steps: most steps of a run.
    """

    def __init__(self, seed: int, *, runs: int, steps: int) -> None:
        self.random = Random(seed)
        self.runs = runs
        self.steps = steps
        self.database = MemoryDatabase()
        self.parents = self.random.choice((3, 8, 25))
        self.destinations = [MemoryDestination() for _ in range(self.random.choice((1, 1, 2)))]
        self.happened: Counter[str] = Counter()
        self.trouble = 0.0
        self.numbers = 0

    async def play(self) -> None:
        for _ in range(self.random.randrange(self.parents * 2)):
            self.database.commit(self.change())
        if self.random.random() < 0.5:
            self.database.confirmed = self.database.head
        for _ in range(self.runs):
            await self.a_run()
        await self.converge()
        for destination in self.destinations:
            destination.apply_late()
        self.compare("after the last late request")
        await self.converge()

    async def a_run(self) -> None:
        random = self.random
        self.trouble = random.choice((0.0, 0.02, 0.1, 0.3))
        running = self.engine()
        task = asyncio.create_task(running.run())
        for _ in range(random.randrange(self.steps)):
            await self.step()
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
        self.check()
        assert len(asyncio.all_tasks()) == 1, "a task outlived its run"

    async def step(self) -> None:
        random = self.random
        roll = random.random()
        if roll < 0.35:
            changes = [self.change() for _ in range(random.choice((1, 1, 2, 9)))]
            self.database.commit(*changes, hidden=random.random() < 0.3)
            self.happened["commits"] += 1
        elif roll < 0.42:
            self.database.reveal()
        elif roll < 0.47:
            late = random.choice(self.destinations)
            late.apply_late(random.randrange(4))
        elif roll < 0.5:
            await asyncio.sleep(random.choice((0.01, 0.3, 1.1, 3.0)))
        for _ in range(random.choice((1, 1, 3, 20))):
            await asyncio.sleep(0)
            self.check()

    def change(self) -> Change:
        random, database = self.random, self.database
        self.numbers += 1
        parent = f"p{random.randrange(self.parents):02}"
        child = f"c{random.randrange(self.parents * 2):02}"
        roll = random.random()
        if roll < 0.35:
            return database.put_parent(parent, f"name {self.numbers}")
        if roll < 0.5:
            return database.delete_parent(parent)
        if roll < 0.85:
            return database.put_child(child, parent)
        if roll < 0.96:
            return database.delete_child(child)
        self.happened["truncates"] += 1
        return database.truncate(random.choice((ROOT, CHILD)))

    def engine(self) -> Engine:
        random = self.random
        return Engine(
            MemoryCapture(self.database, fault=self.source_fault),
            MemoryBuilder(self.database, fault=self.source_fault),
            {
                f"sink{number}": MemorySink(
                    destination,
                    fault=self.sink_fault,
                    throttle=lambda _: random.random() < self.trouble / 4,
                    pause=self.pause,
                    flushes_in_flight=random.choice((1, 2, 3)),
                    max_documents=random.choice((1, 3, 10)),
                )
                for number, destination in enumerate(self.destinations)
            },
            batching=BatchPolicy(random.choice((1, 4, 100)), random.choice((0.0, 0.05))),
            bounds=Bounds(max_dirty=random.choice((1, 5, 1000))),
            retries=RetryPolicy(initial=0.01, maximum=0.5),
            backfill_workers=random.choice((1, 3)),
            build_workers=random.choice((1, 3)),
            drain_seconds=random.choice((0.001, 0.1, 5.0)),
        )

    def source_fault(self) -> None:
        if self.random.random() < self.trouble / 2:
            self.happened["source faults"] += 1
            raise SourceUnavailable("a fault of the test")

    def sink_fault(self, moment: str) -> None:
        if self.random.random() < self.trouble:
            self.happened["sink faults"] += 1
            if moment == "before" and self.random.random() < 0.5:
                self.happened["late requests"] += 1
                raise AppliedLater("a fault of the test")
            raise SinkUnavailable("a fault of the test")

    async def pause(self) -> None:
        for _ in range(self.random.choice((0, 1, 1, 5))):
            await asyncio.sleep(0)
        if self.trouble and self.random.random() < 0.02:
            await asyncio.sleep(self.random.choice((0.1, 2.0)))

    async def converge(self) -> None:
        self.trouble = 0.0
        self.database.reveal()
        async with asyncio.timeout(600):
            await self.engine().run(once=True)
        self.compare("at quiescence")
        assert self.database.confirmed == self.database.head
        self.check()

    def compare(self, when: str) -> None:
        for destination in self.destinations:
            assert destination.search("parents") == self.database.documents(), when

    def check(self) -> None:
        """What holds at every instant."""
        for destination in self.destinations:
            if not destination.records and self.database.confirmed:
                continue
            for record in destination.records.values():
                assert self.database.confirmed <= record.position.order


def play(seed: int, *, runs: int, steps: int) -> Counter[str]:
    history = History(seed, runs=runs, steps=steps)
    # Few ids are remembered for open pages, so that pages are abandoned too.
    ledger = partial(Ledger, max_touched=history.random.choice((2, 200)))
    with patch("flusso_core.engine.lane.Ledger", ledger):
        run_in_virtual_time(history.play(), seconds=1e6)
    return history.happened


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # a smaller seed is no smaller history
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    seed=st.integers(0, 2**32),
    runs=st.integers(0, 5),
    steps=st.sampled_from((10, 40, 120)),
)
def test_every_history_converges(seed: int, runs: int, steps: int) -> None:
    """C1, C3, C7, C10, C16, H1, H4, H6, H8, D2, D6, R1, R2."""
    play(seed, runs=runs, steps=steps)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(4))
def test_thousands_of_histories_converge(part: int) -> None:
    """The same, for minutes; prints what happened (`-s`)."""
    total: Counter[str] = Counter()
    for number in range(2000):
        total += play(part * 1_000_000 + number, runs=number % 7, steps=(10, 40, 120, 400)[part])
        total["histories"] += 1
    figures(sorted(total.items()))


def figures(counts: Sequence[tuple[str, int]]) -> None:
    print(", ".join(f"{count} {what}" for what, count in counts))  # noqa: T201
