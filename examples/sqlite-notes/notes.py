"""Makes notes.db, and writes a note into it: python notes.py "Buy milk #shopping"."""

from __future__ import annotations

import re
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime

TABLES = """
-- Readers and writers do not wait for each other in this mode; the file keeps it.
PRAGMA journal_mode = WAL;

CREATE TABLE IF NOT EXISTS folders (id INTEGER PRIMARY KEY, name TEXT NOT NULL);

CREATE TABLE IF NOT EXISTS notes (
    id          INTEGER PRIMARY KEY,
    folder_id   INTEGER REFERENCES folders,
    text        TEXT NOT NULL,
    written_at  TIMESTAMP NOT NULL,
    pinned      BOOLEAN NOT NULL DEFAULT FALSE,
    thrown_away BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE INDEX IF NOT EXISTS notes_by_folder ON notes (folder_id);

CREATE TABLE IF NOT EXISTS tags (id INTEGER PRIMARY KEY, label TEXT NOT NULL UNIQUE);

CREATE TABLE IF NOT EXISTS note_tags (
    note_id INTEGER REFERENCES notes,
    tag_id  INTEGER REFERENCES tags,
    PRIMARY KEY (note_id, tag_id)
);
CREATE INDEX IF NOT EXISTS note_tags_by_tag ON note_tags (tag_id);

CREATE TABLE IF NOT EXISTS comments (
    id      INTEGER PRIMARY KEY,
    note_id INTEGER REFERENCES notes,
    text    TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS comments_by_note ON comments (note_id);

INSERT OR IGNORE INTO folders VALUES (1, 'Home'), (2, 'Work');
"""

FIRST_NOTES = (
    (1, "Water the plants #home #weekly"),
    (2, "Ask for the figures of May #boss"),
    (2, "Reviewed: the plan for autumn"),
)


def write(connection: sqlite3.Connection, folder: int, text: str) -> None:
    """One note, with what is written as a #tag in it."""
    now = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
    with connection:
        note = connection.execute(
            "INSERT INTO notes (folder_id, text, written_at) VALUES (?, ?, ?)", (folder, text, now)
        ).lastrowid
        for label in set(re.findall(r"#(\w+)", text)):
            connection.execute("INSERT OR IGNORE INTO tags (label) VALUES (?)", (label,))
            connection.execute(
                "INSERT INTO note_tags SELECT ?, id FROM tags WHERE label = ?", (note, label)
            )


def main() -> None:
    """Write what was given; into a new file the first notes."""
    with closing(sqlite3.connect("notes.db")) as connection:
        connection.executescript(TABLES)
        (count,) = connection.execute("SELECT count(*) FROM notes").fetchone()
        for folder, text in FIRST_NOTES if not count else ():
            write(connection, folder, text)
        for text in sys.argv[1:]:
            write(connection, 1, text)


if __name__ == "__main__":
    main()
