"""Following a cursor, one poll at a time."""
