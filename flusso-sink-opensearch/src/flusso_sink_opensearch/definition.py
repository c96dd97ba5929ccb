"""What an index is made with: its mappings and settings."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from flusso_core.model import IndexMapping, JsonValue
from flusso_sink_opensearch.mapping import Properties, index_analysis, index_mappings
from flusso_sink_opensearch.naming import Names
from flusso_sink_opensearch.options import OpenSearchOptions
from flusso_sink_opensearch.settings import IndexSettings, SettingsOf

FIRST_GENERATION = 1


@dataclass(frozen=True, slots=True)
class Definition:
    """What the indexes of a sink are made with."""

    options: OpenSearchOptions
    own_settings: SettingsOf

    def mappings(self, mapping: IndexMapping) -> Properties:
        """The `mappings` of a new index."""
        return index_mappings(mapping, auto_subfields=self.options.auto_subfields)

    def analysis(self, mapping: IndexMapping) -> Properties:
        """The `analysis` settings of a new index."""
        return index_analysis(mapping, self.options.text_analysis)

    def settings(self, mapping: IndexMapping) -> IndexSettings:
        """All other settings."""
        return self.own_settings.of(mapping.index)

    def seeding(self, mapping: IndexMapping) -> Properties:
        """All settings of a new index, until it serves."""
        return {**self.settings(mapping).seeding, "analysis": self.analysis(mapping)}

    def made_with(self, mapping: IndexMapping) -> str:
        """A digest of what an index is made with and cannot be given later.

        It is of what the options ask for, and not of what a cluster makes of that.
        """
        fixed = [
            self.mappings(mapping),
            self.analysis(mapping),
            self.settings(mapping).fixed,
        ]
        return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()[:16]

    def describe(self, mapping: IndexMapping, prefix: str) -> Properties:
        """The index as it serves searches when it has been filled for the first time."""
        names = Names(prefix)
        aliases: dict[str, JsonValue] = {
            names.logical(mapping.index): {},
            names.schema(mapping.index, mapping.schema_hash): {},
        }
        serving = {**self.settings(mapping).serving, "analysis": self.analysis(mapping)}
        return {
            "index": names.data(mapping.index, mapping.schema_hash, FIRST_GENERATION),
            "aliases": aliases,
            "mappings": self.mappings(mapping),
            "settings": {"index": serving},
        }
