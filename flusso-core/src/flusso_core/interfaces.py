"""The edges: what a backend implements and the engine drives.

Each edge is an async context manager: entering it opens connections, leaving it closes them.
Errors follow `flusso_core.errors`: raise `SourceUnavailable` or `SinkUnavailable` for what
passes by itself (the engine retries with back-off), `SchemaMismatch` for what concerns one index
alone, and `SourceFatal` or `SinkFatal` for what someone has to mend.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias

from flusso_core.errors import GenerationLost
from flusso_core.model import (
    BuiltDocument,
    Change,
    ChangeBatch,
    Document,
    Finding,
    FlushReport,
    Generation,
    GenerationSize,
    IndexKeys,
    IndexMapping,
    Key,
    KeyRange,
    Page,
    Position,
    QuarantinedDocument,
    Rejection,
    Removal,
    RootTruncated,
    StateRecord,
    StoredDocument,
    StreamIdentity,
    SweepNeeded,
    UnfitIndex,
)

PutBatch: TypeAlias = Callable[[ChangeBatch], Awaitable[None]]
"""Where a capture delivers batches; it blocks while the engine is behind (back-pressure)."""


class DocumentTransform(Protocol):
    """Takes a document and returns what is written instead of it; `None`: there is to be none.

    The same document gives the same result, whenever it is asked. It may change what it is given.
    A number with a fraction comes as `float`.
    """

    def __call__(self, document: dict[str, Any], /) -> Mapping[str, Any] | None:
        """What is written instead of the document."""


Resolved: TypeAlias = IndexKeys | RootTruncated | SweepNeeded
"""What changes mean for an index: some keys, all of it is void, or all of it is to be read."""


class Edge(ABC):
    """What all edges share: `async with edge:` opens and closes it."""

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @abstractmethod
    async def open(self) -> None:
        """Connect. A failure leaves nothing open."""

    @abstractmethod
    async def close(self) -> None:
        """Release everything. May be called more than once, and after a failed `open`."""


class ChangeCapture(Edge):
    """A source's stream of committed changes.

    The engine calls, in this order: `provision`; where there are older schemas, `cover`, and
    `provision` once more if it covers any; `identity` and `confirmed`; then `live` in a task of
    its own, with `confirm`, `wait_visible` and `lag` beside it at any time.

    A comparison of a source with a destination asks `identity` and `head` alone, beside a run in
    another process. A capture that cannot tell unless it is provisioned raises `SourceFatal`.
    """

    async def cover(self, older: Sequence[str]) -> Collection[str]:
        """Have the stream cover the tables of older schemas too, while their generations serve.

        Args:
            older: schemas in their stored form (`IndexMapping.schema`).

        Returns:
            Those that it will cover. An index that serves by another one gets no changes until
            its new generation is filled. This capture covers none.
        """
        del older
        return ()

    @abstractmethod
    async def provision(self, *, temporary: bool) -> None:
        """Make the stream exist and cover every table of the schemas, from now on. Idempotent.

        Args:
            temporary: no destination remembers anything, so the stream needs not outlive the
                process (Postgres: a temporary slot).
        """

    @abstractmethod
    async def identity(self) -> StreamIdentity:
        """Which stream this is; compared with what the destinations remember."""

    async def branch_point(self, timeline: str) -> Position | None:
        """Where the history of this server left another timeline.

        Up to there both are the same, so that what a destination has by then of the other one
        is right.

        Returns:
            `None`: that timeline is not in this server's history, or this capture cannot tell.
        """
        del timeline
        return None

    @abstractmethod
    async def confirmed(self) -> Position:
        """The position up to which the source believes everything to be durable."""

    @abstractmethod
    async def head(self) -> Position:
        """The source's end of the stream now: all that is committed lies at or before it."""

    @abstractmethod
    async def live(self, start: Position, put: PutBatch) -> None:
        """Deliver every commit after `start`, in commit order, until cancelled.

        No piece of a commit is delivered before the commit is known. Positions never fall.
        With nothing to deliver, an empty batch carries the position of the source's keepalive,
        so that an idle stream advances. While `put` blocks, the source must neither time out
        nor lose anything. Ends only by cancellation or by an error.
        """

    @abstractmethod
    async def confirm(self, position: Position) -> None:
        """Tell the source that everything up to `position` is durable. Never blocks on it."""

    @abstractmethod
    async def wait_visible(self, batch: ChangeBatch) -> None:
        """Return when every new snapshot of the source sees every commit in `batch` (the gate)."""

    @abstractmethod
    async def wait_settled(self) -> None:
        """Return when every transaction that may have written to a table before the stream
        covered it has ended; what is waited for is logged by name.
        """

    @abstractmethod
    async def lag(self) -> int:
        """How far confirmation is behind the source's head, in bytes or the source's own unit."""

    @abstractmethod
    async def check(self) -> Sequence[Finding]:
        """What stands in the way of a correct stream, found without changing anything."""

    async def teardown(self, *, dry_run: bool) -> Sequence[Removal]:
        """Remove from the source what `provision` has made, and say what is left.

        Called on an open capture that is not provisioned. Nothing to do where a stream leaves
        nothing behind.

        Args:
            dry_run: change nothing; say what would be removed.

        Raises:
            SourceFatal: a run uses the stream; nothing was removed.
        """
        return ()


