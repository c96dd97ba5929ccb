"""Flights: taking documents from the ledger, building them, writing them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, contextmanager

from flusso_core.engine.ledger import Flight, Ledger, Target
from flusso_core.engine.retry import Retrier
from flusso_core.engine.series import Series
from flusso_core.engine.transforms import Transforms
from flusso_core.errors import DocumentRejected, GenerationLost, SchemaMismatch, SinkUnavailable
from flusso_core.interfaces import Sink
from flusso_core.model import (
    BuiltDocument,
    Document,
    DocumentId,
    FlushReport,
    Key,
    Rejection,
    StrayKey,
    document_id_text,
)
from flusso_core.observe.observer import FlushStats, Observer
from flusso_core.settings import Bounds, FailurePolicies, FailurePolicy

_FIRST_GUESS_BYTES = 64 * 1024
"""Taken for the size of a document until some have been seen: high, so that memory is safe."""

_SMALLEST_SHARE = 100
"""Fewer documents than this are not divided among workers: a round trip costs more."""

_OVERLAP = 2
"""With so many flights of each generation under way, one being written while another is built, the
next one waits until it is full or has `_SMALLEST_SHARE` documents. Otherwise a steady stream would
cost the destination a request for every few documents."""

_REFRESH_SECONDS = 0.5
"""While flushes of an index overlap without end, what they wrote becomes searchable this often."""


class Flights:
    """Builds and writes what the ledger says is due, several flights at once.

    Builds and flushes are bounded apart, so that reading and writing overlap: while one flight
    is written, the next is built. What fails for now is dirty again before it is tried again, so
    that a retry builds the newest state and a stop at any await loses nothing.

    Args:
        lane: the sink's name.
        ledger: what is owed.
        sink: the destination.
        series: the generations that are written to; changed by `Generations`.
        progressed: called whenever the ledger has changed.
        lost: called when a generation is gone.
        retrier: how failures that pass are tried again.
        failures: what follows when a document is refused, or a transform fails on it.
        transforms: what the user changes in documents before they are written.
        bounds: what may be held in memory.
        build_workers: builds at once.
        unfit: told of a generation whose schema no longer fits its tables; nothing more of it is
            due then.
        observer: hears of each flush.

    Attributes:
        count: flights that may be under way: as many as are built and written at once.
        memory: held by each flight and each page while its documents are in memory; none has more
            than `limit`, so that all of them are within the bounds.
    """

    def __init__(
        self,
        *,
        lane: str,
        ledger: Ledger,
        sink: Sink,
        series: Mapping[Target, Series],
        progressed: Callable[[], None],
        lost: Callable[[GenerationLost], None],
        retrier: Retrier,
        failures: FailurePolicies,
        transforms: Transforms,
        bounds: Bounds,
        build_workers: int,
        unfit: Callable[[Target, SchemaMismatch], None],
        observer: Observer,
    ) -> None:
        capabilities = sink.capabilities
        self.count = build_workers + capabilities.flushes_in_flight
        self._lane = lane
        self._now = asyncio.get_running_loop().time
        self._ledger = ledger
        self._sink = sink
        self._series = series
        self._progressed = progressed
        self._lost = lost
        self._retrier = retrier
        self._failures = failures
        self._transforms = transforms
        self._unfit = unfit
        self._observer = observer
        self.memory = asyncio.Semaphore(min(self.count, bounds.max_documents))
        self._building = asyncio.Semaphore(build_workers)
        self._flushing = asyncio.Semaphore(capabilities.flushes_in_flight)
        # What is being sent is there twice: as documents, and in the body of a request.
        shares = self.count + capabilities.flushes_in_flight
        self._max_documents = min(
            capabilities.max_documents, max(1, bounds.max_documents // shares)
        )
        self._max_bytes = min(capabilities.max_bytes, max(1, bounds.max_bytes // shares))
        self._document_bytes: float | None = None
        self._refreshed: dict[Target, float] = {}
        self._stale: set[Target] = set()
        self._aloft = 0
        self._work = asyncio.Event()
        self._draining = asyncio.Event()

    @property
    def limit(self) -> int:
        """Most documents that one flight or page may hold, by count and by their usual size."""
        usual = _FIRST_GUESS_BYTES if self._document_bytes is None else self._document_bytes
        return max(1, min(self._max_documents, int(self._max_bytes / usual)))

    def wake(self) -> None:
        """There may be documents to take."""
        self._work.set()

    def drain(self) -> None:
        """Begin no more flights; each worker ends when its own has."""
        self._draining.set()
        self._work.set()

    async def work(self) -> None:
        """One worker: one flight after the other, until `drain`."""
        while not self._draining.is_set():
            await self._retrier.run("writing", self._fly, ending=self._draining)

    async def _fly(self) -> None:
        async with AsyncExitStack() as stack:
            async with self._building:
                await self._wait_for_work()
                await stack.enter_async_context(self.memory)
                flight = self._take()
                if flight is None:
                    return
                stack.enter_context(self._counted())
                started = self._now()
                try:
                    documents = await self._build(flight)
                except SchemaMismatch as mismatch:
                    self._unfit(flight.target, mismatch)
                    return
            if not documents:
                return
            try:
                await self.flush(documents, build_seconds=self._now() - started, seed=False)
            except GenerationLost as lost:
                self._lost(lost)

    async def _wait_for_work(self) -> None:
        while not (self._is_due() or self._draining.is_set()):
            self._work.clear()
            await self._work.wait()

    def _is_due(self) -> bool:
        """Whether enough waits for one flight more."""
        ready = self._ledger.ready()
        if ready >= min(_SMALLEST_SHARE, self.limit):
            return True
        return ready > 0 and self._aloft < _OVERLAP * len(self._series)

    @contextmanager
    def _counted(self) -> Generator[None]:
        """One more flight is under way until the end."""
        self._aloft += 1
        try:
            yield
        finally:
            self._aloft -= 1
            self._work.set()

    def _take(self) -> Flight | None:
        """What is due; `None`: nothing is any more, or nothing more is to begin."""
        if self._draining.is_set():
            return None
        share = max(_SMALLEST_SHARE, -(-self._ledger.ready() // self.count))
        flight = self._ledger.take(min(self.limit, share))
        if flight is not None:
            self._progressed()
        return flight

    async def _build(self, flight: Flight) -> list[Document]:
        """Build the flight; what would exceed the bound in bytes goes back to the ledger."""
        target, series = flight.target, self._series[flight.target]
        documents: list[Document] = []
        unbuilt = dict.fromkeys(flight.keys)
        held = 0
        complete = False
        try:
            strays = [key for key in flight.keys if isinstance(key, StrayKey)]
            if strays:
                documents += await self._build_strays(flight, strays)
                for stray in strays:
                    del unbuilt[stray]
            async with aclosing(series.builder.build(target.index, list(unbuilt))) as chunks:
                async for chunk in chunks:
                    documents += self.documents(target, chunk, flight.version)
                    for built in chunk:
                        del unbuilt[built.key]
                    held += self.measure(chunk)
                    if held > self._max_bytes:
                        break
            complete = True
        finally:
            if not complete:
                unbuilt |= dict.fromkeys(document.id.key for document in documents)
            self._fail(target, list(unbuilt))
        return documents

    async def _build_strays(self, flight: Flight, strays: Sequence[StrayKey]) -> list[Document]:
        """Delete those that no row has; what a row has is written under the row's own key."""
        target = flight.target
        builder = self._series[target].builder
        missing = set(await builder.missing(target.index, [key[0] for key in strays]))
        self._ledger.landed(target, [key for key in strays if key not in missing])
        self._progressed()
        lacking = [BuiltDocument(key, None) for key in strays if key in missing]
        return self.documents(target, lacking, flight.version)

    def documents(
        self, target: Target, built: Sequence[BuiltDocument], version: int
    ) -> list[Document]:
        """What a builder read, ready to be written."""
        index, generation = target
        return [Document(DocumentId(index, generation, key), body, version) for key, body in built]

    def measure(self, built: Sequence[BuiltDocument]) -> int:
        """The bytes of the bodies, remembered as the usual size of a document."""
        size = sum(len(body) for _, body in built if body is not None)
        if built:
            seen = max(1.0, size / len(built))
            usual = seen if self._document_bytes is None else self._document_bytes
            self._document_bytes = usual + (seen - usual) / 4
        return size

    async def flush(
        self, documents: Sequence[Document], *, build_seconds: float, seed: bool
    ) -> None:
        """Write documents of one target that are in flight; each lands or fails in the ledger.

        Raises:
            SinkUnavailable: some or all failed for now; they are dirty again.
            GenerationLost: the generation is gone; they are dirty again.
            DocumentRejected: one was refused and the policy is to stop.
        """
        first = documents[0].id
        target = Target(first.index, first.generation)
        flying = {document.id.key: document for document in documents}
        try:
            ready, failed = self._transforms.apply(documents)
            flying |= {document.id.key: document for document in ready}
            async with self._flushing:
                started = self._now()
                caught_up = self._is_caught_up(target, len(documents))
                report = (
                    await self._sink.flush(ready, caught_up=caught_up) if ready else FlushReport()
                )
                flush_seconds = self._now() - started
            rejected = [*failed, *report.rejected]
            throttled = [flying.pop(identity.key) for identity in report.throttled]
            refused = [flying.pop(rejection.document.id.key) for rejection in rejected]
            self._land(target, list(flying.values()), build_seconds, flush_seconds, seed=seed)
            flying = {document.id.key: document for document in (*throttled, *refused)}
            if rejected:
                await self._reject(target, rejected)
                for document in refused:
                    del flying[document.id.key]
            if throttled:
                message = f"{len(throttled)} documents of {target.index} are throttled"
                raise SinkUnavailable(message)
        finally:
            self._fail(target, list(flying))
        await self._refresh(target)

    def _is_caught_up(self, target: Target, count: int) -> bool:
        """Whether a flush of so many documents should make them searchable at once.

        Refreshing costs the destination as much as many documents do: the last of several
        flushes does it for all, or `_refresh` when they have ended in another order.
        """
        now = self._now()
        alone = self._ledger.in_flight_of(target) == count
        overdue = now - self._refreshed.get(target, 0.0) >= _REFRESH_SECONDS
        caught_up = self._ledger.ready_of(target) == 0 and (alone or overdue)
        if caught_up:
            self._refreshed[target] = now
        else:
            self._stale.add(target)
        return caught_up

    async def _refresh(self, target: Target) -> None:
        """When the last flush of a generation has ended, make searchable what none of them did."""
        busy = self._ledger.ready_of(target) or self._ledger.in_flight_of(target)
        if busy or target not in self._stale:
            return
        self._stale.discard(target)
        try:
            await self._sink.refresh(target.index)
        except BaseException:
            self._stale.add(target)
            raise
        self._refreshed[target] = self._now()

    def _land(
        self,
        target: Target,
        documents: Sequence[Document],
        build_seconds: float,
        flush_seconds: float,
        *,
        seed: bool,
    ) -> None:
        self._ledger.landed(target, [document.id.key for document in documents])
        sizes = [len(document.body) for document in documents if document.body is not None]
        stats = FlushStats(
            lane=self._lane,
            index=target.index,
            upserts=len(sizes),
            tombstones=len(documents) - len(sizes),
            bytes=sum(sizes),
            build_seconds=build_seconds,
            flush_seconds=flush_seconds,
            seed=seed,
        )
        self._observer.flushed(stats, [document.id for document in documents])
        self._progressed()

    async def _reject(self, target: Target, rejections: Sequence[Rejection]) -> None:
        for rejection in rejections:
            self._observer.rejected(self._lane, rejection)
        if self._failures.of(target.index) is FailurePolicy.STOP:
            first = rejections[0]
            message = (
                f"{self._lane}: document {document_id_text(first.document.id.key)} of index "
                f"{target.index} is refused: {first.reason}; correct the row or the schema, or set "
                'on_error to "skip" to quarantine such documents and go on'
            )
            raise DocumentRejected(message)
        await self._sink.quarantine(rejections)
        self._ledger.landed(target, [rejection.document.id.key for rejection in rejections])
        self._progressed()

    def _fail(self, target: Target, keys: Sequence[Key]) -> None:
        if keys:
            self._ledger.failed(target, keys)
            self._progressed()
