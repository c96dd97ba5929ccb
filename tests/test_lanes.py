"""One index that stops, and a queue on disk: the rest of a real deployment goes on."""

from __future__ import annotations

import random
import signal

import pytest

from .processes import wait_until
from .shop_deployment import Connection, Deployment, load_shop
from .shop_writer import TRANSACTIONS, ShopWriter, writing

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

USERS = 200


def test_a_column_that_goes_stops_its_index_and_no_other(
    connection: Connection, deployment: Deployment
) -> None:
    """C14: the others follow; put right, the next start fills what was missed."""
    load_shop(connection, USERS)
    running = deployment.start("run")
    wait_until(lambda: deployment.served() or not running.running, 90, "served")
    connection.execute("ALTER TABLE products RENAME COLUMN warranty_months TO warranty")
    connection.execute("UPDATE products SET name = name || '!' WHERE id % 3 = 0")
    connection.execute("UPDATE users SET nickname = 'changed behind it' WHERE id % 3 = 0")
    wait_until(lambda: "index products is stopped" in running.output, 30, "it says so")
    wait_until(
        lambda: deployment.compare_index(connection, "users").differences == 0, 30, "users follow"
    )
    assert running.running, running.output
    assert "products.schema.yml" in running.output
    assert "warranty_months" in running.output
    running.stop()
    job = deployment.start("run", "--once")
    assert job.wait() == 1, job.output
    assert "warranty_months" in job.output
    connection.execute("ALTER TABLE products RENAME COLUMN warranty TO warranty_months")
    job = deployment.start("run", "--once")
    assert job.wait() == 0, job.output
    assert deployment.differences(connection) == 0, job.output


def kill_after(deployment: Deployment, writer: ShopWriter, transactions: int) -> None:
    """Start flusso, and kill it so many transactions after its indexes are served."""
    running = deployment.start("run")
    wait_until(lambda: deployment.served() or not running.running, 90, "served")
    assert running.running, running.output
    enough = writer.done[TRANSACTIONS] + transactions
    wait_until(lambda: writer.done[TRANSACTIONS] > enough, 30, "more changes")
    running.signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL


def test_a_queue_on_disk_survives_kills_under_writes(
    connection: Connection, deployment: Deployment
) -> None:
    """R2, H8: the source was confirmed for what the queue had; nothing is missing or stale."""
    load_shop(connection, USERS)
    with (deployment.folder / "flusso.toml").open("a", encoding="utf-8") as file:
        file.write('\n[queue]\ntype = "sqlite"\npath = "queue"\n')
    with writing(deployment.database, random.Random(20), rate=100) as writer:
        for further in (1, 60, 120):
            kill_after(deployment, writer, further)
    ShopWriter(connection, random.Random(3)).run(20)
    job = deployment.start("run", "--once")
    assert job.wait() == 0, job.output
    assert (deployment.folder / "queue/search.queue").exists()
    assert deployment.differences(connection) == 0, job.output
