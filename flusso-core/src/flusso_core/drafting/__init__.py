"""Writes first schema files for people: from a database's catalogue, from another tool's files."""

from flusso_core.drafting.from_catalogue import draft_schema, nearest_tables
from flusso_core.drafting.text import FieldDraft, SchemaDraft, schema_text

__all__ = ["FieldDraft", "SchemaDraft", "draft_schema", "nearest_tables", "schema_text"]
