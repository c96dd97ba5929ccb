"""Benches of the in-memory edges: they pass the conformance kit as any backend has to.

They are the shortest examples of what an author gives.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from flusso_core.errors import SinkUnavailable, SourceUnavailable
from flusso_core.interfaces import ChangeCapture, DocumentBuilder, Queue, Sink
from flusso_core.model import Change, DocumentId, IndexMapping
from flusso_core.queue.memory import MemoryQueue
from flusso_core.testing.builder import MemoryBuilder
from flusso_core.testing.capture import MemoryCapture
from flusso_core.testing.conformance import (
    PARENTS,
    Delete,
    Put,
    QueueBench,
    Rekey,
    Rows,
    SinkBench,
    SourceBench,
    Truncate,
    Write,
    exact_json,
)
from flusso_core.testing.database import MemoryDatabase
from flusso_core.testing.sink import MemoryDestination, MemorySink

_HIDDEN_SECONDS = 0.01


class MemorySinkBench(SinkBench):
    """A `MemoryDestination`, read without its sink.

    Args:
        make: makes a sink on the destination; the class under test.
    """

    lease_seconds = 0.2

    def __init__(self, make: Callable[..., Sink] = MemorySink) -> None:
        self.destination = MemoryDestination(lease_seconds=self.lease_seconds)
        self._make = make
        self._down = False

    def sink(self) -> Sink:
        """A sink that fails while there is an outage."""
        return self._make(self.destination, fault=self._fault, max_documents=100)

    async def stored(self, mapping: IndexMapping, generation: int) -> Mapping[str, object]:
        """Straight from the dictionaries."""
        stored = self.destination.generations.get((mapping.index, generation), {})
        return {
            identity: exact_json(entry.body)
            for identity, entry in stored.items()
            if entry.body is not None
        }

    async def served(self, mapping: IndexMapping) -> Mapping[str, object]:
        """Straight from the dictionaries."""
        found = self.destination.search(mapping.index)
        return {identity: exact_json(body) for identity, body in found.items()}

    async def quarantined(self) -> Sequence[DocumentId]:
        """Straight from the list."""
        return [rejection.document.id for rejection in self.destination.quarantined]

    def poison(self) -> bytes:
        """It refuses what is no JSON."""
        return b'{"id":'

    @asynccontextmanager
    async def outage(self) -> AsyncGenerator[None, None]:
        """Every request fails."""
        self._down = True
        try:
            yield
        finally:
            self._down = False

    def _fault(self, moment: str) -> None:
        if self._down:
            raise SinkUnavailable(f"{moment}: down")


class MemoryQueueBench(QueueBench):
    """Queues within the process.

    Args:
        make: makes a queue of a capacity; the class under test.
    """

    def __init__(self, make: Callable[[int], MemoryQueue] = MemoryQueue) -> None:
        self._make = make

    @asynccontextmanager
    async def queue(self, capacity: int) -> AsyncGenerator[Queue, None]:
        """Nothing to open or to close."""
        yield self._make(capacity)

    async def held(self, queue: Queue) -> int:
        """As it counts itself: it stores nothing anywhere."""
        if not isinstance(queue, MemoryQueue):
            raise TypeError(f"no queue of this bench: {queue!r}")
        return queue.held


class MemorySourceBench(SourceBench):
    """A `MemoryDatabase`, whose commits can be in the stream before snapshots see them.

    Args:
        capture: makes a capture of the database; the class under test.
        builder: makes a builder of the database; the class under test.
        hidden: snapshots see a commit a little later than the stream has it.
    """

    def __init__(
        self,
        capture: Callable[..., ChangeCapture] = MemoryCapture,
        builder: Callable[..., DocumentBuilder] = MemoryBuilder,
        *,
        hidden: bool = False,
    ) -> None:
        self.database = MemoryDatabase()
        self._model = Rows()
        self._hidden = hidden
        self._capture = capture
        self._builder = builder
        self._lost = False

    def capture(self) -> ChangeCapture:
        """A capture whose connection can be lost."""
        return self._capture(self.database, fault=self._fault)

    def builder(self) -> DocumentBuilder:
        """A builder of the database."""
        return self._builder(self.database, chunk=100)

    async def commit(self, *writes: Write) -> None:
        """In the stream at once; visible now or a little later."""
        changes = [change for write in writes for change in self._changes(write)]
        self.database.commit(*changes, hidden=self._hidden)
        if self._hidden:
            asyncio.get_running_loop().call_later(_HIDDEN_SECONDS, self.database.reveal)

    async def roll_back(self, *writes: Write) -> None:
        """It only moves the log on, as a transaction of other tables does."""
        self.database.commit()

    async def rows(self) -> Rows:
        """Straight from the dictionaries."""
        return Rows(dict(self.database.parents), dict(self.database.children))

    async def disconnect(self) -> None:
        """The next delivery fails."""
        self._lost = True
        self.database.commit()

    def _fault(self) -> None:
        lost, self._lost = self._lost, False
        if lost:
            raise SourceUnavailable("the connection was lost")

    def _changes(self, write: Write) -> Sequence[Change]:
        database, root = self.database, write.table == PARENTS
        put = database.put_parent if root else database.put_child
        delete = database.delete_parent if root else database.delete_child
        rows = dict(self._model.parents if root else self._model.children)
        self._model.apply([write])
        match write:
            case Put():
                return [put(write.key, write.value)]
            case Delete():
                return [delete(write.key)]
            case Rekey():
                return [delete(write.old), put(write.new, rows[write.old])]
            case Truncate():
                return [database.truncate(write.table)]
