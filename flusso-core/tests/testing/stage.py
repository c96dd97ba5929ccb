"""A short play of the whole engine: two parents, and edges that are odd in one way each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from flusso_core.engine import Engine, RetryPolicy
from flusso_core.interfaces import PutBatch, SinkCapabilities
from flusso_core.model import (
    ChangeBatch,
    Document,
    FlushReport,
    IndexMapping,
    Key,
    KeyRange,
    Page,
    Position,
    StateRecord,
)
from flusso_core.testing import (
    AppliedLater,
    MemoryBuilder,
    MemoryCapture,
    MemoryDatabase,
    MemoryDestination,
    MemorySink,
)

INDEX = "parents"
LONG = 30.0


class VersionlessSink(MemorySink):
    """Writes whatever comes last, as most destinations do."""

    @property
    def capabilities(self) -> SinkCapabilities:
        return replace(super().capabilities, versions=False)

    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        for document in documents:
            stored = self._destination.generations.get(document.id[:2], {})
            stored.pop(document.id.key[0], None)
        return await super().flush(documents, caught_up=caught_up)


class Stage:
    """A database of two parents, a destination, and a run between them."""

    def __init__(self) -> None:
        self.database = MemoryDatabase()
        self.destination = MemoryDestination()
        self.late: set[bytes] = set()
        for key in "ab":
            self.database.commit(self.database.put_parent(key, "old"))
        self.database.confirmed = self.database.head

    def engine(
        self,
        builder: MemoryBuilder | None = None,
        sink: MemorySink | None = None,
        capture: MemoryCapture | None = None,
    ) -> Engine:
        return Engine(
            capture or MemoryCapture(self.database),
            builder or MemoryBuilder(self.database),
            {"memory": sink or self.sink()},
            retries=RetryPolicy(initial=0.01, maximum=0.1),
        )

    def sink(self) -> MemorySink:
        """A sink; what is named in `late` is answered never and lands when the test says so."""
        return LateSink(self.destination, self.late)

    @asynccontextmanager
    async def running(self, engine: Engine) -> AsyncGenerator[asyncio.Task[None], None]:
        """A run, killed at the end."""
        task = asyncio.create_task(engine.run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def caught_up(self) -> None:
        """Return when all is confirmed that is committed, and served."""
        async with asyncio.timeout(LONG):
            while (
                self.database.confirmed < self.database.head
                or INDEX not in self.destination.serving
            ):
                await asyncio.sleep(0.01)

    async def swept(self, times: int) -> None:
        """Return when the index has been swept so often."""
        async with asyncio.timeout(LONG):
            while self.destination.records[INDEX].current.swept < times:
                await asyncio.sleep(0.01)

    def assert_equal(self, when: str) -> None:
        assert self.destination.search(INDEX) == self.database.documents(), when


class LateSink(MemorySink):
    """Some requests are answered never and land later."""

    def __init__(self, destination: MemoryDestination, late: set[bytes]) -> None:
        super().__init__(destination, max_documents=1)
        self._late = late

    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        for text in list(self._late):
            if any(text in (document.body or b"") for document in documents):
                self._late.discard(text)
                self._destination.delay(documents, self._epoch)
                raise AppliedLater("a fault of the test")
        return await super().flush(documents, caught_up=caught_up)


class BlockedSink(MemorySink):
    """Answers no flush."""

    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        await asyncio.Event().wait()
        raise AssertionError


class StuckRecords(MemorySink):
    """Stores no record any more when it is stuck."""

    stuck = False

    async def store_records(self, records: Sequence[StateRecord]) -> None:
        if self.stuck:
            await asyncio.Event().wait()
        await super().store_records(records)


class PausedPages(MemoryBuilder):
    """Its first page is held back once its rows have been read."""

    def __init__(self, database: MemoryDatabase, *, form: str | None = None) -> None:
        super().__init__(database, chunk=100, form=form)
        self.read, self.go_on = asyncio.Event(), asyncio.Event()

    async def ranges(self, index: str, count: int) -> Sequence[KeyRange]:
        return [KeyRange()]

    async def page(self, index: str, span: KeyRange, after: Key | None, limit: int) -> Page:
        page = await super().page(index, span, after, limit)
        self.read.set()
        await self.go_on.wait()
        return page


class SlowPieces(MemoryCapture):
    """A second passes after each piece of a commit."""

    async def live(self, start: Position, put: PutBatch) -> None:
        async def slowly(batch: ChangeBatch) -> None:
            await put(batch)
            await asyncio.sleep(1)

        await super().live(start, slowly)


class PausedMissing(MemoryBuilder):
    """What it finds missing is held back."""

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__(database)
        self.read, self.go_on = asyncio.Event(), asyncio.Event()

    async def missing(self, index: str, ids: Sequence[str]) -> Sequence[Key]:
        found = await super().missing(index, ids)
        if found:
            self.read.set()
            await self.go_on.wait()
        return found


class BlockedBeginning(MemorySink):
    """Begins no second generation."""

    async def begin_generation(self, mapping: IndexMapping, generation: int) -> None:
        if generation > 1:
            await asyncio.Event().wait()
        await super().begin_generation(mapping, generation)
