"""What the endpoints of databases have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from urllib.parse import quote

from flusso_sandbox.endpoints.server_url import bracketed
from flusso_sandbox.errors import SandboxError


@dataclass(frozen=True, slots=True)
class DatabaseEndpoint(ABC):
    """A database server and a user of it who may do everything.

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

    @abstractmethod
    def url(self, database: str | None = None) -> str:
        """The URL of a database of this server, password included.

        Args:
            database: Its name; None for what a connection gets that names none.
        """

    @abstractmethod
    def answers(self) -> bool:
        """Whether the server takes connections now."""

    def create_database(self, name: str) -> str:
        """Creates an empty database and gives its URL.

        Raises:
            SandboxError: The server refused, or cannot be reached.
        """
        try:
            self._create(name)
        except self._driver_error() as error:
            msg = f"database {name} could not be created: {error}"
            raise SandboxError(msg) from error
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drops a database, whatever still hangs on it; nothing happens if there is none.

        Sessions are ended. In Postgres prepared transactions are rolled back, and replication slots
        dropped, too.

        Raises:
            SandboxError: The server refused, or cannot be reached.
        """
        try:
            self._drop(name)
        except self._driver_error() as error:
            msg = f"database {name} could not be dropped: {error}"
            raise SandboxError(msg) from error

    @abstractmethod
    def _driver_error(self) -> type[Exception]:
        """What every error of the server's driver is."""

    @abstractmethod
    def _create(self, name: str) -> None:
        """Creates an empty database."""

    @abstractmethod
    def _drop(self, name: str) -> None:
        """Drops a database with what hangs on it, if there is one."""

    def _authority(self) -> str:
        """User, password, host and port, as they stand in a URL (RFC 3986, 3.2)."""
        secret = f":{quote(self.password, safe='')}" if self.password else ""
        return f"{quote(self.user, safe='')}{secret}@{bracketed(self.host)}:{self.port}"
