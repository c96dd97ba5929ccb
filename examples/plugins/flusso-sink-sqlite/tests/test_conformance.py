"""The sink keeps what the engine relies on; what it wrote is read by sqlite3 alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from flusso_core import DocumentId, IndexMapping, Sink
from flusso_core.testing.conformance import Impossible, SinkBench, SinkConformance, exact_json
from flusso_sink_sqlite.sink import SqliteSink


class SqliteBench(SinkBench):
    """A file, and SQL that looks into it."""

    lease_seconds = 0.5

    def __init__(self, path: Path) -> None:
        self._path = path

    def sink(self) -> Sink:
        return SqliteSink(self._path, lease_seconds=self.lease_seconds)

    async def stored(self, mapping: IndexMapping, generation: int) -> Mapping[str, object]:
        return self._read(
            "SELECT id, body FROM documents WHERE index_name = ? AND generation = ? "
            "AND body NOT NULL",
            mapping.index,
            generation,
        )

    async def served(self, mapping: IndexMapping) -> Mapping[str, object]:
        return self._read(f'SELECT id, body FROM "{mapping.index}"')

    async def quarantined(self) -> Sequence[DocumentId] | Impossible:
        return Impossible("it refuses nothing, so it has no quarantine")

    def poison(self) -> Impossible:
        return Impossible("a row takes any document")

    def outage(self) -> Impossible:
        return Impossible("a file is not reached over anything that can be away for a while")

    def _read(self, statement: str, *values: object) -> dict[str, object]:
        if not self._path.exists():
            return {}
        with closing(sqlite3.connect(self._path)) as db:
            try:
                rows = db.execute(statement, values).fetchall()
            except sqlite3.OperationalError:
                return {}  # nothing serves yet
        return {identity: exact_json(body) for identity, body in rows}


class TestSqliteSink(SinkConformance):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> SqliteBench:
        return SqliteBench(tmp_path / "documents.db")
