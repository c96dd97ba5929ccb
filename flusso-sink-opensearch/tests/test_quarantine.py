"""D3: refused documents are kept, with their reasons, up to a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from flusso_core.errors import SinkFatal
from flusso_core.model import Document, DocumentId, Rejection

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
