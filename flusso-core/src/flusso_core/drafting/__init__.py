"""Writes first schema files for people: from a database's catalogue, from another tool's files."""

from flusso_core.drafting.from_catalogue import draft_schema, nearest_tables
from flusso_core.drafting.from_pgsync import Migrated, Unmatched, migrate_pgsync
from flusso_core.drafting.pgsync_format import parse_pgsync
from flusso_core.drafting.text import FieldDraft, SchemaDraft, schema_text

__all__ = [
    "FieldDraft",
    "Migrated",
    "SchemaDraft",
    "Unmatched",
    "draft_schema",
    "migrate_pgsync",
    "nearest_tables",
    "parse_pgsync",
    "schema_text",
]
