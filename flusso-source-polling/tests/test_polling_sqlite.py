"""A pipeline over SQLite files against an oracle in plain Python."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from flusso_core.engine import Engine, RetryPolicy
from flusso_core.errors import ConfigError, SourceFatal
from flusso_core.hookspecs import SourceContext
from flusso_core.model import Change, ChangeBatch, Operation, TableName
from flusso_core.schema import load_schema
from flusso_core.testing import MemoryDestination, MemorySink
from flusso_source_polling.builder import PollingBuilder
from flusso_source_polling.capture import PollingCapture
from flusso_source_polling.options import PollingOptions

SCHEMA = """
version: 1
table: authors
soft_delete: { column: gone }
filters:
  - { column: name, op: neq, value: hidden }
  - { raw: "name NOT LIKE 'x%'" }
fields:
  - keyword: name
    transforms: [trim, lowercase]
    default: nobody
  - timestamp: born
  - constant: kind
    value: author
  - geo: place
    lat: lat
    lon: lon
  - object: more
    fields:
      - json: extra
  - has_many: books
    table: books
    foreign_key: author_id
    order_by: [{ column: title, direction: desc }]
    limit: 2
    fields:
      - text: title
      - decimal: price
      - belongs_to: shelf
        table: shelves
        column: shelf_id
        fields:
          - keyword: label
      - many_to_many: tags
        table: tags
        through: { table: book_tags, left_key: book_id, right_key: tag_id }
        fields:
          - keyword: label
  - has_one: newest
    table: books
    foreign_key: author_id
    order_by: [{ column: id, direction: desc }]
    fields: [{ long: id }]
  - count: cheap
    table: books
    foreign_key: author_id
    filters:
      - { column: price, op: between, value: [0, 10] }
      - { column: title, op: like, value: "T%" }
  - sum: worth
    table: books
    column: price
    value_type: decimal
    foreign_key: author_id
  - max: dearest
    table: books
    column: price
    value_type: decimal
    foreign_key: author_id
  - ids: bookIds
    table: books
    element_type: long
    foreign_key: author_id
"""

TABLES = """
PRAGMA journal_mode = WAL;
CREATE TABLE authors (id INTEGER PRIMARY KEY, name TEXT, born DATETIME, lat REAL, lon REAL,
                      extra TEXT, gone BOOLEAN);
CREATE TABLE shelves (id INTEGER PRIMARY KEY, label TEXT);
CREATE TABLE books (id INTEGER PRIMARY KEY, author_id INTEGER, shelf_id INTEGER, title TEXT,
                    price DECIMAL(10, 2));
