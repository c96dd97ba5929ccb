"""What a flush does to the documents of a real server."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from flusso_core.errors import GenerationLost, SinkError, SinkFatal
from flusso_core.model import Document, DocumentId, FlushReport

if TYPE_CHECKING:
    from conftest import Bench

pytestmark = pytest.mark.integration


async def test_documents_arrive_byte_for_byte(bench: Bench) -> None:
    """V4: exact numerics, 64-bit integers and any text are in the source as they were given."""
    sink = await bench.users()
    body = b'{"id":9223372036854775807,"name":"\\u0000 \\"\\\\ \xf0\x9f\x98\x80","age":0.10}'
    await sink.flush([Document(DocumentId("users", 1, ("1",)), body, 1)], caught_up=False)
    answer = await bench.raw.transport.perform_request("GET", f"/{bench.data}/_source/1")
    assert answer == json.loads(body)


@pytest.mark.parametrize("compress", [False, True])
async def test_a_flush_larger_than_a_request_is_sent_in_several(
    bench: Bench, compress: bool
) -> None:
    sink = await bench.users(batch_size=7, max_bytes=1024, compress=compress)
    documents = [bench.document(str(n), 1, {"id": n, "name": "x" * (n * 40)}) for n in range(30)]
    assert await sink.flush(documents, caught_up=False) == FlushReport()
    await bench.raw.indices.refresh(index=bench.data)
    assert (await bench.hits(bench.data)).keys() == {str(n) for n in range(30)}


async def test_keys_of_any_spelling_become_ids(bench: Bench) -> None:
    """V1, V3: quotes, line feeds, backslashes, emoji, a leading tilde, over-long ones."""
    sink = await bench.users()
    keys = ['"', "a\nb", "\\", "😀", "~x", "y" * 600, "ü" * 300, '{"index":{}}']
    await sink.flush([bench.document(key, 1, {"name": key}) for key in keys], caught_up=False)
    await bench.raw.indices.refresh(index=bench.data)
    assert sorted(hit["name"] for hit in (await bench.hits(bench.data)).values()) == sorted(keys)


async def test_an_older_version_never_replaces_a_newer_one(bench: Bench) -> None:
    """A version conflict counts as landed, and leaves the newer document."""
    sink = await bench.users()
    await sink.flush([bench.document("1", 5, {"name": "new"})], caught_up=False)
    late = [bench.document("1", 4, {"name": "old"}), bench.document("2", 1, {"name": "other"})]
    assert await sink.flush(late, caught_up=False) == FlushReport()
    assert await bench.get("1") == {"name": "new"}
    assert await bench.get("2") == {"name": "other"}


async def test_a_late_write_does_not_bring_a_deleted_document_back(bench: Bench) -> None:
    sink = await bench.users()
    await sink.flush([bench.document("1", 1, {"name": "a"})], caught_up=False)
    assert await sink.flush([bench.document("1", 3)], caught_up=True) == FlushReport()
    assert await bench.get("1") is None
    assert (
        await sink.flush([bench.document("1", 2, {"name": "a"})], caught_up=False) == FlushReport()
    )
    assert await bench.get("1") is None
    settings = await bench.raw.indices.get_settings(index=bench.data)
    assert settings[bench.data]["settings"]["index"]["gc_deletes"] == "600s"


async def test_deleting_what_is_not_there_has_landed_and_is_remembered(bench: Bench) -> None:
    sink = await bench.users()
    assert await sink.flush([bench.document("1", 9)], caught_up=False) == FlushReport()
    assert (
        await sink.flush([bench.document("1", 8, {"name": "late"})], caught_up=False)
        == FlushReport()
    )
    assert await bench.get("1") is None


async def test_a_refused_document_delays_no_other(bench: Bench) -> None:
    """D3: poison is reported with the server's reason; the rest of the batch lands."""
    sink = await bench.users()
    poison = bench.document("2", 1, {"age": "not a number"})
    stranger = bench.document("3", 1, {"unknown": 1})
    good = [bench.document("1", 1, {"age": 1}), bench.document("4", 1, {"age": 4})]
    report = await sink.flush([good[0], poison, stranger, good[1]], caught_up=False)
    assert [rejection.document for rejection in report.rejected] == [poison, stranger]
    assert "age" in report.rejected[0].reason
    assert "strict" in report.rejected[1].reason
    assert report.throttled == ()
    assert [await bench.get(key) for key in "1234"] == [{"age": 1}, None, None, {"age": 4}]


