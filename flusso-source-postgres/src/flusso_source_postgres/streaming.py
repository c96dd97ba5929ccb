"""One run of the change stream: reads frames, delivers batches, answers the server in time."""

from __future__ import annotations

import asyncio
import contextlib
import time

from flusso_core.interfaces import PutBatch
from flusso_core.model import ChangeBatch
from flusso_source_postgres.assembler import Assembler
from flusso_source_postgres.replication import ReplicationConnection
from flusso_source_postgres.watch import Watch

_LONGEST_SILENCE = 10.0
"""Seconds between two replies at most, or a third of the server's patience if that is less."""

_SHORTEST_SILENCE = 0.1
"""Seconds between two replies at least, however often positions are confirmed."""

_KEEPALIVES_EVERY = 0.1
"""Seconds between two batches that bring nothing but a newer position."""

_REST_OF_COMMIT = 0.005
"""Seconds that the rest of a commit is waited for; the server has all of it, and is sending."""

_FRAMES_A_TURN = 1000
"""Frames that are read before other tasks get a turn."""


class Confirmations:
    """The position that is durable, on its way from the engine to the server.

    Attributes:
        confirmed: everything up to here is durable.
        reported: what the server has been told.
    """

    def __init__(self) -> None:
        self.confirmed = 0
        self.reported = 0
        self._news = asyncio.Event()

    def confirm(self, lsn: int) -> None:
        """Everything up to `lsn` is durable."""
        if lsn > self.confirmed:
            self.confirmed = lsn
            self._news.set()

    def report(self, connection: ReplicationConnection) -> None:
        """Tell the server now, if the connection takes it."""
        confirmed = self.confirmed
        if connection.reply(confirmed):
            self.reported = confirmed
            self._news.clear()

    async def report_for_ever(self, connection: ReplicationConnection, interval: float) -> None:
        """Tell the server soon after there is news, and at least every `interval` seconds.

        It has a timer of its own, so the server hears of us however long a batch is held up.
        """
        while True:
            self.report(connection)
            await asyncio.sleep(min(_SHORTEST_SILENCE, interval))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await self._news.wait()


async def stream(
    connection: ReplicationConnection,
    slot: str,
    assembler: Assembler,
    confirmations: Confirmations,
    watch: Watch,
    put: PutBatch,
    *,
    server_timeout: float | None,
) -> None:
    """Deliver batches until cancelled.

    Args:
        connection: replication has started on it.
        slot: for messages.
        assembler: makes batches of frames.
        confirmations: what to tell the server.
        watch: notices what the stream does not tell.
        put: where batches go; while it blocks, nothing is read.
        server_timeout: seconds within which the server wants to hear of us; `None`: no bound.

    Raises:
        SourceUnavailable: the stream ended.
        SourceFatal: it cannot go on.
    """
    interval = min(_LONGEST_SILENCE, (server_timeout or _LONGEST_SILENCE * 3) / 3)
    try:
        async with asyncio.TaskGroup() as group:
            reporter = group.create_task(confirmations.report_for_ever(connection, interval))
            try:
                await _deliver(connection, slot, assembler, confirmations, watch, put)
            finally:
                reporter.cancel()
    except BaseExceptionGroup as failures:
        # One failed, and the other was cancelled for it.
        raise failures.exceptions[0] from failures.exceptions[0].__cause__


async def _deliver(
    connection: ReplicationConnection,
    slot: str,
    assembler: Assembler,
    confirmations: Confirmations,
    watch: Watch,
    put: PutBatch,
) -> None:
    frames = 0
    delivered = 0.0
    while True:
        frame = _next_frame(connection, slot)
        if frame is not None:
            full = assembler.feed(frame)
            if assembler.reply:
                assembler.reply = False
                confirmations.report(connection)
            frames += 1
            if frames % _FRAMES_A_TURN == 0:
                await asyncio.sleep(0)
            if not full:
                continue
        elif assembler.in_transaction:
            if await connection.readable(_REST_OF_COMMIT):
                continue
        elif not assembler.has_changes:
            pause = delivered + _KEEPALIVES_EVERY - time.monotonic()
            if pause > 0:
                await connection.readable(pause)
                continue
        await _look(assembler, watch, put)
        batch = assembler.take()
        if batch is not None:
            await put(batch)
            await asyncio.sleep(0)
            delivered = time.monotonic()
        if frame is None and batch is None:
            await connection.readable(watch.rest)


async def _look(assembler: Assembler, watch: Watch, put: PutBatch) -> None:
    """Before what was gathered goes out: whatever it follows from is told first."""
    if not assembler.described and watch.rest:
        return
    assembler.described = False
    news = await watch.look()
    if news:
        await put(ChangeBatch(news.changes, position=None, unfit=news.unfit))


def _next_frame(connection: ReplicationConnection, slot: str) -> bytes | None:
    frame = connection.read(slot)
    if frame is None:
        # What the socket holds already belongs to the same batch.
        connection.poll()
        frame = connection.read(slot)
    return frame
