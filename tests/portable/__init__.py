"""Random tables and schemas on several databases at once, whose documents must be the same."""
