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
