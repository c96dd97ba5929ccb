"""Everything that reads one index, put together once from its schema and the catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Select, and_, func, select, true

from flusso_core.errors import SourceFatal
from flusso_core.model import (
    BuiltDocument,
    Key,
    KeyRange,
    Page,
    TableName,
)
from flusso_core.schema import complete_keys, referenced_columns, routing_columns
from flusso_core.schema.model import IndexSchema
from flusso_source_polling.catalogue import Table, Tables, require, require_columns, table_names
from flusso_source_polling.climbing import Path, paths
from flusso_source_polling.dialects import Dialect, Expression
from flusso_source_polling.documents import Level
from flusso_source_polling.filters import qualifies, raw_tables
from flusso_source_polling.keys import after, one_of, up_to
from flusso_source_polling.picture import Watch


@dataclass(frozen=True, slots=True)
class Index:
    """One index.

    Attributes:
        schema: with every key completed.
        root: its root table.
        level: what a root row becomes.
        paths: how changes below the root reach it.
        tables: every table that it reads.
    """

    schema: IndexSchema
    root: Table
    level: Level
    paths: tuple[Path, ...]
    tables: frozenset[TableName]
    dialect: Dialect

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that identify a document."""
        return self.schema.primary_key or ()

    def build(self, connection: Connection, keys: Sequence[Key]) -> list[BuiltDocument]:
        """Each key's document, in the order of the keys."""
        passed = qualifies(self.schema, self.root, self.dialect)
        statement = self._select().where(passed, one_of(self.root, self.key, keys, self.dialect))
        rows = connection.execute(statement).all()
        bodies = self.level.render(connection, rows)
        found = {self._key(row): body for row, body in zip(rows, bodies, strict=True)}
        return [
            BuiltDocument(key, None if (body := found.get(key)) is None else body.encode())
            for key in keys
        ]

    def page(self, connection: Connection, span: KeyRange, start: Key | None, limit: int) -> Page:
        """The next root rows of the range, in key order, with their documents."""
        root, dialect = self.root, self.dialect
        flag = qualifies(self.schema, root, dialect).label("flusso_qualifies")
        statement = self._select().add_columns(flag).order_by(*self._order).limit(limit)
        lower = start if start is not None else span.lower
        if lower is not None:
            statement = statement.where(after(root, self.key, lower, dialect))
        if span.upper is not None:
            statement = statement.where(up_to(root, self.key, span.upper, dialect))
        rows = connection.execute(statement).all()
        passed = [row for row in rows if row[-1]]
        bodies = self.level.render(connection, passed)
        documents = [
            BuiltDocument(self._key(row), body.encode())
            for row, body in zip(passed, bodies, strict=True)
        ]
        return Page(documents, self._key(rows[-1]) if len(rows) == limit else None)

    def spelled(self, texts: Key) -> bool:
        """Whether the texts can be compared with the key's columns."""
        return all(
            self.dialect.spells(text, self.root.column(name))
            for name, text in zip(self.key, texts, strict=True)
        )

    def qualifying(self, connection: Connection, keys: Sequence[Key]) -> list[Key]:
        """Those of the keys that have a document."""
        return self._keys(connection, one_of(self.root, self.key, keys, self.dialect), None)

    def keys_after(self, connection: Connection, key: Key | None, limit: int) -> list[Key]:
        """The next keys of documents, in key order."""
        behind = () if key is None else (after(self.root, self.key, key, self.dialect),)
        return self._keys(connection, and_(true(), *behind), limit)

    def key_at(self, connection: Connection, place: int) -> Key | None:
        """The key at that place in key order, of all rows; `None`: there are not so many."""
        statement = select(*self._spelled()).order_by(*self._order).offset(place).limit(1)
        row = connection.execute(statement).first()
        return None if row is None else tuple([self.dialect.key_text(raw) for raw in row])

    def _keys(self, connection: Connection, which: Expression, limit: int | None) -> list[Key]:
        passed = qualifies(self.schema, self.root, self.dialect)
        statement = select(*self._spelled()).where(passed, which)
        rows = connection.execute(statement.order_by(*self._order).limit(limit)).all()
        return [tuple([self.dialect.key_text(raw) for raw in row]) for row in rows]

    def count(self, connection: Connection) -> int:
        """How many root rows there are."""
        return connection.execute(select(func.count()).select_from(self.root.sql)).scalar_one()

    def _select(self) -> Select[tuple[object, ...]]:
        keys = [one.label(f"k{place}") for place, one in enumerate(self._spelled())]
        return select(*self.level.selected(self.root.sql), *keys)

    def _spelled(self) -> list[Expression]:
        """The key's columns, so that `key_text` understands what comes."""
        return [self.dialect.key(one, self.root.column(one.name)) for one in self._order]

    @property
    def _order(self) -> list[Expression]:
        return [self.root.sql.columns[name] for name in self.key]

    def _key(self, row: Sequence[object]) -> Key:
        first = self.level.width
        texts = row[first : first + len(self.key)]
        if None in texts:
            raise self.root.null_in(self.key)
        return tuple([self.dialect.key_text(text) for text in texts])


