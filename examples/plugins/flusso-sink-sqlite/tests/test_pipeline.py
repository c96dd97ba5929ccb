"""A pipeline into a file, and what a search finds there."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from flusso_core import Engine
from flusso_core.hookspecs import SinkContext
from flusso_core.testing import MemoryBuilder, MemoryCapture, MemoryDatabase
from flusso_sink_sqlite.plugin import SqliteOptions, create, flusso_sink


async def test_searches_find_what_the_database_holds(tmp_path: Path) -> None:
    path = tmp_path / "documents.db"
    options = SqliteOptions(path=str(path))
    database = MemoryDatabase()
    database.commit(database.put_parent("1", "Ada Lovelace"), database.put_parent("2", "Bob"))

    async def run() -> None:
        sink = create(SinkContext("local", options, ""))
        await Engine(MemoryCapture(database), MemoryBuilder(database), {"local": sink}).run(
            once=True
        )

    def found(text: str) -> list[str]:
        statement = "SELECT id FROM parents JOIN search ON search.rowid = row WHERE search MATCH ?"
        with closing(sqlite3.connect(path)) as db:
            return [row[0] for row in db.execute(statement, [text])]

    await run()
    assert found("lovelace") == ["1"]
    database.commit(database.put_parent("1", "Ada King"), database.delete_parent("2"))
    await run()
    assert (found("lovelace"), found("king"), found("bob")) == ([], ["1"], [])


def test_it_registers_itself() -> None:
    plugin = flusso_sink()
    assert (plugin.name, plugin.options) == ("sqlite", SqliteOptions)
