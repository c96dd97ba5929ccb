"""What searches find: the only way in which the result of any program is judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from opensearchpy import NotFoundError, OpenSearch, TransportError

_NOT_NOW = {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}
"""An index that was just made has no shard yet; a node whose memory is full takes no request."""

PATIENCE = 600.0
"""Seconds that anything may take."""


class Searches:
    """Searches over the indexes that a program fills.

    Args:
        url: of the cluster.
        names: of the indexes or aliases.
    """

    def __init__(self, url: str, names: Sequence[str]) -> None:
        self._client = OpenSearch(hosts=[url], timeout=60)
        self._names = ",".join(names)
        self._first = names[0]
        self._nested: tuple[str, ...] | None = None

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def documents(self) -> int:
        """How many documents searches see in all indexes together."""
        return self._found({"match_all": {}})

    def revised(self, path: str, mark: int) -> int:
        """How many documents show this revision at this path."""
        return self._found(self._query(path, {"term": {path: mark}}))

    def revisions(self, ids: Collection[str]) -> Mapping[str, int]:
        """The revision at the root of those documents that there are."""
        if not ids:
            return {}
        answer = self._client.search(
            index=self._names,
            body={
                "query": {"ids": {"values": list(ids)}},
                "docvalue_fields": ["revision"],
                "_source": False,
                "size": len(ids),
            },
        )
        return {hit["_id"]: int(hit["fields"]["revision"][0]) for hit in answer["hits"]["hits"]}

    def writes(self) -> int:
        """How many documents the indexes have been given since they were made."""
        try:
            stats = self._client.indices.stats(index=self._names, metric="indexing")
        except NotFoundError:
            return 0
        return int(stats["_all"]["primaries"]["indexing"]["index_total"])

    def definition(self, name: str) -> Mapping[str, Any]:
        """Mappings and settings of an index, to make another one alike."""
        (found,) = self._client.indices.get(index=name).values()
        settings: dict[str, Any] = found["settings"]["index"]
        made = {"uuid", "creation_date", "provided_name", "version", "replication", "resize"}
        return {
            "mappings": found["mappings"],
            "settings": {
                "index": {name: value for name, value in settings.items() if name not in made}
            },
        }

    def drop(self, pattern: str) -> None:
        """Delete every index of a pattern."""
        found: dict[str, Any] = self._client.indices.get(
            index=pattern, params={"expand_wildcards": "all"}
        )
        for name in found:
            self._client.indices.delete(index=name)

    def _found(self, query: Mapping[str, Any]) -> int:
        try:
            answer = self._client.search(
                index=self._names,
                body={"query": query, "size": 0, "track_total_hits": True},
                params={"ignore_unavailable": "true", "allow_no_indices": "true"},
            )
        except TransportError as error:
            if error.status_code in _NOT_NOW:
                return 0
            raise
        return int(answer["hits"]["total"]["value"])

    def _query(self, path: str, query: Mapping[str, Any]) -> Mapping[str, Any]:
        """The query, nested where the program's mapping is."""
        if self._nested is None:
            found = self._client.indices.get_mapping(index=self._first)
            self._nested = tuple(nested_paths(next(iter(found.values()))["mappings"]))
        for nested in sorted(self._nested, key=len, reverse=True):
            if path.startswith(f"{nested}."):
                query = {"nested": {"path": nested, "query": query}}
        return query


def nested_paths(mapping: Mapping[str, Any], above: str = "") -> list[str]:
    """The paths of a mapping whose values are documents of their own."""
    found: list[str] = []
    for name, field in mapping.get("properties", {}).items():
        path = f"{above}{name}"
        if field.get("type") == "nested":
            found.append(path)
        found += nested_paths(field, f"{path}.")
    return found


def wait_until(
    condition: Callable[[], bool], what: str, *, every: float = 0.01, patience: float = PATIENCE
) -> None:
    """Return when the condition holds.

    Raises:
        TimeoutError: it does not within the bound.
    """
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {patience:.0f} s for {what}")
        time.sleep(every)
