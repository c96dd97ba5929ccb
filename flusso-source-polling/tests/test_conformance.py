"""Capture and builder keep what the engine relies on, however tables are followed; rows are
written and read by the databases' own drivers.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from flusso_core.hookspecs import SourceContext
from flusso_core.interfaces import ChangeCapture, DocumentBuilder
from flusso_core.testing.conformance import (
    SCHEMA,
    TABLES,
    BuilderConformance,
    CaptureConformance,
    Impossible,
    Rows,
    SourceBench,
    Write,
    statement,
)
from flusso_source_polling.builder import PollingBuilder
from flusso_source_polling.capture import PollingCapture
from flusso_source_polling.options import PollingOptions

NAMES = ("parents", "children")
COMPARED: dict[str, Any] = {}
FOLLOWED: dict[str, Any] = {
    "tables": {name: {"cursor": "changed", "lag": 0.2} for name in NAMES},
    "diff_interval": 0.2,
}
BY_XMIN: dict[str, Any] = {
    "tables": {name: {"cursor": "xmin"} for name in NAMES},
    "diff_interval": 0.2,
}

SQLITE_CHANGED = """
ALTER TABLE {table} ADD COLUMN changed DATETIME;
CREATE INDEX {table}_changed ON {table} (changed);
CREATE TRIGGER {table}_inserted AFTER INSERT ON {table} BEGIN
    UPDATE {table} SET changed = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE key = new.key;
END;
CREATE TRIGGER {table}_updated AFTER UPDATE ON {table} BEGIN
    UPDATE {table} SET changed = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE key = new.key;
