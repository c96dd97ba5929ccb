"""What the portable builder asks of a database: few statements, short ones, bounded ones."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.pool import Pool

from flusso_core.errors import ConfigError, SchemaMismatch
from flusso_core.hookspecs import SourceContext
from flusso_core.model import Change, IndexKeys, Key, KeyRange, Operation, StrayKey, TableName
from flusso_core.schema import parse_schema
from flusso_source_polling import climbing, ranges
from flusso_source_polling.builder import PollingBuilder
from flusso_source_polling.database import Database as PollingDatabase
from flusso_source_polling.options import PollingOptions

TABLES = """
CREATE TABLE authors (id INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE books (id INTEGER PRIMARY KEY, author INTEGER, shelf INTEGER, title TEXT);
CREATE TABLE shelves (id INTEGER PRIMARY KEY, room TEXT, label TEXT);
CREATE TABLE rooms (id TEXT PRIMARY KEY, name TEXT);
CREATE TABLE pairs (a INTEGER, b TEXT, name TEXT, PRIMARY KEY (a, b));
CREATE INDEX books_author ON books (author);
CREATE INDEX books_shelf ON books (shelf);
"""

AUTHORS = """
version: 1
table: authors
filters: [{ column: name, op: neq, value: hidden }]
fields:
  - text: name
  - has_many: books
    table: books
    foreign_key: author
    limit: 3
    fields:
      - text: title
      - belongs_to: shelf
        table: shelves
        column: shelf
        fields:
          - text: label
          - belongs_to: room
            table: rooms
            column: room
            fields: [{ text: name }]
  - count: number
    table: books
    foreign_key: author
  - max: title
    table: books
    foreign_key: author
    column: title
    value_type: keyword
"""
STATEMENTS = 6
"""The root, three joins and two aggregates."""

PAIRS = "version: 1\ntable: pairs\nfields: [{ text: name }]\n"


class Database:
    """A file, and builders that read it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(f"PRAGMA journal_mode = WAL; {TABLES}")

    def execute(self, statement: str) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(statement)

    def fill(self, rows: int) -> None:
        """Authors and as many pairs; each author has two books on one of ten shelves."""
        numbers = (
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})"
        )
        self.execute(f"INSERT INTO authors {numbers} SELECT i, 'n' || i FROM n")
        self.execute(
            f"INSERT INTO books {numbers} SELECT 2 * i + b, i, i % 10, 't' FROM n, "
            "(SELECT 0 AS b UNION SELECT 1)"
        )
        self.execute(f"INSERT INTO pairs {numbers} SELECT i % 7, 'k' || i, 'x' FROM n")
        self.execute("INSERT INTO shelves SELECT DISTINCT shelf, 'r', 'l' FROM books")
        self.execute("INSERT INTO rooms VALUES ('r', 'room')")

    def builder(self, *schemas: str) -> PollingBuilder:
        parsed = tuple(parse_schema(one, f"i{n}", f"i{n}.yml") for n, one in enumerate(schemas))
        options = PollingOptions.model_validate({"connection_url": self.url})
        return PollingBuilder(SourceContext(options, parsed))


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "reads.db")


@contextmanager
def statements() -> Generator[list[str]]:
    """The SELECTs that are asked meanwhile."""
    found: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if statement.startswith("SELECT"):
            found.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@contextmanager
def connections_in_use() -> Generator[list[object]]:
    """The connections that somebody holds at this moment."""
    found: list[object] = []

    def taken(connection: object, *_rest: object) -> None:
        found.append(connection)

    def given_back(connection: object, *_rest: object) -> None:
        found.remove(connection)

    event.listen(Pool, "checkout", taken)
    event.listen(Pool, "checkin", given_back)
    try:
        yield found
    finally:
        event.remove(Pool, "checkout", taken)
        event.remove(Pool, "checkin", given_back)


@pytest.mark.parametrize("rows", [1, 150])
async def test_a_chunk_is_one_statement_a_relation_however_many_rows(
    database: Database, rows: int
) -> None:
    database.fill(rows)
    keys: list[Key] = [(str(number),) for number in range(1, rows + 1)]
    async with database.builder(AUTHORS) as builder:
        with statements() as asked:
            built = [one async for chunk in builder.build("i0", keys) for one in chunk]
        assert all(one.body is not None for one in built)
        assert len(built) == rows
        assert len(asked) == STATEMENTS
        with statements() as asked:
            await builder.page("i0", KeyRange(), None, rows)
        assert len(asked) == STATEMENTS


