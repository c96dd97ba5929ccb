"""SQL text from a completed schema and the catalogue: pure functions, no connection.

Every statement is for `psycopg.AsyncRawCursor` (`$1` parameters). Identifiers and literals are
quoted by psycopg; the one thing that is taken as it is are the schema's raw filters.
"""
