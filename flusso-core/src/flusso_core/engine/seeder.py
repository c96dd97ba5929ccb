"""Seeding: filling an index page by page while live changes flow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from flusso_core.engine.flights import Flights
from flusso_core.engine.ledger import Debtor, Ledger
from flusso_core.engine.planner import SeedProgress
from flusso_core.engine.retry import Retrier
from flusso_core.errors import SinkUnavailable
from flusso_core.interfaces import DocumentBuilder
from flusso_core.model import BuiltDocument, Key
from flusso_core.observe.observer import Observer

_RANGES_PER_READER = 4
"""More ranges than readers, so that one slow range does not leave the others idle at the end."""


@dataclass(frozen=True, slots=True)
class _Page:
    """A page on its way: how many documents it has, and when all of them have landed."""

    documents: int
    landed: asyncio.Future[None]


class Seeder:
    """Seeds one index at a time per task, over several key ranges in parallel.

    Args:
        lane: the sink's name.
        ledger: decides what is written from a page and what is built anew.
        builder: reads pages.
        flights: writes them.
        generations: index to the generation that is written to.
        progressed: called whenever the ledger has changed.
        retrier: how failures that pass are tried again.
        readers: pages read at once.
        observer: hears of the progress.
    """

    def __init__(
        self,
        *,
        lane: str,
        ledger: Ledger,
        builder: DocumentBuilder,
        flights: Flights,
        generations: Mapping[str, int],
        progressed: Callable[[], None],
        retrier: Retrier,
        readers: int,
        observer: Observer,
    ) -> None:
        self._lane = lane
        self._ledger = ledger
        self._builder = builder
        self._flights = flights
        self._generations = generations
        self._progressed = progressed
        self._retrier = retrier
        self._readers = readers
        self._observer = observer
        self._reading = asyncio.Semaphore(readers)
        # Pages in memory, over all indexes.
        self._held = asyncio.Semaphore(flights.count)
        self._waiting: dict[Debtor, Callable[[], None]] = {}
        self._draining = False

    def drain(self) -> None:
        """Read no more pages; each seed ends when the pages under way have landed."""
        self._draining = True

    def paid(self, debtor: Debtor) -> bool:
        """A debtor is settled; returns whether it was a page of this seeder."""
        landed = self._waiting.pop(debtor, None)
        if landed is None:
            return False
        landed()
        return True

    async def spans(self, index: str) -> SeedProgress:
        """Divide the index's key space; nothing of it has been seeded."""
        count = self._readers * _RANGES_PER_READER
        spans = await self._retrier.run(
            f"{self._lane}: dividing {index}", lambda: self._builder.ranges(index, count)
        )
        return SeedProgress.begin(spans)

    async def seed(self, index: str, progress: SeedProgress) -> None:
        """Return when every page of every range has landed, or none is under way after `drain`."""
        started = time.monotonic()
        estimate = await self._retrier.run(
            f"{self._lane}: estimating {index}", lambda: self._builder.estimate(index)
        )
        rows = 0

        def read(count: int) -> None:
            nonlocal rows
            rows += count
            self._observer.seeding(self._lane, index, rows, estimate)

        read(0)
        ranges = list(progress.unfinished())
        ranges.reverse()

        async def worker() -> None:
            while ranges and not self._draining:
                await self._seed_range(index, progress, ranges.pop(), read)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(self._flights.count, len(ranges))):
                tasks.create_task(worker())
        if progress.done:
            self._observer.seeded(self._lane, index, rows, time.monotonic() - started)

    async def _seed_range(
        self, index: str, progress: SeedProgress, number: int, read: Callable[[int], None]
    ) -> None:
        while not (progress.of(number).done or self._draining):
            documents = await self._retrier.run(
                f"{self._lane}: reading {index}",
                lambda: self._page(index, progress, number),
            )
            if documents is not None:
                read(documents)

    async def _page(self, index: str, progress: SeedProgress, number: int) -> int | None:
        """Read the range's next page and have it land.

        Returns how many documents it had; `None`: it must be read again.
        """
        async with self._held:
            if self._draining:
                return None
            page = await self._read_and_write(index, progress, number)
        if page is None:
            return None
        await page.landed
        return page.documents

    async def _read_and_write(
        self, index: str, progress: SeedProgress, number: int
    ) -> _Page | None:
        span = progress.of(number)
        async with self._reading:
            opened = self._ledger.open_page(index)
            started = time.monotonic()
            try:
                page = await self._builder.page(index, span.range, span.cursor, self._flights.limit)
                if opened.abandoned:
                    return None
                landed = asyncio.get_running_loop().create_future()
                cursor = page.cursor

                def on_landed() -> None:
                    # At once, not when the task wakes up: it may be cancelled before it does.
                    progress.landed(number, cursor)
                    if not landed.done():
                        landed.set_result(None)

                self._waiting[opened.debtor] = on_landed
                direct = self._ledger.fill_page(opened, [key for key, _ in page.documents])
            finally:
                self._ledger.drop_page(opened)
        self._progressed()
        self._flights.measure(page.documents)
        documents = self._flights.documents(
            index, self._generations[index], _only(page.documents, direct), opened.version
        )
        if documents:
            # What fails for now is dirty again and still owed to this page: a flight writes it.
            with suppress(SinkUnavailable):
                await self._flights.flush(
                    documents, build_seconds=time.monotonic() - started, seed=True
                )
        return _Page(len(page.documents), landed)


def _only(documents: Sequence[BuiltDocument], keys: Sequence[Key]) -> Sequence[BuiltDocument]:
    """Those with these keys; as a rule that is all of them."""
    if len(keys) == len(documents):
        return documents
    wanted = set(keys)
    return [built for built in documents if built.key in wanted]
