"""How to reach a server, whether the sandbox started it or it ran already."""

from __future__ import annotations

import http.client
import json
import time
from base64 import b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self
from urllib.parse import quote, unquote, urlsplit

from flusso_sandbox.errors import SandboxError

if TYPE_CHECKING:
    import psycopg
    import pymysql

_HTTP_SECONDS = 30.0
_SLOT_SECONDS = 10.0
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class PostgresEndpoint:
    """A Postgres server and a superuser of it.

    Attributes:
        host: Its address.
        port: Its TCP port.
        user: A superuser.
        password: That user's password; it is not shown by `repr`.
        maintenance: The database to connect to for creating and dropping others.
    """

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    maintenance: str = "postgres"

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Reads a URL such as `postgresql://user:password@host:5432/postgres`.

        Raises:
            SandboxError: It is not such a URL. The message does not quote it.
        """
        try:
            parts = urlsplit(url)
            host, port, user = parts.hostname, parts.port, parts.username
        except ValueError:
            host = port = user = None
            parts = urlsplit("")
        if parts.scheme not in {"postgresql", "postgres"} or not host or not user:
            msg = "not a Postgres URL like postgresql://user:password@host:5432/postgres"
            raise SandboxError(msg)
        return cls(
            host,
            port or 5432,
            unquote(user),
            unquote(parts.password or ""),
            unquote(parts.path.lstrip("/")) or "postgres",
        )

    def url(self, database: str | None = None) -> str:
        """The libpq URL of a database of this server, password included.

        Args:
            database: Its name; None for the maintenance database.
        """
        name = quote(database or self.maintenance, safe="")
        secret = f":{quote(self.password, safe='')}" if self.password else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"postgresql://{quote(self.user, safe='')}{secret}@{host}:{self.port}/{name}"

    def answers(self) -> bool:
        """Whether the server takes connections now."""
        from psycopg import OperationalError

        try:
            self._connect(self.maintenance).close()
        except OperationalError:
            return False
        return True

    def create_database(self, name: str) -> str:
        """Creates an empty database and gives its URL.

        Raises:
            SandboxError: The server refused, or cannot be reached.
        """
        from psycopg import Error, sql

        try:
            with self._connect(self.maintenance) as connection:
                connection.execute(
                    sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))
                )
        except Error as error:
            msg = f"database {name} could not be created: {error}"
            raise SandboxError(msg) from error
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drops a database, whatever still hangs on it; nothing happens if there is none.

        Prepared transactions are rolled back, replication slots dropped (their readers are ended
        first), and sessions closed.

        Raises:
            SandboxError: The server refused, or cannot be reached.
        """
        from psycopg import Error, sql

        try:
            with self._connect(self.maintenance) as connection:
                found = connection.execute(
                    "SELECT 1 FROM pg_database WHERE datname = %s", [name]
                ).fetchone()
            if found is None:
                return
            with self._connect(name) as connection:
                _roll_back_prepared(connection)
                _drop_slots(connection)
            with self._connect(self.maintenance) as connection:
                connection.execute(
                    sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
                )
        except Error as error:
            msg = f"database {name} could not be dropped: {error}"
            raise SandboxError(msg) from error

    def _connect(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        import psycopg

        return psycopg.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            dbname=database,
            autocommit=True,
            connect_timeout=10,
        )


def _roll_back_prepared(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    from psycopg import sql

    rows = connection.execute(
        "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
    ).fetchall()
    for (gid,) in rows:
        connection.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))


