"""Lanes: each sink comes up, falls behind, fails and returns on its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from flusso_core.engine import Engine, RetryPolicy
from flusso_core.errors import EngineError, SinkFatal, SinkUnavailable, SourceUnavailable
from flusso_core.interfaces import PutBatch
from flusso_core.model import (
    ChangeBatch,
    Document,
    FlushReport,
    Position,
    StateRecord,
    StreamIdentity,
)
from flusso_core.observe.observer import NoopObserver
from flusso_core.queue.memory import MemoryQueue
from flusso_core.settings import BatchPolicy, Bounds, GapPolicies, GapPolicy
from flusso_core.testing import (
    MemoryBuilder,
    MemoryCapture,
    MemoryDatabase,
    MemoryDestination,
    MemorySink,
)

from .running import childless, until, virtual

DRAIN = 10.0
PATIENCE = 120.0


class Moody(MemorySink):
    """A destination that fails every request while `down`, and answers none while `hanging`."""

    def __init__(self, destination: MemoryDestination) -> None:
        super().__init__(destination, fault=self._check, pause=self._wait)
        self.down = False
        self.hanging = False
        self.renewed = 0
        self.released = 0

    def _check(self, _: str) -> None:
        if self.down:
            raise SinkUnavailable("down")

    async def _wait(self) -> None:
        await asyncio.sleep(0)
        while self.hanging:
            await asyncio.sleep(0.1)

    async def open(self) -> None:
        self._check("open")

    async def renew(self) -> None:
        await self._wait()
        self._check("renew")
        await super().renew()
        self.renewed += 1

    async def release(self) -> None:
        await self._wait()
        self.released += 1


class Told(NoopObserver):
    """Remembers what happened to lanes."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def attached(self, lane: str) -> None:
        self.events.append(f"{lane} attached")

    def detached(self, lane: str, reason: str) -> None:
        self.events.append(f"{lane} detached")


def make(database: MemoryDatabase, *sinks: MemorySink, **settings: Any) -> Engine:
    settings.setdefault("capture", MemoryCapture(database))
    return Engine(
        settings.pop("capture"),
        MemoryBuilder(database),
        {f"sink{number}": sink for number, sink in enumerate(sinks)},
        drain_seconds=DRAIN,
        **settings,
    )


def small_queue(_: str) -> MemoryQueue:
    return MemoryQueue(20)


async def ended(engine: Engine, task: asyncio.Task[None]) -> float:
    """Stop the run; returns how long it took. It has left no task behind."""
    began = asyncio.get_running_loop().time()
    engine.stop()
    await task
    assert len(asyncio.all_tasks()) == 1
    return asyncio.get_running_loop().time() - began


def change(database: MemoryDatabase, count: int) -> None:
    for number in range(count):
        database.commit(database.put_parent(f"p{number % 30:03}", f"changed {number}"))


@pytest.mark.parametrize("trouble", ["down", "hanging"])
def test_a_sink_that_is_not_there_at_the_start_holds_back_no_other(trouble: str) -> None:
    """D6: the others seed and follow; the source is held for it, and then it has everything."""

    async def main() -> None:
        database, healthy, late = childless(), MemoryDestination(), MemoryDestination()
        moody = Moody(late)
        setattr(moody, trouble, True)
        running = make(database, MemorySink(healthy), moody)
        task = asyncio.create_task(running.run())
        await until(lambda: healthy.search("parents") == database.documents())
        change(database, 100)
        await until(lambda: healthy.search("parents") == database.documents())
        assert database.confirmed == 0, "it is held for the one that is not there"
        setattr(moody, trouble, False)
        await until(lambda: late.search("parents") == database.documents())
        await until(lambda: database.confirmed == database.head)
        await ended(running, task)

    virtual(main)


def test_a_lease_is_renewed_from_the_moment_it_is_held() -> None:
    """D5, D6: also while the lane is prepared, which may take long."""

    async def main() -> None:
        database, destination = childless(), MemoryDestination()
        sink = Moody(destination)

        class Slow(Moody):
            async def load_records(self) -> dict[str, StateRecord]:
                await asyncio.sleep(60)
                return {}

        sink = Slow(destination)
        running = make(database, sink)
        task = asyncio.create_task(running.run())
        await asyncio.sleep(50)
        assert not destination.generations
        assert sink.renewed >= 8
        await ended(running, task)

    virtual(main)