CREATE TABLE tags (id INTEGER PRIMARY KEY, label TEXT);
CREATE TABLE book_tags (book_id INTEGER, tag_id INTEGER, PRIMARY KEY (book_id, tag_id));
"""

AUTHORS, BOOKS, SHELVES, TAGS = 12, 25, 4, 5
NAMES = (" Ann ", "Bob", "hidden", "xavier", None, "Élodie")


class Library:
    """A database file, who writes to it, and what must be in the index."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = sqlite3.connect(path, check_same_thread=False)
        self.connection.executescript(TABLES)
        file = path.parent / "authors.schema.yml"
        file.write_text(SCHEMA, encoding="utf-8")
        options = {
            "connection_url": f"sqlite:///{path}",
            "interval": 0.02,
            "page_size": 7,
            "state": str(path.parent / "polling.state"),
        }
        self.context = SourceContext(
            PollingOptions.model_validate(options), (load_schema(file, "authors"),)
        )

    def execute(self, statement: str, *values: Any) -> None:
        with self.connection:
            self.connection.execute(statement, values)

    def write(self, random: Random) -> None:
        """One random change."""
        author, book = random.randrange(AUTHORS), random.randrange(BOOKS)
        shelf, tag = random.randrange(SHELVES), random.randrange(TAGS)
        match random.randrange(10):
            case 0 | 1:
                row = (
                    author,
                    random.choice(NAMES),
                    "2024-01-02 03:04:05.500",
                    1.5,
                    None,
                    '{"a": 1.10}',
                )
                gone = random.choice((None, 0, 0, 1))
                self.execute("INSERT OR REPLACE INTO authors VALUES (?,?,?,?,?,?,?)", *row, gone)
            case 2 | 3 | 4:
                price = random.choice((None, 0.1, 0.2, 5, 19.99))
                title = f"{random.choice('Tt')}{book:02}"
                self.execute(
                    "INSERT OR REPLACE INTO books VALUES (?,?,?,?,?)",
                    book,
                    author,
                    shelf,
                    title,
                    price,
                )
            case 5:
                self.execute(
                    "INSERT OR REPLACE INTO shelves VALUES (?,?)", shelf, f"s{random.random()}"
                )
                self.execute("INSERT OR REPLACE INTO tags VALUES (?,?)", tag, f"t{random.random()}")
            case 6:
                self.execute("INSERT OR IGNORE INTO book_tags VALUES (?,?)", book, tag)
            case 7:
                self.execute("DELETE FROM book_tags WHERE book_id = ?", book)
                self.execute("DELETE FROM books WHERE id = ?", book)
            case 8:
                self.execute(
                    "UPDATE OR IGNORE authors SET id = ? WHERE id = ?",
                    random.randrange(AUTHORS),
                    author,
                )
            case _:
                self.execute("DELETE FROM tags WHERE id = ?", tag)
                self.execute("DELETE FROM authors WHERE id = ?", author)

    def write_many(self, random: Random, count: int) -> None:
        for _ in range(count):
            self.write(random)

    def rows(self, table: str) -> list[dict[str, Any]]:
        cursor = self.connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2")
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def expected(self) -> dict[str, Any]:
        """Every document, by plain Python."""
        books, tags = self.rows("books"), {row["id"]: row["label"] for row in self.rows("tags")}
        shelves = {row["id"]: row["label"] for row in self.rows("shelves")}
        pairs = self.rows("book_tags")
        found: dict[str, Any] = {}
        for author in self.rows("authors"):
            name = author["name"]
            if name is None or name == "hidden" or name.startswith("x") or author["gone"]:
                continue
            own = [book for book in books if book["author_id"] == author["id"]]
            prices = [Decimal(str(book["price"])) for book in own if book["price"] is not None]
            latest = sorted(own, key=lambda book: book["title"], reverse=True)
            found[str(author["id"])] = {
                "name": name.strip(" ").lower(),
                "born": "2024-01-02T03:04:05.5",
                "kind": "author",
                "place": None,
                "more": {"extra": {"a": Decimal("1.10")}},
                "books": [
                    {
                        "title": book["title"],
                        "price": None if book["price"] is None else Decimal(str(book["price"])),
                        "shelf": {"label": shelves[book["shelf_id"]]}
                        if book["shelf_id"] in shelves
                        else None,
                        "tags": [
                            {"label": tags[pair["tag_id"]]}
                            for pair in pairs
                            if pair["book_id"] == book["id"] and pair["tag_id"] in tags
                        ],
                    }
                    for book in latest[:2]
                ],
                "newest": {"id": max(book["id"] for book in own)} if own else None,
                "cheap": sum(
                    1
                    for book in own
                    if book["price"] is not None
                    and 0 <= book["price"] <= 10
                    and book["title"].startswith("T")
                ),
                "worth": sum(prices) if prices else None,
                "dearest": max(prices) if prices else None,
                "bookIds": [book["id"] for book in own],
            }
        return found


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    found = Library(tmp_path / "library.db")
    with closing(found.connection):
        yield found


def engine(library: Library, destination: MemoryDestination) -> Engine:
    return Engine(
        PollingCapture(library.context),
        PollingBuilder(library.context),
        {"memory": MemorySink(destination)},
        retries=RetryPolicy(initial=0.001, maximum=0.01),
    )


def documents(destination: MemoryDestination) -> dict[str, Any]:
    found = destination.search("authors").items()
    return {key: json.loads(body, parse_float=Decimal) for key, body in found}


async def sync(library: Library, destination: MemoryDestination) -> None:
    async with asyncio.timeout(30):
        await engine(library, destination).run(once=True)


