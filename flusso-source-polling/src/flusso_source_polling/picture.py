"""What a poll looks at in a table, and how it reads the rows. No thread, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from flusso_core.errors import SourceFatal
from flusso_core.model import Change, Key, Operation, RowImage
from flusso_source_polling.catalogue import Table
from flusso_source_polling.dialects import Dialect
from flusso_source_polling.keys import after, up_to
from flusso_source_polling.memory import Known, read, spell

FINGERPRINT_BYTES = 16


class Seen(NamedTuple):
    """A row that a poll has read: its key, the key as one text, and the rest."""

    key: Key
    text: str
    row: Known


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
    """

    def __init__(self, watch: Watch, dialect: Dialect) -> None:
        self._watch = watch
        self._dialect = dialect
        table, columns = watch.table, watch.table.sql.columns
        names = (*watch.key, *watch.routing)
        selected = [dialect.key(columns[name], table.column(name)) for name in names]
        selected += [dialect.read(columns[name], table.column(name)) for name in watch.content]
        labelled = [one.label(f"c{place}") for place, one in enumerate(selected)]
        self._pages = select(*labelled).order_by(*(columns[name] for name in watch.key))
        self._width, self._routed = len(watch.key), len(names)

    def page(
        self, connection: Connection, lower: Key | None, upper: Key | None, limit: int
    ) -> list[Seen]:
        """The next rows above one key and up to another, in the order of the keys.

        Raises:
            SourceFatal: a row has NULL in its key.
        """
        table, key = self._watch.table, self._watch.key
        statement = self._pages.limit(limit)
        if lower is not None:
            statement = statement.where(after(table, key, lower, self._dialect))
        if upper is not None:
            statement = statement.where(up_to(table, key, upper, self._dialect))
        return [self._seen(row) for row in connection.execute(statement)]

    def _seen(self, row: Sequence[Any]) -> Seen:
        text = self._dialect.key_text
        width, routed = self._width, self._routed
        if None in row[:width]:
            raise SourceFatal(
                f"table {self._watch.table.name} has a row with NULL in its key "
                f"({', '.join(self._watch.key)}); give it a value, and make the columns NOT NULL"
            )
        key = tuple([text(value) for value in row[:width]])
        routing = [None if value is None else text(value) for value in row[width:routed]]
        return Seen(key, spell(key), Known(spell(routing), _fingerprint(row[routed:])))


def _fingerprint(values: Sequence[Any]) -> bytes:
    # `repr` tells 1 from 1.0 and from "1", and quotes what a text may hold.
    spelled = repr(tuple(values)).encode("utf-8", "surrogatepass")
    return blake2b(spelled, digest_size=FINGERPRINT_BYTES).digest()