class DocumentBuilder(Edge):
    """Finds the documents that changes touch, and reads documents from the current rows."""

    @abstractmethod
    def mappings(self) -> Mapping[str, IndexMapping]:
        """Logical index name to its mapping. Needs no connection."""

    def unfit(self) -> Sequence[UnfitIndex]:
        """Indexes whose schemas `open` has found not to fit their tables; they are not served."""
        return ()

    def exclude(self, index: str) -> None:  # most find out nothing that concerns one index alone
        """The index has stopped: from now on leave it out of every `resolve`. Idempotent."""

    def older(self, schema: str) -> DocumentBuilder | None:
        """A builder of the same source, not yet open, for the one index of an older schema.

        It is opened where a generation of that schema still serves.

        Args:
            schema: in its stored form (`IndexMapping.schema`).

        Returns:
            `None`: this builder cannot build by it.
        """
        del schema
        return None

    @abstractmethod
    def resolve(self, changes: Sequence[Change]) -> AsyncGenerator[Resolved, None]:
        """Stream the keys of every document that any of the changes touches, old and new.

        Set-based: never a query a row. A key may come more than once. Order is free.

        Raises:
            SchemaMismatch: an index no longer fits its tables. The engine calls `exclude` for it,
                and then `resolve` again with the same changes.
        """

    @abstractmethod
    def build(
        self, index: str, keys: Sequence[Key]
    ) -> AsyncGenerator[Sequence[BuiltDocument], None]:
        """Read each key's document from the current rows, in chunks of bounded size.

        Each key comes exactly once; one without a qualifying root row comes with no body.

        Raises:
            SchemaMismatch: the index no longer fits its tables, so that it stops alone.
        """

    @abstractmethod
    async def ranges(self, index: str, count: int) -> Sequence[KeyRange]:
        """Divide the root table's key space into at most `count` ranges that cover all of it."""

    @abstractmethod
    async def page(self, index: str, span: KeyRange, after: Key | None, limit: int) -> Page:
        """Read the next `limit` root rows of the range, in key order, documents included."""

    @abstractmethod
    async def missing(self, index: str, ids: Sequence[str]) -> Sequence[Key]:
        """The keys of those document ids for which there is no document now.

        Set-based. An id that no key is spelled by comes as a `StrayKey`; one that is a digest
        (`document_id_text`) is compared with the digests of the keys that there are, and comes
        as a `StrayKey` too.
        """

    @abstractmethod
    async def estimate(self, index: str) -> int | None:
        """About how many root rows there are, for progress; `None`: not known cheaply."""

    @abstractmethod
    async def check(self) -> Sequence[Finding]:
        """What the schemas ask for that the source does not have.

        All of it, where `open` raises for the first: so it is called on a builder that has not
        been opened.
        """


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a queue has when it is opened.

    Attributes:
        begin: the sink has everything up to here, and what comes out of the queue follows it.
        end: the queue has everything up to here; the stream is needed from there on.
    """

    begin: Position
    end: Position


class Queue(ABC):
    """Carries batches from the capture to a lane, bounded, in order.

    A *durable* one takes over responsibility for a batch: the source is confirmed when the queue
    has it (`stored`), and the queue is told when the sink has it (`done`).
    """

    durable: bool = False
    """Whether what was put outlives the process."""

    @property
    def stored(self) -> Position:
        """Every commit up to here is durable. Asked of a durable queue only, once it is open."""
        raise NotImplementedError

    async def open(self, identity: StreamIdentity, start: Position) -> Backlog:
        """Begin where the stream begins, or go on with what there is of it.

        Called before all else.

        Args:
            identity: of the stream; what is there of another one is dropped.
            start: where the source begins. What does not reach as far cannot be followed up, and
                is dropped as well.

        Raises:
            SinkUnavailable: it cannot be used for now.
        """
        del identity
        return Backlog(start, start)

    async def close(self) -> None:  # noqa: B027  # one in memory has nothing to close
        """Release everything; what is durable stays. May be called more than once."""

    @abstractmethod
    async def clear(self) -> None:
        """Forget every batch, and let a blocked `put` go on: nobody will take one."""

    @abstractmethod
    async def put(self, batch: ChangeBatch) -> None:
        """Add a batch; block while the queue is full."""

    @abstractmethod
    async def get(self) -> ChangeBatch:
        """Take the oldest batch; block while there is none."""

    @abstractmethod
    def get_nowait(self) -> ChangeBatch | None:
        """Take the oldest batch if there is one at hand."""

    async def done(self, position: Position) -> None:  # noqa: B027  # in memory it is gone
        """The sink has everything up to `position`, and its records say so: forget it."""


@dataclass(frozen=True, slots=True)
class SinkCapabilities:
    """What a destination can do; the engine acts by it and the conformance kit tests it.

    Attributes:
        records: it stores state records, a lease and an epoch. Without them (*ephemeral*) it is
            seeded afresh on every run.
        versions: it refuses a write whose version is lower than what it has, deletes included.
        flushes_in_flight: how many flushes may run at once.
        max_documents: most documents in one flush.
        max_bytes: most bytes of bodies in one flush, except that one document always fits.
        read_back: it gives documents back by their ids (`documents`), so that they can be
            compared with the source. The engine itself does not need it.
    """

    records: bool
    versions: bool
    flushes_in_flight: int = 1
    max_documents: int = 1000
    max_bytes: int = 10 * 1024 * 1024
    read_back: bool = False


class Sink(Edge):
    """A destination of documents, with the memory that makes restarts cheap and safe."""

    @property
    @abstractmethod
    def capabilities(self) -> SinkCapabilities:
        """What this destination can do."""

    @abstractmethod
    async def acquire(self, owner: str) -> int:
        """Become the only writer, and return this run's epoch: higher than any before it.

        Waits while another run holds the lease. Without `records`: returns 1.
        """

    @abstractmethod
    async def renew(self) -> None:
        """Extend the lease. Raises `SinkFatal` when another run has taken over."""

    @abstractmethod
    async def release(self) -> None:
        """Give the lease up, so that the next run starts without waiting. Idempotent."""

    @abstractmethod
    async def load_records(self) -> Mapping[str, StateRecord]:
        """Every index's record, by logical name. Empty without `records`. Needs no lease."""

    @abstractmethod
    async def store_records(self, records: Sequence[StateRecord]) -> None:
        """Make these records durable, each replacing the one of its index."""

    @abstractmethod
    async def generations(self, index: str) -> Sequence[Generation]:
        """The generations of the index that exist at the destination, of all schemas, in no order.

        Empty without `records`. Needs no lease.
        """

    def made_with(self, mapping: IndexMapping) -> str | None:
        """What a generation of this mapping is made with and cannot be given later, as a digest.

        Where the newest generation was made with something else (`Generation.made_with`), a run
        fills a new one. So it tells what the options say, and nothing that a destination changes
        by itself. `None`: whatever the options say, it can be given to what is there.
        """
        del mapping
        return None

    async def size(self, generation: Generation) -> GenerationSize:
        """How large a generation is, for people; what is gone has no known size.

        Needs no lease. Where it is not overridden, nothing is known.
        """
        del generation
        return GenerationSize()

    @abstractmethod
    async def begin_generation(self, mapping: IndexMapping, generation: int) -> None:
        """Create the generation, typed and empty, unless this run's writes can go there already;
        from now on writes to it are accepted. What serves searches does not change. Idempotent.
        """

    @abstractmethod
    async def serve_generation(self, mapping: IndexMapping, generation: int) -> None:
        """Make searches see this generation, atomically. Idempotent."""

    async def resume_generation(self, mapping: IndexMapping, generation: int) -> None:
        """Have writes to a generation of an earlier run accepted from now on. Idempotent.

        It is never made: an empty one would be taken for what it was. Override this where looking
        and taking it over can be one step.

        Raises:
            GenerationLost: it is not there any more.
        """
        if generation not in {one.number for one in await self.generations(mapping.index)}:
            raise GenerationLost(
                f"generation {generation} of {mapping.index} was deleted",
                index=mapping.index,
                generation=generation,
            )
        await self.begin_generation(mapping, generation)

    @abstractmethod
    async def drop_generation(self, generation: Generation) -> None:
        """Remove a generation that serves no more. Idempotent. Needs no lease.

        Raises:
            SinkFatal: searches see it.
        """

    async def document_ids(
        self, mapping: IndexMapping, generation: int
    ) -> AsyncGenerator[Sequence[str], None]:
        """Stream the `_id`s of a generation's documents, in chunks, in no order.

        Documents that are written or deleted meanwhile may come or not; all others come. Nothing
        comes without `records`, and every sink that has them overrides this. Needs no lease:
        another run may be writing.
        """
        del mapping, generation
        nothing: Sequence[Sequence[str]] = ()
        for ids in nothing:
            yield ids

    async def documents(
        self, mapping: IndexMapping, generation: int, ids: Sequence[str]
    ) -> AsyncGenerator[Sequence[StoredDocument], None]:
        """Read documents of a generation back by their `_id`s, in chunks, in no order.

        Each id comes exactly once; one that has no document comes with no body. Whatever was
        durable when it was asked is there, whether searches see it yet or not. Nothing comes
        without `read_back`, and every sink that has it overrides this. Needs no lease: another
        run may be writing.

        Args:
            mapping: of the schema that the generation's documents are built by.
            generation: its number.
            ids: different ones, of as many documents as fit into memory.
        """
        del mapping, generation, ids
        nothing: Sequence[Sequence[StoredDocument]] = ()
        for documents in nothing:
            yield documents

    async def present(
        self, mapping: IndexMapping, generation: int, ids: Sequence[str]
    ) -> Collection[str]:
        """Those of the ids under which there is a document, in no order.

        As `documents` tells it, which is read for it here: override it where the destination can
        tell without giving the bodies. Needs no lease.

        Args:
            mapping: of the schema that the generation's documents are built by.
            generation: its number.
            ids: different ones, of as many documents as fit into memory.
        """
        found: set[str] = set()
        async with aclosing(self.documents(mapping, generation, ids)) as chunks:
            async for documents in chunks:
                found |= {document.id for document in documents if document.body is not None}
        return found

    @abstractmethod
    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        """Write the documents. When it returns, those not reported otherwise are durable.

        The same document is never in two flushes at once.

        Args:
            documents: upserts and tombstones, within the capabilities' bounds.
            caught_up: nothing else of this index is under way: make the result searchable at
                once.

        Raises:
            SinkUnavailable: the outcome of the whole flush is unknown or it failed for now.
            GenerationLost: a generation was deleted or closed, and may be filled afresh.
            SinkFatal: it cannot succeed.
        """

    async def refresh(self, index: str) -> None:  # most have nothing to do
        """Make searchable what has been flushed to the index without `caught_up`.

        Called when the last of several flushes has ended. Nothing to do where a write is visible
        as soon as it is durable.
        """

    @abstractmethod
    async def quarantine(self, rejections: Sequence[Rejection]) -> None:
        """Keep refused documents, durably, with their reasons.

        A later flush that lands the same document, or its tombstone, takes it out again.
        """

    async def quarantined(self) -> AsyncGenerator[QuarantinedDocument, None]:
        """Stream the documents that are kept, the last refused first. Most keep none.

        Needs no lease: another run may be writing.
        """
        none: Sequence[QuarantinedDocument] = ()
        for entry in none:
            yield entry

    async def drop_quarantined(self, entries: Sequence[QuarantinedDocument]) -> None:
        """Forget these, durably; one that is not there any more is nothing. Needs no lease."""

    @abstractmethod
    async def check(self) -> Sequence[Finding]:
        """What stands in the way of writing, found without changing anything."""

    async def check_index(self, mapping: IndexMapping) -> Sequence[Finding]:
        """What the destination would refuse of an index's definition, found without changing it.

        Called on an open sink after `check` has found no error. Name the field; the subject is
        `index 'NAME'`. Nothing to find where the destination takes any field.
        """
        del mapping
        return ()
