"""The state file: what makes a stream of polls outlive the process, as a replication slot does.

It is a SQLite file with three parts:

- the *stream*: who it is, of which database, and up to where it is confirmed;
- the *journal*: changes that polls have found and nobody has confirmed, with the position of
  their poll;
- the *memory*: what each reader knows of its tables (see `memory`).

One poll is one transaction, so that what was found and what is remembered never disagree,
wherever the process is killed. One process has the file as long as it is open.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Collection, Generator, Iterable
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from flusso_core.errors import SourceError, SourceFatal, SourceUnavailable
from flusso_core.model import Change, Operation, TableName
from flusso_source_polling.memory import MEMORY_TABLES, Memory

FORMAT = "1"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS stream (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS journal (
    position INTEGER NOT NULL, -- of the poll
    number INTEGER NOT NULL,   -- rises within the poll
    found REAL NOT NULL,       -- when the poll began, in seconds since the epoch
    body TEXT NOT NULL,
    PRIMARY KEY (position, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS readers (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE IF NOT EXISTS notes (
    reader INTEGER NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (reader, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spans (
    reader INTEGER NOT NULL,
    id INTEGER NOT NULL,
    lower TEXT, -- a key; NULL: there is no bound
    upper TEXT,
    digest TEXT,
    PRIMARY KEY (reader, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rows (
    reader INTEGER NOT NULL,
    key TEXT NOT NULL,
    span INTEGER, -- NULL: not known yet
    routing TEXT NOT NULL,
    version BLOB NOT NULL,
    PRIMARY KEY (reader, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS rows_by_span ON rows (reader, span);
"""

_TABLES = ("stream", "journal", "readers", *MEMORY_TABLES)
_AT_ONCE = 1000
_RESERVED = 100_000
"""Positions that are set aside at once, so that a poll that finds nothing writes nothing."""

# Result codes of SQLite (https://sqlite.org/rescode.html): busy, locked, read-only for now or by
# its folder, I/O error, full, cannot open. Someone may make room, or end the other process.
_PASSES = frozenset({5, 6, 8, 10, 13, 14})


@dataclass(frozen=True, slots=True)
class Entry:
    """A change in the journal.

    Attributes:
        position: of the poll that found it.
        number: rises with the changes of that poll.
        found: when the poll began, in seconds since the epoch.
    """

    position: int
    number: int
    found: float
    change: Change


