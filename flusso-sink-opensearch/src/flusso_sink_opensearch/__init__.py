"""OpenSearch for flusso: typed mappings, bulk writes, generations behind an alias."""
