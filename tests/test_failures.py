"""What a user sees when something is not as it should be: a message that helps, no traceback."""

from __future__ import annotations

import re
import secrets
import signal
import socket

import psycopg
import pytest
from psycopg import sql

from flusso_sandbox import OpenSearchServer, PostgresServer
from flusso_sandbox.compare import exact_client

from .processes import Flusso, wait_until
from .shop_deployment import Connection, Deployment, load_shop

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


def with_part(url: str, pattern: str, replacement: str) -> str:
    """The URL with one part replaced; fails when the part is not there."""
    changed, count = re.subn(pattern, replacement, url, count=1)
    assert count == 1
    return changed


def closed_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def assert_readable(run: Flusso, *parts: str) -> None:
    """The output has each part and no traceback."""
    output = run.output
    assert "Traceback" not in output
    for part in parts:
        assert part in output, f"{part!r} is not in:\n{output}"


def assert_fails(run: Flusso, *parts: str) -> None:
    """The run ends with exit code 1 and a message that has each part."""
    assert run.wait() == 1, run.output
    assert_readable(run, *parts)


def assert_waits(run: Flusso, *parts: str) -> None:
    """The run says what it waits for, goes on trying, and ends at once when it is asked to."""
    wait_until(lambda: all(part in run.output for part in parts), 30, f"{parts} in the output")
    assert run.running
    run.stop(10)
    assert_readable(run, *parts)


def test_sigterm_ends_a_backfill_and_the_next_run_goes_on(
    connection: Connection, deployment: Deployment
) -> None:
    """R2: an index is either being filled or right, and nothing is read twice for nothing."""
    load_shop(connection, 1000)
    run = deployment.start("run")
    wait_until(lambda: deployment.written() > 200 or not run.running, 60, "some pages")
    run.stop()
    assert_readable(run)
    before = deployment.written()
    again = deployment.start("run", "--once")
    assert again.wait(120) == 0, again.output
    assert deployment.differences(connection) == 0
    total = sum(result.checked for result in deployment.compare(connection).values())
    assert deployment.written() - before < total, "the backfill began at the beginning"


def test_a_second_signal_ends_it_at_once(connection: Connection, deployment: Deployment) -> None:
    load_shop(connection, 50)
    run = deployment.start("run", DATABASE_URL=f"postgresql://a@127.0.0.1:{closed_port()}/b")
    wait_until(lambda: "trying again" in run.output, 30, "it waits")
    run.signal(signal.SIGTERM)
    run.signal(signal.SIGTERM)
    assert run.wait(10) in (0, 128 + signal.SIGTERM)


def test_postgres_is_not_there(deployment: Deployment) -> None:
    """R1."""
    port = closed_port()
    url = f"postgresql://someone:hidden-word@127.0.0.1:{port}/shop"
    run = deployment.start("run", DATABASE_URL=url)
    assert_waits(run, f"127.0.0.1:{port}", "refused", "trying again")
    assert "hidden-word" not in run.output


def test_the_password_is_wrong(deployment: Deployment) -> None:
    """R4: the message names the user, never the password."""
    url = with_part(deployment.database, r"(//[^:]+):[^@]+@", r"\1:not-the-word@")
    run = deployment.start("run", DATABASE_URL=url)
    assert_fails(run, "password authentication failed", "postgres")
    assert "not-the-word" not in run.output


def test_the_database_does_not_exist(deployment: Deployment) -> None:
    url = with_part(deployment.database, r"/test_\w+", "/nowhere")
    assert_fails(deployment.start("run", DATABASE_URL=url), '"nowhere" does not exist')


def test_the_server_has_no_logical_replication(deployment: Deployment) -> None:
    with PostgresServer(settings={"wal_level": "replica"}) as server:
        url = server.create_database("shop")
        with psycopg.connect(url, autocommit=True) as connection:
            load_shop(connection, 20)
        run = deployment.start("run", DATABASE_URL=url)
        assert_fails(run, "wal_level", "replica", "logical", "restart")


def test_a_table_is_missing(connection: Connection, deployment: Deployment) -> None:
    """H6, C14: it names the table and the file; the other indexes are filled."""
    load_shop(connection, 20)
    connection.execute("DROP TABLE tags CASCADE")
    assert_fails(deployment.start("run", "--once"), "public.tags", "products.schema.yml")
    assert deployment.client.indices.exists_alias(name=f"{deployment.prefix}users")
    assert not deployment.client.indices.exists_alias(name=f"{deployment.prefix}products")


def test_a_column_is_missing(connection: Connection, deployment: Deployment) -> None:
    load_shop(connection, 20)
    connection.execute("ALTER TABLE users RENAME COLUMN email TO mail")
    assert_fails(deployment.start("run", "--once"), "email", "users", "users.schema.yml")


def test_a_privilege_is_missing(connection: Connection, deployment: Deployment) -> None:
    """H6: it names the table and the SQL for an administrator."""
    load_shop(connection, 20)
    name = "limited_" + secrets.token_hex(4)
    role = sql.Identifier(name)
    connection.execute(sql.SQL("CREATE ROLE {} LOGIN REPLICATION PASSWORD 'word'").format(role))
    try:
        for statement in (
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}",
            "REVOKE SELECT ON profiles FROM {}",
        ):
            connection.execute(sql.SQL(statement).format(role))
        url = with_part(deployment.database, r"//[^@]+@", f"//{name}:word@")
        run = deployment.start("run", DATABASE_URL=url)
        assert_fails(run, "profiles", "GRANT SELECT", name)
    finally:
        for statement in ("DROP OWNED BY {}", "DROP ROLE {}"):
            connection.execute(sql.SQL(statement).format(role))


def test_check_says_each_thing_once(connection: Connection, deployment: Deployment) -> None:
    """The capture and the builder both miss the table; the user reads of it once."""
    load_shop(connection, 20)
    connection.execute("DROP TABLE profiles CASCADE")
    run = deployment.start("check", "--format", "json")
    assert run.wait() == 5, run.output
    assert run.output.count("table public.profiles") == 1, run.output


def test_opensearch_is_not_there(connection: Connection, deployment: Deployment) -> None:
    """R1."""
    load_shop(connection, 20)
    port = closed_port()
    run = deployment.start("run", OPENSEARCH_URL=f"http://someone:hidden@127.0.0.1:{port}")
    assert_waits(run, f"127.0.0.1:{port}", "trying again")
    assert "hidden" not in run.output


def test_opensearch_goes_away_and_comes_back(
    connection: Connection,
    deployment: Deployment,
    own_opensearch: OpenSearchServer,
) -> None:
    """R1: down at the start, killed while it runs: the run waits and converges afterwards."""
    load_shop(connection, 100)
    with exact_client(own_opensearch.url) as client:
        deployment.client = client
        own_opensearch.stop()
        run = deployment.start("run", OPENSEARCH_URL=own_opensearch.url)
        wait_until(lambda: "trying again" in run.output, 30, "it waits")
        own_opensearch.start()
        wait_until(lambda: deployment.served() or not run.running, 90, "served")
        own_opensearch.kill()
        connection.execute("UPDATE users SET email = 'changed-' || email")
        own_opensearch.start()
        wait_until(
            lambda: deployment.differences(connection) == 0 or not run.running, 90, "caught up"
        )
        run.stop()
        assert_readable(run)
        assert deployment.differences(connection) == 0
