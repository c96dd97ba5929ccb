"""Postgres for flusso: capture by logical replication, and documents assembled by the server."""
