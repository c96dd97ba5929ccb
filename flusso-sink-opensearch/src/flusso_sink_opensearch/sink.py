"""The sink: what the engine drives, made of the parts of this package."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import NoReturn

from flusso_core.errors import GenerationLost, SinkError, SinkFatal, SinkUnavailable
from flusso_core.interfaces import Sink, SinkCapabilities
from flusso_core.model import (
    Document,
    Finding,
    FlushReport,
    Generation,
    GenerationSize,
    IndexMapping,
    QuarantinedDocument,
    Rejection,
    Severity,
    StateRecord,
    StoredDocument,
)
from flusso_sink_opensearch.bulk import (
    ACTION_BYTES,
    BulkOutcome,
    BulkTarget,
    GenerationKey,
    pack,
)
from flusso_sink_opensearch.client import Cluster, create_client
from flusso_sink_opensearch.connection import Connection
from flusso_sink_opensearch.definition import Definition
from flusso_sink_opensearch.existing import Existing
from flusso_sink_opensearch.health import check_cluster
from flusso_sink_opensearch.indexes import Indexes
from flusso_sink_opensearch.naming import Names, write_alias
from flusso_sink_opensearch.options import MissingIndexPolicy
from flusso_sink_opensearch.quarantine import Quarantine
from flusso_sink_opensearch.reading import MissingIndex, present_ids, read_documents
from flusso_sink_opensearch.settings import gc_deletes_seconds
from flusso_sink_opensearch.signing import AWS_SERVICE, AwsSigner, load_signer
from flusso_sink_opensearch.state import Meta, StoredRecord, taken_over
from flusso_sink_opensearch.trial import Trial
from flusso_sink_opensearch.writer import MOST_IN_FLIGHT, BulkWriter

_log = logging.getLogger(__name__)

_OTHER_CONNECTIONS = 4
"""For the lease, records and aliases while every flush has a request out."""


class OpenSearchSink(Sink):
    """Keeps documents in an OpenSearch cluster, with its memory in the same cluster."""

    def __init__(self, connection: Connection, definition: Definition, *, prefix: str) -> None:
        options = definition.options
        self._definition = definition
        self._options = options
        self._connection = connection
        self._names = Names(prefix)
        # Action lines count too: what fits the capabilities fits one request.
        overhead = min(options.batch_size * ACTION_BYTES, options.max_bytes // 2)
        self._capabilities = SinkCapabilities(
            records=True,
            versions=True,
            flushes_in_flight=MOST_IN_FLIGHT,
            max_documents=options.batch_size,
            max_bytes=options.max_bytes - overhead,
            read_back=True,
        )
        self._parts: _Parts | None = None
        self._targets: dict[GenerationKey, BulkTarget] = {}
        self._data: dict[GenerationKey, str] = {}
        self._serving: set[str] = set()
        self._uuids: dict[GenerationKey, str] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._connection.url!r}, prefix={self._names.prefix!r})"

    @property
    def capabilities(self) -> SinkCapabilities:
        """Records and versions, several flushes at once, bounded by the options."""
        return self._capabilities

    async def open(self) -> None:
        """Make the client; the first request connects."""
        if self._parts is None:
            client = create_client(
                self._connection,
                self._options,
                connections=MOST_IN_FLIGHT + _OTHER_CONNECTIONS,
                signer=await self._signer(),
            )
            cluster = Cluster(client, self._connection)
            self._parts = _Parts(cluster, self._names, self._definition)

    async def close(self) -> None:
        """Close the client."""
        parts, self._parts = self._parts, None
        if parts is not None:
            await parts.cluster.close()

    async def acquire(self, owner: str) -> int:
        """Take the lease in `{prefix}flusso_meta`; wait while another run renews it."""
        epoch = await self._open.meta.acquire(owner)
        await self._open.quarantine.load()
        return epoch

    async def renew(self) -> None:
        """Extend the lease."""
        await self._open.meta.renew()

    async def release(self) -> None:
        """Give the lease up; where the cluster is away, it ends by itself."""
        if self._parts is not None:
            await self._parts.meta.release()

    async def load_records(self) -> Mapping[str, StateRecord]:
        """The records of indexes whose documents are still there.

        Raises:
            SinkFatal: an index is gone, and the policy is to stop.
        """
        stored = await self._open.meta.load()
        uuids = await self._open.indexes.uuids([entry.record for entry in stored.values()])
        records: dict[str, StateRecord] = {}
        for index, entry in stored.items():
            uuid = uuids.get(index)
            if entry.index_uuid is not None and entry.index_uuid != uuid:
                self._report_missing(entry.record)
            else:
                # Without a unique id it was stored before its index was made.
                records[index] = entry.record
        return records

    async def store_records(self, records: Sequence[StateRecord]) -> None:
        """Write the records to `{prefix}flusso_meta`, each with its index's unique id."""
        unknown = [record for record in records if _generation_of(record) not in self._uuids]
        found = await self._open.indexes.uuids(unknown)
        for record in unknown:
            if record.index in found:
                self._uuids[_generation_of(record)] = found[record.index]
        await self._open.meta.store(
            [StoredRecord(record, self._uuids.get(_generation_of(record))) for record in records]
        )

    async def generations(self, index: str) -> Sequence[Generation]:
        """The generations of the index that exist, those of the Rust program included."""
        return await self._open.existing.generations(index)

    def made_with(self, mapping: IndexMapping) -> str:
        """A digest of mappings, analysis and fixed settings."""
        return self._definition.made_with(mapping)

    async def size(self, generation: Generation) -> GenerationSize:
        """Its documents, counted by the cluster, and its bytes on all disks."""
        return await self._open.existing.size(generation)

    async def begin_generation(self, mapping: IndexMapping, generation: int) -> None:
        """Create the index, or take it over from the run before."""
        await self._open.indexes.begin(mapping, generation, self._open.meta.epoch)
        await self._write_to(mapping, generation)

    async def resume_generation(self, mapping: IndexMapping, generation: int) -> None:
        """Take the index over from the run before."""
        await self._require_open(mapping, generation, "nothing can be written to it")
        await self._open.indexes.resume(mapping, generation, self._open.meta.epoch)
        await self._write_to(mapping, generation)

    async def _write_to(self, mapping: IndexMapping, generation: int) -> None:
        name = self._names.data(mapping.index, mapping.schema_hash, generation)
        where = (mapping.index, generation)
        self._targets[where] = BulkTarget.of(write_alias(name, self._open.meta.epoch))
        self._data[where] = name
        self._uuids.pop(where, None)
        if await self._open.indexes.serves(mapping.index, name):
            self._serving.add(name)

    async def serve_generation(self, mapping: IndexMapping, generation: int) -> None:
        """Refresh the index, give it the configured `refresh_interval`, move the aliases."""
        name = await self._require_open(mapping, generation, "searches cannot see it")
        await self._open.indexes.serve(mapping, generation)
        schema = self._names.schema(mapping.index, "")
        self._serving = {other for other in self._serving if not other.startswith(schema)}
        self._serving.add(name)

    async def drop_generation(self, generation: Generation) -> None:
        """Delete the index of a generation that searches do not see."""
        await self._open.indexes.drop(generation)
        if generation.foreign:
            await self._open.existing.forget(generation)
        where = (generation.index, generation.number)
        self._targets.pop(where, None)
        self._uuids.pop(where, None)
        self._data.pop(where, None)

    async def document_ids(
        self, mapping: IndexMapping, generation: int
    ) -> AsyncGenerator[Sequence[str], None]:
        """The `_id`s of a generation's documents.

        Raises:
            GenerationLost: its index was deleted or closed.
        """
        name = await self._require_open(mapping, generation, "there are no documents to list")
        async with aclosing(self._open.indexes.ids(name)) as found:
            async for ids in found:
                yield ids

    async def documents(
        self, mapping: IndexMapping, generation: int, ids: Sequence[str]
    ) -> AsyncGenerator[Sequence[StoredDocument], None]:
        """What is under the ids, every digit of it, as soon as it is durable.

        Raises:
            GenerationLost: its index was deleted or closed.
        """
        name = self._names.data(mapping.index, mapping.schema_hash, generation)
        for at in range(0, len(ids), self._options.batch_size):
            chunk = ids[at : at + self._options.batch_size]
            try:
                found = await read_documents(self._open.cluster, name, chunk)
            except MissingIndex as missing:
                self._raise_lost((mapping.index, generation), name, str(missing))
            yield found

    async def present(
        self, mapping: IndexMapping, generation: int, ids: Sequence[str]
    ) -> Collection[str]:
        """Those under which there is a document, whether it is searchable yet or not.

        Raises:
            GenerationLost: its index was deleted or closed.
        """
        name = self._names.data(mapping.index, mapping.schema_hash, generation)
        found: set[str] = set()
        for at in range(0, len(ids), self._options.batch_size):
            chunk = ids[at : at + self._options.batch_size]
            try:
                found.update(await present_ids(self._open.cluster, name, chunk))
            except MissingIndex as missing:
                self._raise_lost((mapping.index, generation), name, str(missing))
        return found

    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        """Write the documents in as few bulk requests as the bounds allow, one after another."""
        touched = self._touched(documents)
        served = touched & self._serving
        outcome = BulkOutcome()
        requests = pack(
            documents,
            self._targets,
            max_documents=self._options.batch_size,
            max_bytes=self._options.max_bytes,
        )
        for request in requests:
            outcome.add(await self._open.writer.send(request, refresh=caught_up and bool(served)))
        await self._raise_for_all(outcome, len(documents))
        await self._open.quarantine.clear(outcome.landed_of(documents))
        return FlushReport(
            throttled=tuple(document.id for document, _ in outcome.throttled),
            rejected=tuple(Rejection(*refused) for refused in outcome.rejected),
        )

    async def refresh(self, index: str) -> None:
        """Refresh the generations of the index that searches see."""
        served = {
            name for (logical, _), name in self._data.items() if logical == index
        } & self._serving
        if served:
            await self._open.indexes.refresh(sorted(served))

    async def quarantine(self, rejections: Sequence[Rejection]) -> None:
        """Keep refused documents in `{prefix}flusso_quarantine`."""
        await self._open.quarantine.put(rejections)

    async def quarantined(self) -> AsyncGenerator[QuarantinedDocument, None]:
        """What is in `{prefix}flusso_quarantine`, the last refused first."""
        async for entry in self._open.quarantine.entries():
            yield entry

    async def drop_quarantined(self, entries: Sequence[QuarantinedDocument]) -> None:
        """Delete these from `{prefix}flusso_quarantine`."""
        await self._open.quarantine.drop([(entry.index, entry.key) for entry in entries])

    async def check(self) -> Sequence[Finding]:
        """Whether the cluster answers, is OpenSearch, lets this user in, has the plugins."""
        try:
            return await check_cluster(self._open.cluster, self._names, self._options)
        except SinkError as error:
            return [Finding(Severity.ERROR, self._connection.url, str(error))]

    async def check_index(self, mapping: IndexMapping) -> Sequence[Finding]:
        """The fields that the cluster would refuse, tried without making anything."""
        return await Trial(self._open.cluster, self._names, self._definition).check(mapping)

    async def _signer(self) -> AwsSigner | None:
        region, service = self._options.aws_region, self._options.aws_service
        if region is None:
            return None
        sink = self._connection.sink
        return await asyncio.to_thread(load_signer, region, service or AWS_SERVICE, sink=sink)

    @property
    def _open(self) -> _Parts:
        if self._parts is None:
            msg = "the sink is not open"
            raise SinkFatal(msg)
        return self._parts

    def _touched(self, documents: Sequence[Document]) -> set[str]:
        generations = {(document.id.index, document.id.generation) for document in documents}
        unknown = generations - self._targets.keys()
        if unknown:
            index, generation = min(unknown)
            msg = f"generation {generation} of {index} was not begun; nothing can be written to it"
            raise SinkFatal(msg)
        return {self._data[where] for where in generations}

    async def _raise_for_all(self, outcome: BulkOutcome, count: int) -> None:
        """Raise for what is wrong with an index or the run, and not with a document."""
        url = self._connection.url
        if outcome.missing:
            document, reason = outcome.missing[0]
            await self._raise_for_missing((document.id.index, document.id.generation), reason)
        if outcome.forbidden:
            document, reason = outcome.forbidden[0]
            name = self._data[document.id.index, document.id.generation]
            msg = (
                f"the index {name} at {url} does not take writes from the user of the sink "
                f"{self._connection.sink}: {reason}; open the index or grant the privilege"
            )
            raise SinkFatal(msg)
        if outcome.throttled:
            reason = outcome.throttled[0][1]
            if len(outcome.throttled) == count:
                msg = f"OpenSearch at {url} takes no documents for now: {reason}"
                raise SinkUnavailable(msg)
            _log.info(
                "%d of %d documents are tried again: %s", len(outcome.throttled), count, reason
            )

    async def _require_open(self, mapping: IndexMapping, generation: int, reason: str) -> str:
        """The name of a generation's index, if it is there and open."""
        name = self._names.data(mapping.index, mapping.schema_hash, generation)
        if not await self._open.indexes.is_open(name):
            self._raise_lost((mapping.index, generation), name, reason)
        return name

    async def _raise_for_missing(self, where: GenerationKey, reason: str) -> NoReturn:
        """Raise for a generation whose index or alias is not there, or is closed."""
        name = self._data[where]
        if await self._open.indexes.is_open(name):
            raise SinkFatal(taken_over(self._open.cluster, self._names))
        self._raise_lost(where, name, reason)

    def _raise_lost(self, where: GenerationKey, name: str, reason: str) -> NoReturn:
        """Raise for an index that is not there, or is closed, by the policy."""
        what = f"the index {name} at {self._connection.url} was deleted or closed"
        if self._options.on_missing_index is MissingIndexPolicy.RESEED:
            index, number = where
            msg = f"{what}; it is filled afresh: {reason}"
            raise GenerationLost(msg, index=index, generation=number)
        msg = f"{what}; restore or open it, or set on_missing_index to reseed: {reason}"
        raise SinkFatal(msg)

    def _report_missing(self, record: StateRecord) -> None:
        current = record.current
        name = self._names.data(record.index, current.schema_hash, current.number)
        what = f"the index {name} at {self._connection.url} was deleted or replaced"
        if self._options.on_missing_index is MissingIndexPolicy.STOP:
            msg = f"{what}; restore it, or set on_missing_index to reseed and it is filled afresh"
            raise SinkFatal(msg)
        _log.warning("%s; %s is filled afresh", what, record.index)


class _Parts:
    """What an open sink is made of."""

    def __init__(self, cluster: Cluster, names: Names, definition: Definition) -> None:
        options = definition.options
        self.cluster = cluster
        self.meta = Meta(cluster, names)
        self.indexes = Indexes(cluster, names, definition)
        self.existing = Existing(cluster, names)
        self.writer = BulkWriter(cluster, options)
        self.quarantine = Quarantine(
            cluster,
            names,
            limit=options.quarantine_limit,
            max_bytes=options.max_bytes,
            gc_deletes=gc_deletes_seconds(options.timeout_secs),
        )


def _generation_of(record: StateRecord) -> GenerationKey:
    return (record.index, record.current.number)