END;
"""

POSTGRES_CHANGED = """
ALTER TABLE {table} ADD COLUMN changed timestamptz NOT NULL DEFAULT now();
CREATE INDEX {table}_changed ON {table} (changed, key);
CREATE TRIGGER {table}_changes BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION touched();
"""

MARIADB_TABLE = """
CREATE TABLE {table} (
    `key` varchar(200) COLLATE utf8mb4_nopad_bin PRIMARY KEY,
    {value} varchar(200) COLLATE utf8mb4_nopad_bin {changed}
)
"""
MARIADB_CHANGED = """
, changed timestamp(6) NOT NULL DEFAULT current_timestamp(6) ON UPDATE current_timestamp(6)
, INDEX (changed)
"""
MARIADB_UPSERT = r"ON DUPLICATE KEY UPDATE \1 = VALUES(\1)"

TOUCHED = """
CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN new.changed := now(); RETURN new; END $$;
"""


class PollingBench(SourceBench):
    """What the benches of all databases share: the edges."""

    def __init__(self, url: str, folder: Path, options: dict[str, Any]) -> None:
        given = {
            "connection_url": url,
            "interval": 0.02,
            "state": str(folder / "kit.state"),
            **options,
        }
        self._context = SourceContext(PollingOptions.model_validate(given), (SCHEMA,))

    def capture(self) -> ChangeCapture:
        return PollingCapture(self._context)

    def builder(self) -> DocumentBuilder:
        return PollingBuilder(self._context)


class SqliteBench(PollingBench):
    """A database file."""

    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        self._path = folder / "kit.db"
        super().__init__(f"sqlite:///{self._path}", folder, options)
        with self._connect() as connection:
            connection.executescript("PRAGMA journal_mode = WAL;" + TABLES)
            if options is FOLLOWED:
                for table in NAMES:
                    connection.executescript(SQLITE_CHANGED.format(table=table))

    async def commit(self, *writes: Write) -> None:
        with self._connect() as connection:
            self._write(connection, writes)
            connection.commit()

    async def roll_back(self, *writes: Write) -> None:
        with self._connect() as connection:
            self._write(connection, writes)
            connection.rollback()

    async def rows(self) -> Rows:
        with self._connect() as connection:
            return Rows(
                dict(connection.execute("SELECT key, name FROM parents").fetchall()),
                dict(connection.execute("SELECT key, parent FROM children").fetchall()),
            )

    async def disconnect(self) -> Impossible:
        return Impossible("a SQLite file has no server that could end a connection")

    def _connect(self) -> closing[sqlite3.Connection]:
        return closing(sqlite3.connect(self._path))

    @staticmethod
    def _write(connection: sqlite3.Connection, writes: tuple[Write, ...]) -> None:
        for write in writes:
            connection.execute(*statement(write, mark="?", truncate=False))


class PostgresBench(PollingBench):
    """A database of a real server."""

    def __init__(self, url: str, folder: Path, options: dict[str, Any]) -> None:
        self._url = url
        super().__init__(url, folder, options)
        with self._connect() as connection:
            connection.execute(TABLES)
            if options is FOLLOWED:
                connection.execute(TOUCHED)
                for table in NAMES:
                    connection.execute(POSTGRES_CHANGED.format(table=table))

    async def commit(self, *writes: Write) -> None:
        await asyncio.to_thread(self._write, writes, roll_back=False)

    async def roll_back(self, *writes: Write) -> None:
        await asyncio.to_thread(self._write, writes, roll_back=True)

    async def rows(self) -> Rows:
        with self._connect() as connection:
            return Rows(
                dict(connection.execute("SELECT key, name FROM parents").fetchall()),
                dict(connection.execute("SELECT key, parent FROM children").fetchall()),
            )

    async def disconnect(self) -> None:
        with self._connect() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    def _write(self, writes: tuple[Write, ...], *, roll_back: bool) -> None:
        with self._connect() as connection, connection.transaction(force_rollback=roll_back):
            for write in writes:
                connection.execute(*statement(write))

    def _connect(self) -> Any:
        # Here, as it is not there where the package's unit tests run without servers.
        import psycopg

        return psycopg.connect(self._url, autocommit=True)


class MariaDBBench(PollingBench):
    """A database of a real server."""

    def __init__(self, url: str, folder: Path, options: dict[str, Any]) -> None:
        super().__init__(url, folder, options)
        self._url = make_url(url)
        with self._connect() as connection, connection.cursor() as cursor:
            for table, value in zip(NAMES, ("name", "parent"), strict=True):
                changed = MARIADB_CHANGED if options is FOLLOWED else ""
                cursor.execute(MARIADB_TABLE.format(table=table, value=value, changed=changed))

    async def commit(self, *writes: Write) -> None:
        await asyncio.to_thread(self._write, writes, roll_back=False)

    async def roll_back(self, *writes: Write) -> None:
        await asyncio.to_thread(self._write, writes, roll_back=True)

    async def rows(self) -> Rows:
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT `key`, name FROM parents")
            parents = dict(cursor.fetchall())
            cursor.execute("SELECT `key`, parent FROM children")
            return Rows(parents, dict(cursor.fetchall()))

    async def disconnect(self) -> None:
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT id FROM information_schema.processlist "
                "WHERE db = database() AND id <> connection_id()"
            )
            for (number,) in cursor.fetchall():
                cursor.execute("KILL %s", [number])

    def _write(self, writes: tuple[Write, ...], *, roll_back: bool) -> None:
        with self._connect() as connection, connection.cursor() as cursor:
            connection.begin()
            for write in writes:
                statement_, values = statement(write, truncate=False)
                ours = re.sub(r"ON CONFLICT .* SET (\w+) = .*", MARIADB_UPSERT, statement_)
                cursor.execute(re.sub(r"\bkey\b", "`key`", ours), values)
            if roll_back:
                connection.rollback()
            else:
                connection.commit()

    def _connect(self) -> Any:
        import pymysql

        url = self._url
        return pymysql.connect(
            host=url.host,
            port=url.port or 3306,
            user=url.username,
            password=url.password or "",
            database=url.database,
            charset="utf8mb4",
            autocommit=True,
        )


@pytest.mark.parametrize("options", [COMPARED, FOLLOWED], ids=["compared", "followed"])
class TestSqliteCapture(CaptureConformance):
    @pytest.fixture
    def bench(self, tmp_path: Path, options: dict[str, Any]) -> SqliteBench:
        return SqliteBench(tmp_path, options)


class TestPollingBuilder(BuilderConformance):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> SqliteBench:
        return SqliteBench(tmp_path, COMPARED)


@pytest.mark.integration
@pytest.mark.parametrize(
    "options",
    [pytest.param(COMPARED, marks=pytest.mark.soak), FOLLOWED, BY_XMIN],
    ids=["compared", "followed", "xmin"],
)
class TestPostgresCapture(CaptureConformance):
    @pytest.fixture
    def bench(
        self, postgres_database: str, tmp_path: Path, options: dict[str, Any]
    ) -> PostgresBench:
        return PostgresBench(postgres_database, tmp_path, options)


@pytest.mark.integration
@pytest.mark.parametrize("options", [COMPARED, FOLLOWED], ids=["compared", "followed"])
class TestMariaDBCapture(CaptureConformance):
    @pytest.fixture
    def bench(self, mariadb_database: str, tmp_path: Path, options: dict[str, Any]) -> MariaDBBench:
        return MariaDBBench(mariadb_database, tmp_path, options)


@pytest.mark.integration
class TestMariaDBBuilder(BuilderConformance):
    @pytest.fixture
    def bench(self, mariadb_database: str, tmp_path: Path) -> MariaDBBench:
        return MariaDBBench(mariadb_database, tmp_path, COMPARED)
