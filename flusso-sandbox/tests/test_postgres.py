"""A throw-away Postgres starts, answers, survives faults, and leaves nothing behind."""

from __future__ import annotations

import platform
import sys

import psycopg
import pytest

from flusso_sandbox import POSTGRES_VERSIONS, PostgresEndpoint, PostgresServer

pytestmark = pytest.mark.integration


def scalar(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def test_a_logical_slot_can_be_created(postgres_database: str) -> None:
    assert scalar(postgres_database, "SHOW wal_level") == "logical"
    query = "SELECT slot_name FROM pg_create_logical_replication_slot('a', 'pgoutput')"
    assert scalar(postgres_database, query) == "a"


def test_a_wrong_password_is_refused(postgres_server: PostgresEndpoint) -> None:
    url = postgres_server.url().replace(postgres_server.password, "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url)


def test_a_dropped_database_takes_its_slot_and_prepared_transaction_along(
    postgres_server: PostgresEndpoint,
) -> None:
    name = 'odd "name"'
    url = postgres_server.create_database(name)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_create_logical_replication_slot('b', 'pgoutput')")
        connection.execute("CREATE TABLE t (id int)")
        connection.execute("BEGIN")
        connection.execute("INSERT INTO t VALUES (1)")
        connection.execute("PREPARE TRANSACTION 'left over'")
        postgres_server.drop_database(name)  # the session is still open
    query = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'b'"
    assert scalar(postgres_server.url(), query) == 0
    postgres_server.drop_database(name)  # nothing is left to drop
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)


def test_data_and_port_survive_restart_and_crash() -> None:
    with PostgresServer() as server:
        url = server.create_database("kept")
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE t AS SELECT 7 AS n")
        server.restart()
        assert scalar(url, "SELECT n FROM t") == 7
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url)
        assert server.pid is None
        server.start()
        assert scalar(url, "SELECT n FROM t") == 7


def test_settings_can_be_changed() -> None:
    with PostgresServer(settings={"wal_level": "replica", "cluster_name": "it's"}) as server:
        assert scalar(server.url(), "SHOW wal_level") == "replica"
        assert scalar(server.url(), "SHOW cluster_name") == "it's"


@pytest.mark.parametrize("version", POSTGRES_VERSIONS[1:])
def test_other_versions_start(version: str) -> None:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip("the older versions are listed for Linux on x86-64 only")
    with PostgresServer(version) as server:
        assert str(scalar(server.url(), "SHOW server_version")).startswith(f"{version}.")
        query = "SELECT slot_name FROM pg_create_logical_replication_slot('a', 'pgoutput')"
        assert scalar(server.url(), query) == "a"
