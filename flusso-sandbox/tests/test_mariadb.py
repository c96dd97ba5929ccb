"""A throw-away MariaDB starts, answers, survives faults, and leaves nothing behind."""

from __future__ import annotations

from urllib.parse import urlsplit

import pymysql
import pytest

from flusso_sandbox import MariaDBEndpoint, MariaDBServer

pytestmark = pytest.mark.integration


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


def test_data_and_port_survive_restart_and_crash() -> None:
    with MariaDBServer() as server:
        server.create_database("kept")
        endpoint = server.endpoint
        with connect(endpoint, "kept") as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE t AS SELECT 7 AS n")
        server.restart()
        assert scalar(endpoint, "kept", "SELECT n FROM t") == 7
        with connect(endpoint, "kept") as connection, connection.cursor() as cursor:
            cursor.execute("UPDATE t SET n = 8")
        server.kill()
        with pytest.raises(pymysql.err.OperationalError):
            connect(endpoint, "kept")
        assert server.pid is None
        server.start()
        assert scalar(endpoint, "kept", "SELECT n FROM t") == 8


def test_settings_can_be_changed() -> None:
    with MariaDBServer(settings={"lower-case-table-names": "1"}) as server:
        assert scalar(server.endpoint, "mysql", "SELECT @@lower_case_table_names") == 1
