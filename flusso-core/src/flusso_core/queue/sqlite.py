"""A durable queue in a file of its own: SQLite in WAL mode.

What it has taken outlives the process, so the source is confirmed when the queue has a batch, not
when the sink has it. One file serves one lane of one process.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from flusso_core.errors import EngineError, SinkUnavailable
from flusso_core.interfaces import Backlog, Queue
from flusso_core.model import ChangeBatch, Position, StreamIdentity

T = TypeVar("T")

DEFAULT_CAPACITY = 10_000_000
DEFAULT_MAX_BYTES = 4 * 1024**3

_FORMAT = 1
_AT_HAND = 8192
"""Changes that are kept in memory; what waits behind them is read from the file."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS batches (
    number INTEGER PRIMARY KEY, -- in the order of the stream
    position INTEGER,           -- NULL: the commit ends in a later batch
    token TEXT,
    size INTEGER NOT NULL,      -- in changes, at least 1
    body BLOB NOT NULL
) STRICT;
"""

_BATCH = TypeAdapter(ChangeBatch)


class SqliteQueueOptions(BaseModel):
    """The `[queue]` table of the type `sqlite`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    path: str = Field(
        min_length=1,
        description="A folder on a local disk; each sink has a file in it. Made where it is not.",
    )
    capacity: int = Field(
        default=DEFAULT_CAPACITY,
        ge=1,
        description="How many changes wait at most; a capture blocks while there is no room.",
    )
    max_bytes: int = Field(
        default=DEFAULT_MAX_BYTES,
        ge=1,
        description="How many bytes of changes wait at most, in the file.",
    )


def file_of(folder: str, lane: str) -> Path:
    """The file of a sink's queue."""
    return Path(folder) / f"{quote(lane, safe='')}.queue"


