"""The OpenSearch sink keeps what the engine relies on; a real server is asked over plain HTTP."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, cast
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pytest

from flusso_core.hookspecs import SinkContext
from flusso_core.interfaces import Sink
from flusso_core.model import DocumentId, IndexMapping
from flusso_core.testing.conformance import SinkBench, SinkConformance, exact_json
from flusso_sink_opensearch import state
from flusso_sink_opensearch.options import OpenSearchOptions
from flusso_sink_opensearch.plugin import create

if TYPE_CHECKING:
    from flusso_sandbox.endpoints import OpenSearchEndpoint

pytestmark = pytest.mark.integration

PASSWORD = "hunter2-of-the-kit"


class Wire:
    """Carries bytes between sinks and the server, and can be cut."""

    def __init__(self, url: str) -> None:
        there = urlsplit(url)
        self._there = (there.hostname, there.port)
        self._port = 0
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://kit:{PASSWORD}@127.0.0.1:{self._port}"

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        self._server.close()
        for writer in list(self._writers):
            writer.close()
        await self._server.wait_closed()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(*self._there)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._copy(reader, there[1]))
            tasks.create_task(self._copy(there[0], writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with suppress(OSError):
                while data := await reader.read(1 << 16):
                    writer.write(data)
                    await writer.drain()
        finally:
            self._writers.discard(writer)
            writer.close()


class ServerBench(SinkBench):
    """One prefix on a server. What is in it is asked for without the sink, its client or alias."""

    secrets = (PASSWORD,)

    def __init__(self, url: str, prefix: str, wire: Wire, lease_seconds: float) -> None:
        self._url = url
        self._prefix = prefix
        self._wire = wire
        self.lease_seconds = lease_seconds

    def sink(self) -> Sink:
        options = OpenSearchOptions.model_validate(
            {"url": self._wire.url, "number_of_replicas": 0, "max_retries": 1}
        )
        return create(SinkContext(name="search", options=options, prefix=self._prefix))

    async def stored(self, mapping: IndexMapping, generation: int) -> Mapping[str, object]:
        index = f"{self._prefix}{mapping.index}_{mapping.schema_hash}_{generation}"
        await self._ask("POST", f"{index}/_refresh")
        return await self._documents(index)

    async def served(self, mapping: IndexMapping) -> Mapping[str, object]:
        return await self._documents(f"{self._prefix}{mapping.index}")

    async def quarantined(self) -> Sequence[DocumentId]:
        name = f"{self._prefix}flusso_quarantine"
        await self._ask("POST", f"{name}/_refresh")
        entries = cast("dict[str, Any]", await self._documents(name))
        return [
            DocumentId(entry["index"], int(entry["generation"]), tuple(entry["key"]))
            for entry in entries.values()
        ]

    def poison(self) -> bytes:
        return b'{"unknown":"and the mapping is strict"}'

    @asynccontextmanager
    async def outage(self) -> AsyncGenerator[None, None]:
        await self._wire.cut()
        try:
            yield
        finally:
            await self._wire.mend()

    async def _documents(self, index: str) -> Mapping[str, object]:
        answer = await self._ask("GET", f"{index}/_search?size=10000")
        return {hit["_id"]: hit["_source"] for hit in answer["hits"]["hits"]}

    async def _ask(self, method: str, path: str) -> Any:
        def ask() -> bytes:
            asked = urllib.request.Request(f"{self._url}/{path}", method=method)
            try:
                with urllib.request.urlopen(asked, timeout=30) as answer:
                    return bytes(answer.read())
            except HTTPError as error:
                if error.code != 404:
                    raise
                return b'{"hits":{"hits":[]}}'

        return exact_json(await asyncio.to_thread(ask))


class TestOpenSearchSink(SinkConformance):
    @pytest.fixture
    async def bench(
        self,
        opensearch_server: OpenSearchEndpoint,
        opensearch_prefix: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> AsyncIterator[ServerBench]:
        monkeypatch.setattr(state, "LEASE_SECONDS", 2.0)
        wire = Wire(opensearch_server.url)
        await wire.mend()
        yield ServerBench(opensearch_server.url, opensearch_prefix, wire, 2.0)
        await wire.cut()
