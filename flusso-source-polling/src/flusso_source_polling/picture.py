"""What a poll sees of the tables, and how two pictures differ. No thread, no clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, TypeAlias

from sqlalchemy import Connection, select

from flusso_core.errors import SourceFatal
from flusso_core.model import Change, Operation, RowImage
from flusso_source_polling.catalogue import Table
from flusso_source_polling.dialects import Dialect
from flusso_source_polling.keys import after

Rows: TypeAlias = "dict[tuple[str, ...], tuple[bytes, tuple[str | None, ...]]]"
"""Each row's fingerprint and the routing columns that are not in its key, by its key."""

FINGERPRINT_BYTES = 16


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

    def image(self, key: Sequence[str], routing: Sequence[str | None]) -> RowImage:
        """The row's routing columns."""
        pairs = (*zip(self.key, key, strict=True), *zip(self.routing, routing, strict=True))
        return {name: text for name, text in pairs if name in self.images}


def take(connection: Connection, watch: Watch, dialect: Dialect, page_size: int) -> Rows:
    """Read the whole table in keyset pages; call it in one transaction for all tables.

    Raises:
        SourceFatal: a row has NULL in its key.
    """
    found: Rows = {}
    table, columns = watch.table, watch.table.sql.columns
    names = (*watch.key, *watch.routing)
    selected = [dialect.key(columns[name], table.column(name)) for name in names]
    selected += [dialect.read(columns[name], table.column(name)) for name in watch.content]
    labelled = [one.label(f"c{place}") for place, one in enumerate(selected)]
    statement = select(*labelled).order_by(*(columns[name] for name in watch.key)).limit(page_size)
    width, routed = len(watch.key), len(names)
    page = statement
    while True:
        rows = connection.execute(page).all()
        key: tuple[str, ...] = ()
        for row in rows:
            if None in row[:width]:
                raise SourceFatal(
                    f"table {table.name} has a row with NULL in its key "
                    f"({', '.join(watch.key)}); give it a value, and make the columns NOT NULL"
                )
            key = tuple([dialect.key_text(text) for text in row[:width]])
            routing = tuple(
                [None if text is None else dialect.key_text(text) for text in row[width:routed]]
            )
            found[key] = (_fingerprint(row[routed:]), routing)
        if len(rows) < page_size:
            return found
        page = statement.where(after(table, watch.key, key, dialect))


def differences(watch: Watch, old: Rows, new: Rows) -> Iterator[Change]:
    """The row events that lead from one picture to the other."""
    name = watch.table.name
    for key, (_, routing) in old.items():
        if key not in new:
            yield Change(name, Operation.DELETE, watch.image(key, routing), None)
    for key, row in new.items():
        was = old.get(key)
        if was != row:
            before = None if was is None else watch.image(key, was[1])
            yield Change(name, Operation.UPSERT, before, watch.image(key, row[1]))


def _fingerprint(values: Sequence[Any]) -> bytes:
    # `repr` tells 1 from 1.0 and from "1", and quotes what a text may hold.
    spelled = repr(tuple(values)).encode("utf-8", "surrogatepass")
    return blake2b(spelled, digest_size=FINGERPRINT_BYTES).digest()
