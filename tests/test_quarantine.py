"""Refused documents, from the row to the quarantine and out again, as a user sees them."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from opensearchpy import TransportError

from .processes import control, wait_until
from .shop_deployment import Connection
from .small_deployment import Deploy, SmallDeployment

pytestmark = pytest.mark.integration

SCHEMA = """
version: 1
table: hosts
fields:
  - custom: address
    postgres: [text]
    opensearch: ip
"""

B = {"sink": "search", "id": "b"}
NONE: dict[str, Any] = {"landed": [], "refused": [], "left": [], "absent": []}


class Hosts:
    """A deployment that follows a table; its sink refuses addresses that are none."""

    def __init__(self, small: SmallDeployment) -> None:
        self._client = small.client
        self._alias = small.alias
        self._quarantine = f"{small.prefix}flusso_quarantine"
        self._variables = control()
        self._small = small
        self.start()

    def start(self) -> None:
        """Follow the table, in a process of its own."""
        self.running = self._small.start("run", **self._variables)

    def flusso(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """What a command prints."""
        return self._small.run(*arguments, **self._variables)

    def tolerate(self) -> None:
        """Have the index take what is no address, as soon as it serves."""
        wait_until(lambda: self._small.count() >= 0, 60, "it serves")
        lax = {"properties": {"address": {"type": "ip", "ignore_malformed": True}}}
        self._client.indices.put_mapping(index=self._alias, body=lax)

    def source(self, identity: str) -> object:
        """A document as it was written."""
        return self._client.get(index=self._alias, id=identity)["_source"]

    def count(self) -> int:
        """How many documents the quarantine has, asked without flusso; -1: it is being made."""
        try:
            answer = self._client.count(
                index=self._quarantine, params={"ignore_unavailable": "true"}
            )
        except TransportError:
            return -1
        return int(answer["count"])

    def kept(self) -> list[dict[str, Any]]:
        """What `flusso quarantine list` says."""
        done = self.flusso("quarantine", "list", "--format", "json")
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert answer["version"] == 1
        documents: list[dict[str, Any]] = answer["documents"]
        return documents


@pytest.fixture
def hosts(connection: Connection, deploy: Deploy) -> Hosts:
    connection.execute("CREATE TABLE hosts (id text PRIMARY KEY, address text)")
    connection.execute("INSERT INTO hosts VALUES ('a', '10.0.0.1'), ('b', 'nowhere')")
    small = deploy("hosts", SCHEMA)
    small.configure(general='on_error = "skip"')
    return Hosts(small)


def test_a_refused_document_is_kept_shown_and_leaves_when_its_row_is_mended(
    connection: Connection, hosts: Hosts
) -> None:
    """D3: while the run goes on."""
    wait_until(lambda: hosts.count() == 1, 60, "it is in the quarantine")
    (entry,) = hosts.kept()
    assert (entry["sink"], entry["index"], entry["id"]) == ("search", "hosts", "b")
    assert "nowhere" in entry["reason"]
    shown = hosts.flusso("quarantine", "show", "hosts", "b")
    assert shown.returncode == 0
    assert '{"address":"nowhere"}' in shown.stdout
    assert "hosts/b in the quarantine of search" in shown.stdout
    assert "b " in hosts.flusso("quarantine", "list", "--index", "hosts").stdout
    assert hosts.flusso("quarantine", "list", "--index", "others").stdout == ""
    connection.execute("UPDATE hosts SET address = '10.0.0.2' WHERE id = 'b'")
    wait_until(lambda: hosts.count() == 0, 30, "it has left")
    assert hosts.flusso("quarantine", "show", "hosts", "b").returncode == 1
    connection.execute("INSERT INTO hosts VALUES ('c', '?'), ('d', '?'), ('e', '?')")
    wait_until(lambda: hosts.count() == 3, 30, "three more")
    done = hosts.flusso("quarantine", "drop", "hosts", "c", "x", "--format", "json")
    assert (done.returncode, json.loads(done.stdout)) == (1, {"version": 1, "dropped": 1})
    assert "these were not kept: x" in done.stderr
    assert hosts.flusso("quarantine", "drop", "hosts").returncode == 2
    assert hosts.flusso("quarantine", "drop", "hosts", "--all").returncode == 0
    assert hosts.kept() == []
    hosts.running.stop()


def test_a_refused_document_is_replayed_when_its_cause_is_mended(hosts: Hosts) -> None:
    """D3: by a run of the command's own, and by the one that answers."""

    def replay(*which: str) -> tuple[int, dict[str, Any]]:
        done = hosts.flusso("quarantine", "replay", "hosts", *which, "--format", "json")
        return done.returncode, json.loads(done.stdout or "{}")

    wait_until(lambda: hosts.count() == 1, 90, "it is refused")
    hosts.running.stop()
    code, answer = replay("b", "x")
    assert (code, answer["landed"], answer["absent"]) == (1, [], ["x"])
    assert [(one["id"], one["attempts"]) for one in answer["refused"]] == [("b", 2)]
    hosts.start()
    hosts.tolerate()
    wait_until(lambda: "private_address: listening" in hosts.running.output, 30, "it answers")
    wait_until(lambda: replay("--all") == (0, {**answer, **NONE, "landed": [B]}), 30, "it lands")
    assert (hosts.kept(), hosts.source("b")) == ([], {"address": "nowhere"})
    assert replay("--all") == (0, {**answer, **NONE})
    hosts.running.stop()
