"""The asyncio shell: every wait ends, every task is owned, stopping is prompt and safe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from random import Random
from typing import Any

import pytest

from flusso_core.engine import Engine
from flusso_core.errors import (
    SinkFatal,
    SinkUnavailable,
    SourceFatal,
    SourceUnavailable,
)
from flusso_core.interfaces import PutBatch, Resolved
from flusso_core.model import (
    BuiltDocument,
    Change,
    ChangeBatch,
    Document,
    DocumentId,
    FlushReport,
    IndexKeys,
    Key,
    KeyRange,
    Page,
    Position,
    StateRecord,
)
from flusso_core.observe.observer import FlushStats, NoopObserver
from flusso_core.queue.memory import MemoryQueue
from flusso_core.settings import BatchPolicy, Bounds, FailurePolicies, FailurePolicy
from flusso_core.testing import (
    MemoryBuilder,
    MemoryCapture,
    MemoryDatabase,
    MemoryDestination,
    MemorySink,
)
from flusso_core.testing.database import ROOT

from .running import filled, until, virtual

DRAIN = 10.0


def make(
    database: MemoryDatabase,
    *sinks: MemorySink,
    capture: MemoryCapture | None = None,
    builder: MemoryBuilder | None = None,
    **settings: Any,
) -> Engine:
    return Engine(
        capture or MemoryCapture(database),
        builder or MemoryBuilder(database),
        {f"sink{number}": sink for number, sink in enumerate(sinks)},
        drain_seconds=DRAIN,
        **settings,
    )


def small_queue(_: str) -> MemoryQueue:
    return MemoryQueue(20)


def now() -> float:
    return asyncio.get_running_loop().time()


class Faults:
    """A switch: the moments at which the sink is down."""

    def __init__(self, *moments: str) -> None:
        self.moments = set(moments)

    def __call__(self, moment: str) -> None:
        if moment in self.moments:
            raise SinkUnavailable("down")

    def everything(self) -> None:
        self.moments = {"before", "records", "generation", "quarantine", "acquire"}


async def ended(task: asyncio.Task[None]) -> None:
    """The run has ended, and left no task behind."""
    await task
    assert len(asyncio.all_tasks()) == 1


class Hanging(MemorySink):
    """A destination that never answers the requests that are named."""

    def __init__(self, destination: MemoryDestination, requests: set[str]) -> None:
        super().__init__(destination)
        self._requests = requests

    async def _hang(self, request: str) -> None:
        while request in self._requests:
            await asyncio.Event().wait()

    async def store_records(self, records: Sequence[StateRecord]) -> None:
        await self._hang("records")
        await super().store_records(records)

    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        await self._hang("flush")
        return await super().flush(documents, caught_up=caught_up)

    async def release(self) -> None:
        await self._hang("release")


# Stopping


@pytest.mark.parametrize("outage", [1.0, 60.0, 600.0])
def test_stop_is_prompt_while_the_writers_back_off(outage: float) -> None:
    """R2: a worker that sleeps before its next attempt has nothing in flight to wait for."""

    async def main() -> None:
        database, destination, faults = filled(), MemoryDestination(), Faults("before")
        running = make(database, MemorySink(destination, fault=faults))
        task = asyncio.create_task(running.run())
        await asyncio.sleep(outage)
        began = now()
        running.stop()
        await ended(task)
        assert now() - began < 0.1
        assert database.confirmed == 0

    virtual(main)


def test_stop_ends_within_the_bound_though_every_request_hangs() -> None:
    """R2: two lanes, and the destination of one answers nothing any more."""

    async def main() -> None:
        database, healthy, dead = filled(), MemoryDestination(), MemoryDestination()
        hanging: set[str] = set()
        running = make(database, MemorySink(healthy), Hanging(dead, hanging))
        task = asyncio.create_task(running.run())
        await until(lambda: database.confirmed == database.head)
        before = database.confirmed
        hanging |= {"records", "release"}
        database.commit(database.put_parent("p001", "renamed"))
        await until(lambda: dead.search("parents") == database.documents())
        hanging |= {"flush"}
        database.commit(database.put_parent("p001", "renamed again"))
        await until(lambda: healthy.search("parents") == database.documents())
        began = now()
        running.stop()
        await ended(task)
        assert now() - began <= DRAIN + 2.1, "the drain, and a moment for the lease"
        assert database.confirmed == before
        assert healthy.records["parents"].position.order == database.head

    virtual(main)


def test_stop_gives_a_start_up_that_cannot_end() -> None:
    """R2: the destination is down from the beginning."""

    async def main() -> None:
        database, faults = filled(), Faults()
        faults.everything()
        running = make(database, MemorySink(MemoryDestination(), fault=faults))
        task = asyncio.create_task(running.run())
        await asyncio.sleep(120)
        began = now()
        running.stop()
        await ended(task)
        assert now() - began < 0.1

    virtual(main)


@pytest.mark.parametrize("steps", [*range(12), 15, 20, 30, 50, 80, 130])
def test_stop_at_any_step_of_the_start_ends_cleanly(steps: int) -> None:
    """R2: also where it comes before the lanes have begun; the next run converges."""

    async def main() -> None:
        database, destination = filled(), MemoryDestination()
        running = make(database, MemorySink(destination))
        task = asyncio.create_task(running.run())
        for _ in range(steps):
            await asyncio.sleep(0)
        running.stop()
        await ended(task)
        if destination.records:
            assert database.confirmed <= destination.records["parents"].position.order
        await make(database, MemorySink(destination)).run(once=True)
        assert destination.search("parents") == database.documents()

    virtual(main)


def test_stop_lets_flights_land_and_records_them() -> None:
    """R2: a flush that takes two seconds is waited for, and what it wrote is confirmed."""

    async def main() -> None:
        database, destination = filled(), MemoryDestination()
        running = make(database, MemorySink(destination, pause=lambda: asyncio.sleep(2)))
        task = asyncio.create_task(running.run())
        await until(lambda: database.confirmed == database.head)
        await until(lambda: destination.records["parents"].current.seeded)
        database.commit(database.put_parent("p001", "renamed"))
        await asyncio.sleep(1)
        running.stop()
        await ended(task)
        assert b"renamed" in destination.search("parents")["p001"]
        assert database.confirmed == database.head

    virtual(main)


def test_stop_while_a_truncate_waits_for_what_is_in_flight() -> None:
    """C7, R2: the barrier is given up, and the truncate comes again in the next run."""

    async def main() -> None:
        database, destination = filled(), MemoryDestination()
        slow = False

        async def pause() -> None:
            await asyncio.sleep(3600 if slow else 0)

        running = make(database, MemorySink(destination, pause=pause))
        task = asyncio.create_task(running.run())
        await until(lambda: database.confirmed == database.head)
        slow = True
        database.commit(database.put_parent("p001", "renamed"))
        await asyncio.sleep(1)
        database.commit(database.truncate(ROOT), database.put_parent("p999", "new"))
        await asyncio.sleep(1)
        began = now()
        running.stop()
        await ended(task)
        assert now() - began <= DRAIN + 0.1
        assert database.confirmed < database.head
        await make(database, MemorySink(destination)).run(once=True)
        assert destination.search("parents") == database.documents()

    virtual(main)


def test_stop_while_the_capture_is_blocked_by_a_dead_lane() -> None:
    """R2, D6: the queue of a dead lane is full; the run ends all the same."""

    async def main() -> None:
        database, faults = filled(), Faults()
        healthy, dead = MemoryDestination(), MemoryDestination()
        running = make(
            database,
            MemorySink(healthy),
            MemorySink(dead, fault=faults),
            bounds=Bounds(max_dirty=3),
            batching=BatchPolicy(max_changes=5),
            queue=small_queue,
        )
        task = asyncio.create_task(running.run())
        await until(lambda: database.confirmed == database.head)
        faults.moments = {"before"}
        for number in range(200):
            database.commit(database.put_parent(f"q{number:05}", "new"))
        await asyncio.sleep(60)
        assert len(healthy.search("parents")) < 200, "the capture is not held back"
        began = now()
        running.stop()
        await ended(task)
        assert now() - began <= DRAIN + 0.1

    virtual(main)


# Starting and ending by itself


def test_once_with_an_empty_database_ends() -> None:
    """H6: an index without rows is seeded too."""

    async def main() -> None:
        database, destination = MemoryDatabase(), MemoryDestination()
        await make(database, MemorySink(destination)).run(once=True)
        assert destination.records["parents"].current.seeded
        assert destination.search("parents") == {}
        assert destination.serving == {"parents": 1}

    virtual(main)


def test_a_destination_that_is_down_at_the_start_is_waited_for() -> None:
    """R1."""

    async def main() -> None:
        database, destination, faults = filled(), MemoryDestination(), Faults()
        faults.everything()
        task = asyncio.create_task(
            make(database, MemorySink(destination, fault=faults)).run(once=True)
        )
        await asyncio.sleep(600)
        assert not task.done()
        faults.moments.clear()
        await ended(task)
        assert destination.search("parents") == database.documents()

    virtual(main)


def test_a_seed_that_fails_for_good_ends_the_run_with_its_error() -> None:
    """H6: the index is not seeded, and nothing is confirmed."""

    async def main() -> None:
        database, destination = filled(), MemoryDestination()
        reads = 0

        def fault() -> None:
            nonlocal reads
            reads += 1
            if reads > 5:
                raise SourceFatal("no privilege on parents")

        running = make(
            database, MemorySink(destination), builder=MemoryBuilder(database, fault=fault)
        )
        with pytest.raises(SourceFatal, match="no privilege"):
            await running.run()
        assert not destination.records["parents"].current.seeded
        assert database.confirmed == 0

    virtual(main)


def test_a_bug_in_a_plugin_ends_the_run_with_its_error() -> None:
    """R2: nothing is confirmed."""

    async def main() -> None:
        database, destination = filled(), MemoryDestination()

        def fault(moment: str) -> None:
            if moment == "after":
                raise ZeroDivisionError

        running = make(database, MemorySink(destination, fault=fault))
        with pytest.raises(ZeroDivisionError):
            await running.run()
        assert database.confirmed == 0

    virtual(main)


def test_a_run_that_lost_its_lease_ends() -> None:
    """D5."""

    async def main() -> None:
        database, destination = filled(), MemoryDestination()
        task = asyncio.create_task(make(database, MemorySink(destination)).run())
        await until(lambda: database.confirmed == database.head)
        await MemorySink(destination).acquire("another")
        with pytest.raises(SinkFatal, match="taken over"):
            await task

    virtual(main)


class Confirmations(NoopObserver):
    """Remembers every position that was confirmed."""

    def __init__(self) -> None:
        self.positions: list[Position] = []

    def confirmed(self, position: Position) -> None:
        self.positions.append(position)


class LateLease(MemorySink):
    """A destination whose lease another run holds until `free` is set."""

    def __init__(self, destination: MemoryDestination) -> None:
        super().__init__(destination)
        self.free = asyncio.Event()

    async def acquire(self, owner: str) -> int:
        await self.free.wait()
        return await super().acquire(owner)


def test_a_run_that_waited_for_the_lease_begins_where_the_other_left_off() -> None:
    """D5: the source's confirmed position is read once nobody else can move it."""

    async def main() -> None:
        database, destination = filled(), MemoryDestination()
        await make(database, MemorySink(destination)).run(once=True)
        sink = LateLease(destination)
        task = asyncio.create_task(make(database, sink).run(once=True))
        await asyncio.sleep(1)
        database.commit(database.put_parent("p001", "renamed"))
        await make(database, MemorySink(destination)).run(once=True)
        sink.free.set()
        await ended(task)
        assert destination.records["parents"].position.order == database.confirmed
        assert destination.records["parents"].current.number == 1

    virtual(main)


