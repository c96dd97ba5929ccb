"""The demo's documents in OpenSearch, seen by searches only: getting one by its id is realtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from flusso_core.config import Deployment
from flusso_sandbox.compare import JsonDocument, exact_client
from flusso_sandbox.demo.target import Answer, Target, slices

_IDS = 5000
_DOCUMENTS = 500
_HITS = 3
_REVISIONS = "hits.hits._id,hits.hits._version"


class SearchTarget(Target):
    """The aliases under one prefix in a cluster.

    Args:
        url: of the cluster.
        prefix: of the aliases.
    """

    def __init__(self, url: str, prefix: str) -> None:
        self._client = exact_client(url)
        self._prefix = prefix

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @property
    def verb(self) -> str:
        """A search finds it."""
        return "searchable"

    def direct(self, deployment: Deployment) -> Deployment:
        """The deployment as it is: its sink is an OpenSearch."""
        return deployment

    def revisions(self, index: str, ids: Sequence[str]) -> Mapping[str, int]:
        """The version of each document, as a search sees it."""
        found: dict[str, int] = {}
        for some in slices(ids, _IDS):
            body = {"query": {"ids": {"values": list(some)}}, "_source": False, "version": True}
            hits = self._search(index, body, size=len(some), only=_REVISIONS)
            found.update((hit["_id"], hit["_version"]) for hit in hits.get("hits", ()))
        return found

    def documents(self, index: str, ids: Sequence[str]) -> Mapping[str, JsonDocument]:
        """The documents as a search sees them."""
        found: dict[str, JsonDocument] = {}
        for some in slices(ids, _DOCUMENTS):
            body = {"query": {"ids": {"values": list(some)}}}
            hits = self._search(index, body, size=len(some))
            found.update((hit["_id"], hit["_source"]) for hit in hits["hits"])
        return found

    def count(self, index: str) -> int:
        """How many documents a search can find."""
        total: int = self._client.count(index=self._prefix + index)["count"]
        return total

    def ids(self, index: str) -> Iterator[str]:
        """Every id, page by page in the order of the field `id`, which each document has."""
        body: dict[str, Any] = {"_source": False, "sort": [{"id": "asc"}]}
        while hits := self._search(index, body, size=_IDS)["hits"]:
            yield from (hit["_id"] for hit in hits)
            body["search_after"] = hits[-1]["sort"]

    def search(self) -> Iterator[Answer]:
        """A full-text search in the products, and a nested one in the users' last orders."""
        text = {"match": {"name": {"query": "speedster edition", "operator": "and"}}}
        yield self._answer("products", "products named “speedster edition”", text, _product)
        items = "lastOrder.items"
        nested = {
            "nested": {
                "path": items,
                "query": {
                    "bool": {
                        "must": [
                            {"match": {f"{items}.product.name": "speedster"}},
                            {"range": {f"{items}.quantity": {"gte": 4}}},
                        ]
                    }
                },
            }
        }
        question = "users whose last order has at least four of one “speedster”"
        yield self._answer("users", question, nested, _user)

    def _answer(
        self,
        index: str,
        question: str,
        query: Mapping[str, Any],
        line: Callable[[JsonDocument], str],
    ) -> Answer:
        hits = self._search(index, {"query": query, "track_total_hits": True}, size=_HITS)
        lines = [line(hit["_source"]) for hit in hits["hits"]]
        where = f"GET /{self._prefix}{index}/_search"
        return Answer(question, where, hits["total"]["value"], lines)

    def _search(
        self, index: str, body: Mapping[str, Any], *, size: int, only: str | None = None
    ) -> dict[str, Any]:
        """The `hits` of a search's response."""
        params = {"filter_path": only} if only else {}
        full = {"track_total_hits": False, "size": size, **body}
        response = self._client.search(index=self._prefix + index, body=full, params=params)
        hits: dict[str, Any] = response.get("hits", {})
        return hits


def _product(document: JsonDocument) -> str:
    category = document["category"]
    where = category["name"] if category else "no category"
    return f"{document['id']}  {document['name']}, {document['price']}, {where}"


def _user(document: JsonDocument) -> str:
    spent = document["lifetimeValue"] or 0
    return f"{document['id']}  {document['name']}, {document['tier']}, {spent} spent so far"
