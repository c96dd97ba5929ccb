"""How often each document is written, counted on its way: time says nothing, this does."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import pytest
from aiohttp import web

from flusso_sandbox.endpoints import OpenSearchEndpoint
from flusso_sandbox.fault_proxy import FaultProxy

from .processes import wait_until
from .shop_deployment import Connection
from .small_deployment import Deploy, SmallDeployment

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

PAGE = 100
PAGES_IN_FLIGHT = 10
"""Four pages of rows and six bulk requests may be under way at once."""

SCHEMA = """
version: 1
table: parents
fields:
  - keyword: name
  - has_many: children
    table: children
    foreign_key: parent_id
    fields:
      - integer: revision
"""

TABLES = """
CREATE TABLE parents (id bigint PRIMARY KEY, name text NOT NULL);
CREATE TABLE children (id bigint PRIMARY KEY, parent_id bigint NOT NULL, revision int NOT NULL);
CREATE INDEX ON children (parent_id);
"""


class Writes:
    """Counts the writes of each document that pass the proxy.

    Attributes:
        by_id: how many there were.
        noticed: called after each bulk request.
    """

    def __init__(self, proxy: FaultProxy) -> None:
        self.by_id: Counter[str] = Counter()
        self.noticed: Callable[[], None] = lambda: None
        proxy.handed_on = self._read

    def _read(self, request: web.Request, body: bytes) -> None:
        if request.path != "/_bulk":  # documents; state records name their index in the path
            return
        lines = iter(body.splitlines())
        for line in lines:
            ((action, told),) = json.loads(line).items()
            if action != "delete":
                next(lines)
            self.by_id[told["_id"]] += 1
        self.noticed()


@pytest.fixture
def proxy(opensearch_server: OpenSearchEndpoint) -> Iterator[FaultProxy]:
    with FaultProxy(opensearch_server.url) as proxy:
        yield proxy


@pytest.fixture
def environment(environment: Mapping[str, str], proxy: FaultProxy) -> Mapping[str, str]:
    """With the proxy in front of the cluster."""
    return {**environment, "OPENSEARCH_URL": proxy.url}


@pytest.fixture
def parents(connection: Connection, deploy: Deploy) -> SmallDeployment:
    """A deployment of the tables, which are there and empty, in small bulk requests."""
    connection.execute(TABLES.encode())
    small = deploy("parents", SCHEMA)
    small.configure(sink=f"batch_size = {PAGE}")
    return small


def test_a_killed_backfill_repeats_no_more_than_the_pages_in_flight(
    connection: Connection, parents: SmallDeployment, proxy: FaultProxy
) -> None:
    """H4: several key ranges are under way when it dies; each goes on after its last page."""
    rows, before = 12_000, 5_600  # not as many as some whole ranges have
    connection.execute(
        b"INSERT INTO parents SELECT g, repeat('name ', 20) || g FROM generate_series(1, %s) g",
        [rows],
    )
    connection.execute(b"ANALYZE")
    first = Writes(proxy)
    running = parents.start("run", "--backfill-only")

    def kill_half_way() -> None:
        if len(first.by_id) >= before:
            running.signal(signal.SIGKILL)

    first.noticed = kill_half_way
    assert running.wait() == -signal.SIGKILL, running.output
    assert int(max(first.by_id, key=int)) > len(first.by_id), "one range at a time"

    second = Writes(proxy)
    running = parents.start("run", "--backfill-only")
    assert running.wait(120) == 0, running.output
    assert len(first.by_id.keys() | second.by_id.keys()) == rows
    repeated = first.by_id.keys() & second.by_id.keys()
    assert len(repeated) <= PAGES_IN_FLIGHT * PAGE
    assert second.by_id.total() == len(second.by_id), "a page was read twice in one run"


def test_a_commit_of_many_changes_writes_no_document_more_than_twice(
    connection: Connection, parents: SmallDeployment, proxy: FaultProxy
) -> None:
    """C10: 25,000 changes of 2,500 documents come in many batches; each document waits for more."""
    documents, changes = 2_500, 25_000
    connection.execute(
        b"INSERT INTO parents SELECT g, 'name ' || g FROM generate_series(1, %s) g", [documents]
    )
    connection.execute(
        b"INSERT INTO children SELECT g, 1 + g %% %s, 0 FROM generate_series(1, %s) g",
        [documents, changes],
    )
    connection.execute(b"ANALYZE")
    old = {"nested": {"path": "children", "query": {"term": {"children.revision": 0}}}}
    running = parents.start("run")
    wait_until(lambda: parents.count() >= 0, 60, "served")
    writes = Writes(proxy)
    connection.execute(b"UPDATE children SET revision = 1")
    wait_until(
        lambda: (
            len(writes.by_id) == documents
            and parents.client.count(index=parents.alias, body={"query": old})["count"] == 0
        ),
        60,
        "every document shows every change",
    )
    running.stop()
    assert max(writes.by_id.values()) <= 2
