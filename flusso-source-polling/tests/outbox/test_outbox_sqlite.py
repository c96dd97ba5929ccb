"""Triggers of SQLite, and the reader over them; the application writes through sqlite3."""

from __future__ import annotations

import sqlite3
import tracemalloc
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from flusso_core.errors import ConfigError, SourceFatal
from flusso_core.model import Operation, Severity, TableName
from flusso_source_polling.outbox.install import Outbox
from flusso_source_polling.outbox.model import LONGEST_NAME

from .bench import Bench

UPSERT, DELETE = Operation.UPSERT, Operation.DELETE

TABLES = """
PRAGMA journal_mode = WAL;
CREATE TABLE authors (id INTEGER PRIMARY KEY, name TEXT UNIQUE);
CREATE TABLE books (
    id INTEGER PRIMARY KEY, author INTEGER REFERENCES authors ON DELETE CASCADE, title TEXT,
    shelf TEXT, isbn TEXT
);
CREATE UNIQUE INDEX books_isbn ON books (isbn, shelf);
CREATE TABLE pairs (a TEXT, b TEXT, note TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID;
"""
LOGGED = {"authors": {"id"}, "books": {"id", "author"}, "pairs": {"a", "b"}}


class _Killed(Exception):
    pass


@contextmanager
def interrupted(bench: Bench) -> Generator[None, None, None]:
    """Nothing of what is done inside comes to be in the state file."""
    with suppress(_Killed), bench.state.transaction():
        yield
        raise _Killed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "library.db"


@pytest.fixture
def application(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(TABLES)
        yield connection


@pytest.fixture
def bench(application: sqlite3.Connection, path: Path) -> Bench:
    found = Bench(f"sqlite:///{path}", LOGGED)
    found.begin()
    return found


def test_each_change_is_told_with_old_and_new_columns(
    bench: Bench, application: sqlite3.Connection
) -> None:
    """C1, C2, C3: in order, a moved foreign key and a changed key with what they were."""
    application.execute("INSERT INTO books VALUES (1, 7, 'a', NULL, NULL)")
    application.execute("UPDATE books SET author = 8")
    application.execute("UPDATE books SET id = 2, author = NULL")
    application.execute("DELETE FROM books")
    one, two, moved = (
        {"id": "1", "author": "7"},
        {"id": "1", "author": "8"},
        {"id": "2", "author": None},
    )
    assert bench.poll() == [
        ("books", UPSERT, None, one),
        ("books", UPSERT, one, two),
        ("books", UPSERT, two, moved),
        ("books", DELETE, moved, None),
    ]
    assert bench.poll() == []


@pytest.mark.parametrize("recursive", ["OFF", "ON"])
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT OR REPLACE INTO books VALUES (1, 9, 'new', NULL, NULL)",
        "REPLACE INTO books VALUES (3, 9, 'new', 's', 'x')",
        "UPDATE OR REPLACE books SET id = 1 WHERE id = 2",
        "UPDATE OR REPLACE books SET isbn = 'x', shelf = 's' WHERE id = 2",
    ],
)
def test_a_row_that_another_one_replaces_is_told(
    bench: Bench, application: sqlite3.Connection, statement: str, recursive: str
) -> None:
    """C3: SQLite fires no delete trigger for it, unless `recursive_triggers` is set."""
    application.execute(f"PRAGMA recursive_triggers = {recursive}")
    application.execute("INSERT INTO books VALUES (1, 7, 'old', 's', 'x'), (2, 8, 'b', 't', 'y')")
    bench.poll()
    application.execute(statement)
    told = bench.poll()
    assert ("books", DELETE, {"id": "1", "author": "7"}, None) in told
    assert told[-1][1] is UPSERT


def test_what_deletes_in_cascade_is_told(bench: Bench, application: sqlite3.Connection) -> None:
    """C10."""
    application.execute("PRAGMA foreign_keys = ON")
    application.execute("INSERT INTO authors VALUES (1, 'a')")
    application.execute("INSERT INTO books VALUES (1, 1, 'a', NULL, NULL)")
    bench.poll()
    application.execute("DELETE FROM authors")
    assert sorted(bench.poll()) == [
        ("authors", DELETE, {"id": "1"}, None),
        ("books", DELETE, {"id": "1", "author": "1"}, None),
    ]


def test_what_is_rolled_back_is_not_told(bench: Bench, application: sqlite3.Connection) -> None:
    application.execute("BEGIN")
    application.execute("INSERT INTO authors VALUES (1, 'a')")
    application.execute("ROLLBACK")
    assert bench.poll() == []


def test_an_upsert_that_nothing_is_in_the_way_of_tells_itself_alone(
    bench: Bench, application: sqlite3.Connection
) -> None:
    application.execute("INSERT OR REPLACE INTO pairs VALUES ('a', 'b', NULL)")
    application.execute("UPDATE OR REPLACE pairs SET a = 'c', note = 'x'")
    assert bench.poll() == [
        ("pairs", UPSERT, None, {"a": "a", "b": "b"}),
        ("pairs", UPSERT, {"a": "a", "b": "b"}, {"a": "c", "b": "b"}),
    ]


