"""A sink into a SQLite file: a row a document, a view an index, full-text search over all."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from flusso_core import (
    Document,
    Finding,
    FlushReport,
    Generation,
    GenerationSize,
    IndexMapping,
    Rejection,
    Severity,
    Sink,
    SinkCapabilities,
    SinkFatal,
    SinkUnavailable,
    StateRecord,
    StoredDocument,
    document_id_text,
)

T = TypeVar("T")
RECORD = TypeAdapter(StateRecord)
CHUNK = 500

TABLES = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS documents (
    rowid INTEGER PRIMARY KEY, index_name, generation, id, version, body,
    UNIQUE (index_name, generation, id)
);
CREATE TABLE IF NOT EXISTS generations (
    index_name, generation, schema_hash, serves, UNIQUE (index_name, generation)
);
CREATE TABLE IF NOT EXISTS records (index_name PRIMARY KEY, record);
CREATE TABLE IF NOT EXISTS writer (one PRIMARY KEY, epoch, until);
CREATE VIRTUAL TABLE IF NOT EXISTS search USING fts5 (text);
CREATE TRIGGER IF NOT EXISTS document_inserted AFTER INSERT ON documents BEGIN
    INSERT INTO search (rowid, text) SELECT new.rowid, group_concat(atom, ' ')
    FROM json_tree(new.body) WHERE type = 'text';
END;
CREATE TRIGGER IF NOT EXISTS document_deleted AFTER DELETE ON documents BEGIN
    DELETE FROM search WHERE rowid = old.rowid;
END;
"""