def compile_index(schema: IndexSchema, tables: Tables, dialect: Dialect) -> Index:
    """Put an index together.

    Raises:
        SourceFatal: the schema does not fit the tables.
        ConfigError: a key that the schema leaves out cannot be found.
    """
    origin = schema.origin or f"index {schema.index!r}"
    require(tables, schema)
    complete = _complete(schema, tables)
    require_columns(tables, complete)
    _require_keys(complete, tables, dialect, origin)
    root = tables[complete.table]
    key = complete.primary_key or ()
    level = Level(complete.fields, root, key[0] if len(key) == 1 else None, tables, dialect)
    names = frozenset(table_names([schema]))
    return Index(complete, root, level, paths(complete, tables), names, dialect)


def watches(schemas: Iterable[IndexSchema], tables: Tables, dialect: Dialect) -> list[Watch]:
    """What polls look at, for all indexes together.

    Raises:
        SourceFatal: rows of a table cannot be told apart.
        ConfigError: a key that a schema leaves out cannot be found.
    """
    complete = [compile_index(schema, tables, dialect).schema for schema in schemas]
    raw = frozenset[TableName]().union(*(raw_tables(schema) for schema in complete))
    images = routing_columns(complete)
    found: list[Watch] = []
    for name, columns in referenced_columns(complete).items():
        table = tables[name]
        key = row_key(table)
        routing = images.get(name, frozenset())
        # What a raw condition looks at is not known: all of the row counts.
        content = frozenset(table.columns) if name in raw else columns
        found.append(
            Watch(
                table,
                key,
                tuple(sorted(routing.difference(key))),
                tuple(sorted(content.difference(key))),
                routing,
            )
        )
    return found


def row_key(table: Table) -> tuple[str, ...]:
    """The columns that tell the rows of a table apart.

    Raises:
        SourceFatal: there are none.
    """
    if table.primary_key:
        return table.primary_key
    if table.unique:
        _, columns = min((len(one), sorted(one)) for one in table.unique)
        return tuple(columns)
    raise SourceFatal(
        f"table {table.name} has no primary key, so its rows cannot be told apart; add one, or a "
        "unique index over columns that are NOT NULL"
    )


def _complete(schema: IndexSchema, tables: Tables) -> IndexSchema:
    return complete_keys(schema, lambda name: tables[name].primary_key)


def _require_keys(schema: IndexSchema, tables: Tables, dialect: Dialect, origin: str) -> None:
    for name, routing in routing_columns([schema]).items():
        table = tables[name]
        for column in sorted({*routing, *row_key(table)}):
            problem = dialect.key_problem(table.column(column))
            if problem is not None:
                raise SourceFatal(f"{origin}: column {column!r} of table {name}: {problem}")
    root = tables[schema.table]
    key = schema.primary_key or ()
    if not root.is_unique(key):
        raise SourceFatal(
            f"{origin}: nothing makes the key ({', '.join(key)}) of {root.name} unique and not "
            "null; make it the primary key, or add a unique index over NOT NULL columns"
        )