def _drop_slots(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Drops the slots of the connected database: a logical slot is dropped from within it."""
    deadline = time.monotonic() + _SLOT_SECONDS
    while True:
        slots = connection.execute(
            "SELECT slot_name, pg_terminate_backend(active_pid) FROM pg_replication_slots"
            " WHERE database = current_database()"
        ).fetchall()
        if not slots:
            return
        dropped = connection.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
            " WHERE database = current_database() AND NOT active"
        ).fetchall()
        if not dropped:
            if time.monotonic() > deadline:
                msg = f"replication slots stay in use: {', '.join(str(slot) for slot, _ in slots)}"
                raise SandboxError(msg)
            time.sleep(_POLL_SECONDS)


@dataclass(frozen=True, slots=True)
class MariaDBEndpoint:
    """A MariaDB server and a user of it who may do everything.

    Attributes:
        host: Its address.
        port: Its TCP port.
        user: The user.
        password: That user's password; it is not shown by `repr`.
    """

    host: str
    port: int
    user: str
    password: str = field(repr=False)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Reads a URL such as `mariadb+pymysql://user:password@host:3306`.

        Raises:
            SandboxError: It is not such a URL. The message does not quote it.
        """
        try:
            parts = urlsplit(url)
            host, port, user = parts.hostname, parts.port, parts.username
        except ValueError:
            host = port = user = None
            parts = urlsplit("")
        if parts.scheme.partition("+")[0] not in {"mariadb", "mysql"} or not host or not user:
            msg = "not a MariaDB URL like mariadb+pymysql://user:password@host:3306"
            raise SandboxError(msg)
        return cls(host, port or 3306, unquote(user), unquote(parts.password or ""))

    def url(self, database: str | None = None) -> str:
        """The SQLAlchemy URL of a database of this server, password included.

        Args:
            database: Its name; None for no database.
        """
        name = quote(database or "", safe="")
        secret = f":{quote(self.password, safe='')}" if self.password else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = quote(self.user, safe="")
        return f"mariadb+pymysql://{user}{secret}@{host}:{self.port}/{name}?charset=utf8mb4"

    def answers(self) -> bool:
        """Whether the server takes connections now."""
        from pymysql.err import OperationalError

        try:
            self._connect().close()
        except OperationalError:
            return False
        return True

    def create_database(self, name: str) -> str:
        """Creates an empty database and gives its URL.

        Raises:
            SandboxError: The server refused, or cannot be reached.
        """
        self._execute(
            f"CREATE DATABASE {_backquoted(name)} CHARACTER SET utf8mb4",
            f"database {name} could not be created",
        )
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drops a database, and ends its sessions; nothing happens if there is none.

        Raises:
            SandboxError: The server refused, or cannot be reached.
        """
        from pymysql.err import MySQLError

        failed = f"database {name} could not be dropped"
        try:
            with self._connect() as connection, connection.cursor() as cursor:
                cursor.execute(
                    "SELECT id FROM information_schema.processlist WHERE db = %s", [name]
                )
                sessions = [int(row[0]) for row in cursor.fetchall()]
        except MySQLError as error:
            msg = f"{failed}: {error}"
            raise SandboxError(msg) from error
        for session in sessions:
            self._end_session(session)
        self._execute(f"DROP DATABASE IF EXISTS {_backquoted(name)}", failed)

    def _end_session(self, session: int) -> None:
        from pymysql.constants.ER import NO_SUCH_THREAD
        from pymysql.err import MySQLError

        try:
            with self._connect() as connection, connection.cursor() as cursor:
                cursor.execute("KILL %s", [session])
        except MySQLError as error:
            if error.args[0] != NO_SUCH_THREAD:  # it has ended by itself
                msg = f"a session could not be ended: {error}"
                raise SandboxError(msg) from error

    def _execute(self, statement: str, failed: str) -> None:
        from pymysql.err import MySQLError

        try:
            with self._connect() as connection, connection.cursor() as cursor:
                cursor.execute(statement)
        except MySQLError as error:
            msg = f"{failed}: {error}"
            raise SandboxError(msg) from error

    def _connect(self) -> pymysql.Connection[pymysql.cursors.Cursor]:
        import pymysql

        return pymysql.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=10,
        )


def _backquoted(name: str) -> str:
    """The name as an identifier (MariaDB manual, "Identifier Names", quote character)."""
    doubled = name.replace("`", "``")
    return f"`{doubled}`"


@dataclass(frozen=True, slots=True)
class OpenSearchEndpoint:
    """An OpenSearch cluster.

    Attributes:
        url: Its base URL, without a slash at the end; `repr` does not show it, as it may hold a
            password.
    """

    url: str = field(repr=False)

    def answers(self) -> bool:
        """Whether the cluster can be written to now: its status is yellow or green."""
        try:
            # Without its own bound the call waits half a minute for a node that is starting.
            health = self._call("GET", "/_cluster/health?cluster_manager_timeout=1s")
        except SandboxError:
            return False
        return json.loads(health).get("status") in {"yellow", "green"}

    def delete_indexes(self, prefix: str) -> None:
        """Deletes every index (with its aliases) whose name starts with a prefix.

        Raises:
            SandboxError: The cluster refused, or cannot be reached.
        """
        pattern = f"{quote(prefix, safe='')}*"
        query = "h=index&format=json&expand_wildcards=all"
        for row in json.loads(self._call("GET", f"/_cat/indices/{pattern}?{query}")):
            self._call("DELETE", f"/{quote(row['index'], safe='')}?ignore_unavailable=true")

    def _call(self, method: str, path: str) -> bytes:
        parts = urlsplit(self.url)
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        headers = {"Accept": "application/json"}
        if parts.username:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        connection = kind(parts.hostname or "", parts.port, timeout=_HTTP_SECONDS)
        try:
            connection.request(method, f"{parts.path}{path}", headers=headers)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            msg = f"OpenSearch does not answer to {method} {path}: {error}"
            raise SandboxError(msg) from error
        finally:
            connection.close()
        # A run that a test has not ended yet may drop an index meanwhile.
        gone = method == "DELETE" and response.status == http.client.NOT_FOUND
        if response.status >= http.client.BAD_REQUEST and not gone:
            msg = f"OpenSearch answers {method} {path} with {response.status}: {body[:500]!r}"
            raise SandboxError(msg)
        return body
