"""The two promises that users quote, against edges that fail: at-least-once, and one build."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flusso_core.engine import Engine, RetryPolicy
from flusso_core.model import BuiltDocument, Change, Key
from flusso_core.settings import Bounds
from flusso_core.testing import (
    MemoryBuilder,
    MemoryCapture,
    MemoryDestination,
    MemorySink,
    run_in_virtual_time,
)
from flusso_core.testing.database import CHILD, ROOT
from flusso_core.testing.faults import Fault, FaultPlan

from .remembering import RememberingDatabase, Watch

PARENTS = tuple(f"p{number}" for number in range(6))
CLEAN = 1000
"""More steps of the loop than a run without faults takes."""


class Story:
    """A short run: rows that are there, commits that come meanwhile, faults by a script."""

    def __init__(self, script: Mapping[Fault, Collection[int]]) -> None:
        self.faults = FaultPlan(script=script)
        self.database = RememberingDatabase()
        self.destination = MemoryDestination()
        database = self.database
        database.commit(*(database.put_parent(key, "old") for key in PARENTS))
        database.confirmed = database.head
        self.watch = Watch(database, self.destination)

    def engine(self) -> Engine:
        faults = self.faults
        sink = MemorySink(
            self.destination,
            fault=faults.sink,
            throttle=faults.throttles,
            pause=faults.pause,
        )
        return Engine(
            MemoryCapture(self.database, fault=faults.source),
            MemoryBuilder(self.database, fault=faults.source),
            {"memory": sink},
            retries=RetryPolicy(initial=0.01, maximum=0.1),
            bounds=Bounds(max_dirty=4),
        )

    async def tell(self, *, kill_after: int | None = None) -> int:
        """Run with commits beside; once killed, run again. Returns the steps until the end."""
        running = asyncio.create_task(self.engine().run(once=True))
        writing = asyncio.create_task(self._write())
        steps = 0
        while not (running.done() and writing.done()):
            if steps == kill_after:
                running.cancel()
                with suppress(asyncio.CancelledError):
                    await running
            self.watch.check()
            await asyncio.sleep(0 if steps < CLEAN else 0.01)
            steps += 1
        if not running.cancelled():
            running.result()
        await self.engine().run(once=True)
        self.watch.check()
        assert self.destination.search("parents") == self.database.documents()
        assert self.database.confirmed == self.database.head
        self.destination.apply_late()
        assert self.destination.search("parents") == self.database.documents(), "a late request"
        return steps

    async def _write(self) -> None:
        database = self.database
        commits: tuple[tuple[Change, ...], ...] = (
            (database.put_parent("p0", "new"),),
            tuple(database.put_child(f"c{number}", "p1") for number in range(7)),
            (database.put_child("c1", "p2"), database.delete_parent("p3")),
            (database.delete_parent("p4"), database.put_parent("q4", "moved")),
            (database.truncate(CHILD),),
            (database.put_parent("p3", "again"), database.put_child("c9", "p3")),
            (database.truncate(ROOT), *(database.put_parent(key, "reloaded") for key in PARENTS)),
            (database.put_parent("p5", "last"),),
        )
        for changes in commits:
            database.commit(*changes)
            for _ in range(12):
                await asyncio.sleep(0)


def tell(script: Mapping[Fault, Collection[int]], *, kill_after: int | None = None) -> Story:
    story = Story(script)
    run_in_virtual_time(story.tell(kill_after=kill_after), seconds=1e5)
    return story


@pytest.mark.parametrize("fault", Fault)
def test_a_fault_at_any_occasion_loses_nothing(fault: Fault) -> None:
    """R1, D2: the same run, failing once at its first occasion, at its second, and so on."""
    struck = 0
    for occasion in range(1, 400):
        story = tell({fault: {occasion}})
        if not story.faults.happened[fault]:
            break
        struck += 1
    assert struck > 1, "there were hardly any occasions"


def test_a_kill_at_any_step_loses_nothing() -> None:
    """R2: the same run, killed after its first step of the loop, and so on."""
    steps = run_in_virtual_time(Story({}).tell(), seconds=1e5)
    assert 50 < steps < CLEAN
    for kill_after in range(0, steps, 3):
        tell({}, kill_after=kill_after)


scripts = st.dictionaries(
    st.sampled_from(Fault), st.sets(st.integers(1, 40), max_size=8), max_size=len(Fault)
)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(script=scripts, kill_after=st.none() | st.integers(0, 200))
def test_whatever_fails_whenever_every_change_lands(
    script: dict[Fault, set[int]], kill_after: int | None
) -> None:
    """At least once: several faults of several kinds, and a kill; Hypothesis finds the fewest."""
    tell(script, kill_after=kill_after)


class CountingBuilder(MemoryBuilder):
    """Counts the builds of each key; a build waits while the gate is closed."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.builds: Counter[str] = Counter()
        self.gate = asyncio.Event()
        self.gate.set()

    async def build(
        self, index: str, keys: Sequence[Key]
    ) -> AsyncGenerator[Sequence[BuiltDocument], None]:
        self.builds.update(key[0] for key in keys)
        await self.gate.wait()
        async for chunk in super().build(index, keys):
            yield chunk


touches = st.lists(
    st.lists(st.sampled_from(PARENTS), min_size=1, max_size=12), min_size=1, max_size=12
)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(commits=touches)
def test_a_document_is_built_once_however_often_it_was_touched(commits: list[list[str]]) -> None:
    """Deduplication, within a batch and over the batches that came while it waited."""
    run_in_virtual_time(_touch(commits), seconds=1e5)


async def _touch(commits: list[list[str]]) -> None:
    database, destination = RememberingDatabase(), MemoryDestination()
    database.commit(*(database.put_parent(key, "old") for key in (*PARENTS, "first")))
    builder = CountingBuilder(database)
    sink = MemorySink(destination, max_documents=100)
    engine = Engine(MemoryCapture(database), builder, {"memory": sink}, build_workers=1)
    running = asyncio.create_task(engine.run())
    while "parents" not in destination.serving or database.confirmed < database.head:
        await asyncio.sleep(0.01)
    builder.builds.clear()
    builder.gate.clear()
    database.commit(database.put_parent("first", "new"))
    while not builder.builds:
        await asyncio.sleep(0.01)
    for number, touched in enumerate(commits):
        database.commit(
            *(
                database.put_child(f"c{number}-{place}", key)
                if place % 2
                else database.put_parent(key, f"name {number}")
                for place, key in enumerate(touched)
            )
        )
        await asyncio.sleep(0.1)
    builder.gate.set()
    while database.confirmed < database.head:
        await asyncio.sleep(0.01)
    engine.stop()
    await running
    expected = {key for touched in commits for key in touched}
    assert builder.builds == Counter({"first": 1, **dict.fromkeys(expected, 1)})
    assert destination.search("parents") == database.documents()