class SqliteQueue(Queue):
    """Carries batches in order, and keeps each until its changes are durable at the sink.

    Args:
        file: where it is kept; its folder is made where it is missing.
        capacity: the bound of what waits, in changes; a batch without any counts as one.
        max_bytes: the same in bytes. A batch beyond either bound goes in once nothing waits.
    """

    durable = True

    def __init__(
        self,
        file: Path,
        *,
        capacity: int = DEFAULT_CAPACITY,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        self._file = file
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._store = _Store(file)
        self._held = 0
        self._bytes = 0
        self._put = self._taken = 0  # numbers of the last batch that was put, and taken
        # The next ones to be taken, with number, size and bytes.
        self._at_hand: deque[tuple[int, int, int, ChangeBatch]] = deque()
        self._turn = asyncio.Lock()
        self._room = asyncio.Event()
        self._filled = asyncio.Event()

    @property
    def held(self) -> int:
        """How many changes wait to be taken."""
        return self._held

    @property
    def stored(self) -> Position:
        """Every commit up to here is in the file, or done."""
        return self._stored

    async def open(self, identity: StreamIdentity, start: Position) -> Backlog:
        """Go on with what the file has of this stream, or begin at `start`.

        What cannot be followed up is dropped: batches of another stream, those that end before
        the stream begins, and the pieces of a commit whose end is not there.

        Raises:
            SinkUnavailable: another process has the file.
            EngineError: the file cannot be used.
        """
        backlog = await self._store.run(lambda: self._store.open(identity, start))
        self._stored = backlog.end
        self._put, self._held, self._bytes = await self._store.run(self._store.measure)
        if self._held:
            self._filled.set()
        return backlog

    async def close(self) -> None:
        """Close the file; what is in it stays."""
        await self._store.close()

    async def clear(self) -> None:
        """Forget every batch and the stream: the sink has been given up."""
        await self._store.run(self._store.clear)
        self._at_hand.clear()
        self._held = self._bytes = 0
        self._room.set()

    async def put(self, batch: ChangeBatch) -> None:
        """Add a batch, durably; block while there is no room. Cancelled, it adds nothing.

        One that ends where the file is already is not added again.
        """
        known = batch.position is not None and batch.position <= self._stored
        if known and not batch.unfinished:
            return
        body = _BATCH.dump_json(batch)
        size = max(1, len(batch.changes))
        async with self._turn:
            while self._held and (
                self._held + size > self._capacity or self._bytes + len(body) > self._max_bytes
            ):
                self._room.clear()
                await self._room.wait()
            number = self._put + 1
            try:
                await self._store.run(lambda: self._store.add(number, batch.position, size, body))
            except asyncio.CancelledError:
                # In the thread behind the insert, so that nobody ever sees it.
                self._store.submit(lambda: self._store.remove(number))
                raise
            at_hand = self._at_hand[-1][0] if self._at_hand else self._taken
            if at_hand == self._put and self._held < _AT_HAND:
                self._at_hand.append((number, size, len(body), batch))
            self._put = number
            self._held += size
            self._bytes += len(body)
            self._stored = batch.position or self._stored
            self._filled.set()

    async def get(self) -> ChangeBatch:
        """Take the oldest batch; block while there is none. It stays in the file until `done`."""
        while (batch := self.get_nowait()) is None:
            if self._taken < self._put:
                await self._read_on()
            else:
                self._filled.clear()
                await self._filled.wait()
        return batch

    def get_nowait(self) -> ChangeBatch | None:
        """Take the oldest batch if it is at hand, without reading the file."""
        if not self._at_hand:
            return None
        self._taken, size, length, batch = self._at_hand.popleft()
        self._held -= size
        self._bytes -= length
        self._room.set()
        return batch

    async def done(self, position: Position) -> None:
        """Forget what ends at `position` or before: the sink has it, and knows it."""
        await self._store.run(lambda: self._store.forget(position))

    async def _read_on(self) -> None:
        after = self._taken
        rows = await self._store.run(lambda: self._store.read(after, _AT_HAND))
        if after == self._taken and not self._at_hand:
            self._at_hand.extend(
                (number, size, len(body), _BATCH.validate_json(body)) for number, size, body in rows
            )


class _Store:
    """The file, used by one thread, in which every call waits for its turn."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="flusso queue")
        self._connection: sqlite3.Connection | None = None

    async def run(self, work: Callable[[], T]) -> T:
        """Do the work in the thread.

        Raises:
            EngineError: SQLite refuses it.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.Error as error:
            message = (
                f"the queue file {self._file} cannot be used: {error}; make room or mend it, or "
                "remove it: what it held is then a gap"
            )
            raise EngineError(message) from error

    def submit(self, work: Callable[[], None]) -> None:
        """Have the work done in the thread, without waiting for it."""
        self._thread.submit(work)

    async def close(self) -> None:
        """Close the file when all work is done. May be called more than once."""

        def close() -> None:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

        with suppress(RuntimeError):  # the thread has ended already
            await asyncio.get_running_loop().run_in_executor(self._thread, close)
        self._thread.shutdown(wait=False)

    # In the thread

    def open(self, identity: StreamIdentity, start: Position) -> Backlog:
        """Open the file, and find where it goes on."""
        self._connect()
        stored = self._state("identity")
        ours = json.dumps(asdict(identity))
        with self._database as database:
            # Without its end, a commit comes again from the source, whole.
            database.execute(
                "DELETE FROM batches WHERE number > "
                "(SELECT coalesce(max(number), 0) FROM batches WHERE position IS NOT NULL)"
            )
            begin = _position(json.loads(self._state("begin") or "null")) or start
            last = database.execute(
                "SELECT position, token FROM batches WHERE position IS NOT NULL "
                "ORDER BY number DESC LIMIT 1"
            ).fetchone()
            end = _position(last) or begin
            if stored != ours or end < start:
                database.execute("DELETE FROM batches")
                begin = end = start
            self._set("identity", ours)
            self._set("begin", json.dumps((begin.order, begin.token)))
        return Backlog(begin, end)

    def clear(self) -> None:
        """Forget everything."""
        with self._database as database:
            database.execute("DELETE FROM batches")
            database.execute("DELETE FROM state WHERE name <> 'format'")

    def measure(self) -> tuple[int, int, int]:
        """The last number, and the changes and bytes of all batches."""
        row = self._database.execute(
            "SELECT coalesce(max(number), 0), coalesce(sum(size), 0), "
            "coalesce(sum(length(body)), 0) FROM batches"
        ).fetchone()
        return row[0], row[1], row[2]

    def add(self, number: int, position: Position | None, size: int, body: bytes) -> None:
        """Add a batch, durably."""
        order, token = (None, None) if position is None else (position.order, position.token)
        with self._database as database:
            database.execute(
                "INSERT INTO batches VALUES (?, ?, ?, ?, ?)", (number, order, token, size, body)
            )

    def remove(self, number: int) -> None:
        """Take back what was added last."""
        with self._database as database:
            database.execute("DELETE FROM batches WHERE number = ?", (number,))

    def read(self, after: int, changes: int) -> list[tuple[int, int, bytes]]:
        """The batches behind that number: so many changes, or one batch."""
        found: list[tuple[int, int, bytes]] = []
        rows = self._database.execute(
            "SELECT number, size, body FROM batches WHERE number > ? ORDER BY number", (after,)
        )
        for row in rows:
            found.append(row)
            changes -= row[1]
            if changes <= 0:
                break
        rows.close()
        return found

    def forget(self, position: Position) -> None:
        """Delete what ends at `position` or before, pieces of its commits included."""
        with self._database as database:
            database.execute(
                "DELETE FROM batches WHERE number <= "
                "(SELECT max(number) FROM batches WHERE position <= ?)",
                (position.order,),
            )
            self._set("begin", json.dumps((position.order, position.token)))

    @property
    def _database(self) -> sqlite3.Connection:
        if self._connection is None:
            raise sqlite3.ProgrammingError("it is closed")
        return self._connection

    def _connect(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._file, timeout=0, check_same_thread=False)
        try:
            # One process has the file; FULL makes each commit durable (SQLite manual, "PRAGMA
            # synchronous").
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.executescript(_SCHEMA)
        except sqlite3.OperationalError as error:
            connection.close()
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                message = f"another process has the queue file {self._file}"
                raise SinkUnavailable(message) from error
            raise
        except sqlite3.Error:
            connection.close()
            raise
        self._connection = connection
        known = self._state("format")
        if known not in (None, str(_FORMAT)):
            message = f"the queue file {self._file} has format {known}, not {_FORMAT}: remove it"
            raise EngineError(message)
        with connection:
            self._set("format", str(_FORMAT))

    def _state(self, name: str) -> str | None:
        row = self._database.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    def _set(self, name: str, value: str) -> None:
        self._database.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, value))


def _position(pair: tuple[int, str] | None) -> Position | None:
    return None if pair is None else Position(pair[0], pair[1])
