"""How soon a commit can be searched, against what the two servers need for it in any case."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Callable

import psycopg
import pytest

from .processes import wait_until
from .shop_deployment import Connection
from .small_deployment import SmallDeployment

pytestmark = [pytest.mark.integration, pytest.mark.alone]

ROWS = 500
PAIRS = 25
REST_SECONDS = 0.1
"""Between two changes: a lone one is meant, with nothing else under way."""

REFRESH_SECONDS = 5

BUILD = "SELECT id::text, json_build_object('name', name)::text FROM items WHERE id = ANY(%s)"
"""A document as one query, such as flusso's own."""


class Items:
    """A running flusso, and an index beside its own that is written without it."""

    def __init__(self, connection: Connection, small: SmallDeployment) -> None:
        self._connection = connection
        self._client = small.client
        self._alias = small.alias
        self._floor = f"{small.prefix}floor"
        body = {
            "settings": {"index": {"number_of_replicas": 0, "merge_on_flush.enabled": False}},
            "mappings": {"properties": {"name": {"type": "keyword"}}},
        }
        small.client.indices.create(index=self._floor, body=body)

    def by_flusso(self, key: int, name: str) -> None:
        """Commit a change; return when a search finds it."""
        self._connection.execute("UPDATE items SET name = %s WHERE id = %s", (name, key))
        self._find(self._alias, name)

    def by_hand(self, key: int, name: str) -> None:
        """As `by_flusso`, by the fewest requests there can be: nobody has to notice anything."""
        self._connection.execute("UPDATE items SET name = %s WHERE id = %s", (name, key))
        lines: list[str] = []
        for identity, body in self._connection.execute(BUILD, ([key],)).fetchall():
            lines += [json.dumps({"index": {"_id": identity}}), body]
        self._client.bulk(
            body="\n".join(lines) + "\n", index=self._floor, params={"refresh": "true"}
        )
        self._find(self._floor, name)

    def _find(self, index: str, name: str) -> None:
        body = {"query": {"term": {"name": name}}, "size": 0}

        def found() -> bool:
            answer = self._client.search(index=index, body=body, params={"request_cache": "false"})
            return int(answer["hits"]["total"]["value"]) > 0

        end = time.monotonic() + 30
        while not found():
            assert time.monotonic() < end, f"{name} is not found in {index}"


@pytest.fixture
def items(connection: Connection, small: SmallDeployment) -> Items:
    connection.execute(
        "INSERT INTO items SELECT n, 'old ' || n FROM generate_series(1, %s) n", [ROWS]
    )
    small.configure(sink=f'refresh_interval = "{REFRESH_SECONDS}s"')
    small.start("run")
    wait_until(lambda: small.count() == ROWS, 60, "the index is filled")
    return Items(connection, small)


def timed(work: Callable[[int, str], None], key: int, name: str) -> float:
    began = time.perf_counter()
    work(key, name)
    return time.perf_counter() - began


def test_a_lone_change_is_searchable_as_soon_as_the_servers_can(items: Items) -> None:
    """Nothing waits for a timer, for company or for a refresh.

    In pairs within one run, so that only what flusso adds counts.
    """
    by_flusso: list[float] = []
    by_hand: list[float] = []
    for number in range(PAIRS):
        by_flusso.append(timed(items.by_flusso, number + 1, f"a{number}"))
        time.sleep(REST_SECONDS)
        by_hand.append(timed(items.by_hand, number + 1, f"b{number}"))
        time.sleep(REST_SECONDS)
    found, floor = statistics.median(by_flusso), statistics.median(by_hand)
    print(f"searchable after {found * 1000:.0f} ms, by hand {floor * 1000:.0f} ms")  # noqa: T201
    assert found < 3 * floor


def test_under_writes_without_end_a_change_is_searchable_within_the_interval(
    items: Items, postgres_database: str
) -> None:
    """Long before, as a rule: the index is refreshed while flushes overlap."""
    ended = threading.Event()

    def write() -> None:
        with psycopg.connect(postgres_database, autocommit=True) as connection:
            number = 0
            while not ended.is_set():
                number += 1
                key = 100 + number % (ROWS - 100)
                connection.execute("UPDATE items SET name = %s WHERE id = %s", (f"w{number}", key))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        waits = [timed(items.by_flusso, number + 1, f"c{number}") for number in range(15)]
    finally:
        ended.set()
        writer.join()
    middle = statistics.median(waits)
    print(f"searchable after {middle:.2f} s, at most {max(waits):.2f} s")  # noqa: T201
    assert middle < REFRESH_SECONDS / 2
