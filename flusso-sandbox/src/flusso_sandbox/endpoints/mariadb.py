"""How to reach a MariaDB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeAlias
from urllib.parse import quote

from flusso_sandbox.endpoints.database import DatabaseEndpoint
from flusso_sandbox.endpoints.server_url import ServerUrl

if TYPE_CHECKING:
    import pymysql

    Cursor: TypeAlias = pymysql.cursors.Cursor


@dataclass(frozen=True, slots=True)
class MariaDBEndpoint(DatabaseEndpoint):
    """A MariaDB server and a user of it who may do everything."""

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Reads a URL such as `mariadb+pymysql://user:password@host:3306`.

        Raises:
            SandboxError: It is not such a URL. The message does not quote it.
        """
        parts = ServerUrl.read(
            url,
            scheme=r"(mariadb|mysql)(\+.*)?",
            like="a MariaDB URL like mariadb+pymysql://user:password@host:3306",
            with_user=True,
        )
        return cls(parts.host, parts.port or 3306, parts.user, parts.password)

    def url(self, database: str | None = None) -> str:
        """The SQLAlchemy URL of a database of this server, password included.

        Args:
            database: Its name; None for no database.
        """
        name = quote(database or "", safe="")
        return f"mariadb+pymysql://{self._authority()}/{name}?charset=utf8mb4"

    def answers(self) -> bool:
        """Whether the server takes connections now."""
        from pymysql.err import OperationalError

        try:
            self._connect().close()
        except OperationalError:
            return False
        return True

    def _driver_error(self) -> type[Exception]:
        from pymysql.err import MySQLError

        return MySQLError

    def _create(self, name: str) -> None:
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {_backquoted(name)} CHARACTER SET utf8mb4")

    def _drop(self, name: str) -> None:
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT id FROM information_schema.processlist WHERE db = %s", [name])
            for (session,) in cursor.fetchall():
                _end_session(cursor, session)
            cursor.execute(f"DROP DATABASE IF EXISTS {_backquoted(name)}")

    def _connect(self) -> pymysql.Connection[Cursor]:
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


def _end_session(cursor: Cursor, session: object) -> None:
    from pymysql.constants.ER import NO_SUCH_THREAD
    from pymysql.err import MySQLError

    try:
        cursor.execute("KILL %s", [session])
    except MySQLError as error:
        if error.args[0] != NO_SUCH_THREAD:  # it has ended by itself
            raise


def _backquoted(name: str) -> str:
    """The name as an identifier (MariaDB manual, "Identifier Names", quote character)."""
    doubled = name.replace("`", "``")
    return f"`{doubled}`"
