"""The commit-safe horizon on a real Postgres, one poll at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from flusso_core.errors import SourceFatal
from flusso_core.model import Change, Operation
from flusso_core.testing.conformance import PARENTS
from flusso_source_polling import witness
from flusso_source_polling.options import PollingOptions
from flusso_source_polling.state import StateFile

from .polls import Polls

if TYPE_CHECKING:
    import psycopg

pytestmark = pytest.mark.integration

TABLES = """
CREATE SEQUENCE version;
CREATE TABLE parents (
    key text PRIMARY KEY, name text,
    at timestamptz DEFAULT now(), version bigint DEFAULT nextval('version')
);
CREATE TABLE children (
    key text PRIMARY KEY, parent text,
    at timestamptz DEFAULT now(), version bigint DEFAULT nextval('version')
);
CREATE INDEX ON parents (at, key);
CREATE INDEX ON parents (version, key);
"""


class Following(Polls):
    """A database, and polls of it that follow both tables by a cursor."""

    def __init__(self, url: str, cursor: str | None) -> None:
        import psycopg

        self._url = url
        self.connection = psycopg.connect(url, autocommit=True)
        self.connection.execute(TABLES)
        self._connections = [self.connection]
        lag = {} if cursor is None else {"lag": 0, "diff_interval": 10**6}
        options = PollingOptions.model_validate(
            {
                "connection_url": url,
                "tables": {name: {"cursor": cursor, **lag} for name in ("parents", "children")},
                "page_size": 3,
            }
        )
        super().__init__(options, StateFile(None))

    def settled(self) -> None:
        """Begin the stream, and let everything settle."""
        self.begin()
        for _ in range(4):
            self.poll()

    def transaction(self) -> psycopg.Connection[Any]:
        """Another connection, whose transaction has begun and has written nothing."""
        import psycopg

        found = psycopg.connect(self._url)
        self._connections.append(found)
        found.execute("SELECT 1")
        return found

    def close(self) -> None:
        """End the run, and every connection."""
        super().close()
        for connection in self._connections:
            connection.close()


@pytest.fixture
def make(postgres_database: str) -> Generator[Callable[[str | None], Following], None, None]:
    made: list[Following] = []

    def make(cursor: str | None) -> Following:
        made.append(Following(postgres_database, cursor))
        return made[-1]

    yield make
    for one in made:
        one.close()


def keys(changes: list[Change]) -> list[str]:
    return sorted((one.after or one.before or {})["key"] or "" for one in changes)


@pytest.mark.parametrize("cursor", ["at", "version", "xmin", None])
def test_a_late_commit_of_a_long_open_transaction_is_found(
    make: Callable[[str | None], Following], cursor: str | None
) -> None:
    """Its rows have older times and numbers than many that were read, and one has an old row's."""
    db = make(cursor)
    db.connection.execute("INSERT INTO parents VALUES ('moved', 'x')")
    db.settled()
    long = db.transaction()
    long.execute("INSERT INTO parents VALUES ('late', 'x')")
    for number in range(5):
        db.connection.execute("INSERT INTO parents VALUES (%s, 'x')", [f"p{number}"])
        assert keys(db.poll()) == [f"p{number}"]
        assert db.poll() == []
    long.execute("UPDATE parents SET at = now(), version = nextval('version') WHERE key = 'moved'")
    long.commit()
    assert keys(db.poll()) == ["late", "moved"]
    assert db.poll() == []


def test_a_transaction_that_writes_long_after_it_began_is_found(
    make: Callable[[str | None], Following],
) -> None:
    """It has no transaction id when newer rows are read, and no snapshot, but its own time."""
    db = make("at")
    db.settled()
    idle = db.transaction()
    for number in range(5):
        db.connection.execute("INSERT INTO parents VALUES (%s, 'x')", [f"p{number}"])
        assert keys(db.poll()) == [f"p{number}"]
    idle.execute("INSERT INTO parents VALUES ('late', 'x')")
    for _ in range(3):
        assert db.poll() == []
    idle.commit()
    assert keys(db.poll()) == ["late"]


