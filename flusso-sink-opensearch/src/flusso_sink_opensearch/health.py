"""What stands in the way of writing to a cluster, found without changing anything."""

from __future__ import annotations

from collections.abc import Sequence

from flusso_core.model import Finding, Severity
from flusso_sink_opensearch.client import Cluster
from flusso_sink_opensearch.naming import Names
from flusso_sink_opensearch.options import OpenSearchOptions, TextAnalysis

OLDEST_VERSION = (2, 12)
"""The first whose alias actions know `must_exist`, on which taking over relies."""


async def check_cluster(
    cluster: Cluster, names: Names, options: OpenSearchOptions
) -> Sequence[Finding]:
    """Whether the cluster answers, is OpenSearch, lets this user in, and has the plugins.

    Raises:
        SinkUnavailable: it cannot be reached.
        SinkFatal: it refuses this user.
    """
    with cluster.errors("connecting"):
        info = await cluster.client.info()
    version = info.get("version", {})
    number = str(version.get("number", "unknown"))
    if version.get("distribution") != "opensearch":
        message = f"what answers here is not OpenSearch (its version is {number})"
        return [Finding(Severity.ERROR, cluster.url, message, "check the URL")]
    findings: list[Finding] = []
    if _parse_version(number) < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        message = f"OpenSearch {number} is older than {oldest}, the oldest that flusso works with"
        findings.append(Finding(Severity.ERROR, cluster.url, message, "upgrade the cluster"))
    with cluster.errors(f"listing the indexes of the prefix {names.prefix!r}"):
        await cluster.client.indices.get_alias(
            index=f"{names.prefix}*", params={"expand_wildcards": "all"}
        )
    if options.text_analysis is TextAnalysis.ICU:
        findings += await _check_icu(cluster)
    return findings


async def _check_icu(cluster: Cluster) -> Sequence[Finding]:
    with cluster.errors("listing the plugins of the nodes"):
        answer = await cluster.client.nodes.info(
            metric="plugins", params={"filter_path": "nodes.*.name,nodes.*.plugins.name"}
        )
    lacking = sorted(
        str(node.get("name"))
        for node in answer.get("nodes", {}).values()
        if "analysis-icu" not in {plugin["name"] for plugin in node.get("plugins", ())}
    )
    if not lacking:
        return []
    message = f"text_analysis is icu, but {', '.join(lacking)} has no plugin analysis-icu"
    cure = "run `opensearch-plugin install analysis-icu` on every node and restart it"
    return [Finding(Severity.ERROR, cluster.url, message, cure)]


def _parse_version(number: str) -> tuple[int, ...]:
    parts = number.split("-", maxsplit=1)[0].split(".")[:2]
    return tuple(int(part) for part in parts if part.isdecimal())