@pytest.mark.parametrize("seed", range(3))
async def test_random_writers_converge_and_a_restart_sees_what_happened_between(
    library: Library, seed: int
) -> None:
    """C1 to C10, H1: moves, deletes and key changes, during the seed and after it."""
    random, destination = Random(seed), MemoryDestination()
    for _ in range(100):
        library.write(random)
    running = engine(library, destination)
    task = asyncio.create_task(running.run())
    await asyncio.to_thread(library.write_many, random, 300)
    expected = library.expected()
    async with asyncio.timeout(30):
        while documents(destination) != expected:
            await asyncio.sleep(0.01)
    running.stop()
    await task
    for _ in range(50):
        library.write(random)
    await sync(library, destination)
    assert documents(destination) == library.expected()


async def test_documents_are_built_from_what_the_last_poll_has_read(library: Library) -> None:
    """A row that changes and changes back between two polls is in no document meanwhile."""
    library.execute("INSERT INTO authors VALUES (1, 'Ann', NULL, NULL, NULL, NULL, 0)")
    async with (
        PollingCapture(library.context) as capture,
        PollingBuilder(library.context) as builder,
    ):
        await capture.provision(temporary=True)
        library.execute("UPDATE authors SET name = 'Eve'")
        page = [one async for chunk in builder.build("authors", [("1",)]) for one in chunk]
        assert page[0].body is not None
        assert json.loads(page[0].body)["name"] == "ann"


async def test_a_poll_tells_deletes_and_moves_with_old_and_new_values(library: Library) -> None:
    """C3, C4: what leads to the documents, before and after; an idle poll brings a position."""
    library.execute("INSERT INTO books VALUES (1, 1, NULL, 'a', 1), (2, 1, NULL, 'b', 1)")
    batches: asyncio.Queue[ChangeBatch] = asyncio.Queue()
    async with PollingCapture(library.context) as capture:
        await capture.provision(temporary=True)
        library.execute("UPDATE books SET author_id = 2 WHERE id = 1")
        library.execute("DELETE FROM books WHERE id = 2")
        start = await capture.confirmed()
        live = asyncio.create_task(capture.live(start, batches.put))
        async with asyncio.timeout(10):
            while not (first := await batches.get()).changes:
                pass
            second = await batches.get()
        live.cancel()
        await asyncio.wait({live})
    books = TableName("public", "books")
    assert sorted(first.changes, key=lambda one: str(one.operation)) == [
        Change(books, Operation.DELETE, {"id": "2", "author_id": "1"}, None),
        Change(
            books, Operation.UPSERT, {"id": "1", "author_id": "1"}, {"id": "1", "author_id": "2"}
        ),
    ]
    assert not second.changes
    assert start < first.position < second.position  # type: ignore[operator]


async def test_a_second_capture_of_one_pipeline_is_refused(library: Library) -> None:
    async with PollingCapture(library.context) as one, PollingCapture(library.context) as other:
        await one.provision(temporary=False)
        with pytest.raises(SourceFatal, match="already being polled"):
            await other.provision(temporary=False)


async def test_what_does_not_fit_is_found_with_its_file(library: Library) -> None:
    library.connection.executescript("DROP TABLE tags; PRAGMA journal_mode = DELETE;")
    (finding,) = await PollingBuilder(library.context).check()
    assert "table public.tags does not exist" in finding.message
    assert "authors.schema.yml" in finding.subject
    (finding,) = await PollingCapture(library.context).check()
    assert "PRAGMA journal_mode = WAL" in (finding.cure or "")


@pytest.mark.parametrize(
    "url",
    ["mysql://me:hunter2@host/db", "no url hunter2", "sqlite://", "postgresql://a:hunter2@b:x/c"],
)
async def test_an_unsupported_url_is_refused_without_its_password(
    library: Library, url: str
) -> None:
    options = PollingOptions.model_validate({"connection_url": url})
    assert "hunter2" not in repr(options)
    with pytest.raises(ConfigError) as caught:
        await PollingCapture(SourceContext(options, library.context.schemas)).check()
    assert "hunter2" not in str(caught.value)
