"""`flusso verify` on real servers, as its user runs it."""

from __future__ import annotations

import json
import random
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from .memory_curve import Curve
from .processes import control, wait_until
from .shop_deployment import Connection, Deployment, load_shop
from .shop_writer import TRANSACTIONS, writing
from .small_deployment import Deploy, SmallDeployment

pytestmark = pytest.mark.integration

MOST = 150 * 1024 * 1024
"""Resident bytes of a comparison, at any moment."""

SCHEMA = """
version: 1
table: items
primary_key: id
fields:
  - long: big
  - decimal: price
  - has_many: parts
    table: parts
    foreign_key: item_id
    primary_key: id
    fields:
      - keyword: name
      - decimal: weight
"""
TABLES = """
CREATE TABLE items (id bigint PRIMARY KEY, big bigint, price numeric);
CREATE TABLE parts (
    id bigint PRIMARY KEY, item_id bigint REFERENCES items, name text, weight numeric
);
CREATE INDEX ON parts (item_id);
INSERT INTO items SELECT n, 9007199254740993 + n, 12345678901234567890.123456780 + n
FROM generate_series(1, {rows}) n;
INSERT INTO parts
SELECT n, n % {rows} + 1, 'part ' || n, n / 7.0 FROM generate_series(1, 2 * {rows}) n;
ANALYZE;
"""


