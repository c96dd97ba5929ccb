"""The generations of an index, as a user sees and removes them beside a running flusso."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .processes import wait_until
from .shop_deployment import Connection
from .small_deployment import SmallDeployment

pytestmark = pytest.mark.integration


def generations(small: SmallDeployment) -> dict[tuple[int, str], Any]:
    """What `flusso indexes` says, by number and role."""
    done = small.run("indexes", "--format", "json")
    assert done.returncode == 0, done.stderr
    (sink,) = json.loads(done.stdout)["sinks"]
    (index,) = sink["indexes"]
    return {(one["generation"], one["role"]): one for one in index["generations"]}


def test_the_rust_programs_index_serves_and_is_pruned_when_asked_for(
    connection: Connection, small: SmallDeployment
) -> None:
    """D4: beside a run that goes on; nothing else is touched."""
    client, hashed = small.client, f"{small.alias}_a1b2c3d4"
    theirs = f"{hashed}_1"
    properties = {"name": {"type": "keyword"}}
    aliases: dict[str, Any] = {hashed: {}, small.alias: {}}
    mappings = {"dynamic": "strict", "properties": properties}
    client.indices.create(index=theirs, body={"aliases": aliases, "mappings": mappings})
    client.index(index=theirs, id="1", body={"name": "theirs"}, params={"refresh": "true"})
    marker = {"active_generation": 1, "seeded": True}
    client.index(index=f"{small.prefix}flusso_meta", id=hashed, body=marker)
    connection.execute("INSERT INTO items SELECT n, 'ours' FROM generate_series(1, 300) n")
    before = generations(small)
    assert before[1, "foreign"]["serves"]
    assert small.run("prune", "--yes").returncode == 0, "nothing to do while it serves"
    running = small.start("run")
    wait_until(lambda: small.count() != 1, 60, "ours serves")
    assert small.count() == 300
    there = generations(small)
    assert there[2, "current"]["documents"] == 300
    assert there[2, "current"]["serves"]
    assert (there[1, "foreign"]["documents"], there[1, "foreign"]["serves"]) == (1, False)
    done = small.run("prune", "items", "--yes", "--format", "json")
    assert done.returncode == 0, done.stderr
    (removed,) = json.loads(done.stdout)["removed"]
    assert (removed["generation"], removed["role"], removed["documents"]) == (1, "foreign", 1)
    assert list(generations(small)) == [(2, "current")]
    assert not client.indices.exists(index=theirs)
    connection.execute("INSERT INTO items VALUES (301, 'later')")
    wait_until(lambda: small.count() == 301, 30, "the run goes on")
    assert running.running


def test_another_number_of_shards_makes_another_generation(
    connection: Connection, small: SmallDeployment
) -> None:
    """D4: by itself, with the reason in the log; searches find all of it all the time."""
    connection.execute("INSERT INTO items SELECT n, 'a' FROM generate_series(1, 300) n")
    assert small.start("run", "--once").wait() == 0
    assert list(generations(small)) == [(1, "current")]
    small.configure(sink="number_of_shards = 2")
    running = small.start("run", "--once")
    found: set[int] = set()
    while running.running:
        found.add(small.count())
    assert running.wait() == 0
    assert found == {300}
    assert "index items begins generation 2: the options of the sink ask" in running.output
    assert list(generations(small)) == [(2, "current")]
    again = small.start("run", "--once")
    assert again.wait() == 0
    assert "begins generation" not in again.output


def test_an_index_that_is_spoilt_under_a_run_is_waited_for_or_filled_afresh(
    connection: Connection, small: SmallDeployment
) -> None:
    """D1, R1: read-only, as a full disk makes it; deleted; closed. Nothing that came meanwhile is
    lost, and no write ever makes an index.
    """
    client = small.client
    connection.execute("INSERT INTO items SELECT n, 'a' FROM generate_series(1, 100) n")
    running = small.start("run")
    wait_until(lambda: small.count() == 100, 60, "filled")

    def serving() -> str:
        (name,) = client.indices.get_alias(name=small.alias)
        return str(name)

    first = serving()
    blocked = "index.blocks.read_only_allow_delete"
    client.indices.put_settings(index=first, body={blocked: True})
    connection.execute("INSERT INTO items VALUES (101, 'blocked')")
    wait_until(lambda: "read-only" in running.output, 30, "it is told")
    assert small.count() == 100
    client.indices.put_settings(index=first, body={blocked: None})
    wait_until(lambda: small.count() == 101, 60, "it has gone on")
    assert serving() == first
    client.indices.delete(index=first)
    connection.execute("INSERT INTO items VALUES (102, 'deleted')")
    wait_until(lambda: small.count() == 102, 60, "it is filled afresh")
    second = serving()
    client.indices.close(index=second)
    connection.execute("INSERT INTO items VALUES (103, 'closed')")
    wait_until(lambda: small.count() == 103, 60, "it is filled afresh again")
    assert [name.rpartition("_")[2] for name in (first, second, serving())] == ["1", "2", "3"]
    assert f"the index {first}" in running.output
    assert f"the index {second}" in running.output
    assert running.running
