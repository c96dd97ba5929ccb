"""Two giants pass through a real `flusso run` in bounded memory.

The server assembles the documents and the sink is cheap, so that what grows is flusso itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .memory_curve import Curve
from .processes import Flusso, wait_until
from .shop_deployment import Connection

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

MOST = 120 * 1024 * 1024
"""Resident bytes of the process, at any moment."""

FLUSSO_TOML = """
[source]
type = "postgres"
connection_url = "{url}"

[sinks.nowhere]
type = "stdout"
path = "/dev/null"

[[index]]
name = "items"
schema = "items.schema.yml"
"""

ITEMS = """
version: 1
table: items
filters:
  - { column: hidden, op: eq, value: false }
fields:
  - long: id
  - keyword: label
  - belongs_to: category
    column: category_id
    table: categories
    primary_key: id
    fields:
      - keyword: name
"""

TABLES = """
CREATE TABLE categories (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE items (
    id bigint PRIMARY KEY,
    label text NOT NULL,
    hidden boolean NOT NULL,
    category_id int REFERENCES categories
);
CREATE INDEX ON items (category_id);
INSERT INTO categories VALUES (1, 'before');
"""


class Following:
    """A `flusso run` that is live on the tables."""

    def __init__(self, folder: Path, url: str, connection: Connection) -> None:
        (folder / "flusso.toml").write_text(FLUSSO_TOML.format(url=url))
        (folder / "items.schema.yml").write_text(ITEMS)
        self._connection = connection
        self.flusso = Flusso(
            "run", folder=folder, environment={"FLUSSO_PUBLIC_ADDRESS": "127.0.0.1:0"}
        )
        wait_until(lambda: "nowhere: index items is filled" in self.flusso.output, 120, "live")
        self.curve = Curve(self.flusso.pid)
        self.curve.note()

    def play(self, statement: str, seconds: float) -> None:
        """Run a statement, and wait until flusso has confirmed it."""
        self._connection.execute(statement.encode())
        row = self._connection.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
        assert row is not None
        wait_until(lambda: self._has_confirmed(row[0]), seconds, statement)

    def _has_confirmed(self, position: str) -> bool:
        self.curve.note()
        assert self.flusso.running, self.flusso.output
        row = self._connection.execute(
            "SELECT bool_and(confirmed_flush_lsn >= %s) FROM pg_replication_slots "
            "WHERE database = current_database()",
            [position],
        ).fetchone()
        return row is not None and row[0] is True

    def assert_bounded(self) -> None:
        """It has stayed within the bound; the curve is printed (`-s`)."""
        print(f"at most {self.curve.highest >> 20} MB; {self.curve}")  # noqa: T201
        assert self.curve.highest <= MOST, self.curve


@pytest.fixture
def following(
    tmp_path: Path, postgres_database: str, connection: Connection, request: pytest.FixtureRequest
) -> Iterator[Following]:
    """Tables with so many rows of one category, and flusso on them."""
    connection.execute(TABLES.encode())
    connection.execute(
        "INSERT INTO items SELECT g, 'item ' || g, false, 1 FROM generate_series(1, %s) g",
        [request.param],
    )
    connection.execute("ANALYZE items")
    following = Following(tmp_path, postgres_database, connection)
    try:
        yield following
    finally:
        following.flusso.kill()


def insert_hidden(rows: int) -> str:
    """A transaction of so many row changes, none of which has a document."""
    return (
        "INSERT INTO items SELECT 10000000 + g, 'item', true, NULL "
        f"FROM generate_series(1, {rows}) g"
    )


RENAME = "UPDATE categories SET name = 'after'"


@pytest.mark.parametrize("following", [0], indirect=True)
def test_a_transaction_of_half_a_million_changes_passes_in_bounded_memory(
    following: Following,
) -> None:
    """C10: a tenth of the giant of `make soak`."""
    following.play(insert_hidden(500_000), 300)
    following.assert_bounded()


@pytest.mark.parametrize("following", [100_000], indirect=True)
def test_a_change_that_touches_a_hundred_thousand_documents_passes_in_bounded_memory(
    following: Following,
) -> None:
    """C10: a tenth of the giant of `make soak`."""
    following.play(RENAME, 300)
    following.assert_bounded()


@pytest.mark.soak
@pytest.mark.parametrize("following", [0], indirect=True)
def test_a_transaction_of_five_million_changes_passes_in_bounded_memory(
    following: Following,
) -> None:
    """C10."""
    following.play(insert_hidden(5_000_000), 1700)
    following.assert_bounded()


@pytest.mark.soak
@pytest.mark.parametrize("following", [1_000_000], indirect=True)
def test_a_change_that_touches_a_million_documents_passes_in_bounded_memory(
    following: Following,
) -> None:
    """C10."""
    following.play(RENAME, 1700)
    following.assert_bounded()
