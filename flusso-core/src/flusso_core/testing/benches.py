"""Benches of the in-memory edges: they pass the conformance kit as any backend has to.

They are the shortest examples of what an author gives.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from flusso_core.errors import SinkUnavailable
from flusso_core.interfaces import Queue, Sink
from flusso_core.model import DocumentId, IndexMapping
from flusso_core.queue.memory import MemoryQueue
from flusso_core.testing.conformance import QueueBench, SinkBench, exact_json
from flusso_core.testing.sink import MemoryDestination, MemorySink


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
