"""A throw-away OpenSearch starts, answers, survives faults, and has what the mappings need."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from flusso_sandbox import OpenSearchEndpoint, OpenSearchServer

pytestmark = pytest.mark.integration

INDEX: dict[str, Any] = {
    "settings": {
        "number_of_replicas": 0,
        "analysis": {
            "filter": {"split": {"type": "word_delimiter_graph", "preserve_original": True}},
            "analyzer": {
                "words": {
                    "tokenizer": "whitespace",
                    "filter": ["split", "flatten_graph", "lowercase"],
                }
            },
            "normalizer": {"lower": {"type": "custom", "filter": ["lowercase", "asciifolding"]}},
        },
    },
    "mappings": {
        "dynamic": "strict",
        "properties": {
            "name": {"type": "text", "analyzer": "words"},
            "sku": {"type": "keyword", "normalizer": "lower"},
            "price": {"type": "scaled_float", "scaling_factor": 100},
            "place": {"type": "geo_point"},
            "items": {"type": "nested", "properties": {"n": {"type": "long"}}},
        },
    },
}


def call(url: str, method: str, path: str, *lines: object) -> tuple[int, Any]:
    data = "".join(f"{json.dumps(line)}\n" for line in lines).encode() or None
    request = Request(f"{url}{path}", data, {"Content-Type": "application/json"}, method=method)
    try:
        with urlopen(request, timeout=30) as response:
            return response.status, json.load(response)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def bulk(url: str, *lines: object, query: str = "") -> list[tuple[int, str]]:
    """The status and the error's type of each item."""
    status, answer = call(url, "POST", f"/_bulk?refresh=true{query}", *lines)
    assert status == HTTPStatus.OK, answer
    items = [item for entry in answer["items"] for item in entry.values()]
    return [(item["status"], item.get("error", {}).get("type", "")) for item in items]


def test_it_has_the_analyzers_and_types_of_the_generated_mappings(
    opensearch_server: OpenSearchEndpoint, opensearch_prefix: str
) -> None:
    url, index = opensearch_server.url, f"{opensearch_prefix}a"
    assert call(url, "PUT", f"/{index}", INDEX)[0] == HTTPStatus.OK
    document = {
        "name": "PowerShot SD500",
        "sku": "ÄB-1",
        "price": 12.34,
        "place": {"lat": 52.5, "lon": 13.4},
        "items": [{"n": 1}, {"n": 2}],
    }
    action = {"index": {"_index": index, "_id": "1"}}
    assert bulk(url, action, document) == [(201, "")]
    assert bulk(url, action, {"other": 1}) == [(400, "strict_dynamic_mapping_exception")]
    for query in (
        {"match": {"name": "shot"}},
        {"term": {"sku": "ab-1"}},
        {"nested": {"path": "items", "query": {"term": {"items.n": 2}}}},
    ):
        _, answer = call(url, "POST", f"/{index}/_search", {"query": query})
        assert answer["hits"]["total"]["value"] == 1, query


def test_bulk_takes_external_versions(
    opensearch_server: OpenSearchEndpoint, opensearch_prefix: str
) -> None:
    url, index = opensearch_server.url, f"{opensearch_prefix}a"

    def write(version: int) -> list[tuple[int, str]]:
        target = {"_index": index, "_id": "1", "version": version, "version_type": "external"}
        return bulk(url, {"index": target}, {"n": version})

    assert write(5) == [(201, "")]
    assert write(4) == [(409, "version_conflict_engine_exception")]
    assert write(6) == [(200, "")]


def test_bulk_can_require_an_alias(
    opensearch_server: OpenSearchEndpoint, opensearch_prefix: str
) -> None:
    url, alias = opensearch_server.url, f"{opensearch_prefix}alias"
    lines = ({"index": {"_index": alias, "_id": "1"}}, {"n": 1})
    assert bulk(url, *lines, query="&require_alias=true") == [(404, "index_not_found_exception")]
    call(url, "PUT", f"/{opensearch_prefix}a", {"aliases": {alias: {}}})
    assert bulk(url, *lines, query="&require_alias=true") == [(201, "")]


def test_indexes_of_a_prefix_are_deleted_and_no_others(
    opensearch_server: OpenSearchEndpoint, opensearch_prefix: str
) -> None:
    url = opensearch_server.url
    for name in ("gone-1", "gone-2", "kept"):
        call(url, "PUT", f"/{opensearch_prefix}{name}")
    opensearch_server.delete_indexes(f"{opensearch_prefix}gone-")
    assert call(url, "GET", f"/{opensearch_prefix}gone-1")[0] == HTTPStatus.NOT_FOUND
    assert call(url, "GET", f"/{opensearch_prefix}gone-2")[0] == HTTPStatus.NOT_FOUND
    assert call(url, "GET", f"/{opensearch_prefix}kept")[0] == HTTPStatus.OK
    opensearch_server.delete_indexes(f"{opensearch_prefix}gone-")  # nothing is left


def test_data_and_port_survive_restart_and_crash() -> None:
    with OpenSearchServer() as server:
        pid, folder, url = server.pid, server.folder, server.url
        call(url, "PUT", "/kept", {"settings": {"number_of_replicas": 0}})
        bulk(url, {"index": {"_index": "kept", "_id": "1"}}, {"n": 7})
        server.restart()
        assert call(url, "GET", "/kept/_doc/1")[1]["_source"] == {"n": 7}
        server.kill()
        assert not server.endpoint.answers()
        server.start()
        assert server.url == url
        assert call(url, "GET", "/kept/_doc/1")[1]["_source"] == {"n": 7}
        assert server.pid not in {None, pid}
    assert not folder.exists()
    assert server.pid is None


def test_the_older_version_starts() -> None:
    with OpenSearchServer("2.19.1") as server:
        assert call(server.url, "GET", "/")[1]["version"]["number"] == "2.19.1"
        assert call(server.url, "PUT", "/a", INDEX)[0] == HTTPStatus.OK
