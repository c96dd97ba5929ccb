"""What the outbox promises on each server alike: many write, and an entry may commit late."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flusso_core.errors import SourceFatal, SourceUnavailable
from flusso_core.model import Operation

from .application import Application
from .bench import Bench

pytestmark = pytest.mark.integration

UPSERT = Operation.UPSERT

TABLES = (
    "CREATE TABLE authors (id bigint PRIMARY KEY, name varchar(40))",
    "CREATE TABLE books (id bigint PRIMARY KEY, author bigint, title varchar(40))",
)
LOGGED = {"authors": {"id"}, "books": {"id", "author"}}

Connect = Callable[[], Application]


@pytest.fixture(params=["postgres", "mariadb"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{request.param}_database"))


@pytest.fixture
def application(connect: Connect) -> Application:
    found = connect()
    for statement in TABLES:
        found.execute(statement)
    return found


@pytest.fixture
def bench(application: Application, url: str) -> Bench:
    found = Bench(url, LOGGED)
    found.begin()
    return found


def test_an_entry_that_commits_late_is_told(bench: Bench, connect: Connect) -> None:
    """Its id is lower than one that was read, and removed, long before."""
    late, other = connect(), connect()
    with late.transaction():
        late.execute("INSERT INTO authors VALUES (1, NULL)")
        other.execute("INSERT INTO authors VALUES (2, NULL)")
        assert bench.poll() == [("authors", UPSERT, None, {"id": "2"})]
        other.execute("INSERT INTO authors VALUES (3, NULL)")
        bench.confirm()
        assert bench.poll() == [("authors", UPSERT, None, {"id": "3"})]
    assert bench.poll() == [("authors", UPSERT, None, {"id": "1"})]
    assert bench.poll() == []
    bench.confirm()
    assert bench.entries() == 0


NAMES = ("""odd "quoted" it's %s {b} co:lon back\\slash ünï $flusso$""", "order")
LOG = """lög "q" it's %s {b} :x back\\"""


def test_any_identifier_is_quoted(application: Application, url: str) -> None:
    """V1: as a table, a key, a column and the outbox itself."""
    for name in NAMES:
        quoted = application.quoting.name(name)
        application.execute(f"CREATE TABLE {quoted} ({quoted} varchar(9) PRIMARY KEY, fk int)")
        bench = Bench(url, {name: {name, "fk"}}, name=LOG)
        bench.begin()
        if bench.database.dialect.name == "postgresql":
            application.execute("SET standard_conforming_strings = off")
        application.execute(f"INSERT INTO {quoted} VALUES ('k', 1)")
        assert bench.poll() == [(name, UPSERT, None, {name: "k", "fk": "1"})]
        assert bench.amiss() == []
        assert len(bench.outbox.teardown(dry_run=False)) == 2


def test_triggers_wait_for_whoever_is_writing_and_not_for_long(
    application: Application, connect: Connect, url: str
) -> None:
    """H1: what was written before is committed when they are made. Others write meanwhile."""
    bench = Bench(url, LOGGED)
    writer = connect()
    with writer.transaction():
        writer.execute("INSERT INTO books VALUES (1, NULL, NULL)")
        with pytest.raises(SourceUnavailable, match=r"triggers of table public\.books"):
            bench.begin()
        application.execute("INSERT INTO books VALUES (2, NULL, NULL)")
    bench.begin()
    assert bench.amiss() == []
    application.execute("INSERT INTO books VALUES (3, NULL, NULL)")
    assert [one[3] for one in bench.poll()] == [{"id": "3", "author": None}]


def test_triggers_that_somebody_made_anew_are_noticed(
    bench: Bench, application: Application
) -> None:
    """H3: they do the same, and yet what was written before they were there is in no log."""
    dialect = bench.outbox.dialect
    with bench.database.connect() as connection:
        wanted = dialect.wanted(connection, bench.tables[1])
    for statement in (
        *dialect.remove(wanted.logged.name, list(wanted.triggers)),
        "INSERT INTO books VALUES (1, NULL, NULL)",
        *wanted.statements,
    ):
        application.execute(statement)
    assert bench.amiss() == []
    assert not bench.is_complete()
    with pytest.raises(SourceFatal, match=r"table public\.books \(made anew"):
        bench.poll()


def test_other_columns_rewrite_the_triggers_and_nobody_is_disturbed_otherwise(
    bench: Bench, application: Application, connect: Connect, url: str
) -> None:
    other = connect()
    with other.transaction():
        other.execute("INSERT INTO books VALUES (1, NULL, NULL)")
        assert bench.outbox.install(bench.tables) == []  # or it would wait
    more = Bench(url, {"books": {"id", "author", "title"}})
    (amiss,) = more.amiss()
    assert amiss.startswith("books: outdated")
    more.begin()
    assert more.amiss() == []
    application.execute("INSERT INTO books VALUES (2, NULL, 't')")
    application.execute("INSERT INTO authors VALUES (1, NULL)")  # logged no more
    assert more.poll()[1:] == [("books", UPSERT, None, {"id": "2", "author": None, "title": "t"})]
