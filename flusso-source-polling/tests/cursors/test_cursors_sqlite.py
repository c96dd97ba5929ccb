"""Following a cursor: the schedules in which others lose rows, one poll at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import literal_column

from flusso_core.errors import ConfigError, SourceFatal
from flusso_core.model import Change, Operation
from flusso_core.testing.conformance import CHILDREN, PARENTS
from flusso_source_polling.dialects import Expression
from flusso_source_polling.witness import SqliteWitness

from .following import Following


@pytest.fixture
def make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Generator[Callable[..., Following], None, None]:
    def clock(_: SqliteWitness) -> Expression:
        return literal_column("(SELECT now FROM clock)")

    def past(_: SqliteWitness, expression: Expression) -> Expression:
        return expression <= literal_column("(SELECT time FROM clock)")

    monkeypatch.setattr(SqliteWitness, "clock", property(clock))
    monkeypatch.setattr(SqliteWitness, "past", past)
    made: list[Following] = []

    def make(**options: Any) -> Following:
        made.append(Following(tmp_path, **options))
        made[-1].at(1000)
        return made[-1]

    yield make
    for one in made:
        one.stop()
        one.connection.close()


def touched(changes: list[Change]) -> list[tuple[str, str]]:
    """Each change: whose key or parent, and what became of it."""
    found: list[tuple[str, str]] = []
    for change in changes:
        column = "key" if change.table == PARENTS else "parent"
        images = (change.before, change.after)
        found += [(one[column] or "", str(change.operation)) for one in images if one is not None]
    return sorted(set(found))


def test_only_what_is_new_is_found(make: Callable[..., Following]) -> None:
    """C1."""
    db = make()
    db.put("a", "Ada", 900)
    db.begin()
    db.put("b", "Bob", db.now)
    assert touched(db.poll()) == [("b", "upsert")]
    assert db.poll() == []
    db.put("a", "Ann", db.now)
    assert touched(db.poll()) == [("a", "upsert")]


def test_a_row_that_is_committed_late_within_the_lag_is_found(
    make: Callable[..., Following],
) -> None:
    """Its cursor is older than what was read before."""
    db = make()
    db.begin()
    db.put("new", "x", db.now)
    assert touched(db.poll()) == [("new", "upsert")]
    db.at(db.now + 50)
    db.put("newer", "x", db.now)
    assert touched(db.poll()) == [("newer", "upsert")]
    db.put("late", "x", db.now - 59)
    assert touched(db.poll()) == [("late", "upsert")]
    db.put("1", "p", 5000, "children")
    assert touched(db.poll()) == [("p", "upsert")]
    db.put("2", "q", 4990, "children")  # a number that was given out before
    assert touched(db.poll()) == [("q", "upsert")]


def test_a_row_that_is_committed_later_than_the_lag_is_found_by_the_next_pass(
    make: Callable[..., Following],
) -> None:
    db = make()
    db.put("new", "x", 1000)
    db.begin()
    db.put("new", "y", db.now)
    db.poll()
    db.settle()
    db.put("late", "x", 1000)
    assert db.poll() == []
    assert touched(db.poll(thorough=True)) == [("late", "upsert")]


def test_equal_cursors_are_read_across_pages(make: Callable[..., Following]) -> None:
    """Ten rows of one moment, in pages of three; and one more of it, later."""
    db = make()
    db.begin()
    for number in range(10):
        db.put(f"p{number}", "x", db.now)
    assert len(touched(db.poll())) == 10
    assert db.poll() == []
    db.put("p05", "x", db.now)
    assert touched(db.poll()) == [("p05", "upsert")]


def test_a_cursor_of_whole_minutes_is_read_until_the_minute_is_over(
    make: Callable[..., Following],
) -> None:
    """Rows of one value go on coming when the first of them is final."""
    db = make(tables={"parents": {"cursor": "changed", "lag": 5}})
    db.begin()
    minute = db.now - db.now % 60 + 60
    for number, seconds in enumerate((1, 10, 20, 50)):
        db.at(minute + seconds)
        db.put(f"p{number}", "x", minute)
        assert touched(db.poll()) == [(f"p{number}", "upsert")]
        assert db.poll() == []


def test_another_cursor_begins_with_every_row(make: Callable[..., Following]) -> None:
    """What one column has come to says nothing of another."""
    db = make()
    db.write("ALTER TABLE parents ADD COLUMN version INTEGER NOT NULL DEFAULT 1")
    db.write("INSERT INTO parents VALUES ('a', 'Ada', '2024-01-01 00:10:00', 1)")
    db.begin()
    db.write("UPDATE parents SET name = 'Ann', version = 2")
    found = db.restart(tables={"parents": {"cursor": "version"}})
    assert touched(found) == [("a", "delete"), ("a", "upsert")]
    db.write("UPDATE parents SET name = 'Amy', version = 3")
    assert touched(db.poll()) == [("a", "upsert")]


def test_two_changes_within_one_tick_of_the_cursor_are_found(
    make: Callable[..., Following],
) -> None:
    """A poll comes between them."""
    db = make()
    db.begin()
    db.put("a", "Ada", db.now)
    assert touched(db.poll()) == [("a", "upsert")]
    db.put("a", "Ann", db.now)
    assert touched(db.poll()) == [("a", "upsert")]


def test_a_row_from_the_future_hides_no_other(make: Callable[..., Following]) -> None:
    db = make()
    db.begin()
    db.put("future", "x", db.now + 80_000)
    assert touched(db.poll()) == [("future", "upsert")]
    db.settle()
    db.put("a", "x", db.now)
    assert touched(db.poll()) == [("a", "upsert")]


def test_a_clock_that_goes_back_loses_nothing(make: Callable[..., Following]) -> None:
    """Neither what was written between the step and the next poll, nor what comes after."""
    db = make()
    db.put("a", "Ada", 1000)
    db.begin()
    db.put("a", "Ann", db.now)
    db.poll()
    db.settle()
    db.at(500)
    db.put("b", "Bob", 400)
    db.at(501)
    found = db.poll()
    db.put("c", "Cid", 501)
    found += db.poll()
    found += db.settle()
    assert touched(found) == [("b", "upsert"), ("c", "upsert")]


def test_a_clock_that_went_back_between_two_runs_is_noticed(
    make: Callable[..., Following],
) -> None:
    db = make(tables={"parents": {"cursor": "changed", "deletes": "none"}})
    db.put("a", "Ada", 1000)
    db.begin()
    db.put("a", "Ann", db.now)
    db.poll()
    db.settle()
    db.stop()
    db.at(500)
    db.put("b", "Bob", 500)
    assert touched([*db.restart(), *db.settle()]) == [("b", "upsert")]


def test_what_was_open_when_the_stream_began_is_found(make: Callable[..., Following]) -> None:
    """H1: it commits after the rows were read, with a cursor of before."""
    db = make()
    db.put("a", "Ada", 1000)
    db.restart()
    db.put("late", "x", 900)
    assert db.poll() == []
    assert touched(db.settle()) == [("late", "upsert")]


def test_a_row_without_a_cursor_is_found_by_a_pass(make: Callable[..., Following]) -> None:
    db = make(diff_interval=0.000001)
    db.restart()
    db.write("INSERT INTO parents VALUES ('a', 'Ada', NULL)")
    assert touched(db.poll()) == [("a", "upsert")]


@pytest.mark.parametrize("thorough", [False, True])
def test_deletes_moves_and_reinserts_between_polls(
    make: Callable[..., Following], *, thorough: bool
) -> None:
    """C2, C3: old parents are known from the state file."""
    db = make(**({} if thorough else {"diff_interval": 0.000001}))
    for key in "abc":
        db.put(key, "x", 900)
    db.put("1", "a", 10, "children")
    db.put("2", "a", 11, "children")
    db.put("3", "b", 12, "children")
    db.restart()
    # Deleted; deleted and inserted again elsewhere; moved, and then its old parent deleted.
    db.write("DELETE FROM children WHERE key IN ('1', '2')", "DELETE FROM parents WHERE key = 'b'")
    db.put("2", "c", 13, "children")
    db.put("3", "c", 14, "children")
    db.write("UPDATE parents SET key = 'z' WHERE key = 'c'")  # and its cursor stays
    found = db.poll(thorough=thorough)
    told = {
        (one.table, one.operation, str(one.before), str(one.after))
        for one in found
        if one.table == CHILDREN
    }
    assert told == {
        (CHILDREN, Operation.DELETE, "{'parent': 'a'}", "None"),
        (CHILDREN, Operation.UPSERT, "{'parent': 'a'}", "{'parent': 'c'}"),
        (CHILDREN, Operation.UPSERT, "{'parent': 'b'}", "{'parent': 'c'}"),
    }
    parents = [one for one in found if one.table == PARENTS]
    assert touched(parents) == [("b", "delete"), ("c", "delete"), ("z", "upsert")]
    assert db.poll(thorough=True) == []


def test_a_row_that_comes_and_goes_between_two_passes_is_deleted(
    make: Callable[..., Following],
) -> None:
    """A poll has seen it; it stands in no span of keys."""
    db = make()
    db.begin()
    for number in range(7):
        db.put(str(number), "p", 100 + number, "children")
    assert touched(db.poll()) == [("p", "upsert")]
    db.write("DELETE FROM children WHERE key IN ('3', '5')")
    found = db.poll(thorough=True)
    assert [(one.operation, one.before) for one in found] == [
        (Operation.DELETE, {"parent": "p"})
    ] * 2
    assert db.poll(thorough=True) == []


def test_without_deletes_only_the_first_pass_looks(make: Callable[..., Following]) -> None:
    db = make(
        diff_interval=0.000001,
        tables={"parents": {"cursor": "changed", "deletes": "tombstone"}},
    )
    db.put("a", "Ada", 900)
    db.begin()
    db.write("DELETE FROM parents")
    assert db.poll() == []


def test_a_restart_reads_on_where_the_last_run_was(make: Callable[..., Following]) -> None:
    db = make()
    db.put("a", "Ada", 900)
    db.begin()
    db.stop()
    db.put("b", "Bob", db.now)
    db.put("1", "a", 10, "children")
    assert touched(db.restart()) == [("a", "upsert"), ("b", "upsert")]


@pytest.mark.parametrize(
    ("tables", "error", "message"),
    [
        ({"nowhere": {"cursor": "changed"}}, ConfigError, "no schema reads a table of that name"),
        ({"parents": {"cursor": "xmin"}}, ConfigError, "only Postgres has the cursor 'xmin'"),
        ({"parents": {"cursor": "updated"}}, SourceFatal, "no column 'updated' for a cursor"),
        ({"parents": {"cursor": "photo"}}, SourceFatal, "'photo' cannot be a cursor"),
    ],
)
def test_what_cannot_be_followed_is_refused(
    make: Callable[..., Following], tables: dict[str, Any], error: type[Exception], message: str
) -> None:
    db = make(tables=tables)
    db.write("ALTER TABLE parents ADD COLUMN photo BLOB")
    with pytest.raises(error, match=message):
        db.restart()


def test_what_cannot_be_a_key_is_told_with_its_table(make: Callable[..., Following]) -> None:
    db = make()
    db.write("INSERT INTO children VALUES ('1', x'ff', 1)")
    with pytest.raises(SourceFatal, match=r"public\.children, .* key, parent: .* store a text"):
        db.restart()


def test_a_short_transaction_holds_no_file(make: Callable[..., Following]) -> None:
    """Where every table has a cursor, nothing stays open between polls."""
    db = make()
    db.put("a", "Ada", 900)
    db.restart()
    db.poll()
    with closing(sqlite3.connect(db.path, timeout=0)) as other:
        busy, *_ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert busy == 0
