"""How many pages a backfill reads at once: as many as help, and no more."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from random import Random

import pytest

from flusso_core.engine import Engine
from flusso_core.engine.readers import Readers, Turns
from flusso_core.model import Document, FlushReport, Key, KeyRange, Page
from flusso_core.testing import (
    MemoryBuilder,
    MemoryCapture,
    MemoryDatabase,
    MemoryDestination,
    MemorySink,
    run_in_virtual_time,
)

from .running import childless, virtual

PAGE = 100


def now() -> float:
    return asyncio.get_running_loop().time()


class Works:
    """Ten tasks that read pages in turns and write them, with a source and a sink of some speed.

    Args:
        most: readers at most.
        read: seconds of a page, given how many are being read.
        write: seconds of a page at the sink, which takes two at once.
        seed: of how much each differs from that.
    """

    def __init__(
        self, most: int, *, read: Callable[[int], float], write: float, seed: int = 0
    ) -> None:
        self.read, self.write = read, write
        self.readers = Readers(most)
        self.limits: deque[int] = deque(maxlen=200)
        self.highest = 0
        self._turns = Turns(self.readers)
        self._reading = 0
        self._sink = asyncio.Semaphore(2)
        self._random = Random(seed)

    @asynccontextmanager
    async def at_work(self) -> AsyncGenerator[None, None]:
        tasks = [asyncio.create_task(self._work()) for _ in range(10)]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    async def _work(self) -> None:
        while True:
            async with self._turns:
                self._reading += 1
                self.highest = max(self.highest, self._reading)
                self.readers.began(now())
                await asyncio.sleep(self.read(self._reading) * self._random.uniform(0.8, 1.2))
                self.readers.ended(now(), PAGE)
                self._reading -= 1
            async with self._sink:
                await asyncio.sleep(self.write * self._random.uniform(0.8, 1.2))
            self.limits.append(self.readers.limit)

    @property
    def usual(self) -> float:
        """The limit of late, on average."""
        return sum(self.limits) / len(self.limits)


def works(most: int, *, read: Callable[[int], float], write: float, seed: int = 0) -> Works:
    """Let so many readers work for a while."""

    async def main() -> Works:
        found = Works(most, read=read, write=write, seed=seed)
        async with found.at_work():
            await asyncio.sleep(400)
        return found

    return run_in_virtual_time(main(), seconds=7200.0)


def always(seconds: float) -> Callable[[int], float]:
    return lambda _: seconds


@pytest.mark.parametrize("most", [1, 2, 3, 6])
def test_all_readers_read_where_each_brings_more(most: int) -> None:
    """The sink takes twenty pages a second; a reader brings one."""
    found = works(most, read=always(1.0), write=0.1)
    assert found.highest == most
    assert found.usual > most - 0.5


@pytest.mark.parametrize("seed", range(5))
def test_one_reader_reads_where_the_sink_is_slow(seed: int) -> None:
    """Two pages a second is what the sink takes, and a tenth of what a reader brings."""
    found = works(6, read=always(0.05), write=1.0, seed=seed)
    assert found.usual == 1
    assert found.highest == 2, "more than it began with have been tried"


@pytest.mark.parametrize("seed", range(5))
def test_as_many_readers_read_as_the_sink_can_take(seed: int) -> None:
    """Two and a half readers bring what it takes."""
    found = works(8, read=always(0.5), write=0.4, seed=seed)
    assert 2.5 < found.usual < 3.5


@pytest.mark.parametrize("seed", range(5))
def test_readers_that_hinder_each_other_are_few(seed: int) -> None:
    """The source is as fast with one reader as with six: reads take longer the more there are."""
    found = works(6, read=lambda count: count * 0.5, write=0.1, seed=seed)
    assert found.usual < 2.5


@pytest.mark.parametrize("seed", range(5))
def test_readers_follow_a_load_that_changes(seed: int) -> None:
    """Down when the sink becomes slow, up again when it is fast, and up when reads become slow."""

    async def main() -> None:
        found = Works(5, read=always(1.0), write=0.1, seed=seed)
        async with found.at_work():
            for read, write, least, most in (
                (1.0, 0.1, 4, 5),
                (0.1, 1.0, 1, 1),
                (1.0, 0.1, 4, 5),
                (0.1, 0.1, 1, 3),
                (1.0, 0.1, 4, 5),
            ):
                found.read, found.write = always(read), write
                await asyncio.sleep(300)
                assert least <= found.usual <= most, (read, write)

    run_in_virtual_time(main(), seconds=7200.0)


def test_a_failed_read_says_nothing_of_the_speed() -> None:
    """An hour of a source that is down is no reason to read less, and neither is a pause."""
    readers = Readers(4)

    def read(at: float, documents: int | None) -> None:
        readers.began(at)
        readers.began(at)
        readers.ended(at + 1, documents)
        readers.ended(at + 1, documents)

    for second in range(7):
        read(second, PAGE)
    read(3600.0, None)
    for second in range(3601, 3608):
        read(second, PAGE)
    readers.restart(7200.0)
    assert readers.limit == 2
    for second in range(7200, 7208):
        read(second, PAGE)
    assert readers.limit == 3


class SlowPages(MemoryBuilder):
    """Each page takes a while; knows how many are being read, and which."""

    def __init__(self, database: MemoryDatabase, seconds: float) -> None:
        super().__init__(database)
        self._seconds = seconds
        self.reading = 0
        self.counts: list[int] = []
        self.begun: list[Key | None] = []

    async def page(self, index: str, span: KeyRange, after: Key | None, limit: int) -> Page:
        self.begun.append(after or span.lower)
        self.reading += 1
        self.counts.append(self.reading)
        try:
            await asyncio.sleep(self._seconds)
            return await super().page(index, span, after, limit)
        finally:
            self.reading -= 1


class SlowSink(MemorySink):
    """Each flush takes a while."""

    def __init__(self, destination: MemoryDestination, seconds: float) -> None:
        super().__init__(destination, flushes_in_flight=6)
        self._seconds = seconds

    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        await asyncio.sleep(self._seconds)
        return await super().flush(documents, caught_up=caught_up)


def engine(
    database: MemoryDatabase,
    destination: MemoryDestination,
    builder: MemoryBuilder,
    *,
    flush: float,
) -> Engine:
    return Engine(
        MemoryCapture(database),
        builder,
        {"memory": SlowSink(destination, flush)},
        backfill_workers=5,
    )


def test_a_backfill_reads_more_pages_at_once_where_reading_is_slow() -> None:
    """From two to all five that are allowed, while live changes flow."""

    async def main() -> None:
        database, destination = childless(800), MemoryDestination()
        builder = SlowPages(database, 1.0)
        running = asyncio.create_task(engine(database, destination, builder, flush=0.01).run())
        await asyncio.sleep(10)
        database.commit(database.put_parent("p000", "new"), database.put_parent("p799", "new"))
        while "parents" not in destination.serving:
            await asyncio.sleep(1)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        assert max(builder.counts[:10]) == 2
        late = builder.counts[200:300]
        assert sum(late) / len(late) > 4
        assert max(builder.counts) == 5
        assert destination.search("parents") == database.documents()

    virtual(main)


def test_a_backfill_reads_one_page_at_once_where_the_sink_is_slow() -> None:
    """Pages that wait for the sink anyway are not read any sooner."""

    async def main() -> None:
        database, destination = childless(800), MemoryDestination()
        builder = SlowPages(database, 0.01)
        await engine(database, destination, builder, flush=1.0).run(backfill_only=True)
        assert max(builder.counts[:20]) == 2
        assert max(builder.counts[200:]) == 1
        assert destination.search("parents") == database.documents()

    virtual(main)


@pytest.mark.parametrize("seconds", [3.0, 30.0, 60.0])
def test_a_backfill_that_goes_on_reads_no_page_again(seconds: float) -> None:
    """H4: whatever the number of readers was, but those that had not landed when it was killed."""

    async def main() -> None:
        database, destination = childless(800), MemoryDestination()
        first, second = SlowPages(database, 1.0), SlowPages(database, 1.0)
        killed = asyncio.create_task(engine(database, destination, first, flush=0.01).run())
        await asyncio.sleep(seconds)
        killed.cancel()
        with suppress(asyncio.CancelledError):
            await killed
        assert len(set(first.begun)) == len(first.begun)
        await engine(database, destination, second, flush=0.01).run(backfill_only=True)
        assert len(set(second.begun)) == len(second.begun)
        repeated = set(first.begun) & set(second.begun)
        assert len(repeated) <= 8, "more than there may be in memory"
        assert destination.search("parents") == database.documents()

    virtual(main)
