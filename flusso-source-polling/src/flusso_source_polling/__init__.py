"""Capture by polling and a portable document builder, for databases without logical replication."""
