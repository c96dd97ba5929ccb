"""Capture and builder keep what the engine relies on; rows are written and read by sqlite3."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

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


class SqliteBench(SourceBench):
    """A database file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        options = {
            "connection_url": f"sqlite:///{path}",
            "interval": 0.02,
            "state": str(path.with_suffix(".state")),
        }
        self._context = SourceContext(PollingOptions.model_validate(options), (SCHEMA,))
        with self._connect() as connection:
            connection.executescript("PRAGMA journal_mode = WAL;" + TABLES)

    def capture(self) -> ChangeCapture:
        return PollingCapture(self._context)

    def builder(self) -> DocumentBuilder:
        return PollingBuilder(self._context)

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


class TestPollingCapture(CaptureConformance):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> SqliteBench:
        return SqliteBench(tmp_path / "kit.db")


class TestPollingBuilder(BuilderConformance):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> SqliteBench:
        return SqliteBench(tmp_path / "kit.db")