class SqliteSink(Sink):
    """Keeps documents as JSON in a file; the view `INDEX` has those that searches see."""

    def __init__(self, path: Path, *, lease_seconds: float = 15) -> None:
        self._path = path
        self._lease = lease_seconds
        self._epoch = 0

    @property
    def capabilities(self) -> SinkCapabilities:
        """Records and versions, one flush at a time, and documents can be read back."""
        return SinkCapabilities(records=True, versions=True, read_back=True)

    async def open(self) -> None:
        """Make the tables, unless they are there."""
        if not self._path.parent.is_dir():
            raise SinkFatal(f"the folder of {self._path} is missing; create it")
        await self._run(lambda db: db.executescript(TABLES))

    async def close(self) -> None:
        """Every piece of work has closed its own connection."""

    async def _run(self, work: Callable[[sqlite3.Connection], T], *, fenced: bool = False) -> T:
        """Do it in a thread and a transaction; `fenced`: only while this run is the writer."""

        def in_thread() -> T:
            # One that was cancelled may still be at work in its thread: they share nothing.
            with closing(sqlite3.connect(self._path, timeout=30, isolation_level=None)) as db:
                db.execute("PRAGMA synchronous = FULL")
                db.execute("BEGIN IMMEDIATE")
                if fenced and _epoch(db) != self._epoch:
                    raise SinkFatal(f"another run has taken {self._path} over")
                result = work(db)
                if db.in_transaction:
                    db.commit()
                return result

        try:
            return await asyncio.to_thread(in_thread)
        except sqlite3.OperationalError as error:
            raise SinkUnavailable(f"{self._path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise SinkFatal(f"{self._path}: {error}") from error

    # One writer at a time.

    async def acquire(self, owner: str) -> int:
        """Become the writer once no other run is, with a higher epoch than any before."""

        def take(db: sqlite3.Connection) -> int:
            found = db.execute("SELECT epoch, until FROM writer").fetchone() or (0, 0)
            if found[1] > time.time():
                return 0
            db.execute("DELETE FROM writer")
            values = (found[0] + 1, time.time() + self._lease)
            db.execute("INSERT INTO writer VALUES (1, ?, ?)", values)
            return values[0]

        while (epoch := await self._run(take)) == 0:  # noqa: ASYNC110  # a file tells nobody
            await asyncio.sleep(self._lease / 30)
        self._epoch = epoch
        return epoch

    async def renew(self) -> None:
        """Stay the writer."""
        until = time.time() + self._lease
        await self._run(lambda db: db.execute("UPDATE writer SET until = ?", [until]), fenced=True)

    async def release(self) -> None:
        """Let the next run begin at once."""
        mine = [self._epoch]
        await self._run(lambda db: db.execute("UPDATE writer SET until = 0 WHERE epoch = ?", mine))

    # What a restart needs.

    async def load_records(self) -> Mapping[str, StateRecord]:
        """What the last run knew of each index."""
        rows = await self._run(lambda db: db.execute("SELECT * FROM records").fetchall())
        return {index: RECORD.validate_json(record) for index, record in rows}

    async def store_records(self, records: Sequence[StateRecord]) -> None:
        """Remember it, durably."""
        rows = [(record.index, RECORD.dump_json(record)) for record in records]
        statement = "INSERT OR REPLACE INTO records VALUES (?, ?)"
        await self._run(lambda db: db.executemany(statement, rows), fenced=True)

    # Generations: a new one is filled while the old one serves.

    async def generations(self, index: str) -> Sequence[Generation]:
        """Those that were begun and not dropped."""
        statement = "SELECT generation, schema_hash, serves FROM generations WHERE index_name = ?"
        rows = await self._run(lambda db: db.execute(statement, [index]).fetchall())
        return [Generation(index, number, schema, bool(serves)) for number, schema, serves in rows]

    async def begin_generation(self, mapping: IndexMapping, generation: int) -> None:
        """Take writes to it from now on."""
        row = (mapping.index, generation, mapping.schema_hash)
        statement = "INSERT OR IGNORE INTO generations VALUES (?, ?, ?, FALSE)"
        await self._run(lambda db: db.execute(statement, row), fenced=True)

    async def serve_generation(self, mapping: IndexMapping, generation: int) -> None:
        """Let the view show it; nobody sees a half."""

        def serve(db: sqlite3.Connection) -> None:
            db.execute(f'DROP VIEW IF EXISTS "{mapping.index}"')
            db.execute(
                f'CREATE VIEW "{mapping.index}" AS SELECT rowid AS row, id, body FROM documents '
                f"WHERE index_name = '{mapping.index}' AND generation = {generation} "
                "AND body NOT NULL"
            )
            statement = "UPDATE generations SET serves = generation = ? WHERE index_name = ?"
            db.execute(statement, (generation, mapping.index))

        await self._run(serve, fenced=True)

    async def drop_generation(self, generation: Generation) -> None:
        """Forget it and its documents, unless searches see them."""
        where = (generation.index, generation.number)

        def drop(db: sqlite3.Connection) -> None:
            serves = "SELECT 1 FROM generations WHERE index_name = ? AND generation = ? AND serves"
            if db.execute(serves, where).fetchone():
                raise SinkFatal(f"generation {generation.number} of {generation.index} serves")
            for table in ("documents", "generations"):
                statement = f"DELETE FROM {table} WHERE index_name = ? AND generation = ?"
                db.execute(statement, where)

        await self._run(drop)

    async def size(self, generation: Generation) -> GenerationSize:
        """Count its documents, without those that were deleted."""
        where = (generation.index, generation.number)

        def measure(db: sqlite3.Connection) -> GenerationSize:
            there = "SELECT 1 FROM generations WHERE index_name = ? AND generation = ?"
            if db.execute(there, where).fetchone() is None:
                return GenerationSize()
            count = (
                "SELECT count(*), coalesce(sum(length(CAST(body AS BLOB))), 0) FROM documents "
                "WHERE index_name = ? AND generation = ? AND body NOT NULL"
            )
            return GenerationSize(*db.execute(count, where).fetchone())

        return await self._run(measure)

    async def document_ids(
        self, mapping: IndexMapping, generation: int
    ) -> AsyncGenerator[Sequence[str], None]:
        """Page by page, in their order."""
        statement = (
            "SELECT id FROM documents WHERE index_name = ? AND generation = ? AND id > ? "
            f"AND body NOT NULL ORDER BY id LIMIT {CHUNK}"
        )
        last = ""
        while True:
            where = (mapping.index, generation, last)
            rows = await self._run(partial(_rows, statement, where))
            if not rows:
                return
            yield [row[0] for row in rows]
            last = rows[-1][0]

    async def documents(
        self, mapping: IndexMapping, generation: int, ids: Sequence[str]
    ) -> AsyncGenerator[Sequence[StoredDocument], None]:
        """As they are in the file, a chunk of ids at a time."""
        for at in range(0, len(ids), CHUNK):
            chunk = ids[at : at + CHUNK]
            statement = (
                "SELECT id, body, version FROM documents WHERE index_name = ? AND generation = ? "
                f"AND body NOT NULL AND id IN ({', '.join('?' * len(chunk))})"
            )
            where = (mapping.index, generation, *chunk)
            rows = await self._run(partial(_rows, statement, where))
            found = {row[0]: StoredDocument(row[0], row[1].encode(), row[2]) for row in rows}
            yield [found.get(one, StoredDocument(one, None, 0)) for one in chunk]

    # Documents.

    async def flush(self, documents: Sequence[Document], *, caught_up: bool) -> FlushReport:
        """Write the documents in one transaction."""

        def write(db: sqlite3.Connection) -> None:
            for document in documents:
                _write(db, document)

        await self._run(write, fenced=True)
        return FlushReport()

    async def quarantine(self, rejections: Sequence[Rejection]) -> None:
        """Never called: `flush` refuses nothing."""

    async def check(self) -> Sequence[Finding]:
        """Whether there is a place for the file."""
        if self._path.parent.is_dir():
            return ()
        return (Finding(Severity.ERROR, str(self._path), "its folder is missing", "create it"),)


def _rows(
    statement: str, values: Sequence[object], db: sqlite3.Connection
) -> Sequence[tuple[Any, ...]]:
    return db.execute(statement, values).fetchall()


def _epoch(db: sqlite3.Connection) -> int:
    row = db.execute("SELECT epoch FROM writer").fetchone()
    return row[0] if row else 0


def _write(db: sqlite3.Connection, document: Document) -> None:
    """Write a document, or remember that it is deleted, unless a newer version is there."""
    index, generation, key = document.id
    where = (index, generation, document_id_text(key))
    begun = "SELECT 1 FROM generations WHERE index_name = ? AND generation = ?"
    if db.execute(begun, where[:2]).fetchone() is None:
        raise SinkFatal(f"generation {generation} of {index} was not begun")
    match = "index_name = ? AND generation = ? AND id = ?"
    found = db.execute(f"SELECT version FROM documents WHERE {match}", where).fetchone()
    if found and found[0] >= document.version:
        return
    body = None if document.body is None else document.body.decode()
    db.execute(f"DELETE FROM documents WHERE {match}", where)
    values = (*where, document.version, body)
    db.execute("INSERT INTO documents VALUES (NULL, ?, ?, ?, ?, ?)", values)
