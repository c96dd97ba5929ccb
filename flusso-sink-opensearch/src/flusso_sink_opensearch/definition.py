"""What an index is made with: its mappings and settings."""

from __future__ import annotations

from flusso_core.model import IndexMapping, JsonValue
from flusso_sink_opensearch.mapping import Properties, index_analysis, index_mappings
from flusso_sink_opensearch.naming import Names
from flusso_sink_opensearch.options import OpenSearchOptions

FIRST_GENERATION = 1
_NO_REFRESH = "-1"


def gc_deletes_seconds(timeout_secs: float) -> int:
    """Seconds for which the cluster remembers the version of a deleted document.

    It must be longer than a request can live, so that a write that arrives late does not bring a
    deleted document back (`index.gc_deletes`, one minute where nobody sets it). A request that
    this side gave up after `timeout_secs` may still wait in the server's queue or in a proxy:
    ten times that, and five minutes.
    """
    return round(timeout_secs * 10) + 300


def mappings(mapping: IndexMapping, options: OpenSearchOptions) -> Properties:
    """The `mappings` of a new index."""
    return index_mappings(mapping, auto_subfields=options.auto_subfields)


def settings(mapping: IndexMapping, options: OpenSearchOptions) -> Properties:
    """The index settings of a new index; until it serves, nothing refreshes it."""
    return {
        "gc_deletes": f"{gc_deletes_seconds(options.timeout_secs)}s",
        # On by default, it makes a refresh wait for merges, for seconds under load
        # (IndexSettings.INDEX_MERGE_ON_FLUSH_ENABLED).
        "merge_on_flush.enabled": False,
        **options.settings,
        "number_of_shards": options.number_of_shards,
        "number_of_replicas": options.number_of_replicas,
        "refresh_interval": _NO_REFRESH,
        "analysis": index_analysis(mapping, options.text_analysis),
    }


def describe(mapping: IndexMapping, options: OpenSearchOptions, prefix: str) -> Properties:
    """The index as it serves searches when it has been filled for the first time."""
    names = Names(prefix)
    aliases: dict[str, JsonValue] = {
        names.logical(mapping.index): {},
        names.schema(mapping.index, mapping.schema_hash): {},
    }
    serving = {**settings(mapping, options), "refresh_interval": options.refresh_interval}
    return {
        "index": names.data(mapping.index, mapping.schema_hash, FIRST_GENERATION),
        "aliases": aliases,
        "mappings": mappings(mapping, options),
        "settings": {"index": serving},
    }