def test_triggers_leave_the_application_its_own_numbers(
    bench: Bench, application: sqlite3.Connection
) -> None:
    """What it asks about its own statement is not about the outbox's."""
    for _ in range(3):
        application.execute("INSERT INTO authors (name) VALUES (NULL)")
    cursor = application.execute("INSERT INTO books (author) VALUES (1), (2)")
    assert (cursor.lastrowid, cursor.rowcount) == (2, 2)
    assert application.execute("UPDATE books SET title = 'x'").rowcount == 2
    assert bench.entries() == 7


NAMES = ("""odd "quoted" it's %s {b} co:lon back\\slash ünï""", "order")
LOG = """lög "q" it's %s {b} :x back\\"""


def test_any_identifier_is_quoted(path: Path, application: sqlite3.Connection) -> None:
    """V1: as a table, a key, a column and the outbox itself."""
    for name in NAMES:
        quoted = '"' + name.replace('"', '""') + '"'
        application.execute(f"CREATE TABLE {quoted} ({quoted} TEXT PRIMARY KEY, fk INTEGER)")
        bench = Bench(f"sqlite:///{path}", {name: {name, "fk"}}, name=LOG)
        bench.begin()
        application.execute(f"INSERT INTO {quoted} VALUES (?, 1)", (name,))
        application.execute(f"UPDATE {quoted} SET fk = 2")
        assert bench.poll() == [
            (name, UPSERT, None, {name: name, "fk": "1"}),
            (name, UPSERT, {name: name, "fk": "1"}, {name: name, "fk": "2"}),
        ]
        assert bench.amiss() == []


def test_values_are_spelled_as_where_tables_are_compared(
    bench: Bench, application: sqlite3.Connection
) -> None:
    """V2."""
    odd = 'a"b\\c\n\t{"x":1}\u0001é😀'
    application.execute("INSERT INTO pairs VALUES (?, ?, NULL)", (odd, 1.0))
    application.execute("INSERT INTO books (id, author) VALUES (?, ?)", (2**62, 1.5))
    assert [one[3] for one in bench.poll()] == [
        {"a": odd, "b": "1.0"},
        {"id": str(2**62), "author": "1.5"},
    ]
    application.execute("INSERT INTO books (author) VALUES (?)", (b"\xff",))
    with pytest.raises(SourceFatal, match=r"table public\.books, .* author, id: .* is a BLOB"):
        bench.poll()


def test_making_it_again_does_nothing_and_other_columns_rewrite_the_triggers(
    bench: Bench, application: sqlite3.Connection, path: Path
) -> None:
    version = "PRAGMA schema_version"
    before = application.execute(version).fetchone()
    assert bench.outbox.install(bench.tables) == []
    assert application.execute(version).fetchone() == before
    more = Bench(f"sqlite:///{path}", {"books": {"id", "author", "shelf"}})
    (amiss,) = more.amiss()
    assert amiss.startswith("books: outdated")
    assert more.outbox.install(more.tables) == [TableName("public", "books")]
    more.begin()
    application.execute("INSERT INTO books (id, shelf) VALUES (1, 's')")
    application.execute("INSERT INTO pairs VALUES ('a', 'b', NULL)")  # logged no more
    assert more.poll() == [("books", UPSERT, None, {"id": "1", "author": None, "shelf": "s"})]


def test_entries_of_older_triggers_lack_what_those_did_not_know(
    bench: Bench, application: sqlite3.Connection, path: Path
) -> None:
    application.execute("INSERT INTO books (id, author, shelf) VALUES (1, 2, 's')")
    more = Bench(f"sqlite:///{path}", {"books": {"id", "author", "shelf"}})
    more.begin()
    assert more.poll() == [("books", UPSERT, None, {"id": "1", "author": "2"})]


def test_triggers_that_went_with_a_table_are_noticed(
    bench: Bench, application: sqlite3.Connection
) -> None:
    """Migrations of SQLite make a table anew, and its triggers are gone with the old one."""
    application.executescript(
        "CREATE TABLE new_authors (id INTEGER PRIMARY KEY, name TEXT UNIQUE);"
        "DROP TABLE authors; ALTER TABLE new_authors RENAME TO authors;"
    )
    with pytest.raises(SourceFatal, match=r"table public\.authors \(missing: .*check"):
        bench.poll()
    bench.begin()
    assert bench.poll() == []


def test_a_log_has_one_reader(bench: Bench, application: sqlite3.Connection, path: Path) -> None:
    """Two would each miss what the other one has removed."""
    other = Bench(f"sqlite:///{path}", LOGGED)
    other.begin()
    with pytest.raises(SourceFatal, match="another deployment"):
        bench.poll()
    application.execute("INSERT INTO authors VALUES (1, 'a')")
    assert len(other.poll()) == 1


