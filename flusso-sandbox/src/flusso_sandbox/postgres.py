"""A throw-away real Postgres, from ready-made programs.

```python
with PostgresServer() as server:
    url = server.create_database("shop")
```
"""

from __future__ import annotations

import os
import secrets
import signal
from types import MappingProxyType
from typing import TYPE_CHECKING

from flusso_sandbox.account import Account, unprivileged_account
from flusso_sandbox.endpoints import PostgresEndpoint
from flusso_sandbox.errors import SandboxError
from flusso_sandbox.ports import free_port
from flusso_sandbox.postgres_files import POSTGRES_VERSIONS, find_programs, readable_programs
from flusso_sandbox.process import StopSignal, log_tail
from flusso_sandbox.server import ThrowAwayServer
from flusso_sandbox.shared_memory import remove_shared_memory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from flusso_sandbox.progress import ProgressCallback

DEFAULT_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "wal_level": "logical",
        "max_replication_slots": "64",
        "max_wal_senders": "64",
        "max_prepared_transactions": "16",
        "max_connections": "200",
        "fsync": "off",
        "full_page_writes": "off",
        "shared_buffers": "64MB",
    }
)
"""What a throw-away server is set to unless told otherwise; see the Postgres manual, chapter 19."""

# What makes the server a private one. Not to be changed: the rest of this module relies on it.
_PRIVATE_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        # Segments in the data folder go away with it, also after SIGKILL.
        "dynamic_shared_memory_type": "mmap",
        "logging_collector": "off",
        "log_destination": "stderr",
        "ssl": "off",
    }
)

_INITDB_SECONDS = 120.0
_USER = "postgres"
# Fast shutdown, then immediate shutdown (pg_ctl's modes; Postgres manual, 18.5).
_STOP_SIGNALS = (StopSignal(signal.SIGINT, 10.0), StopSignal(signal.SIGQUIT, 5.0))


class PostgresServer(ThrowAwayServer):
    """A Postgres of its own in a temporary folder, on a free loopback port.

    Connections need the password (SCRAM-SHA-256). As root the server runs as the account
    `postgres` or `nobody`. See `ThrowAwayServer` for how it starts and ends.

    Args:
        version: The major version, one of `POSTGRES_VERSIONS`.
        settings: Server settings that replace or add to `DEFAULT_SETTINGS`.
        start_timeout: Seconds that a start may take.
        progress: Told how far a download is; None shows it on standard error.
    """

    def __init__(
        self,
        version: str = POSTGRES_VERSIONS[0],
        *,
        settings: Mapping[str, str] | None = None,
        start_timeout: float = 60.0,
        progress: ProgressCallback | None = None,
    ) -> None:
        super().__init__(
            f"Postgres {version}", start_timeout=start_timeout, stop_signals=_STOP_SIGNALS
        )
        self.version = version
        self._settings = {**DEFAULT_SETTINGS, **(settings or {}), **_PRIVATE_SETTINGS}
        self._progress = progress
        self._programs: Path | None = None
        self._password = secrets.token_urlsafe(18)
        self._endpoint: PostgresEndpoint | None = None

    @property
    def endpoint(self) -> PostgresEndpoint:
        """How to reach the server; it stays the same over restarts.

        Raises:
            SandboxError: The server was never started, or is closed.
        """
        if self._endpoint is None:
            raise self._not_started()
        return self._endpoint

    @property
    def host(self) -> str:
        """The loopback address."""
        return self.endpoint.host

    @property
    def port(self) -> int:
        """The TCP port."""
        return self.endpoint.port

    @property
    def user(self) -> str:
        """The superuser."""
        return self.endpoint.user

    @property
    def password(self) -> str:
        """The superuser's password, made for this server alone."""
        return self.endpoint.password

    def url(self, database: str | None = None) -> str:
        """The libpq URL of a database, password included; None for `postgres`."""
        return self.endpoint.url(database)

    def create_database(self, name: str) -> str:
        """Creates an empty database and gives its URL."""
        return self.endpoint.create_database(name)

    def drop_database(self, name: str) -> None:
        """Drops a database with its slots, prepared transactions and sessions."""
        self.endpoint.drop_database(name)

    def _choose_account(self) -> Account | None:
        return unprivileged_account()

    def _prepare(self, folder: Path) -> None:
        programs = find_programs(self.version, self._progress)
        self._programs = readable_programs(programs, self._account, folder)
        secret = folder / "password"
        secret.touch(mode=0o600)
        secret.write_text(f"{self._password}\n", encoding="ascii")
        if self._account is not None:
            os.chown(secret, self._account.uid, self._account.gid)
        self._initdb(self._programs, folder, secret)
        secret.unlink()
        with (folder / "data" / "postgresql.conf").open("a", encoding="utf-8") as file:
            for name, value in self._settings.items():
                quoted = value.replace("'", "''")
                file.write(f"{name} = '{quoted}'\n")

    def _initdb(self, programs: Path, folder: Path, secret: Path) -> None:
        process = self._run(
            (
                str(programs / "bin" / "initdb"),
                f"--pgdata={folder / 'data'}",
                f"--username={_USER}",
                f"--pwfile={secret}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--no-locale",
                "--no-sync",
            )
        )
        try:
            code = process.wait(_INITDB_SECONDS)
        finally:
            process.stop()
        if code != 0:
            msg = f"initdb of {self._name} failed ({code}).{log_tail(folder / 'log')}"
            raise SandboxError(msg)

    def _choose_port(self, folder: Path) -> None:
        self._endpoint = PostgresEndpoint("127.0.0.1", free_port(), _USER, self._password)

    def _command(self, folder: Path) -> Sequence[str]:
        if self._programs is None:
            raise self._not_started()
        postgres = self._programs / "bin" / "postgres"
        return (str(postgres), "-D", str(folder / "data"), "-c", f"port={self.port}")

    def _environment(self, folder: Path) -> Mapping[str, str]:
        return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "HOME": str(folder)}

    def _answers(self) -> bool:
        return self.endpoint.answers()

    def _forget(self, folder: Path) -> None:
        remove_shared_memory(folder / "data" / "postmaster.pid")
        self._programs = self._endpoint = None
