"""R1, D2: a real server that is away, comes back, or takes small requests only."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from opensearchpy import AsyncOpenSearch

from flusso_core.errors import SinkFatal, SinkUnavailable
from flusso_core.model import Finding, FlushReport, Severity

if TYPE_CHECKING:
    from conftest import Bench

    from flusso_sandbox.opensearch import OpenSearchServer

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def small_server() -> Iterator[OpenSearchServer]:
    """A server of its own, to stop and start, that takes requests of up to 1 MB, in a zone."""
    from flusso_sandbox.opensearch import OpenSearchServer

    settings = {"http.max_content_length": "1mb", "node.attr.zone": "a"}
    with OpenSearchServer(settings=settings) as server:
        yield server


@pytest.fixture
async def small_bench(bench: Bench, small_server: OpenSearchServer) -> Bench:
    """The bench on that server."""
    await bench.raw.close()
    bench.url = small_server.endpoint.url
    bench.raw = AsyncOpenSearch(hosts=[bench.url])
    return bench


def unused_url() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://user:hunter2@127.0.0.1:{free.getsockname()[1]}"


async def test_a_server_that_is_not_there_is_unavailable_and_named(bench: Bench) -> None:
    bench.url = unused_url()
    sink = await bench.sink(acquire=False)
    with pytest.raises(SinkUnavailable, match=r"http://127\.0\.0\.1:\d+ cannot be reached") as got:
        await sink.acquire("a run")
    assert "hunter2" not in str(got.value)
    (finding,) = await sink.check()
    assert finding.severity is Severity.ERROR
    assert "cannot be reached" in finding.message


async def test_a_check_of_a_good_cluster_finds_nothing(bench: Bench) -> None:
    sink = await bench.sink(acquire=False)
    assert await sink.check() == []
    assert await bench.raw.indices.get_alias(index=f"{bench.prefix}*") == {}


async def test_a_check_names_the_nodes_that_lack_the_icu_plugin(bench: Bench) -> None:
    sink = await bench.sink(text_analysis="icu")
    (finding,) = await sink.check()
    assert isinstance(finding, Finding)
    assert "has no plugin analysis-icu" in finding.message
    assert finding.cure is not None
    assert "opensearch-plugin install analysis-icu" in finding.cure
    with pytest.raises(SinkFatal, match="icu_"):
        await sink.begin_generation(bench.mapping, 1)


async def test_a_single_document_over_the_servers_limit_is_rejected(small_bench: Bench) -> None:
    """D2: 413 splits the request until only the document that is too large is left."""
    sink = await small_bench.users()
    large = small_bench.document("0", 1, {"name": "x" * 1_500_000})
    others = [small_bench.document(str(n), 1, {"name": "y" * 90_000}) for n in range(1, 30)]
    report = await sink.flush([*others, large], caught_up=False)
    assert [rejection.document for rejection in report.rejected] == [large]
    assert "413" in report.rejected[0].reason
    await small_bench.raw.indices.refresh(index=small_bench.data)
    assert len(await small_bench.hits(small_bench.data)) == 29
    await sink.quarantine(report.rejected)
    entries: Any = await small_bench.hits(f"{small_bench.prefix}flusso_quarantine")
    (entry,) = entries.values()
    assert (entry["body"], entry["bytes"]) == (None, len(large.body or b""))


async def test_a_cluster_that_takes_no_index_without_copies_gets_them(small_bench: Bench) -> None:
    """While an index is filled it has none, unless there must be one in each zone."""
    zones = "cluster.routing.allocation.awareness"
    policy = {f"{zones}.attributes": "zone", f"{zones}.force.zone.values": "a,b"}
    policy[f"{zones}.balance"] = "true"
    cluster = small_bench.raw.cluster
    await cluster.put_settings(body={"persistent": policy})
    try:
        sink = await small_bench.users(number_of_replicas=1)
        found = await small_bench.raw.indices.get_settings(index=small_bench.data)
        assert found[small_bench.data]["settings"]["index"]["number_of_replicas"] == "1"
        await sink.release()
        again = await small_bench.users(number_of_replicas=1)
        await again.release()
        other = await small_bench.sink(number_of_replicas=2)
        with pytest.raises(SinkFatal, match="total awareness attributes"):
            await other.begin_generation(small_bench.mapping, 2)
    finally:
        await cluster.put_settings(body={"persistent": dict.fromkeys(policy)})


async def test_a_server_that_restarts_is_written_to_again(
    small_bench: Bench, small_server: OpenSearchServer
) -> None:
    """R1: what landed before is still there, and the same run goes on."""
    sink = await small_bench.users()
    await sink.store_records([small_bench.record(1)])
    await sink.flush([small_bench.document("1", 1, {"name": "a"})], caught_up=False)
    await asyncio.to_thread(small_server.stop)
    again = small_bench.document("2", 2, {"name": "b"})
    with pytest.raises(SinkUnavailable, match="cannot be reached"):
        await sink.flush([again], caught_up=False)
    await asyncio.to_thread(small_server.restart)
    async with asyncio.timeout(60):
        while True:
            try:
                assert await sink.flush([again], caught_up=False) == FlushReport()
                await sink.renew()
                break
            except SinkUnavailable:
                await asyncio.sleep(0.1)
    assert json.dumps([await small_bench.get(key) for key in "12"]) == (
        '[{"name": "a"}, {"name": "b"}]'
    )
    assert (await sink.load_records())["users"].position.order == 1


async def test_a_read_only_index_is_waited_for(bench: Bench) -> None:
    """A full disk makes an index read-only; no document is to blame."""
    sink = await bench.users(max_retries=0)
    block = "index.blocks.read_only_allow_delete"
    await bench.raw.indices.put_settings(index=bench.data, body={block: True})
    with pytest.raises(SinkUnavailable, match="takes no documents for now: cluster_block"):
        await sink.flush([bench.document("1", 1, {"name": "a"})], caught_up=False)
    await bench.raw.indices.put_settings(index=bench.data, body={block: None})
    report = await sink.flush([bench.document("1", 1, {"name": "a"})], caught_up=False)
    assert report == FlushReport()
