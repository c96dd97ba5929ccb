"""A destination in memory, honest about versions, generations, records and lost answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from flusso_core.errors import SinkFatal, SinkUnavailable
from flusso_core.interfaces import Sink, SinkCapabilities
from flusso_core.model import (
    Document,
    DocumentId,
    Finding,
    FlushReport,
    IndexMapping,
    Rejection,
    StateRecord,
    document_id_text,
)


@dataclass(slots=True)
class _Stored:
    version: int
    body: bytes | None


@dataclass
class MemoryDestination:
    """What outlives a run: the generations' documents, the records, the lease.

    Attributes:
        generations: (index, generation) to documents by id, tombstones among them.
        serving: index to the generation that searches see.
        records: index to its state record.
        epoch: of the last writer.
        quarantined: refused documents that were kept.
    """

    generations: dict[tuple[str, int], dict[str, _Stored]] = field(
        default_factory=dict[tuple[str, int], dict[str, _Stored]]
    )
    serving: dict[str, int] = field(default_factory=dict[str, int])
    records: dict[str, StateRecord] = field(default_factory=dict[str, StateRecord])
    epoch: int = 0
    quarantined: list[Rejection] = field(default_factory=list[Rejection])

    def search(self, index: str) -> dict[str, bytes]:
        """The documents that searches see, by id."""
        generation = self.serving.get(index)
        stored = self.generations.get((index, generation), {}) if generation else {}
        return {key: entry.body for key, entry in stored.items() if entry.body is not None}

    def apply(self, document: Document) -> None:
        """Write a document unless there is a newer version."""
        index, generation, key = document.id
        stored = self.generations[index, generation]
        known = stored.get(document_id_text(key))
        if known is None or document.version > known.version:
            stored[document_id_text(key)] = _Stored(document.version, document.body)


class MemorySink(Sink):
    """Writes into a `MemoryDestination`.

    Args:
        destination: what is written to; share it between runs to play a restart.
        fault: called before each flush applies and after (`"before"`, `"after"`); may raise.
        refuse: ids of documents that are refused for good.
        flushes_in_flight: how many flushes may run at once.
    """

    def __init__(
        self,
        destination: MemoryDestination,
        *,
        fault: Callable[[str], None] | None = None,
        refuse: Sequence[str] = (),
        flushes_in_flight: int = 2,
    ) -> None:
        self._destination = destination
        self._fault = fault or _no_fault
        self._refuse = frozenset(refuse)
        self._capabilities = SinkCapabilities(
            records=True,
            versions=True,
            flushes_in_flight=flushes_in_flight,
            max_documents=3,
            max_bytes=1 << 20,
        )
        self._epoch = 0
        self._flying: set[DocumentId] = set()

    @property
    def capabilities(self) -> SinkCapabilities:
        """Records and versions; few documents a flush."""
        return self._capabilities

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def acquire(self, owner: str) -> int:
        """Take the place of whoever wrote before."""
        self._destination.epoch += 1
        self._epoch = self._destination.epoch
        return self._epoch

    async def renew(self) -> None:
        """Fail when another has taken over."""
        if self._destination.epoch != self._epoch:
            raise SinkFatal("another run has taken over")

    async def release(self) -> None:
        """Nothing is held."""

    async def load_records(self) -> Mapping[str, StateRecord]:
        """What was stored."""
        return dict(self._destination.records)

    async def store_records(self, records: Sequence[StateRecord]) -> None:
        """Store."""
        await asyncio.sleep(0)
        for record in records:
            self._destination.records[record.index] = record

    async def generations(self, mapping: IndexMapping) -> Sequence[int]:
        """Those of the index."""
        return [number for index, number in self._destination.generations if index == mapping.index]

    async def begin_generation(self, mapping: IndexMapping, generation: int) -> None:
        """Create it if it is not there."""
        self._destination.generations.setdefault((mapping.index, generation), {})

    async def serve_generation(self, mapping: IndexMapping, generation: int) -> None:
        """Show it to searches."""
        self._destination.serving[mapping.index] = generation

    async def drop_generation(self, mapping: IndexMapping, generation: int) -> None:
        """Forget it."""
        self._destination.generations.pop((mapping.index, generation), None)

    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        """Apply the documents, with faults before and after, and check the engine's promise."""
        ids = {document.id for document in documents}
        if ids & self._flying or len(ids) < len(documents):
            message = f"documents are in flight twice: {ids & self._flying}"
            raise AssertionError(message)
        self._flying |= ids
        try:
            await asyncio.sleep(0)
            self._fault("before")
            if self._destination.epoch != self._epoch:
                raise SinkFatal("another run has taken over")
            rejected: list[Rejection] = []
            for document in documents:
                if document_id_text(document.id.key) in self._refuse:
                    rejected.append(Rejection(document, "refused by the test"))
                else:
                    self._destination.apply(document)
            self._fault("after")
            await asyncio.sleep(0)
            return FlushReport(rejected=rejected)
        finally:
            self._flying -= ids

    async def quarantine(self, rejections: Sequence[Rejection]) -> None:
        """Keep them."""
        self._destination.quarantined.extend(rejections)

    async def check(self) -> Sequence[Finding]:
        """Nothing can be wrong."""
        return ()


def _no_fault(_: str) -> None:
    """Let every flush succeed."""


def unavailable(every: int) -> Callable[[str], None]:
    """A fault for `MemorySink`: each so many-th call raises `SinkUnavailable`."""
    calls = 0

    def fault(_: str) -> None:
        nonlocal calls
        calls += 1
        if calls % every == 0:
            raise SinkUnavailable("a fault of the test")

    return fault