def test_an_index_that_another_run_did_not_serve_meanwhile_has_a_gap() -> None:
    """H3, D5: the gap came while this run waited for the lease."""

    async def main() -> None:
        database, destination = filled(), MemoryDestination()
        others = MemoryBuilder(database, index="others")
        await make(database, MemorySink(destination), builder=others).run(once=True)
        sink = LateLease(destination)
        task = asyncio.create_task(make(database, sink, builder=others).run(once=True))
        await asyncio.sleep(1)
        database.commit(database.delete_parent("p001"))
        await make(database, MemorySink(destination)).run(once=True)
        assert database.confirmed == database.head
        sink.free.set()
        await ended(task)
        assert destination.search("others") == database.documents()

    virtual(main)


# Records and confirming


class SlowRecords(MemorySink):
    """Requests that store records overtake each other."""

    def __init__(
        self, destination: MemoryDestination, database: MemoryDatabase, random: Random
    ) -> None:
        super().__init__(destination)
        self._database = database
        self._target = destination
        self._random = random

    async def store_records(self, records: Sequence[StateRecord]) -> None:
        await asyncio.sleep(self._random.choice((0.1, 0.5, 2.0)))
        await super().store_records(records)
        for record in self._target.records.values():
            assert self._database.confirmed <= record.position.order


