"""Registers the queue type `memory`."""

from __future__ import annotations

from flusso_core.hookspecs import QueueContext, QueuePlugin, hookimpl
from flusso_core.interfaces import Queue
from flusso_core.queue.memory import MemoryQueue, MemoryQueueOptions


@hookimpl
def flusso_queue() -> QueuePlugin:
    """The queue within the process."""
    return QueuePlugin(name="memory", options=MemoryQueueOptions, create=_create)


def _create(context: QueueContext[MemoryQueueOptions]) -> Queue:
    return MemoryQueue(context.options.capacity)
