"""D3: refused documents are kept, with their reasons, up to a limit."""

# A late request can only be arranged from inside.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from flusso_core.errors import SinkFatal
from flusso_core.model import Document, DocumentId, Rejection
from flusso_sink_opensearch import quarantine
from flusso_sink_opensearch.sink import OpenSearchSink

if TYPE_CHECKING:
    from conftest import Bench

pytestmark = pytest.mark.integration


async def entries(bench: Bench) -> dict[str, Any]:
    return await bench.hits(f"{bench.prefix}flusso_quarantine")


async def test_a_refused_document_is_kept_as_it_was(bench: Bench) -> None:
    sink = await bench.users()
    body = b'{"age":"not a number","n":1.100}'
    poison = Document(DocumentId("users", 1, ("a", "b")), body, 1)
    report = await sink.flush([poison], caught_up=False)
    await sink.quarantine(report.rejected)
    ((key, entry),) = (await entries(bench)).items()
    assert key == 'users:["a","b"]'
    assert entry.pop("time").startswith("20")
    assert "age" in entry.pop("reason")
    assert entry == {
        "index": "users",
        "generation": 1,
        "id": '["a","b"]',
        "key": ["a", "b"],
        "body": body.decode(),
        "bytes": len(body),
        "attempts": 1,
    }


async def test_another_refusal_replaces_the_entry_and_is_counted(bench: Bench) -> None:
    sink = await bench.users()
    for version in (1, 2):
        refused = bench.document("1", version, {"version": version})
        await sink.quarantine([Rejection(refused, f"reason {version}")])
    ((_, entry),) = (await entries(bench)).items()
    assert (entry["attempts"], entry["reason"]) == (2, "reason 2")
    assert entry["body"] == '{"version": 2}'


async def test_any_body_and_any_key_can_be_kept(bench: Bench) -> None:
    sink = await bench.users(max_bytes=4096)
    bodies = [b"\xff broken", b"x" * 3000, b'{"a":', b"{}\n{}", None]
    refused = [
        Document(DocumentId("users", 1, (f"{n}" * 900,)), body, 1) for n, body in enumerate(bodies)
    ]
    await sink.quarantine([Rejection(item, "no") for item in refused])
    kept = [entry["body"] for entry in (await entries(bench)).values()]
    assert sorted(kept, key=str) == sorted(
        ["\ufffd broken", "x" * 3000, '{"a":', "{}\n{}", None], key=str
    )


async def test_a_full_quarantine_stops_the_run(bench: Bench) -> None:
    sink = await bench.users(quarantine_limit=2)
    first, second, third = (Rejection(bench.document(key, 1, {}), "no") for key in ("1", "2", "3"))
    await sink.quarantine([first, second])
    await sink.quarantine([second])
    with pytest.raises(SinkFatal, match=r"quarantine .* is full: 2 documents, 1 more refused"):
        await sink.quarantine([third])
    assert len(await entries(bench)) == 2


async def refuse(bench: Bench, sink: OpenSearchSink, key: str, version: int) -> None:
    """Have the server refuse a document, and quarantine it."""
    report = await sink.flush([bench.document(key, version, {"age": "x"})], caught_up=False)
    assert [rejection.document.id.key for rejection in report.rejected] == [(key,)]
    await sink.quarantine(report.rejected)


@pytest.mark.parametrize("body", [{"age": 1}, None], ids=["built", "deleted"])
@pytest.mark.parametrize("restarted", [False, True])
async def test_a_later_good_build_takes_a_document_out(
    bench: Bench, body: Any, restarted: bool
) -> None:
    sink = await bench.users()
    await refuse(bench, sink, "1", 1)
    await refuse(bench, sink, "2", 1)
    if restarted:
        await sink.release()
        sink = await bench.users()
    others = [bench.document(key, 2, {"age": 3}) for key in ("3", "4")]
    await sink.flush([*others, bench.document("1", 2, body)], caught_up=False)
    assert (await entries(bench)).keys() == {"users:2"}


async def test_what_is_throttled_or_refused_again_stays(bench: Bench) -> None:
    sink = await bench.users()
    await refuse(bench, sink, "1", 1)
    await refuse(bench, sink, "1", 2)
    ((_, entry),) = (await entries(bench)).items()
    assert entry["attempts"] == 2


async def test_a_build_for_an_older_generation_takes_nothing_out(bench: Bench) -> None:
    """While a new generation fills, both are written, each by its own schema."""
    sink = await bench.users()
    await sink.begin_generation(bench.mapping, 2)
    refused = bench.document("1", 5, {"age": "x"}, generation=2)
    await sink.quarantine((await sink.flush([refused], caught_up=False)).rejected)
    await sink.flush([bench.document("1", 6, {"age": 1})], caught_up=False)
    assert (await entries(bench)).keys() == {"users:1"}
    await sink.flush([bench.document("1", 7, {"age": 1}, generation=2)], caught_up=False)
    assert await entries(bench) == {}


async def test_neither_a_late_entry_nor_a_late_removal_undoes_what_came_after(
    bench: Bench,
) -> None:
    sink = await bench.users()
    await refuse(bench, sink, "1", 1)
    await sink.flush([bench.document("1", 2, {"age": 1})], caught_up=False)
    # The same again, as a proxy delivers it that held it back.
    await sink.quarantine([Rejection(bench.document("1", 1, {"age": "x"}), "late")])
    assert await entries(bench) == {}
    await refuse(bench, sink, "1", 3)
    sink._open.quarantine._kept["users:1"] = 1
    await sink._open.quarantine.clear([bench.document("1", 2, {"age": 1})])
    assert (await entries(bench)).keys() == {"users:1"}


async def test_entries_are_listed_the_last_first_and_dropped(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "_ENTRIES_A_PAGE", 2)
    sink = await bench.users()
    reader = await bench.sink(acquire=False)
    assert [entry async for entry in reader.quarantined()] == []
    for key in "12345":
        await refuse(bench, sink, key, 1)
    listed = [entry async for entry in reader.quarantined()]
    assert [entry.key for entry in listed] == [(key,) for key in "54321"]
    assert (listed[0].index, listed[0].attempts, listed[0].body) == ("users", 1, '{"age": "x"}')
    assert listed[0].size == 12
    assert "age" in listed[0].reason
    await reader.drop_quarantined(listed[:2])
    await reader.drop_quarantined(listed[:2])
    assert (await entries(bench)).keys() == {"users:1", "users:2", "users:3"}
    # The run that writes does not know of it, and is not disturbed.
    await sink.flush([bench.document("5", 2, {"age": 1})], caught_up=False)
    await refuse(bench, sink, "4", 2)
    assert (await entries(bench)).keys() == {f"users:{key}" for key in "1234"}


async def test_a_dropped_entry_leaves_room_for_another(bench: Bench) -> None:
    sink = await bench.users(quarantine_limit=1)
    await refuse(bench, sink, "1", 1)
    listed = [entry async for entry in sink.quarantined()]
    await sink.drop_quarantined(listed)
    await refuse(bench, sink, "2", 1)
    assert (await entries(bench)).keys() == {"users:2"}