@pytest.mark.parametrize("seed", range(6))
def test_a_record_is_never_replaced_by_an_older_one(seed: int) -> None:
    """H8: what is confirmed stays at or below every record, however slow a request is.

    Two stores at once (the clock's and a seed's, or a truncate's) could overtake each other, and
    leave a record below what the source was told: a gap at the next start.
    """

    async def main() -> None:
        database, destination = filled(), MemoryDestination()
        running = make(database, SlowRecords(destination, database, Random(seed)))
        task = asyncio.create_task(running.run())
        for number in range(120):
            await asyncio.sleep(0.2)
            database.commit(database.put_parent(f"p{number % 7:03}", f"name {number}"))
            if number % 5 == 4:
                database.commit(database.truncate(ROOT), database.put_parent("p999", "new"))
            if destination.records:
                assert database.confirmed <= destination.records["parents"].position.order
        await until(lambda: database.confirmed == database.head)
        running.stop()
        await ended(task)
        assert destination.search("parents") == database.documents()

    virtual(main)


def test_the_record_is_stored_before_the_first_page_is_written() -> None:
    """H6: what is written is known to the destination before it is written."""

    async def main() -> None:
        database, destination = filled(), MemoryDestination()
        database.confirmed = database.head  # so that only pages are written
        stored: list[bool] = []

        def fault(moment: str) -> None:
            if moment == "before":
                record = destination.records.get("parents")
                current = None if record is None else record.current
                stored.append(current is not None and bool(current.ranges) and not current.seeded)

        running = make(database, MemorySink(destination, fault=fault))
        await running.run(backfill_only=True)
        assert stored
        assert all(stored)

    virtual(main)


