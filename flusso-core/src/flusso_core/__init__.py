"""flusso: keep search indexes in step with a database."""