async def test_a_change_climbs_in_pages_and_holds_nothing_between_them(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C10: bounded in keys, in transactions, and by one statement a step and page."""
    monkeypatch.setattr(climbing, "AT_ONCE", 5)
    database.fill(20)
    renamed = Change(TableName("public", "rooms"), Operation.UPSERT, {"id": "r"}, {"id": "r"})
    moved = Change(TableName("public", "books"), Operation.DELETE, {"author": "7"}, None)
    async with database.builder(AUTHORS) as builder:
        found: list[Key] = []
        with connections_in_use() as used:
            async for one in builder.resolve([renamed]):
                assert isinstance(one, IndexKeys)
                assert len(one.keys) <= 5
                assert not used
                found += one.keys
        assert sorted(found) == sorted((str(number),) for number in range(1, 21))
        with statements() as asked:
            direct = [one async for one in builder.resolve([moved])]
        assert direct == [IndexKeys("i0", [("7",)])] * len(direct)
        assert not asked  # the row itself says whose it is


@pytest.mark.parametrize("schema", [AUTHORS, PAIRS], ids=["numbers", "pairs"])
async def test_ranges_read_side_by_side_cover_every_key_once(
    database: Database, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "WORTH", 10)
    database.fill(100)
    async with database.builder(schema) as builder:
        spans = await builder.ranges("i0", 4)
        assert len(spans) == 4
        found: list[Key] = []
        for span in spans:
            page = await builder.page("i0", span, None, 100)
            assert len(page.documents) > 10
            found += [one.key for one in page.documents]
        assert len(found) == len(set(found)) == 100
        assert await builder.ranges("i0", 1) == [KeyRange()]


async def test_ids_without_a_row_are_found_by_their_keys(database: Database) -> None:
    database.fill(30)
    database.execute("DELETE FROM authors WHERE id = 7")
    database.execute("UPDATE authors SET name = 'hidden' WHERE id = 8")
    async with database.builder(AUTHORS, PAIRS) as builder:
        with statements() as asked:
            assert await builder.missing("i0", ["6", "7", "8", "99", "x"]) == [
                ("7",), ("8",), ("99",), ("x",),
            ]  # fmt: skip
        assert len(asked) == 1
        ids = ['[1,"k1"]', '["1","k1"]', '["1","k2"]', "~sha256:00"]
        assert await builder.missing("i1", ids) == [
            StrayKey(('[1,"k1"]',)), ("1", "k2"), StrayKey(("~sha256:00",)),
        ]  # fmt: skip


async def test_an_index_that_does_not_fit_stops_alone(database: Database) -> None:
    """C14: at the start, and later."""
    database.fill(3)
    async with database.builder(AUTHORS, PAIRS) as builder:
        assert builder.unfit() == []
        database.execute("ALTER TABLE pairs DROP COLUMN name")
        with pytest.raises(SchemaMismatch, match="no such column") as caught:
            await builder.page("i1", KeyRange(), None, 10)
        assert caught.value.index == "i1"
        assert (await builder.page("i0", KeyRange(), None, 10)).documents
        builder.exclude("i0")
        author = Change(TableName("public", "authors"), Operation.DELETE, {"id": "1"}, None)
        assert [one async for one in builder.resolve([author])] == []
    async with database.builder(AUTHORS, PAIRS) as builder:
        (unfit,) = builder.unfit()
        assert unfit.index == "i1"
        assert "has no column 'name'" in unfit.reason
        assert (await builder.page("i0", KeyRange(), None, 10)).documents


async def test_a_driver_that_is_not_installed_is_named_with_its_cure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pymysql", None)
    absent = PollingDatabase("mariadb+pymysql://me:hunter2@127.0.0.1:9/d")
    with pytest.raises(ConfigError, match="pip install pymysql") as caught:
        absent.connect()
    assert "hunter2" not in str(caught.value)


async def test_a_read_that_outlives_the_builder_leaves_no_connection_behind(
    database: Database,
) -> None:
    """Cancelling cannot end a thread: what it reads from is closed when it has read."""
    database.fill(3)
    going, over = threading.Event(), threading.Event()
    closed: list[object] = []

    def slow(_connection: object) -> None:
        going.set()
        assert over.wait(30)

    def note(connection: object, _record: object) -> None:
        closed.append(connection)

    polled = PollingDatabase(database.url, pool_size=2)
    event.listen(Pool, "close", note)
    try:
        reading = asyncio.create_task(asyncio.to_thread(polled.read, "wait", slow))
        assert await asyncio.to_thread(going.wait, 30)
        polled.close()
        assert not closed
        over.set()
        await reading
        assert len(closed) == 1
    finally:
        event.remove(Pool, "close", note)


async def test_sqlite_values_arrive_whatever_the_column_was_declared_as(database: Database) -> None:
    """V4: SQLite's types are those of its values."""
    controls = "".join(map(chr, (*range(128), 0x2028, 0x1F600)))
    rows: list[tuple[object, object, object]] = [
        (1, 2**63 - 1, controls),
        (0.1 + 0.2, 1e300, b"\x00\xff"),
        ("1.x", "x", ""),
        (b"\x01", None, None),
    ]
    with closing(sqlite3.connect(database.path)) as connection, connection:
        connection.execute(
            "CREATE TABLE odd (id INTEGER PRIMARY KEY, money DECIMAL(9, 2), whole INTEGER, t TEXT)"
        )
        connection.executemany("INSERT INTO odd (money, whole, t) VALUES (?, ?, ?)", rows)
    fields = "[{ decimal: money }, { long: whole }, { keyword: t, default: none }]"
    async with database.builder(f"version: 1\ntable: odd\nfields: {fields}\n") as reading:
        page = await reading.page("i0", KeyRange(), None, 10)
    assert [json.loads(body or b"null") for _, body in page.documents] == [
        {"money": 1, "whole": 2**63 - 1, "t": controls},
        {"money": 0.1 + 0.2, "whole": 1e300, "t": "AP8="},
        {"money": "1.x", "whole": "x", "t": ""},
        {"money": "AQ==", "whole": None, "t": "none"},
    ]


async def test_a_wide_table_is_one_document(database: Database) -> None:
    """However many columns the database makes one text of."""
    names = [f"c{number}" for number in range(300)]
    database.execute(f"CREATE TABLE wide (id INTEGER PRIMARY KEY, {' TEXT, '.join(names)} TEXT)")
    database.execute(f"INSERT INTO wide VALUES (1, {', '.join(repr(name) for name in names)})")
    fields = ", ".join(f"{{ keyword: {name} }}" for name in names)
    async with database.builder(f"version: 1\ntable: wide\nfields: [{fields}]\n") as reading:
        page = await reading.page("i0", KeyRange(), None, 10)
    assert json.loads(page.documents[0].body or b"null") == {name: name for name in names}
