"""The polling capture beside the Postgres builder, as a file says it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from flusso_core.config import load_deployment
from flusso_core.engine import Engine, RetryPolicy
from flusso_core.pipeline import plan
from flusso_core.testing import MemoryDestination, MemorySink

pytestmark = pytest.mark.integration

DEPLOYMENT = """
[source]
type = "polling"
builder = "postgres"
connection_url = "{url}"
state = "{folder}/paired.state"
interval = 0.05
diff_interval = 0.05

[source.tables.authors]
cursor = "xmin"

[sinks.out]
type = "stdout"

[[index]]
name = "authors"
schema = "authors.schema.yml"
"""

SCHEMA = """
version: 1
table: authors
fields:
  - keyword: name
  - has_many: books
    table: books
    foreign_key: author_id
    fields: [{ text: title }]
"""

TABLES = """
CREATE TABLE authors (id int PRIMARY KEY, name text);
CREATE TABLE books (id int PRIMARY KEY, author_id int, title text);
INSERT INTO authors VALUES (1, 'Ann'), (2, 'Bob');
INSERT INTO books VALUES (1, 1, 'one');
"""


async def test_polls_feed_the_postgres_builder(postgres_database: str, tmp_path: Path) -> None:
    """C1, C3: one table by xmin, one compared; nobody may replicate. One URL serves both."""
    import psycopg

    (tmp_path / "authors.schema.yml").write_text(SCHEMA, encoding="utf-8")
    file = tmp_path / "flusso.toml"
    file.write_text(DEPLOYMENT.format(url=postgres_database, folder=tmp_path), encoding="utf-8")
    planned = plan(load_deployment(file))
    destination = MemoryDestination()
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute(TABLES)
        engine = Engine(
            planned.make_capture(),
            planned.make_builder(),
            {"memory": MemorySink(destination)},
            retries=RetryPolicy(initial=0.001, maximum=0.01),
        )
        running = asyncio.create_task(engine.run())
        await reach(destination, {"1": ("Ann", ["one"]), "2": ("Bob", [])}, running)
        connection.execute("UPDATE books SET author_id = 2")
        connection.execute("INSERT INTO authors VALUES (3, 'Cid')")
        connection.execute("DELETE FROM authors WHERE id = 1")
        await reach(destination, {"2": ("Bob", ["one"]), "3": ("Cid", [])}, running)
        engine.stop()
        await running


async def reach(
    destination: MemoryDestination,
    expected: dict[str, tuple[str, list[str]]],
    running: asyncio.Task[None],
) -> None:
    """Return when the index is that."""
    found: dict[str, tuple[str, list[str]]] = {}
    try:
        async with asyncio.timeout(30):
            while found != expected:
                if running.done():
                    running.result()
                await asyncio.sleep(0.02)
                documents: list[tuple[str, Any]] = [
                    (key, json.loads(body)) for key, body in destination.search("authors").items()
                ]
                found = {
                    key: (one["name"], [book["title"] for book in one["books"]])
                    for key, one in documents
                }
    except TimeoutError:
        assert found == expected
