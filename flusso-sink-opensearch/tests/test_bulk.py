"""Bulk requests and their answers, without a server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flusso_core.model import Document, DocumentId, document_id_text
from flusso_sink_opensearch.bulk import (
    BulkOutcome,
    BulkRequest,
    BulkTarget,
    ItemFate,
    item_fate,
    pack,
    read_answer,
)

TARGETS = {
    ("users", 1): BulkTarget.of("p_users_h_1_w7"),
    ("orders", 2): BulkTarget.of("p_orders_h_2_w7"),
}
texts = st.text(st.characters(codec="utf-8"))
documents = st.lists(
    st.builds(
        Document,
        st.builds(
            DocumentId,
            st.just("users"),
            st.just(1),
            st.tuples(texts) | st.tuples(texts, texts),
        ),
        st.none() | texts.map(lambda text: json.dumps({"t": text}).encode()),
        st.integers(1, 2**62),
    ),
    max_size=30,
)


def doc(key: str = "1", body: bytes | None = b"{}", version: int = 1) -> Document:
    return Document(DocumentId("users", 1, (key,)), body, version)


def packed(items: list[Document], **bounds: int) -> list[BulkRequest]:
    limits = {"max_documents": 1000, "max_bytes": 1 << 20, **bounds}
    return list(pack(items, TARGETS, **limits))


def test_a_request_is_actions_and_untouched_bodies() -> None:
    body = b'{"n":1.10000000000000000000000001}'
    upsert = Document(DocumentId("users", 1, ("a", "b")), body, 5)
    tombstone = Document(DocumentId("orders", 2, ("7",)), None, 6)
    (request,) = packed([upsert, tombstone])
    action, source, delete = request.body.splitlines()
    assert json.loads(action) == {
        "index": {
            "_index": "p_users_h_1_w7",
            "_id": '["a","b"]',
            "version": 5,
            "version_type": "external",
        }
    }
    assert source == body
    assert json.loads(delete) == {
        "delete": {
            "_index": "p_orders_h_2_w7",
            "_id": "7",
            "version": 6,
            "version_type": "external",
        }
    }
    assert request.body.endswith(b"\n")


@given(documents, st.integers(1, 7), st.integers(1, 2000))
def test_packing_loses_nothing_and_keeps_within_the_bounds(
    items: list[Document], most: int, size: int
) -> None:
    requests = packed(items, max_documents=most, max_bytes=size)
    assert [item for request in requests for item in request.documents] == items
    for request in requests:
        assert 1 <= len(request.documents) <= most
        assert len(request.body) <= size or len(request.documents) == 1
        lines = request.body.decode().split("\n")
        assert lines.pop() == ""
        expected = sum(1 if item.body is None else 2 for item in request.documents)
        assert len(lines) == expected
        for item in request.documents:
            (action,) = json.loads(lines.pop(0)).values()
            assert action["_id"] == document_id_text(item.id.key)
            assert action["version"] == item.version
            if item.body is not None:
                assert lines.pop(0).encode() == item.body


@given(documents.filter(lambda items: len(items) > 1))
def test_halves_are_the_whole(items: list[Document]) -> None:
    (request,) = packed(items)
    first, second = request.halves()
    assert [*first.documents, *second.documents] == items
    assert first.body + second.body == request.body


def answer(*results: dict[str, Any]) -> dict[str, Any]:
    items = [{"index": result} for result in results]
    return {"errors": any("error" in result for result in results), "items": items}


def failed(status: int, kind: str) -> dict[str, Any]:
    return {"status": status, "error": {"type": kind, "reason": f"because of {kind}"}}


def test_nothing_is_read_of_an_answer_without_errors() -> None:
    assert read_answer(answer({"status": 201}, {"status": 200}), [doc("1"), doc("2")]) == (
        BulkOutcome()
    )


def test_each_document_gets_its_own_fate() -> None:
    items = [doc(str(number)) for number in range(7)]
    outcome = read_answer(
        answer(
            {"status": 201},
            failed(409, "version_conflict_engine_exception"),
            failed(429, "rejected_execution_exception"),
            failed(400, "mapper_parsing_exception"),
            {"status": 404},
            failed(404, "index_not_found_exception"),
            failed(403, "security_exception"),
        ),
        items,
    )
    assert outcome.throttled == [
        (items[2], "rejected_execution_exception: because of rejected_execution_exception")
    ]
    assert [item for item, _ in outcome.rejected] == [items[3]]
    assert [item for item, _ in outcome.missing] == [items[5]]
    assert [item for item, _ in outcome.forbidden] == [items[6]]


@pytest.mark.parametrize(
    ("status", "kind", "fate"),
    [
        (409, "version_conflict_engine_exception", ItemFate.LANDED),
        (404, "index_not_found_exception", ItemFate.MISSING),
        (429, "circuit_breaking_exception", ItemFate.THROTTLED),
        (503, "unavailable_shards_exception", ItemFate.THROTTLED),
        (500, "exception", ItemFate.THROTTLED),
        (403, "cluster_block_exception", ItemFate.THROTTLED),
        (429, "cluster_block_exception", ItemFate.THROTTLED),
        (403, "security_exception", ItemFate.FORBIDDEN),
        (400, "index_closed_exception", ItemFate.MISSING),
        (400, "strict_dynamic_mapping_exception", ItemFate.REJECTED),
        (413, "document_too_large", ItemFate.REJECTED),
    ],
)
def test_a_failure_means_what_its_status_and_type_say(
    status: int, kind: str, fate: ItemFate
) -> None:
    assert item_fate(status, kind) is fate


@pytest.mark.parametrize("strange", [{}, {"errors": False}, answer({"status": 201})])
def test_an_answer_to_something_else_never_passes_for_success(strange: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="documents to a request of 2"):
        read_answer(strange, [doc("1"), doc("2")])


def test_a_reason_names_its_causes_and_stays_short() -> None:
    error = {
        "type": "mapper_parsing_exception",
        "reason": "failed to parse field [age]",
        "caused_by": {"type": "illegal_argument", "reason": "x" * 5000},
    }
    outcome = read_answer(
        {"errors": True, "items": [{"index": {"status": 400, "error": error}}]}, [doc()]
    )
    (_, reason) = outcome.rejected[0]
    assert reason.startswith("mapper_parsing_exception: failed to parse field [age]; caused by")
    assert len(reason) <= 2000
