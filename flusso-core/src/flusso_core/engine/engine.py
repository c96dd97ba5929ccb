"""The engine: one capture, one builder, a lane for each sink."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, suppress

from flusso_core.engine.groups import first_leaf
from flusso_core.engine.lane import Lane, LaneSettings
from flusso_core.engine.retry import Retrier, RetryPolicy
from flusso_core.errors import EngineError, SinkError, SourceUnavailable
from flusso_core.interfaces import ChangeCapture, DocumentBuilder, Edge, Queue, Sink
from flusso_core.model import ChangeBatch, UnfitIndex
from flusso_core.observe.observer import NoopObserver, Observer, Phase
from flusso_core.queue.memory import MemoryQueue
from flusso_core.settings import BatchPolicy, Bounds, FailurePolicies, GapPolicies

_RELEASE_SECONDS = 2.0
"""A destination that does not answer keeps no run from ending; its lease ends by itself."""


class Engine:
    """Keeps every sink in step with a source.

    It opens the edges, seeds what the destinations do not have yet, follows the stream of
    changes, and confirms to the source only what every destination has made durable. It can be
    put together from any edges, without files:

    ```python
    engine = Engine(capture, builder, {"search": sink})
    await engine.run()
    ```

    Args:
        capture: the stream of changes.
        builder: finds and reads documents.
        sinks: name to destination; each gets a lane of its own.
        batching: when a batch of changes closes.
        bounds: what each lane may hold in memory.
        failures: what follows when a destination refuses a document.
        gaps: what follows when the stream no longer holds what an index has missed.
        queue: makes a lane's queue, given the sink's name.
        observer: hears everything.
        retries: bounds of the back-off for what passes by itself.
        backfill_workers: pages of a seed that are read at once, a lane.
        build_workers: builds at once, a lane.
        skip_backfill: take every index for seeded without reading its rows.
        drain_seconds: how long `stop` lets flights land.
    """

    def __init__(
        self,
        capture: ChangeCapture,
        builder: DocumentBuilder,
        sinks: Mapping[str, Sink],
        *,
        batching: BatchPolicy | None = None,
        bounds: Bounds | None = None,
        failures: FailurePolicies | None = None,
        gaps: GapPolicies | None = None,
        queue: Callable[[str], Queue] | None = None,
        observer: Observer | None = None,
        retries: RetryPolicy | None = None,
        backfill_workers: int = 2,
        build_workers: int = 2,
        skip_backfill: bool = False,
        drain_seconds: float = 10.0,
    ) -> None:
        if not sinks:
            raise EngineError("an engine needs at least one sink")
        self._capture = capture
        self._builder = builder
        self._sinks = dict(sinks)
        self._queue = queue or _memory_queue
        self._observer = observer or NoopObserver()
        self._retrier = Retrier(self._observer, retries)
        self._settings = LaneSettings(
            batching=batching or BatchPolicy(),
            bounds=bounds or Bounds(),
            failures=failures or FailurePolicies(),
            gaps=gaps or GapPolicies(),
            backfill_workers=backfill_workers,
            build_workers=build_workers,
            skip_backfill=skip_backfill,
        )
        self._drain_seconds = drain_seconds
        self._lanes: list[Lane] = []
        self._stop = asyncio.Event()
        self._stored = asyncio.Event()
        self._stopped: dict[str, str] = {}
        self._nothing_left = asyncio.Event()

    def stop(self) -> None:
        """Ask `run` to let flights land, store the state and return. Call it from the loop."""
        self._stop.set()

    async def run(self, *, once: bool = False, backfill_only: bool = False) -> None:
        """Keep the sinks in step, until `stop`.

        Args:
            once: return as soon as everything that was committed before the seeds ended is
                right at every destination.
            backfill_only: return as soon as every index is seeded.

        Raises:
            FlussoError: the run cannot go on; what is not confirmed comes again in the next one.
        """
        self._observer.phase(Phase.STARTING)
        try:
            async with AsyncExitStack() as stack:
                if await self._unless_stopped(self._start(stack)):
                    await self._run(once=once, backfill_only=backfill_only)
                    if self._stopped and (once or backfill_only):
                        raise EngineError(self._what_stopped())
        except ExceptionGroup as group:
            error = first_leaf(group)
            raise error from error.__cause__
        finally:
            self._observer.phase(Phase.STOPPED)

    async def _run(self, *, once: bool, backfill_only: bool) -> None:
        async with asyncio.TaskGroup() as tasks:
            capture = tasks.create_task(self._follow())
            confirming = tasks.create_task(self._confirm())
            lanes = [tasks.create_task(lane.run()) for lane in self._lanes]
            goal = tasks.create_task(self._reach(once=once, backfill_only=backfill_only))
            watching = tasks.create_task(self._end_without_indexes())
            await self._stop.wait()
            goal.cancel()
            watching.cancel()
            await asyncio.gather(*(lane.drain(self._drain_seconds) for lane in self._lanes))
            await asyncio.wait(lanes)
            confirming.cancel()
            await self._confirm_stored()
            capture.cancel()

    # Start

    async def _start(self, stack: AsyncExitStack) -> None:
        """Open the edges, prepare the source, and settle with each sink how it goes on."""
        edges: list[tuple[str, Edge]] = [
            ("the source", self._capture),
            ("the document builder", self._builder),
            *self._sinks.items(),
        ]
        for name, edge in edges:
            stack.push_async_callback(edge.close)
            await self._retrier.run(f"connecting {name}", edge.open)
        ephemeral = not any(sink.capabilities.records for sink in self._sinks.values())
        await self._retrier.run(
            "preparing the source", lambda: self._capture.provision(temporary=ephemeral)
        )
        owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        for unfit in self._builder.unfit():
            self._stop_index(unfit)
        if self._nothing_left.is_set():
            raise EngineError(self._what_stopped())
        self._lanes = [
            Lane(
                name,
                capture=self._capture,
                builder=self._builder,
                sink=sink,
                queue=self._queue(name),
                settings=self._settings,
                retrier=self._retrier,
                observer=self._observer,
                stored=self._stored.set,
                stopped=self._stopped.keys(),
                unfit=self._stop_index,
            )
            for name, sink in self._sinks.items()
        ]
        for lane, sink in zip(self._lanes, self._sinks.values(), strict=True):
            stack.push_async_callback(_release, sink)
            await lane.acquire(owner)
        # Only now: while this run waited for another one to end, that one moved the stream.
        identity = await self._retrier.run("identifying the source", self._capture.identity)
        confirmed = await self._retrier.run("asking the source", self._capture.confirmed)
        self._delivered = self._confirmed = confirmed
        for lane in self._lanes:
            await lane.prepare(identity, confirmed)

    async def _reach(self, *, once: bool, backfill_only: bool) -> None:
        """Seeds may begin when the source has settled; then see to it that a job ends."""
        self._observer.phase(Phase.BACKFILLING)
        await self._retrier.run("settling", self._capture.wait_settled)
        for lane in self._lanes:
            lane.begin_seeding()
        for lane in self._lanes:
            await lane.seeded()
        self._observer.phase(Phase.LIVE)
        if once:
            head = await self._retrier.run("asking the source", self._capture.head)
            for lane in self._lanes:
                await lane.reached(head)
                await lane.seeded()  # again: a truncate on the way begins a seed
        if once or backfill_only:
            self.stop()

    async def _unless_stopped(self, work: Coroutine[None, None, None]) -> bool:
        """Do the work; give it up when `stop` is called. Returns whether it was done."""
        working = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
                return True
            return False
        finally:
            working.cancel()
            stopping.cancel()
            await asyncio.wait((working, stopping))

    # Indexes that stop

    def _stop_index(self, unfit: UnfitIndex) -> None:
        """Go on without an index, in every lane. Told again it means nothing new."""
        index = unfit.index
        if index in self._stopped:
            return
        served = self._builder.mappings().keys()
        if index not in served:
            message = f"an index is said not to fit that this run does not serve: {index!r}"
            raise EngineError(message)
        self._stopped[index] = unfit.reason
        for lane in self._lanes:
            lane.stop_index(index)
        self._builder.exclude(index)
        self._observer.index_stopped(index, unfit.reason)
        if self._stopped.keys() == served:
            self._nothing_left.set()

    async def _end_without_indexes(self) -> None:
        await self._nothing_left.wait()
        raise EngineError(self._what_stopped())

    def _what_stopped(self) -> str:
        """Names the indexes that have stopped, each with its reason."""
        named = "; ".join(f"{index}: {reason}" for index, reason in self._stopped.items())
        few = len(self._stopped) == 1
        return f"{'an index has' if few else 'indexes have'} stopped and will miss changes: {named}"

    # Changes

    async def _follow(self) -> None:
        while True:
            await self._retrier.run("following changes", self._follow_once)

    async def _follow_once(self) -> None:
        """Follow the stream. A connection that brought something is replaced at once when lost."""
        before = self._delivered
        try:
            await self._capture.live(self._delivered, self._put)
            raise SourceUnavailable("the change stream ended by itself")
        except SourceUnavailable as error:
            if self._delivered == before:
                raise
            self._observer.retrying("following changes", error, 0.0)

    async def _put(self, batch: ChangeBatch) -> None:
        if batch.changes:
            self._observer.captured(len(batch.changes))
        for lane in self._lanes:
            await lane.queue.put(batch)
        if batch.position is not None:
            self._delivered = batch.position

    async def _confirm(self) -> None:
        while True:
            await self._stored.wait()
            self._stored.clear()
            await self._confirm_stored()

    async def _confirm_stored(self) -> None:
        position = min(lane.position for lane in self._lanes)
        if position > self._confirmed:
            await self._capture.confirm(position)
            self._confirmed = position
            self._observer.confirmed(position)


def _memory_queue(lane: str) -> Queue:
    del lane
    return MemoryQueue()


async def _release(sink: Sink) -> None:
    """Give up the lease if that can be done: otherwise it expires by itself."""
    with suppress(SinkError, TimeoutError):
        async with asyncio.timeout(_RELEASE_SECONDS):
            await sink.release()
