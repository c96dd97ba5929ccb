"""Where to cut the keys of a root table into ranges that are read side by side."""

from __future__ import annotations

from itertools import pairwise

from sqlalchemy import Connection, func, select
from sqlalchemy import types as sql

from flusso_core.model import Key, KeyRange
from flusso_source_polling.indexes import Index

WORTH = 1000
"""Rows of a range, or whole numbers in it, below which it is not worth a connection."""


def divide(index: Index, connection: Connection, count: int) -> list[KeyRange]:
    """At most `count` ranges that cover every key.

    Whole numbers are divided between the least and the greatest, which an index tells at once;
    other keys by their order, by a look at as many of them as there are.
    """
    name = index.key[0]
    if len(index.key) == 1 and isinstance(index.root.column(name).type, sql.Integer):
        return _between(_numbers(index, connection, count))
    rows = index.count(connection)
    parts = min(count, rows // WORTH)
    places = (rows * part // parts for part in range(1, parts))
    return _between([key for place in places if (key := index.key_at(connection, place))])


def _numbers(index: Index, connection: Connection, count: int) -> list[Key]:
    column = index.root.sql.columns[index.key[0]]
    (row,) = connection.execute(select(func.min(column), func.max(column))).all()
    if not all(isinstance(one, int) for one in row):
        return []  # no rows, or in SQLite a key that is no number after all
    least, greatest = row
    parts = min(count, (greatest - least) // WORTH)
    return [(str(least + (greatest - least) * part // parts),) for part in range(1, parts)]


def _between(cuts: list[Key]) -> list[KeyRange]:
    """All keys up to the first cut, between two, above the last."""
    bounds: list[Key | None] = [None, *dict.fromkeys(cuts), None]
    return [KeyRange(low, high) for low, high in pairwise(bounds)]
