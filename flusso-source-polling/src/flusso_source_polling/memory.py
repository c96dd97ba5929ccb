"""What a reader remembers of its tables, in the state file, inside the transaction of a poll.

The rows that are known stand in *spans* of the keys, by the database's own order: a span is
compared as a whole, so that what is missing in it is gone, and nobody has to sort keys as the
database does.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from flusso_core.model import Key

# `json.dumps` would make an encoder for each row.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

MEMORY_TABLES = ("notes", "spans", "rows")
"""Where it is in the state file."""

_SUSPECT = -1
"""In place of a span's number."""


class Span(NamedTuple):
    """The keys above `lower` up to and with `upper`, and what the database made of them.

    Attributes:
        id: unique among the spans of a reader.
        lower: `None`: there is no bound.
        upper: `None`: there is no bound.
        digest: over the rows in it, by the database; `None`: there is none.
    """

    id: int
    lower: Key | None
    upper: Key | None
    digest: str | None = None


class Known(NamedTuple):
    """What is known of a row.

    Attributes:
        routing: the text of its routing columns (see `spell`).
        version: what changes when the row changes.
    """

    routing: str
    version: bytes


def spell(values: Sequence[str | None]) -> str:
    """A key or routing columns as one text, each in one way only."""
    return _encode(values)


def read(text: str) -> tuple[str | None, ...]:
    """What `spell` made a text of."""
    return tuple(json.loads(text))


class Memory:
    """One reader's part of the state file.

    Args:
        database: the state file, in a transaction.
        reader: the reader's number.
    """

    def __init__(self, database: sqlite3.Connection, reader: int) -> None:
        self._database = database
        self._reader = reader

    @property
    def is_new(self) -> bool:
        """Whether nothing is in it."""
        return not self._one(
            "SELECT (SELECT count(*) FROM notes WHERE reader = ?1) "
            "+ EXISTS (SELECT 1 FROM spans WHERE reader = ?1)"
        )

    # Notes

    def note(self, name: str) -> str | None:
        """A note; `None`: there is none."""
        row = self._database.execute(
            "SELECT value FROM notes WHERE reader = ? AND name = ?", (self._reader, name)
        ).fetchone()
        return None if row is None else str(row[0])

    def write(self, name: str, value: str | None) -> None:
        """Make a note, or remove it. One that is there already writes nothing."""
        if value is None:
            self._database.execute(
                "DELETE FROM notes WHERE reader = ? AND name = ?", (self._reader, name)
            )
        elif value != self.note(name):
            self._database.execute(
                "INSERT OR REPLACE INTO notes VALUES (?, ?, ?)", (self._reader, name, value)
            )

    # Spans

    def spans(self) -> list[Span]:
        """Every span; together they cover all keys. None: nothing was ever read."""
        rows = self._database.execute(
            "SELECT id, lower, upper, digest FROM spans WHERE reader = ? ORDER BY id",
            (self._reader,),
        ).fetchall()
        return [Span(number, _key(lower), _key(upper), last) for number, lower, upper, last in rows]

    def empty_spans(self) -> set[int]:
        """The ids of spans without rows."""
        found = self._database.execute(
            "SELECT id FROM spans WHERE reader = ? AND NOT EXISTS "
            "(SELECT 1 FROM rows WHERE rows.reader = spans.reader AND rows.span = spans.id)",
            (self._reader,),
        )
        return {number for (number,) in found}

    def put_span(self, span: Span) -> None:
        """Add a span, or put it in the place of the one with its id."""
        self._database.execute(
            "INSERT OR REPLACE INTO spans VALUES (?, ?, ?, ?, ?)",
            (self._reader, span.id, _text(span.lower), _text(span.upper), span.digest),
        )

    def drop_span(self, span: Span) -> None:
        """Remove a span that has no rows."""
        self._database.execute(
            "DELETE FROM spans WHERE reader = ? AND id = ?", (self._reader, span.id)
        )

    # Rows

    def count(self) -> int:
        """How many rows are known. Counts them."""
        return self._one("SELECT count(*) FROM rows WHERE reader = ?")

    def rows(self, keys: Iterable[str]) -> dict[str, Known]:
        """What is known of the rows with these keys."""
        return dict(self._known("key IN (SELECT value FROM json_each(?))", json.dumps(list(keys))))

    def rows_of(self, span: Span) -> dict[str, Known]:
        """What is known of the rows of a span."""
        return dict(self._known("span = ?", span.id))

    def suspect(self) -> None:
        """Rows that are in no span yet are gone, unless one of these brings them again: `learn`,
        `renew`.
        """
        self._database.execute(
            "UPDATE rows SET span = ? WHERE reader = ? AND span IS NULL", (_SUSPECT, self._reader)
        )

    def suspects(self, limit: int) -> dict[str, Known]:
        """Some of the rows that are."""
        return dict(self._known("span = ? LIMIT ?", _SUSPECT, limit))

    def all_rows(self) -> Iterator[tuple[str, Known]]:
        """Every known row. Nothing may be written meanwhile."""
        return self._known("true")

    def learn(self, span: Span, rows: Iterable[tuple[str, Known]]) -> None:
        """Know these rows, in that span."""
        self._database.executemany(
            "INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?)",
            [(self._reader, key, span.id, row.routing, row.version) for key, row in rows],
        )

    def renew(self, rows: Iterable[tuple[str, Known]]) -> None:
        """Know these rows, each in the span where it is; a new one is not placed yet."""
        self._database.executemany(
            "INSERT INTO rows VALUES (?, ?, NULL, ?, ?) ON CONFLICT DO UPDATE "
            "SET routing = excluded.routing, version = excluded.version, "
            f"span = nullif(span, {_SUSPECT})",
            [(self._reader, key, row.routing, row.version) for key, row in rows],
        )

    def forget(self, keys: Iterable[str]) -> None:
        """Know nothing of these rows any more."""
        self._database.executemany(
            "DELETE FROM rows WHERE reader = ? AND key = ?",
            [(self._reader, key) for key in keys],
        )

    def clear(self) -> None:
        """Know nothing any more."""
        for table in MEMORY_TABLES:
            self._database.execute(f"DELETE FROM {table} WHERE reader = ?", (self._reader,))

    def _known(self, which: str, *values: object) -> Iterator[tuple[str, Known]]:
        found = self._database.execute(
            f"SELECT key, routing, version FROM rows WHERE reader = ? AND {which}",
            (self._reader, *values),
        )
        return ((key, Known(routing, version)) for key, routing, version in found)

    def _one(self, statement: str) -> int:
        return int(self._database.execute(statement, (self._reader,)).fetchone()[0])


def _key(text: str | None) -> Key | None:
    return None if text is None else tuple(json.loads(text))


def _text(key: Key | None) -> str | None:
    return None if key is None else spell(key)