@pytest.mark.parametrize("trouble", ["down", "hanging"])
@pytest.mark.parametrize("when", ["from the start", "later"])
def test_a_dead_sink_is_detached_and_has_a_gap_when_it_returns(trouble: str, when: str) -> None:
    """D6, H3: it stops holding the source after its time, and is filled afresh in the same run."""

    async def main() -> None:
        database, healthy, other = childless(), MemoryDestination(), MemoryDestination()
        moody, told = Moody(other), Told()
        setattr(moody, trouble, when == "from the start")
        running = make(
            database,
            MemorySink(healthy),
            moody,
            detach_after={"sink1": PATIENCE},
            queue=small_queue,
            observer=told,
        )
        task = asyncio.create_task(running.run())
        if when == "later":
            await until(lambda: database.confirmed == database.head)
            setattr(moody, trouble, True)
        before = database.confirmed
        await asyncio.sleep(1)
        change(database, 100)
        await asyncio.sleep(PATIENCE / 2)
        assert "sink1 detached" not in told.events
        assert database.confirmed == before
        await until(lambda: database.confirmed == database.head)
        assert healthy.search("parents") == database.documents()
        assert told.events[-1] == "sink1 detached"
        database.commit(database.delete_parent("p003"))
        await until(lambda: database.confirmed == database.head)
        setattr(moody, trouble, False)
        await until(lambda: other.search("parents") == database.documents())
        change(database, 20)
        await until(lambda: database.confirmed == database.head)
        assert other.search("parents") == healthy.search("parents") == database.documents()
        assert told.events[-1] == "sink1 attached"
        await ended(running, task)
        assert other.records["parents"].position.order == database.head

    virtual(main)


def test_a_sink_that_answers_is_not_detached_while_the_source_is_away() -> None:
    """D6: what fails at the source says nothing of the sink."""

    async def main() -> None:
        database, destination, told = childless(), MemoryDestination(), Told()
        away = False

        def fault() -> None:
            if away:
                raise SourceUnavailable("away")

        running = make(
            database,
            MemorySink(destination),
            capture=MemoryCapture(database, fault=fault),
            detach_after={"sink0": PATIENCE},
            observer=told,
        )
        task = asyncio.create_task(running.run())
        await until(lambda: database.confirmed == database.head)
        away = True
        change(database, 3)
        await asyncio.sleep(5 * PATIENCE)
        away = False
        await until(lambda: database.confirmed == database.head)
        assert told.events == ["sink0 attached"]
        await ended(running, task)

    virtual(main)


class Away(MemoryCapture):
    """Cannot be asked what it is."""

    away = True

    async def identity(self) -> StreamIdentity:
        if self.away:
            raise SourceUnavailable("away")
        return await super().identity()


def test_a_sink_that_answers_is_not_detached_while_the_source_is_away_at_the_start() -> None:
    """D6: nothing of the sink is asked until the source is there, and it has answered so far."""

    async def main() -> None:
        database, told = childless(), Told()
        capture = Away(database)
        running = make(
            database,
            MemorySink(MemoryDestination()),
            capture=capture,
            detach_after={"sink0": 3.0},
            observer=told,
        )
        task = asyncio.create_task(running.run())
        await asyncio.sleep(60)
        capture.away = False
        await until(lambda: database.confirmed == database.head)
        assert told.events == ["sink0 attached"]
        await ended(running, task)

    virtual(main)


def test_without_a_bound_a_dead_sink_holds_the_source() -> None:
    """D6: nothing is lost, however long; the other sink follows as far as the queue reaches."""

    async def main() -> None:
        database, healthy, other = childless(), MemoryDestination(), MemoryDestination()
        moody = Moody(other)
        running = make(database, MemorySink(healthy), moody)
        task = asyncio.create_task(running.run())
        await until(lambda: database.confirmed == database.head)
        before = database.confirmed
        moody.down = True
        change(database, 100)
        await asyncio.sleep(3600)
        assert database.confirmed == before
        assert healthy.search("parents") == database.documents()
        moody.down = False
        await until(lambda: database.confirmed == database.head)
        assert other.records["parents"].current.number == 1, "there is no gap"
        await ended(running, task)

    virtual(main)


def test_a_job_that_lost_a_sink_says_so() -> None:
    """D6: the others are right, and the run ends with an error."""

    async def main() -> None:
        database, healthy = childless(), MemoryDestination()
        moody = Moody(MemoryDestination())
        moody.down = True
        running = make(database, MemorySink(healthy), moody, detach_after={"sink1": PATIENCE})
        with pytest.raises(EngineError, match=r"sink1 was detached"):
            await running.run(once=True)
        assert healthy.search("parents") == database.documents()
        assert database.confirmed == database.head

    virtual(main)


