"""What a poll looks at in a table, and how it reads the rows. No thread, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, or_, select

from flusso_core.model import Change, Key, Operation, RowImage
from flusso_source_polling.catalogue import Table
from flusso_source_polling.cursors import Cursor
from flusso_source_polling.dialects import Dialect, Expression, KeyRefused
from flusso_source_polling.keys import after, up_to
from flusso_source_polling.memory import Known, read, spell
from flusso_source_polling.witness import Witness

FINGERPRINT_BYTES = 16


class Seen(NamedTuple):
    """A row that a poll has read: its key, the key as one text, the rest, and its cursor."""

    key: Key
    text: str
    row: Known
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Low:
    """A place of a cursor below which nothing new can come.

    Attributes:
        value: `None`: below all.
        beyond: nothing new can come with this very value either.
    """

    value: str | None = None
    beyond: bool = False


@dataclass(frozen=True, slots=True)
class Watch:
    """What is looked at in a table.

    Attributes:
        table: the table.
        key: columns that identify a row.
        routing: routing columns that are not among them.
        content: columns whose values make the fingerprint.
        images: the routing columns, those of the key included.
    """

    table: Table
    key: tuple[str, ...]
    routing: tuple[str, ...]
    content: tuple[str, ...]
    images: frozenset[str]

    def image(self, key: Sequence[str | None], routing: Sequence[str | None]) -> RowImage:
        """The row's routing columns."""
        pairs = (*zip(self.key, key, strict=True), *zip(self.routing, routing, strict=True))
        return {name: text for name, text in pairs if name in self.images}

    def upserted(self, row: Seen, before: Known | None) -> Change:
        """The event of a row that is new, or is not what it was."""
        return Change(
            self.table.name,
            Operation.UPSERT,
            None if before is None else self.image(row.key, read(before.routing)),
            self.image(row.key, read(row.row.routing)),
        )

    def deleted(self, key: str, before: Known) -> Change:
        """The event of a row that is gone."""
        image = self.image(read(key), read(before.routing))
        return Change(self.table.name, Operation.DELETE, image, None)


class Lens:
    """Reads the rows of a table as polls want them.

    Args:
        watch: the table.
        dialect: the database's ways.
        witness: what it can tell of rows.
        cursor: what the table is followed by, if by anything.

    Attributes:
        cursor: the same.
    """

    def __init__(
        self, watch: Watch, dialect: Dialect, witness: Witness, cursor: Cursor | None = None
    ) -> None:
        self._watch = watch
        self._dialect = dialect
        self.cursor = cursor
        table, columns = watch.table, watch.table.sql.columns
        names = [*watch.key, *watch.routing]
        texts = [dialect.key(columns[name], table.column(name)) for name in names]
        followed = [] if cursor is None else [cursor.selected]
        version = witness.row_version()
        self._marked = version is not None
        if version is None:
            content = {*watch.content} if cursor is None else {*watch.content, cursor.column}
            told = [
                dialect.read(columns[name], table.column(name))
                for name in sorted(name for name in content if name is not None)
            ]
        else:
            told = [version]
        selected = [*texts, *followed, *told]
        labelled = [one.label(f"c{place}") for place, one in enumerate(selected)]
        self._order = [columns[name] for name in watch.key]
        self._rows = select(*labelled)
        # What is hashed can be read from an index alone, where the table has a cursor of its own.
        whole = followed or ([] if version is None else [version])
        digest = witness.digest([*texts, *whole]) if whole else None
        self._digest = None if digest is None else select(digest).select_from(table.sql)
        self._width, self._routed = len(watch.key), len(names)
        self._told = self._routed + len(followed)

    @property
    def marked(self) -> bool:
        """Whether the database marks each version of a row."""
        return self._marked

    @property
    def hashes(self) -> bool:
        """Whether the database hashes spans of keys."""
        return self._digest is not None

    @property
    def reads_contents(self) -> bool:
        """Whether a pass over the keys compares what rows hold."""
        return not self._marked and self._digest is None

    @property
    def sees_every_change(self) -> bool:
        """Whether a row that changes and changes back is told from one that did not."""
        return self._marked or self.cursor is not None

    def page(
        self, connection: Connection, lower: Key | None, upper: Key | None, limit: int
    ) -> list[Seen]:
        """The next rows above one key and up to another, in the order of the keys.

        Raises:
            SourceFatal: a row has NULL in its key, or what cannot be a key.
        """
        statement = self._rows.where(*self._between(lower, upper)).order_by(*self._order)
        return self._read(connection, statement.limit(limit))

    def digest(self, connection: Connection, lower: Key | None, upper: Key | None) -> str | None:
        """What differs when a row in between is another one; `None`: it cannot be told."""
        if self._digest is None:
            return None
        found = connection.execute(self._digest.where(*self._between(lower, upper)))
        return str(found.scalar_one())

    def recent(
        self, connection: Connection, low: Low, behind: Seen | None, limit: int
    ) -> list[Seen]:
        """The next rows from a place of the cursor on, in its order.

        Args:
            connection: to the database.
            low: from where.
            behind: the row after which to go on.
            limit: how many at most.
        """
        cursor = self.cursor
        if cursor is None:
            raise ValueError("the table has no cursor")
        value = cursor.value
        statement = self._rows.order_by(value, *self._order).limit(limit)
        if behind is not None and behind.cursor is not None:
            last = cursor.typed(behind.cursor)
            further = after(self._watch.table, self._watch.key, behind.key, self._dialect)
            # The first condition is the one that an index serves.
            statement = statement.where(value >= last, or_(value > last, further))
        elif low.value is None:
            statement = statement.where(value.is_not(None))
        elif low.beyond:
            statement = statement.where(value > cursor.typed(low.value))
        else:
            statement = statement.where(value >= cursor.typed(low.value))
        return self._read(connection, statement)

    def _read(self, connection: Connection, statement: Select[Any]) -> list[Seen]:
        rows = connection.execute(statement).all()
        try:
            return [self._seen(row) for row in rows]
        except KeyRefused as error:
            watch = self._watch
            raise error.of(watch.table.name, (*watch.key, *watch.routing)) from error

    def _between(self, lower: Key | None, upper: Key | None) -> list[Expression]:
        table, key, dialect = self._watch.table, self._watch.key, self._dialect
        found: list[Expression] = []
        if lower is not None:
            found.append(after(table, key, lower, dialect))
        if upper is not None:
            found.append(up_to(table, key, upper, dialect))
        return found

    def _seen(self, row: Sequence[Any]) -> Seen:
        text = self._dialect.key_text
        width, routed = self._width, self._routed
        if None in row[:width]:
            raise self._watch.table.null_in(self._watch.key)
        key = tuple([text(value) for value in row[:width]])
        routing = [None if value is None else text(value) for value in row[width:routed]]
        told = row[self._told :]
        version = str(told[0]).encode() if self._marked else _fingerprint(told)
        raw = row[routed] if self.cursor is not None else None
        cursor = None if self.cursor is None or raw is None else self.cursor.text(raw)
        return Seen(key, spell(key), Known(spell(routing), version), cursor)


def _fingerprint(values: Sequence[Any]) -> bytes:
    # `repr` tells 1 from 1.0 and from "1", and quotes what a text may hold.
    spelled = repr(tuple(values)).encode("utf-8", "surrogatepass")
    return blake2b(spelled, digest_size=FINGERPRINT_BYTES).digest()
