"""Triggers of Postgres, and the reader over them."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from sqlalchemy.exc import ProgrammingError

from flusso_core.errors import SourceFatal
from flusso_core.model import Operation, Severity

from .application import Application
from .bench import Bench

pytestmark = pytest.mark.integration

UPSERT, DELETE, TRUNCATE = Operation.UPSERT, Operation.DELETE, Operation.TRUNCATE

TABLES = """
CREATE TABLE authors (id bigserial PRIMARY KEY, name text);
CREATE TABLE books (
    id bigint PRIMARY KEY, author bigint REFERENCES authors ON DELETE CASCADE, title text
);
CREATE TABLE events (
    at timestamptz, kind uuid, size numeric, PRIMARY KEY (at, kind)
);
"""
LOGGED = {"authors": {"id"}, "books": {"id", "author"}, "events": {"at", "kind", "size"}}

Connect = Callable[[], Application]


@pytest.fixture
def url(postgres_database: str) -> str:
    return postgres_database


@pytest.fixture
def application(connect: Connect) -> Application:
    found = connect()
    found.execute(TABLES)
    return found


@pytest.fixture
def bench(application: Application, url: str) -> Bench:
    found = Bench(url, LOGGED)
    found.begin()
    return found


def test_each_change_is_told_with_old_and_new_columns(
    bench: Bench, application: Application
) -> None:
    """C1, C2, C3, C10: in order, a moved foreign key, a changed key and a cascade."""
    application.execute("INSERT INTO authors VALUES (7), (8)")
    application.execute("INSERT INTO books VALUES (1, 7, 'a')")
    application.execute("UPDATE books SET author = 8")
    application.execute("UPDATE books SET id = 2")
    application.execute("DELETE FROM authors WHERE id = 8")
    one, two, moved = (
        {"id": "1", "author": "7"},
        {"id": "1", "author": "8"},
        {"id": "2", "author": "8"},
    )
    told = bench.poll()
    assert [one for one in told if one[0] == "books"] == [
        ("books", UPSERT, None, one),
        ("books", UPSERT, one, two),
        ("books", UPSERT, two, moved),
        ("books", DELETE, moved, None),
    ]
    assert ("authors", DELETE, {"id": "8"}, None) in told
    assert bench.poll() == []


def test_a_truncate_is_told_before_what_was_written_after_it(
    bench: Bench, application: Application
) -> None:
    """C7: also of tables that it reaches by CASCADE, and where the clock was set back."""
    application.execute("INSERT INTO authors VALUES (1)")
    application.execute("TRUNCATE authors CASCADE")
    application.execute("INSERT INTO authors VALUES (2)")
    application.execute(
        "UPDATE flusso_outbox SET id = '00000000-0000-0000-0000-000000000001' "
        "WHERE new_row::json ->> 'id' = '2'"
    )
    told = bench.poll()
    assert sorted(told[:2]) == [("authors", TRUNCATE, None, None), ("books", TRUNCATE, None, None)]
    assert sorted(one[3]["id"] or "" for one in told[2:] if one[3]) == ["1", "2"]


def test_values_are_spelled_alike_whatever_the_session_says(
    bench: Bench, application: Application
) -> None:
    """V2, V6."""
    for statement in (
        "SET TimeZone = 'Asia/Tokyo'",
        "SET DateStyle = 'SQL, DMY'",
        "SET standard_conforming_strings = off",
        "SET search_path = pg_temp",
    ):
        application.execute(statement)
    application.execute(
        "INSERT INTO public.events VALUES "
        "('2024-02-03 04:05:06.7+00', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 1.50)"
    )
    assert bench.poll() == [
        (
            "events",
            UPSERT,
            None,
            {
                "at": "2024-02-03 04:05:06.7+00",
                "kind": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
                "size": "1.50",
            },
        )
    ]


def test_whoever_may_write_to_the_table_needs_nothing_else(
    bench: Bench, application: Application
) -> None:
    """No privilege on the log, and no say in what the trigger's names mean."""
    role = f"app_{application.one('SELECT pg_backend_pid()')}"
    application.execute(f"CREATE ROLE {role}")
    try:
        application.execute(f"GRANT INSERT, UPDATE, DELETE, SELECT ON books TO {role}")
        application.execute(f"GRANT CREATE ON SCHEMA public TO {role}")
        application.execute(f"SET ROLE {role}")
        application.execute("CREATE TEMP TABLE flusso_outbox (LIKE books)")
        application.execute("INSERT INTO books VALUES (1, NULL)")
        with pytest.raises(ProgrammingError, match="permission denied"):
            application.execute("SELECT * FROM public.flusso_outbox")
        function = bench.outbox.dialect.trigger(bench.tables[1].name, "log")
        application.execute("CREATE TABLE mine (id int)")
        with pytest.raises(ProgrammingError, match="permission denied"):  # it would forge entries
            application.execute(
                "CREATE TRIGGER forge AFTER INSERT ON mine FOR EACH ROW "
                f"EXECUTE FUNCTION public.{function}()"
            )
    finally:
        application.execute("RESET ROLE")
        application.execute(f"DROP OWNED BY {role}")
        application.execute(f"DROP ROLE {role}")
    assert bench.poll() == [("books", UPSERT, None, {"id": "1", "author": None})]