class PagesAfterTheirCursors(MemoryBuilder):
    """Looks whether the destination knows the cursor after which the next page is read."""

    def __init__(self, database: MemoryDatabase, destination: MemoryDestination) -> None:
        super().__init__(database, chunk=3)
        self._destination = destination
        self.known: list[bool] = []

    async def page(self, index: str, span: KeyRange, after: Key | None, limit: int) -> Page:
        if after is not None:
            ranges = self._destination.records[index].current.ranges
            self.known.append((span, after) in [(one.range, one.cursor) for one in ranges])
        return await super().page(index, span, after, limit)


def test_a_page_is_read_when_the_cursor_before_it_is_durable() -> None:
    """H4: whatever dies repeats a page of each range at most."""

    async def main() -> None:
        database, destination = filled(200), MemoryDestination()
        builder = PagesAfterTheirCursors(database, destination)
        await make(database, MemorySink(destination), builder=builder).run(backfill_only=True)
        assert len(builder.known) > 30
        assert all(builder.known)

    virtual(main)


class WithoutItsLastRange(MemoryBuilder):
    """The last range of the key space cannot be read."""

    async def page(self, index: str, span: KeyRange, after: Key | None, limit: int) -> Page:
        if span.upper is None:
            raise SourceUnavailable("not this range")
        return await super().page(index, span, after, limit)


class Estimates(NoopObserver):
    def __init__(self) -> None:
        self.told: list[int | None] = []
        self.rows = 0

    def seeding(self, lane: str, index: str, rows: int, estimate: int | None) -> None:
        self.told.append(estimate)
        self.rows = rows


def test_a_seed_that_goes_on_estimates_what_is_left_of_it() -> None:
    """H4: the time left is that of this run."""

    async def main() -> None:
        database, destination, observer = filled(80), MemoryDestination(), Estimates()
        running = make(database, MemorySink(destination), builder=WithoutItsLastRange(database))
        task = asyncio.create_task(running.run())
        await until(
            lambda: (
                bool(destination.records)
                and [one.done for one in destination.records["parents"].current.ranges].count(False)
                == 1
            )
        )
        task.cancel()
        await asyncio.wait([task])
        ranges = len(destination.records["parents"].current.ranges)
        assert ranges > 1
        again = make(database, MemorySink(destination), observer=observer)
        await again.run(backfill_only=True)
        assert set(observer.told) == {round(80 / ranges)}
        assert 0 < observer.rows <= 2 * 80 / ranges

    virtual(main)


