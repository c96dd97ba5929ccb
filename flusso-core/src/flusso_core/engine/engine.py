"""The engine: one capture, one builder, a lane for each sink."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial

from flusso_core.engine.groups import ungrouped
from flusso_core.engine.keeper import CLOSING_SECONDS, Keeper
from flusso_core.engine.lane import Lane, LaneSettings
from flusso_core.engine.racing import unless
from flusso_core.engine.retry import Retrier
from flusso_core.engine.series import Schemas
from flusso_core.engine.stream import Stream
from flusso_core.engine.transforms import Transforms
from flusso_core.errors import EngineError, SourceUnavailable
from flusso_core.interfaces import (
    ChangeCapture,
    DocumentBuilder,
    DocumentTransform,
    Edge,
    Queue,
    Sink,
)
from flusso_core.model import Key, StateRecord, UnfitIndex
from flusso_core.observe.observer import NoopObserver, Observer, Phase
from flusso_core.queue.memory import MemoryQueue
from flusso_core.settings import BatchPolicy, Bounds, FailurePolicies, GapPolicies, RetryPolicy


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
        failures: what follows when a destination refuses a document, or a transform fails on it.
        transforms: index to what changes its documents before they are written, in this order.
        gaps: what follows when the stream no longer holds what an index has missed.
        queue: makes a lane's queue, given the sink's name.
        observer: hears everything.
        retries: bounds of the back-off for what passes by itself.
        detach_after: sink's name to the seconds that it may be silent before it no longer holds
            the source; one that is not named holds it for ever.
        backfill_workers: pages of a seed that are read at once, a lane, at most; how many of them
            help is found out.
        build_workers: builds at once, a lane.
        skip_backfill: take every index for seeded without reading its rows.
        sweep_intervals: index to the seconds after which all of its rows are read again.
        drain_seconds: how long a stop may take, however many sinks answer nothing any more.
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
        transforms: Mapping[str, Sequence[DocumentTransform]] | None = None,
        gaps: GapPolicies | None = None,
        queue: Callable[[str], Queue] | None = None,
        observer: Observer | None = None,
        retries: RetryPolicy | None = None,
        detach_after: Mapping[str, float] | None = None,
        backfill_workers: int = 2,
        build_workers: int = 2,
        skip_backfill: bool = False,
        sweep_intervals: Mapping[str, float] | None = None,
        drain_seconds: float = 10.0,
    ) -> None:
        if not sinks:
            raise EngineError("an engine needs at least one sink")
        self._capture = capture
        self._builder = builder
        self._sinks = dict(sinks)
        self._queue = queue or _memory_queue
        self._observer = observer or NoopObserver()
        self._retries = retries
        self._retrier = Retrier(self._observer, retries)
        self._detach_after = dict(detach_after or {})
        self._settings = LaneSettings(
            batching=batching or BatchPolicy(),
            bounds=bounds or Bounds(),
            failures=failures or FailurePolicies(),
            transforms=Transforms(transforms or {}),
            gaps=gaps or GapPolicies(),
            backfill_workers=backfill_workers,
            build_workers=build_workers,
            skip_backfill=skip_backfill,
            sweep_intervals=sweep_intervals or {},
        )
        self._drain_seconds = drain_seconds
        self._schemas = Schemas(builder, self._retrier)
        self._stream = Stream(capture, self._retrier, self._observer)
        self._keepers: list[Keeper] = []
        self._stop = asyncio.Event()
        self._stopped: dict[str, str] = {}
        self._nothing_left = asyncio.Event()

    def stop(self) -> None:
        """Ask `run` to let flights land, store the state and return. Call it from the loop."""
        self._stop.set()

    async def lag(self) -> int:
        """How far confirmation is behind the source's head, in bytes or the source's own unit.

        Raises:
            SourceUnavailable: the source cannot be asked now.
        """
        return await self._capture.lag()

    def records(self) -> Mapping[str, Mapping[str, StateRecord]]:
        """What is true of every index now, by the names of the sinks that are up."""
        return {lane.name: lane.records for lane in self._lanes}

    async def run(
        self,
        *,
        once: bool = False,
        backfill_only: bool = False,
        request: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """Keep the sinks in step, until `stop`.

        ```python
        await engine.run(once=True, request=lambda: engine.reindex("users"))
        ```

        Args:
            once: return as soon as everything that was committed before the seeds ended is
                right at every destination.
            backfill_only: return as soon as every index is seeded.
            request: is awaited as soon as every sink is up, such as a `reindex` of this engine; a
                job is not done before it is. What it raises ends the run.

        Raises:
            FlussoError: the run cannot go on; what is not confirmed comes again in the next one.
        """
        self._observer.phase(Phase.STARTING)
        try:
            with ungrouped():
                async with AsyncExitStack() as stack:
                    if await unless(self._stop, self._start(stack)):
                        await self._run(once=once, backfill_only=backfill_only, request=request)
                        if once or backfill_only:
                            self._require_all()
        finally:
            self._observer.phase(Phase.STOPPED)

    async def sweep(self, index: str) -> None:
        """Read all rows of an index again, and delete what it should not have.

        Puts right whatever no change could tell of. Searches and live changes go on meanwhile.
        Call it while `run` runs. It returns when every sink that is up has noted it down: those
        do it even if this run ends.

        Raises:
            EngineError: nothing runs, the run ends meanwhile, or there is no such index.
        """
        for lane in self._lanes_with(index):
            await lane.sweep(index, "a sweep was asked for")

    async def reindex(self, index: str, *, keep_old: bool = False) -> None:
        """Fill an index anew in a new generation, and let searches see it when it is filled.

        What serves meanwhile keeps getting live changes. Call it while `run` runs. It returns
        when every sink that is up has noted it down.

        Args:
            index: the logical name.
            keep_old: keep what has served until then; it gets no more changes.

        Raises:
            EngineError: nothing runs, the run ends meanwhile, or there is no such index.
        """
        for lane in self._lanes_with(index):
            await lane.reindex(index, keep=keep_old)

    async def rollback(self, index: str, *, keep_current: bool = True) -> None:
        """Go back to the newest older generation of an index that has its present schema.

        While a new one is being filled, that one is given up, and what serves goes on. Otherwise
        searches see the kept generation at once. It got no changes since it was superseded, and
        is swept from now on; until that has ended, a search may find what was true then. Call
        it while `run` runs. It returns when searches see it at every sink that is up; ephemeral
        ones keep no generations.

        Args:
            index: the logical name.
            keep_current: keep what searches have seen until now, so that a further call returns
                to it; otherwise it is dropped.

        Raises:
            EngineError: nothing runs, the run ends meanwhile, there is no such index, or a sink
                has no older generation of this schema: then nothing has been changed.
        """
        lanes = [lane for lane in self._lanes_with(index) if lane.remembers]
        if not lanes:
            raise EngineError("no sink that is up keeps generations")
        for lane in lanes:
            await lane.require_older(index)
        for lane in lanes:
            await lane.rollback(index, keep=keep_current)

    async def rebuild(self, index: str, documents: Sequence[Key | str]) -> None:
        """Build documents of an index anew from the current rows, and write or delete them.

        What is right already is written again and stays right, so that it does no harm to name
        too many. They are marked a piece at a time, as the bounds allow, in every generation
        that gets changes, also while one is being filled. Call it while `run` runs.

        It returns when each of them has landed at every sink that is up, or was refused and is
        in that one's quarantine. A generation that is dropped meanwhile owes nothing more.

        Args:
            index: the logical name.
            documents: by their keys, as the source spells them, or by their ids as text. One
                that no row has (any more) is deleted. A long id that is a digest tells no key:
                it is deleted where no row has it, and is left as it is otherwise.

        Raises:
            EngineError: nothing runs, there is no such index, or not all of it has landed: the
                run or a sink's part in it has ended meanwhile, or the index has stopped. What
                has landed by then is right; ask again for all of them.
        """
        lanes = self._lanes_with(index)
        with ungrouped():
            async with asyncio.TaskGroup() as tasks:
                for lane in lanes:
                    tasks.create_task(lane.rebuild(index, documents))
        self._require_served(index)

    def _lanes_with(self, index: str) -> Sequence[Lane]:
        if index not in self._builder.mappings():
            raise EngineError(f"there is no index {index!r}")
        self._require_served(index)
        lanes = self._lanes
        if not lanes or self._stop.is_set():
            raise EngineError("nothing runs that could read its rows")
        return lanes

    def _require_served(self, index: str) -> None:
        if index in self._stopped:
            raise EngineError(f"index {index} has stopped: {self._stopped[index]}")

    async def _run(
        self,
        *,
        once: bool,
        backfill_only: bool,
        request: Callable[[], Awaitable[object]] | None,
    ) -> None:
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(self._stream.follow())
            confirming = tasks.create_task(self._stream.confirm_for_ever())
            keeping = [tasks.create_task(keeper.run()) for keeper in self._keepers]
            goal = tasks.create_task(
                self._reach(once=once, backfill_only=backfill_only, request=request)
            )
            watching = tasks.create_task(self._end_without_indexes())
            await self._stop.wait()
            goal.cancel()
            watching.cancel()
            await asyncio.gather(*(keeper.drain(self._lane_seconds) for keeper in self._keepers))
            await asyncio.wait(keeping)
            confirming.cancel()
            with suppress(SourceUnavailable):  # what is not confirmed comes again
                await self._stream.confirm()
            following.cancel()

    async def _reach(
        self,
        *,
        once: bool,
        backfill_only: bool,
        request: Callable[[], Awaitable[object]] | None,
    ) -> None:
        """See to it that a job ends when it is done."""
        self._observer.phase(Phase.BACKFILLING)
        if request is not None:
            for keeper in self._keepers:
                await keeper.reach(_up)
            await request()
        for keeper in self._keepers:
            await keeper.reach(Lane.seeded)
        self._observer.phase(Phase.LIVE)
        if once:
            head = await self._retrier.run("asking the source", self._capture.head)
            for keeper in self._keepers:
                await keeper.reach(lambda lane: lane.reached(head))
                await keeper.reach(Lane.seeded)  # again: a truncate on the way begins a seed
        if once or backfill_only:
            self.stop()

    # Start and end

    async def _start(self, stack: AsyncExitStack) -> None:
        """Open source and builder, prepare the source, and begin to keep the sinks."""
        edges: tuple[tuple[str, Edge], ...] = (
            ("the source", self._capture),
            ("the document builder", self._builder),
        )
        for name, edge in edges:
            stack.push_async_callback(edge.close)
            await self._retrier.run(f"connecting {name}", edge.open)
        stack.push_async_callback(self._schemas.close)
        for unfit in self._builder.unfit():
            self._stop_index(unfit)
        if self._nothing_left.is_set():
            raise EngineError(self._what_stopped())
        ephemeral = not any(sink.capabilities.records for sink in self._sinks.values())
        await self._retrier.run(
            "preparing the source", lambda: self._capture.provision(temporary=ephemeral)
        )
        owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._keepers = [
            Keeper(
                name,
                sink,
                owner=owner,
                capture=self._capture,
                schemas=self._schemas,
                stream=self._stream,
                make_queue=partial(self._queue, name),
                make_lane=partial(self._make_lane, name, sink),
                retries=self._retries,
                observer=self._observer,
                detach_after=self._detach_after.get(name),
            )
            for name, sink in self._sinks.items()
        ]
        stack.push_async_callback(self._close_sinks)
        self._stream.lead_to(self._keepers)

    def _make_lane(
        self,
        name: str,
        sink: Sink,
        queue: Queue,
        epoch: int,
        retrier: Retrier,
        observer: Observer,
        stored: Callable[[], None],
    ) -> Lane:
        return Lane(
            name,
            capture=self._capture,
            schemas=self._schemas,
            sink=sink,
            queue=queue,
            epoch=epoch,
            settings=self._settings,
            retrier=retrier,
            observer=observer,
            stored=stored,
            stopped=self._stopped.keys(),
            unfit=self._stop_index,
        )

    async def _close_sinks(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for keeper in self._keepers:
                tasks.create_task(keeper.close())

    @property
    def _lane_seconds(self) -> float:
        """How long lanes may drain, so that closing the sinks is within the bound as well."""
        return max(self._drain_seconds - CLOSING_SECONDS, self._drain_seconds / 2)

    @property
    def _lanes(self) -> Sequence[Lane]:
        """The lanes that are up."""
        return [keeper.lane for keeper in self._keepers if keeper.lane is not None]

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

    def _require_all(self) -> None:
        """A job is done only where every index is right at every sink."""
        if self._stopped:
            raise EngineError(self._what_stopped())
        detached = [keeper.name for keeper in self._keepers if keeper.detached]
        if detached:
            raise EngineError(f"not everything was written: {', '.join(detached)} was detached")

    async def _end_without_indexes(self) -> None:
        await self._nothing_left.wait()
        raise EngineError(self._what_stopped())

    def _what_stopped(self) -> str:
        """Names the indexes that have stopped, each with its reason."""
        named = "; ".join(f"{index}: {reason}" for index, reason in self._stopped.items())
        few = len(self._stopped) == 1
        return f"{'an index has' if few else 'indexes have'} stopped and will miss changes: {named}"


async def _up(_: Lane) -> None:
    """A lane that can be asked is up."""


def _memory_queue(lane: str) -> Queue:
    del lane
    return MemoryQueue()