def test_a_gap_that_is_to_stop_the_run_stops_it_when_the_sink_returns() -> None:
    """H3, D6."""

    async def main() -> None:
        database, healthy, other = childless(), MemoryDestination(), MemoryDestination()
        moody = Moody(other)
        running = make(
            database,
            MemorySink(healthy),
            moody,
            detach_after={"sink1": PATIENCE},
            gaps=GapPolicies(default=GapPolicy.STOP),
        )
        task = asyncio.create_task(running.run())
        await until(lambda: database.confirmed == database.head)
        moody.down = True
        change(database, 5)
        await until(lambda: database.confirmed == database.head)
        moody.down = False
        with pytest.raises(EngineError, match="changes may be missing"):
            await task

    virtual(main)


@pytest.mark.parametrize("count", [1, 5])
def test_a_stop_ends_within_its_bound_however_many_sinks_hang(count: int) -> None:
    """R2: they are drained, released and closed side by side."""

    async def main() -> None:
        database = childless()
        sinks = [Moody(MemoryDestination()) for _ in range(count)]
        running = make(database, *sinks)
        task = asyncio.create_task(running.run())
        await until(lambda: database.confirmed == database.head)
        for sink in sinks:
            sink.hanging = True
        change(database, 5)
        await asyncio.sleep(2)
        assert await ended(running, task) <= DRAIN

    virtual(main)


class Refusing(MemoryCapture):
    """A source that cannot be told anything for a while."""

    refusing = False
    asked = 0

    async def confirm(self, position: Position) -> None:
        self.asked += 1
        if self.refusing:
            raise SourceUnavailable("not now")
        await super().confirm(position)


def test_a_confirmation_that_fails_is_tried_again() -> None:
    """R1: and where the run ends before, the changes come again."""

    async def main() -> None:
        database, destination = childless(), MemoryDestination()
        capture = Refusing(database)
        running = make(database, MemorySink(destination), capture=capture)
        task = asyncio.create_task(running.run())
        await until(lambda: database.confirmed == database.head)
        capture.refusing = True
        change(database, 5)
        await asyncio.sleep(100)
        assert database.confirmed < database.head
        capture.refusing = False
        await until(lambda: database.confirmed == database.head)
        capture.refusing = True
        change(database, 5)
        await asyncio.sleep(100)
        await ended(running, task)

    virtual(main)


class Shared(MemoryCapture):
    """A stream that one run at a time may follow."""

    def __init__(self, database: MemoryDatabase, slot: asyncio.Lock) -> None:
        super().__init__(database)
        self._slot = slot

    async def live(self, start: Position, put: PutBatch) -> None:
        if self._slot.locked():
            raise SourceUnavailable("another process uses the slot")
        async with self._slot:
            await super().live(start, put)


def test_what_another_run_confirmed_meanwhile_is_a_gap_of_the_sinks_that_it_did_not_serve() -> None:
    """D5, H3: the new sink's lease is free, the stream is not, and it moves."""

    async def main() -> None:
        database, first, second = childless(), MemoryDestination(), MemoryDestination()
        slot = asyncio.Lock()
        older = make(database, MemorySink(first), capture=Shared(database, slot))
        running = asyncio.create_task(older.run())
        await until(lambda: database.confirmed == database.head)
        newer = make(database, MemorySink(second), capture=Shared(database, slot))
        waiting = asyncio.create_task(newer.run())
        await until(lambda: second.search("parents") == database.documents())
        change(database, 50)
        database.commit(database.delete_parent("p003"))
        await until(lambda: database.confirmed == database.head)
        await older_ended(older, running)
        database.commit(database.put_parent("p999", "the last"))
        await until(lambda: second.search("parents") == database.documents())
        newer.stop()
        await waiting

    async def older_ended(older: Engine, task: asyncio.Task[None]) -> None:
        older.stop()
        await task

    virtual(main)


class Losing(MemorySink):
    """A destination whose credentials are withdrawn."""

    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        raise SinkFatal("401: correct the password")


def test_what_someone_has_to_mend_ends_the_run_at_once() -> None:
    """D2: in any lane."""

    async def main() -> None:
        database, healthy = childless(), MemoryDestination()
        running = make(database, MemorySink(healthy), Losing(MemoryDestination()))
        with pytest.raises(SinkFatal, match="correct the password"):
            await running.run()

    virtual(main)


