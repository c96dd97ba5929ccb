"""Triggers of MariaDB, and the reader over them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest
from sqlalchemy.exc import OperationalError

from flusso_core.model import Operation, Severity

from .application import Application
from .bench import Bench

pytestmark = pytest.mark.integration

UPSERT, DELETE = Operation.UPSERT, Operation.DELETE

TABLES = """
CREATE TABLE authors (id bigint AUTO_INCREMENT PRIMARY KEY, name text);
CREATE TABLE books (
    id bigint PRIMARY KEY, author bigint REFERENCES authors (id) ON DELETE CASCADE, title text
);
CREATE TABLE events (
    at timestamp(6), kind uuid, size decimal(9, 2), word varchar(40),
    PRIMARY KEY (at, kind)
);
"""
LOGGED = {
    "authors": {"id"},
    "books": {"id", "author"},
    "events": {"at", "kind", "size", "word"},
}

Connect = Callable[[], Application]


@pytest.fixture
def url(mariadb_database: str) -> str:
    return mariadb_database


@pytest.fixture
def application(connect: Connect) -> Application:
    found = connect()
    for statement in TABLES.split(";\n"):
        if statement.strip():
            found.execute(statement)
    return found


@pytest.fixture
def bench(application: Application, url: str) -> Bench:
    found = Bench(url, LOGGED)
    found.begin()
    return found


def test_each_change_is_told_with_old_and_new_columns(
    bench: Bench, application: Application
) -> None:
    """C1, C2, C3: in order, a moved foreign key, a changed key, and what REPLACE removes."""
    application.execute("INSERT INTO authors (id) VALUES (7), (8)")
    application.execute("INSERT INTO books VALUES (1, 7, 'a')")
    application.execute("UPDATE books SET author = 8")
    application.execute("UPDATE books SET id = 2")
    application.execute("REPLACE INTO books VALUES (2, 7, 'b')")
    application.execute(
        "INSERT INTO books VALUES (2, 7, 'c') ON DUPLICATE KEY UPDATE author = NULL"
    )
    application.execute("DELETE FROM books")
    steps = [
        {"id": "1", "author": "7"},
        {"id": "1", "author": "8"},
        {"id": "2", "author": "8"},
        {"id": "2", "author": "7"},
        {"id": "2", "author": None},
    ]
    assert bench.poll()[2:] == [
        ("books", UPSERT, None, steps[0]),
        ("books", UPSERT, steps[0], steps[1]),
        ("books", UPSERT, steps[1], steps[2]),
        ("books", DELETE, steps[2], None),
        ("books", UPSERT, None, steps[3]),
        ("books", UPSERT, steps[3], steps[4]),
        ("books", DELETE, steps[4], None),
    ]
    assert bench.poll() == []


def test_values_are_spelled_alike_whatever_the_session_says(
    bench: Bench, application: Application
) -> None:
    """V2, V6."""
    application.execute("SET time_zone = '+09:00', sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'")
    application.execute(
        "INSERT INTO events VALUES ('2024-02-03 04:05:06.7', "
        "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 1.5, 'a\"b\\c''😀')"
    )
    with bench.database.connect() as connection:
        row = connection.exec_driver_sql("SELECT CAST(at AS CHAR) FROM events").scalar_one()
    assert row == "2024-02-02 19:05:06.700000"
    told = {
        "at": "2024-02-02 19:05:06.7",
        "kind": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "size": "1.50",
        "word": "a\"b\\c'😀",
    }
    assert bench.poll() == [("events", UPSERT, None, told)]


def test_whoever_may_write_to_the_table_needs_nothing_else(
    bench: Bench, application: Application, url: str
) -> None:
    database = bench.database.url.database
    application.execute("CREATE USER app@localhost, app@'127.0.0.1' IDENTIFIED BY 'app'")
    try:
        for host in ("localhost", "127.0.0.1"):
            application.execute(f"GRANT INSERT, SELECT ON {database}.books TO app@'{host}'")
        granted = bench.database.url.set(username="app", password="app")
        with closing(Application(granted.render_as_string(hide_password=False))) as app:
            app.execute("INSERT INTO books VALUES (1, NULL, 'a')")
            with pytest.raises(Exception, match="denied"):
                app.execute("SELECT * FROM flusso_outbox")
    finally:
        application.execute("DROP USER app@localhost, app@'127.0.0.1'")
    assert bench.poll() == [("books", UPSERT, None, {"id": "1", "author": None})]


def test_triggers_leave_the_application_its_own_numbers(
    bench: Bench, application: Application
) -> None:
    """What it asks about its own statement is not about the outbox's."""
    for _ in range(3):
        application.execute("INSERT INTO books (id) VALUES (floor(rand() * 1e15))")
    cursor = application.execute("INSERT INTO authors (name) VALUES ('a'), ('b')")
    assert (cursor.lastrowid, cursor.rowcount) == (1, 2)
    assert application.one("SELECT last_insert_id()") == 1


