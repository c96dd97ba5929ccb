"""When what has been written becomes searchable: at once, and not at every flush."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from flusso_core.engine import Engine, flights
from flusso_core.model import Document, FlushReport
from flusso_core.testing import (
    MemoryBuilder,
    MemoryCapture,
    MemoryDatabase,
    MemoryDestination,
    MemorySink,
)

from .running import until, virtual


class SlowSink(MemorySink):
    """Takes its time for each flush, and counts them."""

    def __init__(self, destination: MemoryDestination) -> None:
        super().__init__(destination, flushes_in_flight=6, max_documents=1000)
        self.flushes = self.running = self.most = 0

    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        self.flushes += 1
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.2)
        try:
            return await super().flush(documents, caught_up=caught_up)
        finally:
            self.running -= 1


class SearchedSink(MemorySink):
    """Knows which documents searches do not see yet, and how often it was refreshed."""

    def __init__(self, destination: MemoryDestination) -> None:
        super().__init__(destination, flushes_in_flight=3)
        self.unseen: set[str] = set()
        self.refreshes = 0

    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        report = await super().flush(documents, caught_up=caught_up)
        self.unseen |= {document.id.key[0] for document in documents}
        if caught_up:
            await self.refresh("parents")
        return report

    async def refresh(self, index: str) -> None:
        self.refreshes += 1
        self.unseen.clear()


async def test_a_wave_of_documents_is_refreshed_once_and_all_of_it_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Many flushes that overlap need one refresh, whichever of them ends last."""
    monkeypatch.setattr(flights, "_REFRESH_SECONDS", 1e9)
    database, destination = MemoryDatabase(), MemoryDestination()
    sink = SearchedSink(destination)
    running = Engine(MemoryCapture(database), MemoryBuilder(database), {"memory": sink})
    task = asyncio.create_task(running.run())
    async with asyncio.timeout(10):
        while destination.serving.get("parents") is None:
            await asyncio.sleep(0)
        for wave in range(10):
            sink.refreshes = 0
            changes = [database.put_parent(f"p{n:03}", f"wave {wave}") for n in range(60)]
            database.commit(*changes)
            while destination.search("parents") != database.documents() or sink.unseen:
                await asyncio.sleep(0)
            assert 1 <= sink.refreshes <= 3, f"wave {wave}: {sink.refreshes} refreshes"
        running.stop()
        await task


async def test_a_lone_change_is_seen_when_its_flush_ends() -> None:
    database, destination = MemoryDatabase(), MemoryDestination()
    sink = SearchedSink(destination)
    running = Engine(MemoryCapture(database), MemoryBuilder(database), {"memory": sink})
    task = asyncio.create_task(running.run())
    async with asyncio.timeout(10):
        while destination.serving.get("parents") is None:
            await asyncio.sleep(0)
        database.commit(database.put_parent("p1", "a"))
        while destination.search("parents") != database.documents() or not sink.refreshes:
            await asyncio.sleep(0)
        assert not sink.unseen
        running.stop()
        await task
        assert sink.refreshes == 1


@pytest.mark.parametrize(("a_second", "most"), [(1, 1), (50, 2), (2000, 8)])
def test_a_steady_stream_is_written_in_few_requests(a_second: int, most: int) -> None:
    """Small flights wait for company while others are under way; full ones use every slot."""

    async def main() -> None:
        database, destination = MemoryDatabase(), MemoryDestination()
        sink = SlowSink(destination)
        running = Engine(MemoryCapture(database), MemoryBuilder(database), {"memory": sink})
        task = asyncio.create_task(running.run())
        await until(lambda: destination.serving.get("parents") is not None)
        seconds = 5
        for number in range(seconds * a_second):
            database.commit(database.put_parent(f"p{number}", "a"))
            await asyncio.sleep(1 / a_second)
        await until(lambda: destination.search("parents") == database.documents())
        assert sink.most <= most
        # Two at a time, of 0.2 s each; or as many as full ones take.
        assert sink.flushes <= seconds * max(2 / 0.2, a_second / 100) + 2
        running.stop()
        await task

    virtual(main)
