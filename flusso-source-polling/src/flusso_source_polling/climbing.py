"""Which documents a changed row touches: the way up from each place where a schema reads a table.

Its images carry the values that lead one step up, old and new. From there it is one short statement
a table on the way, for all values at once, in pages: however many documents a change touches, no
more than a page of each step is held, and no transaction longer than a page. Rows in the middle
that move meanwhile are covered by their own changes. Filters, orders and limits are not looked at:
a row may be what has just left them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sqlalchemy import Connection, select

from flusso_core.model import Key, TableName
from flusso_core.schema.model import AggregateField, Field, IndexSchema, JoinField, ObjectField
from flusso_source_polling.catalogue import Table, Tables
from flusso_source_polling.dialects import Dialect
from flusso_source_polling.keys import greater
from flusso_source_polling.relations import Link, link

AT_ONCE = 1000
"""Values that one statement climbs from, and most that it gives."""

Read: TypeAlias = Callable[[Callable[[Connection], list[Key]]], list[Key]]
"""Does the work in a transaction of its own, or in the snapshot that there is. Blocks."""


@dataclass(frozen=True, slots=True)
class Step:
    """From values of one column of a table to those of others, in the same rows."""

    table: Table
    known: str
    wanted: tuple[str, ...]

    def page(
        self, connection: Connection, texts: Sequence[str], last: Key | None, dialect: Dialect
    ) -> list[Key]:
        """The next distinct values behind the last ones, in some order that stays the same."""
        rows = self.table.sql.columns
        columns = [self.table.column(name) for name in self.wanted]
        exact = [dialect.exact(rows[one.name], one) for one in columns]
        statement = (
            select(*(dialect.key(each, one) for each, one in zip(exact, columns, strict=True)))
            .where(dialect.among(rows[self.known], texts, self.table.column(self.known)))
            .where(*(rows[name].is_not(None) for name in self.wanted))
            .group_by(*exact)
            .order_by(*exact)
            .limit(AT_ONCE)
        )
        if last is not None:
            given = [dialect.typed(text, one) for text, one in zip(last, columns, strict=True)]
            statement = statement.where(greater(exact, given))
        found = connection.execute(statement).all()
        return [tuple([dialect.key_text(text) for text in row]) for row in found]


@dataclass(frozen=True, slots=True)
class Path:
    """A place where a schema reads a table that is not its root.

    Attributes:
        table: the table.
        column: the column of its row images that leads up.
        steps: from its values to keys of the root; none where they are such keys already.
    """

    table: TableName
    column: str
    steps: tuple[Step, ...]


def paths(schema: IndexSchema, tables: Tables) -> tuple[Path, ...]:
    """Every way in which a change below the root touches documents of the index."""
    key = schema.primary_key or ()
    start = key[0] if len(key) == 1 else None
    found = _paths(schema.fields, tables[schema.table], start, (), tables)
    return tuple(
        Path(table, column, tuple(_steps(links, tables[schema.table], key, junction=junction)))
        for table, column, links, junction in found
    )


def climb(read: Read, path: Path, texts: Sequence[str], dialect: Dialect) -> Iterator[list[Key]]:
    """Keys of the documents above rows whose column has, or had, these values.

    A key may come more than once, and where no step is needed, one that no row has.

    Args:
        read: asked for each page.
        path: where the rows stand in the schema.
        texts: the values.
        dialect: the database's ways.
    """
    return _climb(read, path.steps, [(text,) for text in texts], dialect)


def _climb(
    read: Read, steps: Sequence[Step], keys: Sequence[Key], dialect: Dialect
) -> Iterator[list[Key]]:
    if not steps:
        yield list(keys)
        return
    step, *others = steps
    for at in range(0, len(keys), AT_ONCE):
        texts = [key[0] for key in keys[at : at + AT_ONCE]]
        page: list[Key] | None = None
        while page is None or len(page) == AT_ONCE:
            last = page[-1] if page else None
            page = read(_reading(step, texts, last, dialect))
            if page:
                yield from _climb(read, others, page, dialect)


def _reading(
    step: Step, texts: Sequence[str], last: Key | None, dialect: Dialect
) -> Callable[[Connection], list[Key]]:
    return lambda connection: step.page(connection, texts, last, dialect)


def _paths(
    fields: Sequence[Field], above: Table, key: str | None, links: tuple[Link, ...], tables: Tables
) -> Iterator[tuple[TableName, str, tuple[Link, ...], bool]]:
    """Table, column, the relations from the root down to it, and whether it is the junction of
    the last of them.
    """
    for one in fields:
        match one:
            case ObjectField():
                yield from _paths(one.fields, above, key, links, tables)
            case JoinField() | AggregateField():
                last = link(one, above, key, tables)
                path = (*links, last)
                yield one.table, last.upward, path, False
                if one.through is not None:
                    yield one.through.table, one.through.left_key, path, True
                if isinstance(one, JoinField):
                    yield from _paths(one.fields, last.table, one.primary_key, path, tables)
            case _:
                pass


def _steps(
    links: Sequence[Link], root: Table, key: tuple[str, ...], *, junction: bool
) -> Iterator[Step]:
    *above, last = links
    if not junction:
        yield from _across(last)
    column = last.start
    for one in reversed(above):
        if column != one.upward:
            yield Step(one.table, column, (one.upward,))
        yield from _across(one)
        column = one.start
    if (column,) != key:
        yield Step(root, column, key)


def _across(one: Link) -> Iterator[Step]:
    """From what the related row points up with to what the row above starts from."""
    if one.junction is not None and one.one.through is not None:
        through = one.one.through
        yield Step(one.junction, through.right_key, (through.left_key,))