def test_triggers_leave_the_application_its_own_numbers(
    bench: Bench, application: Application
) -> None:
    """`lastval` is of its own sequence, and the count of rows of its own statement."""
    assert application.execute("INSERT INTO authors (name) VALUES ('a'), ('b')").rowcount == 2
    assert application.one("SELECT lastval()") == 2


def test_a_column_that_goes_does_not_break_writes(bench: Bench, application: Application) -> None:
    """C14: what the trigger still finds is logged, old rows and new ones."""
    application.execute("INSERT INTO books VALUES (1, NULL, 'a')")
    bench.poll()
    application.execute("ALTER TABLE books DROP COLUMN author")
    application.execute("INSERT INTO books VALUES (2, 'b')")
    application.execute("UPDATE books SET title = 'c' WHERE id = 1")
    application.execute("DELETE FROM books WHERE id = 2")
    assert bench.poll() == [
        ("books", UPSERT, None, {"id": "2"}),
        ("books", UPSERT, {"id": "1"}, {"id": "1"}),
        ("books", DELETE, {"id": "2"}, None),
    ]


def test_a_row_costs_no_transaction_id_of_its_own(bench: Bench, application: Application) -> None:
    """A million rows in one statement are one transaction, as without the outbox."""
    statement = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
    with application.transaction():
        application.execute("INSERT INTO authors SELECT FROM generate_series(1, 500)")
    before = application.one(statement)
    application.execute("UPDATE authors SET name = 'x'")
    assert application.one(statement) - before <= 10
    assert len(bench.poll()) == 1000


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE books DISABLE TRIGGER ALL",
        "DROP FUNCTION {row_function} CASCADE",
        "ALTER TABLE books RENAME TO tomes; CREATE TABLE books AS TABLE tomes",
        "ALTER FUNCTION {row_function} SECURITY INVOKER",
    ],
)
def test_triggers_that_were_tampered_with_are_noticed(
    bench: Bench, application: Application, statement: str
) -> None:
    function = bench.outbox.dialect.trigger(bench.tables[1].name, "log")
    application.execute(statement.format(row_function=f"{function}()"))
    assert any(one.startswith("books: ") for one in bench.amiss())
    with pytest.raises(SourceFatal, match=r"changes of table public\.books \("):
        bench.poll()
    bench.begin()
    assert bench.amiss() == []
    application.execute("INSERT INTO books VALUES (1, NULL)")
    assert bench.poll() == [("books", UPSERT, None, {"id": "1", "author": None})]


def test_partitions_are_logged_under_their_parent(application: Application, url: str) -> None:
    """C12: a partition that comes later too; what fires no trigger is said."""
    application.execute(
        "CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE low PARTITION OF parts FOR VALUES FROM (0) TO (10)"
    )
    bench = Bench(url, {"parts": {"id"}})
    bench.begin()
    application.execute("CREATE TABLE high PARTITION OF parts FOR VALUES FROM (10) TO (20)")
    application.execute("INSERT INTO high VALUES (11)")
    application.execute("UPDATE parts SET id = 1")
    told = bench.poll()
    assert told[0] == ("parts", UPSERT, None, {"id": "11"})
    assert {one[0] for one in told} == {"parts"}
    assert {"id": "11"} in [one[2] for one in told]
    assert {"id": "1"} in [one[3] for one in told]
    assert bench.amiss() == []
    (finding,) = bench.check(Severity.WARNING)
    assert "partition" in finding.message


def test_check_gives_the_sql_that_makes_it(application: Application, url: str) -> None:
    bench = Bench(url, LOGGED)
    for one in bench.check(Severity.ERROR):
        application.execute(one.cure or "")
    assert bench.check(Severity.ERROR) == bench.check(Severity.WARNING) == []
    assert bench.outbox.install(bench.tables) == []


def test_teardown_leaves_nothing(bench: Bench, application: Application) -> None:
    dry = bench.outbox.teardown(dry_run=True)
    assert bench.amiss() == []
    assert bench.outbox.teardown(dry_run=False) == dry
    left = application.one(
        "SELECT (SELECT count(*) FROM pg_class WHERE relname LIKE 'flusso%')"
        " + (SELECT count(*) FROM pg_proc WHERE proname LIKE 'flusso%')"
        " + (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'flusso%')"
    )
    assert left == 0
    application.execute("INSERT INTO authors VALUES (1)")


def test_concurrent_writers_of_one_row_are_told_in_order(bench: Bench, connect: Connect) -> None:
    """Each key's changes in the order of their commits, however polls and commits interleave."""
    connect().execute("INSERT INTO books VALUES (1, NULL)")
    connect().execute("INSERT INTO authors SELECT FROM generate_series(1, 200)")

    def write(connection: Application) -> None:
        for _ in range(50):
            with connection.transaction():
                connection.execute("SELECT 1")  # begun before it waits for the row
                connection.execute("UPDATE books SET author = coalesce(author, 0) + 1")

    threads = [threading.Thread(target=write, args=(connect(),)) for _ in range(4)]
    for one in threads:
        one.start()
    told = bench.poll()
    while any(one.is_alive() for one in threads):
        told += bench.poll()
        bench.confirm()
    told += bench.poll()
    found = [one[3]["author"] for one in told if one[0] == "books" and one[3]]
    assert found[1:] == [str(number) for number in range(1, 201)]
