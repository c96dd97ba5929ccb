"""The settings of an index: what it is made with, while it is filled, and when it serves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from flusso_core.errors import ConfigError
from flusso_core.model import JsonValue
from flusso_sink_opensearch.options import OpenSearchOptions, flat_settings

Settings: TypeAlias = dict[str, JsonValue]

FIXED_SETTINGS = frozenset(
    {
        "allocation.existing_shards_allocator",
        "append_only.enabled",
        "check_pending_flush.enabled",
        "codec",
        "codec.compression_level",
        "composite_index",
        "context_aware.enabled",
        "derived_source.enabled",
        "fielddata.cache",
        "force_memory_term_dictionary",
        "load_fixed_bitset_filters_eagerly",
        "mapping.coerce",
        "mapping.ignore_malformed",
        "merge.policy",
        "number_of_routing_shards",
        "number_of_shards",
        "number_of_virtual_shards",
        "percolator.map_unmapped_fields_as_text",
        "queries.cache.enabled",
        "query.parse.allow_unmapped_fields",
        "query_string.lenient",
        "replication.type",
        "routing_partition_size",
        "shard.check_on_startup",
        "soft_deletes.enabled",
        "use_compound_file",
    }
)
"""Settings that are given to an index when it is made and never again, without `index.`.

They are those that `IndexScopedSettings.BUILT_IN_INDEX_SETTINGS` does not declare dynamic, but for
what a server sets by itself. Of any other one that a live index refuses, a plugin's for one, it is
said that it takes effect when the index is made anew.
"""

_FIXED_GROUPS = ("composite_index.", "similarity.", "sort.", "store.")

_REPLICAS = "number_of_replicas"
_REFRESH = "refresh_interval"
_NEVER = "-1"


def gc_deletes_seconds(timeout_secs: float) -> int:
    """Seconds for which the cluster remembers the version of a deleted document.

    It must be longer than a request can live, so that a write that arrives late does not bring a
    deleted document back (`index.gc_deletes`, one minute where nobody sets it). A request that
    this side gave up after `timeout_secs` may still wait in the server's queue or in a proxy:
    ten times that, and five minutes.
    """
    return round(timeout_secs * 10) + 300


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """The settings that the configuration gives an index, by flat names without `index.`.

    Attributes:
        serving: of an index that searches see.
    """

    serving: Mapping[str, JsonValue]

    @property
    def seeding(self) -> Settings:
        """While the index is filled: nothing is refreshed, and nothing copied.

        Copies are made from the finished files when the index begins to serve, for a fraction of
        what indexing every document on each of them would take.
        """
        copies: Settings = {_REPLICAS: 0} if _REPLICAS in self.serving else {}
        return {**self.seeding_with_replicas, **copies}

    @property
    def seeding_with_replicas(self) -> Settings:
        """As `seeding`, for clusters that take no index without its copies."""
        return {**self.serving, _REFRESH: _NEVER}

    @property
    def still_seeding(self) -> Settings:
        """As `seeding`, for an index that has been begun: it keeps the copies that it has."""
        return {name: value for name, value in self.seeding.items() if name != _REPLICAS}

    @property
    def fixed(self) -> Settings:
        """What the index is made with and cannot be given later."""
        return {name: value for name, value in self.serving.items() if is_fixed(name)}

    @property
    def on_serving(self) -> Settings:
        """What changes when a filled index begins to serve."""
        return {name: self.serving[name] for name in (_REPLICAS, _REFRESH) if name in self.serving}


@dataclass(frozen=True, slots=True)
class SettingsOf:
    """The settings of each index, from the sink's options and those of a single index.

    Attributes:
        options: for all indexes.
        own: of single indexes, by logical name; they win.

    Raises:
        ConfigError: a single index's settings say something about analysis.
    """

    options: OpenSearchOptions
    own: Mapping[str, Mapping[str, JsonValue]] = field(
        default_factory=dict[str, Mapping[str, JsonValue]]
    )

    def __post_init__(self) -> None:
        for index, given in self.own.items():
            try:
                flat_settings(given)
            except ValueError as error:
                msg = f"the settings of the index {index!r}: {error}"
                raise ConfigError(msg) from error

    def of(self, index: str) -> IndexSettings:
        """The settings of one index."""
        options = self.options
        serving: Settings = {
            "gc_deletes": f"{gc_deletes_seconds(options.timeout_secs)}s",
            # On by default, it makes a refresh wait for merges, for seconds under load
            # (IndexSettings.INDEX_MERGE_ON_FLUSH_ENABLED).
            "merge_on_flush.enabled": False,
            **options.settings,
            "number_of_shards": options.number_of_shards,
            _REPLICAS: options.number_of_replicas,
            _REFRESH: options.refresh_interval,
            **flat_settings(self.own.get(index, {})),
        }
        if serving.get("auto_expand_replicas", False) not in (False, "false"):
            del serving[_REPLICAS]
        return IndexSettings(serving)


def is_fixed(name: str) -> bool:
    """Whether only a new index takes a setting, by its flat name without `index.`."""
    return name in FIXED_SETTINGS or name.startswith(_FIXED_GROUPS)


def differing(wanted: Mapping[str, JsonValue], found: Mapping[str, Any]) -> Iterator[str]:
    """Names of the settings that an index does not have as wanted.

    Args:
        wanted: by flat names without `index.`.
        found: as the server gives them with `flat_settings`: by flat names, values as text.
    """
    for name, value in wanted.items():
        if found.get(f"index.{name}") != _as_text(value):
            yield name


def _as_text(value: JsonValue) -> str | list[str] | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Sequence):
        return [str(_as_text(item)) for item in value]
    return str(value)
