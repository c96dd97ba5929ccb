"""A destination that fails in every way, under random writes: at the end the indexes are right."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path

import pytest
from aiohttp import web

from flusso_sandbox import OpenSearchServer
from flusso_sandbox.compare import exact_client
from flusso_sandbox.endpoints import OpenSearchEndpoint
from flusso_sandbox.fault_proxy import Fault, FaultProxy, Outcome

from .processes import Flusso, wait_until
from .shop_deployment import Connection, Deployment, load_shop
from .shop_writer import TRANSACTIONS, writing

pytestmark = pytest.mark.integration

FAULTS: tuple[Outcome, ...] = (
    *Fault,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.INTERNAL_SERVER_ERROR,
)
TIMEOUT = 1.0
LATE = 2.5


class Storm:
    """Lets some requests fail, each in a random way; sometimes all of them, for a moment."""

    def __init__(self, seed: int, share: float) -> None:
        self._rng = random.Random(seed)
        self._share = share
        self._outage: tuple[Outcome, float] = (None, 0.0)

    def __call__(self, request: web.Request) -> Outcome:
        outcome, until = self._outage
        if time.monotonic() < until:
            return outcome
        if self._rng.random() >= self._share:
            return None
        outcome = self._rng.choice(FAULTS)
        if isinstance(outcome, HTTPStatus) and self._rng.random() < 0.2:
            self._outage = (outcome, time.monotonic() + self._rng.uniform(0.1, 1.0))
        return outcome


def hasten(folder: Path) -> None:
    """Have the deployment give a request up soon, so that many can be in a short time."""
    config = folder / "flusso.toml"
    text = config.read_text(encoding="utf-8")
    sink = 'type = "opensearch"\n'
    assert text.count(sink) == 1
    config.write_text(text.replace(sink, f"{sink}timeout_secs = {TIMEOUT}\n"), encoding="utf-8")


@pytest.fixture
def proxy(opensearch_server: OpenSearchEndpoint) -> Iterator[FaultProxy]:
    with FaultProxy(opensearch_server.url, late_seconds=LATE) as proxy:
        yield proxy


def converge(
    connection: Connection, deployment: Deployment, proxy: FaultProxy, running: Flusso
) -> None:
    """In calm the indexes become right, and what arrives late leaves them so."""
    proxy.choose = lambda request: None
    wait_until(lambda: not proxy.under_way, 30, "late requests have arrived")
    wait_until(
        lambda: (
            (deployment.served() and deployment.differences(connection) == 0) or not running.running
        ),
        90,
        "the indexes are right",
    )
    running.stop()
    for index, result in deployment.compare(connection).items():
        assert result.checked > 50
        assert result.differences == 0, f"{index}: {result}"
    assert "Traceback" not in running.output


@pytest.mark.timeout(300)
def test_a_storm_of_faults_while_filling_and_following_loses_nothing(
    connection: Connection, deployment: Deployment, proxy: FaultProxy
) -> None:
    """D2, R1: throttling, outages, resets before and after, silence, late arrival, cut answers."""
    hasten(deployment.folder)
    load_shop(connection, 400)
    proxy.choose = Storm(seed=4, share=0.25)
    with writing(deployment.database, random.Random(5), rate=60) as writer:
        running = deployment.start("run", OPENSEARCH_URL=proxy.url)
        wait_until(
            lambda: all(proxy.happened[fault] for fault in FAULTS) or not running.running,
            120,
            "each fault has happened",
        )
        assert writer.done[TRANSACTIONS] > 50
    assert running.running, running.output
    converge(connection, deployment, proxy, running)


@pytest.fixture
def withholding_proxy(opensearch_server: OpenSearchEndpoint) -> Iterator[FaultProxy]:
    """A proxy that keeps late requests until it is told to deliver them."""
    with FaultProxy(opensearch_server.url, late_seconds=None) as proxy:
        yield proxy


def test_a_request_that_arrives_after_newer_ones_changes_nothing(
    connection: Connection, deployment: Deployment, withholding_proxy: FaultProxy
) -> None:
    """A bulk request is held back until what it says has been changed and deleted."""
    proxy = withholding_proxy
    hasten(deployment.folder)
    load_shop(connection, 50)
    running = deployment.start("run", OPENSEARCH_URL=proxy.url)
    wait_until(lambda: deployment.served() or not running.running, 120, "served")
    first = threading.Event()

    def hold_back_the_first(request: web.Request) -> Outcome:
        if request.path != "/_bulk" or first.is_set():
            return None
        first.set()
        return Fault.LATE

    proxy.choose = hold_back_the_first
    connection.execute("UPDATE users SET name = 'stale' WHERE id <= 20")
    wait_until(first.is_set, 10, "a request is held back")
    connection.execute("UPDATE users SET name = 'newer' WHERE id <= 10")
    connection.execute("DELETE FROM users WHERE id BETWEEN 11 AND 20")
    wait_until(lambda: deployment.differences(connection) == 0, 60, "the newer state is there")
    assert proxy.under_way == 1
    proxy.deliver()
    wait_until(lambda: not proxy.under_way, 30, "it has arrived")
    assert deployment.differences(connection) == 0
    assert running.running, running.output


def kill_and_restart(server: OpenSearchServer, every: float, ending: float) -> Callable[[], None]:
    """What a thread does that kills a server again and again."""

    def repeat() -> None:
        while time.monotonic() + every < ending:
            time.sleep(every)
            server.kill()
            server.start()

    return repeat


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [1, 2])
def test_minutes_of_faults_and_of_a_server_that_dies_lose_nothing(
    connection: Connection, deployment: Deployment, own_opensearch: OpenSearchServer, seed: int
) -> None:
    """D2, R1, R2."""
    hasten(deployment.folder)
    load_shop(connection, 1500)
    ending = time.monotonic() + 180
    with (
        FaultProxy(own_opensearch.url, late_seconds=LATE) as proxy,
        exact_client(own_opensearch.url) as deployment.client,
    ):
        proxy.choose = Storm(seed=seed, share=0.2)
        killer = threading.Thread(target=kill_and_restart(own_opensearch, 40, ending))
        with writing(deployment.database, random.Random(seed), rate=60) as writer:
            killer.start()
            running = deployment.start("run", OPENSEARCH_URL=proxy.url)
            wait_until(lambda: not killer.is_alive() or not running.running, 400, "kills are over")
            killer.join()
            assert writer.done[TRANSACTIONS] > 1000
        assert running.running, running.output
        converge(connection, deployment, proxy, running)
