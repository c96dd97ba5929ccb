"""Documents as the cluster keeps them, read back by their ids without losing a digit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flusso_core.errors import SinkFatal, SinkUnavailable
from flusso_core.model import StoredDocument
from flusso_sink_opensearch.client import AS_TEXT, Cluster, describe

_MISSING = {"index_not_found_exception", "index_closed_exception"}
_SOURCE = '"_source":'
# Numbers stay text: only where a document ends is of interest, and a number may have so many
# digits that Python refuses to make an `int` of it.
_DECODER = json.JSONDecoder(parse_float=str, parse_int=str)


class MissingIndex(Exception):
    """The index that was asked is not there, or is closed."""


async def read_documents(
    cluster: Cluster, index: str, ids: Sequence[str]
) -> Sequence[StoredDocument]:
    """Ask for documents in one request, whether they are searchable yet or not.

    Raises:
        MissingIndex: there is no such index, or it is closed.
        SinkUnavailable: a shard does not answer for now, or as `Cluster.errors` says.
    """
    doing = f"reading documents of the index {index}"
    with cluster.errors(doing):
        answer: str = await cluster.client.mget(
            index=index, body={"ids": list(ids)}, headers=AS_TEXT
        )
    return list(parse_documents(answer, doing))


async def present_ids(cluster: Cluster, index: str, ids: Sequence[str]) -> Sequence[str]:
    """Those that have a document, asked for in one request that brings no bodies back.

    Raises:
        MissingIndex: there is no such index, or it is closed.
        SinkUnavailable: a shard does not answer for now, or as `Cluster.errors` says.
    """
    doing = f"looking up documents of the index {index}"
    with cluster.errors(doing):
        answer = await cluster.client.mget(
            index=index, body={"ids": list(ids)}, params={"_source": "false"}
        )
    for item in answer["docs"]:
        _check(item, doing)
    return [item["_id"] for item in answer["docs"] if item["found"]]


def parse_documents(answer: str, doing: str) -> Iterator[StoredDocument]:
    """The items of an answer, each body as its own stretch of the text."""
    at = answer.index("[") + 1
    while answer[at] != "]":
        item, end = _DECODER.raw_decode(answer, at)
        _check(item, doing)
        body, version = None, 0
        if item["found"]:
            if next(reversed(item)) != "_source":
                raise SinkFatal(f"{doing}: {item['_id']} came without its source")
            # No text before it can be taken for the key: quotes within an id are escaped.
            begin = answer.index(_SOURCE, at) + len(_SOURCE)
            body, version = answer[begin : end - 1].encode(), int(item["_version"])
        yield StoredDocument(item["_id"], body, version)
        at = end + (answer[end] == ",")


def _check(item: Mapping[str, Any], doing: str) -> None:
    """See to it that an item of an answer is not an error."""
    if "error" in item:
        reason = describe(item["error"])
        if item["error"]["type"] in _MISSING:
            raise MissingIndex(reason)
        raise SinkUnavailable(f"{doing}: {reason}")
