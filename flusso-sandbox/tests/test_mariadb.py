"""A throw-away MariaDB starts, answers, survives faults, and leaves nothing behind."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pymysql
import pytest

from flusso_sandbox import MariaDBEndpoint, MariaDBServer, SandboxError

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration


@pytest.fixture
def own_server() -> Iterator[MariaDBServer]:
    with MariaDBServer() as server:
        yield server


def connect(endpoint: MariaDBEndpoint, database: str) -> pymysql.Connection[pymysql.cursors.Cursor]:
    return pymysql.connect(
        host=endpoint.host,
        port=endpoint.port,
        user=endpoint.user,
        password=endpoint.password,
        database=database,
        charset="utf8mb4",
        autocommit=True,
    )


def scalar(endpoint: MariaDBEndpoint, database: str, query: str) -> object:
    with connect(endpoint, database) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        row = cursor.fetchone()
    assert row is not None
    return row[0]


def test_it_answers_in_json_and_utc_and_utf8(
    mariadb_server: MariaDBEndpoint, mariadb_database: str
) -> None:
    name = urlsplit(mariadb_database).path.removeprefix("/")
    query = "SELECT json_object('name', 'Zoë 田中 🦀', 'hour', hour(now()) - hour(utc_timestamp()))"
    assert scalar(mariadb_server, name, query) == '{"name": "Zoë 田中 🦀", "hour": 0}'


def test_a_wrong_password_and_other_accounts_are_refused(mariadb_server: MariaDBEndpoint) -> None:
    for user, password in ((mariadb_server.user, "wrong"), ("root", ""), ("", "")):
        endpoint = MariaDBEndpoint(mariadb_server.host, mariadb_server.port, user, password)
        with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
            connect(endpoint, "mysql")


def test_a_dropped_database_ends_the_sessions_that_use_it(mariadb_server: MariaDBEndpoint) -> None:
    name = "odd `name` %s"
    mariadb_server.create_database(name)
    session = connect(mariadb_server, name)
    with session.cursor() as cursor:
        cursor.execute("CREATE TABLE t (id int)")
        cursor.execute("BEGIN")
        cursor.execute("INSERT INTO t VALUES (1)")
    mariadb_server.drop_database(name)  # it would wait for the open transaction
    with pytest.raises(pymysql.err.OperationalError, match="Lost connection"):
        session.ping(reconnect=False)
    mariadb_server.drop_database(name)  # nothing is left to drop
    with pytest.raises(pymysql.err.OperationalError, match="Unknown database"):
        connect(mariadb_server, name)


def test_data_and_port_survive_restart_and_crash(own_server: MariaDBServer) -> None:
    own_server.create_database("kept")
    endpoint = own_server.endpoint
    with connect(endpoint, "kept") as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t AS SELECT 7 AS n")
    own_server.restart()
    assert scalar(endpoint, "kept", "SELECT n FROM t") == 7
    with connect(endpoint, "kept") as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE t SET n = 8")
    own_server.kill()
    with pytest.raises(pymysql.err.OperationalError):
        connect(endpoint, "kept")
    assert own_server.pid is None
    own_server.start()
    assert scalar(endpoint, "kept", "SELECT n FROM t") == 8


def test_settings_can_be_changed_and_a_failing_start_shows_the_log() -> None:
    with MariaDBServer(settings={"lower-case-table-names": "1"}) as server:
        assert scalar(server.endpoint, "mysql", "SELECT @@lower_case_table_names") == 1
    server = MariaDBServer(settings={"no-such-setting": "1"})
    with pytest.raises(SandboxError, match="unknown variable 'no-such-setting"):
        server.start()
    with pytest.raises(SandboxError, match="not started"):
        _ = server.folder


def test_an_unknown_version_is_named_with_the_known_ones() -> None:
    with pytest.raises(SandboxError, match=r"no MariaDB '5', but 11\.4\.5"):
        MariaDBServer("5").start()