@dataclass
class Items:
    """So many items with two parts each, and the deployment of their index."""

    rows: int
    small: SmallDeployment
    private: Mapping[str, str] = field(default_factory=control)

    def measured(self, ends: int) -> int:
        """Most resident bytes of a comparison that ends like that."""
        verifying = self.small.start("verify", "items", "--patience", "2")
        curve = Curve(verifying.pid)
        most = 0
        while verifying.running:
            with suppress(LookupError, OSError):  # it has ended
                most = max(most, curve.highest)
            time.sleep(0.05)
        assert verifying.wait() == ends, verifying.output
        print(f"at most {most >> 20} MB")  # noqa: T201
        return most

    def verify(self, *arguments: str, **environment: str) -> tuple[int, dict[str, Any]]:
        """How it ends, and what it says of the sink."""
        done = self.small.run("verify", "items", "--format", "json", *arguments, **environment)
        print(done.stderr)  # noqa: T201
        answer = json.loads(done.stdout)
        assert (answer["version"], answer["index"]) == (1, "items")
        assert answer["ok"] is (done.returncode == 0)
        [sink] = answer["sinks"]
        return done.returncode, sink

    @property
    def data(self) -> str:
        """The index that searches see."""
        [name] = self.small.client.indices.get_alias(name=self.small.alias)
        return str(name)

    def written(self) -> Counter[str]:
        """How many documents the index was given, and how many deletions."""
        indexing = self.small.client.indices.stats(index=self.data, metric="indexing")
        total = indexing["_all"]["primaries"]["indexing"]
        return Counter(index=total["index_total"], delete=total["delete_total"])

    def served(self) -> bool:
        """Whether every row can be searched."""
        return self.small.count() == self.rows

    def tamper(self, identity: str, old: str, new: str) -> None:
        """Change one stretch of a document's text, past flusso and every client."""
        text = self._request("GET", f"_source/{identity}")
        assert text.count(old) == 1, text
        self.put(identity, text.replace(old, new))

    def put(self, identity: str, text: str) -> None:
        """Write a document."""
        self._request("PUT", f"_doc/{identity}", text)

    def delete(self, identity: str) -> None:
        """Delete a document."""
        self._request("DELETE", f"_doc/{identity}")

    def _request(self, method: str, path: str, text: str | None = None) -> str:
        request = urllib.request.Request(
            f"{self.small.environment['OPENSEARCH_URL']}/{self.data}/{path}",
            method=method,
            data=None if text is None else text.encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            body: bytes = answer.read()
        return body.decode()


@pytest.fixture
def items(connection: Connection, deploy: Deploy, request: pytest.FixtureRequest) -> Items:
    rows = int(request.param)
    connection.execute(TABLES.format(rows=rows).encode())
    return Items(rows, deploy("items", SCHEMA))


def spoil(items: Items) -> dict[str, tuple[str, list[str]]]:
    """Make documents wrong in the smallest ways; each by its kind and paths."""
    items.tamper("7", '"big":9007199254741000', '"big":9007199254740999')
    items.tamper("8", "12345678901234567898.123456780", "12345678901234567898.123456781")
    items.tamper("9", '"name":"part 8"', '"name":"part 9"')
    items.delete("10")
    items.put("11111", '{"big":1}')
    items.put("no-key", "{}")
    return {
        "7": ("stale", ["big"]),
        "8": ("stale", ["price"]),
        "9": ("stale", ["parts[0].name"]),
        "10": ("missing", []),
        "11111": ("extra", []),
        "no-key": ("extra", []),
    }


@pytest.mark.parametrize("items", [2500], indirect=True)
def test_what_was_changed_behind_its_back_is_found_and_repaired(
    items: Items, connection: Connection
) -> None:
    """V4: a 64-bit integer, a decimal's last digit, one nested value. The run that is there builds
    them anew, and where there is none, the command.
    """
    running = items.small.start("run", **items.private)
    wait_until(items.served, 60, "the index is filled")
    code, clean = items.verify()
    assert (code, clean["differences"], clean["behind"]) == (0, [], None)
    assert (clean["expected"], clean["stored"], clean["documents"]) == (2500, 2500, 2500)
    wrong = spoil(items)
    code, found = items.verify()
    assert code == 5
    named = {one["id"]: (one["kind"], one["paths"]) for one in found["differences"]}
    assert named == wrong
    assert {one["verdict"] for one in found["differences"]} == {"drift"}
    assert [found[kind] for kind in ("missing", "stale", "extra")] == [1, 3, 2]
    table = items.small.run("verify", "items")
    assert table.returncode == 5
    assert "parts[0].name" in table.stdout
    assert "6 differ; --repair builds anew what differs" in table.stderr
    built = items.written()
    code, repaired = items.verify("--repair", **items.private)
    assert (code, repaired["repaired"], repaired["differences"]) == (0, 6, [])
    assert items.written() - built == {"index": 4, "delete": 2}
    spoil(items)
    running.stop()
    connection.execute("UPDATE items SET big = 0 WHERE id = 20")
    code, behind = items.verify("--patience", "2")
    assert (code, behind["undecided"]["behind"]) == (1, 7)
    assert behind["behind"] > 0
    code, repaired = items.verify("--repair", **items.private)
    assert (code, repaired["repaired"], repaired["differences"]) == (0, 6, [])
    assert items.small.client.get(index=items.data, id="20")["_source"]["big"] == 0
    assert items.small.client.count(index=items.data)["count"] == 2500


def test_changes_on_their_way_are_no_drift(deployment: Deployment, connection: Connection) -> None:
    """Writers go on while indexes are compared; what nothing explains is found all the same."""
    load_shop(connection, users=40)
    running = deployment.start("run")
    wait_until(deployment.served, 60, "every index is served")
    with writing(deployment.database, random.Random(7), rate=20) as writer:
        clean = deployment.start("verify", "products")
        assert clean.wait(120) == 0, clean.output
        [name] = deployment.client.indices.get_alias(name=f"{deployment.prefix}users")
        deployment.client.index(index=name, id="no-key", body={})
        wrong = deployment.start("verify", "users")
        assert wrong.wait(120) == 5, wrong.output
        assert "1 differs; --repair" in wrong.output
    assert writer.done[TRANSACTIONS] > 50
    assert running.running


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("items", [100_000], indirect=True)
def test_a_large_index_is_compared_in_bounded_memory(items: Items) -> None:
    """R3: as it is, and with all of its documents gone; the figures are printed (`-s`)."""
    filling = items.small.start("run", "--backfill-only")
    assert filling.wait(900) == 0, filling.output
    assert items.measured(0) <= MOST
    items.small.client.delete_by_query(
        index=items.data,
        body={"query": {"match_all": {}}},
        params={"refresh": "true", "request_timeout": 600},
    )
    assert items.measured(1) <= MOST
