"""A throw-away real Postgres, from ready-made programs.

```python
with PostgresServer() as server:
    url = server.create_database("shop")
```
"""

from __future__ import annotations

import signal
from types import MappingProxyType
from typing import TYPE_CHECKING

from flusso_sandbox.database_server import DatabaseServer
from flusso_sandbox.endpoints import PostgresEndpoint
from flusso_sandbox.postgres_files import POSTGRES_VERSIONS, find_programs
from flusso_sandbox.process import StopSignal
from flusso_sandbox.shared_memory import remove_shared_memory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from flusso_sandbox.programs import Installation
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

_USER = "postgres"
# Fast shutdown, then immediate shutdown (pg_ctl's modes; Postgres manual, 18.5).
_STOP_SIGNALS = (StopSignal(signal.SIGINT, 10.0), StopSignal(signal.SIGQUIT, 5.0))


class PostgresServer(DatabaseServer[PostgresEndpoint]):
    """A Postgres of its own in a temporary folder, on a free loopback port.

    Connections need the password (SCRAM-SHA-256); its URLs are libpq's. As root the server runs as
    the account `postgres` or `nobody`. See `ThrowAwayServer` for how it starts and ends.

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
            "Postgres",
            version,
            versions=POSTGRES_VERSIONS,
            settings={**DEFAULT_SETTINGS, **(settings or {}), **_PRIVATE_SETTINGS},
            start_timeout=start_timeout,
            stop_signals=_STOP_SIGNALS,
            progress=progress,
        )

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

    def close(self) -> None:
        """Stops the server, and removes its folder and its shared memory. Idempotent."""
        self.stop()
        if self._folder is not None:
            remove_shared_memory(self._folder / "data" / "postmaster.pid")
        super().close()

    def _find_programs(self) -> Installation:
        return find_programs(self.version, self._progress)

    def _endpoint_at(self, port: int) -> PostgresEndpoint:
        return PostgresEndpoint("127.0.0.1", port, _USER, self._password)

    def _secret(self) -> str:
        return f"{self._password}\n"

    def _initialiser(self, data: Path, secret: Path) -> Sequence[str]:
        return (
            str(self._programs / "bin" / "initdb"),
            f"--pgdata={data}",
            f"--username={_USER}",
            f"--pwfile={secret}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        )

    def _prepare(self, folder: Path) -> None:
        super()._prepare(folder)
        with (folder / "data" / "postgresql.conf").open("a", encoding="utf-8") as file:
            for name, value in self._settings.items():
                quoted = value.replace("'", "''")
                file.write(f"{name} = '{quoted}'\n")

    def _command(self, folder: Path) -> Sequence[str]:
        postgres = self._programs / "bin" / "postgres"
        return (str(postgres), "-D", str(folder / "data"), "-c", f"port={self.port}")
