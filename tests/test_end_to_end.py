"""The main job: a database that never stands still, an index that follows, a process that dies."""

from __future__ import annotations

import random
import signal

import pytest

from .processes import wait_until
from .shop_deployment import Connection, Deployment, load_shop
from .shop_writer import TRANSACTIONS, ShopWriter, writing

pytestmark = pytest.mark.integration

USERS = 1500


def kill_after(deployment: Deployment, documents: int) -> None:
    """Start flusso, and kill it as soon as it has written so many documents."""
    enough = deployment.written() + documents
    running = deployment.start("run")
    wait_until(
        lambda: deployment.written() >= enough or not running.running,
        60,
        f"{documents} documents written",
    )
    assert running.running, running.output
    running.signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL


@pytest.mark.timeout(240)
def test_killed_twice_under_writes_every_index_equals_the_database(
    connection: Connection, deployment: Deployment
) -> None:
    """H1, H4, H5, R2, C1-C6: nothing is missing, stale or extra.

    A writer commits random changes from before the start until after the seeds; the process is
    killed twice on the way, once in the first pages and once further on.
    """
    load_shop(connection, USERS)
    with writing(deployment.database, random.Random(20), rate=150) as writer:
        wait_until(lambda: writer.done[TRANSACTIONS] > 20, 10, "the writer writes")
        for documents in (100, 1500):
            kill_after(deployment, documents)
        running = deployment.start("run")
        wait_until(lambda: deployment.served() or not running.running, 90, "served")
        assert running.running, running.output
        served = writer.done[TRANSACTIONS]
        wait_until(lambda: writer.done[TRANSACTIONS] > served + 100, 20, "changes after the seeds")
    wait_until(
        lambda: deployment.differences(connection) == 0 or not running.running,
        30,
        "the indexes have caught up",
    )
    running.stop()
    for index, result in deployment.compare(connection).items():
        assert result.checked > 100
        assert result.differences == 0, f"{index}: {result}\n{running.output}"


def test_once_catches_up_and_ends(connection: Connection, deployment: Deployment) -> None:
    """A job: each run does what has happened since the last one, and ends by itself."""
    load_shop(connection, 200)
    first = deployment.start("run", "--once")
    assert first.wait() == 0, first.output
    assert deployment.differences(connection) == 0, first.output
    ShopWriter(connection, random.Random(1)).run(200)
    assert deployment.differences(connection) > 0, "the writer changed nothing"
    second = deployment.start("run", "--once")
    assert second.wait() == 0, second.output
    assert deployment.differences(connection) == 0, second.output
