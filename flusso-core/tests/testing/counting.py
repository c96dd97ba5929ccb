"""What an engine holds in memory, counted beside it, so that its own counts can be compared.

Each class does what the honest one does, and keeps a count that is too simple to be wrong.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import replace
from typing import Any, Self

from flusso_core.engine.ledger import Debtor, Flight, Ledger, OpenPage, Target
from flusso_core.interfaces import DocumentBuilder
from flusso_core.model import BuiltDocument, ChangeBatch, Document, FlushReport, Key, KeyRange, Page
from flusso_core.queue.memory import MemoryQueue
from flusso_core.settings import Bounds
from flusso_core.testing import MemoryBuilder, MemoryDatabase, MemorySink

_ID_BYTES = 200
"""An id in the ledger takes more than this."""

_BLANKS = b" " * 20_000
"""At the end of each document while the engine holds it: next to its id it is large."""


class CountedLedger(Ledger):
    """A ledger whose ids are counted in plain sets.

    Args:
        epoch: of the run.
        max_touched: ids that are remembered for open pages.
        bounds: nothing is marked beyond them.
    """

    def __init__(self, *, epoch: int, max_touched: int, bounds: Bounds) -> None:
        super().__init__(epoch=epoch, max_touched=max_touched)
        self.most = max(1, min(bounds.max_dirty, bounds.max_bytes // 2 // _ID_BYTES))
        self.waiting: set[tuple[Target, Key]] = set()
        self.flying: set[tuple[Target, Key]] = set()
        self.stopped: set[Target] = set()
        # Each page that is being read, and what was marked or landed since it was opened.
        self.reading: dict[OpenPage, set[Key]] = {}
        self.filling = False
        self.chunk: object = None

    def mark(self, target: Target, keys: Iterable[Key], debtor: Debtor) -> int:
        if keys is not self.chunk and not self.filling:  # it goes to each live generation
            assert len(self.waiting) < self.most, "marked, and there is no room"
            self.chunk = keys
        keys = list(keys)
        if target not in self.stopped:
            self.waiting.update((target, key) for key in keys)
            self._note(target, keys)
        return super().mark(target, keys, debtor)

    def take(self, limit: int) -> Flight | None:
        flight = super().take(limit)
        if flight is not None:
            taken = {(flight.target, key) for key in flight.keys}
            assert taken <= self.waiting - self.flying, "it did not wait, or is in flight already"
            self.waiting -= taken
            self.flying |= taken
        return flight

    def landed(self, target: Target, keys: Iterable[Key]) -> None:
        keys = list(keys)
        self._note(target, keys)
        self.flying.difference_update((target, key) for key in keys)
        super().landed(target, keys)

    def failed(self, target: Target, keys: Iterable[Key]) -> None:
        keys = list(keys)
        self.flying.difference_update((target, key) for key in keys)
        if target not in self.stopped:
            self.waiting.update((target, key) for key in keys)
        super().failed(target, keys)

    def open_page(self, target: Target) -> OpenPage:
        page = super().open_page(target)
        self.reading[page] = set()
        return page

    def fill_page(self, page: OpenPage, keys: Sequence[Key]) -> Sequence[Key]:
        self.filling = True
        direct = super().fill_page(page, keys)
        self.filling = False
        self.flying.update((page.target, key) for key in direct)
        self.reading.pop(page, None)
        return direct

    def drop_page(self, page: OpenPage) -> None:
        super().drop_page(page)
        self.reading.pop(page, None)

    def void(self, target: Target) -> None:
        super().void(target)
        self.waiting = {one for one in self.waiting if one[0] != target}

    def retire(self, target: Target) -> None:
        super().retire(target)
        self.stopped.add(target)
        self.waiting = {one for one in self.waiting if one[0] != target}

    def check(self) -> None:
        """Its counts are those of the sets, and it remembers what a page may ask for, no more."""
        counts = (self.dirty, self.in_flight)
        assert counts == (len(self.waiting), len(self.flying)), "it counts wrongly"
        assert len(self._batches) <= self.most + 1, "resolved, and too many wait already"
        for target, entry in self._targets.items():
            pages = [page for page in self.reading if page.target == target]
            assert all(page in entry.pages or page.abandoned for page in pages)
            assert all(page in pages for page in entry.pages), "a page stays open for ever"
            needed = set[Key]().union(*(self.reading[page] for page in entry.pages))
            assert set(entry.touched) == needed, "it remembers too much or too little"
            assert len(needed) <= self._max_touched

    def _note(self, target: Target, keys: Sequence[Key]) -> None:
        for page, touched in self.reading.items():
            if page.target == target:
                touched.update(keys)


class CountedQueue(MemoryQueue):
    """A queue whose changes are counted as they go in and come out."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.sizes: list[int] = []

    async def put(self, batch: ChangeBatch) -> None:
        await super().put(batch)
        self.sizes.append(max(1, len(batch.changes)))

    def get_nowait(self) -> ChangeBatch | None:
        batch = super().get_nowait()
        if batch is not None:
            self.sizes.pop(0)
        return batch

    async def clear(self) -> None:
        await super().clear()
        self.sizes.clear()

    def check(self) -> None:
        """Its count is right, and it holds more than its capacity only in a single batch."""
        assert self.held == sum(self.sizes), "it counts wrongly"
        assert self.held <= self._capacity or len(self.sizes) == 1


class Tally:
    """How many documents are in memory.

    Attributes:
        documents: with a body that somebody holds.
        bytes: of these bodies.
        largest: the most bytes that were ever read at once, as a page or a chunk of a build.
    """

    def __init__(self) -> None:
        self.documents = 0
        self.bytes = 0
        self.largest = 0


class _Body(bytes):
    """The bytes of a document, on a tally for as long as anybody holds them."""

    def __new__(cls, body: bytes, tally: Tally) -> Self:
        made = super().__new__(cls, body)
        made.tally = tally
        tally.documents += 1
        tally.bytes += len(body)
        return made

    tally: Tally

    def __del__(self) -> None:
        self.tally.documents -= 1
        self.tally.bytes -= len(self)


class CountedBuilder(MemoryBuilder):
    """Gives out bodies that are counted.

    Args:
        database: what is read.
        tally: counts them.
        options: as `MemoryBuilder` has them.
    """

    def __init__(self, database: MemoryDatabase, tally: Tally, **options: Any) -> None:
        super().__init__(database, **options)
        self._tally = tally

    async def build(
        self, index: str, keys: Sequence[Key]
    ) -> AsyncGenerator[Sequence[BuiltDocument], None]:
        async for chunk in super().build(index, keys):
            yield self._counted(chunk)

    async def page(self, index: str, span: KeyRange, after: Key | None, limit: int) -> Page:
        page = await super().page(index, span, after, limit)
        return replace(page, documents=self._counted(page.documents))

    def older(self, schema: str) -> DocumentBuilder | None:
        return CountedBuilder(
            self._database, self._tally, chunk=self._chunk, fault=self._fault, form=schema
        )

    def _counted(self, chunk: Sequence[BuiltDocument]) -> list[BuiltDocument]:
        counted = [
            one._replace(body=one.body and _Body(one.body + _BLANKS, self._tally)) for one in chunk
        ]
        size = sum(len(one.body or b"") for one in counted)
        self._tally.largest = max(self._tally.largest, size)
        return counted


class CopyingSink(MemorySink):
    """Keeps no body that it is given, nor its blanks: what is counted is held by the engine."""

    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        copies = [one._replace(body=one.body and bytes(one.body.rstrip())) for one in documents]
        return await super().flush(copies, caught_up=caught_up)
