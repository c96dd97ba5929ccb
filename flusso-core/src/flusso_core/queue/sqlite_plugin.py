"""Registers the queue type `sqlite`."""

from __future__ import annotations

from flusso_core.hookspecs import QueueContext, QueuePlugin, hookimpl
from flusso_core.interfaces import Queue
from flusso_core.queue.sqlite import SqliteQueue, SqliteQueueOptions, file_of


@hookimpl
def flusso_queue() -> QueuePlugin:
    """The durable queue in a local file."""
    return QueuePlugin(name="sqlite", options=SqliteQueueOptions, create=_create)


def _create(context: QueueContext[SqliteQueueOptions]) -> Queue:
    options = context.options
    return SqliteQueue(
        file_of(options.path, context.lane),
        capacity=options.capacity,
        max_bytes=options.max_bytes,
    )
