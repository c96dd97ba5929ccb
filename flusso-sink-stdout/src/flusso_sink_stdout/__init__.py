"""Standard output for flusso: documents as lines of JSON."""
