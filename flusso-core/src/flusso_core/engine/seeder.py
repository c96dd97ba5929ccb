"""Seeds and sweeps: reading all rows of a generation, page by page, while live changes flow."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass

from flusso_core.engine.admission import Admission
from flusso_core.engine.flights import Flights
from flusso_core.engine.ledger import Ledger
from flusso_core.engine.payments import Payments
from flusso_core.engine.progress import Progress
from flusso_core.engine.readers import Readers, Turns
from flusso_core.engine.retry import Retrier
from flusso_core.engine.series import Series
from flusso_core.errors import GenerationLost, SinkUnavailable
from flusso_core.interfaces import Sink
from flusso_core.model import BuiltDocument, Key, Page, RangeProgress
from flusso_core.observe.observer import Observer

logger = logging.getLogger(__name__)

_RANGES_PER_READER = 4
"""More ranges than readers, so that one slow range does not leave the others idle at the end."""


@dataclass(frozen=True, slots=True)
class _Page:
    """A page on its way: how many documents it has, and when all of them have landed."""

    documents: int
    landed: asyncio.Future[None]


class Seeder:
    """Fills generations, each in a task, over several key ranges in parallel.

    Args:
        lane: the sink's name.
        ledger: decides what is written from a page and what is built anew.
        sink: knows what documents there are.
        flights: writes pages, and what is built anew.
        payments: tells when a page has landed.
        admission: what waits for a flight is bounded.
        progressed: called whenever the ledger has changed.
        stored: returns when the destination knows how far the pages that have landed go.
        retrier: how failures that pass are tried again.
        readers: pages read at once, at most; how many of them help is found out.
        observer: hears of the progress of seeds.
    """

    def __init__(
        self,
        *,
        lane: str,
        ledger: Ledger,
        sink: Sink,
        flights: Flights,
        payments: Payments,
        admission: Admission,
        progressed: Callable[[], None],
        stored: Callable[[], Awaitable[None]],
        retrier: Retrier,
        readers: int,
        observer: Observer,
    ) -> None:
        self._lane = lane
        self._now = asyncio.get_running_loop().time
        self._ledger = ledger
        self._sink = sink
        self._flights = flights
        self._payments = payments
        self._admission = admission
        self._progressed = progressed
        self._stored = stored
        self._retrier = retrier
        self._ranges = readers * _RANGES_PER_READER
        self._observer = observer
        self._readers = Readers(min(readers, flights.count))
        self._turns = Turns(self._readers)
        # Pages in memory, over all generations.
        self._held = asyncio.Semaphore(flights.count)
        self._draining = False

    def drain(self) -> None:
        """Read no more pages; each seed ends when the pages under way have landed."""
        self._draining = True

    async def spans(self, series: Series) -> Progress:
        """Divide the key space of the generation's rows; nothing of it has been read."""
        index = series.target.index
        spans = await self._retrier.run(
            f"dividing {index}", lambda: series.builder.ranges(index, self._ranges)
        )
        return Progress.begin(spans)

    async def seed(self, series: Series, progress: Progress) -> None:
        """Fill a generation that does not have all documents yet.

        Returns when every page of every range has landed, or none is under way after `drain`.
        """
        index, started, rows = series.target.index, self._now(), 0
        estimate = await self._retrier.run(
            f"estimating {index}", lambda: series.builder.estimate(index)
        )
        if estimate is not None:
            # What an earlier run has done is not read again.
            estimate = round(estimate * progress.left)

        def read(count: int) -> None:
            nonlocal rows
            rows += count
            self._observer.seeding(self._lane, index, rows, estimate)

        read(0)
        try:
            await self._read(series, progress, read)
        finally:
            if progress.done:
                self._observer.seeded(self._lane, index, rows, self._now() - started)
            else:
                self._observer.seed_given_up(self._lane, index)

    async def sweep(self, series: Series, progress: Progress) -> None:
        """Put right a generation that has documents: write all rows, then see to the extra ones.

        Returns when all of it has landed, or nothing is under way after `drain`.
        """
        await self._read(series, progress, lambda _: None)
        if progress.done:
            await self._retrier.run(
                f"comparing ids of {series.target.index}",
                lambda: self._mark_extra(series),
            )

    async def _read(self, series: Series, progress: Progress, read: Callable[[int], None]) -> None:
        self._readers.restart(self._now())
        ranges = list(progress.unfinished())
        ranges.reverse()

        async def worker() -> None:
            while ranges and not self._draining:
                await self._read_range(series, progress, ranges.pop(), read)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(self._flights.count, len(ranges))):
                tasks.create_task(worker())

    async def _read_range(
        self, series: Series, progress: Progress, number: int, read: Callable[[int], None]
    ) -> None:
        while not (progress.of(number).done or self._draining):
            documents = await self._retrier.run(
                f"reading {series.target.index}",
                lambda: self._page(series, progress, number),
            )
            if documents is not None:
                read(documents)

    async def _mark_extra(self, series: Series) -> None:
        """Mark what the destination has and the source lacks, and have it land.

        Never deleted directly: the row may have come back meanwhile. The build decides.
        """
        target = series.target
        debtor = self._ledger.open_debtor()
        landed = self._payments.expect(debtor)
        count = 0
        try:
            found = self._sink.document_ids(series.mapping, target.generation)
            async with aclosing(found):
                async for ids in found:
                    keys = await series.builder.missing(target.index, ids)
                    await self._admission.wait(keys)
                    self._ledger.mark(target, keys, debtor)
                    self._flights.wake()
                    count += len(keys)
        finally:
            self._ledger.seal(debtor)
            self._progressed()
        if count:
            logger.info("%s: index %s has %d stale ids", self._lane, target.index, count)
        await landed

    async def _page(self, series: Series, progress: Progress, number: int) -> int | None:
        """Read the range's next page, have it land, and have the destination know that it has.

        So a run that dies repeats one page of each range at most. Returns how many documents the
        page had; `None`: it must be read again.
        """
        async with self._held:
            if self._draining:
                return None
            try:
                page = await self._read_and_write(series, progress, number)
            except GenerationLost as lost:
                # Whoever waits for the other pages keeps the error, but not this page's documents.
                traceback.clear_frames(lost.__traceback__)
                raise
        if page is None:
            return None
        await page.landed
        await self._stored()
        return page.documents

    async def _read_and_write(
        self, series: Series, progress: Progress, number: int
    ) -> _Page | None:
        target, span = series.target, progress.of(number)
        async with AsyncExitStack() as stack:
            async with self._turns:
                await stack.enter_async_context(self._flights.memory)
                opened = self._ledger.open_page(target)
                started = self._now()
                try:
                    page = await self._timed(series, span)
                    if opened.abandoned:
                        return None
                    cursor = page.cursor
                    # At once, not when the task wakes up: it may be cancelled before it does.
                    landed = self._payments.expect(
                        opened.debtor, lambda: progress.landed(number, cursor)
                    )
                    direct = self._ledger.fill_page(opened, [key for key, _ in page.documents])
                finally:
                    self._ledger.drop_page(opened)
            self._progressed()
            self._flights.measure(page.documents)
            documents = self._flights.documents(
                target, _only(page.documents, direct), opened.version
            )
            if documents:
                # What fails for now is dirty again and still owed to this page: a flight writes it.
                with suppress(SinkUnavailable):
                    await self._flights.flush(
                        documents, build_seconds=self._now() - started, seed=True
                    )
        return _Page(len(page.documents), landed)

    async def _timed(self, series: Series, span: RangeProgress) -> Page:
        """Read the range's next page, and have the readers follow from how fast that goes."""
        self._readers.began(self._now())
        documents = None
        try:
            page = await series.builder.page(
                series.target.index, span.range, span.cursor, self._flights.limit
            )
            documents = len(page.documents)
        finally:
            self._readers.ended(self._now(), documents)
        return page


def _only(documents: Sequence[BuiltDocument], keys: Sequence[Key]) -> Sequence[BuiltDocument]:
    """Those with these keys; as a rule that is all of them."""
    if len(keys) == len(documents):
        return documents
    wanted = set(keys)
    return [built for built in documents if built.key in wanted]