def test_reading_and_removing_keep_nobody_from_writing(bench: Bench, connect: Connect) -> None:
    """The reader removes entries while another transaction has written some and goes on."""
    one, other = connect(), connect()
    one.execute("INSERT INTO authors VALUES (1, NULL), (2, NULL)")
    bench.poll()
    other.execute("SET SESSION innodb_lock_wait_timeout = 1")
    with one.transaction():
        one.execute("INSERT INTO authors VALUES (3, NULL)")
        bench.confirm()
        other.execute("INSERT INTO authors VALUES (4, NULL)")
        assert bench.poll() == [("authors", UPSERT, None, {"id": "4"})]
    assert bench.poll() == [("authors", UPSERT, None, {"id": "3"})]


def test_check_gives_the_sql_that_makes_it_and_says_what_fires_no_trigger(
    application: Application, url: str
) -> None:
    bench = Bench(url, LOGGED)
    for one in bench.check(Severity.ERROR):
        for statement in filter(None, (one.cure or "").split(";\n")):
            application.execute(statement)
    assert bench.check(Severity.ERROR) == []
    left = bench.check(Severity.WARNING)
    assert [one.subject for one in left if "cascade" in one.message] == ["table public.books"]
    assert len([one for one in left if "TRUNCATE" in one.message]) == 3
    assert len([one for one in left if "dropped or renamed" in one.message]) == 3
    assert bench.outbox.install(bench.tables) == []


def test_what_check_says_of_triggers_is_so(bench: Bench, application: Application) -> None:
    """If a later version does otherwise, the findings have to go."""
    application.execute("INSERT INTO authors VALUES (1, NULL), (2, NULL)")
    application.execute("INSERT INTO books VALUES (1, 1, NULL)")
    bench.poll()
    application.execute("DELETE FROM authors WHERE id = 1")
    assert bench.poll() == [("authors", DELETE, {"id": "1"}, None)]
    assert application.one("SELECT count(*) FROM books") == 0
    application.execute("TRUNCATE books")
    assert bench.poll() == []
    (caveat,) = (
        one
        for one in bench.check(Severity.WARNING)
        if one.subject == "table public.books" and "dropped or renamed" in one.message
    )
    application.execute("ALTER TABLE books RENAME COLUMN author TO writer")
    with pytest.raises(OperationalError, match="author"):
        application.execute("INSERT INTO books VALUES (1, 2, NULL)")
    for statement in (caveat.cure or "").removeprefix("before that: ").split("; "):
        application.execute(statement)
    application.execute("INSERT INTO books VALUES (1, 2, NULL)")


def test_teardown_leaves_nothing(bench: Bench, application: Application) -> None:
    dry = bench.outbox.teardown(dry_run=True)
    assert bench.amiss() == []
    assert bench.outbox.teardown(dry_run=False) == dry
    for what in (
        "triggers WHERE trigger_schema",
        "tables WHERE table_name <> 'x' AND table_schema",
    ):
        names = "trigger_name" if what.startswith("trig") else "table_name"
        query = f"SELECT count(*) FROM information_schema.{what} = database()"
        assert application.one(f"{query} AND {names} LIKE 'flusso%'") == 0
    application.execute("INSERT INTO authors VALUES (1, NULL)")
