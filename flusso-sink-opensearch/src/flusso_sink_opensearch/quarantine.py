"""Documents that the cluster refused for good, kept with their reasons."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from opensearchpy.exceptions import TransportError

from flusso_core.errors import SinkFatal, SinkUnavailable
from flusso_core.model import Rejection, document_id_text
from flusso_sink_opensearch.client import Cluster, describe
from flusso_sink_opensearch.naming import Names
from flusso_sink_opensearch.state import ensure_index

_NOT_INDEXED = {"type": "keyword", "index": False, "doc_values": False}
_MAPPINGS: Mapping[str, Any] = {
    "properties": {
        "index": {"type": "keyword"},
        "generation": {"type": "integer"},
        "id": {"type": "keyword"},
        "key": _NOT_INDEXED,
        "reason": {"type": "text"},
        "body": _NOT_INDEXED,
        "bytes": {"type": "long"},
        "time": {"type": "date"},
        "attempts": {"type": "integer"},
    }
}
_MOST_ID_BYTES = 512


class Quarantine:
    """The index of refused documents, one entry for each document."""

    def __init__(self, cluster: Cluster, names: Names, *, limit: int, max_bytes: int) -> None:
        self._cluster = cluster
        self._name = names.quarantine
        self._limit = limit
        self._max_bytes = max_bytes
        self._ensured = False

    async def put(self, rejections: Sequence[Rejection]) -> None:
        """Keep these documents. When it returns, they are durable.

        One that is in there already has its entry replaced, with one more attempt. A body that
        the server finds too large is left out, and its size kept.

        Raises:
            SinkFatal: there would be more entries than the limit; none is added.
        """
        entries = {_entry_id(rejection): rejection for rejection in rejections}
        if not entries:
            return
        await self._ensure()
        attempts = await self._attempts(list(entries))
        await self._check_room(len(entries) - len(attempts))
        chunk: list[_Entry] = []
        size = 0
        for key, rejection in entries.items():
            entry = _Entry(key, _source(rejection, attempts.get(key, 0) + 1))
            if chunk and size + len(entry.lines) > self._max_bytes:
                await self._write(chunk)
                chunk, size = [], 0
            chunk.append(entry)
            size += len(entry.lines)
        await self._write(chunk)

    async def _ensure(self) -> None:
        if self._ensured:
            return
        body = {
            "settings": {"number_of_shards": 1, "auto_expand_replicas": "0-1"},
            "mappings": {"dynamic": "strict", **_MAPPINGS},
        }
        await ensure_index(self._cluster, self._name, body, _MAPPINGS)
        self._ensured = True

    async def _attempts(self, entries: Sequence[str]) -> Mapping[str, int]:
        """How often each of those that are in there already has been refused."""
        with self._cluster.errors("reading the quarantine"):
            answer = await self._cluster.client.mget(
                index=self._name,
                body={"ids": list(entries)},
                params={"_source_includes": "attempts"},
            )
        return {
            str(found["_id"]): int(found["_source"]["attempts"])
            for found in answer["docs"]
            if found.get("found")
        }

    async def _check_room(self, new: int) -> None:
        with self._cluster.errors("counting the quarantine"):
            answer = await self._cluster.client.count(index=self._name)
        if answer["count"] + new > self._limit:
            msg = (
                f"the quarantine {self._name} at {self._cluster.url} is full: {answer['count']} "
                f"documents, {new} more refused, quarantine_limit is {self._limit}; mend what the "
                "reasons in it name and delete the entries, or raise the limit"
            )
            raise SinkFatal(msg)

    async def _write(self, entries: Sequence[_Entry]) -> None:
        with self._cluster.errors("writing the quarantine"):
            try:
                answer = await self._cluster.client.bulk(
                    body="".join(entry.lines for entry in entries),
                    index=self._name,
                    params={"refresh": "true", "filter_path": "errors,items.*.error"},
                )
            except TransportError as error:
                if error.status_code != 413 or not any(entry.has_body for entry in entries):
                    raise
                answer = None
        if answer is None:
            # Too large for the server: one by one, the last resort without the body.
            for entry in entries:
                await self._write([entry if len(entries) > 1 else entry.without_body()])
        elif answer["errors"]:
            errors = [result["error"] for item in answer["items"] for result in item.values()]
            msg = f"writing the quarantine {self._name}: {describe(errors[0])}"
            raise SinkUnavailable(msg)


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry by its id."""

    id: str
    source: Mapping[str, object]

    @property
    def lines(self) -> str:
        """The entry in a bulk request."""
        action = json.dumps({"index": {"_id": self.id}})
        return f"{action}\n{json.dumps(self.source, ensure_ascii=False)}\n"

    @property
    def has_body(self) -> bool:
        """Whether the refused document's body is in it."""
        return self.source["body"] is not None

    def without_body(self) -> _Entry:
        """The same without the body, of which the size stays."""
        return _Entry(self.id, {**self.source, "body": None})


def _source(rejection: Rejection, attempts: int) -> Mapping[str, object]:
    document = rejection.document
    body = document.body
    return {
        "index": document.id.index,
        "generation": document.id.generation,
        "id": document_id_text(document.id.key),
        "key": list(document.id.key),
        "reason": rejection.reason,
        "body": None if body is None else body.decode(errors="replace"),
        "bytes": None if body is None else len(body),
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "attempts": attempts,
    }


def _entry_id(rejection: Rejection) -> str:
    """One entry a document; a long id keeps the digest that it already is."""
    identity = rejection.document.id
    text = f"{identity.index}:{document_id_text(identity.key)}"
    if len(text.encode()) <= _MOST_ID_BYTES:
        return text
    return f"{identity.index}:{document_id_text((text,))}"
