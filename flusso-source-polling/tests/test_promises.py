"""What `flusso check` says of each table: what will be seen, what cannot, and what is missing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Index, Integer, MetaData, Table
from sqlalchemy.schema import CreateIndex

from flusso_core.hookspecs import SourceContext
from flusso_core.model import Finding, Severity
from flusso_core.testing.conformance import SCHEMA
from flusso_source_polling.capture import PollingCapture
from flusso_source_polling.dialects import Dialect
from flusso_source_polling.dialects.mariadb import MariaDBDialect
from flusso_source_polling.dialects.postgres import PostgresDialect
from flusso_source_polling.dialects.sqlite import SqliteDialect
from flusso_source_polling.options import PollingOptions

TABLES = """
CREATE TABLE parents (key text PRIMARY KEY, name text, changed timestamp NOT NULL);
CREATE TABLE children (key text PRIMARY KEY, parent text, version integer);
"""

SEEN = (
    "an insert, and an update that raises '{0}', is seen within 5 s of its commit, if it is "
    "committed within {1} s of what '{0}' says"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "checked.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(TABLES)
    return path


async def check(url: str, **tables: dict[str, Any]) -> list[Finding]:
    options = PollingOptions.model_validate({"connection_url": url, "tables": tables})
    return list(await PollingCapture(SourceContext(options, (SCHEMA,))).check())


async def test_a_cursor_says_what_it_sees_and_what_it_lacks(path: Path) -> None:
    """Each blind spot, with what cures it; the index by name, with its SQL."""
    found = await check(
        f"sqlite:///{path}",
        parents={"cursor": "changed", "lag": 30},
        children={"cursor": "version", "deletes": "none"},
    )
    assert [(one.severity, one.subject, one.message) for one in found] == [
        (
            Severity.INFO,
            "table public.children",
            SEEN.format("version", 60),
        ),
        (
            Severity.WARNING,
            "table public.children",
            "deletes are not seen: their documents stay",
        ),
        (
            Severity.WARNING,
            "table public.children",
            "a row that is committed more than 60 s later than 'version' says is never seen",
        ),
        (
            Severity.WARNING,
            "table public.children",
            "a row with NULL in 'version' is never seen",
        ),
        (
            Severity.INFO,
            "table public.children",
            "'version' has to grow over all rows, as a sequence does, not for each row by itself",
        ),
        (
            Severity.INFO,
            "table public.children",
            "an update that leaves 'version' as it is is not seen",
        ),
        (
            Severity.WARNING,
            "table public.children",
            "no index begins with 'version': each poll reads the whole table",
        ),
        (
            Severity.INFO,
            "table public.parents",
            SEEN.format("changed", 30),
        ),
        (
            Severity.INFO,
            "table public.parents",
            "deletes are seen by passes over the keys, 300 s from one to the next",
        ),
        (
            Severity.WARNING,
            "table public.parents",
            "no index begins with 'changed': each poll reads the whole table",
        ),
    ]
    sql = [one.cure for one in found if (one.cure or "").startswith("CREATE")]
    assert sql == [
        'CREATE INDEX flusso_children_version ON children (version, "key")',
        'CREATE INDEX flusso_parents_changed ON parents (changed, "key")',
    ]
    with closing(sqlite3.connect(path)) as connection:
        for statement in sql:
            connection.execute(statement or "")
    again = await check(f"sqlite:///{path}", parents={"cursor": "changed"})
    assert not [one for one in again if "index" in one.message]


async def test_a_snapshot_wants_wal_and_a_cursor_does_not(path: Path) -> None:
    """Without a cursor for each table, a transaction stays open from poll to poll."""
    found = await check(f"sqlite:///{path}", parents={"cursor": "changed"})
    assert [one.cure for one in found if one.severity is Severity.ERROR] == [
        "PRAGMA journal_mode = WAL (once; the file keeps it)"
    ]
    assert "each poll compares the whole table" in found[1].message
    found = await check(
        f"sqlite:///{path}", parents={"cursor": "changed"}, children={"cursor": "version"}
    )
    assert not [one for one in found if one.severity is Severity.ERROR]


async def test_an_option_that_fits_no_table_is_an_error(path: Path) -> None:
    found, *_ = await check(f"sqlite:///{path}", parents={"cursor": "nowhere"})
    assert found.severity is Severity.ERROR
    assert "there is no column 'nowhere' for a cursor" in found.message
    (found,) = await check(f"sqlite:///{path}", nowhere={"cursor": "changed"})
    assert "no schema reads a table of that name" in found.message


@pytest.mark.parametrize("dialect", [MariaDBDialect(), PostgresDialect(), SqliteDialect()])
def test_sql_to_paste_has_names_as_they_are(dialect: Dialect) -> None:
    """R5: a driver would have percent signs doubled."""
    name = '100 %  "sure" `it` is'
    column = Column(name, Integer)
    Table(name, MetaData(), column)
    index = dialect.quoting.definition(CreateIndex(Index(name, column)))
    quoted = dialect.quoting.name(name)
    assert index == f"CREATE INDEX {quoted} ON {quoted} ({quoted})"
    assert "100 %  " in quoted


@pytest.mark.integration
async def test_on_postgres_passes_want_an_index_of_what_they_hash(postgres_database: str) -> None:
    """So that they read it alone."""
    import psycopg

    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute(TABLES)
        ways = {"parents": {"cursor": "xmin"}, "children": {"cursor": "version"}}
        found = await check(postgres_database, **ways)
        sql = [one.cure for one in found if (one.cure or "").startswith("CREATE")]
        assert sql == [
            "CREATE INDEX flusso_children_version ON public.children (version, key)",
            "CREATE INDEX flusso_children_keys ON public.children (key) INCLUDE (parent, version)",
        ]
        assert "however long its transaction was open" in found[0].message
        for statement in sql:
            connection.execute((statement or "").encode())
        found = await check(postgres_database, **ways)
        assert not [one for one in found if (one.cure or "").startswith("CREATE")]
