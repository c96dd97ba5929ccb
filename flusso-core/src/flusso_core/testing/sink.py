"""A destination in memory, honest about versions, generations, records and lost answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from flusso_core.errors import GenerationLost, SinkFatal, SinkUnavailable
from flusso_core.interfaces import Sink, SinkCapabilities
from flusso_core.model import (
    Document,
    DocumentId,
    Finding,
    FlushReport,
    Generation,
    GenerationSize,
    IndexMapping,
    Rejection,
    StateRecord,
    StoredDocument,
    document_id_text,
)

_LEASE_POLL_SECONDS = 0.1


class AppliedLater(SinkUnavailable):
    """A fault: the request is on its way but its answer never comes. What it writes is applied
    when the test says so (`MemoryDestination.apply_late`), if at all.
    """


@dataclass(slots=True)
class _Stored:
    version: int
    body: bytes | None


@dataclass
class MemoryDestination:
    """What outlives a run: the generations' documents, the records, the lease.

    Attributes:
        generations: (index, generation) to documents by id, tombstones among them.
        schemas: (index, generation) to the hash of its schema.
        made: (index, generation) to what it was made with.
        serving: index to the generation that searches see.
        records: index to its state record.
        epoch: of the last writer.
        lease_seconds: how long a run that does not renew stays the writer; 0: the next one takes
            its place at once.
        writer: the epoch of the run that holds the lease; `None`: nobody does.
        renewed: when it last did, on the loop's clock.
        quarantined: refused documents that were kept.
        makers: (index, generation) to the epoch of the run that made it.
        late: documents of requests whose outcome nobody was told, oldest first, each with the epoch
            of the run that sent it.
    """

    generations: dict[tuple[str, int], dict[str, _Stored]] = field(
        default_factory=dict[tuple[str, int], dict[str, _Stored]]
    )
    schemas: dict[tuple[str, int], str] = field(default_factory=dict[tuple[str, int], str])
    made: dict[tuple[str, int], str] = field(default_factory=dict[tuple[str, int], str])
    serving: dict[str, int] = field(default_factory=dict[str, int])
    records: dict[str, StateRecord] = field(default_factory=dict[str, StateRecord])
    epoch: int = 0
    lease_seconds: float = 0.0
    writer: int | None = None
    renewed: float = 0.0
    quarantined: list[Rejection] = field(default_factory=list[Rejection])
    makers: dict[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])
    late: list[tuple[Document, int]] = field(default_factory=list[tuple[Document, int]])

    def search(self, index: str) -> dict[str, bytes]:
        """The documents that searches see, by id."""
        generation = self.serving.get(index)
        stored = self.generations.get((index, generation), {}) if generation else {}
        return {key: entry.body for key, entry in stored.items() if entry.body is not None}

    def apply(self, document: Document) -> None:
        """Write a document unless there is a newer version.

        Raises:
            SinkFatal: its generation is not there: nothing creates one by a write.
        """
        index, generation, key = document.id
        stored = self.generations.get((index, generation))
        if stored is None:
            raise SinkFatal(f"generation {generation} of {index} was not begun")
        known = stored.get(document_id_text(key))
        if known is None or document.version > known.version:
            stored[document_id_text(key)] = _Stored(document.version, document.body)

    def delay(self, documents: Sequence[Document], epoch: int) -> None:
        """A request of a run with these is on its way; nobody is told what becomes of it."""
        self.late += [(document, epoch) for document in documents]

    def apply_late(self, count: int | None = None) -> None:
        """Let requests whose outcome is unknown land now: that many documents, or all.

        What belongs to a generation that is gone is lost: nothing creates one by a write, and one
        that a later run has made under the same number is not reached by what was sent before.
        """
        count = len(self.late) if count is None else count
        landing, self.late = self.late[:count], self.late[count:]
        for document, epoch in landing:
            where = (document.id.index, document.id.generation)
            if where in self.generations and self.makers[where] <= epoch:
                self.apply(document)


class MemorySink(Sink):
    """Writes into a `MemoryDestination`.

    Args:
        destination: what is written to; share it between runs to play a restart.
        fault: called before each flush applies, between two documents of it and after (`"before"`,
            `"part"`, `"after"`), and before each other request (`"acquire"`, `"records"`,
            `"generation"`, `"ids"`, `"documents"`, `"quarantine"`); may raise, `AppliedLater`
            before a flush too.
        refuse: ids of documents that are refused for good.
        refuses: whether a document is refused for good.
        throttle: ids of documents that are refused for now while it returns true for them.
        pause: awaited by every request before it applies; makes requests overtake each other.
        flushes_in_flight: how many flushes may run at once.
        max_documents: most documents in a flush.
        options: what a generation is made with and cannot be given later.
    """

    def __init__(
        self,
        destination: MemoryDestination,
        *,
        fault: Callable[[str], None] | None = None,
        refuse: Sequence[str] = (),
        refuses: Callable[[Document], bool] | None = None,
        throttle: Callable[[str], bool] | None = None,
        pause: Callable[[], Awaitable[None]] | None = None,
        flushes_in_flight: int = 2,
        max_documents: int = 3,
        options: str = "",
    ) -> None:
        self._destination = destination
        self._options = options
        self._fault = fault or _no_fault
        self._refuse = frozenset(refuse)
        self._refuses = refuses or _refuses_none
        self._throttle = throttle or _never
        self._pause = pause or _a_step
        self._capabilities = SinkCapabilities(
            records=True,
            versions=True,
            flushes_in_flight=flushes_in_flight,
            max_documents=max_documents,
            max_bytes=1 << 20,
            read_back=True,
        )
        self._epoch = 0
        self._flying: set[DocumentId] = set()
        self._begun: set[tuple[str, int]] = set()

    @property
    def capabilities(self) -> SinkCapabilities:
        """Records and versions; few documents a flush."""
        return self._capabilities

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def acquire(self, owner: str) -> int:
        """Take the place of whoever wrote before, once its lease has ended."""
        await self._pause()
        self._fault("acquire")
        destination, loop = self._destination, asyncio.get_running_loop()
        while destination.writer is not None:
            left = destination.renewed + destination.lease_seconds - loop.time()
            if left <= 0:
                break
            await asyncio.sleep(min(left, _LEASE_POLL_SECONDS))
        destination.epoch += 1
        self._epoch = destination.writer = destination.epoch
        destination.renewed = loop.time()
        return self._epoch

    async def renew(self) -> None:
        """Fail when another has taken over."""
        self._check_writer()
        self._destination.renewed = asyncio.get_running_loop().time()

    async def release(self) -> None:
        """Let the next run begin at once."""
        if self._destination.writer == self._epoch:
            self._destination.writer = None

    async def load_records(self) -> Mapping[str, StateRecord]:
        """What was stored."""
        return dict(self._destination.records)

    async def store_records(self, records: Sequence[StateRecord]) -> None:
        """Store, without versions: a request that is overtaken applies last."""
        self._fault("records")
        await self._pause()
        self._check_writer()
        for record in records:
            self._destination.records[record.index] = record

    async def generations(self, index: str) -> Sequence[Generation]:
        """Those of the index."""
        there = self._destination
        return [
            Generation(
                name,
                number,
                there.schemas[name, number],
                there.serving.get(name) == number,
                there.made[name, number],
            )
            for name, number in there.generations
            if name == index
        ]

    def made_with(self, mapping: IndexMapping) -> str:
        """What the test says."""
        return self._options

    async def size(self, generation: Generation) -> GenerationSize:
        """Count what is there."""
        stored = self._destination.generations.get((generation.index, generation.number))
        if stored is None:
            return GenerationSize()
        bodies = [entry.body for entry in stored.values() if entry.body is not None]
        return GenerationSize(len(bodies), sum(map(len, bodies)))

    async def begin_generation(self, mapping: IndexMapping, generation: int) -> None:
        """Create it if it is not there."""
        self._fault("generation")
        await self._pause()
        there, where = self._destination, (mapping.index, generation)
        if where not in there.generations:
            there.generations[where] = {}
            there.schemas[where] = mapping.schema_hash
            there.made[where] = self._options
            there.makers[where] = self._epoch
        self._begun.add(where)

    async def resume_generation(self, mapping: IndexMapping, generation: int) -> None:
        """Go on with it."""
        self._fault("generation")
        await self._pause()
        self._begun.add((mapping.index, generation))
        self._check_there(mapping.index, generation)

    async def serve_generation(self, mapping: IndexMapping, generation: int) -> None:
        """Show it to searches."""
        self._fault("generation")
        await self._pause()
        self._check_there(mapping.index, generation)
        self._destination.serving[mapping.index] = generation

    async def drop_generation(self, generation: Generation) -> None:
        """Forget it, if searches do not see it."""
        self._fault("generation")
        await self._pause()
        if self._destination.serving.get(generation.index) == generation.number:
            message = f"generation {generation.number} of {generation.index} serves searches"
            raise SinkFatal(message)
        where = (generation.index, generation.number)
        for kept in (
            self._destination.generations,
            self._destination.schemas,
            self._destination.made,
            self._destination.makers,
        ):
            kept.pop(where, None)

    async def document_ids(
        self, mapping: IndexMapping, generation: int
    ) -> AsyncGenerator[Sequence[str], None]:
        """Those of the documents that are there when it begins, a few at a time."""
        self._check_there(mapping.index, generation)
        stored = self._destination.generations[mapping.index, generation]
        ids = [text for text, entry in stored.items() if entry.body is not None]
        for at in range(0, len(ids), self._capabilities.max_documents):
            self._fault("ids")
            await self._pause()
            yield ids[at : at + self._capabilities.max_documents]

    async def documents(
        self, mapping: IndexMapping, generation: int, ids: Sequence[str]
    ) -> AsyncGenerator[Sequence[StoredDocument], None]:
        """What is there under the ids, a few at a time."""
        self._check_there(mapping.index, generation)
        for at in range(0, len(ids), self._capabilities.max_documents):
            self._fault("documents")
            await self._pause()
            stored = self._destination.generations.get((mapping.index, generation), {})
            chunk = ids[at : at + self._capabilities.max_documents]
            yield [_read(text, stored.get(text)) for text in chunk]

    async def present(
        self, mapping: IndexMapping, generation: int, ids: Sequence[str]
    ) -> Collection[str]:
        """Those under which there is a document now."""
        self._check_there(mapping.index, generation)
        self._fault("present")
        await self._pause()
        stored = self._destination.generations.get((mapping.index, generation), {})
        return {text for text in ids if _read(text, stored.get(text)).body is not None}

    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        """Apply the documents, with faults before and after, and check the engine's promise."""
        ids = {document.id for document in documents}
        if ids & self._flying or len(ids) < len(documents):
            message = f"documents are in flight twice: {ids & self._flying}"
            raise AssertionError(message)
        self._flying |= ids
        try:
            await self._pause()
            self._fault("before")
            self._check_writer()
            rejected: list[Rejection] = []
            throttled: list[DocumentId] = []
            for number, document in enumerate(documents):
                if number:
                    self._fault("part")
                text = document_id_text(document.id.key)
                if text in self._refuse or self._refuses(document):
                    rejected.append(Rejection(document, "refused by the test"))
                elif not _is_json(document.body):
                    rejected.append(Rejection(document, "its body is no JSON"))
                elif self._throttle(text):
                    throttled.append(document.id)
                else:
                    self._check_there(document.id.index, document.id.generation)
                    self._destination.apply(document)
            self._fault("after")
            await asyncio.sleep(0)
            return FlushReport(throttled=throttled, rejected=rejected)
        except AppliedLater:
            self._destination.delay(documents, self._epoch)
            raise
        finally:
            self._flying -= ids

    async def quarantine(self, rejections: Sequence[Rejection]) -> None:
        """Keep them."""
        self._fault("quarantine")
        self._destination.quarantined.extend(rejections)

    async def check(self) -> Sequence[Finding]:
        """Nothing can be wrong."""
        return ()

    def _check_there(self, index: str, generation: int) -> None:
        """Fail where a generation was deleted that this run has begun."""
        where = (index, generation)
        if where in self._begun and where not in self._destination.generations:
            message = f"generation {generation} of {index} was deleted"
            raise GenerationLost(message, index=index, generation=generation)

    def _check_writer(self) -> None:
        if self._destination.epoch != self._epoch:
            raise SinkFatal("another run has taken over")


def _read(text: str, stored: _Stored | None) -> StoredDocument:
    if stored is None or stored.body is None:
        return StoredDocument(text, None, 0)
    return StoredDocument(text, stored.body, stored.version)


def _is_json(body: bytes | None) -> bool:
    if body is None:
        return True
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


def _no_fault(_: str) -> None:
    """Let every flush succeed."""


def _refuses_none(_: Document) -> bool:
    """Take every document."""
    return False


def _never(_: str) -> bool:
    """Throttle nothing."""
    return False


async def _a_step() -> None:
    """Let the others go on once."""
    await asyncio.sleep(0)


def unavailable(every: int) -> Callable[[str], None]:
    """A fault for `MemorySink`: each so many-th moment of a flush raises `SinkUnavailable`."""
    calls = 0

    def fault(moment: str) -> None:
        nonlocal calls
        calls += moment in ("before", "after")
        if moment in ("before", "after") and calls % every == 0:
            raise SinkUnavailable("a fault of the test")

    return fault
