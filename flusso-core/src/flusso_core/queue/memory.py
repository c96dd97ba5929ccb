"""A queue within the process, bounded by the changes that it holds."""

from __future__ import annotations

import asyncio
from collections import deque

from pydantic import BaseModel, ConfigDict, Field

from flusso_core.interfaces import Queue
from flusso_core.model import ChangeBatch

DEFAULT_CAPACITY = 8192


class MemoryQueueOptions(BaseModel):
    """The `[queue]` table of the type `memory`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    capacity: int = Field(
        default=DEFAULT_CAPACITY,
        ge=1,
        description="How many changes wait at most; a capture blocks while there is no room.",
    )


class MemoryQueue(Queue):
    """Carries batches in order and blocks the producer while `capacity` changes wait.

    A batch without changes (a keepalive) counts as one, so that those are bounded as well. A
    batch larger than the whole capacity is let in once the queue is empty.

    Args:
        capacity: the bound, in changes; at least 1.
    """

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        if capacity < 1:
            msg = f"a queue's capacity must be at least 1 change, not {capacity}"
            raise ValueError(msg)
        self._capacity = capacity
        self._held = 0
        self._batches: deque[ChangeBatch] = deque()
        # Held by the producer whose turn it is: waiting producers go in the order they came.
        self._turn = asyncio.Lock()
        self._room = asyncio.Event()
        self._filled = asyncio.Event()

    @property
    def held(self) -> int:
        """How many changes wait in the queue."""
        return self._held

    async def clear(self) -> None:
        """Forget every batch, and let a blocked `put` go on."""
        self._batches.clear()
        self._held = 0
        self._room.set()

    async def put(self, batch: ChangeBatch) -> None:
        """Add a batch; block while there is no room for it. Cancelled, it adds nothing."""
        size = _size(batch)
        async with self._turn:
            while self._batches and self._held + size > self._capacity:
                self._room.clear()
                await self._room.wait()
            self._batches.append(batch)
            self._held += size
            self._filled.set()

    async def get(self) -> ChangeBatch:
        """Take the oldest batch; block while there is none. Cancelled, it takes nothing."""
        while (batch := self.get_nowait()) is None:
            self._filled.clear()
            await self._filled.wait()
        return batch

    def get_nowait(self) -> ChangeBatch | None:
        """Take the oldest batch if there is one."""
        if not self._batches:
            return None
        batch = self._batches.popleft()
        self._held -= _size(batch)
        self._room.set()
        return batch


def _size(batch: ChangeBatch) -> int:
    return max(1, len(batch.changes))