@pytest.mark.parametrize("cursor", ["at", "version", "xmin"])
def test_what_was_open_when_the_stream_began_is_found(
    make: Callable[[str | None], Following], cursor: str
) -> None:
    """H1."""
    db = make(cursor)
    long = db.transaction()
    long.execute("INSERT INTO parents VALUES ('late', 'x')")
    db.connection.execute("INSERT INTO parents VALUES ('early', 'x')")
    db.settled()
    long.commit()
    assert keys([*db.poll(), *db.poll(), *db.poll()]) == ["late"]


def test_a_standby_is_refused_for_a_column(
    make: Callable[[str | None], Following], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It replays commits, and says nothing of transactions that have yet to write."""
    standby = witness.RUNNING.text.replace("pg_is_in_recovery()", "true")
    monkeypatch.setattr(witness, "RUNNING", text(standby))
    with pytest.raises(SourceFatal, match="the server is a standby"):
        make("at").settled()


@pytest.mark.parametrize("cursor", ["at", "xmin"])
def test_what_is_final_is_not_read_again(
    make: Callable[[str | None], Following], cursor: str
) -> None:
    """The window moves on: an idle poll reads next to nothing."""
    db = make(cursor)
    db.connection.execute(
        "INSERT INTO parents SELECT i::text, 'x', now() - interval '1 day' FROM "
        "generate_series(1, 100) i"
    )
    db.settled()
    for number in range(3):
        db.connection.execute("INSERT INTO parents VALUES (%s, 'x')", [f"p{number}"])
        db.poll()
    db.poll()
    before = db.statements
    for _ in range(4):
        assert db.poll() == []
    assert (db.statements - before) / 4 <= 6


def test_a_change_that_leaves_no_other_trace_is_found_by_its_transaction(
    make: Callable[[str | None], Following],
) -> None:
    """Changed and changed back; two changes at one time of the cursor."""
    db = make(None)
    db.connection.execute("INSERT INTO parents VALUES ('a', 'x', 'epoch', 1)")
    db.settled()
    for name in "yx":
        db.connection.execute("UPDATE parents SET name = %s", [name])
    assert keys(db.poll()) == ["a"]


def test_two_changes_within_one_tick_of_the_cursor_are_found(
    make: Callable[[str | None], Following],
) -> None:
    """A poll comes between them, and another one after the row is what it was."""
    db = make("at")
    db.connection.execute("INSERT INTO parents VALUES ('a', 'x')")
    db.settled()
    for name in "yx":
        db.connection.execute("UPDATE parents SET name = %s", [name])
        assert keys(db.poll()) == ["a"]


def test_a_prepared_transaction_is_waited_for(make: Callable[[str | None], Following]) -> None:
    """C10: two-phase commit, prepared before and after it was first seen."""
    db = make("at")
    db.settled()
    for name in ("before", "after"):
        other = db.transaction()
        other.execute("INSERT INTO parents VALUES (%s, 'x')", [name])
        if name == "after":
            db.poll()
        other.execute(f"PREPARE TRANSACTION '{name}'")
        other.rollback()
    for number in range(4):
        db.connection.execute("INSERT INTO parents VALUES (%s, 'x')", [f"p{number}"])
        assert keys(db.poll()) == [f"p{number}"]
    for name in ("before", "after"):
        db.connection.execute(f"COMMIT PREPARED '{name}'")
        assert keys(db.poll()) == [name]


def test_deletes_are_found_in_the_spans_that_differ(
    make: Callable[[str | None], Following],
) -> None:
    """Few statements for many rows: equal spans are not read."""
    db = make("version")
    db.connection.execute("INSERT INTO parents SELECT i::text, 'x' FROM generate_series(1, 100) i")
    db.settled()
    db.poll(thorough=True)  # spans that were cut have digests now
    db.connection.execute("DELETE FROM parents WHERE key = '50'")
    before = db.statements
    found = db.poll(thorough=True)
    spans = 100 * 2 // 3
    assert [(one.operation, keys([one])) for one in found] == [(Operation.DELETE, ["50"])]
    assert found[0].table == PARENTS
    assert db.statements - before < 1.5 * spans + 20
