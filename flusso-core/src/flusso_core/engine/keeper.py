"""Keeping one sink: opening and acquiring it on its own, and its lane up, again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeAlias

from flusso_core.engine.lane import Lane
from flusso_core.engine.pulse import Pulse
from flusso_core.engine.racing import unless
from flusso_core.engine.retry import Retrier
from flusso_core.engine.series import Schemas
from flusso_core.engine.stream import Stream
from flusso_core.errors import SinkError
from flusso_core.interfaces import ChangeCapture, Queue, Sink
from flusso_core.model import ChangeBatch, Position, StreamIdentity
from flusso_core.observe.observer import FanOut, Observer
from flusso_core.settings import RetryPolicy

MakeLane: TypeAlias = Callable[[Queue, int, Retrier, Observer, Callable[[], None]], Lane]
"""Makes a lane over a queue, under an epoch, with its own retrier and observer; and what it calls
when its position has risen."""

CLOSING_SECONDS = 2.0
"""How long giving up the lease and closing a sink may take together."""

_RENEW_SECONDS = 5.0
"""A third of the lease, so that two renewals may fail."""

_LOOK_SECONDS = 1.0
"""How often it is looked whether a sink has been silent for too long."""


class Keeper:
    """Keeps the lane of one sink, whatever becomes of the sink.

    It holds the source from the beginning: its queue takes what the stream delivers, also while
    the sink is down or another run has its lease. A sink that stays silent for `detach_after`
    seconds is *detached*: it holds nothing any more and gets nothing. When it answers again, its
    lane joins the stream between two commits; what it has missed is a gap.

    Args:
        name: the sink's name.
        sink: the destination.
        owner: names this run to whoever waits for the lease.
        capture: for the settling wait.
        schemas: the builders.
        stream: what the lane follows.
        make_queue: makes a lane's queue.
        make_lane: makes the lane.
        retries: bounds of the back-off.
        observer: hears everything.
        detach_after: seconds of silence; `None`: it is never detached.
    """

    def __init__(
        self,
        name: str,
        sink: Sink,
        *,
        owner: str,
        capture: ChangeCapture,
        schemas: Schemas,
        stream: Stream,
        make_queue: Callable[[], Queue],
        make_lane: MakeLane,
        retries: RetryPolicy | None,
        observer: Observer,
        detach_after: float | None,
    ) -> None:
        self.name = name
        self._sink = sink
        self._owner = owner
        self._capture = capture
        self._schemas = schemas
        self._stream = stream
        self._make_queue = make_queue
        self._make_lane = make_lane
        self._detach_after = detach_after
        self._pulse = Pulse(asyncio.get_running_loop().time)
        self._observer = FanOut((observer, self._pulse))
        self._retrier = Retrier(self._observer, retries, lane=name)
        self._source_retrier = Retrier(self._observer, retries)
        self._queue = make_queue()
        self._start: Position | None = None
        self._lane: Lane | None = None
        self._moved = asyncio.Event()
        self._recorded = asyncio.Event()
        self._leaving = asyncio.Event()
        self._renewed = asyncio.Event()
        self._draining = False
        self.detached = False

    # What the stream sees

    @property
    def position(self) -> Position | None:
        """Up to where the source may be told; `None`: the sink does not hold it."""
        if self._start is None:
            return None
        if self._queue.durable:
            return self._queue.stored
        return self._start if self._lane is None else self._lane.position

    async def put(self, batch: ChangeBatch) -> None:
        """Take a batch; blocks while there is no room."""
        await self._queue.put(batch)

    async def begin(self, identity: StreamIdentity, start: Position) -> Position:
        """Hold the source, unless the sink has been given up already.

        Returns from where the stream is needed: a durable queue may have some of it.
        """
        if self.detached:
            return start
        backlog = await self._retrier.run(
            "opening its queue", lambda: self._queue.open(identity, start)
        )
        self._start = backlog.begin
        return backlog.end

    async def restart(self, start: Position) -> None:
        """The stream goes on from `start`: the lane comes up anew, and finds what it missed."""
        self._start = start
        self._lane = None
        self._renewed.clear()
        self._leaving.set()
        await self._renewed.wait()

    # What the engine asks

    @property
    def lane(self) -> Lane | None:
        """The lane while it is up."""
        return self._lane

    async def run(self) -> None:
        """Keep the lane up until `drain`."""
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._watch())
            while not await unless(self._leaving, self._stay()):
                if self._draining:
                    break
                self._leaving.clear()
                if self._start is not None:
                    await self._renew_queue(self._start)
                    self._renewed.set()
                await self._release(CLOSING_SECONDS)
            watching.cancel()

    async def reach(self, goal: Callable[[Lane], Coroutine[Any, Any, None]]) -> None:
        """Wait until the lane has got there, however often it comes up anew; or is detached."""
        while not self.detached:
            self._moved.clear()
            if self._lane is None:
                await self._moved.wait()
            elif await unless(self._moved, goal(self._lane)):
                return

    async def drain(self, seconds: float) -> None:
        """Let what is in flight land for so long at most, store the state, and end."""
        self._draining = True
        lane = self._lane
        if lane is None:
            self._leaving.set()
        else:
            await lane.drain(seconds)
            self._start = lane.position
            await self._queue.done(lane.position)

    async def close(self) -> None:
        """Give up the lease and close the sink, within a bound.

        A destination that does not answer keeps no run from ending: its lease ends by itself.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_SECONDS):
                await self._queue.close()
                await self._release(CLOSING_SECONDS / 2)
                await self._sink.close()

    async def _release(self, seconds: float) -> None:
        with suppress(SinkError, TimeoutError):
            async with asyncio.timeout(seconds):
                await self._sink.release()

    # One stay

    async def _stay(self) -> None:
        """Open and acquire the sink, and follow the stream until drained."""
        self._pulse.miss()
        await self._retrier.run("connecting", self._sink.open)
        epoch = await self._retrier.run(
            "becoming the writer", lambda: self._sink.acquire(self._owner)
        )
        async with asyncio.TaskGroup() as tasks:
            renewing = tasks.create_task(self._renew())
            remembered = await self._retrier.run("reading its state", self._sink.load_records)
            self._pulse.beat()  # what may take long now is the source's
            await self._stream.begin(self._schemas.older(remembered.values()))
            await self._schemas.open_older(self._stream.covered)
            if self._start is None:
                await self._renew_queue(self._stream.delivered)
            start = self._start or await self._stream.join(self._attach)
            forgetting = tasks.create_task(self._forget())
            lane = self._make_lane(
                self._queue, epoch, self._retrier, self._observer, self._recorded.set
            )
            await lane.prepare(self._stream.identity, start, remembered)
            if self._leaving.is_set():  # in this very moment
                renewing.cancel()
                forgetting.cancel()
                return
            self._pulse.beat()
            settling = tasks.create_task(self._settle(lane))
            self._lane = lane
            self._moved.set()
            self._observer.attached(self.name)
            try:
                await lane.run()
            finally:
                if self._lane is lane:
                    self._start, self._lane = lane.position, None
                self._moved.set()
            for task in (renewing, forgetting, settling):
                task.cancel()

    def _attach(self, position: Position) -> None:
        self.detached = False
        self._start = position

    async def _renew_queue(self, start: Position) -> None:
        """Have an empty queue; nobody uses the old one any more."""
        await self._queue.clear()
        await self._queue.close()
        self._queue = self._make_queue()
        await self._retrier.run(
            "opening its queue", lambda: self._queue.open(self._stream.identity, start)
        )

    async def _forget(self) -> None:
        """Whenever the sink's records say more, the source or the queue may forget more."""
        while True:
            await self._recorded.wait()
            self._recorded.clear()
            self._stream.check()
            if self._lane is not None:
                await self._queue.done(self._lane.position)

    async def _settle(self, lane: Lane) -> None:
        await self._source_retrier.run("settling", self._capture.wait_settled)
        lane.begin_seeding()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            self._pulse.miss()
            await self._retrier.run("renewing the lease", self._sink.renew)
            self._pulse.beat()

    async def _watch(self) -> None:
        """Detach the sink when it has been silent for too long."""
        if self._detach_after is None:
            return
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            silence = self._pulse.silence
            if silence >= self._detach_after and not (self.detached or self._draining):
                await self._detach(f"nothing has succeeded there for {silence:.0f} s")

    async def _detach(self, reason: str) -> None:
        self.detached = True
        self._start = self._lane = None
        self._leaving.set()
        self._moved.set()
        self._observer.detached(self.name, reason)
        self._stream.check()
        await self._queue.clear()  # a capture that is blocked by it goes on
