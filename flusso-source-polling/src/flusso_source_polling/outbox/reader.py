"""Reads the outbox: a table is a queue, and what is in it and was not read yet is new.

Entries commit out of order: one with a low id may appear long after one with a higher id was
read. So nothing is concluded from an id. What was read is remembered until it is confirmed, and
removed from the table then; whatever else the table has is a change, however late it was
committed. That needs neither the server's transaction ids nor a time to wait.

Changes of one row come in the order in which they were made: who changes a row waits for the one
who changed it before to commit, so that its entry has the higher id and is never seen first.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select

from flusso_core.errors import SourceFatal
from flusso_core.model import Change, Operation, RowImage, TableName
from flusso_source_polling.dialects import KeyRefused
from flusso_source_polling.memory import Known, Memory, Span
from flusso_source_polling.outbox.install import Outbox
from flusso_source_polling.outbox.model import Installed, Logged, Trigger
from flusso_source_polling.readers.base import Poll

_REMOVED_AT_ONCE = 1000
"""Entries: each is a parameter, of which no database takes any number."""

_LAST = "last"
_STREAM = "stream"
_TRIGGERS = "triggers "
_LEFT_OUT = ""
"""In place of a digest of triggers: no trigger has it."""
_OPERATIONS = {
    "insert": Operation.UPSERT,
    "update": Operation.UPSERT,
    "delete": Operation.DELETE,
    "truncate": Operation.TRUNCATE,
}


class TriggersLost(SourceFatal):
    """Triggers are not what they were, so that changes are missing from the log.

    Attributes:
        tables: whose triggers.
    """

    def __init__(self, outbox: TableName, lost: Mapping[TableName, str]) -> None:
        """Name the tables.

        Args:
            outbox: the log.
            lost: what is amiss with each table's triggers.
        """
        self.tables = tuple(lost)
        told = ", ".join(f"{table} ({what})" for table, what in lost.items())
        super().__init__(
            f"changes of table {told} are no longer all in the outbox {outbox}; have the triggers "
            "made again, by the SQL that `flusso check` prints or by manage_outbox = true, and "
            "start flusso again: what was missed is read from the tables"
        )


class OutboxReader:
    """Reads the changes of all tables that are logged.

    In the memory, the pages that were read stand as spans, with the poll's position in place of
    a digest, and the ids of their entries as rows.

    Args:
        outbox: the log.
        tables: whose changes to give; entries of others are removed like these.
        page_size: entries that one statement reads.
    """

    unfinished = False
    tidies = True

    def __init__(self, outbox: Outbox, tables: Sequence[Logged], page_size: int) -> None:
        self._outbox = outbox
        self._tables = {one.name: one for one in tables}
        self._page_size = page_size
        self._log = outbox.dialect.log
        self.name = f"outbox {outbox.dialect.name}"

    def is_complete(self, memory: Memory) -> bool:
        """Whether every change of the tables that were logged before is in the log: nobody has
        touched the triggers since they were remembered. Blocks.
        """
        if memory.is_new:
            return True
        with self._outbox.reading() as connection:
            if not self._outbox.is_there(connection):
                return False
            installed = self._outbox.dialect.installed(connection)
        return not self._remade(memory, installed)

    def prepare(self, *, manage: bool) -> None:
        """See to it that every change is logged from now on. Blocks.

        Args:
            manage: make what is missing.

        Raises:
            SourceUnavailable: somebody has been writing to a table for long.
            SourceFatal: something is missing, and is not to be made or cannot be.
        """
        tables = tuple(self._tables.values())
        if manage:
            self._outbox.install(tables)
        else:
            self._outbox.require(tables)

    def remember(self, memory: Memory) -> None:
        """Note down what the triggers are: a table without a note was not logged before. Blocks."""
        with self._outbox.reading() as connection:
            installed = self._outbox.dialect.installed(connection)
        for table in self._tables:
            memory.write(f"{_TRIGGERS}{table}", _digest(installed.get(table, {})))

    def lose(self, memory: Memory, tables: Iterable[TableName]) -> None:
        """Note down that changes of these tables are missing from the log, or are removed and given
        to nobody: from then on it is not complete (see `is_complete`), whoever makes the triggers
        anew.
        """
        for table in tables:
            if memory.note(f"{_TRIGGERS}{table}") is not None:
                memory.write(f"{_TRIGGERS}{table}", _LEFT_OUT)

    def begin(self, connection: Connection, memory: Memory) -> None:
        """Become the reader of the log. What is in it already is read like the rest.

        A log has one reader: what one has read is gone for every other.
        """
        reader, stream = self._outbox.dialect.reader, uuid.uuid4().hex
        with self._outbox.writing(f"take the outbox {self._outbox.dialect.name}") as writing:
            writing.execute(delete(reader))
            writing.execute(insert(reader).values(stream=stream))
        memory.write(_STREAM, stream)
        self.remember(memory)

    def poll(self, connection: Connection, memory: Memory, poll: Poll) -> Iterator[Change]:
        """Give every change that is in the log and was not read yet.

        Raises:
            SourceFatal: another stream has taken the log.
            TriggersLost: triggers are not what they were.
        """
        self._require(connection, memory)
        number = max((span.id for span in memory.spans()), default=0)
        for rows in self._pages(connection, memory):
            known = memory.rows([str(row.id) for row in rows])
            new = [row for row in rows if str(row.id) not in known]
            if not new:
                continue
            number += 1
            page = Span(number, None, None, str(poll.position))
            memory.put_span(page)
            memory.learn(page, [(str(row.id), Known("", b"")) for row in new])
            last = self._last(memory)
            newest = max(row.id for row in new)
            if last is None or newest > last:
                memory.write(_LAST, str(newest))
            for row in new:
                table = self._tables.get(TableName(row.table_schema, row.table_name))
                if table is not None:
                    yield self._change(table, row)

    def confirmed(self, connection: Connection, memory: Memory, position: int) -> None:
        """Remove the entries that were read up to that poll, in short transactions."""
        for page in memory.spans():
            if int(page.digest or 0) <= position:
                ids = list(memory.rows_of(page))
                for at in range(0, len(ids), _REMOVED_AT_ONCE):
                    self._remove(ids[at : at + _REMOVED_AT_ONCE])
                memory.forget(ids)
                memory.drop_span(page)

    def _remove(self, ids: Sequence[str]) -> None:
        found = [self._outbox.dialect.read_id(text) for text in ids]
        with self._outbox.writing("remove entries of the outbox") as connection:
            connection.execute(delete(self._log).where(self._log.c.id.in_(found)))

    def _pages(self, connection: Connection, memory: Memory) -> Iterator[Sequence[Row[Any]]]:
        """The log, or what of it is behind everything that was read.

        A TRUNCATE comes before all else: whatever order ids have (Postgres: the clock's), what
        was written after it must not come first.
        """
        id_of, operation = self._log.c.id, self._log.c.operation
        page = select(*self._log.c).order_by(id_of).limit(self._page_size)
        if self._outbox.dialect.sees_truncate:
            truncates = connection.execute(page.where(operation == "truncate").limit(None)).all()
            if truncates:
                yield truncates
        last = self._last(memory)
        after = last if self._nothing_late(connection, memory, last) else None
        while True:
            rows = connection.execute(page if after is None else page.where(id_of > after)).all()
            if rows:
                yield rows
            if len(rows) < self._page_size:
                return
            after = rows[-1].id

    def _nothing_late(self, connection: Connection, memory: Memory, last: Any) -> bool:
        """Whether no more is in the log up to there than was read: one count instead of reading
        it all again.
        """
        if last is None:
            return False
        there = select(func.count()).select_from(self._log).where(self._log.c.id <= last)
        return connection.execute(there).scalar_one() == memory.count()

    def _last(self, memory: Memory) -> Any:
        """The highest id that was read."""
        text = memory.note(_LAST)
        return None if text is None else self._outbox.dialect.read_id(text)

    def _require(self, connection: Connection, memory: Memory) -> None:
        name = self._outbox.dialect.name
        reader = select(self._outbox.dialect.reader)
        if connection.execute(reader).scalars().all() != [memory.note(_STREAM)]:
            raise SourceFatal(
                f"the outbox {name} is read by another deployment, or by another state file of "
                "this one; give each deployment an outbox of its own ([source] outbox)"
            )
        installed = self._outbox.dialect.installed(connection)
        lost = dict.fromkeys(self._remade(memory, installed), "made anew by somebody else")
        for one in self._outbox.amiss(connection, tuple(self._tables.values()), installed):
            lost[one.wanted.logged.name] = str(one)
        if lost:
            raise TriggersLost(name, lost)

    def _remade(self, memory: Memory, installed: Installed) -> list[TableName]:
        """The tables that were logged before, and whose triggers are others now."""
        return [
            table
            for table in self._tables
            if memory.note(f"{_TRIGGERS}{table}") not in (None, _digest(installed.get(table, {})))
        ]

    def _change(self, table: Logged, row: Row[Any]) -> Change:
        return Change(
            table.name,
            _OPERATIONS[row.operation],
            self._image(table, row.old_row),
            self._image(table, row.new_row),
        )

    def _image(self, table: Logged, text: str | None) -> RowImage | None:
        """The routing columns of a row. Triggers that were made for other columns may have
        written it: what it lacks is not known.
        """
        if text is None:
            return None
        # Not strict: a text of SQLite may hold control characters as they are.
        values = json.loads(text, strict=False)
        dialect = self._outbox.database.dialect
        try:
            return {
                name: None if (value := values[name]) is None else dialect.key_text(_raw(value))
                for name in sorted(table.routing)
                if name in values
            }
        except KeyRefused as error:
            raise error.of(table.name, sorted(table.routing)) from error


def _digest(triggers: Mapping[str, Trigger]) -> str:
    spelled = json.dumps(dict(triggers), sort_keys=True)
    return blake2b(spelled.encode(), digest_size=16).hexdigest()


def _raw(value: Any) -> Any:
    """A value as the database has it: JSON has no bytes."""
    return value if not isinstance(value, dict) else bytes.fromhex(str(value["blob"]))  # pyright: ignore[reportUnknownArgumentType]
