"""Documents read back: to the last digit, and what becomes of answers that are none."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from flusso_core.errors import GenerationLost, SinkError, SinkFatal, SinkUnavailable
from flusso_core.model import StoredDocument
from flusso_sink_opensearch.reading import MissingIndex, parse_documents

if TYPE_CHECKING:
    from conftest import Bench

SOURCE = '{"id":9007199254740993,"price":0.10,"_source":{"found":[]},"digits":' + "7" * 5000 + "}"


def item(identity: str, **rest: object) -> str:
    return json.dumps({"_index": "i", "_id": identity, **rest}, separators=(",", ":"))


def found(identity: str, source: str, version: int = 7) -> str:
    text = item(identity, _version=version, _seq_no=0, _primary_term=1, found=True)
    return f'{text[:-1]},"_source":{source}}}'


def answer(*items: str) -> str:
    return f'{{"docs":[{",".join(items)}]}}'


def test_a_body_is_what_the_server_has_to_the_last_digit() -> None:
    """V4: also where Python would make no number of it."""
    odd = '","_source":{"a":1},"found":true,"_source":'
    text = answer(found("1", SOURCE), item("2", found=False), found(odd, "{}", 1 << 60))
    assert list(parse_documents(text, "reading")) == [
        StoredDocument("1", SOURCE.encode(), 7),
        StoredDocument("2", None, 0),
        StoredDocument(odd, b"{}", 1 << 60),
    ]
    assert list(parse_documents(answer(), "reading")) == []


@pytest.mark.parametrize(
    ("kind", "raised"),
    [
        ("index_not_found_exception", MissingIndex),
        ("index_closed_exception", MissingIndex),
        ("no_shard_available_action_exception", SinkUnavailable),
    ],
)
def test_what_could_not_be_read_is_never_taken_for_absent(
    kind: str, raised: type[Exception]
) -> None:
    """Else a shard that is away would look like documents that are missing."""
    failed = item("1", error={"type": kind, "reason": "the reason"})
    with pytest.raises(raised, match="the reason"):
        list(parse_documents(answer(found("0", "{}"), failed), "reading"))


def test_a_document_without_its_source_is_an_error() -> None:
    """An index that someone made without sources cannot be compared."""
    with pytest.raises(SinkFatal, match="1 came without its source"):
        list(parse_documents(answer(item("1", _version=1, found=True)), "reading"))


@pytest.mark.integration
@pytest.mark.parametrize(("policy", "raised"), [("stop", SinkFatal), ("reseed", GenerationLost)])
async def test_documents_of_a_deleted_index_are_an_error(
    bench: Bench, policy: str, raised: type[SinkError]
) -> None:
    """D1: never read as an index without documents."""
    sink = await bench.sink(acquire=False, on_missing_index=policy)
    async with aclosing(sink.documents(bench.mapping, 1, ["1"])) as chunks:
        with pytest.raises(raised, match="was deleted or closed"):
            await anext(chunks)
    with pytest.raises(raised, match="was deleted or closed"):
        await sink.present(bench.mapping, 1, ["1"])
