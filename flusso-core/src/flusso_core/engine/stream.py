"""The stream of changes: from the capture to every lane, and the confirmations back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from flusso_core.engine.retry import Retrier
from flusso_core.errors import SourceUnavailable
from flusso_core.interfaces import ChangeCapture
from flusso_core.model import ChangeBatch, Position, StreamIdentity
from flusso_core.observe.observer import Observer

_FOLLOWING = "following changes"


class Outlet(Protocol):
    """Where the stream leads: one sink's lane, whether it is up or not."""

    @property
    def position(self) -> Position | None:
        """Up to where the source may be told; `None`: this outlet does not hold it."""

    async def put(self, batch: ChangeBatch) -> None:
        """Take a batch; blocks while there is no room. Called only while it holds the source."""

    async def begin(self, identity: StreamIdentity, start: Position) -> Position:
        """The source begins at `start`: hold it. Returns from where the stream is needed."""
        ...

    async def restart(self, start: Position) -> None:
        """The stream goes on from `start`, and what lay before it will not come."""


class Stream:
    """Follows the capture, for ever, and confirms what every outlet has.

    Args:
        capture: the source's changes.
        retrier: how failures that pass are tried again.
        observer: hears what comes and what is confirmed.

    Attributes:
        covered: older schemas whose tables it covers.
    """

    def __init__(self, capture: ChangeCapture, retrier: Retrier, observer: Observer) -> None:
        self._capture = capture
        self._retrier = retrier
        self._observer = observer
        self.covered: frozenset[str] = frozenset()
        self._outlets: Sequence[Outlet] = ()
        self._beginning = asyncio.Lock()
        self._begun = asyncio.Event()
        self._connecting = False
        self._between_commits = True
        self._joining: list[Callable[[Position], None]] = []
        self._lost = False
        self._news = asyncio.Event()

    @property
    def delivered(self) -> Position:
        """The end of the last commit that every outlet has, once the stream has begun."""
        return self._delivered

    @property
    def identity(self) -> StreamIdentity:
        """Which stream this is."""
        return self._identity

    async def begin(self, older: Collection[str] = ()) -> None:
        """Ask the source, once, where the stream begins, and have it held there.

        Not before a sink's lease is held: while this run waited for another one to end, that one
        moved the stream.

        Args:
            older: schemas that the stream should cover as well, in their stored form. Once it has
                begun, it covers no more than it does.
        """
        async with self._beginning:
            if self._begun.is_set():
                return
            if older:
                await self._retrier.run("preparing the source", lambda: self._cover(older))
            self._identity = await self._retrier.run(
                "identifying the source", self._capture.identity
            )
            start = await self._retrier.run("asking the source", self._capture.confirmed)
            self._confirmed = start
            needed = [await outlet.begin(self._identity, start) for outlet in self._outlets]
            self._delivered = min(needed)
            self._begun.set()

    async def _cover(self, older: Collection[str]) -> None:
        covered = await self._capture.cover(sorted(older))
        if covered:
            await self._capture.provision(temporary=False)
        self.covered = frozenset(covered)

    def lead_to(self, outlets: Sequence[Outlet]) -> None:
        """Set where the changes go."""
        self._outlets = outlets

    async def join(self, attach: Callable[[Position], None]) -> Position:
        """Have `attach` called with a position behind which every commit comes, whole.

        Returns that position.
        """
        joined: asyncio.Future[Position] = asyncio.get_running_loop().create_future()

        def join(position: Position) -> None:
            attach(position)
            joined.set_result(position)

        self._joining.append(join)
        try:
            if self._between_commits:
                self._let_join()
            return await joined
        finally:
            if join in self._joining:
                self._joining.remove(join)

    def check(self) -> None:
        """An outlet's position has changed: perhaps more can be confirmed."""
        self._news.set()

    # Changes

    async def follow(self) -> None:
        """Deliver changes until cancelled."""
        await self._begun.wait()
        while True:
            await self._retrier.run(_FOLLOWING, self._follow_once, recovers=False)

    async def _follow_once(self) -> None:
        """Follow the stream. A connection that brought something is replaced at once when lost."""
        before = self._delivered
        try:
            start = max(self._delivered, await self._capture.confirmed())
            self._connecting = True
            await self._capture.live(start, self._put)
            raise SourceUnavailable("the change stream ended by itself")
        except SourceUnavailable as error:
            self._lost = True
            if self._delivered == before:
                raise
            self._observer.retrying(_FOLLOWING, error, 0.0)

    async def _connected(self) -> None:
        """The stream is this run's alone now, and begins between two commits.

        Where the source is further than it was told, another run was there, for other sinks:
        what that one confirmed, these have missed.
        """
        confirmed = await self._capture.confirmed()
        self._connecting = False
        if confirmed > self._delivered:
            self._delivered = self._confirmed = confirmed
            for outlet in self._outlets:
                if outlet.position is not None:
                    await outlet.restart(confirmed)
        self._let_join()

    async def _put(self, batch: ChangeBatch) -> None:
        if self._connecting:
            await self._connected()
        if self._lost:
            self._lost = False
            self._observer.recovered(_FOLLOWING)
        if batch.changes:
            self._observer.captured(len(batch.changes), batch.position)
        self._between_commits = False
        for outlet in self._outlets:
            if outlet.position is not None:
                await outlet.put(batch)
        if batch.position is not None:
            self._delivered = batch.position
            if not batch.unfinished:
                self._let_join()
            self.check()

    def _let_join(self) -> None:
        """A commit has ended: who has been waiting for that begins behind it."""
        self._between_commits = True
        joining, self._joining = self._joining, []
        for join in joining:
            join(self._delivered)

    # Confirmations

    async def confirm_for_ever(self) -> None:
        """Confirm whenever something more can be."""
        await self._begun.wait()
        while True:
            await self._news.wait()
            self._news.clear()
            await self._retrier.run("confirming changes", self.confirm)

    async def confirm(self) -> None:
        """Tell the source what all outlets have that hold it.

        Raises:
            SourceUnavailable: it was not told.
        """
        if not self._begun.is_set():
            return
        positions = [outlet.position for outlet in self._outlets]
        held = [position for position in positions if position is not None]
        position = min(held, default=self._delivered)
        if position > self._confirmed:
            await self._capture.confirm(position)
            self._confirmed = position
            self._observer.confirmed(position)
