"""From one generation of an index to another on real servers, while writers write."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Self

import psycopg
import pytest
from opensearchpy import OpenSearch

from flusso_sandbox.compare import exact_client

from .processes import Flusso, control, wait_until
from .shop_deployment import Connection, Deployment, load_shop

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

USERS = 300
MANY = 10_000
KEEP = {2: (), 3: ("--keep-old",)}
"""What is said of the generation before, by number of the one that takes over."""


@contextmanager
def inserting(database: str) -> Generator[None]:
    """Users come, one commit each, until the block ends."""
    stop = threading.Event()

    def insert() -> None:
        with psycopg.connect(database, autocommit=True) as connection:
            number = 0
            while not stop.wait(0.005):
                number += 1
                connection.execute(
                    "INSERT INTO users (email, name, created_at) VALUES (%s, 'new', now())",
                    (f"new{number}@example.org",),
                )

    thread = threading.Thread(target=insert)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class Searcher:
    """Searches again and again for all that there is.

    Attributes:
        searches: how many there were.
        less: what an earlier search had found and a later one did not.
    """

    def __init__(self, client: OpenSearch, alias: str) -> None:
        self._client = client
        self._alias = alias
        self._stop = threading.Event()
        self._seen: set[str] = set()
        self.searches = 0
        self.less: set[str] = set()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        body: dict[str, Any] = {"size": MANY, "_source": False, "query": {"match_all": {}}}
        while not self._stop.is_set():
            answer = self._client.search(index=self._alias, body=body)
            found = {hit["_id"] for hit in answer["hits"]["hits"]}
            self.less |= self._seen - found
            self._seen |= found
            self.searches += 1


def outcome(deployment: Deployment, *arguments: str, **environment: str) -> dict[str, Any]:
    """What a command says that has to succeed: where the index stands at the sink."""
    done = deployment.start(*arguments, "--format", "json", "-qq", **environment)
    assert done.wait(120) == 0, done.output
    told = json.loads(done.output)
    assert told["done"]
    state: dict[str, Any] = told["sinks"]["search"]
    return state


def kill_at(step: str, process: Flusso) -> None:
    """Kill it when its log says so, or let it end."""
    wait_until(lambda: step in process.output or not process.running, 60, step)
    process.kill()


def generations(deployment: Deployment) -> list[int]:
    """The numbers of the generations of users that there are."""
    found = deployment.client.indices.get(index=f"{deployment.prefix}users_*")
    return sorted(int(name.rpartition("_")[2]) for name in found)


def test_a_search_never_sees_less_while_an_index_is_filled_anew(
    connection: Connection, deployment: Deployment
) -> None:
    """D4: by the run that answers; then back to what was kept, and on from there."""
    load_shop(connection, USERS)
    environment = control()
    running = deployment.start("run", **environment)
    wait_until(lambda: deployment.served() or not running.running, 90, "served")
    alias = f"{deployment.prefix}users"
    with (
        exact_client(deployment.opensearch) as client,
        inserting(deployment.database),
        Searcher(client, alias) as searcher,
    ):
        for number in (2, 3):
            state = outcome(deployment, "reindex", "users", *KEEP[number], **environment)
            assert (state["generation"], state["serving"]) == (number, number)
        enough = searcher.searches + 5
        wait_until(lambda: searcher.searches > enough, 30, "it goes on searching")
    assert searcher.less == set()
    assert generations(deployment) == [2, 3]
    state = outcome(deployment, "rollback", "users", **environment)
    assert (state["generation"], state["kept"]) == (2, [3])
    connection.execute("UPDATE users SET name = 'after it' WHERE id % 7 = 0")
    state = outcome(deployment, "rollback", "users", "--drop-current", **environment)
    assert (state["generation"], state["kept"]) == (3, [])
    assert generations(deployment) == [3]
    running.stop()
    job = deployment.start("run", "--once")
    assert job.wait() == 0, job.output
    assert deployment.differences(connection) == 0


def test_a_reindex_that_is_killed_goes_on(connection: Connection, deployment: Deployment) -> None:
    """D4, R2: without a run that answers, and at several steps; it can be given up, too."""
    load_shop(connection, USERS)
    environment = control()
    job = deployment.start("run", "--once")
    assert job.wait() == 0, job.output
    for step in ("nobody listens", "filling", "is filled"):
        connection.execute("UPDATE users SET name = name || %s WHERE id %% 5 = 0", (step,))
        kill_at(step, deployment.start("reindex", "users", **environment))
    given_up = deployment.start("rollback", "users", **environment)
    given_up.wait(120)
    state = outcome(deployment, "reindex", "users", **environment)
    assert generations(deployment) == [state["generation"]]
    job = deployment.start("run", "--once")
    assert job.wait() == 0, job.output
    assert deployment.differences(connection) == 0, job.output
