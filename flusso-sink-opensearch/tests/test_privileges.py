"""The role in the documentation grants what the sink asks of a cluster."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from flusso_core.model import Rejection
from flusso_sandbox.endpoints import OpenSearchEndpoint
from flusso_sandbox.fault_proxy import FaultProxy

if TYPE_CHECKING:
    from conftest import Bench

pytestmark = pytest.mark.integration

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "secure-opensearch.md"

# The actions that the security plugin verifies for each request, as OpenSearch names them in its
# classes (`…Action.NAME`): those for the cluster, then those for indexes.
ACTIONS: list[tuple[str, list[str], list[str]]] = [
    (r"GET /", ["cluster:monitor/main"], []),
    (r"GET /_nodes/plugins", ["cluster:monitor/nodes/info"], []),
    (r"POST /_index_template/_simulate", ["indices:admin/index_template/simulate"], []),
    (
        r"POST (/[^/]+)?/_bulk",
        ["indices:data/write/bulk"],
        ["indices:data/write/bulk[s]", "indices:data/write/index", "indices:data/write/delete"],
    ),
    (r"POST /[^/]+/_mget", ["indices:data/read/mget"], ["indices:data/read/mget[shard]"]),
    (r"POST /[^/]+/_search", [], ["indices:data/read/search"]),
    (r"POST /_search/scroll", ["indices:data/read/scroll"], []),
    (r"DELETE /_search/scroll(/[^/]+)?", ["indices:data/read/scroll/clear"], []),
    (
        r"GET /_cat/indices/[^/]+",
        ["cluster:monitor/health", "cluster:monitor/state"],
        ["indices:monitor/settings/get", "indices:monitor/stats"],
    ),
    (r"POST /[^/]+/_count", [], ["indices:data/read/search"]),
    (r"GET /[^/]+/_doc/[^/]+", [], ["indices:data/read/get"]),
    (r"(PUT|POST) /[^/]+/_doc/[^/]+", ["indices:data/write/bulk"], ["indices:data/write/index"]),
    (r"PUT /[^/]+/_create/[^/]+", ["indices:data/write/bulk"], ["indices:data/write/index"]),
    (r"PUT /[^/_][^/]*", [], ["indices:admin/create", "indices:admin/aliases"]),
    (r"DELETE /[^/_][^/]*", [], ["indices:admin/delete"]),
    (r"DELETE /[^/]+/_doc/[^/]+", ["indices:data/write/bulk"], ["indices:data/write/delete"]),
    (r"GET /[^/_][^/]*", [], ["indices:admin/get"]),
    (r"GET /[^/]+/_stats/store", [], ["indices:monitor/stats"]),
    (r"HEAD /[^/_][^/]*", [], ["indices:admin/get"]),
    (r"POST /[^/]+/_refresh", [], ["indices:admin/refresh", "indices:admin/refresh[s]"]),
    (r"POST /_aliases", [], ["indices:admin/aliases"]),
    (r"GET (/[^/]+)?/_alias(/[^/]+)?", [], ["indices:admin/aliases/get"]),
    (r"PUT /[^/]+/_mapping", [], ["indices:admin/mapping/put"]),
    (r"GET /[^/]+/_mapping", [], ["indices:admin/mappings/get"]),
    (r"PUT /[^/]+/_settings", [], ["indices:admin/settings/update"]),
    (r"GET /[^/]+/_settings(/[^/]+)?", [], ["indices:monitor/settings/get"]),
]


def role() -> Any:
    """The role as the page has it."""
    (block,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return json.loads(block)


def is_granted(action: str, granted: list[str]) -> bool:
    return any(fnmatchcase(action.replace("[", "("), pattern) for pattern in granted)


async def whole_life(bench: Bench, url: str) -> None:
    """Have sinks do all that they can, where the Rust program has run."""
    theirs = f"{bench.prefix}users_a1b2c3d4"
    await bench.raw.indices.create(index=f"{theirs}_1")
    marker = {"active_generation": 1, "seeded": True}
    await bench.raw.index(index=f"{bench.prefix}flusso_meta", id=theirs, body=marker)
    first = await bench.users(url=url)
    assert await first.check() == []
    assert await first.check_index(bench.mapping) == []
    await first.store_records([bench.record(1)])
    refused = bench.document("2", 1, {"age": "x"})
    report = await first.flush([bench.document("1", 1, {"age": 1}), refused], caught_up=True)
    await first.quarantine(report.rejected)
    await first.quarantine([Rejection(bench.document("3", 1, {}), "no")])
    await first.flush([bench.document("2", 2, {"age": 1})], caught_up=False)
    listed = [entry async for entry in first.quarantined()]
    await first.drop_quarantined(listed)
    await first.serve_generation(bench.mapping, 1)
    await first.refresh("users")
    await first.renew()
    await first.release()
    second = await bench.users(url=url, settings={"mapping.nested_objects.limit": 77})
    assert (await second.load_records())["users"].position.order == 1
    ids = [one async for chunk in second.document_ids(bench.mapping, 1) for one in chunk]
    read = [one async for chunk in second.documents(bench.mapping, 1, ids) for one in chunk]
    assert sorted(one.id for one in read if one.body is not None) == ["1", "2"]
    assert await second.present(bench.mapping, 1, ["1", "3"]) == {"1"}
    await second.begin_generation(bench.mapping, 2)
    await second.serve_generation(bench.mapping, 2)
    await second.release()
    there = await second.generations("users")
    assert sorted([(one.foreign, one.serves) for one in there]) == [
        (False, False),
        (False, True),
        (True, False),
    ]
    for one in there:
        await second.size(one)
        if one.foreign:
            await second.drop_generation(one)
    icu = await bench.sink(url=url, acquire=False, text_analysis="icu")
    assert await icu.check() != []
    await bench.raw.indices.delete(index=bench.data)


async def test_the_documented_role_is_enough(
    bench: Bench, opensearch_server: OpenSearchEndpoint
) -> None:
    seen: set[str] = set()

    def note(request: web.Request) -> None:
        seen.add(f"{request.method} {request.path}")

    with FaultProxy(opensearch_server.url) as proxy:
        proxy.choose = note
        await whole_life(bench, proxy.url)
    granted = role()
    ((index,), cluster) = granted["index_permissions"], granted["cluster_permissions"]
    assert index["index_patterns"] == ["shop_*"]
    assert len(seen) > 20
    for request in sorted(seen):
        rules = [rule for rule in ACTIONS if re.fullmatch(rule[0], request)]
        assert rules, f"no rule says which privileges {request} needs"
        for _, for_cluster, for_indexes in rules[:1]:
            for action in for_cluster:
                assert action in cluster, request
            for action in for_indexes:
                assert is_granted(action, index["allowed_actions"]), f"{request}: {action}"