def test_nothing_is_confirmed_that_no_record_says() -> None:
    """H8: while records cannot be stored, the documents land and the source is told nothing."""

    async def main() -> None:
        database, destination, faults = filled(), MemoryDestination(), Faults()
        running = make(database, MemorySink(destination, fault=faults))
        task = asyncio.create_task(running.run())
        await until(lambda: destination.serving == {"parents": 1})
        faults.moments = {"records"}
        database.commit(database.put_parent("p001", "renamed"))
        before = database.confirmed
        await until(lambda: destination.search("parents") == database.documents())
        await asyncio.sleep(300)
        assert database.confirmed == before < database.head
        faults.moments.clear()
        await until(lambda: database.confirmed == database.head)
        running.stop()
        await ended(task)

    virtual(main)


def test_a_piece_of_a_large_commit_confirms_nothing() -> None:
    """H8, C10: only ends of commits are confirmed."""

    async def main() -> None:
        database, destination, observer = filled(), MemoryDestination(), Confirmations()
        running = make(database, MemorySink(destination), observer=observer)
        task = asyncio.create_task(running.run())
        await until(lambda: database.confirmed == database.head)
        database.commit(*(database.put_parent(f"q{number:03}", "new") for number in range(50)))
        await until(lambda: database.confirmed == database.head)
        running.stop()
        await ended(task)
        assert all(0 < position.order <= database.head for position in observer.positions)
        assert destination.search("parents") == database.documents()

    virtual(main)


# Following


class Flapping(MemoryCapture):
    """A source that takes each connection, sends a keepalive, and hangs up."""

    connections = 0

    async def live(self, start: Position, put: PutBatch) -> None:
        self.connections += 1
        await put(ChangeBatch((), start))
        raise SourceUnavailable("hung up")


def test_a_source_that_always_hangs_up_is_not_hammered() -> None:
    """R1: a connection that brought nothing new is tried again with back-off."""

    async def main() -> None:
        database = filled()
        capture = Flapping(database)
        running = make(database, MemorySink(MemoryDestination()), capture=capture)
        task = asyncio.create_task(running.run())
        await asyncio.sleep(600)
        running.stop()
        await ended(task)
        assert 10 < capture.connections < 300

    virtual(main)


# Memory


def test_what_waits_for_a_dead_destination_is_bounded() -> None:
    """C10, R3: a few hot rows that change for ever fill neither the ledger nor the watermark."""

    async def main() -> None:
        database, destination, faults = filled(), MemoryDestination(), Faults()
        running = make(database, MemorySink(destination, fault=faults), bounds=Bounds(max_dirty=50))
        task = asyncio.create_task(running.run())
        await until(lambda: database.confirmed == database.head)
        faults.everything()
        for number in range(2000):
            database.commit(
                *(database.put_parent(f"p{key:03}", f"name {number}") for key in range(3))
            )
            await asyncio.sleep(0.1)
        lane = running._lanes[0]  # pyright: ignore[reportPrivateUsage]
        assert lane._ledger.dirty <= 50  # pyright: ignore[reportPrivateUsage]
        assert lane._watermark.pending <= 500  # pyright: ignore[reportPrivateUsage]
        faults.moments.clear()
        await until(lambda: destination.search("parents") == database.documents())
        await until(lambda: database.confirmed == database.head)
        running.stop()
        await ended(task)

    virtual(main)


class Wide(MemoryBuilder):
    """A builder whose every change touches three hundred documents, a few at a time."""

    async def resolve(self, changes: Sequence[Change]) -> AsyncGenerator[Resolved, None]:
        async with aclosing(super().resolve(changes)) as found:
            async for keys in found:
                yield keys
        for number in range(0, 300, 3):
            await asyncio.sleep(0)
            yield IndexKeys("parents", [(f"w{number + offset:03}",) for offset in range(3)])


