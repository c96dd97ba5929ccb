"""What the indexes must hold, by SQL that was written by hand and shares nothing with flusso.

Documents never stay in memory: the oracle remembers a hash of each, in a temporary table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from flusso_sandbox.compare import JsonDocument, parse_document
from flusso_sandbox.demo.shop import INDEXES, Connection, expected_query

Changed: TypeAlias = Mapping[str, Mapping[str, JsonDocument | None]]
"""By index and id: the document that must be there now, or None where none may be."""

_PAGE = 500


class Oracle:
    """Tells which documents a change must have changed, and what every document must be.

    Args:
        connection: to the shop's database, in autocommit mode, for the oracle and those changes.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._hashes: dict[str, dict[str, str | None]] = {}
        self._connection.execute("SET work_mem = '128MB'")
        self._connection.execute("SET jit = off")

    def remember(self) -> None:
        """Take note of every document as it must be now."""
        for index in INDEXES:
            self._connection.execute(
                f"CREATE TEMPORARY TABLE seen_{index} AS SELECT id, md5(document::text) AS hash"
                f" FROM ({expected_query(index)}) AS expected".encode()
            )
            self._connection.execute(f"ANALYZE seen_{index}".encode())

    def changed(self) -> Changed:
        """The documents that must be other ones than at the last `remember` or `accept`.

        Within a transaction it sees the transaction's own changes, before anyone else does.
        """
        return {index: found for index in INDEXES if (found := dict(self._changed(index)))}

    def _changed(self, index: str) -> Iterator[tuple[str, JsonDocument | None]]:
        query = (
            "SELECT coalesce(expected.id, seen.id), md5(expected.document::text),"
            " expected.document::text"
            f" FROM ({expected_query(index)}) AS expected"
            f" FULL JOIN seen_{index} AS seen ON seen.id = expected.id"
            " WHERE seen.hash IS DISTINCT FROM md5(expected.document::text)"
        )
        self._hashes[index] = {}
        for identity, digest, text in self._connection.execute(query.encode()):
            self._hashes[index][identity] = digest
            yield identity, None if text is None else parse_document(text)

    def accept(self) -> None:
        """Take what `changed` found last for seen."""
        for index, hashes in self._hashes.items():
            here = [(identity, digest) for identity, digest in hashes.items() if digest is not None]
            with self._connection.transaction(), self._connection.cursor() as cursor:
                delete = f"DELETE FROM seen_{index} WHERE id = ANY(%s)"
                cursor.execute(delete.encode(), [list(hashes)])
                cursor.executemany(f"INSERT INTO seen_{index} VALUES (%s, %s)".encode(), here)

    def pages(self, index: str) -> Iterator[dict[str, JsonDocument]]:
        """Every document that an index must hold, some at a time."""
        with self._connection.transaction(), self._connection.cursor(name="expected") as cursor:
            cursor.itersize = _PAGE
            cursor.execute(
                f"SELECT id, document::text FROM ({expected_query(index)}) AS expected".encode()
            )
            while rows := cursor.fetchmany(_PAGE):
                yield {identity: parse_document(text) for identity, text in rows}
