"""SQLite for flusso: documents as JSON rows in a file, with full-text search."""