def test_a_change_that_touches_more_than_fits_passes_under_back_pressure() -> None:
    """C10: during a seed too, the ledger never holds much more than its bound."""

    async def main() -> None:
        database, destination = filled(100), MemoryDestination()
        most = 0

        def fault(moment: str) -> None:
            nonlocal most
            if moment != "before":
                return
            for lane in running._lanes:  # pyright: ignore[reportPrivateUsage]
                most = max(most, lane._ledger.dirty)  # pyright: ignore[reportPrivateUsage]

        running = make(
            database,
            MemorySink(destination, fault=fault),
            builder=Wide(database),
            bounds=Bounds(max_dirty=10),
        )
        await running.run(once=True)
        assert destination.search("parents") == database.documents()
        assert most <= 10 + 3 + 8, "the bound, one piece of a resolve, pages in memory"

    virtual(main)


# Refusals


def test_a_quarantine_that_is_down_keeps_the_debt() -> None:
    """D3: a refused document is owed until its quarantine entry is durable."""

    async def main() -> None:
        database, destination, faults = filled(), MemoryDestination(), Faults()
        running = make(
            database,
            MemorySink(destination, fault=faults, refuse=["p999"]),
            failures=FailurePolicies(default=FailurePolicy.SKIP),
        )
        task = asyncio.create_task(running.run())
        await until(lambda: database.confirmed == database.head)
        before = database.head
        faults.moments = {"quarantine"}
        database.commit(database.put_parent("p999", "refused"))
        await asyncio.sleep(60)
        assert database.confirmed == before
        assert not destination.quarantined
        faults.moments.clear()
        await until(lambda: database.confirmed == database.head)
        assert [entry.document.id.key for entry in destination.quarantined] == [("p999",)]
        running.stop()
        await ended(task)

    virtual(main)


def test_throttled_documents_are_written_again_and_the_others_have_landed() -> None:
    """D2."""

    async def main() -> None:
        database, destination = filled(), MemoryDestination()
        throttled = {"p003"}
        running = make(database, MemorySink(destination, throttle=throttled.__contains__))
        task = asyncio.create_task(running.run())
        await asyncio.sleep(60)
        (stored,) = destination.generations.values()
        assert set(stored) == set(database.documents()) - throttled
        record = destination.records["parents"]
        assert not record.current.seeded
        for span in record.current.ranges:
            low = span.range.lower[0] if span.range.lower else ""
            high = span.range.upper[0] if span.range.upper else "~"
            if low < "p003" <= high:
                assert not span.done, "H4: a cursor is of a page that has landed"
                assert span.cursor is None or span.cursor < ("p003",)
        assert database.confirmed == 0
        throttled.clear()
        await until(lambda: database.confirmed == database.head)
        assert destination.search("parents") == database.documents()
        running.stop()
        await ended(task)

    virtual(main)


# What is drawn, remembered and delivered when


class Reading(MemoryBuilder):
    """Remembers the highest number that had been drawn when a document was read."""

    running: Engine

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__(database)
        self.drawn: dict[Key, set[int]] = {}
        self.pages = 0

    def read(self, keys: Iterable[Key]) -> None:
        (lane,) = self.running._lanes  # pyright: ignore[reportPrivateUsage]
        number = lane._ledger._number  # pyright: ignore[reportPrivateUsage]
        for key in keys:
            self.drawn.setdefault(key, set()).add(number)

    async def build(
        self, index: str, keys: Sequence[Key]
    ) -> AsyncGenerator[Sequence[BuiltDocument], None]:
        async with aclosing(super().build(index, keys)) as chunks:
            async for chunk in chunks:
                self.read(built.key for built in chunk)
                await asyncio.sleep(0)
                yield chunk

    async def page(self, index: str, span: KeyRange, after: Key | None, limit: int) -> Page:
        self.pages += 1
        page = await super().page(index, span, after, limit)
        self.read(built.key for built in page.documents)
        for _ in range(5):
            await asyncio.sleep(0)
        return page


class Versions(MemorySink):
    """Remembers the version of every document that it is asked to write."""

    def __init__(self, destination: MemoryDestination) -> None:
        super().__init__(destination)
        self.versions: list[tuple[Key, int]] = []

    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        self.versions += [(document.id.key, document.version) for document in documents]
        return await super().flush(documents, caught_up=caught_up)