class StateFile:
    """The file, for one thread at a time: every call waits for its turn.

    Args:
        path: where it is, its folder exists; `None`: a temporary one that ends with the process.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._turn = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._position = self._reserved = 0
        self._pending = 0
        self._number = 0  # of the last change that this process has added to the journal
        self.stream = ""

    @property
    def is_open(self) -> bool:
        """Whether this process has the file."""
        return self._connection is not None

    def open(self, database: str) -> None:
        """Take the file, or make it.

        What it holds of another database is forgotten: the stream is then another one. Blocks.

        Args:
            database: what tells the database from every other one.

        Raises:
            SourceUnavailable: another process has it, or there is no room.
            SourceFatal: it is no state file, and is left as it is.
        """
        with self._turn, self._errors():
            if self._connection is None:
                self._connection = self._made()
            with self.transaction():
                if self._get("format") not in (None, FORMAT):
                    raise SourceFatal(
                        f"the state file {self.path} is of another version of flusso "
                        f"(format {self._get('format')}); {_CURE}"
                    )
                same = self._get("database") == database
                if not same:
                    self._begin(database)
                # The clock's, where an older copy of the file was put back.
                self._position = max(int(self._get("reserved") or 0), time.time_ns())
                self._reserved = 0
                if not same:
                    self._set("confirmed", str(self.next_position()))
                self.stream = self._get("stream") or ""
                (self._pending,) = self._sql("SELECT count(*) FROM journal").fetchone()

    def renew(self) -> None:
        """Forget everything: what comes from now on is another stream."""
        with self.transaction():
            self._begin(self._get("database") or "")
            self._reserved = 0
            self._set("confirmed", str(self.next_position()))
            self.stream = self._get("stream") or ""
            self._pending = 0

    def remove(self, *, dry_run: bool) -> bool:
        """Delete the file, and say whether it was there. Blocks.

        Args:
            dry_run: leave it.

        Raises:
            SourceUnavailable: another process has it.
            SourceFatal: it is no state file.
        """
        if self.path is None or not self.path.exists():
            return False
        with self._errors(), closing(self._connect()) as connection:
            known = _tables(connection) >= {*_TABLES}
        if not known:
            raise SourceFatal(f"{self.path} is no state file of flusso; nothing was removed")
        if not dry_run:
            self.path.unlink()
        return True

    def close(self) -> None:
        """Let go of the file. Blocks; may be called more than once."""
        with self._turn:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    @contextmanager
    def transaction(self) -> Generator[None, None, None]:
        """All or nothing of what is written inside. Durable when it ends.

        Raises:
            SourceUnavailable: there is no room on the disk, or it fails.
            SourceFatal: the file is damaged.
        """
        with self._turn, self._errors():
            database = self._opened()
            pending, reserved = self._pending, self._reserved
            inner = database.in_transaction
            if not inner:
                database.execute("BEGIN IMMEDIATE")
            try:
                yield
                if not inner:
                    database.execute("COMMIT")
            except BaseException:
                self._pending, self._reserved = pending, reserved
                if not inner and database.in_transaction:  # a full disk may have ended it
                    database.execute("ROLLBACK")
                raise

    # The stream

    def next_position(self) -> int:
        """A position that is higher than any before, in this run and in earlier ones."""
        with self.transaction():
            self._position += 1
            if self._position > self._reserved:
                self._reserved = self._position + _RESERVED
                self._set("reserved", str(self._reserved))
            return self._position

    @property
    def confirmed(self) -> int:
        """The position up to which the stream is confirmed; at first, where it began."""
        with self._turn, self._errors():
            return int(self._get("confirmed") or 0)

    def confirm(self, position: int) -> None:
        """Remember the position, and forget the changes up to it."""
        with self.transaction():
            found = self._sql("DELETE FROM journal WHERE position <= ?", position).rowcount
            self._pending -= found
            self._set("confirmed", str(position))

    # The journal

    @property
    def pending(self) -> int:
        """Changes in the journal."""
        return self._pending

    def append(self, position: int, found: float, changes: Iterable[Change]) -> int:
        """Add what a poll finds, as it comes, and return how many changes that were."""
        count = 0
        remaining = iter(changes)
        with self.transaction():
            while some := list(islice(remaining, _AT_ONCE)):
                self._opened().executemany(
                    "INSERT INTO journal VALUES (?, ?, ?, ?)",
                    [
                        (position, self._number + at, found, _body(one))
                        for at, one in enumerate(some)
                    ],
                )
                self._number += len(some)
                count += len(some)
            self._pending += count
        return count

    def read(self, position: int, number: int, limit: int) -> list[Entry]:
        """The next changes behind that one, in order."""
        with self._turn, self._errors():
            rows = self._sql(
                "SELECT position, number, found, body FROM journal "
                "WHERE (position, number) > (?, ?) ORDER BY position, number LIMIT ?",
                position,
                number,
                limit,
            ).fetchall()
        return [
            Entry(position, number, found, _change(body)) for position, number, found, body in rows
        ]

    # The memory

    def memory(self, reader: str) -> Memory:
        """What a reader remembers; use it within a transaction."""
        with self.transaction():
            self._sql("INSERT OR IGNORE INTO readers (name) VALUES (?)", reader)
            (number,) = self._sql("SELECT id FROM readers WHERE name = ?", reader).fetchone()
            return Memory(self._opened(), number)

    def retain(self, readers: Collection[str]) -> None:
        """Forget what any other reader remembers."""
        with self.transaction():
            for number, name in self._sql("SELECT id, name FROM readers").fetchall():
                if name not in readers:
                    Memory(self._opened(), number).clear()
                    self._sql("DELETE FROM readers WHERE id = ?", number)

    def _begin(self, database: str) -> None:
        for table in _TABLES:
            self._sql(f"DELETE FROM {table}")  # names from above
        self._set("format", FORMAT)
        self._set("database", database)
        self._set("stream", uuid.uuid4().hex)

    def _get(self, name: str) -> str | None:
        row = self._sql("SELECT value FROM stream WHERE name = ?", name).fetchone()
        return None if row is None else str(row[0])

    def _set(self, name: str, value: str) -> None:
        self._sql("INSERT OR REPLACE INTO stream VALUES (?, ?)", name, value)

    def _sql(self, statement: str, *values: object) -> sqlite3.Cursor:
        return self._opened().execute(statement, values)

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise SourceFatal("the polling capture is not provisioned")
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        # An empty name is SQLite's own for a file that nobody else sees and that ends with it.
        connection = sqlite3.connect(
            self.path or "", timeout=0, check_same_thread=False, isolation_level=None
        )
        # One process has the file, until it is closed or killed (SQLite manual, "PRAGMA
        # locking_mode"). This alone neither reads nor writes.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        return connection

    def _made(self) -> sqlite3.Connection:
        """The file, with its tables."""
        connection = self._connect()
        try:
            tables, ours = _tables(connection), {*_TABLES}
            # Fewer: one that was killed while it made them. More: a later version's.
            if not (tables <= ours or tables >= ours):
                raise SourceFatal(
                    f"{self.path} is a database, but no state file of flusso; name another file in "
                    "[source] state"
                )
            # FULL makes each commit durable (SQLite manual, "PRAGMA synchronous").
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.executescript(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _errors(self) -> Generator[None, None, None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._error(error) from error

    def _error(self, error: sqlite3.Error) -> SourceError:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code == sqlite3.SQLITE_BUSY:
            return SourceUnavailable(f"another process has the state file {self.path}")
        message = f"the state file {self.path} cannot be used: {error}"
        if code in _PASSES:
            return SourceUnavailable(f"{message}; nothing is lost, polling waits for it")
        return SourceFatal(f"{message}; {_CURE}")


_CURE = "remove it: every index is then filled afresh"


def _tables(connection: sqlite3.Connection) -> set[str]:
    """The names of a file's tables."""
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return {str(name) for (name,) in names}


def _body(change: Change) -> str:
    name = change.table
    return json.dumps(
        (name.schema, name.name, change.operation.value, change.before, change.after),
        ensure_ascii=False,
        separators=(",", ":"),
    )


def _change(body: str) -> Change:
    schema, name, operation, before, after = json.loads(body)
    return Change(TableName(schema, name), Operation(operation), before, after)
