"""Documents that the cluster refused for good, kept with their reasons."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flusso_core.errors import SinkFatal, SinkUnavailable
from flusso_core.model import Document, Key, QuarantinedDocument, Rejection, document_id_text
from flusso_sink_opensearch.client import Cluster, RequestTooLarge, describe
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
_IDS_A_PAGE = 10_000
_ENTRIES_A_PAGE = 20
"""Few, as each may have a body of any size."""


class Quarantine:
    """The index of refused documents, one entry for each document.

    Entries carry the versions of their documents, so that neither a late entry nor a late
    deletion of one undoes what came after it.
    """

    def __init__(
        self, cluster: Cluster, names: Names, *, limit: int, max_bytes: int, gc_deletes: int
    ) -> None:
        self._cluster = cluster
        self._name = names.quarantine
        self._limit = limit
        self._max_bytes = max_bytes
        self._gc_deletes = gc_deletes
        self._ensured = False
        self._kept: dict[str, int] = {}

    async def load(self) -> None:
        """Learn what is in there, for `clear`."""
        self._kept = {}
        async for hit in self._hits(["generation"], _IDS_A_PAGE):
            self._kept[hit["_id"]] = int(hit["_source"]["generation"])

    async def clear(self, landed: Sequence[Document]) -> None:
        """Take documents out of which a good build has landed, in the same generation or a newer.

        When it returns, it is durable.
        """
        if not self._kept:
            return
        lines: list[str] = []
        gone: list[str] = []
        for document in landed:
            entry = entry_id(document.id.index, document.id.key)
            generation = self._kept.get(entry)
            if generation is not None and document.id.generation >= generation:
                gone.append(entry)
                lines.append(json.dumps({"delete": _action(entry, document.version)}) + "\n")
        if not gone:
            return
        await self._bulk("".join(lines))
        for entry in gone:
            del self._kept[entry]

    async def entries(self) -> AsyncGenerator[QuarantinedDocument, None]:
        """Everything that is in there, the last refused first."""
        async for hit in self._hits(["*"], _ENTRIES_A_PAGE):
            source = hit["_source"]
            yield QuarantinedDocument(
                index=source["index"],
                key=tuple(source["key"]),
                reason=source["reason"],
                body=source["body"],
                size=source["bytes"],
                time=source["time"],
                attempts=source["attempts"],
            )

    async def drop(self, documents: Sequence[tuple[str, Key]]) -> None:
        """Delete the entries of documents, by index and key."""
        found = await self._get([entry_id(index, key) for index, key in documents])
        # By the versions that they have: the next refusal has a higher one.
        lines = [json.dumps({"delete": _action(hit["_id"], hit["_version"])}) for hit in found]
        if lines:
            await self._bulk("\n".join((*lines, "")))

    async def put(self, rejections: Sequence[Rejection]) -> None:
        """Keep these documents. When it returns, they are durable.

        One that is in there already has its entry replaced, with one more attempt. A body that
        the server finds too large is left out, and its size kept.

        Raises:
            SinkFatal: there would be more entries than the limit; none is added.
        """
        entries = {
            entry_id(rejection.document.id.index, rejection.document.id.key): rejection
            for rejection in rejections
        }
        if not entries:
            return
        await self._ensure()
        attempts = await self._attempts(list(entries))
        await self._check_room(len(entries) - len(attempts))
        chunk: list[_Entry] = []
        size = 0
        for key, rejection in entries.items():
            source = _source(rejection, attempts.get(key, 0) + 1)
            entry = _Entry(key, rejection.document.version, source)
            if chunk and size + len(entry.lines) > self._max_bytes:
                await self._write(chunk)
                chunk, size = [], 0
            chunk.append(entry)
            size += len(entry.lines)
        await self._write(chunk)
        for key, rejection in entries.items():
            self._kept[key] = rejection.document.id.generation

    async def _ensure(self) -> None:
        if self._ensured:
            return
        body = {
            "settings": {
                "number_of_shards": 1,
                "auto_expand_replicas": "0-1",
                "gc_deletes": f"{self._gc_deletes}s",
            },
            "mappings": {"dynamic": "strict", **_MAPPINGS},
        }
        await ensure_index(self._cluster, self._name, body, _MAPPINGS)
        self._ensured = True

    async def _attempts(self, entries: Sequence[str]) -> Mapping[str, int]:
        """How often each of those that are in there already has been refused."""
        found = await self._get(entries)
        return {str(hit["_id"]): int(hit["_source"]["attempts"]) for hit in found}

    async def _get(self, entries: Sequence[str]) -> Sequence[Any]:
        """Those of the entries that are in there, without their bodies."""
        if not entries:
            return []
        with self._cluster.errors(f"reading the quarantine {self._name}"):
            answer = await self._cluster.client.mget(
                index=self._name,
                body={"ids": list(entries)},
                params={"_source_includes": "attempts"},
            )
        return [hit for hit in answer["docs"] if hit.get("found")]

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
        try:
            await self._bulk("".join(entry.lines for entry in entries))
        except RequestTooLarge:
            if not any(entry.has_body for entry in entries):
                raise
            # One by one, the last resort without the body.
            for entry in entries:
                await self._write([entry if len(entries) > 1 else entry.without_body()])

    async def _bulk(self, body: str) -> None:
        doing = f"writing the quarantine {self._name}"
        with self._cluster.errors(doing):
            answer = await self._cluster.client.bulk(
                body=body,
                index=self._name,
                params={"refresh": "true", "filter_path": "errors,items.*.error"},
            )
        for item in answer.get("items", ()) if answer["errors"] else ():
            for result in item.values():
                # There is a newer one, or a newer build of the document has landed.
                if result["error"]["type"] != "version_conflict_engine_exception":
                    raise SinkUnavailable(f"{doing}: {describe(result['error'])}")

    async def _hits(self, source: Sequence[str], size: int) -> AsyncGenerator[Any, None]:
        """Everything in there, page by page, the last refused first."""
        order = [{"time": "desc"}, {"index": "asc"}, {"id": "asc"}]
        after: dict[str, Any] = {}
        while True:
            with self._cluster.errors(f"reading the quarantine {self._name}"):
                answer = await self._cluster.client.search(
                    index=self._name,
                    body={"_source": source, "size": size, "sort": order, **after},
                    params={"ignore_unavailable": "true"},
                )
            hits = answer["hits"]["hits"]
            for hit in hits:
                yield hit
            if len(hits) < size:
                return
            after = {"search_after": hits[-1]["sort"]}


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry by its id, with the version of its document."""

    id: str
    version: int
    source: Mapping[str, object]

    @property
    def lines(self) -> str:
        """The entry in a bulk request."""
        action = json.dumps({"index": _action(self.id, self.version)})
        return f"{action}\n{json.dumps(self.source, ensure_ascii=False)}\n"

    @property
    def has_body(self) -> bool:
        """Whether the refused document's body is in it."""
        return self.source["body"] is not None

    def without_body(self) -> _Entry:
        """The same without the body, of which the size stays."""
        return _Entry(self.id, self.version, {**self.source, "body": None})


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


def _action(entry: str, version: int) -> Mapping[str, object]:
    # "Or equal": a document is refused again under the version that it had.
    return {"_id": entry, "version": version, "version_type": "external_gte"}


def entry_id(index: str, key: Key) -> str:
    """One entry a document; a long id keeps the digest that it already is."""
    text = f"{index}:{document_id_text(key)}"
    if len(text.encode()) <= _MOST_ID_BYTES:
        return text
    return f"{index}:{document_id_text((text,))}"
