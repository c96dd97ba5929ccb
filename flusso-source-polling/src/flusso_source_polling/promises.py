"""What a stream of polls will see of each table, what it cannot see, and when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Index, MetaData
from sqlalchemy import types as sql
from sqlalchemy.schema import CreateIndex

from flusso_core.model import Finding, Severity
from flusso_source_polling.catalogue import Table
from flusso_source_polling.cursors import Cursor
from flusso_source_polling.dialects import Dialect
from flusso_source_polling.options import Deletes
from flusso_source_polling.picture import Lens, Watch
from flusso_source_polling.readers import Following

_NAME_BYTES = 63
"""Longest name of an index: Postgres (manual, "Identifiers and Key Words"); MariaDB takes 64."""


@dataclass(frozen=True, slots=True)
class Followed:
    """How a table is followed that has no outbox.

    Attributes:
        watch: what is looked at.
        lens: how it is read.
        following: how far a cursor looks back, and how often everything is looked at.
        deletes: what the configuration says of deletes.
        within: seconds from the end of one poll to the next at most.
        knows_transactions: the database tells which transactions are open.
    """

    watch: Watch
    lens: Lens
    following: Following
    deletes: Deletes
    within: float
    knows_transactions: bool


def promises(dialect: Dialect, followed: Followed) -> Iterator[Finding]:
    """What is promised of a table, and what would make it better."""
    table, cursor = followed.watch.table, followed.lens.cursor
    subject = f"table {table.name}"
    if cursor is None:
        yield Finding(Severity.INFO, subject, _compared(followed))
        return
    yield Finding(Severity.INFO, subject, _followed(followed, cursor))
    yield _deletes(subject, followed)
    if cursor.column is not None:
        yield from _blind_spots(subject, followed, cursor.column)
        yield from _indexes(dialect, subject, followed, cursor.column)


def _compared(followed: Followed) -> str:
    text = (
        f"every insert, update and delete is seen, within {followed.within:g} s and the time of a "
        "poll: each poll compares the whole table"
    )
    if followed.lens.marked:
        return f"{text}, by xmin"
    return f"{text}, and documents are built from what the last one has read"


def _followed(followed: Followed, cursor: Cursor) -> str:
    seen = f"seen within {followed.within:g} s"
    if cursor.column is None:
        return f"every insert and update is {seen}, however long its transaction was open"
    text = f"an insert, and an update that raises {cursor.column!r}, is {seen}"
    lag = f"{followed.following.lag:g} s"
    if followed.knows_transactions:
        return f"{text}, however long its transaction was open; clocks may differ by {lag}"
    return f"{text} of its commit, if it is committed within {lag} of what {cursor.column!r} says"


def _deletes(subject: str, followed: Followed) -> Finding:
    every = followed.following.every
    if every is not None:
        text = f"deletes are seen by passes over the keys, {every:g} s from one to the next"
        return Finding(Severity.INFO, subject, text)
    if followed.deletes is Deletes.TOMBSTONE:
        text = "a row that is marked as deleted is seen as an update; one that is deleted is not"
        return Finding(Severity.INFO, subject, text)
    return Finding(
        Severity.WARNING,
        subject,
        "deletes are not seen: their documents stay",
        'deletes = "diff", or "tombstone" where rows are marked instead',
    )


def _blind_spots(subject: str, followed: Followed, column: str) -> Iterator[Finding]:
    passes = followed.following.every is not None
    table = followed.watch.table
    if not followed.knows_transactions and not passes:
        yield Finding(
            Severity.WARNING,
            subject,
            f"a row that is committed more than {followed.following.lag:g} s later than {column!r} "
            "says is never seen",
            'lag above the longest transaction, or deletes = "diff"',
        )
    if table.sql.columns[column].nullable:
        seen = "seen by passes over the keys only" if passes else "never seen"
        yield Finding(
            Severity.WARNING,
            subject,
            f"a row with NULL in {column!r} is {seen}",
            f"make {column!r} NOT NULL, with a default",
        )
    if isinstance(table.column(column).type, sql.Integer):
        yield Finding(
            Severity.INFO,
            subject,
            f"{column!r} has to grow over all rows, as a sequence does, not for each row by itself",
        )
    if not (passes and followed.lens.reads_contents):
        yield Finding(
            Severity.INFO, subject, f"an update that leaves {column!r} as it is is not seen"
        )


def _indexes(dialect: Dialect, subject: str, followed: Followed, column: str) -> Iterator[Finding]:
    watch = followed.watch
    table = watch.table
    if not any(names[:1] == [column] for names, _ in _found(table)):
        yield Finding(
            Severity.WARNING,
            subject,
            f"no index begins with {column!r}: each poll reads the whole table",
            _create(dialect, table, column, list(dict.fromkeys((column, *watch.key)))),
        )
    beside = [name for name in (*watch.routing, column) if name not in watch.key]
    needed = {*watch.key, *beside}
    covered = any(
        names[: len(watch.key)] == list(watch.key) and needed <= {*names, *included}
        for names, included in _found(table)
    )
    if followed.lens.hashes and beside and not covered:
        yield Finding(
            Severity.INFO,
            subject,
            "a pass over the keys reads whole rows: no index has all that it hashes",
            _create(dialect, table, "keys", watch.key, beside),
        )


def _found(table: Table) -> Iterator[tuple[list[str], list[str]]]:
    """The columns of each index over all rows, and those that it includes."""
    if table.primary_key:
        yield list(table.primary_key), []
    for index in table.sql.indexes:
        options = index.dialect_kwargs
        partial = options.get("postgresql_where", options.get("sqlite_where"))
        if partial is None:
            included = [str(one) for one in options.get("postgresql_include") or ()]
            yield [one.name for one in index.columns], included


def _create(
    dialect: Dialect,
    table: Table,
    last: str,
    columns: Sequence[str],
    included: Sequence[str] = (),
) -> str:
    """The statement that makes an index, whose name ends with `last`."""
    copy = table.sql.to_metadata(MetaData())
    name = f"flusso_{table.name.name}_{last}".encode()[:_NAME_BYTES].decode(errors="ignore")
    if dialect.name == "postgresql":
        keys = [copy.columns[one] for one in columns]
        index = Index(name, *keys, postgresql_include=list(included))
    else:
        index = Index(name, *(copy.columns[one] for one in (*columns, *included)))
    return dialect.quoting.definition(CreateIndex(index))