@pytest.mark.parametrize("seed", range(12))
def test_sinks_that_come_and_go_converge(seed: int) -> None:
    """D6, H3, C10: detached and joined at any moment, also in the midst of a large commit."""

    async def main() -> None:
        random = Random(seed)
        database = childless()
        destinations = [MemoryDestination(), MemoryDestination()]
        sinks = [Moody(destination) for destination in destinations]
        for sink in sinks:
            sink.down = random.random() < 0.3
        running = make(
            database,
            *sinks,
            detach_after={"sink0": 10.0, "sink1": 10.0},
            queue=small_queue,
            retries=RetryPolicy(initial=0.1, maximum=2.0),
            batching=BatchPolicy(max_changes=4),
        )
        task = asyncio.create_task(running.run())
        for number in range(150):
            keys = (f"p{random.randrange(30):03}" for _ in range(random.choice((1, 1, 2, 17))))
            if random.random() < 0.3:
                database.commit(*(database.delete_parent(key) for key in keys))
            else:
                database.commit(*(database.put_parent(key, f"name {number}") for key in keys))
            await asyncio.sleep(random.choice((0, 0, 0, 0.05, 1.0)))
            if random.random() < 0.1:
                sink = random.choice(sinks)
                sink.down = not sink.down
                await asyncio.sleep(random.choice((0.5, 12.0)))
        for sink in sinks:
            sink.down = False
        await until(
            lambda: all(
                destination.search("parents") == database.documents()
                for destination in destinations
            )
        )
        await until(lambda: database.confirmed == database.head)
        await ended(running, task)
        for destination in destinations:
            assert destination.search("parents") == database.documents()
            assert destination.records["parents"].position.order == database.head

    virtual(main)


def test_a_lane_joins_between_two_commits() -> None:
    """C10, D6: a commit that is on its way is not taken for one that it gets whole."""

    async def main() -> None:
        database, told = childless(), Told()
        destinations = [MemoryDestination(), MemoryDestination()]
        slow, away = (Moody(destination) for destination in destinations)
        running = make(
            database,
            slow,
            away,
            detach_after={"sink1": 10.0},
            queue=small_queue,
            bounds=Bounds(max_dirty=3),
            batching=BatchPolicy(max_changes=3),
            observer=told,
        )
        task = asyncio.create_task(running.run())
        await until(lambda: database.confirmed == database.head)
        await asyncio.sleep(5)
        away.down = True
        await until(lambda: "sink1 detached" in told.events)
        slow.hanging = True
        database.commit(*(database.put_parent(f"q{number:03}", "new") for number in range(90)))
        await asyncio.sleep(1)
        away.down = False
        await asyncio.sleep(30)
        slow.hanging = False
        await until(lambda: database.confirmed == database.head)
        await ended(running, task)
        for destination in destinations:
            assert destination.search("parents") == database.documents()

    virtual(main)


class Heard(NoopObserver):
    """Remembers what is being retried."""

    def __init__(self) -> None:
        self.failing: set[str] = set()

    def retrying(self, what: str, error: BaseException, seconds: float) -> None:
        self.failing.add(what)

    def recovered(self, what: str) -> None:
        self.failing.discard(what)


class Broken(MemoryCapture):
    """A source that hangs up whenever it is told to, and then is away for a while."""

    away = False

    async def live(self, start: Position, put: PutBatch) -> None:
        async def check(batch: ChangeBatch) -> None:
            if self.away:
                raise SourceUnavailable("away")
            await put(batch)

        await super().live(start, check)


def test_whether_the_source_is_there_is_told_while_it_lasts() -> None:
    """R1: from the failure until something comes again, and no longer."""

    async def main() -> None:
        database, heard = childless(), Heard()
        capture = Broken(database)
        running = make(database, MemorySink(MemoryDestination()), capture=capture, observer=heard)
        task = asyncio.create_task(running.run())
        for _ in range(2):
            await until(lambda: database.confirmed == database.head)
            assert not heard.failing
            capture.away = True
            change(database, 1)
            for _ in range(20):
                await asyncio.sleep(10)
                assert heard.failing == {"following changes"}
            capture.away = False
        await until(lambda: database.confirmed == database.head)
        assert not heard.failing
        await ended(running, task)

    virtual(main)