def test_a_version_is_drawn_before_anything_is_read() -> None:
    """A request that lands late loses against whatever was read after it."""

    async def main() -> None:
        database, destination = filled(), MemoryDestination()
        builder, sink = Reading(database), Versions(destination)
        builder.running = running = make(database, sink, builder=builder)
        await running.run(once=True)
        assert sink.versions
        for key, version in sink.versions:
            number = version & (2**40 - 1)
            assert number <= max(builder.drawn[key]), "drawn after the last time it was read"

    virtual(main)


class Unsettled(MemoryCapture):
    """A source with a transaction that is older than the stream."""

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__(database)
        self.settled = asyncio.Event()

    async def wait_settled(self) -> None:
        await self.settled.wait()


def test_no_page_is_read_before_the_source_has_settled() -> None:
    """H2: live changes flow meanwhile."""

    async def main() -> None:
        database, destination = filled(), MemoryDestination()
        capture, builder = Unsettled(database), Reading(database)
        builder.running = running = make(
            database, MemorySink(destination), capture=capture, builder=builder
        )
        task = asyncio.create_task(running.run())
        await until(lambda: database.confirmed == database.head)
        assert builder.pages == 0
        capture.settled.set()
        await until(lambda: destination.search("parents") == database.documents())
        running.stop()
        await ended(task)

    virtual(main)


class Impatient(MemoryCapture):
    """A source that hangs up while the engine takes too long with a batch."""

    async def live(self, start: Position, put: PutBatch) -> None:
        async def hurried(batch: ChangeBatch) -> None:
            try:
                async with asyncio.timeout(1):
                    await put(batch)
            except TimeoutError as error:
                raise SourceUnavailable("hung up") from error

        await super().live(start, hurried)


def test_a_batch_that_was_not_taken_is_delivered_again() -> None:
    """R1: the stream is resumed after what every lane has, not after what was offered."""

    async def main() -> None:
        database, destination, faults = filled(), MemoryDestination(), Faults()
        running = make(
            database,
            MemorySink(destination, fault=faults),
            capture=Impatient(database),
            bounds=Bounds(max_dirty=2),
            batching=BatchPolicy(max_changes=1),
            queue=small_queue,
        )
        task = asyncio.create_task(running.run())
        await until(lambda: database.confirmed == database.head)
        faults.moments = {"before"}
        for number in range(100):
            database.commit(database.put_parent(f"q{number:03}", "new"))
        await asyncio.sleep(100)
        faults.moments.clear()
        await until(lambda: database.confirmed == database.head)
        assert destination.search("parents") == database.documents()
        running.stop()
        await ended(task)

    virtual(main)


class Sizes(NoopObserver):
    """Remembers the most bytes of a flush."""

    most = 0

    def flushed(self, stats: FlushStats, documents: Sequence[DocumentId]) -> None:
        self.most = max(self.most, stats.bytes)


class Closed(MemoryBuilder):
    """A builder that reads no document while it is `closed`."""

    closed = False

    async def build(
        self, index: str, keys: Sequence[Key]
    ) -> AsyncGenerator[Sequence[BuiltDocument], None]:
        if self.closed:
            raise SourceUnavailable("closed by the test")
        async with aclosing(super().build(index, keys)) as chunks:
            async for chunk in chunks:
                yield chunk


def test_documents_that_turn_out_large_are_divided_and_none_is_lost() -> None:
    """C10: a flight holds its bound and one chunk of the builder's at most."""

    async def main() -> None:
        database, destination, observer = filled(), MemoryDestination(), Sizes()
        builder = Closed(database)
        running = make(
            database,
            MemorySink(destination, max_documents=100),
            bounds=Bounds(max_bytes=4 * 8000),
            observer=observer,
            builder=builder,
        )
        task = asyncio.create_task(running.run())
        await until(lambda: destination.serving == {"parents": 1})
        for _ in range(3):
            database.commit(*(database.put_parent(f"p{key:03}", "short") for key in range(20)))
            await until(lambda: database.confirmed == database.head)
        builder.closed = True
        database.commit(*(database.put_parent(f"p{key:03}", "x" * 5000) for key in range(20)))
        await asyncio.sleep(5)
        builder.closed = False
        await until(lambda: database.confirmed == database.head)
        assert destination.search("parents") == database.documents()
        assert observer.most <= 8000 + 2 * 5100
        running.stop()
        await ended(task)

    virtual(main)
