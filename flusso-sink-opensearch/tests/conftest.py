"""A sink on the real server, and a raw client that reads back what it wrote."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from opensearchpy import AsyncOpenSearch, NotFoundError

from flusso_core.hookspecs import SinkContext
from flusso_core.model import (
    Document,
    DocumentId,
    FieldType,
    GenerationRecord,
    IndexMapping,
    MappedField,
    Position,
    StateRecord,
    StreamIdentity,
)
from flusso_sink_opensearch.options import OpenSearchOptions
from flusso_sink_opensearch.plugin import create
from flusso_sink_opensearch.sink import OpenSearchSink

if TYPE_CHECKING:
    from flusso_sandbox.endpoints import OpenSearchEndpoint

HASH = "abc123"
USERS = IndexMapping(
    index="users",
    schema_hash=HASH,
    fields=(
        MappedField("id", FieldType.LONG, "id"),
        MappedField("name", FieldType.KEYWORD, "name"),
        # Strict about what it takes, so that a document can be refused.
        MappedField("age", FieldType.LONG, "age", options={"ignore_malformed": False}),
    ),
)


def make_sink(prefix: str, **options: Any) -> OpenSearchSink:
    """A sink made as the plugin loader makes it."""
    given = OpenSearchOptions.model_validate({"number_of_replicas": 0, **options})
    sink = create(SinkContext(name="search", options=given, prefix=prefix))
    assert isinstance(sink, OpenSearchSink)
    return sink


@dataclass
class Bench:
    """One deployment on the server: its sinks, and a client that bypasses them."""

    url: str
    prefix: str
    raw: AsyncOpenSearch
    mapping: IndexMapping = USERS
    sinks: list[OpenSearchSink] = field(default_factory=list[OpenSearchSink])

    async def sink(self, *, acquire: bool = True, **options: Any) -> OpenSearchSink:
        """An open sink with the lease; a second one takes over from the first."""
        sink = make_sink(self.prefix, **{"url": self.url, **options})
        self.sinks.append(sink)
        await sink.open()
        if acquire:
            await sink.acquire(f"run {len(self.sinks)}")
        return sink

    async def users(self, **options: Any) -> OpenSearchSink:
        """An open sink with the first generation of `users`."""
        sink = await self.sink(**options)
        await sink.begin_generation(USERS, 1)
        return sink

    @property
    def data(self) -> str:
        """The index of the first generation of `users`."""
        return f"{self.prefix}users_{HASH}_1"

    @staticmethod
    def document(
        key: str, version: int, body: Mapping[str, Any] | None = None, *, generation: int = 1
    ) -> Document:
        """An upsert of the index `users`, or a tombstone."""
        text = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        return Document(DocumentId("users", generation, (key,)), text, version)

    @staticmethod
    def record(position: int, *, generation: int = 1, seeded: bool = True) -> StateRecord:
        """A record of the index `users`."""
        return StateRecord(
            index="users",
            identity=StreamIdentity("7301", "shop", "flusso", "1"),
            position=Position(position, f"0/{position:X}"),
            current=GenerationRecord(generation, HASH, seeded=seeded),
        )

    async def get(self, key: str, index: str | None = None) -> Any:
        """A document's source by id, or `None`."""
        try:
            found = await self.raw.get(index=index or self.data, id=key)
        except NotFoundError:
            return None
        return found["_source"]

    async def hits(self, index: str) -> dict[str, Any]:
        """What a search sees."""
        answer = await self.raw.search(index=index, body={"size": 1000})
        return {hit["_id"]: hit["_source"] for hit in answer["hits"]["hits"]}


@pytest.fixture
async def bench(
    opensearch_server: OpenSearchEndpoint, opensearch_prefix: str
) -> AsyncIterator[Bench]:
    raw = AsyncOpenSearch(hosts=[opensearch_server.url])
    bench = Bench(opensearch_server.url, opensearch_prefix, raw)
    try:
        yield bench
    finally:
        for sink in bench.sinks:
            await sink.close()
        await bench.raw.close()
