"""What a world is, and what may happen to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happens to a world and touches documents of it.

    Attributes:
        name: for people.
        statement: run in one transaction. `%(mark)s` is the new revision; `%(row)s`, in a
            happening of many transactions, counts from 1.
        path: of the field in the documents that shows the revision.
        ids: SQL for the ids of the documents that it touches, as text.
        transactions: how many times the statement runs, each in a transaction of its own.
    """

    name: str
    statement: str
    path: str
    ids: str
    transactions: int = 1


@dataclass(frozen=True, slots=True)
class World:
    """Tables, the rows in them, and the indexes that are made of them.

    Attributes:
        name: for people, and part of names at the servers.
        title: what is special about it.
        rows: of the root table.
        tables: SQL that makes and fills them.
        schemas: flusso's schema of each index.
        happenings: what is measured when the indexes are filled.
        page: documents that the floor reads at once: about what flusso chooses.
    """

    name: str
    title: str
    rows: int
    tables: str
    schemas: Mapping[str, str]
    happenings: tuple[Happening, ...] = ()
    page: int = 1000

    @property
    def documents(self) -> int:
        """How many documents there are in all indexes together."""
        return self.rows * len(self.schemas)


def first(rows: int, table: str) -> str:
    """SQL for the ids of so many rows of a table."""
    return f"SELECT id::text FROM {table} WHERE id <= {rows} ORDER BY id"


def root_rows(table: str, rows: int) -> Happening:
    """So many rows of a root table change at once."""
    return Happening(
        "root rows",
        f"UPDATE {table} SET revision = %(mark)s WHERE id <= {rows}",
        "revision",
        first(rows, table),
    )
