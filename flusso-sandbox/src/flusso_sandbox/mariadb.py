"""A throw-away real MariaDB, from ready-made programs.

```python
with MariaDBServer() as server:
    url = server.create_database("shop")
```
"""

from __future__ import annotations

import signal
from types import MappingProxyType
from typing import TYPE_CHECKING

from flusso_sandbox.database_server import DatabaseServer
from flusso_sandbox.endpoints import MariaDBEndpoint
from flusso_sandbox.mariadb_files import MARIADB_VERSIONS, find_programs
from flusso_sandbox.process import StopSignal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from flusso_sandbox.programs import Installation
    from flusso_sandbox.progress import ProgressCallback

MARIADB_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "character-set-server": "utf8mb4",
        "max-connections": "200",
        "innodb-buffer-pool-size": "64M",
        "innodb-log-file-size": "32M",
        # The log reaches the operating system with each commit, so nothing is lost by `kill`.
        "innodb-flush-log-at-trx-commit": "2",
        "innodb-doublewrite": "OFF",
    }
)
"""What a throw-away server is set to unless told otherwise (MariaDB manual, "Server System
Variables"). The time zone is UTC: that of the process."""

# What makes the server a private one. Not to be changed: the rest of this module relies on it.
_PRIVATE_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "bind-address": "127.0.0.1",
        "skip-name-resolve": "ON",
        # Else each start makes a certificate, which takes seconds.
        "ssl": "OFF",
        # Relative to the data folder, so that no length of its path is too long for a socket.
        "socket": "socket",
        "pid-file": "pid",
    }
)

_USER = "root"
_STOP_SIGNALS = (StopSignal(signal.SIGTERM, 15.0),)


class MariaDBServer(DatabaseServer[MariaDBEndpoint]):
    """A MariaDB of its own in a temporary folder, on a free loopback port.

    Connections need the password; its URLs are SQLAlchemy's. As root the server runs as the account
    `postgres` or `nobody`. See `ThrowAwayServer` for how it starts and ends. The first start needs
    a download of 149 MB.

    Args:
        version: One of `MARIADB_VERSIONS`.
        settings: Server settings, spelled as options of `mariadbd` without the dashes, that
            replace or add to `MARIADB_SETTINGS`.
        start_timeout: Seconds that a start may take.
        progress: Told how far a download is; None shows it on standard error.
    """

    def __init__(
        self,
        version: str = MARIADB_VERSIONS[0],
        *,
        settings: Mapping[str, str] | None = None,
        start_timeout: float = 60.0,
        progress: ProgressCallback | None = None,
    ) -> None:
        super().__init__(
            "MariaDB",
            version,
            versions=MARIADB_VERSIONS,
            settings={**MARIADB_SETTINGS, **(settings or {}), **_PRIVATE_SETTINGS},
            start_timeout=start_timeout,
            stop_signals=_STOP_SIGNALS,
            progress=progress,
        )

    def _find_programs(self) -> Installation:
        return find_programs(self.version, self._progress)

    def _endpoint_at(self, port: int) -> MariaDBEndpoint:
        return MariaDBEndpoint("127.0.0.1", port, _USER, self._password)

    def _secret(self) -> str:
        # The password needs no quoting: it is made of letters, digits, `-` and `_`.
        return (
            "FLUSH PRIVILEGES;\n"
            "DELETE FROM mysql.global_priv WHERE User IN ('', 'root');\n"
            "FLUSH PRIVILEGES;\n"
            f"CREATE USER '{_USER}'@'127.0.0.1' IDENTIFIED BY '{self._password}';\n"
            f"GRANT ALL ON *.* TO '{_USER}'@'127.0.0.1' WITH GRANT OPTION;\n"
        )

    def _initialiser(self, data: Path, secret: Path) -> Sequence[str]:
        return (
            str(self._programs / "scripts" / "mariadb-install-db"),
            "--no-defaults",
            f"--basedir={self._programs}",
            f"--datadir={data}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--force",
            f"--innodb-log-file-size={self._settings['innodb-log-file-size']}",
            f"--extra-file={secret}",
        )

    def _command(self, folder: Path) -> Sequence[str]:
        return (
            str(self._programs / "bin" / "mariadbd"),
            "--no-defaults",
            f"--basedir={self._programs}",
            f"--lc-messages-dir={self._programs / 'share'}",
            f"--datadir={folder / 'data'}",
            f"--port={self.endpoint.port}",
            *(f"--{name}={value}" for name, value in self._settings.items()),
        )

    def _environment(self, folder: Path) -> Mapping[str, str]:
        libraries = str(self._programs / "libs")
        own = {"TMPDIR": str(folder), "LD_LIBRARY_PATH": libraries}
        return {**super()._environment(folder), **own}