async def test_json_that_is_none_is_a_rejection(bench: Bench) -> None:
    sink = await bench.users()
    broken = Document(DocumentId("users", 1, ("1",)), b'{"name":', 1)
    report = await sink.flush([broken, bench.document("2", 1, {"name": "b"})], caught_up=False)
    assert [rejection.document for rejection in report.rejected] == [broken]
    assert await bench.get("2") == {"name": "b"}


async def test_a_caught_up_flush_is_searchable_at_once(bench: Bench) -> None:
    sink = await bench.users(refresh_interval="1h")
    await sink.serve_generation(bench.mapping, 1)
    logical = f"{bench.prefix}users"
    await sink.flush([bench.document("1", 1, {"name": "a"})], caught_up=False)
    assert await bench.hits(logical) == {}
    await sink.flush([bench.document("2", 2, {"name": "b"})], caught_up=True)
    assert (await bench.hits(logical)).keys() == {"1", "2"}


async def test_a_refresh_shows_what_flushes_before_it_wrote(bench: Bench) -> None:
    sink = await bench.users(refresh_interval="1h")
    await sink.serve_generation(bench.mapping, 1)
    await sink.flush([bench.document("1", 1, {"name": "a"})], caught_up=False)
    await sink.flush([bench.document("2", 2, {"name": "b"})], caught_up=False)
    assert await bench.hits(f"{bench.prefix}users") == {}
    await sink.refresh("users")
    assert (await bench.hits(f"{bench.prefix}users")).keys() == {"1", "2"}


async def test_a_refresh_leaves_a_seeding_generation_alone(bench: Bench) -> None:
    sink = await bench.users()
    await sink.flush([bench.document("1", 1, {"name": "a"})], caught_up=False)
    await sink.refresh("users")
    assert await bench.hits(bench.data) == {}


async def test_a_refresh_does_not_wait_for_merges(bench: Bench) -> None:
    """On by default, `merge_on_flush` makes a refresh under load take seconds."""
    await bench.users()
    settings = await bench.raw.indices.get_settings(
        index=bench.data, params={"flat_settings": "true"}
    )
    assert settings[bench.data]["settings"]["index.merge_on_flush.enabled"] == "false"


async def test_a_seeding_generation_is_not_refreshed(bench: Bench) -> None:
    sink = await bench.users()
    await sink.flush([bench.document("1", 1, {"name": "a"})], caught_up=True)
    assert await bench.hits(bench.data) == {}


async def test_several_flushes_run_at_once(bench: Bench) -> None:
    sink = await bench.users()
    most = sink.capabilities.flushes_in_flight
    chunks = [[bench.document(f"{c}-{n}", 1, {"id": n}) for n in range(50)] for c in range(most)]
    reports = await asyncio.gather(*(sink.flush(chunk, caught_up=False) for chunk in chunks))
    assert reports == [FlushReport()] * most
    await bench.raw.indices.refresh(index=bench.data)
    assert len(await bench.hits(bench.data)) == most * 50


async def test_nothing_is_written_to_a_generation_that_was_not_begun(bench: Bench) -> None:
    sink = await bench.users()
    with pytest.raises(SinkFatal, match="generation 2 of users was not begun"):
        await sink.flush([bench.document("1", 1, {}, generation=2)], caught_up=False)


async def test_an_index_deleted_under_us_is_named_and_never_made_again(bench: Bench) -> None:
    """D1: no bulk write creates an index."""
    sink = await bench.users()
    await bench.raw.indices.delete(index=bench.data)
    with pytest.raises(GenerationLost, match=f"the index {bench.data} at .* was deleted") as lost:
        await sink.flush([bench.document("1", 1, {"name": "a"})], caught_up=False)
    assert (lost.value.index, lost.value.generation) == ("users", 1)
    assert await bench.raw.indices.get_alias(index=f"{bench.prefix}users*") == {}


@pytest.mark.parametrize(("policy", "error"), [("reseed", GenerationLost), ("stop", SinkFatal)])
async def test_a_closed_index_is_lost_or_stops_with_its_name(
    bench: Bench, policy: str, error: type[SinkError]
) -> None:
    """D1: by policy."""
    sink = await bench.users(on_missing_index=policy)
    await bench.raw.indices.close(index=bench.data)
    with pytest.raises(error, match=f"the index {bench.data} at .*closed"):
        await sink.flush([bench.document("1", 1, {"name": "a"})], caught_up=False)