def test_entries_are_removed_when_they_are_confirmed_and_come_again_when_not(
    bench: Bench, application: sqlite3.Connection
) -> None:
    """H8."""
    application.executemany("INSERT INTO authors VALUES (?, NULL)", [(one,) for one in range(250)])
    with interrupted(bench):
        assert len(bench.changes()) == 250
    assert len(bench.changes()) == 250
    application.execute("INSERT INTO authors VALUES (900, NULL)")
    assert bench.entries() == 251
    bench.confirm()
    assert bench.entries() == 1
    assert bench.poll() == [("authors", UPSERT, None, {"id": "900"})]
    bench.confirm()
    assert bench.entries() == 0
    application.execute("INSERT INTO authors VALUES (901, NULL)")  # with an id of its own
    assert bench.poll() == [("authors", UPSERT, None, {"id": "901"})]


def test_memory_does_not_grow_with_the_entries(
    bench: Bench, application: sqlite3.Connection
) -> None:
    """C10: neither where they are read nor where they are removed."""

    def peak(count: int) -> int:
        application.execute(f"INSERT INTO authors (name) SELECT NULL FROM {numbers(count)}")
        tracemalloc.start()
        try:
            assert sum(1 for _ in bench.stream()) == count
            bench.confirm()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(20_000) < 2_000_000  # held at once, they are ten times as much
    assert bench.entries() == 0


def numbers(count: int) -> str:
    """A table of so many rows."""
    upwards = f"SELECT 1 AS n UNION ALL SELECT n + 1 FROM up WHERE n < {count}"
    return f"(WITH RECURSIVE up AS ({upwards}) SELECT n FROM up)"


def test_removing_goes_on_after_a_kill_between_database_and_state_file(
    bench: Bench, application: sqlite3.Connection
) -> None:
    application.execute("INSERT INTO authors VALUES (1, NULL), (2, NULL)")
    bench.poll()
    with interrupted(bench):
        bench.confirm()
    application.execute("INSERT INTO authors VALUES (3, NULL)")
    assert bench.poll() == [("authors", UPSERT, None, {"id": "3"})]
    bench.confirm()
    assert bench.entries() == 0


def test_teardown_removes_everything_and_nothing_when_dry(
    bench: Bench, application: sqlite3.Connection
) -> None:
    objects = "SELECT count(*) FROM sqlite_master WHERE name LIKE 'flusso%'"
    dry = bench.outbox.teardown(dry_run=True)
    assert len(dry) == 4
    assert application.execute(objects).fetchone() == (17,)
    assert bench.outbox.teardown(dry_run=False) == dry
    assert application.execute(objects).fetchone() == (0,)
    application.execute("INSERT INTO authors VALUES (1, NULL)")
    assert bench.outbox.teardown(dry_run=False) == []


def test_check_gives_the_sql_that_makes_it(application: sqlite3.Connection, path: Path) -> None:
    bench = Bench(f"sqlite:///{path}", LOGGED)
    found = bench.check(Severity.ERROR)
    assert [one.subject for one in found] == [
        "table public.flusso_outbox",
        "table public.authors",
        "table public.books",
        "table public.pairs",
    ]
    assert bench.check(Severity.ERROR, manage=True) == []
    assert len(bench.check(Severity.INFO, manage=True)) == 4 + 3
    for one in found:
        application.executescript(one.cure or "")
    assert bench.check(Severity.ERROR) == bench.check(Severity.WARNING) == []
    promises = [one.message for one in bench.check(Severity.INFO)]
    assert promises == 3 * [
        "every insert, update and delete is seen within 1 s of its commit, in the outbox"
    ]
    assert bench.outbox.install(bench.tables) == []


def test_check_names_replacements_that_cannot_be_followed(
    bench: Bench, application: sqlite3.Connection
) -> None:
    application.execute("CREATE UNIQUE INDEX odd ON books (lower(title))")
    (finding,) = bench.check(Severity.WARNING)
    assert "unique index odd" in finding.message


def test_tables_may_be_called_those_of_main(application: sqlite3.Connection, path: Path) -> None:
    """As SQLite calls the file itself; and triggers of the other name are replaced."""
    Bench(f"sqlite:///{path}", LOGGED).begin()
    bench = Bench(f"sqlite:///{path}", LOGGED, schema="main")
    bench.begin()
    assert bench.amiss() == []
    application.execute("INSERT INTO authors VALUES (1, 'a')")
    (change,) = bench.changes()
    assert (change.table, change.after) == (TableName("main", "authors"), {"id": "1"})
    assert len(bench.outbox.teardown(dry_run=False)) == 4


def test_a_long_name_is_refused(bench: Bench) -> None:
    with pytest.raises(ConfigError, match=f"longer than {LONGEST_NAME} bytes"):
        Outbox(bench.database, TableName("public", "ü" * (LONGEST_NAME // 2 + 1)))


def test_a_schema_that_the_database_does_not_have_is_refused(bench: Bench) -> None:
    with pytest.raises(ConfigError, match=r"\[source\] outbox: SQLite has no schema 'archive'"):
        Outbox(bench.database, TableName("archive", "changes"))
